use std::borrow::Cow;

use proptest::prelude::*;

use super::*;

fn metadata_of(name: &str, sequence_id: u64) -> MessageMetadata {
    MessageMetadata {
        producer_name: name.to_owned(),
        sequence_id,
        publish_time: 1_700_000_000_000,
        ..Default::default()
    }
}

fn sticky(metadata: &MessageMetadata) -> Vec<u8> {
    let encoded = metadata.encode_to_vec();
    MetadataView::parse(&encoded).unwrap().sticky_key().into_owned()
}

/// Numbers that Pulsar 4.2.4's `Murmur3_32Hash` and `HashRangeAutoSplitStickyKeyConsumerSelector` gave.
#[test]
fn hashes_are_pulsars() {
    for (key, hash, sticky) in [
        (&b""[..], 0, 1),
        (b"a", 1_009_084_850, 27058),
        (b"ab", 465_557_343, 55135),
        (b"abc", 870_159_354, 37882),
        (b"abcd", 1_139_631_978, 26474),
        (b"key-0", 1_664_612_543, 63679),
        (b"key-1", 414_258_592, 5536),
        (b"hello, world", 345_750_399, 47999),
        (b"producer-1-42", 1_448_460_619, 49483),
        (b"The quick brown fox jumps over the lazy dog", 776_992_547, 63267),
        (b"\0\xff\x80\x01\x02", 1_744_636_516, 2660),
        (b"k179888", 852_623_360, 1), // a multiple of 65536
    ] {
        assert_eq!((murmur3_32(key), sticky_hash(key)), (hash, sticky), "{key:?}");
    }
    assert_eq!(sticky_hash_in(b"abc", 1, 65535), 870_159_354 % 65535 + 1);
}

#[test]
fn the_sticky_key_is_ordering_key_then_key_then_producer_and_sequence() {
    let mut metadata = metadata_of("producer-1", 42);
    assert_eq!(sticky(&metadata), b"producer-1-42");
    metadata.sequence_id = u64::MAX;
    assert_eq!(sticky(&metadata), b"producer-1--1", "Java's longs are signed");
    metadata.partition_key = Some("AP8B".to_owned());
    assert_eq!(sticky(&metadata), b"AP8B");
    metadata.partition_key_b64_encoded = Some(true);
    assert_eq!(sticky(&metadata), [0, 255, 1]);
    for (key, decoded) in [("AP8=", &b"\0\xff"[..]), ("AP8", b"\0\xff"), ("", b""), ("A_8=", NONE_KEY), ("A", NONE_KEY)]
    {
        metadata.partition_key = Some(key.to_owned());
        assert_eq!(sticky(&metadata), decoded, "{key}");
    }
    metadata.ordering_key = Some(Bytes::from_static(b""));
    assert_eq!(sticky(&metadata), b"", "an empty ordering key is one");
}

#[test]
fn plain_keys_are_borrowed() {
    let encoded = MessageMetadata { partition_key: Some("k".to_owned()), ..metadata_of("p", 1) }.encode_to_vec();
    assert!(matches!(MetadataView::parse(&encoded).unwrap().sticky_key(), Cow::Borrowed(b"k")));
}

#[test]
fn crc32c_is_castagnoli() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    assert_eq!(crc32c(b""), 0);
}

#[test]
fn a_required_field_that_is_missing_is_named() {
    let encoded = metadata_of("p", 1).encode_to_vec();
    assert_eq!(MetadataView::parse(&encoded[3..]), Err(Error::Missing("producer_name")));
    assert_eq!(MetadataView::parse(&encoded[..3]), Err(Error::Missing("sequence_id")));
    assert_eq!(MetadataView::parse(&encoded[..5]), Err(Error::Missing("publish_time")));
    assert_eq!(MetadataView::parse(&[0x10, 1, 0x0d, 0, 0, 0, 0]), Err(Error::Malformed), "a name of fixed bits");
    assert_eq!(MetadataView::parse(&[0x08, 1]), Err(Error::Malformed), "a name that is a number");
}

#[test]
fn a_batch_counts_at_least_one_message() {
    for (count, messages) in [(None, 1), (Some(1), 1), (Some(7), 7), (Some(0), 1), (Some(-3), 1)] {
        let encoded = MessageMetadata { num_messages_in_batch: count, ..metadata_of("p", 1) }.encode_to_vec();
        let view = MetadataView::parse(&encoded).unwrap();
        assert_eq!((view.messages(), view.is_batch()), (messages, count.is_some()));
    }
}

#[test]
fn a_broker_prefix_is_skipped() {
    let entry = encode_entry(&metadata_of("p", 1), b"payload");
    let mut prefixed = BytesMut::new();
    let broker = BrokerEntryMetadata { broker_timestamp: Some(5), index: Some(9) };
    put_broker_metadata(&mut prefixed, &broker);
    prefixed.put_slice(&entry);
    let prefixed = prefixed.freeze();

    let parts = split(&prefixed).unwrap();
    assert_eq!(BrokerEntryMetadata::decode(parts.broker_metadata.unwrap()).unwrap(), broker);
    assert_eq!(checksum(&prefixed), Checksum::Valid);
    assert_eq!(parts.payload, b"payload");
    assert_eq!(payload(&prefixed).unwrap(), &b"payload"[..]);
    assert_eq!(without_broker_metadata(&prefixed), entry);
    assert_eq!(without_broker_metadata(&entry), entry);
    assert_eq!(metadata(&prefixed), metadata(&entry));
}

#[test]
fn an_entry_without_checksum_is_accepted_as_such() {
    let entry = encode_entry(&metadata_of("p", 1), b"payload");
    assert_eq!(checksum(&entry[6..]), Checksum::Absent);
    assert_eq!(metadata(&entry[6..]), metadata(&entry));
}

#[test]
fn sizes_beyond_the_end_are_truncation() {
    for entry in [&b""[..], b"\0\0\0\x01", b"\x0e\x01\0\0\0", b"\x0e\x02\xff\xff\xff\xff", b"\xff\xff\xff\xff"] {
        assert_eq!(split(entry), Err(Error::Truncated), "{entry:?}");
    }
}

proptest! {
    #[test]
    fn any_flipped_bit_is_noticed(payload: Vec<u8>, at: prop::sample::Index, bit in 0..8_u8) {
        let entry = encode_entry(&metadata_of("p", 1), &payload);
        prop_assert_eq!(checksum(&entry), Checksum::Valid);
        prop_assert_eq!(split(&entry).unwrap().payload, &payload[..]);
        let mut broken = entry.to_vec();
        // The magic aside: without it there is no checksum to fail.
        let at = 2 + at.index(broken.len() - 2);
        broken[at] ^= 1 << bit;
        prop_assert_eq!(checksum(&broken), Checksum::Invalid);
    }

    #[test]
    fn any_bytes_are_no_danger(bytes: Vec<u8>, magic in 0..3_usize) {
        let magic: &[u8] = [&[][..], &MAGIC_CHECKSUM, &MAGIC_BROKER_METADATA][magic];
        let entry = Bytes::from([magic, &bytes].concat());
        let _ = (checksum(&entry), metadata(&entry), payload(&entry), without_broker_metadata(&entry));
        let _ = MetadataView::parse(&bytes).map(|view| sticky_hash(&view.sticky_key()));
    }
}
