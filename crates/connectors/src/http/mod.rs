//! `http`: a webhook that publishes what is posted to it, and a sink that posts messages.
//!
//! Both use the same headers, so that one can feed the other. Source: Pulsar's `HttpSink`.

pub(crate) mod sink;
pub(crate) mod source;

const TOPIC: &str = "PulsarTopic";
const KEY: &str = "PulsarKey";
const EVENT_TIME: &str = "PulsarEventTime";
const PUBLISH_TIME: &str = "PulsarPublishTime";
const MESSAGE_ID: &str = "PulsarMessageId";
const PROPERTY_PREFIX: &str = "PulsarProperties-";
