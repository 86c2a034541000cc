//! What changes how many instances there are: what a person says, and what was decided.

use autoscale::{Reason, Spec, vpa::Requirements};

use super::{Event, Phase, Scaling, View};
use crate::{
    Error, Kind, Result,
    worker::{Function, INSTANCES_MAX, Name, Worker, deploy::whole, row::Row},
};

impl Worker {
    /// Lets something scale by these rules, from as many instances as it has; `None`: as many as its configuration says, from now on.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] with all that is wrong with the rules.
    pub async fn set_scaling(&self, kind: Kind, name: Name, spec: Option<Spec>) -> Result<()> {
        if let Some(spec) = &spec {
            check(kind, spec)?;
        }
        self.change_scaling(kind, name, move |row| {
            let reason = match &spec {
                Some(spec) => {
                    let (min, max, policy) = (spec.min_replicas, spec.max_replicas, spec.policy.name());
                    person("RulesSet", format!("from {min} to {max} instances by {policy}"))
                }
                None => person("RulesCleared", "as many as the configuration says"),
            };
            let scaled_to = row.scaled_to.filter(|_| spec.is_some());
            let size = row.size.clone().filter(|_| spec.as_ref().is_some_and(|spec| spec.vpa.is_some()));
            let scaling = Scaling { spec, ..row.scaling.clone() };
            Ok((Row { scaling, scaled_to, size, ..row }, reason))
        })
        .await
    }

    /// Wants so many instances, whatever the rules say; `None`: the rules decide again.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`]: too many.
    pub async fn pin(&self, kind: Kind, name: Name, instances: Option<u32>) -> Result<()> {
        if instances.is_some_and(|instances| instances > INSTANCES_MAX) {
            return Err(Error::Invalid(format!("a function may have {INSTANCES_MAX} instances")));
        }
        self.change_scaling(kind, name, move |row| {
            // The rules go on from there.
            let scaled_to = match row.scaling.pinned.filter(|_| row.scaling.spec.is_some()) {
                Some(pinned) if instances.is_none() => Some(pinned),
                _ => row.scaled_to,
            };
            let reason = match instances {
                Some(instances) => person("Pinned", format!("at {instances} instances")),
                None => person("Unpinned", "the rules decide again"),
            };
            let scaling = Scaling { pinned: instances, ..row.scaling.clone() };
            Ok((Row { scaling, scaled_to, ..row }, reason))
        })
        .await
    }

    /// Leaves something at as many instances as it has, whatever the rules say, or lets them decide again. What sleeps stays asleep.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`]: it has no rules.
    pub async fn pause_scaling(&self, kind: Kind, name: Name, paused: bool) -> Result<()> {
        self.change_scaling(kind, name, move |row| {
            if row.scaling.spec.is_none() {
                return Err(Error::Invalid(format!("{} {} does not scale by itself", kind.title(), row.name().name)));
            }
            let reason = match paused {
                true => person("Paused", "as many as there are"),
                false => person("Resumed", "the rules decide again"),
            };
            let scaling = Scaling { paused, ..row.scaling.clone() };
            Ok((Row { scaling, ..row }, reason))
        })
        .await
    }

    /// How it scales.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn scaling(&self, kind: Kind, name: &Name) -> Result<View> {
        Ok(self.view(name, &*self.function(kind, name)?))
    }

    /// The last decisions that changed something, or that a person made, oldest first.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn scaling_events(&self, kind: Kind, name: &Name) -> Result<Vec<Event>> {
        self.function(kind, name)?;
        Ok(self.shared.scaler.events.lock().changes(name))
    }

    /// How everything scales that does, or that a person holds.
    #[must_use]
    pub fn scaling_of_all(&self) -> Vec<(Kind, Name, View)> {
        let all: Vec<_> = self.shared.functions.read().iter().map(|(name, f)| (name.clone(), f.clone())).collect();
        let scales = |function: &Function| !function.row.lock().scaling.is_nothing();
        let all = all.into_iter().filter(|(_, function)| scales(function));
        all.map(|(name, function)| {
            let kind = function.row.lock().config.kind();
            let view = self.view(&name, &function);
            (kind, name, view)
        })
        .collect()
    }

    fn view(&self, name: &Name, function: &Function) -> View {
        let (scaling, phase, wanted, size) = {
            let row = function.row.lock();
            (row.scaling.clone(), row.phase(), row.instances(), row.size.clone())
        };
        let recommendation = self.shared.scaler.recommended.lock().get(name).cloned();
        let (running, draining) = match &function.keeper {
            Ok(keeper) => (keeper.up(), keeper.meters().1.len()),
            Err(_) => (0, 0),
        };
        let events = self.shared.scaler.events.lock();
        let few = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        View {
            scaling,
            phase,
            wanted,
            running: few(running),
            draining: few(draining),
            latest: events.latest(name),
            decisions: events.counts(name),
            recommendation,
            size,
        }
    }

    /// Changes a row as a person says; that it is as it should be already is no error.
    async fn change_scaling(
        &self,
        kind: Kind,
        name: Name,
        change: impl FnOnce(Row) -> Result<(Row, Reason)> + Send + 'static,
    ) -> Result<()> {
        let worker = self.clone();
        whole(async move {
            let _turn = worker.shared.gates.enter(&name).await;
            let function = worker.function(kind, &name)?;
            let old = function.row.lock().clone();
            let from = old.instances();
            let (row, reason) = change(old.clone())?;
            if row == old {
                return Ok(());
            }
            row.write(&*worker.shared.tables).await?;
            let event = Event { from, to: row.instances(), reason, ..worker.event("person") };
            worker.put(&name, &function, row).await?;
            worker.decided(&name, event);
            Ok(())
        })
        .await
    }

    /// Does what was decided, unless something else has happened since: whether it did. What sleeps is woken first, and that is written then: who dies
    /// in between finds that something waits.
    pub(super) async fn rescale(&self, name: Name, event: Event) -> Result<bool> {
        let worker = self.clone();
        whole(async move {
            let _turn = worker.shared.gates.enter(&name).await;
            let found = worker.shared.functions.read().get(&name).cloned();
            let Some(function) = found else { return Ok(false) };
            let old = function.row.lock().clone();
            let is_due = matches!(old.phase(), Phase::Active | Phase::Asleep) && old.instances() == event.from;
            if !is_due {
                return Ok(false);
            }
            let row = Row { scaled_to: Some(event.to), ..old };
            if event.from == 0 {
                worker.decided(&name, event);
                worker.put(&name, &function, row.clone()).await?;
                row.write(&*worker.shared.tables).await?;
            } else {
                row.write(&*worker.shared.tables).await?;
                worker.put(&name, &function, row).await?;
                worker.decided(&name, event);
            }
            Ok(true)
        })
        .await
    }

    /// Lets instances start with this size from now on, and replaces these, unless something else has happened since it was found for
    /// `seen`: whoever declares something else begins with that.
    pub(super) async fn resize(&self, seen: Row, size: Requirements, replaced: Vec<u32>, event: Event) -> Result<()> {
        let (worker, name) = (self.clone(), seen.name());
        whole(async move {
            let _turn = worker.shared.gates.enter(&name).await;
            let found = worker.shared.functions.read().get(&name).cloned();
            let Some(function) = found else { return Ok(()) };
            let old = function.row.lock().clone();
            let is_same = old.id == seen.id && old.version == seen.version && old.scaling == seen.scaling;
            if !is_same || old.phase() != Phase::Active || old.instances() != event.from {
                return Ok(());
            }
            let row = Row { size: Some(size), ..old.clone() };
            if row != old {
                row.write(&*worker.shared.tables).await?;
            }
            for number in replaced {
                *function.restarts.lock().entry(number).or_default() += 1;
            }
            worker.put(&name, &function, row).await?;
            worker.decided(&name, event);
            Ok(())
        })
        .await
    }

    /// An event of now that changes nothing yet.
    pub(in crate::worker) fn event(&self, by: &str) -> Event {
        let reason = Reason { code: String::new(), text: String::new() };
        Event { at_ms: self.shared.clock.now_ms(), by: by.to_owned(), from: 0, to: 0, reason, sample: None }
    }

    /// Remembers what was decided, and done.
    pub(in crate::worker) fn decided(&self, name: &Name, event: Event) {
        let Event { by, from, to, reason, .. } = &event;
        tracing::info!(function = %name, from, to, by, reason = reason.code, "{}", reason.text);
        self.shared.scaler.events.lock().add(name, event);
    }
}

impl Row {
    /// What scaling does with it.
    pub(in crate::worker) fn phase(&self) -> Phase {
        match &self.scaling {
            // Above the rest, since it may hold what a pin would start.
            _ if !self.stopped.is_empty() => Phase::Stopped,
            Scaling { pinned: Some(_), .. } => Phase::Pinned,
            Scaling { spec: None, .. } => Phase::Off,
            Scaling { paused: true, .. } => Phase::Paused,
            _ if self.instances() == 0 => Phase::Asleep,
            _ => Phase::Active,
        }
    }
}

fn person(code: &str, text: impl Into<String>) -> Reason {
    Reason { code: code.to_owned(), text: text.into() }
}

/// Whether something of this kind can scale so.
pub(in crate::worker) fn check(kind: Kind, spec: &Spec) -> Result<()> {
    let mut problems: Vec<String> = spec.check().iter().map(ToString::to_string).collect();
    if spec.max_replicas > INSTANCES_MAX {
        problems.push(format!("maxReplicas: a function may have {INSTANCES_MAX} instances"));
    }
    if kind == Kind::Source && spec.min_replicas == 0 {
        problems.push("minReplicas: no event wakes a source, so it is at least 1".to_owned());
    }
    if problems.is_empty() { Ok(()) } else { Err(Error::Invalid(problems.join("; "))) }
}
