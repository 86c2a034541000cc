//! Making messages.

use crate::Record;

impl Record {
    /// A message for the output topic.
    pub fn new(payload: impl Into<Vec<u8>>) -> Self {
        Self {
            payload: payload.into(),
            topic: None,
            key: None,
            key_is_base64: false,
            properties: Vec::new(),
            event_time_ms: 0,
            deliver_at_ms: 0,
            sequence_id: None,
        }
    }

    /// Goes to this topic.
    #[must_use]
    pub fn to(mut self, topic: impl Into<String>) -> Self {
        self.topic = Some(topic.into());
        self
    }

    /// Has this partition key.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Has this property, too.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.push((name.into(), value.into()));
        self
    }

    /// Happened then, milliseconds since 1970.
    #[must_use]
    pub fn event_time_ms(mut self, at: u64) -> Self {
        self.event_time_ms = at;
        self
    }

    /// Is not delivered before, milliseconds since 1970.
    #[must_use]
    pub fn deliver_at_ms(mut self, at: u64) -> Self {
        self.deliver_at_ms = at;
        self
    }
}
