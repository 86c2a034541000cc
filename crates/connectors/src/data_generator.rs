//! `data-generator`: records that are made up, as fast as it is told.
//!
//! The rate belongs to each instance. It may change over time by a profile, so that what scales with load can be watched scaling. Time is
//! what decides how many records are due, not how long the last one took: a rate is kept on average, whatever the timer's grain.
//!
//! Source of the name and of `sleepBetweenMessages`: Pulsar's `DataGeneratorSource`, whose records are persons too.

mod pace;
mod template;

use functions::{Record, message::Key};
use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::{sync::oneshot::error::RecvError, time::Instant};

use crate::{
    About, Ended, OpenSource, Source,
    emitter::{Emitter, Failed},
    error::Result,
    given::Given,
};
use pace::Pace;
use template::Template;

/// Records handed over together at most.
const BATCH_MAX: u64 = 256;
/// Bytes handed over together, unless one record alone is more.
const BATCH_BYTES: u64 = 256 << 10;
/// Batches on their way at which no more are made.
const BATCHES_MAX: usize = 32;
/// How often it is looked what is due, at most and at least.
const LOOK: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));

/// What a receipt says.
type Told = Result<Result<(), Failed>, RecvError>;

struct Generator {
    pace: Pace,
    keys: Option<u64>,
    count: Option<u64>,
    payload: Template,
    payload_bytes: usize,
    instance_id: u32,
    clock: Arc<dyn seams::Clock>,
}

pub(crate) fn source(about: &About<'_>) -> Result<OpenSource> {
    let mut given = Given::new("data-generator", &about.function.user_config);
    let pace = Pace::read(&mut given);
    let keys = given.whole("keys", 1..=1 << 40);
    let count = given.whole("count", 0..=u64::MAX);
    let payload_bytes = given.whole("payloadBytes", 1..=64 << 20);
    let template = given.value("template").map(|value| match value {
        Value::String(text) => text.clone(),
        json => json.to_string(),
    });
    if template.is_some() && payload_bytes.is_some() {
        given.problem("`payloadBytes` makes the default record larger; a `template` has the size it has");
    }
    given.finish()?;
    let generator = Generator {
        pace,
        keys,
        count,
        payload: template.as_deref().map_or_else(Template::person, Template::parse),
        payload_bytes: usize::try_from(payload_bytes.unwrap_or(0)).unwrap_or(0),
        instance_id: about.instance_id(),
        clock: about.clock.clone(),
    };
    let source: Source = Box::new(|emitter| generator.run(emitter).boxed());
    Ok(Box::new(|| std::future::ready(Ok(source)).boxed()))
}

impl Generator {
    async fn run(self, emitter: Emitter) -> Ended {
        let began = Instant::now();
        let mut sent = 0u64;
        // What was due and is given up: the destination was too slow for it.
        let mut skipped = 0.0f64;
        let mut on_their_way = FuturesUnordered::new();
        let batch_max = BATCH_BYTES.checked_div(self.payload_bytes as u64).unwrap_or(BATCH_MAX).clamp(1, BATCH_MAX);
        loop {
            let left = self.count.map_or(u64::MAX, |count| count.saturating_sub(sent));
            if left == 0 {
                // An instance that ends is started again; this one has no more to do.
                while let Some(told) = on_their_way.next().await {
                    self.told(&emitter, told).await;
                }
                return std::future::pending().await;
            }
            let now = began.elapsed();
            let due = self.pace.due_by(now) - skipped - sent as f64;
            // A second's worth is made up for after a stall, and no more.
            let spare = self.pace.rate_at(now).max(1.0);
            if due.is_finite() && due > spare + 1.0 {
                skipped += due - spare;
            }
            let batch = (due.min(spare) as u64).min(batch_max).min(left);
            if batch == 0 || on_their_way.len() >= BATCHES_MAX {
                tokio::select! {
                    Some(told) = on_their_way.next() => self.told(&emitter, told).await,
                    () = tokio::time::sleep(self.look_after(due, now)), if batch == 0 => {}
                }
                continue;
            }
            let records = (sent..sent + batch).map(|n| self.record(n)).collect();
            let Ok(receipt) = emitter.emit(records).await else { return Ok(()) };
            on_their_way.push(receipt);
            sent += batch;
        }
    }

    /// Until the next one is due, as far as its rate is known.
    fn look_after(&self, due: f64, now: Duration) -> Duration {
        let rate = self.pace.rate_at(now);
        if rate <= 0.0 {
            return LOOK.1;
        }
        Duration::try_from_secs_f64((1.0 - due).max(0.0) / rate).unwrap_or(LOOK.1).clamp(LOOK.0, LOOK.1)
    }

    async fn told(&self, emitter: &Emitter, told: Told) {
        // What is made up is no loss; but it should be known why it does not arrive.
        if let Ok(Err(failed)) = told {
            emitter.warn(format!("{} records were not published: {}", failed.indexes.len(), failed.error)).await;
        }
    }

    fn record(&self, n: u64) -> Record {
        let key = self.keys.map(|keys| format!("key-{}", n % keys));
        let time_ms = self.clock.now_ms();
        let values = template::Values { n, key: key.as_deref().unwrap_or(""), time_ms, instance: self.instance_id };
        Record {
            payload: self.payload.fill(&values, self.payload_bytes).into(),
            key: key.map(|text| Key { text, is_base64: false }),
            event_time_ms: time_ms,
            ..Record::default()
        }
    }
}
