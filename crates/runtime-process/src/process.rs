//! Process functions: a command line, or an executable file, that speaks the protocol: JSON lines unless it asks for binary.

use async_trait::async_trait;
use functions::{
    Code, FunctionSpec, Runtime,
    runtime::{InstanceSpec, Link, StartError},
};
use serde::Deserialize;
use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::{
    child::{Children, Launch},
    programs,
    protocol::Encoding,
};

/// What the names of programs begin with that were copied so that they may be run.
const COPY: &str = "program-";

/// Runs functions of [`functions::Language::Process`].
#[derive(Debug)]
pub struct Process {
    children: Children,
}

/// What `customRuntimeOptions` may say.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Options {
    protocol: Protocol,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Protocol {
    #[default]
    JsonLines,
    Binary,
}

impl Process {
    #[must_use]
    pub fn new(children: Children) -> Self {
        Self { children }
    }
}

#[async_trait]
impl Runtime for Process {
    async fn prepare(&self, function: &FunctionSpec) -> Result<(), StartError> {
        options(function)?;
        match &function.code {
            Code::Command(words) => {
                let Some(program) = words.first() else {
                    return Err(StartError("the command line is empty".to_owned()));
                };
                found(program).map(drop)
            }
            Code::File(path) => can_be_run(path).map_err(|why| StartError(format!("{}: {why}", path.display()))),
            Code::Builtin(name) => Err(StartError(format!("{name} is no process"))),
        }
    }

    async fn start(&self, instance: InstanceSpec) -> Result<Link, StartError> {
        let function = &instance.function;
        let encoding = options(function)?;
        let (program, args) = match &function.code {
            Code::Command(words) => match words.as_slice() {
                [program, args @ ..] => (found(program)?, args),
                [] => return Err(StartError("the command line is empty".to_owned())),
            },
            Code::File(path) => {
                let (path, work_dir) = (path.clone(), instance.work_dir.clone());
                // It may be large, and the disk slow.
                let copied = tokio::task::spawn_blocking(move || executable(&path, &work_dir)).await;
                let copied = copied.map_err(|error| StartError(error.to_string()))?;
                (copied.map_err(|error| StartError(error.to_string()))?, &[][..])
            }
            Code::Builtin(name) => return Err(StartError(format!("{name} is no process"))),
        };
        // It is run in another directory than this process is in.
        let program = std::path::absolute(program).map_err(|error| StartError(error.to_string()))?;
        let mut launch = Launch::new(program);
        launch.encoding = encoding;
        launch.args = args.iter().chain(&function.runtime_flags).map(Into::into).collect();
        launch.env = instance
            .secrets
            .iter()
            .filter(|(name, _)| is_variable(name))
            .map(|(name, secret)| (name.into(), secret.0.clone().into()))
            .collect();
        let mut link = self.children.start(launch, instance).await?;
        // A program that says nothing of it reads a line and answers it: what it has not come to is better given to another instance.
        link.runs_many.get_or_insert(false);
        Ok(link)
    }
}

fn options(function: &FunctionSpec) -> Result<Encoding, StartError> {
    let options = match function.runtime_options.as_deref().filter(|options| !options.trim().is_empty()) {
        None => Options::default(),
        Some(options) => serde_json::from_str(options).map_err(|error| {
            StartError(format!(
                "customRuntimeOptions of a process are {{\"protocol\": \"json-lines\" or \"binary\"}}: {error}"
            ))
        })?,
    };
    Ok(match options.protocol {
        Protocol::JsonLines => Encoding::JsonLines,
        Protocol::Binary => Encoding::Binary,
    })
}

fn found(program: &str) -> Result<PathBuf, StartError> {
    programs::find(Path::new(program)).ok_or_else(|| StartError(format!("{program}: no such program")))
}

/// Why a file is no program, if it is none.
fn can_be_run(path: &Path) -> Result<(), String> {
    let mut start = [0; 4];
    let read = fs::File::open(path).and_then(|mut file| file.read(&mut start)).map_err(|error| error.to_string())?;
    let start = start.get(..read).unwrap_or_default();
    if start.starts_with(b"#!") || start == b"\x7fELF" {
        Ok(())
    } else {
        Err("neither a program nor a script that begins with #!".to_owned())
    }
}

/// The file as one that may be run: packages are stored without that bit. It is copied once for each instance, not at each start; file
/// systems that can share what two files have in common do.
fn executable(path: &Path, work_dir: &Path) -> io::Result<PathBuf> {
    let file = fs::metadata(path)?;
    if file.permissions().mode() & 0o111 != 0 {
        return Ok(path.to_owned());
    }
    let mut hasher = DefaultHasher::new();
    (path, file.len(), file.modified().ok()).hash(&mut hasher);
    let copy = work_dir.join(format!("{COPY}{:016x}", hasher.finish()));
    if fs::metadata(&copy).is_ok_and(|there| there.len() == file.len()) {
        return Ok(copy);
    }
    fs::create_dir_all(work_dir)?;
    // Of another version, whose last instance is gone.
    for other in fs::read_dir(work_dir)?.flatten() {
        if other.file_name().to_str().is_some_and(|name| name.starts_with(COPY)) {
            fs::remove_file(other.path())?;
        }
    }
    let new = work_dir.join(format!("{COPY}new"));
    fs::copy(path, &new)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o700))?;
    fs::rename(&new, &copy)?;
    Ok(copy)
}

/// Whether a secret's name can be a variable and is none that means something already.
fn is_variable(name: &str) -> bool {
    const TAKEN: [&str; 6] = ["PATH", "HOME", "TMPDIR", "LANG", "TZ", "IFS"];
    let mut characters = name.chars();
    characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|character| character.is_ascii_alphanumeric() || character == '_')
        && !TAKEN.contains(&name)
        && !name.starts_with("LD_")
        && !name.starts_with("GEMINGA_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_cannot_take_the_place_of_what_a_program_is_run_with() {
        for name in ["DB_PASSWORD", "token", "_x1"] {
            assert!(is_variable(name), "{name}");
        }
        for name in ["PATH", "LD_PRELOAD", "GEMINGA_FD_IN", "1x", "a-b", "a=b", ""] {
            assert!(!is_variable(name), "{name}");
        }
    }

    #[test]
    fn only_programs_and_scripts_can_be_run() {
        let directory = tempfile::tempdir().unwrap();
        let file = |text: &str| {
            let path = directory.path().join("file");
            fs::write(&path, text).unwrap();
            can_be_run(&path)
        };
        assert_eq!(file("#!/bin/sh\n"), Ok(()));
        assert_eq!(file("print('hello')"), Err("neither a program nor a script that begins with #!".to_owned()));
        assert!(file("").is_err());
        let (path, work) = (directory.path().join("file"), directory.path().join("work"));
        let copy = executable(&path, &work).unwrap();
        let about = fs::metadata(&copy).unwrap();
        assert_eq!(about.permissions().mode() & 0o777, 0o700);
        // The next start takes it as it is; another program takes its place.
        assert_eq!(executable(&path, &work).unwrap(), copy);
        assert_eq!(fs::metadata(&copy).unwrap().modified().unwrap(), about.modified().unwrap());
        file("#!/bin/sh\nexit 1\n").unwrap();
        let other = executable(&path, &work).unwrap();
        assert!(other != copy && !copy.exists() && fs::read_dir(&work).unwrap().count() == 1);
    }
}
