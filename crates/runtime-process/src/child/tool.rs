//! A program that is run to its end for its answer, such as an installer: held within limits, watched over and ended as an instance is.

use functions::spec::Limits;
use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    pin::pin,
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::oneshot,
    time::{sleep, timeout},
};

use super::{Children, DRAIN, Process, ended, mark, marks, spawn, surroundings};
use spawn::Program;

/// The longest answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Of what it says went wrong, the last.
const TAIL_BYTES_MAX: usize = 64 << 10;

/// What to run. It answers on stdout, and says on stderr what went wrong.
pub(crate) struct Tool {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    /// Variables besides those every child gets.
    pub(crate) env: Vec<(OsString, OsString)>,
    /// A directory that is there; another, which lasts as long as the program, is made in it for what is temporary.
    pub(crate) work_dir: PathBuf,
    pub(crate) limits: Limits,
    /// How long it may take.
    pub(crate) patience: Duration,
}

/// What the name of a temporary directory begins with; the number of our process follows.
const TEMPORARY: &str = "tmp-";

/// Removes temporary directories of processes that are gone.
pub(crate) fn remove_leftovers(work_dir: &Path) {
    for entry in std::fs::read_dir(work_dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let of = name.to_str().and_then(|name| name.strip_prefix(TEMPORARY)?.split('-').next()?.parse::<u32>().ok());
        if of.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

impl Children {
    /// Runs a program to its end and gives back what it answered. Dropped while it waits, this ends the program and all that it started.
    ///
    /// # Errors
    /// It cannot be run, it failed, took too long or too much: in words, with the last of what it printed to stderr.
    pub(crate) async fn run(&self, tool: Tool) -> Result<Vec<u8>, String> {
        let (reply, answer) = oneshot::channel();
        let (name, children) = (tool.program.display().to_string(), self.clone());
        self.tasks().spawn(format!("run {name}"), async move { children.run_for(tool, reply).await });
        answer.await.unwrap_or_else(|_| Err(format!("{name} was given up, since Geminga stops")))
    }

    async fn run_for(&self, tool: Tool, mut reply: oneshot::Sender<Result<Vec<u8>, String>>) {
        let mark = mark();
        let temporary = tool.work_dir.join(format!("{TEMPORARY}{mark}"));
        let said = match tokio::fs::create_dir_all(&temporary).await {
            Ok(()) => self.to_its_end(tool, &mark, &temporary, &mut reply).await,
            Err(error) => Err(format!("make {}: {error}", temporary.display())),
        };
        let _ = tokio::fs::remove_dir_all(&temporary).await;
        let _ = reply.send(said);
    }

    async fn to_its_end(
        &self,
        tool: Tool,
        mark: &str,
        temporary: &Path,
        reply: &mut oneshot::Sender<Result<Vec<u8>, String>>,
    ) -> Result<Vec<u8>, String> {
        let cage = self.limits.cage(mark, &tool.limits);
        let mut env = surroundings(temporary);
        env.extend(marks(mark));
        env.extend(tool.env);
        let name = tool.program.display().to_string();
        let program = Program {
            program: tool.program,
            args: tool.args,
            env,
            work_dir: tool.work_dir,
            stdin: Stdio::null(),
            stdout: Stdio::piped(),
            channel: None,
        };
        let mut child = spawn::spawn(program, &cage).await.map_err(|error| format!("{name}: {error}"))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let mut process = Process::new(child, cage, mark);
        let (mut answer, mut tail) = (Vec::new(), Vec::new());
        let why = {
            let mut read = pin!(async {
                let answered = async {
                    match stdout {
                        Some(stdout) => {
                            stdout.take(ANSWER_BYTES_MAX as u64 + 1).read_to_end(&mut answer).await.map(drop)
                        }
                        None => Ok(()),
                    }
                };
                let told = async {
                    match stderr {
                        Some(stderr) => keep_last(stderr, &mut tail).await,
                        None => Ok(()),
                    }
                };
                let _ = tokio::join!(answered, told);
            });
            let mut has_read = false;
            let why = loop {
                tokio::select! {
                    status = process.child.wait() => break match status {
                        Ok(status) if status.success() => None,
                        Ok(status) => Some(ended(status)),
                        Err(error) => Some(error.to_string()),
                    },
                    () = &mut read, if !has_read => has_read = true,
                    limit = process.cage.exceeded(process.pid) => break Some(limit),
                    () = sleep(tool.patience) => break Some(format!("it took more than {:?}", tool.patience)),
                    () = reply.closed() => break Some("nobody waits for it any more".to_owned()),
                }
            };
            let limit = process.cage.killed();
            process.kill().await;
            if !has_read {
                let _ = timeout(DRAIN, read).await;
            }
            limit.or(why)
        };
        match why {
            _ if answer.len() > ANSWER_BYTES_MAX => Err(format!("{name} answered more than {ANSWER_BYTES_MAX} bytes")),
            None => Ok(answer),
            // What it said itself is the best reason; how it ended is one when it had no chance to say any.
            Some(why) => {
                let told = String::from_utf8_lossy(&tail);
                let ended_by_itself = why.starts_with("it exited with");
                match told.trim() {
                    "" => Err(format!("{name}: {why}")),
                    told if ended_by_itself => Err(told.to_owned()),
                    told => Err(format!("{name}: {why}\n{told}")),
                }
            }
        }
    }
}

/// Reads to the end, and keeps about the last of it, from the beginning of a line on.
async fn keep_last(mut stream: impl AsyncRead + Unpin, tail: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        tail.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if tail.len() > TAIL_BYTES_MAX {
            let cut = tail.len() - TAIL_BYTES_MAX / 2;
            let line = tail.iter().skip(cut).position(|byte| *byte == b'\n').map_or(cut, |end| cut + end + 1);
            tail.drain(..line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn children() -> Children {
        Children::new(seams::Tasks::default(), crate::Limits::watched())
    }

    fn shell(script: &str, dir: &tempfile::TempDir) -> Tool {
        Tool {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: Vec::new(),
            work_dir: dir.path().to_owned(),
            limits: Limits::default(),
            patience: Duration::from_secs(60),
        }
    }

    #[tokio::test]
    async fn the_answer_is_what_it_printed_and_the_reason_what_it_said() {
        let dir = tempfile::tempdir().unwrap();
        let run = async |script: &str| children().run(shell(script, &dir)).await;
        assert_eq!(run("echo note >&2; echo -n $TMPDIR | grep -c tmp-").await, Ok(b"1\n".to_vec()));
        assert_eq!(run("echo wrong >&2; exit 3").await, Err("wrong".to_owned()));
        assert_eq!(run("exit 3").await, Err("/bin/sh: it exited with code 3".to_owned()));
        assert_eq!(
            run("echo so far >&2; kill -9 $$").await,
            Err("/bin/sh: it was killed by signal 9\nso far".to_owned())
        );
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0, "nothing temporary is left");
    }

    #[test]
    fn what_a_process_left_that_is_gone_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let ours = format!("{TEMPORARY}{}", mark());
        for name in [ours.as_str(), "tmp-999999999-0", "tmp-x", "packages"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        remove_leftovers(dir.path());
        let left = |name: &str| dir.path().join(name).exists();
        assert_eq!([ours.as_str(), "tmp-999999999-0", "tmp-x", "packages"].map(left), [true, false, true, true]);
    }

    #[tokio::test]
    async fn a_gigabyte_of_complaints_is_cut_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let script = "yes 'a line of complaint' | head -c 20000000 >&2; echo the reason >&2; exit 1";
        let why = children().run(shell(script, &dir)).await.unwrap_err();
        assert!(
            why.len() <= TAIL_BYTES_MAX && why.starts_with("a line") && why.ends_with("the reason"),
            "{}",
            why.len()
        );
        let flood = children().run(shell("yes | head -c 20000000", &dir)).await;
        assert!(flood.unwrap_err().contains("answered more than"));
    }

    #[tokio::test]
    async fn what_takes_too_long_is_ended_with_all_that_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let alive = dir.path().join("alive");
        // The second one leaves the session.
        let script = format!("(while :; do date > {0}; sleep 0.05; done) & setsid sleep 1000 & wait", alive.display());
        let began = Instant::now();
        let slow = Tool { patience: Duration::from_millis(500), ..shell(&script, &dir) };
        let why = children().run(slow).await.unwrap_err();
        assert!(why.contains("it took more than 500ms") && began.elapsed() < Duration::from_secs(30), "{why}");
        std::fs::remove_file(&alive).unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!alive.exists());
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let alive = dir.path().join("alive");
        let (children, script) = (children(), format!("while :; do date > {0}; sleep 0.05; done", alive.display()));
        let running = tokio::spawn({
            let tool = shell(&script, &dir);
            async move { children.run(tool).await }
        });
        while !alive.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        running.abort();
        let ended = async {
            loop {
                let _ = std::fs::remove_file(&alive);
                tokio::time::sleep(Duration::from_millis(300)).await;
                if !alive.exists() {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), ended).await.unwrap();
    }
}
