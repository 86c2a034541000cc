//! Power loss, killed processes and failing disks at any moment of any interleaving.

use rand::Rng;

use super::world::World;
use crate::faults::Plan;

/// `JOURNAL_SEEDS` asks for more of them, `JOURNAL_SEED` for one.
pub(super) fn seeds(default: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse().ok());
    match number("JOURNAL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("JOURNAL_SEEDS").unwrap_or(default),
    }
}

fn each(default: u64, test: impl Fn(u64) + Sync) {
    let seeds = seeds(default);
    let workers = 2;
    std::thread::scope(|scope| {
        for worker in 0..workers {
            let (seeds, test) = (seeds.clone(), &test);
            scope.spawn(move || {
                for seed in seeds.skip(worker).step_by(workers) {
                    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(seed)));
                    assert!(result.is_ok(), "seed {seed}");
                }
            });
        }
    });
}

#[test]
fn what_was_durable_survives_power_loss_at_any_operation() {
    each(400, |seed| {
        let mut world = World::new(seed);
        for round in 0..4 {
            let page_cache = world.random.random_ratio(1, 3);
            let crash_at = Some(world.random.random_range(1..120));
            world.files.plan(Plan { crash_at, page_cache, short_writes: 7, ..Plan::default() });
            for _ in 0..2000 {
                if world.files.is_crashed() {
                    break;
                }
                world.step();
            }
            world.files.crash();
            let interrupt = if round % 2 == 0 { 0 } else { world.random.random_range(0..4) };
            world.reopen(interrupt);
        }
    });
}

#[test]
fn what_was_durable_survives_a_killed_process_and_then_power_loss() {
    each(150, |seed| {
        let mut world = World::new(seed);
        for _ in 0..4 {
            let page_cache = world.random.random();
            world.files.plan(Plan { page_cache, ..Plan::default() });
            for _ in 0..world.random.random_range(0..400) {
                world.step();
            }
            if world.random.random_ratio(2, 3) {
                world.files.kill();
            } else {
                world.files.crash();
            }
            world.reopen(0);
        }
    });
}

#[test]
fn a_failed_write_or_sync_loses_nothing_that_was_durable() {
    each(250, |seed| {
        let mut world = World::new(seed);
        for _ in 0..4 {
            let page_cache = world.random.random();
            let fail_at = Some(world.random.random_range(1..100));
            world.files.plan(Plan { fail_at, page_cache, ..Plan::default() });
            let mut stopped = None;
            for _ in 0..600 {
                world.step();
                let failure = world.core.state.lock().failure.clone();
                if let Some(failure) = failure {
                    assert_eq!(failure.durable, *stopped.get_or_insert(failure.durable));
                    assert_eq!(world.model.durable, failure.durable, "durable moved after a failure");
                }
            }
            if world.random.random() {
                world.files.kill();
            } else {
                world.files.crash();
            }
            world.reopen(0);
        }
    });
}

#[test]
fn all_that_was_taken_is_there_after_a_calm_end() {
    each(20, |seed| {
        let mut world = World::new(seed);
        for _ in 0..3 {
            for _ in 0..500 {
                world.step();
            }
            world.settle();
            let durable = world.model.durable;
            if world.core.state.lock().blocked {
                return;
            }
            assert_eq!(Some(&durable), world.model.commits.keys().last().or(Some(&durable)));
            world.files.crash();
            let recovery = world.reopen(0);
            assert_eq!((recovery.last, recovery.torn_bytes), (durable, 0));
        }
    });
}
