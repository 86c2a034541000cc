//! `file`: the source and the sink.

use functions::Kind;
use serde_json::json;
use std::{fs, io::Write, path::Path, time::Duration};

use crate::kit::{self, Running, message};

fn polling(dir: &Path, more: serde_json::Value) -> serde_json::Value {
    let mut configs = json!({"inputDirectory": dir, "pollingInterval": 20});
    configs.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    configs
}

async fn lines(source: &mut Running, count: usize) -> (Vec<u64>, Vec<String>) {
    let (mut ids, mut lines) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let (id, record) = source.emitted().await;
        ids.push(id);
        lines.push(String::from_utf8(record.payload.to_vec()).unwrap());
    }
    (ids, lines)
}

async fn is_gone(path: &Path) -> bool {
    for _ in 0..600 {
        if !path.exists() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    false
}

#[tokio::test]
async fn a_file_goes_when_all_of_its_lines_are_durable() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.txt");
    fs::write(&path, "one\r\ntwo\n\nfour").unwrap();
    let mut source = kit::source("file", polling(dir.path(), json!({}))).await;
    let (first, record) = source.emitted().await;
    assert_eq!((&record.payload[..], record.key.unwrap().text.as_str()), (&b"one"[..], "a.txt_1"));
    let names: Vec<&str> = record.properties.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["file.name", "file.path", "file.modified.time"]);
    assert_eq!(record.properties[1].1, path.to_str().unwrap());
    let (ids, rest) = lines(&mut source, 3).await;
    assert_eq!(rest, ["two", "", "four"]);
    source.durable(ids).await;
    assert!(source.is_silent(Duration::from_millis(300)).await);
    assert!(path.exists(), "the first line is not durable");
    source.durable([first]).await;
    assert!(is_gone(&path).await);
    source.stop().await;
}

#[tokio::test]
async fn a_line_that_is_refused_is_handed_over_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.txt");
    fs::write(&path, "one\ntwo\n").unwrap();
    let mut source = kit::source("file", polling(dir.path(), json!({}))).await;
    let (ids, _) = lines(&mut source, 2).await;
    source.durable([ids[0]]).await;
    source.failed(ids[1], "the topic is terminated").await;
    let (ids, again) = lines(&mut source, 1).await;
    assert_eq!(again, ["two"]);
    source.durable(ids).await;
    assert!(is_gone(&path).await);
    source.stop().await;
}

#[tokio::test]
async fn what_was_not_finished_is_read_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.txt");
    fs::write(&path, "one\ntwo\n").unwrap();
    for _ in 0..2 {
        let mut source = kit::source("file", polling(dir.path(), json!({}))).await;
        assert_eq!(lines(&mut source, 2).await.1, ["one", "two"]);
        source.stop().await;
        assert!(path.exists());
    }
}

#[tokio::test]
async fn files_are_chosen_as_pulsar_chooses_them() {
    let dir = tempfile::tempdir().unwrap();
    for sub in ["in", "out"] {
        fs::create_dir(dir.path().join(sub)).unwrap();
    }
    for name in ["a.txt", "b.csv", ".hidden.txt", "in/c.txt", "out/d.txt", "empty.txt", "large.txt"] {
        let content = if name == "empty.txt" { String::new() } else { format!("{name}\n") };
        fs::write(dir.path().join(name), content).unwrap();
    }
    fs::write(dir.path().join("large.txt"), "x".repeat(100)).unwrap();
    let configs = json!({"fileFilter": r".*\.txt", "pathFilter": "in", "maximumSize": 50.0, "keepFile": true});
    let mut source = kit::source("file", polling(dir.path(), configs)).await;
    let (ids, first) = lines(&mut source, 1).await;
    source.durable(ids).await;
    let (ids, second) = lines(&mut source, 1).await;
    source.durable(ids).await;
    assert_eq!([first, second].concat(), ["a.txt", "in/c.txt"]);
    assert!(source.is_silent(Duration::from_millis(300)).await, "kept files are not read again");
    fs::write(dir.path().join("a.txt"), "changed\n").unwrap();
    assert_eq!(lines(&mut source, 1).await.1, ["changed"]);
    source.stop().await;
}

#[tokio::test]
async fn processed_files_can_be_renamed_and_packed_ones_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let packed = fs::File::create(dir.path().join("a.gz")).unwrap();
    let mut packed = flate2::write::GzEncoder::new(packed, flate2::Compression::fast());
    packed.write_all(b"one\ntwo\n").unwrap();
    packed.finish().unwrap();
    let mut source = kit::source("file", polling(dir.path(), json!({"processedFileSuffix": ".done"}))).await;
    let (ids, read) = lines(&mut source, 2).await;
    assert_eq!(read, ["one", "two"]);
    source.durable(ids).await;
    assert!(is_gone(&dir.path().join("a.gz")).await);
    assert!(source.is_silent(Duration::from_millis(300)).await);
    assert!(dir.path().join("a.gz.done").exists());
    source.stop().await;
}

#[tokio::test]
async fn instances_divide_the_files() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..20 {
        fs::write(dir.path().join(format!("{n}.txt")), format!("{n}\n")).unwrap();
    }
    let mut spec = kit::spec(Kind::Source, "file", polling(dir.path(), json!({"keepFile": true})));
    spec.parallelism = 2;
    let mut source = kit::start(spec).await.unwrap();
    let mut mine = 0;
    while !source.is_silent(Duration::from_millis(500)).await {
        // What was looked at is one line of one file.
        mine += 1;
        source.durable([mine - 1]).await;
    }
    assert!((1..20).contains(&mine), "{mine} of 20 are the first instance's");
    source.stop().await;
}

#[tokio::test]
async fn a_message_is_a_line_that_is_there_when_it_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    let mut sink = kit::sink("file", json!({"path": path, "maxFileBytes": 8})).await;
    sink.invoke([(0, message("one")), (1, message("two"))]).await;
    assert_eq!(sink.fates(2).await, [(0, Ok(())), (1, Ok(()))]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    sink.invoke([(2, message("three"))]).await;
    assert_eq!(sink.fates(1).await, [(2, Ok(()))]);
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!([read("out.1"), read("out")], ["one\ntwo\n", "three\n"]);
    sink.stop().await;
}

#[tokio::test]
async fn mistakes_are_told_when_it_is_deployed() {
    let configs = json!({"inputDirectory": "/no/such", "fileFilter": "(", "polingInterval": 5, "numWorkers": 3});
    let told = kit::refusal(Kind::Source, "file", configs).await;
    expect_test::expect![[r#"configs of file: `fileFilter` must be a regular expression, found "("; `numWorkers` must be 1: `parallelism` divides the files among instances; `inputDirectory` /no/such is no directory; unknown field `polingInterval`, did you mean `pollingInterval`?"#]]
    .assert_eq(&told);
    let mut spec = kit::spec(Kind::Sink, "file", json!({"path": "/no/such/file"}));
    spec.parallelism = 2;
    let told = kit::start(spec).await.err().unwrap().to_string();
    expect_test::expect!["configs of file: `path` must contain {instance} where `parallelism` is more than 1: a file has one writer; `path`: /no/such is no directory"]
    .assert_eq(&told);
}
