//! Python functions: unmodified user code in a child process, called by a harness that is part of this program (`python/` at the top of the
//! repository), which needs nothing but Python 3.8's standard library.

mod harness;
mod places;

use async_trait::async_trait;
use functions::{
    Code, FunctionSpec, Runtime,
    runtime::{InUse, InstanceSpec, Link, StartError},
    spec::Limits,
};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use serde::{Deserialize, de::DeserializeOwned};
use std::{ffi::OsString, path::PathBuf, time::Duration};
use tokio::sync::{OnceCell, RwLock};

use crate::{
    child::{Children, Launch, Tool, remove_leftovers},
    programs,
};

/// The oldest Python the harness runs in.
const VERSION_MIN: (u32, u32) = (3, 8);
/// How long packages may take to be installed.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(600);
/// Memory and cores an installer may have at least: what it builds may need more than what it is built for.
const INSTALL_RAM_BYTES: u64 = 2 << 30;
const INSTALL_CORES: f64 = 1.0;

/// Where Python is and what it may use.
#[derive(Clone, Debug)]
pub struct PythonConfig {
    /// The interpreter, a name on the path or a file. Its installed packages are there for all functions.
    pub python: PathBuf,
    /// Where the harness, unpacked packages and virtual environments are kept. It may be lost; then they are made again.
    pub cache_dir: PathBuf,
    /// What `pip install` is given besides requirements: `--index-url` and so on. Pulsar: `pythonDependencyRepository` and
    /// `pythonExtraDependencyRepository`.
    pub pip_arguments: Vec<String>,
}

impl PythonConfig {
    /// `python3` from the path.
    #[must_use]
    pub fn new(cache_dir: PathBuf) -> Self {
        Self { python: "python3".into(), cache_dir, pip_arguments: Vec::new() }
    }
}

/// Runs functions of [`functions::Language::Python`].
#[derive(Debug)]
pub struct Python {
    children: Children,
    config: PythonConfig,
    interpreter: OnceCell<Interpreter>,
    /// By package and class.
    prepared: Mutex<FxHashMap<(PathBuf, String), Prepared>>,
    /// Read by whoever makes a package ready, written by whoever removes what nobody wants.
    preparing: RwLock<()>,
}

/// What `prepare.py` says of the interpreter.
#[derive(Clone, Debug, Deserialize)]
struct Interpreter {
    /// The program itself, not something that finds it.
    python: PathBuf,
    version: (u32, u32),
    /// Where its modules are.
    site: Vec<String>,
    /// Where the harness is.
    #[serde(skip)]
    harness: PathBuf,
}

/// What `prepare.py` says of a package.
#[derive(Clone, Debug, Deserialize)]
struct Prepared {
    /// Where the user's modules are.
    first: Vec<String>,
    /// Where installed ones are.
    last: Vec<String>,
    /// The module of a single file.
    module: String,
    /// The name of its directory.
    #[serde(skip)]
    place: String,
}

impl Python {
    /// Nothing is run or written before a function is prepared.
    #[must_use]
    pub fn new(config: PythonConfig, children: Children) -> Self {
        Self {
            children,
            config,
            interpreter: OnceCell::new(),
            prepared: Mutex::default(),
            preparing: RwLock::default(),
        }
    }

    /// Does now what the first function would wait for: looks for the interpreter and writes the harness.
    ///
    /// # Errors
    /// There is no interpreter that would do, or the harness cannot be written.
    pub async fn warm(&self) -> Result<(), StartError> {
        self.interpreter().await.map(drop)
    }

    async fn interpreter(&self) -> Result<&Interpreter, StartError> {
        self.interpreter
            .get_or_try_init(async || {
                let harness = self.harness().await?;
                let args = vec!["-E".into(), harness.join("prepare.py").into()];
                // What is not there is told as such when it is run.
                let python = programs::find(&self.config.python).unwrap_or_else(|| self.config.python.clone());
                let mut interpreter: Interpreter = self.ask(python, args, Limits::default()).await?;
                if interpreter.version < VERSION_MIN {
                    let (major, minor) = interpreter.version;
                    return Err(StartError(format!(
                        "{} is Python {major}.{minor}; 3.8 or later has to be installed",
                        self.config.python.display()
                    )));
                }
                interpreter.harness = harness;
                Ok(interpreter)
            })
            .await
    }

    async fn prepared(&self, function: &FunctionSpec) -> Result<Prepared, StartError> {
        let Code::File(code) = &function.code else {
            return Err(StartError("a Python function needs a file: .py, .whl or .zip".to_owned()));
        };
        let key = (code.clone(), function.class_name.clone());
        if let Some(prepared) = self.prepared.lock().get(&key) {
            return Ok(prepared.clone());
        }
        let interpreter = self.interpreter().await?;
        let _preparing = self.preparing.read().await;
        let place = places::name(code, &function.class_name, interpreter)
            .map_err(|error| StartError(format!("{}: {error}", code.display())))?;
        let asked = serde_json::json!({
            "code": code.to_string_lossy(),
            "class_name": function.class_name,
            "place": self.packages()?.join(&place).to_string_lossy(),
            "site": interpreter.site,
            "pip": self.config.pip_arguments,
        });
        let args =
            vec!["-S".into(), "-E".into(), interpreter.harness.join("prepare.py").into(), asked.to_string().into()];
        let mut prepared: Prepared = self.ask(interpreter.python.clone(), args, installing(&function.limits)).await?;
        prepared.place = place;
        self.prepared.lock().insert(key, prepared.clone());
        Ok(prepared)
    }

    /// Runs `prepare.py`, and reads its answer.
    async fn ask<T: DeserializeOwned>(
        &self,
        program: PathBuf,
        args: Vec<OsString>,
        limits: Limits,
    ) -> Result<T, StartError> {
        let python = self.config.python.display();
        let env = std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(installer_needs)).collect();
        let work_dir = self.cache()?;
        let tool = Tool { program, args, env, work_dir, limits, patience: INSTALL_TIMEOUT };
        let answer = self.children.run(tool).await.map_err(|why| {
            let hint = if why.contains("No such file or directory (os error 2)") {
                "; Python 3.8 or later has to be installed"
            } else {
                ""
            };
            StartError(why + hint)
        })?;
        serde_json::from_slice(&answer)
            .map_err(|error| StartError(format!("{python} said something else than what was asked: {error}")))
    }

    /// Where packages are made ready.
    fn packages(&self) -> Result<PathBuf, StartError> {
        Ok(self.cache()?.join("packages"))
    }

    /// Removes what was made ready for others than these, unless something is being made ready.
    async fn forget(&self, used: InUse<'_>) -> Result<usize, StartError> {
        let packages = self.packages()?;
        if places::is_empty(&packages) {
            return Ok(0);
        }
        let interpreter = self.interpreter().await?;
        let gone = {
            let Ok(_quiet) = self.preparing.try_write() else { return Ok(0) };
            let kept = places::of(used().iter().map(|function| &**function), interpreter);
            self.prepared.lock().retain(|_, prepared| kept.contains(&prepared.place));
            places::retire(&packages, &kept).map_err(|error| StartError(error.to_string()))?
        };
        let count = gone.len();
        tokio::task::spawn_blocking(move || places::remove(&gone)).await.map_err(|e| StartError(e.to_string()))?;
        Ok(count)
    }

    /// Instances are run in other directories than this process is in.
    fn cache(&self) -> Result<PathBuf, StartError> {
        std::path::absolute(&self.config.cache_dir).map_err(|error| StartError(error.to_string()))
    }

    /// Where the harness is, written if need be.
    async fn harness(&self) -> Result<PathBuf, StartError> {
        let cache = self.cache()?;
        let shown = cache.display().to_string();
        tokio::task::spawn_blocking(move || {
            remove_leftovers(&cache);
            harness::write(&cache)
        })
        .await
        .map_err(|error| StartError(error.to_string()))?
        .map_err(|error| StartError(format!("write the Python harness to {shown}: {error}")))
    }
}

#[async_trait]
impl Runtime for Python {
    async fn prepare(&self, function: &FunctionSpec) -> Result<(), StartError> {
        self.prepared(function).await.map(drop)
    }

    async fn retain(&self, used: InUse<'_>) {
        match self.forget(used).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "what Python packages were unpacked to and nothing uses was removed"),
            Err(error) => tracing::warn!(%error, "what Python packages were unpacked to stays"),
        }
    }

    async fn start(&self, instance: InstanceSpec) -> Result<Link, StartError> {
        let prepared = self.prepared(&instance.function).await?;
        let interpreter = self.interpreter().await?;
        let main = interpreter.harness.join("main.py");
        let list = |entries: &[String]| serde_json::Value::from(entries).to_string().into();
        let mut launch = Launch::new(&interpreter.python);
        // -S: what `site` finds out was found out when the package was prepared. -E: what a manifest's environment says is for user code.
        launch.args = vec!["-S".into(), "-E".into(), main.into()];
        launch.env = vec![
            ("GEMINGA_PYTHON_FIRST".into(), list(&prepared.first)),
            ("GEMINGA_PYTHON_LAST".into(), list(&prepared.last)),
            ("GEMINGA_PYTHON_MODULE".into(), prepared.module.into()),
        ];
        self.children.start(launch, instance).await
    }
}

/// What the preparation of a function may take.
fn installing(limits: &Limits) -> Limits {
    Limits {
        cpu: limits.cpu.map(|cores| cores.max(INSTALL_CORES)),
        ram_bytes: Some(limits.ram_bytes.unwrap_or_default().max(INSTALL_RAM_BYTES)),
        disk_bytes: limits.disk_bytes,
    }
}

/// Whether an installer of packages gets a variable of ours: where things are and how to get there, and nothing of Geminga.
fn installer_needs(name: &str) -> bool {
    const NAMES: [&str; 8] =
        ["PATH", "HOME", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "NETRC", "PYENV_VERSION"];
    let lower = name.to_ascii_lowercase();
    NAMES.contains(&name) || lower.starts_with("pip_") || lower.ends_with("_proxy")
}
