//! What `customRuntimeOptions` can give a function of the machine.

use functions::{FunctionSpec, Runtime as _};
use runtime_wasm::Config;
use std::{fs, net::TcpListener};

use crate::{
    guests::guest,
    harness::{Fixture, function, output},
};

fn with_options(options: serde_json::Value) -> FunctionSpec {
    let mut spec = function(guest("test-guest"));
    spec.runtime_options = Some(options.to_string());
    spec
}

#[tokio::test]
async fn variables_are_those_that_were_given_or_granted() {
    let fixture = Fixture::new();
    let mut instance = fixture.start(function(guest("test-guest"))).await;
    assert_eq!(instance.say("env").await, output(r#"[("MODE", "given")]"#));
    let options = serde_json::json!({"wasm": {"env": {"MODE": "fast"}}, "clusterName": "of another runtime"});
    let mut instance = fixture.start(with_options(options)).await;
    assert_eq!(instance.say("env").await, output(r#"[("MODE", "fast")]"#));
}

#[tokio::test]
async fn a_directory_is_granted_where_the_broker_allows_it_and_for_reading_only_when_so_said() {
    let models = tempfile::tempdir().expect("a directory");
    fs::write(models.path().join("weights"), "1 2 3").expect("a file");
    fs::create_dir(models.path().join("out")).expect("a directory");
    let fixture = Fixture::with(Config { grantable_directories: vec![models.path().to_owned()], ..Config::default() });
    let options = serde_json::json!({"wasm": {"directories": [
        {"host": models.path(), "guest": "/models", "readOnly": true},
        {"host": models.path().join("out"), "guest": "/out"},
    ]}});
    let mut instance = fixture.start(with_options(options)).await;
    assert_eq!(instance.say("read /models/weights").await, output("1 2 3"));
    assert!(instance.say("write /models/weights").await.is_err());
    assert!(instance.say("read /models/../../../etc/passwd").await.is_err());
    assert_eq!(instance.say("write /out/file").await, Ok(None));
    assert_eq!(fs::read_to_string(models.path().join("out/file")).expect("it was written"), "written");
}

#[tokio::test]
async fn what_the_broker_does_not_allow_is_refused_links_included() {
    let allowed = tempfile::tempdir().expect("a directory");
    std::os::unix::fs::symlink("/etc", allowed.path().join("link")).expect("a link");
    let fixture = Fixture::with(Config { grantable_directories: vec![allowed.path().to_owned()], ..Config::default() });
    for host in
        ["/etc".to_owned(), format!("{}/link", allowed.path().display()), format!("{}/..", allowed.path().display())]
    {
        let options = serde_json::json!({"wasm": {"directories": [{"host": host, "guest": "/x"}]}});
        let error = fixture.runtime.prepare(&with_options(options)).await.expect_err("it is refused");
        assert!(error.0.contains("may not be granted"), "{error}");
    }
}

#[tokio::test]
async fn a_function_connects_to_what_it_was_granted_and_to_nothing_else() {
    let (one, two) = (listener(), listener());
    let name = |listener: &TcpListener| format!("localhost:{}", port(listener));
    let fixture = Fixture::with(Config {
        grantable_addresses: vec![format!("127.0.0.1:{}", port(&one)), name(&two), "*:*".to_owned()],
        ..Config::default()
    });
    let (first, second) = (format!("127.0.0.1:{}", port(&one)), name(&two));
    let options = |network: &[&str]| with_options(serde_json::json!({"wasm": {"network": network}}));
    let mut instance = fixture.start(options(&[&first, &second])).await;
    for address in [&first, &second, &format!("127.0.0.1:{}", port(&two))] {
        assert_eq!(instance.say(&format!("connect {address}")).await, Ok(None), "{address}");
    }
    let third = listener();
    let other = format!("connect 127.0.0.1:{}", port(&third));
    assert!(instance.say(&other).await.is_err_and(|error| error.contains("ermission denied")), "it was not granted");
    assert!(instance.say("listen 127.0.0.1:0").await.is_err(), "nobody connects to a function");
    // Any host is not this machine.
    let mut instance = fixture.start(options(&[&format!("127.0.0.1:{}", port(&third))])).await;
    assert!(instance.say(&other).await.is_err());
    // With addresses alone there is nothing to look up.
    let mut instance = fixture.start(options(&[&first])).await;
    assert!(instance.say(&format!("connect localhost:{}", port(&one))).await.is_err());
    let fixture = Fixture::new();
    let error = fixture.runtime.prepare(&options(&[&first])).await.expect_err("nothing is grantable by default");
    assert!(error.0.contains("`grantable-addresses` do not have it"), "{error}");
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a free port")
}

fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().expect("it is bound").port()
}

#[tokio::test]
async fn options_that_are_not_understood_are_refused() {
    let fixture = Fixture::new();
    let mut spec = with_options(serde_json::json!({"wasm": {"enviroment": {}}}));
    let error = fixture.runtime.prepare(&spec).await.expect_err("a word that is not known");
    assert!(error.0.contains("enviroment") && error.0.contains("directories"), "{error}");
    spec.runtime_options = Some("-Xmx1g".to_owned());
    assert!(fixture.runtime.prepare(&spec).await.expect_err("no JSON").0.starts_with("customRuntimeOptions: "));
}
