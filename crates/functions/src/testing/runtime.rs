//! Runtimes without user code.

use async_trait::async_trait;

use crate::{
    FunctionSpec, Record, Runtime,
    runtime::{Effects, Event, Input, InstanceSpec, Link, LogLevel, LogLine, Outcome, Request, StartError, link},
};

/// Gives back every message as it came, and of a window the last; logs a line for each.
#[derive(Debug, Default)]
pub struct Echo;

#[async_trait]
impl Runtime for Echo {
    async fn prepare(&self, _function: &FunctionSpec) -> Result<(), StartError> {
        Ok(())
    }

    async fn start(&self, _instance: InstanceSpec) -> Result<Link, StartError> {
        let (link, mut end) = link();
        tokio::spawn(async move {
            while let Some(request) = end.requests.recv().await {
                let Request::Invoke(invocations) = request else { continue };
                let events = invocations.into_iter().flat_map(|invocation| {
                    let message = match invocation.input {
                        Input::Message(message) => Some(message),
                        Input::Window(messages) => messages.into_iter().last(),
                    };
                    let record =
                        message.map(|m| Record { payload: m.payload.clone(), key: m.key.clone(), ..Record::default() });
                    let result = Ok(record.into_iter().collect());
                    let outcome = Outcome { result, effects: Effects::default(), took: std::time::Duration::ZERO };
                    let line = LogLine { level: LogLevel::Info, message: format!("echo {}", invocation.id) };
                    [Event::Log(line), Event::Done { id: invocation.id, outcome }]
                });
                if end.events.send(events.collect()).await.is_err() {
                    return;
                }
            }
        });
        Ok(link)
    }
}

/// Finds fault with all code.
#[derive(Debug, Default)]
pub struct Refuses;

#[async_trait]
impl Runtime for Refuses {
    async fn prepare(&self, function: &FunctionSpec) -> Result<(), StartError> {
        Err(StartError(format!("there is no class {}", function.class_name)))
    }

    async fn start(&self, instance: InstanceSpec) -> Result<Link, StartError> {
        Err(StartError(format!("there is no class {}", instance.function.class_name)))
    }
}
