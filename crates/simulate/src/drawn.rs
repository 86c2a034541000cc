//! Loads that nobody chose: drawn from a number, so that a policy can be judged on what it was not made for.

use crate::{
    Error, Rates, Trace,
    chance::Chance,
    trace::{Dispatch, Shape, Stage},
};
use std::{f64::consts::TAU, time::Duration};

/// The kinds that [`Drawn::named`] knows, each followed by `:NUMBER`.
pub const DRAWN: [&str; 4] = ["steps", "waves", "bursts", "random"];

/// Instances that the busiest time needs, at least and at most; 20 are there.
const LOAD: (f64, f64) = (2.0, 15.0);
/// Seconds that a trace lasts.
const LENGTH: (f64, f64) = (1_500.0, 3_600.0);
/// Messages of one trace, about: short ones are cut so that they do not take long.
const MESSAGES: f64 = 300_000.0;

/// A load, and the circumstances that it is met in.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawn {
    /// What comes, and the functions that it goes through.
    pub trace: Trace,
    /// From asking for an instance until it takes messages: 0.2 to 30 s.
    pub startup: Duration,
    /// A message should be done this long after it was published: 1 to 60 s, and at least three times what the work itself takes.
    pub target: Duration,
}

impl Drawn {
    /// `steps:7`, `waves:7`, `bursts:7`; `random:7` is any of these, and one function ordered by key, one with partitions, or a chain.
    ///
    /// # Errors
    /// [`Error::NoTrace`].
    pub fn named(name: &str) -> Result<Self, Error> {
        let (kind, seed) = name.split_once(':').unwrap_or((name, ""));
        let unknown = || Error::NoTrace { name: name.to_owned(), known: DRAWN.to_vec() };
        let number: u64 = seed.parse().map_err(|_| unknown())?;
        let place = DRAWN.iter().position(|known| *known == kind).ok_or_else(unknown)?;
        let mut dice = Dice { chance: Chance::new(number).of(place as u64), thrown: 0 };
        let kind = if kind == "random" { DRAWN[dice.below(3)] } else { kind };
        let stages = stages(&mut dice, place == 3);
        let startup = dice.scaled(0.2, 30.0);
        let work_s: f64 = stages.iter().map(|stage| stage.service.as_secs_f64()).sum();
        let target = dice.scaled(f64::max(1.0, 3.0 * work_s), 60.0);

        // Rates in instances of the function that needs most, then in messages.
        let mut per_message_s = 0.0f64;
        let mut copies = 1.0;
        for stage in &stages {
            per_message_s = per_message_s.max(copies * stage.service.as_secs_f64());
            copies *= stage.selectivity;
        }
        let peak = dice.scaled(LOAD.0, LOAD.1);
        let length = dice.scaled(LENGTH.0, LENGTH.1).min((MESSAGES * per_message_s / peak * 2.0).max(900.0)).round();
        let (about, points) = match kind {
            "steps" => ("steps of random heights and lengths", steps(&mut dice, length, peak)),
            "waves" => {
                ("two waves of random lengths, one in the other, and nothing between", waves(&mut dice, length, peak))
            }
            _ => ("quiet and bursts of random lengths", bursts(&mut dice, length, peak)),
        };
        let points: Vec<_> = points.into_iter().map(|(at, load)| (at, round(load / per_message_s))).collect();
        let rates = Rates::new(points)?;
        let shapes: Vec<_> = stages.iter().map(describe).collect();
        let trace = Trace {
            name: name.to_owned(),
            about: format!("{about}, up to {} messages per second; {}", rates.peak(), shapes.join(", then ")),
            rates,
            warm_up: Duration::from_secs(300),
            stages,
        };
        let whole_ms = |seconds: f64| Duration::from_millis((seconds * 1_000.0).round() as u64);
        Ok(Self { trace, startup: whole_ms(startup), target: whole_ms(target) })
    }
}

/// One throw after the other.
struct Dice {
    chance: Chance,
    thrown: u64,
}

impl Dice {
    fn next(&mut self) -> Chance {
        self.thrown += 1;
        self.chance.of(self.thrown)
    }

    fn within(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.next().uniform()
    }

    /// As often between 1 and 2 as between 10 and 20.
    fn scaled(&mut self, low: f64, high: f64) -> f64 {
        low * (high / low).powf(self.next().uniform())
    }

    fn below(&mut self, count: usize) -> usize {
        (self.next().uniform() * count as f64) as usize
    }
}

/// Mostly one function whose messages any instance may have.
fn stages(dice: &mut Dice, may_be_ordered: bool) -> Vec<Stage> {
    let mut stage = |name| Stage {
        name,
        service: Duration::from_millis((dice.scaled(0.02, 2.0) * 1_000.0).round() as u64),
        shape: Shape::LogNormal(round(dice.within(0.1, 1.2))),
        selectivity: 1.0,
        dispatch: Dispatch::Shared,
    };
    let first = stage("work");
    let rest = [stage("check"), stage("store")];
    match if may_be_ordered { dice.below(6) } else { 0 } {
        1 => {
            let keys = dice.scaled(200.0, 20_000.0) as u32;
            vec![Stage { dispatch: Dispatch::Keyed { keys, exponent: round(dice.within(0.0, 0.8)) }, ..first }]
        }
        2 => {
            let partitions = dice.within(8.0, 40.0) as u32;
            vec![Stage { dispatch: Dispatch::Partitioned { partitions }, ..first }]
        }
        3 => {
            let count = 2 + dice.below(2);
            let mut stages: Vec<_> = [first].into_iter().chain(rest).take(count).collect();
            stages[0].selectivity = round(dice.within(0.5, 2.0));
            stages
        }
        _ => vec![first],
    }
}

fn steps(dice: &mut Dice, length: f64, peak: f64) -> Vec<(f64, f64)> {
    let mut load = peak * dice.within(0.05, 0.3);
    let mut points = vec![(0.0, load)];
    let mut at = 300.0 + dice.scaled(30.0, 300.0);
    // One of the steps is the highest.
    let mut is_first = true;
    while at < length {
        points.push((at.round(), load));
        load = if std::mem::take(&mut is_first) { peak } else { peak * dice.scaled(0.03, 1.0) };
        points.push((at.round(), load));
        at += dice.scaled(20.0, 900.0);
    }
    points.push((length, load));
    points
}

fn waves(dice: &mut Dice, length: f64, peak: f64) -> Vec<(f64, f64)> {
    let (long_s, short_s) = (dice.scaled(600.0, 3_600.0), dice.scaled(60.0, 600.0));
    let (part, shift) = (dice.within(0.0, 0.4), dice.next().uniform());
    // Below nothing there is nothing.
    let floor = dice.within(-0.5, 0.3);
    let load = |at: f64| {
        let wave = |period_s: f64| (1.0 + (TAU * (at / period_s + shift)).sin()) / 2.0;
        let both = (1.0 - part) * wave(long_s) + part * wave(short_s);
        peak * (floor + (1.0 - floor) * both).max(0.0)
    };
    let step = 10.0;
    let count = (length / step) as u32;
    (0..=count).map(|n| (f64::from(n) * step, load(f64::from(n) * step))).collect()
}

/// A process that is in one of two or three states for random times, and in each has its own rate.
fn bursts(dice: &mut Dice, length: f64, peak: f64) -> Vec<(f64, f64)> {
    let quiet = (peak * dice.scaled(0.01, 0.3), dice.scaled(30.0, 400.0));
    let burst = (peak, dice.scaled(10.0, 200.0));
    let middle = (peak * dice.within(0.3, 0.6), dice.scaled(30.0, 200.0));
    let has_middle = dice.below(2) == 1;
    let (mut at, mut state) = (0.0f64, 0);
    let states = [quiet, burst, middle];
    let mut points = Vec::new();
    while at < length {
        let (load, mean_s) = states[state];
        let until = (at + (mean_s * dice.next().exponential()).max(2.0)).round().min(length);
        points.extend([(at, load), (until, load)]);
        at = until;
        state = match (state, has_middle) {
            (0, true) => 1 + dice.below(2),
            (0, false) => 1,
            (1, true) => 2 * dice.below(2),
            _ => 0,
        };
    }
    points
}

fn describe(stage: &Stage) -> String {
    let order = match stage.dispatch {
        Dispatch::Shared => String::new(),
        Dispatch::Keyed { keys, exponent } => format!(", in order by {keys} keys (exponent {exponent})"),
        Dispatch::Partitioned { partitions } => format!(", in {partitions} partitions"),
    };
    let outputs =
        if stage.selectivity == 1.0 { String::new() } else { format!(", {} outputs each", stage.selectivity) };
    let varies = match stage.shape {
        Shape::LogNormal(variation) => format!("{variation}"),
        Shape::Exponential => "1".to_owned(),
    };
    format!("{} ms a message, varying by {varies}{order}{outputs}", stage.service.as_millis())
}

/// Two digits after the point are enough.
fn round(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_is_a_load_that_twenty_instances_can_do() {
        for kind in DRAWN {
            for seed in 0..200 {
                let name = format!("{kind}:{seed}");
                let drawn = Drawn::named(&name).unwrap();
                let trace = &drawn.trace;
                assert_eq!(trace.name, name);
                assert!(trace.duration() >= trace.warm_up * 3, "{name}: {:?}", trace.duration());
                assert!(
                    trace.rates.total() > 50.0 && trace.rates.total() < 1_000_000.0,
                    "{name} {}",
                    trace.rates.total()
                );
                let (mut rate, mut work_s) = (trace.rates.peak(), 0.0);
                for stage in &trace.stages {
                    assert!(rate * stage.service.as_secs_f64() < 16.0, "{name}, {}", stage.name);
                    rate *= stage.selectivity;
                    work_s += stage.service.as_secs_f64();
                }
                assert!(drawn.target.as_secs_f64() >= 3.0 * work_s - 0.001 && drawn.target.as_secs() <= 60, "{name}");
                assert!((200..=30_000).contains(&drawn.startup.as_millis()), "{name}");
            }
        }
    }

    #[test]
    fn the_same_number_draws_the_same_and_another_something_else() {
        let drawn = |name: &str| Drawn::named(name).unwrap();
        assert_eq!(drawn("steps:7"), drawn("steps:7"));
        assert_ne!(drawn("steps:7").trace.rates, drawn("steps:8").trace.rates);
        assert_ne!(drawn("steps:7").trace.rates, drawn("random:7").trace.rates);
    }

    #[test]
    fn all_kinds_of_functions_are_drawn() {
        let all: Vec<_> = (0..100).map(|seed| Drawn::named(&format!("random:{seed}")).unwrap().trace.stages).collect();
        assert!(all.iter().any(|stages| stages.len() == 3) && all.iter().any(|stages| stages.len() == 2));
        let is = |what: fn(Dispatch) -> bool| all.iter().any(|stages| what(stages[0].dispatch));
        assert!(is(|d| d == Dispatch::Shared) && is(|d| matches!(d, Dispatch::Keyed { .. })));
        assert!(is(|d| matches!(d, Dispatch::Partitioned { .. })));
    }

    #[test]
    fn what_cannot_be_drawn_is_an_error() {
        for name in ["steps", "steps:", "steps:-1", "stairs:1", "steps:1:2"] {
            let error = Drawn::named(name).unwrap_err().to_string();
            assert!(error.contains("bursts"), "{error}");
        }
    }
}
