//! Who is compared, and how each is configured.
//!
//! Each of the others is there as upstream ships it, and once more as someone would set it who knows what a message costs and how old
//! it may be.

use crate::{Error, Setting, Ticks, Trace, engine::Rules};
use autoscale::{PolicySpec, Spec, hpa, keda, knative, rate};
use std::time::Duration;

/// How often Kubernetes' metrics server looks: `--metric-resolution`.
const METRICS_SERVER: Duration = Duration::from_secs(15);

/// One who is compared.
#[derive(Debug, Clone)]
pub struct Contender {
    /// How it is asked for.
    pub name: String,
    /// How it is configured.
    pub about: String,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// The cheapest plan that keeps the target, made with the messages known.
    Oracle,
    /// The smallest number that keeps the target, found with the messages known.
    Fixed,
    /// A policy, as a manifest would configure it.
    Policy { spec: Spec, rules: Rules },
}

/// The names that [`Contender::named`] knows; ours is first.
pub const POLICIES: [&str; 11] = [
    "rate",
    "hpa-80",
    "hpa-50",
    "hpa-20",
    "hpa-tuned",
    "keda",
    "keda-tuned",
    "knative",
    "knative-tuned",
    "fixed",
    "oracle",
];

impl Contender {
    /// All that come with the simulation.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub fn all(setting: &Setting, trace: &Trace) -> Result<Vec<Self>, Error> {
        POLICIES.iter().map(|name| Self::named(name, setting, trace)).collect()
    }

    /// One of those that come with the simulation. Those who tune know the trace's functions, not what will come.
    ///
    /// # Errors
    /// [`Error::NoPolicy`], [`Error::Setting`].
    pub fn named(name: &str, setting: &Setting, trace: &Trace) -> Result<Self, Error> {
        let hpa = |percent: i32, behavior| {
            let metrics = vec![hpa::MetricSpec::utilization("cpu", percent)];
            PolicySpec::Hpa(hpa::Spec { metrics, behavior, ..hpa::Spec::default() })
        };
        // All at once where it is needed, and back after a minute.
        let quick = || {
            let all = hpa::ScalingPolicy {
                kind: hpa::ScalingPolicyType::Pods,
                value: setting.max as i32,
                period_seconds: 15,
            };
            let scale_up = hpa::ScalingRules { policies: Some(vec![all]), ..hpa::ScalingRules::default() };
            let scale_down =
                hpa::ScalingRules { stabilization_window_seconds: Some(60), ..hpa::ScalingRules::default() };
            Some(hpa::Behavior { scale_up: Some(scale_up), scale_down: Some(scale_down) })
        };
        let (min, policy, about) = match name {
            "oracle" | "fixed" => {
                let (kind, about) = match name {
                    "oracle" => (Kind::Oracle, "the cheapest plan for the target, by one who knows each message"),
                    _ => (Kind::Fixed, "the smallest number for the target, by one who knows each message"),
                };
                return Ok(Self { name: name.to_owned(), about: about.to_owned(), kind });
            }
            "rate" => {
                let spec = rate::Spec { target_age: setting.target, ..rate::Spec::default() };
                (0, PolicySpec::Rate(spec), "ours, told the target".to_owned())
            }
            "hpa-80" => (1, hpa(80, None), "AverageUtilizationCPUPercent80, all else as Kubernetes has it".into()),
            "hpa-50" => (1, hpa(50, None), "AverageUtilizationCPUPercent50, all else as Kubernetes has it".into()),
            "hpa-20" => (1, hpa(20, None), "AverageUtilizationCPUPercent20, all else as Kubernetes has it".into()),
            "hpa-tuned" => {
                let percent = ((70.0 * setting.cpu_share).round() as i32).max(1);
                (
                    1,
                    hpa(percent, quick()),
                    format!("{percent} % CPU, 70 % of a busy instance's; up at once, down after 60 s"),
                )
            }
            "keda" => {
                (0, PolicySpec::Keda(keda::Spec::default()), "pulsar trigger, threshold 10, all as shipped".into())
            }
            "keda-tuned" => {
                let service = trace.stages.iter().map(|stage| stage.service).max().unwrap_or_default();
                let part = setting.target / trace.stages.len().max(1) as u32;
                let in_time = part.div_duration_f64(service.max(Duration::from_millis(1)));
                let threshold = (in_time / 2.0).floor().max(1.0) as u64;
                let spec = keda::Spec {
                    msg_backlog_threshold: threshold,
                    polling_interval: Duration::from_secs(5),
                    cooldown_period: Duration::from_secs(60),
                    behavior: quick(),
                    ..keda::Spec::default()
                };
                let about = format!(
                    "threshold {threshold}, half of what an instance does in the target; polls each 5 s, up at once, down after 60 s"
                );
                (0, PolicySpec::Keda(spec), about)
            }
            "knative" => {
                (0, PolicySpec::Knative(knative::Spec::default()), "70 % of containerConcurrency 1, as shipped".into())
            }
            "knative-tuned" => {
                let spec = knative::Spec {
                    target_utilization_percentage: 85.0,
                    stable_window: Duration::from_secs(30),
                    panic_window_percentage: 20.0,
                    ..knative::Spec::default()
                };
                (0, PolicySpec::Knative(spec), "85 % of containerConcurrency 1, window 30 s, panic window 6 s".into())
            }
            _ => {
                let known = POLICIES.iter().map(|name| (*name).to_owned()).collect();
                return Err(Error::NoPolicy { name: name.to_owned(), known });
            }
        };
        Self::of(name, about, Spec::new(min, setting.max, policy), setting)
    }

    /// A policy of one's own.
    ///
    /// # Errors
    /// [`Error::Setting`]: the specification is wrong.
    pub fn of(name: &str, about: impl Into<String>, mut spec: Spec, setting: &Setting) -> Result<Self, Error> {
        spec.max_replicas = setting.max;
        spec.min_replicas = spec.min_replicas.min(setting.max);
        if let Ticks::Equal(tick) = setting.ticks {
            match &mut spec.policy {
                PolicySpec::Rate(spec) => spec.period = tick,
                PolicySpec::Hpa(spec) => spec.sync_period = tick,
                PolicySpec::Keda(spec) => (spec.sync_period, spec.polling_interval) = (tick, tick),
                PolicySpec::Knative(spec) => spec.tick_interval = tick,
            }
        }
        if let Some(problem) = spec.check().first() {
            return Err(Error::Setting(format!("policy {name}: {problem}")));
        }
        let looks_at_cpu = matches!(spec.policy, PolicySpec::Hpa(_));
        let rules = Rules {
            min: spec.min_replicas,
            period: match setting.ticks {
                Ticks::Equal(tick) => tick,
                Ticks::Native => spec.policy().period().max(Duration::from_millis(10)),
            },
            scrape: Some(METRICS_SERVER).filter(|_| looks_at_cpu && setting.ticks == Ticks::Native),
            // KEDA polls; ours and Knative's activator are told.
            wakes: matches!(spec.policy, PolicySpec::Rate(_) | PolicySpec::Knative(_)),
            initial: 1,
        };
        Ok(Self { name: name.to_owned(), about: about.into(), kind: Kind::Policy { spec, rules } })
    }

    /// What a manifest would say, where it is a policy.
    pub fn spec(&self) -> Option<&Spec> {
        match &self.kind {
            Kind::Policy { spec, .. } => Some(spec),
            Kind::Oracle | Kind::Fixed => None,
        }
    }

    /// It is no policy, but what there is to compare with.
    pub fn knows_the_future(&self) -> bool {
        matches!(self.kind, Kind::Oracle | Kind::Fixed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step() -> Trace {
        Trace::named("step").unwrap()
    }

    #[test]
    fn every_name_is_a_policy() {
        for ticks in [Ticks::Native, Ticks::Equal(Duration::from_secs(1))] {
            let setting = Setting { ticks, ..Setting::default() };
            let all = Contender::all(&setting, &step()).unwrap();
            assert_eq!(all.iter().map(|contender| contender.name.as_str()).collect::<Vec<_>>(), POLICIES);
        }
        let error = Contender::named("hpa-30", &Setting::default(), &step()).unwrap_err().to_string();
        assert!(error.contains("hpa-20"), "{error}");
    }

    #[test]
    fn with_equal_ticks_nobody_looks_more_often_or_sees_later() {
        let rules = |ticks| {
            let setting = Setting { ticks, ..Setting::default() };
            let all = Contender::all(&setting, &step()).unwrap();
            let rules = |contender: Contender| match contender.kind {
                Kind::Policy { rules, .. } => Some((contender.name, rules)),
                _ => None,
            };
            all.into_iter().filter_map(rules).collect::<Vec<_>>()
        };
        let tick = Duration::from_secs(5);
        assert!(rules(Ticks::Equal(tick)).iter().all(|(_, rules)| rules.period == tick && rules.scrape.is_none()));
        let native = rules(Ticks::Native);
        let of = |name: &str| native.iter().find(|(known, _)| known == name).unwrap().1.clone();
        assert_eq!((of("hpa-80").period, of("hpa-80").scrape), (METRICS_SERVER, Some(METRICS_SERVER)));
        assert_eq!((of("rate").period, of("rate").scrape), (Duration::from_secs(1), None));
    }

    #[test]
    fn a_policy_of_ones_own_is_checked() {
        let spec =
            serde_json::from_str(r#"{"maxReplicas": 5, "policy": {"rate": {"targetUtilization": 7.0}}}"#).unwrap();
        let error = Contender::of("mine", "", spec, &Setting::default()).unwrap_err().to_string();
        assert!(error.contains("policy.rate.targetUtilization"), "{error}");
    }
}
