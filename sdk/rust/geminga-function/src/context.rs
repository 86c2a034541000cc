//! What a function can ask for while it works on a message.

use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Display;

pub use crate::function::geminga::function::context::Level;
use crate::{
    Error, Info, Message, Record,
    function::geminga::function::{context, state},
};

/// The message or window at hand, and everything around it. What is asked for here happens together with the output, and not at all if
/// the function fails.
pub struct Context {
    invocation: u64,
    messages: Vec<Message>,
}

impl Context {
    pub(crate) fn new(invocation: u64, messages: Vec<Message>) -> Self {
        Self { invocation, messages }
    }

    /// The message at hand without its payload, which the function was given; of a window the first.
    pub fn message(&self) -> &Message {
        &self.messages[0]
    }

    /// The messages of the window at hand, without payloads.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Which function this is an instance of.
    pub fn about(&self) -> Info {
        context::about()
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

    /// Writes to the log.
    pub fn log(&self, level: Level, text: impl Display) {
        context::log(level, &text.to_string());
    }

    /// Writes to the log.
    pub fn info(&self, text: impl Display) {
        self.log(Level::Info, text);
    }

    /// Writes to the log.
    pub fn warn(&self, text: impl Display) {
        self.log(Level::Warn, text);
    }

    /// Writes to the log.
    pub fn error(&self, text: impl Display) {
        self.log(Level::Error, text);
    }

    /// Counts towards a metric of the function.
    pub fn record_metric(&self, name: &str, value: f64) {
        context::record_metric(name, value);
    }

    /// A value of the function's `userConfig`.
    ///
    /// # Errors
    /// It is of another type.
    pub fn user_config<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error> {
        match context::user_config(name) {
            Some(value) => serde_json::from_str(&value)
                .map(Some)
                .map_err(|error| Error::new(format_args!("userConfig {name:?}: {error}"))),
            None => Ok(None),
        }
    }

    /// A secret of the function.
    pub fn secret(&self, name: &str) -> Option<String> {
        context::secret(name)
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
