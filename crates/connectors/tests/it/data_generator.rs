//! `data-generator`.

use functions::Kind;
use serde_json::json;
use std::time::{Duration, Instant};

use crate::kit;

#[tokio::test]
async fn it_makes_as_many_as_asked_for_and_rests_then() {
    let configs = json!({"sleepBetweenMessages": 0, "count": 600, "keys": 3, "template": "{n}/{key}/{instance}"});
    let mut source = kit::source("data-generator", configs).await;
    for n in 0..600 {
        let (id, record) = source.emitted().await;
        assert_eq!(id, n);
        let key = format!("key-{}", n % 3);
        assert_eq!(record.payload, format!("{n}/{key}/0"));
        assert_eq!(record.key.unwrap().text, key);
        assert!(record.event_time_ms > 0);
    }
    source.durable(0..600).await;
    assert!(
        source.is_silent(Duration::from_millis(300)).await,
        "no more records, and no end that would start it again"
    );
    source.stop().await;
}

#[tokio::test]
async fn a_rate_is_kept_on_average() {
    let began = Instant::now();
    let mut source = kit::source("data-generator", json!({"ratePerSecond": 200})).await;
    for _ in 0..100 {
        let (id, _) = source.emitted().await;
        source.durable([id]).await;
    }
    assert!(
        began.elapsed() >= Duration::from_millis(450),
        "100 at 200/s take half a second, took {:?}",
        began.elapsed()
    );
    source.stop().await;
}

#[tokio::test]
async fn it_waits_when_nothing_becomes_durable() {
    let mut source = kit::source("data-generator", json!({"sleepBetweenMessages": 0})).await;
    let mut made = 0;
    while !source.is_silent(Duration::from_secs(1)).await {
        source.durable([]).await;
        made += 256;
        assert!(made < 100_000, "what is on its way has a bound");
    }
    source.stop().await;
}

#[tokio::test]
async fn what_is_not_published_is_in_its_log() {
    let mut source = kit::source("data-generator", json!({"count": 2, "sleepBetweenMessages": 0})).await;
    let (first, _) = source.emitted().await;
    let (second, _) = source.emitted().await;
    source.failed(first, "too large").await;
    source.durable([second]).await;
    while source.logs.is_empty() {
        // The line comes in a batch of its own.
        let events = source.link.events.recv().await.unwrap();
        for event in events {
            if let functions::runtime::Event::Log(line) = event {
                source.logs.push(line.message);
            }
        }
    }
    assert!(source.logs[0].ends_with("records were not published: too large"), "{:?}", source.logs);
}

#[tokio::test]
async fn mistakes_are_told_when_it_is_deployed() {
    let told = kit::refusal(Kind::Source, "data-generator", json!({"ratePerSec": 5, "keys": 0})).await;
    expect_test::expect!["configs of data-generator: `keys` must be a whole number from 1 to 1099511627776, found 0; unknown field `ratePerSec`, did you mean `ratePerSecond`?"]
    .assert_eq(&told);
    let told = kit::refusal(Kind::Sink, "data-generator", json!({})).await;
    expect_test::expect![[r#"there is no built-in sink "data-generator": file, http, postgres, pulsar are"#]]
        .assert_eq(&told);
}
