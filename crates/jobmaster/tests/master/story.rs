//! A job told step by step.

use std::time::Duration;

use highwater_checkpoint::RestartStrategy;
use highwater_core::{Error, ErrorKind, MaxParallelism, Parallelism};
use highwater_jobmaster::{
    AttemptToken, Command, Config, Deployment, Event, JobEnd, JobFacts, JobMaster, JobRecord, Notice, TaskManagerId,
};

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub fn workers(count: u32) -> Parallelism {
    Parallelism::new(count).unwrap()
}

pub fn wanted(count: u32) -> Config {
    Config { parallelism: Some(workers(count)), restart: after_a_second(), ..Config::default() }
}

pub fn reactive() -> Config {
    Config { restart: after_a_second(), ..Config::default() }
}

fn after_a_second() -> RestartStrategy {
    RestartStrategy::FixedDelay { attempts: 20, delay: ms(1000) }
}

pub fn facts() -> JobFacts {
    JobFacts { max_parallelism: MaxParallelism::new(128).unwrap(), has_checkpoints: true, seed: 1 }
}

pub fn error(kind: ErrorKind) -> Error {
    Error::new(kind, "it broke")
}

/// One job, the time, and what was decided in the last step.
pub struct Story {
    master: JobMaster,
    now: Duration,
    pub said: Vec<Command>,
}

impl Story {
    pub fn begin(config: Config) -> Self {
        Self::of(JobMaster::new(config, facts(), 1, Duration::ZERO).unwrap())
    }

    pub fn of(master: JobMaster) -> Self {
        Story { master, now: Duration::ZERO, said: Vec::new() }
    }

    pub fn resume(config: Config, leader: u64, record: JobRecord) -> Self {
        Self::of(JobMaster::resume(config, facts(), leader, record, Duration::ZERO).unwrap())
    }

    /// A job that runs on these TaskManagers, numbered from 1.
    pub fn running(config: Config, slots: &[u32]) -> (Self, Deployment) {
        let mut story = Self::begin(config);
        let at_once: Vec<_> =
            slots.iter().zip(1..).filter_map(|(slots, id)| deployed(story.register(id, *slots))).collect();
        let deployment = at_once.into_iter().next().unwrap_or_else(|| story.wait_for_deployment());
        story.step(Event::Running { token: deployment.token });
        (story, deployment)
    }

    pub fn step(&mut self, event: Event) -> &[Command] {
        self.said = self.master.step(event, self.now);
        &self.said
    }

    pub fn register(&mut self, id: u128, slots: u32) -> &[Command] {
        self.register_with(id, slots, None)
    }

    pub fn register_with(&mut self, id: u128, slots: u32, holds: Option<AttemptToken>) -> &[Command] {
        self.step(Event::Registered { id: TaskManagerId(id), address: format!("host-{id}:1"), slots, holds })
    }

    pub fn disconnect(&mut self, id: u128) -> &[Command] {
        self.step(Event::Disconnected { id: TaskManagerId(id), why: "connection reset".into() })
    }

    pub fn fail(&mut self, token: AttemptToken, kind: ErrorKind) -> &[Command] {
        self.step(Event::Failed { token, error: error(kind), unreachable: Vec::new() })
    }

    pub fn unreachable(&mut self, token: AttemptToken, from: u128, to: u128) -> &[Command] {
        let unreachable = vec![(TaskManagerId(from), TaskManagerId(to))];
        self.step(Event::Failed { token, error: error(ErrorKind::Cluster), unreachable })
    }

    /// The attempt is over everywhere.
    pub fn over(&mut self, attempt: &Deployment) -> &[Command] {
        let mut said = self.master.step(Event::Concluded { token: attempt.token }, self.now);
        for member in &attempt.members {
            said.extend(self.master.step(Event::Released { id: member.id, token: attempt.token }, self.now));
        }
        self.said = said;
        &self.said
    }

    /// The attempt runs. What is decided then stays in `said`.
    pub fn run(&mut self, attempt: &Deployment) {
        self.step(Event::Running { token: attempt.token });
    }

    /// Time passes, and everybody connected says that he lives; up to the first moment at which something is decided.
    pub fn pass(&mut self, time: Duration) -> &[Command] {
        let until = self.now + time;
        self.said.clear();
        while self.now < until && self.said.is_empty() {
            self.now = self.master.next_wake().map_or(until, |wake| wake.min(until));
            let connected: Vec<TaskManagerId> = self.master.task_managers().map(|known| known.id).collect();
            let mut said: Vec<Command> = Vec::new();
            for id in connected {
                said.extend(self.master.step(Event::Heartbeat { id }, self.now));
            }
            said.extend(self.master.step(Event::Tick, self.now));
            self.said = said;
        }
        &self.said
    }

    /// Time passes, and nobody says anything.
    pub fn pass_in_silence(&mut self, time: Duration) -> &[Command] {
        self.now += time;
        self.step(Event::Tick)
    }

    pub fn now(&self) -> Duration {
        self.now
    }

    pub fn master(&self) -> &JobMaster {
        &self.master
    }

    pub fn wait_for_deployment(&mut self) -> Deployment {
        for _ in 0..100 {
            if let Some(deployment) = deployed(&self.said) {
                return deployment;
            }
            self.pass(ms(60_000));
        }
        panic!("nothing is deployed: {:?}", self.said);
    }
}

/// What is deployed, and was recorded before.
pub fn deployed(said: &[Command]) -> Option<Deployment> {
    said.windows(2).find_map(|pair| match pair {
        [Command::Record(record), Command::Deploy(deployment)] => {
            assert_eq!(record.deployment, *deployment);
            Some(deployment.clone())
        }
        [_, Command::Deploy(deployment)] => panic!("{deployment:?} was not recorded"),
        _ => None,
    })
}

pub fn members(deployment: &Deployment) -> Vec<u128> {
    deployment.members.iter().map(|member| member.id.0).collect()
}

/// Who is told to drop its part of which attempt.
pub fn aborted(said: &[Command]) -> Option<(AttemptToken, Vec<u128>)> {
    said.iter().find_map(|command| match command {
        Command::Abort { token, members, .. } => Some((*token, members.iter().map(|id| id.0).collect())),
        _ => None,
    })
}

pub fn ended(said: &[Command]) -> Option<Result<JobEnd, ErrorKind>> {
    said.iter().find_map(|command| match command {
        Command::EndJob { result } => Some(result.as_ref().map(|end| *end).map_err(Error::kind)),
        _ => None,
    })
}

pub fn notices(said: &[Command]) -> Vec<Notice> {
    let notice = |command: &Command| match command {
        Command::Tell(notice) => Some(notice.clone()),
        _ => None,
    };
    said.iter().filter_map(notice).collect()
}
