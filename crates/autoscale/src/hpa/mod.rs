//! Kubernetes' HorizontalPodAutoscaler, `autoscaling/v2`.

mod builtin;
mod check;
mod spec;

pub use spec::*;
