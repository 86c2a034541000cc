//! Taking what is asked for: what is wrong with it is said before anything happens.

use admin_api::mesh::{self as api, Action, File, State};
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::OwnedMutexGuard;

use super::{
    Mesh, Meshes, Name,
    apply::subject,
    goal::{self, CodeIs, Goal},
    row::{self, Applied, Head, Progress, SecretDocuments, Stored},
    steps,
};
use crate::{
    Error, Result,
    event_log::TableChange,
    worker::{self, whole},
};

/// Bytes of a manifest: it is one row.
const MANIFEST_BYTES_MAX: usize = 512 * 1024;
/// Bytes of rows that are written together.
const COMMIT_BYTES_MAX: usize = 256 * 1024;
/// Functions, sources and sinks of one mesh.
const NODES_MAX: usize = 2000;
/// How long instances may take to come up where nothing is said.
const TIMEOUT_MS: u64 = 120_000;
/// How long may be said: a day.
pub(super) const TIMEOUT_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// What was asked for, read.
struct Read {
    goal: Goal,
    /// The manifest without the values of secrets.
    files: Vec<File>,
    secrets: SecretDocuments,
}

impl Meshes {
    /// What an apply would do now.
    ///
    /// # Errors
    /// As for [`Self::apply`].
    pub async fn plan(&self, name: &Name, request: &api::Request) -> Result<api::Plan> {
        let stored = self.mesh(name).ok().map(|mesh| mesh.stored.lock().clone());
        let read = self.read(name, request, stored.as_ref(), CodeIs::Meant).await?;
        self.may_own(name, &read.goal, request.adopt)?;
        let nodes = stored.as_ref().map(|stored| stored.nodes.clone()).unwrap_or_default();
        let steps = steps::steps(&read.goal, &nodes, self);
        let is_touched = |name: &worker::Name| steps.iter().any(|step| step.name == name.to_string());
        let unchanged = read.goal.nodes().filter(|(name, _)| !is_touched(name));
        Ok(api::Plan {
            version: stored.map_or(0, |stored| stored.head.version),
            unchanged: unchanged.map(|(name, wish)| format!("{} {name}", wish.kind)).collect(),
            steps,
        })
    }

    /// Begins to make a mesh what a manifest says. Returns, when that will be gone on with whatever happens, the version it has then;
    /// where nothing differs, the one it has.
    ///
    /// # Errors
    /// [`Error::Invalid`]: the manifest, with file, line and column of each mistake; code that is not given. [`Error::Exists`]: another
    /// version is being applied, the version is not the one that was wanted, a function is another mesh's or nobody's.
    pub async fn apply(&self, name: &Name, request: api::Request) -> Result<u64> {
        // Whoever asks may go away in between; what is written and what is done must not part.
        let (all, name) = (self.clone(), name.clone());
        whole(async move { all.accept(&name, request).await }).await
    }

    async fn accept(&self, name: &Name, request: api::Request) -> Result<u64> {
        if request.adopt && request.rollback {
            return Err(Error::Invalid(
                "a function that is adopted cannot be made again what it was: adopt, or roll back, not both".to_owned(),
            ));
        }
        if let Some(timeout_ms) = request.timeout_ms.filter(|timeout_ms| *timeout_ms > TIMEOUT_MS_MAX) {
            return Err(Error::Invalid(format!(
                "instances may take {TIMEOUT_MS_MAX} ms to come up, which is a day, not {timeout_ms}"
            )));
        }
        let _one = self.shared.accepting.lock().await;
        let found = self.mesh(name).ok();
        let old = found.as_ref().map(|mesh| mesh.stored.lock().clone());
        let Read { goal, files, secrets } = self.read(name, &request, old.as_ref(), CodeIs::There).await?;
        let is = may_follow(name, &request, old.as_ref())?;
        self.may_own(name, &goal, request.adopt)?;
        if let Some(old) = &old
            && matches!(old.progress.state, State::Applied | State::Applying)
            && (&old.head.files, &old.head.code) == (&files, &request.code)
            && steps::steps(&goal, &old.nodes, self).is_empty()
        {
            return Ok(is);
        }
        let Some(mesh) = found else { return self.begin(name, request, Read { goal, files, secrets }, None).await };
        let turn = mesh.turn().await?;
        if self.mesh(name).is_err() {
            return Err(Error::Exists(format!("mesh {name} was deleted a moment ago; apply it again")));
        }
        self.begin(name, request, Read { goal, files, secrets }, Some((mesh, turn))).await
    }

    /// Writes down what is to be done, and begins to do it. What was cut short for it goes on when it is refused.
    async fn begin(
        &self,
        name: &Name,
        request: api::Request,
        read: Read,
        found: Option<(Arc<Mesh>, OwnedMutexGuard<()>)>,
    ) -> Result<u64> {
        let (found, turn) = found.unzip();
        match self.write(name, request, read, found.as_ref()).await {
            Ok(mesh) => {
                let turn = match turn {
                    Some(turn) => turn,
                    None => mesh.turn.clone().lock_owned().await,
                };
                let version = {
                    let stored = mesh.stored.lock();
                    tracing::info!(mesh = %name, version = stored.head.version, steps = stored.progress.steps.len(), "applying");
                    stored.head.version
                };
                self.go_on(&mesh, turn);
                Ok(version)
            }
            Err(error) => {
                if let Some((mesh, turn)) = found.zip(turn)
                    && mesh.state().is_moving()
                {
                    self.go_on(&mesh, turn);
                }
                Err(error)
            }
        }
    }

    async fn write(
        &self,
        name: &Name,
        request: api::Request,
        Read { goal, files, secrets }: Read,
        found: Option<&Arc<Mesh>>,
    ) -> Result<Arc<Mesh>> {
        // It may have been made again what it was before, meanwhile.
        let old = found.as_ref().map(|mesh| mesh.stored.lock().clone());
        let is = may_follow(name, &request, old.as_ref())?;
        let mut nodes = old.as_ref().map(|old| old.nodes.clone()).unwrap_or_default();
        let steps = steps::steps(&goal, &nodes, self);
        let (now, version) = (self.shared.worker.clock().now_ms(), is + 1);
        let head = Head {
            version,
            created_ms: old.as_ref().map_or(now, |old| old.head.created_ms),
            changed_ms: now,
            files,
            code: request.code,
            secrets_of: version,
        };
        // What there is to go back to is the last that was whole.
        let before = old.and_then(|old| match old.progress.state {
            State::Applied | State::RolledBack if !old.head.files.is_empty() => Some(old.head),
            _ => old.before,
        });
        if request.rollback && before.is_none() && nodes.values().any(|row| row.stamp.is_some()) {
            return Err(Error::Exists(format!(
                "mesh {name} was never whole: there is no version to make again, and what runs of it would go; apply without rollback"
            )));
        }
        let mut claims = Vec::new();
        for step in steps.iter().filter(|step| step.action == Action::Create) {
            let (_, function) = subject(step)?;
            let Some((order, wish)) = goal.get(&function) else { continue };
            let claim = Applied { at: version, stamp: None, node: wish.node.clone(), order, left: Vec::new() };
            // A node of another kind keeps its row until it is gone.
            if nodes.get(&function).is_some_and(|row| goal::kind(&row.node) != wish.kind) {
                continue;
            }
            claims.push(row::node(name, &function, Some(&claim))?);
            nodes.insert(function, claim);
        }
        let progress = Progress {
            state: State::Applying,
            error: String::new(),
            steps,
            undone: Vec::new(),
            rolls_back: request.rollback,
            timeout_ms: request.timeout_ms.unwrap_or(TIMEOUT_MS),
        };
        // What does no harm without the head comes before it, in pieces that a commit can take.
        let mut early = vec![vec![
            row::before(name, before.as_ref())?,
            row::secrets(name, version, Some(&secrets).filter(|secrets| !secrets.is_empty()))?,
        ]];
        early.extend(pieces(claims));
        let last = vec![row::head(name, Some(&head))?, row::progress(name, Some(&progress))?];
        let written = async {
            for changes in early.into_iter().chain([last]) {
                self.shared.worker.tables().write(changes).await?;
            }
            Ok(())
        };
        if let Err(error) = written.await {
            // What was under way has ended for this; what was at rest is as it was.
            if let Some(mesh) = found.filter(|mesh| mesh.state().is_moving()) {
                self.fail(mesh, &error);
            }
            return Err(error);
        }
        let stored = Stored { head, before, progress, nodes };
        Ok(match found {
            Some(mesh) => {
                *mesh.stored.lock() = stored;
                mesh.clone()
            }
            None => {
                let mesh = Arc::new(Mesh::new(name.clone(), stored));
                self.shared.meshes.lock().insert(name.clone(), mesh.clone());
                mesh
            }
        })
    }

    /// Begins to delete a mesh with all that is of it.
    ///
    /// # Errors
    /// [`Error::NotFound`]. [`Error::Exists`]: a version of it is being applied.
    pub async fn delete(&self, name: &Name) -> Result<()> {
        let (all, name) = (self.clone(), name.clone());
        whole(async move { all.accept_deletion(&name).await }).await
    }

    async fn accept_deletion(&self, name: &Name) -> Result<()> {
        let _one = self.shared.accepting.lock().await;
        let mesh = self.mesh(name)?;
        if mesh.state() == State::Deleting {
            return Ok(());
        }
        let turn = mesh.turn().await?;
        // It may have gone meanwhile.
        self.mesh(name)?;
        let stored = mesh.stored.lock().clone();
        let steps = steps::steps(&Goal::default(), &stored.nodes, self);
        let progress = Progress {
            state: State::Deleting,
            error: String::new(),
            steps,
            undone: Vec::new(),
            rolls_back: false,
            timeout_ms: TIMEOUT_MS,
        };
        if let Err(error) = self.shared.worker.tables().write(vec![row::progress(name, Some(&progress))?]).await {
            if mesh.state().is_moving() {
                self.fail(&mesh, &error);
            }
            return Err(error);
        }
        mesh.stored.lock().progress = progress;
        tracing::info!(mesh = %name, "deleting");
        self.go_on(&mesh, turn);
        Ok(())
    }

    async fn read(&self, name: &Name, request: &api::Request, old: Option<&Stored>, code_is: CodeIs) -> Result<Read> {
        if self.shared.damaged.contains(name) {
            return Err(Error::Exists(format!("mesh {name} is there, but what is stored of it cannot be read")));
        }
        let texts = request.files.iter().map(|file| file.name.len() + file.text.len());
        let places = request.code.iter().map(|(path, url)| path.len() + url.len());
        let bytes: usize = texts.chain(places).sum();
        if bytes > MANIFEST_BYTES_MAX {
            return Err(Error::TooLarge(format!(
                "the manifest has {bytes} bytes; a mesh may have {MANIFEST_BYTES_MAX}"
            )));
        }
        let (files, mut secrets) = goal::without_secrets(&request.files)?;
        let is_empty = |values: &BTreeMap<String, String>| values.values().any(String::is_empty);
        if let Some(old) = old.filter(|_| secrets.values().any(is_empty)) {
            // A manifest as this node hands it out: what is kept apart stays as it is.
            let kept = row::read_secrets(&**self.shared.worker.tables(), name, old.head.secrets_of).await?;
            for (document, values) in &mut secrets {
                for (key, value) in values.iter_mut().filter(|(_, value)| value.is_empty()) {
                    kept.get(document).and_then(|kept| kept.get(key)).unwrap_or(&String::new()).clone_into(value);
                }
            }
        }
        let goal = Goal::read(&request.files, &secrets, &request.code, (code_is, self.shared.worker.packages()))?;
        if goal.len() == 0 {
            let text = "the manifest has no Function, Source or Sink; to be rid of a mesh, delete it";
            return Err(Error::Invalid(text.to_owned()));
        }
        let known = &self.shared.namespaces;
        let missing = goal.nodes().filter(|(name, _)| !known(&name.tenant, &name.namespace));
        let missing: std::collections::BTreeSet<_> =
            missing.map(|(name, _)| format!("{}/{}", name.tenant, name.namespace)).collect();
        if !missing.is_empty() {
            let missing: Vec<_> = missing.into_iter().collect();
            return Err(Error::Invalid(format!("there is no namespace {}; create it first", missing.join(", "))));
        }
        if goal.len() > NODES_MAX {
            return Err(Error::TooLarge(format!("the mesh has {} nodes; it may have {NODES_MAX}", goal.len())));
        }
        Ok(Read { goal, files, secrets })
    }

    /// What a stored head says.
    pub(super) async fn goal(&self, name: &Name, head: &Head) -> Result<Goal> {
        let secrets = row::read_secrets(&**self.shared.worker.tables(), name, head.secrets_of).await?;
        Goal::read(&head.files, &secrets, &head.code, (CodeIs::Meant, self.shared.worker.packages()))
    }

    /// Whether all these functions are this mesh's, or free.
    fn may_own(&self, name: &Name, goal: &Goal, adopts: bool) -> Result<()> {
        let mut owners = BTreeMap::new();
        for mesh in self.all() {
            let stored = mesh.stored.lock();
            owners.extend(stored.nodes.keys().map(|function| (function.clone(), mesh.name.clone())));
        }
        let mut others = Vec::new();
        for (function, wish) in goal.nodes() {
            match owners.get(function) {
                Some(owner) if owner == name => {}
                Some(owner) => others.push(format!("{} {function} belongs to mesh {owner}", wish.kind)),
                None => match self.shared.worker.kind(function) {
                    Some(kind) if kind != wish.kind => {
                        others.push(format!("there is a {kind} {function}, and the three kinds share their names"));
                    }
                    Some(kind) if !adopts => others.push(format!(
                        "there is a {kind} {function} that no mesh made; apply with adopt to make it this mesh's"
                    )),
                    _ => {}
                },
            }
        }
        if others.is_empty() { Ok(()) } else { Err(Error::Exists(others.join("; "))) }
    }

    /// Removes packages that were uploaded for a mesh and that none names any more. Failing to costs space only.
    pub(super) async fn drop_unused_code(&self, old: &Stored) {
        let of = |stored: &Stored| -> Vec<String> {
            let heads = [Some(&stored.head), stored.before.as_ref()].into_iter().flatten();
            heads.flat_map(|head| head.code.values().cloned()).collect()
        };
        let used: Vec<_> = self.all().iter().flat_map(|mesh| of(&mesh.stored.lock())).collect();
        for url in of(old).into_iter().filter(|url| !used.contains(url)) {
            let Ok(package) = url.parse::<crate::packages::PackageName>() else { continue };
            if package.version().starts_with(api::UPLOADED)
                && let Err(error) = self.shared.worker.remove_package(&package).await
            {
                tracing::debug!(%package, %error, "code that no mesh uses stays");
            }
        }
    }
}

/// Changes in pieces of at most so many bytes, as long as one alone is not larger.
fn pieces(changes: Vec<TableChange>) -> Vec<Vec<TableChange>> {
    let mut pieces: Vec<Vec<TableChange>> = Vec::new();
    let mut room = 0;
    for change in changes {
        let bytes = change.bytes();
        match pieces.last_mut().filter(|_| bytes <= room) {
            Some(piece) => piece.push(change),
            None => {
                room = COMMIT_BYTES_MAX;
                pieces.push(vec![change]);
            }
        }
        room = room.saturating_sub(bytes);
    }
    pieces
}

/// Whether a request may follow what is there: the version it has then.
fn may_follow(name: &Name, request: &api::Request, old: Option<&Stored>) -> Result<u64> {
    let is = old.map_or(0, |stored| stored.head.version);
    if let Some(wanted) = request.version.filter(|wanted| *wanted != is) {
        return Err(Error::Exists(format!("mesh {name} is at version {is}, not {wanted}")));
    }
    if old.is_some_and(|old| old.progress.state == State::DeleteFailed) {
        return Err(Error::Exists(format!("mesh {name} is half deleted; delete it again first")));
    }
    Ok(is)
}
