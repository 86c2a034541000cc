//! How many instances one metric asks for, before anything is limited or held back.
//!
//! Numbers are thousandths, as whole numbers, and divisions round as they do in Kubernetes: a ratio is taken of a whole per cent.
//!
//! Source: kubernetes/kubernetes `pkg/controller/podautoscaler/replica_calculator.go`, `metrics/utilization.go`.

use std::time::Duration;

/// How near to 1 a ratio is as good as 1, in each direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Tolerances {
    pub(super) down: f64,
    pub(super) up: f64,
}

impl Tolerances {
    fn covers(self, ratio: f64) -> bool {
        1.0 - self.down <= ratio && ratio <= 1.0 + self.up
    }
}

/// What is known of one instance. Points in time are told as how long ago they were.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pod {
    /// It goes, or has failed: it does not count at all.
    pub(super) is_gone: bool,
    /// It does not run yet.
    pub(super) is_pending: bool,
    pub(super) started: Option<Duration>,
    pub(super) ready: Option<Ready>,
    /// Thousandths of what it may have of the resource.
    pub(super) request: Option<i64>,
    pub(super) metric: Option<Metric>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ready {
    pub(super) is_ready: bool,
    /// When that changed last.
    pub(super) since: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Metric {
    /// Thousandths.
    pub(super) value: i64,
    pub(super) measured: Duration,
    /// It is the mean over so long.
    pub(super) window: Duration,
}

/// What a metric asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Proposal {
    pub(super) replicas: u32,
    /// What was compared with the target: per cent, or thousandths.
    pub(super) current: i64,
}

/// The controller manager's settings, and what `behavior` says instead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Calculator {
    pub(super) tolerances: Tolerances,
    pub(super) cpu_initialization_period: Duration,
    pub(super) initial_readiness_delay: Duration,
}

/// A metric that is compared over instances.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Target {
    /// Per cent of what is requested.
    Utilization(i32),
    /// Thousandths per instance.
    Average(i64),
}

/// Instances by what their metric is worth.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Groups {
    pub(super) ready: Vec<usize>,
    pub(super) unready: Vec<usize>,
    pub(super) missing: Vec<usize>,
}

impl Calculator {
    /// A resource or a metric that every instance has. `is_cpu`: of an instance that has just begun, it says nothing.
    ///
    /// # Errors
    /// What is missing, as a sentence.
    pub(super) fn over_pods(
        &self,
        current: u32,
        pods: &[Pod],
        target: Target,
        is_cpu: bool,
    ) -> Result<Proposal, String> {
        if pods.is_empty() {
            return Err("there are no instances".to_owned());
        }
        if pods.iter().all(|pod| pod.metric.is_none()) {
            return Err("no instance has this metric".to_owned());
        }
        let groups = self.group(pods, is_cpu);
        if groups.ready.is_empty() {
            return Err("no instance that is ready has this metric".to_owned());
        }
        let mut values: Vec<(usize, i64)> =
            groups.ready.iter().filter_map(|&i| Some((i, pods[i].metric?.value))).collect();
        let (ratio, usage) = ratio(pods, &values, target)?;
        let up_with_unready = !groups.unready.is_empty() && ratio > 1.0;
        if !up_with_unready && groups.missing.is_empty() {
            let replicas =
                if self.tolerances.covers(ratio) { current } else { ceil(ratio * groups.ready.len() as f64) };
            return Ok(Proposal { replicas, current: usage });
        }
        // Those without a metric use all they may on the way down and nothing on the way up; new ones nothing on the way up.
        if ratio < 1.0 {
            values.extend(groups.missing.iter().map(|&i| (i, full(&pods[i], target))));
        } else if ratio > 1.0 {
            values.extend(groups.missing.iter().map(|&i| (i, 0)));
        }
        if up_with_unready {
            values.extend(groups.unready.iter().map(|&i| (i, 0)));
        }
        let (again, _) = self::ratio(pods, &values, target)?;
        let replicas = ceil(again * values.len() as f64);
        let turns = (ratio < 1.0 && again > 1.0) || (ratio > 1.0 && again < 1.0);
        let against = (again < 1.0 && replicas > current) || (again > 1.0 && replicas < current);
        let keeps = self.tolerances.covers(again) || turns || against;
        Ok(Proposal { replicas: if keeps { current } else { replicas }, current: usage })
    }

    /// A number that should be `target`, whatever the number of instances. From none, its ratio is the number of instances.
    ///
    /// # Errors
    /// What is missing, as a sentence.
    pub(super) fn value(&self, current: u32, pods: &[Pod], usage: i64, target: i64) -> Result<Proposal, String> {
        let ratio = usage as f64 / target as f64;
        let replicas = if current == 0 {
            ceil(ratio)
        } else if self.tolerances.covers(ratio) {
            current
        } else if pods.is_empty() {
            return Err("there are no instances".to_owned());
        } else {
            let ready =
                pods.iter().filter(|pod| !pod.is_pending && pod.ready.is_some_and(|ready| ready.is_ready)).count();
            ceil(ratio * ready as f64)
        };
        Ok(Proposal { replicas, current: usage })
    }

    /// A number that should be `target` per instance; `there` are as many as count.
    pub(super) fn per_pod(&self, there: u32, usage: i64, target: i64) -> Proposal {
        let ratio = usage as f64 / (target as f64 * f64::from(there));
        let replicas = if self.tolerances.covers(ratio) { there } else { ceil(usage as f64 / target as f64) };
        let current = if usage == i64::MAX { usage } else { (usage as f64 / f64::from(there)).ceil() as i64 };
        Proposal { replicas, current }
    }

    pub(super) fn group(&self, pods: &[Pod], is_cpu: bool) -> Groups {
        let mut groups = Groups::default();
        for (i, pod) in pods.iter().enumerate().filter(|(_, pod)| !pod.is_gone) {
            let group = match &pod.metric {
                _ if pod.is_pending => &mut groups.unready,
                None => &mut groups.missing,
                Some(metric) if is_cpu && !self.says_something(pod, metric) => &mut groups.unready,
                Some(_) => &mut groups.ready,
            };
            group.push(i);
        }
        groups
    }

    /// Whether CPU used is of work and not of the start.
    fn says_something(&self, pod: &Pod, metric: &Metric) -> bool {
        let (Some(ready), Some(started)) = (pod.ready, pod.started) else { return false };
        if started < self.cpu_initialization_period {
            ready.is_ready && ready.since >= metric.measured + metric.window
        } else {
            // Not ready since its very start means that it never was.
            ready.is_ready || started >= ready.since + self.initial_readiness_delay
        }
    }
}

/// The metric's value over its target, and the value.
fn ratio(pods: &[Pod], values: &[(usize, i64)], target: Target) -> Result<(f64, i64), String> {
    let total: i128 = values.iter().map(|&(_, value)| i128::from(value)).sum();
    let whole = |number: i128| number.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64;
    match target {
        Target::Utilization(target) => {
            // One instance without a request is enough for utilization to mean nothing.
            if pods.iter().any(|pod| pod.request.is_none()) {
                return Err("there is no request to compare with".to_owned());
            }
            let requested: i128 = values.iter().filter_map(|&(i, _)| pods[i].request).map(i128::from).sum();
            if requested == 0 {
                return Err("there is no request to compare with".to_owned());
            }
            let utilization = whole(total * 100 / requested);
            Ok((utilization as f64 / f64::from(target), utilization))
        }
        Target::Average(target) => {
            let usage = whole(total / values.len().max(1) as i128);
            Ok((usage as f64 / target as f64, usage))
        }
    }
}

/// What an instance without a metric is taken to use on the way down.
fn full(pod: &Pod, target: Target) -> i64 {
    match target {
        Target::Utilization(target) => {
            let percent = i128::from(target.max(100));
            (i128::from(pod.request.unwrap_or(0)) * percent / 100).min(i128::from(i64::MAX)) as i64
        }
        Target::Average(target) => target,
    }
}

fn ceil(replicas: f64) -> u32 {
    replicas.ceil().clamp(0.0, f64::from(i32::MAX)) as u32
}
