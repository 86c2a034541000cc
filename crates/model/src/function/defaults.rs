//! What a configuration means where it says nothing, and its normal form.

use super::{
    component::Component,
    config::{FunctionConfig, Guarantees, Runtime},
    consumer::ConsumerConfig,
    inputs,
    producer::{Compression, ProducerConfig},
    sink::SinkConfig,
    source::SourceConfig,
    window::{WindowConfig, WindowGuarantees},
};
use crate::{InitialPosition, SubscriptionType};
use std::collections::BTreeMap;

const PENDING_ASYNC_REQUESTS: i32 = 1000;
const MAX_LAG_MS: i64 = 0;
const WATERMARK_EMIT_INTERVAL_MS: i64 = 1000;

impl FunctionConfig {
    /// How its subscriptions are shared between instances. Source: `FunctionConfigUtils.convert`.
    #[must_use]
    pub fn subscription_type(&self) -> SubscriptionType {
        subscription_type(self.retain_ordering, self.retain_key_ordering, self.processing_guarantees)
    }

    /// Its subscription: the given one, else `tenant/namespace/name`. Source: `InstanceUtils`.
    #[must_use]
    pub fn subscription_name(&self) -> String {
        self.sub_name.clone().unwrap_or_else(|| self.fqfn())
    }

    /// Its inputs by complete topic name or pattern, whichever field names them. What `customSchemaInputs` says and
    /// cannot be read is left out; validation tells it.
    #[must_use]
    pub fn resolved_inputs(&self) -> BTreeMap<String, ConsumerConfig> {
        inputs::completed(&inputs::of_function(self).0)
    }

    /// The output by complete topic name.
    #[must_use]
    pub fn resolved_output(&self) -> Option<String> {
        self.output.as_deref().map(inputs::complete)
    }

    /// How the output is encoded, from `customSchemaOutputs`: its schema and consumer properties. Source:
    /// `FunctionConfigUtils.convert`.
    #[must_use]
    pub fn output_schema(&self) -> ConsumerConfig {
        let json = self.output.as_ref().and_then(|output| self.custom_schema_outputs.as_ref()?.get(output));
        json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
    }
}

impl SinkConfig {
    /// How its subscriptions are shared between instances. Source: `SinkConfigUtils.convert`.
    #[must_use]
    pub fn subscription_type(&self) -> SubscriptionType {
        subscription_type(self.retain_ordering, self.retain_key_ordering, self.processing_guarantees)
    }

    /// Its subscription: the given one, else `tenant/namespace/name`.
    #[must_use]
    pub fn subscription_name(&self) -> String {
        self.source_subscription_name.clone().unwrap_or_else(|| self.fqfn())
    }

    /// Its inputs by complete topic name or pattern, whichever field names them.
    #[must_use]
    pub fn resolved_inputs(&self) -> BTreeMap<String, ConsumerConfig> {
        inputs::completed(&inputs::of_sink(self))
    }
}

impl SourceConfig {
    /// The output by complete topic name.
    #[must_use]
    pub fn resolved_output(&self) -> Option<String> {
        self.topic_name.as_deref().map(inputs::complete)
    }
}

fn subscription_type(
    retain_ordering: Option<bool>,
    retain_key_ordering: Option<bool>,
    guarantees: Option<Guarantees>,
) -> SubscriptionType {
    if retain_ordering == Some(true) || guarantees == Some(Guarantees::EffectivelyOnce) {
        SubscriptionType::Failover
    } else if retain_key_ordering == Some(true) {
        SubscriptionType::KeyShared
    } else {
        SubscriptionType::Shared
    }
}

/// Source: `FunctionConfigUtils.inferMissingArguments`; a given runtime stays, so that code that does not fit is told.
pub(super) fn fill_function(config: &mut FunctionConfig) {
    let fqfn = config.fqfn.clone().unwrap_or_default();
    if let [tenant, namespace, name] = fqfn.split('/').collect::<Vec<_>>()[..] {
        config.tenant.get_or_insert_with(|| tenant.to_owned());
        config.namespace.get_or_insert_with(|| namespace.to_owned());
        config.name.get_or_insert_with(|| name.to_owned());
    }
    if config.name.is_none() {
        let class = config.class_name.as_deref().unwrap_or_default();
        let named = class.rsplit('.').next().filter(|name| !name.is_empty());
        // A component and a Go binary have no class: `lib/shout.wasm` is `shout`.
        let code = config.wasm.as_deref().or(config.go.as_deref());
        config.name = named.or_else(|| code.and_then(stem)).map(str::to_owned);
    }
    place(&mut config.tenant, &mut config.namespace, &mut config.parallelism);
    config.max_pending_async_requests.get_or_insert(PENDING_ASYNC_REQUESTS);
    config.forward_source_message_property.get_or_insert(true);
    let code = [&config.jar, &config.py, &config.go, &config.wasm, &config.exec].map(Option::is_some);
    if let (Some(builtin), [false, false, false, false, false]) = (&config.function_type, code) {
        config.jar = Some(format!("builtin://{builtin}"));
    }
    config.runtime = config.runtime.or_else(|| runtime_of_code(config));
    if let Some(window) = &mut config.window_config {
        fill_window(window);
        // The window acknowledges, not the framework.
        config.auto_ack = Some(false);
    }
}

pub(super) fn fill_source(config: &mut SourceConfig) {
    place(&mut config.tenant, &mut config.namespace, &mut config.parallelism);
    builtin(&mut config.archive, config.source_type.as_deref());
}

pub(super) fn fill_sink(config: &mut SinkConfig) {
    place(&mut config.tenant, &mut config.namespace, &mut config.parallelism);
    builtin(&mut config.archive, config.sink_type.as_deref());
}

pub(super) fn normalize_function(mut config: FunctionConfig) -> FunctionConfig {
    config.input_specs = Some(inputs::of_function(&config).0);
    (config.inputs, config.topics_pattern) = (None, None);
    (config.custom_serde_inputs, config.custom_schema_inputs) = (None, None);
    config.fqfn = None;
    config.producer_config = Some(producer(config.producer_config, config.batch_builder.take()));
    let guarantees = *config.processing_guarantees.get_or_insert(Guarantees::AtLeastOnce);
    config.retain_ordering.get_or_insert(false);
    config.retain_key_ordering.get_or_insert(false);
    config.user_config.get_or_insert_default();
    config.secrets = config.secrets.filter(|secrets| !secrets.is_empty());
    config.max_message_retries = config.max_message_retries.filter(|retries| *retries >= 0);
    config.auto_ack.get_or_insert(true);
    config.cleanup_subscription.get_or_insert(true);
    config.subscription_position.get_or_insert(InitialPosition::Latest);
    config.resources = Some(config.resources.unwrap_or_default().or_default());
    if let Some(window) = &mut config.window_config {
        window.actual_window_function_class_name.clone_from(&config.class_name);
        window.processing_guarantees = match guarantees {
            Guarantees::AtLeastOnce => Some(WindowGuarantees::AtLeastOnce),
            Guarantees::AtMostOnce => Some(WindowGuarantees::AtMostOnce),
            Guarantees::EffectivelyOnce | Guarantees::Manual => None,
        };
    }
    config
}

pub(super) fn normalize_source(mut config: SourceConfig) -> SourceConfig {
    config.producer_config = Some(producer(config.producer_config, config.batch_builder.take()));
    config.processing_guarantees.get_or_insert(Guarantees::AtLeastOnce);
    config.configs.get_or_insert_default();
    config.secrets = config.secrets.filter(|secrets| !secrets.is_empty());
    config.resources = Some(config.resources.unwrap_or_default().or_default());
    config.source_type = None;
    config
}

pub(super) fn normalize_sink(mut config: SinkConfig) -> SinkConfig {
    let inputs = inputs::of_sink(&config);
    config.inputs = Some(inputs.keys().cloned().collect());
    config.input_specs = Some(inputs);
    (config.topics_pattern, config.topic_to_serde_class_name, config.topic_to_schema_type) = (None, None, None);
    let ordering = config.subscription_type();
    config.retain_ordering = Some(ordering == SubscriptionType::Failover);
    config.retain_key_ordering = Some(ordering == SubscriptionType::KeyShared);
    config.processing_guarantees.get_or_insert(Guarantees::AtLeastOnce);
    config.auto_ack.get_or_insert(true);
    config.cleanup_subscription.get_or_insert(true);
    config.source_subscription_position.get_or_insert(InitialPosition::Latest);
    // A sink's zeros are as good as nothing, unlike a function's.
    config.max_message_retries = config.max_message_retries.filter(|retries| *retries > 0);
    config.timeout_ms = config.timeout_ms.filter(|timeout| *timeout > 0);
    config.negative_ack_redelivery_delay_ms = config.negative_ack_redelivery_delay_ms.filter(|delay| *delay > 0);
    config.secrets = config.secrets.filter(|secrets| !secrets.is_empty());
    config.resources = Some(config.resources.unwrap_or_default().or_default());
    config.sink_type = None;
    config
}

/// What runs the code that is given, if any is.
pub(super) fn runtime_of_code(config: &FunctionConfig) -> Option<Runtime> {
    [
        (&config.jar, Runtime::Java),
        (&config.py, Runtime::Python),
        (&config.go, Runtime::Go),
        (&config.wasm, Runtime::Wasm),
        (&config.exec, Runtime::Process),
    ]
    .into_iter()
    .find_map(|(code, runtime)| code.as_ref().map(|_| runtime))
}

/// The name of a file without its directory and extension.
fn stem(path: &str) -> Option<&str> {
    let file = path.rsplit('/').next()?;
    Some(file.rsplit_once('.').map_or(file, |(stem, _)| stem)).filter(|stem| !stem.is_empty())
}

fn place(tenant: &mut Option<String>, namespace: &mut Option<String>, parallelism: &mut Option<i32>) {
    tenant.get_or_insert_with(|| "public".to_owned());
    namespace.get_or_insert_with(|| "default".to_owned());
    parallelism.get_or_insert(1);
}

fn builtin(archive: &mut Option<String>, name: Option<&str>) {
    if let Some(name) = name {
        archive.get_or_insert_with(|| format!("builtin://{name}"));
    }
}

fn producer(config: Option<ProducerConfig>, batch_builder: Option<String>) -> ProducerConfig {
    let mut config = config.unwrap_or_default();
    config.batch_builder = batch_builder.or(config.batch_builder);
    // Go clients send 0 for what they do not set.
    config.max_pending_messages = config.max_pending_messages.filter(|pending| *pending > 0);
    config.max_pending_messages_across_partitions =
        config.max_pending_messages_across_partitions.filter(|pending| *pending > 0);
    config.use_thread_local_producers.get_or_insert(false);
    config.compression_type.get_or_insert(Compression::Lz4);
    config
}

/// Source: `WindowConfigUtils.inferMissingArguments`, which makes windows of a count tumble even where a sliding time is
/// given; here what is given stays.
fn fill_window(window: &mut WindowConfig) {
    if window.sliding_interval_count.is_none() && window.sliding_interval_duration_ms.is_none() {
        window.sliding_interval_count = window.window_length_count;
        window.sliding_interval_duration_ms = window.window_length_duration_ms;
    }
    if window.timestamp_extractor_class_name.is_some() {
        window.max_lag_ms.get_or_insert(MAX_LAG_MS);
        window.watermark_emit_interval_ms.get_or_insert(WATERMARK_EMIT_INTERVAL_MS);
    }
}
