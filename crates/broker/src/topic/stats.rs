//! What a topic says about itself, in the shape of Pulsar's REST API.

use admin_api::stats::{ConsumerStats, CursorStats, InternalStats, LedgerInfo, PublisherStats, TopicStats};
use model::AccessMode;

use super::Topic;
use crate::{
    error::{Error, Result},
    shard::Context,
    subscription::rfc3339,
};

impl Topic {
    /// Counters and gauges.
    pub(crate) fn stats(&self, cx: &Context) -> TopicStats {
        let now = cx.now_ms;
        let (messages, bytes) = (self.msg_in.total(), self.bytes_in.total());
        let subscriptions: std::collections::BTreeMap<_, _> =
            self.subscriptions.values().map(|s| (s.name().to_owned(), s.stats(&self.ledger, cx))).collect();
        let publishers = self
            .producers
            .values()
            .map(|p| PublisherStats {
                access_mode: Some(access_mode(p.access_mode).to_owned()),
                msg_rate_in: p.msg_in.per_s(now),
                msg_throughput_in: p.bytes_in.per_s(now),
                average_msg_size: ratio(p.bytes_in.total(), p.msg_in.total()),
                producer_id: p.producer_id as i64,
                producer_name: Some(p.name.clone()),
                address: Some(p.peer.info.address.clone()),
                connected_since: Some(rfc3339(p.connected_since_ms)),
                client_version: Some(p.peer.info.client_version.clone()),
                metadata: p.metadata.clone(),
                ..PublisherStats::default()
            })
            .collect();
        TopicStats {
            msg_rate_in: self.msg_in.per_s(now),
            msg_throughput_in: self.bytes_in.per_s(now),
            msg_rate_out: subscriptions.values().map(|s| s.msg_rate_out).sum(),
            msg_throughput_out: subscriptions.values().map(|s| s.msg_throughput_out).sum(),
            bytes_in_counter: bytes as i64,
            msg_in_counter: messages as i64,
            bytes_out_counter: subscriptions.values().map(|s| s.bytes_out_counter).sum(),
            msg_out_counter: subscriptions.values().map(|s| s.msg_out_counter).sum(),
            average_msg_size: ratio(bytes, messages),
            publish_rate_limited_times: self.publish_limit.times() as i64,
            storage_size: self.ledger.storage_bytes() as i64,
            backlog_size: subscriptions.values().map(|s| s.backlog_size).max().unwrap_or(0),
            topic_creation_time_stamp: self.ledger.created_ms() as i64,
            last_publish_time_stamp: self.last_publish_ms as i64,
            topic_epoch: self.epoch.map(|e| e as i64),
            publishers,
            subscriptions,
            compaction: self.compaction.stats.clone(),
            deduplication_status: if self.policies.deduplication { "Enabled" } else { "Disabled" }.to_owned(),
            ..TopicStats::default()
        }
    }

    /// Ledgers and cursors.
    pub(crate) fn internal_stats(&self) -> InternalStats {
        let ledgers = self.ledger.ledgers();
        let last = ledgers.last();
        InternalStats {
            entries_added_counter: self.ledger.entries_added() as i64,
            number_of_entries: ledgers.iter().map(|l| l.entries as i64).sum(),
            total_size: self.ledger.storage_bytes() as i64,
            current_ledger_entries: last.map_or(0, |l| l.entries as i64),
            current_ledger_size: last.map_or(0, |l| l.bytes as i64),
            last_ledger_created_timestamp: last.map(|l| rfc3339(l.opened_ms)).unwrap_or_default(),
            last_confirmed_entry: self.ledger.last_confirmed().to_string(),
            state: "LedgerOpened".to_owned(),
            ledgers: ledgers
                .iter()
                .map(|l| LedgerInfo {
                    ledger_id: l.id.0 as i64,
                    entries: l.entries as i64,
                    size: l.bytes as i64,
                    ..LedgerInfo::default()
                })
                .collect(),
            cursors: self
                .subscriptions
                .values()
                .map(|s| {
                    let cursor = s.cursor();
                    let ranges: Vec<_> =
                        self.ledger.ranges(cursor).iter().map(|(a, b)| format!("({a}..{b}]")).collect();
                    let stats = CursorStats {
                        mark_delete_position: self.ledger.mark_delete(cursor).to_string(),
                        read_position: s.read_position().to_string(),
                        waiting_read_op: s.has_consumers() && s.read_position() > self.ledger.last_confirmed(),
                        individually_deleted_messages: format!("[{}]", ranges.join(",")),
                        number_of_entries_since_first_not_acked_message: self.ledger.backlog(cursor) as i64,
                        total_non_contiguous_deleted_messages_range: ranges.len() as i32,
                        state: "Open".to_owned(),
                        ..CursorStats::default()
                    };
                    (s.name().to_owned(), stats)
                })
                .collect(),
            waiting_cursors_count: self
                .subscriptions
                .values()
                .filter(|s| s.has_consumers() && s.read_position() > self.ledger.last_confirmed())
                .count() as i32,
            pending_add_entries_count: self.producers.values().map(|p| p.pending as i32).sum(),
            ..InternalStats::default()
        }
    }

    pub(crate) fn consumer_stats(&self, cx: &Context, consumer: u64) -> Result<ConsumerStats> {
        let id = self.subscription_of(consumer)?;
        let stats = self.subscriptions.get(&id).and_then(|s| s.consumer_stats(consumer, cx));
        stats.ok_or_else(|| Error::NotReady("the consumer is not connected".into()))
    }
}

fn ratio(sum: u64, n: u64) -> f64 {
    if n == 0 { 0.0 } else { sum as f64 / n as f64 }
}

const fn access_mode(mode: AccessMode) -> &'static str {
    match mode {
        AccessMode::Shared => "Shared",
        AccessMode::Exclusive => "Exclusive",
        AccessMode::WaitForExclusive => "WaitForExclusive",
        AccessMode::ExclusiveWithFencing => "ExclusiveWithFencing",
    }
}
