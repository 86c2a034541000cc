//! What is refused when it is deployed, and why; what is kept of what is not.

use functions::{Code, FunctionSpec, Kind, Runtime as _};
use runtime_wasm::Config;
use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use crate::{
    guests::guest,
    harness::{Fixture, function, output, runtime, windows_of},
};

async fn refused(fixture: &Fixture, spec: FunctionSpec) -> String {
    fixture.runtime.prepare(&spec).await.expect_err("it is refused").0
}

#[tokio::test]
async fn what_is_no_component_is_refused_with_what_it_is() {
    let fixture = Fixture::new();
    let module = wat::parse_str("(module)").expect("a module");
    let cases: [(&[u8], &str); 7] = [
        (b"", "it is empty"),
        (b"def process(input): pass", "does not begin with"),
        (b"PK\x03\x04....", "zip"),
        (b"\x7fELF....", "native program"),
        (b"\0asm\x09\0\0\0", "version"),
        (b"\0asm\x0d\0\x01\0\xff\xff\xff", "does not compile"),
        (&module, "wasm-tools component new"),
    ];
    for (bytes, why) in cases {
        let error = refused(&fixture, function(fixture.file("package.wasm", bytes))).await;
        assert!(error.contains(why) && error.contains("package.wasm"), "{error}");
    }
}

#[tokio::test]
async fn a_package_that_cannot_be_read_or_is_too_large_is_refused() {
    let fixture = Fixture::with(Config { component_bytes_max: 100, ..Config::default() });
    assert!(refused(&fixture, function("/nowhere/f.wasm")).await.contains("/nowhere/f.wasm: No such file"));
    let error = refused(&fixture, function(fixture.file("large.wasm", [0; 101]))).await;
    assert!(error.contains("has 101 bytes, and a component may have 100"), "{error}");
}

#[tokio::test]
async fn a_component_that_needs_what_is_not_there_is_refused() {
    let fixture = Fixture::new();
    let needs = r#"(component (import "acme:database/query" (instance (export "ask" (func)))))"#;
    let error = refused(&fixture, function(fixture.wat(needs))).await;
    assert!(error.contains("acme:database/query") && error.contains("may import `geminga:function`"), "{error}");
}

#[tokio::test]
async fn a_component_that_is_no_function_is_refused() {
    let fixture = Fixture::new();
    let error = refused(&fixture, function(fixture.wat("(component)"))).await;
    assert!(error.contains("no export `run`") && error.contains("#[function]"), "{error}");

    let other = r#"(component
        (core module $m (func (export "run") (param i32)))
        (core instance $i (instantiate $m))
        (func (export "run") (param "x" u32) (canon lift (core func $i "run"))))"#;
    let error =
        refused(&fixture, function(fixture.file("other.wasm", wat::parse_str(other).expect("a component")))).await;
    assert!(error.contains("`run`, but not as `func()`"), "{error}");
}

#[tokio::test]
async fn windows_need_a_window_function_and_the_other_way_round() {
    let fixture = Fixture::new();
    let mut windowed = function(guest("exclamation"));
    windowed.window = Some(windows_of(2));
    let error = refused(&fixture, windowed).await;
    assert!(error.contains("no export `run-windows`") && error.contains("#[function(window)]"), "{error}");
    let error = refused(&fixture, function(guest("average"))).await;
    assert!(error.contains("needs a windowConfig"), "{error}");
}

#[tokio::test]
async fn a_source_a_function_and_a_command_are_not_each_other() {
    let fixture = Fixture::new();
    let as_source = |code: PathBuf| FunctionSpec { kind: Kind::Source, ..function(code) };
    let error = refused(&fixture, as_source(guest("exclamation"))).await;
    assert!(error.contains("no export `run-source`") && error.contains("it is a function or a sink"), "{error}");
    let error = refused(&fixture, as_source(fixture.wat("(component)"))).await;
    assert!(error.contains("no export `run-source`") && error.contains("#[source]"), "{error}");
    let error = refused(&fixture, function(guest("test-source"))).await;
    assert!(error.contains("geminga sources create"), "{error}");
    let mut command = function("");
    command.code = Code::Command(vec!["rm".to_owned(), "-rf".to_owned()]);
    assert!(refused(&fixture, command).await.contains("rm -rf"));
}

fn cached(dir: &Path) -> PathBuf {
    let files: Vec<_> = fs::read_dir(dir).expect("the cache").map(|entry| entry.expect("an entry").path()).collect();
    let [file] = files.as_slice() else { panic!("one file: {files:?}") };
    file.clone()
}

/// Deploys the same package in a new process, as it were; gives the inode of what is cached then.
async fn deploy_again(fixture: &Fixture) -> u64 {
    let again = runtime(Config::default(), fixture.dir.path());
    again.prepare(&function(guest("exclamation"))).await.expect("it is a function");
    fs::metadata(cached(&fixture.cache())).expect("it is cached").ino()
}

#[tokio::test]
async fn a_component_is_compiled_once_whatever_restarts() {
    let fixture = Fixture::new();
    assert_eq!(fixture.start(function(guest("exclamation"))).await.say("a").await, output("a!"));
    let file = cached(&fixture.cache());
    let about = fs::metadata(&file).expect("it is there");
    assert_eq!(about.mode() & 0o777, 0o600, "nobody else may write what we run");
    assert_eq!(fs::metadata(fixture.cache()).expect("it is there").mode() & 0o777, 0o700);
    assert_eq!(deploy_again(&fixture).await, about.ino());

    let copy = fixture.dir.path().join("copy.wasm");
    fs::copy(guest("exclamation"), &copy).expect("a copy");
    assert_eq!(fixture.start(function(copy)).await.say("a").await, output("a!"));
    assert_eq!(cached(&fixture.cache()), file, "the same bytes are the same component");
}

#[tokio::test]
async fn a_compiled_component_that_may_not_be_ours_is_compiled_again() {
    let fixture = Fixture::new();
    let mut inode = deploy_again(&fixture).await;
    let file = cached(&fixture.cache());
    let bytes = fs::read(&file).expect("it is there");
    let spoils: [&dyn Fn(); 4] = [
        &|| {
            let mut bytes = bytes.clone();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&file, bytes).expect("written");
        },
        &|| fs::write(&file, &bytes[..bytes.len() - 1]).expect("written"),
        &|| fs::write(&file, b"").expect("written"),
        &|| fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).expect("set"),
    ];
    for spoil in spoils {
        spoil();
        let compiled = deploy_again(&fixture).await;
        assert_ne!(compiled, inode, "it was compiled again");
        assert_eq!(fs::read(&file).expect("it is there"), bytes);
        inode = compiled;
    }
    let elsewhere = fixture.file("elsewhere", &bytes);
    fs::remove_file(&file).expect("removed");
    std::os::unix::fs::symlink(&elsewhere, &file).expect("linked");
    deploy_again(&fixture).await;
    assert!(fs::symlink_metadata(&file).expect("it is there").is_file(), "a link is not followed but replaced");
}

#[tokio::test]
async fn a_cache_that_cannot_be_written_costs_time_only() {
    let fixture = Fixture::new();
    fs::remove_dir_all(fixture.cache()).expect("removed");
    assert_eq!(fixture.start(function(guest("exclamation"))).await.say("a").await, output("a!"));
}

#[tokio::test]
async fn a_package_that_was_changed_in_place_is_read_again() {
    let fixture = Fixture::new();
    let path = fixture.dir.path().join("f.wasm");
    fs::copy(guest("exclamation"), &path).expect("a copy");
    assert_eq!(fixture.start(function(&path)).await.say("a").await, output("a!"));
    fs::copy(guest("wordcount"), &path).expect("a copy");
    assert_eq!(fixture.start(function(&path)).await.say("a").await, output("a=1"));
}
