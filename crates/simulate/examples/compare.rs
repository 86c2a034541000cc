//! All policies on some traces, quickly: `cargo run -p simulate --example compare -- [native] [TRACE ...]`.
//!
//! `geminga mesh simulate` is the tool for people; this one is for those who work on a policy.

use simulate::{Contender, Setting, TRACES, Ticks, Trace, compare};

fn main() -> Result<(), simulate::Error> {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let is_native = words.iter().any(|word| word == "native");
    words.retain(|word| word != "native");
    for name in TRACES.iter().filter(|name| words.is_empty() || words.iter().any(|word| word == *name)) {
        for cpu_share in [1.0, 0.15] {
            let trace = Trace::named(name)?;
            let ticks = if is_native { Ticks::Native } else { Setting::default().ticks };
            let setting = Setting { cpu_share, ticks, ..Setting::default() };
            let comparison = compare(&trace, &setting, &Contender::all(&setting, &trace)?, 1..4, 2)?;
            println!("{name}, CPU {cpu_share}: {:.0} s of work", comparison.work_s);
            for row in &comparison.rows {
                let o = &row.outcome;
                println!(
                    "  {:14} p50 {:7.2} p99 {:7.2} late {:6.0} cost {:6.0} ({:.2}) events {:4.0} turns {:4.0} {:6} {:?}",
                    row.policy,
                    o.p50_s,
                    o.p99_s,
                    o.late,
                    o.instance_s,
                    o.instance_s / comparison.work_s,
                    o.scale_events,
                    o.direction_changes,
                    if row.keeps_target { "kept" } else { "missed" },
                    comparison.rows[0].standing(row, setting.target),
                );
            }
        }
    }
    Ok(())
}
