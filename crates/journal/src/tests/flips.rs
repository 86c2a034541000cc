//! Damage on disk: seen and said, or without effect, but never a wrong record.

use std::sync::Arc;

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::world::{World, config};
use crate::{faults::Plan, writer::Core};

#[test]
fn a_flipped_bit_anywhere_is_reported_or_harmless() {
    let (mut reported, mut torn) = (0, 0);
    for seed in super::crash::seeds(15) {
        let mut world = World::new(seed);
        world.files.plan(Plan::default());
        for _ in 0..600 {
            world.step();
        }
        world.settle();
        world.files.crash();
        world.reopen(0);
        for _ in 0..world.random.random_range(0..200) {
            world.step();
        }
        world.settle();
        world.files.kill();
        let model = &world.model;
        for flip in 0..40 {
            let mut random = StdRng::seed_from_u64(seed << 16 | flip);
            let files = world.files.copy(flip);
            let names = files.lengths();
            for _ in 0..random.random_range(1..4) {
                let (name, bytes) = &names[random.random_range(0..names.len())];
                if *bytes > 0 {
                    files.flip(name, random.random_range(0..bytes * 8));
                }
            }
            // Twice, since the first opening writes down what it found.
            for opening in 0..2 {
                let context = format!("seed {seed} flip {flip} opening {opening}");
                let after = random.random_range(model.floor..=model.durable);
                let mut seen = Vec::new();
                let opened = Core::open(config(), Arc::new(files.clone()), after, &mut |lsn, record| {
                    seen.push((lsn, record.clone()));
                    Ok(())
                });
                let (core, recovery) = opened.unwrap_or_else(|error| panic!("{context}: {error}"));
                let missing = model.check_replay(after, &seen);
                let told = !recovery.quarantined.is_empty() || recovery.torn_bytes > 0;
                assert!(
                    missing.is_empty() || told || opening > 0,
                    "{context}: {missing:?} are gone, and nobody said so"
                );
                model.check_reads(&core, model.durable, &mut random);
                reported += usize::from(!recovery.quarantined.is_empty());
                torn += usize::from(recovery.torn_bytes > 0);
                files.kill();
            }
        }
    }
    assert!(reported > 0 && torn < reported, "{reported} reported, {torn} taken for a torn tail");
}
