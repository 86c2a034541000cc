//! Several messages in the payload of one entry: `[metadata size u32][SingleMessageMetadata][payload]` each.
//!
//! The batch is compressed and encrypted as one, so it must be plain here. How many messages it holds is in the entry's
//! metadata (`num_messages_in_batch`), never in the batch itself.
//!
//! Source: apache/pulsar `Commands.serializeSingleMessageInBatchWithPayload`, `Commands.deSerializeSingleMessageInBatch`.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

use crate::proto::SingleMessageMetadata;

/// No batch has more messages; what says so is not believed.
pub const MESSAGES_MAX: u32 = 65_536;

/// A batch ends within a message, or a message within it is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed batch")]
pub struct Error;

/// Collects messages into a batch.
#[derive(Debug, Default)]
pub struct Builder {
    buf: BytesMut,
    count: usize,
}

impl Builder {
    /// Appends a message; `payload_size` of `metadata` is set here.
    pub fn push(&mut self, metadata: SingleMessageMetadata, payload: &[u8]) {
        let payload_size = i32::try_from(payload.len()).expect("a message is far below 2 GiB");
        let metadata = SingleMessageMetadata { payload_size, ..metadata };
        let len = metadata.encoded_len();
        self.buf.reserve(4 + len + payload.len());
        self.buf.put_u32(u32::try_from(len).expect("a message is far below 4 GiB"));
        metadata.encode_raw(&mut self.buf);
        self.buf.put_slice(payload);
        self.count += 1;
    }

    /// How many messages it holds.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// How many bytes they take.
    #[must_use]
    pub fn size(&self) -> usize {
        self.buf.len()
    }

    /// Takes the batch and leaves an empty one that keeps what room is left.
    pub fn take(&mut self) -> Bytes {
        self.count = 0;
        self.buf.split().freeze()
    }
}

/// Takes a batch apart; payloads share its memory. Stops after the first error.
#[must_use]
pub const fn messages(batch: Bytes) -> Messages {
    Messages { rest: batch }
}

/// See [`messages`].
#[derive(Clone, Debug)]
pub struct Messages {
    rest: Bytes,
}

impl Messages {
    /// What is not taken apart yet.
    #[must_use]
    pub const fn rest(&self) -> &Bytes {
        &self.rest
    }

    fn message(&mut self) -> Option<(SingleMessageMetadata, Bytes)> {
        let size = usize::try_from(self.rest.try_get_u32().ok()?).ok()?;
        if size > self.rest.len() {
            return None;
        }
        let metadata = SingleMessageMetadata::decode(self.rest.split_to(size)).ok()?;
        let size = usize::try_from(metadata.payload_size).ok()?;
        if size > self.rest.len() {
            return None;
        }
        Some((metadata, self.rest.split_to(size)))
    }
}

impl Iterator for Messages {
    type Item = Result<(SingleMessageMetadata, Bytes), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let message = self.message();
        if message.is_none() {
            self.rest.clear();
        }
        Some(message.ok_or(Error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn single(key: &str) -> SingleMessageMetadata {
        SingleMessageMetadata { partition_key: Some(key.to_owned()), ..SingleMessageMetadata::default() }
    }

    #[test]
    fn a_taken_builder_starts_afresh() {
        let mut builder = Builder::default();
        builder.push(single("a"), b"one");
        assert_eq!((builder.count(), builder.size()), (1, 4 + 5 + 3));
        let first = builder.take();
        assert_eq!((builder.count(), builder.size()), (0, 0));
        builder.push(single("b"), b"two");
        assert_eq!(messages(first).map(|m| m.unwrap().1).collect::<Vec<_>>(), [&b"one"[..]]);
        assert_eq!(messages(builder.take()).map(|m| m.unwrap().1).collect::<Vec<_>>(), [&b"two"[..]]);
    }

    #[test]
    fn a_negative_payload_size_is_an_error() {
        let metadata = SingleMessageMetadata { payload_size: -1, ..single("a") };
        let mut batch = BytesMut::new();
        batch.put_u32(metadata.encoded_len() as u32);
        metadata.encode_raw(&mut batch);
        assert_eq!(messages(batch.freeze()).collect::<Vec<_>>(), [Err(Error)]);
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(given in proptest::collection::vec(("[a-z]{0,9}", any::<Vec<u8>>()), 0..9)) {
            let mut builder = Builder::default();
            for (key, payload) in &given {
                builder.push(single(key), payload);
            }
            prop_assert_eq!(builder.count(), given.len());
            let found: Vec<_> = messages(builder.take())
                .map(|message| message.map(|(metadata, payload)| (metadata.partition_key().to_owned(), payload.to_vec())))
                .collect::<Result<_, _>>()
                .unwrap();
            prop_assert_eq!(found, given);
        }

        #[test]
        fn any_bytes_end_with_messages_or_one_error(bytes: Vec<u8>) {
            let found: Vec<_> = messages(bytes.into()).collect();
            prop_assert!(found.iter().rev().skip(1).all(Result::is_ok));
        }
    }
}
