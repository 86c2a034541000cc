//! Which instances are replaced, so that they get what is recommended.
//!
//! Source: kubernetes/autoscaler `vertical-pod-autoscaler/pkg/updater/priority/{update_priority_calculator,priority_processor,
//! scaling_direction_pod_eviction_admission}.go`, `pkg/updater/restriction`, and the defaults in `pkg/updater/main.go`.

use super::{ControlledValues, EvictionChangeRequirement, Recommendation, Resources, Spec, UpdateMode};
use std::time::Duration;

/// `--in-recommendation-bounds-eviction-lifetime-threshold`.
const LIFETIME: Duration = Duration::from_secs(12 * 3600);
/// `--pod-update-threshold`.
const DIFFERENCE: f64 = 0.1;
/// `--evict-after-oom-threshold`.
const SOON_OUT_OF_MEMORY: Duration = Duration::from_secs(600);
/// `--min-replicas`.
const REPLICAS_MIN: i32 = 2;

/// An instance that may be replaced.
#[derive(Debug, Clone, Default)]
pub struct Candidate {
    /// What it was started with.
    pub requests: Resources,
    /// How long it runs.
    pub age: Duration,
    /// The last time it was killed for its memory, it had run for so long.
    pub out_of_memory_after: Option<Duration>,
}

impl Spec {
    /// How a recommendation reaches instances; `Recreate` where nothing is said, and for the deprecated `Auto`.
    pub fn update_mode(&self) -> UpdateMode {
        match self.update_policy.as_ref().and_then(|policy| policy.update_mode) {
            None | Some(UpdateMode::Auto) => UpdateMode::Recreate,
            Some(mode) => mode,
        }
    }

    /// Whether limits follow requests.
    pub fn controlled_values(&self, container: &str) -> ControlledValues {
        self.policy_of(container).controlled_values.unwrap_or(ControlledValues::RequestsAndLimits)
    }

    /// Whether instances may be replaced when so many are alive.
    pub fn may_replace(&self, alive: usize) -> bool {
        let replaces = !matches!(self.update_mode(), UpdateMode::Off | UpdateMode::Initial);
        let least = self.update_policy.as_ref().and_then(|policy| policy.min_replicas).unwrap_or(REPLICAS_MIN);
        replaces && i32::try_from(alive).unwrap_or(i32::MAX) >= least
    }

    /// Why this instance should be replaced; `None`: it stays.
    pub fn replaces(&self, recommendation: &Recommendation, candidate: &Candidate) -> Option<&'static str> {
        let all = [
            Compared::of(recommendation, &candidate.requests, |of| &of.cpu),
            Compared::of(recommendation, &candidate.requests, |of| &of.memory),
        ];
        let difference: f64 = all.iter().flatten().map(Compared::difference).sum();
        let was_soon_out = candidate.out_of_memory_after.is_some_and(|after| after < SOON_OUT_OF_MEMORY);
        let why = if was_soon_out {
            (difference > 0.0).then_some("it ran out of memory soon after its start")
        } else if all.iter().flatten().any(|one| one.is_outside) {
            Some("what it requests is outside the recommended range")
        } else {
            (candidate.age >= LIFETIME && difference >= DIFFERENCE)
                .then_some("what it requests is off the target for long")
        };
        why.filter(|_| self.admits(&all))
    }

    /// Whether what changes is what may: each requirement by one resource at least.
    fn admits(&self, all: &[Option<Compared>; 2]) -> bool {
        let [Some(cpu), Some(memory)] = all else { return true };
        let requirements = self.update_policy.iter().flat_map(|policy| &policy.eviction_requirements);
        let (Some(_), Some(_)) = (cpu.request, memory.request) else { return true };
        requirements.clone().all(|requirement| {
            requirement.resources.iter().any(|resource| {
                let one = if resource == "cpu" { cpu } else { memory };
                match requirement.change_requirement {
                    EvictionChangeRequirement::TargetHigherThanRequests => one.target > one.request.unwrap_or(0),
                    EvictionChangeRequirement::TargetLowerThanRequests => one.target < one.request.unwrap_or(0),
                }
            })
        })
    }
}

/// What is requested of one resource, in thousandths, beside what is recommended.
#[derive(Debug, Clone, Copy)]
struct Compared {
    target: i64,
    request: Option<i64>,
    is_outside: bool,
}

impl Compared {
    fn of(
        recommendation: &Recommendation,
        requests: &Resources,
        which: impl Fn(&Resources) -> &Option<crate::Quantity>,
    ) -> Option<Self> {
        let target = which(&recommendation.target).as_ref()?;
        let request = which(requests).as_ref();
        let is_within = |request: &crate::Quantity| {
            which(&recommendation.lower_bound).as_ref().is_none_or(|lower| request >= lower)
                && which(&recommendation.upper_bound).as_ref().is_none_or(|upper| request <= upper)
        };
        let millis = |quantity: &crate::Quantity| quantity.millis();
        Some(Self { target: millis(target), request: request.map(millis), is_outside: !request.is_some_and(is_within) })
    }

    fn difference(&self) -> f64 {
        let request = self.request.unwrap_or(0).max(1) as f64;
        (request - self.target as f64).abs() / request
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn resources(cpu: &str, memory: &str) -> Resources {
        Resources { cpu: Some(cpu.parse().unwrap()), memory: Some(memory.parse().unwrap()) }
    }

    fn spec(update_policy: serde_json::Value) -> Spec {
        serde_json::from_value(json!({"updatePolicy": update_policy})).unwrap()
    }

    /// Between 100m and 400m, 256Mi and 1Gi.
    fn recommendation() -> Recommendation {
        Recommendation {
            target: resources("200m", "512Mi"),
            lower_bound: resources("100m", "256Mi"),
            upper_bound: resources("400m", "1Gi"),
            uncapped_target: resources("200m", "512Mi"),
        }
    }

    fn check(spec: &Spec, candidate: Candidate, replaced: bool) {
        let why = spec.replaces(&recommendation(), &candidate);
        assert_eq!(why.is_some(), replaced, "{candidate:?}: {why:?}");
    }

    fn running(cpu: &str, memory: &str, hours: u64) -> Candidate {
        let age = Duration::from_secs(hours * 3600);
        Candidate { requests: resources(cpu, memory), age, out_of_memory_after: None }
    }

    #[test]
    fn what_is_outside_the_range_goes_and_what_is_inside_goes_after_half_a_day_when_it_is_worth_it() {
        let plain = Spec::default();
        check(&plain, running("99m", "512Mi", 0), true);
        check(&plain, running("200m", "2Gi", 0), true);
        check(&plain, running("100m", "1Gi", 11), false);
        check(&plain, running("100m", "512Mi", 12), true);
        check(&plain, running("190m", "512Mi", 12), false);
        let unknown =
            Candidate { requests: Resources { cpu: None, ..resources("0", "512Mi") }, ..running("0", "0", 0) };
        check(&plain, unknown, true);
    }

    #[test]
    fn who_ran_out_of_memory_soon_goes_where_that_changes_anything() {
        let killed = |cpu, after| Candidate {
            out_of_memory_after: Some(Duration::from_secs(after)),
            ..running(cpu, "512Mi", 0)
        };
        check(&Spec::default(), killed("150m", 599), true);
        check(&Spec::default(), killed("150m", 600), false);
        check(&Spec::default(), killed("200m", 10), false);
    }

    #[test]
    fn modes_and_numbers_and_directions_hold_it_back() {
        let may = |policy, alive| spec(policy).may_replace(alive);
        assert!(!may(json!({}), 1) && may(json!({}), 2) && may(json!({"minReplicas": 1}), 1));
        for mode in ["Off", "Initial"] {
            assert!(!may(json!({"updateMode": mode}), 5), "{mode}");
        }
        for mode in ["Auto", "Recreate", "InPlaceOrRecreate"] {
            assert!(may(json!({"updateMode": mode}), 5), "{mode}");
        }
        let up = json!({"evictionRequirements": [{"resources": ["cpu", "memory"], "changeRequirement": "TargetHigherThanRequests"}]});
        check(&spec(up.clone()), running("50m", "2Gi", 0), true);
        check(&spec(up), running("500m", "2Gi", 0), false);
    }
}
