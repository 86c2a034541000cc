//! `scaling`: how something becomes more and fewer by itself, what was decided and why, and what a person says to that.

use super::{kind::Kind, target::Target};
use crate::{
    http::{Admin, Call},
    output::{self, Table, pairs, shown},
    units::{age, count, rate},
    web::Printed,
};
use admin_api::scaling::{Scaling, ScalingEvent};
use anyhow::{Context, bail, ensure};
use autoscale::{
    PolicySpec, Quantity, Sample, Spec,
    vpa::{Recommendation, Resources},
};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// The rules, how many instances there are, and the last decision
    Get {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        printed: Printed,
    },
    /// What was decided, when and why, oldest first
    Events {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        printed: Printed,
    },
    /// Let it scale by itself; what is not said stays as it is
    Set {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        bounds: Bounds,
        /// The rules as YAML or JSON, as `get -o json` shows them; flags win over it
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Let it not scale by itself: as many instances as its configuration says
    Clear {
        #[command(flatten)]
        target: Target,
    },
    /// So many instances, whatever the rules say
    Pin {
        #[command(flatten)]
        target: Target,
        /// How many
        #[arg(long, short = 'n', value_name = "N")]
        instances: u32,
    },
    /// Let the rules decide again
    Unpin {
        #[command(flatten)]
        target: Target,
    },
    /// As many instances as there are, whatever the rules say
    Pause {
        #[command(flatten)]
        target: Target,
    },
    /// Let the rules decide again
    Resume {
        #[command(flatten)]
        target: Target,
    },
}

/// Rules as flags.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Bounds {
    /// Scale by itself, with so many instances at least; with 0 it sleeps while there is nothing to do, and an event wakes it
    #[arg(long, value_name = "N", help_heading = "Scaling")]
    min_instances: Option<u32>,
    /// Scale by itself, with so many instances at most
    #[arg(long, value_name = "N", help_heading = "Scaling")]
    max_instances: Option<u32>,
    /// By which policy: rate, hpa, keda or knative; or with parameters, as `{"rate": {"targetAge": "2s"}}` [default: rate]
    #[arg(long, value_name = "NAME|JSON", value_parser = policy, help_heading = "Scaling")]
    scaling_policy: Option<PolicySpec>,
}

/// Reads a policy: its name, for all defaults, or JSON.
fn policy(text: &str) -> Result<PolicySpec, String> {
    let json = if text.trim_start().starts_with('{') { text.to_owned() } else { json!({ text: {} }).to_string() };
    serde_json::from_str(&json).map_err(|error| error.to_string())
}

impl Bounds {
    /// Whether anything is said.
    pub(super) fn is_given(&self) -> bool {
        self.min_instances.is_some() || self.max_instances.is_some() || self.scaling_policy.is_some()
    }

    /// Rules, as what is said changes `before`.
    ///
    /// # Errors
    /// They make no sense.
    pub(super) fn over(&self, before: Option<Spec>) -> anyhow::Result<Spec> {
        let mut spec = match (before, self.max_instances) {
            (Some(before), _) => before,
            (None, Some(max)) => Spec::new(self.min_instances.unwrap_or(1).min(max), max, PolicySpec::default()),
            (None, None) => bail!("say with --max-instances how many there may be"),
        };
        spec.min_replicas = self.min_instances.unwrap_or(spec.min_replicas);
        spec.max_replicas = self.max_instances.unwrap_or(spec.max_replicas);
        if let Some(policy) = &self.scaling_policy {
            spec.policy = policy.clone();
        }
        let problems: Vec<String> = spec.check().iter().map(ToString::to_string).collect();
        ensure!(problems.is_empty(), "{}", problems.join("\n"));
        Ok(spec)
    }
}

/// The rules something has; none, when it is not there.
///
/// # Errors
/// The worker is not there.
pub(super) async fn rules(call: Call<'_>) -> anyhow::Result<Option<Spec>> {
    let scaling: Option<Scaling> = call.at(["scaling"]).get_optional().await?;
    Ok(scaling.and_then(|scaling| scaling.spec))
}

/// Runs one of them.
///
/// # Errors
/// The worker refuses it, or is not there.
pub(super) async fn run(admin: &Admin, kind: Kind, command: Command) -> anyhow::Result<()> {
    let at = |target: &Target, what: &'static str| {
        let name = target.resolve()?;
        let call = name.at(admin, kind).at(["scaling"]);
        anyhow::Ok((name, if what.is_empty() { call } else { call.at([what]) }))
    };
    match command {
        Command::Get { target, printed } => {
            let scaling: Scaling = at(&target, "")?.1.get().await?;
            if printed.is_json() { output::json(&scaling) } else { output::print(&text(&scaling)) }
        }
        Command::Events { target, printed } => {
            let events: Vec<ScalingEvent> = at(&target, "events")?.1.get().await?;
            if printed.is_json() { output::json(&events) } else { output::print(&table(&events)) }
        }
        Command::Set { target, bounds, file } => {
            let (name, call) = at(&target, "")?;
            let before = match &file {
                Some(path) => Some(rules_in(path)?),
                None => rules(name.at(admin, kind)).await?,
            };
            ensure!(file.is_some() || bounds.is_given(), "say how it scales, with --max-instances at least");
            let spec = bounds.over(before)?;
            call.json(&spec).put().await?;
            let (min, max) = (spec.min_replicas, spec.max_replicas);
            output::line(format!("{name} scales from {min} to {max} instances by {}", spec.policy.name()))
        }
        Command::Clear { target } => {
            let (name, call) = at(&target, "")?;
            call.delete().await?;
            output::line(format!("{name} does not scale by itself"))
        }
        Command::Pin { target, instances } => {
            let (name, call) = at(&target, "pin")?;
            call.query("instances", instances).post().await?;
            output::line(format!("pinned {name} at {instances} instances"))
        }
        Command::Unpin { target } => {
            let (name, call) = at(&target, "unpin")?;
            call.post().await?;
            output::line(format!("unpinned {name}"))
        }
        Command::Pause { target } => {
            let (name, call) = at(&target, "pause")?;
            call.post().await?;
            output::line(format!("paused scaling of {name}"))
        }
        Command::Resume { target } => {
            let (name, call) = at(&target, "resume")?;
            call.post().await?;
            output::line(format!("resumed scaling of {name}"))
        }
    }
}

/// Rules in a file of YAML or JSON: those alone, or within what `get` shows.
///
/// # Errors
/// It cannot be read, or has no rules.
pub(crate) fn rules_in(path: &Path) -> anyhow::Result<Spec> {
    let mut value = Value::Object(super::wish::object(path)?);
    if let Some(spec) = value.get_mut("spec") {
        value = spec.take();
    }
    serde_json::from_value(value).with_context(|| format!("{} has no rules of scaling", path.display()))
}

fn text(scaling: &Scaling) -> String {
    let rules = scaling.spec.as_ref().map_or_else(
        || "none".to_owned(),
        |spec| format!("{} to {} instances by {}", spec.min_replicas, spec.max_replicas, spec.policy.name()),
    );
    let phase = match scaling.pinned {
        Some(pinned) => format!("{} at {pinned}", scaling.phase),
        None => scaling.phase.clone(),
    };
    let draining = if scaling.draining > 0 { format!(", {} draining", scaling.draining) } else { String::new() };
    let mut text = pairs([
        ("rules", rules),
        ("phase", phase),
        ("instances", format!("{} wanted, {} running{draining}", scaling.wanted, scaling.running)),
    ]);
    if let Some(recommendation) = &scaling.recommendation {
        text += &pairs([("recommended", resources(recommendation))]);
    }
    if let Some(size) = &scaling.size {
        text += &pairs([("started with", amounts(&size.requests))]);
    }
    if let Some(latest) = &scaling.latest {
        let what = if latest.from == latest.to { "stays".to_owned() } else { change(latest) };
        let reason = format!("{}: {}", latest.reason.code, latest.reason.text);
        text += &pairs([
            ("decision", format!("{what}, by {}, {}", shown(&latest.by), when(latest.timestamp_ms))),
            ("reason", shown(&reason)),
        ]);
        if let Some(sample) = &latest.sample {
            text += &pairs([("seen", seen(sample))]);
        }
    }
    text
}

/// `cpu 250m (100m to 1), memory 262144000 (...)`.
pub(crate) fn resources(of: &Recommendation) -> String {
    let part = |name: &str, which: fn(&Resources) -> &Option<Quantity>| {
        let target = which(&of.target).as_ref()?;
        let bounds = match (which(&of.lower_bound), which(&of.upper_bound)) {
            (Some(lower), Some(upper)) => format!(" ({lower} to {upper})"),
            _ => String::new(),
        };
        Some(format!("{name} {target}{bounds}"))
    };
    [part("cpu", |of| &of.cpu), part("memory", |of| &of.memory)].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn amounts(of: &Resources) -> String {
    let part = |name: &str, amount: &Option<Quantity>| amount.as_ref().map(|amount| format!("{name} {amount}"));
    [part("cpu", &of.cpu), part("memory", &of.memory)].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn table(events: &[ScalingEvent]) -> String {
    let mut table = Table::new(["WHEN", "INSTANCES", "BY", "REASON", "WHY"]);
    for event in events {
        let reason = shown(&event.reason.code);
        table.row([when(event.timestamp_ms), change(event), shown(&event.by), reason, shown(&event.reason.text)]);
    }
    table.text()
}

fn change(event: &ScalingEvent) -> String {
    format!("{} to {}", event.from, event.to)
}

fn when(ms: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_millis(ms);
    humantime::format_rfc3339_seconds(time).to_string()
}

/// What a policy saw, in a line.
fn seen(sample: &Sample) -> String {
    let ready: Vec<_> = sample.instances.iter().filter(|one| one.is_ready).collect();
    let done: f64 = ready.iter().map(|one| one.processed_per_s).sum();
    let mut parts = Vec::new();
    if let Some(inputs) = &sample.inputs {
        let backlog = count(i64::try_from(inputs.backlog).unwrap_or(i64::MAX));
        parts.push(format!(
            "{} arriving, backlog {backlog}, oldest {}",
            rate(inputs.arrival_per_s),
            age(inputs.oldest)
        ));
    }
    parts.push(format!("{} done", rate(done)));
    if !ready.is_empty() {
        let busy = ready.iter().map(|one| one.busy).sum::<f64>() / ready.len() as f64;
        parts.push(format!("{:.0} % busy", busy * 100.0));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_a_name_or_json() {
        assert_eq!(policy("rate").unwrap().name(), "rate");
        let with = policy(r#"{"rate": {"targetAge": "2s"}}"#).unwrap();
        assert!(matches!(with, PolicySpec::Rate(rate) if rate.target_age == Duration::from_secs(2)));
        for bad in ["", "fast", "{", "{\"rate\": {\"tarjetAge\": \"2s\"}}"] {
            assert!(policy(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rules_in_a_file_are_yaml_or_json_alone_or_within_what_is_shown() {
        let dir = tempfile::tempdir().unwrap();
        let of = |text: &str| {
            let path = dir.path().join("rules");
            std::fs::write(&path, text).unwrap();
            rules_in(&path).map(|rules| rules.max_replicas).map_err(|error| format!("{error:#}"))
        };
        assert_eq!(of(r#"{"maxReplicas": 7, "policy": {"rate": {"targetAge": "2s"}}}"#).unwrap(), 7);
        assert_eq!(of("maxReplicas: 8\npolicy:\n  rate: {targetAge: 2s}\n").unwrap(), 8);
        assert_eq!(of(r#"{"phase": "awake", "spec": {"maxReplicas": 9, "policy": {"rate": {}}}}"#).unwrap(), 9);
        assert!(of("maxReplicas: [").unwrap_err().contains("cannot be read"));
        let misspelt = of("maxReplicas: 8\npolicy: {rat: {}}\n").unwrap_err();
        assert!(misspelt.contains("has no rules of scaling") && misspelt.contains("rat"), "{misspelt}");
    }

    #[test]
    fn flags_change_what_they_say_and_leave_the_rest() {
        let bounds = |min, max| Bounds { min_instances: min, max_instances: max, scaling_policy: None };
        let before = Spec::new(2, 5, policy("knative").unwrap());
        let after = bounds(Some(0), None).over(Some(before.clone())).unwrap();
        assert_eq!(after, Spec { min_replicas: 0, ..before.clone() });
        assert_eq!(bounds(None, Some(3)).over(None).unwrap(), Spec::new(1, 3, PolicySpec::default()));
        let say = bounds(Some(1), None).over(None).unwrap_err().to_string();
        assert_eq!(say, "say with --max-instances how many there may be");
        assert!(bounds(Some(6), None).over(Some(before)).is_err());
    }
}
