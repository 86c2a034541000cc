//! Quantities as Kubernetes writes them, and what was probably meant by an unlikely one.

/// Units of one: `500m` is 0.5, `1Ki` is 1024.
pub(crate) fn parse(text: &str) -> Option<f64> {
    let split = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    if text.len() > 64 {
        return None;
    }
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        "Pi" => 1_125_899_906_842_624.0,
        "Ei" => 1_152_921_504_606_846_976.0,
        _ => return text.parse().ok().filter(|number: &f64| number.is_finite() && text.contains(['e', 'E'])),
    };
    number.parse::<f64>().ok().map(|number| number * factor).filter(|number| number.is_finite())
}

pub(crate) fn is_quantity(text: &str) -> bool {
    parse(text).is_some()
}
