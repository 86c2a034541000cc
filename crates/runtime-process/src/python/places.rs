//! Where packages are made ready: a directory for each package and class, named by what it depends on. One that no function wants any
//! more is removed.

use functions::{Code, FunctionSpec};
use rustc_hash::FxHashSet;
use sha2::{Digest, Sha256};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use super::Interpreter;

/// What the name of a directory on its way out begins with.
const GOING: &str = "going-";

/// The name of a function's directory. A package is a file that nobody changes, so that it is the same one where it is as old and as large.
///
/// # Errors
/// The package cannot be looked at.
pub(super) fn name(code: &Path, class_name: &str, interpreter: &Interpreter) -> io::Result<String> {
    let file = fs::metadata(code)?;
    let about = format!(
        "{}\0{}\0{:?}\0{class_name}\0{}\0{}\0{:?}",
        interpreter.harness.display(),
        interpreter.python.display(),
        interpreter.version,
        code.display(),
        file.len(),
        file.modified().ok(),
    );
    Ok(Sha256::digest(about).iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}

/// Names of the directories of these functions.
pub(super) fn of<'a>(
    functions: impl IntoIterator<Item = &'a FunctionSpec>,
    interpreter: &Interpreter,
) -> FxHashSet<String> {
    let place = |function: &FunctionSpec| match &function.code {
        Code::File(code) => name(code, &function.class_name, interpreter).ok(),
        Code::Builtin(_) | Code::Command(_) => None,
    };
    functions.into_iter().filter_map(place).collect()
}

/// Whether there is anything to remove.
pub(super) fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).map_or(true, |mut entries| entries.next().is_none())
}

/// Takes all but these directories out of use, at once; gives back what is to be removed.
///
/// # Errors
/// The directory cannot be read.
pub(super) fn retire(dir: &Path, kept: &FxHashSet<String>) -> io::Result<Vec<PathBuf>> {
    static GONE: AtomicU64 = AtomicU64::new(0);
    let mut gone = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if kept.contains(name.strip_suffix(".lock").unwrap_or(name)) {
            continue;
        }
        let new = dir.join(format!("{GOING}{}-{}", std::process::id(), GONE.fetch_add(1, Relaxed)));
        match fs::rename(&path, &new) {
            Ok(()) => gone.push(new),
            Err(error) => tracing::warn!(%error, path = %path.display(), "what a Python package was unpacked to stays"),
        }
    }
    Ok(gone)
}

/// Removes what is out of use.
pub(super) fn remove(gone: &[PathBuf]) {
    for path in gone {
        let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        if let Err(error) = removed {
            tracing::warn!(%error, path = %path.display(), "what a Python package was unpacked to stays");
        }
    }
}
