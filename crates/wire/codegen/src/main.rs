//! Writes `crates/wire/src/proto.rs` from `crates/wire/proto/*.proto`; no protoc needed.
//!
//! Run it after a change of a .proto: `cargo run --manifest-path crates/wire/codegen/Cargo.toml`. With `--check` it
//! writes nothing and fails when the committed file differs from what it would write.

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::{fs, io};

const HEADER: &str = "// Generated from ../proto/*.proto by ../codegen; do not edit.\n\n";

fn main() -> Result<(), Box<dyn Error>> {
    let check = std::env::args().any(|arg| arg == "--check");
    let wire = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("codegen lies inside wire")?;
    let descriptors = protox::compile(["PulsarApi.proto", "PulsarMarkers.proto"], [wire.join("proto")])?;

    let scratch = std::env::temp_dir().join(format!("wire-codegen-{}", std::process::id()));
    fs::create_dir_all(&scratch)?;
    prost_build::Config::new().bytes(["."]).out_dir(&scratch).compile_fds(descriptors)?;
    let source = scratch.join("pulsar.proto.rs");
    let text = format!("{HEADER}{}", fs::read_to_string(&source)?);
    fs::write(&source, text)?;
    rustfmt(&source, wire)?;
    let text = fs::read_to_string(&source)?;
    fs::remove_dir_all(&scratch)?;

    let target = wire.join("src/proto.rs");
    let current = fs::read_to_string(&target).unwrap_or_default();
    match (check, current == text) {
        (_, true) => println!("{} is up to date", target.display()),
        (true, false) => return Err(format!("{} is stale: run codegen without --check", target.display()).into()),
        (false, false) => {
            fs::write(&target, text)?;
            println!("wrote {}", target.display());
        }
    }
    Ok(())
}

/// Formats as the workspace does, so that `cargo fmt --check` accepts the file.
fn rustfmt(file: &Path, wire: &Path) -> io::Result<()> {
    let config = wire.join("../../rustfmt.toml");
    let status = Command::new("rustfmt").arg("--config-path").arg(config).arg("--edition=2024").arg(file).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other("rustfmt refused the generated code")) }
}
