//! Windows: elements are kept, and the function is called with those that belong together.
//!
//! A window is state. An element's row is written in the commit that acknowledges its message, and goes in the commit of the outputs
//! of the last window it is in; a window of any length survives whatever happens to the process. Pulsar acknowledges on arrival and
//! keeps elements in memory.
//!
//! Elements are ordered by time and arrival. Time is that of arrival, or the element's own; then a *watermark* says up to where all
//! is there: the latest time seen on every input, less the lag that is allowed. But for reading and adopting, all of it is pure.
//!
//! An element belongs to the instance whose number its row's key begins with. Those of instances that are there no longer are *adopted*:
//! their rows are moved to the keys of an instance that is, so that whatever is scaled when, each element is in one instance's hands.
//!
//! Source of the rules: Pulsar's `WindowManager`, `CountTriggerPolicy`, `TimeEvictionPolicy`, `WaterMarkEventGenerator`.

use bytes::Bytes;
use futures::TryStreamExt;
use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Included, Unbounded},
    sync::Arc,
    time::Duration,
};

mod rows;

use self::rows::{decode, encode, make_key, split_key};
use super::{run::row, state::VALUE_BYTES_MAX};
use crate::{
    error::{Error, Result},
    event_log::{RowChange, TableChange, Tables, rows},
    message::Message,
    spec::{Span, WindowSpec},
};

/// Most an element may take as its row: somewhat less than a row may, since one that is adopted may say a longer time.
const ELEMENT_BYTES_MAX: usize = VALUE_BYTES_MAX - 64;
/// Windows that fire together at most; what else is due fires after them.
const FIRE_MAX: usize = 64;
/// How far ahead of the clock an event may be; one that says it is later counts as this late.
const FUTURE_MS_MAX: u64 = 24 * 60 * 60 * 1000;
/// In the place of an element's number: the row that says how far windows have come.
const MARK: u64 = u64::MAX;
/// Bytes of elements that are adopted in one write, unless one alone is more.
const ADOPT_BYTES: usize = 4 << 20;

/// Rows are read and adopted by one instance at a time: who reads must not see what another one is about to move.
static READING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A time (milliseconds) and the number of arrival.
pub(super) type Order = (u64, u64);

/// See the module.
#[derive(Debug)]
pub(super) struct Windows {
    table: Arc<str>,
    instance_id: u32,
    config: WindowSpec,
    elements: BTreeMap<Order, Element>,
    next_number: u64,
    mark: Mark,
    /// Latest time seen, by topic.
    latest_ms: BTreeMap<String, u64>,
    inputs: usize,
    next_watermark_ms: u64,
    /// What removes the rows of elements that were in no window.
    passed: Vec<TableChange>,
    /// More is due than was fired.
    behind: bool,
}

#[derive(Debug, Clone)]
struct Element {
    key: Bytes,
    message: Arc<Message>,
}

/// How far windows have come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Mark {
    /// The last element of the last window that a count has closed.
    fired: Order,
    /// The end of the last window that time has closed.
    end_ms: u64,
    watermark_ms: u64,
}

/// A window that is due.
#[derive(Debug, Clone)]
pub(super) struct Fired {
    /// What is in it, oldest first.
    pub(super) elements: Vec<Arc<Message>>,
    /// Elements that are in no later window, each with what removes its row.
    pub(super) expired: Vec<(Arc<Message>, TableChange)>,
    /// Says that windows have come this far.
    pub(super) mark: TableChange,
}

impl Fired {
    /// What is to be committed with its outputs.
    pub(super) fn changes(&self) -> impl Iterator<Item = &TableChange> {
        std::iter::once(&self.mark).chain(self.expired.iter().map(|(_, gone)| gone))
    }
}

impl Windows {
    /// Brings back what was stored, and adopts what instances numbered `parallelism` and higher have left.
    pub(super) async fn load(
        tables: &dyn Tables,
        table: String,
        instance_id: u32,
        parallelism: u32,
        inputs: usize,
        config: WindowSpec,
    ) -> Result<Self> {
        let mut windows = Self::new(table, instance_id, inputs, config);
        let _turn = READING.lock().await;
        let (table, own) = (windows.table.clone(), instance_id.to_be_bytes());
        let mut stored = rows(tables, &table, &own, None);
        while let Some((key, row)) = stored.try_next().await? {
            windows.restore(key, &row.value)?;
        }
        windows.take_over(tables, parallelism.max(1)).await?;
        Ok(windows)
    }

    /// Takes over its share of what instances numbered `parallelism` and higher have left; none of these runs.
    pub(super) async fn adopt(&mut self, tables: &dyn Tables, parallelism: u32) -> Result<()> {
        let _turn = READING.lock().await;
        self.take_over(tables, parallelism.max(1)).await
    }

    async fn take_over(&mut self, tables: &dyn Tables, parallelism: u32) -> Result<()> {
        // The mark of the last one that is there, which nothing of it follows.
        let after = make_key(parallelism - 1, MARK);
        let (mut moves, mut bytes) = (Vec::new(), 0);
        let table = self.table.clone();
        let mut left = rows(tables, &table, b"", Some(after));
        while let Some((key, stored)) = left.try_next().await? {
            let (owner, number) = split_key(&key).ok_or_else(|| self.damaged())?;
            // A mark is of use to an instance of that number that comes back.
            if owner % parallelism != self.instance_id || number == MARK {
                continue;
            }
            let (at_ms, message) = decode(&stored.value).ok_or_else(|| self.damaged())?;
            bytes += stored.value.len();
            moves.push((key, at_ms, message));
            if bytes >= ADOPT_BYTES {
                self.take(tables, std::mem::take(&mut moves)).await?;
                bytes = 0;
            }
        }
        self.take(tables, moves).await
    }

    async fn take(&mut self, tables: &dyn Tables, moves: Vec<(Bytes, u64, Message)>) -> Result<()> {
        if moves.is_empty() {
            return Ok(());
        }
        let (mut changes, mut taken) = (Vec::with_capacity(2 * moves.len()), Vec::with_capacity(moves.len()));
        for (old, at_ms, message) in moves {
            let number = self.next_number;
            self.next_number += 1;
            // One whose window has passed here is in the next one: it came in time.
            let at_ms = if at_ms < self.first_open_ms() { self.next_window_ms() } else { at_ms };
            let key = make_key(self.instance_id, number);
            changes.push(row(&self.table, old, RowChange::Delete));
            changes.push(row(&self.table, key.clone(), RowChange::Put(encode(at_ms, &message))));
            taken.push(((at_ms, number), Element { key, message: Arc::new(message) }));
        }
        tables.write(changes).await?;
        for (order, element) in taken {
            self.saw(&element.message, order.0);
            self.elements.insert(order, element);
        }
        Ok(())
    }

    /// The first time that the next window has in it.
    fn next_window_ms(&self) -> u64 {
        let after_time = match (self.config.slide, self.config.length) {
            (Span::Time(slide), Span::Time(length)) if self.mark.end_ms > 0 => {
                (self.mark.end_ms + millis(slide)).saturating_sub(millis(length)) + 1
            }
            _ => 0,
        };
        after_time.max(self.mark.fired.0).max(self.mark.watermark_ms)
    }

    /// The first time whose windows have not all passed; between windows there may be time that is in none.
    fn first_open_ms(&self) -> u64 {
        let after_time = if self.mark.end_ms > 0 { self.mark.end_ms + 1 } else { 0 };
        self.next_window_ms().min(after_time.max(self.mark.fired.0).max(self.mark.watermark_ms))
    }

    fn damaged(&self) -> Error {
        Error::Invalid(format!("a row of table {} cannot be read", self.table))
    }

    fn new(table: String, instance_id: u32, inputs: usize, config: WindowSpec) -> Self {
        Self {
            table: table.into(),
            instance_id,
            config,
            elements: BTreeMap::new(),
            next_number: 1,
            mark: Mark::default(),
            latest_ms: BTreeMap::new(),
            inputs,
            next_watermark_ms: 0,
            passed: Vec::new(),
            behind: false,
        }
    }

    fn restore(&mut self, key: Bytes, value: &[u8]) -> Result<()> {
        let (_, number) = split_key(&key).ok_or_else(|| self.damaged())?;
        if number == MARK {
            self.mark = serde_json::from_slice(value).map_err(|_| self.damaged())?;
            // What comes at the time of the last one that was seen is after it.
            self.next_number = self.next_number.max(self.mark.fired.1.saturating_add(1));
            return Ok(());
        }
        let (at_ms, message) = decode(value).ok_or_else(|| self.damaged())?;
        self.next_number = self.next_number.max(number + 1);
        self.saw(&message, at_ms);
        self.elements.insert((at_ms, number), Element { key, message: Arc::new(message) });
        Ok(())
    }

    fn saw(&mut self, message: &Message, at_ms: u64) {
        if self.config.event_time {
            let latest = self.latest_ms.entry(message.topic.partitioned().to_string()).or_default();
            *latest = at_ms.max(*latest);
        }
    }

    /// Takes an element; what is returned belongs into the commit that acknowledges it. `None`: it is too late.
    ///
    /// # Errors
    /// [`Error::Invalid`]: no row can take it.
    pub(super) fn add(&mut self, message: Arc<Message>, now_ms: u64) -> Result<Option<(Order, TableChange)>> {
        let at_ms = match (self.config.event_time, message.event_time_ms) {
            (true, 0) => message.publish_time_ms,
            (true, event_time_ms) => event_time_ms.min(now_ms.saturating_add(FUTURE_MS_MAX)),
            // A clock that was set back does not change what came first. What comes in the millisecond in which a window closed is in the
            // next one.
            (false, _) => {
                let last = self.elements.last_key_value().map_or(0, |(order, _)| order.0);
                now_ms.max(last).max(self.first_open_ms())
            }
        };
        if self.config.event_time && at_ms < self.first_open_ms() {
            return Ok(None);
        }
        let value = encode(at_ms, &message);
        if value.len() > ELEMENT_BYTES_MAX {
            let (id, bytes) = (message.id, value.len());
            return Err(Error::Invalid(format!(
                "message {id} takes {bytes} bytes of at most {ELEMENT_BYTES_MAX} in a window"
            )));
        }
        self.saw(&message, at_ms);
        if self.elements.is_empty() && self.next_watermark_ms == 0 {
            self.next_watermark_ms = now_ms + millis(self.config.watermark_interval);
        }
        let order = (at_ms, self.next_number);
        let key = make_key(self.instance_id, self.next_number);
        self.next_number += 1;
        self.elements.insert(order, Element { key: key.clone(), message });
        Ok(Some((order, row(&self.table, key, RowChange::Put(value)))))
    }

    /// An element was not stored: its message comes again.
    pub(super) fn forget(&mut self, element: Order) {
        self.elements.remove(&element);
    }

    /// What removes the rows of elements that were in no window, since windows slide further than they are long; to be committed when what
    /// stores them is.
    pub(super) fn take_passed(&mut self) -> Vec<TableChange> {
        std::mem::take(&mut self.passed)
    }

    /// When to ask again what is due, wall clock milliseconds; `None`: after the next element.
    pub(super) fn next_tick_ms(&self) -> Option<u64> {
        if self.elements.is_empty() {
            return None;
        }
        if self.config.event_time {
            return Some(self.next_watermark_ms);
        }
        match self.config.slide {
            Span::Count(_) => None,
            Span::Time(slide) => self.next_end(millis(slide)),
        }
    }

    /// Whether time alone will close a window that has something in it.
    pub(super) fn waits_for_time(&self) -> bool {
        !self.config.event_time && matches!(self.config.slide, Span::Time(_)) && !self.elements.is_empty()
    }

    /// Whether more is due than was fired, whatever the time.
    pub(super) fn is_behind(&self) -> bool {
        self.behind
    }

    /// Windows that are due, in their order; when they are many, the first of them.
    pub(super) fn due(&mut self, now_ms: u64) -> Vec<Fired> {
        if self.config.event_time && !self.behind {
            if now_ms < self.next_watermark_ms && self.next_watermark_ms != 0 {
                return Vec::new();
            }
            self.next_watermark_ms = now_ms + millis(self.config.watermark_interval);
            self.move_watermark();
        }
        let ready_ms = if self.config.event_time { self.mark.watermark_ms } else { now_ms };
        let mut due = Vec::new();
        match self.config.slide {
            Span::Count(slide) => {
                let bound = if self.config.event_time { (ready_ms, u64::MAX) } else { (u64::MAX, u64::MAX) };
                while due.len() < FIRE_MAX
                    && let Some(last) = self.nth_new(slide.max(1), bound)
                {
                    due.extend(self.fire_count(slide.max(1), last));
                }
            }
            Span::Time(slide) => {
                let slide = millis(slide);
                // After a long time of nothing, the same elements need not be shown for each slide of it.
                let behind = ready_ms.saturating_sub(self.mark.end_ms) / slide;
                if matches!(self.config.length, Span::Count(_)) && self.mark.end_ms > 0 && behind > FIRE_MAX as u64 {
                    self.mark.end_ms += (behind - 1) * slide;
                }
                while due.len() < FIRE_MAX
                    && let Some(end_ms) = self.next_end(slide).filter(|&end| end <= ready_ms)
                {
                    due.extend(self.fire_time(slide, end_ms));
                }
            }
        }
        self.behind = due.len() >= FIRE_MAX;
        due
    }

    fn move_watermark(&mut self) {
        // Something must have come on each input, or a slow one would find everything too late.
        if self.latest_ms.len() >= self.inputs.max(1)
            && let Some(&slowest) = self.latest_ms.values().min()
        {
            let lag = u64::try_from(self.config.max_lag.as_millis()).unwrap_or(u64::MAX);
            let watermark = slowest.saturating_sub(lag);
            self.mark.watermark_ms = self.mark.watermark_ms.max(watermark);
        }
    }

    /// The `n`th element after the last window a count has closed, within `bound`.
    fn nth_new(&self, n: u64, bound: Order) -> Option<Order> {
        if bound <= self.mark.fired {
            return None;
        }
        let new = self.elements.range((Excluded(self.mark.fired), Included(bound)));
        new.map(|(&order, _)| order).nth(usize::try_from(n - 1).ok()?)
    }

    /// The end of the next window that has something in it.
    fn next_end(&self, slide_ms: u64) -> Option<u64> {
        let next = self.mark.end_ms.saturating_add(slide_ms);
        let first_ms = match self.config.length {
            // The same elements may be the last ones again and again.
            Span::Count(_) if self.mark.end_ms > 0 && !self.elements.is_empty() => return Some(next),
            _ => self.elements.first_key_value()?.0.0,
        };
        Some(first_ms.div_ceil(slide_ms).max(1).saturating_mul(slide_ms).max(next))
    }

    fn fire_count(&mut self, slide: u64, last: Order) -> Option<Fired> {
        self.mark.fired = last;
        let expired = match self.config.length {
            Span::Count(length) => self.all_but(length.saturating_sub(slide), last),
            Span::Time(length) => self.until(last.0.saturating_sub(millis(length))),
        };
        let elements = match self.config.length {
            Span::Count(length) => self.last_of(length, last),
            Span::Time(length) => self.between(last.0.checked_sub(millis(length)), last),
        };
        self.fired(elements, expired)
    }

    fn fire_time(&mut self, slide_ms: u64, end_ms: u64) -> Option<Fired> {
        self.mark.end_ms = end_ms;
        let last = (end_ms, u64::MAX);
        let (elements, expired) = match self.config.length {
            Span::Count(length) => (self.last_of(length, last), self.all_but(length, last)),
            Span::Time(length) => {
                let length_ms = millis(length);
                let elements = self.between(end_ms.checked_sub(length_ms), last);
                (elements, self.until(end_ms.saturating_add(slide_ms).saturating_sub(length_ms).min(end_ms)))
            }
        };
        self.fired(elements, expired)
    }

    /// The last `count` elements up to `last`.
    fn last_of(&self, count: u64, last: Order) -> Vec<Arc<Message>> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let newest = self.elements.range(..=last).rev().take(count);
        let mut elements: Vec<_> = newest.map(|(_, e)| e.message.clone()).collect();
        elements.reverse();
        elements
    }

    /// Elements later than `after_ms`, up to `last`.
    fn between(&self, after_ms: Option<u64>, last: Order) -> Vec<Arc<Message>> {
        let after = after_ms.map_or(Unbounded, |ms| Excluded((ms, u64::MAX)));
        self.elements.range((after, Included(last))).map(|(_, e)| e.message.clone()).collect()
    }

    /// All elements up to `last` but for the newest `keep`.
    fn all_but(&self, keep: u64, last: Order) -> Vec<Order> {
        let keep = usize::try_from(keep).unwrap_or(usize::MAX);
        self.elements.range(..=last).rev().skip(keep).map(|(&order, _)| order).collect()
    }

    fn until(&self, last_ms: u64) -> Vec<Order> {
        self.elements.range(..=(last_ms, u64::MAX)).map(|(&order, _)| order).collect()
    }

    fn fired(&mut self, elements: Vec<Arc<Message>>, expired: Vec<Order>) -> Option<Fired> {
        let mut gone = Vec::with_capacity(expired.len());
        for order in expired {
            if let Some(element) = self.elements.remove(&order) {
                gone.push((element.message, row(&self.table, element.key, RowChange::Delete)));
            }
        }
        if elements.is_empty() {
            self.passed.extend(gone.into_iter().map(|(_, gone)| gone));
            return None;
        }
        let mark = serde_json::to_vec(&self.mark).unwrap_or_default();
        let mark = row(&self.table, make_key(self.instance_id, MARK), RowChange::Put(mark.into()));
        Some(Fired { elements, expired: gone, mark })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests;
