//! What waits on a topic's subscriptions, and the bells on them.

use std::sync::Arc;

use super::Topic;
use crate::{
    error::Result,
    requests::NewConsumer,
    shard::Context,
    subscription::{Finds, Oldest},
    waiting::{Bell, Waiting},
};

impl Topic {
    /// What waits on a subscription, and the oldest of it as far as that is known. From now on it is watched, see
    /// [`Topic::watched_rest`].
    pub(crate) fn waiting(&mut self, name: &str) -> (Waiting, Oldest) {
        if !self.watched.iter().any(|known| known == name) {
            self.watched.push(name.to_owned());
        }
        let published = self.ledger.messages_and_bytes_added().0;
        match self.subscription(name) {
            Ok((subscription, ledger)) => (subscription.waiting(ledger), subscription.oldest(ledger)),
            Err(_) => (Waiting { published, ..Waiting::default() }, Oldest::None),
        }
    }

    /// What waits on the subscriptions that are watched, where all of it is known: it stays so while the topic is not loaded.
    pub(crate) fn watched_rest(&mut self) -> Vec<(String, Waiting)> {
        let watched = std::mem::take(&mut self.watched);
        let known = |name: String| match self.waiting(&name) {
            (waiting, Oldest::None) => Some((name, waiting)),
            (waiting, Oldest::At(ms)) => Some((name, Waiting { oldest_ms: Some(ms), ..waiting })),
            (_, Oldest::Read(..)) => None,
        };
        watched.into_iter().filter_map(known).collect()
    }

    /// Hangs a bell on a subscription, opening it where it is missing.
    pub(crate) fn hang(&mut self, cx: &mut Context, request: &NewConsumer, bell: &Arc<Bell>) -> Result<()> {
        self.find_or_open(cx, request)?;
        cx.bells.hang(self.name(), &request.subscription, request.kind, bell);
        self.touch(cx);
        self.set_ready(cx);
        Ok(())
    }

    /// Rings the bells of subscriptions that have something for a consumer and none, and of those that are gone. `true` when it has to be
    /// looked again.
    pub(super) fn ring(&mut self, cx: &mut Context) -> bool {
        let mut again = false;
        let mut bells = std::mem::take(&mut cx.bells);
        let name = self.name().clone();
        bells.ring(&name, |subscription, kind| {
            let Ok((subscription, ledger)) = self.subscription(subscription) else { return true };
            match subscription.find(ledger, cx, kind) {
                Finds::Nothing => false,
                Finds::Something => true,
                Finds::NotYet => {
                    again = true;
                    false
                }
            }
        });
        cx.bells = bells;
        again
    }

    /// Somebody sleeps until a message falls due that is known here, and only while the topic is loaded.
    pub(crate) fn has_alarm(&self, cx: &Context) -> bool {
        cx.bells.on(self.name()) && self.subscriptions.values().any(|s| s.has_alarm())
    }

    /// The time is not watched any more: who sleeps had better look.
    pub(super) fn ring_alarms(&mut self, cx: &mut Context) {
        if self.has_alarm(cx) {
            let name = self.name().clone();
            let subscriptions = (&self.subscriptions, &self.by_name);
            let (by_id, by_name) = subscriptions;
            let has_alarm = |name: &str| by_name.get(name).and_then(|id| by_id.get(id)).is_some_and(|s| s.has_alarm());
            cx.bells.ring(&name, |subscription, _| has_alarm(subscription));
        }
    }
}
