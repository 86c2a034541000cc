//! The same load under the policies of the talk that this demo goes back to, in virtual time: what they wait for takes minutes.

use crate::output::Table;
use anyhow::Context;
use autoscale::{PolicySpec, Spec};
use simulate::{Contender, Dispatch, Rates, Row, Setting, Shape, Stage, Ticks, Trace, compare};
use std::time::Duration;

/// Runs of each policy; the table has medians.
const SEEDS: u64 = 3;
/// Calm before the load, for each policy to be where it would be, and quiet after it, for the slowest to have gone down.
const BEFORE_S: f64 = 300.0;
const AFTER_S: f64 = 600.0;

/// How long the load of the demo is, and how much, as the manifest has it.
pub(super) struct Load {
    pub(super) calm_per_s: f64,
    pub(super) peak_per_s: f64,
    pub(super) peak: Duration,
    /// One message, and the share of it that is work of the processor.
    pub(super) service: Duration,
    pub(super) cpu_share: f64,
    pub(super) max: u32,
}

/// A table, and what it shows.
pub(super) fn talk(load: &Load) -> anyhow::Result<String> {
    let (trace, setting) = (trace(load)?, setting(load, load.max));
    let named = |name| Contender::named(name, &setting, &trace);
    let mut rows = vec![("rate (this demo)", run(&trace, &setting, named("rate")?)?)];
    let others = [
        ("HPA, CPU 20 %", "hpa-20"),
        ("HPA, CPU 50 %", "hpa-50"),
        ("HPA, CPU 80 %", "hpa-80"),
        ("KEDA, as shipped", "keda"),
    ];
    for (title, name) in others {
        rows.push((title, run(&trace, &setting, named(name)?)?));
    }
    // It answers load with a larger instance, and this one's work is to wait.
    let alone = self::setting(load, 1);
    let vpa = Contender::of("vpa", "one instance, of any size", Spec::new(1, 1, PolicySpec::default()), &alone)?;
    rows.push(("VPA, one instance", run(&trace, &alone, vpa)?));
    let mut table = Table::new(["POLICY", "P50 AGE", "P99 AGE", "LATE", "INSTANCE-SECONDS", "CHANGES"]);
    for (title, row) in &rows {
        let outcome = &row.outcome;
        table.row([
            (*title).to_owned(),
            seconds(outcome.p50_s),
            seconds(outcome.p99_s),
            format!("{:.0} %", 100.0 * outcome.late / outcome.messages.max(1.0)),
            format!("{:.0}", outcome.instance_s),
            format!("{:.0}", outcome.scale_events),
        ]);
    }
    Ok(format!(
        "The same load in virtual time, each policy as often and as late as upstream has\n\
         it, instances up in {:?} for all; late is older than {:?}. The work is {:.0} %\n\
         processor time and waits for the rest, so a CPU target sees {:.0} % of a core per\n\
         busy instance, whatever the backlog:\n\n{}\nMore of this: geminga mesh simulate --help\n",
        setting.startup,
        setting.target,
        100.0 * load.cpu_share,
        100.0 * load.cpu_share,
        table.text()
    ))
}

fn run(trace: &Trace, setting: &Setting, contender: Contender) -> anyhow::Result<Row> {
    let comparison = compare(trace, setting, &[contender], 1..1 + SEEDS, 1)?;
    comparison.rows.into_iter().next().context("a policy was asked for")
}

fn trace(load: &Load) -> anyhow::Result<Trace> {
    let (calm, peak) = (load.calm_per_s, load.peak_per_s);
    let end = BEFORE_S + load.peak.as_secs_f64();
    let points = vec![(0.0, calm), (BEFORE_S, calm), (BEFORE_S, peak), (end, peak), (end, 0.0), (end + AFTER_S, 0.0)];
    Ok(Trace {
        name: "demo".to_owned(),
        about: "the load of the demo".to_owned(),
        rates: Rates::new(points)?,
        warm_up: Duration::from_secs_f64(BEFORE_S - 10.0),
        stages: vec![Stage {
            name: "prime-search",
            service: load.service,
            shape: Shape::LogNormal(0.1),
            selectivity: 1.0,
            dispatch: Dispatch::Shared,
        }],
    })
}

fn setting(load: &Load, max: u32) -> Setting {
    let target = Duration::from_secs(1);
    Setting { target, max, ticks: Ticks::Native, cpu_share: load.cpu_share, ..Setting::default() }
}

fn seconds(seconds: f64) -> String {
    crate::units::age(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_talk_is_told_with_all_its_policies() {
        let service = Duration::from_millis(25);
        let load = Load {
            calm_per_s: 20.0,
            peak_per_s: 240.0,
            peak: Duration::from_secs(22),
            service,
            cpu_share: 0.05,
            max: 10,
        };
        let told = talk(&load).expect("the load is one");
        for title in [
            "rate (this demo)",
            "HPA, CPU 20 %",
            "HPA, CPU 50 %",
            "HPA, CPU 80 %",
            "KEDA, as shipped",
            "VPA, one instance",
        ] {
            assert!(told.contains(title), "{title} is not in\n{told}");
        }
    }
}
