//! One run of code with a consumer and a producer of its own: nothing is handed to it, and what it reports is shown.

use std::sync::{Arc, atomic::Ordering::SeqCst};

use super::{Shared, run::End};
use crate::runtime::{Event, Exit, Link};

/// Shows what the code says until it ends. When the instance is to stop, the code is asked to end.
pub(super) async fn watch(clock: &dyn seams::Clock, shared: &Arc<Shared>, link: Link) -> End {
    let Link { requests, mut events, .. } = link;
    let mut requests = Some(requests);
    loop {
        let batch = tokio::select! {
            batch = events.recv() => batch,
            () = shared.stop.notified(), if requests.is_some() => {
                requests = None;
                continue;
            }
        };
        let exit = match batch {
            Some(batch) => batch.into_iter().find_map(|event| show(event, clock, shared)),
            None => Some(Exit { is_clean: false, reason: "user code has ended without a word".into() }),
        };
        match exit {
            Some(_) if shared.is_stopping.load(SeqCst) => return End::Stopped,
            Some(exit) => return End::Exited(exit),
            None => {}
        }
    }
}

/// Shows one event, unless it is the last one.
fn show(event: Event, clock: &dyn seams::Clock, shared: &Shared) -> Option<Exit> {
    match event {
        Event::Exited(exit) => return Some(exit),
        Event::Reported(report) => {
            shared.meter.reported(clock.monotonic(), report.processed + report.user_exceptions, report.took.0);
            shared.status.lock().reported(report, clock.now_ms());
        }
        Event::Log(line) => shared.lines.lock().push(&line, clock.now_ms()),
        // Nothing was asked of it, and it may ask for nothing.
        Event::Done { .. } | Event::Call { .. } | Event::Emit { .. } | Event::Changes(_) => {}
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Error, EventLog, FunctionSpec, Result, Runtime, Session, Tables,
        event_log::{Row, TableChange},
        instance::{Exception, Instance, Parts},
        runtime::{InstanceSpec, LinkEnd, LogLevel, LogLine, Report, StartError, link},
        spec::{Code, Kind, Language},
    };
    use async_trait::async_trait;
    use bytes::Bytes;
    use model::TopicName;
    use std::time::Duration;
    use tokio::sync::mpsc;

    /// A broker nobody may use.
    struct Nothing;

    #[async_trait]
    impl EventLog for Nothing {
        async fn session(&self, _: &str) -> Result<Box<dyn Session>> {
            Err(Error::Closed("self-driven code opens nothing".into()))
        }
        async fn partitions(&self, _: &TopicName) -> Result<u32> {
            Err(Error::Closed("self-driven code looks up nothing".into()))
        }
        async fn matching(&self, _: &str, _: &str) -> Result<Vec<TopicName>> {
            Err(Error::Closed("self-driven code looks up nothing".into()))
        }
        async fn unsubscribe(&self, _: &TopicName, _: &str) -> Result<()> {
            Ok(())
        }
    }

    #[async_trait]
    impl Tables for Nothing {
        async fn get(&self, _: &str, _: &[u8]) -> Result<Option<Row>> {
            Ok(None)
        }
        async fn scan(&self, _: &str, _: &[u8], _: Option<&[u8]>, _: usize) -> Result<Vec<(Bytes, Row)>> {
            Ok(Vec::new())
        }
        async fn write(&self, _: Vec<TableChange>) -> Result<()> {
            Ok(())
        }
        async fn delete_table(&self, _: &str) -> Result<()> {
            Ok(())
        }
    }

    /// Code whose other end the test has.
    struct SelfDriven(mpsc::UnboundedSender<LinkEnd>);

    #[async_trait]
    impl Runtime for SelfDriven {
        async fn prepare(&self, _: &FunctionSpec) -> Result<(), StartError> {
            Ok(())
        }
        async fn start(&self, _: InstanceSpec) -> Result<Link, StartError> {
            let (link, end) = link();
            self.0.send(end).map_err(|_| StartError("the test is over".into()))?;
            Ok(link)
        }
        fn is_self_driven(&self, _: &FunctionSpec) -> bool {
            true
        }
    }

    fn start() -> (Instance, mpsc::UnboundedReceiver<LinkEnd>) {
        let (starts, started) = mpsc::unbounded_channel();
        let parts = Parts {
            log: Arc::new(Nothing),
            tables: Arc::new(Nothing),
            runtime: Arc::new(SelfDriven(starts)),
            clock: Arc::new(seams::SystemClock::new()),
        };
        let code = Code::File("/f".into());
        let function = FunctionSpec {
            language: Language::Go,
            inputs: [("persistent://public/default/in".to_owned(), Default::default())].into(),
            ..FunctionSpec::new(Kind::Function, "public", "default", "f", code)
        };
        let spec = InstanceSpec {
            function: Arc::new(function),
            instance_id: 0,
            secrets: Default::default(),
            env: Default::default(),
            work_dir: "/".into(),
        };
        (Instance::start(parts, spec, &seams::Tasks::new(seams::Shutdown::new())), started)
    }

    fn report(received: u64) -> Event {
        Event::Reported(Report {
            received,
            processed: received - 1,
            user_exceptions: 1,
            latest_user_exceptions: vec![Exception { message: "no".into(), at_ms: 7 }],
            took: (Duration::from_millis(10), received - 1),
            ..Report::default()
        })
    }

    async fn until(instance: &Instance, holds: impl Fn(&crate::instance::Status) -> bool) {
        let waits = async {
            while !holds(&instance.status()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waits).await.expect("it comes to hold");
    }

    #[tokio::test]
    async fn what_self_driven_code_reports_adds_up_over_its_restarts() {
        let (instance, mut started) = start();
        let first = started.recv().await.unwrap();
        let line = LogLine { level: LogLevel::Info, message: "hello".into() };
        first.events.send(vec![report(3), Event::Log(line)]).await.unwrap();
        until(&instance, |status| status.received == 3).await;
        first.events.send(vec![report(2)]).await.unwrap();
        let exit = Exit { is_clean: false, reason: "it exited with code 1".into() };
        first.events.send(vec![Event::Exited(exit)]).await.unwrap();
        let second = started.recv().await.unwrap();
        second.events.send(vec![report(1)]).await.unwrap();
        until(&instance, |status| status.received == 6).await;
        let status = instance.status();
        assert!(status.running);
        assert_eq!((status.restarts, status.processed, status.user_exceptions), (1, 3, 3));
        assert_eq!(status.latest_user_exceptions.len(), 3);
        assert_eq!((status.latency.count(), status.latency.sum()), (3, Duration::from_millis(20)));
        assert!(status.last_invocation_ms > 0);
        assert_eq!(instance.lines(0).len(), 1);
    }

    #[tokio::test]
    async fn a_stop_asks_self_driven_code_to_end_and_hears_its_last_words() {
        let (instance, mut started) = start();
        let mut code = started.recv().await.unwrap();
        tokio::spawn(async move {
            while code.requests.recv().await.is_some() {}
            code.events.send(vec![report(1)]).await.unwrap();
            code.events.send(vec![Event::Exited(Exit { is_clean: true, reason: "stopped".into() })]).await.unwrap();
        });
        until(&instance, |status| status.running).await;
        let shared = instance.shared.clone();
        instance.stop(Duration::from_secs(60)).await;
        let status = shared.status.lock();
        assert_eq!((status.running, status.received, status.restarts), (false, 1, 0));
    }
}
