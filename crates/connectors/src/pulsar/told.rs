//! What the lanes of an instance did and met, until it is reported.

use functions::{instance::Exception, runtime::Report};
use parking_lot::Mutex;
use std::time::Duration;
use tokio::sync::Notify;

/// Troubles kept for one report; the status shows as many.
const TROUBLES_MAX: usize = 10;

/// See the module.
#[derive(Default)]
pub(super) struct Told {
    report: Mutex<Report>,
    came: Notify,
}

impl Told {
    /// These messages came.
    pub(super) fn received(&self, messages: u32) {
        self.report.lock().received += u64::from(messages);
        self.came.notify_one();
    }

    /// These messages are at the other broker; so long something was on its way there since the last time this was said.
    pub(super) fn forwarded(&self, messages: u64, busy: Duration) {
        let mut report = self.report.lock();
        report.processed += messages;
        report.took.0 = report.took.0.saturating_add(busy);
        report.took.1 += messages;
        drop(report);
        self.came.notify_one();
    }

    /// Something is in the way.
    pub(super) fn trouble(&self, message: String) {
        let mut report = self.report.lock();
        report.system_exceptions += 1;
        if report.latest_system_exceptions.len() < TROUBLES_MAX {
            report.latest_system_exceptions.push(Exception { message, at_ms: 0 });
        }
        drop(report);
        self.came.notify_one();
    }

    /// Resolves when there has been something to report for so long. Safe to be dropped.
    pub(super) async fn something(&self, patience: Duration) {
        if *self.report.lock() == Report::default() {
            self.came.notified().await;
        }
        tokio::time::sleep(patience).await;
    }

    /// What is to be reported, and as lines of a log.
    pub(super) fn take(&self) -> (Report, Vec<String>) {
        let report = std::mem::take(&mut *self.report.lock());
        let lines = report.latest_system_exceptions.iter().map(|trouble| trouble.message.clone()).collect();
        (report, lines)
    }
}
