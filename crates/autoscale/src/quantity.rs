//! Numbers as Kubernetes writes them: `500m`, `128Mi`, `1e3`.
//!
//! Source: kubernetes/apimachinery `pkg/api/resource/quantity.go`: nothing is finer than a billionth, what is finer is rounded away
//! from zero, and what is beyond 63 bits is capped there.

use crate::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, str::FromStr};

const NANO: i128 = 1_000_000_000;
/// Longer texts are no quantities.
const TEXT_BYTES_MAX: usize = 64;

/// A number with an optional suffix. It remembers how it was written and compares by what it is worth.
#[derive(Debug, Clone)]
pub struct Quantity {
    text: String,
    nanos: i128,
}

impl Quantity {
    /// Whole units.
    pub fn from_units(units: i64) -> Self {
        Self { text: units.to_string(), nanos: i128::from(units) * NANO }
    }

    /// Thousandths.
    pub fn from_millis(millis: i64) -> Self {
        let text = if millis % 1000 == 0 { (millis / 1000).to_string() } else { format!("{millis}m") };
        Self { text, nanos: i128::from(millis) * (NANO / 1000) }
    }

    /// Whole units, rounded away from zero: bytes of memory. Kubernetes: `Value`.
    pub fn value(&self) -> i64 {
        scaled(self.nanos, NANO)
    }

    /// Thousandths, rounded away from zero: millicores. Kubernetes: `MilliValue`.
    pub fn millis(&self) -> i64 {
        scaled(self.nanos, NANO / 1000)
    }

    /// As near as a float comes.
    pub fn as_f64(&self) -> f64 {
        self.nanos as f64 / NANO as f64
    }
}

/// `nanos / unit`, away from zero, within 63 bits.
fn scaled(nanos: i128, unit: i128) -> i64 {
    let towards_zero = nanos / unit;
    let rounded = towards_zero + if nanos % unit == 0 { 0 } else { nanos.signum() };
    rounded.clamp(-i128::from(i64::MAX), i128::from(i64::MAX)) as i64
}

impl FromStr for Quantity {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let nanos = nanos(text).ok_or_else(|| Error::NotAQuantity(text.chars().take(TEXT_BYTES_MAX).collect()))?;
        Ok(Self { text: text.to_owned(), nanos })
    }
}

fn nanos(text: &str) -> Option<i128> {
    if text.is_empty() || text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let (negative, unsigned) = match text.as_bytes()[0] {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let (factor, divisor) = factor(suffix)?;
    // As digits times a power of ten, so that nothing is lost before the one rounding.
    let mut digits: i128 = 0;
    let mut places: u32 = 0;
    for (digit, is_fraction) in whole.bytes().map(|d| (d, false)).chain(fraction.bytes().map(|d| (d, true))) {
        // Beyond 27 digits nothing can matter: below a billionth, or capped anyway.
        if digits > 10i128.pow(27) {
            if !is_fraction {
                return Some(cap(i128::MAX, negative));
            }
            continue;
        }
        digits = digits * 10 + i128::from(digit - b'0');
        places += u32::from(is_fraction);
    }
    let Some(scaled) = digits.checked_mul(factor).and_then(|n| n.checked_mul(NANO)) else {
        // Too large to be exact: then it is near the cap or beyond, or it has so many places that a float serves.
        let rough = digits as f64 / 10f64.powi(places as i32) * factor as f64 / divisor as f64 * NANO as f64;
        return Some(cap(rough.ceil() as i128, negative));
    };
    let below = 10i128.checked_pow(places).and_then(|n| n.checked_mul(divisor))?;
    let up = i128::from(scaled % below != 0);
    Some(cap(scaled / below + up, negative))
}

fn cap(nanos: i128, negative: bool) -> i128 {
    let capped = nanos.min(i128::from(i64::MAX) * NANO);
    if negative { -capped } else { capped }
}

/// What a suffix multiplies and divides by.
fn factor(suffix: &str) -> Option<(i128, i128)> {
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, NANO),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (NANO, 1),
        "T" => (1_000 * NANO, 1),
        "P" => (1_000_000 * NANO, 1),
        "E" => (NANO * NANO, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10i128.pow(exponent.unsigned_abs().min(18));
            if exponent < 0 { (1, power) } else { (power, 1) }
        }
    })
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity such as 500m, 2, 128Mi or 1.5G")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Quantity, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Quantity, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Quantity, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Quantity, E> {
                self.visit_str(&number.to_string())
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantity_is_worth_what_kubernetes_says() {
        for (text, millis, value) in [
            ("0", 0, 0),
            ("1", 1000, 1),
            ("100m", 100, 1),
            ("1.5", 1500, 2),
            (".5", 500, 1),
            ("5.", 5000, 5),
            ("2Ki", 2_048_000, 2048),
            ("256Mi", 268_435_456_000, 268_435_456),
            ("1e3", 1_000_000, 1000),
            ("1E3", 1_000_000, 1000),
            ("12e-1", 1200, 2),
            ("1u", 1, 1),
            ("1n", 1, 1),
            ("256m", 256, 1),
            ("-1500m", -1500, -2),
            ("+2", 2000, 2),
            ("0.0000000001", 1, 1),
            ("1Ei", i64::MAX, 1 << 60),
            ("99E", i64::MAX, i64::MAX),
            ("123456789012345678901234567890", i64::MAX, i64::MAX),
        ] {
            let quantity: Quantity = text.parse().expect(text);
            assert_eq!((quantity.millis(), quantity.value()), (millis, value), "{text}");
            assert_eq!(quantity.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in
            ["", "-", ".", "1.2.3", "5 apples", "1ki", "1KiB", "Mi", "e3", "1e", "1e1.5", "ten", "1µ", &"1".repeat(65)]
        {
            assert!(text.parse::<Quantity>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_quantity_may_be_a_plain_number_in_json() {
        let read = |json: &str| serde_json::from_str::<Quantity>(json).map(|q| q.millis()).map_err(|e| e.to_string());
        assert_eq!(read("2"), Ok(2000));
        assert_eq!(read("0.25"), Ok(250));
        assert_eq!(read("\"250m\""), Ok(250));
        assert!(read("true").is_err());
        assert!(read("\"much\"").is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[-+0-9.eEnumkKMGTPi]{0,70}") {
            if let Ok(quantity) = text.parse::<Quantity>() {
                proptest::prop_assert!(quantity.value().abs() >= quantity.millis().abs() / 1000);
            }
        }
    }
}
