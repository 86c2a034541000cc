//! Quantities as people write them (`256Mi`, `500m`, `10s`) where Pulsar's JSON wants a plain number.
//!
//! Nothing is converted silently: `256m` is 256 megabytes to a JVM and a quarter of a byte to Kubernetes. What was
//! probably meant is told instead.

/// What a field counts, by its JSON name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Bytes,
    Cores,
    Millis,
    Plain,
}

impl Unit {
    pub(super) fn of(field: &str) -> Self {
        match field {
            "ram" | "disk" | "batchingMaxBytes" => Self::Bytes,
            "cpu" => Self::Cores,
            _ if field.ends_with("Ms") => Self::Millis,
            _ => Self::Plain,
        }
    }

    /// What to write instead of `text`, as the end of a sentence; `None` where `text` is no quantity of this unit.
    pub(super) fn advice(self, text: &str) -> Option<String> {
        let text = text.trim();
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, suffix) = text.split_at(split);
        let number: f64 = number.parse().ok()?;
        let suffix = suffix.trim();
        match self {
            Self::Bytes => {
                // `m` is no factor of a thousandth here: nobody wants a quarter of a byte.
                let factor: u64 = match suffix.trim_end_matches(['b', 'B']).to_ascii_lowercase().as_str() {
                    "" => 1,
                    "k" | "ki" => 1 << 10,
                    "m" | "mi" => 1 << 20,
                    "g" | "gi" => 1 << 30,
                    "t" | "ti" => 1 << 40,
                    _ => return None,
                };
                let bytes = number * factor as f64;
                let doubt = if suffix == "m" { "; in Kubernetes `m` would mean thousandths of a byte" } else { "" };
                Some(format!("it is a plain number of bytes, such as {bytes:.0}{doubt}"))
            }
            Self::Cores if suffix == "m" => Some(format!("it is a number of cores, such as {}", number / 1000.0)),
            Self::Cores => Some("it is a number of cores, such as 0.5".to_owned()),
            Self::Millis => {
                let factor = match suffix {
                    "ms" => 1.0,
                    "s" => 1e3,
                    "m" | "min" => 60e3,
                    "h" => 3_600e3,
                    "d" => 86_400e3,
                    _ => return None,
                };
                Some(format!("it is a plain number of milliseconds, such as {:.0}", number * factor))
            }
            Self::Plain => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantity_is_explained_in_the_unit_of_its_field() {
        for (field, text, says) in [
            ("ram", "256m", "268435456; in Kubernetes"),
            ("ram", "256Mi", "268435456"),
            ("disk", "1.5 GB", "1610612736"),
            ("cpu", "500m", "0.5"),
            ("timeoutMs", "10s", "10000"),
            ("windowLengthDurationMs", "2min", "120000"),
        ] {
            let advice = Unit::of(field).advice(text).unwrap_or_default();
            assert!(advice.contains(says), "{field} {text}: {advice}");
        }
        for (field, text) in [("ram", "much"), ("ram", "5 apples"), ("parallelism", "3k"), ("timeoutMs", "..")] {
            assert_eq!(Unit::of(field).advice(text), None, "{field} {text}");
        }
    }
}
