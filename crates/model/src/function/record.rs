//! `record!` and `choice!` declare the records and enums of configurations: once, with their names in JSON, their defaults
//! and their comments, for Rust, for JSON and for the reference.

use super::{
    problem::Problems,
    read::{Read, Reader},
};
use crate::InitialPosition;
use serde_json::Value;
use std::collections::BTreeMap;

/// What [`record!`] makes.
pub(crate) trait Record: Read {
    /// Takes every field that `newer` has and leaves the others.
    fn overlay(&mut self, newer: &Self);
}

/// What the reference says of a record or a choice; it is generated from the comments.
#[cfg(test)]
pub(crate) struct Description {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// Name in JSON, Rust type, meaning.
    pub(crate) fields: &'static [(&'static str, &'static str, &'static str)],
}

/// What has a place in the reference.
#[cfg(test)]
pub(crate) trait Described {
    const DESCRIPTION: Description;
}

/// Whether a field is left out when written: absent options are, as Pulsar's mapper leaves out nulls.
pub(crate) trait Absent {
    fn is_absent(&self) -> bool {
        false
    }
}

impl<T> Absent for Option<T> {
    fn is_absent(&self) -> bool {
        self.is_none()
    }
}
impl Absent for bool {}
impl<T> Absent for BTreeMap<String, T> {}

/// A record of named fields as JSON has them: absent options are not written, `null` is absent, every mistake is told.
///
/// `name: "jsonName" => Type = default` declares a field; further JSON names after `|` are read, never written.
macro_rules! record {
    ($(#[doc = $about:literal])* $visible:vis struct $record:ident {
        $($(#[doc = $doc:literal])* $field:ident: $json:literal $(| $alias:literal)* => $type:ty $(= $default:expr)?,)*
    }) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize)]
        $visible struct $record {
            $($(#[doc = $doc])*
            #[serde(rename = $json, skip_serializing_if = "crate::function::record::Absent::is_absent")]
            $visible $field: $type,)*
        }

        impl $crate::function::record::Record for $record {
            fn overlay(&mut self, newer: &Self) {
                $(if !$crate::function::record::Absent::is_absent(&newer.$field) {
                    self.$field = newer.$field.clone();
                })*
            }
        }

        impl Default for $record {
            fn default() -> Self {
                Self { $($field: $crate::function::record::record!(@default $($default)?),)* }
            }
        }

        impl $crate::function::read::Read for $record {
            fn read(value: &serde_json::Value, reader: &mut $crate::function::read::Reader) -> Option<Self> {
                let Some(object) = value.as_object() else {
                    reader.expected("an object", value);
                    return None;
                };
                let mut record = Self::default();
                for (name, value) in object {
                    match name.as_str() {
                        $($json $(| $alias)* => reader.field(name, value, &mut record.$field),)*
                        _ => reader.unknown(name, &[$($json),*]),
                    }
                }
                Some(record)
            }
        }

        impl<'de> serde::Deserialize<'de> for $record {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = serde_json::Value::deserialize(deserializer)?;
                $crate::function::record::lenient(&value).map_err(serde::de::Error::custom)
            }
        }

        impl $crate::function::record::Absent for $record {}

        #[cfg(test)]
        impl $crate::function::record::Described for $record {
            const DESCRIPTION: $crate::function::record::Description = $crate::function::record::Description {
                name: stringify!($record),
                about: concat!($($about, "\n",)*),
                fields: &[$(($json, stringify!($type), concat!($($doc, "\n",)*)),)*],
            };
        }
    };
    (@default) => { Default::default() };
    (@default $default:expr) => { $default };
}
pub(crate) use record;

/// One of a few names, written and read as those names.
macro_rules! choice {
    ($(#[doc = $about:literal])* pub enum $choice:ident {
        $($(#[doc = $doc:literal])* $variant:ident = $name:literal,)*
    }) => {
        $(#[doc = $about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $choice {
            $($(#[doc = $doc])* #[serde(rename = $name)] $variant,)*
        }

        impl $choice {
            /// Its name in JSON.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }

        $crate::function::record::choice!(@read $choice { $($variant = $name,)* });

        #[cfg(test)]
        impl $crate::function::record::Described for $choice {
            const DESCRIPTION: $crate::function::record::Description = $crate::function::record::Description {
                name: stringify!($choice),
                about: concat!($($about, "\n",)*),
                fields: &[$(($name, "", concat!($($doc, "\n",)*)),)*],
            };
        }
    };
    (@read $choice:ident { $($variant:ident = $name:literal,)* }) => {
        impl $crate::function::read::Read for $choice {
            fn read(value: &serde_json::Value, reader: &mut $crate::function::read::Reader) -> Option<Self> {
                match value.as_str() {
                    $(Some($name) => Some(Self::$variant),)*
                    Some(other) => { reader.no_choice(other, &[$($name),*]); None }
                    None => { reader.expected(concat!("one of", $(" ", $name),*), value); None }
                }
            }
        }
    };
}
pub(crate) use choice;

choice!(@read InitialPosition { Latest = "Latest", Earliest = "Earliest", });

/// Reads a record and skips names it does not know.
pub(crate) fn lenient<T: Read>(value: &Value) -> Result<T, Problems> {
    let mut reader = Reader::lenient();
    match T::read(value, &mut reader) {
        Some(record) => reader.problems.or(record),
        None => Err(reader.problems),
    }
}
