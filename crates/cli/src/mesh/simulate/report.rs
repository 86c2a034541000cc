//! Comparisons as text.

use crate::output::Table;
use serde::Serialize;
use simulate::{Comparison, Row, Standing, Ticks};
use std::fmt::Write;

/// The policy that the others are held against, where it takes part.
pub(super) const OURS: &str = "rate";
/// Who is drawn over time, where they take part. More than these cannot be told apart.
const SHOWN: [&str; 5] = [OURS, "hpa-50", "keda", "knative", "oracle"];

/// A comparison and what its messages needed.
#[derive(Debug, Serialize)]
pub(super) struct Entry<'a> {
    work: &'a str,
    #[serde(flatten)]
    comparison: &'a Comparison,
}

pub(super) fn entries(comparisons: &[(String, Comparison)]) -> Vec<Entry<'_>> {
    comparisons.iter().map(|(work, comparison)| Entry { work, comparison }).collect()
}

/// Who is drawn over time: of each kind as it is shipped, then whoever else takes part.
pub(super) fn shown(comparison: &Comparison) -> Vec<&str> {
    let names = || comparison.rows.iter().map(|row| row.policy.as_str());
    let first = SHOWN.into_iter().filter_map(|name| names().find(|known| *known == name));
    let others = names().filter(|name| !SHOWN.contains(name));
    first.chain(others).take(SHOWN.len()).collect()
}

/// One comparison, for people.
pub(super) fn table(work: &str, comparison: &Comparison) -> String {
    let mut table = Table::new([
        "POLICY",
        "P50 s",
        "P99 s",
        "MAX s",
        "LATE",
        "LEFT",
        "INSTANCE-s",
        "PER WORK",
        "EVENTS",
        "TURNS",
        "TARGET",
        "RATE IS",
    ]);
    let ours = comparison.row(OURS);
    for row in &comparison.rows {
        let outcome = &row.outcome;
        let standing = ours.filter(|ours| ours.policy != row.policy).map(|ours| against(ours, row, comparison));
        table.row([
            row.policy.clone(),
            format!("{:.2}", outcome.p50_s),
            format!("{:.2}", outcome.p99_s),
            format!("{:.2}", outcome.max_s),
            format!("{:.0}", outcome.late),
            format!("{:.0}", outcome.left),
            format!("{:.0}", outcome.instance_s),
            format!("{:.2}", outcome.instance_s / comparison.work_s.max(f64::MIN_POSITIVE)),
            format!("{:.0}", outcome.scale_events),
            format!("{:.0}", outcome.direction_changes),
            if row.keeps_target { "kept" } else { "missed" }.to_owned(),
            standing.unwrap_or_default(),
        ]);
    }
    let setting = &comparison.setting;
    let looks = match setting.ticks {
        Ticks::Equal(tick) => format!("all look each {}", humantime::format_duration(tick)),
        Ticks::Native => "each looks as upstream does".to_owned(),
    };
    format!(
        "{}, work {work}: {}\nstart-up {}, target {}, at most {} instances, {looks}, medians of {}; {:.0} s of work\n{}\n",
        comparison.trace,
        comparison.about,
        humantime::format_duration(setting.startup),
        humantime::format_duration(setting.target),
        setting.max,
        runs(comparison),
        comparison.work_s,
        table.text(),
    )
}

/// How often it was run, and with which seeds where these are not the usual.
pub(super) fn runs(comparison: &Comparison) -> String {
    match (comparison.seeds, comparison.first_seed) {
        (runs, 1) => format!("{runs} runs"),
        (runs, first) => format!("{runs} runs from seed {first}"),
    }
}

fn against(ours: &Row, other: &Row, comparison: &Comparison) -> String {
    if other.knows_the_future {
        return String::new();
    }
    match ours.standing(other, comparison.setting.target) {
        Standing::Better => "better",
        Standing::Worse => "WORSE",
        Standing::Same => "the same",
        Standing::Apart if ours.keeps_target && !other.keeps_target => "in time, for more",
        Standing::Apart if ours.outcome.p99_s < other.outcome.p99_s => "earlier, for more",
        Standing::Apart => "later, for less",
    }
    .to_owned()
}

/// What is to be said of ours over all of them, and perhaps on each; empty where it does not take part.
pub(super) fn verdict(comparisons: &[(String, Comparison)], with_each: bool) -> String {
    let mut text = String::new();
    let (mut kept, mut pairs, mut better, mut cheaper, mut half) = (0, 0, 0, 0, 0);
    let mut dominated = Vec::new();
    let mut halves = Vec::new();
    for (work, comparison) in comparisons {
        let Some(ours) = comparison.row(OURS) else { continue };
        let name = format!("{} ({work})", comparison.trace);
        kept += usize::from(ours.keeps_target);
        let others = comparison.rows.iter().filter(|row| row.policy != OURS && !row.knows_the_future);
        let mut costs = Vec::new();
        for other in others {
            let standing = ours.standing(other, comparison.setting.target);
            if standing == Standing::Worse {
                dominated.push(format!("{} on {name}", other.policy));
            }
            if other.keeps_target {
                pairs += 1;
                better += usize::from(standing == Standing::Better);
                cheaper += usize::from(ours.keeps_target && ours.outcome.instance_s < other.outcome.instance_s);
                costs.push((other.outcome.instance_s / ours.outcome.instance_s, &other.policy));
            }
        }
        costs.sort_by(|a, b| a.0.total_cmp(&b.0));
        half += usize::from(ours.keeps_target && costs.first().is_some_and(|(cost, _)| *cost >= 2.0));
        match costs.first() {
            Some((cost, policy)) if ours.keeps_target => halves.push(format!(
                "  {name}: the cheapest other that keeps the target is {policy}, at {cost:.2} times the instance-seconds"
            )),
            None if ours.keeps_target => halves.push(format!("  {name}: no other policy keeps the target")),
            _ => halves.push(format!("  {name}: rate misses the target")),
        }
    }
    if halves.is_empty() {
        return text;
    }
    let _ = writeln!(text, "rate keeps the target on {kept} of {} loads.", halves.len());
    let _ = writeln!(
        text,
        "Against the others that keep it, load by load, rate has the same or lower p99 age for no more in {better} of {pairs} cases,\n\
        costs less in {cheaper}, and on {half} loads at most half of each of them."
    );
    let _ = match dominated.as_slice() {
        [] => writeln!(text, "No policy is better in one of the two and no worse in the other on any load."),
        some => writeln!(text, "Better in one and no worse in the other: {}.", some.join(", ")),
    };
    if with_each { text + &halves.join("\n") + "\n" } else { text }
}

/// A line for each policy and load.
pub(super) fn csv(comparisons: &[(String, Comparison)]) -> String {
    let mut csv = "trace,work,policy,knows_the_future,keeps_target,p50_s,p99_s,p99_least_s,p99_greatest_s,max_s,messages,late,left,\
        instance_s,work_s,scale_events,direction_changes\n"
        .to_owned();
    for (work, comparison) in comparisons {
        for row in &comparison.rows {
            let o = &row.outcome;
            let _ = writeln!(
                csv,
                "{},{work},{},{},{},{:.3},{:.3},{:.3},{:.3},{:.3},{},{},{},{:.1},{:.1},{},{}",
                quoted(&comparison.trace),
                quoted(&row.policy),
                row.knows_the_future,
                row.keeps_target,
                o.p50_s,
                o.p99_s,
                row.p99_range_s.0,
                row.p99_range_s.1,
                o.max_s,
                o.messages,
                o.late,
                o.left,
                o.instance_s,
                comparison.work_s,
                o.scale_events,
                o.direction_changes,
            );
        }
    }
    csv
}

/// A name of a file as a CSV cell.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use expect_test::expect;
    use simulate::{Outcome, Series, Setting};

    pub(in super::super) fn row(policy: &str, p99_s: f64, instance_s: f64, knows_the_future: bool) -> Row {
        let outcome = Outcome { p50_s: 0.2, p99_s, max_s: 9.0, instance_s, ..Outcome::default() };
        Row {
            policy: policy.to_owned(),
            about: String::new(),
            spec: None,
            knows_the_future,
            keeps_target: p99_s <= 2.0,
            outcome,
            p99_range_s: (p99_s, p99_s),
            series: Series::default(),
        }
    }

    pub(in super::super) fn comparison(rows: Vec<Row>) -> Comparison {
        let setting = Setting::default();
        Comparison {
            trace: "a,b".into(),
            about: "what comes".into(),
            setting,
            seeds: 5,
            first_seed: 1,
            work_s: 800.0,
            rows,
        }
    }

    #[test]
    fn a_table_says_how_ours_stands_to_each() {
        let rows = vec![
            row("rate", 1.0, 1_000.0, false),
            row("hpa-50", 30.0, 900.0, false),
            row("keda", 1.5, 2_000.0, false),
            row("knative", 0.5, 1_000.0, false),
            row("oracle", 1.9, 850.0, true),
        ];
        expect![[r#"
            a,b, work cpu: what comes
            start-up 36ms, target 2s, at most 20 instances, all look each 1s, medians of 5 runs; 800 s of work
            POLICY   P50 s  P99 s  MAX s  LATE  LEFT  INSTANCE-s  PER WORK  EVENTS  TURNS  TARGET  RATE IS
            rate      0.20   1.00   9.00     0     0        1000      1.25       0      0  kept
            hpa-50    0.20  30.00   9.00     0     0         900      1.12       0      0  missed  in time, for more
            keda      0.20   1.50   9.00     0     0        2000      2.50       0      0  kept    better
            knative   0.20   0.50   9.00     0     0        1000      1.25       0      0  kept    WORSE
            oracle    0.20   1.90   9.00     0     0         850      1.06       0      0  kept

        "#]]
        .assert_eq(&table("cpu", &comparison(rows)));
    }

    #[test]
    fn the_verdict_names_who_is_better() {
        let good = comparison(vec![row("rate", 1.0, 1_000.0, false), row("keda", 1.5, 2_000.0, false)]);
        let bad = comparison(vec![row("rate", 3.0, 1_000.0, false), row("knative", 0.5, 900.0, false)]);
        expect![[r#"
            rate keeps the target on 1 of 2 loads.
            Against the others that keep it, load by load, rate has the same or lower p99 age for no more in 1 of 2 cases,
            costs less in 1, and on 1 loads at most half of each of them.
            Better in one and no worse in the other: knative on a,b (wait).
              a,b (cpu): the cheapest other that keeps the target is keda, at 2.00 times the instance-seconds
              a,b (wait): rate misses the target
        "#]]
        .assert_eq(&verdict(&[("cpu".to_owned(), good), ("wait".to_owned(), bad)], true));
        assert_eq!(verdict(&[("cpu".to_owned(), comparison(vec![row("keda", 1.0, 1.0, false)]))], true), "");
    }

    #[test]
    fn a_cell_stays_a_cell() {
        let text = csv(&[("cpu".to_owned(), comparison(vec![row("rate", 1.0, 1_000.0, false)]))]);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[1].starts_with("\"a,b\",cpu,rate,false,true,0.200,1.000,"), "{}", lines[1]);
        assert_eq!(lines[0].split(',').count(), lines[1].split(',').count() - 1);
    }
}
