//! What comes, and what has to be done with it.

use crate::{Error, Rates};
use std::{f64::consts::TAU, time::Duration};

/// What comes, and the functions that it goes through.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// How it is asked for.
    pub name: String,
    /// In a sentence.
    pub about: String,
    /// Messages published to the first function's input.
    pub rates: Rates,
    /// The beginning that is not measured, so that each policy starts from where it would be.
    pub warm_up: Duration,
    /// The functions, first to last: each reads what the one before writes.
    pub stages: Vec<Stage>,
}

/// One function.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// Its name.
    pub name: &'static str,
    /// From beginning a message to having done it, on average, at the full speed of one instance.
    pub service: Duration,
    /// How that varies.
    pub shape: Shape,
    /// Messages it writes per message it reads, on average.
    pub selectivity: f64,
    /// Which instance may work on a message.
    pub dispatch: Dispatch,
}

/// How the time for one message varies around its mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// Log-normal, with this standard deviation over mean; 0: it does not vary.
    LogNormal(f64),
    /// As queueing theory has it.
    Exponential,
}

/// Which instance may work on a message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Dispatch {
    /// Any: a Shared subscription.
    Shared,
    /// The one that owns the key's hash, one message of a key at a time: a Key_Shared subscription. The n-th most frequent of the keys
    /// has a share in proportion to `n ^ -exponent`.
    Keyed {
        /// How many there are.
        keys: u32,
        /// 0: all alike; 1: Zipf's law.
        exponent: f64,
    },
    /// The one that has the partition: a Failover subscription on a partitioned topic.
    Partitioned {
        /// More instances than these have nothing to do.
        partitions: u32,
    },
}

impl Dispatch {
    /// Instances that can work at once.
    pub(crate) fn parallelism_max(self) -> Option<u32> {
        match self {
            Dispatch::Shared => None,
            Dispatch::Keyed { keys, .. } => Some(keys),
            Dispatch::Partitioned { partitions } => Some(partitions),
        }
    }
}

/// The names that [`Trace::named`] knows.
pub const TRACES: [&str; 6] = ["step", "ramp", "diurnal", "flash", "skew", "three-stage"];

impl Trace {
    /// One of the traces that come with the simulation.
    ///
    /// # Errors
    /// [`Error::NoTrace`].
    pub fn named(name: &str) -> Result<Self, Error> {
        let (about, rates, stages) = match name {
            "step" => (
                "8 messages per second, ten times as many for 15 minutes, then 8 again",
                vec![(0.0, 8.0), (600.0, 8.0), (600.0, 80.0), (1_500.0, 80.0), (1_500.0, 8.0), (2_400.0, 8.0)],
                vec![work("work")],
            ),
            "ramp" => (
                "from 8 messages per second to 80 in 15 minutes, 5 minutes there, and back in 15",
                vec![(0.0, 8.0), (600.0, 8.0), (1_500.0, 80.0), (1_800.0, 80.0), (2_700.0, 8.0), (3_000.0, 8.0)],
                vec![work("work")],
            ),
            "diurnal" => (
                "a day in an hour: a quarter of it nothing at all, 60 messages per second at noon",
                day(),
                vec![work("work")],
            ),
            "flash" => (
                "4 messages per second, and three crowds that come within 5 seconds, stay one minute, and leave over another",
                crowds(),
                vec![work("work")],
            ),
            "skew" => (
                "8 messages per second, 32 for 15 minutes, 8 again; order by key, one of 1,000 keys has 4 % of the messages",
                vec![(0.0, 8.0), (600.0, 8.0), (600.0, 32.0), (1_500.0, 32.0), (1_500.0, 8.0), (2_400.0, 8.0)],
                vec![Stage { dispatch: Dispatch::Keyed { keys: 1_000, exponent: 0.7 }, ..work("work") }],
            ),
            "three-stage" => (
                "three functions in a row, the second writes two messages for each, the third has 12 partitions; \
                 3 messages per second, 24 for 10 minutes, and back over 5",
                vec![(0.0, 3.0), (600.0, 3.0), (600.0, 24.0), (1_200.0, 24.0), (1_500.0, 3.0), (2_100.0, 3.0)],
                vec![
                    Stage { service: Duration::from_millis(100), ..work("decode") },
                    Stage { selectivity: 2.0, ..work("search") },
                    Stage {
                        service: Duration::from_millis(100),
                        dispatch: Dispatch::Partitioned { partitions: 12 },
                        ..work("store")
                    },
                ],
            ),
            _ => return Err(Error::NoTrace { name: name.to_owned(), known: TRACES.to_vec() }),
        };
        Ok(Self {
            name: name.to_owned(),
            about: about.to_owned(),
            rates: Rates::new(rates)?,
            warm_up: Duration::from_secs(300),
            stages,
        })
    }

    /// Rates of one's own for one function that takes 200 ms a message. A tenth of it, at most 300 s, is warm-up.
    pub fn of(name: impl Into<String>, rates: Rates) -> Self {
        Self {
            name: name.into(),
            about: format!("{:.0} s, up to {} messages per second", rates.seconds(), rates.peak()),
            warm_up: Duration::from_secs_f64((rates.seconds() / 10.0).min(300.0)),
            rates,
            stages: vec![work("work")],
        }
    }

    /// How long it is.
    pub fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.rates.seconds())
    }

    /// The same in less time: everything that takes its time from the rates shrinks, what a message needs does not.
    ///
    /// # Errors
    /// As [`Rates::new`].
    pub fn scaled(&self, time: f64, rate: f64) -> Result<Self, Error> {
        let rates = self.rates.scaled(time, rate)?;
        Ok(Self { rates, warm_up: self.warm_up.mul_f64(time), ..self.clone() })
    }
}

fn work(name: &'static str) -> Stage {
    Stage {
        name,
        service: Duration::from_millis(200),
        shape: Shape::LogNormal(0.5),
        selectivity: 1.0,
        dispatch: Dispatch::Shared,
    }
}

/// Five minutes of an evening; then 15 minutes of night and 45 of a day that is half a wave.
fn day() -> Vec<(f64, f64)> {
    let minutes = (0..=45).map(|minute| {
        let rate: f64 = 60.0 * (TAU / 2.0 * f64::from(minute) / 45.0).sin();
        (1_200.0 + 60.0 * f64::from(minute), (rate * 10.0).round() / 10.0)
    });
    [(0.0, 4.0), (300.0, 4.0), (300.0, 0.0)].into_iter().chain(minutes).collect()
}

fn crowds() -> Vec<(f64, f64)> {
    let crowd = |at: f64, peak: f64| [(at, 4.0), (at + 5.0, peak), (at + 65.0, peak), (at + 125.0, 4.0)];
    let crowds = [crowd(600.0, 80.0), crowd(1_200.0, 40.0), crowd(1_500.0, 60.0)];
    [(0.0, 4.0)].into_iter().chain(crowds.into_iter().flatten()).chain([(2_100.0, 4.0)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_trace() {
        for name in TRACES {
            let trace = Trace::named(name).unwrap();
            assert_eq!(trace.name, name);
            assert!(trace.duration() > trace.warm_up * 2, "{name}");
            assert!(trace.stages.iter().all(|stage| stage.selectivity >= 0.0), "{name}");
        }
        let error = Trace::named("stpe").unwrap_err().to_string();
        assert!(error.contains("step, ramp, diurnal"), "{error}");
    }

    #[test]
    fn all_traces_fit_into_twenty_instances() {
        for name in TRACES {
            let trace = Trace::named(name).unwrap();
            let mut rate = trace.rates.peak();
            for stage in &trace.stages {
                assert!(rate * stage.service.as_secs_f64() < 17.0, "{name}, {}", stage.name);
                rate *= stage.selectivity;
            }
        }
    }
}
