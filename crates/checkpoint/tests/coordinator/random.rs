//! Long runs through everything that can happen, with random settings.

use highwater_checkpoint::CheckpointConfig;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, RngSeed};

use crate::job::ms;
use crate::world::World;

fn configs() -> impl Strategy<Value = CheckpointConfig> {
    (1..3u64, 0..2u64, 1..4u32, 0..4u32, 1..4u32).prop_map(|(timeout, pause, concurrent, tolerable, retained)| {
        CheckpointConfig {
            interval: Some(ms(10)),
            timeout: ms(timeout * 20),
            min_pause: ms(pause * 7),
            max_concurrent: concurrent,
            tolerable_failures: tolerable,
            retained,
            ..CheckpointConfig::default()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        rng_algorithm: RngAlgorithm::ChaCha,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_invariants_hold_over_long_runs(config in configs(), choices in prop::collection::vec(any::<u16>(), 1..300)) {
        let mut world = World::new(&config);
        for choice in choices {
            let actions = world.actions();
            world.act(actions[usize::from(choice) % actions.len()]);
        }
        world.settle();
    }
}
