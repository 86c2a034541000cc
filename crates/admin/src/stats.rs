//! What topics say about themselves, with what only the whole broker knows added.

use admin_api::{
    PartitionedTopicMetadata,
    stats::{ConsumerStats, InternalStats, PartitionedTopicStats, TopicStats},
};
use axum::{Json, Router, extract::State, routing::get};
use broker::Error;
use model::{BacklogQuotaType, TopicName};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

use crate::{
    App,
    at::{At, Query},
    reply::{Failure, Reply},
    topics::{missing, partition_count},
};

pub(crate) fn routes() -> Router<App> {
    let at = |path: &str| format!("/{{tenant}}/{{namespace}}/{{topic}}/{path}");
    Router::new()
        .route(&at("stats"), get(stats))
        .route(&at("partitioned-stats"), get(partitioned))
        .route(&at("internalStats"), get(internal))
        .route(&at("partitioned-internalStats"), get(partitioned_internal))
        .route(&at("internal-info"), get(info))
        .route(&at("backlog"), get(backlog))
}

/// What a caller can do without, where a topic has many clients.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Wanted {
    per_partition: bool,
    exclude_publishers: bool,
    exclude_consumers: bool,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { per_partition: true, exclude_publishers: false, exclude_consumers: false }
    }
}

impl Wanted {
    fn of(&self, mut stats: TopicStats) -> TopicStats {
        if self.exclude_publishers {
            stats.publishers.clear();
        }
        if self.exclude_consumers {
            stats.subscriptions.values_mut().for_each(|subscription| subscription.consumers.clear());
        }
        stats
    }
}

async fn stats(State(app): State<App>, at: At, Query(wanted): Query<Wanted>) -> Reply<Json<TopicStats>> {
    let name = at.topic()?;
    match app.broker.topic_stats(&name).await {
        Ok(stats) => Ok(Json(wanted.of(completed(&app, &name, stats)))),
        Err(Error::TopicNotFound(_)) => Err(missing(&app, &name)),
        Err(other) => Err(other.into()),
    }
}

/// Adds what a topic does not know of itself: its owner, its namespace's bounds, and values in further forms.
pub(crate) fn completed(app: &App, name: &TopicName, mut stats: TopicStats) -> TopicStats {
    stats.owner_broker = Some(crate::brokers::id(app));
    let policies = app.broker.policies(name.namespace()).unwrap_or_default();
    let own = app.broker.topic_policies(name);
    let quota = |kind| own.backlog_quota_map.get(&kind).or(policies.backlog_quota_map.get(&kind));
    let no_bound = |limit: i64| if limit > 0 { limit } else { -1 };
    stats.backlog_quota_limit_size = quota(BacklogQuotaType::DestinationStorage).map_or(-1, |q| no_bound(q.limit_size));
    stats.backlog_quota_limit_time = quota(BacklogQuotaType::MessageAge).map_or(-1, |q| no_bound(q.limit_time));
    if stats.oldest_backlog_message_age_seconds == 0 {
        stats.oldest_backlog_message_age_seconds = -1;
    }
    // A sum over nothing is -0.0.
    for sum in
        [&mut stats.msg_rate_in, &mut stats.msg_throughput_in, &mut stats.msg_rate_out, &mut stats.msg_throughput_out]
    {
        *sum += 0.0;
    }
    for subscription in stats.subscriptions.values_mut() {
        subscription.durable = subscription.is_durable;
        subscription.replicated = subscription.is_replicated;
        if subscription.r#type == "Exclusive" {
            let only = subscription.consumers.first().map(|c| c.consumer_name.clone());
            subscription.active_consumer_name = subscription.active_consumer_name.take().or(only);
        }
        for consumer in &mut subscription.consumers {
            complete_consumer(consumer);
        }
    }
    stats
}

fn complete_consumer(consumer: &mut ConsumerStats) {
    let time = |ms: i64| broker::rfc3339(u64::try_from(ms).unwrap_or(0));
    consumer.last_acked_time = time(consumer.last_acked_timestamp);
    consumer.last_consumed_time = time(consumer.last_consumed_timestamp);
    if let Some(ranges) = consumer.key_hash_ranges.take() {
        consumer.key_hash_range_arrays = Some(joined(&ranges));
        consumer.draining_hashes.get_or_insert_default();
    }
}

/// `[from, to]` texts as numbers, neighbours joined. Hash 0 is never used.
fn joined(ranges: &[String]) -> Vec<[i32; 2]> {
    let parse = |text: &String| -> Option<[i32; 2]> {
        let (from, to) = text.strip_prefix('[')?.strip_suffix(']')?.split_once(',')?;
        Some([from.trim().parse::<i32>().ok()?.max(1), to.trim().parse().ok()?])
    };
    let mut parsed: Vec<_> = ranges.iter().filter_map(parse).collect();
    parsed.sort_unstable();
    let mut joined: Vec<[i32; 2]> = Vec::new();
    for [from, to] in parsed {
        match joined.last_mut() {
            Some(last) if from <= last[1] + 1 => last[1] = last[1].max(to),
            _ => joined.push([from, to]),
        }
    }
    joined
}

fn not_partitioned(name: &TopicName) -> Failure {
    Failure::not_found(format!("Partitioned Topic {name} not found"))
}

async fn partitioned(
    State(app): State<App>,
    at: At,
    Query(wanted): Query<Wanted>,
) -> Reply<Json<PartitionedTopicStats>> {
    let name = at.topic()?;
    if name.partition().is_some() {
        return Err(Failure::precondition("Partitioned Topic Name should not contain '-partition-'"));
    }
    let n = partition_count(&app, &name)?.ok_or_else(|| not_partitioned(&name))?;
    let mut sum = PartitionedTopicStats::new(n);
    for index in 0..n {
        let partition = name.with_partition(index);
        match app.broker.topic_stats(&partition).await {
            Ok(stats) => {
                let stats = wanted.of(completed(&app, &partition, stats));
                sum.add(partition.to_string(), stats, wanted.per_partition);
            }
            Err(Error::TopicNotFound(_)) => {}
            Err(other) => return Err(other.into()),
        }
    }
    let owner = sum.sum.owner_broker.take();
    sum.sum = completed(&app, &name, sum.sum);
    sum.sum.owner_broker = owner;
    Ok(Json(sum))
}

async fn internal_stats(app: &App, name: &TopicName) -> Result<InternalStats, Error> {
    let stats = app.broker.internal_stats(name).await?;
    Ok(InternalStats { properties: app.broker.topic_properties(name).await?, ..stats })
}

async fn internal(State(app): State<App>, at: At) -> Reply<Json<InternalStats>> {
    let name = at.topic()?;
    match internal_stats(&app, &name).await {
        Ok(stats) => Ok(Json(stats)),
        Err(Error::TopicNotFound(_)) => Err(missing(&app, &name)),
        Err(other) => Err(other.into()),
    }
}

async fn partitioned_internal(State(app): State<App>, at: At) -> Reply<Json<Value>> {
    let name = at.topic()?;
    let partitions = partition_count(&app, &name)?.ok_or_else(|| not_partitioned(&name))?;
    let mut all = BTreeMap::new();
    for index in 0..partitions {
        let partition = name.with_partition(index);
        match internal_stats(&app, &partition).await {
            Ok(stats) => drop(all.insert(partition.to_string(), stats)),
            Err(Error::TopicNotFound(_)) => {}
            Err(other) => return Err(other.into()),
        }
    }
    let metadata = PartitionedTopicMetadata { partitions, ..PartitionedTopicMetadata::default() };
    Ok(Json(json!({ "metadata": metadata, "partitions": all })))
}

/// What Pulsar keeps of a managed ledger in its metadata store, read from our stats.
fn managed_ledger(stats: &InternalStats) -> Value {
    let position = |text: &str| {
        let (ledger, entry) = text.split_once(':').unwrap_or(("-1", "-1"));
        json!({ "ledgerId": ledger.parse::<i64>().unwrap_or(-1), "entryId": entry.parse::<i64>().unwrap_or(-1) })
    };
    let ledgers: Vec<_> = stats
        .ledgers
        .iter()
        .map(|l| json!({ "ledgerId": l.ledger_id, "entries": l.entries, "size": l.size, "isOffloaded": false }))
        .collect();
    let cursors: BTreeMap<_, _> = stats
        .cursors
        .iter()
        .map(|(name, cursor)| {
            let mark_delete = position(&cursor.mark_delete_position);
            (name, json!({ "version": 0, "cursorsLedgerId": -1, "markDelete": mark_delete }))
        })
        .collect();
    json!({ "version": 1, "ledgers": ledgers, "cursors": cursors })
}

async fn info(State(app): State<App>, at: At) -> Reply<Json<Value>> {
    let name = at.topic()?;
    let Some(n) = partition_count(&app, &name)? else {
        return Ok(Json(managed_ledger(&app.broker.internal_stats(&name).await?)));
    };
    let mut all = BTreeMap::new();
    for index in 0..n {
        let partition = name.with_partition(index);
        all.insert(partition.to_string(), managed_ledger(&app.broker.internal_stats(&partition).await?));
    }
    Ok(Json(json!({ "version": 0, "partitions": all })))
}

/// An estimate from the ledgers that are not loaded in Pulsar; here it is exact.
async fn backlog(State(app): State<App>, at: At) -> Reply<Json<Value>> {
    let name = at.topic()?;
    let (stats, internal) = (app.broker.topic_stats(&name).await?, app.broker.internal_stats(&name).await?);
    let ledgers: Vec<_> = internal
        .ledgers
        .iter()
        .map(|l| json!({ "entries": l.entries, "timestamp": 0, "size": l.size, "ledgerId": l.ledger_id }))
        .collect();
    let cursors: BTreeMap<_, _> = stats
        .subscriptions
        .iter()
        .map(|(name, s)| (name, json!({ "cursorBacklog": s.msg_backlog, "cursorLedgerId": -1 })))
        .collect();
    Ok(Json(json!({
        "topicName": format!("{}/{}/{}", name.namespace(), at.domain().as_str(), name.local()),
        "brokerName": crate::brokers::host(&app),
        "storageSize": stats.storage_size,
        "totalMessages": internal.number_of_entries,
        "messageBacklog": stats.subscriptions.values().map(|s| s.msg_backlog).max().unwrap_or(0),
        "dataLedgerDetails": ledgers,
        "cursorDetails": cursors,
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_hash_ranges_are_one() {
        let ranges = ["[3000, 65535]", "[0, 99]", "[100, 200]"].map(str::to_owned);
        assert_eq!(joined(&ranges), [[1, 200], [3000, 65535]]);
        assert_eq!(joined(&["odd".to_owned()]), Vec::<[i32; 2]>::new());
    }
}
