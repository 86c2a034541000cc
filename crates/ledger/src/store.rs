//! All stored topics of one broker: the journal they share, the catalog of what each of them is, and the overlay of what changed
//! since the catalog was last written.
//!
//! A commit carries the operations of many topics; positions are given out while the journal's sequencer holds it, so entries of a
//! ledger are in the journal in the order of their numbers.

use metastore::{IdBlocks, Metastore};
use model::{NamespaceName, Position, TopicName};
use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{
    Config, ManagedLedger,
    batch::{
        Batch, KIND_CREATE, KIND_DELETE, KIND_DELTAS, KIND_ENTRY, KIND_PARTITIONS, KIND_ROLL, KIND_TABLE, Op, TableSlot,
    },
    cache::Budget,
    catalog::Catalog,
    codec::{put_map, put_option, put_str, put_u64},
    compaction::Maintenance,
    delta::encode_dedup,
    error::{Error, Result},
    overlay::Overlay,
    recovery::Replay,
    segments::Segments,
    state::State,
    table::Tables,
    topic::{BUNDLE, Topic},
};

/// Ledger ids taken from the metadata store at a time.
const ID_BLOCK: u64 = 16 * 1024;
const IDS_KEY: &str = "ledger-ids";

/// Where an entry went that was not stored after all, see [`crate::Appender::append`].
pub const NOT_STORED: Position = Position { ledger: u64::MAX, entry: -1 };

/// What a commit did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// When the journal is durable up to here, so is the commit.
    pub lsn: journal::Lsn,
    /// Where each entry went, in the order of the calls of [`ManagedLedger::append`] and [`crate::Appender::append`].
    pub positions: Vec<Position>,
}

/// What was found at the start.
#[derive(Debug, Clone, Default)]
pub struct Recovered {
    /// What the journal found.
    pub journal: journal::Recovery,
    /// The commit up to which the catalog was complete.
    pub checkpoint: journal::Lsn,
    /// Records replayed on top of it.
    pub records: u64,
    /// Topics these belonged to.
    pub topics: usize,
    /// How long all of it took.
    pub duration: Duration,
}

/// Stored topics; clones are the same store.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn seams::Clock>,
    pub(crate) journal: journal::Journal,
    pub(crate) catalog: Catalog,
    pub(crate) segments: Segments,
    pub(crate) budget: Arc<Budget>,
    pub(crate) overlay: Mutex<Overlay>,
    pub(crate) tables: Tables,
    /// Topics with changes that are not in the catalog, each once.
    pub(crate) dirty: Mutex<Vec<Arc<Topic>>>,
    /// Ledgers that topics have dropped and the catalog may still have: until it has not, the journal keeps knowing where they are.
    pub(crate) dropped: Mutex<Vec<u64>>,
    /// Position of the last checkpoint.
    pub(crate) checkpointed: AtomicU64,
    /// Bytes committed since then.
    pub(crate) uncheckpointed: AtomicU64,
    /// One checkpoint or compaction at a time.
    pub(crate) maintenance: tokio::sync::Mutex<Maintenance>,
    epoch: u32,
    ids: Arc<IdBlocks>,
    refilling: Arc<AtomicBool>,
    generations: Arc<AtomicU64>,
    runtime: tokio::runtime::Handle,
}

impl Store {
    /// Opens what is in the configured directories, or makes it. `epoch` is that of this process' ownership and is written with
    /// every record.
    ///
    /// # Errors
    /// A directory is in use, unreadable or damaged; the metadata store gives no ledger ids.
    pub async fn open(
        config: Config,
        clock: Arc<dyn seams::Clock>,
        meta: Arc<dyn Metastore>,
        epoch: u32,
    ) -> Result<(Self, Recovered)> {
        let io = |what| move |source| Error::Io { what, source };
        seams::make_dir(&config.dir).map_err(io("make the data directory"))?;
        let dir = config.journal.dir.clone();
        let files = journal::Directory::open(dir, config.journal.direct).map_err(io("open the journal directory"))?;
        Self::open_on(config, Arc::new(files), clock, meta, epoch).await
    }

    /// Like [`Store::open`], with the journal on `files`.
    ///
    /// # Errors
    /// As for [`Store::open`].
    pub async fn open_on(
        config: Config,
        files: Arc<dyn journal::Files>,
        clock: Arc<dyn seams::Clock>,
        meta: Arc<dyn Metastore>,
        epoch: u32,
    ) -> Result<(Self, Recovered)> {
        let started = clock.monotonic();
        let segments = Segments::open(&config.dir.join("segments")).await?;
        let stored = segments.stored().await?;
        let sorted = !stored.is_empty();
        let blocking = config.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let catalog = Catalog::open(&blocking.dir.join("catalog.redb"), blocking.catalog_cache_bytes)?;
            // The first checkpoint lets journal files go: the catalog's name must be on disk as well as its content.
            let names = std::fs::File::open(&blocking.dir).and_then(|dir| dir.sync_all());
            names.map_err(|source| Error::Io { what: "sync the data directory", source })?;
            let mut replay = Replay::new(catalog)?;
            let checkpoint = replay.checkpoint;
            let (journal, recovery) =
                journal::Journal::open(blocking.journal, files, checkpoint, &mut |lsn, record| {
                    replay.visit(lsn, record).map_err(Into::into)
                })?;
            let first = journal.files().iter().map(|file| file.first_lsn).find(|&first| first > 0);
            // A journal file goes, or is needed no more for what is in a segment, when there is a checkpoint. Damage is no error.
            let cut = first.map_or(sorted, |first| first > 1);
            let damaged = !recovery.quarantined.is_empty() || recovery.set_aside > 0;
            if checkpoint == 0 && cut && (sorted || !damaged) {
                return Err(Error::Contradiction(
                    "the catalog is empty, but the journal and segments were not stored with an empty one: catalog.redb, or the \
                     journal's first files, were lost; put them back"
                        .into(),
                ));
            }
            if let Some(first) = first.filter(|&first| first > checkpoint + 1) {
                tracing::error!(
                    checkpoint,
                    first,
                    "the journal begins behind the catalog's checkpoint: what was between is lost"
                );
            }
            let known = replay.catalog.segments()?;
            let highest = replay.highest_id()?;
            for &ledger in &replay.forgotten {
                journal.forget(ledger);
            }
            Ok::<_, Error>((replay, journal, recovery, known, highest))
        });
        let (replay, journal, recovery, known, highest) = opened.await.map_err(|_| Error::Closed)??;
        let highest = stored.last().map_or(0, |id| id.0).max(highest);
        let metastore = |e| Error::Metastore(Box::new(e));
        let given = metastore::last_reserved(&*meta, IDS_KEY).await.map_err(metastore)?;
        if highest > given {
            return Err(Error::Contradiction(format!(
                "ledger {highest} is stored, but the metadata store gave no id above {given}: it was lost, or is another's"
            )));
        }
        let ids = IdBlocks::open(meta, IDS_KEY, ID_BLOCK).await.map_err(metastore)?;
        segments.adopt(known, stored).await?;
        let mut recovered = Recovered {
            checkpoint: replay.checkpoint,
            journal: recovery,
            records: replay.records,
            topics: replay.dirty.len(),
            duration: Duration::ZERO,
        };
        let inner = Inner {
            budget: Arc::new(Budget::new(config.cache_bytes)),
            clock: clock.clone(),
            journal,
            catalog: replay.catalog,
            segments,
            overlay: Mutex::new(replay.overlay),
            tables: replay.tables,
            dirty: Mutex::new(replay.dirty),
            dropped: Mutex::default(),
            checkpointed: AtomicU64::new(replay.checkpoint),
            uncheckpointed: AtomicU64::new(replay.bytes),
            maintenance: tokio::sync::Mutex::new(Maintenance::default()),
            epoch,
            ids: Arc::new(ids),
            refilling: Arc::default(),
            generations: Arc::default(),
            runtime: tokio::runtime::Handle::current(),
            config,
        };
        recovered.duration = clock.monotonic().saturating_sub(started);
        tracing::info!(
            checkpoint = recovered.checkpoint,
            last = recovered.journal.last,
            records = recovered.records,
            topics = recovered.topics,
            millis = recovered.duration.as_millis() as u64,
            "ledger store open"
        );
        Ok((Self { inner: Arc::new(inner) }, recovered))
    }

    /// Whether a topic of this name is stored.
    ///
    /// # Errors
    /// The catalog cannot be read.
    pub fn exists(&self, topic: &TopicName) -> Result<bool> {
        self.inner.overlay.lock().exists(&self.inner.catalog, &topic.to_string())
    }

    /// The stored topics of a namespace in order of name, each partition by itself.
    ///
    /// # Errors
    /// The catalog cannot be read.
    pub fn topics(&self, namespace: &NamespaceName) -> Result<Vec<TopicName>> {
        self.topics_with(&format!("persistent://{namespace}/"))
    }

    /// What is stored of a partitioned topic, sorted by name, whatever its number of partitions.
    ///
    /// # Errors
    /// The catalog cannot be read.
    pub fn parts(&self, topic: &TopicName) -> Result<Vec<TopicName>> {
        let mut found = self.topics_with(&format!("{topic}-"))?;
        found.retain(|name| name.partitioned() == *topic);
        Ok(found)
    }

    fn topics_with(&self, prefix: &str) -> Result<Vec<TopicName>> {
        let overlay = self.inner.overlay.lock();
        let mut names: BTreeMap<String, ()> =
            self.inner.catalog.names(prefix)?.into_iter().map(|name| (name, ())).collect();
        for (name, known) in with_prefix(&overlay.names, prefix) {
            match known {
                Some(_) => names.insert(name.clone(), ()),
                None => names.remove(name),
            };
        }
        Ok(names.into_keys().filter_map(|name| name.parse().ok()).collect())
    }

    /// Puts a new topic into the batch; it can be loaded at once.
    ///
    /// # Errors
    /// [`Error::Exists`]; [`Error::NoLedgerId`] when many are created at once and the next ids are on their way.
    pub fn create(&self, batch: &mut Batch, topic: &TopicName, properties: BTreeMap<String, String>) -> Result<()> {
        let key = topic.to_string();
        let mut overlay = self.inner.overlay.lock();
        if overlay.exists(&self.inner.catalog, &key)? {
            return Err(Error::Exists(topic.clone()));
        }
        let id = self.inner.next_id().ok_or(Error::NoLedgerId)?;
        let state = State::new(id, self.inner.clock.now_ms(), properties.clone());
        let created = Arc::new(Topic::new(id, topic.clone(), state));
        overlay.insert(&created);
        batch.create(&created, properties);
        Ok(())
    }

    /// Deletes a topic with its cursors and ledgers. It must not be loaded.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Loaded`].
    pub fn delete(&self, batch: &mut Batch, topic: &TopicName) -> Result<()> {
        let deleted = {
            let mut overlay = self.inner.overlay.lock();
            let found = overlay.topic(&self.inner.catalog, &topic.to_string())?;
            let found = found.ok_or_else(|| Error::NotFound(topic.clone()))?;
            if found.state.lock().loaded {
                return Err(Error::Loaded(topic.clone()));
            }
            overlay.delete(&found);
            found
        };
        {
            let mut state = deleted.state.lock();
            let ledgers = std::mem::take(&mut state.ledgers);
            // A state has a ledger, always.
            state.ledgers.push(crate::state::Meta { id: deleted.id, ..Default::default() });
            state.removed.extend(ledgers);
        }
        self.inner.release(&deleted);
        batch.delete(&deleted);
        Ok(())
    }

    /// The number of partitions of a partitioned topic.
    ///
    /// # Errors
    /// The catalog cannot be read.
    pub fn partitions(&self, topic: &TopicName) -> Result<Option<u32>> {
        let key = topic.to_string();
        let overlay = self.inner.overlay.lock();
        match overlay.partitions.get(&key) {
            Some(&known) => Ok(known),
            None => self.inner.catalog.partitions(&key),
        }
    }

    /// The numbers of partitions of these topics, in their order. One look at the catalog, however many they are.
    ///
    /// # Errors
    /// The catalog cannot be read.
    pub fn partitions_of<'a>(&self, topics: impl IntoIterator<Item = &'a TopicName>) -> Result<Vec<Option<u32>>> {
        let keys: Vec<String> = topics.into_iter().map(ToString::to_string).collect();
        let changed: Vec<Option<Option<u32>>> = {
            let overlay = self.inner.overlay.lock();
            keys.iter().map(|key| overlay.partitions.get(key).copied()).collect()
        };
        // What is not in the overlay is in the catalog, where it only gets newer.
        let unchanged = keys.iter().zip(&changed).filter(|(_, changed)| changed.is_none());
        let unchanged: Vec<&str> = unchanged.map(|(key, _)| key.as_str()).collect();
        let mut rest = self.inner.catalog.partitions_of(&unchanged)?.into_iter();
        Ok(changed.into_iter().map(|changed| changed.unwrap_or_else(|| rest.next().flatten())).collect())
    }

    /// Sets the number of partitions of a topic, or forgets that it is partitioned. The partitions are topics of their own.
    ///
    /// # Errors
    /// None now.
    pub fn set_partitions(&self, batch: &mut Batch, topic: &TopicName, partitions: Option<u32>) -> Result<()> {
        self.inner.overlay.lock().partitions.insert(topic.to_string(), partitions);
        batch.partitions(topic.clone(), partitions);
        Ok(())
    }

    /// The partitioned topics of a namespace and their numbers of partitions, in order of name, persistent ones first.
    ///
    /// # Errors
    /// The catalog cannot be read.
    pub fn partitioned_topics(&self, namespace: &NamespaceName) -> Result<Vec<(TopicName, u32)>> {
        let overlay = self.inner.overlay.lock();
        let mut found = Vec::new();
        for domain in ["persistent", "non-persistent"] {
            let prefix = format!("{domain}://{namespace}/");
            let mut names: BTreeMap<String, u32> = self.inner.catalog.partitioned(&prefix)?.into_iter().collect();
            for (name, known) in with_prefix(&overlay.partitions, &prefix) {
                match known {
                    Some(n) => names.insert(name.clone(), *n),
                    None => names.remove(name),
                };
            }
            found.extend(names.into_iter().filter_map(|(name, n)| Some((name.parse().ok()?, n))));
        }
        Ok(found)
    }

    /// Loads a topic for one owner, until that drops it.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Loaded`].
    pub fn load(&self, topic: &TopicName) -> Result<ManagedLedger> {
        let mut overlay = self.inner.overlay.lock();
        let found = overlay.topic(&self.inner.catalog, &topic.to_string())?;
        let found = found.ok_or_else(|| Error::NotFound(topic.clone()))?;
        if std::mem::replace(&mut found.state.lock().loaded, true) {
            return Err(Error::Loaded(topic.clone()));
        }
        drop(overlay);
        Ok(ManagedLedger::new(self.inner.clone(), found))
    }

    /// The ledger of a topic that is not persistent: it goes when it is dropped, and takes its number with it.
    ///
    /// # Errors
    /// [`Error::NoLedgerId`] when many are opened at once and the next ids are on their way.
    pub fn pass_through(&self, topic: &TopicName) -> Result<ManagedLedger> {
        let id = self.inner.next_id().ok_or(Error::NoLedgerId)?;
        let state = State::new(id, self.inner.clock.now_ms(), BTreeMap::new());
        Ok(ManagedLedger::new(self.inner.clone(), Arc::new(Topic::new(id, topic.clone(), state))))
    }

    /// An empty batch.
    #[must_use]
    pub fn batch(&self) -> Batch {
        Batch::new(self.inner.generations.clone())
    }

    /// Hands the batch to the journal as one commit and empties it. An empty batch is as durable as the last commit.
    ///
    /// # Errors
    /// When [`Error::is_full`] the batch is as it was and can be tried again; else the journal has stopped and the batch is empty.
    pub fn commit(&self, batch: &mut Batch, listener: &Arc<dyn journal::Listener>) -> Result<Committed> {
        if batch.is_empty() {
            return Ok(Committed { lsn: self.last(), positions: Vec::new() });
        }
        batch.seal();
        if let Some(too_long) = batch.too_long() {
            // Not left to the journal: what it refuses has been given positions, which others may have built on.
            return Err(self.give_up(batch, journal::Error::TooLarge(too_long)));
        }
        let mut positions = Vec::with_capacity(batch.appends);
        let mut tables = std::mem::take(&mut batch.tables);
        let durable = self.durable();
        let committed = {
            let (inner, batch, tables, positions) = (&*self.inner, &*batch, &mut tables, &mut positions);
            self.inner.journal.commit_sized(listener, batch.bytes(), |commit| {
                inner.fill(commit, durable, batch, tables, positions);
            })
        };
        match committed {
            Ok((lsn, ())) => {
                self.inner.uncheckpointed.fetch_add(batch.bytes() as u64, Relaxed);
                batch.clear();
                Ok(Committed { lsn, positions })
            }
            Err(journal::Error::Full) => {
                batch.tables = tables;
                batch.unseal();
                Err(journal::Error::Full.into())
            }
            Err(error) => Err(self.give_up(batch, error)),
        }
    }

    /// What the batch changed in memory will never be durable, so nothing that comes after it may be: a start undoes it.
    fn give_up(&self, batch: &mut Batch, error: journal::Error) -> Error {
        if let journal::Error::TooLarge(bytes) = error {
            let source = std::io::Error::other(format!("a record of {bytes} bytes is too large"));
            self.inner.journal.fail("make a commit", source);
        }
        batch.clear();
        error.into()
    }

    /// The last commit.
    #[must_use]
    pub fn last(&self) -> journal::Lsn {
        self.inner.journal.last()
    }

    /// The last commit that is durable with all before it.
    #[must_use]
    pub fn durable(&self) -> journal::Lsn {
        self.inner.journal.durable()
    }

    /// Resolves when commit `lsn` is durable.
    ///
    /// # Errors
    /// The journal has stopped before that.
    pub async fn wait(&self, lsn: journal::Lsn) -> Result<()> {
        Ok(self.inner.journal.wait(lsn).await?)
    }

    /// Whether commits can still become durable; after a failed write they never will in this process.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.inner.journal.failure().is_none()
    }

    /// Counters of the journal.
    #[must_use]
    pub fn journal_stats(&self) -> journal::Stats {
        self.inner.journal.stats()
    }

    /// Bytes of entries kept in memory for consumers that follow the tail.
    #[must_use]
    pub fn cached_bytes(&self) -> usize {
        self.inner.budget.used()
    }

    /// Topics in memory: loaded ones, and changed ones until the next checkpoint.
    #[must_use]
    pub fn topics_in_memory(&self) -> usize {
        self.inner.overlay.lock().names.len()
    }

    /// Writes a last checkpoint, so that the next start has nothing to replay, and closes the journal.
    ///
    /// # Errors
    /// The checkpoint failed; the journal is closed all the same, and the next start replays it.
    pub async fn close(self) -> Result<()> {
        let written = self.checkpoint().await;
        let inner = self.inner.clone();
        tokio::task::spawn_blocking(move || inner.journal.close()).await.map_err(|_| Error::Closed)?;
        written
    }
}

fn with_prefix<'a, V>(map: &'a BTreeMap<String, V>, prefix: &'a str) -> impl Iterator<Item = (&'a String, &'a V)> {
    map.range(prefix.to_owned()..).take_while(move |(name, _)| name.starts_with(prefix))
}

impl Inner {
    /// The next ledger id; asks for more ahead of time.
    pub(crate) fn next_id(&self) -> Option<u64> {
        let id = self.ids.try_next();
        if self.ids.left() < ID_BLOCK / 2 && !self.refilling.swap(true, Relaxed) {
            let (ids, refilling) = (self.ids.clone(), self.refilling.clone());
            self.runtime.spawn(async move {
                if let Err(error) = ids.refill().await {
                    tracing::error!(%error, "no more ledger ids");
                    // Not asked for again at once by every publish.
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                refilling.store(false, Relaxed);
            });
        }
        id
    }

    /// Makes known whose a ledger is, before it is opened.
    pub(crate) fn register(&self, ledger: u64, topic: &Arc<Topic>) {
        self.overlay.lock().owners.insert(ledger, topic.clone());
    }

    /// Gives back what ledgers held that the topic has dropped.
    ///
    /// The journal forgets them only with the next whole checkpoint. A file that is full before that gets an index, and the drop may
    /// be in no durable commit yet: after a stop the topic has the ledger again, and a start would not find its entries.
    pub(crate) fn release(&self, topic: &Topic) {
        let removed = std::mem::take(&mut topic.state.lock().removed);
        if removed.is_empty() {
            return;
        }
        {
            let mut overlay = self.overlay.lock();
            for ledger in removed.iter().filter(|l| l.id != topic.id) {
                overlay.owners.remove(&ledger.id);
            }
        }
        for ledger in &removed {
            self.segments.release(&ledger.segments);
        }
        self.dropped.lock().extend(removed.iter().map(|ledger| ledger.id));
    }

    pub(crate) fn unloaded(&self, topic: &Arc<Topic>) {
        let mut overlay = self.overlay.lock();
        {
            let mut state = topic.state.lock();
            state.loaded = false;
            for cursor in &mut state.cursors {
                cursor.take_if(|c| !c.durable);
            }
        }
        overlay.evict(topic, 1);
    }

    /// Runs under the sequencer's lock: gives out positions and turns operations into records.
    fn fill(
        &self,
        commit: &mut journal::Commit,
        durable: journal::Lsn,
        batch: &Batch,
        tables: &mut [TableSlot],
        positions: &mut Vec<Position>,
    ) {
        let lsn = commit.lsn();
        let record = |kind, stream, seq, aux, body| journal::Record {
            kind,
            flags: 0,
            bundle: BUNDLE,
            epoch: self.epoch,
            stream,
            seq,
            aux,
            body,
        };
        // Entries of one topic usually follow each other: its lock is kept between them.
        let mut held: Option<(u32, MutexGuard<'_, State>)> = None;
        for op in &batch.ops {
            let slot = match *op {
                Op::Append { slot, .. }
                | Op::AppendForOther { slot, .. }
                | Op::Roll { slot, .. }
                | Op::Deltas { slot }
                | Op::Create { slot, .. } => slot,
                Op::Delete { slot } => {
                    held = None;
                    let topic = &batch.slots[slot as usize].topic;
                    commit.push(record(KIND_DELETE, topic.id, 0, 0, topic.name.to_string().into()));
                    continue;
                }
                Op::Table { slot } => {
                    let TableSlot { table, changes, body } = &mut tables[slot as usize];
                    table.apply(lsn, changes, body);
                    commit.push(record(KIND_TABLE, 0, 0, 0, std::mem::take(body).into()));
                    continue;
                }
                Op::Partitions { ref name, partitions } => {
                    let mut body = Vec::new();
                    put_str(&mut body, &name.to_string());
                    put_option(&mut body, partitions.map(u64::from));
                    commit.push(record(KIND_PARTITIONS, 0, 0, 0, body.into()));
                    continue;
                }
            };
            let topic = &batch.slots[slot as usize].topic;
            let state = match &mut held {
                Some((at, state)) if *at == slot => state,
                held => {
                    *held = None;
                    let mut state = topic.state.lock();
                    state.lsn = lsn;
                    if state.touch(lsn) {
                        self.dirty.lock().push(topic.clone());
                    }
                    &mut held.insert((slot, state)).1
                }
            };
            match op {
                Op::Append { messages, data, .. } => {
                    let position = state.append(data.len() as u64, *messages);
                    positions.push(position);
                    commit.push(record(KIND_ENTRY, position.ledger, position.entry as u64, *messages, data.clone()));
                }
                Op::AppendForOther { messages, data, dedup, .. } => {
                    let bytes = data.len() as u64;
                    let dedup = dedup.as_ref().map(|(producer, highest)| (&**producer, *highest));
                    let Some(position) = state.append_for_other((lsn, durable), bytes, *messages, dedup) else {
                        positions.push(NOT_STORED);
                        // The topic has been told of this commit, so there must be one.
                        commit.push(record(KIND_DELTAS, topic.id, 0, 0, bytes::Bytes::new()));
                        continue;
                    };
                    positions.push(position);
                    commit.push(record(KIND_ENTRY, position.ledger, position.entry as u64, *messages, data.clone()));
                    if let Some(dedup) = dedup {
                        let mut body = Vec::with_capacity(dedup.0.len() + 16);
                        encode_dedup(&mut body, [dedup].into_iter());
                        commit.push(record(KIND_DELTAS, topic.id, 0, 0, body.into()));
                    }
                }
                Op::Roll { ledger, now_ms, .. } => {
                    state.roll(*ledger, *now_ms);
                    let mut body = Vec::with_capacity(8);
                    put_u64(&mut body, *now_ms);
                    commit.push(record(KIND_ROLL, topic.id, *ledger, 0, body.into()));
                }
                Op::Create { properties, .. } => {
                    let mut body = Vec::with_capacity(96);
                    put_str(&mut body, &topic.name.to_string());
                    put_u64(&mut body, state.created_ms);
                    put_map(&mut body, properties);
                    commit.push(record(KIND_CREATE, topic.id, 0, 0, body.into()));
                }
                Op::Deltas { .. } => {
                    state.committed();
                    for body in batch.slots[slot as usize].sealed.bodies() {
                        commit.push(record(KIND_DELTAS, topic.id, 0, 0, body));
                    }
                }
                Op::Delete { .. } | Op::Partitions { .. } | Op::Table { .. } => {}
            }
        }
    }
}
