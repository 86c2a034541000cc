//! Kubernetes' vertical pod autoscaler: what one instance should request.

mod spec;

pub use spec::{
    ContainerPolicy, ContainerScalingMode, ControlledValues, EvictionChangeRequirement, EvictionRequirement,
    Recommender, ResourcePolicy, Spec, UpdateMode, UpdatePolicy,
};
