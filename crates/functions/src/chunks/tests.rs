use super::*;

const NOW: (Duration, u64) = (Duration::from_secs(1000), 1_000_000);
const LATER: (Duration, u64) =
    (Duration::from_secs(1000 + PATIENCE.as_secs()), 1_000_000 + PATIENCE.as_millis() as u64);

fn at(entry: i64) -> Position {
    Position::new(1, entry)
}

fn metadata(uuid: &str, chunk: i32, chunks: i32) -> wire::proto::MessageMetadata {
    wire::proto::MessageMetadata {
        uuid: Some(uuid.into()),
        chunk_id: Some(chunk),
        num_chunks_from_msg: Some(chunks),
        publish_time: NOW.1,
        ..Default::default()
    }
}

fn chunk(uuid: &str, chunk: i32, chunks: i32, payload: Bytes) -> Opened {
    Opened { metadata: metadata(uuid, chunk, chunks), payload }
}

fn text(uuid: &str, number: i32) -> String {
    format!("{uuid}{number}")
}

fn small(uuid: &str, number: i32, chunks: i32) -> Opened {
    chunk(uuid, number, chunks, text(uuid, number).into())
}

fn whole((opened, others): (Opened, Vec<Position>)) -> (String, Vec<i64>) {
    (String::from_utf8(opened.payload.to_vec()).unwrap(), others.iter().map(|at| at.entry).collect())
}

/// What became of chunks: whole messages, as text, and the entries they are in.
fn taken(chunks: &mut Chunks, position: i64, opened: Opened) -> Option<(String, Vec<i64>)> {
    match chunks.take(at(position), opened, NOW).unwrap() {
        Taken::Whole(opened, others) => Some(whole((opened, others))),
        Taken::Nothing => None,
        Taken::Last(last) => panic!("wants {:?}", last.others()),
    }
}

fn is_nothing(taken: Result<Taken, String>) -> bool {
    matches!(taken, Ok(Taken::Nothing))
}

#[test]
fn chunks_of_several_messages_may_be_mixed_and_sent_twice() {
    let mut chunks = Chunks::new(false);
    for n in 0..100 {
        assert_eq!(taken(&mut chunks, n, small(&format!("m{n}-"), 0, 2)), None);
    }
    assert_eq!(taken(&mut chunks, 200, small("m7-", 0, 2)), None);
    assert_eq!(taken(&mut chunks, 7, small("m7-", 0, 2)), None);
    assert_eq!(taken(&mut chunks, 201, small("m7-", 1, 2)), Some(("m7-0m7-1".into(), vec![7, 200])));
    assert_eq!(taken(&mut chunks, 202, small("m99-", 1, 2)), Some(("m99-0m99-1".into(), vec![99])));
    assert_eq!(chunks.begun.len(), 98);
    (0..100).for_each(|n| drop(chunks.forget(&format!("m{n}-"))));
    assert_eq!((chunks.bytes, chunks.overhead), (0, 0));
}

#[test]
fn what_does_not_follow_is_given_back_after_a_while() {
    let mut chunks = Chunks::new(false);
    assert_eq!(taken(&mut chunks, 1, small("a", 1, 3)), None);
    assert_eq!(taken(&mut chunks, 2, small("b", 0, 3)), None);
    assert_eq!(taken(&mut chunks, 3, small("b", 2, 3)), None);
    // All of a message, or its beginning would be here and its end elsewhere.
    assert_eq!(taken(&mut chunks, 4, small("a", 2, 3)), None);
    assert_eq!(chunks.past(NOW.0), Past::default());
    assert_eq!(chunks.next(), Some(LATER.0));
    let past = chunks.past(LATER.0);
    assert_eq!(past, Past { again: vec![at(1), at(2), at(3), at(4)], lost: Vec::new() });
    // What is as old as that, and came without a beginning then as well, is no good.
    assert!(chunks.take(at(1), small("a", 1, 3), LATER).is_err());
}

#[test]
fn what_was_published_long_ago_may_still_come_after_its_end() {
    let mut chunks = Chunks::new(false);
    assert!(is_nothing(chunks.take(at(2), small("a", 1, 2), LATER)));
    // Its beginning was on its way.
    assert!(is_nothing(chunks.take(at(1), small("a", 0, 2), LATER)));
    let again = chunks.past(LATER.0 + PATIENCE).again;
    assert_eq!(again, [at(2), at(1)]);
    assert_eq!(taken(&mut chunks, 1, small("a", 0, 2)), None);
    assert_eq!(taken(&mut chunks, 2, small("a", 1, 2)), Some(("a0a1".into(), vec![1])));
}

#[test]
fn where_all_comes_in_order_what_does_not_follow_never_comes() {
    let mut chunks = Chunks::new(true);
    assert!(chunks.take(at(1), small("a", 1, 3), NOW).is_err());
    assert!(is_nothing(chunks.take(at(2), small("b", 0, 3), NOW)));
    assert!(chunks.take(at(3), small("b", 2, 3), NOW).is_err());
    assert_eq!(chunks.past(NOW.0), Past { again: Vec::new(), lost: vec![at(2)] });
}

#[test]
fn a_message_that_does_not_go_on_is_given_up() {
    let mut chunks = Chunks::new(false);
    assert_eq!(taken(&mut chunks, 1, small("a", 0, 3)), None);
    assert_eq!(taken(&mut chunks, 2, small("a", 1, 3)), None);
    chunks.heard(NOW, NOW.1);
    chunks.past(NOW.0);
    assert_eq!(chunks.next(), Some(LATER.0));
    assert_eq!(chunks.past(LATER.0), Past { again: Vec::new(), lost: vec![at(1), at(2)] });
    assert_eq!((chunks.bytes, chunks.overhead, chunks.next()), (0, 0, None));
}

#[test]
fn a_message_waits_while_nothing_is_asked_for_or_what_comes_is_not_much_later() {
    let mut chunks = Chunks::new(false);
    assert_eq!(taken(&mut chunks, 1, small("a", 0, 2)), None);
    chunks.starves(true);
    assert_eq!((chunks.next(), chunks.past(LATER.0 * 2)), (None, Past::default()));
    chunks.starves(false);
    assert_eq!((chunks.past(LATER.0 * 2), chunks.next()), (Past::default(), Some(LATER.0 * 2 + PATIENCE)));
    // A backlog of others: all of it was published soon after.
    let mut now = (LATER.0 * 2, LATER.1 * 2);
    for _ in 0..100 {
        now.0 += PATIENCE / 2;
        chunks.heard(now, NOW.1 + LATE_MS - 1);
        assert_eq!(chunks.past(now.0), Past::default());
    }
    chunks.heard((now.0, NOW.1 + LATE_MS), u64::MAX);
    assert_eq!(chunks.past(now.0).lost, [at(1)]);
}

#[test]
fn memory_is_bounded_and_the_oldest_message_comes_first() {
    let mut chunks = Chunks::new(false);
    let large = Bytes::from(vec![0; 5 << 20]);
    for n in 0..20 {
        for (m, uuid) in ["a", "b", "c"].iter().enumerate() {
            let position = i64::from(n) * 10 + m as i64;
            assert!(is_nothing(chunks.take(at(position), chunk(uuid, n, 21, large.clone()), NOW)));
            assert!(chunks.bytes <= BYTES_MAX + large.len());
        }
    }
    assert!(chunks.past(NOW.0).again.is_empty(), "there is no room");
    let Ok(Taken::Whole(whole, others)) = chunks.take(at(999), chunk("a", 20, 21, large), NOW) else { panic!() };
    assert_eq!((whole.payload.len(), others.len()), (21 * (5 << 20), 20));
    // The others come again from their beginning.
    let again = chunks.past(NOW.0).again;
    assert!(again.contains(&at(1)) && again.contains(&at(2)), "{again:?}");
    assert_eq!((chunks.bytes, chunks.overhead, chunks.begun.len()), (0, 0, 0));
}

#[test]
fn where_all_comes_in_order_a_message_is_there_with_its_last_chunk_whether_or_not_there_was_room() {
    let mut chunks = Chunks::with_room(128 << 10, true);
    let large = |uuid: &str, n: i32| Bytes::from(text(uuid, n).into_bytes().repeat(2 << 10));
    for n in 0..20 {
        for (m, uuid) in ["a", "b", "c"].iter().enumerate() {
            let position = i64::from(n) * 10 + m as i64;
            assert!(is_nothing(chunks.take(at(position), chunk(uuid, n, 21, large(uuid, n)), NOW)));
            assert!(chunks.bytes <= (128 << 10) + (6 << 10), "{}", chunks.bytes);
        }
    }
    assert_eq!(chunks.past(NOW.0), Past::default());
    // The youngest one ends first.
    let Ok(Taken::Last(last)) = chunks.take(at(500), small("c", 20, 21), NOW) else { panic!("there was room") };
    let wanted: Vec<_> = (0..20).map(|n| at(n * 10 + 2)).collect();
    assert_eq!(last.others(), wanted);
    let entry = |n| wire::entry::encode_entry(&metadata("c", n, 21), &large("c", n));
    let entries = (0..20).map(|n| (at(i64::from(n) * 10 + 2), entry(n))).collect();
    let (whole, all) = last.with(entries);
    let bytes: Vec<u8> = (0..20).flat_map(|n| large("c", n)).chain(*b"c20").collect();
    assert!(whole.unwrap().payload == bytes);
    assert_eq!(all, wanted);
    let Ok(Taken::Whole(..)) = chunks.take(at(501), small("a", 20, 21), NOW) else { panic!("the oldest was kept") };
    let Ok(Taken::Last(last)) = chunks.take(at(502), small("b", 20, 21), NOW) else { panic!("there was room") };
    let (whole, all) = last.with(FxHashMap::default());
    assert!(whole.is_err() && all.len() == 20, "they are stored no more");
    assert_eq!((chunks.bytes, chunks.overhead), (0, 0));
}

#[test]
fn a_message_that_is_too_large_goes_with_all_its_chunks() {
    for in_order in [false, true] {
        let mut chunks = Chunks::new(in_order);
        let large = Bytes::from(vec![0; 50 << 20]);
        assert!(is_nothing(chunks.take(at(1), chunk("a", 0, 9, large.clone()), NOW)));
        assert!(is_nothing(chunks.take(at(2), chunk("a", 1, 9, large.clone()), NOW)));
        assert!(chunks.take(at(3), chunk("a", 2, 9, large), NOW).is_err());
        assert_eq!(chunks.past(NOW.0).lost, [at(1), at(2)]);
        assert_eq!((chunks.bytes, chunks.overhead), (0, 0));
    }
}

#[test]
fn names_and_places_are_bounded_as_well() {
    for in_order in [false, true] {
        let mut chunks = Chunks::new(in_order);
        for n in 0..200 {
            let uuid = n.to_string().repeat(1 << 19);
            assert!(is_nothing(chunks.take(at(n), small(&uuid, 0, 2), NOW)));
        }
        assert!(chunks.overhead <= BYTES_MAX, "{}", chunks.overhead);
        let Past { again, lost } = chunks.past(LATER.0 - Duration::from_secs(1));
        assert!(again.is_empty() && lost.is_empty() != in_order && chunks.aside.positions.is_empty() == in_order);
    }
}

#[test]
fn garbage_is_an_error() {
    let mut chunks = Chunks::new(false);
    for (number, of) in [(3, 3), (-1, 3), (0, CHUNKS_MAX + 1)] {
        assert!(chunks.take(at(1), small("a", number, of), NOW).is_err(), "{number} of {of}");
    }
}
