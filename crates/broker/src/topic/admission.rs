//! What a topic's policies ask of an entry before it is taken.
//!
//! Source: Pulsar's `PersistentTopic.publishMessage`, `AbstractTopic.isExceedMaximumMessageSize` and
//! `Producer.checkAndStartPublish`.

use crate::error::{Error, Result};

/// The default asks for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Admission {
    /// Bytes of an entry that is no chunk of a larger message; 0 is no bound.
    pub(crate) max_message_size: usize,
    /// Milliseconds after its publication that a message may ask to be delivered; 0 is no bound.
    pub(crate) max_delivery_delay_ms: i64,
    /// Producers have to encrypt.
    pub(crate) encryption_required: bool,
}

impl Admission {
    /// Whether an entry may be published.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn check(self, entry: &[u8]) -> Result<()> {
        let may_be_large = self.max_message_size > 0 && entry.len() > self.max_message_size;
        if !may_be_large && self.max_delivery_delay_ms == 0 && !self.encryption_required {
            return Ok(());
        }
        // What cannot be read says nothing about itself.
        let metadata = wire::entry::metadata(entry).unwrap_or_default();
        if self.encryption_required && !metadata.encrypted {
            return Err(Error::BadRequest("Messages must be encrypted".into()));
        }
        let is_chunk = metadata.num_chunks_from_msg.is_some_and(|chunks| chunks > 1);
        if may_be_large && !is_chunk {
            return Err(Error::NotAllowed("Exceed maximum message size".into()));
        }
        let published = i64::try_from(metadata.publish_time).unwrap_or(i64::MAX);
        let delay = metadata.deliver_at_time.map_or(0, |at| at.saturating_sub(published));
        if self.max_delivery_delay_ms > 0 && delay > self.max_delivery_delay_ms {
            let max = self.max_delivery_delay_ms;
            return Err(Error::NotAllowed(format!("Exceeds max allowed delivery delay of {max} milliseconds")));
        }
        Ok(())
    }
}
