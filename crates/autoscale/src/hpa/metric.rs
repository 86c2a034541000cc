//! From a sample to what the metrics propose.
//!
//! Source: kubernetes/kubernetes `pkg/controller/podautoscaler/horizontal.go`, `computeReplicasForMetrics`.

use super::{
    MetricSourceType, MetricSpec, MetricTarget,
    replicas::{Calculator, Metric, Pod, Proposal, Ready, Target},
};
use crate::{Instance, Quantity, Sample};
use std::time::Duration;

/// The largest proposal, and what it was found from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Proposed {
    pub(super) replicas: u32,
    pub(super) text: String,
}

/// Why there is none, with the reason of Kubernetes' condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: &'static str,
    pub(super) text: String,
}

/// The largest of what the metrics propose.
///
/// # Errors
/// The first metric that is not known, when none is, or when the others would go down.
pub(super) fn largest(
    metrics: &[MetricSpec],
    calculator: &Calculator,
    sample: &Sample,
    window: Duration,
) -> Result<Proposed, Failure> {
    let mut best: Option<Proposed> = None;
    let mut failed: Option<Failure> = None;
    for metric in metrics {
        match metric.propose(calculator, sample, window) {
            Ok(proposed) if best.as_ref().is_none_or(|b| b.replicas == 0 || proposed.replicas > b.replicas) => {
                best = Some(proposed);
            }
            Ok(_) => {}
            Err(failure) => failed = failed.or(Some(failure)),
        }
    }
    match (best, failed) {
        (Some(best), Some(failed)) if best.replicas < sample.replicas => Err(failed),
        (Some(best), _) => Ok(best),
        (None, failed) => {
            let nothing = Failure { code: "InvalidMetricSourceType", text: "there is no metric".to_owned() };
            Err(failed.unwrap_or(nothing))
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Resource {
    Cpu,
    Memory,
}

impl MetricSpec {
    fn propose(&self, calculator: &Calculator, sample: &Sample, window: Duration) -> Result<Proposed, Failure> {
        let code = match self.kind {
            MetricSourceType::Resource => "FailedGetResourceMetric",
            MetricSourceType::ContainerResource => "FailedGetContainerResourceMetric",
            MetricSourceType::Pods => "FailedGetPodsMetric",
            MetricSourceType::Object => "FailedGetObjectMetric",
            MetricSourceType::External => "FailedGetExternalMetric",
        };
        let proposed =
            match (self.kind, &self.resource, &self.container_resource, &self.pods, &self.object, &self.external) {
                (MetricSourceType::Resource, Some(source), ..) => {
                    resource(&source.name, &source.target, calculator, sample, window)
                }
                (MetricSourceType::ContainerResource, _, Some(source), ..) => {
                    resource(&source.name, &source.target, calculator, sample, window)
                }
                (MetricSourceType::Pods, _, _, Some(source), ..) => {
                    pods_metric(&source.metric.name, &source.target, calculator, sample, window)
                }
                (MetricSourceType::Object, _, _, _, Some(source), _) => {
                    single(&source.metric.name, &source.target, calculator, sample, window)
                }
                (MetricSourceType::External, _, _, _, _, Some(source)) => {
                    single(&source.metric.name, &source.target, calculator, sample, window)
                }
                _ => Err(format!("a metric of type {:?} says nothing else", self.kind)),
            };
        proposed.map_err(|text| Failure { code, text })
    }
}

fn resource(
    name: &str,
    target: &MetricTarget,
    calculator: &Calculator,
    sample: &Sample,
    window: Duration,
) -> Result<Proposed, String> {
    let resource = match name {
        "cpu" => Resource::Cpu,
        "memory" => Resource::Memory,
        _ => return Err(format!("{name} is not measured")),
    };
    let pods = pods(sample, window, |instance| match resource {
        Resource::Cpu => instance.cpu_cores.map(thousandths),
        Resource::Memory => {
            instance.memory_bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX).saturating_mul(1000))
        }
    });
    let request = match resource {
        Resource::Cpu => thousandths(sample.cpu_request),
        Resource::Memory => i64::try_from(sample.memory_request).unwrap_or(i64::MAX).saturating_mul(1000),
    };
    let pods: Vec<Pod> = pods.into_iter().map(|pod| Pod { request: Some(request).filter(|&r| r > 0), ..pod }).collect();
    let is_cpu = resource == Resource::Cpu;
    if let Some(average) = &target.average_value {
        let proposal = calculator.over_pods(sample.replicas, &pods, Target::Average(average.millis()), is_cpu)?;
        let current = amount(resource, proposal.current);
        return Ok(proposed(proposal, format!("{name} {current} on average, target {average}")));
    }
    let Some(percent) = target.average_utilization else { return Err("no target is set".to_owned()) };
    let proposal = calculator.over_pods(sample.replicas, &pods, Target::Utilization(percent), is_cpu)?;
    Ok(proposed(proposal, format!("{name} at {}% of what is requested, target {percent}%", proposal.current)))
}

fn pods_metric(
    name: &str,
    target: &MetricTarget,
    calculator: &Calculator,
    sample: &Sample,
    window: Duration,
) -> Result<Proposed, String> {
    let Some(average) = &target.average_value else { return Err("no target is set".to_owned()) };
    let pods = pods(sample, window, |instance| per_instance(instance, name).map(thousandths));
    let proposal = calculator.over_pods(sample.replicas, &pods, Target::Average(average.millis()), false)?;
    Ok(proposed(proposal, format!("{name} {} on average, target {average}", Quantity::from_millis(proposal.current))))
}

/// A number that there is once.
fn single(
    name: &str,
    target: &MetricTarget,
    calculator: &Calculator,
    sample: &Sample,
    window: Duration,
) -> Result<Proposed, String> {
    let usage = thousandths(of_function(sample, name).ok_or_else(|| format!("{name} is not known"))?);
    let current = Quantity::from_millis(usage);
    if let Some(average) = &target.average_value {
        let there = sample.instances.iter().filter(|i| !i.is_draining).count() as u32;
        let proposal = calculator.per_pod(there, usage, average.millis());
        return Ok(proposed(proposal, format!("{name} {current}, target {average} per instance")));
    }
    let Some(value) = &target.value else { return Err("no target is set".to_owned()) };
    let pods = pods(sample, window, |_| None);
    let proposal = calculator.value(sample.replicas, &pods, usage, value.millis())?;
    Ok(proposed(proposal, format!("{name} {current}, target {value}")))
}

fn proposed(proposal: Proposal, text: String) -> Proposed {
    Proposed { replicas: proposal.replicas, text }
}

fn pods(sample: &Sample, window: Duration, value: impl Fn(&Instance) -> Option<i64>) -> Vec<Pod> {
    let pod = |instance: &Instance| Pod {
        is_gone: instance.is_draining,
        is_pending: !instance.is_ready && instance.startup.is_none() && value(instance).is_none(),
        started: Some(instance.age),
        ready: Some(Ready {
            is_ready: instance.is_ready,
            // One that was ready and is not: since when is not known, so since now, which is not since its start.
            since: match (instance.is_ready, instance.startup) {
                (true, startup) => instance.age.saturating_sub(startup.unwrap_or_default()),
                (false, None) => instance.age,
                (false, Some(_)) => Duration::ZERO,
            },
        }),
        request: None,
        metric: value(instance).map(|value| Metric { value, measured: Duration::ZERO, window }),
    };
    sample.instances.iter().map(pod).collect()
}

fn per_instance(instance: &Instance, name: &str) -> Option<f64> {
    instance.metrics.get(name).copied().or(match name {
        "processed_per_s" => Some(instance.processed_per_s),
        "busy" => Some(instance.busy),
        "concurrency" => Some(instance.concurrency),
        _ => None,
    })
}

/// What is known of a function by its name: what the sample says itself, or what the broker does.
pub(crate) fn of_function(sample: &Sample, name: &str) -> Option<f64> {
    let inputs = sample.inputs.as_ref();
    sample.metrics.get(name).copied().or(match name {
        "arrival_per_s" => inputs.map(|i| i.arrival_per_s),
        "backlog" => inputs.map(|i| i.backlog as f64),
        "oldest_s" => inputs.map(|i| i.oldest.as_secs_f64()),
        _ => None,
    })
}

/// Rounded up, as a quantity's `MilliValue` is.
fn thousandths(number: f64) -> i64 {
    // What is a whole number of thousandths but for the float it came in stays one.
    let thousandths = number * 1000.0;
    let whole = thousandths.round();
    let near = (thousandths - whole).abs() < 1e-6;
    (if near { whole } else { thousandths.ceil() }) as i64
}

fn amount(resource: Resource, thousandths: i64) -> String {
    match resource {
        Resource::Cpu => Quantity::from_millis(thousandths).to_string(),
        Resource::Memory => format!("{}Mi", thousandths / 1000 / (1 << 20)),
    }
}
