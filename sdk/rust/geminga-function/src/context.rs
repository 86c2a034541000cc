//! What a function can ask for while it works on a message.

use serde::{Serialize, de::DeserializeOwned};
use std::ops::Deref;

use crate::{
    Error, Instance, Message, Record,
    function::geminga::function::{context, state},
};

/// The message or window at hand, and everything around it. What is asked for here happens together with the output, and not at all if
/// the function fails.
pub struct Context {
    instance: Instance,
    invocation: u64,
    messages: Vec<Message>,
}

/// Configuration, secrets and log.
impl Deref for Context {
    type Target = Instance;

    fn deref(&self) -> &Instance {
        &self.instance
    }
}

impl Context {
    pub(crate) fn new(invocation: u64, messages: Vec<Message>) -> Self {
        Self { instance: Instance(()), invocation, messages }
    }

    /// The message at hand without its payload, which the function was given; of a window the first.
    pub fn message(&self) -> &Message {
        &self.messages[0]
    }

    /// The messages of the window at hand, without payloads.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// A value of the state.
    ///
    /// # Errors
    /// It cannot be found out.
    pub fn get_state(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        state::get(key).map_err(Error::new)
    }

    /// Sets a value of the state.
    pub fn put_state(&self, key: &str, value: impl AsRef<[u8]>) {
        state::put(key, value.as_ref());
    }

    /// Removes a value of the state.
    pub fn delete_state(&self, key: &str) {
        state::delete(key);
    }

    /// A value of the state that was written by [`Context::put_json`].
    ///
    /// # Errors
    /// It cannot be found out; it is something else.
    pub fn get_json<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        match self.get_state(key)? {
            Some(value) => Ok(Some(serde_json::from_slice(&value)?)),
            None => Ok(None),
        }
    }

    /// Sets a value of the state.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn put_json<T: Serialize>(&self, key: &str, value: &T) -> Result<(), Error> {
        self.put_state(key, serde_json::to_vec(value)?);
        Ok(())
    }

    /// A counter, 0 when there is none.
    ///
    /// # Errors
    /// It cannot be found out.
    pub fn counter(&self, key: &str) -> Result<i64, Error> {
        state::get_counter(key).map_err(Error::new)
    }

    /// Adds to a counter.
    pub fn increment(&self, key: &str, amount: i64) {
        state::increment(key, amount);
    }

    /// Publishes to any topic.
    pub fn publish(&self, message: &Record) {
        context::publish(message);
    }

    /// Counts towards a metric of the function.
    pub fn record_metric(&self, name: &str, value: f64) {
        context::record_metric(name, value);
    }

    /// Acknowledges the message at hand, where the function does so itself (`MANUAL`).
    pub fn ack(&self) {
        context::ack(self.invocation);
    }

    /// Acknowledges an earlier message, by its [`Message::invocation`].
    pub fn ack_invocation(&self, invocation: u64) {
        context::ack(invocation);
    }
}
