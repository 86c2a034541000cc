//! What must hold for a sink. Source: `SinkConfigUtils.validateAndExtractDetails`.

use super::{Checks, Host, source::LOG_LEVELS};
use crate::function::{inputs, problem::Problems, sink::SinkConfig};

/// Everything that is wrong with `config`, whose defaults are filled in.
pub(crate) fn check(config: &SinkConfig, host: Host) -> Result<(), Problems> {
    let mut checks = Checks::new("Sink", host);
    let inputs = inputs::of_sink(config);
    checks.identity(&config.tenant, &config.namespace, &config.name);
    checks.inputs(
        &inputs,
        "Must specify at least one topic of input via topicToSerdeClassName, topicsPattern, topicToSchemaType or \
         inputSpecs",
    );
    checks.log(config.log_topic.as_deref(), config.log_level.as_deref(), &LOG_LEVELS);
    checks.parallelism(config.parallelism);
    checks.words("runtimeFlags", config.runtime_flags.as_deref());
    checks.resources(config.resources.as_ref());
    let negative = config.timeout_ms.is_some_and(|timeout| timeout < 0);
    checks.refuse_if(negative, "timeoutMs", "Sink timeout must be a positive number");
    checks.connector(config.archive.as_deref(), config.sink_type.as_deref(), "sink-type", "sinkType");
    for (topic, spec) in &inputs {
        checks.consumer(topic, spec, "Only one of serdeClassName or schemaType should be set");
    }
    let dead_letters = config.dead_letter_topic.as_deref();
    checks.topic("deadLetterTopic", dead_letters, |topic| format!("DeadLetter topic {topic} is invalid"));
    checks.no_loop(&inputs, "deadLetterTopic", "DeadLetter", dead_letters);
    checks.no_loop(&inputs, "logTopic", "LogTopic", config.log_topic.as_deref());
    // Unlike for a function, 0 retries are none.
    let retries = config.max_message_retries.filter(|retries| *retries > 0);
    checks.retries(retries, dead_letters, config.processing_guarantees);
    checks.ordering(config.retain_ordering, config.retain_key_ordering, config.processing_guarantees);
    checks.auto_ack(config.auto_ack, config.processing_guarantees);
    if let Some(json) = &config.transform_function_config {
        let object = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(json);
        let message = object.as_ref().err().map(|error| format!("transformFunctionConfig is no JSON object: {error}"));
        checks.refuse_if(object.is_err(), "transformFunctionConfig", message.unwrap_or_default());
    }
    checks.done()
}
