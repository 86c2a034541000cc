//! Expiry, trimming and backlog quotas of one topic.
//!
//! Source: Pulsar's `PersistentTopic.checkMessageExpiry`, `BacklogQuotaManager`.

use model::{BacklogQuota, Position, RetentionPolicy};
use std::sync::Arc;

use super::{Topic, seek};
use crate::{
    metadata::TopicPolicies,
    shard::{Context, Event},
};

impl Topic {
    /// One round of what time does to a topic.
    pub(crate) fn maintain(&mut self, cx: &mut Context) {
        if let Some(ttl) = self.policies.ttl {
            let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
            self.expire_before(cx, cx.now_ms.saturating_sub(ttl_ms));
        }
        self.check_quota(cx);
        self.purge_inactive(cx);
        self.purge_any_schema();
        let abandoned_after = u64::try_from(cx.config.unload_idle_after.as_millis()).unwrap_or(u64::MAX);
        let abandoned = self.subscriptions.iter().filter(|(_, s)| s.is_abandoned(cx.now_ms, abandoned_after));
        for id in abandoned.map(|(&id, _)| id).collect::<Vec<_>>() {
            self.drop_subscription(cx, id);
        }
        if self.terminated {
            // Who came back may be told the end now.
            self.set_ready(cx);
        }
        self.compact_by_policy(cx);
        self.trim(cx);
    }

    /// Lets go of what nobody needs and retention does not keep.
    pub(crate) fn trim(&mut self, cx: &mut Context) {
        let retention = self.policies.retention;
        self.ledger.trim(&mut cx.batch, retention);
    }

    /// Takes other policies; they count at once.
    pub(crate) fn change_policies(&mut self, cx: &mut Context, policies: Arc<TopicPolicies>) {
        self.policies = policies;
        self.publish_limit.set(self.policies.publish_rate);
        self.outputs_admit();
        for subscription in self.subscriptions.values_mut() {
            subscription.set_delays(self.policies.delayed_delivery);
        }
        self.maintain(cx);
        // A bound that was raised may hold nobody any more.
        self.set_ready(cx);
    }

    pub(crate) fn has_ephemeral(&self) -> bool {
        self.subscriptions.values().any(|s| !s.durable())
    }

    /// Acknowledges for all durable subscriptions what was published before `ms`. Takes effect when the position is
    /// found, which may need a read.
    fn expire_before(&mut self, cx: &mut Context, ms: u64) {
        let backlog = |s: &crate::subscription::Subscription| self.ledger.backlog(s.cursor()) > 0;
        let wanted: Vec<u64> =
            self.subscriptions.iter().filter(|(_, s)| s.may_lose() && backlog(s)).map(|(&id, _)| id).collect();
        if wanted.is_empty() {
            return;
        }
        let locate = self.ledger.locate_time(ms);
        let (handle, topic) = (cx.handle.clone(), self.id);
        tokio::spawn(async move {
            match locate.run().await {
                Ok(next) => handle.send(Event::Call(Box::new(move |shard| {
                    if let Ok((topic, cx)) = shard.at(topic) {
                        for id in wanted {
                            topic.expire_up_to(cx, id, seek::before(next));
                        }
                    }
                }))),
                Err(error) => tracing::warn!(%error, "expiry could not find its position"),
            }
        });
    }

    /// Acknowledges everything up to `position` for one subscription.
    pub(crate) fn expire_up_to(&mut self, cx: &mut Context, subscription: u64, position: Position) {
        let Some(subscription) = self.subscriptions.get_mut(&subscription) else { return };
        let position = position.min(self.ledger.last_confirmed());
        let before = self.ledger.backlog(subscription.cursor());
        if position > self.ledger.mark_delete(subscription.cursor()) {
            self.ledger.ack_cumulative(subscription.cursor(), position);
            let expired = before.saturating_sub(self.ledger.backlog(subscription.cursor()));
            subscription.expired_up_to(position, expired, cx.now_ms);
            cx.acks_dirty(self.id, false);
            self.set_ready(cx);
        }
    }

    fn check_quota(&mut self, cx: &mut Context) {
        let over_size = self.policies.size_quota.filter(|quota| {
            let slowest = self.slowest().map_or(0, |(_, bytes)| bytes);
            slowest > u64::try_from(quota.limit_size).unwrap_or(u64::MAX)
        });
        if let Some(quota) = over_size
            && quota.policy == RetentionPolicy::ConsumerBacklogEviction
        {
            self.evict(cx, u64::try_from(quota.limit_size).unwrap_or(u64::MAX));
        }
        let holds = |quota: BacklogQuota| quota.policy != RetentionPolicy::ConsumerBacklogEviction;
        self.too_large = over_size.is_some_and(holds);
        self.too_old &= self.policies.time_quota.is_some_and(holds);
        self.apply_quota(cx);
        if let Some(quota) = self.policies.time_quota {
            self.check_age(cx, quota);
        }
    }

    /// Finds out whether something older than the quota is unacknowledged; that may take a read.
    fn check_age(&mut self, cx: &mut Context, quota: BacklogQuota) {
        let limit_ms = u64::try_from(quota.limit_time).unwrap_or(u64::MAX).saturating_mul(1000);
        let before = cx.now_ms.saturating_sub(limit_ms);
        if quota.policy == RetentionPolicy::ConsumerBacklogEviction {
            self.expire_before(cx, before);
            return;
        }
        let locate = self.ledger.locate_time(before);
        let (handle, topic) = (cx.handle.clone(), self.id);
        tokio::spawn(async move {
            match locate.run().await {
                Ok(young) => handle.send(Event::Call(Box::new(move |shard| {
                    if let Ok((topic, cx)) = shard.at(topic) {
                        topic.too_old = topic.subscriptions.values().filter(|s| s.may_lose()).any(|s| {
                            let next = topic.ledger.next_position(topic.ledger.mark_delete(s.cursor()));
                            next < young && topic.ledger.backlog(s.cursor()) > 0
                        });
                        topic.apply_quota(cx);
                    }
                }))),
                Err(error) => tracing::warn!(%error, "the age of a backlog could not be found"),
            }
        });
    }

    /// Either part of the quota holds producers.
    fn apply_quota(&mut self, cx: &mut Context) {
        let exceeded = self.too_large || self.too_old;
        if exceeded && !self.quota_exceeded {
            tracing::warn!(topic = %self.name(), "backlog quota exceeded: producers are disconnected and refused");
            let exception = self.policies.quota_is_exception();
            self.disconnect_producers(cx, &crate::Error::ProducerBlockedQuota { exception });
        }
        self.quota_exceeded = exceeded;
    }

    /// The durable subscription with the largest backlog, and its bytes.
    fn slowest(&self) -> Option<(u64, u64)> {
        self.subscriptions
            .iter()
            .filter(|(_, s)| s.may_lose())
            .map(|(&id, s)| (id, self.ledger.backlog_bytes(s.cursor())))
            .max_by_key(|&(_, bytes)| bytes)
    }

    /// Drops the oldest entries of subscriptions whose backlog is above the quota, down to 90 % of it.
    fn evict(&mut self, cx: &mut Context, limit: u64) {
        let ids: Vec<_> = self.subscriptions.iter().filter(|(_, s)| s.may_lose()).map(|(&id, _)| id).collect();
        for id in ids {
            let Some(subscription) = self.subscriptions.get(&id) else { continue };
            let cursor = subscription.cursor();
            let (bytes, entries) = (self.ledger.backlog_bytes(cursor), self.ledger.backlog(cursor));
            if bytes <= limit {
                continue;
            }
            // Entries are taken to be of average size, as Pulsar does.
            let target = limit as f64 * 0.9;
            let drop = (entries as f64 * (1.0 - target / bytes as f64)).ceil() as u64;
            let position = self.ledger.skip_unacked(cursor, drop);
            self.expire_up_to(cx, id, position);
        }
    }
}
