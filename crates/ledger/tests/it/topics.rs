//! Creating, listing, deleting; many of them.

use crate::fixture::{Fixture, cursor, entry, read_all, topic};
use ::model::{NamespaceName, Position};
use ledger::Error;
use std::{collections::BTreeMap, time::Instant};

fn names(store: &ledger::Store) -> Vec<String> {
    let namespace: NamespaceName = "public/default".parse().unwrap();
    store.topics(&namespace).unwrap().iter().map(|t| t.local().to_owned()).collect()
}

#[tokio::test]
async fn topics_are_listed_from_the_catalog_and_from_what_changed_since() {
    let mut fixture = Fixture::new();
    let mut o = fixture.open().await;
    for name in ["b", "d", "public/default2/x"] {
        o.store.create(&mut o.batch, &topic(name), BTreeMap::new()).unwrap_or_else(|e| panic!("{e}"));
    }
    o.commit().await;
    o.store.checkpoint().await.unwrap();
    o.store.create(&mut o.batch, &topic("c"), BTreeMap::new()).unwrap();
    o.store.create(&mut o.batch, &topic("a"), BTreeMap::new()).unwrap();
    o.store.delete(&mut o.batch, &topic("d")).unwrap();
    assert!(matches!(o.store.create(&mut o.batch, &topic("b"), BTreeMap::new()), Err(Error::Exists(_))));
    assert!(matches!(o.store.delete(&mut o.batch, &topic("d")), Err(Error::NotFound(_))));
    assert_eq!(names(&o.store), ["a", "b", "c"]);
    o.commit().await;
    drop(o);
    let mut o = fixture.open().await;
    assert_eq!(names(&o.store), ["a", "b", "c"]);
    assert!(o.store.exists(&topic("a")).unwrap() && !o.store.exists(&topic("d")).unwrap());
    o.store.checkpoint().await.unwrap();
    assert_eq!(o.store.topics_in_memory(), 0, "idle topics are rows and nothing else");
    assert_eq!(names(&o.store), ["a", "b", "c"]);
    // Again, now that it is a row; and its name is free.
    o.store.delete(&mut o.batch, &topic("a")).unwrap();
    o.store.create(&mut o.batch, &topic("a"), [("k".to_owned(), "v".to_owned())].into()).unwrap();
    o.commit().await;
    for stop in [false, true, false] {
        o.store.checkpoint().await.unwrap();
        if stop {
            drop(o);
            o = fixture.open().await;
        }
        assert_eq!(names(&o.store), ["a", "b", "c"]);
        assert_eq!(o.load("a").properties().get("k").map(String::as_str), Some("v"));
    }
}

#[tokio::test]
async fn a_name_used_again_is_another_topic() {
    let mut fixture = Fixture::new();
    let mut o = fixture.open().await;
    for round in 0..3u64 {
        let mut ledger = o.create("again").await;
        assert!(ledger.cursors().is_empty());
        assert_eq!(read_all(&mut ledger, Position::EARLIEST).await, []);
        o.publish(&mut ledger, &[entry(round, 10), entry(round, 20)]).await;
        o.subscribe(&mut ledger, "s", Position::EARLIEST).await;
        drop(ledger);
        if round == 1 {
            o.store.checkpoint().await.unwrap();
        }
        o.store.delete(&mut o.batch, &topic("again")).unwrap();
        o.commit().await;
        drop(o);
        o = fixture.open().await;
        assert!(!o.store.exists(&topic("again")).unwrap());
    }
}

#[tokio::test]
async fn a_topic_has_one_owner() {
    let mut fixture = Fixture::new();
    let mut o = fixture.open().await;
    let ledger = o.create("t").await;
    assert!(matches!(o.store.load(&topic("t")), Err(Error::Loaded(_))));
    assert!(matches!(o.store.delete(&mut o.batch, &topic("t")), Err(Error::Loaded(_))));
    assert!(matches!(o.store.load(&topic("u")), Err(Error::NotFound(_))));
    drop(ledger);
    o.load("t");
    o.load("t");
}

#[tokio::test]
async fn partitioned_topics_are_rows_too() {
    let mut fixture = Fixture::new();
    let mut o = fixture.open().await;
    let volatile = topic("non-persistent://public/default/v");
    o.store.set_partitions(&mut o.batch, &topic("p"), Some(3)).unwrap();
    o.store.set_partitions(&mut o.batch, &topic("q"), Some(1)).unwrap();
    o.commit().await;
    o.store.checkpoint().await.unwrap();
    o.store.set_partitions(&mut o.batch, &topic("p"), Some(5)).unwrap();
    o.store.set_partitions(&mut o.batch, &topic("q"), None).unwrap();
    o.store.set_partitions(&mut o.batch, &volatile, Some(2)).unwrap();
    o.commit().await;
    for _ in 0..2 {
        assert_eq!(o.store.partitions(&topic("p")).unwrap(), Some(5));
        assert_eq!(o.store.partitions(&topic("q")).unwrap(), None);
        let all = o.store.partitioned_topics(&"public/default".parse().unwrap()).unwrap();
        assert_eq!(all, [(topic("p"), 5), (volatile.clone(), 2)]);
        drop(o);
        o = fixture.open().await;
        o.store.checkpoint().await.unwrap();
    }
}

#[tokio::test]
async fn cursors_keep_names_and_properties() {
    let mut fixture = Fixture::new();
    let mut o = fixture.open().await;
    let mut ledger = o.create("t").await;
    let properties: BTreeMap<_, _> = [("a".to_owned(), "1".to_owned())].into();
    let durable = ledger.open_cursor(Some(&mut o.batch), "durable", Position::EARLIEST, properties.clone());
    ledger.open_cursor(None, "reader", Position::EARLIEST, BTreeMap::new());
    o.commit().await;
    assert_eq!(ledger.cursors().len(), 2);
    ledger.set_cursor_properties(&mut o.batch, durable, [("b".to_owned(), "2".to_owned())].into());
    o.commit().await;
    drop((ledger, o));
    let o = fixture.open().await;
    let ledger = o.load("t");
    assert!(cursor(&ledger, "reader").is_none());
    let id = cursor(&ledger, "durable").unwrap();
    assert_eq!(ledger.cursor_properties(id).get("b").map(String::as_str), Some("2"));
}

/// Prints how long it takes; the full size is run with `GEMINGA_TOPICS=100000`.
#[tokio::test]
async fn many_topics_are_made_and_found_again_quickly() {
    let count: usize = std::env::var("GEMINGA_TOPICS").ok().and_then(|n| n.parse().ok()).unwrap_or(5_000);
    let mut fixture = Fixture::new();
    fixture.config.journal = journal::Config::default();
    fixture.config.journal.dir = fixture.dir.path().join("journal");
    let mut o = fixture.open().await;
    let started = Instant::now();
    for n in 0..count {
        let name = topic(&format!("topic-{n:06}"));
        while let Err(error) = o.store.create(&mut o.batch, &name, BTreeMap::new()) {
            assert!(matches!(error, Error::NoLedgerId), "{error}");
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        if n % 10 == 9 {
            o.commit().await;
        }
    }
    o.commit().await;
    let created = started.elapsed();
    drop(o);
    let started = Instant::now();
    let o = fixture.open().await;
    let tail = started.elapsed();
    assert_eq!(o.recovered.topics, count);
    assert_eq!(names(&o.store).len(), count);
    o.store.clone().close().await.unwrap();
    drop(o);
    let started = Instant::now();
    let o = fixture.open().await;
    let row = started.elapsed();
    assert_eq!((o.recovered.records, o.store.topics_in_memory()), (0, 0));
    assert_eq!(names(&o.store).len(), count);
    o.load("topic-000007");
    let rate = count as f64 / created.as_secs_f64();
    println!("{count} topics: {rate:.0} a second; start {tail:?} from the journal, {row:?} from the catalog");
    assert!(rate > 2_000.0 || cfg!(debug_assertions), "{rate}");
}
