//! What a made-up record says: text with places for its number, key and time.

use std::fmt::Write;

const FIRST_NAMES: [&str; 16] = [
    "Ada",
    "Alan",
    "Barbara",
    "Claude",
    "Donald",
    "Edsger",
    "Frances",
    "Grace",
    "Hedy",
    "John",
    "Katherine",
    "Leslie",
    "Margaret",
    "Niklaus",
    "Radia",
    "Tony",
];
const LAST_NAMES: [&str; 8] = ["Berg", "Costa", "Dubois", "Ito", "Kowalski", "Mbeki", "Novak", "Singh"];

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    N,
    Key,
    TimeMs,
    Instance,
    /// Fields of a person: all of a JSON object but its end.
    Person,
    /// What makes it as long as asked for, and the end of the object.
    Padding,
}

/// What goes into the places.
pub(crate) struct Values<'a> {
    pub(crate) n: u64,
    pub(crate) key: &'a str,
    pub(crate) time_ms: u64,
    pub(crate) instance: u32,
}

impl Template {
    /// A JSON object that looks like a person.
    pub(crate) fn person() -> Self {
        Self(vec![Piece::Person, Piece::Padding])
    }

    /// `{n}`, `{key}`, `{time_ms}` and `{instance}` are places; everything else is itself.
    pub(crate) fn parse(text: &str) -> Self {
        let places =
            [("{n}", Piece::N), ("{key}", Piece::Key), ("{time_ms}", Piece::TimeMs), ("{instance}", Piece::Instance)];
        let mut pieces = Vec::new();
        let mut rest = text;
        loop {
            let next = places
                .iter()
                .filter_map(|(name, piece)| Some((rest.find(name)?, name.len(), piece)))
                .min_by_key(|n| n.0);
            let Some((at, length, piece)) = next else { break };
            pieces.push(Piece::Text(rest[..at].to_owned()));
            pieces.push(piece.clone());
            rest = &rest[at + length..];
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Self(pieces)
    }

    /// At least `bytes` long where the template can be made longer.
    pub(crate) fn fill(&self, values: &Values<'_>, bytes: usize) -> String {
        let mut out = String::with_capacity(bytes.max(128));
        for piece in &self.0 {
            // Writing to a text does not fail.
            let _ = match piece {
                Piece::Text(text) => out.write_str(text),
                Piece::N => write!(out, "{}", values.n),
                Piece::Key => out.write_str(values.key),
                Piece::TimeMs => write!(out, "{}", values.time_ms),
                Piece::Instance => write!(out, "{}", values.instance),
                Piece::Person => person(&mut out, values),
                Piece::Padding => padding(&mut out, bytes),
            };
        }
        out
    }
}

fn person(out: &mut String, values: &Values<'_>) -> std::fmt::Result {
    // The same number is the same person, whenever and wherever it is made.
    let mixed = values.n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    let first = FIRST_NAMES[(mixed % 16) as usize];
    let last = LAST_NAMES[(mixed / 16 % 8) as usize];
    let (age, n) = (18 + mixed / 128 % 70, values.n);
    let (lower_first, lower_last) = (first.to_lowercase(), last.to_lowercase());
    write!(
        out,
        r#"{{"id":{n},"firstName":"{first}","lastName":"{last}","age":{age},"email":"{lower_first}.{lower_last}.{n}@example.org","timeMs":{}"#,
        values.time_ms
    )
}

fn padding(out: &mut String, bytes: usize) -> std::fmt::Result {
    const AROUND: usize = r#","padding":""}"#.len();
    if bytes > out.len() + 1 {
        let fill = bytes.saturating_sub(out.len() + AROUND);
        write!(out, r#","padding":"{}""#, "x".repeat(fill))?;
    }
    out.write_char('}')
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: Values<'_> = Values { n: 7, key: "key-1", time_ms: 1000, instance: 2 };

    #[test]
    fn places_are_filled_and_braces_stay() {
        let template = Template::parse(r#"{"n": {n}, "k": "{key}", "t": {time_ms}, "i": {instance}, "{x}": {}}{n}"#);
        assert_eq!(template.fill(&VALUES, 0), r#"{"n": 7, "k": "key-1", "t": 1000, "i": 2, "{x}": {}}7"#);
    }

    #[test]
    fn a_person_is_json_and_as_long_as_asked_for() {
        let person = Template::person();
        let short: serde_json::Value = serde_json::from_str(&person.fill(&VALUES, 0)).unwrap();
        assert_eq!((&short["id"], &short["timeMs"]), (&7.into(), &1000.into()));
        for bytes in [200, 1000, 100_000] {
            let long = person.fill(&VALUES, bytes);
            assert_eq!(long.len(), bytes);
            assert_eq!(serde_json::from_str::<serde_json::Value>(&long).unwrap()["email"], short["email"]);
        }
    }
}
