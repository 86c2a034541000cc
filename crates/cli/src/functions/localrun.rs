//! `localrun`: what is to run on this machine against a broker, as pulsar-admin's `localrun` says it. This crate only reads the command
//! line; the binary runs it.
//!
//! Source: `CmdFunctions.LocalRunner`, `CmdSources.LocalSourceRunner`, `CmdSinks.LocalSinkRunner`.

use super::{kind::Kind, target::Name, wish::Wish};
use anyhow::ensure;
use serde_json::Value;
use std::path::PathBuf;

pub use super::wish::Code;

/// A function, source or sink to run on this machine, checked and complete.
#[derive(Debug)]
pub struct LocalRun {
    /// Which of the three.
    pub kind: Kind,
    /// Its tenant, namespace and name.
    pub name: [String; 3],
    /// As it would be sent to a worker.
    pub config: Value,
    /// Where its code is.
    pub code: Code,
    /// How it runs.
    pub local: Local,
    /// What to authenticate with.
    pub token: Option<String>,
}

impl LocalRun {
    /// # Errors
    /// It is to scale by itself.
    pub(super) fn new(kind: Kind, wish: Wish, local: Local, token: Option<String>) -> anyhow::Result<Self> {
        ensure!(!wish.bounds.is_given(), "what runs here does not scale by itself: say --parallelism");
        let Name { tenant, namespace, name } = wish.name;
        Ok(Self { kind, name: [tenant, namespace, name], config: wish.config, code: wish.code, local, token })
    }
}

/// How something runs on this machine.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "How it runs here")]
pub struct Local {
    /// The broker, Geminga or Apache Pulsar
    #[arg(
        long,
        aliases = ["brokerServiceUrl", "service-url"],
        value_name = "URL",
        env = "GEMINGA_SERVICE_URL",
        default_value = "pulsar://127.0.0.1:6650"
    )]
    pub broker_service_url: String,
    /// The broker's web service, for code that asks for it [default: --admin-url]
    #[arg(long, alias = "webServiceUrl", value_name = "URL")]
    pub web_service_url: Option<String>,
    /// Directory for its state, and for what running code leaves behind
    #[arg(long, value_name = "DIR", default_value = "localrun")]
    pub data: PathBuf,
    /// Keep its state in this directory instead: `file:///DIR`
    #[arg(long, alias = "stateStorageServiceUrl", value_name = "URL")]
    pub state_storage_service_url: Option<String>,
    /// Number of the first instance; others may run elsewhere
    #[arg(long, alias = "instanceIdOffset", value_name = "N", default_value_t = 0)]
    pub instance_id_offset: u32,
    /// Where secrets come from: `ClearTextSecretsProvider`, the configuration itself, or `EnvironmentBasedSecretsProvider`,
    /// variables of their names [default: the configuration]
    #[arg(long, alias = "secretsProviderClassName", value_name = "CLASS")]
    pub secrets_provider_classname: Option<String>,
    /// For the provider; these two need none
    #[arg(long, alias = "secretsProviderConfig", value_name = "JSON")]
    pub secrets_provider_config: Option<String>,
    /// Serve Prometheus' metrics on this port, each further instance on the next
    #[arg(long, alias = "metricsPortStart", value_name = "PORT")]
    pub metrics_port_start: Option<u16>,
    /// End when code dies, instead of starting it again
    #[arg(long, alias = "exitOnError")]
    pub exit_on_error: bool,
    /// How instances of Java run, THREAD or PROCESS; here each has a process
    #[arg(long, hide = true)]
    pub runtime: Option<String>,
    /// Who to be to the broker: Pulsar's `AuthenticationToken`
    #[arg(long, alias = "clientAuthPlugin", value_name = "CLASS")]
    pub client_auth_plugin: Option<String>,
    /// The token: `token:...` or `file:///path`
    #[arg(long, alias = "clientAuthParams", value_name = "TEXT")]
    pub client_auth_params: Option<String>,
    /// There is no TLS yet
    #[arg(long, alias = "use_tls", hide = true, num_args = 0..=1, default_missing_value = "true", default_value_t = false)]
    pub use_tls: bool,
    #[arg(long, alias = "tls_allow_insecure", hide = true, num_args = 0..=1, default_missing_value = "true")]
    tls_allow_insecure: Option<bool>,
    #[arg(long, alias = "hostname_verification_enabled", hide = true, num_args = 0..=1, default_missing_value = "true")]
    hostname_verification_enabled: Option<bool>,
    #[arg(long, alias = "tls_trust_cert_path", hide = true)]
    tls_trust_cert_path: Option<PathBuf>,
}
