//! The protocol against what real peers said, and against prost for everything the schema allows.

#![allow(clippy::unwrap_used, reason = "helpers outside of #[test] are tests too")]

mod golden;
mod schema;
mod schema_driven;
