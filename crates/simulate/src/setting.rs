//! What is the same for every policy.

use crate::Error;
use serde::Serialize;
use std::time::Duration;

/// What is the same for every policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    /// From asking for an instance until it takes messages. Measured for this project's Python functions: 36 ms. A pod takes seconds.
    #[serde(rename = "startup_s", serialize_with = "seconds")]
    pub startup: Duration,
    /// A message should be done this long after it was published. Policies that are told of a target are told this one.
    #[serde(rename = "target_s", serialize_with = "seconds")]
    pub target: Duration,
    /// Instances of one function, at most.
    pub max: u32,
    /// How often policies look, and how old what they see is.
    pub ticks: Ticks,
    /// Share of its service time for which a message uses a core; it waits for the rest.
    pub cpu_share: f64,
    /// Messages that an instance of a Shared subscription holds beyond the one it works on. This project's broker gives out what an
    /// instance can use; a Pulsar client asks for 1,000.
    pub receiver_queue: usize,
}

/// How often policies look, and how old what they see is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ticks {
    /// All at the same times, and what they see is of that moment.
    #[serde(serialize_with = "seconds")]
    Equal(Duration),
    /// Each as often as upstream has it, with upstream's delay of metrics.
    Native,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            startup: Duration::from_millis(36),
            target: Duration::from_secs(2),
            max: 20,
            ticks: Ticks::Equal(Duration::from_secs(1)),
            cpu_share: 1.0,
            receiver_queue: 0,
        }
    }
}

impl Setting {
    /// # Errors
    /// [`Error::Setting`]: a number is out of its range.
    pub fn check(&self) -> Result<(), Error> {
        let hour = Duration::from_secs(3_600);
        let bounded = |name: &str, value: Duration, least: Duration| {
            let is_fine = (least..=hour).contains(&value);
            if is_fine { Ok(()) } else { Err(Error::Setting(format!("{name}: from {least:?} to an hour"))) }
        };
        bounded("start-up", self.startup, Duration::ZERO)?;
        bounded("target", self.target, Duration::from_millis(10))?;
        if let Ticks::Equal(tick) = self.ticks {
            bounded("tick", tick, Duration::from_millis(10))?;
        }
        if !(1..=1_000).contains(&self.max) {
            return Err(Error::Setting("instances: from 1 to 1000".into()));
        }
        if !(0.0..=1.0).contains(&self.cpu_share) {
            return Err(Error::Setting("share of CPU: from 0 to 1".into()));
        }
        Ok(())
    }
}

fn seconds<S: serde::Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(duration.as_secs_f64())
}
