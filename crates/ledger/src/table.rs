//! Durable key-value tables, changed in the same commits as topics: the state of functions.
//!
//! A change takes effect when its batch is committed, under the lock that orders commits, so memory and journal agree on the order.
//! The journal gets what a row *is* after a change, also after an addition: to replay a record twice, or one that a row of the
//! catalog is ahead of, adds nothing twice.
//!
//! Rows changed since the last checkpoint are in memory; all others are rows of the catalog and are read there when asked for.
//! Invariant: what memory knows of a row is newer than, or the same as, what the catalog has of it.
//!
//! Source: Pulsar's `BKStateStoreImpl`, whose counters are 8 bytes, big-endian; the tables behind it know numbers from bytes.

use bytes::Bytes;
use journal::Lsn;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    ops::Bound::{self, Excluded, Included, Unbounded},
    sync::Arc,
};

use crate::{
    batch::Batch,
    catalog::{Catalog, TableChanges, TableRow},
    codec::{Decoded, Malformed, Reader, put_bytes},
    error::{Error, Result},
    store::{Inner, Store},
};

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 64 << 10;
/// The longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 4 << 20;
/// The longest name of a table, in bytes.
const NAME_BYTES_MAX: usize = 1024;
/// Rows read from the catalog at a time.
const PAGE_ROWS: usize = 256;

/// Tables in memory below which nobody looks for unused ones.
const PRUNE_AT_MIN: usize = 64;

const PUT: u8 = 1;
const NUMBER: u8 = 2;
const DELETE: u8 = 3;
const CLEAR: u8 = 4;

/// What a row holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The value; a counter is an `i64`, big-endian.
    pub bytes: Bytes,
    /// Rises with each commit that changes the row, also over a deletion: it is the number of that commit.
    pub version: u64,
    /// It was last changed by [`Table::add`], not by [`Table::put`].
    pub is_counter: bool,
}

impl Value {
    /// The value as a counter, which any eight bytes are.
    #[must_use]
    pub fn counter(&self) -> Option<i64> {
        self.bytes.as_ref().try_into().ok().map(i64::from_be_bytes)
    }
}

/// A table of one [`Store`]; clones, and all handles of the same name, are the same table.
#[derive(Clone)]
pub struct Table {
    store: Arc<Inner>,
    shared: Arc<Shared>,
}

/// One table as its handles, batches and the checkpoint share it.
pub(crate) struct Shared {
    pub(crate) name: Box<str>,
    rows: Mutex<Rows>,
}

#[derive(Default)]
struct Rows {
    cells: BTreeMap<Bytes, Cell>,
    /// Rows of the catalog up to this commit are gone; 0 when none are.
    cleared: Lsn,
    /// The change that made it so.
    cleared_by: u64,
    /// Changes so far. A commit may have several records of a table, with a checkpoint between them: its number does not tell
    /// which of them the checkpoint has.
    changes: u64,
}

/// What memory knows of one row.
#[derive(Default)]
struct Cell {
    /// `None`: it is as in the catalog, which somebody is about to read. `Some(None)`: there is no such row.
    known: Option<Option<Value>>,
    /// The last commit that changed it, and the last change.
    lsn: Lsn,
    changed_by: u64,
    /// Differs from the catalog.
    dirty: bool,
    /// Additions in batches that are not committed: they need the value without a read.
    pins: u32,
}

/// A change of a table, checked and ready to be put into a batch by [`Batch::change`]. Dropped, it changes nothing.
pub struct Change {
    table: Arc<Shared>,
    what: What,
}

/// What changes.
pub(crate) enum What {
    Put { key: Bytes, value: Bytes },
    Add { pin: Pin, delta: i64 },
    Delete { key: Bytes },
    Clear,
}

/// A row that memory knows as long as this is there.
pub(crate) struct Pin {
    table: Arc<Shared>,
    key: Bytes,
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.table.rows.lock().unpin(&self.key);
    }
}

/// A change in a batch.
pub(crate) struct Batched {
    what: What,
    /// Where a sum goes in the record.
    place: usize,
}

impl Store {
    /// The table of this name. It comes to be with its first row and is gone with its last.
    ///
    /// # Errors
    /// [`Error::TableName`]: the name is empty, longer than 1,024 bytes, or has control characters in it.
    pub fn table(&self, name: &str) -> Result<Table> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
            return Err(Error::TableName(name.chars().take(64).collect()));
        }
        Ok(Table { store: self.inner.clone(), shared: self.inner.tables.get(name) })
    }

    /// Names of tables that have rows and start with `prefix`, in order.
    ///
    /// # Errors
    /// The catalog cannot be read.
    pub fn tables(&self, prefix: &str) -> Result<Vec<String>> {
        let mut names: Vec<String> = self.inner.catalog.table_names(prefix)?;
        names.extend(self.inner.tables.named(prefix));
        names.sort_unstable();
        names.dedup();
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            if !self.table(&name)?.scan(b"", None, 1)?.is_empty() {
                found.push(name);
            }
        }
        Ok(found)
    }

    /// Deletes a table with all its rows; its handles go on, with an empty one.
    ///
    /// # Errors
    /// [`Error::TableName`].
    pub fn delete_table(&self, batch: &mut Batch, name: &str) -> Result<()> {
        self.table(name)?.clear(batch);
        Ok(())
    }
}

impl Table {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Sets a row.
    ///
    /// # Errors
    /// [`Error::TableKey`] or [`Error::TableValue`]: longer than [`KEY_BYTES_MAX`] or [`VALUE_BYTES_MAX`].
    pub fn putting(&self, key: &[u8], value: &[u8]) -> Result<Change> {
        if value.len() > VALUE_BYTES_MAX {
            return Err(Error::TableValue(value.len()));
        }
        // Of their own: a small value must not keep a large buffer alive.
        Ok(self.change(What::Put { key: own_key(key)?, value: Bytes::copy_from_slice(value) }))
    }

    /// Deletes a row; nothing when there is none.
    ///
    /// # Errors
    /// [`Error::TableKey`].
    pub fn deleting(&self, key: &[u8]) -> Result<Change> {
        Ok(self.change(What::Delete { key: own_key(key)? }))
    }

    /// Adds to a counter, which starts at 0 and wraps around. A value of another length that is put there before this is committed
    /// counts as 0. May read the disk.
    ///
    /// # Errors
    /// [`Error::TableKey`]; [`Error::NotCounter`]: what is there is not eight bytes long. The catalog cannot be read.
    pub fn adding(&self, key: &[u8], delta: i64) -> Result<Change> {
        Ok(self.change(What::Add { pin: self.pin(own_key(key)?)?, delta }))
    }

    /// Deletes all rows.
    #[must_use]
    pub fn clearing(&self) -> Change {
        self.change(What::Clear)
    }

    fn change(&self, what: What) -> Change {
        Change { table: self.shared.clone(), what }
    }

    /// [`Table::putting`], at once.
    ///
    /// # Errors
    /// As there; the batch is as it was.
    pub fn put(&self, batch: &mut Batch, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        batch.change(self.putting(key.as_ref(), value.as_ref())?);
        Ok(())
    }

    /// [`Table::deleting`], at once.
    ///
    /// # Errors
    /// As there; the batch is as it was.
    pub fn delete(&self, batch: &mut Batch, key: impl AsRef<[u8]>) -> Result<()> {
        batch.change(self.deleting(key.as_ref())?);
        Ok(())
    }

    /// [`Table::adding`], at once.
    ///
    /// # Errors
    /// As there; the batch is as it was.
    pub fn add(&self, batch: &mut Batch, key: impl AsRef<[u8]>, delta: i64) -> Result<()> {
        batch.change(self.adding(key.as_ref(), delta)?);
        Ok(())
    }

    /// [`Table::clearing`], at once.
    pub fn clear(&self, batch: &mut Batch) {
        batch.change(self.clearing());
    }

    /// One row, as of the last commit, which may not be durable yet: who must not tell of what a power cut may take back waits for
    /// [`Store::last`] with [`Store::wait`]. May read the disk.
    ///
    /// # Errors
    /// The catalog cannot be read.
    pub fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        let cleared = {
            let rows = self.shared.rows.lock();
            if let Some(known) = rows.cells.get(key).and_then(|cell| cell.known.as_ref()) {
                return Ok(known.clone());
            }
            rows.cleared
        };
        self.stored(key, cleared)
    }

    fn stored(&self, key: &[u8], cleared: Lsn) -> Result<Option<Value>> {
        let row = self.store.catalog.table_row(&self.shared.name, key)?;
        Ok(row.filter(|row| row.value.version > cleared).map(|row| row.value))
    }

    /// Rows whose keys start with `prefix`, in order of key, at most `limit`; those behind `after` where it is given. Each is as of
    /// some moment of the call, durable or not as for [`Table::get`].
    ///
    /// # Errors
    /// The catalog cannot be read.
    pub fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<(Bytes, Value)>> {
        let mut found = Vec::new();
        self.visit(prefix, after, limit, |key, value| found.push((key, value)))?;
        Ok(found)
    }

    /// How many rows there are. Looks at all of them.
    ///
    /// # Errors
    /// The catalog cannot be read.
    pub fn len(&self) -> Result<usize> {
        let mut count = 0;
        self.visit(b"", None, usize::MAX, |_, _| count += 1)?;
        Ok(count)
    }

    /// Whether there is no row.
    ///
    /// # Errors
    /// The catalog cannot be read.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.scan(b"", None, 1)?.is_empty())
    }

    fn visit(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        mut found: impl FnMut(Bytes, Value),
    ) -> Result<()> {
        let mut from = match after.filter(|after| *after >= prefix) {
            Some(after) => Excluded(after.to_vec()),
            None => Included(prefix.to_vec()),
        };
        let (cells, cleared) = self.shared.rows.lock().collect(prefix, from.as_ref(), limit);
        let mut cells = cells.into_iter().peekable();
        let mut left = limit;
        while left > 0 {
            let page = self.store.catalog.table_rows(&self.shared.name, from.as_ref().map(Vec::as_slice), PAGE_ROWS)?;
            let more = page.len() == PAGE_ROWS;
            for row in page {
                if !row.key.starts_with(prefix) {
                    emit(&mut cells, None, left, &mut found);
                    return Ok(());
                }
                left -= emit(&mut cells, Some(&row.key), left, &mut found);
                let replaced = cells.next_if(|(key, _)| *key == row.key);
                let value = match replaced {
                    Some((_, known)) => known,
                    None => Some(row.value).filter(|value| value.version > cleared),
                };
                if left > 0
                    && let Some(value) = value
                {
                    found(row.key.clone(), value);
                    left -= 1;
                }
                from = Excluded(row.key.to_vec());
            }
            if !more {
                emit(&mut cells, None, left, &mut found);
                return Ok(());
            }
        }
        Ok(())
    }

    /// Makes sure that memory knows the row of a counter.
    fn pin(&self, key: Bytes) -> Result<Pin> {
        self.shared.rows.lock().cells.entry(key.clone()).or_default().pins += 1;
        let pin = Pin { table: self.shared.clone(), key };
        if self.learn(&pin.key)? { Ok(pin) } else { Err(Error::NotCounter) }
    }

    /// Reads a pinned row where memory does not know it; says whether it is a counter or can become one.
    fn learn(&self, key: &Bytes) -> Result<bool> {
        let is_counter = |known: &Option<Value>| known.as_ref().is_none_or(|v| v.counter().is_some());
        let cleared = {
            let rows = self.shared.rows.lock();
            if let Some(known) = rows.cells.get(key).and_then(|cell| cell.known.as_ref()) {
                return Ok(is_counter(known));
            }
            rows.cleared
        };
        // Not under the lock, which commits need. What changes the row meanwhile makes it known.
        let stored = self.stored(key, cleared)?;
        let mut rows = self.shared.rows.lock();
        Ok(is_counter(rows.cells.entry(key.clone()).or_default().known.get_or_insert(stored)))
    }
}

impl Change {
    /// Whose change it is.
    pub(crate) fn table(&self) -> &Arc<Shared> {
        &self.table
    }

    /// About how many bytes it is.
    #[must_use]
    pub fn bytes(&self) -> usize {
        8 + match &self.what {
            What::Put { key, value } => key.len() + value.len(),
            What::Add { pin, .. } => pin.key.len() + 8,
            What::Delete { key } => key.len(),
            What::Clear => 0,
        }
    }

    /// Writes it to a record's body, with room for the sum of an addition.
    pub(crate) fn encode(self, body: &mut Vec<u8>) -> Batched {
        let mut head = |kind, key: &Bytes| {
            body.push(kind);
            put_bytes(body, key);
        };
        match &self.what {
            What::Put { key, value } => {
                head(PUT, key);
                put_bytes(body, value);
            }
            What::Add { pin, .. } => {
                head(NUMBER, &pin.key);
                body.extend_from_slice(&[0; 8]);
            }
            What::Delete { key } => head(DELETE, key),
            What::Clear => body.push(CLEAR),
        }
        Batched { what: self.what, place: body.len().saturating_sub(8) }
    }
}

fn own_key(key: &[u8]) -> Result<Bytes> {
    if key.len() > KEY_BYTES_MAX {
        return Err(Error::TableKey(key.len()));
    }
    Ok(Bytes::copy_from_slice(key))
}

/// Passes on the rows of memory that come before `bound`, at most `limit`; returns how many.
fn emit(
    cells: &mut std::iter::Peekable<impl Iterator<Item = (Bytes, Option<Value>)>>,
    bound: Option<&Bytes>,
    limit: usize,
    found: &mut impl FnMut(Bytes, Value),
) -> usize {
    let mut count = 0;
    while count < limit
        && let Some((key, known)) = cells.next_if(|(key, _)| bound.is_none_or(|bound| key < bound))
    {
        if let Some(value) = known {
            found(key, value);
            count += 1;
        }
    }
    count
}

impl Rows {
    /// What memory knows of rows from `from` on, up to `limit` that exist, and up to which commit those of the catalog are gone.
    fn collect(&self, prefix: &[u8], from: Bound<&Vec<u8>>, limit: usize) -> (Vec<(Bytes, Option<Value>)>, Lsn) {
        let mut live = 0;
        let mut known = Vec::new();
        for (key, cell) in self.cells.range::<[u8], _>((from.map(Vec::as_slice), Unbounded)) {
            if live == limit || !key.starts_with(prefix) {
                break;
            }
            if let Some(value) = &cell.known {
                live += usize::from(value.is_some());
                known.push((key.clone(), value.clone()));
            }
        }
        (known, self.cleared)
    }

    fn set(&mut self, key: Bytes, lsn: Lsn, value: Option<Value>) {
        self.changes += 1;
        let cell = self.cells.entry(key).or_default();
        cell.known = Some(value);
        cell.lsn = lsn;
        cell.changed_by = self.changes;
        cell.dirty = true;
    }

    fn clear(&mut self, lsn: Lsn) {
        self.changes += 1;
        self.cleared = lsn;
        self.cleared_by = self.changes;
        self.cells.retain(|_, cell| {
            *cell = Cell { known: Some(None), lsn, changed_by: self.changes, dirty: false, pins: cell.pins };
            cell.pins > 0
        });
    }

    fn unpin(&mut self, key: &Bytes) {
        if let Some(cell) = self.cells.get_mut(key) {
            cell.pins = cell.pins.saturating_sub(1);
            if cell.pins == 0 && !cell.dirty {
                self.cells.remove(key);
            }
        }
    }

    fn counter(&self, key: &Bytes) -> i64 {
        let known = self.cells.get(key).and_then(|cell| cell.known.as_ref()?.as_ref());
        known.and_then(Value::counter).unwrap_or(0)
    }
}

impl Shared {
    /// Does what a batch asks for, as part of commit `lsn`, and completes the record's body. Under the sequencer's lock.
    pub(crate) fn apply(&self, lsn: Lsn, changes: &mut Vec<Batched>, body: &mut [u8]) {
        // Dropped when the lock is free again, which takes it.
        let mut pins = Vec::new();
        let mut rows = self.rows.lock();
        for Batched { what, place } in changes.drain(..) {
            match what {
                What::Put { key, value } => {
                    rows.set(key, lsn, Some(Value { bytes: value, version: lsn, is_counter: false }));
                }
                What::Add { pin, delta } => {
                    let sum = rows.counter(&pin.key).wrapping_add(delta).to_be_bytes();
                    body[place..place + 8].copy_from_slice(&sum);
                    let value = Value { bytes: Bytes::copy_from_slice(&sum), version: lsn, is_counter: true };
                    rows.set(pin.key.clone(), lsn, Some(value));
                    pins.push(pin);
                }
                What::Delete { key } => rows.set(key, lsn, None),
                What::Clear => rows.clear(lsn),
            }
        }
    }

    /// Does again what a record says. No row of the catalog is newer than commit `newest_row`.
    fn replay(&self, lsn: Lsn, r: &mut Reader<'_>, catalog: &Catalog, newest_row: Lsn) -> Result<Decoded<()>> {
        let mut rows = self.rows.lock();
        while !r.is_empty() {
            let (key, value) = match step(r, lsn) {
                Ok(Some(row)) => row,
                Ok(None) => {
                    rows.clear(lsn);
                    continue;
                }
                Err(malformed) => return Ok(Err(malformed)),
            };
            let known = rows.cells.get(&key).map(|cell| cell.lsn);
            let newest = match known {
                Some(known) => known,
                None if lsn > newest_row => 0,
                None => catalog.table_row(&self.name, &key)?.map_or(0, |row| row.value.version),
            };
            if newest <= lsn {
                rows.set(key, lsn, value);
            }
        }
        Ok(Ok(()))
    }
}

/// The next change of a record: a row and what it is then, `None` for the end of all rows.
fn step(r: &mut Reader<'_>, version: Lsn) -> Decoded<Option<(Bytes, Option<Value>)>> {
    let kind = r.u8()?;
    if kind == CLEAR {
        return Ok(None);
    }
    let key = Bytes::copy_from_slice(r.bytes()?);
    let value = match kind {
        PUT => Some(Value { bytes: Bytes::copy_from_slice(r.bytes()?), version, is_counter: false }),
        NUMBER => Some(Value { bytes: Bytes::copy_from_slice(r.take(8)?), version, is_counter: true }),
        DELETE => None,
        _ => return Err(Malformed("table change")),
    };
    Ok(Some((key, value)))
}

/// The tables that are in memory: those with handles, and those that changed since the last checkpoint.
#[derive(Default)]
pub(crate) struct Tables {
    by_name: Mutex<ByName>,
}

#[derive(Default)]
struct ByName {
    known: BTreeMap<Box<str>, Arc<Shared>>,
    /// With this many, those that nobody uses are let go of.
    prune_at: usize,
}

impl ByName {
    fn prune(&mut self) {
        self.known.retain(|_, shared| {
            let rows = shared.rows.lock();
            Arc::strong_count(shared) > 1 || !rows.cells.is_empty() || rows.cleared > 0
        });
        self.prune_at = 2 * self.known.len() + PRUNE_AT_MIN;
    }
}

impl Tables {
    fn get(&self, name: &str) -> Arc<Shared> {
        let mut by_name = self.by_name.lock();
        if let Some(known) = by_name.known.get(name) {
            return known.clone();
        }
        // Names that are only asked for must not pile up.
        if by_name.known.len() >= by_name.prune_at {
            by_name.prune();
        }
        let shared = Arc::new(Shared { name: name.into(), rows: Mutex::default() });
        by_name.known.insert(name.into(), shared.clone());
        shared
    }

    fn named(&self, prefix: &str) -> Vec<String> {
        self.by_name.lock().known.keys().filter(|name| name.starts_with(prefix)).map(|name| name.to_string()).collect()
    }

    fn all(&self) -> Vec<Arc<Shared>> {
        self.by_name.lock().known.values().cloned().collect()
    }

    /// Does again what a record of commit `lsn` says.
    ///
    /// # Errors
    /// The catalog cannot be read; [`Error::Decode`].
    pub(crate) fn replay(&self, lsn: Lsn, body: &[u8], catalog: &Catalog, newest_row: Lsn) -> Result<()> {
        let malformed = |source| Error::Decode { what: "record", whose: format!("commit {lsn}"), source };
        let reader = &mut Reader::new(body);
        let shared = self.get(reader.str().map_err(malformed)?);
        shared.replay(lsn, reader, catalog, newest_row)?.map_err(malformed)
    }

    /// What changed since the last checkpoint.
    pub(crate) fn changes(&self) -> Vec<TableChanges> {
        let mut changes = Vec::new();
        for shared in self.all() {
            let rows = shared.rows.lock();
            let changed = rows.cells.iter().filter(|(_, cell)| cell.dirty);
            let changed: Vec<_> = changed.map(|(key, c)| (key.clone(), c.lsn, c.known.clone().flatten())).collect();
            if rows.cleared > 0 || !changed.is_empty() {
                let (name, cleared, upto) = (shared.name.clone(), rows.cleared, rows.changes);
                changes.push(TableChanges { name, cleared, upto, rows: changed });
            }
        }
        changes
    }

    /// Forgets what the catalog knows now.
    pub(crate) fn settle(&self, changes: &[TableChanges]) {
        for change in changes {
            let shared = self.get(&change.name);
            let mut rows = shared.rows.lock();
            if rows.cleared_by <= change.upto {
                rows.cleared = 0;
            }
            for (key, ..) in &change.rows {
                if let Some(cell) = rows.cells.get_mut(key).filter(|cell| cell.changed_by <= change.upto) {
                    cell.dirty = false;
                    if cell.pins == 0 {
                        rows.cells.remove(key);
                    }
                }
            }
        }
        self.by_name.lock().prune();
    }
}

/// A row of the catalog.
impl TableRow {
    pub(crate) fn encode(value: &Value) -> Vec<u8> {
        let mut out = Vec::with_capacity(9 + value.bytes.len());
        out.extend_from_slice(&value.version.to_le_bytes());
        out.push(u8::from(value.is_counter));
        out.extend_from_slice(&value.bytes);
        out
    }

    pub(crate) fn decode(row: &[u8]) -> Decoded<Value> {
        let malformed = || Malformed("row of a table");
        let (version, rest) = row.split_first_chunk::<8>().ok_or_else(malformed)?;
        let (&is_counter, bytes) = rest.split_first().ok_or_else(malformed)?;
        let version = u64::from_le_bytes(*version);
        Ok(Value { bytes: Bytes::copy_from_slice(bytes), version, is_counter: is_counter != 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_were_only_asked_for_do_not_pile_up() {
        let tables = Tables::default();
        let held = tables.get("held");
        let changed = tables.get("changed");
        changed.rows.lock().set(Bytes::from_static(b"k"), 1, None);
        drop(changed);
        for n in 0..10_000 {
            tables.get(&n.to_string());
        }
        assert!(tables.all().len() <= 2 * (PRUNE_AT_MIN + 4), "{}", tables.all().len());
        assert!(Arc::ptr_eq(&held, &tables.get("held")));
        assert_eq!(tables.changes().len(), 1);
    }

    #[test]
    fn a_checkpoint_within_a_commit_leaves_the_rest_of_it_to_the_next() {
        const LSN: Lsn = 7;
        let put = |n: u8| Some(Value { bytes: Bytes::from(vec![n]), version: LSN, is_counter: false });
        let tables = Tables::default();
        let table = tables.get("t");
        table.rows.lock().set(Bytes::from_static(b"k"), LSN, put(1));
        let first = tables.changes();
        table.rows.lock().set(Bytes::from_static(b"k"), LSN, put(2));
        tables.settle(&first);
        let second = tables.changes();
        assert_eq!(second[0].rows, [(Bytes::from_static(b"k"), LSN, put(2))]);
        tables.settle(&second);
        assert!(tables.changes().is_empty());

        table.rows.lock().clear(LSN);
        table.rows.lock().set(Bytes::from_static(b"k"), LSN, put(1));
        let first = tables.changes();
        table.rows.lock().clear(LSN);
        tables.settle(&first);
        let second = tables.changes();
        assert_eq!((second[0].cleared, second[0].rows.len()), (LSN, 0));
        tables.settle(&second);
        assert!(tables.changes().is_empty());
    }
}
