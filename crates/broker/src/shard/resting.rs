//! What is remembered of topics that are not loaded, for those who ask again and again what waits on them.

use model::TopicName;
use rustc_hash::FxHashMap;

use crate::{topic::Topic, waiting::Waiting};

/// How long what nobody asks for is kept.
const FORGOTTEN_AFTER_MS: u64 = 600_000;

/// See the module. It is so until a topic is loaded, or published to.
#[derive(Default)]
pub(crate) struct Resting(FxHashMap<TopicName, Rests>);

/// One topic.
struct Rests {
    asked_ms: u64,
    by_subscription: Vec<(String, Waiting)>,
}

impl Resting {
    /// A topic is being unloaded.
    pub(super) fn rests(&mut self, topic: &mut Topic, now_ms: u64) {
        let by_subscription = topic.watched_rest();
        if !by_subscription.is_empty() {
            self.0.insert(topic.name().clone(), Rests { asked_ms: now_ms, by_subscription });
        }
    }

    /// A topic is loaded, or has changed.
    pub(super) fn stirs(&mut self, topic: &TopicName) {
        self.0.remove(topic);
    }

    /// What waits there, if that is known.
    pub(crate) fn waiting(&mut self, topic: &TopicName, subscription: &str, now_ms: u64) -> Option<Waiting> {
        let rests = self.0.get_mut(topic)?;
        rests.asked_ms = now_ms;
        rests.by_subscription.iter().find(|(name, _)| name == subscription).map(|(_, waiting)| *waiting)
    }

    pub(super) fn forget(&mut self, now_ms: u64) {
        self.0.retain(|_, rests| now_ms.saturating_sub(rests.asked_ms) < FORGOTTEN_AFTER_MS);
    }
}
