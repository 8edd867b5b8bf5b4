//! The program itself, for tests that run it as a process.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The path of `safeconduct`, built once a run with the profile of the tests.
pub fn safeconduct() -> &'static PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let root = root();
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args(["build", "--quiet", "-p", "safeconduct"])
            .current_dir(&root)
            .status()
            .expect("cargo runs");
        assert!(status.success(), "safeconduct does not build");
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        target.join("debug/safeconduct")
    })
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).canonicalize().expect("the workspace is there")
}
