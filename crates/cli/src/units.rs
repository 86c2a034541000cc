//! Numbers as people write and read them.

use std::time::Duration;

/// `1234567` as `1,234,567`.
#[must_use]
pub(crate) fn count(n: i64) -> String {
    let digits = n.unsigned_abs().to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if n < 0 { format!("-{text}") } else { text }
}

/// `1536` as `1.5 KiB`.
#[must_use]
pub(crate) fn bytes(n: i64) -> String {
    let mut value = n as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value.abs() < 1024.0 {
            return if unit == "B" { format!("{n} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// A rate per second.
#[must_use]
pub(crate) fn rate(per_s: f64) -> String {
    if per_s >= 100.0 { count(per_s.round() as i64) } else { format!("{per_s:.1}") }
}

/// How long something has waited: `240 ms`, `2.4 s`, `3m 12s`.
#[must_use]
pub(crate) fn age(time: Duration) -> String {
    match time.as_millis() {
        ms @ 0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{:.1} s", time.as_secs_f64()),
        _ => humantime::format_duration(Duration::from_secs(time.as_secs())).to_string(),
    }
}

/// Parses `10G`, `512M`, `100K`, `4096` into bytes; units are powers of 1024. -1 is no bound.
///
/// # Errors
/// It is no size.
pub(crate) fn parse_size(text: &str) -> Result<i64, String> {
    if text == "-1" {
        return Ok(-1);
    }
    let fail = || format!("expected a size such as 512M or 10G, or -1 for no bound, not '{text}'");
    let lower = text.to_ascii_lowercase();
    let number = lower.trim_end_matches('b').trim_end_matches('i');
    let (number, shift) = match number.strip_suffix(['k', 'm', 'g', 't']) {
        Some(rest) => (rest, 10 * (1 + "kmgt".find(&number[rest.len()..]).unwrap_or(0))),
        None => (number, 0),
    };
    let value: i64 = number.trim().parse().map_err(|_| fail())?;
    value.checked_mul(1 << shift).filter(|n| *n >= 0).ok_or_else(fail)
}

/// Parses `90s`, `10m`, `3h`, `1d`, `2w` and what humantime knows, into seconds; a bare number is seconds. -1 is no bound.
///
/// # Errors
/// It is no time.
pub(crate) fn parse_seconds(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse::<i64>() {
        return if seconds >= -1 { Ok(seconds) } else { Err("a time is not negative; -1 is no bound".to_owned()) };
    }
    match humantime::parse_duration(text) {
        Ok(time) => i64::try_from(time.as_secs()).map_err(|e| e.to_string()),
        Err(_) => Err(format!("expected a time such as 90s, 10m, 3h or 7d, or -1 for no bound, not '{text}'")),
    }
}

/// Seconds as text; -1 is no bound.
#[must_use]
pub(crate) fn seconds(n: i64) -> String {
    match u64::try_from(n) {
        Ok(n) => humantime::format_duration(Duration::from_secs(n)).to_string(),
        Err(_) => "no bound".to_owned(),
    }
}

/// Bytes as text; -1 is no bound.
#[must_use]
pub(crate) fn size(n: i64) -> String {
    if n < 0 { "no bound".to_owned() } else { bytes(n) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_read_as_they_are_written() {
        for (text, n) in [("0", 0), ("-1", -1), ("4096", 4096), ("1k", 1024), ("512M", 512 << 20), ("10GiB", 10 << 30)]
        {
            assert_eq!(parse_size(text), Ok(n), "{text}");
        }
        for bad in ["", "x", "-2", "1.5G", "99999999999T"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
        for (text, n) in [("30", 30), ("-1", -1), ("90s", 90), ("10m", 600), ("3h", 10_800), ("7d", 604_800)] {
            assert_eq!(parse_seconds(text), Ok(n), "{text}");
        }
        for bad in ["", "-5", "soon"] {
            assert!(parse_seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!([count(0), count(999), count(1_234_567), count(-1000)], ["0", "999", "1,234,567", "-1,000"]);
        assert_eq!([bytes(1023), bytes(1536), bytes(3 << 30)], ["1023 B", "1.5 KiB", "3.0 GiB"]);
        assert_eq!([rate(0.04), rate(99.94), rate(12_345.6)], ["0.0", "99.9", "12,346"]);
    }
}
