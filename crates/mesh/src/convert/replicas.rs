//! How many instances, and how that changes.

use super::{read::int, scaling};
use crate::{
    node::Kind,
    problem::{At, Problems},
    yaml::Value,
};
use model::function::PARALLELISM_MAX;

/// What a spec says of instances.
pub(super) struct Replicas {
    pub(super) replicas: u32,
    pub(super) scaling: Option<autoscale::Spec>,
}

/// Instances of the configuration: at least one, since one that sleeps is scaled, not configured.
pub(super) fn parallelism(spec: &Value) -> Option<i32> {
    let replicas: Option<i32> = int(spec, "replicas").or_else(|| int(spec, "minReplicas"));
    replicas.map(|replicas| replicas.max(1))
}

/// Source: `validateReplicasAndMinReplicasAndMaxReplicas` and the webhooks' defaults. `replicas: 0` alone stops it there and here
/// (`scale-to-zero` of `.ci/tests/integration/cases`); with `maxReplicas` 0 is refused there, and here it sleeps.
pub(super) fn read(kind: Kind, spec: &Value, problems: &mut Problems) -> Replicas {
    let at = |field: &str| spec.get(field).map_or(spec.at, |value| value.at);
    let number = |field: &str| int::<u32>(spec, field);
    let (given, given_min, max) = (number("replicas"), number("minReplicas"), number("maxReplicas"));
    // 1 where none is given, whatever `replicas` says: `+kubebuilder:default=1`. What begins with none may come to none again.
    let min = given_min.unwrap_or_else(|| given.unwrap_or(1).min(1));
    let replicas = given.or(given_min).unwrap_or(1);
    let is_off = replicas == 0 && max.is_none();
    if is_off {
        let advice = "minReplicas: 0 with a maxReplicas lets it sleep until an event comes";
        match spec.get("replicas").filter(|_| given.is_some()) {
            Some(value) => problems.note(value.at, format!("replicas is 0: it is off, and nothing wakes it; {advice}")),
            None => problems
                .warning(at("minReplicas"), format!("minReplicas is 0 and nothing wakes it: it is off; {advice}")),
        }
    }
    let mut wrong = |is_wrong: bool, at: At, text: String| {
        if is_wrong {
            problems.error(at, text);
        }
    };
    if let Some(max) = max {
        wrong(
            given_min.is_some_and(|min| min > max),
            at("minReplicas"),
            format!("minReplicas {min} is above maxReplicas {max}"),
        );
        wrong(
            replicas > max && given.is_some(),
            at("replicas"),
            format!("replicas {replicas} is above maxReplicas {max}"),
        );
        let most = PARALLELISM_MAX.unsigned_abs();
        wrong(
            max > most,
            at("maxReplicas"),
            format!("maxReplicas {max} is more than the {most} instances a {} may have", kind.word()),
        );
    }
    if let (Some(given), Some(min)) = (given, given_min) {
        // None is no number to be above: it sleeps, or is off.
        wrong(min > given && given > 0, at("minReplicas"), format!("minReplicas {min} is above replicas {given}"));
    }
    if kind == Kind::Source && min == 0 && max.is_some() {
        wrong(true, at("minReplicas"), "a source cannot sleep: nothing here would wake it".to_owned());
    }
    let scaling = scaling::read(spec, min.min(max.unwrap_or(min)), replicas, max, problems);
    Replicas { replicas, scaling }
}
