//! The protocol against what real peers said, and against prost for everything the schema allows.

mod golden;
mod schema;
mod schema_driven;
