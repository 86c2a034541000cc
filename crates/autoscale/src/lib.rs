//! How many instances there should be: samples in, a number and its reason out.
//!
//! Nothing here does I/O or reads a clock: the time is in the samples, so that the same code decides for the embedded worker, for
//! Kubernetes, and in simulations that run a day in a second. All policies see the same samples at the same ticks.
//!
//! A [`Spec`] is what a person writes; [`Spec::policy`] is the policy for functions that all scale like this, and a [`Controller`]
//! joins functions that each scale their own way.

mod controller;
mod decision;
mod error;
pub mod hpa;
pub mod keda;
pub mod knative;
mod quantity;
pub mod rate;
mod sample;
mod spec;
pub mod vpa;

pub use controller::Controller;
pub use decision::{Decision, Reason};
pub use error::Error;
pub use quantity::Quantity;
pub use sample::{Inputs, Instance, Sample};
pub use spec::{PolicySpec, Problem, Spec};

/// Something that decides for the functions of one mesh (a function of its own is a mesh of one).
pub trait Policy: Send {
    /// One decision for each sample, in their order. A function keeps its place between looks; a new one is at the end. A policy that
    /// knows nothing of a function yet keeps what there is.
    ///
    /// It may be asked more often than its period: it takes in what it sees, and decides when its time has come.
    fn decide(&mut self, samples: &[Sample]) -> Vec<Decision>;

    /// How often it wants to be asked, at least.
    fn period(&self) -> std::time::Duration;
}
