//! What an update may change. A partial configuration is laid over the stored, normal one.
//!
//! Source: `validateUpdate` of `FunctionConfigUtils`, `SourceConfigUtils`, `SinkConfigUtils`, with their words. Where
//! those drop a field of the update silently (`maxPendingAsyncRequests`, `skipToLatest`, `py`, `go` ...), it is taken
//! here; and an input that is named without settings keeps those it has.

use super::{
    component::Component,
    config::FunctionConfig,
    consumer::ConsumerConfig,
    defaults::runtime_of_code,
    inputs::{self, Inputs, complete},
    problem::Problems,
    record::Record,
    resources::Resources,
    sink::SinkConfig,
    source::SourceConfig,
};
use crate::InitialPosition;
use std::collections::BTreeMap;

/// What an update is refused with that brings nothing new.
pub const NO_CHANGE: &str = "Update contains no change";

/// Collects what must not change and does.
#[derive(Default)]
struct Refusals(Problems);

impl Refusals {
    /// `new` is absent or what there is.
    fn fixed<T: PartialEq>(&mut self, field: &str, old: Option<&T>, new: Option<&T>, message: &str) {
        if new.is_some() && new != old {
            self.0.add(field, message);
        }
    }

    fn identity<C: Component>(&mut self, old: &C, new: &C, names: &str) {
        for (field, old, new, message) in [
            ("tenant", old.tenant(), new.tenant(), "Tenants differ"),
            ("namespace", old.namespace(), new.namespace(), "Namespaces differ"),
            ("name", old.name(), new.name(), names),
        ] {
            self.fixed(field, Some(&old), Some(&new).filter(|new| !new.is_empty()), message);
        }
    }

    /// The stored inputs with the new settings of those that are named again.
    fn inputs(&mut self, old: &Inputs, new: Inputs) -> Inputs {
        let mut merged = old.clone();
        let known: BTreeMap<String, &String> = old.keys().map(|topic| (complete(topic), topic)).collect();
        for (topic, spec) in new {
            let stored = known.get(&complete(&topic)).and_then(|known| Some((known, merged.get_mut(*known)?)));
            let Some((known, stored)) = stored else {
                self.0.add("inputs", "Input Topics cannot be altered");
                continue;
            };
            if spec.regex_pattern != stored.regex_pattern {
                let message = format!("isRegexPattern for input topic {known} cannot be altered");
                self.0.add(format!("inputSpecs.{known}.regexPattern"), message);
                continue;
            }
            let bare = ConsumerConfig { regex_pattern: spec.regex_pattern, ..ConsumerConfig::default() };
            if spec != bare {
                *stored = spec;
            }
        }
        merged
    }
}

pub(super) fn function(old: &FunctionConfig, new: &FunctionConfig) -> Result<FunctionConfig, Problems> {
    let mut refused = Refusals::default();
    refused.identity(old, new, "Function Names differ");
    let (inputs, unread) = inputs::of_function(new);
    for problem in unread {
        refused.0.add(problem.field, problem.message);
    }
    let inputs = refused.inputs(old.input_specs.as_ref().unwrap_or(&Inputs::new()), inputs);
    let serde = [old, new].map(|config| config.output_serde_class_name.as_ref());
    refused.fixed("outputSerdeClassName", serde[0], serde[1], "Output Serde mismatch");
    let schema = [old, new].map(|config| config.output_schema_type.as_ref());
    refused.fixed("outputSchemaType", schema[0], schema[1], "Output Schema mismatch");
    let guarantees = [old, new].map(|config| config.processing_guarantees.as_ref());
    let message = "Processing Guarantees cannot be altered";
    refused.fixed("processingGuarantees", guarantees[0], guarantees[1], message);
    let ordering = [old, new].map(|config| config.retain_ordering.as_ref());
    refused.fixed("retainOrdering", ordering[0], ordering[1], "Retain Ordering cannot be altered");
    let keys = [old, new].map(|config| config.retain_key_ordering.as_ref());
    refused.fixed("retainKeyOrdering", keys[0], keys[1], "Retain Key Ordering cannot be altered");
    let runtime = new.runtime.or_else(|| runtime_of_code(new));
    refused.fixed("runtime", old.runtime.as_ref(), runtime.as_ref(), "Runtime cannot be altered");
    // A window acknowledges whatever is said, on create as on update.
    if old.window_config.is_none() && new.window_config.is_none() {
        let auto_ack = [old, new].map(|config| config.auto_ack.as_ref());
        refused.fixed("autoAck", auto_ack[0], auto_ack[1], "AutoAck cannot be altered");
    }
    let message = "Subscription Name cannot be altered";
    refused.fixed("subName", Some(&old.subscription_name()), new.sub_name.as_ref(), message);

    let mut merged = old.clone();
    if runtime_of_code(new).is_some() {
        // New code takes the place of the old, whatever its kind was.
        (merged.jar, merged.py, merged.go, merged.wasm, merged.exec) = (None, None, None, None, None);
    }
    merged.overlay(new);
    merged.input_specs = Some(inputs);
    (merged.inputs, merged.topics_pattern) = (None, None);
    (merged.custom_serde_inputs, merged.custom_schema_inputs) = (None, None);
    merged.sub_name.clone_from(&old.sub_name);
    merged.resources = merge_resources(old.resources.as_ref(), new.resources.as_ref());
    merged.subscription_position = merge_position(old.subscription_position, new.subscription_position);
    finish(refused, merged)
}

pub(super) fn source(old: &SourceConfig, new: &SourceConfig) -> Result<SourceConfig, Problems> {
    let mut refused = Refusals::default();
    refused.identity(old, new, "Function Names differ");
    let guarantees = [old, new].map(|config| config.processing_guarantees.as_ref());
    let message = "Processing Guarantees cannot be altered";
    refused.fixed("processingGuarantees", guarantees[0], guarantees[1], message);
    match (&old.batch_source_config, &new.batch_source_config) {
        (None, Some(_)) => {
            refused.0.add("batchSourceConfig", "Sources cannot be update between regular sources and batchsource");
        }
        (Some(old), Some(new)) if old.discovery_triggerer_class_name != new.discovery_triggerer_class_name => {
            let field = "batchSourceConfig.discoveryTriggererClassName";
            refused.0.add(field, "DiscoverTriggerer class cannot be updated for batchsources");
        }
        _ => {}
    }
    let mut merged = old.clone();
    merged.overlay(new);
    if let (Some(name), None) = (&new.source_type, &new.archive) {
        merged.archive = Some(format!("builtin://{name}"));
    }
    merged.resources = merge_resources(old.resources.as_ref(), new.resources.as_ref());
    finish(refused, merged)
}

pub(super) fn sink(old: &SinkConfig, new: &SinkConfig) -> Result<SinkConfig, Problems> {
    let mut refused = Refusals::default();
    refused.identity(old, new, "Sink Names differ");
    let message = "Subscription Name cannot be altered";
    let name = new.source_subscription_name.as_ref();
    refused.fixed("sourceSubscriptionName", Some(&old.subscription_name()), name, message);
    let inputs = refused.inputs(old.input_specs.as_ref().unwrap_or(&Inputs::new()), inputs::of_sink(new));
    let guarantees = [old, new].map(|config| config.processing_guarantees.as_ref());
    let message = "Processing Guarantees cannot be altered";
    refused.fixed("processingGuarantees", guarantees[0], guarantees[1], message);
    let ordering = [old, new].map(|config| config.retain_ordering.as_ref());
    refused.fixed("retainOrdering", ordering[0], ordering[1], "Retain Ordering cannot be altered");
    let keys = [old, new].map(|config| config.retain_key_ordering.as_ref());
    refused.fixed("retainKeyOrdering", keys[0], keys[1], "Retain Key Ordering cannot be altered");
    let auto_ack = [old, new].map(|config| config.auto_ack.as_ref());
    refused.fixed("autoAck", auto_ack[0], auto_ack[1], "AutoAck cannot be altered");

    let mut merged = old.clone();
    merged.overlay(new);
    if let (Some(name), None) = (&new.sink_type, &new.archive) {
        merged.archive = Some(format!("builtin://{name}"));
    }
    merged.input_specs = Some(inputs);
    (merged.inputs, merged.topics_pattern) = (None, None);
    (merged.topic_to_serde_class_name, merged.topic_to_schema_type) = (None, None);
    merged.source_subscription_name.clone_from(&old.source_subscription_name);
    merged.resources = merge_resources(old.resources.as_ref(), new.resources.as_ref());
    merged.source_subscription_position =
        merge_position(old.source_subscription_position, new.source_subscription_position);
    finish(refused, merged)
}

fn finish<C: Component>(refused: Refusals, mut merged: C) -> Result<C, Problems> {
    merged.fill_defaults();
    refused.0.or(merged).map(Component::normalized)
}

/// Source: `ResourceConfigUtils.merge`.
fn merge_resources(old: Option<&Resources>, new: Option<&Resources>) -> Option<Resources> {
    let old = old.cloned().unwrap_or_default();
    Some(new.map_or_else(|| old.clone(), |new| new.over(&old)))
}

/// Pulsar's clients send `Latest` where nothing is said, so it says nothing here. Subscriptions that exist stay where
/// they are anyway.
fn merge_position(old: Option<InitialPosition>, new: Option<InitialPosition>) -> Option<InitialPosition> {
    new.filter(|new| *new == InitialPosition::Earliest).or(old)
}
