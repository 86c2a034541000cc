//! What a manifest comes to: functions, sources and sinks with all that is needed to run them.

use crate::problem::At;
use model::{
    SubscriptionType, TopicName,
    function::{Component, ConsumerConfig, FunctionConfig, Resources, SinkConfig, SourceConfig},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, fmt};

/// Function, Source or Sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Reads topics and may write one.
    Function,
    /// Writes a topic.
    Source,
    /// Reads topics.
    Sink,
}

impl Kind {
    /// As Kubernetes writes it: `Function`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Function => "Function",
            Self::Source => "Source",
            Self::Sink => "Sink",
        }
    }

    /// As a sentence has it: `function`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Source => "source",
            Self::Sink => "sink",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The configuration of one of the three, in its normal form, as the worker takes and stores it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "config")]
pub enum Config {
    /// A function.
    Function(FunctionConfig),
    /// A source.
    Source(SourceConfig),
    /// A sink.
    Sink(SinkConfig),
}

/// Asks all three the same.
macro_rules! each {
    ($config:expr, $it:ident => $answer:expr) => {
        match $config {
            Config::Function($it) => $answer,
            Config::Source($it) => $answer,
            Config::Sink($it) => $answer,
        }
    };
}

/// Which function, source or sink; the three kinds have names of their own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Id {
    /// What it is.
    pub kind: Kind,
    /// `tenant/namespace/name`, Pulsar's name of it.
    pub name: String,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.word(), self.name)
    }
}

/// One function, source or sink of a mesh.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// The FunctionMesh it is part of; none for one that stands alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh: Option<String>,
    /// `metadata.name` in Kubernetes: `<mesh>-<name>` for a part of a FunctionMesh. Source: `makeComponentName`.
    pub object: String,
    /// What the worker is given. Its code is in here too: [`Node::code`] says what kind of place it is.
    #[serde(flatten)]
    pub config: Config,
    /// Where the code comes from; none where the configuration was not complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<CodeRef>,
    /// Instances to begin with; 0: it sleeps, or is off where it does not scale.
    pub replicas: u32,
    /// How it scales; none: it stays at `replicas`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<autoscale::Spec>,
    /// What one instance may never exceed, a part that is absent without end; none where the manifest says nothing of resources. What
    /// it asks for is in the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Resources>,
    /// What the processes of an instance find in their environment, in its order; see [`Node::environment`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<Variable>,
    /// By the name the code asks for: where the value is. [`crate::Manifest::secret`] finds it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretRef>,
    /// The cluster that the manifest names; here messages go through Geminga itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pulsar: Option<PulsarRef>,
    /// What only Kubernetes acts on, by path within the spec, as it was written.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kept: BTreeMap<String, Value>,
    /// Where it is written. Not stored: a node that was applied has forgotten it.
    #[serde(skip)]
    pub origin: At,
}

/// A key of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SecretRef {
    /// Name of the Secret.
    #[serde(default)]
    pub path: String,
    /// Its key.
    #[serde(default)]
    pub key: String,
}

/// A variable of the environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value as it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Where its value is, where it is not written here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<ValueFrom>,
}

/// Where the value of a variable is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ValueFrom {
    /// In a ConfigMap.
    ConfigMap {
        /// Where in it.
        #[serde(flatten)]
        key: KeyRef,
        /// The value, where the manifest has the ConfigMap.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<String>,
    },
    /// In a Secret.
    Secret(KeyRef),
}

/// A key of a ConfigMap or of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyRef {
    /// Of which.
    pub name: String,
    /// Its key.
    pub key: String,
    /// Where it is not there, neither is the variable.
    #[serde(default)]
    pub optional: bool,
}

/// What `spec.pulsar` names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PulsarRef {
    /// Name of the ConfigMap.
    pub config_map: String,
    /// Its `brokerServiceURL`, where the manifest has the ConfigMap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker_service_url: Option<String>,
    /// Its `webServiceURL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web_service_url: Option<String>,
    /// Name of the Secret with the credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_secret: Option<String>,
    /// Name of the Secret with what TLS needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_secret: Option<String>,
}

/// Where code comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CodeRef {
    /// What kind of place.
    pub place: Place,
    /// The path, package name or URL itself; for a built-in connector its name.
    pub location: String,
    /// Where Kubernetes puts the file (`py`, `jar`, `go`, `functionFile`), where it is fetched from somewhere else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// SHA-256 of the file, in hexadecimal digits, where somebody looked; so that a plan sees that a local file has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// What kind of place code comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// A file on this machine, to be sent along.
    Local,
    /// `function://`, `source://` or `sink://`: a package of the server's.
    Package,
    /// `http://`, `https://` or `file://`, fetched by the server.
    Url,
    /// A connector or function the server has.
    Builtin,
}

impl CodeRef {
    /// Of a text as the configuration has it.
    #[must_use]
    pub fn of(location: &str) -> Self {
        let scheme = location.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        let place = match scheme.as_deref() {
            Some("function" | "source" | "sink") => Place::Package,
            Some("http" | "https" | "file") => Place::Url,
            Some("builtin") => Place::Builtin,
            _ => Place::Local,
        };
        let location = if place == Place::Builtin { &location["builtin://".len()..] } else { location };
        Self { place, location: location.to_owned(), file: None, digest: None }
    }
}

/// One topic that is read, or all that match a pattern.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Complete name, or the pattern.
    pub topic: String,
    /// How it is read.
    pub spec: ConsumerConfig,
}

/// What a topic is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Results.
    Output,
    /// Messages that were given up.
    DeadLetters,
    /// What came behind the watermark of a window.
    LateData,
    /// The log.
    Log,
}

/// One topic that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Complete name.
    pub topic: String,
    /// What for.
    pub role: Role,
    /// Built-in schema or schema class, as it is written.
    pub schema_type: Option<String>,
    /// SerDe class.
    pub serde_class: Option<String>,
}

impl Node {
    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match &self.config {
            Config::Function(_) => Kind::Function,
            Config::Source(_) => Kind::Source,
            Config::Sink(_) => Kind::Sink,
        }
    }

    /// `tenant/namespace/name`.
    #[must_use]
    pub fn name(&self) -> String {
        each!(&self.config, config => config.fqfn())
    }

    /// Name within the namespace.
    #[must_use]
    pub fn local_name(&self) -> &str {
        each!(&self.config, config => config.name())
    }

    /// Tenant.
    #[must_use]
    pub fn tenant(&self) -> &str {
        each!(&self.config, config => config.tenant())
    }

    /// Namespace without its tenant.
    #[must_use]
    pub fn namespace(&self) -> &str {
        each!(&self.config, config => config.namespace())
    }

    /// Which it is.
    #[must_use]
    pub fn id(&self) -> Id {
        Id { kind: self.kind(), name: self.name() }
    }

    /// Topics and patterns it reads, by complete name.
    #[must_use]
    pub fn inputs(&self) -> Vec<Input> {
        let inputs = match &self.config {
            Config::Function(config) => config.resolved_inputs(),
            Config::Sink(config) => config.resolved_inputs(),
            Config::Source(_) => BTreeMap::new(),
        };
        inputs.into_iter().map(|(topic, spec)| Input { topic, spec }).collect()
    }

    /// Topics it writes, by complete name: its output first.
    #[must_use]
    pub fn outputs(&self) -> Vec<Output> {
        let plain = |role, topic: &Option<String>| {
            topic.as_deref().map(|topic| Output { topic: complete(topic), role, schema_type: None, serde_class: None })
        };
        let mut outputs = Vec::new();
        match &self.config {
            Config::Function(config) => {
                let schema_type = config.output_schema_type.clone().or_else(|| config.output_schema().schema_type);
                let serde_class = config.output_serde_class_name.clone();
                let output = config.resolved_output();
                outputs.extend(output.map(|topic| Output { topic, role: Role::Output, schema_type, serde_class }));
                outputs.extend(plain(Role::DeadLetters, &config.dead_letter_topic));
                let late = config.window_config.as_ref().map(|window| &window.late_data_topic);
                outputs.extend(late.and_then(|topic| plain(Role::LateData, topic)));
                outputs.extend(plain(Role::Log, &config.log_topic));
            }
            Config::Source(config) => {
                let (schema_type, serde_class) = (config.schema_type.clone(), config.serde_class_name.clone());
                let output = config.resolved_output();
                outputs.extend(output.map(|topic| Output { topic, role: Role::Output, schema_type, serde_class }));
                outputs.extend(plain(Role::Log, &config.log_topic));
            }
            Config::Sink(config) => {
                outputs.extend(plain(Role::DeadLetters, &config.dead_letter_topic));
                outputs.extend(plain(Role::Log, &config.log_topic));
            }
        }
        outputs
    }

    /// Its subscription and how instances share it; none for a source.
    #[must_use]
    pub fn subscription(&self) -> Option<(String, SubscriptionType)> {
        match &self.config {
            Config::Function(config) => Some((config.subscription_name(), config.subscription_type())),
            Config::Sink(config) => Some((config.subscription_name(), config.subscription_type())),
            Config::Source(_) => None,
        }
    }

    /// What one instance asks for, defaults filled in.
    #[must_use]
    pub fn resources(&self) -> Resources {
        each!(&self.config, config => config.resources.clone()).unwrap_or_default().or_default()
    }

    /// The environment of an instance's processes. `secret` finds the value of a key of a Secret.
    ///
    /// # Errors
    /// A ConfigMap or a Secret that is named is not there, or has no such key.
    pub fn environment<'a>(
        &'a self,
        secret: impl Fn(&KeyRef) -> Option<&'a str>,
    ) -> Result<BTreeMap<String, String>, String> {
        crate::convert::env::values(&self.env, secret)
    }

    /// Most instances it can have.
    #[must_use]
    pub fn replicas_max(&self) -> u32 {
        self.scaling.as_ref().map_or(self.replicas, |scaling| scaling.max_replicas).max(self.replicas)
    }
}

/// The complete name of a topic; what is no name stays as it is.
pub(crate) fn complete(topic: &str) -> String {
    topic.parse::<TopicName>().map_or_else(|_| topic.to_owned(), |name| name.to_string())
}
