//! What topics, subscriptions, producers and consumers say about themselves.
//!
//! Rates are per second, throughputs and sizes in bytes, timestamps milliseconds since 1970. Source: Pulsar's
//! `org.apache.pulsar.common.policies.data` (`TopicStats`, `SubscriptionStats`, `ConsumerStats`, `PublisherStats`,
//! `PersistentTopicInternalStats`).

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One topic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicStats {
    pub msg_rate_in: f64,
    pub msg_throughput_in: f64,
    pub msg_rate_out: f64,
    pub msg_throughput_out: f64,
    pub bytes_in_counter: i64,
    pub msg_in_counter: i64,
    pub system_topic_bytes_in_counter: i64,
    pub bytes_out_counter: i64,
    pub msg_out_counter: i64,
    pub bytes_out_internal_counter: i64,
    pub average_msg_size: f64,
    pub msg_chunk_published: bool,
    pub storage_size: i64,
    pub backlog_size: i64,
    pub backlog_quota_limit_size: i64,
    pub backlog_quota_limit_time: i64,
    pub oldest_backlog_message_age_seconds: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_backlog_message_subscription_name: Option<String>,
    pub publish_rate_limited_times: i64,
    pub earliest_msg_publish_time_in_backlogs: i64,
    pub offloaded_storage_size: i64,
    pub last_offload_ledger_id: i64,
    pub last_offload_success_time_stamp: i64,
    pub last_offload_failure_time_stamp: i64,
    pub ongoing_txn_count: i64,
    pub aborted_txn_count: i64,
    pub committed_txn_count: i64,
    pub publishers: Vec<PublisherStats>,
    pub waiting_publishers: i32,
    pub subscriptions: BTreeMap<String, SubscriptionStats>,
    pub replication: BTreeMap<String, serde_json::Value>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub deduplication_status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_epoch: Option<i64>,
    pub non_contiguous_deleted_messages_ranges: i32,
    pub non_contiguous_deleted_messages_ranges_serialized_size: i32,
    pub delayed_message_index_size_in_bytes: i64,
    pub compaction: CompactionStats,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_broker: Option<String>,
    pub topic_creation_time_stamp: i64,
    pub last_publish_time_stamp: i64,
}

/// Compaction of a topic, since it was loaded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CompactionStats {
    pub last_compaction_removed_event_count: i64,
    pub last_compaction_succeed_timestamp: i64,
    pub last_compaction_failed_timestamp: i64,
    pub last_compaction_duration_time_in_mills: i64,
}

/// One producer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PublisherStats {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_mode: Option<String>,
    pub msg_rate_in: f64,
    pub msg_throughput_in: f64,
    pub average_msg_size: f64,
    pub chunked_message_rate: f64,
    pub producer_id: i64,
    pub supports_partial_producer: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub producer_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connected_since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_version: Option<String>,
    pub metadata: BTreeMap<String, String>,
}

/// One subscription.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionStats {
    pub msg_rate_out: f64,
    pub msg_throughput_out: f64,
    pub bytes_out_counter: i64,
    pub msg_out_counter: i64,
    pub msg_rate_redeliver: f64,
    pub message_ack_rate: f64,
    pub chunked_message_rate: f64,
    pub msg_backlog: i64,
    pub backlog_size: i64,
    pub earliest_msg_publish_time_in_backlog: i64,
    pub msg_backlog_no_delayed: i64,
    pub blocked_subscription_on_unacked_msgs: bool,
    pub msg_delayed: i64,
    pub msg_in_replay: i64,
    pub unacked_messages: i64,
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub r#type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_consumer_name: Option<String>,
    /// Messages a second that no consumer could take; topics that are not persistent have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub msg_drop_rate: Option<f64>,
    pub msg_rate_expired: f64,
    pub msg_expired: i64,
    pub total_msg_expired: i64,
    pub last_expire_timestamp: i64,
    pub last_consumed_flow_timestamp: i64,
    pub last_consumed_timestamp: i64,
    pub last_acked_timestamp: i64,
    pub last_mark_delete_advanced_timestamp: i64,
    pub consumers: Vec<ConsumerStats>,
    pub is_durable: bool,
    pub is_replicated: bool,
    pub allow_out_of_order_delivery: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_shared_mode: Option<String>,
    pub consumers_after_mark_delete_position: BTreeMap<String, String>,
    pub draining_hashes_count: i32,
    pub draining_hashes_cleared_total: i64,
    pub draining_hashes_unacked_messages: i32,
    pub non_contiguous_deleted_messages_ranges: i32,
    pub non_contiguous_deleted_messages_ranges_serialized_size: i32,
    pub delayed_message_index_size_in_bytes: i64,
    pub subscription_properties: BTreeMap<String, String>,
    pub filter_processed_msg_count: i64,
    pub filter_accepted_msg_count: i64,
    pub filter_rejected_msg_count: i64,
    pub filter_rescheduled_msg_count: i64,
    pub dispatch_throttled_msg_events_by_subscription_limit: i64,
    pub dispatch_throttled_bytes_events_by_subscription_limit: i64,
    pub dispatch_throttled_msg_events_by_topic_limit: i64,
    pub dispatch_throttled_bytes_events_by_topic_limit: i64,
    pub dispatch_throttled_msg_events_by_broker_limit: i64,
    pub dispatch_throttled_bytes_events_by_broker_limit: i64,
    pub durable: bool,
    pub replicated: bool,
}

/// One consumer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerStats {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_id: Option<String>,
    pub msg_rate_out: f64,
    pub msg_throughput_out: f64,
    pub bytes_out_counter: i64,
    pub msg_out_counter: i64,
    pub msg_rate_redeliver: f64,
    pub message_ack_rate: f64,
    pub chunked_message_rate: f64,
    pub consumer_name: String,
    pub available_permits: i32,
    pub unacked_messages: i32,
    pub avg_messages_per_entry: i32,
    pub blocked_consumer_on_unacked_msgs: bool,
    pub draining_hashes_count: i32,
    pub draining_hashes_cleared_total: i64,
    pub draining_hashes_unacked_messages: i32,
    /// Hashes that wait for another consumer's acknowledgements; only Key_Shared has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draining_hashes: Option<Vec<serde_json::Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connected_since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_version: Option<String>,
    pub last_acked_timestamp: i64,
    pub last_consumed_timestamp: i64,
    pub first_messages_sent_timestamp: i64,
    pub last_consumed_flow_timestamp: i64,
    pub first_consumed_flow_timestamp: i64,
    /// `[from, to]` as text, the form of clients before 4.0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_hash_ranges: Option<Vec<String>>,
    /// The same as numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_hash_range_arrays: Option<Vec<[i32; 2]>>,
    pub metadata: BTreeMap<String, String>,
    /// [`last_acked_timestamp`](Self::last_acked_timestamp) as a date.
    pub last_acked_time: String,
    /// [`last_consumed_timestamp`](Self::last_consumed_timestamp) as a date.
    pub last_consumed_time: String,
}

/// Ledgers and cursors of one topic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InternalStats {
    pub entries_added_counter: i64,
    pub number_of_entries: i64,
    pub total_size: i64,
    pub current_ledger_entries: i64,
    pub current_ledger_size: i64,
    pub last_ledger_created_timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_ledger_creation_failure_timestamp: Option<String>,
    pub waiting_cursors_count: i32,
    pub pending_add_entries_count: i32,
    pub last_confirmed_entry: String,
    pub state: String,
    pub ledgers: Vec<LedgerInfo>,
    pub cursors: BTreeMap<String, CursorStats>,
    pub properties: BTreeMap<String, String>,
    pub schema_ledgers: Vec<LedgerInfo>,
    pub compacted_ledger: LedgerInfo,
}

/// One ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LedgerInfo {
    pub ledger_id: i64,
    pub entries: i64,
    pub size: i64,
    pub offloaded: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    pub under_replicated: bool,
}

impl Default for LedgerInfo {
    /// No ledger, as Pulsar writes it.
    fn default() -> Self {
        Self { ledger_id: -1, entries: -1, size: -1, offloaded: false, metadata: None, under_replicated: false }
    }
}

/// One cursor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CursorStats {
    pub mark_delete_position: String,
    pub read_position: String,
    pub waiting_read_op: bool,
    pub pending_read_ops: i32,
    pub messages_consumed_counter: i64,
    pub cursor_ledger: i64,
    pub cursor_ledger_last_entry: i64,
    pub individually_deleted_messages: String,
    pub last_ledger_switch_timestamp: String,
    pub state: String,
    pub active: bool,
    pub number_of_entries_since_first_not_acked_message: i64,
    pub total_non_contiguous_deleted_messages_range: i32,
    pub subscription_have_pending_read: bool,
    pub subscription_have_pending_replay_read: bool,
    pub properties: BTreeMap<String, i64>,
}

/// A partitioned topic: sums over its partitions, and each of them where asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PartitionedTopicStats {
    #[serde(flatten)]
    pub sum: TopicStats,
    pub metadata: crate::PartitionedTopicMetadata,
    pub partitions: BTreeMap<String, TopicStats>,
    /// Where a producer is among those of the sum, by its name.
    #[serde(skip)]
    publisher_at: BTreeMap<Option<String>, usize>,
}

impl PartitionedTopicStats {
    /// Nothing summed up yet.
    #[must_use]
    pub fn new(partitions: u32) -> Self {
        let metadata = crate::PartitionedTopicMetadata { partitions, ..Default::default() };
        Self { metadata, ..Self::default() }
    }

    /// Adds one partition; its clients are those of the others again. Source: Pulsar's `TopicStatsImpl.add`.
    pub fn add(&mut self, name: String, one: TopicStats, keep: bool) {
        let sum = &mut self.sum;
        sum.msg_rate_in += one.msg_rate_in;
        sum.msg_throughput_in += one.msg_throughput_in;
        sum.msg_rate_out += one.msg_rate_out;
        sum.msg_throughput_out += one.msg_throughput_out;
        sum.bytes_in_counter += one.bytes_in_counter;
        sum.msg_in_counter += one.msg_in_counter;
        sum.bytes_out_counter += one.bytes_out_counter;
        sum.msg_out_counter += one.msg_out_counter;
        sum.storage_size += one.storage_size;
        sum.backlog_size += one.backlog_size;
        sum.average_msg_size = if sum.msg_rate_in > 0.0 { sum.msg_throughput_in / sum.msg_rate_in } else { 0.0 };
        sum.waiting_publishers += one.waiting_publishers;
        sum.publish_rate_limited_times += one.publish_rate_limited_times;
        sum.non_contiguous_deleted_messages_ranges += one.non_contiguous_deleted_messages_ranges;
        sum.topic_creation_time_stamp = match (sum.topic_creation_time_stamp, one.topic_creation_time_stamp) {
            (0, ms) | (ms, 0) => ms,
            (a, b) => a.min(b),
        };
        sum.last_publish_time_stamp = sum.last_publish_time_stamp.max(one.last_publish_time_stamp);
        for theirs in &one.publishers {
            // The producer of a partitioned topic has one name on all its partitions.
            match self.publisher_at.get(&theirs.producer_name).and_then(|&at| sum.publishers.get_mut(at)) {
                Some(ours) => ours.add(theirs),
                None => {
                    self.publisher_at.insert(theirs.producer_name.clone(), sum.publishers.len());
                    sum.publishers.push(theirs.clone());
                }
            }
        }
        for (name, theirs) in &one.subscriptions {
            sum.subscriptions.entry(name.clone()).or_default().add(theirs);
        }
        if keep {
            self.partitions.insert(name, one);
        }
    }
}

impl PublisherStats {
    /// Adds what the same producer does on another partition.
    fn add(&mut self, other: &Self) {
        self.msg_rate_in += other.msg_rate_in;
        self.msg_throughput_in += other.msg_throughput_in;
        self.chunked_message_rate += other.chunked_message_rate;
        self.average_msg_size = if self.msg_rate_in > 0.0 { self.msg_throughput_in / self.msg_rate_in } else { 0.0 };
    }
}

impl ConsumerStats {
    /// Adds what the same consumer does on another partition.
    fn add(&mut self, other: &Self) {
        self.msg_rate_out += other.msg_rate_out;
        self.msg_throughput_out += other.msg_throughput_out;
        self.bytes_out_counter += other.bytes_out_counter;
        self.msg_out_counter += other.msg_out_counter;
        self.msg_rate_redeliver += other.msg_rate_redeliver;
        self.message_ack_rate += other.message_ack_rate;
        self.chunked_message_rate += other.chunked_message_rate;
        self.available_permits = self.available_permits.saturating_add(other.available_permits);
        self.unacked_messages = self.unacked_messages.saturating_add(other.unacked_messages);
        self.blocked_consumer_on_unacked_msgs |= other.blocked_consumer_on_unacked_msgs;
        self.draining_hashes_cleared_total += other.draining_hashes_cleared_total;
    }
}

impl SubscriptionStats {
    fn add(&mut self, other: &Self) {
        self.msg_rate_out += other.msg_rate_out;
        self.msg_throughput_out += other.msg_throughput_out;
        self.bytes_out_counter += other.bytes_out_counter;
        self.msg_out_counter += other.msg_out_counter;
        self.msg_rate_redeliver += other.msg_rate_redeliver;
        self.message_ack_rate += other.message_ack_rate;
        self.msg_backlog += other.msg_backlog;
        self.msg_backlog_no_delayed += other.msg_backlog_no_delayed;
        self.backlog_size += other.backlog_size;
        self.msg_delayed += other.msg_delayed;
        self.unacked_messages += other.unacked_messages;
        self.msg_rate_expired += other.msg_rate_expired;
        self.total_msg_expired += other.total_msg_expired;
        self.r#type.clone_from(&other.r#type);
        self.is_durable = other.is_durable;
        self.durable = other.durable;
        self.subscription_properties.extend(other.subscription_properties.clone());
        // As many as before are the same again, in the same order, as Pulsar has it.
        if self.consumers.len() == other.consumers.len() {
            self.consumers.iter_mut().zip(&other.consumers).for_each(|(ours, theirs)| ours.add(theirs));
        } else {
            self.consumers.extend(other.consumers.iter().cloned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One partition, with a producer of each of these names and a consumer of `s`.
    fn partition(producers: &[&str], in_per_s: f64, out: i64) -> TopicStats {
        let publisher = |name: &&str| PublisherStats {
            producer_name: Some((*name).to_owned()),
            msg_rate_in: in_per_s,
            msg_throughput_in: in_per_s * 10.0,
            ..Default::default()
        };
        let consumer = ConsumerStats { consumer_name: "c".to_owned(), msg_out_counter: out, ..Default::default() };
        let subscription_properties = [("k".to_owned(), "v".to_owned())].into();
        let subscription =
            SubscriptionStats { consumers: vec![consumer], subscription_properties, ..Default::default() };
        TopicStats {
            publishers: producers.iter().map(publisher).collect(),
            subscriptions: [("s".to_owned(), subscription)].into(),
            ..Default::default()
        }
    }

    #[test]
    fn a_client_of_all_partitions_is_counted_once() {
        for keep in [true, false] {
            let mut all = PartitionedTopicStats::new(3);
            all.add("t-partition-0".to_owned(), partition(&["a"], 1.0, 3), keep);
            all.add("t-partition-1".to_owned(), partition(&["b", "a"], 2.0, 4), keep);
            all.add("t-partition-2".to_owned(), partition(&[], 0.0, 5), keep);
            let told: Vec<_> = all.sum.publishers.iter().map(|p| (p.producer_name.as_deref(), p.msg_rate_in)).collect();
            assert_eq!(told, [(Some("a"), 3.0), (Some("b"), 2.0)]);
            assert_eq!(all.sum.publishers[0].average_msg_size, 10.0);
            let consumers = &all.sum.subscriptions["s"].consumers;
            assert_eq!((consumers.len(), consumers[0].msg_out_counter), (1, 12));
            assert_eq!(all.sum.subscriptions["s"].subscription_properties.len(), 1);
            assert_eq!(all.partitions.len(), if keep { 3 } else { 0 });
        }
    }
}
