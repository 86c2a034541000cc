//! One function instance as a process of its own, for whoever starts Pulsar's instances: the contract of `pulsar_rust_instance`.
//!
//! ```text
//! pulsar_rust_instance --function_file F --language L --function_details '{...}' --pulsar_serviceurl URL --port P --metrics_port M ...
//!        |                                                                                            |             |
//!      Args -> FunctionSpec -> functions::Instance, against a broker somewhere else        InstanceControl      metrics
//! ```
//!
//! [`Args`] reads the command line, [`Args::function`] what it says of the function; the binary joins a broker and a runtime to that, and
//! [`Main`] runs the instance until it is told to end, or, where that was asked for, nobody asks for its health any more.
//!
//! Source: Function Mesh's generic runtime (`getProcessGenericRuntimeArgs`), Pulsar's `RuntimeUtils.getCmd` and `JavaInstanceStarter`.

mod args;
mod control;
mod error;
mod function;
mod metrics;
mod run;
mod secrets;

pub use args::{Args, Script};
pub use error::{Error, Result};
pub use run::{Main, serve_metrics};
pub use secrets::secrets;
