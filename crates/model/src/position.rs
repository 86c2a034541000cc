//! Where an entry is stored, and which message of it is meant.

use std::fmt;

/// Names one ledger. Rises within a topic and stays below 2^53, so that JavaScript clients can hold it in a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LedgerId(pub u64);

impl fmt::Display for LedgerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where one entry is stored: a ledger and the entry's number in it, counted from 0 without gaps.
///
/// `entry` is -1 for "before the first entry of this ledger", as in Pulsar's `PositionImpl`; that is where a cursor
/// stands that has consumed nothing of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The ledger.
    pub ledger: u64,
    /// The entry in it, or -1.
    pub entry: i64,
}

impl Position {
    /// Before everything: no ledger is numbered 0.
    pub const EARLIEST: Self = Self { ledger: 0, entry: -1 };

    /// The position of entry `entry` of ledger `ledger`.
    #[must_use]
    pub const fn new(ledger: u64, entry: i64) -> Self {
        Self { ledger, entry }
    }

    /// The next position in the same ledger; whether an entry is there is for the managed ledger to say.
    #[must_use]
    pub const fn next(self) -> Self {
        Self { ledger: self.ledger, entry: self.entry.saturating_add(1) }
    }

    /// The position before this one in the same ledger (-1 before the first).
    #[must_use]
    pub const fn previous(self) -> Self {
        Self { ledger: self.ledger, entry: self.entry.saturating_sub(1) }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.ledger, self.entry)
    }
}

/// One message: its entry, and its index in the batch when the entry is one (-1 otherwise).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// The entry.
    pub position: Position,
    /// Partition the topic is, or -1.
    pub partition: i32,
    /// Index in the batch, or -1.
    pub batch_index: i32,
}
