//! Functions that break, loop, leak and flood: the message at hand fails, and nobody else notices.

use functions::runtime::{Exit, Input};
use runtime_wasm::Config;
use std::time::Duration;

use crate::{
    guests::guest,
    harness::{Fixture, function, message, output, said},
};

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn a_panic_fails_its_message_with_its_text_and_place_and_the_next_ones_get_a_new_guest() {
    let fixture = Fixture::new();
    let mut instance = fixture.start(function(guest("test-guest"))).await;
    let said = instance.say_all(["echo before", "panic oh-no", "calls", "calls"]).await;
    let exception = said[1].as_ref().expect_err("it panicked");
    assert!(exception.contains("oh-no") && exception.contains("test-guest/src/lib.rs"), "{exception}");
    assert!(exception.contains("unreachable") && exception.contains("act"), "trap and backtrace: {exception}");
    assert_eq!(said[0], output("before"));
    assert_eq!(said[2..], [output("1"), output("2")]);
}

#[tokio::test]
async fn a_loop_that_never_ends_is_stopped_at_the_timeout() {
    let fixture = Fixture::new();
    let mut spec = function(guest("test-guest"));
    spec.timeout = Some(Duration::from_millis(300));
    let mut instance = fixture.start(spec).await;
    let said = instance.say_all(["echo before", "loop", "echo after"]).await;
    assert_eq!(said[0], output("before"));
    let exception = said[1].as_ref().expect_err("it looped");
    assert!(exception.starts_with("timed out after 300ms") && exception.contains("act"), "{exception}");
    assert_eq!(said[2], output("after"));
}

#[tokio::test]
async fn each_message_has_all_of_the_timeout() {
    let fixture = Fixture::new();
    let mut spec = function(guest("test-guest"));
    spec.timeout = Some(Duration::from_secs(2));
    let mut instance = fixture.start(spec).await;
    let said = instance.say_all(["spin 500", "spin 500", "spin 500", "spin 500", "spin 500"]).await;
    assert_eq!(said, [Ok(None), Ok(None), Ok(None), Ok(None), Ok(None)]);
}

#[tokio::test]
async fn a_function_that_sleeps_past_the_timeout_is_stopped() {
    let fixture = Fixture::new();
    let mut spec = function(guest("test-guest"));
    spec.timeout = Some(Duration::from_millis(200));
    let mut instance = fixture.start(spec).await;
    let said = instance.say_all(["sleep 3600000", "echo after"]).await;
    assert!(said[0].as_ref().is_err_and(|error| error.contains("timed out after 200ms")), "{said:?}");
    assert_eq!(said[1], output("after"));
}

#[tokio::test]
async fn a_stack_that_overflows_is_an_exception() {
    let fixture = Fixture::new();
    let mut instance = fixture.start(function(guest("test-guest"))).await;
    let said = instance.say_all(["recurse", "echo after"]).await;
    assert!(said[0].is_err(), "{said:?}");
    assert_eq!(said[1], output("after"));
}

#[tokio::test]
async fn memory_beyond_resources_ram_is_an_exception_that_says_so() {
    let fixture = Fixture::new();
    let mut spec = function(guest("test-guest"));
    spec.limits.ram_bytes = Some(16 * MIB);
    let mut instance = fixture.start(spec).await;
    let said = instance.say_all(["allocate 4", "allocate 32", "allocate 4"]).await;
    assert_eq!(said[0], output("4194304"));
    let exception = said[1].as_ref().expect_err("it is too much");
    assert!(exception.contains("out of memory") && exception.contains("resources.ram allows 16777216"), "{exception}");
    assert_eq!(said[2], output("4194304"));
}

#[tokio::test]
async fn a_function_that_leaks_gets_a_new_guest_before_a_message_fails() {
    let fixture = Fixture::new();
    let mut spec = function(guest("test-guest"));
    spec.limits.ram_bytes = Some(16 * MIB);
    let mut instance = fixture.start(spec).await;
    for _ in 0..50 {
        assert_eq!(instance.say("leak 1").await, Ok(None));
    }
    assert!(instance.logs.iter().any(|line| line.message.contains("raise resources.ram")));
}

#[tokio::test]
async fn all_guests_together_have_a_limit_and_give_back_what_they_had() {
    let fixture = Fixture::with(Config { memory_bytes_total: 64 * MIB, ..Config::default() });
    let mut one = fixture.start(function(guest("test-guest"))).await;
    let mut two = fixture.start(function(guest("test-guest"))).await;
    assert_eq!(one.say("allocate 40").await, output("41943040"));
    assert!(two.say("allocate 40").await.is_err_and(|error| error.contains("together")));
    assert_eq!(two.say("allocate 4").await, output("4194304"));
    one.stop().await;
    // Its guest goes with the thread that ran it, a moment later.
    let began = std::time::Instant::now();
    let mut said = two.say("allocate 40").await;
    while said.is_err() && began.elapsed() < std::time::Duration::from_secs(20) {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        said = two.say("allocate 40").await;
    }
    assert_eq!(said, output("41943040"));
}

#[tokio::test]
async fn outputs_without_end_are_an_exception() {
    let fixture = Fixture::with(Config { effects_bytes_max: 8 << 20, ..Config::default() });
    let mut instance = fixture.start(function(guest("test-guest"))).await;
    let said = instance.say_all(["huge 4", "huge 100000", "echo after"]).await;
    assert_eq!(said[0], Ok(None));
    assert!(said[1].as_ref().is_err_and(|error| error.contains("may have 8388608 bytes together")), "{said:?}");
    assert_eq!(said[2], output("after"));
}

#[tokio::test]
async fn of_a_flood_of_log_lines_each_is_kept_or_counted() {
    let fixture = Fixture::new();
    let mut instance = fixture.start(function(guest("test-guest"))).await;
    assert_eq!(instance.say("flood 200000").await, Ok(None));
    assert_eq!(instance.say("echo after").await, output("after"));
    let (logs, _) = instance.stop().await;
    let kept = logs.iter().filter(|line| line.message.starts_with('x')).count();
    let dropped: usize = logs
        .iter()
        .filter_map(|line| {
            line.message.strip_suffix(" lines of the log were dropped: they came faster than they could be taken")
        })
        .map(|count| count.parse::<usize>().expect("a number"))
        .sum();
    assert_eq!(kept + dropped, 200_000);
    assert!(kept > 1000);
}

#[tokio::test]
async fn a_long_exception_is_cut() {
    let fixture = Fixture::new();
    let mut instance = fixture.start(function(guest("test-guest"))).await;
    let long = format!("fail {}", "ä".repeat(50_000));
    let exception = instance.say(&long).await.expect_err("it fails");
    assert!(exception.len() <= 8 << 10 && exception.starts_with("ää"));
}

#[tokio::test]
async fn nothing_of_the_machine_is_there_unless_granted() {
    let fixture = Fixture::new();
    let mut instance = fixture.start(function(guest("test-guest"))).await;
    assert_eq!(instance.say("env").await, output(r#"[("MODE", "given")]"#));
    assert!(instance.say("read /etc/passwd").await.is_err());
    assert!(instance.say("read ../../etc/passwd").await.is_err());
    assert!(instance.say("write file").await.is_err());
    assert!(instance.say("connect 127.0.0.1:6650").await.is_err());
}

async fn exit_of(text: &str) -> Exit {
    let fixture = Fixture::new();
    let spec = function(fixture.wat(text));
    let mut instance = fixture.start(spec).await;
    let (outcomes, exit) = instance.try_invoke_all([Input::Message(message("a"))]).await;
    assert!(outcomes.is_empty(), "no guest took the message");
    exit.expect("it ended")
}

/// A component whose `run` is this code.
fn runs(code: &str) -> String {
    format!(
        r#"(component
            (core module $m (memory 1) (func (export "run") {code}))
            (core instance $i (instantiate $m))
            (func (export "run") (canon lift (core func $i "run"))))"#
    )
}

#[tokio::test]
async fn a_function_that_takes_no_message_ends_its_instance() {
    let exit = exit_of(&runs("")).await;
    assert!(!exit.is_clean && exit.reason.contains("without having taken a message"), "{}", exit.reason);
}

#[tokio::test]
async fn a_function_that_breaks_before_it_took_a_message_ends_its_instance() {
    let exit = exit_of(&runs("i32.const 1 i32.const 0 i32.div_s drop")).await;
    assert!(!exit.is_clean && exit.reason.contains("divide by zero"), "{}", exit.reason);
    let exit = exit_of(&runs("(loop (br_if 0 (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable")).await;
    assert!(exit.reason.contains("out of memory"), "{}", exit.reason);
}

#[tokio::test]
async fn a_module_that_breaks_as_it_starts_ends_its_instance() {
    let text = r#"(component
        (core module $m (func $s unreachable) (start $s) (func (export "run")))
        (core instance $i (instantiate $m))
        (func (export "run") (canon lift (core func $i "run"))))"#;
    let exit = exit_of(text).await;
    assert!(!exit.is_clean && exit.reason.contains("instantiate the component"), "{}", exit.reason);
}

#[tokio::test]
async fn more_memory_than_allowed_from_the_beginning_ends_the_instance() {
    let text = r#"(component
        (core module $m (memory 4096) (func (export "run")))
        (core instance $i (instantiate $m))
        (func (export "run") (canon lift (core func $i "run"))))"#;
    let exit = exit_of(text).await;
    assert!(exit.reason.contains("resources.ram allows"), "{}", exit.reason);
}

/// A component whose `setup` is this code; it returns where the result is.
fn begins(code: &str) -> String {
    format!(
        r#"(component
            (core module $m
                (memory (export "memory") 1)
                (data (i32.const 16) "\01\00\00\00\20\00\00\00\0b\00\00\00")
                (data (i32.const 32) "no database")
                (func (export "setup") (result i32) {code})
                (func (export "run")))
            (core instance $i (instantiate $m))
            (func (export "run") (canon lift (core func $i "run")))
            (func (export "setup") (result (result (error string)))
                (canon lift (core func $i "setup") (memory (core memory $i "memory")))))"#
    )
}

#[tokio::test]
async fn a_setup_that_fails_breaks_or_never_ends_is_a_start_that_fails() {
    let fixture = Fixture::new();
    for (code, why) in [
        ("i32.const 16", "no database"),
        ("unreachable", "wasm trap: wasm `unreachable`"),
        ("(loop (br 0)) i32.const 0", "timed out after 200ms"),
    ] {
        let path = fixture.file(&format!("{}.wasm", why.len()), wat::parse_str(begins(code)).expect("a component"));
        let mut spec = function(path);
        spec.timeout = Some(Duration::from_millis(200));
        let error = fixture.try_start(spec).await.err().expect("it does not start");
        assert!(error.0.starts_with(&format!("setup failed: {why}")), "{error}");
    }
}

#[tokio::test]
async fn an_instance_that_nobody_listens_to_is_gone_though_it_loops() {
    let fixture = Fixture::with(Config { instances_max: 1, ..Config::default() });
    let mut spec = function(guest("test-guest"));
    spec.timeout = Some(Duration::from_secs(3600));
    let instance = fixture.start(spec.clone()).await;
    let looping = functions::runtime::Invocation { id: 0, input: Input::Message(message("loop")) };
    instance.link.requests.send(functions::runtime::Request::Invoke(vec![looping])).await.expect("it listens");
    tokio::time::sleep(Duration::from_millis(100)).await;

    let refused = fixture.try_start(spec.clone()).await.err().expect("there is room for one");
    assert!(refused.0.contains("instantiate"), "{refused}");
    drop(instance);
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    let mut instance = loop {
        match fixture.try_start(spec.clone()).await {
            Ok(instance) => break instance,
            Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(instance.say("echo again").await, output("again"));
}

#[tokio::test]
async fn a_guest_that_broke_serves_what_the_loop_sent_meanwhile() {
    let fixture = Fixture::new();
    let mut instance = fixture.start(function(guest("test-guest"))).await;
    let texts = (0..300).map(|n| if n % 3 == 0 { "panic x".to_owned() } else { format!("echo {n}") });
    let texts: Vec<_> = texts.collect();
    let outcomes = instance.invoke_all(texts.iter().map(|text| Input::Message(message(text)))).await;
    for (n, outcome) in outcomes.iter().enumerate() {
        match said(outcome) {
            Err(_) => assert_eq!(n % 3, 0),
            Ok(text) => assert_eq!(text, Some(n.to_string())),
        }
    }
}
