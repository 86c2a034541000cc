//! What may be said about scaling by rate.

use crate::spec::Problems;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Ours. Everything has a default; what is absent follows from how long the function's instances take to start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// How old a message may be when it has been processed, for all but one in a hundred. In a chain: by its last function; each on the
    /// longest way through this one has its part of it.
    #[serde(with = "humantime_serde")]
    pub target_age: Duration,
    /// Share of the true rate that is planned with, at most. Small functions get more room, by what queues need for `target_age`.
    pub target_utilization: f64,
    /// How fast a backlog is worked off once there are instances to do so. Absent: a third of `cool_down`, for which an instance stays
    /// anyway.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub catch_up: Option<Duration>,
    /// Instances go when so long fewer would have done. Absent: the start-up time, 5 s at least and 5 min at most: then to
    /// keep one costs as much as to start it again.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub cool_down: Option<Duration>,
    /// The last instance goes when so long there was nothing to do, where `minReplicas` is 0. Absent: 30 times the start-up time,
    /// 10 s at least and 5 min at most.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub idle: Option<Duration>,
    /// Between two decisions.
    #[serde(with = "humantime_serde")]
    pub period: Duration,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            target_age: Duration::from_secs(1),
            target_utilization: 0.95,
            catch_up: None,
            cool_down: None,
            idle: None,
            period: Duration::from_secs(1),
        }
    }
}

const COOL_DOWN: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);

impl Spec {
    pub(super) fn cool_down(&self, startup: Duration) -> Duration {
        self.cool_down.unwrap_or_else(|| startup.clamp(COOL_DOWN, LONGEST))
    }

    pub(super) fn catch_up(&self, startup: Duration) -> Duration {
        self.catch_up.unwrap_or_else(|| self.cool_down(startup) / 3)
    }

    pub(super) fn idle(&self, startup: Duration) -> Duration {
        self.idle.unwrap_or_else(|| startup.saturating_mul(30).clamp(IDLE, LONGEST))
    }

    pub(crate) fn check(&self, at: &str, problems: &mut Problems) {
        problems.unless(!self.target_age.is_zero(), format!("{at}.targetAge"), "it is more than 0");
        problems.unless(
            (0.05..=1.0).contains(&self.target_utilization),
            format!("{at}.targetUtilization"),
            format_args!("{} is not from 0.05 to 1", self.target_utilization),
        );
        problems.unless(self.catch_up != Some(Duration::ZERO), format!("{at}.catchUp"), "it is more than 0");
        problems.unless(!self.period.is_zero(), format!("{at}.period"), "it is more than 0");
        for (field, time) in [("catchUp", self.catch_up), ("coolDown", self.cool_down), ("idle", self.idle)] {
            problems.unless(time.unwrap_or_default() <= DAY, format!("{at}.{field}"), "it is at most 1day");
        }
    }
}

const DAY: Duration = Duration::from_secs(86_400);
