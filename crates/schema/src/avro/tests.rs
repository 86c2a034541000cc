//! Against Avro's Java library 1.12.0, as Pulsar 4.2.4 has it: what it made of definitions is kept in `golden/`.

use super::*;

/// Each line: verdict, writer, reader. `readable`, `unreadable` and `broken` (an exception) are the validator's; ` equal` says
/// that both are one to `Schema.equals`. `w-` and the like say which of the two parsed, where one did not.
fn agrees(golden: &str) {
    let mut differences = Vec::new();
    for line in golden.lines() {
        let mut parts = line.splitn(3, '\t');
        let mut next = || parts.next().expect("three columns");
        let (verdict, writer, reader) = (next(), next(), next());
        let (w, r) = (parse(writer.as_bytes()), parse(reader.as_bytes()));
        let ours = match (&w, &r) {
            (Ok(w), Ok(r)) => {
                let verdict = match can_read(w, r) {
                    Verdict::Readable => "readable",
                    Verdict::Unreadable => "unreadable",
                    Verdict::Broken => "broken",
                    Verdict::TooComplex => "too complex",
                };
                format!("{verdict}{}", if w.is_equal(r) { " equal" } else { "" })
            }
            (w, r) => format!("{}{}", if w.is_ok() { "w" } else { "-" }, if r.is_ok() { "r" } else { "-" }),
        };
        if ours != verdict {
            differences.push(format!("{verdict}, and not {ours}:\n  {writer}\n  {reader}"));
        }
    }
    assert!(
        differences.is_empty(),
        "{} differ:\n{}",
        differences.len(),
        differences[..differences.len().min(20)].join("\n")
    );
}

#[test]
fn verdicts_are_those_of_java() {
    agrees(include_str!("golden/resolution.tsv"));
}

/// Each line: definition, value as JSON, its encoding in hexadecimal.
#[test]
fn encodings_are_those_of_java() {
    for line in include_str!("golden/binary.tsv").lines() {
        let [definition, json, hex] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let avro = parse(definition.as_bytes()).unwrap();
        let value: Value = serde_json::from_str(json).unwrap();
        let encoded = encode(&avro, &value).unwrap();
        assert_eq!(encoded.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), hex, "{line}");
        assert_eq!(decode(&avro, &encoded), Ok(value), "{line}");
    }
}

/// Each line: definition, and the text of `Schema.toString(true)` as JSON.
#[test]
fn definitions_are_printed_as_java_does() {
    for line in include_str!("golden/printed.tsv").lines() {
        let (definition, printed) = line.split_once('\t').unwrap();
        let printed: String = serde_json::from_str(printed).unwrap();
        assert_eq!(parse(definition.as_bytes()).unwrap().render(), printed, "{definition}");
    }
}

#[test]
fn a_long_definition_is_not_printed_to_its_end() {
    let symbols: Vec<_> = (0..10_000).map(|n| format!("SYMBOL_{n}")).collect();
    let long = serde_json::json!({ "type": "enum", "name": "E", "symbols": symbols });
    let printed = parse(long.to_string().as_bytes()).unwrap().render();
    assert!(printed.len() < 20_000 && printed.ends_with(" ..."), "{}", printed.len());
}

/// Definitions that go on and on: none may overflow the stack, and none may take long, which is that its steps are counted.
#[test]
fn no_definition_is_too_much() {
    let deep = |depth: usize| format!("{}\"int\"{}", r#"{"type":"array","items":"#.repeat(depth), "}".repeat(depth));
    assert!(parse(deep(100).as_bytes()).is_ok());
    assert!(parse(deep(100_000).as_bytes()).is_err());
    assert!(parse("[".repeat(500_000).as_bytes()).is_err());

    // A chain of records, each naming the next: as deep as it is long.
    let chain = |length: usize, last: &str| {
        let record = |n: usize| {
            let next = if n + 1 == length { last.to_owned() } else { format!("R{}", n + 1) };
            format!(r#"{{"type":"record","name":"R{n}","fields":[{{"name":"f","type":"{next}"}}]}}"#)
        };
        let fields: Vec<_> = (0..length).map(|n| format!(r#"{{"name":"f{n}","type":{}}}"#, record(n))).collect();
        parse(format!(r#"{{"type":"record","name":"All","fields":[{}]}}"#, fields.join(",")).as_bytes()).unwrap()
    };
    assert_eq!(can_read(&chain(5_000, "R0"), &chain(5_000, "R0")), Verdict::TooComplex);
    // Two circles that meet only after a long time.
    assert_eq!(can_read(&chain(1_499, "R0"), &chain(1_500, "R0")), Verdict::TooComplex);
    assert_eq!(can_read(&chain(9, "R0"), &chain(10, "R0")), Verdict::Unreadable);
    assert!(chain(5_000, "R0").is_equal(&chain(5_000, "R0")));

    // Unions of records that all look alike but for their names: every one has to be tried with every other.
    let union = |prefix: &str| {
        let records: Vec<_> = (0..2_000)
            .map(|n| {
                format!(r#"{{"type":"record","name":"{prefix}{n}","fields":[{{"name":"{prefix}","type":"int"}}]}}"#)
            })
            .collect();
        parse(format!("[{}]", records.join(",")).as_bytes()).unwrap()
    };
    assert_eq!(can_read(&union("A"), &union("B")), Verdict::TooComplex);
}

/// Payloads that promise more than they hold, or hold what nobody can follow.
#[test]
fn no_payload_is_too_much() {
    let list = parse(br#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}"#).unwrap();
    assert!(decode(&list, &[0]).is_ok());
    assert_eq!(decode(&list, &vec![2; 1_000_000]), Err("it is nested too deep".into()));

    let nothing = parse(br#"{"type":"array","items":"null"}"#).unwrap();
    let mut many = vec![0xfe; 9];
    many.push(1); // 2^63 - 1 of them
    assert_eq!(decode(&nothing, &many), Err("it has more values than bytes".into()));
    let minimum = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0];
    assert_eq!(decode(&nothing, &minimum), Err("it has more values than bytes".into()));

    let bytes = parse(br#""bytes""#).unwrap();
    assert_eq!(decode(&bytes, &many), Err("it ends too early".into()));
    assert_eq!(decode(&bytes, &[1]), Err("a length below zero".into()));
    assert_eq!(decode(&bytes, &[0, 0]), Err("1 bytes follow the value".into()));
    assert_eq!(decode(&bytes, &[0x80; 20]), Err("a number does not end".into()));

    let choice = parse(br#"["null","boolean",{"type":"enum","name":"E","symbols":["A"]}]"#).unwrap();
    for wrong in [&[6][..], &[1], &[2, 7], &[4, 2], &[4, 1], &[]] {
        assert!(decode(&choice, wrong).is_err(), "{wrong:?}");
    }
    let fixed = parse(br#"{"type":"fixed","name":"F","size":67108864}"#).unwrap();
    assert_eq!(decode(&fixed, b"short"), Err("it ends too early".into()));
    assert_eq!(decode(&parse(br#""string""#).unwrap(), &[2, 0xff]), Err("a string is not UTF-8".into()));
}

#[test]
fn a_value_that_fits_nowhere_is_refused() {
    let avro = |text: &str| parse(text.as_bytes()).unwrap();
    let refused = |definition: &str, value: Value| encode(&avro(definition), &value).unwrap_err();
    assert_eq!(refused(r#""int""#, 1_i64.wrapping_shl(40).into()), "this number is no int");
    assert_eq!(refused(r#"["null","int"]"#, "x".into()), "this string is no union");
    let record =
        r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"b","type":"int","default":7}]}"#;
    assert_eq!(refused(record, serde_json::json!({})), "R lacks its field a");
    assert_eq!(refused(record, serde_json::json!({ "a": 1, "c": 2 })), "R has no field c");
    assert_eq!(encode(&avro(record), &serde_json::json!({ "a": 1 })), Ok(vec![2, 14]));
}

#[test]
fn a_number_keeps_all_of_it() {
    let numbers = parse(br#"["float","double","int","long"]"#).unwrap();
    for (value, branch) in [
        (Value::from(1.5), 0),
        (Value::from(0.123_456_789_012), 1),
        (Value::from(7), 2),
        (Value::from(1_i64 << 40), 3),
        (Value::from(u64::MAX), 0),
    ] {
        assert_eq!(encode(&numbers, &value).unwrap()[0], 2 * branch, "{value}");
    }
}

#[test]
fn there_is_an_end_to_trying_branches() {
    // Each level can be one of two records, and which one it is shows only at the bottom.
    let record = |name: &str, n: usize| {
        let of = if n == 60 { r#""int""#.to_owned() } else { format!(r#"["A{0}","B{0}"]"#, n + 1) };
        let record = format!(r#"{{"type":"record","name":"{name}{n}","fields":[{{"name":"f","type":{of}}}]}}"#);
        format!(r#"{{"name":"{name}{n}","type":{record}}}"#)
    };
    let rest: Vec<_> = (0..=60).flat_map(|n| [record("A", n), record("B", n)]).collect();
    let all = format!(
        r#"{{"type":"record","name":"All","fields":[{{"name":"top","type":["A0","B0"]}},{}]}}"#,
        rest.join(",")
    );
    let mut value = Value::from("no int");
    for _ in 0..=60 {
        value = serde_json::json!({ "f": value });
    }
    let refused = encode(&parse(all.as_bytes()).unwrap(), &serde_json::json!({ "top": value }));
    assert_eq!(refused, Err("an object is no union".into()));
}
