//! Meshes: manifests that were applied, as named, versioned resources of this node.
//!
//! ```text
//! manifest --> Goal --\
//!                      steps --> Worker: declare, scale, delete --> Applied, one row for each function
//! what was applied ---/
//! ```
//! An apply counts when its head is durable; from then on it is gone on with until it is done or has failed, across restarts of the
//! process, and its status says how far it is. What a manifest does not change is not touched.
//!
//! A function belongs to one mesh at most. Others may change it by hand; the next apply of the mesh makes it again what the manifest
//! says.

mod accept;
mod apply;
mod goal;
mod look;
mod name;
mod row;
mod steps;
#[cfg(test)]
mod tests;

pub use name::{NAMESPACE, Name};

use admin_api::mesh::{self as api, State, Status};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{OwnedMutexGuard, watch},
    task::AbortHandle,
};

use crate::{
    Error, Result,
    worker::{self, Worker},
};
use row::Stored;

/// All meshes of this node; a cheap handle.
#[derive(Clone)]
pub struct Meshes {
    shared: Arc<Shared>,
}

/// Whether a namespace is there, by its tenant and its own name.
pub type Namespaces = Arc<dyn Fn(&str, &str) -> bool + Send + Sync>;

struct Shared {
    worker: Worker,
    namespaces: Namespaces,
    meshes: Mutex<BTreeMap<Name, Arc<Mesh>>>,
    /// Meshes whose rows cannot be read.
    damaged: BTreeSet<Name>,
    /// One request is taken at a time, so that no two meshes take the same function.
    accepting: tokio::sync::Mutex<()>,
}

/// One mesh.
struct Mesh {
    name: Name,
    stored: Mutex<Stored>,
    /// Whoever applies or deletes it has this.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// The task that does, and whether it only waits for instances by now.
    task: Mutex<Option<Task>>,
    /// Told of each change of the progress.
    moved: watch::Sender<()>,
    looks: look::Looks,
}

struct Task {
    abort: AbortHandle,
    only_waits: bool,
}

impl Meshes {
    /// Reads which meshes there are, and goes on with what was under way.
    ///
    /// # Errors
    /// The tables cannot be read.
    pub async fn open(worker: Worker, namespaces: Namespaces) -> Result<Self> {
        let (stored, damaged) = row::read(worker.tables()).await?;
        let meshes = stored.into_iter().map(|(name, stored)| (name.clone(), Arc::new(Mesh::new(name, stored))));
        let shared = Shared {
            worker,
            namespaces,
            meshes: Mutex::new(meshes.collect()),
            damaged,
            accepting: tokio::sync::Mutex::default(),
        };
        let all = Self { shared: Arc::new(shared) };
        for mesh in all.all() {
            let state = mesh.stored.lock().progress.state;
            if state.is_moving() {
                tracing::info!(mesh = %mesh.name, %state, "going on with what was under way");
                // Nobody else knows it yet.
                let turn = mesh.turn.clone().lock_owned().await;
                all.go_on(&mesh, turn);
            }
        }
        Ok(all)
    }

    /// Stops what is under way and everything that runs, for a stop of the process; the next start goes on with it.
    pub async fn close(&self) {
        for mesh in self.all() {
            if let Some(task) = mesh.task.lock().take() {
                task.abort.abort();
            }
        }
        self.shared.worker.close().await;
    }

    /// The worker whose functions they are made of.
    #[must_use]
    pub fn worker(&self) -> &Worker {
        &self.shared.worker
    }

    /// Every mesh in short.
    #[must_use]
    pub fn list(&self) -> Vec<api::Summary> {
        let summary = |mesh: Arc<Mesh>| {
            let stored = mesh.stored.lock();
            let is_ready = |(name, row): &(&worker::Name, &row::Applied)| {
                self.shared.worker.standing(goal::kind(&row.node), name).is_ok_and(|standing| standing.is_settled)
            };
            api::Summary {
                namespace: mesh.name.namespace.clone(),
                name: mesh.name.name.clone(),
                version: stored.head.version,
                state: stored.progress.state,
                nodes: stored.nodes.len(),
                ready: stored.nodes.iter().filter(is_ready).count(),
                changed_ms: stored.head.changed_ms,
            }
        };
        self.all().into_iter().map(summary).collect()
    }

    /// What was applied last.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn manifest(&self, name: &Name) -> Result<api::Manifest> {
        let mesh = self.mesh(name)?;
        let stored = mesh.stored.lock();
        Ok(api::Manifest {
            namespace: name.namespace.clone(),
            name: name.name.clone(),
            version: stored.head.version,
            files: stored.head.files.clone(),
            code: stored.head.code.clone(),
        })
    }

    /// Waits until nothing is under way, or for so long; then how far it is, or nothing when it is gone.
    ///
    /// # Errors
    /// [`Error::NotFound`]: it was not there to begin with.
    pub async fn wait(&self, name: &Name, patience: Duration) -> Result<Option<Status>> {
        let mesh = self.mesh(name)?;
        if patience.is_zero() {
            return Ok(Some(mesh.progress()));
        }
        let mut moved = mesh.moved.subscribe();
        let rests = async { while mesh.stored.lock().progress.state.is_moving() && moved.changed().await.is_ok() {} };
        // When it is over, what is known then is the answer.
        let _ = tokio::time::timeout(patience, rests).await;
        Ok(self.progress(name).ok())
    }

    /// How far what is under way is; nothing is looked at for it, so that it has no nodes.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn progress(&self, name: &Name) -> Result<Status> {
        Ok(self.mesh(name)?.progress())
    }

    /// How it does.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn status(&self, name: &Name) -> Result<Status> {
        Ok(self.look(&*self.mesh(name)?).await)
    }

    /// The mesh a function belongs to, if it is one's.
    #[must_use]
    pub fn owner(&self, function: &worker::Name) -> Option<Name> {
        self.all()
            .into_iter()
            .find(|mesh| mesh.stored.lock().nodes.contains_key(function))
            .map(|mesh| mesh.name.clone())
    }

    fn all(&self) -> Vec<Arc<Mesh>> {
        self.shared.meshes.lock().values().cloned().collect()
    }

    fn mesh(&self, name: &Name) -> Result<Arc<Mesh>> {
        let found = self.shared.meshes.lock().get(name).cloned();
        found.ok_or_else(|| Error::NotFound(format!("there is no mesh {name}")))
    }
}

impl Mesh {
    fn new(name: Name, stored: Stored) -> Self {
        Self {
            name,
            stored: Mutex::new(stored),
            turn: Arc::default(),
            task: Mutex::default(),
            moved: watch::channel(()).0,
            looks: look::Looks::default(),
        }
    }

    /// Takes the turn to change it. What only waits for instances gives way; what changes functions does not.
    async fn turn(&self) -> Result<OwnedMutexGuard<()>> {
        if let Ok(turn) = self.turn.clone().try_lock_owned() {
            return Ok(turn);
        }
        {
            let task = self.task.lock();
            match &*task {
                Some(task) if task.only_waits => task.abort.abort(),
                _ => {
                    let stored = self.stored.lock();
                    let (version, state) = (stored.head.version, stored.progress.state);
                    return Err(Error::Exists(format!(
                        "version {version} of mesh {} is {state}; wait until that is over",
                        self.name
                    )));
                }
            }
        }
        Ok(self.turn.clone().lock_owned().await)
    }

    fn progress(&self) -> Status {
        let stored = self.stored.lock();
        let progress = stored.progress.clone();
        Status {
            namespace: self.name.namespace.clone(),
            name: self.name.name.clone(),
            version: stored.head.version,
            state: progress.state,
            error: progress.error,
            changed_ms: stored.head.changed_ms,
            steps: progress.steps,
            undone: progress.undone,
            nodes: Vec::new(),
        }
    }

    fn state(&self) -> State {
        self.stored.lock().progress.state
    }
}
