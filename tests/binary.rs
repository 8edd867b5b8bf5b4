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
        let mut build = Command::new(cargo);
        // `ring` builds itself anew, and all that is above it, when these differ from those of the last build.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                build.env_remove(&*name);
            }
        }
        let build = build.args(["build", "--quiet", "-p", "safeconduct"]).current_dir(&root);
        let status = build.status().expect("cargo runs");
        assert!(status.success(), "safeconduct does not build");
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        target.join("debug/safeconduct")
    })
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).canonicalize().expect("the workspace is there")
}
