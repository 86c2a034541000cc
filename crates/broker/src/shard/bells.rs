//! Bells on subscriptions without consumers. They hang by name, so that it does not matter whether the topic is loaded.

use model::{SubscriptionType, TopicName};
use rustc_hash::FxHashMap;
use std::sync::{Arc, Weak};

use crate::waiting::Bell;

/// See the module.
#[derive(Default)]
pub(crate) struct Bells(FxHashMap<TopicName, Vec<Hung>>);

struct Hung {
    subscription: String,
    kind: SubscriptionType,
    bell: Weak<Bell>,
}

impl Bells {
    /// `kind` is that of the consumers to come.
    pub(crate) fn hang(&mut self, topic: &TopicName, subscription: &str, kind: SubscriptionType, bell: &Arc<Bell>) {
        let hung = self.0.entry(topic.clone()).or_default();
        // Those that nobody listens to any more go with the next that comes.
        hung.retain(|one| one.bell.strong_count() > 0);
        hung.push(Hung { subscription: subscription.to_owned(), kind, bell: Arc::downgrade(bell) });
    }

    /// Whether some hang on this topic. Where there is none at all this costs nothing.
    pub(crate) fn on(&self, topic: &TopicName) -> bool {
        !self.0.is_empty() && self.0.contains_key(topic)
    }

    /// Rings those of the topic for which `waits` says that something does, by name of the subscription and type of its consumers to come.
    pub(crate) fn ring(&mut self, topic: &TopicName, mut waits: impl FnMut(&str, SubscriptionType) -> bool) {
        let Some(hung) = self.0.get_mut(topic) else { return };
        hung.retain(|one| match one.bell.upgrade() {
            Some(bell) if waits(&one.subscription, one.kind) => {
                bell.ring();
                false
            }
            Some(_) => true,
            None => false,
        });
        if hung.is_empty() {
            self.0.remove(topic);
        }
    }
}
