//! What of a spec says how it scales.
//!
//! `maxReplicas` alone is ours to decide: it names no metric. `builtinAutoscaler`, `autoScalingMetrics` and
//! `autoScalingBehavior` are an HPA, together where several are given: Function Mesh's own operator drops the behavior beside a
//! built-in rule (`controllers/spec/hpa.go`). An annotation chooses any policy, and Kubernetes does not mind it.

use super::{place, read::text};
use crate::{
    problem::Problems,
    yaml::{self, Value},
};
use autoscale::{PolicySpec, Spec, hpa, vpa};
use model::function::Resources;
use serde::de::DeserializeOwned;

/// In `pod.annotations`: the policy, as its name or as a mapping from its name to its parameters.
pub(crate) const POLICY_ANNOTATION: &str = "geminga.io/scaling-policy";

/// How a spec scales between two numbers of instances; nothing, where it does not.
pub(super) fn read(spec: &Value, min: u32, replicas: u32, max: Option<u32>, problems: &mut Problems) -> Option<Spec> {
    let pod = spec.get("pod");
    let vpa: Option<vpa::Spec> = pod.and_then(|pod| typed(pod, "vpa", problems));
    let hpa = pod.and_then(|pod| hpa(spec, pod, problems));
    let annotated = pod.and_then(|pod| annotated(pod, problems));
    let at = |field: &str| pod.and_then(|pod| pod.entry(field)).map_or(spec.at, |entry| entry.at);
    let Some(max) = max else {
        for field in ["builtinAutoscaler", "autoScalingMetrics", "autoScalingBehavior"] {
            if pod
                .and_then(|pod| pod.get(field))
                .is_some_and(|value| !value.items().is_empty() || !value.entries().is_empty())
            {
                problems.warning(at(field), format!("{field} without maxReplicas has no effect: nothing scales"));
            }
        }
        // What is off has no size.
        let vpa = vpa.filter(|_| replicas > 0);
        return vpa.map(|vpa| Spec { vpa: Some(vpa), ..Spec::new(replicas, replicas, PolicySpec::default()) });
    };
    if vpa.is_some() {
        problems.error(
            at("vpa"),
            "vpa and maxReplicas exclude each other: both would answer a load, one with size and one with number",
        );
    }
    let policy = annotated.or(hpa.map(PolicySpec::Hpa)).unwrap_or_default();
    let scaling = Spec { vpa, ..Spec::new(min, max, policy) };
    for problem in scaling.check() {
        // Bounds were told in the manifest's own words, but that one depends on the metrics.
        if problem.field == "maxReplicas" || (problem.field == "minReplicas" && min > 0) {
            continue;
        }
        let path = path(&problem.field, scaling.policy.name());
        let name = path.last().filter(|name| name.parse::<usize>().is_err()).cloned().unwrap_or_default();
        problems.error(place::at(spec, &path, spec.at), format!("{name}: {}", problem.text));
    }
    Some(scaling)
}

fn hpa(spec: &Value, pod: &Value, problems: &mut Problems) -> Option<hpa::Spec> {
    let rules = pod.get("builtinAutoscaler").map(Value::items).unwrap_or_default();
    let mut metrics: Vec<hpa::MetricSpec> = typed(pod, "autoScalingMetrics", problems).unwrap_or_default();
    let behavior: Option<hpa::Behavior> = typed(pod, "autoScalingBehavior", problems);
    if rules.is_empty() && metrics.is_empty() && behavior.is_none() {
        return None;
    }
    let (requests, limits) = (super::parts::resources(spec).unwrap_or_default(), super::parts::limits(spec));
    let mut seen: Vec<String> = Vec::new();
    let mut builtin = Vec::new();
    for rule in rules {
        let Some(metric) =
            rule.text().and_then(|name| hpa::MetricSpec::builtin(name, |of| share(of, &requests, limits.as_ref())))
        else {
            continue;
        };
        let resource = metric.resource.as_ref().map(|resource| resource.name.clone()).unwrap_or_default();
        if seen.contains(&resource) {
            problems.error(rule.at, format!("a second built-in rule for {resource}: there can be one"));
            continue;
        }
        seen.push(resource);
        builtin.push(metric);
    }
    for (metric, item) in metrics.iter().zip(pod.get("autoScalingMetrics").map(Value::items).unwrap_or_default()) {
        let resource = metric.resource.as_ref().map(|source| (&source.name, &source.target));
        let resource = resource.or(metric.container_resource.as_ref().map(|source| (&source.name, &source.target)));
        let Some((name, target)) = resource else { continue };
        let is_missing = match name.as_str() {
            "cpu" => requests.cpu.is_none(),
            "memory" => requests.ram.is_none(),
            _ => false,
        };
        if target.average_utilization.is_some() && is_missing && spec.get("maxReplicas").is_some() {
            let text = format!(
                "a utilization is a share of what is requested, and resources.requests.{name} is not there: the default \
                 is taken here, and Kubernetes does not scale"
            );
            problems.warning(item.at, text);
        }
    }
    builtin.append(&mut metrics);
    Some(hpa::Spec { metrics: builtin, behavior, ..hpa::Spec::default() })
}

/// How many times the request the limit is.
fn share(resource: &str, requests: &Resources, limits: Option<&Resources>) -> f64 {
    let of = |resources: &Resources| match resource {
        "cpu" => resources.cpu,
        _ => resources.ram.map(|bytes| bytes as f64),
    };
    match (of(requests), limits.and_then(of)) {
        (Some(request), Some(limit)) if request > 0.0 => limit / request,
        _ => 1.0,
    }
}

/// A field whose shape was checked as a value of `autoscale`; what that one does not take is told.
fn typed<T: DeserializeOwned>(pod: &Value, field: &str, problems: &mut Problems) -> Option<T> {
    let value = pod.get(field)?;
    let mut json = value.json();
    if let Some(fields) = json.as_object_mut() {
        // Function Mesh's own, beside the fields of a VerticalPodAutoscaler.
        fields.remove("resourceUnit");
    }
    match serde_json::from_value(json) {
        Ok(typed) => Some(typed),
        Err(error) => {
            if problems.has_none_within(value.at) {
                problems.error(value.at, format!("{field}: {error}"));
            }
            None
        }
    }
}

/// The policy of the annotation.
fn annotated(pod: &Value, problems: &mut Problems) -> Option<PolicySpec> {
    let entry = pod.get("annotations")?.entry(POLICY_ANNOTATION)?;
    let written = text(pod.get("annotations")?, POLICY_ANNOTATION)?;
    let json = yaml::one(&written).map(|value| value.json());
    let json = match json {
        Some(serde_json::Value::String(name)) => serde_json::json!({ name: {} }),
        Some(json) => json,
        None => serde_json::Value::Null,
    };
    match serde_json::from_value(json) {
        Ok(policy) => Some(policy),
        Err(error) => {
            let text = format!(
                "{POLICY_ANNOTATION} is rate, hpa, keda or knative, or one of them with its parameters, such as {{rate: {{targetAge: 500ms}}}}: {error}"
            );
            problems.error(entry.value.at, text);
            None
        }
    }
}

/// Where a spec has a field of `autoscale`'s: `policy.hpa.metrics[0].resource` is `pod.autoScalingMetrics.0.resource`.
fn path(field: &str, policy: &str) -> Vec<String> {
    let field = field.replace('[', ".").replace(']', "");
    let replaced = [
        ("policy.hpa.metrics", "pod.autoScalingMetrics".to_owned()),
        ("policy.hpa.behavior", "pod.autoScalingBehavior".to_owned()),
        ("vpa", "pod.vpa".to_owned()),
    ];
    for (from, to) in replaced {
        if let Some(rest) = field.strip_prefix(from) {
            return format!("{to}{rest}").split('.').map(str::to_owned).collect();
        }
    }
    if field.starts_with(&format!("policy.{policy}")) {
        return ["pod", "annotations", POLICY_ANNOTATION].map(str::to_owned).to_vec();
    }
    field.split('.').map(str::to_owned).collect()
}
