//! What a Go function is told by `-instance-conf`. Source: `GoInstanceConfig` and `RuntimeUtils.getGoInstanceCmd`; read by
//! `pulsar-function-go/conf/conf.go`, odd spellings included.

use super::{
    component::Component,
    config::{FunctionConfig, Guarantees},
    details::{self, consumer_spec, map_text},
    inputs,
    resources::Resources,
};
use crate::{InitialPosition, SubscriptionType};
use serde_json::{Map, Value, json};

/// `FunctionDetails.Runtime.GO` in `Function.proto`.
const RUNTIME_GO: u32 = 3;

/// What of one instance is not in its configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GoInstance {
    /// Where the broker is, `pulsar://...`.
    pub service_url: String,
    /// The broker's REST address, for functions that get an admin client; empty for none.
    pub web_service_url: String,
    /// Where state is kept, for Pulsar's table service; empty for none.
    pub state_storage_service_url: String,
    /// Number of the instance, from 0.
    pub instance_id: u32,
    /// Made when the function was created.
    pub function_id: String,
    /// Rises with each update.
    pub function_version: String,
    /// Messages the instance may hold.
    pub max_buffered_tuples: u32,
    /// Where it serves `InstanceControl`.
    pub port: u16,
    /// Where it serves metrics.
    pub metrics_port: u16,
    /// The cluster's name.
    pub cluster: String,
    /// Seconds after which it exits when nobody asked for its health; 0 for never. Pulsar always says 0 here.
    pub expected_health_check_interval_s: u32,
}

impl GoInstance {
    /// The value of `-instance-conf` for an instance of `config`, which is in its normal form.
    ///
    /// Zeros, empty texts and `false` are written too: the instance reads them over its own defaults. A function may have
    /// many inputs; `sourceSpecsTopic`, from before there were, is the last of them.
    #[must_use]
    pub fn conf(&self, config: &FunctionConfig) -> Value {
        let (inputs, _) = inputs::of_function(config);
        let specs: Map<String, Value> =
            inputs.iter().map(|(topic, spec)| (topic.clone(), consumer_spec(spec).to_string().into())).collect();
        let resources = config.resources.as_ref().unwrap_or(&Resources::DEFAULT).or_default();
        let retries = config.max_message_retries.filter(|retries| *retries >= 0);
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        // A list, since the macro for a whole object stops at so many fields.
        let fields = [
            ("pulsarServiceURL", json!(self.service_url)),
            ("stateStorageServiceUrl", json!(self.state_storage_service_url)),
            ("pulsarWebServiceUrl", json!(self.web_service_url)),
            ("instanceID", json!(self.instance_id)),
            ("funcID", json!(self.function_id)),
            ("funcVersion", json!(self.function_version)),
            ("maxBufTuples", json!(self.max_buffered_tuples)),
            ("port", json!(self.port)),
            ("clusterName", json!(self.cluster)),
            ("killAfterIdleMs", json!(0)),
            ("expectedHealthCheckInterval", json!(self.expected_health_check_interval_s)),
            ("tenant", json!(config.tenant())),
            ("nameSpace", json!(config.namespace())),
            ("name", json!(config.name())),
            ("className", json!("")),
            ("logTopic", json!(text(&config.log_topic))),
            ("processingGuarantees", json!(number(config.processing_guarantees))),
            ("secretsMap", json!(map_text(config.secrets.as_ref()).unwrap_or_default())),
            ("userConfig", json!(map_text(config.user_config.as_ref()).unwrap_or_default())),
            ("clientAuthenticationPlugin", json!("")),
            ("clientAuthenticationParameters", json!("")),
            ("tlsTrustCertsFilePath", json!("")),
            ("tlsHostnameVerificationEnable", json!(false)),
            ("tlsAllowInsecureConnection", json!(false)),
            ("runtime", json!(RUNTIME_GO)),
            ("autoAck", json!(config.auto_ack.unwrap_or(true))),
            ("parallelism", json!(config.parallelism())),
            // Pulsar says 0 whatever the type is, so that its Go functions never retain an order.
            ("subscriptionType", json!(subscription(config.subscription_type()))),
            ("timeoutMs", json!(config.timeout_ms.unwrap_or(0))),
            ("subscriptionName", json!(text(&config.sub_name))),
            ("cleanupSubscription", json!(config.cleanup_subscription.unwrap_or(true))),
            ("subscriptionPosition", json!(u8::from(config.subscription_position == Some(InitialPosition::Earliest)))),
            ("sourceInputSpecs", json!(specs)),
            ("sourceSpecsTopic", json!(inputs.keys().next_back())),
            ("sourceSchemaType", json!("")),
            ("receiverQueueSize", json!(0)),
            ("sinkSpecsTopic", json!(text(&config.output))),
            ("sinkSchemaType", json!("")),
            ("cpu", json!(resources.cpu)),
            ("ram", json!(resources.ram)),
            ("disk", json!(resources.disk)),
            ("maxMessageRetries", json!(retries.unwrap_or(0))),
            ("deadLetterTopic", json!(retries.and(config.dead_letter_topic.clone()).unwrap_or_default())),
            ("metricsPort", json!(self.metrics_port)),
            ("functionDetails", json!(details::of_function(config).to_string())),
            ("regexPatternSubscription", json!(false)),
        ];
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// The number of a subscription type in `Function.proto`, which is not that on the wire.
fn subscription(subscription: SubscriptionType) -> u32 {
    match subscription {
        SubscriptionType::Shared | SubscriptionType::Exclusive => 0,
        SubscriptionType::Failover => 1,
        SubscriptionType::KeyShared => 2,
    }
}

/// The number of a guarantee in `Function.proto`.
fn number(guarantees: Option<Guarantees>) -> u32 {
    match guarantees {
        None | Some(Guarantees::AtLeastOnce) => 0,
        Some(Guarantees::AtMostOnce) => 1,
        Some(Guarantees::EffectivelyOnce) => 2,
        Some(Guarantees::Manual) => 3,
    }
}
