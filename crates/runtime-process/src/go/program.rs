//! Whether a file is a program this machine runs, found out before it is deployed.

use functions::runtime::StartError;
use std::{fs::Permissions, io::Read, os::unix::fs::PermissionsExt, path::Path};

/// Its first bytes: enough for the kind of machine.
const HEADER_BYTES: usize = 20;
const ELF_MAGIC: [u8; 4] = *b"\x7fELF";
const ELF_64: u8 = 2;
/// Where `e_machine` is, two bytes in the order of the machine, little-endian in all we run on.
const ELF_MACHINE_AT: usize = 18;
/// `EM_X86_64` and `EM_AARCH64` of the ELF specification, and what Go calls them.
const MACHINES: [(&str, u16, &str); 2] = [("x86_64", 62, "amd64"), ("aarch64", 183, "arm64")];

/// Checks a file, and lets it be executed: packages are stored as plain files.
///
/// # Errors
/// It is not there, it is no program, or one for another machine.
pub(super) async fn check(path: &Path) -> Result<(), StartError> {
    let path = path.to_owned();
    let checked = tokio::task::spawn_blocking(move || check_here(&path));
    checked.await.unwrap_or_else(|_| Err(StartError("the program could not be checked".into())))
}

fn check_here(path: &Path) -> Result<(), StartError> {
    let failed = |error| StartError(format!("read {}: {error}", path.display()));
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let mut header = Vec::new();
    file.by_ref().take(HEADER_BYTES as u64).read_to_end(&mut header).map_err(failed)?;
    fits(&header, std::env::consts::ARCH)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    if mode & 0o100 == 0 {
        file.set_permissions(Permissions::from_mode(mode | 0o500)).map_err(failed)?;
    }
    Ok(())
}

fn fits(header: &[u8], arch: &str) -> Result<(), StartError> {
    let ours = MACHINES.iter().find(|(rust, ..)| *rust == arch);
    let build = ours
        .map_or(String::new(), |(_, _, go)| format!("; build it with GOOS=linux GOARCH={go} CGO_ENABLED=0 go build"));
    if !header.starts_with(&ELF_MAGIC) {
        return Err(StartError(format!("a Go function is an executable for Linux, and this is none{build}")));
    }
    let machine = match header {
        [_, _, _, _, ELF_64, ..] => header.get(ELF_MACHINE_AT..HEADER_BYTES).and_then(|m| m.try_into().ok()),
        _ => None,
    };
    let machine = machine.map(u16::from_le_bytes);
    match ours {
        Some((_, number, _)) if machine != Some(*number) => {
            let theirs = MACHINES.iter().find(|(_, number, _)| Some(*number) == machine);
            let theirs = theirs.map_or("another machine", |(.., go)| go);
            Err(StartError(format!("this executable is for {theirs}{build}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf(class: u8, machine: u16) -> Vec<u8> {
        let mut header = vec![0; HEADER_BYTES];
        header[..4].copy_from_slice(&ELF_MAGIC);
        header[4] = class;
        header[ELF_MACHINE_AT..].copy_from_slice(&machine.to_le_bytes());
        header
    }

    #[test]
    fn only_an_executable_for_this_machine_is_one() {
        assert!(fits(&elf(2, 62), "x86_64").is_ok());
        assert!(fits(&elf(2, 183), "aarch64").is_ok());
        assert!(fits(&elf(2, 1234), "riscv64").is_ok(), "unknown to us is for the kernel to say");
        let refused = |header: &[u8]| fits(header, "x86_64").unwrap_err().0;
        assert!(
            refused(&elf(2, 183)).starts_with("this executable is for arm64; build it with GOOS=linux GOARCH=amd64")
        );
        assert!(refused(&elf(1, 62)).starts_with("this executable is for another machine"));
        for garbage in [&b""[..], b"#!/bin/sh", b"\x7fELF", b"\xcf\xfa\xed\xfe", b"PK\x03\x04"] {
            assert!(fits(garbage, "x86_64").is_err());
        }
    }

    #[tokio::test]
    async fn a_stored_program_becomes_executable() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, std::fs::read(std::env::current_exe().unwrap()).unwrap()).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        check(&path).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(check(&dir.path().join("nothing")).await.is_err());
    }
}
