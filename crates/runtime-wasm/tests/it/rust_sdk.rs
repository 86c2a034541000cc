//! What a function written with the Rust SDK can do.

use functions::{
    message::Key,
    runtime::{Input, LogLevel},
};

use crate::{
    guests::guest,
    harness::{Fixture, bytes_message, function, message, output, said, windows_of},
};

#[tokio::test]
async fn every_message_gets_its_exclamation_mark() {
    let fixture = Fixture::new();
    let mut instance = fixture.start(function(guest("exclamation"))).await;
    assert_eq!(instance.say("hello").await, output("hello!"));
    assert_eq!(instance.say_all(["a", "b", "c"]).await, [output("a!"), output("b!"), output("c!")]);
    let (_, exit) = instance.stop().await;
    assert!(exit.is_clean);
}

#[tokio::test]
async fn a_payload_of_the_wrong_kind_fails_its_message_only() {
    let fixture = Fixture::new();
    let mut instance = fixture.start(function(guest("exclamation"))).await;
    let bytes = bytes_message(bytes::Bytes::from_static(&[0xff, 0xfe]));
    let outcomes = instance.invoke_all([Input::Message(bytes), Input::Message(message("text"))]).await;
    assert!(said(&outcomes[0]).is_err_and(|error| error.contains("no text")));
    assert_eq!(said(&outcomes[1]), output("text!"));
}

#[tokio::test]
async fn words_are_counted_in_the_state_across_messages_of_one_batch() {
    let fixture = Fixture::new();
    let mut instance = fixture.start(function(guest("wordcount"))).await;
    let counts = instance.say_all(["a b a", "b c"]).await;
    assert_eq!(counts, [output("a=1 b=1 a=2"), output("b=2 c=1")]);
    assert_eq!(instance.say("a").await, output("a=3"));
}

#[tokio::test]
async fn a_window_comes_as_a_list() {
    let fixture = Fixture::new();
    let mut spec = function(guest("average"));
    spec.window = Some(windows_of(2));
    let mut instance = fixture.start(spec).await;
    let window = vec![message(r#"{"celsius": 20}"#), message(r#"{"celsius": 30.5}"#)];
    let outcomes = instance.invoke_all([Input::Window(window.clone()), Input::Window(window)]).await;
    assert_eq!(said(&outcomes[0]), output(r#"{"celsius":25.25,"of":2}"#));
    assert_eq!(said(&outcomes[1]), output(r#"{"celsius":25.25,"of":2}"#));
}

#[tokio::test]
async fn state_shows_a_message_its_own_changes() {
    let fixture = Fixture::new();
    let mut instance = fixture.start(function(guest("test-guest"))).await;
    assert_eq!(instance.say("put-get-delete-get k").await, output("Some([111, 119, 110]) None"));
    assert_eq!(
        instance.say_all(["put k v", "get k", "delete k", "get k"]).await,
        [Ok(None), output("v"), Ok(None), Ok(None)]
    );
    assert_eq!(instance.say_all(["add n 2", "add n 3"]).await, [output("2"), output("5")]);
    assert!(instance.say("get broken").await.is_err_and(|error| error.contains("on fire")));
}

#[tokio::test]
async fn what_a_failed_message_asked_for_does_not_happen_but_for_metrics() {
    let fixture = Fixture::new();
    let mut instance = fixture.start(function(guest("test-guest"))).await;
    let outcome = instance.invoke("put-then-fail k").await;
    assert_eq!(said(&outcome), Err("after changes".to_owned()));
    assert_eq!(outcome.effects.metrics, [("tried".to_owned(), 1.0)]);
    assert_eq!(instance.say("get k").await, Ok(None));
}

#[tokio::test]
async fn publishes_acknowledgements_and_metrics_belong_to_their_message() {
    let fixture = Fixture::new();
    let mut instance = fixture.start(function(guest("test-guest"))).await;
    let texts = ["nothing", "publish news", "ack", "metric 2.5"];
    let outcomes = instance.invoke_all(texts.map(|text| Input::Message(message(text)))).await;
    assert!(outcomes[0].effects.is_empty());
    let [published] = outcomes[1].effects.publishes.as_slice() else { panic!("one publish") };
    assert_eq!(published.topic.as_deref(), Some("news"));
    assert_eq!(published.payload, "news");
    assert_eq!(published.key, Some(Key { text: "k".to_owned(), is_base64: false }));
    assert_eq!(published.properties, [("a".to_owned(), "b".to_owned())]);
    assert_eq!(published.event_time_ms, 7);
    assert_eq!(outcomes[2].effects.acks, [2], "by the id of the invocation");
    assert_eq!(outcomes[3].effects.metrics, [("size".to_owned(), 2.5)]);
}

#[tokio::test]
async fn a_function_knows_its_message_its_configuration_and_itself() {
    let fixture = Fixture::new();
    let mut spec = function(guest("test-guest"));
    spec.user_config.insert("greeting".to_owned(), "hi".into());
    spec.user_config.insert("limit".to_owned(), 12.into());
    let mut instance = fixture.start(spec).await;
    assert_eq!(
        instance.say("message").await,
        output(r#"persistent://public/default/in 3:4 Some("key") [("name", "value")] 5"#)
    );
    assert_eq!(
        instance.say_all(["config greeting", "number limit", "config other"]).await,
        [output("hi"), output("12"), Ok(None)]
    );
    assert!(instance.say("number greeting").await.is_err_and(|error| error.contains("greeting")));
    assert_eq!(instance.say("secret TOKEN").await, output("hush"));
    assert_eq!(
        instance.say("about").await,
        output(
            r#"public/default/test 1 of 2, ["persistent://public/default/in"] to Some("persistent://public/default/out")"#
        )
    );
}

#[tokio::test]
async fn setup_runs_once_before_the_first_message() {
    let fixture = Fixture::new();
    let mut instance = fixture.start(function(guest("test-guest"))).await;
    assert_eq!(instance.say_all(["started", "calls"]).await, [output("true"), output("2")]);
    let (logs, _) = instance.stop().await;
    assert_eq!(logs.iter().filter(|line| line.message == "hello from setup").count(), 1);
}

#[tokio::test]
async fn logs_and_what_is_printed_become_log_lines_in_order() {
    let fixture = Fixture::new();
    let mut instance = fixture.start(function(guest("test-guest"))).await;
    assert_eq!(instance.say("log x").await, Ok(None));
    let lines: Vec<_> = instance.logs.iter().skip(1).map(|line| (line.level, line.message.as_str())).collect();
    assert_eq!(lines, [(LogLevel::Warn, "x"), (LogLevel::Info, "to stdout: x"), (LogLevel::Warn, "to stderr: x")]);
}
