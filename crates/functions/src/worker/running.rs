//! One instance as its keeper sees it: started, asked how it does, stopped. Behind a trait, so that the keeper can be tested with
//! instances that fail on purpose.

use async_trait::async_trait;
use seams::Tasks;
use std::time::Duration;

use crate::{
    instance::{Instance, Line, Meter, Parts, Status},
    runtime::InstanceSpec,
};

/// Starts instances.
#[async_trait]
pub(super) trait Starter: Send + Sync + 'static {
    /// Checks and prepares code; see [`crate::Runtime::prepare`].
    async fn prepare(&self, function: &crate::FunctionSpec) -> Result<(), String>;
    /// Passes over what came while nothing of the function ran; for `skipToLatest`.
    async fn skip(&self, function: &crate::FunctionSpec) -> Result<(), String>;
    fn start(&self, instance: InstanceSpec, tasks: &Tasks) -> Result<Box<dyn Running>, String>;
}

/// An instance; dropped, it stops.
#[async_trait]
pub(super) trait Running: Send + Sync {
    fn status(&self) -> Status;
    fn lines(&self, from: u64) -> Vec<Line>;
    fn meter(&self) -> Meter;
    /// See [`Instance::share`].
    fn share(&self, parallelism: u32);
    async fn stop(self: Box<Self>, patience: Duration);
}

#[async_trait]
impl Running for Instance {
    fn status(&self) -> Status {
        Instance::status(self)
    }

    fn lines(&self, from: u64) -> Vec<Line> {
        Instance::lines(self, from)
    }

    fn meter(&self) -> Meter {
        Instance::meter(self)
    }

    fn share(&self, parallelism: u32) {
        Instance::share(self, parallelism);
    }

    async fn stop(self: Box<Self>, patience: Duration) {
        Instance::stop(*self, patience).await;
    }
}

/// Real instances, of runtimes by language.
pub(super) struct Instances {
    pub(super) log: std::sync::Arc<dyn crate::EventLog>,
    pub(super) tables: std::sync::Arc<dyn crate::Tables>,
    pub(super) runtimes: super::Runtimes,
    pub(super) clock: std::sync::Arc<dyn seams::Clock>,
}

#[async_trait]
impl Starter for Instances {
    async fn prepare(&self, function: &crate::FunctionSpec) -> Result<(), String> {
        let runtime = self.runtimes.get(function.language).map_err(|error| error.to_string())?;
        runtime.prepare(function).await.map_err(|error| error.to_string())
    }

    async fn skip(&self, function: &crate::FunctionSpec) -> Result<(), String> {
        crate::instance::subscribe(&self.log, function.clone(), true).await.map_err(|error| error.to_string())
    }

    fn start(&self, instance: InstanceSpec, tasks: &Tasks) -> Result<Box<dyn Running>, String> {
        let runtime = self.runtimes.get(instance.function.language).map_err(|error| error.to_string())?;
        let parts = Parts { log: self.log.clone(), tables: self.tables.clone(), runtime, clock: self.clock.clone() };
        Ok(Box::new(Instance::start(parts, instance, tasks)))
    }
}
