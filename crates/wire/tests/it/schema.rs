//! Random messages of any type in `PulsarApi.proto`, as encoded bytes: every field of every message gets its turn.

use std::collections::HashMap;

pub(crate) struct Schema {
    messages: HashMap<String, Vec<Field>>,
    enums: HashMap<String, Vec<u64>>,
}

struct Field {
    required: bool,
    repeated: bool,
    kind: String,
    number: u64,
}

impl Schema {
    /// Reads the committed file. Its layout is ours and regular: one declaration a line, nested enums inside messages.
    pub(crate) fn load() -> Self {
        let mut schema = Self { messages: HashMap::new(), enums: HashMap::new() };
        let mut open: Vec<(bool, String)> = Vec::new();
        for line in include_str!("../../proto/PulsarApi.proto").lines() {
            let words: Vec<&str> = line.split([' ', ';']).filter(|word| !word.is_empty()).collect();
            match words[..] {
                ["message", name, "{"] => {
                    open.push((true, name.to_owned()));
                    schema.messages.insert(name.to_owned(), Vec::new());
                }
                ["enum", name, "{"] => {
                    let name = open.last().map_or_else(|| name.to_owned(), |(_, outer)| format!("{outer}.{name}"));
                    schema.enums.insert(name.clone(), Vec::new());
                    open.push((false, name));
                }
                ["}"] => drop(open.pop()),
                [label @ ("required" | "optional" | "repeated"), kind, _, "=", number, ..] => {
                    let message = &open.last().unwrap().1;
                    let nested = format!("{message}.{kind}");
                    let kind = if schema.enums.contains_key(&nested) { nested } else { kind.to_owned() };
                    let (required, repeated) = (label == "required", label == "repeated");
                    let field = Field { required, repeated, kind, number: number.parse().unwrap() };
                    schema.messages.get_mut(message).unwrap().push(field);
                }
                [_, "=", number] if !open.is_empty() => {
                    schema.enums.get_mut(&open.last().unwrap().1).unwrap().push(number.parse().unwrap());
                }
                _ => {}
            }
        }
        schema
    }

    /// The numbers of an enum, `Outer.Inner` when it is nested.
    pub(crate) fn numbers(&self, name: &str) -> &[u64] {
        &self.enums[name]
    }

    /// The type of a message's field.
    pub(crate) fn kind_of(&self, message: &str, number: u64) -> &str {
        &self.messages[message].iter().find(|field| field.number == number).unwrap().kind
    }

    /// A random message that any decoder of this schema takes.
    pub(crate) fn random(&self, message: &str, rng: &mut Rng) -> Vec<u8> {
        self.message(message, rng, 0)
    }

    fn message(&self, message: &str, rng: &mut Rng, depth: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for field in &self.messages[message] {
            let times = match field {
                Field { required: true, .. } => 1,
                Field { repeated: true, .. } => rng.below(4) * u64::from(depth < 4),
                _ => rng.below(2) * u64::from(depth < 4),
            };
            for _ in 0..times {
                self.value(field, rng, depth, &mut out);
            }
        }
        out
    }

    fn value(&self, field: &Field, rng: &mut Rng, depth: usize, out: &mut Vec<u8>) {
        let wire_type = match field.kind.as_str() {
            "double" => {
                put_varint(out, field.number << 3 | 1);
                // An ordinary number: NaN would not equal itself.
                out.extend((rng.below(1 << 50) as f64).to_le_bytes());
                return;
            }
            "string" | "bytes" => 2,
            kind if self.messages.contains_key(kind) => 2,
            _ => 0,
        };
        put_varint(out, field.number << 3 | wire_type);
        let bytes = match field.kind.as_str() {
            "bool" => return put_varint(out, rng.below(2)),
            "uint64" | "int64" => return put_varint(out, rng.number()),
            "uint32" => return put_varint(out, rng.number() as u32 as u64),
            "int32" => return put_varint(out, rng.number() as i32 as i64 as u64),
            "string" => (0..rng.below(12)).map(|_| b' ' + rng.below(95) as u8).collect(),
            "bytes" => (0..rng.below(12)).map(|_| rng.next() as u8).collect(),
            kind if self.messages.contains_key(kind) => self.message(kind, rng, depth + 1),
            kind => return put_varint(out, self.enums[kind][rng.below(self.enums[kind].len() as u64) as usize]),
        };
        put_varint(out, bytes.len() as u64);
        out.extend(bytes);
    }
}

pub(crate) fn put_varint(out: &mut Vec<u8>, value: u64) {
    prost::encoding::encode_varint(value, out);
}

/// SplitMix64: seeded by proptest, so that a failure names its seed.
pub(crate) struct Rng(pub u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Any size of number, small ones as often as huge ones.
    fn number(&mut self) -> u64 {
        let shift = self.below(64);
        self.next() >> shift
    }
}
