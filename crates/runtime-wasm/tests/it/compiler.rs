//! What compiles is a process of its own: what it makes is run, and what becomes of it harms nobody else.

use functions::Runtime as _;
use runtime_wasm::{Compiler, Config};
use std::{fs, path::Path, time::Duration};

use crate::{
    guests::guest,
    harness::{Fixture, function, output, runtime},
};

/// A compiler as a shell script; its limit is `$0`.
fn script(text: &str) -> Compiler {
    let env = vec![("PATH".into(), "/usr/bin:/bin".into())];
    Compiler { program: "/bin/sh".into(), arguments: vec!["-c".into(), text.into()], env }
}

fn fixture(compiler: Compiler, config: Config) -> Fixture {
    let dir = tempfile::tempdir().expect("a directory");
    let runtime = runtime(config, dir.path()).compiled_by(compiler);
    Fixture { dir, runtime }
}

/// Why a component that is fine is refused; nothing is left of it.
async fn refused(compiler: Compiler, config: Config) -> String {
    let fixture = fixture(compiler, config);
    let error = fixture.runtime.prepare(&function(guest("exclamation"))).await.expect_err("it does not compile").0;
    assert_eq!(files(&fixture.cache()), Vec::<Vec<u8>>::new());
    error
}

fn files(dir: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(dir).expect("the cache");
    entries.map(|entry| fs::read(entry.expect("an entry").path()).expect("a file")).collect()
}

#[tokio::test]
async fn it_is_given_the_component_and_its_limit_and_what_it_makes_is_run_and_kept() {
    let here = Fixture::new();
    here.runtime.prepare(&function(guest("exclamation"))).await.expect("it is a function");
    let kept = files(&here.cache()).remove(0);
    // Without the checksum.
    let code = here.file("code", &kept[..kept.len() - 32]);

    let at = here.dir.path().display().to_string();
    let compiler = script(&format!("cat > {at}/component; echo $0 >> {at}/limits; cat {}", code.display()));
    let limits = || fs::read_to_string(here.dir.path().join("limits")).expect("it ran");
    let fixture = fixture(compiler, Config { compile_memory_bytes: 123 << 20, ..Config::default() });
    assert_eq!(fixture.start(function(guest("exclamation"))).await.say("a").await, output("a!"));
    let component = fs::read(guest("exclamation")).expect("it is there");
    assert_eq!(fs::read(here.dir.path().join("component")).expect("it ran"), component);
    assert_eq!((limits().as_str(), files(&fixture.cache())), ("128974848\n", vec![kept]));

    let again = runtime(Config::default(), fixture.dir.path()).compiled_by(script("exit 1"));
    again.prepare(&function(guest("exclamation"))).await.expect("it is compiled");
}

#[tokio::test]
async fn one_that_fails_is_told_with_what_it_says() {
    let cases = [
        (
            "echo 'the third function is odd' >&2; exit 1",
            "exclamation.wasm does not compile: the third function is odd",
        ),
        ("echo 'memory allocation of 9 bytes failed' >&2; kill -ABRT $$", "`compile-memory-bytes`"),
        ("kill -KILL $$", "2147483648 bytes that `compile-memory-bytes` allows"),
        ("echo 'panicked at' >&2; exit 101", "the compiler failed, exit status: 101: panicked at"),
        ("exit 1", "the compiler failed, exit status: 1"),
        ("echo this is no machine code", "does not compile"),
    ];
    for (text, why) in cases {
        let error = refused(script(text), Config::default()).await;
        assert!(error.contains(why), "{text}: {error}");
    }
    let nobody = Compiler { program: "/nowhere".into(), ..script("") };
    let error = refused(nobody, Config::default()).await;
    assert!(error.contains("start the compiler /nowhere: No such file"), "{error}");
}

#[tokio::test]
async fn one_that_never_ends_is_ended() {
    let dir = tempfile::tempdir().expect("a directory");
    let pid = dir.path().join("pid");
    let compiler = script(&format!("echo $$ > {}; exec sleep 3600", pid.display()));
    let config = Config { compile_timeout: Duration::from_secs(3), ..Config::default() };
    let error = refused(compiler, config).await;
    assert!(error.contains("it takes longer than 3s, which `compile-timeout` allows"), "{error}");
    let pid = fs::read_to_string(pid).expect("it ran");
    assert!(!Path::new("/proc").join(pid.trim()).exists(), "it is gone");
}
