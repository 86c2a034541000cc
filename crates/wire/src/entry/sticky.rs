//! Sticky keys and their hashes: which consumer of a Key_Shared subscription gets an entry.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::MetadataView;

/// The key of an entry whose key cannot be determined. Source: `Commands.NONE_KEY`.
pub const NONE_KEY: &[u8] = b"NONE_KEY";

/// Sticky hashes are below this. Source: `StickyKeyConsumerSelector.DEFAULT_RANGE_SIZE`.
pub const STICKY_HASH_SIZE: u32 = 1 << 16;

/// Decodes what Java's basic decoder does: padding may be missing, stray trailing bits are ignored.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

impl<'a> MetadataView<'a> {
    /// What Key_Shared orders by: the ordering key, else the message's key (decoded when it is base64), else
    /// `PRODUCER-SEQUENCE`, so that keyless messages spread out. A key that is no base64 despite its flag gives
    /// [`NONE_KEY`].
    ///
    /// Source: `Commands.resolveStickyKey`, `Commands.peekStickyKey`.
    #[must_use]
    pub fn sticky_key(&self) -> Cow<'a, [u8]> {
        if let Some(key) = self.ordering_key {
            return Cow::Borrowed(key);
        }
        match self.partition_key {
            Some(key) if self.partition_key_b64_encoded => {
                BASE64.decode(key).map_or(Cow::Borrowed(NONE_KEY), Cow::Owned)
            }
            Some(key) => Cow::Borrowed(key),
            None => {
                let mut key = Vec::with_capacity(self.producer_name.len() + 21);
                key.extend_from_slice(self.producer_name);
                // Java's longs are signed.
                key.extend_from_slice(format!("-{}", self.sequence_id as i64).as_bytes());
                Cow::Owned(key)
            }
        }
    }
}

/// The hash of a sticky key for selectors over the whole range (auto-split, sticky): 1 to 65535, since 0 means "not set".
///
/// Source: `StickyKeyConsumerSelectorUtils.makeStickyKeyHash` with the range 0 to 65535 of
/// `HashRangeAutoSplitStickyKeyConsumerSelector` and `HashRangeExclusiveStickyKeyConsumerSelector`.
#[inline]
#[must_use]
pub fn sticky_hash(key: &[u8]) -> u32 {
    sticky_hash_in(key, 0, STICKY_HASH_SIZE - 1)
}

/// The hash of a sticky key for a selector over `first..=last`, both below 2^31; 0 becomes 1.
///
/// `ConsistentHashingStickyKeyConsumerSelector` uses 1 to 65535, so its hashes differ from [`sticky_hash`].
#[inline]
#[must_use]
pub fn sticky_hash_in(key: &[u8], first: u32, last: u32) -> u32 {
    let size = last.saturating_sub(first).saturating_add(1);
    (murmur3_32(key) % size).saturating_add(first).max(1)
}

/// Murmur3 (x86, 32 bits, seed 0) with the sign bit cleared. Source: Pulsar's `Murmur3_32Hash`.
#[must_use]
pub fn murmur3_32(bytes: &[u8]) -> u32 {
    const C1: u32 = 0xcc9e_2d51;
    const C2: u32 = 0x1b87_3593;
    let mix = |k: u32| k.wrapping_mul(C1).rotate_left(15).wrapping_mul(C2);

    let (blocks, tail) = bytes.as_chunks::<4>();
    let mut hash = 0_u32;
    for block in blocks {
        hash ^= mix(u32::from_le_bytes(*block));
        hash = hash.rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    let tail = tail.iter().rev().fold(0, |k, &byte| k << 8 | u32::from(byte));
    hash ^= mix(tail);
    hash ^= bytes.len() as u32;
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    (hash ^ hash >> 16) & i32::MAX as u32
}
