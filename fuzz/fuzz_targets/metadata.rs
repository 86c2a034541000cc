//! Any bytes as message metadata: where prost and our partial reader both accept them, they read the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message;
use wire::entry::{self, MetadataView};
use wire::proto::MessageMetadata;

fuzz_target!(|data: &[u8]| {
    let Ok(view) = MetadataView::parse(data) else { return };
    let hash = entry::sticky_hash(&view.sticky_key());
    assert!((1..entry::STICKY_HASH_SIZE).contains(&hash));
    assert!(view.messages() >= 1);
    // Stricter than we are: it wants UTF-8 where we keep bytes.
    let Ok(whole) = MessageMetadata::decode(data) else { return };
    assert_eq!(view.producer_name, whole.producer_name.as_bytes());
    assert_eq!(view.sequence_id, whole.sequence_id);
    assert_eq!(view.publish_time, whole.publish_time);
    assert_eq!(view.event_time, whole.event_time);
    assert_eq!(view.partition_key, whole.partition_key.as_deref().map(str::as_bytes));
    assert_eq!(view.ordering_key, whole.ordering_key.as_deref());
    assert_eq!(view.num_messages_in_batch, whole.num_messages_in_batch);
    assert_eq!(view.highest_sequence_id, whole.highest_sequence_id);
    assert_eq!(view.deliver_at_time, whole.deliver_at_time);
    assert_eq!(view.marker_type, whole.marker_type);
    assert_eq!(view.chunk_id, whole.chunk_id);
    assert_eq!(view.encrypted, !whole.encryption_keys.is_empty());

    let built = entry::encode_entry(&whole, data);
    assert_eq!(entry::checksum(&built), entry::Checksum::Valid);
    let again = entry::metadata(&built).expect("what was accepted is accepted again");
    assert_eq!(again.sticky_key(), view.sticky_key());
});
