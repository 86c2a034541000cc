//! From payloads to values and back.

use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Display;

use crate::{Message, Record, messages};

/// What went wrong; made from any error by `?`, or of a text by [`Error::new`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(String);

impl Error {
    /// An error that says this.
    pub fn new(text: impl Display) -> Self {
        Self(text.to_string())
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Self(text)
    }
}

/// A value as JSON text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Json<T>(pub T);

/// What a function can take.
#[diagnostic::on_unimplemented(
    message = "a function cannot take `{Self}`",
    note = "it takes `Vec<u8>`, `String`, numbers, `bool`, `Message`, and `Json<T>` for whatever `serde` can read"
)]
pub trait Input: Sized {
    /// Takes the payload out of a message.
    ///
    /// # Errors
    /// It is something else; fails the message.
    fn decode(message: &mut Message) -> Result<Self, String>;
}

/// What a function can return.
#[diagnostic::on_unimplemented(
    message = "a function cannot return `{Self}`",
    note = "it returns `()`, `Vec<u8>`, `String`, numbers, `bool`, `Record`s, `Json<T>` for whatever `serde` can write, and an \
            `Option` or a `Result` of these"
)]
pub trait Output {
    /// The payload for the output topic, if there is one.
    ///
    /// # Errors
    /// Fails the message.
    fn encode(self) -> Result<Option<Vec<u8>>, String>;
}

impl Input for Vec<u8> {
    fn decode(message: &mut Message) -> Result<Self, String> {
        Ok(std::mem::take(&mut message.payload))
    }
}

impl Output for Vec<u8> {
    fn encode(self) -> Result<Option<Vec<u8>>, String> {
        Ok(Some(self))
    }
}

impl Input for String {
    fn decode(message: &mut Message) -> Result<Self, String> {
        Self::from_utf8(std::mem::take(&mut message.payload))
            .map_err(|error| format!("the payload is no text: {error}"))
    }
}

impl Output for String {
    fn encode(self) -> Result<Option<Vec<u8>>, String> {
        Ok(Some(self.into_bytes()))
    }
}

impl Output for &str {
    fn encode(self) -> Result<Option<Vec<u8>>, String> {
        Ok(Some(self.as_bytes().to_vec()))
    }
}

/// The whole message, payload included.
impl Input for Message {
    fn decode(message: &mut Message) -> Result<Self, String> {
        let payload = std::mem::take(&mut message.payload);
        Ok(Self { payload, ..message.clone() })
    }
}

impl<T: DeserializeOwned> Input for Json<T> {
    fn decode(message: &mut Message) -> Result<Self, String> {
        let value = serde_json::from_slice(&message.payload);
        value.map(Self).map_err(|error| format!("the payload is not the JSON that was expected: {error}"))
    }
}

impl<T: Serialize> Output for Json<T> {
    fn encode(self) -> Result<Option<Vec<u8>>, String> {
        serde_json::to_vec(&self.0).map(Some).map_err(|error| error.to_string())
    }
}

/// Numbers as Pulsar's schemas have them: big-endian, `INT8` to `INT64`, `FLOAT`, `DOUBLE`.
macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Input for $number {
            fn decode(message: &mut Message) -> Result<Self, String> {
                let bytes = message.payload.as_slice().try_into();
                let len = message.payload.len();
                bytes.map(Self::from_be_bytes).map_err(|_| {
                    format!("{} has {} bytes, the payload has {len}", stringify!($number), size_of::<Self>())
                })
            }
        }

        impl Output for $number {
            fn encode(self) -> Result<Option<Vec<u8>>, String> {
                Ok(Some(self.to_be_bytes().to_vec()))
            }
        }
    )*};
}
numbers!(i8, i16, i32, i64, u8, u16, u32, u64, f32, f64);

/// `BOOLEAN`: one byte.
impl Input for bool {
    fn decode(message: &mut Message) -> Result<Self, String> {
        match message.payload.as_slice() {
            [0] => Ok(false),
            [_] => Ok(true),
            other => Err(format!("bool has 1 byte, the payload has {}", other.len())),
        }
    }
}

impl Output for bool {
    fn encode(self) -> Result<Option<Vec<u8>>, String> {
        Ok(Some(vec![u8::from(self)]))
    }
}

impl Output for () {
    fn encode(self) -> Result<Option<Vec<u8>>, String> {
        Ok(None)
    }
}

impl Output for Record {
    fn encode(self) -> Result<Option<Vec<u8>>, String> {
        messages::output(&self);
        Ok(None)
    }
}

impl Output for Vec<Record> {
    fn encode(self) -> Result<Option<Vec<u8>>, String> {
        self.iter().for_each(messages::output);
        Ok(None)
    }
}

impl<T: Output> Output for Option<T> {
    fn encode(self) -> Result<Option<Vec<u8>>, String> {
        self.map_or(Ok(None), T::encode)
    }
}

impl<T: Output, E: Display> Output for Result<T, E> {
    fn encode(self) -> Result<Option<Vec<u8>>, String> {
        self.map_err(|error| error.to_string()).and_then(T::encode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MessageId;

    fn decode<T: Input>(payload: &[u8]) -> Result<T, String> {
        T::decode(&mut Message {
            payload: payload.to_vec(),
            topic: "t".to_owned(),
            id: MessageId { ledger: 1, entry: 2, partition: -1, batch_index: -1 },
            key: None,
            key_is_base64: false,
            properties: Vec::new(),
            event_time_ms: 0,
            publish_time_ms: 0,
            sequence_id: 0,
            redelivery_count: 0,
            invocation: 0,
        })
    }

    #[test]
    fn numbers_are_as_the_schemas_of_pulsar_write_them() {
        assert_eq!(258_i32.encode(), Ok(Some(vec![0, 0, 1, 2])));
        assert_eq!(decode::<i64>(&[0xff; 8]), Ok(-1));
        assert_eq!(decode::<f64>(&1.5_f64.to_be_bytes()), Ok(1.5));
        assert_eq!(decode::<i16>(&[1]), Err("i16 has 2 bytes, the payload has 1".to_owned()));
        assert_eq!(decode::<bool>(&[1]), Ok(true));
        assert!(decode::<bool>(&[]).is_err());
    }

    #[test]
    fn json_says_what_it_expected() {
        assert_eq!(decode::<Json<Vec<u8>>>(b"[1, 2]"), Ok(Json(vec![1, 2])));
        assert!(
            decode::<Json<Vec<u8>>>(b"{}").is_err_and(|error| error.contains("JSON") && error.contains("sequence"))
        );
        assert_eq!(Json("a").encode(), Ok(Some(b"\"a\"".to_vec())));
    }

    #[test]
    fn nothing_is_no_output_and_an_error_is_its_text() {
        assert_eq!(().encode(), Ok(None));
        assert_eq!(None::<String>.encode(), Ok(None));
        assert_eq!(Some("a").encode(), Ok(Some(b"a".to_vec())));
        assert_eq!(Err::<String, _>(Error::new("no")).encode(), Err("no".to_owned()));
    }

    #[test]
    fn an_error_has_its_causes() {
        fn fails() -> Result<i32, Error> {
            Ok("x".parse::<i32>()?)
        }
        assert_eq!(fails(), Err(Error::new("invalid digit found in string")));
    }
}
