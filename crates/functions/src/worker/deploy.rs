//! Functions come, change their code or configuration, and go.
//!
//! Each of these runs in a task of its own: a client that goes away leaves nothing half done.

use autoscale::Spec;
use model::function::UpdateOptions;
use sha2::{Digest, Sha256};
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    BUILTIN, Config, INSTANCES_MAX, Name, Worker,
    gates::Turn,
    resolve,
    row::{CodeRef, Row},
    tidy::Deploying,
    vault::{Apart, Vault},
};
use crate::{Code, Error, FunctionSpec, Kind, Result, packages::Stored};

/// What an update is told that changes nothing. Source: Pulsar's `FunctionsImpl.updateFunction`.
pub const NO_CHANGE: &str = "Update contains no change";

/// How code comes with a request.
pub enum Given {
    /// In it.
    Uploaded(Stored),
    /// As a URL.
    Url(String),
    /// Not at all: it is built in, is a command, or stays as it is.
    Nothing,
}

/// Code that is at hand, and stays so while this is held.
pub(super) struct AtHand {
    code: CodeRef,
    _stored: Option<Stored>,
}

impl AtHand {
    pub(super) fn code(&self) -> &CodeRef {
        &self.code
    }
}

impl Worker {
    /// Creates a function, source or sink of its JSON, and starts it. Returns when it will survive a restart; whether it runs, its status says.
    ///
    /// # Errors
    /// [`Error::Invalid`] with what is wrong with configuration or code; [`Error::Exists`].
    pub async fn create(&self, kind: Kind, name: Name, config: String, given: Given) -> Result<()> {
        self.create_scaling(kind, name, config, given, None).await
    }

    /// The same, of something that scales by these rules.
    ///
    /// # Errors
    /// Those of [`Self::create`]; [`Error::Invalid`] with what is wrong with the rules.
    pub async fn create_scaling(
        &self,
        kind: Kind,
        name: Name,
        config: String,
        given: Given,
        rules: Option<Spec>,
    ) -> Result<()> {
        if let Some(rules) = &rules {
            super::scaling::check(kind, rules)?;
        }
        let worker = self.clone();
        self.deploy(async move {
            let turn = worker.shared.gates.enter(&name).await;
            worker.must_be_free(kind, &name)?;
            let config = Config::new(kind, &name, &config)?;
            let Some(at_hand) = worker.take(&config, given, &name, &turn).await? else {
                return Err(Error::Invalid(format!("{} Package is not provided", kind.title())));
            };
            let mut row = worker.create_row(&name, config, at_hand.code.clone());
            row.scaling.spec = rules;
            let _deploying = worker.must_run(&row, &turn).await?;
            row.write(&*worker.shared.tables).await?;
            worker.subscribe(&row, true).await;
            tracing::info!(function = %name, %kind, "created");
            worker.admit(row, false).await;
            Ok(())
        })
        .await
    }

    /// Changes a configuration, by the JSON of what differs, or code, where something does, and replaces the instances one after the other.
    ///
    /// # Errors
    /// [`Error::Invalid`]: nothing changes, or not so; what is wrong with configuration or code. [`Error::NotFound`].
    pub async fn update(
        &self,
        kind: Kind,
        name: Name,
        config: String,
        given: Given,
        options: UpdateOptions,
    ) -> Result<()> {
        let worker = self.clone();
        self.deploy(async move {
            let turn = worker.shared.gates.enter(&name).await;
            let function = worker.function(kind, &name)?;
            let old = function.row.lock().clone();
            let config = old.config.updated(&name, &config)?;
            if config == old.config && matches!(given, Given::Nothing) && !options.update_auth_data {
                return Err(Error::Invalid(NO_CHANGE.to_owned()));
            }
            let at_hand = worker.take(&config, given, &name, &turn).await?;
            let code = at_hand.as_ref().map_or_else(|| old.code.clone(), |at_hand| at_hand.code.clone());
            let scaled_to = old.scaled_to.filter(|_| config.parallelism() == old.config.parallelism());
            // Who says anew what an instance may use, says all of it.
            let is_same = config.resources() == old.config.resources();
            let limits = old.limits.clone().filter(|_| is_same);
            let row = Row {
                version: old.version + 1,
                code_before: Some(old.code.clone()),
                config,
                code,
                scaled_to,
                size: old.size.clone().filter(|_| is_same),
                limits,
                ..old.clone()
            };
            let _deploying = worker.must_run(&row, &turn).await?;
            worker.begin_windows(&old, &row).await?;
            row.write(&*worker.shared.tables).await?;
            tracing::info!(function = %name, %kind, version = row.version, "updated");
            worker.put(&name, &function, row).await?;
            worker.sweep().await;
            Ok(())
        })
        .await
    }

    /// A function that has windows from now on begins with none: it may have had some long ago.
    pub(super) async fn begin_windows(&self, old: &Row, new: &Row) -> Result<()> {
        if new.config.has_windows() && !old.config.has_windows() {
            self.shared.tables.delete_table(&crate::spec::window_table(&new.name().to_string())).await?;
        }
        Ok(())
    }

    /// Makes a change that may bring code; where it fails, that code goes.
    pub(super) async fn deploy<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let result = whole(change).await;
        if result.is_err() {
            self.sweep().await;
        }
        result
    }

    /// Stops a function and forgets it, its state, and where it is wanted so its subscription. What is being prepared for it is given up.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn delete(&self, kind: Kind, name: Name) -> Result<()> {
        let worker = self.clone();
        whole(async move {
            let _turn = worker.shared.gates.enter_to_end(&name).await;
            let function = worker.function(kind, &name)?;
            let row = Row { is_going: true, ..function.row.lock().clone() };
            row.write(&*worker.shared.tables).await?;
            *function.row.lock() = row;
            worker.shared.scaler.touch(&name);
            worker.finish_delete(&name).await?;
            tracing::info!(function = %name, %kind, "deleted");
            worker.sweep().await;
            // Nobody waits for what may be large.
            let tidies = worker.clone();
            tokio::spawn(async move { tidies.tidy().await });
            Ok(())
        })
        .await
    }

    /// Does what remains to be done for a function whose row says that it goes. Done twice, it does no harm.
    pub(super) async fn finish_delete(&self, name: &Name) -> Result<()> {
        let found = self.shared.functions.read().get(name).cloned();
        let Some(function) = found else { return Ok(()) };
        if let Ok(keeper) = &function.keeper {
            keeper.close().await;
        }
        let row = function.row.lock().clone();
        match self.going_spec(&row) {
            Ok(spec) => {
                self.close_outbox(&function, &spec).await;
                self.clean_up(&spec).await;
            }
            Err(error) => tracing::warn!(function = %name, %error, "the subscription of a deleted function stays"),
        }
        for table in crate::spec::tables_of(&name.to_string()) {
            self.shared.tables.delete_table(&table).await?;
        }
        let mut changes = row.deletion();
        changes.extend(Vault::changes(name, &Apart::default())?);
        self.shared.tables.write(changes).await?;
        self.shared.around.secrets.keep(name, Apart::default());
        self.shared.functions.write().remove(name);
        self.shared.scaler.forget(name);
        Ok(())
    }

    /// What instances of a function that goes were made of.
    fn going_spec(&self, row: &Row) -> Result<FunctionSpec> {
        // Its code may be gone, and does not matter any more; the name of the file says what it was.
        let code = match &row.code {
            CodeRef::Blob(blob) => Code::File(blob.name().into()),
            CodeRef::Builtin(name) => Code::Builtin(name.clone()),
            CodeRef::Command(words) => Code::Command(words.clone()),
        };
        resolve::spec(row, code, &self.shared.settings)
    }

    /// Goes on with a deletion that the last process did not finish. One with an outbox is finished later: it is emptied by a client of the
    /// broker, which answers nobody yet.
    pub(super) async fn go_on_deleting(&self, row: &Row) {
        let name = row.name();
        let still_there = |error: Error, name: &Name| {
            tracing::error!(function = %name, %error, "a function that was being deleted is still there");
        };
        if !self.going_spec(row).is_ok_and(|spec| spec.elsewhere.is_some()) {
            if let Err(error) = self.finish_delete(&name).await {
                still_there(error, &name);
            }
            return;
        }
        let turn = self.shared.gates.enter_to_end(&name).await;
        let worker = self.clone();
        self.shared.finishing.lock().spawn(async move {
            if let Err(error) = worker.finish_delete(&name).await {
                still_there(error, &name);
            }
            drop(turn);
            worker.sweep().await;
            worker.tidy().await;
        });
    }

    /// Removes what a function leaves outside the tables; what cannot be removed is told, and stays.
    async fn clean_up(&self, spec: &FunctionSpec) {
        if spec.cleanup_subscription {
            for (topic, config) in &spec.inputs {
                if let Err(error) = self.unsubscribe_from(topic, config.is_pattern, &spec.subscription).await {
                    tracing::warn!(function = spec.fqfn(), topic, %error, "the subscription of a deleted function stays");
                }
            }
        }
        let dir = super::work_dir(&self.shared.around.work_dir, spec);
        match tokio::fs::remove_dir_all(&dir).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, dir = %dir.display(), "a directory stays");
            }
            _ => {}
        }
    }

    /// Removes a subscription from a topic, all its partitions, or all topics of a pattern.
    pub(super) async fn unsubscribe_from(&self, topic: &str, is_pattern: bool, subscription: &str) -> Result<()> {
        let log = &self.shared.log;
        let topics = if is_pattern { log.matching(topic, subscription).await? } else { vec![resolve::topic(topic)?] };
        for topic in topics {
            let partitions = if topic.partition().is_some() { 0 } else { log.partitions(&topic).await? };
            if partitions == 0 {
                log.unsubscribe(&topic, subscription).await?;
            }
            for number in 0..partitions {
                log.unsubscribe(&topic.with_partition(number), subscription).await?;
            }
        }
        Ok(())
    }

    /// Names are shared by the three kinds, as their subscriptions and their state are.
    pub(super) fn must_be_free(&self, kind: Kind, name: &Name) -> Result<()> {
        if self.shared.functions.read().contains_key(name) {
            return Err(Error::Exists(format!("{} {} already exists", kind.title(), name.name)));
        }
        if self.shared.damaged.contains(&format!("{kind}/{name}")) {
            return Err(Error::Exists(format!("{} {} is there, but its row cannot be read", kind.title(), name.name)));
        }
        Ok(())
    }

    /// Stores the code that came, if some did.
    pub(super) async fn take(&self, config: &Config, given: Given, name: &Name, turn: &Turn) -> Result<Option<AtHand>> {
        let builtin = |name: &str| {
            let is_there = self.shared.connectors.iter().any(|connector| {
                let class = match config.kind() {
                    Kind::Source => &connector.source_class,
                    Kind::Sink => &connector.sink_class,
                    Kind::Function => &None,
                };
                connector.name.as_deref() == Some(name) && class.is_some()
            });
            if !is_there {
                return Err(Error::Invalid(format!("Built-in {} is not available: {name}", config.kind())));
            }
            Ok(AtHand { code: CodeRef::Builtin(name.to_owned()), _stored: None })
        };
        let stored = match given {
            Given::Uploaded(stored) => stored,
            Given::Url(url) => match url.strip_prefix(BUILTIN) {
                Some(name) => return builtin(name).map(Some),
                None => {
                    turn.unless_over(self.shared.packages.fetch(&url)).await.unwrap_or_else(|| Err(deleted(name)))?
                }
            },
            Given::Nothing => {
                if let Some(name) = config.builtin() {
                    return builtin(name).map(Some);
                }
                return Ok(config.command().map(|words| AtHand { code: CodeRef::Command(words), _stored: None }));
            }
        };
        Ok(Some(AtHand { code: CodeRef::Blob(stored.id().clone()), _stored: Some(stored) }))
    }

    /// A row of something new.
    pub(super) fn create_row(&self, name: &Name, config: Config, code: CodeRef) -> Row {
        let now = self.shared.clock.now_ms();
        Row::new(name, config, code, new_id(name, now), now)
    }

    /// Checks that this can run here, and prepares it; what is made stays while the answer is held.
    pub(super) async fn must_run(&self, row: &Row, turn: &Turn) -> Result<Deploying> {
        self.must_run_with(row, self.shared.around.secrets.of(&row.name()), turn).await
    }

    /// The same with other values than it has.
    pub(super) async fn must_run_with(&self, row: &Row, apart: Apart, turn: &Turn) -> Result<Deploying> {
        if row.instances() > INSTANCES_MAX {
            return Err(Error::Invalid(format!("a function may have {INSTANCES_MAX} instances")));
        }
        let spec = Arc::new(self.spec(row).await?);
        for (topic, input) in spec.inputs.iter().filter(|(_, input)| !input.idle_properties.is_empty()) {
            tracing::warn!(function = %row.name(), topic, idle = ?input.idle_properties, "consumerProperties that have no effect");
        }
        self.shared.runtimes.get(spec.language)?;
        self.must_forward(&row.name(), &spec).await?;
        self.shared.around.secrets.resolve_with(&spec, apart).map_err(Error::Invalid)?;
        let deploying = self.deploying(&spec);
        let prepared = turn.unless_over(super::keeper::prepared(&self.shared.around, spec.clone())).await;
        prepared.ok_or_else(|| deleted(&row.name()))?.map_err(Error::Invalid)?;
        self.must_keep(&row.name(), &spec).await?;
        Ok(deploying)
    }

    /// Makes the subscriptions, so that nothing published after the answer is missed, however long the code takes to start. What cannot
    /// be subscribed to now, the instances try again, and say why not. `skips`: nothing of it runs, and it may begin after what is there.
    pub(super) async fn subscribe(&self, row: &Row, skips: bool) {
        let subscribed = match self.spec(row).await {
            Ok(spec) => crate::instance::subscribe(&self.shared.log, spec, skips).await,
            Err(error) => Err(error),
        };
        if let Err(error) = subscribed {
            tracing::warn!(function = %row.name(), %error, "the function is not subscribed yet");
        }
    }

    /// Keeps a row that was written, and lets what runs follow.
    pub(super) async fn put(&self, name: &Name, function: &Arc<super::Function>, row: Row) -> Result<()> {
        let Ok(keeper) = &function.keeper else {
            // What could not run before perhaps can now.
            self.admit(row, true).await;
            return Ok(());
        };
        let spec = self.spec(&row).await.inspect_err(|error| {
            tracing::error!(function = %name, %error, "a function stays as it was");
        })?;
        self.put_outbox(function, &spec).await;
        if let Some(before) = keeper.spec().filter(|before| before.version != spec.version) {
            *function.before.lock() = Some(before);
        }
        *function.row.lock() = row;
        keeper.want(function.wanted(Arc::new(spec)));
        self.shared.scaler.touch(name);
        Ok(())
    }
}

fn deleted(name: &Name) -> Error {
    Error::Invalid(format!("{name} was deleted while it was being prepared"))
}

/// Runs to the end whoever still waits for it.
pub(crate) async fn whole<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    tokio::spawn(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "a change of a function panicked");
        Err(Error::Closed("the request failed because of a defect in Geminga; the log has more".to_owned()))
    })
}

/// An id in the form of a UUID, as Pulsar's are, that no other function has.
fn new_id(name: &Name, now_ms: u64) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let hash = Sha256::digest(format!("{name} {now_ms} {count} {}", std::process::id()));
    let hex: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
