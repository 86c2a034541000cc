//! Reads that need the disk: from the journal while it has the entries, from segments after.

use model::Position;
use std::sync::Arc;

use crate::{
    Entry, ManagedLedger,
    error::{Error, Result},
    store::Inner,
    topic::Topic,
};

/// Entries on disk, to be read by [`ReadRequest::run`] wherever it is convenient.
pub struct ReadRequest {
    store: Arc<Inner>,
    topic: Arc<Topic>,
    from: Position,
    upto: Position,
    max_entries: usize,
    max_bytes: usize,
}

/// Where the next entries are.
enum Place {
    Journal,
    Segment(u64),
}

impl ReadRequest {
    pub(crate) fn new(ledger: &ManagedLedger, from: Position, max_entries: usize, max_bytes: usize) -> Self {
        Self {
            store: ledger.store.clone(),
            topic: ledger.topic.clone(),
            from,
            upto: ledger.last_confirmed(),
            max_entries: max_entries.max(1),
            max_bytes,
        }
    }

    /// Reads about what was asked for, at least one entry. Empty only when all of it was trimmed meanwhile.
    ///
    /// # Errors
    /// The disk failed, or [`Error::Lost`]: a damaged file took the entries and all that follow.
    pub async fn run(self) -> Result<Vec<Entry>> {
        let mut read: Vec<Entry> = Vec::new();
        let mut bytes = 0;
        let mut from = self.from;
        while read.len() < self.max_entries && (read.is_empty() || bytes < self.max_bytes / 4 * 3) {
            // Entries may have been trimmed since the request was made.
            let (start, trimmed) = {
                let state = self.topic.state.lock();
                let ordinal = state.stored_from(state.after(from.previous()));
                (state.position(ordinal), state.deleted || state.first_ordinal() >= state.after(self.upto))
            };
            if trimmed || start > self.upto {
                break;
            }
            let room = self.max_bytes.saturating_sub(bytes).max(1);
            let found = match self.read_some(start, self.max_entries - read.len(), room).await {
                // Damage does not pass: go on behind it.
                Err(error) if is_damage(&error) => {
                    tracing::error!(topic = %self.topic.name, from = %start, %error, "entries are damaged");
                    Vec::new()
                }
                found => found?,
            };
            if found.is_empty() {
                // Trimmed in the meantime, which the next round sees; or a damaged file took it.
                if !self.is_trimmed(start) {
                    let next = self.next_stored(start).await?.filter(|next| *next <= self.upto);
                    match next {
                        Some(next) => {
                            tracing::error!(topic = %self.topic.name, from = %start, to = %next, "entries are lost");
                            from = next;
                        }
                        None if read.is_empty() => return Err(Error::Lost(start)),
                        None => break,
                    }
                }
                continue;
            }
            for (entry, messages, data) in found {
                let position = Position::new(start.ledger, entry as i64);
                if position > self.upto || (!read.is_empty() && bytes + data.len() > self.max_bytes) {
                    return Ok(read);
                }
                bytes += data.len();
                from = position.next();
                read.push(Entry { position, messages, data });
            }
        }
        Ok(read)
    }

    fn is_trimmed(&self, position: Position) -> bool {
        let state = self.topic.state.lock();
        let is_gone = |ordinal| state.stored_from(ordinal) > ordinal;
        state.deleted
            || position < state.position(state.first_ordinal())
            || state.ordinal(position).is_some_and(is_gone)
    }

    /// The first entry after `lost` that is stored.
    async fn next_stored(&self, lost: Position) -> Result<Option<Position>> {
        let (ledger, entry) = (lost.ledger, lost.entry.max(0) as u64);
        let (parts, following) = {
            let state = self.topic.state.lock();
            let parts = state.find(ledger).map_or(&[][..], |l| &l.segments);
            let parts: Vec<_> = parts.iter().filter(|s| s.last > entry).copied().collect();
            let at = state.ledgers.partition_point(|l| l.id <= ledger);
            (parts, state.ledgers.get(at).map(|l| Position::new(l.id, l.first as i64)))
        };
        let mut sorted = None;
        for part in parts {
            // Of the segment that has the lost one, what is behind the block it is in.
            sorted = match self.store.segments.get(part.segment).await {
                Ok(segment) if part.first <= entry => segment.next_block(ledger, entry),
                Ok(_) => Some(part.first),
                Err(error) if is_damage(&error) => None,
                Err(error) => return Err(error),
            };
            if sorted.is_some() {
                break;
            }
        }
        let journal = self.store.journal.clone();
        let look = move || journal.next_readable(ledger, entry + 1);
        let journaled = tokio::task::spawn_blocking(look).await.map_err(|_| Error::Closed)??;
        let here = sorted.into_iter().chain(journaled).min().map(|entry| Position::new(ledger, entry as i64));
        Ok(here.or(following))
    }

    /// Entries of one ledger from `start` on, from one place, without gaps but perhaps starting later when some are lost.
    async fn read_some(&self, start: Position, max_entries: usize, max_bytes: usize) -> Result<Vec<segment::Entry>> {
        let (ledger, entry) = (start.ledger, start.entry.max(0) as u64);
        for attempt in 0.. {
            let place = self.place(ledger, entry);
            let found = match place {
                Place::Journal => {
                    let journal = self.store.journal.clone();
                    // With one cursor nobody else comes after it.
                    let once = self.topic.state.lock().cursors.iter().flatten().nth(1).is_none();
                    let read = move || match once {
                        true => journal.read_once(ledger, entry, max_entries, max_bytes),
                        false => journal.read(ledger, entry, max_entries, max_bytes),
                    };
                    tokio::task::spawn_blocking(read).await.map_err(|_| Error::Closed)?.map_err(Error::from)
                }
                Place::Segment(id) => match self.store.segments.get(id).await {
                    Ok(segment) => segment
                        .read(ledger, entry, max_entries, max_bytes)
                        .await
                        .map_err(|e| Error::Read { position: start, source: Box::new(e) }),
                    Err(error) => Err(error),
                },
            };
            match found {
                // The file or segment may have been given up between the look and the read: look again.
                Ok(entries) if entries.first().is_some_and(|e| e.0 == entry) || attempt == 2 => {
                    let mut expected = entries.first().map_or(0, |e| e.0);
                    let run = entries.iter().take_while(|e| {
                        let follows = e.0 == expected;
                        expected += 1;
                        follows
                    });
                    let count = run.count();
                    let mut entries = entries;
                    entries.truncate(count);
                    return Ok(entries);
                }
                Err(error) if attempt == 2 => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(Vec::new())
    }

    fn place(&self, ledger: u64, entry: u64) -> Place {
        if self.store.journal.contains(ledger, entry) {
            return Place::Journal;
        }
        let state = self.topic.state.lock();
        let Some(meta) = state.find(ledger) else { return Place::Journal };
        let at = meta.segments.partition_point(|s| s.last < entry);
        match meta.segments.get(at) {
            // A later segment still comes before what the journal has: entries rise from segments to journal.
            Some(part) => Place::Segment(part.segment),
            None => Place::Journal,
        }
    }
}

/// Whether what was stored is not what is there now, as opposed to a disk that failed this time.
fn is_damage(error: &Error) -> bool {
    let segment = match error {
        Error::Journal(journal::Error::Corrupt { .. }) => return true,
        Error::Segment(source) | Error::Read { source, .. } => source.downcast_ref::<segment::Error>(),
        _ => None,
    };
    segment.is_some_and(segment::Error::is_damage)
}

/// Looks for a point in time; see [`ManagedLedger::locate_time`].
pub struct LocateRequest {
    store: Arc<Inner>,
    topic: Arc<Topic>,
    upto: Position,
    publish_time_ms: u64,
}

impl LocateRequest {
    pub(crate) fn new(ledger: &ManagedLedger, publish_time_ms: u64) -> Self {
        Self {
            store: ledger.store.clone(),
            topic: ledger.topic.clone(),
            upto: ledger.last_confirmed(),
            publish_time_ms,
        }
    }

    /// The first entry published at the time or later; the position after the last entry when there is none. Publish times are
    /// taken to rise, as Pulsar's `OpFindNewest` does; an entry that cannot be understood counts as earlier.
    ///
    /// # Errors
    /// The disk failed.
    pub async fn run(self) -> Result<Position> {
        let (mut low, mut high) = {
            let state = self.topic.state.lock();
            (state.first_ordinal(), state.after(self.upto))
        };
        while low < high {
            let middle = low + (high - low) / 2;
            if self.is_before(middle).await? {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(self.topic.state.lock().position(low))
    }

    async fn is_before(&self, ordinal: u64) -> Result<bool> {
        let from = self.topic.state.lock().position(ordinal);
        let request = ReadRequest {
            store: self.store.clone(),
            topic: self.topic.clone(),
            from,
            upto: self.upto,
            max_entries: 1,
            max_bytes: 1,
        };
        let read = match request.run().await {
            Err(Error::Lost(_)) => return Ok(false),
            read => read?,
        };
        let published = read.first().map(|e| wire::entry::metadata(&e.data).map_or(0, |m| m.publish_time));
        Ok(published.is_some_and(|time| time < self.publish_time_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Store};
    use std::{collections::BTreeMap, time::Duration};

    struct Deaf;

    impl journal::Listener for Deaf {
        fn advanced(&self, _durable: journal::Lsn) {}
        fn failed(&self) {}
    }

    #[tokio::test]
    #[allow(clippy::field_reassign_with_default)] // The journal's configuration has a private part.
    async fn a_read_passes_over_a_gap_and_a_ledger_that_is_gone_in_the_midst() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = journal::Config::default();
        journal.dir = dir.path().join("journal");
        (journal.capacity_bytes, journal.file_bytes, journal.first_file_bytes) = (1 << 20, 64 << 10, 64 << 10);
        journal.write_bytes_max = 16 << 10;
        let config = Config {
            dir: dir.path().to_owned(),
            journal,
            max_entries_per_ledger: 5,
            min_ledger_age: Duration::ZERO,
            ..Config::default()
        };
        let (clock, meta) = (Arc::new(seams::ManualClock::new(1)), Arc::new(metastore::MemoryStore::default()));
        let (store, _) = Store::open(config, clock, meta, 1).await.unwrap();
        let (mut batch, listener) = (store.batch(), Arc::new(Deaf) as Arc<dyn journal::Listener>);
        let name = "persistent://public/default/t".parse().unwrap();
        store.create(&mut batch, &name, BTreeMap::new()).unwrap();
        store.wait(store.commit(&mut batch, &listener).unwrap().lsn).await.unwrap();
        let mut ledger = store.load(&name).unwrap();
        let id = ledger.open_cursor(Some(&mut batch), "s", Position::EARLIEST, BTreeMap::new());
        let mut all = Vec::new();
        for n in 0..20u8 {
            ledger.append(&mut batch, vec![n].into(), 1);
            let committed = store.commit(&mut batch, &listener).unwrap();
            store.wait(committed.lsn).await.unwrap();
            ledger.appended(committed.positions[0], vec![n].into(), 1);
            ledger.confirm(committed.positions[0]);
            all.push(committed.positions[0]);
        }
        // The cursor stands before the first entry, and had consumed all of the second and half of the third ledger.
        ledger.topic.state.lock().drop_below(all[5].ledger, 5, 5);
        ledger.topic.state.lock().drop_below(all[10].ledger, 2, 2);
        let read = ReadRequest::new(&ledger, all[0], 100, 1 << 20).run().await.unwrap();
        let stored = [&all[..5], &all[12..]].concat();
        assert_eq!(read.iter().map(|entry| entry.position).collect::<Vec<_>>(), stored);
        for position in stored {
            assert!(!ledger.is_acked(id, position) && ledger.ack(id, position));
        }
        assert_eq!((ledger.mark_delete(id), ledger.backlog(id)), (all[19], 0));
    }
}
