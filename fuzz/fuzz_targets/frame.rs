//! Any bytes as a stream of frames: no panic, no growth, and what is accepted is accepted again once re-encoded.

#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use wire::proto::base_command::Type;
use wire::{Decoder, Incoming, batch, encode, entry};

fuzz_target!(|data: &[u8]| {
    let decoder = Decoder::new(1 << 16);
    let mut buf = BytesMut::from(data);
    while let Ok(Some(incoming)) = decoder.next(&mut buf) {
        match incoming {
            Incoming::Send(_, entry) => read(&entry),
            Incoming::Command(command, entry) => {
                if let Some(entry) = entry.as_ref().filter(|_| command.r#type == Type::Message as i32) {
                    read(entry);
                }
                let mut again = BytesMut::new();
                encode::command(&mut again, &command);
                match wire::next_frame(&mut again, usize::MAX) {
                    Ok(Some(Incoming::Command(found, None))) => assert_eq!(found, command),
                    // Written in another order than we write it, it was too unusual for the fast path.
                    Ok(Some(Incoming::Ack(_))) => assert_eq!(command.r#type, Type::Ack as i32),
                    other => panic!("{other:?}"),
                }
            }
            Incoming::Flow(flow) => {
                let mut again = BytesMut::new();
                encode::flow(&mut again, flow.consumer_id, flow.permits);
                assert_eq!(wire::next_frame(&mut again, usize::MAX), Ok(Some(Incoming::Flow(flow))));
            }
            Incoming::Ack(ack) => {
                let mut again = BytesMut::new();
                let entry = ack.entry_id as i64;
                encode::ack(&mut again, ack.consumer_id, ack.cumulative, ack.ledger_id, entry, ack.request_id);
                assert_eq!(wire::next_frame(&mut again, usize::MAX), Ok(Some(Incoming::Ack(ack))));
            }
            Incoming::Unknown(kind) => assert!(Type::try_from(kind).is_err()),
        }
    }
    // Whatever is left, the next read gets room for as much again or one step, plus what reserving rounds up to.
    decoder.reserve(&mut buf, 4096);
    assert!(buf.capacity() <= 4 * data.len() + 3 * 4096);
});

fn read(entry: &Bytes) {
    let checksum = entry::checksum(entry);
    if let Ok(parts) = entry::split(entry) {
        assert_eq!(parts.checksum.is_none(), checksum == entry::Checksum::Absent);
        batch::messages(entry.slice_ref(parts.payload)).for_each(drop);
    }
    let _ = entry::metadata(entry).map(|view| entry::sticky_hash(&view.sticky_key()));
}
