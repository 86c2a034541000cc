//! Why a component does not run, in words for the one who deploys it.

use functions::runtime::StartError;
use std::{io, path::PathBuf};

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The code is no file.
    #[error("a WASM function is a component in a file, not {0:?}")]
    NoFile(String),
    /// The package cannot be read.
    #[error("read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The package is too large.
    #[error("{path} has {bytes} bytes, and a component may have {max}")]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// How large it is.
        bytes: u64,
        /// How large it may be.
        max: u64,
    },
    /// The package is something else.
    #[error("{path} is not WebAssembly: {what}")]
    NotWasm {
        /// Which file.
        path: PathBuf,
        /// What it is instead.
        what: &'static str,
    },
    /// The package is a module of its own.
    #[error(
        "{path} is a core WebAssembly module, and a function is a component: build Rust with `--target wasm32-wasip2`, or wrap a \
         module that has component types in it with `wasm-tools component new module.wasm -o function.wasm`"
    )]
    CoreModule {
        /// Which file.
        path: PathBuf,
    },
    /// wasmtime refuses it.
    #[error("{path} does not compile: {why}")]
    Compile {
        /// Which file.
        path: PathBuf,
        /// What wasmtime says.
        why: String,
    },
    /// It needs what is not there.
    #[error(
        "{why}: a function may import `geminga:function` 0.1 (messages, state, context, emissions) and WASI 0.2 without `wasi:http`"
    )]
    Import {
        /// What wasmtime says.
        why: String,
    },
    /// It does not offer what a function offers.
    #[error("the component has no export `{export}`{hint}")]
    Export {
        /// Name of the export.
        export: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// An export of another shape.
    #[error("the component exports `{export}`, but not as `{shape}`")]
    ExportShape {
        /// Name of the export.
        export: &'static str,
        /// What it has to be.
        shape: &'static str,
    },
    /// `customRuntimeOptions` are wrong.
    #[error("customRuntimeOptions: {0}")]
    Options(String),
    /// A guest could not be made.
    #[error("instantiate the component: {0}")]
    Instantiate(String),
    /// `setup` said no.
    #[error("setup failed: {0}")]
    Setup(String),
    /// This crate is wrong.
    #[error("the WASM runtime panicked; see the log of the broker")]
    Panicked,
    /// wasmtime does not run on this machine.
    #[error("start wasmtime: {0}")]
    Engine(String),
    /// Its threads do not start.
    #[error("start the threads of WASM functions: {0}")]
    Threads(io::Error),
    /// The cache of compiled components does not work.
    #[error("{what} {path}: {source}")]
    Cache {
        /// What we were doing.
        what: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl From<Error> for StartError {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}
