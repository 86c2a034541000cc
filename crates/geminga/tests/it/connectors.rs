//! Built-in connectors, deployed from the command line.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use crate::{Running, geminga, start};

impl Running {
    pub(crate) fn run(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_geminga"));
        let output = command.args(arguments).env("GEMINGA_ADMIN_URL", format!("http://{}", self.web)).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }
}

#[test]
fn lines_go_from_file_to_file_through_a_topic() {
    let dir = tempfile::tempdir().unwrap();
    let (inbox, out) = (dir.path().join("inbox"), dir.path().join("out"));
    fs::create_dir(&inbox).unwrap();
    fs::write(inbox.join("a.txt"), "one\ntwo\n").unwrap();
    let mut running = start(geminga(&dir.path().join("data")));

    let sink = format!(r#"{{"path": {:?}}}"#, out.to_str().unwrap());
    let sink = ["sinks", "create", "--name", "out", "--sink-type", "file", "--inputs", "lines", "--sink-config", &sink];
    let (created, said) = running.run(&[&sink[..], &["--subs-position", "Earliest"]].concat());
    assert!(created, "{said}");
    let source = |configs: &str| {
        let source =
            ["sources", "create", "--name", "in", "--source-type", "file", "--destination-topic-name", "lines"];
        running.run(&[&source[..], &["--source-config", configs]].concat())
    };
    let (created, said) = source(r#"{"inputDir": "/"}"#);
    assert!(!created && said.contains("`inputDirectory` is missing"), "{said}");
    let (created, said) =
        source(&format!(r#"{{"inputDirectory": {:?}, "pollingInterval": 50}}"#, inbox.to_str().unwrap()));
    assert!(created, "{said}");

    let deadline = Instant::now() + Duration::from_secs(60);
    while fs::read_to_string(&out).unwrap_or_default() != "one\ntwo\n" || inbox.join("a.txt").exists() {
        assert!(Instant::now() < deadline, "out: {:?}", fs::read_to_string(&out));
        std::thread::sleep(Duration::from_millis(50));
    }
    running.signal(rustix::process::Signal::TERM);
    assert_eq!(running.end().0, Some(0));
}
