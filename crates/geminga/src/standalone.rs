//! A whole broker in one process: opens the stores, starts the services, waits for a reason to stop, and stops them in
//! an order that loses nothing and tells every client.

use ::functions::Meshes;
use anyhow::{Context, bail};
use broker::{Addresses, Broker};
use seams::{Shutdown, SystemClock, Tasks};
use session::Session;
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::net::TcpListener;

use crate::{functions, settings::Settings, signals::Signals};

/// How often the broker is asked whether it can still store messages.
const HEALTH_INTERVAL: Duration = Duration::from_millis(500);

/// How long a stop may take before what is left is given up. What was acknowledged is on disk all the time.
const CLOSE_WORKER: Duration = Duration::from_secs(5);
const CLOSE_BROKER: Duration = Duration::from_secs(5);
const CLOSE_SESSIONS: Duration = Duration::from_secs(2);
const CLOSE_STORE: Duration = Duration::from_secs(5);

/// Key of this process' ownership in the metadata store.
const EPOCH_KEY: &str = "epoch";

/// Why a running broker stops.
enum Stop {
    Signal(&'static str),
    /// The journal cannot store anything any more.
    Storage,
    /// A task of ours panicked; it was logged.
    Task,
}

/// Runs until a signal, or until it cannot go on.
///
/// # Errors
/// It could not start, or it stopped because something broke.
pub(crate) async fn run(settings: Settings) -> anyhow::Result<()> {
    let started = Instant::now();
    raise_file_limit();
    let mut signals = Signals::new()?;
    // Bound before anything is opened: a port in use is the likeliest reason not to start.
    let binary = bind(settings.bind, settings.broker_port, "--broker-port").await?;
    let web = bind(settings.bind, settings.web_port, "--web-port").await?;
    let host = advertised_host(&settings);
    let addresses = Addresses {
        broker_url: format!("pulsar://{}", join(&host, binary.local_addr()?.port())),
        web_url: format!("http://{}", join(&host, web.local_addr()?.port())),
    };

    // Two wishes: `stop` ends accepting, and is triggered by a panic; `halt` ends the shards when they are empty.
    let (stop, halt) = (Shutdown::new(), Shutdown::new());
    let tasks = Tasks::new(stop.clone());
    let clock: Arc<dyn seams::Clock> = Arc::new(SystemClock::new());
    let metadata = settings.metadata_dir();
    let meta: Arc<dyn metastore::Metastore> = Arc::new(
        metastore::FileStore::open(&metadata)
            .with_context(|| format!("open the metadata store in {}", metadata.display()))?,
    );
    let epoch = metastore::next_epoch(&*meta, EPOCH_KEY).await.context("take ownership of the data directory")?;
    let (store, recovered) =
        ledger::Store::open(settings.ledger.clone(), clock.clone(), meta.clone(), u32::try_from(epoch)?)
            .await
            .with_context(|| format!("open the stored topics in {}", settings.data.display()))?;
    for file in &recovered.journal.quarantined {
        tracing::error!(
            file = file.file,
            offset = file.offset,
            reason = file.reason,
            "journal file damaged, set aside"
        );
    }
    if recovered.journal.torn_bytes > 0 {
        tracing::info!(bytes = recovered.journal.torn_bytes, "cut off what the last stop left half written");
    }
    let broker = Broker::start(
        settings.broker.clone(),
        addresses.clone(),
        store.clone(),
        meta,
        clock.clone(),
        &tasks,
        halt.clone(),
    )
    .await
    .context("start the broker")?;
    let ground = functions::Ground {
        broker: broker.clone(),
        store: store.clone(),
        clock,
        tasks: tasks.clone(),
        addresses: addresses.clone(),
        web: web.local_addr()?,
    };
    let meshes = functions::start(&settings, ground).await?;

    let session = Session::new(settings.session.clone(), broker.clone(), stop.clone());
    let serving = session.clone();
    tasks.spawn("listener", async move { serving.serve(binary).await });
    let services = admin::Services { broker: broker.clone(), meshes: meshes.clone() };
    tasks.spawn("web", admin::serve(web, services, settings.admin.clone(), stop.clone()));

    println!("geminga ready: {} {}", addresses.broker_url, addresses.web_url);
    tracing::info!(
        broker = addresses.broker_url,
        web = addresses.web_url,
        data = %settings.data.display(),
        millis = started.elapsed().as_millis() as u64,
        "ready"
    );

    let reason = wait(&mut signals, &broker, &stop).await;
    match &reason {
        Stop::Signal(name) => tracing::info!(signal = name, connections = session.connections(), "stopping"),
        Stop::Storage => tracing::error!("the journal has failed, stopping: nothing can be stored any more"),
        Stop::Task => tracing::error!("a task panicked, stopping"),
    }
    tokio::select! {
        () = close(meshes, broker, session, store, &tasks, &stop, &halt) => {}
        name = signals.next() => {
            // Only what waits for no acknowledgement is lost by this.
            tracing::warn!(signal = name, "stopping at once");
            std::process::exit(130);
        }
    }
    match reason {
        Stop::Signal(_) => Ok(()),
        Stop::Storage => bail!(
            "the journal has failed: a write or sync to {} did not succeed. Publishes that waited for it were refused; \
             look at the disk, then start again",
            settings.ledger.journal.dir.display()
        ),
        Stop::Task => bail!("a task panicked; the log above says where"),
    }
}

async fn wait(signals: &mut Signals, broker: &Broker, stop: &Shutdown) -> Stop {
    loop {
        tokio::select! {
            name = signals.next() => return Stop::Signal(name),
            () = stop.triggered() => return Stop::Task,
            () = tokio::time::sleep(HEALTH_INTERVAL) => {
                if !broker.is_healthy() {
                    return Stop::Storage;
                }
            }
        }
    }
}

/// Stops accepting; lets the broker finish what it has and tell its clients to look elsewhere; lets the connections
/// write that; then ends the rest.
async fn close(
    meshes: Option<Meshes>,
    broker: Broker,
    session: Session,
    store: ledger::Store,
    tasks: &Tasks,
    stop: &Shutdown,
    halt: &Shutdown,
) {
    stop.trigger();
    if let Some(meshes) = meshes
        && tokio::time::timeout(CLOSE_WORKER, meshes.close()).await.is_err()
    {
        tracing::warn!("functions did not finish in time; what they had in hand comes again");
    }
    if tokio::time::timeout(CLOSE_BROKER, broker.close()).await.is_err() {
        tracing::warn!("the broker did not close its topics in time");
    }
    let left = session.close(CLOSE_SESSIONS).await;
    if left > 0 {
        tracing::warn!(connections = left, "connections did not end in time");
    }
    halt.trigger();
    for task in tasks.join_all(CLOSE_SESSIONS).await {
        tracing::warn!(task, "did not end in time");
    }
    drop((broker, session));
    match tokio::time::timeout(CLOSE_STORE, store.close()).await {
        Ok(Ok(())) => tracing::info!("stopped"),
        Ok(Err(error)) => {
            let error = anyhow::Error::from(error);
            tracing::warn!("the next start has to read the journal: {error:#}");
        }
        Err(_) => tracing::warn!("the stored topics were not closed in time: the next start has to read the journal"),
    }
}

/// Shells allow a program 1,024 open files, which is not many connections; most systems let it ask for far more.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

async fn bind(address: IpAddr, port: u16, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(SocketAddr::new(address, port)).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "port {port} on {address} is in use; choose another with {flag}, or a free one with {flag} 0"
        ),
        io::ErrorKind::PermissionDenied => {
            anyhow::anyhow!("port {port} may not be used by this user; choose another with {flag}")
        }
        io::ErrorKind::AddrNotAvailable => anyhow::anyhow!("{address} is no address of this machine; see --bind"),
        _ => anyhow::Error::from(error).context(format!("listen on {}", join(&address.to_string(), port))),
    })
}

/// What lookups answer: as configured, else the address listened on, else, when that is all of them, this machine's
/// name.
fn advertised_host(settings: &Settings) -> String {
    match &settings.advertised_address {
        Some(host) => host.clone(),
        None if !settings.bind.is_unspecified() => settings.bind.to_string(),
        None => {
            let name = std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::env::var("HOSTNAME"));
            let name = name.map(|name| name.trim().to_owned()).ok().filter(|name| !name.is_empty());
            let host = name.unwrap_or_else(|| "localhost".to_owned());
            tracing::info!(host, "clients are told to connect to this host; --advertised-address changes it");
            host
        }
    }
}

/// `host:port`, with an IPv6 address in brackets.
fn join(host: &str, port: u16) -> String {
    match host.parse() {
        Ok(IpAddr::V6(address)) => format!("[{address}]:{port}"),
        _ => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_so_that_they_parse() {
        assert_eq!(join("localhost", 1), "localhost:1");
        assert_eq!(join("::1", 1), "[::1]:1");
        assert_eq!(join("127.0.0.1", 1), "127.0.0.1:1");
    }

    #[tokio::test]
    async fn a_port_in_use_is_named_with_its_flag() {
        let address = "127.0.0.1".parse().unwrap();
        let taken = bind(address, 0, "--web-port").await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = bind(address, port, "--web-port").await.unwrap_err().to_string();
        assert!(error.contains(&port.to_string()) && error.contains("--web-port"), "{error}");
    }
}
