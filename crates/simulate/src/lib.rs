//! Policies of scaling compared: the same messages, the same start-up delays, the same ticks, in virtual time.
//!
//! A [`Trace`] says what comes and through which functions it goes, a [`Setting`] what is the same for all policies. [`run`] lets one
//! policy scale one seed of a trace, event by event: a message waits on an input, an instance that takes work begins it, is done with
//! it after its service time and writes what the next function reads; policies look at their ticks, instances start and drain. Nothing
//! here does I/O, reads a clock or has randomness of its own.
//!
//! [`compare`] does that for every [`Contender`] and several seeds, beside an oracle that knows the future.

mod agenda;
mod chance;
mod compare;
mod contender;
mod drawn;
mod engine;
mod error;
mod function;
mod oracle;
mod outcome;
mod plot;
mod queue;
mod rates;
mod setting;
mod svg;
mod trace;
mod workload;

pub use compare::{Comparison, Row, SEEDS_MAX, Standing, compare};
pub use contender::{Contender, POLICIES};
pub use drawn::{DRAWN, Drawn};
pub use engine::{Rules, run};
pub use error::Error;
pub use outcome::{FunctionSeries, Outcome, Series};
pub use rates::Rates;
pub use setting::{Setting, Ticks};
pub use trace::{Dispatch, Shape, Stage, TRACES, Trace};
pub use workload::Workload;

#[cfg(test)]
mod tests;
