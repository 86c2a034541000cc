//! Whether a function runs as it should.

use super::{Name, Worker, keeper::Keeper, plan::Wanted};
use crate::{Kind, Result, event_log::InputStats};

/// How a function stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Instances there should be.
    pub wanted: u32,
    /// Of these, those that somebody stopped.
    pub stopped: u32,
    /// Those that run, of whichever version.
    pub running: u32,
    /// All that should run do, as they should be, and nothing else does.
    pub is_settled: bool,
    /// What keeps one from running; empty when nothing is known.
    pub error: String,
}

impl Worker {
    /// How a function stands now.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`].
    pub fn standing(&self, kind: Kind, name: &Name) -> Result<Standing> {
        let function = self.function(kind, name)?;
        let (wanted, stopped) = {
            let row = function.row.lock();
            let wanted = row.instances();
            (wanted, row.stopped.iter().filter(|id| **id < wanted).count())
        };
        let mut standing =
            Standing { wanted, stopped: u32::try_from(stopped).unwrap_or(u32::MAX), ..Standing::default() };
        for status in self.statuses(kind, name)? {
            standing.running += u32::from(status.running);
            if !status.running && standing.error.is_empty() {
                standing.error = status.error;
            }
        }
        standing.is_settled = function.keeper.as_ref().is_ok_and(Keeper::is_settled);
        Ok(standing)
    }

    /// What waits on its inputs; `None` for a source, or where the broker does not say.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`]; its configuration cannot be resolved here; the broker cannot be reached.
    pub async fn inputs(&self, kind: Kind, name: &Name) -> Result<Option<InputStats>> {
        let row = self.function(kind, name)?.row.lock().clone();
        match self.spec(&row).await?.reads() {
            Some(reads) => self.shared.log.input_stats(&reads).await,
            None => Ok(None),
        }
    }
}

impl Wanted {
    /// How many of the instances should run.
    pub(super) fn runs(&self) -> usize {
        self.instances.iter().filter(|slot| !slot.is_stopped).count()
    }
}
