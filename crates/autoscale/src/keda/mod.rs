//! KEDA: backlog per instance.

mod spec;

pub use spec::Spec;
