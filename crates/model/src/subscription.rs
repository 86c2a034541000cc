//! How consumers share a subscription, and where a new one starts.

use serde::{Deserialize, Serialize};

/// How the consumers of one subscription share its messages. Numbers are those of `CommandSubscribe.SubType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SubscriptionType {
    /// One consumer; a second is refused.
    Exclusive = 0,
    /// Any number; each message goes to one of them.
    Shared = 1,
    /// Any number connected, one active.
    Failover = 2,
    /// Any number; each key goes to one of them, in order.
    #[serde(rename = "Key_Shared")]
    KeyShared = 3,
}

impl SubscriptionType {
    /// As the wire and REST name it: `Exclusive`, `Shared`, `Failover`, `Key_Shared`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exclusive => "Exclusive",
            Self::Shared => "Shared",
            Self::Failover => "Failover",
            Self::KeyShared => "Key_Shared",
        }
    }

    /// Whether one consumer at a time receives messages (so cumulative acknowledgement makes sense).
    #[must_use]
    pub const fn is_single_active(self) -> bool {
        matches!(self, Self::Exclusive | Self::Failover)
    }
}

/// Where a subscription starts that did not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum InitialPosition {
    /// After the last message there is.
    #[default]
    Latest = 0,
    /// At the first message still stored.
    Earliest = 1,
}

/// How Key_Shared assigns keys to consumers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeySharedMode {
    /// The broker splits the hash range.
    #[default]
    AutoSplit,
    /// Consumers bring their ranges.
    Sticky,
}

/// Who may produce beside a producer. Numbers are those of `ProducerAccessMode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessMode {
    /// Anybody.
    #[default]
    Shared = 0,
    /// Nobody else; fails when somebody is there.
    Exclusive = 1,
    /// Nobody else; waits its turn.
    WaitForExclusive = 2,
    /// Nobody else; throws the others out.
    ExclusiveWithFencing = 3,
}
