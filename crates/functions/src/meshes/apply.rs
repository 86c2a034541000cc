//! Doing the steps of an apply, one after the other, each remembered when it is done.

use admin_api::mesh::{Action, Progress, State, Step};
use std::{sync::Arc, time::Duration};
use tokio::sync::OwnedMutexGuard;

use super::{
    Mesh, Meshes, Stored, Task,
    accept::TIMEOUT_MS_MAX,
    goal::Goal,
    row::{self, Applied, Head},
    steps,
};
use crate::{
    Error, Kind, Result,
    worker::{self, Declaration, Leftover, Stamp},
};

/// Between looks whether instances are up.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Which of the two lists of steps is being done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum List {
    Forward,
    Back,
}

impl Meshes {
    /// Does what is to be done of what the mesh's head and progress say, in a task of its own.
    pub(super) fn go_on(&self, mesh: &Arc<Mesh>, turn: OwnedMutexGuard<()>) {
        let (all, of) = (self.clone(), mesh.clone());
        // Held while the task is told of, so that it cannot end before.
        let mut task = mesh.task.lock();
        let work = tokio::spawn(async move {
            let _turn = turn;
            let ended = all.work(&of).await;
            if let Err(error) = ended {
                // The tables cannot be written; the next start goes on from what they say.
                tracing::error!(mesh = %of.name, %error, "an apply cannot be gone on with");
                all.fail(&of, &error);
            }
            of.task.lock().take();
            of.moved.send_replace(());
        });
        *task = Some(Task { abort: work.abort_handle(), only_waits: false });
    }

    async fn work(&self, mesh: &Mesh) -> Result<()> {
        match mesh.state() {
            State::Applying => self.forward(mesh).await,
            State::RollingBack => self.back(mesh).await,
            State::Deleting => self.delete_all(mesh).await,
            _ => Ok(()),
        }
    }

    async fn forward(&self, mesh: &Mesh) -> Result<()> {
        match self.all_steps(mesh, List::Forward).await {
            Ok(()) => {
                tracing::info!(mesh = %mesh.name, version = mesh.stored.lock().head.version, "applied");
                self.settle(mesh, State::Applied, String::new()).await
            }
            Err(error) => {
                tracing::warn!(mesh = %mesh.name, %error, "an apply failed");
                if !mesh.stored.lock().progress.rolls_back {
                    return self.rest(mesh, State::Failed, error.to_string()).await;
                }
                self.turn_back(mesh, error.to_string()).await?;
                self.back(mesh).await
            }
        }
    }

    async fn back(&self, mesh: &Mesh) -> Result<()> {
        match self.all_steps(mesh, List::Back).await {
            Ok(()) => {
                let error = mesh.stored.lock().progress.error.clone();
                self.settle(mesh, State::RolledBack, error).await
            }
            Err(error) => {
                let first = mesh.stored.lock().progress.error.clone();
                self.rest(mesh, State::Failed, format!("{first}; and it cannot be undone: {error}")).await
            }
        }
    }

    async fn delete_all(&self, mesh: &Mesh) -> Result<()> {
        if let Err(error) = self.all_steps(mesh, List::Forward).await {
            return self.rest(mesh, State::DeleteFailed, error.to_string()).await;
        }
        let mut changes =
            vec![row::head(&mesh.name, None)?, row::before(&mesh.name, None)?, row::progress(&mesh.name, None)?];
        for version in row::secret_versions(&**self.shared.worker.tables(), &mesh.name).await? {
            changes.push(row::secrets(&mesh.name, version, None)?);
        }
        self.shared.worker.tables().write(changes).await?;
        self.shared.meshes.lock().remove(&mesh.name);
        let last = {
            let mut stored = mesh.stored.lock();
            stored.progress.state = State::Applied;
            stored.clone()
        };
        self.drop_unused_code(&last).await;
        tracing::info!(mesh = %mesh.name, "deleted");
        Ok(())
    }

    /// From here on the mesh is to be again what it was.
    async fn turn_back(&self, mesh: &Mesh, error: String) -> Result<()> {
        let stored = mesh.stored.lock().clone();
        let version = stored.head.version + 1;
        let head = match stored.before {
            Some(before) => Head { version, changed_ms: self.shared.worker.clock().now_ms(), ..before },
            // It is as if nothing had been asked for.
            None => Head { version, files: Vec::new(), code: std::collections::BTreeMap::new(), ..stored.head },
        };
        let goal = self.goal(&mesh.name, &head).await?;
        let undone = steps::steps(&goal, &stored.nodes, self);
        let progress = row::Progress { state: State::RollingBack, error, undone, ..stored.progress };
        let changes = vec![row::head(&mesh.name, Some(&head))?, row::progress(&mesh.name, Some(&progress))?];
        self.shared.worker.tables().write(changes).await?;
        {
            let mut stored = mesh.stored.lock();
            (stored.head, stored.progress) = (head, progress);
        }
        mesh.moved.send_replace(());
        Ok(())
    }

    /// Does every step that is not done yet, then waits for the instances. Where all may have to be made again as it was, what goes, goes
    /// last of all: nothing brings back the state of what is gone.
    async fn all_steps(&self, mesh: &Mesh, list: List) -> Result<()> {
        let stored = mesh.stored.lock().clone();
        let goal = if stored.progress.state == State::Deleting {
            Goal::default()
        } else {
            self.goal(&mesh.name, &stored.head).await?
        };
        let steps = match list {
            List::Forward => stored.progress.steps.clone(),
            List::Back => stored.progress.undone.clone(),
        };
        let is_last = |step: &Step| {
            let is_kept = subject(step).is_ok_and(|(_, name)| goal.has(&name));
            list == List::Forward && stored.progress.rolls_back && step.action == Action::Delete && !is_kept
        };
        let (last, first): (Vec<_>, Vec<_>) = steps.iter().enumerate().partition(|(_, step)| is_last(step));
        for (number, step) in first {
            self.step(mesh, list, &stored, &goal, number, step).await?;
        }
        self.all_up(mesh, list, &steps).await?;
        for (number, step) in last {
            self.step(mesh, list, &stored, &goal, number, step).await?;
        }
        Ok(())
    }

    /// Does one step, unless it is done; `stored` is from before the first.
    async fn step(
        &self,
        mesh: &Mesh,
        list: List,
        stored: &Stored,
        goal: &Goal,
        number: usize,
        step: &Step,
    ) -> Result<()> {
        let (kind, name) = subject(step)?;
        let row = stored.nodes.get(&name);
        let is_done = match step.action {
            Action::Delete => row.is_none_or(|row| super::goal::kind(&row.node) != kind),
            _ => row.is_some_and(|row| row.at == stored.head.version && row.stamp.is_some()),
        };
        if is_done {
            mesh.tell(list, number, Progress::Starting, "");
            return Ok(());
        }
        mesh.tell(list, number, Progress::Running, "");
        let done = match step.action {
            Action::Delete => self.delete_node(mesh, kind, &name, row.is_none_or(|row| row.stamp.is_some())).await,
            _ => {
                let keeps = list == List::Forward && stored.progress.rolls_back;
                self.make_node(mesh, goal, kind, &name, stored.head.version, keeps).await
            }
        };
        match done {
            Ok(()) => {
                let progress = if step.action == Action::Delete { Progress::Done } else { Progress::Starting };
                mesh.tell(list, number, progress, "");
                Ok(())
            }
            Err(error) => {
                mesh.tell(list, number, Progress::Failed, &error.to_string());
                Err(Error::Invalid(format!("{} {kind} {name}: {error}", step.action)))
            }
        }
    }

    /// `keeps`: subscriptions it has no more use for stay until all is done.
    async fn make_node(
        &self,
        mesh: &Mesh,
        goal: &Goal,
        kind: Kind,
        name: &worker::Name,
        version: u64,
        keeps: bool,
    ) -> Result<()> {
        let (order, wish) = goal.get(name).ok_or_else(|| Error::Invalid("it is not in the manifest".to_owned()))?;
        let declaration = Declaration {
            kind,
            name: name.clone(),
            config: super::goal::config(&wish.node).to_string(),
            given: wish.given(),
            apart: wish.apart.clone(),
            limits: wish.node.limits.clone(),
            scaling: wish.node.scaling.clone(),
            replicas: Some(wish.node.replicas),
        };
        let left = mesh.stored.lock().nodes.get(name).map(|row| row.left.clone()).unwrap_or_default();
        let node = wish.node.clone();
        let applied = move |stamp: &Stamp, more: &Leftover| {
            let left = left.iter().chain(Some(more).filter(|more| !more.is_empty())).cloned().collect();
            Applied { at: version, stamp: Some(stamp.clone()), node: node.clone(), order, left }
        };
        let note = {
            let (mesh, name, applied) = (mesh.name.clone(), name.clone(), applied.clone());
            Box::new(move |stamp: &Stamp, more: &Leftover| row::node(&mesh, &name, Some(&applied(stamp, more))))
        };
        // Together, so that who dies in between knows of what was left.
        let (stamp, more) = self.shared.worker.declare_noting(declaration, !keeps, note).await?;
        mesh.stored.lock().nodes.insert(name.clone(), applied(&stamp, &more));
        Ok(())
    }

    /// What was to be made and was not is only forgotten: who has that name may be another's.
    async fn delete_node(&self, mesh: &Mesh, kind: Kind, name: &worker::Name, was_made: bool) -> Result<()> {
        if !was_made {
            return self.write_node(mesh, name, None).await;
        }
        match self.shared.worker.delete(kind, name.clone()).await {
            // Somebody was faster.
            Ok(()) | Err(Error::NotFound(_)) => self.write_node(mesh, name, None).await,
            Err(error) => Err(error),
        }
    }

    async fn write_node(&self, mesh: &Mesh, name: &worker::Name, applied: Option<Applied>) -> Result<()> {
        self.shared.worker.tables().write(vec![row::node(&mesh.name, name, applied.as_ref())?]).await?;
        let mut stored = mesh.stored.lock();
        match applied {
            Some(applied) => drop(stored.nodes.insert(name.clone(), applied)),
            None => drop(stored.nodes.remove(name)),
        }
        Ok(())
    }

    /// Waits until what the steps made runs; that may be cut short.
    async fn all_up(&self, mesh: &Mesh, list: List, steps: &[Step]) -> Result<()> {
        mesh.only_waits(true);
        let all_up = self.wait_for(mesh, list, steps).await;
        mesh.only_waits(false);
        all_up
    }

    async fn wait_for(&self, mesh: &Mesh, list: List, steps: &[Step]) -> Result<()> {
        let patience = Duration::from_millis(mesh.stored.lock().progress.timeout_ms.min(TIMEOUT_MS_MAX));
        let mut waited = Duration::ZERO;
        let mut left: Vec<_> = (0..steps.len()).filter(|number| steps[*number].action != Action::Delete).collect();
        loop {
            let mut slow = Vec::new();
            for number in left {
                let (kind, name) = subject(&steps[number])?;
                let standing = self.shared.worker.standing(kind, &name)?;
                if standing.is_settled {
                    mesh.tell(list, number, Progress::Done, "");
                    continue;
                }
                let mut waits = format!("{} of {} instances run", standing.running, standing.wanted - standing.stopped);
                if !standing.error.is_empty() {
                    waits += &format!(": {}", standing.error);
                }
                mesh.tell(list, number, Progress::Starting, &waits);
                slow.push((number, waits));
            }
            let Some((number, waits)) = slow.first() else { return Ok(()) };
            if waited >= patience {
                for (number, waits) in &slow {
                    mesh.tell(list, *number, Progress::Failed, waits);
                }
                let Step { kind, name, .. } = &steps[*number];
                return Err(Error::TimedOut(format!("{kind} {name} did not come up in {patience:?}: {waits}")));
            }
            left = slow.iter().map(|(number, _)| *number).collect();
            tokio::time::sleep(LOOK_EVERY).await;
            waited += LOOK_EVERY;
        }
    }

    /// Nothing is left to do, and nothing to go back to.
    async fn settle(&self, mesh: &Mesh, state: State, error: String) -> Result<()> {
        let mut old = mesh.stored.lock().clone();
        for (name, applied) in old.nodes.iter_mut().filter(|(_, applied)| !applied.left.is_empty()) {
            let left = std::mem::take(&mut applied.left);
            self.shared.worker.leave_behind(super::goal::kind(&applied.node), name, &left).await;
            self.write_node(mesh, name, Some(applied.clone())).await?;
        }
        let progress = row::Progress { state, error, ..old.progress.clone() };
        let mut changes = vec![row::progress(&mesh.name, Some(&progress))?, row::before(&mesh.name, None)?];
        for version in row::secret_versions(&**self.shared.worker.tables(), &mesh.name).await? {
            if version != old.head.secrets_of {
                changes.push(row::secrets(&mesh.name, version, None)?);
            }
        }
        self.shared.worker.tables().write(changes).await?;
        {
            let mut stored = mesh.stored.lock();
            (stored.progress, stored.before) = (progress, None);
        }
        mesh.moved.send_replace(());
        self.drop_unused_code(&old).await;
        Ok(())
    }

    /// Something is left to do, but not now.
    async fn rest(&self, mesh: &Mesh, state: State, error: String) -> Result<()> {
        let progress = row::Progress { state, error, ..mesh.stored.lock().progress.clone() };
        self.shared.worker.tables().write(vec![row::progress(&mesh.name, Some(&progress))?]).await?;
        mesh.stored.lock().progress = progress;
        mesh.moved.send_replace(());
        Ok(())
    }

    /// In memory only.
    pub(super) fn fail(&self, mesh: &Mesh, error: &Error) {
        let mut stored = mesh.stored.lock();
        let is_going = stored.progress.state == State::Deleting;
        stored.progress.state = if is_going { State::DeleteFailed } else { State::Failed };
        stored.progress.error = error.to_string();
    }
}

impl Mesh {
    /// While it does, another request may take its turn.
    fn only_waits(&self, yes: bool) {
        if let Some(task) = &mut *self.task.lock() {
            task.only_waits = yes;
        }
    }

    /// Keeps how far a step is, for those who look.
    fn tell(&self, list: List, number: usize, progress: Progress, message: &str) {
        let mut stored = self.stored.lock();
        let steps = match list {
            List::Forward => &mut stored.progress.steps,
            List::Back => &mut stored.progress.undone,
        };
        if let Some(step) = steps.get_mut(number)
            && (step.progress != progress || step.message != message)
        {
            step.progress = progress;
            message.clone_into(&mut step.message);
            drop(stored);
            self.moved.send_replace(());
        }
    }
}

/// What a step is about.
pub(super) fn subject(step: &Step) -> Result<(Kind, worker::Name)> {
    let unknown = || Error::Closed(format!("a step is about {:?} {:?}, which is nothing", step.kind, step.name));
    let kinds = [Kind::Function, Kind::Source, Kind::Sink];
    let kind = kinds.into_iter().find(|kind| kind.as_str() == step.kind).ok_or_else(unknown)?;
    let [tenant, namespace, name] = step.name.split('/').collect::<Vec<_>>()[..] else { return Err(unknown()) };
    Ok((kind, worker::Name::new(tenant, namespace, name)?))
}

impl steps::Actual for Meshes {
    fn stamp(&self, kind: Kind, name: &worker::Name) -> Option<Stamp> {
        self.shared.worker.stamp(kind, name)
    }

    fn apart(&self, name: &worker::Name) -> worker::Apart {
        self.shared.worker.apart(name)
    }

    fn scaling(&self, kind: Kind, name: &worker::Name) -> Option<autoscale::Spec> {
        self.shared.worker.scaling(kind, name).ok()?.scaling.spec
    }
}
