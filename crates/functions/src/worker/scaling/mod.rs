//! Functions become more and fewer by themselves: rules that a person writes, decisions a policy makes, and what a person overrides.
//!
//! ```text
//! meters, input_stats --> Sample --> autoscale::Controller --> Decision --> row, Keeper
//!                         look        (one task for all)                    change, events
//! no instance: EventLog::wake --> one instance, at once
//! ```
//! What holds: a row is written when a number changes, and only then. Nothing is looked at while nothing scales or all of it sleeps. What
//! cannot be found out changes nothing. A person's word (stopped, pinned, paused) stands above every policy.

mod change;
mod controller;
mod edges;
mod events;
mod learnt;
mod look;
mod size;
#[cfg(test)]
mod tests;

use autoscale::{Reason, Sample, Spec, vpa};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub(super) use change::check;
pub(super) use controller::Scaler;

/// How something scales, as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Scaling {
    /// By which rules; `None`: not by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<Spec>,
    /// So many, whatever the rules say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned: Option<u32>,
    /// As many as there are, whatever the rules say.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
}

impl Scaling {
    pub(super) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// What scaling does with something now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It has no rules.
    Off,
    /// A policy decides.
    Active,
    /// It has no instance, and an event wakes it.
    Asleep,
    /// A person said how many.
    Pinned,
    /// A person wants it to stay as it is.
    Paused,
    /// A person stopped instances of it; those are not replaced.
    Stopped,
}

impl Phase {
    /// In small letters.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Active => "active",
            Self::Asleep => "asleep",
            Self::Pinned => "pinned",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// A decision.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Wall clock milliseconds.
    pub at_ms: u64,
    /// Who decided: the name of a policy, `vpa`, `wake`, or `person`.
    pub by: String,
    /// Instances before.
    pub from: u32,
    /// Instances after.
    pub to: u32,
    /// Why.
    pub reason: Reason,
    /// What a policy saw.
    pub sample: Option<Box<Sample>>,
}

/// How the scaling of something does.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// What a person said.
    pub scaling: Scaling,
    /// What that comes to.
    pub phase: Phase,
    /// Instances there should be.
    pub wanted: u32,
    /// Instances that take messages.
    pub running: u32,
    /// Instances that finish what they have in hand.
    pub draining: u32,
    /// The last decision, whether or not it changed anything.
    pub latest: Option<Event>,
    /// Decisions that changed something since the process started, by the code of their reason.
    pub decisions: BTreeMap<String, u64>,
    /// What one instance should request; where its rules have a VPA, once something is known.
    pub recommendation: Option<vpa::Recommendation>,
    /// What instances are started with because of that.
    pub size: Option<vpa::Requirements>,
}
