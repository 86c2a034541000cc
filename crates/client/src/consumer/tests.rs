use super::{feed::State, *};
use crate::{Permits, acks::Batches, hot, link::Link};
use bytes::BytesMut;
use smallvec::smallvec;

fn delivery(ack_set: smallvec::SmallVec<[u64; 2]>) -> Delivery {
    Delivery {
        consumer_id: 0,
        position: Position::new(1, 2),
        partition: -1,
        redelivery_count: 0,
        ack_set,
        consumer_epoch: None,
    }
}

#[test]
fn an_entry_takes_a_permit_for_each_message_that_is_open() {
    let mut frame = BytesMut::new();
    let send = hot::Send {
        producer_id: 0,
        sequence_id: 0,
        highest_sequence_id: Some(9),
        messages: 10,
        producer_name: "p",
        publish_time_ms: 1,
        is_batch: true,
    };
    send.write(&mut frame, |_| {});
    let command_size = u32::from_be_bytes(frame[4..8].try_into().unwrap()) as usize;
    let entry = &frame[8 + command_size..];
    assert_eq!(open_messages(&delivery(smallvec![]), entry), 10);
    assert_eq!(open_messages(&delivery(smallvec![0b101]), entry), 2);
    assert_eq!(open_messages(&delivery(smallvec![u64::MAX]), entry), 10, "bits beyond the batch do not count");
    assert_eq!(open_messages(&delivery(smallvec![]), b"garbage"), 1);
}

#[test]
fn a_reader_goes_on_after_its_last_message() {
    let id = |entry, batch_index| MessageId { position: Position::new(1, entry), partition: -1, batch_index };
    let mut state = State {
        link: Link::Down,
        lost: false,
        permits: Permits::new(1),
        batches: Batches::default(),
        resume: None,
        start: Some(Start::After(id(4, 1))),
    };
    assert!(!state.is_wanted(id(3, -1)) && !state.is_wanted(id(4, 1)) && state.is_wanted(id(4, 2)));
    state.start = Some(Start::At(id(4, 1)));
    assert!(!state.is_wanted(id(4, 0)) && state.is_wanted(id(4, 1)));
    state.resume = Some(id(5, -1));
    assert!(!state.is_wanted(id(5, -1)) && state.is_wanted(id(6, 0)));
}
