//! What any instance can ask for, at any time.

use serde::de::DeserializeOwned;
use std::fmt::Display;

pub use crate::function::geminga::function::context::Level;
use crate::{Error, Info, function::geminga::function::context};

/// This instance: what it is part of, what it was configured with, and its log.
#[derive(Debug, Clone, Copy)]
pub struct Instance(pub(crate) ());

impl Instance {
    /// Which function, source or sink this is an instance of.
    pub fn about(&self) -> Info {
        context::about()
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

    /// A value of the function's `userConfig`, or of the source's or sink's `configs`.
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

    /// A secret.
    pub fn secret(&self, name: &str) -> Option<String> {
        context::secret(name)
    }
}
