//! Many comparisons as two tables: each load, and each policy over all of them.

use super::report::{OURS, runs};
use crate::output::Table;
use simulate::{Comparison, Row, Standing};

/// A line for each load, then one for each policy.
pub(super) fn text(comparisons: &[(String, Comparison)]) -> String {
    let mut words = Vec::new();
    if let Some((work, comparison)) = comparisons.first() {
        words.push(format!("work {work}, at most {} instances, {}", comparison.setting.max, runs(comparison)));
    }
    words.extend([loads(comparisons), policies(comparisons)]);
    words.join("\n")
}

fn loads(comparisons: &[(String, Comparison)]) -> String {
    let mut table = Table::new([
        "LOAD",
        "WORK",
        "START-UP",
        "TARGET",
        "RATE P99",
        "PER WORK",
        "TURNS",
        "BETTER",
        "CHEAPEST OTHER",
        "P99",
        "PER WORK",
        "ORACLE",
    ]);
    for (work, comparison) in comparisons {
        let Some(ours) = comparison.row(OURS) else { continue };
        let target_s = comparison.setting.target.as_secs_f64();
        let per_work = |row: &Row| format!("{:.2}", per_work(row, comparison));
        let kept: Vec<_> = others(comparison).filter(|row| row.keeps_target).collect();
        let is_better = |row: &&&Row| ours.standing(row, comparison.setting.target) == Standing::Better;
        let cheapest = kept.iter().min_by(|a, b| a.outcome.instance_s.total_cmp(&b.outcome.instance_s));
        table.row([
            comparison.trace.clone(),
            work.clone(),
            format!("{:.1}", comparison.setting.startup.as_secs_f64()),
            format!("{target_s:.1}"),
            format!("{:.2}{}", ours.outcome.p99_s, if ours.keeps_target { "" } else { " missed" }),
            per_work(ours),
            format!("{:.0}", ours.outcome.direction_changes),
            format!("{} of {}", kept.iter().filter(is_better).count(), kept.len()),
            cheapest.map_or_else(|| "none keeps it".to_owned(), |row| row.policy.clone()),
            cheapest.map_or_else(String::new, |row| format!("{:.2}", row.outcome.p99_s)),
            cheapest.map_or_else(String::new, |row| per_work(row)),
            comparison.row("oracle").filter(|row| row.keeps_target).map_or_else(String::new, per_work),
        ]);
    }
    table.text()
}

fn policies(comparisons: &[(String, Comparison)]) -> String {
    let mut table = Table::new(["POLICY", "KEEPS", "PER WORK", "P99 PER TARGET", "RATE IS BETTER", "WORSE", "APART"]);
    let mut names: Vec<&str> = Vec::new();
    for row in comparisons.iter().flat_map(|(_, comparison)| &comparison.rows) {
        if !names.contains(&row.policy.as_str()) {
            names.push(&row.policy);
        }
    }
    for name in names {
        let rows = || comparisons.iter().filter_map(|(_, comparison)| Some((comparison, comparison.row(name)?)));
        let count = rows().count().max(1) as f64;
        // Of ratios the mean is the geometric one.
        let mean = |of: &dyn Fn(&Comparison, &Row) -> f64| {
            (rows().map(|(comparison, row)| of(comparison, row).max(f64::MIN_POSITIVE).ln()).sum::<f64>() / count).exp()
        };
        let is_other = others_of(name, comparisons);
        let standings = |is: fn(Standing) -> bool| {
            let count = rows().filter(|(comparison, row)| {
                comparison.row(OURS).is_some_and(|ours| is(ours.standing(row, comparison.setting.target)))
            });
            if is_other { count.count().to_string() } else { String::new() }
        };
        table.row([
            name.to_owned(),
            format!("{} of {}", rows().filter(|(_, row)| row.keeps_target).count(), rows().count()),
            format!("{:.2}", mean(&|comparison, row| per_work(row, comparison))),
            format!("{:.2}", mean(&|comparison, row| row.outcome.p99_s / comparison.setting.target.as_secs_f64())),
            standings(|standing| standing == Standing::Better),
            standings(|standing| standing == Standing::Worse),
            standings(|standing| matches!(standing, Standing::Apart | Standing::Same)),
        ]);
    }
    table.text()
}

fn others(comparison: &Comparison) -> impl Iterator<Item = &Row> {
    comparison.rows.iter().filter(|row| row.policy != OURS && !row.knows_the_future)
}

fn others_of(name: &str, comparisons: &[(String, Comparison)]) -> bool {
    comparisons.iter().flat_map(|(_, comparison)| others(comparison)).any(|row| row.policy == name)
}

fn per_work(row: &Row, comparison: &Comparison) -> f64 {
    row.outcome.instance_s / comparison.work_s.max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::{comparison, row};
    use super::*;
    use expect_test::expect;

    #[test]
    fn loads_and_policies_are_summed_up() {
        let one = comparison(vec![
            row("rate", 1.0, 1_000.0, false),
            row("keda", 1.5, 2_000.0, false),
            row("knative", 0.5, 1_600.0, false),
            row("oracle", 1.9, 850.0, true),
        ]);
        let two = comparison(vec![row("rate", 4.0, 4_000.0, false), row("keda", 9.0, 500.0, false)]);
        expect![[r#"
            work cpu, at most 20 instances, 5 runs
            LOAD  WORK  START-UP  TARGET     RATE P99  PER WORK  TURNS  BETTER  CHEAPEST OTHER  P99   PER WORK  ORACLE
            a,b   cpu        0.0     2.0         1.00      1.25      0  1 of 2  knative         0.50  2.00      1.06
            a,b   wait       0.0     2.0  4.00 missed      5.00      0  0 of 0  none keeps it

            POLICY    KEEPS  PER WORK  P99 PER TARGET  RATE IS BETTER  WORSE  APART
            rate     1 of 2      2.50            1.00
            keda     1 of 2      1.25            1.84  1               0      1
            knative  1 of 1      2.00            0.25  0               0      1
            oracle   1 of 1      1.06            0.95
        "#]]
        .assert_eq(&text(&[("cpu".to_owned(), one), ("wait".to_owned(), two)]));
    }
}
