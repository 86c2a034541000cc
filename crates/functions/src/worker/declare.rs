//! A function as somebody describes it whole: made where it is not there, changed where it differs, left alone where it is so already.
//!
//! [`Worker::update`] has Pulsar's rules of what may change. Here everything may but the kind: who describes the whole thing, as a mesh's
//! manifest does, means what it says. Instances are replaced one after the other where old and new ones can work side by side; where
//! they cannot, since they would share a subscription in different ways, all stop before the first new one starts.

use std::collections::BTreeSet;

use super::{
    Config, Given, Name, Worker,
    row::Row,
    scaling::{Scaling, check},
    vault::{Apart, Values, Vault},
};
use crate::{Error, FunctionSpec, Kind, Result, event_log::TableChange, runtime::Secret};
use autoscale::Spec;
use model::function::Resources;

/// All there is to say of a function.
pub struct Declaration {
    /// Which of the three.
    pub kind: Kind,
    /// Which one.
    pub name: Name,
    /// Its configuration in JSON: what it does not say is as if it had never been said.
    pub config: String,
    /// Its code.
    pub given: Given,
    /// Values of secrets its configuration names, and the environment of its processes; secrets it names besides, the node finds.
    pub apart: Apart,
    /// What one instance may never exceed, a part that is absent without end; `None`: `resources` of its configuration.
    pub limits: Option<Resources>,
    /// By which rules it scales; `None`: not by itself.
    pub scaling: Option<Spec>,
    /// Instances to begin with, where that is not what the configuration says: 0, and it sleeps, or is off without rules.
    pub replicas: Option<u32>,
}

/// What a declaration did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It was not there.
    Created,
    /// It was, and differed: its instances are replaced.
    Changed,
    /// It differed in how many instances it has, or in the rules for that: those that run stay.
    Scaled,
    /// It is as it was; nothing was touched.
    Unchanged,
}

/// Which function it is: another one of the same name, or one that was changed since, differs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Stamp {
    /// Made when it was created.
    pub id: String,
    /// Rises with each change of configuration, code or secrets.
    pub version: u64,
}

/// What who declares a function writes down of that, when it is known which function it is then and which subscriptions it left.
pub(crate) type Note = Box<dyn FnOnce(&Stamp, &Leftover) -> Result<TableChange> + Send>;

impl Worker {
    /// Makes a function what is said of it. Returns when it will survive a restart; whether it runs, its status says.
    ///
    /// # Errors
    /// [`Error::Invalid`] with what is wrong with configuration, secrets or code; [`Error::Exists`]: something of another kind has the name.
    pub async fn declare(&self, declaration: Declaration) -> Result<(Done, Stamp)> {
        self.declare_and(declaration, true, None).await.map(|(done, stamp, _)| (done, stamp))
    }

    /// The same; `note` is written with it, both or none, also where nothing is to be changed. Unless it `leaves` them now, subscriptions that
    /// nobody reads any more stay, and are said, for [`Self::leave_behind`] when it is sure that nobody goes back to them.
    pub(crate) async fn declare_noting(
        &self,
        declaration: Declaration,
        leaves: bool,
        note: Note,
    ) -> Result<(Stamp, Leftover)> {
        self.declare_and(declaration, leaves, Some(note)).await.map(|(_, stamp, left)| (stamp, left))
    }

    async fn declare_and(
        &self,
        declaration: Declaration,
        leaves: bool,
        note: Option<Note>,
    ) -> Result<(Done, Stamp, Leftover)> {
        let worker = self.clone();
        let noted = |stamp: &Stamp, left: &Leftover| note.map(|note| note(stamp, left)).transpose();
        self.deploy(async move {
            let Declaration { kind, name, config, given, apart, limits, scaling, replicas } = declaration;
            if let Some(rules) = &scaling {
                check(kind, rules)?;
            }
            let turn = worker.shared.gates.enter(&name).await;
            let config = Config::new(kind, &name, &config)?;
            let Some(at_hand) = worker.take(&config, given, &name, &turn).await? else {
                return Err(Error::Invalid(format!("the code of {kind} {name} is not given")));
            };
            let Ok(function) = worker.function(kind, &name) else {
                worker.must_be_free(kind, &name)?;
                let row = worker.create_row(&name, config, at_hand.code().clone());
                let scaled_to = replicas.filter(|replicas| *replicas != row.config.parallelism());
                let row = Row { scaling: Scaling { spec: scaling, ..Scaling::default() }, scaled_to, limits, ..row };
                let _deploying = worker.must_run_with(&row, apart.clone(), &turn).await?;
                let (stamp, left) = (row.stamp(), Leftover::default());
                worker.write_declared(&row, &apart, noted(&stamp, &left)?).await?;
                worker.subscribe(&row, true).await;
                tracing::info!(function = %name, %kind, "created");
                worker.admit(row, false).await;
                return Ok((Done::Created, stamp, left));
            };
            let old = function.row.lock().clone();
            let scaling = Scaling { spec: scaling, ..old.scaling.clone() };
            // Rules go on from as many as there are.
            let keeps = scaling.spec.is_some() || config.parallelism() == old.config.parallelism();
            let scaled_to = match replicas.filter(|_| scaling.spec.is_none()) {
                Some(replicas) => Some(replicas).filter(|replicas| *replicas != config.parallelism()),
                None => old.scaled_to.filter(|_| keeps && (scaling.spec.is_some() || old.scaling.spec.is_none())),
            };
            // What was found out counts as long as the same is declared.
            let is_same = limits == old.limits && config.resources() == old.config.resources();
            let has_vpa = scaling.spec.as_ref().is_some_and(|spec| spec.vpa.is_some());
            let size = old.size.clone().filter(|_| is_same && has_vpa);
            if config.with_parallelism_of(&old.config) == old.config
                && *at_hand.code() == old.code
                && limits == old.limits
                && apart == worker.shared.around.secrets.of(&name)
            {
                let (stamp, left) = (old.stamp(), Leftover::default());
                let note = noted(&stamp, &left)?;
                if config == old.config && scaling == old.scaling && scaled_to == old.scaled_to {
                    if let Some(note) = note {
                        worker.shared.tables.write(vec![note]).await?;
                    }
                    return Ok((Done::Unchanged, stamp, left));
                }
                let row = Row { config, scaling, scaled_to, size, ..old };
                let _deploying = worker.must_run(&row, &turn).await?;
                let mut changes = row.put()?;
                changes.extend(note);
                worker.shared.tables.write(changes).await?;
                worker.put(&name, &function, row).await?;
                return Ok((Done::Scaled, stamp, left));
            }
            let row = Row {
                version: old.version + 1,
                code_before: Some(old.code.clone()),
                config,
                code: at_hand.code().clone(),
                scaling,
                scaled_to,
                limits,
                size,
                ..old.clone()
            };
            let _deploying = worker.must_run_with(&row, apart.clone(), &turn).await?;
            worker.begin_windows(&old, &row).await?;
            let stamp = row.stamp();
            let left = match (worker.spec(&old).await, worker.spec(&row).await) {
                (Ok(old), Ok(new)) => Left::between(&old, &new),
                // What does not run has nothing open.
                _ => Left::default(),
            };
            let kept = if leaves { Leftover::default() } else { left.subscriptions.clone() };
            let note = noted(&stamp, &kept)?;
            if left.is_nothing() {
                worker.write_declared(&row, &apart, note).await?;
                worker.subscribe(&row, false).await;
                worker.put(&name, &function, row).await?;
            } else {
                // While nothing of it runs; and before it is written, so that who dies in between does it again.
                if let Ok(keeper) = &function.keeper {
                    keeper.close().await;
                }
                if let Some(outbox) = &function.outbox {
                    outbox.close().await;
                }
                let left = if leaves { worker.leave(&left.subscriptions).await } else { Ok(()) };
                let written = match left {
                    Ok(()) => worker.write_declared(&row, &apart, note).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = written {
                    worker.admit(old, true).await;
                    return Err(error);
                }
                worker.subscribe(&row, true).await;
                worker.admit(row, false).await;
            }
            tracing::info!(function = %name, %kind, version = stamp.version, "changed");
            worker.sweep().await;
            Ok((Done::Changed, stamp, kept))
        })
        .await
    }

    /// Unsubscribes from what a function left, unless it reads that again. What cannot be removed is told, and stays.
    pub(crate) async fn leave_behind(&self, kind: Kind, name: &Name, left: &[Leftover]) {
        let now = match self.function(kind, name) {
            Ok(function) => {
                let row = function.row.lock().clone();
                self.spec(&row).await.ok()
            }
            Err(_) => None,
        };
        for left in left {
            let is_read = |topic: &String| {
                now.as_ref()
                    .is_some_and(|spec| spec.subscription == left.subscription && spec.inputs.contains_key(topic))
            };
            let topics = left.topics.iter().filter(|(topic, _)| !is_read(topic)).cloned().collect();
            if let Err(error) = self.leave(&Leftover { topics, ..left.clone() }).await {
                tracing::warn!(function = %name, subscription = left.subscription, %error, "a subscription that nobody reads stays");
            }
        }
    }

    /// Which function there is under this name, if there is one of this kind.
    #[must_use]
    pub fn stamp(&self, kind: Kind, name: &Name) -> Option<Stamp> {
        self.function(kind, name).ok().map(|function| function.row.lock().stamp())
    }

    /// What came with a function and is kept apart.
    pub(crate) fn apart(&self, name: &Name) -> Apart {
        self.shared.around.secrets.of(name)
    }

    /// What there is under this name, of whichever kind.
    #[must_use]
    pub fn kind(&self, name: &Name) -> Option<Kind> {
        self.shared.functions.read().get(name).map(|function| function.row.lock().config.kind())
    }

    async fn write_declared(&self, row: &Row, apart: &Apart, note: Option<TableChange>) -> Result<()> {
        let name = row.name();
        let mut changes = row.put()?;
        changes.extend(Vault::changes(&name, apart)?);
        changes.extend(note);
        self.shared.tables.write(changes).await?;
        self.shared.around.secrets.keep(&name, apart.clone());
        Ok(())
    }

    async fn leave(&self, left: &Leftover) -> Result<()> {
        for (topic, is_pattern) in &left.topics {
            self.unsubscribe_from(topic, *is_pattern, &left.subscription).await?;
        }
        Ok(())
    }
}

impl Row {
    fn stamp(&self) -> Stamp {
        Stamp { id: self.id.clone(), version: self.version }
    }
}

/// What of a function's subscriptions nobody reads any more after a change.
#[derive(Debug, Default, PartialEq, Eq)]
struct Left {
    /// Old and new instances would get in each other's way.
    must_stop: bool,
    subscriptions: Leftover,
}

/// Subscriptions to be removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Leftover {
    subscription: String,
    /// Each with whether it is a pattern.
    topics: BTreeSet<(String, bool)>,
}

impl Leftover {
    pub(crate) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }
}

impl Left {
    fn between(old: &FunctionSpec, new: &FunctionSpec) -> Self {
        let is_renamed = old.subscription != new.subscription;
        let stays = |topic: &String| !is_renamed && new.inputs.contains_key(topic);
        let gone = old.inputs.iter().filter(|(topic, _)| !stays(topic));
        let gone: BTreeSet<_> = gone.map(|(topic, config)| (topic.clone(), config.is_pattern)).collect();
        Self {
            must_stop: is_renamed || old.subscription_type != new.subscription_type || !gone.is_empty(),
            subscriptions: Leftover {
                subscription: old.subscription.clone(),
                // As when it is deleted: who wants to keep its place says so.
                topics: if new.cleanup_subscription { gone } else { BTreeSet::new() },
            },
        }
    }

    fn is_nothing(&self) -> bool {
        !self.must_stop
    }
}

/// Values of secrets, of plain texts.
#[must_use]
pub fn secret_values(plain: impl IntoIterator<Item = (String, String)>) -> Values {
    plain.into_iter().map(|(name, value)| (name, Secret(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{spec::InputConfig, testing};

    fn reads(topics: &[&str]) -> FunctionSpec {
        let inputs = topics.iter().map(|topic| ((*topic).to_owned(), InputConfig::default())).collect();
        FunctionSpec { inputs, ..testing::spec("f") }
    }

    #[test]
    fn only_what_gets_in_each_others_way_stops_first() {
        let old = reads(&["a", "b"]);
        assert!(Left::between(&old, &FunctionSpec { class_name: "other".to_owned(), ..old.clone() }).is_nothing());
        assert!(Left::between(&old, &reads(&["a", "b", "c"])).is_nothing());
        let exclusive = model::SubscriptionType::Exclusive;
        let other_way = Left::between(&old, &FunctionSpec { subscription_type: exclusive, ..old.clone() });
        assert!(other_way.must_stop && other_way.subscriptions.topics.is_empty());
    }

    #[test]
    fn what_is_read_no_more_is_left_unless_its_place_is_to_be_kept() {
        let old = reads(&["a", "b"]);
        let left = Left::between(&old, &reads(&["b"]));
        assert_eq!((left.must_stop, left.subscriptions.topics), (true, BTreeSet::from([("a".to_owned(), false)])));
        let keeps = FunctionSpec { cleanup_subscription: false, ..reads(&["b"]) };
        assert!(Left::between(&old, &keeps).subscriptions.topics.is_empty());
        let renamed = FunctionSpec { subscription: "other".to_owned(), ..old.clone() };
        assert_eq!(Left::between(&old, &renamed).subscriptions.topics.len(), 2);
    }
}
