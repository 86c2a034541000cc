//! How functions, sources and sinks scale by themselves; Geminga's own, Pulsar has nothing of the kind.
//!
//! | Path, below `/admin/v3/functions\|sources\|sinks/{tenant}/{namespace}/{name}` | What it does |
//! |---|---|
//! | `GET /scaling` | a [`Scaling`] |
//! | `PUT /scaling` | sets the rules, an [`autoscale::Spec`] |
//! | `DELETE /scaling` | clears them: as many instances as the configuration says |
//! | `GET /scaling/events` | a list of [`ScalingEvent`], oldest first |
//! | `POST /scaling/pin?instances=N` | so many, whatever the rules say |
//! | `POST /scaling/unpin` | the rules decide again |
//! | `POST /scaling/pause`, `/scaling/resume` | as many as there are, until it is resumed |
//!
//! `GET /admin/v2/worker/scaling` lists all that scales, as [`ScalingOf`]. A request that creates or updates may have a part `scaling`
//! with rules.

use autoscale::{
    Reason, Sample, Spec,
    vpa::{Recommendation, Requirements},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How something scales, and how that does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Scaling {
    /// The rules, where there are some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<Spec>,
    /// Instances a person pinned it at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned: Option<u32>,
    /// A person paused it.
    pub paused: bool,
    /// `off`, `active`, `asleep`, `pinned`, `paused` or `stopped`.
    pub phase: String,
    /// Instances there should be.
    pub wanted: u32,
    /// Instances that take messages.
    pub running: u32,
    /// Instances that finish what they have in hand.
    pub draining: u32,
    /// The last decision, whether or not it changed anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest: Option<ScalingEvent>,
    /// Decisions that changed something since the process started, by the code of their reason.
    pub decisions: BTreeMap<String, u64>,
    /// What one instance should request; where the rules have a `vpa`, once something is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recommendation: Option<Recommendation>,
    /// What instances are started with because of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<Requirements>,
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScalingEvent {
    /// Milliseconds since 1970.
    pub timestamp_ms: u64,
    /// Who decided: the name of a policy, `vpa`, `wake`, or `person`.
    pub by: String,
    /// Instances before.
    pub from: u32,
    /// Instances after.
    pub to: u32,
    /// Why.
    pub reason: Reason,
    /// What a policy saw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<Box<Sample>>,
}

/// One of all that scales.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScalingOf {
    /// `function`, `source` or `sink`.
    pub kind: String,
    /// `tenant/namespace/name`.
    pub name: String,
    /// How it scales.
    pub scaling: Scaling,
}
