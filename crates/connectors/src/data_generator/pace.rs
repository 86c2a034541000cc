//! How many records are due after how much time: pure arithmetic.

use serde_json::Value;
use std::time::Duration;

use crate::given::{Given, number_of};

/// A rate that nothing reaches; more is a slip of the hand.
const RATE_MAX: f64 = 1e8;
/// Steps of a profile.
const STEPS_MAX: usize = 1000;
/// Pulsar's pause when nothing is said. Source: `DataGeneratorSourceConfig`.
const SLEEP_MS_DEFAULT: f64 = 50.0;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pace {
    /// At least one. The last one's rate goes on for ever unless they are repeated.
    steps: Vec<Step>,
    repeats: bool,
}

/// The rate goes from `from` to `to` in a straight line.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Step {
    seconds: f64,
    from: f64,
    to: f64,
}

impl Step {
    fn rate_at(&self, seconds: f64) -> f64 {
        if self.from == self.to { self.to } else { self.from + (self.to - self.from) * (seconds / self.seconds) }
    }

    fn due_by(&self, seconds: f64) -> f64 {
        if self.from == self.to {
            // Times zero would not be a number where the rate is infinite.
            return if seconds > 0.0 { self.to * seconds } else { 0.0 };
        }
        seconds * (self.from + self.rate_at(seconds)) / 2.0
    }
}

impl Pace {
    pub(crate) fn constant(rate: f64) -> Self {
        Self { steps: vec![Step { seconds: 1.0, from: rate, to: rate }], repeats: false }
    }

    /// Of `sleepBetweenMessages`, `ratePerSecond` or `profile`; what is wrong is told to `given`.
    pub(crate) fn read(given: &mut Given<'_>) -> Self {
        let sleep = given.whole("sleepBetweenMessages", 0..=86_400_000);
        let rate = given.number("ratePerSecond", RATE_MAX);
        let profile = given.value("profile");
        let repeats = given.flag("repeatProfile");
        if [sleep.is_some(), rate.is_some(), profile.is_some()].into_iter().filter(|is_given| *is_given).count() > 1 {
            given.problem("`sleepBetweenMessages`, `ratePerSecond` and `profile` exclude each other");
        }
        if rate == Some(0.0) {
            given.problem("`ratePerSecond` must be more than 0");
        }
        if repeats.is_some() && profile.is_none() {
            given.problem("`repeatProfile` needs a `profile`");
        }
        if let Some(profile) = profile {
            return Self { steps: read_steps(given, profile), repeats: repeats.unwrap_or(false) };
        }
        // No pause at all: as fast as they are taken.
        let of_sleep = |millis: f64| if millis > 0.0 { 1000.0 / millis } else { f64::INFINITY };
        Self::constant(rate.unwrap_or_else(|| of_sleep(sleep.map_or(SLEEP_MS_DEFAULT, |millis| millis as f64))))
    }

    /// Records due since the start; infinite where there is no bound.
    pub(crate) fn due_by(&self, elapsed: Duration) -> f64 {
        let (rounds, mut left) = self.rounds(elapsed);
        let all: f64 = self.steps.iter().map(|step| step.due_by(step.seconds)).sum();
        let mut due = if rounds > 0.0 { rounds * all } else { 0.0 };
        for (index, step) in self.steps.iter().enumerate() {
            let is_last = index + 1 == self.steps.len();
            if left <= step.seconds {
                return due + step.due_by(left);
            }
            due += step.due_by(step.seconds);
            left -= step.seconds;
            if is_last && left > 0.0 {
                due += step.to * left;
            }
        }
        due
    }

    /// Records per second at this moment.
    pub(crate) fn rate_at(&self, elapsed: Duration) -> f64 {
        let (_, mut left) = self.rounds(elapsed);
        for step in &self.steps {
            if left <= step.seconds {
                return step.rate_at(left);
            }
            left -= step.seconds;
        }
        self.steps.last().map_or(0.0, |step| step.to)
    }

    /// Whole rounds of the profile, and seconds into this one.
    fn rounds(&self, elapsed: Duration) -> (f64, f64) {
        let seconds = elapsed.as_secs_f64();
        if !self.repeats {
            return (0.0, seconds);
        }
        let round: f64 = self.steps.iter().map(|step| step.seconds).sum();
        ((seconds / round).floor(), seconds % round)
    }
}

fn read_steps(given: &mut Given<'_>, profile: &Value) -> Vec<Step> {
    const KNOWN: [&str; 3] = ["seconds", "ratePerSecond", "ramp"];
    let none = || Pace::constant(1.0).steps;
    let Some(list) = profile.as_array().filter(|list| (1..=STEPS_MAX).contains(&list.len())) else {
        given.problem(format!(
            "`profile` must be a list of 1 to {STEPS_MAX} objects {{\"seconds\": 60, \"ratePerSecond\": 100, \"ramp\": false}}"
        ));
        return none();
    };
    let mut steps = Vec::with_capacity(list.len());
    let mut before = 0.0;
    for (index, step) in list.iter().enumerate() {
        let field = |name: &str| step.get(name);
        let seconds = field("seconds").and_then(number_of).filter(|seconds| (0.001..=1e9).contains(seconds));
        let rate = field("ratePerSecond").and_then(number_of).filter(|rate| (0.0..=RATE_MAX).contains(rate));
        let ramp = field("ramp").map_or(Some(false), Value::as_bool);
        for name in step.as_object().into_iter().flatten().map(|(name, _)| name) {
            if !KNOWN.contains(&name.as_str()) {
                let hint = model::function::nearest(name, &KNOWN).map(|near| format!(", did you mean `{near}`?"));
                given.problem(format!("unknown field `{name}` in `profile.{index}`{}", hint.unwrap_or_default()));
            }
        }
        let (Some(seconds), Some(rate), Some(ramp)) = (seconds, rate, ramp) else {
            given.problem(format!(
                "`profile.{index}` must have `seconds` from 0.001, `ratePerSecond` from 0 to {RATE_MAX}, and may have `ramp`, true or false"
            ));
            continue;
        };
        steps.push(Step { seconds, from: if ramp { before } else { rate }, to: rate });
        before = rate;
    }
    if steps.is_empty() { none() } else { steps }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pace(configs: Value) -> Result<Pace, String> {
        let configs = configs.as_object().cloned().unwrap_or_default();
        let mut given = Given::new("data-generator", &configs);
        let pace = Pace::read(&mut given);
        given.finish().map(|()| pace).map_err(|error| error.to_string())
    }

    fn due(configs: Value, seconds: &[u64]) -> Vec<f64> {
        let pace = pace(configs).unwrap();
        seconds.iter().map(|&seconds| pace.due_by(Duration::from_secs(seconds))).collect()
    }

    #[test]
    fn a_pause_is_a_rate() {
        assert_eq!(due(json!({}), &[0, 1, 10]), [0.0, 20.0, 200.0], "Pulsar's 50 ms");
        assert_eq!(due(json!({"sleepBetweenMessages": 100}), &[1]), [10.0]);
        assert_eq!(due(json!({"sleepBetweenMessages": "0"}), &[0, 1]), [0.0, f64::INFINITY]);
        assert_eq!(due(json!({"ratePerSecond": 0.5}), &[10]), [5.0]);
    }

    #[test]
    fn steps_and_ramps_add_up_and_the_last_rate_stays() {
        let profile = json!({"profile": [
            {"seconds": 10, "ratePerSecond": 10},
            {"seconds": 10, "ratePerSecond": 30, "ramp": true},
            {"seconds": 10, "ratePerSecond": 0},
            {"seconds": 10, "ratePerSecond": 1},
        ]});
        assert_eq!(
            due(profile.clone(), &[5, 10, 15, 20, 30, 40, 50]),
            [50.0, 100.0, 175.0, 300.0, 300.0, 310.0, 320.0]
        );
        let pace = pace(profile).unwrap();
        let rates = [0, 15, 25, 100].map(|seconds| pace.rate_at(Duration::from_secs(seconds)));
        assert_eq!(rates, [10.0, 20.0, 0.0, 1.0]);
    }

    #[test]
    fn a_profile_can_be_repeated() {
        let steps = json!([{"seconds": 1, "ratePerSecond": 5}, {"seconds": 1, "ratePerSecond": 1}]);
        assert_eq!(
            due(json!({"profile": steps, "repeatProfile": true}), &[1, 2, 3, 4, 20]),
            [5.0, 6.0, 11.0, 12.0, 60.0]
        );
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        let told = pace(json!({
            "ratePerSecond": 5,
            "profile": [{"second": 1, "ratePerSecond": 5}, {"seconds": 0, "ratePerSecond": -1}],
        }));
        expect_test::expect![[r#"configs of data-generator: `sleepBetweenMessages`, `ratePerSecond` and `profile` exclude each other; unknown field `second` in `profile.0`, did you mean `seconds`?; `profile.0` must have `seconds` from 0.001, `ratePerSecond` from 0 to 100000000, and may have `ramp`, true or false; `profile.1` must have `seconds` from 0.001, `ratePerSecond` from 0 to 100000000, and may have `ramp`, true or false"#]]
        .assert_eq(&told.unwrap_err());
    }
}
