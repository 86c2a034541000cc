//! Programs in `interop/` that drive the official clients against a broker started for them.
//!
//! Each prints a line for each scenario (`ok NAME`, `FAIL NAME: why`, `skip NAME: why`) and fails when one failed. For the
//! scenarios that survive a restart it prints `ready-for-restart` and waits for a line on its standard input.

use anyhow::{Context, Result, bail};
use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use crate::steps::Report;

/// An official client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Client {
    Python,
    Go,
    Java,
    Rust,
}

/// Kills of the broker of functions that run elsewhere: each costs the time in which they come back to it.
const LOCALRUN_KILLS: u32 = 4;
/// How long a program may run without a word.
const SILENCE_MAX: Duration = Duration::from_secs(180);

/// A broker that runs for the tests; dropping it kills it.
pub(crate) struct Broker {
    child: Child,
    binary: PathBuf,
    data: PathBuf,
    log: PathBuf,
    pub(crate) service_url: String,
    pub(crate) admin_url: String,
}

impl Broker {
    /// Starts the release binary on an empty directory and free ports.
    pub(crate) fn start(root: &Path, name: &str) -> Result<Self> {
        let work = root.join("target/interop").join(name);
        let _ = fs::remove_dir_all(&work); // may not be there
        fs::create_dir_all(&work)?;
        let binary = root.join("target/release/geminga");
        let (data, log) = (work.join("data"), work.join("broker.log"));
        let (child, service_url, admin_url) = spawn(&binary, &data, &log, ("0", "0"))?;
        Ok(Self { child, binary, data, log, service_url, admin_url })
    }

    /// Kills it with -9 and starts it again on the same directory and ports.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        let port = |url: &str| url.rsplit(':').next().unwrap_or("0").to_owned();
        let ports = (port(&self.service_url), port(&self.admin_url));
        let (child, ..) = spawn(&self.binary, &self.data, &self.log, (&ports.0, &ports.1))?;
        self.child = child;
        Ok(())
    }

    fn log(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(binary: &Path, data: &Path, log: &Path, ports: (&str, &str)) -> Result<(Child, String, String)> {
    let log = File::options().create(true).append(true).open(log)?;
    let mut child = Command::new(binary)
        .args(["standalone", "--broker-port", ports.0, "--web-port", ports.1, "--data"])
        .arg(data)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .with_context(|| format!("start {}", binary.display()))?;
    let stdout = child.stdout.take().context("the broker's output is piped")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let mut urls = line.trim().strip_prefix("geminga ready: ").unwrap_or_default().split_whitespace();
    match (urls.next(), urls.next()) {
        (Some(service), Some(admin)) => Ok((child, service.to_owned(), admin.to_owned())),
        _ => {
            let _ = child.kill();
            let _ = child.wait();
            bail!("the broker did not start: {line}")
        }
    }
}

/// Every client, or the one asked for.
pub(crate) fn interop(report: &mut Report, root: &Path, only: Option<Client>, scenario: &str) {
    for client in [Client::Python, Client::Go, Client::Java, Client::Rust] {
        if only.is_some_and(|only| only != client) {
            continue;
        }
        let name = format!("{client:?}").to_lowercase();
        let started = Instant::now();
        match prepare(client, root) {
            Err(Missing::Tool(why)) => report.missing(&format!("{name} client"), &why),
            Err(Missing::Failed(error)) => {
                report.result(&format!("{name} client: prepare"), false, started.elapsed(), &format!("{error:#}"));
            }
            Ok(command) => {
                if let Err(error) = drive(report, root, &name, command, scenario) {
                    report.result(&format!("{name} client"), false, started.elapsed(), &format!("{error:#}"));
                }
            }
        }
    }
}

/// Kills the broker again and again under load, and checks every promise it made.
pub(crate) fn crash(report: &mut Report, root: &Path, rounds: u32) {
    let started = Instant::now();
    let program = root.join("target/interop/bin/crash");
    match go_build(root, "crash", &program) {
        Err(Missing::Tool(why)) => report.missing("crash test", &why),
        Err(Missing::Failed(error)) => {
            report.result("crash test: prepare", false, started.elapsed(), &format!("{error:#}"));
        }
        Ok(()) => {
            let work = root.join("target/interop/crash");
            let mut command = Command::new(program);
            command
                .arg("-broker")
                .arg(root.join("target/release/geminga"))
                .arg("-dir")
                .arg(&work)
                .args(["-rounds", &rounds.to_string()]);
            report.step(&format!("{rounds} rounds of kill -9 under load"), &mut command);
        }
    }
}

/// Functions in every language: what they do, and that each effect happens once while the broker is killed under them.
pub(crate) fn functions(report: &mut Report, root: &Path, kills: u32, scenario: &str) {
    let started = Instant::now();
    if let Err(missing) = try_functions(report, root, kills, scenario) {
        match missing {
            Missing::Tool(why) => report.missing("functions", &why),
            Missing::Failed(error) => report.result("functions", false, started.elapsed(), &format!("{error:#}")),
        }
    }
}

fn try_functions(report: &mut Report, root: &Path, kills: u32, scenario: &str) -> Result<(), Missing> {
    let python = python(root, &["-r", "interop/python/requirements.txt"])?;
    let component = if_there(report, "functions in WASM", component(root))?;
    let jar = if_there(report, "functions in Java", jar(root))?;
    let in_wasm = |name: &str, work: &str| {
        let mut command = Command::new(&python);
        command.arg(root.join("interop/functions").join(name));
        command.arg("--broker").arg(root.join("target/release/geminga"));
        command.arg("--dir").arg(root.join("target/interop").join(work));
        if let Some(component) = &component {
            command.arg("--wasm").arg(component);
        }
        command
    };
    let program = |name: &str, work: &str| {
        let mut command = in_wasm(name, work);
        if let Some(jar) = &jar {
            command.arg("--java").arg(jar);
        }
        command
    };
    let mut conformance = program("conformance.py", "conformance");
    let log = root.join("target/interop/conformance.log");
    watch(report, "functions", conformance.arg(scenario), &log, || Ok(()))?;
    let log = root.join("target/interop/mesh.log");
    watch(report, "meshes", program("mesh.py", "mesh").arg(scenario), &log, || Ok(()))?;
    let mut command = program("exactly_once.py", "exactly-once");
    command.args(["--kills", &kills.to_string()]);
    report.step(&format!("functions: every effect once over {kills} kills of the broker"), &mut command);
    let mut command = program("scaling.py", "scaling");
    report.step("functions: they scale to nothing and back, exact while instances are killed", &mut command);
    if component.is_some() {
        let mut command = in_wasm("thousand.py", "thousand");
        report.step("a thousand functions: deployed, asleep, woken, restored after a kill", &mut command);
    }
    let mut command = program("localrun.py", "localrun");
    command.args(["--kills", &kills.min(LOCALRUN_KILLS).to_string()]);
    report.step("functions outside of the broker, which is killed under them", &mut command);
    Ok(())
}

/// What a language needs, or none where it is not installed.
fn if_there<T>(report: &mut Report, what: &str, made: Result<T, Missing>) -> Result<Option<T>, Missing> {
    match made {
        Ok(made) => Ok(Some(made)),
        Err(Missing::Tool(why)) => {
            report.missing(what, &why);
            Ok(None)
        }
        Err(failed) => Err(failed),
    }
}

/// The harness of Java functions, tested by its own tests, and the tests' functions in Java: the path of these.
pub(crate) fn jar(root: &Path) -> Result<PathBuf, Missing> {
    need("javac", "-version", "a JDK, 17 or later")?;
    need("mvn", "--version", "Maven")?;
    quiet(Command::new("mvn").args(["-B", "-q", "-f"]).arg(root.join("java")).arg("package"))?;
    Ok(root.join("java/geminga-conformance/target/geminga-conformance.jar"))
}

/// The tests' functions as components, in one directory: the path of one of them.
pub(crate) fn component(root: &Path) -> Result<PathBuf, Missing> {
    let installed = Command::new("rustup").args(["target", "list", "--installed"]).current_dir(root).output();
    if !installed.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("wasm32-wasip2")) {
        return Err(Missing::Tool(
            "the target wasm32-wasip2 is not installed (rustup target add wasm32-wasip2)".into(),
        ));
    }
    let target = root.join("target/interop/guests");
    let mut build = Command::new("cargo");
    build.args(["build", "--quiet", "--release", "--target", "wasm32-wasip2", "--manifest-path"]);
    build.arg(root.join("interop/functions/wasm/Cargo.toml")).arg("--target-dir").arg(&target);
    quiet(&mut build)?;
    Ok(target.join("wasm32-wasip2/release/conform.wasm"))
}

pub(crate) enum Missing {
    /// The language is not installed.
    Tool(String),
    /// It is, but preparing failed.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Missing {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

fn prepare(client: Client, root: &Path) -> Result<Command, Missing> {
    let interop = root.join("interop");
    match client {
        Client::Python => {
            let python = python(root, &["-r", "interop/python/requirements.txt"])?;
            let mut command = Command::new(python);
            command.arg(interop.join("python/main.py"));
            Ok(command)
        }
        Client::Go => {
            let program = root.join("target/interop/bin/go-client");
            go_build(root, "go", &program)?;
            Ok(Command::new(program))
        }
        Client::Java => {
            need("java", "-version", "Java 17 or later")?;
            need("mvn", "--version", "Maven")?;
            let project = interop.join("java");
            quiet(Command::new("mvn").args(["-B", "-q", "-f"]).arg(project.join("pom.xml")).args([
                "-DskipTests",
                "package",
                "dependency:copy-dependencies",
                "-DincludeScope=runtime",
                "-DoutputDirectory=target/lib",
            ]))?;
            let mut command = Command::new("java");
            let target = project.join("target");
            command.arg("-cp").arg(format!("{0}/classes:{0}/lib/*", target.display())).arg("geminga.Interop");
            Ok(command)
        }
        Client::Rust => {
            // The client's build script calls it; ours needs no such thing.
            need("protoc", "--version", "The Protocol Buffers compiler, which the `pulsar` crate needs,")?;
            let manifest = interop.join("rust/Cargo.toml");
            // Beside what its broker writes, which is emptied at each start.
            let target = root.join("target/interop/rust-build");
            let mut build = Command::new("cargo");
            build.args(["build", "--quiet", "--manifest-path"]).arg(manifest).arg("--target-dir").arg(&target);
            quiet(&mut build)?;
            Ok(Command::new(target.join("debug/rust-client")))
        }
    }
}

/// The Python of a virtual environment of its own, after `pip install` of what is asked for.
pub(crate) fn python(root: &Path, install: &[&str]) -> Result<PathBuf, Missing> {
    need("python3", "--version", "Python 3 with venv")?;
    let venv = root.join("interop/.venv");
    let python = venv.join("bin/python");
    if !python.exists() {
        quiet(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    }
    quiet(Command::new(&python).args(["-m", "pip", "install", "-q"]).args(install).current_dir(root))?;
    Ok(python)
}

fn go_build(root: &Path, module: &str, program: &Path) -> Result<(), Missing> {
    need("go", "version", "Go")?;
    quiet(Command::new("go").args(["build", "-o"]).arg(program).arg(".").current_dir(root.join("interop").join(module)))
}

fn need(tool: &str, version: &str, what: &str) -> Result<(), Missing> {
    match Command::new(tool).arg(version).stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(_) => Ok(()),
        Err(_) => Err(Missing::Tool(format!("{what} is not installed (no `{tool}`)"))),
    }
}

fn quiet(command: &mut Command) -> Result<(), Missing> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(Missing::Failed(anyhow::anyhow!("{command:?} failed:\n{said}")))
}

fn drive(report: &mut Report, root: &Path, name: &str, mut command: Command, scenario: &str) -> Result<()> {
    let mut broker = Broker::start(root, name)?;
    let log = root.join("target/interop").join(name).join("client.log");
    command.args([&broker.service_url, &broker.admin_url]);
    if !scenario.is_empty() {
        command.arg(scenario);
    }
    let watched = watch(report, name, &mut command, &log, || broker.restart());
    watched.with_context(|| format!("the broker's last lines:\n{}", broker.log()))
}

/// Runs a program that prints a line for each scenario.
fn watch(
    report: &mut Report,
    name: &str,
    command: &mut Command,
    log: &Path,
    mut restart: impl FnMut() -> Result<()>,
) -> Result<()> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(File::create(log)?)
        .spawn()
        .with_context(|| format!("run {command:?}"))?;
    let mut stdin = child.stdin.take().context("piped")?;
    let stdout = child.stdout.take().context("piped")?;
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let mut started = Instant::now();
    let mut failed = false;
    loop {
        match lines.recv_timeout(SILENCE_MAX) {
            Ok(line) if line == "ready-for-restart" => {
                restart()?;
                writeln!(stdin, "restarted")?;
            }
            Ok(line) => {
                let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
                match word {
                    "ok" => report.result(&format!("{name}: {rest}"), true, started.elapsed(), ""),
                    "FAIL" => {
                        failed = true;
                        report.result(&format!("{name}: {rest}"), false, started.elapsed(), "");
                    }
                    "skip" => println!("skip  {name}: {rest}"),
                    _ => continue,
                }
                started = Instant::now();
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let _ = child.kill();
                bail!("no word from the program for {SILENCE_MAX:?}");
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = child.wait()?;
    if failed {
        println!("      the program's log is {}", log.display());
    } else if !status.success() {
        bail!("the program ended with {status}\n{}", fs::read_to_string(log).unwrap_or_default());
    }
    Ok(())
}
