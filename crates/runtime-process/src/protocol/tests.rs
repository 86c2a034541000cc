use bytes::{BufMut, Bytes, BytesMut};
use expect_test::{Expect, expect};
use functions::{
    MessageId,
    message::Key,
    runtime::{Answer, Request},
};
use proptest::prelude::*;

use super::*;

fn message() -> Message {
    Message {
        input: 0,
        topic: Arc::new("persistent://t/n/x-partition-1".parse().unwrap()),
        id: MessageId { ledger: 1, entry: 2, partition: 1, batch_index: -1, batch_size: 0 },
        key: Some(Key { text: "k".into(), is_base64: true }),
        properties: vec![("a".into(), "b".into())],
        event_time_ms: 3,
        publish_time_ms: 4,
        producer: "p".into(),
        sequence_id: 5,
        redelivery_count: 6,
        schema_version: Bytes::from_static(&[9]),
        payload: Bytes::from_static(b"hi"),
    }
}

fn frames(encoding: Encoding, invocations: &[Invocation]) -> Vec<BytesMut> {
    let mut invoke = Invoke::new(encoding, invocations);
    let mut frames = Vec::new();
    loop {
        let mut frame = BytesMut::new();
        if !invoke.next_frame(&mut frame) {
            return frames;
        }
        frames.push(frame);
    }
}

fn check_frame(invocation: &Invocation, expected: Expect) {
    let frame = frames(Encoding::Binary, std::slice::from_ref(invocation)).remove(0);
    let rows: Vec<String> = frame
        .chunks(16)
        .map(|row| row.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "))
        .collect();
    expected.assert_eq(&rows.join("\n"));
}

#[test]
fn an_invocation_is_laid_out_as_the_page_says() {
    check_frame(
        &Invocation { id: 0x0102, input: Input::Message(Arc::new(message())) },
        expect![[r#"
        8a 00 00 00 02 85 00 00 00 02 01 00 00 00 00 00
        00 00 03 01 00 02 00 00 00 1e 00 00 00 01 00 00
        00 01 00 00 00 01 00 00 00 01 00 00 00 00 00 00
        00 02 00 00 00 00 00 00 00 01 00 00 00 ff ff ff
        ff 00 00 00 00 06 00 00 00 03 00 00 00 00 00 00
        00 04 00 00 00 00 00 00 00 05 00 00 00 00 00 00
        00 68 69 70 65 72 73 69 73 74 65 6e 74 3a 2f 2f
        74 2f 6e 2f 78 2d 70 61 72 74 69 74 69 6f 6e 2d
        31 6b 70 09 01 00 00 00 61 01 00 00 00 62"#]],
    );
}

#[test]
fn an_invocation_is_one_line_of_json() {
    let invocation = Invocation { id: 7, input: Input::Message(Arc::new(message())) };
    let line = frames(Encoding::JsonLines, &[invocation]).remove(0);
    expect![[r#"
        {"type":"invoke","id":7,"message":{"payload":"hi","topic":"persistent://t/n/x-partition-1","id":"1:2:1","key":"k","key_is_base64":true,"properties":{"a":"b"},"event_time_ms":3,"publish_time_ms":4,"producer":"p","sequence_id":5,"redelivery_count":6,"schema_version_base64":"CQ=="}}
    "#]].assert_eq(std::str::from_utf8(&line).unwrap());
}

#[test]
fn only_a_binary_child_hears_that_nothing_more_comes() {
    let encoded = |encoding: Encoding| {
        let mut out = BytesMut::new();
        encoding.encode(&Request::Finish { within: std::time::Duration::from_millis(5000) }, &mut out);
        out.to_vec()
    };
    assert_eq!(encoded(Encoding::Binary), [5, 0, 0, 0, 5, 0x88, 0x13, 0, 0]);
    assert_eq!(encoded(Encoding::JsonLines), b"");
}

#[test]
fn answers_are_laid_out_as_the_page_says() {
    let check = |encoding: Encoding, answer: Answer, expected: Expect| {
        let mut out = BytesMut::new();
        encoding.encode(&Request::Answer { call: 1, answer }, &mut out);
        expected.assert_eq(&out.escape_ascii().to_string());
    };
    for (encoding, none, value, counter, failed) in [
        (
            Encoding::Binary,
            expect![[r#"\n\x00\x00\x00\x03\x01\x00\x00\x00\x00\x00\x00\x00\x00"#]],
            expect![[r#"\x0b\x00\x00\x00\x03\x01\x00\x00\x00\x00\x00\x00\x00\x01\xff"#]],
            expect![[r#"\x12\x00\x00\x00\x03\x01\x00\x00\x00\x00\x00\x00\x00\x02\xfe\xff\xff\xff\xff\xff\xff\xff"#]],
            expect![[r#"\x0c\x00\x00\x00\x03\x01\x00\x00\x00\x00\x00\x00\x00\x03no"#]],
        ),
        (
            Encoding::JsonLines,
            expect![[r#"{\"type\":\"answer\",\"call\":1}\n"#]],
            expect![[r#"{\"type\":\"answer\",\"call\":1,\"value_base64\":\"/w==\"}\n"#]],
            expect![[r#"{\"type\":\"answer\",\"call\":1,\"counter\":-2}\n"#]],
            expect![[r#"{\"type\":\"answer\",\"call\":1,\"error\":\"no\"}\n"#]],
        ),
    ] {
        check(encoding, Answer::State(None), none);
        check(encoding, Answer::State(Some(Bytes::from_static(b"\xff"))), value);
        check(encoding, Answer::Counter(-2), counter);
        check(encoding, Answer::Failed("no".into()), failed);
    }
}

#[test]
fn large_batches_and_windows_go_in_several_frames() {
    let message = Arc::new(Message { payload: vec![b'x'; 10_000].into(), ..message() });
    let window = Invocation { id: 1, input: Input::Window(vec![message.clone(); 100]) };
    let single = Invocation { id: 2, input: Input::Message(message) };
    let frames = frames(Encoding::Binary, &[window, single]);
    assert_eq!(frames.len(), 4);
    let mut kinds = Vec::new();
    for frame in frames {
        assert!(frame.len() < FRAME_BYTES_USUAL + 20_000);
        let (length, mut records) = (u32::from_le_bytes(frame[..4].try_into().unwrap()) as usize, &frame[5..]);
        assert_eq!(length, frame.len() - 4);
        while !records.is_empty() {
            let size = u32::from_le_bytes(records[..4].try_into().unwrap()) as usize;
            kinds.push(records[12]);
            records = &records[4 + size..];
        }
    }
    assert_eq!(kinds.len(), 101);
    assert!(kinds[..99].iter().all(|kind| *kind == 1));
    assert_eq!(kinds[99..], [2, 0]);
}

/// Decodes bytes that come in pieces; what it says, in words, and whether it ended with an error.
fn decode(encoding: Encoding, pieces: &[&[u8]]) -> (Vec<String>, Option<String>) {
    let mut decoder = Decoder::new(encoding);
    let mut said = Vec::new();
    for piece in pieces {
        decoder.buffer().put_slice(piece);
        loop {
            match decoder.next() {
                Ok(None) => break,
                Ok(Some(Said::Events(events))) => said.extend(events.iter().map(|event| format!("{event:?}"))),
                Ok(Some(other)) => said.push(format!("{other:?}")),
                Err(error) => return (said, Some(error.to_string())),
            }
        }
    }
    (said, decoder.finish().err().map(|error| error.to_string()))
}

/// A frame of every kind of event, by hand.
fn events() -> Vec<u8> {
    let text = |text: &str| [&u32::try_from(text.len()).unwrap().to_le_bytes()[..], text.as_bytes()].concat();
    let ids = |tag: u8, a: u64, b: u64| [&[tag][..], &a.to_le_bytes(), &b.to_le_bytes()].concat();
    let count = |count: u32| count.to_le_bytes().to_vec();
    let record = [
        vec![1 | 2 | 4 | 8],
        [1u64, 2, 3].iter().flat_map(|n| n.to_le_bytes()).collect(),
        text("t"),
        text("k"),
        text("p"),
        count(1),
        text("a"),
        text("b"),
    ]
    .concat();
    let metric = [text("m"), 0.5f64.to_le_bytes().to_vec()].concat();
    let body = [
        ids(1, 10, 100),
        text("out"),
        ids(2, 11, 100),
        ids(3, 12, 100),
        text("thrown"),
        count(1),
        metric.clone(),
        ids(4, 13, 100),
        count(1),
        record.clone(),
        count(1),
        record.clone(),
        count(3),
        [vec![1], text("x"), text("v")].concat(),
        [vec![2], text("y")].concat(),
        [vec![3], text("z"), (-1i64).to_le_bytes().to_vec()].concat(),
        count(1),
        13u64.to_le_bytes().to_vec(),
        count(1),
        metric,
        ids(5, 1, u64::MAX),
        [vec![2], text("n")].concat(),
        [vec![6], 1u64.to_le_bytes().to_vec(), record].concat(),
        [vec![7, 4], text("line")].concat(),
    ]
    .concat();
    [&u32::try_from(body.len() + 1).unwrap().to_le_bytes()[..], &[0x83], &body].concat()
}

#[test]
fn every_event_is_read_as_the_page_says() {
    let (said, error) = decode(Encoding::Binary, &[&events()]);
    assert_eq!(error, None);
    expect![[r#"
        Done { id: 10, outcome: Outcome { result: Ok([Record { topic: None, payload: b"out", key: None, properties: [], event_time_ms: 0, deliver_at_ms: 0, sequence_id: None, schema: None }]), effects: Effects { publishes: [], changes: [], acks: [], metrics: [] }, took: 100ns } }
        Done { id: 11, outcome: Outcome { result: Ok([]), effects: Effects { publishes: [], changes: [], acks: [], metrics: [] }, took: 100ns } }
        Done { id: 12, outcome: Outcome { result: Err(UserException { message: "thrown" }), effects: Effects { publishes: [], changes: [], acks: [], metrics: [("m", 0.5)] }, took: 100ns } }
        Done { id: 13, outcome: Outcome { result: Ok([Record { topic: Some("t"), payload: b"p", key: Some(Key { text: "k", is_base64: true }), properties: [("a", "b")], event_time_ms: 1, deliver_at_ms: 2, sequence_id: Some(3), schema: None }]), effects: Effects { publishes: [Record { topic: Some("t"), payload: b"p", key: Some(Key { text: "k", is_base64: true }), properties: [("a", "b")], event_time_ms: 1, deliver_at_ms: 2, sequence_id: Some(3), schema: None }], changes: [Put { key: "x", value: b"v" }, Delete { key: "y" }, Add { key: "z", amount: -1 }], acks: [13], metrics: [("m", 0.5)] }, took: 100ns } }
        Call { call: 1, invocation: None, question: Counter("n") }
        Emit { id: 1, record: Record { topic: Some("t"), payload: b"p", key: Some(Key { text: "k", is_base64: true }), properties: [("a", "b")], event_time_ms: 1, deliver_at_ms: 2, sequence_id: Some(3), schema: None } }
        Log(LogLine { level: Error, message: "line" })"#]].assert_eq(&said.join("\n"));
}

#[test]
fn a_record_names_a_schema_that_was_told_of() {
    let text = |text: &str| [&u32::try_from(text.len()).unwrap().to_le_bytes()[..], text.as_bytes()].concat();
    let told = |number: u32, kind: &str, definition: &str| {
        [&[8][..], &number.to_le_bytes(), &text(kind), &text(definition), &1u32.to_le_bytes(), &text("a"), &text("b")]
            .concat()
    };
    // An emission, its record without anything but a schema.
    let emit = |number: u32| [&[6][..], &[0; 8], &[16], &[0; 24], &[0; 16], &number.to_le_bytes()].concat();
    let said = |events: &[Vec<u8>]| {
        let body = events.concat();
        let frame = [&u32::try_from(body.len() + 1).unwrap().to_le_bytes()[..], &[0x83], &body].concat();
        let mut decoder = Decoder::new(Encoding::Binary);
        decoder.buffer().extend_from_slice(&frame);
        match decoder.next() {
            Ok(Some(Said::Events(events))) => Ok(events),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    };
    let events = said(&[told(7, "AVRO", "\"int\""), told(1, "STRING", ""), emit(7), emit(1), emit(7)]).unwrap();
    let of = |event| match event {
        Event::Emit { record, .. } => record.schema.unwrap(),
        other => panic!("{other:?}"),
    };
    let schemas: Vec<_> = events.into_iter().map(of).collect();
    let seen = |schema: &Schema| (schema.kind, schema.definition.clone(), schema.properties["a"].clone());
    assert_eq!(seen(&schemas[0]), (4, Bytes::from("\"int\""), "b".to_owned()));
    assert_eq!(seen(&schemas[1]), (1, Bytes::new(), "b".to_owned()));
    assert!(Arc::ptr_eq(&schemas[0], &schemas[2]), "one for all its records");
    assert!(said(&[told(7, "STRING", "")]).unwrap().is_empty());
    for (wrong, why) in [
        (vec![emit(7)], "a record of schema 7, of which it did not tell"),
        (vec![told(7, "STRING", ""), told(7, "STRING", "")], "schema 7 was told twice"),
        (vec![told(7, "BYTES", "")], "BYTES is no type of schema"),
        (vec![told(7, "AVRO", &" ".repeat(SCHEMAS_BYTES_MAX))], "bytes of their definitions"),
    ] {
        assert!(said(&wrong).unwrap_err().contains(why), "{why}");
    }
}

#[test]
fn a_frame_may_come_byte_by_byte_and_end_nowhere_else() {
    let whole = decode(Encoding::Binary, &[&events()]);
    let bytes = events();
    let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(decode(Encoding::Binary, &pieces), whole);
    for end in 1..bytes.len() {
        let (_, error) = decode(Encoding::Binary, &[&bytes[..end]]);
        assert!(error.is_some_and(|error| error.contains("ended within a frame")), "{end}");
    }
}

#[test]
fn a_child_may_say_how_its_records_are_written() {
    let ready = |encoding, json: &str| {
        let mut decoder = Decoder::new(encoding);
        match encoding {
            Encoding::Binary => {
                decoder.buffer().put_u32_le(u32::try_from(json.len() + 1).unwrap());
                decoder.buffer().put_u8(0x81);
                decoder.buffer().extend_from_slice(json.as_bytes());
            }
            Encoding::JsonLines => {
                let line = json.replacen('{', r#"{"type":"ready","#, 1) + "\n";
                decoder.buffer().extend_from_slice(line.replace(",}", "}").as_bytes());
            }
        }
        decoder.next()
    };
    for encoding in [Encoding::Binary, Encoding::JsonLines] {
        let said = |json| match ready(encoding, json) {
            Ok(Some(Said::Ready(ready))) => ready,
            other => panic!("{other:?}"),
        };
        assert!(said("{}").output_schema.is_none());
        assert_eq!([said("{}").concurrent, said(r#"{"concurrent":true}"#).concurrent], [None, Some(true)]);
        let Described(schema) = said(r#"{"output_schema":{"type":"AVRO","schema":"\"int\"","properties":{"a":"b"}}}"#)
            .output_schema
            .unwrap();
        assert_eq!((schema.kind, &schema.definition[..], schema.properties["a"].as_str()), (4, &b"\"int\""[..], "b"));
        for wrong in ["BYTES", "none at all"] {
            let json = format!(r#"{{"output_schema":{{"type":"{wrong}"}}}}"#);
            assert!(ready(encoding, &json).unwrap_err().to_string().contains("is no type of schema"), "{wrong}");
        }
    }
}

#[test]
fn a_count_is_not_believed() {
    // So many records are announced, and nothing follows.
    let announced = |count: u32| {
        let body = [&[0x83, 4][..], &[0; 16], &count.to_le_bytes()].concat();
        let frame = [&u32::try_from(body.len()).unwrap().to_le_bytes()[..], &body].concat();
        decode(Encoding::Binary, &[&frame]).1.unwrap()
    };
    assert!(announced(100_000).contains("ends within a record"));
    assert!(announced(100_001).contains("a list of 100001 elements; 100000 are allowed"));
    for list in [r#""outputs":[{}]"#, r#""acks":[1]"#, r#""metrics":{"a":1}"#] {
        let (start, element, end) = (
            &list[..list.len() - 1],
            &list[list.find(['[', '{']).unwrap() + 1..list.len() - 1],
            &list[list.len() - 1..],
        );
        let line = format!(r#"{{"id":1,{start}{}{end},"type":"done"}}{}"#, format!(",{element}").repeat(100_000), "\n");
        let error = decode(Encoding::JsonLines, &[line.as_bytes()]).1.unwrap();
        assert!(error.contains("invalid length 100001"), "{error}");
    }
}

#[test]
fn millions_of_tiny_events_come_a_few_at_a_time() {
    let body: Vec<u8> = std::iter::repeat_n([2u8; 17], 100_000).flatten().collect();
    let mut decoder = Decoder::new(Encoding::Binary);
    decoder.buffer().put_u32_le(u32::try_from(body.len() + 1).unwrap());
    decoder.buffer().put_u8(0x83);
    decoder.buffer().extend_from_slice(&body);
    let mut count = 0;
    while let Some(Said::Events(events)) = decoder.next().unwrap() {
        assert!(events.len() <= EVENTS_AT_ONCE);
        count += events.len();
    }
    assert_eq!(count, 100_000);
}

#[test]
fn text_is_cut_where_a_character_ends() {
    let mut text = "é".repeat(10);
    cut(&mut text, 5);
    assert_eq!(text, "éé ...");
}

proptest! {
    #[test]
    fn no_bytes_of_a_child_make_us_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), flip in any::<(usize, u8)>()) {
        decode(Encoding::Binary, &[&bytes]);
        decode(Encoding::JsonLines, &[&bytes]);
        let mut almost = events();
        let at = flip.0 % almost.len();
        almost[at] ^= flip.1;
        decode(Encoding::Binary, &[&almost]);
    }

    #[test]
    fn no_line_of_a_child_makes_us_panic(line in r#"\{("[a-z_]{1,8}":("[a-z]{0,5}"|[0-9]{1,20}|null|\[\]|\{\}),?){0,6}\}"#) {
        decode(Encoding::JsonLines, &[line.as_bytes(), b"\n"]);
    }
}
