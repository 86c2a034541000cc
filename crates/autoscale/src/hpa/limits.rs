//! What is held back and limited of what metrics ask for.
//!
//! Source: kubernetes/kubernetes `pkg/controller/podautoscaler/horizontal.go`, defaults in `pkg/apis/autoscaling/v2/defaults.go`.

use super::{Behavior, ScalingPolicy, ScalingPolicyType, ScalingRules, SelectPolicy};
use std::time::Duration;

/// Without `behavior`, at most so many times as many instances in one decision ...
const UP_FACTOR: u32 = 2;
/// ... or so many, whichever is more.
const UP_AT_LEAST: u32 = 4;

/// A number with what Kubernetes calls the reason of its condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limited {
    pub(super) replicas: u32,
    pub(super) reason: &'static str,
}

/// What was asked for and done lately: when, and how many. What is too old is replaced one by one, as upstream does, which matters
/// where the policies of the two directions look back differently far.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    pub(super) recommendations: Vec<(Duration, u32)>,
    pub(super) ups: Vec<(Duration, u32)>,
    pub(super) downs: Vec<(Duration, u32)>,
}

/// Rules with nothing left open.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rules {
    pub(super) window: Duration,
    pub(super) select: SelectPolicy,
    pub(super) policies: Vec<ScalingPolicy>,
}

impl Rules {
    pub(super) fn up(behavior: &Behavior) -> Self {
        let policies = vec![policy(ScalingPolicyType::Pods, 4), policy(ScalingPolicyType::Percent, 100)];
        Self::of(behavior.scale_up.as_ref(), Duration::ZERO, policies)
    }

    pub(super) fn down(behavior: &Behavior, window: Duration) -> Self {
        Self::of(behavior.scale_down.as_ref(), window, vec![policy(ScalingPolicyType::Percent, 100)])
    }

    fn of(rules: Option<&ScalingRules>, window: Duration, policies: Vec<ScalingPolicy>) -> Self {
        let none = ScalingRules::default();
        let rules = rules.unwrap_or(&none);
        let seconds = |seconds: i32| Duration::from_secs(u64::from(seconds.unsigned_abs()));
        Self {
            window: rules.stabilization_window_seconds.map_or(window, seconds),
            select: rules.select_policy.unwrap_or(SelectPolicy::Max),
            policies: rules.policies.clone().unwrap_or(policies),
        }
    }
}

fn policy(kind: ScalingPolicyType, value: i32) -> ScalingPolicy {
    ScalingPolicy { kind, value, period_seconds: 15 }
}

fn period(policy: &ScalingPolicy) -> Duration {
    Duration::from_secs(u64::from(policy.period_seconds.unsigned_abs()))
}

impl History {
    /// Without `behavior`: the most that was asked for within `window`, no more than twice what there is.
    pub(super) fn without_behavior(
        &mut self,
        now: Duration,
        window: Duration,
        current: u32,
        desired: u32,
        min: u32,
        max: u32,
    ) -> (Limited, Limited) {
        let kept = self.recommendations.iter().filter(|(at, _)| *at + window >= now);
        let most = kept.map(|&(_, replicas)| replicas).max().unwrap_or(0).max(desired);
        remember(&mut self.recommendations, (now, desired), |at| at + window < now);
        let held = Limited { replicas: most, reason: held(most, desired, "ScaleDownStabilized") };
        (held, without_rules(current, most, min, max))
    }

    /// With `behavior`: what was asked for within each direction's window bounds the change, its policies the speed.
    pub(super) fn with_behavior(
        &mut self,
        now: Duration,
        up: &Rules,
        down: &Rules,
        current: u32,
        desired: u32,
        min: u32,
        max: u32,
    ) -> (Limited, Limited) {
        let within = |window: Duration| {
            let recent = move |&&(at, _): &&(Duration, u32)| at + window > now;
            self.recommendations.iter().filter(recent).map(|&(_, replicas)| replicas)
        };
        let least = within(up.window).min().unwrap_or(desired).min(desired);
        let most = within(down.window).max().unwrap_or(desired).max(desired);
        let stable = current.max(least).min(most);
        let kept = up.window.max(down.window);
        remember(&mut self.recommendations, (now, desired), |at| at + kept < now);
        let reason = if desired >= current { "ScaleUpStabilized" } else { "ScaleDownStabilized" };
        let held = Limited { replicas: stable, reason: held(stable, desired, reason) };
        (held, self.limited(now, up, down, current, stable, min, max))
    }

    pub(super) fn limited(
        &self,
        now: Duration,
        up: &Rules,
        down: &Rules,
        current: u32,
        desired: u32,
        min: u32,
        max: u32,
    ) -> Limited {
        if desired > current {
            let limit = self.limit(now, up, current, 1).max(i64::from(current));
            let (most, reason) =
                if i64::from(max) > limit { (limit as u32, "ScaleUpLimit") } else { (max, "TooManyReplicas") };
            if desired > most {
                return Limited { replicas: most, reason };
            }
        } else if desired < current {
            let limit = self.limit(now, down, current, -1).min(i64::from(current));
            let (least, reason) =
                if i64::from(min) < limit { (limit as u32, "ScaleDownLimit") } else { (min, "TooFewReplicas") };
            if desired < least {
                return Limited { replicas: least, reason };
            }
        }
        Limited { replicas: desired, reason: "DesiredWithinRange" }
    }

    /// The number that policies allow in a direction, 1 or -1: each counts from what there was at the begin of its period.
    pub(super) fn limit(&self, now: Duration, rules: &Rules, current: u32, direction: i64) -> i64 {
        let allowed = rules.policies.iter().map(|policy| {
            let since = |events: &[(Duration, u32)]| {
                let recent = events.iter().filter(|&&(at, _)| at + period(policy) > now);
                recent.map(|&(_, change)| i64::from(change)).sum::<i64>()
            };
            let start = i64::from(current) - since(&self.ups) + since(&self.downs);
            let share = f64::from(policy.value) / 100.0;
            match policy.kind {
                ScalingPolicyType::Pods => start + direction * i64::from(policy.value),
                // Rounded up both ways, so that a small share of few instances is one more, or none less.
                ScalingPolicyType::Percent if direction > 0 => (start as f64 * (1.0 + share)).ceil() as i64,
                ScalingPolicyType::Percent => (start as f64 * (1.0 - share)) as i64,
            }
        });
        let limit = match rules.select {
            SelectPolicy::Disabled => None,
            // The most change is the most instances in one direction, and the fewest in the other.
            SelectPolicy::Max if direction > 0 => allowed.max(),
            SelectPolicy::Min if direction < 0 => allowed.max(),
            SelectPolicy::Max | SelectPolicy::Min => allowed.min(),
        };
        limit.unwrap_or(i64::from(current)).clamp(i64::from(i32::MIN), i64::from(i32::MAX))
    }

    /// Remembers a change.
    pub(super) fn changed(&mut self, now: Duration, up: &Rules, down: &Rules, before: u32, after: u32) {
        let (events, rules) = if after > before { (&mut self.ups, up) } else { (&mut self.downs, down) };
        let longest = rules.policies.iter().map(period).max().unwrap_or_default();
        remember(events, (now, after.abs_diff(before)), |at| at + longest < now);
    }
}

fn remember(list: &mut Vec<(Duration, u32)>, entry: (Duration, u32), is_old: impl Fn(Duration) -> bool) {
    match list.iter().rposition(|&(at, _)| is_old(at)) {
        Some(old) => list[old] = entry,
        None => list.push(entry),
    }
}

fn held(stable: u32, desired: u32, reason: &'static str) -> &'static str {
    if stable == desired { "ReadyForNewScale" } else { reason }
}

/// The bounds where there is no `behavior`.
pub(super) fn without_rules(current: u32, desired: u32, min: u32, max: u32) -> Limited {
    let limit = current.saturating_mul(UP_FACTOR).max(UP_AT_LEAST);
    let (most, reason) = if max > limit { (limit, "ScaleUpLimit") } else { (max, "TooManyReplicas") };
    if desired < min {
        Limited { replicas: min, reason: "TooFewReplicas" }
    } else if desired > most {
        Limited { replicas: most, reason }
    } else {
        Limited { replicas: desired, reason: "DesiredWithinRange" }
    }
}
