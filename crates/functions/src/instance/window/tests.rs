use super::*;
use crate::{
    message::{Key, MessageId},
    testing::{MemoryTables, windows},
};
use expect_test::{Expect, expect};

fn config(length: Span, slide: Span) -> WindowSpec {
    WindowSpec { watermark_interval: Duration::from_millis(1), ..windows(length, slide) }
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
    let names = |of: Vec<&Arc<Message>>| {
        let mut all: Vec<u64> = of.into_iter().map(|m| m.sequence_id).collect();
        all.sort_unstable();
        all.iter().map(u64::to_string).collect::<Vec<_>>().join(" ")
    };
    let gone: Vec<_> = fired.expired.iter().map(|(element, _)| element).collect();
    let gone = if gone.is_empty() { "none".to_owned() } else { names(gone) };
    format!("[{}] less {gone}", names(fired.elements.iter().collect()))
}

/// Takes an element; what is to be stored of it.
fn kept(windows: &mut Windows, message: Arc<Message>, now_ms: u64) -> Option<TableChange> {
    windows.add(message, now_ms).unwrap().map(|(_, change)| change)
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
        match kept(&mut windows, element(n as u64 + 1, "persistent://t/n/a", at_ms), at_ms) {
            Some(change) => stored.apply([change]),
            None => shows += &format!("{} is late\n", n + 1),
        }
        // The clock of event time windows is moved by elements, but looked at as time passes.
        let now_ms = if config.event_time { 1_000_000 + n as u64 * 10 } else { at_ms };
        for fired in windows.due(now_ms) {
            shows += &format!("{}: {}\n", n + 1, shown(&fired));
            stored.apply(fired.changes().cloned());
        }
        stored.apply(windows.take_passed());
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
    kept(&mut windows, element(1, "in", 0), 50).unwrap();
    assert_eq!(shown(windows.due(100)), [[1]]);
    kept(&mut windows, element(2, "in", 0), 100).unwrap();
    // As by a clock that was set back.
    kept(&mut windows, element(3, "in", 0), 80).unwrap();
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
fn what_is_between_windows_is_in_none_and_does_not_stay() {
    // Each window is the second half of 100 ms. Nothing is in those that end at 200 and 400.
    check(
        &config(ms(50), ms(100)),
        &[10, 60, 110, 120, 210, 280, 310, 460],
        expect![[r#"
            3: [2] less 1 2
            7: [6] less 5 6
            1 stored"#]],
    );
}

#[test]
fn what_comes_at_the_time_of_the_last_one_that_was_seen_is_after_it() {
    check(
        &config(Span::Count(3), Span::Count(3)),
        &[5, 5, 5, 5, 5, 5, 5],
        expect![[r#"
            3: [1 2 3] less 1 2 3
            6: [4 5 6] less 4 5 6
            1 stored"#]],
    );
    check(
        &event_time(Span::Count(2), Span::Count(2), 0),
        &[1000, 1000, 1000, 1000, 1000],
        expect![[r#"
            2: [1 2] less 1 2
            4: [3 4] less 3 4
            1 stored"#]],
    );
}

#[test]
fn an_element_that_no_row_can_take_leaves_nothing_behind() {
    let mut windows = Windows::new("w".into(), 0, 1, event_time(Span::Count(1), Span::Count(1), 0));
    let message = element(1, TOPIC, 500);
    // Six bytes for each.
    let name = "\u{1}".repeat(ELEMENT_BYTES_MAX / 6);
    let large = Message { properties: vec![(name, String::new())], ..(*message).clone() };
    let refused = windows.add(Arc::new(large), 0).unwrap_err();
    assert!(matches!(&refused, Error::Invalid(why) if why.contains("in a window")), "{refused}");
    assert!(windows.elements.is_empty() && windows.latest_ms.is_empty());
    let (order, _) = windows.add(message, 0).unwrap().unwrap();
    windows.forget(order);
    assert!(windows.due(1_000_000).is_empty());
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
fn by_event_time_what_is_of_the_end_of_a_window_that_has_passed_is_late() {
    check(
        &event_time(ms(100), ms(100), 0),
        &[50, 100, 100, 101, 200],
        expect![[r#"
            2: [1 2] less 1 2
            3 is late
            5: [4 5] less 4 5
            0 stored"#]],
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
            kept(&mut windows, element(time, "persistent://t/n/a", time), now_ms);
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
    kept(&mut windows, element(1, a, 500), 0).unwrap();
    assert!(windows.due(10).is_empty(), "nothing was seen of the other input");
    kept(&mut windows, element(2, b, 90), 0).unwrap();
    assert!(windows.due(20).is_empty());
    kept(&mut windows, element(3, b, 210), 0).unwrap();
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
    tables.write(due.iter().flat_map(|fired| fired.changes().cloned()).collect()).await.unwrap();
    all
}

async fn add(tables: &MemoryTables, windows: &mut Windows, id: u64, now_ms: u64) {
    tables.write(kept(windows, element(id, TOPIC, 0), now_ms).into_iter().collect()).await.unwrap();
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
