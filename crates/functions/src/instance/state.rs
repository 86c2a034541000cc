//! The state of a function as user code of one instance sees it: what is in its table, and on top what this instance has asked to be
//! changed and is not durable yet.

use bytes::Bytes;
use rustc_hash::FxHashMap;
use std::sync::Arc;

use crate::{
    error::Result,
    event_log::{RowChange, TableChange, Tables},
    message::InputId,
    runtime::{Answer, Question, StateChange},
};

/// Most a key may take. A row of a journaled table has the same bound.
const KEY_BYTES_MAX: usize = 32 * 1024;
/// Most a value may take, as of a journaled table's row.
pub(super) const VALUE_BYTES_MAX: usize = 4 << 20;

/// Changes that are on their way, by row.
pub(super) struct State {
    tables: Arc<dyn Tables>,
    table: Arc<str>,
    /// Of each row: how many commits with changes of it are under way, and the last value if one of them has set it.
    pending: FxHashMap<String, Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    commits: u32,
    /// The input whose messages these commits acknowledge.
    of: Option<InputId>,
    /// `None`: not known without the table. `Some(None)`: deleted.
    value: Option<Option<Bytes>>,
}

/// What a question needs.
pub(super) enum Lookup {
    /// Nothing: here is the answer.
    Known(Answer),
    /// The table, which has everything.
    Read,
    /// A commit that is under way adds to the row: the table says when it has happened.
    Wait,
}

impl State {
    pub(super) fn new(tables: Arc<dyn Tables>, table: String) -> Self {
        Self { tables, table: table.into(), pending: FxHashMap::default() }
    }

    /// Why a change cannot be, in words for the one who wrote the function.
    pub(super) fn refusal(change: &StateChange) -> Option<String> {
        if change.key().len() > KEY_BYTES_MAX {
            return Some(format!("a state key of {} bytes, at most {KEY_BYTES_MAX} are possible", change.key().len()));
        }
        match change {
            StateChange::Put { value, .. } if value.len() > VALUE_BYTES_MAX => {
                Some(format!("a state value of {} bytes, at most {VALUE_BYTES_MAX} are possible", value.len()))
            }
            _ => None,
        }
    }

    /// Whether a commit that is under way may still be overtaken: commits are in order for each input, not among them, and not where
    /// nothing is acknowledged.
    pub(super) fn must_wait(&self, changes: &[StateChange], of: Option<InputId>) -> bool {
        changes
            .iter()
            .any(|change| self.pending.get(change.key()).is_some_and(|pending| pending.of != of || of.is_none()))
    }

    /// Whether some commit with changes has not ended.
    pub(super) fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Reads what counters stand at before they change, where the commit of the change begins only after other calls: these must not have
    /// to wait for it.
    ///
    /// # Errors
    /// The table cannot be read.
    pub(super) async fn learn(&mut self, changes: &[StateChange]) -> Result<()> {
        for change in changes {
            if let StateChange::Add { key, .. } = change
                && !self.pending.contains_key(key)
            {
                let value = self.tables.get(&self.table, key.as_bytes()).await?.map(|row| row.value);
                self.pending.insert(key.clone(), Pending { value: Some(value), ..Pending::default() });
            }
        }
        Ok(())
    }

    /// Remembers a change whose commit, of this input, begins now.
    pub(super) fn begin(&mut self, change: StateChange, of: Option<InputId>) -> TableChange {
        let (key, change) = match change {
            StateChange::Put { key, value } => (key, RowChange::Put(value)),
            StateChange::Delete { key } => (key, RowChange::Delete),
            StateChange::Add { key, amount } => (key, RowChange::Add(amount)),
        };
        let table_key = Bytes::copy_from_slice(key.as_bytes());
        let pending = self.pending.entry(key).or_default();
        pending.commits += 1;
        pending.of = of;
        match &change {
            RowChange::Put(value) => pending.value = Some(Some(value.clone())),
            RowChange::Delete => pending.value = Some(None),
            RowChange::Add(amount) => {
                // A value that is no counter makes the sum unknown here; the table decides what becomes of it.
                pending.value = pending.value.take().and_then(|value| {
                    let sum = value.as_deref().map_or(Some(0), counter)?.wrapping_add(*amount);
                    Some(Some(Bytes::copy_from_slice(&sum.to_be_bytes())))
                });
            }
        }
        TableChange { table: self.table.clone(), key: table_key, change }
    }

    /// The commit of these rows has ended.
    pub(super) fn end(&mut self, rows: &[Bytes]) {
        for row in rows {
            let Ok(key) = std::str::from_utf8(row) else { continue };
            if let Some(pending) = self.pending.get_mut(key) {
                pending.commits -= 1;
                if pending.commits == 0 {
                    self.pending.remove(key);
                }
            }
        }
    }

    pub(super) fn lookup(&self, question: &Question) -> Lookup {
        let (Question::State(key) | Question::Counter(key)) = question;
        match self.pending.get(key.as_str()) {
            None => Lookup::Read,
            Some(Pending { value: Some(value), .. }) => Lookup::Known(answer(question, value.clone())),
            Some(Pending { value: None, .. }) => Lookup::Wait,
        }
    }

    /// Asks the table.
    pub(super) fn read(&self, question: Question) -> impl Future<Output = Answer> + Send + 'static {
        let (tables, table) = (self.tables.clone(), self.table.clone());
        async move {
            let (Question::State(key) | Question::Counter(key)) = &question;
            let read: Result<_> = tables.get(&table, key.as_bytes()).await;
            match read {
                Ok(row) => answer(&question, row.map(|row| row.value)),
                Err(error) => Answer::Failed(error.to_string()),
            }
        }
    }
}

fn answer(question: &Question, value: Option<Bytes>) -> Answer {
    match question {
        Question::State(_) => Answer::State(value),
        Question::Counter(key) => match value.as_deref().map_or(Some(0), counter) {
            Some(count) => Answer::Counter(count),
            None => Answer::Failed(format!("the state of {key:?} is not a counter")),
        },
    }
}

/// A counter is 8 bytes, big-endian. Source: Pulsar's `BKStateStoreImpl`.
fn counter(value: &[u8]) -> Option<i64> {
    Some(i64::from_be_bytes(value.try_into().ok()?))
}
