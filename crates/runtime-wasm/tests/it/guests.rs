//! The guests of these tests, compiled once for each run from `sdk/rust`.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// One of the packages of `sdk/rust`, as a component.
pub(crate) fn guest(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(build).join(format!("{}.wasm", name.replace('-', "_")))
}

fn build() -> PathBuf {
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk/rust");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "--quiet", "--target", "wasm32-wasip2", "--target-dir"])
        .arg(&target)
        .current_dir(sdk)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .status()
        .expect("cargo runs");
    assert!(built.success(), "guests do not compile; the target comes with `rustup target add wasm32-wasip2`");
    target.join("wasm32-wasip2/release")
}
