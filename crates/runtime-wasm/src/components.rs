//! Components of this process: each is read, checked and compiled once, however many instances and functions use it.

use functions::Kind;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::{
    collections::VecDeque,
    fs,
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
};
use tokio::runtime::Handle;
use wasmtime::component::{
    Component, ComponentExportIndex, HasSelf, InstancePre, Linker,
    types::{ComponentFunc, ComponentItem, Type},
};

use crate::{
    Config, Error, Result, bindings,
    cache::{Cache, Digest, digest},
    compiler::{self, Compiler, Limits},
    driver::Data,
    engine::Engine,
};

/// Components that stay loaded though no instance uses them: between `prepare` and the first message.
const RECENT: usize = 16;

/// See the module.
pub(crate) struct Components {
    engine: wasmtime::Engine,
    linker: Linker<Data>,
    cache: Cache,
    bytes_max: u64,
    /// `None`: this process compiles.
    compiler: Option<Compiler>,
    limits: Limits,
    /// Compiling takes a core and a lot of memory: one at a time, and never the same one twice.
    compiling: Mutex<()>,
    loaded: Mutex<Loaded>,
}

#[derive(Default)]
struct Loaded {
    paths: FxHashMap<PathBuf, Known>,
    components: FxHashMap<Digest, Weak<Prepared>>,
    recent: VecDeque<Arc<Prepared>>,
}

/// A file that was loaded.
struct Known {
    stamp: Stamp,
    digest: Digest,
    facts: Facts,
}

/// Tells whether a file is still the same: packages are not changed in place, but a mistake there must not run old code.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    len: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(about: &fs::Metadata) -> Self {
        Self { inode: about.ino(), len: about.len(), changed: (about.mtime(), about.mtime_nsec()) }
    }
}

/// What is known of a component without having it loaded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// It has `setup`.
    pub(crate) has_setup: bool,
}

/// A component that is ready to be instantiated.
pub(crate) struct Prepared {
    digest: Digest,
    pub(crate) pre: InstancePre<Data>,
    pub(crate) run: Option<ComponentExportIndex>,
    pub(crate) run_windows: Option<ComponentExportIndex>,
    pub(crate) run_source: Option<ComponentExportIndex>,
    pub(crate) setup: Option<ComponentExportIndex>,
}

impl Components {
    pub(crate) fn new(engine: &Engine, cache_dir: &Path, compiler: Option<Compiler>, config: &Config) -> Result<Self> {
        let engine = engine.wasmtime.clone();
        let mut linker = Linker::new(&engine);
        let failed = |error: wasmtime::Error| Error::Engine(format!("{error:#}"));
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(failed)?;
        bindings::SourceImports::add_to_linker::<_, HasSelf<_>>(&mut linker, |data: &mut Data| &mut data.host)
            .map_err(failed)?;
        let cache = Cache::open(cache_dir, &engine)?;
        Ok(Self {
            engine,
            linker,
            cache,
            bytes_max: config.component_bytes_max,
            compiler,
            limits: Limits::new(config),
            compiling: Mutex::default(),
            loaded: Mutex::default(),
        })
    }

    /// What is known of a component that was loaded before.
    pub(crate) fn known(&self, path: &Path) -> Option<Facts> {
        let stamp = Stamp::of(&fs::metadata(path).ok()?);
        self.loaded.lock().paths.get(path).filter(|known| known.stamp == stamp).map(|known| known.facts)
    }

    /// The component of this file, compiled unless it was before. Takes as long as that takes.
    ///
    /// # Errors
    /// Why it cannot be run, in words for the one who made it.
    pub(crate) fn load(&self, path: &Path) -> Result<Arc<Prepared>> {
        let failed = |source| Error::Read { path: path.to_owned(), source };
        let file = fs::File::open(path).map_err(failed)?;
        let stamp = Stamp::of(&file.metadata().map_err(failed)?);
        if let Some(loaded) = self.loaded.lock().by_path(path, stamp) {
            return Ok(loaded);
        }
        let _one_at_a_time = self.compiling.lock();
        let bytes = self.read(path, file, stamp.len)?;
        let digest = digest(&bytes);
        let by_digest = self.loaded.lock().by_digest(&digest);
        let prepared = match by_digest {
            Some(prepared) => prepared,
            None => {
                let component = match self.cache.get(&digest, &self.engine) {
                    Some(component) => component,
                    None => self.compile(path, &bytes, &digest)?,
                };
                Arc::new(self.link(&component, digest)?)
            }
        };
        self.loaded.lock().insert(path, stamp, &prepared);
        Ok(prepared)
    }

    fn read(&self, path: &Path, file: fs::File, bytes: u64) -> Result<Vec<u8>> {
        if bytes > self.bytes_max {
            return Err(Error::TooLarge { path: path.to_owned(), bytes, max: self.bytes_max });
        }
        let mut read = Vec::new();
        let done = file.take(self.bytes_max).read_to_end(&mut read);
        done.map_err(|source| Error::Read { path: path.to_owned(), source })?;
        Ok(read)
    }

    fn compile(&self, path: &Path, bytes: &[u8], digest: &Digest) -> Result<Component> {
        sniff(path, bytes)?;
        let failed = |why: String| Error::Compile { path: path.to_owned(), why };
        let draft = self.cache.draft(digest)?;
        match &self.compiler {
            // The thread is one that may wait.
            Some(compiler) => Handle::current().block_on(compiler.run(bytes, draft.file(), self.limits)),
            None => compiler::compile_here(&self.engine, bytes, draft.file()),
        }
        .map_err(failed)?;
        let component = draft.load(&self.engine).map_err(|error| failed(format!("{error:#}")))?;
        if let Err(error) = self.cache.keep(draft, digest) {
            tracing::warn!(%error, "compiled component is not kept");
        }
        Ok(component)
    }

    fn link(&self, component: &Component, digest: Digest) -> Result<Prepared> {
        let pre = self.linker.instantiate_pre(component);
        let pre = pre.map_err(|error| Error::Import { why: format!("{error:#}") })?;
        let export = |name, shape, fits: fn(&ComponentFunc) -> bool| match component.get_export(None, name) {
            None => Ok(None),
            Some((ComponentItem::ComponentFunc(function), index)) if fits(&function) => Ok(Some(index)),
            Some(_) => Err(Error::ExportShape { export: name, shape }),
        };
        let is_plain = |function: &ComponentFunc| function.params().len() == 0 && function.results().len() == 0;
        let is_checked = |function: &ComponentFunc| {
            let mut results = function.results();
            let is_result =
                |ty: Type| matches!(ty, Type::Result(r) if r.ok().is_none() && matches!(r.err(), Some(Type::String)));
            function.params().len() == 0 && results.next().is_some_and(is_result) && results.next().is_none()
        };
        let run = export("run", "func()", is_plain)?;
        let run_windows = export("run-windows", "func()", is_plain)?;
        let run_source = export("run-source", "func() -> result<_, string>", is_checked)?;
        let setup = export("setup", "func() -> result<_, string>", is_checked)?;
        Ok(Prepared { digest, pre, run, run_windows, run_source, setup })
    }
}

impl Prepared {
    /// Whether it can be called as what it is deployed as.
    pub(crate) fn serves(&self, kind: Kind, windows: bool) -> Result<()> {
        if kind == Kind::Source {
            return match (&self.run_source, &self.run, &self.run_windows) {
                (Some(_), ..) => Ok(()),
                (None, None, None) => Err(Error::Export {
                    export: "run-source",
                    hint: ": it is no source for Geminga; with the Rust SDK, build a `cdylib` with `#[source]` on one of its functions",
                }),
                _ => Err(Error::Export {
                    export: "run-source",
                    hint: ": it is a function or a sink; with the Rust SDK, a source has `#[source]` on one of its functions",
                }),
            };
        }
        if self.run_source.is_some() && self.run.is_none() && self.run_windows.is_none() {
            return Err(Error::Export {
                export: "run",
                hint: ": it is a source, and is created as one: `geminga sources create`",
            });
        }
        match (windows, &self.run, &self.run_windows) {
            (true, _, Some(_)) | (false, Some(_), _) => Ok(()),
            (true, Some(_), None) => Err(Error::Export {
                export: "run-windows",
                hint: ", and the function has a windowConfig: with the Rust SDK, write `#[function(window)]`",
            }),
            (false, None, Some(_)) => {
                Err(Error::Export { export: "run", hint: ": it is a window function, and needs a windowConfig" })
            }
            (_, None, None) => Err(Error::Export {
                export: if windows { "run-windows" } else { "run" },
                hint: ": it is no function for Geminga; with the Rust SDK, build a `cdylib` with `#[function]` on one of its functions",
            }),
        }
    }
}

impl Loaded {
    fn by_path(&self, path: &Path, stamp: Stamp) -> Option<Arc<Prepared>> {
        let known = self.paths.get(path).filter(|known| known.stamp == stamp)?;
        self.by_digest(&known.digest)
    }

    fn by_digest(&self, digest: &Digest) -> Option<Arc<Prepared>> {
        self.components.get(digest)?.upgrade()
    }

    fn insert(&mut self, path: &Path, stamp: Stamp, prepared: &Arc<Prepared>) {
        let facts = Facts { has_setup: prepared.setup.is_some() };
        self.paths.insert(path.to_owned(), Known { stamp, digest: prepared.digest, facts });
        self.components.retain(|_, component| component.strong_count() > 0);
        self.components.insert(prepared.digest, Arc::downgrade(prepared));
        self.recent.retain(|recent| recent.digest != prepared.digest);
        self.recent.truncate(RECENT - 1);
        self.recent.push_front(Arc::clone(prepared));
    }
}

/// Tells what is in the file, where it is no component.
fn sniff(path: &Path, bytes: &[u8]) -> Result<()> {
    let not = |what| Err(Error::NotWasm { path: path.to_owned(), what });
    match bytes {
        [] => not("it is empty"),
        [b'\0', b'a', b's', b'm', _, _, 1, 0, ..] => Ok(()),
        [b'\0', b'a', b's', b'm', 1, 0, 0, 0, ..] => Err(Error::CoreModule { path: path.to_owned() }),
        [b'\0', b'a', b's', b'm', ..] => not("its version is not known"),
        [b'P', b'K', 3, 4, ..] => not("it is a zip file (or jar or wheel)"),
        [0x7f, b'E', b'L', b'F', ..] => not("it is a native program; build with `--target wasm32-wasip2`"),
        _ => not("it does not begin with `\\0asm`"),
    }
}
