//! Java functions: unmodified jars in a child process, called by a harness of our own (`java/` at the top of the repository), which is one
//! jar. Why not Pulsar's own instance: `docs/adr/0009-java-functions-by-a-harness-of-our-own.md`.

mod archive;
mod class_file;
mod machine;
mod package;
mod zip;

use async_trait::async_trait;
use functions::{
    Code, FunctionSpec, Runtime,
    runtime::{InstanceSpec, Link, StartError},
};
use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};
use tokio::sync::OnceCell;

use crate::child::{Children, Launch};
use machine::Machine;

/// The harness.
const JAR: &str = "geminga-java-instance.jar";
/// Where Maven puts it, seen from the top of the repository.
const BUILT: &str = "java/geminga-java-instance/target";
const MAIN: &str = "geminga.instance.Main";
/// What a Java machine needs besides the heap: classes, compiled code, stacks, buffers.
const BESIDES_HEAP_BYTES: u64 = 64 << 20;

/// Where Java is and what it may use.
#[derive(Clone, Debug)]
pub struct JavaConfig {
    /// The Java machine, a name on the path or a file: version 17 or later.
    pub java: PathBuf,
    /// Where the harness may be; the first that is there is taken.
    pub harness: Vec<PathBuf>,
    /// Where archives of loaded classes are kept. It may be lost; then they are made again.
    pub cache_dir: PathBuf,
}

impl JavaConfig {
    /// `java` from the path. The harness is what the environment's `GEMINGA_JAVA_INSTANCE` names, or it is in `java/` of `data_dir`, beside
    /// this program, or where Maven puts it in the repository that this program was built in.
    #[must_use]
    pub fn new(data_dir: &Path, cache_dir: PathBuf) -> Self {
        let mut harness = Vec::new();
        if let Some(named) = env::var_os("GEMINGA_JAVA_INSTANCE").filter(|named| !named.is_empty()) {
            harness.push(named.into());
        } else {
            harness.push(data_dir.join("java").join(JAR));
            let program = env::current_exe().unwrap_or_default();
            harness.extend(program.parent().map(|dir| dir.join("java").join(JAR)));
            harness.extend(program.ancestors().skip(1).map(|dir| dir.join(BUILT).join(JAR)));
        }
        Self { java: "java".into(), harness, cache_dir }
    }
}

/// Runs functions of [`functions::Language::Java`].
#[derive(Debug)]
pub struct Java {
    children: Children,
    config: JavaConfig,
    ready: OnceCell<Ready>,
}

/// What was found out once.
#[derive(Debug)]
struct Ready {
    java: PathBuf,
    harness: PathBuf,
    /// Classes as the Java machine wants them; `None` where it could not make them, which costs time only.
    archive: Option<PathBuf>,
}

impl Java {
    /// Nothing is run or written before a function is prepared.
    #[must_use]
    pub fn new(config: JavaConfig, children: Children) -> Self {
        Self { children, config, ready: OnceCell::new() }
    }

    /// What is missing is looked for again with the next function.
    async fn ready(&self) -> Result<&Ready, StartError> {
        self.ready
            .get_or_try_init(|| async {
                let machine = Machine::find(&self.config.java).await.map_err(StartError)?;
                let harness = self.harness()?;
                let archive = archive::open(&self.config, &machine, &harness)
                    .await
                    .inspect_err(|why| tracing::warn!(why, "Java functions start slowly: no archive of classes"))
                    .ok();
                tracing::info!(java = machine.version, harness = %harness.display(), "Java functions can run");
                Ok(Ready { java: machine.java, harness, archive })
            })
            .await
    }

    fn harness(&self) -> Result<PathBuf, StartError> {
        let found = self.config.harness.iter().find(|path| path.is_file());
        // Absolute, since an instance has a directory of its own.
        found.and_then(|path| path.canonicalize().ok()).ok_or_else(|| {
            let looked: Vec<_> = self.config.harness.iter().take(3).map(|path| path.display().to_string()).collect();
            StartError(format!(
                "Java functions need {JAR}, which is neither of: {}. `mvn -f java package` in Geminga's repository makes it in {BUILT}; \
                 put it in one of these places, or name it in the environment as GEMINGA_JAVA_INSTANCE",
                looked.join(", ")
            ))
        })
    }
}

#[async_trait]
impl Runtime for Java {
    async fn prepare(&self, function: &FunctionSpec) -> Result<(), StartError> {
        let (file, of) = (jar(function)?.to_owned(), function.clone());
        // It reads files.
        let checked = tokio::task::spawn_blocking(move || package::check(&of, &file)).await;
        checked.map_err(|error| StartError(error.to_string()))?.map_err(StartError)?;
        self.ready().await.map(drop)
    }

    async fn start(&self, instance: InstanceSpec) -> Result<Link, StartError> {
        jar(&instance.function)?;
        let ready = self.ready().await?;
        let mut launch = Launch::new(&ready.java);
        launch.args = arguments(ready, &instance);
        self.children.start(launch, instance).await
    }
}

/// The function's package.
fn jar(function: &FunctionSpec) -> Result<&Path, StartError> {
    match &function.code {
        Code::File(path) => Ok(path),
        Code::Builtin(_) | Code::Command(_) => Err(StartError("a Java function needs a file: .jar or .nar".to_owned())),
    }
}

/// What the Java machine is started with: quick to start and small, where the function's own flags, which come last, do not say otherwise.
fn arguments(ready: &Ready, instance: &InstanceSpec) -> Vec<OsString> {
    let function = &instance.function;
    let mut arguments = common();
    if let Some(archive) = &ready.archive {
        arguments.push(joined("-XX:SharedArchiveFile=", archive));
    }
    if let Some(ram_bytes) = function.limits.ram_bytes {
        arguments.push(format!("-Xmx{}k", heap_bytes(ram_bytes) >> 10).into());
    }
    arguments.push(joined("-Djava.io.tmpdir=", &instance.work_dir));
    arguments.extend(function.runtime_flags.iter().map(OsString::from));
    arguments.extend(["-cp".into(), ready.harness.clone().into_os_string(), MAIN.into()]);
    arguments
}

/// Flags that an archive is made and used with.
fn common() -> Vec<OsString> {
    [
        // One processor's worth of work at a time: other collectors bring threads and memory of their own.
        "-XX:+UseSerialGC",
        "-Xshare:auto",
        // Nothing of the machine itself in the function's log, but for why it ended.
        "-Xlog:disable",
        "-XX:+DisplayVMOutputToStderr",
        "-XX:+ExitOnOutOfMemoryError",
        "-XX:-UsePerfData",
        "-Djava.awt.headless=true",
    ]
    .map(OsString::from)
    .to_vec()
}

/// How much of an instance's memory is for objects. At least half, and all but what the machine itself needs.
fn heap_bytes(ram_bytes: u64) -> u64 {
    (ram_bytes / 2).max((ram_bytes / 8 * 7).saturating_sub(BESIDES_HEAP_BYTES)).max(8 << 20)
}

fn joined(flag: &str, path: &Path) -> OsString {
    let mut joined = OsString::from(flag);
    joined.push(path);
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heap_leaves_room_for_the_machine() {
        let mib = |ram: u64| heap_bytes(ram << 20) >> 20;
        assert_eq!([1, 64, 128, 512, 1024, 4096].map(mib), [8, 32, 64, 384, 832, 3520]);
    }
}
