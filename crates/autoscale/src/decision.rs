//! What a policy says.

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
