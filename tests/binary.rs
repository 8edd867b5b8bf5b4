//! The program itself, for tests that run it as a process.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The path of `safeconduct`, built once a run with the profile of the tests.
pub fn safeconduct() -> &'static PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("dev", "debug", &[]))
}

/// The same with keys in tokens.
pub fn with_tokens() -> &'static PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("dev", "debug", &["pkcs11"]))
}

/// The same as it is installed: built for release.
pub fn released() -> PathBuf {
    build("release", "release", &[])
}

fn build(profile: &str, folder: &str, features: &[&str]) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    // `ring` builds itself anew, and all that is above it, when these differ from those of the last build.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            build.env_remove(&*name);
        }
    }
    let arguments = ["build", "--quiet", "-p", "safeconduct", "--profile", profile];
    build.args(arguments).current_dir(root());
    let mut to = target();
    if !features.is_empty() {
        // What is below it is compiled once for all; only the program itself lies elsewhere, apart from the plain one.
        build.env("CARGO_BUILD_BUILD_DIR", &to).args(["--features", &features.join(",")]);
        to = to.join(features.join("-"));
        build.arg("--target-dir").arg(&to);
    }
    let status = build.status().expect("cargo runs");
    assert!(status.success(), "safeconduct does not build");
    to.join(folder).join("safeconduct")
}

/// Where cargo builds.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).canonicalize().expect("the workspace is there")
}
