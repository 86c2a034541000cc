//! Compiled components on disk, so that a function that was deployed once starts at once.
//!
//! A file is named after the component's SHA-256 and after everything of wasmtime that matters for it (version, settings, processor), so
//! no entry is ever wrong, only missing. It is machine code and will be run: therefore it must belong to us, be writable by nobody else,
//! and end in the SHA-256 of what is before; what does not is compiled again. Files are mapped, so that of a large component only what
//! runs is in memory; none is ever changed, only replaced.

use sha2::{Digest as _, Sha256};
use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{self, Read as _, Seek as _, Write as _},
    os::{
        fd::AsRawFd as _,
        unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    },
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
        let loaded = match check(&path) {
            Ok(()) => map(engine, &path).map_err(|error| format!("{error:#}")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => Err(error.to_string()),
        };
        loaded.map_err(|error| tracing::warn!(path = %path.display(), error, "compiled component is not used")).ok()
    }

    /// A file for what a compiler makes; in memory, where the cache does not work.
    ///
    /// # Errors
    /// Neither is to be had.
    pub(crate) fn draft(&self, digest: &Digest) -> Result<Draft> {
        let path = self.path(digest).with_extension(format!("{}.tmp", std::process::id()));
        let made = (|| {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)
        })();
        match made {
            Ok(file) => Ok(Draft { file, path, in_cache: true }),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a compiled component will not be kept");
                let made = rustix::fs::memfd_create("component", rustix::fs::MemfdFlags::CLOEXEC);
                let file =
                    fs::File::from(made.map_err(|error| Error::Cache { what: "write", path, source: error.into() })?);
                let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
                Ok(Draft { file, path, in_cache: false })
            }
        }
    }

    /// Keeps a draft that is written. Readers see all of it or nothing.
    pub(crate) fn keep(&self, draft: Draft, digest: &Digest) -> Result<()> {
        if !draft.in_cache {
            return Ok(());
        }
        let path = self.path(digest);
        let kept = (|| {
            let mut file = &draft.file;
            let bytes = file.metadata()?.len();
            let sum = sum(file, bytes)?;
            file.seek(io::SeekFrom::Start(bytes))?;
            file.write_all(&sum)?;
            file.sync_data()?;
            fs::rename(&draft.path, &path)
        })();
        kept.map_err(|source| Error::Cache { what: "write", path, source })
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

/// Whether it is what we wrote.
fn check(path: &Path) -> io::Result<()> {
    let refuse = |why| Err(io::Error::new(io::ErrorKind::InvalidData, why));
    // A link would lead to a file of which we know nothing.
    let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let mut file = fs::OpenOptions::new().read(true).custom_flags(no_follow).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() || about.uid() != rustix::process::geteuid().as_raw() || about.mode() & 0o022 != 0 {
        return refuse("somebody else may have written it");
    }
    let mut end = Digest::default();
    let Some(code_bytes) = about.len().checked_sub(end.len() as u64) else {
        return refuse("it is cut short");
    };
    let sum = sum(&file, code_bytes)?;
    file.read_exact(&mut end)?;
    if sum == end { Ok(()) } else { refuse("its checksum is wrong") }
}

/// SHA-256 of the first bytes of a file, which is then read until there.
fn sum(mut file: &fs::File, bytes: u64) -> io::Result<Digest> {
    file.seek(io::SeekFrom::Start(0))?;
    let (mut hasher, mut chunk) = (Sha256::new(), vec![0; 64 << 10]);
    let mut rest = file.take(bytes);
    loop {
        match rest.read(&mut chunk)? {
            0 => return Ok(hasher.finalize().into()),
            read => hasher.update(&chunk[..read]),
        }
    }
}

/// Machine code that is being written; gone unless it is kept.
pub(crate) struct Draft {
    file: fs::File,
    path: PathBuf,
    in_cache: bool,
}

impl Draft {
    pub(crate) fn file(&self) -> &fs::File {
        &self.file
    }

    /// What was written into it, which stays whatever becomes of the file's name.
    ///
    /// # Errors
    /// It is not what a compiler makes.
    pub(crate) fn load(&self, engine: &wasmtime::Engine) -> wasmtime::Result<Component> {
        map(engine, &self.path)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.in_cache {
            // Not there when it was kept.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[allow(unsafe_code)]
fn map(engine: &wasmtime::Engine, path: &Path) -> wasmtime::Result<Component> {
    // SAFETY: the file is what `Engine::precompile_component` gave us, here or in our own program: it is ours alone, in a directory that is
    // ours alone, its checksum holds unless it was written just now, and nothing changes it while it is mapped but an end that is none of
    // its sections. wasmtime itself checks that it is of this version and these settings.
    unsafe { Component::deserialize_file(engine, path) }
}
