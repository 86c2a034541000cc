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

use bytes::{BufMut, Bytes, BytesMut};
use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Included, Unbounded},
    sync::Arc,
    time::Duration,
};

use super::run::row;
use crate::{
    error::{Error, Result},
    event_log::{RowChange, TableChange, Tables},
    message::{Key, Message, MessageId},
    spec::{Span, WindowSpec},
};

/// Rows read at a time.
const SCAN: usize = 1000;
/// Payload an element may have: a row takes 4 MiB, its properties included.
pub(super) const ELEMENT_BYTES_MAX: usize = 3 << 20;
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

/// The table of a function's windows.
pub(super) fn table(fqfn: &str) -> String {
    format!("window/{fqfn}")
}

/// A time (milliseconds) and the number of arrival.
type Order = (u64, u64);

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
    /// Elements that are in no later window.
    pub(super) expired: Vec<Arc<Message>>,
    /// What is to be committed with its outputs.
    pub(super) changes: Vec<TableChange>,
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
        let mut after: Option<Bytes> = None;
        loop {
            let rows = tables.scan(&windows.table, &instance_id.to_be_bytes(), after.as_deref(), SCAN).await?;
            let Some((last, _)) = rows.last() else { break };
            after = Some(last.clone());
            for (key, row) in rows {
                windows.restore(key, &row.value)?;
            }
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
        let mut after = make_key(parallelism - 1, MARK);
        let (mut moves, mut bytes) = (Vec::new(), 0);
        loop {
            let rows = tables.scan(&self.table, &[], Some(&after), SCAN).await?;
            let Some((last, _)) = rows.last() else { break };
            after = last.clone();
            for (key, stored) in rows {
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
            let at_ms = at_ms.max(self.first_open_ms());
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

    /// The first time that a window to come has in it.
    fn first_open_ms(&self) -> u64 {
        let after_time = match (self.config.slide, self.config.length) {
            (Span::Time(slide), Span::Time(length)) if self.mark.end_ms > 0 => {
                (self.mark.end_ms + millis(slide)).saturating_sub(millis(length)) + 1
            }
            _ => 0,
        };
        after_time.max(self.mark.fired.0).max(self.mark.watermark_ms)
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
            behind: false,
        }
    }

    fn restore(&mut self, key: Bytes, value: &[u8]) -> Result<()> {
        let (_, number) = split_key(&key).ok_or_else(|| self.damaged())?;
        if number == MARK {
            self.mark = serde_json::from_slice(value).map_err(|_| self.damaged())?;
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
    pub(super) fn add(&mut self, message: Arc<Message>, now_ms: u64) -> Option<TableChange> {
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
        if self.config.event_time && at_ms < self.mark.watermark_ms {
            return None;
        }
        self.saw(&message, at_ms);
        if self.elements.is_empty() && self.next_watermark_ms == 0 {
            self.next_watermark_ms = now_ms + millis(self.config.watermark_interval);
        }
        let number = self.next_number;
        self.next_number += 1;
        let key = make_key(self.instance_id, number);
        let value = encode(at_ms, &message);
        self.elements.insert((at_ms, number), Element { key: key.clone(), message });
        Some(row(&self.table, key, RowChange::Put(value)))
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
            let watermark = slowest.saturating_sub(millis(self.config.max_lag));
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
        let mark = serde_json::to_vec(&self.mark).unwrap_or_default();
        let mut changes = vec![row(&self.table, make_key(self.instance_id, MARK), RowChange::Put(mark.into()))];
        let mut gone = Vec::with_capacity(expired.len());
        for order in expired {
            if let Some(element) = self.elements.remove(&order) {
                changes.push(row(&self.table, element.key, RowChange::Delete));
                gone.push(element.message);
            }
        }
        // Elements expire with a window they are in, so one without elements has nothing to say.
        (!elements.is_empty()).then_some(Fired { elements, expired: gone, changes })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}

fn make_key(instance_id: u32, number: u64) -> Bytes {
    let mut key = BytesMut::with_capacity(12);
    key.put_u32(instance_id);
    key.put_u64(number);
    key.freeze()
}

fn split_key(key: &[u8]) -> Option<(u32, u64)> {
    let (instance, number) = key.split_at_checked(4)?;
    Some((u32::from_be_bytes(instance.try_into().ok()?), u64::from_be_bytes(number.try_into().ok()?)))
}

/// What is stored of an element besides its payload.
#[derive(serde::Serialize, serde::Deserialize)]
struct Head {
    at_ms: u64,
    topic: String,
    id: (u64, i64, i32, i32, u32),
    key: Option<(String, bool)>,
    properties: Vec<(String, String)>,
    event_time_ms: u64,
    publish_time_ms: u64,
    producer: String,
    sequence_id: u64,
    schema_version: Vec<u8>,
}

fn encode(at_ms: u64, message: &Message) -> Bytes {
    let MessageId { ledger, entry, partition, batch_index, batch_size } = message.id;
    let head = Head {
        at_ms,
        topic: message.topic.to_string(),
        id: (ledger, entry, partition, batch_index, batch_size),
        key: message.key.as_ref().map(|key| (key.text.clone(), key.is_base64)),
        properties: message.properties.clone(),
        event_time_ms: message.event_time_ms,
        publish_time_ms: message.publish_time_ms,
        producer: message.producer.to_string(),
        sequence_id: message.sequence_id,
        schema_version: message.schema_version.to_vec(),
    };
    let head = serde_json::to_vec(&head).unwrap_or_default();
    let mut value = BytesMut::with_capacity(4 + head.len() + message.payload.len());
    value.put_u32(head.len() as u32);
    value.put_slice(&head);
    value.put_slice(&message.payload);
    value.freeze()
}

fn decode(value: &[u8]) -> Option<(u64, Message)> {
    let (size, rest) = value.split_at_checked(4)?;
    let (head, payload) = rest.split_at_checked(u32::from_be_bytes(size.try_into().ok()?) as usize)?;
    let head: Head = serde_json::from_slice(head).ok()?;
    let (ledger, entry, partition, batch_index, batch_size) = head.id;
    let message = Message {
        input: 0,
        topic: Arc::new(head.topic.parse().ok()?),
        id: MessageId { ledger, entry, partition, batch_index, batch_size },
        key: head.key.map(|(text, is_base64)| Key { text, is_base64 }),
        properties: head.properties,
        event_time_ms: head.event_time_ms,
        publish_time_ms: head.publish_time_ms,
        producer: head.producer.into(),
        sequence_id: head.sequence_id,
        redelivery_count: 0,
        schema_version: head.schema_version.into(),
        payload: Bytes::copy_from_slice(payload),
    };
    Some((head.at_ms, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MemoryTables;
    use expect_test::{Expect, expect};

    fn config(length: Span, slide: Span) -> WindowSpec {
        WindowSpec {
            length,
            slide,
            timestamp_extractor: None,
            event_time: false,
            max_lag: Duration::ZERO,
            watermark_interval: Duration::from_millis(1),
            late_data_topic: None,
        }
    }

    fn ms(ms: u64) -> Span {
        Span::Time(Duration::from_millis(ms))
    }

    fn event_time(length: Span, slide: Span, max_lag_ms: u64) -> WindowSpec {
        WindowSpec { event_time: true, max_lag: Duration::from_millis(max_lag_ms), ..config(length, slide) }
    }

    fn element(number: u64, topic: &str, event_time_ms: u64) -> Arc<Message> {
        Arc::new(Message {
            input: 0,
            topic: Arc::new(topic.parse().unwrap()),
            id: MessageId { ledger: 1, entry: number as i64, partition: -1, batch_index: -1, batch_size: 0 },
            key: Some(Key { text: "k".into(), is_base64: false }),
            properties: vec![("a".into(), "b".into())],
            event_time_ms,
            publish_time_ms: 7,
            producer: "p".into(),
            sequence_id: number,
            redelivery_count: 0,
            schema_version: Bytes::from_static(&[1]),
            payload: number.to_string().into(),
        })
    }

    /// What is stored, as the table has it.
    #[derive(Default)]
    struct Stored(BTreeMap<Bytes, Bytes>);

    impl Stored {
        fn apply(&mut self, changes: impl IntoIterator<Item = TableChange>) {
            for TableChange { key, change, .. } in changes {
                match change {
                    RowChange::Put(value) => drop(self.0.insert(key, value)),
                    _ => drop(self.0.remove(&key)),
                }
            }
        }

        fn load(&self, config: &WindowSpec) -> Windows {
            let mut windows = Windows::new("w".into(), 0, 1, config.clone());
            for (key, value) in &self.0 {
                windows.restore(key.clone(), value).unwrap();
            }
            windows
        }
    }

    fn shown(fired: &Fired) -> String {
        let names = |of: &[Arc<Message>]| {
            let mut all: Vec<u64> = of.iter().map(|m| m.sequence_id).collect();
            all.sort_unstable();
            all.iter().map(u64::to_string).collect::<Vec<_>>().join(" ")
        };
        let gone = if fired.expired.is_empty() { "none".to_owned() } else { names(&fired.expired) };
        format!("[{}] less {gone}", names(&fired.elements))
    }

    /// Elements (number = time of arrival, or event time) go in one by one; with `crash` everything is read back from what is stored
    /// before each.
    fn run(config: &WindowSpec, times: &[u64], crash: bool) -> String {
        let mut stored = Stored::default();
        let mut windows = stored.load(config);
        let mut shows = String::new();
        for (n, &at_ms) in times.iter().enumerate() {
            if crash {
                windows = stored.load(config);
            }
            match windows.add(element(n as u64 + 1, "persistent://t/n/a", at_ms), at_ms) {
                Some(change) => stored.apply([change]),
                None => shows += &format!("{} is late\n", n + 1),
            }
            // The clock of event time windows is moved by elements, but looked at as time passes.
            let now_ms = if config.event_time { 1_000_000 + n as u64 * 10 } else { at_ms };
            for fired in windows.due(now_ms) {
                shows += &format!("{}: {}\n", n + 1, shown(&fired));
                stored.apply(fired.changes);
            }
        }
        shows + &format!("{} stored", stored.0.keys().filter(|key| split_key(key).unwrap().1 != MARK).count())
    }

    fn check(config: &WindowSpec, times: &[u64], expect: Expect) {
        expect.assert_eq(&run(config, times, false));
        expect.assert_eq(&run(config, times, true));
    }

    #[test]
    fn tumbling_by_count() {
        check(
            &config(Span::Count(3), Span::Count(3)),
            &[1, 2, 3, 4, 5, 6, 7],
            expect![[r#"
            3: [1 2 3] less 1 2 3
            6: [4 5 6] less 4 5 6
            1 stored"#]],
        );
    }

    #[test]
    fn sliding_by_count() {
        check(
            &config(Span::Count(3), Span::Count(2)),
            &[1, 2, 3, 4, 5, 6],
            expect![[r#"
            2: [1 2] less 1
            4: [2 3 4] less 2 3
            6: [4 5 6] less 4 5
            1 stored"#]],
        );
    }

    #[test]
    fn tumbling_by_time() {
        // The window that ends at 100 is seen to be over at the first chance after that.
        check(
            &config(ms(100), ms(100)),
            &[10, 20, 100, 130, 205, 450],
            expect![[r#"
            3: [1 2 3] less 1 2 3
            5: [4] less 4
            6: [5] less 5
            1 stored"#]],
        );
    }

    #[test]
    fn what_comes_in_the_millisecond_in_which_a_window_closed_is_in_the_next_one() {
        let mut windows = Windows::new("w".into(), 0, 1, config(ms(100), ms(100)));
        let shown = |fired: Vec<Fired>| -> Vec<Vec<u64>> {
            fired.iter().map(|fired| fired.elements.iter().map(|element| element.sequence_id).collect()).collect()
        };
        windows.add(element(1, "in", 0), 50).unwrap();
        assert_eq!(shown(windows.due(100)), [[1]]);
        windows.add(element(2, "in", 0), 100).unwrap();
        // As by a clock that was set back.
        windows.add(element(3, "in", 0), 80).unwrap();
        assert_eq!(shown(windows.due(200)), [[2, 3]]);
        assert!(windows.elements.is_empty());
    }

    #[test]
    fn sliding_by_time() {
        check(
            &config(ms(100), ms(50)),
            &[10, 60, 110, 160, 400],
            expect![[r#"
            2: [1] less none
            3: [1 2] less 1
            4: [2 3] less 2
            5: [3 4] less 3
            5: [4] less 4
            5: [5] less none
            1 stored"#]],
        );
    }

    #[test]
    fn a_count_of_elements_every_so_often() {
        check(
            &config(Span::Count(2), ms(100)),
            &[10, 20, 30, 110, 210],
            expect![[r#"
            4: [2 3] less 1
            5: [3 4] less 2
            3 stored"#]],
        );
    }

    #[test]
    fn a_time_for_every_so_many_elements() {
        check(
            &config(ms(100), Span::Count(2)),
            &[10, 150, 160, 170, 400, 410],
            expect![[r#"
            2: [2] less 1
            4: [2 3 4] less none
            6: [5 6] less 2 3 4
            2 stored"#]],
        );
    }

    #[test]
    fn by_event_time_what_is_out_of_order_finds_its_window_and_what_is_late_none() {
        check(
            &event_time(ms(100), ms(100), 60),
            &[10, 80, 120, 60, 160, 40, 260],
            expect![[r#"
            5: [1 2 4] less 1 2 4
            6 is late
            7: [3 5] less 3 5
            1 stored"#]],
        );
    }

    #[test]
    fn by_event_time_counts_go_by_the_order_of_events() {
        check(
            &event_time(Span::Count(2), Span::Count(2), 25),
            &[30, 10, 20, 45, 70],
            expect![[r#"
            4: [2 3] less 2 3
            5: [1 4] less 1 4
            1 stored"#]],
        );
    }

    #[test]
    fn hostile_times_end() {
        for (length, slide) in
            [(Span::Count(2), ms(1)), (ms(5), ms(1)), (ms(1 << 40), ms(1)), (Span::Count(1), Span::Count(1))]
        {
            let mut windows = Windows::new("w".into(), 0, 1, event_time(length, slide, 0));
            let now_ms = 1_800_000_000_000;
            for time in [1, 2, u64::MAX, u64::MAX - 1, now_ms, u64::MAX] {
                windows.add(element(time, "persistent://t/n/a", time), now_ms);
            }
            for n in 0..10 {
                assert!(windows.due(now_ms + n * 100).len() <= FIRE_MAX);
            }
        }
    }

    #[test]
    fn the_watermark_waits_for_the_slowest_input() {
        let mut windows = Windows::new("w".into(), 0, 2, event_time(ms(100), ms(100), 0));
        let (a, b) = ("persistent://t/n/a-partition-1", "persistent://t/n/b");
        windows.add(element(1, a, 500), 0).unwrap();
        assert!(windows.due(10).is_empty(), "nothing was seen of the other input");
        windows.add(element(2, b, 90), 0).unwrap();
        assert!(windows.due(20).is_empty());
        windows.add(element(3, b, 210), 0).unwrap();
        assert_eq!(windows.due(30).iter().map(shown).collect::<Vec<_>>(), ["[2] less 2"]);
    }

    const TOPIC: &str = "persistent://t/n/a";

    async fn load(tables: &MemoryTables, config: &WindowSpec, instance_id: u32, parallelism: u32) -> Windows {
        Windows::load(tables, "w".to_owned(), instance_id, parallelism, 1, config.clone()).await.unwrap()
    }

    /// Fires what is due, commits it, and says what was shown.
    async fn fire(tables: &MemoryTables, windows: &mut Windows, now_ms: u64) -> Vec<String> {
        let due = windows.due(now_ms);
        let all = due.iter().map(shown).collect();
        tables.write(due.into_iter().flat_map(|fired| fired.changes).collect()).await.unwrap();
        all
    }

    async fn add(tables: &MemoryTables, windows: &mut Windows, id: u64, now_ms: u64) {
        tables.write(windows.add(element(id, TOPIC, 0), now_ms).into_iter().collect()).await.unwrap();
    }

    #[tokio::test]
    async fn elements_of_instances_that_are_gone_are_taken_over() {
        let config = config(Span::Count(2), Span::Count(2));
        let tables = MemoryTables::default();
        for instance_id in 0..3 {
            let mut windows = load(&tables, &config, instance_id, 3).await;
            add(&tables, &mut windows, u64::from(instance_id), 5).await;
        }
        let mut left = load(&tables, &config, 0, 2).await;
        assert_eq!(fire(&tables, &mut left, 6).await, ["[0 2] less 0 2"]);
        assert_eq!(load(&tables, &config, 0, 2).await.due(9).len(), 0);
        assert_eq!(load(&tables, &config, 1, 2).await.elements.len(), 1);
    }

    #[tokio::test]
    async fn one_that_comes_back_leaves_what_was_adopted_where_it_is() {
        let config = config(Span::Count(2), Span::Count(2));
        let tables = MemoryTables::default();
        let mut first = load(&tables, &config, 0, 2).await;
        let mut second = load(&tables, &config, 1, 2).await;
        add(&tables, &mut second, 7, 5).await;
        // Down to one while the first one runs, and up again.
        first.adopt(&tables, 1).await.unwrap();
        let mut second = load(&tables, &config, 1, 2).await;
        assert_eq!((first.elements.len(), second.elements.len()), (1, 0));
        add(&tables, &mut second, 8, 6).await;
        add(&tables, &mut first, 9, 6).await;
        assert_eq!(fire(&tables, &mut first, 7).await, ["[7 9] less 7 9"]);
        assert!(fire(&tables, &mut second, 7).await.is_empty());
        // The first one starts again and finds that it is done with what it adopted.
        assert!(load(&tables, &config, 0, 2).await.elements.is_empty());
    }

    #[tokio::test]
    async fn what_is_adopted_after_its_window_has_passed_is_in_the_next() {
        let tables = MemoryTables::default();
        for (config, more) in [(config(ms(100), ms(100)), 350), (config(Span::Count(2), Span::Count(2)), 150)] {
            tables.delete_table("w").await.unwrap();
            let (mut first, mut gone) = (load(&tables, &config, 0, 2).await, load(&tables, &config, 1, 2).await);
            add(&tables, &mut gone, 1, 110).await;
            for id in [2, 3] {
                add(&tables, &mut first, id, 120).await;
            }
            assert_eq!(fire(&tables, &mut first, 250).await, ["[2 3] less 2 3"]);
            first.adopt(&tables, 1).await.unwrap();
            add(&tables, &mut first, 4, 260).await;
            assert_eq!(fire(&tables, &mut first, more).await, ["[1 4] less 1 4"]);
        }
    }

    #[test]
    fn a_stored_element_is_read_as_it_was_and_garbage_is_an_error() {
        let message = element(3, "persistent://t/n/a-partition-2", 99);
        let bytes = encode(5, &message);
        let (at_ms, read) = decode(&bytes).unwrap();
        assert_eq!((at_ms, format!("{read:?}")), (5, format!("{message:?}")));
        for end in 0..bytes.len() - message.payload.len() {
            assert!(decode(&bytes[..end]).is_none(), "cut at {end}");
        }
        let mut windows = Windows::new("w".into(), 0, 1, config(Span::Count(1), Span::Count(1)));
        windows.restore(make_key(0, 1), b"garbage").unwrap_err();
        windows.restore(Bytes::from_static(b"x"), &bytes).unwrap_err();
    }
}
