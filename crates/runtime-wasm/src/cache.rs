//! Compiled components on disk, so that a function that was deployed once starts at once.
//!
//! A file is named after the component's SHA-256 and after everything of wasmtime that matters for it (version, settings, processor), so
//! no entry is ever wrong, only missing. It is machine code and will be run: therefore it must belong to us, be writable by nobody else,
//! and end in the SHA-256 of what is before; what does not is compiled again.

use sha2::{Digest as _, Sha256};
use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};
use wasmtime::component::Component;

use crate::{Error, Result};

/// SHA-256 of a component.
pub(crate) type Digest = [u8; 32];

pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}

/// See the module.
pub(crate) struct Cache {
    dir: PathBuf,
    /// What tells this wasmtime from others.
    engine: u64,
}

impl Cache {
    pub(crate) fn open(dir: &Path, engine: &wasmtime::Engine) -> Result<Self> {
        make_dir(dir)?;
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self { dir: dir.to_owned(), engine: hasher.finish() })
    }

    /// What was compiled of this component, if it is there and can be trusted.
    pub(crate) fn get(&self, digest: &Digest, engine: &wasmtime::Engine) -> Option<Component> {
        let path = self.path(digest);
        let code = match read_trusted(&path) {
            Ok(code) => code,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "compiled component is not used");
                return None;
            }
        };
        match deserialize(engine, &code) {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!(path = %path.display(), error = format!("{error:#}"), "compiled component is not used");
                None
            }
        }
    }

    /// Keeps what was compiled. Readers see all of it or nothing.
    pub(crate) fn put(&self, digest: &Digest, code: &[u8]) -> Result<()> {
        let path = self.path(digest);
        let draft = path.with_extension(format!("{}.tmp", std::process::id()));
        let written = (|| {
            match fs::remove_file(&draft) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
            file.write_all(code)?;
            file.write_all(&self::digest(code))?;
            file.sync_data()?;
            fs::rename(&draft, &path)
        })();
        written.map_err(|source| Error::Cache { what: "write", path, source })
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        self.dir.join(format!("{digest}-{:016x}.cwasm", self.engine))
    }
}

/// Makes the directory, ours alone.
pub(crate) fn make_dir(dir: &Path) -> Result<()> {
    let failed = |what| move |source| Error::Cache { what, path: dir.to_owned(), source };
    seams::make_dir(dir).map_err(failed("make"))?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(failed("set permissions of"))
}

fn read_trusted(path: &Path) -> io::Result<Vec<u8>> {
    let refuse = |why| io::Error::new(io::ErrorKind::InvalidData, why);
    // A link would lead to a file of which we know nothing.
    let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let mut file = fs::OpenOptions::new().read(true).custom_flags(no_follow).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() || about.uid() != rustix::process::geteuid().as_raw() || about.mode() & 0o022 != 0 {
        return Err(refuse("somebody else may have written it"));
    }
    let mut code = Vec::with_capacity(usize::try_from(about.len()).unwrap_or_default());
    file.read_to_end(&mut code)?;
    let Some((code_len, sum)) = code.len().checked_sub(32).map(|len| (len, code.split_off(len))) else {
        return Err(refuse("it is cut short"));
    };
    debug_assert_eq!(code.len(), code_len);
    if sum != digest(&code) {
        return Err(refuse("its checksum is wrong"));
    }
    Ok(code)
}

#[allow(unsafe_code)]
fn deserialize(engine: &wasmtime::Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes are what `Engine::precompile_component` gave us: their file is ours alone, in a directory that is ours alone, and
    // its checksum holds. wasmtime itself checks that they are of this version and these settings.
    unsafe { Component::deserialize(engine, code) }
}
