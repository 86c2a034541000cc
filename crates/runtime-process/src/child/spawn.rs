//! Starting a program so that it can be ended: in a session of its own, dying with us, holding nothing of ours.
//!
//! The only unsafe code of the crate is here: what runs between fork and exec.
#![allow(unsafe_code)]

use rustix::{
    fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    process::{Pid, Resource, Rlimit, Signal, getppid, set_parent_process_death_signal, setrlimit, setsid},
    thread::set_no_new_privs,
};
use std::{
    ffi::OsString,
    fs::File,
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{LazyLock, mpsc},
};
use tokio::process::{Child, Command};

use crate::limits::Cage;

/// File descriptors of the binary protocol in the child.
pub(crate) const FD_IN: i32 = 3;
pub(crate) const FD_OUT: i32 = 4;
/// Our own ends are above these while a child is made, so that none of them is overwritten in it.
const FD_SAFE: i32 = 10;

/// What is run.
pub(crate) struct Program {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    /// All of its environment.
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) work_dir: PathBuf,
    pub(crate) stdin: Stdio,
    pub(crate) stdout: Stdio,
    /// The child's ends of the binary protocol.
    pub(crate) channel: Option<(OwnedFd, OwnedFd)>,
}

/// Starts a program.
///
/// `PR_SET_PDEATHSIG` means the death of the *thread* that forked, and threads of a runtime come and go; so all children are made by one
/// thread that lives as long as the process.
///
/// # Errors
/// The program cannot be run.
pub(crate) async fn spawn(program: Program, cage: &Cage) -> io::Result<Child> {
    let join = cage.join_files()?;
    let rlimits = cage.rlimits();
    let runtime = tokio::runtime::Handle::current();
    let (reply, answer) = tokio::sync::oneshot::channel();
    let job: Job = Box::new(move || {
        let _in_runtime = runtime.enter();
        let _ = reply.send(spawn_here(program, join, rlimits));
    });
    LAUNCHER.send(job).map_err(|_| io::Error::other("no thread to start programs"))?;
    answer.await.map_err(|_| io::Error::other("no thread to start programs"))?
}

type Job = Box<dyn FnOnce() + Send>;

static LAUNCHER: LazyLock<mpsc::Sender<Job>> = LazyLock::new(|| {
    let (jobs, takes) = mpsc::channel::<Job>();
    let launcher = std::thread::Builder::new().name("launcher".to_owned()).spawn(move || {
        // Nothing of ours may have the numbers that a child's channel gets; the pipe std reports a failed exec by is opened late.
        let mut held = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            if file.as_raw_fd() > FD_OUT {
                break;
            }
            held.push(file);
        }
        takes.into_iter().for_each(|job| job());
    });
    if let Err(error) = launcher {
        tracing::error!(%error, "no thread to start programs");
    }
    jobs
});

fn spawn_here(program: Program, join: Vec<File>, rlimits: Vec<(Resource, u64)>) -> io::Result<Child> {
    let mut command = std::process::Command::new(&program.program);
    command
        .args(&program.args)
        .env_clear()
        .envs(program.env)
        .current_dir(&program.work_dir)
        .stdin(program.stdin)
        .stdout(program.stdout)
        .stderr(Stdio::piped());
    let channel = match program.channel {
        None => None,
        Some((read, write)) => Some((above(read)?, above(write)?)),
    };
    let parent = rustix::process::getpid();
    let before_exec = move || {
        setsid()?;
        set_no_new_privs(true)?; // a set-user-id program is none
        set_parent_process_death_signal(Some(Signal::KILL))?;
        if getppid() != Some(parent) {
            return Err(io::ErrorKind::BrokenPipe.into()); // it died before it could be told to kill us
        }
        for file in &join {
            rustix::io::write(file, b"0")?;
        }
        for (resource, limit) in &rlimits {
            setrlimit(*resource, Rlimit { current: Some(*limit), maximum: Some(*limit) })?;
        }
        if let Some((read, write)) = &channel {
            place(read, FD_IN)?;
            place(write, FD_OUT)?;
        }
        Ok(())
    };
    // SAFETY: it runs in the child of a fork of many threads, so it may only make system calls: it allocates nothing, takes no lock
    // and touches no environment. `io::Error` of an errno is a number.
    unsafe { command.pre_exec(before_exec) };
    Command::from(command).kill_on_drop(true).spawn()
}

/// A copy of a descriptor above those the child uses.
fn above(fd: OwnedFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(&fd, FD_SAFE)?)
}

/// Makes `number` another name of `fd`, open in the program to come.
fn place(fd: &OwnedFd, number: i32) -> io::Result<()> {
    // SAFETY: whatever had this number in the child is ours to close (the launcher holds it with /dev/null); it is forgotten below, so
    // that it stays open.
    let mut target = unsafe { OwnedFd::from_raw_fd(number) };
    let placed = rustix::io::dup2(fd.as_fd(), &mut target);
    std::mem::forget(target);
    Ok(placed?)
}

/// Asks a child to end.
pub(crate) fn terminate(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, Signal::TERM);
    }
}

/// Kills all that is in the session of a child, whatever it does.
pub(crate) fn kill_group(leader: u32) {
    if let Some(pid) = i32::try_from(leader).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process_group(pid, Signal::KILL);
    }
}

/// Kills all processes whose environment has this variable: those that left the session of their instance. Reads all of `/proc` that
/// is ours, so it is for the end of an instance only.
pub(crate) fn kill_marked(variable: &str) {
    let Ok(processes) = std::fs::read_dir("/proc") else { return };
    for process in processes.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        if pid != rustix::process::getpid() && has_variable(&process.path(), variable) {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
}

fn has_variable(process: &Path, variable: &str) -> bool {
    let environment = std::fs::read(process.join("environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes())
}
