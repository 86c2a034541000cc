//! The instance itself, with its two ports.

use axum::{Router, http::header, routing::get};
use functions::{
    FunctionSpec,
    instance::{Instance, Parts, View},
    runtime::{InstanceSpec, Secret},
};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::{net::TcpListener, time::sleep};

use crate::{
    args::Args,
    control::Answers,
    error::{Error, Result},
    metrics,
};

/// How long what is in hand may take at the end. Kubernetes gives a pod so long.
const PATIENCE: Duration = Duration::from_secs(25);
/// After so many intervals in which nobody asked for its health an instance ends. Source: `JavaInstanceStarter`.
const INTERVALS_MAX: u32 = 3;
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What user code finds in its environment: that of this process, which is the container's, as where user code is the container's own
/// process. What is no text is nobody's setting, and what is said to Geminga is not said to user code.
fn environment(variables: impl Iterator<Item = (OsString, OsString)>) -> BTreeMap<String, Secret> {
    let text =
        |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, Secret(value.into_string().ok()?)));
    variables.filter_map(text).filter(|(name, _)| !name.starts_with("GEMINGA_")).collect()
}

/// An instance whose ports are open; [`Main::run`] starts it.
pub struct Main {
    instance: InstanceSpec,
    health_interval: Option<Duration>,
    control: TcpListener,
    metrics: TcpListener,
}

impl Main {
    /// Opens the ports an instance is given.
    ///
    /// # Errors
    /// [`Error::Listen`].
    pub async fn bind(
        args: &Args,
        function: FunctionSpec,
        secrets: BTreeMap<String, Secret>,
        work_dir: PathBuf,
    ) -> Result<Self> {
        if !args.ignored.is_empty() {
            tracing::warn!(arguments = ?args.ignored, "arguments without a meaning here");
        }
        let env = environment(std::env::vars_os());
        let function = Arc::new(function);
        let instance = InstanceSpec { function, instance_id: args.instance_id, secrets, env, work_dir };
        Ok(Self {
            instance,
            health_interval: args.expected_healthcheck_interval,
            control: listen(args.port).await?,
            metrics: listen(args.metrics_port).await?,
        })
    }

    /// Where `InstanceControl` and where metrics are served.
    ///
    /// # Errors
    /// A socket has no address.
    pub fn addresses(&self) -> std::io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.control.local_addr()?, self.metrics.local_addr()?))
    }

    /// Runs the instance as a task of `tasks`, and starts its code again when that dies, until `shutdown`; then what is in hand is finished.
    /// Dropped, it ends at once, which the tasks tell of.
    ///
    /// # Errors
    /// [`Error::Abandoned`], where health checks are expected.
    pub async fn run(self, parts: Parts, tasks: &seams::Tasks, shutdown: &seams::Shutdown) -> Result<()> {
        let Self { instance: spec, health_interval, control, metrics } = self;
        let clock = parts.clock.clone();
        let (function, instance_id) = (spec.function.clone(), spec.instance_id);
        let instance = Instance::start(parts, spec, tasks);
        let answers = Arc::new(Answers::new(instance.view(), instance_id, clock));
        let ended = tokio::select! {
            () = shutdown.triggered() => Ok(()),
            unasked = abandoned(&answers, health_interval) => Err(Error::Abandoned(unasked)),
            // These two end with the rest.
            () = instance_control::serve(control, answers.clone(), std::future::pending()) => Ok(()),
            () = serve_metrics(metrics, function, instance_id, instance.view()) => Ok(()),
        };
        instance.stop(PATIENCE).await;
        ended
    }
}

/// Serves the metrics of one instance, at `/metrics` and at `/`, as long as it is polled.
pub async fn serve_metrics(listener: TcpListener, function: Arc<FunctionSpec>, instance_id: u32, instance: View) {
    let page = move || {
        let page = metrics::page(&function, instance_id, &instance.status());
        std::future::ready(([(header::CONTENT_TYPE, METRICS_TYPE)], page))
    };
    let pages = Router::new().route("/", get(page.clone())).route("/metrics", get(page));
    // It ends only with its socket.
    let _ = axum::serve(listener, pages).await;
}

/// Pulsar's instances are asked from outside of their machine or pod.
async fn listen(port: u16) -> Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await.map_err(|source| Error::Listen { port, source })
}

/// Resolves when nobody asks for the health of an instance any more.
async fn abandoned(answers: &Answers, interval: Option<Duration>) -> Duration {
    let Some(interval) = interval else { return std::future::pending().await };
    let patience = interval * INTERVALS_MAX;
    loop {
        let unasked = answers.unasked();
        if unasked > patience {
            return unasked;
        }
        sleep(interval).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_code_sees_the_environment_of_its_container_and_nothing_that_is_said_to_geminga() {
        let variables = [("MODE", "fast"), ("GEMINGA_TOKEN", "secret"), ("HOME", "/pulsar")];
        let given = environment(variables.into_iter().map(|(name, value)| (name.into(), value.into())));
        let given: Vec<_> = given.iter().map(|(name, Secret(value))| (name.as_str(), value.as_str())).collect();
        assert_eq!(given, [("HOME", "/pulsar"), ("MODE", "fast")]);
    }
}
