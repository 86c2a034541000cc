//! What nothing wants any more is removed: packages, and what runtimes made of them. Failing to costs space only.

use std::sync::Arc;

use super::{Function, Worker};
use crate::{FunctionSpec, packages::BlobId};

/// A function that is being deployed, for as long as this is held.
pub(super) struct Deploying {
    worker: Worker,
    spec: Arc<FunctionSpec>,
}

impl Drop for Deploying {
    fn drop(&mut self) {
        self.worker.shared.deploying.lock().retain(|other| !Arc::ptr_eq(other, &self.spec));
    }
}

impl Worker {
    /// Keeps what is made for a function that is not among the others yet.
    pub(super) fn deploying(&self, spec: &Arc<FunctionSpec>) -> Deploying {
        self.shared.deploying.lock().push(spec.clone());
        Deploying { worker: self.clone(), spec: spec.clone() }
    }

    /// Removes packages that nothing names, such as that of a deployment which failed.
    pub async fn sweep(&self) {
        if !self.shared.damaged.is_empty() {
            return;
        }
        let used = |blob: &BlobId| {
            self.shared.functions.read().values().any(|function| {
                let row = function.row.lock();
                [Some(&row.code), row.code_before.as_ref()].into_iter().flatten().any(|code| code.blob() == Some(blob))
            })
        };
        match self.shared.packages.sweep(used).await {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, "packages that nothing uses were removed"),
            Err(error) => tracing::warn!(%error, "packages that nothing uses cannot be looked for"),
        }
    }

    /// Lets runtimes remove what they made for functions that are gone.
    pub(super) async fn tidy(&self) {
        if !self.shared.damaged.is_empty() {
            return;
        }
        let used = || {
            let functions = self.shared.functions.read();
            let there = functions.values().flat_map(|function| function.specs());
            there.chain(self.shared.deploying.lock().iter().cloned()).collect()
        };
        for runtime in self.shared.runtimes.by_language.values() {
            runtime.retain(&used).await;
        }
    }
}

impl Function {
    /// What its instances are made of, and were before the last update: some may run so still.
    fn specs(&self) -> Vec<Arc<FunctionSpec>> {
        let now = self.keeper.as_ref().ok().and_then(super::keeper::Keeper::spec);
        now.into_iter().chain(self.before.lock().clone()).collect()
    }
}
