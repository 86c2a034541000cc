//! The mean temperature of each window of measurements, for a function with a `windowConfig`.

use geminga_function::{Json, function};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Measurement {
    celsius: f64,
}

#[derive(Serialize)]
struct Mean {
    celsius: f64,
    of: usize,
}

#[function(window)]
fn mean(measurements: Vec<Json<Measurement>>) -> Json<Mean> {
    let of = measurements.len();
    let sum: f64 = measurements.iter().map(|Json(measurement)| measurement.celsius).sum();
    Json(Mean { celsius: sum / of as f64, of })
}
