//! The harness' files, which are part of this program.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::{Path, PathBuf},
};

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../../python/", $name)))),*]
    };
}

const FILES: &[(&str, &str)] = files![
    "main.py",
    "prepare.py",
    "_geminga/__init__.py",
    "_geminga/channel.py",
    "_geminga/codecs.py",
    "_geminga/concurrent.py",
    "_geminga/context.py",
    "_geminga/instance.py",
    "_geminga/loader.py",
    "_geminga/logs.py",
    "_geminga/message.py",
    "_geminga/outcome.py",
    "_geminga/sequential.py",
    "_geminga/source.py",
    "geminga/__init__.py",
    "pulsar/__init__.py",
    "pulsar/functions/__init__.py",
    "pulsar/functions/context.py",
    "pulsar/functions/function.py",
    "pulsar/functions/serde.py",
    "pulsar/schema/__init__.py",
    "pulsar/schema/avro.py",
    "pulsar/schema/definition.py",
    "pulsar/schema/schema.py",
];

/// Writes the files into a directory named after what is in them, unless they are there; returns it.
///
/// # Errors
/// They cannot be written.
pub(super) fn write(cache: &Path) -> io::Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    FILES.hash(&mut hasher);
    let harness = cache.join(format!("harness-{:016x}", hasher.finish()));
    if harness.join("complete").exists() {
        return Ok(harness);
    }
    let new = cache.join(format!("harness-new-{}", std::process::id()));
    let _ = fs::remove_dir_all(&new);
    for (name, text) in FILES {
        let path = new.join(name);
        fs::create_dir_all(path.parent().unwrap_or(&new))?;
        fs::write(path, text)?;
    }
    fs::write(new.join("complete"), "")?;
    match fs::rename(&new, &harness) {
        // Somebody else was quicker.
        Err(_) if harness.join("complete").exists() => fs::remove_dir_all(&new)?,
        other => other?,
    }
    Ok(harness)
}
