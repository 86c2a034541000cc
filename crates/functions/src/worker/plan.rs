//! What to do next so that what runs of a function becomes what is wanted. Pure: values in, one step out.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{FunctionSpec, spec::Kind};

/// What should run of one function.
#[derive(Clone)]
pub(super) struct Wanted {
    pub(super) spec: Arc<FunctionSpec>,
    /// One for each instance.
    pub(super) instances: Vec<Slot>,
}

/// What is wanted of one instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) is_stopped: bool,
    /// How often a restart was asked for.
    pub(super) restarts: u64,
}

/// Of what an instance that runs was made; when something else is wanted, it is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) version: u64,
    pub(super) restarts: u64,
    /// Of a source without inputs: among how many instances it divides what there is to read.
    pub(super) among: Option<u32>,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Let these finish what they have in hand, and go.
    Stop(Vec<u32>),
    /// Start these, all at once.
    Start(Vec<u32>),
    /// Stop this one, start it again as it should be, and go on when it runs.
    Replace(u32),
}

impl Wanted {
    /// Whether it was stopped, all of it.
    pub(super) fn is_stopped(&self) -> bool {
        !self.instances.is_empty() && self.instances.iter().all(|slot| slot.is_stopped)
    }

    /// Of what an instance should be made, if it should run.
    pub(super) fn made(&self, id: u32) -> Option<Made> {
        let slot = self.instances.get(id as usize).filter(|slot| !slot.is_stopped)?;
        Some(Made { version: self.spec.version, restarts: slot.restarts, among: self.among() })
    }

    /// No subscription shares out what sources read: each takes a part that its number and their number say. Batch sources share tasks,
    /// which are their input, by a subscription.
    fn among(&self) -> Option<u32> {
        let divides = self.spec.kind == Kind::Source && self.spec.inputs.is_empty();
        divides.then(|| u32::try_from(self.instances.len()).unwrap_or(u32::MAX))
    }

    /// How many instances one is told that there are, where `sharing` are wanted or have not ended.
    pub(super) fn told(&self, sharing: u32) -> u32 {
        self.among().unwrap_or(sharing)
    }

    /// The next step, if there is one. Of those that are going none is started before it has gone. `is_up` says whether an instance works: one that does not goes first, since nothing is
    /// lost by replacing it, and while one does not that was replaced already, none that works is touched.
    pub(super) fn next(
        &self,
        running: &BTreeMap<u32, Made>,
        going: &BTreeSet<u32>,
        is_up: impl Fn(u32) -> bool,
    ) -> Option<Step> {
        // Sources that divide things otherwise than is wanted go all at once, so that no two of them read the same.
        let is_surplus = |(id, made): &(&u32, &Made)| self.made(**id).is_none_or(|wanted| wanted.among != made.among);
        let surplus: Vec<u32> = running.iter().filter(is_surplus).map(|(id, _)| *id).collect();
        if !surplus.is_empty() {
            return Some(Step::Stop(surplus));
        }
        let all = 0..u32::try_from(self.instances.len()).unwrap_or(u32::MAX);
        let is_missing = |id: &u32| self.made(*id).is_some() && !running.contains_key(id) && !going.contains(id);
        let missing: Vec<u32> = all.filter(is_missing).collect();
        if self.among().is_some() && !going.is_empty() {
            return None;
        }
        if !missing.is_empty() {
            return Some(Step::Start(missing));
        }
        let (current, old): (Vec<u32>, Vec<u32>) =
            running.keys().partition(|id| running.get(id).copied() == self.made(**id));
        if let Some(broken) = old.iter().find(|id| !is_up(**id)) {
            return Some(Step::Replace(*broken));
        }
        let is_rolling_well = current.into_iter().all(is_up);
        old.first().filter(|_| is_rolling_well).map(|id| Step::Replace(*id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn wanted(version: u64, instances: &[&str]) -> Wanted {
        let slot = |text: &&str| Slot { is_stopped: *text == "stopped", restarts: u64::from(*text == "restart") };
        let spec = FunctionSpec { version, ..testing::spec("f") };
        Wanted { spec: Arc::new(spec), instances: instances.iter().map(slot).collect() }
    }

    fn running(versions: &[(u32, u64)]) -> BTreeMap<u32, Made> {
        versions.iter().map(|(id, version)| (*id, Made { version: *version, restarts: 0, among: None })).collect()
    }

    fn check(wanted: &Wanted, runs: &[(u32, u64)], down: &[u32], step: Option<Step>) {
        assert_eq!(wanted.next(&running(runs), &BTreeSet::new(), |id| !down.contains(&id)), step);
    }

    #[test]
    fn what_is_missing_starts_and_what_is_too_much_stops() {
        check(&wanted(0, &["run", "run"]), &[], &[], Some(Step::Start(vec![0, 1])));
        check(&wanted(0, &["run", "stopped"]), &[(0, 0), (1, 0), (2, 0)], &[], Some(Step::Stop(vec![1, 2])));
        check(&wanted(0, &["run", "stopped"]), &[(0, 0)], &[], None);
        check(&wanted(0, &[]), &[], &[], None);
    }

    #[test]
    fn one_that_is_going_is_waited_for_and_holds_up_no_other() {
        let three = wanted(0, &["run", "run", "run"]);
        let next = |going: &[u32]| three.next(&running(&[(0, 0)]), &going.iter().copied().collect(), |_| true);
        assert_eq!(next(&[1]), Some(Step::Start(vec![2])));
        assert_eq!(next(&[1, 2]), None);
    }

    #[test]
    fn an_update_replaces_one_after_the_other_while_each_comes_up() {
        let update = wanted(1, &["run", "run", "run"]);
        check(&update, &[(0, 0), (1, 0), (2, 0)], &[], Some(Step::Replace(0)));
        check(&update, &[(0, 1), (1, 0), (2, 0)], &[0], None);
        check(&update, &[(0, 1), (1, 0), (2, 0)], &[], Some(Step::Replace(1)));
        check(&update, &[(0, 1), (1, 1), (2, 1)], &[], None);
    }

    #[test]
    fn what_does_not_work_is_replaced_first() {
        check(&wanted(1, &["run", "run"]), &[(0, 0), (1, 0)], &[1], Some(Step::Replace(1)));
        // The second try of a bad update: what the first one broke is mended although it is not up.
        check(&wanted(2, &["run", "run"]), &[(0, 1), (1, 0)], &[0], Some(Step::Replace(0)));
    }

    #[test]
    fn sources_divide_things_anew_when_none_is_left_that_divides_them_otherwise() {
        let spec = FunctionSpec { kind: Kind::Source, inputs: BTreeMap::new(), ..testing::spec("f") };
        let two = Wanted { spec: Arc::new(spec), instances: vec![Slot::default(); 2] };
        let among = |ids: &[u32], among| ids.iter().map(|id| (*id, Made { version: 0, restarts: 0, among })).collect();
        let next = |running: &BTreeMap<u32, Made>, going: &[u32]| {
            two.next(running, &going.iter().copied().collect(), |_| true)
        };
        assert_eq!(next(&among(&[0, 1, 2], Some(3)), &[]), Some(Step::Stop(vec![0, 1, 2])));
        assert_eq!(next(&among(&[0], Some(1)), &[]), Some(Step::Stop(vec![0])));
        assert_eq!(next(&BTreeMap::new(), &[2]), None);
        assert_eq!(next(&BTreeMap::new(), &[]), Some(Step::Start(vec![0, 1])));
        assert_eq!(next(&among(&[0, 1], Some(2)), &[]), None);
        assert_eq!(two.told(3), 2);
    }

    #[test]
    fn batch_sources_share_tasks_and_go_on_when_others_come_or_go() {
        let inputs = BTreeMap::from([("tasks".to_owned(), crate::spec::InputConfig::default())]);
        let spec = FunctionSpec { kind: Kind::Source, inputs, ..testing::spec("f") };
        let two = Wanted { spec: Arc::new(spec), instances: vec![Slot::default(); 2] };
        check(&two, &[(0, 0), (1, 0), (2, 0)], &[], Some(Step::Stop(vec![2])));
        check(&two, &[(0, 0)], &[], Some(Step::Start(vec![1])));
        assert_eq!(two.told(3), 3);
    }

    #[test]
    fn a_restart_replaces_one_of_the_same_version() {
        check(&wanted(0, &["run", "restart"]), &[(0, 0), (1, 0)], &[], Some(Step::Replace(1)));
    }
}
