//! The round that every loaded topic gets from time to time: what expired, what can be trimmed, whose quota is passed,
//! who is idle.

use super::Shard;

impl Shard {
    pub(super) fn maintain(&mut self) {
        let now = self.cx.now_ms;
        let unload_after = u64::try_from(self.cx.config.unload_idle_after.as_millis()).unwrap_or(u64::MAX);
        let mut idle = Vec::new();
        for (&id, topic) in &mut self.topics {
            topic.maintain(&mut self.cx);
            if topic.is_idle() && topic.idle_for_ms(now) >= unload_after && !topic.has_ephemeral() {
                idle.push(id);
            }
        }
        for id in idle {
            self.unload(id);
        }
    }

    /// Gives every loaded topic of a namespace its policies anew.
    pub(crate) fn policies_changed(&mut self, namespace: &model::NamespaceName) {
        for topic in self.topics.values_mut().filter(|t| t.name().namespace() == namespace) {
            topic.policies = self.cx.metadata.topic_policies(topic.name());
            topic.maintain(&mut self.cx);
        }
    }

    /// The same for one topic, or the partitions of one.
    pub(crate) fn topic_policies_changed(&mut self, whole: &model::TopicName) {
        for topic in self.topics.values_mut() {
            let name = topic.name();
            if name == whole || name.namespace() == whole.namespace() && name.partitioned() == *whole {
                topic.policies = self.cx.metadata.topic_policies(name);
                topic.maintain(&mut self.cx);
            }
        }
    }
}
