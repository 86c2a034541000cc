//! What a policy says.

use crate::Sample;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How many instances there should be, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Within the sample's `min` and `max`.
    pub replicas: u32,
    /// Why.
    pub reason: Reason,
}

impl Decision {
    /// `replicas`, brought between the sample's bounds.
    pub(crate) fn within(sample: &Sample, replicas: u32, code: &str, text: impl Into<String>) -> Self {
        let reason = Reason { code: code.to_owned(), text: text.into() };
        Self { replicas: bounded(sample, replicas), reason }
    }

    /// As many as there are.
    pub(crate) fn keep(sample: &Sample, code: &str, text: impl Into<String>) -> Self {
        Self::within(sample, sample.replicas, code, text)
    }
}

/// Between the sample's `min` and `max`; bounds that contradict each other give `max`.
pub(crate) fn bounded(sample: &Sample, replicas: u32) -> u32 {
    replicas.max(sample.min).min(sample.max)
}

/// Why a decision is what it is: a word for programs, a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// In camel case, as Kubernetes writes reasons: `BacklogHigh`, `ScaleDownStabilized`, `TooFewReplicas` ...
    pub code: String,
    /// With the numbers that led to it.
    pub text: String,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.text)
    }
}
