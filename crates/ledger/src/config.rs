//! Where stored topics live and when their ledgers roll over.

use serde::{Deserialize, Serialize};
use std::{path::PathBuf, time::Duration};

/// Where stored topics live and when their ledgers roll over.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The directory of the catalog (`catalog.redb`) and of segments (`segments/`).
    pub dir: PathBuf,
    /// The journal, which has a directory of its own.
    pub journal: journal::Config,
    /// Bytes of entries all topics together keep in memory for consumers that follow the tail.
    pub cache_bytes: usize,
    /// Bytes of catalog pages kept in memory.
    pub catalog_cache_bytes: usize,
    /// Entries after which a ledger is full. Pulsar: `managedLedgerMaxEntriesPerLedger`.
    pub max_entries_per_ledger: u64,
    /// Bytes after which a ledger is full, however young. Pulsar: `managedLedgerMaxSizePerLedgerMbytes`.
    pub max_ledger_bytes: u64,
    /// Age below which a ledger does not roll over for its number of entries. Pulsar:
    /// `managedLedgerMinLedgerRolloverTimeMinutes`.
    #[serde(with = "humantime_serde")]
    pub min_ledger_age: Duration,
    /// Age after which the next entry opens a new ledger. Pulsar: `managedLedgerMaxLedgerRolloverTimeMinutes`.
    #[serde(with = "humantime_serde")]
    pub max_ledger_age: Duration,
    /// Bytes of journal after which the catalog is written again; a start replays at most about this much.
    pub checkpoint_bytes: u64,
    /// Topics with changes not in the catalog after which it is written again.
    pub checkpoint_topics: usize,
    /// Share of the journal's capacity, in percent, above which its oldest files are sorted into segments.
    pub compact_above_percent: u8,
    /// Bytes a second that sorting into segments may write.
    pub compact_bytes_per_s: u64,
    /// How often the oldest journal file is looked at, to give back space nobody needs while little is written.
    #[serde(with = "humantime_serde")]
    pub reclaim_interval: Duration,
    /// How often segments are looked through for topics whose retention ended while they were not loaded.
    #[serde(with = "humantime_serde")]
    pub sweep_interval: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("data"),
            journal: journal::Config::default(),
            cache_bytes: 64 << 20,
            catalog_cache_bytes: 8 << 20,
            max_entries_per_ledger: 50_000,
            max_ledger_bytes: 2 << 30,
            min_ledger_age: Duration::from_secs(10 * 60),
            max_ledger_age: Duration::from_secs(4 * 3600),
            checkpoint_bytes: 1 << 30,
            checkpoint_topics: 50_000,
            compact_above_percent: 75,
            compact_bytes_per_s: 100 << 20,
            reclaim_interval: Duration::from_secs(60),
            sweep_interval: Duration::from_secs(600),
        }
    }
}
