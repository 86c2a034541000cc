//! A thousand deployments on one node: over REST, in bounded time and memory, and all of them again after a restart.

use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use crate::{Running, geminga, start};

const COUNT: usize = 1000;
const CLIENTS: usize = 4;
const SOURCES: &str = "/admin/v3/sources/public/default";

/// Generous for a build without optimization on a machine that does other things too; a quadratic step anywhere is far beyond.
const CREATE_MAX: Duration = Duration::from_secs(180);
const RESTART_MAX: Duration = Duration::from_secs(60);
const LIST_MAX: Duration = Duration::from_secs(2);
/// What each may take of memory.
const BYTES_EACH_MAX: u64 = 256 << 10;

/// One connection that is kept.
struct Web {
    stream: BufReader<TcpStream>,
}

impl Web {
    fn of(running: &Running) -> Self {
        let stream = TcpStream::connect(&running.web).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    fn ask(&mut self, method: &str, path: &str, kind: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
        );
        self.stream.get_mut().write_all((head + body).as_bytes()).unwrap();
        let mut line = || {
            let mut line = String::new();
            self.stream.read_line(&mut line).unwrap();
            line.trim_end().to_ascii_lowercase()
        };
        let status = line().split(' ').nth(1).unwrap().parse().unwrap();
        let mut length = 0;
        loop {
            match line().split_once(": ") {
                Some(("content-length", value)) => length = value.parse().unwrap(),
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).unwrap();
        (status, String::from_utf8(body).unwrap())
    }

    fn get(&mut self, path: &str) -> Value {
        let (status, body) = self.ask("GET", path, "application/json", "");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    fn create(&mut self, name: &str) {
        let config = r#"{"topicName": "ticks", "archive": "builtin://data-generator", "configs": {"sleepBetweenMessages": 3600000}}"#;
        let body =
            format!("--XX\r\nContent-Disposition: form-data; name=\"sourceConfig\"\r\n\r\n{config}\r\n--XX--\r\n");
        let (status, body) = self.ask("POST", &format!("{SOURCES}/{name}"), "multipart/form-data; boundary=XX", &body);
        assert_eq!(status, 204, "{name}: {body}");
    }

    fn list(&mut self) -> usize {
        self.get(SOURCES).as_array().unwrap().len()
    }

    /// Waits until all run.
    fn all_run(&mut self, within: Duration) {
        let began = Instant::now();
        for n in 0..COUNT {
            while self.get(&format!("{SOURCES}/{}/status", name(n)))["numRunning"] != 1 {
                assert!(began.elapsed() < within, "{} does not run", name(n));
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

fn name(n: usize) -> String {
    format!("source-{n:04}")
}

/// A broker that logs what is wrong only: nobody reads its log here, and a pipe that is full would hold it up.
fn quiet(data: &Path) -> Command {
    let mut command = geminga(data);
    command.args(["--log-level", "warn"]);
    command
}

impl Running {
    fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
    }
}

fn timed<T>(what: &str, within: Duration, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let result = work();
    let took = began.elapsed();
    println!("{what}: {took:?}");
    assert!(took < within, "{what} took {took:?}, at most {within:?} were expected");
    result
}

#[test]
fn a_thousand_are_deployed_listed_and_back_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut running = start(quiet(dir.path()));
    let empty = running.resident_bytes();
    timed("create a thousand, all running", CREATE_MAX, || {
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let running = &running;
                scope.spawn(move || {
                    let mut web = Web::of(running);
                    (client..COUNT).step_by(CLIENTS).for_each(|n| web.create(&name(n)));
                });
            }
        });
        Web::of(&running).all_run(CREATE_MAX);
    });
    let each = running.resident_bytes().saturating_sub(empty) / COUNT as u64;
    println!("memory of each: {each} bytes");
    assert!(each < BYTES_EACH_MAX, "each takes {each} bytes");
    assert_eq!(timed("list a thousand", LIST_MAX, || Web::of(&running).list()), COUNT);

    running.signal(rustix::process::Signal::TERM);
    assert_eq!(running.end().0, Some(0));
    let running = timed("start again, all running", RESTART_MAX, || {
        let running = start(quiet(dir.path()));
        Web::of(&running).all_run(RESTART_MAX);
        running
    });
    assert_eq!(Web::of(&running).list(), COUNT);
    println!("memory after the restart: {} bytes", running.resident_bytes());
}
