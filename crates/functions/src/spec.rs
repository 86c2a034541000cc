//! A deployed function as its instances see it: every default filled in, nothing left to decide.
//!
//! The worker makes it of a validated `FunctionConfig`, `SourceConfig` or `SinkConfig`.

use model::{InitialPosition, SubscriptionType, TopicName};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use crate::event_log::{Compression, Reads};

/// What stands between topics and user code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Messages in, messages out.
    Function,
    /// From somewhere into a topic.
    Source,
    /// From topics to somewhere.
    Sink,
}

impl Kind {
    /// `function`, `source` or `sink`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Source => "source",
            Self::Sink => "sink",
        }
    }

    /// As Pulsar's messages have it. Source: `ComponentTypeUtils`.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Function => "Function",
            Self::Source => "Source",
            Self::Sink => "Sink",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What user code is written in; which [`crate::Runtime`] runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum Language {
    Wasm,
    Python,
    Java,
    Go,
    Process,
    /// A connector that is part of this program.
    Builtin,
}

impl Language {
    /// Its name in Pulsar's `runtime`, and ours where that has none.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wasm => "WASM",
            Self::Python => "PYTHON",
            Self::Java => "JAVA",
            Self::Go => "GO",
            Self::Process => "PROCESS",
            Self::Builtin => "BUILTIN",
        }
    }
}

/// Where the code of a function is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Code {
    /// A file on this machine: wheel, zip, `.py`, jar, binary, component. Nobody changes it.
    File(PathBuf),
    /// A connector that is part of this program, by name.
    Builtin(String),
    /// The command line of a process function, which names programs of the machine.
    Command(Vec<String>),
}

/// What happens when things fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Guarantee {
    /// Acknowledged after the output is durable.
    AtleastOnce,
    /// Acknowledged before the call.
    AtmostOnce,
    /// Output, state and acknowledgement are one.
    EffectivelyOnce,
    /// The function acknowledges.
    Manual,
}

/// How an input is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputConfig {
    /// The name is a pattern.
    pub is_pattern: bool,
    /// `STRING`, `JSON`, `AVRO`, ... or a class; empty for none.
    pub schema_type: String,
    /// Class that decodes it; empty for none.
    pub serde_class: String,
    /// Class of what is decoded, for schemas of records: `inputTypeClassName`; empty for none.
    pub type_class: String,
    /// Of the schema.
    pub schema_properties: BTreeMap<String, String>,
    /// Of the consumer.
    pub consumer_properties: BTreeMap<String, String>,
    /// Those of them that have no effect.
    pub idle_properties: Vec<String>,
    /// Messages an instance may have in hand; `None`: the loop decides.
    pub receiver_queue_size: Option<u32>,
    /// Until a message that was refused comes again; `None`: as long as in Pulsar.
    pub redelivery_delay: Option<Duration>,
    /// Name of the consumer; `None`: that of the instance.
    pub consumer_name: Option<String>,
    /// Where a new subscription begins, if not where those of the function's other inputs do.
    pub initial_position: Option<InitialPosition>,
}

/// How the output is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputConfig {
    /// The topic; `None`: what the function returns is dropped.
    pub topic: Option<String>,
    /// As for inputs.
    pub schema_type: String,
    /// Class that encodes it; empty for none.
    pub serde_class: String,
    /// Class of what is encoded, for schemas of records: `outputTypeClassName`; empty for none.
    pub type_class: String,
    /// Of the schema.
    pub schema_properties: BTreeMap<String, String>,
    /// Batches by key.
    pub batch_by_key: bool,
    /// Of entries.
    pub compression: Compression,
}

/// A topic of another cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// Name of the cluster.
    pub cluster: String,
    /// Complete name of the topic.
    pub topic: String,
}

/// Elements a function is called with together. Source: Pulsar's `WindowConfig`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowSpec {
    /// How much is in a window.
    pub length: Span,
    /// After how much the next window is due; equal to `length` for tumbling windows.
    pub slide: Span,
    /// Class that takes the event time out of an element; `None` with `event_time` off is processing time.
    pub timestamp_extractor: Option<String>,
    /// Elements carry their own time: the message's event time, or what the extractor finds.
    pub event_time: bool,
    /// How late an element may be.
    pub max_lag: Duration,
    /// How often the watermark moves.
    pub watermark_interval: Duration,
    /// Where late elements go.
    pub late_data_topic: Option<String>,
}

/// A count or a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// Elements.
    Count(u64),
    /// Time.
    Time(Duration),
}

/// How much of the machine: what one instance asks for, or may have.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Cores.
    pub cpu: Option<f64>,
    /// Bytes.
    pub ram_bytes: Option<u64>,
    /// Bytes.
    pub disk_bytes: Option<u64>,
}

/// See the module. A source has no inputs, a sink no output.
#[derive(Clone, Debug)]
pub struct FunctionSpec {
    /// Which of the three.
    pub kind: Kind,
    /// Made when it was created; a later function of the same name has another.
    pub id: String,
    /// Rises with each update.
    pub version: u64,
    pub tenant: String,
    pub namespace: String,
    pub name: String,
    /// What runs it.
    pub language: Language,
    /// Class or function within the code; empty where the language needs none.
    pub class_name: String,
    pub code: Code,
    pub guarantee: Guarantee,
    /// Topics (complete names) or patterns, and how each is read.
    pub inputs: BTreeMap<String, InputConfig>,
    pub output: OutputConfig,
    /// Where what is published to the output goes on to; the topic of `output` is then where it waits for that.
    pub elsewhere: Option<Elsewhere>,
    pub subscription: String,
    pub subscription_type: SubscriptionType,
    pub initial_position: InitialPosition,
    pub skip_to_latest: bool,
    /// Delete the subscription with the function.
    pub cleanup_subscription: bool,
    /// Acknowledge for the function. Off: as [`Guarantee::Manual`].
    pub auto_ack: bool,
    /// After so many redeliveries a message goes to the dead letter topic; `None`: never.
    pub max_message_retries: Option<u32>,
    pub dead_letter_topic: Option<String>,
    pub log_topic: Option<String>,
    /// How long one invocation may take.
    pub timeout: Option<Duration>,
    /// Invocations of asynchronous functions in flight.
    pub max_pending_async: u32,
    /// Output messages carry the properties of their input.
    pub forward_source_properties: bool,
    pub window: Option<WindowSpec>,
    pub parallelism: u32,
    /// What one instance is expected to use: what a policy takes a share of.
    pub requests: Limits,
    /// What one instance may never exceed.
    pub limits: Limits,
    /// `configs` of a source or sink, `userConfig` of a function.
    pub user_config: serde_json::Map<String, serde_json::Value>,
    /// Name of each secret, and where it is found (for the environment provider: the variable's name).
    pub secrets: BTreeMap<String, serde_json::Value>,
    /// `customRuntimeOptions`.
    pub runtime_options: Option<String>,
    /// `runtimeFlags`, already split.
    pub runtime_flags: Vec<String>,
    /// Where clients of the broker connect to, for code that brings a client of its own.
    pub service_url: String,
    /// The broker's REST address.
    pub admin_url: String,
    pub cluster: String,
}

impl FunctionSpec {
    /// What there is of a function before anything is said of it: no topics, one instance, no limits, and the rest as Pulsar has it where
    /// a configuration says nothing. Its language is that of code that is part of this program.
    #[must_use]
    pub fn new(kind: Kind, tenant: &str, namespace: &str, name: &str, code: Code) -> Self {
        Self {
            kind,
            id: String::new(),
            version: 0,
            tenant: tenant.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            language: Language::Builtin,
            class_name: String::new(),
            code,
            guarantee: Guarantee::AtleastOnce,
            inputs: BTreeMap::new(),
            output: OutputConfig::default(),
            elsewhere: None,
            subscription: format!("{tenant}/{namespace}/{name}"),
            subscription_type: SubscriptionType::Shared,
            initial_position: InitialPosition::Latest,
            skip_to_latest: false,
            cleanup_subscription: true,
            auto_ack: true,
            max_message_retries: None,
            dead_letter_topic: None,
            log_topic: None,
            timeout: None,
            max_pending_async: 1000,
            forward_source_properties: true,
            window: None,
            parallelism: 1,
            requests: Limits::default(),
            limits: Limits::default(),
            user_config: serde_json::Map::new(),
            secrets: BTreeMap::new(),
            runtime_options: None,
            runtime_flags: Vec::new(),
            service_url: String::new(),
            admin_url: String::new(),
            cluster: String::new(),
        }
    }

    /// What consumers and producers of an instance say of themselves. Source: Pulsar's `InstanceUtils.getProperties`.
    #[must_use]
    pub fn client_metadata(&self, instance_id: u32) -> BTreeMap<String, String> {
        let pairs = [
            ("application", "pulsar-function".to_owned()),
            ("id", self.fqfn()),
            ("instance_id", instance_id.to_string()),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// What it reads; `None` for a source.
    #[must_use]
    pub fn reads(&self) -> Option<Reads> {
        let topics: Vec<_> = self.inputs.iter().map(|(name, input)| (name.clone(), input.is_pattern)).collect();
        (!topics.is_empty()).then(|| Reads {
            topics,
            subscription: self.subscription.clone(),
            kind: self.subscription_type,
            initial_position: self.initial_position,
        })
    }

    /// Whether a topic that the function publishes to by name is its output on another cluster.
    #[must_use]
    pub fn is_elsewhere(&self, topic: &str) -> bool {
        self.elsewhere.as_ref().is_some_and(|there| {
            // Its complete name, or one of the short forms that mean it.
            let short = there.topic.strip_prefix("persistent://");
            let shortest = short.and_then(|short| short.strip_prefix("public/default/"));
            [Some(there.topic.as_str()), short, shortest].contains(&Some(topic))
        })
    }

    /// `tenant/namespace/name`.
    #[must_use]
    pub fn fqfn(&self) -> String {
        format!("{}/{}/{}", self.tenant, self.namespace, self.name)
    }

    /// The table its state is in: of this name, whatever its version.
    #[must_use]
    pub fn state_table(&self) -> String {
        state_table(&self.fqfn())
    }

    /// The table the elements of its windows are in.
    pub(crate) fn window_table(&self) -> String {
        window_table(&self.fqfn())
    }

    /// Where messages of a topic go that were given up; `None`: none is.
    ///
    /// Where the function does not say, it is `{topic}-{subscription}-DLQ`, as Pulsar's clients have it. Theirs is no name where the
    /// subscription has a slash, which that of a function has unless it is given one (apache/pulsar#10776): here it is a dash.
    #[must_use]
    pub fn dead_letters_of(&self, topic: &TopicName) -> Option<String> {
        let usual = |_| format!("{}{}", topic.partitioned(), usual_dead_letters(&self.subscription));
        self.dead_letter_topic.clone().or_else(|| self.max_message_retries.map(usual))
    }
}

/// What the name of a topic ends with that has a subscription's dead letters, unless another one is named for them.
pub(crate) fn usual_dead_letters(subscription: &str) -> String {
    let plain = |c: char| if c == '/' || c.is_control() { '-' } else { c };
    let subscription: String = subscription.chars().map(plain).collect();
    format!("-{subscription}-DLQ")
}

/// The table of the state of `tenant/namespace/name`.
pub(crate) fn state_table(fqfn: &str) -> String {
    format!("state/{fqfn}")
}

/// The table of the windows of `tenant/namespace/name`.
pub(crate) fn window_table(fqfn: &str) -> String {
    format!("window/{fqfn}")
}

/// All tables of a function, which go with it.
pub(crate) fn tables_of(fqfn: &str) -> [String; 2] {
    [state_table(fqfn), window_table(fqfn)]
}
