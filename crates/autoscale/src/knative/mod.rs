//! Knative's KPA: concurrency per instance, with a panic window.
//!
//! Every `tick_interval` the mean concurrency of the last minute, and of its last tenth, is divided by the target. When the short mean
//! asks for twice of what is ready, panic begins: for a minute from the last such moment the larger of the two counts, and nothing goes.
//!
//! What a request is to Knative, wherever it waits (in the queue-proxy, in the activator), is a message not acknowledged here.
//!
//! Source: knative/serving `pkg/autoscaler/scaling/autoscaler.go`, `pkg/reconciler/autoscaling/kpa/scaler.go`.

mod spec;

pub use spec::Spec;

use crate::{Decision, Policy, Sample, decision::bounded};
use std::{collections::VecDeque, time::Duration};

/// What an instance may work on where nothing says how much. Knative: `container-concurrency-target-default`.
const CONCURRENCY_DEFAULT: f64 = 100.0;
/// Smaller targets are no targets.
const TARGET_MIN: f64 = 0.01;

/// The policy for functions that all have the same [`Spec`].
pub struct Knative {
    spec: Spec,
    deciders: Vec<Decider>,
}

impl Knative {
    /// Nothing is known of any function.
    pub fn new(spec: Spec) -> Self {
        Self { spec, deciders: Vec::new() }
    }
}

impl Policy for Knative {
    fn decide(&mut self, samples: &[Sample]) -> Vec<Decision> {
        self.deciders.resize_with(samples.len(), Decider::default);
        self.deciders.iter_mut().zip(samples).map(|(decider, sample)| decider.decide(&self.spec, sample)).collect()
    }

    fn period(&self) -> Duration {
        self.spec.tick_interval
    }
}

/// What is remembered of one function.
#[derive(Default)]
struct Decider {
    ticked: Option<Duration>,
    /// When, and how many messages there were since the look before.
    concurrency: VecDeque<(Duration, f64)>,
    panic: Option<Duration>,
    panic_most: u32,
    /// Decisions of the scale-down delay.
    delayed: VecDeque<(Duration, u32)>,
    active: Option<Duration>,
    inactive: Option<Duration>,
    /// Since when messages would wait in the activator instead of at an instance.
    proxied: Option<Duration>,
    said: Option<(String, String)>,
}

impl Decider {
    fn decide(&mut self, spec: &Spec, sample: &Sample) -> Decision {
        let is_new = self.see(spec, sample);
        match (&self.said, self.ticked) {
            (Some((code, text)), Some(ticked)) if !is_new || sample.at < ticked + spec.tick_interval => {
                Decision::keep(sample, code, text.as_str())
            }
            _ if self.concurrency.is_empty() => Decision::keep(sample, "NoSample", "no message has been counted yet"),
            _ => {
                self.ticked = Some(sample.at);
                let decision = self.tick(spec, sample);
                self.said = Some((decision.reason.code.clone(), decision.reason.text.clone()));
                decision
            }
        }
    }

    fn see(&mut self, spec: &Spec, sample: &Sample) -> bool {
        if self.active.is_none() {
            self.active = Some(sample.at);
            // After a start nothing is remembered, so what there is stays until something is.
            if sample.replicas > 1 {
                (self.panic, self.panic_most) = (Some(sample.at), sample.replicas);
            }
        }
        if self.concurrency.back().is_some_and(|&(at, _)| at >= sample.at) {
            return false;
        }
        // What waits is counted now; what was done between two looks, only those who did it have seen.
        let finite = |number: f64| if number.is_finite() { number.max(0.0) } else { 0.0 };
        let in_hand: f64 = sample.instances.iter().map(|i| finite(i.concurrency)).sum();
        let waiting = sample.inputs.as_ref().map_or(0.0, |inputs| inputs.backlog as f64);
        self.concurrency.push_back((sample.at, waiting.max(in_hand)));
        while self.concurrency.front().is_some_and(|&(at, _)| at + spec.stable_window < sample.at) {
            self.concurrency.pop_front();
        }
        true
    }

    /// Over the looks of the last `window`; each stands for the time since the one before it.
    fn mean(&self, now: Duration, window: Duration) -> f64 {
        let begin = now.saturating_sub(window);
        let (mut sum, mut length, mut end) = (0.0, 0.0, now);
        for (i, &(at, concurrency)) in self.concurrency.iter().enumerate().rev() {
            let since = if i == 0 { at } else { self.concurrency[i - 1].0 };
            let share = end.saturating_sub(since.max(begin)).as_secs_f64();
            sum += concurrency * share;
            length += share;
            end = since;
            if since <= begin {
                break;
            }
        }
        let last = self.concurrency.back().map_or(0.0, |&(_, concurrency)| concurrency);
        if length > 0.0 { sum / length } else { last }
    }

    fn tick(&mut self, spec: &Spec, sample: &Sample) -> Decision {
        let now = sample.at;
        let ready = sample.instances.iter().filter(|i| i.is_ready && !i.is_draining).count();
        let there = (ready as f64).max(1.0);
        let full = spec.full(sample.concurrency_max);
        let target = (full * spec.target_utilization_percentage / 100.0).max(TARGET_MIN);
        let stable = self.mean(now, spec.stable_window);
        let short = self.mean(now, spec.stable_window.mul_f64(spec.panic_window_percentage / 100.0));
        let most = (spec.max_scale_up_rate * there).ceil();
        let least = (there / spec.max_scale_down_rate).floor();
        let wanted = |mean: f64| {
            let wanted = (mean / target).ceil();
            let replicas = wanted.max(least).min(most) as u32;
            if wanted > 0.0 { replicas.max(spec.activation_scale) } else { replicas }
        };
        let (by_stable, by_short) = (wanted(stable), wanted(short));
        if (short / target).ceil() / there >= spec.panic_threshold_percentage / 100.0 {
            self.panic = Some(now);
        } else if self.panic.is_some_and(|since| since + spec.stable_window < now) {
            (self.panic, self.panic_most) = (None, 0);
        }
        let mut desired = by_stable;
        if self.panic.is_some() {
            self.panic_most = self.panic_most.max(by_stable).max(by_short);
            desired = self.panic_most;
        }
        self.delayed.retain(|&(at, _)| at + spec.scale_down_delay > now);
        self.delayed.push_back((now, desired));
        desired = self.delayed.iter().map(|&(_, replicas)| replicas).max().unwrap_or(desired);

        let has_room = full * ready as f64 - spec.target_burst_capacity - short >= 0.0;
        self.proxied = if has_room { None } else { self.proxied.or(Some(now)) };
        let (replicas, is_held) = self.last_one(spec, sample, bounded(sample, desired));
        let mode = if self.panic.is_some() { "Panicking" } else { "Stable" };
        let code = if is_held { "ScaleToZeroDelayed" } else { mode };
        let text = format!(
            "{stable:.1} messages at a time in the last {:.0}s and {short:.1} lately, {target:.1} per instance: {by_stable} and {by_short}, {replicas} it is",
            spec.stable_window.as_secs_f64()
        );
        Decision::within(sample, replicas, code, text)
    }

    /// The last instance goes when the function was active for the stable window, and messages have a place to wait.
    fn last_one(&mut self, spec: &Spec, sample: &Sample, desired: u32) -> (u32, bool) {
        let now = sample.at;
        if desired > 0 {
            if self.inactive.take().is_some() || sample.replicas == 0 {
                self.active = Some(now);
            }
            return (desired, false);
        }
        if sample.replicas == 0 {
            return (0, false);
        }
        if self.inactive.is_none() && self.active.is_some_and(|active| now < active + spec.stable_window) {
            return (1, true);
        }
        let idle = now - *self.inactive.get_or_insert(now);
        let proxied = now - *self.proxied.get_or_insert(now);
        let retention = spec.scale_to_zero_pod_retention_period;
        let may_go = idle >= retention
            && (proxied >= spec.scale_to_zero_grace_period || idle >= spec.scale_to_zero_grace_period);
        if may_go { (0, false) } else { (sample.replicas, true) }
    }
}

impl Spec {
    /// Messages per instance at full use.
    fn full(&self, concurrency_max: u32) -> f64 {
        let hard = (concurrency_max > 0).then(|| f64::from(concurrency_max));
        match (self.target, hard) {
            (Some(target), Some(hard)) => target.min(hard),
            (Some(target), None) => target,
            (None, hard) => hard.unwrap_or(CONCURRENCY_DEFAULT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Inputs, Instance};

    struct Play {
        policy: Knative,
        replicas: u32,
        now: u64,
        code: String,
    }

    impl Play {
        fn new(json: &str, replicas: u32) -> Self {
            let policy = Knative::new(serde_json::from_str(json).expect(json));
            Self { policy, replicas, now: 0, code: String::new() }
        }

        /// So long with so many messages; whatever is wanted is ready at once.
        fn run(&mut self, seconds: u64, messages: u64) -> u32 {
            for _ in 0..seconds {
                let ready = Instance { is_ready: true, startup: Some(Duration::ZERO), ..Instance::default() };
                let sample = Sample {
                    at: Duration::from_secs(self.now),
                    replicas: self.replicas,
                    max: 100,
                    instances: vec![ready; self.replicas as usize],
                    inputs: Some(Inputs { backlog: messages, ..Inputs::default() }),
                    ..Sample::default()
                };
                self.now += 1;
                let decision = self.policy.decide(&[sample]).remove(0);
                (self.replicas, self.code) = (decision.replicas, decision.reason.code);
            }
            self.replicas
        }
    }

    #[test]
    fn as_many_as_the_mean_asks_for() {
        let mut play = Play::new(r#"{"target": 10}"#, 1);
        // ceil(50 / (10 x 0.7)) from the begin, since the mean is over what there is.
        assert_eq!(play.run(3, 50), 8);
        assert_eq!(play.run(60, 50), 8);
    }

    #[test]
    fn a_burst_panics_and_nothing_goes_for_a_minute() {
        let mut play = Play::new(r#"{"target": 10}"#, 1);
        play.run(120, 7);
        assert_eq!((play.replicas, play.code.as_str()), (1, "Stable"));
        // Within the panic window of six seconds its mean is there, long before that of the minute.
        assert_eq!(play.run(8, 70), 10);
        assert_eq!(play.code, "Panicking");
        play.run(50, 7);
        assert_eq!(play.replicas, 10);
        play.run(70, 7);
        assert_eq!((play.replicas, play.code.as_str()), (1, "Stable"));
    }

    #[test]
    fn no_more_than_the_rates_allow() {
        let mut play = Play::new(r#"{"target": 1, "maxScaleUpRate": 2, "targetUtilizationPercentage": 100}"#, 1);
        assert_eq!(play.run(1, 100), 2);
        assert_eq!(play.run(2, 100), 4);
        let mut play = Play::new(r#"{"target": 1}"#, 1);
        play.run(2, 70);
        assert_eq!(play.replicas, 100);
        // Half in each tick, once the minute has forgotten.
        play.run(121, 0);
        let before = play.replicas;
        play.run(2, 0);
        assert!(play.replicas >= before / 2 && play.replicas < 100, "{before} {}", play.replicas);
    }

    #[test]
    fn to_none_a_minute_after_the_last_message_and_back() {
        let mut play = Play::new("{}", 1);
        play.run(100, 1);
        assert_eq!(play.run(59, 0), 1);
        assert_eq!(play.run(4, 0), 0);
        assert_eq!(play.run(2, 1), 1);
        let mut slow = Play::new(r#"{"scaleToZeroPodRetentionPeriod": "100s"}"#, 1);
        slow.run(100, 1);
        assert_eq!(slow.run(150, 0), 1);
        assert_eq!(slow.code, "ScaleToZeroDelayed");
        assert_eq!(slow.run(15, 0), 0);
    }

    #[test]
    fn what_there_is_after_a_start_stays_until_something_is_known() {
        let mut play = Play::new("{}", 5);
        assert_eq!(play.run(50, 0), 5);
        assert_eq!(play.code, "Panicking");
    }
}
