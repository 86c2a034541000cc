//! Entries that others than a topic's owner append, and commits that belong together.

use crate::fixture::{Fixture, Opened, cursor, entry, read_all, topic};
use ::model::Position;
use ledger::{Appender, NOT_STORED, Read, Retention};
use std::time::Duration;

/// Another owner in the same process: a batch of its own.
fn other(o: &Opened) -> Opened {
    Opened {
        store: o.store.clone(),
        recovered: ledger::Recovered::default(),
        batch: o.store.batch(),
        listener: o.listener.clone(),
    }
}

fn numbers(entries: &[ledger::Entry]) -> Vec<u64> {
    entries.iter().map(|e| u64::from_le_bytes(e.data[..8].try_into().unwrap())).collect()
}

async fn append(o: &mut Opened, appender: &mut Appender, n: u64) -> Position {
    appender.append(&mut o.batch, entry(n, 100), 1, None);
    o.commit().await[0]
}

#[tokio::test]
async fn positions_are_those_of_the_journal_and_reads_never_pass_over_an_entry() {
    let mut fixture = Fixture::new();
    fixture.config.cache_bytes = 1 << 20;
    let mut o = fixture.open().await;
    let mut ledger = o.create("t").await;
    let (mut a, mut b) = (other(&o), other(&o));
    let mut appender = ledger.appender().unwrap();
    let mut again = appender.clone();
    let own = o.publish(&mut ledger, &[entry(0, 100)]).await;
    let first = append(&mut a, &mut appender, 1).await;
    let second = append(&mut b, &mut again, 2).await;
    assert_eq!([own[0].next(), first.next()], [first, second]);
    // The owner hears of the second alone; its own next entry comes before it hears of the first.
    ledger.appended_by_other(&mut o.batch, second, entry(2, 100), 1);
    ledger.confirm(second);
    assert_eq!(numbers(&read_all(&mut ledger, Position::EARLIEST).await), [0, 1, 2]);
    o.publish(&mut ledger, &[entry(3, 100)]).await;
    match ledger.read(own[0], 10, 1 << 20) {
        Read::Entries(entries) => assert_eq!(numbers(&entries), [0], "what is not known yet is not passed over"),
        _ => panic!("the first is in memory"),
    }
    assert!(matches!(ledger.read(first, 10, 1 << 20), Read::Later(_)));
    assert_eq!(numbers(&read_all(&mut ledger, Position::EARLIEST).await), [0, 1, 2, 3]);
    ledger.appended_by_other(&mut o.batch, first, entry(1, 100), 1);
    ledger.confirm(first);
    match ledger.read(own[0], 10, 1 << 20) {
        Read::Entries(entries) => assert_eq!(numbers(&entries), [0, 1, 2, 3]),
        _ => panic!("all are in memory"),
    }
}

#[tokio::test]
async fn ledgers_roll_over_though_only_others_append() {
    let mut fixture = Fixture::new();
    let mut o = fixture.open().await;
    let mut ledger = o.create("t").await;
    let mut appender = ledger.appender().unwrap();
    let mut a = other(&o);
    for n in 0..23 {
        let position = append(&mut a, &mut appender, n).await;
        ledger.appended_by_other(&mut o.batch, position, entry(n, 100), 1);
        ledger.confirm(position);
        o.commit().await;
    }
    assert!(ledger.ledgers().len() >= 4, "{:?}", ledger.ledgers());
    assert_eq!(numbers(&read_all(&mut ledger, Position::EARLIEST).await), (0..23).collect::<Vec<_>>());
    assert!(ledger.trim(&mut o.batch, Retention { time: Some(Duration::ZERO), bytes: Some(0) }) > 0);
    o.commit().await;
    drop((ledger, appender, a, o));
    let mut ledger = fixture.open().await.load("t");
    assert_eq!(ledger.entries_added(), 23);
    assert!(numbers(&read_all(&mut ledger, Position::EARLIEST).await).ends_with(&[22]));
}

#[tokio::test]
async fn a_topic_loaded_meanwhile_confirms_what_is_durable_and_no_more() {
    let mut fixture = Fixture::new();
    let files = journal::faults::MemoryFiles::new(3);
    let mut o = fixture.open_on(std::sync::Arc::new(files.clone())).await;
    let mut ledger = o.create("t").await;
    let own = o.publish(&mut ledger, &[entry(0, 100)]).await;
    let mut appender = ledger.appender().unwrap();
    drop(ledger);
    let mut a = other(&o);
    let durable = append(&mut a, &mut appender, 1).await;
    assert_eq!(o.load("t").last_confirmed(), durable);
    // What comes now is never durable.
    files.crash();
    appender.append(&mut a.batch, entry(2, 100), 1, None);
    let committed = a.store.commit(&mut a.batch, &a.listener).unwrap();
    let ledger = o.load("t");
    assert_eq!((ledger.last_confirmed(), ledger.last_position()), (durable, committed.positions[0]));
    assert_eq!(durable, own[0].next());
    drop((ledger, appender, a, o));
    files.restart();
    let o = fixture.open_on(std::sync::Arc::new(files)).await;
    assert_eq!(numbers(&read_all(&mut o.load("t"), Position::EARLIEST).await), [0, 1]);
}

#[tokio::test]
async fn nothing_is_stored_of_a_deleted_topic_or_twice_of_a_deduplicated_one() {
    let mut fixture = Fixture::new();
    let mut o = fixture.open().await;
    let ledger = o.create("t").await;
    let mut appender = ledger.appender().unwrap();
    let mut a = other(&o);
    for (n, highest) in [(0, 5), (1, 5), (2, 4), (3, 6)] {
        appender.append(&mut a.batch, entry(n, 100), 1, Some(("p", highest)));
    }
    let positions = a.commit().await;
    assert_eq!(positions[1..3], [NOT_STORED, NOT_STORED]);
    assert_eq!(positions[3], positions[0].next());
    assert_eq!(ledger.dedup_highest("p"), Some(6));
    drop((ledger, appender, a, o));
    let mut o = fixture.open().await;
    let mut ledger = o.load("t");
    assert_eq!(ledger.dedup_highest("p"), Some(6));
    assert_eq!(numbers(&read_all(&mut ledger, Position::EARLIEST).await), [0, 3]);

    let mut appender = ledger.appender().unwrap();
    drop(ledger);
    appender.append(&mut o.batch, entry(9, 100), 1, None);
    let mut a = other(&o);
    a.store.delete(&mut a.batch, &topic("t")).unwrap();
    a.commit().await;
    assert!(appender.is_deleted());
    assert_eq!(o.commit().await, [NOT_STORED]);
    let mut anew = o.create("t").await;
    assert!(appender.is_deleted(), "another of the same name is another topic");
    assert_eq!(read_all(&mut anew, Position::EARLIEST).await, []);
}

/// An acknowledgement, an output and a counter in one batch, for which the journal has no room. A checkpoint that makes room must not
/// have the acknowledgement alone.
#[tokio::test]
async fn a_checkpoint_of_a_full_journal_tears_no_commit_apart() {
    for room in [false, true] {
        let mut fixture = Fixture::new();
        fixture.config.max_entries_per_ledger = 1000;
        let mut o = fixture.open().await;
        let mut input = o.create("in").await;
        let mut output = o.create("out").await;
        let mut fill = o.create("fill").await;
        let table = o.store.table("state").unwrap();
        let id = o.subscribe(&mut input, "f", Position::EARLIEST).await;
        o.subscribe(&mut fill, "s", Position::EARLIEST).await;
        let inputs: Vec<_> = (0..4).map(|n| entry(n, 100)).collect();
        let inputs = o.publish(&mut input, &inputs).await;
        input.trim(&mut o.batch, Retention { time: Some(Duration::ZERO), bytes: Some(0) });
        input.ack_batch(id, inputs[3], 4, &[0b1110]);
        o.flush(&mut input).await;
        o.store.checkpoint().await.unwrap();
        // Not to the brim: what the journal has taken must fit.
        let mut a = other(&o);
        loop {
            if a.batch.is_empty() {
                fill.append(&mut a.batch, entry(0, 2 << 10), 1);
            }
            match a.store.commit(&mut a.batch, &a.listener) {
                Ok(committed) => o.store.wait(committed.lsn).await.unwrap(),
                Err(error) if error.is_full() && o.store.journal_stats().full => break,
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
        // All of it is in memory, and in the batch.
        input.ack(id, inputs[0]);
        input.ack(id, inputs[2]);
        input.ack_batch(id, inputs[3], 4, &[0b1100]);
        input.flush_acks(&mut o.batch);
        input.ack(id, inputs[1]);
        input.trim(&mut o.batch, Retention { time: Some(Duration::ZERO), bytes: Some(0) });
        output.append(&mut o.batch, entry(7, 100 << 10), 1);
        table.add(&mut o.batch, "n", 1).unwrap();
        assert!(o.store.commit(&mut o.batch, &o.listener).is_err_and(|error| error.is_full()));
        if room {
            o.commit().await;
        } else {
            o.store.checkpoint().await.unwrap();
            o.store.maintain().await.unwrap();
        }
        drop((input, output, fill, a, table, o));
        let o = fixture.open().await;
        let (mut input, mut output) = (o.load("in"), o.load("out"));
        let id = cursor(&input, "f").unwrap();
        let outputs = read_all(&mut output, Position::EARLIEST).await.len();
        let count = o.store.table("state").unwrap().get(b"n").unwrap().and_then(|v| v.counter());
        let left = input.ack_set(id, inputs[3]).map(|words| words[0]);
        assert_eq!((outputs, count), if room { (1, Some(1)) } else { (0, None) });
        assert_eq!((input.backlog(id), left), if room { (1, Some(0b1100)) } else { (4, Some(0b1110)) });
        let read = read_all(&mut input, Position::EARLIEST).await;
        assert!(numbers(&read).ends_with(if room { &[3] } else { &[0, 1, 2, 3] }), "{:?}", numbers(&read));
    }
}
