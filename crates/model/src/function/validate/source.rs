//! What must hold for a source. Source: `SourceConfigUtils.validateAndExtractDetails`.

use super::{Checks, Host};
use crate::function::{
    details::{BATCH_SOURCE_CLASS_KEY, BATCH_SOURCE_CONFIG_KEY},
    problem::Problems,
    source::SourceConfig,
};

/// Levels of a connector's log, a source's or a sink's.
pub(super) const LOG_LEVELS: [&str; 8] = ["OFF", "FATAL", "ERROR", "WARN", "INFO", "DEBUG", "TRACE", "ALL"];

/// Everything that is wrong with `config`, whose defaults are filled in.
pub(crate) fn check(config: &SourceConfig, host: Host) -> Result<(), Problems> {
    let mut checks = Checks::new("Source", host);
    checks.identity(&config.tenant, &config.namespace, &config.name);
    checks.topic("topicName", config.topic_name.as_deref(), |_| "Topic name is invalid".to_owned());
    checks.log(config.log_topic.as_deref(), config.log_level.as_deref(), &LOG_LEVELS);
    checks.parallelism(config.parallelism);
    checks.words("runtimeFlags", config.runtime_flags.as_deref());
    checks.resources(config.resources.as_ref());
    checks.connector(config.archive.as_deref(), config.source_type.as_deref(), "source-type", "sourceType");
    let triggerless = config.batch_source_config.as_ref().is_some_and(|b| b.discovery_triggerer_class_name.is_none());
    checks.refuse_if(
        triggerless,
        "batchSourceConfig.discoveryTriggererClassName",
        "BatchSourceConfig does not specify Discovery Trigger ClassName",
    );
    checks.refuse_if(
        config.serde_class_name.is_some() && config.schema_type.is_some(),
        "schemaType",
        "Only one of serdeClassName or schemaType should be set",
    );
    checks.reserved("configs", config.configs.as_ref(), &[BATCH_SOURCE_CONFIG_KEY, BATCH_SOURCE_CLASS_KEY]);
    checks.producer(config.producer_config.as_ref(), config.batch_builder.as_deref());
    checks.done()
}

impl Checks {
    /// An archive or the name of a built-in connector; both only where they say the same.
    pub(super) fn connector(&mut self, archive: Option<&str>, name: Option<&str>, option: &str, field: &str) {
        if let (Some(archive), Some(name)) = (archive, name) {
            let same = archive.strip_prefix("builtin://") == Some(name);
            self.refuse_if(!same, field, format!("Cannot specify both archive and {option}"));
        }
    }
}
