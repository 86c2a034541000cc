//! The round that every loaded topic gets from time to time: what expired, what can be trimmed, whose quota is passed,
//! who is idle.

use super::Shard;

/// A round is spread over this many steps: what it starts for thousands of topics should not come all at once.
const STEPS: usize = 30;

impl Shard {
    /// One step of a round. Returns how long after it the next one is due, as a part of the whole round: 1 / this.
    pub(super) fn maintain(&mut self) -> u32 {
        if self.round.is_empty() {
            self.round.extend(self.topics.keys());
            self.round_steps = self.round.len().clamp(1, STEPS);
            self.round_share = self.round.len().div_ceil(self.round_steps);
        }
        let now = self.cx.now_ms;
        let unload_after = u64::try_from(self.cx.config.unload_idle_after.as_millis()).unwrap_or(u64::MAX);
        let mut idle = Vec::new();
        for id in self.round.split_off(self.round.len().saturating_sub(self.round_share)) {
            let Some(topic) = self.topics.get_mut(&id) else { continue };
            topic.maintain(&mut self.cx);
            if topic.is_idle()
                && topic.idle_for_ms(now) >= unload_after
                && !topic.has_ephemeral()
                && !topic.has_alarm(&self.cx)
            {
                idle.push(id);
            }
        }
        for id in idle {
            self.unload(id);
        }
        self.resting.forget(now);
        self.round_steps as u32
    }

    /// Gives every loaded topic of a namespace its policies anew.
    pub(crate) fn policies_changed(&mut self, namespace: &model::NamespaceName) {
        for topic in self.topics.values_mut().filter(|t| t.name().namespace() == namespace) {
            let policies = self.cx.metadata.topic_policies(topic.name());
            topic.change_policies(&mut self.cx, policies);
        }
    }

    /// The same for one topic, or the partitions of one.
    pub(crate) fn topic_policies_changed(&mut self, whole: &model::TopicName) {
        for topic in self.topics.values_mut() {
            let name = topic.name();
            if name == whole || name.namespace() == whole.namespace() && name.partitioned() == *whole {
                let policies = self.cx.metadata.topic_policies(name);
                topic.change_policies(&mut self.cx, policies);
            }
        }
    }
}
