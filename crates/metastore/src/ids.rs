//! Numbers that are never given twice, over restarts and over brokers.

use bytes::Bytes;
use parking_lot::Mutex;
use std::{num::ParseIntError, ops::Range, sync::Arc};

use crate::{Error, Expect, Metastore, Result};

/// Ids stay below this, so that JavaScript clients can hold them in a number.
const ID_MAX: u64 = 1 << 53;

/// Hands out ids from blocks reserved by compare-and-set. Ids start at 1 and rise; what a stop leaves unused of a block
/// is skipped.
pub struct IdBlocks {
    store: Arc<dyn Metastore>,
    key: String,
    block: u64,
    reserved: Mutex<Range<u64>>,
    refilling: tokio::sync::Mutex<()>,
}

impl IdBlocks {
    /// Reserves the first block.
    ///
    /// # Errors
    /// The store fails, or the key holds something else.
    pub async fn open(store: Arc<dyn Metastore>, key: &str, block: u64) -> Result<Self> {
        let ids = Self {
            store,
            key: key.to_owned(),
            block: block.max(1),
            reserved: Mutex::new(0..0),
            refilling: tokio::sync::Mutex::new(()),
        };
        ids.refill().await?;
        Ok(ids)
    }

    /// The next id, if the reserved block has one left.
    pub fn try_next(&self) -> Option<u64> {
        self.reserved.lock().next()
    }

    /// How many are left without going to the store.
    pub fn left(&self) -> u64 {
        let reserved = self.reserved.lock();
        reserved.end - reserved.start
    }

    /// The next id.
    ///
    /// # Errors
    /// The store fails.
    pub async fn next(&self) -> Result<u64> {
        loop {
            if let Some(id) = self.try_next() {
                return Ok(id);
            }
            self.refill().await?;
        }
    }

    /// Reserves another block when less than half a block is left.
    ///
    /// # Errors
    /// The store fails.
    pub async fn refill(&self) -> Result<()> {
        let _one_at_a_time = self.refilling.lock().await;
        if self.left() > self.block / 2 {
            return Ok(());
        }
        let end = add(&*self.store, &self.key, self.block).await?;
        if end > ID_MAX {
            return Err(Error::BadValue { key: self.key.clone(), reason: "ids are used up".into() });
        }
        let mut reserved = self.reserved.lock();
        let start = end - self.block + 1;
        // Blocks of one process follow each other unless another broker took one in between.
        *reserved = if reserved.end == start { reserved.start..end + 1 } else { start..end + 1 };
        Ok(())
    }
}

/// Raises the counter at `key` and returns it: the epoch of an owner that starts now.
///
/// # Errors
/// The store fails, or the key holds something else.
pub async fn next_epoch(store: &dyn Metastore, key: &str) -> Result<u64> {
    add(store, key, 1).await
}

/// The highest id that [`IdBlocks`] ever reserved at `key`; 0 when it was none.
///
/// # Errors
/// The store fails, or the key holds something else.
pub async fn last_reserved(store: &dyn Metastore, key: &str) -> Result<u64> {
    Ok(counter(store, key).await?.0)
}

/// The counter at `key`, and what to expect when it is raised.
async fn counter(store: &dyn Metastore, key: &str) -> Result<(u64, Expect)> {
    let Some((value, version)) = store.get(key).await? else { return Ok((0, Expect::Absent)) };
    let text = std::str::from_utf8(&value).unwrap_or_default();
    let now = text.parse().map_err(|e: ParseIntError| Error::BadValue { key: key.into(), reason: e.to_string() })?;
    Ok((now, Expect::Version(version)))
}

async fn add(store: &dyn Metastore, key: &str, n: u64) -> Result<u64> {
    loop {
        let (now, expect) = counter(store, key).await?;
        let next = now.checked_add(n).ok_or_else(|| Error::BadValue { key: key.into(), reason: "overflow".into() })?;
        match store.put(key, Bytes::from(next.to_string()), expect).await {
            Ok(_) => return Ok(next),
            Err(Error::Conflict { .. }) => {}
            Err(other) => return Err(other),
        }
    }
}
