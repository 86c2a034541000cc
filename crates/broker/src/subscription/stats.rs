//! What a subscription and its consumers say about themselves, in the shape of Pulsar's REST API.

use admin_api::stats::{ConsumerStats, SubscriptionStats};
use ledger::ManagedLedger;
use model::{Position, SubscriptionType};
use rustc_hash::FxHashMap;

use super::{Consumer, Subscription, key_shared::Holder};
use crate::shard::Context;

/// By consumer: hashes, and how many entries of each it holds.
type Draining = FxHashMap<u64, Vec<(u32, u32)>>;

impl Subscription {
    pub(crate) fn stats(&self, ledger: &ManagedLedger, cx: &Context) -> SubscriptionStats {
        let now = cx.now_ms;
        let backlog = ledger.backlog(self.cursor);
        let delayed = self.delayed.len() as u64;
        let draining = self.draining();
        SubscriptionStats {
            msg_rate_out: self.msg_out.per_s(now),
            msg_throughput_out: self.bytes_out.per_s(now),
            bytes_out_counter: self.bytes_out.total() as i64,
            msg_out_counter: self.msg_out.total() as i64,
            msg_rate_redeliver: self.redelivered.per_s(now),
            message_ack_rate: self.acked.per_s(now),
            msg_backlog: backlog as i64,
            msg_backlog_no_delayed: backlog.saturating_sub(delayed) as i64,
            backlog_size: ledger.backlog_bytes(self.cursor) as i64,
            msg_delayed: delayed as i64,
            unacked_messages: self.unacked,
            blocked_subscription_on_unacked_msgs: self.blocked,
            r#type: if self.used { self.kind.name() } else { "None" }.to_owned(),
            active_consumer_name: self
                .active
                .filter(|_| self.kind == SubscriptionType::Failover)
                .and_then(|key| self.consumer(key))
                .map(|c| c.name.clone()),
            msg_rate_expired: self.expired.per_s(now),
            total_msg_expired: self.expired.total() as i64,
            last_consumed_timestamp: self.consumers.iter().map(|c| c.last_consumed_ms).max().unwrap_or(0) as i64,
            last_consumed_flow_timestamp: self.consumers.iter().map(|c| c.last_flow_ms).max().unwrap_or(0) as i64,
            last_acked_timestamp: self.consumers.iter().map(|c| c.last_acked_ms).max().unwrap_or(0) as i64,
            consumers: self.consumers.iter().map(|c| self.one(c, &draining, cx)).collect(),
            is_durable: self.durable,
            msg_drop_rate: (!ledger.name().is_persistent()).then(|| self.dropped.per_s(now)),
            allow_out_of_order_delivery: self.allow_out_of_order,
            key_shared_mode: self.selector.as_ref().map(|selector| {
                match selector {
                    super::Selector::AutoSplit { .. } => "AUTO_SPLIT",
                    super::Selector::Sticky(_) => "STICKY",
                }
                .to_owned()
            }),
            subscription_properties: ledger.cursor_properties(self.cursor).clone(),
            non_contiguous_deleted_messages_ranges: ledger.range_count(self.cursor) as i32,
            draining_hashes_count: draining.values().map(|hashes| hashes.len() as i32).sum(),
            draining_hashes_unacked_messages: draining.values().flatten().map(|&(_, held)| held as i32).sum(),
            ..SubscriptionStats::default()
        }
    }

    pub(crate) fn consumer_stats(&self, key: u64, cx: &Context) -> Option<ConsumerStats> {
        self.consumer(key).map(|c| self.one(c, &self.draining(), cx))
    }

    fn one(&self, consumer: &Consumer, draining: &Draining, cx: &Context) -> ConsumerStats {
        let now = cx.now_ms;
        let draining = draining.get(&consumer.key).map_or(&[][..], Vec::as_slice);
        ConsumerStats {
            msg_rate_out: consumer.msg_out.per_s(now),
            msg_throughput_out: consumer.bytes_out.per_s(now),
            bytes_out_counter: consumer.bytes_out.total() as i64,
            msg_out_counter: consumer.msg_out.total() as i64,
            msg_rate_redeliver: consumer.redelivered.per_s(now),
            message_ack_rate: consumer.acked.per_s(now),
            consumer_name: consumer.name.clone(),
            available_permits: consumer.permits as i32,
            unacked_messages: consumer.unacked as i32,
            blocked_consumer_on_unacked_msgs: consumer.blocked,
            address: Some(consumer.peer.info.address.clone()),
            connected_since: Some(rfc3339(consumer.connected_since_ms)),
            client_version: Some(consumer.peer.info.client_version.clone()),
            last_acked_timestamp: consumer.last_acked_ms as i64,
            last_consumed_timestamp: consumer.last_consumed_ms as i64,
            last_consumed_flow_timestamp: consumer.last_flow_ms as i64,
            metadata: consumer.metadata.clone(),
            key_hash_ranges: self.selector.as_ref().map(|selector| {
                selector.ranges(consumer.key).iter().map(|r| format!("[{}, {}]", r.start(), r.end())).collect()
            }),
            draining_hashes_count: draining.len() as i32,
            draining_hashes_unacked_messages: draining.iter().map(|&(_, held)| held as i32).sum(),
            draining_hashes: self.selector.as_ref().map(|_| {
                let one = |&(hash, held): &(u32, u32)| serde_json::json!({ "hash": hash, "unackMsgs": held });
                draining.iter().map(one).collect()
            }),
            ..ConsumerStats::default()
        }
    }

    /// Hashes that a consumer holds messages of and that went to another.
    fn draining(&self) -> Draining {
        let mut draining = Draining::default();
        if let Some(selector) = &self.selector {
            for (&hash, &Holder { consumer: holder, entries: held, .. }) in &self.holders {
                if selector.select(hash) != Some(holder) {
                    draining.entry(holder).or_default().push((hash, held));
                }
            }
        }
        draining.values_mut().for_each(|hashes| hashes.sort_unstable());
        draining
    }

    /// Expired messages are passed over by the dispatcher, and counted.
    pub(crate) fn expired_up_to(&mut self, position: Position, entries: u64, now_ms: u64) {
        self.expired.add(entries, now_ms);
        self.forget_up_to(position);
        self.buffer.drop_to(position);
        // What waits there may be acknowledged now, and make room.
        self.replay.stirred = true;
        self.read_position = self.read_position.max(position);
        self.delayed.retain(|&(_, at)| at > position);
        self.chunks.remove_to(position);
    }
}

/// Wall clock milliseconds as RFC 3339 in UTC, the form Pulsar's `DateFormatter` writes.
#[must_use]
pub fn rfc3339(ms: u64) -> String {
    let (days, rest) = ((ms / 86_400_000) as i64, ms % 86_400_000);
    // Days to a civil date, by Howard Hinnant's algorithm over 400-year eras.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (h, m, s, milli) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60, rest % 1000);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{milli:03}Z")
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn dates_are_civil() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(rfc3339(1_795_415_696_789), "2026-11-23T06:34:56.789Z");
    }
}
