//! Go binaries built with the Pulsar Go function SDK, unmodified.
//!
//! Such a program has a consumer and a producer of its own and connects to the broker as any client does; it is handed no message, so it
//! gets the guarantees of its own instance and not those of our loop. It is told all it needs by `-instance-conf`, and asked how it does by
//! [`instance_control`], on a port that is given to it. Source of the contract: Pulsar's `RuntimeUtils.getGoInstanceCmd`,
//! `ProcessRuntime`, and `pulsar-function-go/pf`.

mod conf;
mod instance;
mod lines;
mod ports;
mod program;
mod watch;

use async_trait::async_trait;
use functions::{
    Code, FunctionSpec, Kind, Runtime,
    runtime::{InstanceSpec, Link, StartError},
};
use std::path::Path;

use crate::child::Children;
use ports::Ports;

/// Runs functions of [`functions::Language::Go`].
#[derive(Clone, Debug)]
pub struct Go {
    children: Children,
    ports: Ports,
}

impl Go {
    /// Instances are `children`.
    #[must_use]
    pub fn new(children: Children) -> Self {
        Self { children, ports: Ports::default() }
    }
}

#[async_trait]
impl Runtime for Go {
    async fn prepare(&self, function: &FunctionSpec) -> Result<(), StartError> {
        let binary = binary(function)?;
        if function.kind != Kind::Function {
            return Err(StartError("the Pulsar Go SDK has functions, but neither sources nor sinks".into()));
        }
        if function.window.is_some() {
            return Err(StartError("the Pulsar Go SDK has no window functions".into()));
        }
        program::check(binary).await
    }

    async fn start(&self, instance: InstanceSpec) -> Result<Link, StartError> {
        let binary = binary(&instance.function)?.to_owned();
        let unavailable = |error| StartError(format!("no free port for the instance: {error}"));
        let (control, metrics) = (self.ports.take().map_err(unavailable)?, self.ports.take().map_err(unavailable)?);
        instance::start(&self.children, binary, instance, control, metrics).await
    }

    fn is_self_driven(&self, _function: &FunctionSpec) -> bool {
        true
    }
}

fn binary(function: &FunctionSpec) -> Result<&Path, StartError> {
    match &function.code {
        Code::File(path) => Ok(path),
        Code::Builtin(_) | Code::Command(_) => Err(StartError("a Go function is an executable file".into())),
    }
}
