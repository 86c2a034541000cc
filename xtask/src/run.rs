//! A command with an end: what it prints goes to a file, so that nothing it leaves behind keeps its reader waiting, and it
//! is killed with everything it started when it takes too long.

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// How long a command may run: on two busy cores the longest, a release build from nothing, takes a third of it.
const LONGEST: Duration = Duration::from_secs(30 * 60);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How a command ended and everything it printed.
pub(crate) struct Ended {
    pub(crate) passed: bool,
    pub(crate) text: String,
}

/// Runs it to its end, or for half an hour, or until it has not printed anything for as long as `silence` says.
pub(crate) fn run(command: &mut Command, log: &Path, silence: Option<Duration>) -> Result<Ended> {
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder)?;
    }
    let file = File::create(log).with_context(|| format!("create {}", log.display()))?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file.try_clone()?)
        .spawn()
        .with_context(|| format!("run {command:?}"))?;
    let ended = wait(&mut child, &file, silence)?;
    let mut text = String::from_utf8_lossy(&fs::read(log)?).into_owned();
    match &ended {
        Ok(status) if !status.success() => text.push_str(&format!("\nended with {status}")),
        Ok(_) => {}
        Err(why) => text.push_str(&format!("\nkilled: {why}")),
    }
    Ok(Ended { passed: ended.is_ok_and(|status| status.success()), text })
}

/// Its status, or why it was killed.
fn wait(child: &mut Child, log: &File, silence: Option<Duration>) -> Result<Result<ExitStatus, String>> {
    let started = Instant::now();
    let (mut length, mut grew) = (0, started);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Ok(status));
        }
        let now = log.metadata()?.len();
        if now != length {
            (length, grew) = (now, Instant::now());
        }
        let why = if started.elapsed() > LONGEST {
            format!("it ran for {} minutes", LONGEST.as_secs() / 60)
        } else if let Some(silence) = silence.filter(|silence| grew.elapsed() > *silence) {
            format!("it printed nothing for {} seconds", silence.as_secs())
        } else {
            std::thread::sleep(LOOK_EVERY);
            continue;
        };
        // They are in the terminal's process group, so that an interrupt ends them too: each is killed by itself.
        for pid in descendants(child.id())? {
            let _ = kill_process(pid, Signal::KILL); // it may have ended meanwhile
        }
        child.kill()?;
        child.wait()?;
        return Ok(Err(why));
    }
}

/// All that a process started, and these in turn.
fn descendants(of: u32) -> Result<Vec<Pid>> {
    let listed = Command::new("ps").args(["-A", "-o", "pid=,ppid="]).output().context("run ps")?;
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let number = |word: Option<&str>| word.and_then(|word| word.parse::<u32>().ok());
    let pairs: Vec<(u32, u32)> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((number(words.next())?, number(words.next())?))
        })
        .collect();
    let mut found = vec![of];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(pairs.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    Ok(found[1..].iter().filter_map(|pid| Pid::from_raw(i32::try_from(*pid).ok()?)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(name: &str, script: &str, silence: Duration) -> Ended {
        let log = std::env::temp_dir().join(format!("geminga-xtask-{}-{name}.log", std::process::id()));
        let ended = run(Command::new("sh").args(["-c", script]), &log, Some(silence)).unwrap();
        fs::remove_file(log).unwrap();
        ended
    }

    #[test]
    fn what_it_prints_and_how_it_ends_are_told() {
        let ended = shell("ends", "echo said; echo wrong >&2; exit 3", Duration::from_secs(60));
        assert!(!ended.passed);
        assert!(ended.text.starts_with("said\nwrong\n") && ended.text.contains("exit status: 3"), "{}", ended.text);
    }

    #[test]
    fn what_it_leaves_behind_is_not_waited_for() {
        let started = Instant::now();
        assert!(shell("leaves", "sleep 20 & echo done", Duration::from_secs(60)).passed);
        assert!(started.elapsed() < Duration::from_secs(15));
    }

    #[test]
    fn one_that_falls_silent_is_killed() {
        let ended = shell("silent", "echo begun; sleep 600", Duration::from_secs(1));
        assert!(!ended.passed);
        assert!(ended.text.contains("begun") && ended.text.contains("nothing for 1 seconds"), "{}", ended.text);
    }

    #[test]
    fn what_a_killed_one_started_is_killed_too() {
        let ended = shell("family", "sh -c 'sleep 600 & echo $!; wait'; true", Duration::from_secs(1));
        let pid = ended.text.lines().next().unwrap();
        let state = Command::new("ps").args(["-o", "stat=", "-p", pid]).output().unwrap().stdout;
        assert!(state.is_empty() || state.starts_with(b"Z"), "{pid}: {}", String::from_utf8_lossy(&state));
    }
}
