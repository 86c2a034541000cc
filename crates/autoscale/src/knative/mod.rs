//! Knative's KPA: concurrency per instance, with a panic window.

mod spec;

pub use spec::Spec;
