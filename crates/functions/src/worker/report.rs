//! How functions do, in Pulsar's words and as numbers for metrics.

use model::function::{
    ExceptionInformation, FunctionInstanceStats, FunctionInstanceStatsData, FunctionInstanceStatus,
    FunctionInstanceStatusData, FunctionStats, FunctionStatus, MinuteStats, SinkInstanceStatus, SinkInstanceStatusData,
    SinkStatus, SourceInstanceStatus, SourceInstanceStatusData, SourceStatus,
};
use std::collections::VecDeque;

use super::{Function, Name, Worker, changes::no_instance};
use crate::{
    Kind, Result,
    instance::{Counts, Exception, Line, Status},
};

/// One instance of something, for metrics.
pub struct Observed {
    /// What it is.
    pub kind: Kind,
    /// Whose.
    pub name: Name,
    /// Its number.
    pub instance: u32,
    /// How it does.
    pub status: Status,
}

impl Observed {
    /// What it counted.
    #[must_use]
    pub fn stats(&self) -> FunctionInstanceStatsData {
        stats(&self.status)
    }
}

impl Function {
    /// How each instance there should be does.
    fn statuses(&self) -> Vec<Status> {
        (0..self.row.lock().instances()).map(|id| self.status(id)).collect()
    }

    fn status(&self, id: u32) -> Status {
        match &self.keeper {
            Ok(keeper) => keeper.status(id),
            Err(error) => {
                let mut status = Status::default();
                status.error = error.to_string();
                status
            }
        }
    }
}

impl Worker {
    /// How each instance does, all or one, with its number.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`]; [`crate::Error::Invalid`]: there is no such instance.
    pub fn statuses(&self, kind: Kind, name: &Name) -> Result<Vec<Status>> {
        Ok(self.function(kind, name)?.statuses())
    }

    /// How one instance does.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`]; [`crate::Error::Invalid`]: there is no such instance.
    pub fn status(&self, kind: Kind, name: &Name, instance: u32) -> Result<Status> {
        let function = self.function(kind, name)?;
        let is_there = instance < function.row.lock().instances();
        if is_there { Ok(function.status(instance)) } else { Err(no_instance(kind, name, instance)) }
    }

    /// Lines one instance logged, those numbered `from` and later; a thousand are kept, and they begin anew with the instance.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`]; [`crate::Error::Invalid`]: there is no such instance.
    pub fn lines(&self, kind: Kind, name: &Name, instance: u32, from: u64) -> Result<Vec<Line>> {
        let function = self.function(kind, name)?;
        let is_there = instance < function.row.lock().instances();
        match &function.keeper {
            _ if !is_there => Err(no_instance(kind, name, instance)),
            Ok(keeper) => Ok(keeper.lines(instance, from)),
            Err(_) => Ok(Vec::new()),
        }
    }

    /// Health of a function.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`].
    pub fn function_status(&self, name: &Name) -> Result<FunctionStatus> {
        let statuses = self.statuses(Kind::Function, name)?;
        let outbox = self.outbox_status(&*self.function(Kind::Function, name)?);
        let instances = (0..)
            .zip(statuses)
            .map(|(instance_id, status)| FunctionInstanceStatus { instance_id, status: self.of_function(status) });
        Ok(FunctionStatus { outbox, ..FunctionStatus::of(instances.collect(), self.promise(Kind::Function, name)?) })
    }

    /// Health of a source.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`].
    pub fn source_status(&self, name: &Name) -> Result<SourceStatus> {
        let statuses = self.statuses(Kind::Source, name)?;
        let instances = (0..).zip(statuses);
        let instances =
            instances.map(|(instance_id, s)| SourceInstanceStatus { instance_id, status: self.of_source(s) });
        Ok(SourceStatus::of(instances.collect(), self.promise(Kind::Source, name)?))
    }

    /// Health of a sink.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`].
    pub fn sink_status(&self, name: &Name) -> Result<SinkStatus> {
        let statuses = self.statuses(Kind::Sink, name)?;
        let instances = (0..).zip(statuses);
        let instances = instances.map(|(instance_id, s)| SinkInstanceStatus { instance_id, status: self.of_sink(s) });
        Ok(SinkStatus::of(instances.collect(), self.promise(Kind::Sink, name)?))
    }

    /// What an instance of a function reports.
    #[must_use]
    pub fn of_function(&self, status: Status) -> FunctionInstanceStatusData {
        FunctionInstanceStatusData {
            running: status.running,
            average_latency: status.latency.average_ms().unwrap_or_default(),
            error: Some(status.error),
            num_restarts: status.restarts,
            num_received: status.received,
            num_successfully_processed: status.processed,
            num_user_exceptions: status.user_exceptions,
            latest_user_exceptions: Some(exceptions(status.latest_user_exceptions)),
            num_system_exceptions: status.system_exceptions,
            latest_system_exceptions: Some(exceptions(status.latest_system_exceptions)),
            last_invocation_time: signed(status.last_invocation_ms),
            worker_id: self.worker_id(),
        }
    }

    /// What an instance of a source reports.
    #[must_use]
    pub fn of_source(&self, status: Status) -> SourceInstanceStatusData {
        SourceInstanceStatusData {
            running: status.running,
            error: Some(status.error),
            num_restarts: status.restarts,
            num_received_from_source: status.received,
            num_system_exceptions: status.system_exceptions,
            latest_system_exceptions: Some(exceptions(status.latest_system_exceptions)),
            num_source_exceptions: status.user_exceptions,
            latest_source_exceptions: Some(exceptions(status.latest_user_exceptions)),
            num_written: status.published,
            last_received_time: signed(status.last_invocation_ms),
            worker_id: self.worker_id(),
        }
    }

    /// What an instance of a sink reports.
    #[must_use]
    pub fn of_sink(&self, status: Status) -> SinkInstanceStatusData {
        SinkInstanceStatusData {
            running: status.running,
            error: Some(status.error),
            num_restarts: status.restarts,
            num_read_from_pulsar: status.received,
            num_system_exceptions: status.system_exceptions,
            latest_system_exceptions: Some(exceptions(status.latest_system_exceptions)),
            num_sink_exceptions: status.user_exceptions,
            latest_sink_exceptions: Some(exceptions(status.latest_user_exceptions)),
            num_written_to_sink: status.processed,
            last_received_time: signed(status.last_invocation_ms),
            worker_id: self.worker_id(),
        }
    }

    /// What a function counted.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`].
    pub fn stats(&self, name: &Name) -> Result<FunctionStats> {
        let statuses = self.statuses(Kind::Function, name)?;
        let instances =
            (0..).zip(statuses).map(|(instance_id, s)| FunctionInstanceStats { instance_id, metrics: stats(&s) });
        Ok(FunctionStats::of(instances.collect()))
    }

    /// What one instance of a function counted.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`]; [`crate::Error::Invalid`]: there is no such instance.
    pub fn instance_stats(&self, name: &Name, instance: u32) -> Result<FunctionInstanceStatsData> {
        self.status(Kind::Function, name, instance).map(|status| stats(&status))
    }

    /// Every instance there should be.
    #[must_use]
    pub fn observe(&self) -> Vec<Observed> {
        let functions: Vec<_> =
            self.shared.functions.read().iter().map(|(name, function)| (name.clone(), function.clone())).collect();
        let mut all = Vec::new();
        for (name, function) in functions {
            let kind = function.row.lock().config.kind();
            let statuses = (0..).zip(function.statuses());
            all.extend(statuses.map(|(instance, status)| Observed { kind, name: name.clone(), instance, status }));
        }
        all
    }

    fn worker_id(&self) -> Option<String> {
        Some(self.shared.settings.worker_id.clone())
    }
}

/// What one instance counted, as statistics have it.
fn stats(status: &Status) -> FunctionInstanceStatsData {
    FunctionInstanceStatsData {
        received_total: status.received,
        processed_successfully_total: status.processed,
        system_exceptions_total: status.system_exceptions,
        user_exceptions_total: status.user_exceptions,
        avg_process_latency: status.latency.average_ms(),
        one_min: minute(&status.last_minute),
        last_invocation: Some(signed(status.last_invocation_ms)).filter(|at| *at > 0),
        user_metrics: status.user_metrics.iter().map(|(name, metric)| (name.clone(), metric.last)).collect(),
    }
}

fn minute(counts: &Counts) -> MinuteStats {
    MinuteStats {
        received_total: counts.received,
        processed_successfully_total: counts.processed,
        system_exceptions_total: counts.system_exceptions,
        user_exceptions_total: counts.user_exceptions,
        avg_process_latency: counts.average_latency_ms(),
    }
}

fn exceptions(latest: VecDeque<Exception>) -> Vec<ExceptionInformation> {
    let one = |exception: Exception| ExceptionInformation {
        exception_string: Some(exception.message),
        timestamp_ms: signed(exception.at_ms),
    };
    latest.into_iter().map(one).collect()
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}
