//! Whether what an instance asks for, and may have at most, makes sense.

use crate::{
    problem::Problems,
    yaml::{Entry, Value},
};
use autoscale::Quantity;

/// Less memory than this is a slip: no function runs in it.
const MEMORY_BYTES_MIN: i64 = 1 << 20;
/// More cores than this are millicores by mistake.
const CORES_MAX: f64 = 512.0;

pub(super) fn check(spec: &Value, problems: &mut Problems) {
    let Some(resources) = spec.get("resources") else { return };
    let list = |name: &str| resources.get(name).map(Value::entries).unwrap_or_default();
    let (requests, limits) = (list("requests"), list("limits"));
    for entry in requests.iter().chain(limits) {
        amount(entry, problems);
    }
    let is_disk = |entry: &&Entry| matches!(entry.name.as_str(), "storage" | "ephemeral-storage");
    if let Some(entry) = limits.iter().chain(requests).find(is_disk) {
        let text = format!("{} is kept and not enforced: an instance may write what the disk takes", entry.name);
        problems.warning(entry.value.at, text);
    }
    for request in requests {
        let limit = limits.iter().find(|limit| limit.name == request.name);
        if let Some(limit) = limit
            && let (Some(asked), Some(allowed)) = (quantity(request), quantity(limit))
            && asked > allowed
        {
            let name = &request.name;
            problems.error(request.value.at, format!("requests.{name} {asked} is above limits.{name} {allowed}"));
        }
    }
}

fn quantity(entry: &Entry) -> Option<Quantity> {
    entry.value.written()?.parse().ok()
}

fn amount(entry: &Entry, problems: &mut Problems) {
    let Some(quantity) = quantity(entry) else { return };
    let (name, at) = (entry.name.as_str(), entry.value.at);
    if quantity.as_f64() < 0.0 || (quantity.as_f64() == 0.0 && name == "memory") {
        return problems.error(at, format!("{name} {quantity} must be positive"));
    }
    match name {
        "memory" | "storage" | "ephemeral-storage"
            if quantity.value() < MEMORY_BYTES_MIN && quantity.as_f64() > 0.0 =>
        {
            let text = quantity.to_string();
            let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let worth = match text.strip_suffix('m').and_then(|_| number.parse::<f64>().ok()) {
                Some(thousandths) => format!("{} of a byte, since `m` is a thousandth", thousandths / 1000.0),
                None => format!("{} bytes", quantity.value()),
            };
            problems.error(at, format!("{name} {text} is {worth}; did you mean {number}Mi?"));
        }
        "cpu" if quantity.as_f64() > CORES_MAX => {
            problems.warning(
                at,
                format!("cpu {quantity} is that many cores; did you mean {quantity}m, thousandths of one?"),
            );
        }
        "cpu" | "memory" | "storage" | "ephemeral-storage" => {}
        _ => problems.note(at, format!("{name} is for Kubernetes, no effect here")),
    }
}
