//! Sources and sinks: a source runs until it is to end, waits as it likes, and hears what became of its records.

use functions::{
    FunctionSpec, Kind, Record,
    message::Key,
    runtime::{Event, Exit, Input, Link, LogLine, Request},
};
use runtime_wasm::Config;
use std::{collections::VecDeque, fs, path::Path, time::Duration};

use crate::{
    guests::guest,
    harness::{Fixture, PATIENCE, function, message, said},
};

const MIB: usize = 1 << 20;

fn source(code: &str) -> FunctionSpec {
    FunctionSpec { kind: Kind::Source, inputs: Default::default(), ..function(guest(code)) }
}

/// One of the things that `test-source` does.
fn act(script: &str) -> FunctionSpec {
    let mut spec = source("test-source");
    spec.user_config.insert("act".to_owned(), script.into());
    spec
}

/// The loop of a source, step by step.
struct Loop {
    link: Link,
    waiting: VecDeque<Event>,
    logs: Vec<LogLine>,
}

impl Loop {
    async fn start(fixture: &Fixture, spec: FunctionSpec) -> Self {
        let link = fixture.start(spec).await.link;
        Self { link, waiting: VecDeque::new(), logs: Vec::new() }
    }

    /// What is no log line.
    async fn next(&mut self) -> Event {
        loop {
            match self.waiting.pop_front() {
                Some(Event::Log(line)) => self.logs.push(line),
                Some(event) => return event,
                None => {
                    let events =
                        tokio::time::timeout(PATIENCE, self.link.events.recv()).await.expect("it says something");
                    self.waiting.extend(events.expect("the last event is Exited"));
                }
            }
        }
    }

    async fn emitted(&mut self) -> (u64, Record) {
        match self.next().await {
            Event::Emit { id, record } => (id, record),
            other => panic!("{other:?}"),
        }
    }

    async fn payload(&mut self) -> String {
        String::from_utf8_lossy(&self.emitted().await.1.payload).into_owned()
    }

    async fn exited(&mut self) -> Exit {
        match self.next().await {
            Event::Exited(exit) => exit,
            other => panic!("{other:?}"),
        }
    }

    async fn answer(&self, ids: impl IntoIterator<Item = u64>, error: Option<&str>) {
        let request = Request::Emitted { ids: ids.into_iter().collect(), error: error.map(str::to_owned) };
        self.link.requests.send(request).await.expect("the source listens");
    }

    /// Until its log has this line.
    async fn says(&mut self, line: &str) {
        let has = |logs: &[LogLine]| logs.iter().any(|log| log.message == line);
        while !has(&self.logs) {
            match self.waiting.pop_front() {
                Some(Event::Log(line)) => self.logs.push(line),
                Some(other) => panic!("{other:?}, and not yet {line:?}"),
                None => {
                    let events =
                        tokio::time::timeout(PATIENCE, self.link.events.recv()).await.expect("it says something");
                    self.waiting.extend(events.expect("the last event is Exited"));
                }
            }
        }
    }

    /// Ends it as the loop does, and gives what it said meanwhile.
    async fn stop(self) -> (Vec<String>, Exit) {
        let Link { requests, mut events, .. } = self.link;
        drop(requests);
        let (mut logs, mut waiting) = (self.logs, self.waiting);
        loop {
            match waiting.pop_front() {
                Some(Event::Log(line)) => logs.push(line),
                Some(Event::Exited(exit)) => return (logs.into_iter().map(|line| line.message).collect(), exit),
                Some(_) => {}
                None => {
                    let batch = tokio::time::timeout(PATIENCE, events.recv()).await.expect("it ends");
                    waiting.extend(batch.expect("the last event is Exited"));
                }
            }
        }
    }
}

#[tokio::test]
async fn records_come_in_order_and_the_source_hears_what_became_of_each() {
    let fixture = Fixture::new();
    let mut source = Loop::start(&fixture, act("tell 3")).await;
    for number in 0..3 {
        let (id, record) = source.emitted().await;
        assert_eq!(id, number + 1, "numbers rise");
        assert_eq!(record.payload, number.to_string());
        assert_eq!(record.key, Some(Key { text: "k".to_owned(), is_base64: false }));
        assert_eq!(record.topic.as_deref(), Some("there"));
    }
    source.answer([1, 3], None).await;
    source.says("stored 2").await;
    source.answer([2], Some("no room")).await;
    source.says("refused 1: no room").await;
    source.says("stored 0").await;
    let (logs, exit) = source.stop().await;
    assert!(exit.is_clean, "{}", exit.reason);
    assert_eq!(logs.last().map(String::as_str), Some("closed"), "it left the way `?` leaves");
}

#[tokio::test]
async fn a_record_can_be_waited_for_until_it_is_durable() {
    let fixture = Fixture::new();
    let mut source = Loop::start(&fixture, act("store")).await;
    assert_eq!(source.payload().await, "first");
    source.answer([1], None).await;
    source.says("first is stored").await;
    assert_eq!(source.payload().await, "second");
    source.answer([2], Some("the topic is gone")).await;
    source.says("second is not: the topic is gone").await;
    assert!(source.stop().await.1.is_clean);
}

#[tokio::test]
async fn a_thousand_records_are_on_their_way_and_the_next_one_waits() {
    let fixture = Fixture::new();
    let mut source = Loop::start(&fixture, act("count 2500")).await;
    for id in 1..=1000 {
        assert_eq!(source.emitted().await.0, id);
    }
    let more = tokio::time::timeout(Duration::from_millis(200), source.next()).await;
    assert!(more.is_err(), "{more:?}");
    source.answer(1..=300, None).await;
    for id in 1001..=1300 {
        assert_eq!(source.emitted().await.0, id);
    }
    source.answer(301..=1300, None).await;
    for id in 1301..=2300 {
        assert_eq!(source.emitted().await.0, id);
    }
    source.answer(1301..=2300, None).await;
    for id in 2301..=2500 {
        assert_eq!(source.emitted().await.0, id);
    }
    source.answer(2301..=2500, None).await;
    // It has no more, which is no reason to start it again.
    source.says("closed").await;
    let more = tokio::time::timeout(Duration::from_millis(200), source.next()).await;
    assert!(more.is_err(), "{more:?}");
    assert!(source.stop().await.1.is_clean);
}

#[tokio::test]
async fn records_on_their_way_have_so_many_bytes_and_one_that_never_has_room_is_refused() {
    let fixture = Fixture::with(Config { effects_bytes_max: 2 * MIB, ..Config::default() });
    let mut source = Loop::start(&fixture, act("large 3")).await;
    assert_eq!(source.payload().await, "small");
    assert!(source.logs[0].message.contains("may have 2097152"), "{:?}", source.logs);
    assert!(source.stop().await.1.is_clean);
}

#[tokio::test]
async fn waiting_is_no_loop_however_long_and_however_often() {
    let fixture = Fixture::with(Config { timeout_default: Duration::from_millis(100), ..Config::default() });
    for script in ["sleep 700 1", "sleep 5 150"] {
        let mut source = Loop::start(&fixture, act(script)).await;
        assert_eq!(source.payload().await, "slept", "{script}");
        assert!(source.stop().await.1.is_clean);
    }
}

#[tokio::test]
async fn a_loop_that_never_ends_ends_the_instance() {
    let fixture = Fixture::with(Config { timeout_default: Duration::from_millis(200), ..Config::default() });
    let mut source = Loop::start(&fixture, act("spin")).await;
    let exit = source.exited().await;
    assert!(!exit.is_clean);
    assert!(exit.reason.contains("computed for 200ms without a record"), "{}", exit.reason);
    assert!(exit.reason.contains("act"), "and where: {}", exit.reason);
}

#[tokio::test]
async fn a_source_that_fails_panics_or_takes_too_much_memory_ends_with_the_reason() {
    let fixture = Fixture::new();
    for (script, why) in [
        ("fail no-such-table", "no-such-table"),
        ("panic oh-no", "oh-no"),
        ("allocate 64", "resources.ram allows 16777216"),
        ("juggle", "not understood: juggle"),
    ] {
        let mut spec = act(script);
        spec.limits.ram_bytes = Some(16 * MIB as u64);
        let exit = Loop::start(&fixture, spec).await.exited().await;
        assert!(!exit.is_clean && exit.reason.contains(why), "{script}: {}", exit.reason);
    }
}

#[tokio::test]
async fn what_it_emitted_leaves_before_it_waits_and_one_that_does_not_listen_is_stopped() {
    let fixture = Fixture::new();
    let mut source = Loop::start(&fixture, act("emit-and-sleep")).await;
    assert_eq!(source.payload().await, "before");
    source.says("goes to sleep").await;
    let began = std::time::Instant::now();
    let (_, exit) = source.stop().await;
    assert!(exit.is_clean, "{}", exit.reason);
    assert!(began.elapsed() >= Duration::from_secs(3), "it had a moment to end by itself");
}

#[tokio::test]
async fn a_source_that_nobody_listens_to_any_more_is_gone() {
    let fixture = Fixture::new();
    let mut source = Loop::start(&fixture, act("emit-and-sleep")).await;
    source.payload().await;
    let Link { requests, events, .. } = source.link;
    drop(events);
    tokio::time::timeout(PATIENCE, requests.closed()).await.expect("its guest is dropped");
}

#[tokio::test]
async fn a_source_knows_itself_and_its_secrets() {
    let fixture = Fixture::new();
    let mut source = Loop::start(&fixture, act("about")).await;
    assert_eq!(source.payload().await, r#"test Some("persistent://public/default/out") Some("hush")"#);
    assert!(source.stop().await.1.is_clean);
}

fn granting(spec: FunctionSpec, directory: &Path) -> FunctionSpec {
    let options = serde_json::json!({"wasm": {"directories": [{"host": directory, "guest": "/data"}]}});
    let mut spec = FunctionSpec { runtime_options: Some(options.to_string()), ..spec };
    spec.user_config.insert("path".to_owned(), "/data".into());
    spec
}

#[tokio::test]
async fn the_inbox_example_deletes_a_file_when_it_is_durable_and_not_before() {
    let data = tempfile::tempdir().expect("a directory");
    let fixture = Fixture::with(Config { grantable_directories: vec![data.path().to_owned()], ..Config::default() });
    let (one, two) = (data.path().join("one"), data.path().join("two"));
    fs::write(&one, "1").expect("a file");
    let mut source = Loop::start(&fixture, granting(source("inbox"), data.path())).await;
    let (id, record) = source.emitted().await;
    assert_eq!((id, &record.payload[..]), (1, &b"1"[..]));
    assert_eq!(record.key.map(|key| key.text).as_deref(), Some("one"));
    source.answer([1], Some("no room")).await;
    let (id, record) = source.emitted().await;
    assert_eq!((id, &record.payload[..]), (2, &b"1"[..]), "what was not stored is tried again");
    assert!(one.exists());
    source.answer([2], None).await;
    let gone = async {
        while one.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("it is deleted");
    fs::write(&two, "2").expect("a file");
    assert_eq!(source.emitted().await.0, 3);
    assert!(source.stop().await.1.is_clean);
    assert!(two.exists(), "nobody said that it is durable");
}

#[tokio::test]
async fn the_archive_example_is_a_sink_that_writes_each_message_once() {
    let data = tempfile::tempdir().expect("a directory");
    let fixture = Fixture::with(Config { grantable_directories: vec![data.path().to_owned()], ..Config::default() });
    let sink = FunctionSpec { kind: Kind::Sink, ..function(guest("archive")) };
    let mut instance = fixture.start(granting(sink, data.path())).await;
    let twice = [Input::Message(message("precious")), Input::Message(message("precious"))];
    for outcome in instance.invoke_all(twice).await {
        assert_eq!(said(&outcome), Ok(None));
    }
    let files: Vec<_> =
        fs::read_dir(data.path()).expect("it is there").map(|file| file.expect("a file").path()).collect();
    let [file] = files.as_slice() else { panic!("one file: {files:?}") };
    assert_eq!(fs::read_to_string(file).expect("it was written"), "precious");
    fs::remove_dir_all(data.path()).expect("removed");
    assert!(instance.say("lost?").await.is_err(), "a sink that could not write says so, and the message comes again");
}
