//! A broker of the demo's own, as a child in a directory that goes with it.

use anyhow::{Context, bail};
use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// How long it may take to start, and to stop.
const START: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(15);

pub(super) struct Server {
    child: Child,
    pub(super) admin_url: String,
}

impl Server {
    /// Starts `program standalone` with its data and log below `dir`, on free ports of the loopback interface.
    ///
    /// # Errors
    /// It does not start; the text has the end of its log.
    pub(super) async fn start(program: &Path, dir: &Path) -> anyhow::Result<Self> {
        let log = log(dir);
        let stderr = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let mut child = Command::new(program)
            .args([
                "standalone",
                "--with-parent",
                "--broker-port",
                "0",
                "--web-port",
                "0",
                "--bind",
                "127.0.0.1",
                "--data",
            ])
            .arg(dir.join("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            // Ctrl-C of the terminal is for the demo, which then stops it in good order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let stdout = child.stdout.take().context("its output was asked for")?;
        let mut lines = BufReader::new(stdout).lines();
        let ready = tokio::time::timeout(START, async {
            while let Some(line) = lines.next_line().await? {
                if let Some(urls) = line.strip_prefix("geminga ready: ") {
                    return Ok(urls.split_once(' ').map(|(_, admin_url)| admin_url.to_owned()));
                }
            }
            std::io::Result::Ok(None)
        });
        match ready.await {
            Ok(Ok(Some(admin_url))) => Ok(Self { child, admin_url }),
            _ => bail!("the broker did not start; its log ends with\n{}", end_of(&log)),
        }
    }

    /// Stops it as SIGTERM does.
    pub(super) async fn stop(mut self) {
        if let Some(pid) = self.child.id().and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed())) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        // Dropped, it is killed.
        let _ = tokio::time::timeout(STOP, self.child.wait()).await;
    }
}

/// Where it writes its log.
pub(super) fn log(dir: &Path) -> PathBuf {
    dir.join("geminga.log")
}

fn end_of(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}
