//! The control plane of one node: which functions, sources and sinks there are, and that they run.
//!
//! ```text
//! create, update, scale, stop ... --> Row in the tables --> Wanted --> Keeper --> Instance, Instance, ...
//! ```
//! A change counts when its row is durable. What runs follows: each function has a [`keeper`] that compares what is wanted with what
//! runs. A start of the process reads the rows and lets every keeper go on where it was.
//!
//! Source of rules and texts: Pulsar's `ComponentImpl`, `FunctionsImpl` and `FunctionMetaDataManager`.

mod changes;
mod config;
mod declare;
mod deploy;
mod gates;
mod keeper;
mod name;
mod outbox;
mod plan;
mod promise;
mod report;
mod resolve;
mod row;
mod running;
pub mod scaling;
mod secrets;
mod standing;
mod state;
#[cfg(test)]
pub(crate) mod tests;
mod tidy;
mod trigger;
mod vault;

pub use config::Config;
pub(crate) use declare::Leftover;
pub use declare::{Declaration, Done, Stamp, secret_values};
pub(crate) use deploy::whole;
pub use deploy::{Given, NO_CHANGE};
pub use name::Name;
pub use report::Observed;
pub use resolve::Foreign;
pub use secrets::{EnvironmentSecrets, Secrets};
pub use standing::Standing;
pub use vault::{Apart, Values};

use model::function::ConnectorDefinition;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    Code, Error, EventLog, FunctionSpec, Kind, Language, Result, Runtime, Tables,
    packages::{self, Packages},
};
use gates::Gates;
use keeper::{Around, Keeper};
use plan::Wanted;
use row::{CodeRef, Row};

/// What the place of code of this program begins with.
pub(crate) const BUILTIN: &str = "builtin://";
/// Functions that may be starting at once: starts are short, and many at once would starve the broker.
const STARTS: usize = 4;
/// Instances of one function.
pub const INSTANCES_MAX: u32 = 1000;

/// What is known of this node.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where packages and the directories of instances are.
    pub dir: PathBuf,
    /// The largest package, in bytes.
    pub max_package_bytes: u64,
    /// Name of the cluster.
    pub cluster: String,
    /// Name of this node.
    pub worker_id: String,
    /// Where it is reached.
    pub hostname: String,
    /// Its web port.
    pub port: u16,
    /// Where clients of the broker connect to.
    pub service_url: String,
    /// The broker's REST address.
    pub admin_url: String,
}

/// What runs code, by language.
#[derive(Clone, Default)]
pub struct Runtimes {
    by_language: BTreeMap<Language, Arc<dyn Runtime>>,
}

impl Runtimes {
    /// With one more.
    #[must_use]
    pub fn with(mut self, language: Language, runtime: Arc<dyn Runtime>) -> Self {
        self.by_language.insert(language, runtime);
        self
    }

    /// What runs code of a language.
    ///
    /// # Errors
    /// [`Error::Invalid`]: nothing does; what else is run.
    pub fn get(&self, language: Language) -> Result<Arc<dyn Runtime>> {
        self.by_language.get(&language).cloned().ok_or_else(|| {
            let known: Vec<_> = self.by_language.keys().map(|language| language.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Error::Invalid(format!("this node cannot run {} (it can run: {known})", language.as_str()))
        })
    }
}

/// What a worker is made of.
pub struct Parts {
    /// Where events come from and go to.
    pub log: Arc<dyn EventLog>,
    /// Where functions and their state are remembered.
    pub tables: Arc<dyn Tables>,
    /// What runs code.
    pub runtimes: Runtimes,
    /// Connectors that are part of this program.
    pub connectors: Vec<ConnectorDefinition>,
    /// Where secrets come from.
    pub secrets: Arc<dyn Secrets>,
    /// The time.
    pub clock: Arc<dyn seams::Clock>,
}

/// The worker of this node; a cheap handle.
#[derive(Clone)]
pub struct Worker {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    log: Arc<dyn EventLog>,
    tables: Arc<dyn Tables>,
    runtimes: Runtimes,
    connectors: Vec<ConnectorDefinition>,
    clock: Arc<dyn seams::Clock>,
    packages: Packages,
    around: Arc<Around>,
    functions: parking_lot::RwLock<BTreeMap<Name, Arc<Function>>>,
    /// Keys of rows that cannot be read: what they use is not known.
    damaged: BTreeSet<String>,
    /// One change of a function at a time.
    gates: Gates,
    scaler: scaling::Scaler,
    /// What is not among the functions yet, or not in its new form.
    deploying: parking_lot::Mutex<Vec<Arc<FunctionSpec>>>,
    /// Deletions that the last process did not finish.
    finishing: parking_lot::Mutex<JoinSet<()>>,
}

/// A function that is there.
struct Function {
    row: parking_lot::Mutex<Row>,
    /// How often a restart of each instance was asked for, since this process runs.
    restarts: parking_lot::Mutex<BTreeMap<u32, u64>>,
    /// What its instances were made of before the last update.
    before: parking_lot::Mutex<Option<Arc<FunctionSpec>>>,
    /// Why it is as it was and does not run: its row says what cannot be done here.
    keeper: Result<Keeper>,
    /// Forwards its output, where that is on another cluster.
    outbox: Option<Keeper>,
}

impl Worker {
    /// Opens the packages, reads which functions there are, and begins to start them.
    ///
    /// # Errors
    /// The tables or the directory cannot be read. A function that does not start is no error: its status says why.
    pub async fn open(settings: Settings, parts: Parts) -> Result<Self> {
        // Instances have directories of their own, where what is relative would be something else.
        let dir = std::path::absolute(&settings.dir).unwrap_or_else(|_| settings.dir.clone());
        let settings = Settings { dir, ..settings };
        let config = packages::Config { dir: settings.dir.join("packages"), max_bytes: settings.max_package_bytes };
        let packages = Packages::open(config, parts.tables.clone(), parts.clock.clone()).await?;
        let starter = Arc::new(running::Instances {
            log: parts.log.clone(),
            tables: parts.tables.clone(),
            runtimes: parts.runtimes.clone(),
            clock: parts.clock.clone(),
        });
        Self::open_with(settings, parts, packages, starter).await
    }

    async fn open_with(
        settings: Settings,
        parts: Parts,
        packages: Packages,
        starter: Arc<dyn running::Starter>,
    ) -> Result<Self> {
        let around = Arc::new(Around {
            starter,
            secrets: Arc::new(vault::Vault::open(&*parts.tables, parts.secrets).await?),
            work_dir: settings.dir.join("instances"),
            starts: Semaphore::new(STARTS),
        });
        let (rows, damaged) = row::read(&*parts.tables).await?;
        let scaler = scaling::Scaler::open(&*parts.tables).await?;
        let worker = Self {
            shared: Arc::new(Shared {
                settings,
                log: parts.log,
                tables: parts.tables,
                runtimes: parts.runtimes,
                connectors: parts.connectors,
                clock: parts.clock,
                packages,
                around,
                functions: parking_lot::RwLock::default(),
                damaged,
                gates: Gates::default(),
                scaler,
                deploying: parking_lot::Mutex::default(),
                finishing: parking_lot::Mutex::default(),
            }),
        };
        worker.shared.scaler.start(&worker);
        let mut going = Vec::new();
        for row in rows {
            if row.is_going {
                going.push(row.clone());
            }
            worker.admit(row, true).await;
        }
        for row in going {
            worker.go_on_deleting(&row).await;
        }
        worker.sweep().await;
        let tidies = worker.clone();
        tokio::spawn(async move { tidies.tidy().await });
        Ok(worker)
    }

    /// Stops everything that runs, for a stop of the process; it runs again after the next start.
    pub async fn close(&self) {
        // The next start goes on with them.
        let mut finishing = std::mem::take(&mut *self.shared.finishing.lock());
        finishing.shutdown().await;
        let all: Vec<_> = self.shared.functions.read().values().cloned().collect();
        let keepers = all.iter().flat_map(|function| function.keeper.as_ref().ok().into_iter().chain(&function.outbox));
        let closing = keepers.map(Keeper::close);
        tokio::join!(self.shared.scaler.close(), futures::future::join_all(closing));
    }

    /// The packages of this node.
    #[must_use]
    pub fn packages(&self) -> &Packages {
        &self.shared.packages
    }

    /// What is known of this node.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// Where functions are remembered.
    pub(crate) fn tables(&self) -> &Arc<dyn Tables> {
        &self.shared.tables
    }

    /// The time.
    pub(crate) fn clock(&self) -> &dyn seams::Clock {
        &*self.shared.clock
    }

    /// Connectors that are part of this program.
    #[must_use]
    pub fn connectors(&self) -> &[ConnectorDefinition] {
        &self.shared.connectors
    }

    /// Names of what there is of one kind in a namespace, sorted.
    #[must_use]
    pub fn list(&self, kind: Kind, tenant: &str, namespace: &str) -> Vec<String> {
        let functions = self.shared.functions.read();
        let here = functions.iter().filter(|(name, _)| name.tenant == tenant && name.namespace == namespace);
        here.filter(|(_, function)| function.row.lock().config.kind() == kind).map(|(n, _)| n.name.clone()).collect()
    }

    /// How it is configured.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn get(&self, kind: Kind, name: &Name) -> Result<Config> {
        Ok(self.function(kind, name)?.row.lock().config.clone())
    }

    /// Where its code is, and the name of the file.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`]: it has no file.
    pub async fn code(&self, kind: Kind, name: &Name) -> Result<(PathBuf, String)> {
        let code = self.function(kind, name)?.row.lock().code.clone();
        match code.blob() {
            Some(blob) => Ok((self.shared.packages.file(blob).await?, blob.name().to_owned())),
            None => Err(Error::Invalid(format!("the code of {name} is no file"))),
        }
    }

    /// What is there under this name, if it is of this kind.
    fn function(&self, kind: Kind, name: &Name) -> Result<Arc<Function>> {
        let found = self.shared.functions.read().get(name).cloned();
        found
            .filter(|function| function.row.lock().config.kind() == kind)
            .ok_or_else(|| Error::NotFound(format!("{} {} doesn't exist", kind.title(), name.name)))
    }

    /// Takes a row among those that are kept; `skips`: what came before may be skipped, where the function wants that.
    async fn admit(&self, row: Row, skips: bool) {
        let name = row.name();
        let mut outbox = None;
        let keeper = match self.spec(&row).await {
            _ if row.is_going => Err(Error::Closed("it is being deleted".to_owned())),
            Ok(spec) => self.open_outbox(&spec).await.map(|opened| {
                outbox = opened;
                let wanted = Wanted { spec: Arc::new(spec), instances: row.slots(|_| 0) };
                Keeper::start(self.shared.around.clone(), wanted, skips)
            }),
            Err(error) => Err(error),
        };
        if let Err(error) = &keeper
            && !row.is_going
        {
            tracing::error!(function = %name, %error, "a function does not start");
        }
        let function = Function {
            row: parking_lot::Mutex::new(row),
            restarts: parking_lot::Mutex::default(),
            before: parking_lot::Mutex::default(),
            keeper,
            outbox,
        };
        self.shared.functions.write().insert(name.clone(), Arc::new(function));
        self.shared.scaler.touch(&name);
    }

    /// What instances are made of.
    async fn spec(&self, row: &Row) -> Result<FunctionSpec> {
        let code = match &row.code {
            CodeRef::Blob(blob) => Code::File(self.shared.packages.file(blob).await?),
            CodeRef::Builtin(name) => Code::Builtin(name.clone()),
            CodeRef::Command(words) => Code::Command(words.clone()),
        };
        resolve::spec(row, code, &self.shared.settings)
    }
}

impl Function {
    fn wanted(&self, spec: Arc<FunctionSpec>) -> Wanted {
        let restarts = self.restarts.lock();
        let instances = self.row.lock().slots(|id| restarts.get(&id).copied().unwrap_or_default());
        Wanted { spec, instances }
    }
}

/// The directory of a function's instances: of its id, so that a later function of this name finds nothing of it.
fn work_dir(root: &Path, spec: &FunctionSpec) -> PathBuf {
    root.join(&spec.id)
}
