//! Machine code of components, made by a process that does nothing else.
//!
//! A compiler takes a hundred times the memory of what it makes, and an allocator keeps that for the rest of its process. It also reads
//! what somebody else wrote: a component that makes it take all memory, or for ever, ends the child and not the broker. See ADR 12.

use rustix::process::{Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit};
use std::{
    ffi::OsString,
    fs,
    io::{self, Read as _, Write as _},
    os::{fd::AsFd as _, unix::process::ExitStatusExt as _},
    path::PathBuf,
    process::{ExitCode, ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{ChildStdin, Command},
};

use crate::{Config, engine};

/// Of what a compiler says before it ends.
const SAID_BYTES_MAX: u64 = 8 << 10;

/// The program that compiles: with these arguments and, after them, the memory it may take in bytes, it calls [`compile`].
///
/// It must be of the build of the program that starts it, since what it makes is run as it is.
#[derive(Clone, Debug)]
pub struct Compiler {
    /// A file.
    pub program: PathBuf,
    /// What it is started with.
    pub arguments: Vec<OsString>,
    /// All of its environment.
    pub env: Vec<(OsString, OsString)>,
}

/// What compiling one component may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    memory_bytes: u64,
    timeout: Duration,
}

impl Limits {
    pub(crate) fn new(config: &Config) -> Self {
        Self { memory_bytes: config.compile_memory_bytes, timeout: config.compile_timeout }
    }
}

impl Compiler {
    /// Compiles a component into a file.
    ///
    /// # Errors
    /// Why there is no machine code of it, in words for the one who made it.
    pub(crate) async fn run(&self, component: &[u8], into: &fs::File, limits: Limits) -> Result<(), String> {
        let failed = |error: io::Error| format!("start the compiler {}: {error}", self.program.display());
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .arg(limits.memory_bytes.to_string())
            .env_clear()
            .envs(self.env.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(into.try_clone().map_err(failed)?)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
        let talk = async {
            let mut said = Vec::new();
            let listen = async {
                if let Some(stderr) = stderr {
                    let _ = stderr.take(SAID_BYTES_MAX).read_to_end(&mut said).await;
                }
            };
            tokio::join!(feed(stdin, component), listen);
            (child.wait().await, said)
        };
        let Ok((ended, said)) = tokio::time::timeout(limits.timeout, talk).await else {
            let _ = child.kill().await;
            return Err(format!("it takes longer than {:?}, which `compile-timeout` allows", limits.timeout));
        };
        verdict(ended.map_err(failed)?, String::from_utf8_lossy(&said).trim(), limits)
    }
}

/// One that ends early does not want it all, and says why.
async fn feed(stdin: Option<ChildStdin>, component: &[u8]) {
    if let Some(mut stdin) = stdin {
        let _ = stdin.write_all(component).await;
    }
}

/// What the end of a compiler means.
fn verdict(ended: ExitStatus, said: &str, limits: Limits) -> Result<(), String> {
    if ended.success() {
        return Ok(());
    }
    if ended.code() == Some(1) && !said.is_empty() {
        return Err(said.to_owned());
    }
    // The first is what Rust says before it aborts, the second the end of who takes most where the machine has no more.
    if said.contains("memory allocation") || ended.signal() == Some(Signal::KILL.as_raw()) {
        let limit = limits.memory_bytes;
        return Err(format!(
            "it takes more memory than there is, or than the {limit} bytes that `compile-memory-bytes` allows"
        ));
    }
    Err(format!("the compiler failed, {ended}: {said}"))
}

/// The other side of a [`Compiler`]: makes machine code of the component on standard input, on standard output; or says on standard error
/// why not. Takes all of the process, which it limits.
#[must_use]
pub fn compile(memory_bytes: u64) -> ExitCode {
    match compile_within(memory_bytes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprint!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn compile_within(memory_bytes: u64) -> Result<(), String> {
    limit(memory_bytes).map_err(|error| format!("limit the compiler: {error}"))?;
    let mut component = Vec::new();
    io::stdin().lock().read_to_end(&mut component).map_err(|error| format!("read it: {error}"))?;
    let engine = engine::compiling().map_err(|error| format!("start the compiler: {error:#}"))?;
    // Not through the buffer of lines that `Stdout` is.
    let stdout = io::stdout().as_fd().try_clone_to_owned().map_err(|error| format!("open standard output: {error}"))?;
    compile_here(&engine, &component, &stdout.into())
}

/// Compiles in this process, which keeps what that took.
///
/// # Errors
/// Why there is no machine code of it.
pub(crate) fn compile_here(engine: &wasmtime::Engine, component: &[u8], mut into: &fs::File) -> Result<(), String> {
    let code = engine.precompile_component(component).map_err(|error| format!("{error:#}"))?;
    into.write_all(&code).map_err(|error| format!("write what was made of it: {error}"))
}

fn limit(memory_bytes: u64) -> io::Result<()> {
    // The thread that started us waits for us; where it is gone, nobody wants this.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    for (resource, limit) in [(Resource::Data, memory_bytes), (Resource::Core, 0)] {
        // Who started the broker may have set a lower one.
        let limit = Some(getrlimit(resource).maximum.map_or(limit, |most| most.min(limit)));
        setrlimit(resource, Rlimit { current: limit, maximum: limit })?;
    }
    // Where the machine is out of memory, this goes first. Always allowed, and not everywhere there.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    Ok(())
}
