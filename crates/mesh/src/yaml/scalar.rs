//! What a plain scalar means.
//!
//! Source: `resolve.go` of the YAML 1.1 reader that `sigs.k8s.io/yaml`, and so `kubectl`, uses.

use super::Data;
use serde_json::Number;

/// The meaning of a scalar that is not quoted.
pub(super) fn plain(text: String) -> Data {
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => return Data::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Data::Bool(true, text),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => return Data::Bool(false, text),
        _ => {}
    }
    match number(&text) {
        Some(number) => Data::Number(number, text),
        None => Data::Text(text),
    }
}

fn number(text: &str) -> Option<Number> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    for (prefix, radix) in [("0x", 16), ("0b", 2), ("0o", 8)] {
        if let Some(digits) = digits.strip_prefix(prefix) {
            let digits = Some(digits).filter(|digits| !digits.starts_with(['+', '-']))?;
            return i64::from_str_radix(digits, radix).ok().map(|number| (sign * number).into());
        }
    }
    if digits.bytes().all(|b| b.is_ascii_digit()) {
        // A leading zero is octal in YAML 1.1, as in `defaultMode: 0644`.
        if digits.len() > 1 && digits.starts_with('0') {
            if let Ok(number) = i64::from_str_radix(digits, 8) {
                return Some((sign * number).into());
            }
        } else if let (true, Ok(number)) = (sign < 0, text.parse::<i64>()) {
            return Some(number.into());
        } else if let (true, Ok(number)) = (sign > 0, digits.parse::<u64>()) {
            return Some(number.into());
        }
    }
    let is_float = digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    if !is_float || !digits.contains(|c: char| c.is_ascii_digit()) {
        return None;
    }
    // Infinite where it is too large, and no JSON then.
    text.parse::<f64>().ok().and_then(Number::from_f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value as Json, json};

    fn meaning(text: &str) -> Json {
        let at = crate::At::default();
        super::super::Value { at, data: plain(text.to_owned()) }.json()
    }

    #[test]
    fn a_plain_scalar_means_what_it_means_to_kubectl() {
        for (text, means) in [
            ("", json!(null)),
            ("~", json!(null)),
            ("yes", json!(true)),
            ("Off", json!(false)),
            ("y", json!("y")),
            ("12", json!(12)),
            ("+12", json!(12)),
            ("-12", json!(-12)),
            ("0644", json!(420)),
            ("089", json!(89.0)),
            ("0x1F", json!(31)),
            ("0x-1", json!("0x-1")),
            ("1.5", json!(1.5)),
            (".5", json!(0.5)),
            ("1e3", json!(1000.0)),
            ("1e999", json!("1e999")),
            (".", json!(".")),
            ("1.2.3", json!("1.2.3")),
            ("500m", json!("500m")),
            ("18446744073709551615", json!(u64::MAX)),
            ("-", json!("-")),
            (".inf", json!(".inf")),
            ("2020-01-01", json!("2020-01-01")),
        ] {
            assert_eq!(meaning(text), means, "{text}");
        }
    }
}
