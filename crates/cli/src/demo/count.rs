//! Whether every message had its effect once: what was published is compared with what the tally counted in its state.

use serde::Deserialize;
use std::time::{Duration, Instant};

use super::story::{Fact, fact};
use crate::http::Admin;

/// As the manifest has it.
const KEYS: u64 = 16;
/// How long what is on its way may take.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Topic {
    msg_in_counter: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counter {
    number_value: Option<u64>,
}

/// Waits until what was published is counted, for a while.
pub(super) async fn every_effect_once(admin: &Admin) -> anyhow::Result<Fact> {
    let since = Instant::now();
    loop {
        let topic: Topic = admin.at(["persistent", "public", "default", "candidates", "stats"]).get().await?;
        let (published, counted) = (topic.msg_in_counter, counted(admin).await?);
        if published == counted || since.elapsed() > PATIENCE {
            let text = format!("{published} numbers were published, {counted} primes counted");
            return Ok(fact("every effect happened once", published == counted && published > 0, text));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn counted(admin: &Admin) -> anyhow::Result<u64> {
    let mut sum = 0;
    for key in 0..KEYS {
        let state = ["admin", "v3", "functions", "public", "default", "tally", "state", &format!("key-{key}")];
        let counter: Option<Counter> = admin.path(state).get_optional().await?;
        sum += counter.and_then(|counter| counter.number_value).unwrap_or(0);
    }
    Ok(sum)
}
