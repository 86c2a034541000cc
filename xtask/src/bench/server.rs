//! The two servers that are measured: started on an empty directory, stopped again whatever happens.

use anyhow::{Context, Result, bail};
use std::{
    fs::{self, File},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Geminga,
    Pulsar,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Geminga => "Geminga",
            Self::Pulsar => "Pulsar",
        }
    }
}

/// A running server; dropping it kills it.
pub(super) struct Server {
    child: Child,
    pub(super) url: String,
    pub(super) admin_url: String,
    pub(super) started: Instant,
    data: PathBuf,
}

impl Server {
    /// Starts a server on an empty directory below `work` and waits until its port answers.
    ///
    /// Pulsar's functions are left out unless `functions`: they cost it memory, and are not measured otherwise.
    pub(super) fn start(kind: Kind, root: &Path, work: &Path, functions: bool) -> Result<Self> {
        let data = work.join(format!("{}-data", kind.name()));
        let _ = fs::remove_dir_all(&data); // may not be there
        fs::create_dir_all(&data)?;
        let (broker, web, bookie) = (free_port()?, free_port()?, free_port()?);
        let log = File::create(work.join(format!("{}.log", kind.name())))?;
        let mut command = match kind {
            Kind::Geminga => {
                let mut command = Command::new(root.join("target/release/geminga"));
                command.args(["standalone", "--data"]).arg(&data);
                command.args(["--broker-port", &broker.to_string(), "--web-port", &web.to_string()]);
                command
            }
            Kind::Pulsar => {
                let mut command = pulsar(root, work, &data, (broker, web, bookie))?;
                if functions {
                    command.arg("-fwc").arg(functions_worker(work, &data, broker, web)?);
                } else {
                    command.arg("-nfw");
                }
                command
            }
        };
        let started = Instant::now();
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", kind.name()))?;
        let (url, admin_url) = (format!("pulsar://127.0.0.1:{broker}"), format!("http://127.0.0.1:{web}"));
        let mut server = Self { child, url, admin_url, started, data };
        let deadline = started + Duration::from_secs(120);
        while TcpStream::connect(("127.0.0.1", broker)).is_err() {
            if let Some(status) = server.child.try_wait()? {
                bail!("{} ended at once: {status}, see its log in {}", kind.name(), work.display());
            }
            if Instant::now() > deadline {
                bail!("{} did not open its port within two minutes", kind.name());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(server)
    }

    /// The directory it writes to.
    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGKILL: what it had to say was measured.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.data);
    }
}

/// The configuration of its function worker, whose instances are threads of the broker: what it starts as processes is in no registry.
/// Source: Pulsar's `conf/functions_worker.yml`.
fn functions_worker(work: &Path, data: &Path, broker: u16, web: u16) -> Result<PathBuf> {
    let conf = work.join("functions_worker.yml");
    let dirs = ["download", "connectors", "functions"].map(|name| data.join(name));
    for dir in &dirs {
        fs::create_dir_all(dir)?;
    }
    let [download, connectors, functions] = dirs.map(|dir| dir.display().to_string());
    let text = format!(
        "workerId: standalone\nworkerHostname: localhost\nworkerPort: {web}\ninitializedDlogMetadata: true\n\
         pulsarServiceUrl: pulsar://127.0.0.1:{broker}\npulsarWebServiceUrl: http://127.0.0.1:{web}\n\
         configurationStoreServers: localhost\npulsarFunctionsNamespace: public/functions\n\
         pulsarFunctionsCluster: standalone\nfunctionMetadataTopicName: metadata\n\
         clusterCoordinationTopicName: coordinate\nfunctionAssignmentTopicName: assignments\n\
         numFunctionPackageReplicas: 1\ndownloadDirectory: {download}\nconnectorsDirectory: {connectors}\n\
         functionsDirectory: {functions}\nfailureCheckFreqMs: 30000\nrescheduleTimeoutMs: 60000\n\
         rescheduleCheckFreqSec: 60\ninitialBrokerReconnectMaxRetries: 60\nassignmentWriteMaxRetries: 60\n\
         instanceLivenessCheckFreqMs: 30000\ntopicCompactionFrequencySec: 1800\n\
         schedulerClassName: org.apache.pulsar.functions.worker.scheduler.RoundRobinScheduler\n\
         functionRuntimeFactoryClassName: org.apache.pulsar.functions.runtime.thread.ThreadRuntimeFactory\n\
         functionRuntimeFactoryConfigs:\n  threadGroupName: functions\n"
    );
    fs::write(&conf, text)?;
    Ok(conf)
}

fn pulsar(root: &Path, work: &Path, data: &Path, (broker, web, bookie): (u16, u16, u16)) -> Result<Command> {
    let peer = root.join("interop/peer");
    let lib = root.join("target/peer/lib");
    if !lib.join(".complete").exists() {
        println!("fetching Apache Pulsar (once)");
        let status = Command::new("mvn")
            .args(["-B", "-q", "-f"])
            .arg(peer.join("pom.xml"))
            .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
            .arg(format!("-DoutputDirectory={}", lib.display()))
            .status()
            .context("run mvn: the comparison needs Maven and Java 17 or later")?;
        if !status.success() {
            bail!("mvn could not fetch Apache Pulsar");
        }
        File::create(lib.join(".complete"))?;
    }
    let conf = work.join("standalone.conf");
    let text = fs::read_to_string(peer.join("standalone.conf"))?;
    fs::write(&conf, format!("{text}\nbrokerServicePort={broker}\nwebServicePort={web}\n"))?;
    let mut command = Command::new(java());
    command.args(["-Xms2g", "-Xmx2g", "-XX:MaxDirectMemorySize=4g", "-XX:+UseZGC"]);
    for package in [
        "jdk.internal.loader",
        "java.lang",
        "java.io",
        "java.util.zip",
        "sun.net",
        "jdk.internal.platform",
        "jdk.internal.misc",
        "java.nio",
    ] {
        command.args(["--add-opens", &format!("java.base/{package}=ALL-UNNAMED")]);
    }
    for package in ["java.management/sun.management", "jdk.management/com.sun.management.internal"] {
        command.args(["--add-opens", &format!("{package}=ALL-UNNAMED")]);
    }
    command
        .arg("-Dio.netty.tryReflectionSetAccessible=true")
        .arg(format!("-Dlog4j2.configurationFile={}", peer.join("log4j2.yaml").display()))
        .arg("-cp")
        .arg(format!("{}/*", lib.display()))
        .args(["org.apache.pulsar.PulsarStandaloneStarter", "--config"])
        .arg(conf)
        .arg("--bookkeeper-dir")
        .arg(data.join("bk"))
        .arg("--metadata-dir")
        .arg(data.join("meta"))
        .args(["-nss", "--bookkeeper-port", &bookie.to_string()])
        .current_dir(work);
    Ok(command)
}

/// The newest JDK installed where Debian puts them, else whatever `java` is.
fn java() -> PathBuf {
    let installed = fs::read_dir("/usr/lib/jvm").into_iter().flatten().flatten().map(|e| e.path());
    installed
        .filter_map(|home| {
            let name = home.file_name()?.to_str()?.to_owned();
            let version: u32 = name.split('-').find_map(|part| part.parse().ok())?;
            let java = home.join("bin/java");
            (name.contains("-jdk-") && java.exists()).then_some((version, java))
        })
        .max()
        .map_or_else(|| "java".into(), |(_, java)| java)
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
