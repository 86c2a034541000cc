//! How many instances there should be: samples in, a number and its reason out.
//!
//! Nothing here does I/O or reads a clock: the time is in the samples, so that the same code decides for the embedded worker, for
//! Kubernetes, and in simulations that run a day in a second. All policies see the same samples at the same ticks.

mod decision;
mod sample;
mod spec;

pub use decision::{Decision, Reason};
pub use sample::{Inputs, Instance, Sample};
pub use spec::Spec;

/// Something that decides for the functions of one mesh (a function of its own is a mesh of one).
pub trait Policy: Send {
    /// One decision for each sample, in their order. Samples come at ticks of about [`Policy::period`], a function keeps its place
    /// between them; a new one is at the end. A policy that knows nothing of a function yet keeps what there is.
    fn decide(&mut self, samples: &[Sample]) -> Vec<Decision>;

    /// How often it wants to be asked.
    fn period(&self) -> std::time::Duration;
}
