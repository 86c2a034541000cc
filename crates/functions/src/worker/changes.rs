//! What can be asked of a function that is there: that its instances start, stop, start anew, become more or fewer.

use autoscale::Reason;

use super::{INSTANCES_MAX, Name, Worker, deploy::whole, row::Row, scaling::Event};
use crate::{Error, Kind, Result, packages::PackageName};

impl Worker {
    /// Forgets a package, and its code where no function uses it.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn remove_package(&self, name: &PackageName) -> Result<()> {
        self.shared.packages.remove(name).await?;
        self.sweep().await;
        Ok(())
    }

    /// Lets one instance, or all, run or not; across restarts.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`]: there is no such instance, or nothing changes.
    pub async fn set_running(&self, kind: Kind, name: Name, instance: Option<u32>, runs: bool) -> Result<()> {
        let worker = self.clone();
        whole(async move {
            let _turn = worker.shared.gates.enter(&name).await;
            let function = worker.function(kind, &name)?;
            let old = function.row.lock().clone();
            let mut stopped = old.stopped.clone();
            let mut changes = false;
            // What has no instance now is not to have one.
            let ids =
                if instance.is_none() { 0..old.instances().max(1) } else { selected(kind, &name, &old, instance)? };
            if runs && instance.is_none() {
                // Those too that scaling has taken away since.
                changes = !stopped.is_empty();
                stopped.clear();
            }
            for id in ids {
                changes |= if runs { stopped.remove(&id) } else { stopped.insert(id) };
            }
            if !changes {
                // Source: `FunctionMetaDataUtils.canChangeState`.
                return Err(Error::Invalid("Operation not permitted".to_owned()));
            }
            let row = Row { stopped, ..old };
            row.write(&*worker.shared.tables).await?;
            worker.put(&name, &function, row).await
        })
        .await
    }

    /// Replaces one instance, or all one after the other.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`]: there is no such instance.
    pub async fn restart(&self, kind: Kind, name: Name, instance: Option<u32>) -> Result<()> {
        let worker = self.clone();
        whole(async move {
            let _turn = worker.shared.gates.enter(&name).await;
            let function = worker.function(kind, &name)?;
            let row = function.row.lock().clone();
            for id in selected(kind, &name, &row, instance)? {
                *function.restarts.lock().entry(id).or_default() += 1;
            }
            worker.put(&name, &function, row).await
        })
        .await
    }

    /// Wants this many instances, 0 too, until an update says otherwise. The configuration stays as it is.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`]: too many, outside the bounds of its rules, or it is pinned.
    pub async fn scale(&self, kind: Kind, name: Name, instances: u32) -> Result<()> {
        if instances > INSTANCES_MAX {
            return Err(Error::Invalid(format!("a function may have {INSTANCES_MAX} instances")));
        }
        let worker = self.clone();
        whole(async move {
            let _turn = worker.shared.gates.enter(&name).await;
            let function = worker.function(kind, &name)?;
            let old = function.row.lock().clone();
            if let Some(pinned) = old.scaling.pinned {
                return Err(Error::Invalid(format!("{} {} is pinned at {pinned} instances", kind.title(), name.name)));
            }
            if let Some(rules) = &old.scaling.spec
                && !(rules.min_replicas..=rules.max_replicas).contains(&instances)
            {
                let (min, max) = (rules.min_replicas, rules.max_replicas);
                return Err(Error::Invalid(format!("{} {} scales from {min} to {max}", kind.title(), name.name)));
            }
            let scaled_to = Some(instances).filter(|instances| *instances != old.config.parallelism());
            if scaled_to == old.scaled_to {
                return Ok(());
            }
            let row = Row { scaled_to, ..old };
            row.write(&*worker.shared.tables).await?;
            let (from, to) = (function.row.lock().instances(), row.instances());
            worker.put(&name, &function, row).await?;
            let reason = Reason { code: "Scaled".to_owned(), text: format!("to {instances} instances") };
            worker.decided(&name, Event { from, to, reason, ..worker.event("person") });
            Ok(())
        })
        .await
    }
}

/// One instance, or all there should be.
pub(super) fn selected(kind: Kind, name: &Name, row: &Row, instance: Option<u32>) -> Result<std::ops::Range<u32>> {
    let all = 0..row.instances();
    match instance {
        None => Ok(all),
        Some(id) if all.contains(&id) => Ok(id..id + 1),
        Some(id) => Err(no_instance(kind, name, id)),
    }
}

pub(super) fn no_instance(kind: Kind, name: &Name, id: impl std::fmt::Display) -> Error {
    Error::Invalid(format!("{} {} doesn't have instance with id {id}", kind.title(), name.name))
}
