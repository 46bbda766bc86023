//! What a run is made of.

use std::time::Duration;

use highwater_checkpoint::{CheckpointConfig, RestartStrategy};
use highwater_core::{MaxParallelism, Parallelism};
use highwater_jobmaster::{Config, JobFacts};

use super::What;
use super::driver::Stopping;
use super::faults::Fault;
use crate::engine::Engine;
use crate::job::Input;

/// What a run is made of, drawn from its seed.
#[derive(Clone, Debug)]
pub struct Setup {
    pub job_managers: usize,
    pub slots: Vec<u32>,
    pub input: Input,
    pub config: Config,
    pub checkpoints: CheckpointConfig,
    /// What goes wrong does so until then.
    pub faults_until: Duration,
    /// When somebody ends the job, and how.
    pub end: Option<(Duration, Fault)>,
}

impl Setup {
    pub(super) fn draw(engine: &mut Engine<What>) -> Setup {
        let processes = 2 + engine.random.up_to(2);
        let equal = engine.random.chance(60);
        let slots: Vec<u32> =
            (0..processes).map(|_| if equal { 2 } else { 1 + engine.random.up_to(2) as u32 }).collect();
        let parallelism = engine.random.chance(50).then(|| 1 + engine.random.up_to(3) as u32);
        let strategy = if engine.random.chance(50) {
            RestartStrategy::default()
        } else {
            RestartStrategy::FixedDelay { attempts: u32::MAX, delay: engine.between(1, 2000) }
        };
        let input = Input {
            splits: 1 + engine.random.up_to(3) as u32,
            records: 100 + engine.random.up_to(200) as u32,
            key_groups: MaxParallelism::new(8).expect("a good number"),
        };
        let end = match engine.random.up_to(9) {
            0..=1 => Some(Fault::Stop(Stopping::WithCheckpoint)),
            2 => Some(Fault::Stop(Stopping::WithSavepoint)),
            3 => Some(Fault::Cancel),
            _ => None,
        };
        Setup {
            end: end.map(|end| (engine.between(5_000, 30_000), end)),
            job_managers: 1 + engine.random.up_to(2),
            slots,
            input,
            config: Config {
                parallelism: parallelism.and_then(Parallelism::new),
                scale_up_pause: engine.between(1000, 10_000),
                resource_wait: engine.between(500, 10_000),
                restart: strategy,
                ..Config::default()
            },
            checkpoints: CheckpointConfig {
                interval: Some(engine.between(200, 2000)),
                timeout: engine.between(1000, 10_000),
                max_concurrent: 1 + engine.random.up_to(2) as u32,
                tolerable_failures: engine.random.up_to(3) as u32,
                retained: 1 + engine.random.up_to(2) as u32,
                ..CheckpointConfig::default()
            },
            faults_until: engine.between(10_000, 40_000),
        }
    }

    pub(crate) fn facts(&self) -> JobFacts {
        JobFacts { max_parallelism: self.input.key_groups, has_checkpoints: true, seed: 1 }
    }
}
