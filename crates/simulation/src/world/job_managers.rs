//! JobManagers: their lives, their elections and their time.

use std::time::Duration;

use highwater_core::{Error, ErrorKind};
use highwater_ha::election::{Command, Event, Notice};
use highwater_ha::{Contender, Election};
use highwater_storage::Outcome;

use super::asking::{Failure, Tag};
use super::leading::Leading;
use super::{What, World, ms};
use crate::job;
use crate::network::{Process, Role};
use crate::storage::{Answer, Ask};

pub(crate) struct JobManager {
    pub life: u32,
    pub alive: bool,
    pub frozen_until: Duration,
    pub storage_away: u32,
    pub leading: Option<Leading>,
    election: Election,
    armed: Option<Duration>,
}

impl World {
    pub fn add_job_manager(&mut self, index: usize) {
        let election = self.election(index, 0);
        let frozen_until = Duration::ZERO;
        let leading = None;
        self.job_managers.push(JobManager {
            life: 0,
            alive: true,
            frozen_until,
            storage_away: 0,
            leading,
            election,
            armed: None,
        });
        self.begin_life(index);
    }

    /// A process that was killed is started again.
    pub fn restart_job_manager(&mut self, index: usize) {
        let election = self.election(index, self.job_managers[index].life + 1);
        let it = &mut self.job_managers[index];
        (it.life, it.alive, it.frozen_until, it.armed) = (it.life + 1, true, Duration::ZERO, None);
        (it.election, it.leading) = (election, None);
        self.begin_life(index);
    }

    fn begin_life(&mut self, index: usize) {
        let at = self.job_manager(index);
        self.engine.say(format_args!("{at:?} starts"));
        let (first, beat) = (self.engine.between(1, 100), self.engine.between(1, 500));
        self.engine.plan(first, What::Wake(at));
        self.engine.plan(beat, What::Beat(at));
    }

    fn election(&self, index: usize, life: u32) -> Election {
        Election::new(Contender {
            job: job::job_name(),
            cluster: "simulated".to_owned(),
            program: "simulated".to_owned(),
            address: format!("jobmanager-{index}"),
            holds_for: Contender::HOLDS_FOR,
            retained: self.setup.checkpoints.retained as usize,
            kept_entries: Contender::KEPT_ENTRIES,
            writer: (index as u128) << 32 | u128::from(life),
        })
    }

    pub fn job_manager(&self, index: usize) -> Process {
        Process { role: Role::JobManager, index, life: self.job_managers[index].life }
    }

    /// Looks what is due.
    pub fn wake(&mut self, at: Process) {
        self.job_managers[at.index].armed = None;
        self.elect(at, Event::Wake);
        self.decide(at, highwater_jobmaster::Event::Tick);
        self.coordinate(at, highwater_checkpoint::Event::Tick);
        self.arm(at);
    }

    /// Wakes when it is time for anything.
    pub fn arm(&mut self, at: Process) {
        let now = self.engine.now;
        let it = &mut self.job_managers[at.index];
        let next = it.election.wake_at().into_iter().chain(it.leading.iter().filter_map(Leading::next_wake)).min();
        let Some(next) = next.map(|next| next.max(now + Duration::from_micros(100))) else { return };
        if it.armed.is_none_or(|armed| next < armed) {
            it.armed = Some(next);
            self.engine.plan_at(next, What::Wake(at));
        }
    }

    pub fn elect(&mut self, at: Process, event: Event) {
        let commands = self.job_managers[at.index].election.step(event, self.engine.now);
        for command in commands {
            match command {
                Command::Look { known } => self.ask(at, Tag::Look, Ask::Look { known }),
                Command::Read { number } => self.ask(at, Tag::Read, Ask::Read { number }),
                Command::Put(entry) => self.ask(at, Tag::Append, Ask::Append(Box::new(entry))),
                Command::Remove(numbers) => self.ask(at, Tag::Nothing, Ask::Remove(numbers)),
                Command::Answer { request, result } => self.recorded(at, request, result),
                Command::Tell(Notice::Granted { token, state }) => self.granted(at, token, &state),
                Command::Tell(Notice::Revoked { why }) => self.revoked(at, &why),
                Command::Tell(Notice::LeaderIs { token, .. }) => {
                    self.engine.say(format_args!("{at:?} follows leader {token}"));
                }
                Command::Tell(Notice::Ended(_)) => self.revoked(at, "the job has ended"),
                Command::Tell(Notice::Failed(error)) => self.violate(format!("{at:?} cannot go on: {error}")),
            }
        }
    }

    /// An answer of the storage to a JobManager.
    pub fn answered(&mut self, at: Process, tag: Tag, result: Result<Answer, Failure>) {
        match (tag, result) {
            (Tag::Look, Ok(Answer::Looked(found))) => self.elect(at, Event::Looked(Ok(found))),
            (Tag::Look, Err(failure)) => self.elect(at, Event::Looked(Err(error(&failure)))),
            (Tag::Read, Ok(Answer::Read(entry))) => self.elect(at, Event::Read(Ok(entry))),
            (Tag::Read, Err(failure)) => self.elect(at, Event::Read(Err(error(&failure)))),
            (Tag::Append, Ok(Answer::Appended(put))) => self.elect(at, Event::Put(Ok(put))),
            (Tag::Append, Err(Failure { may_have_happened, why, .. })) => {
                let outcome = if may_have_happened { Outcome::MayHaveHappened } else { Outcome::DidNotHappen };
                self.elect(at, Event::Put(Err((outcome, why))));
            }
            (tag, result) => self.attempt_answered(at, tag, result),
        }
        self.arm(at);
    }

    pub fn kill_job_manager(&mut self, index: usize) {
        let at = self.job_manager(index);
        self.engine.say(format_args!("{at:?} is killed"));
        self.job_managers[index].alive = false;
        self.job_managers[index].leading = None;
        let ends = self.network.connections.iter().enumerate();
        let its: Vec<usize> = ends.filter(|(_, it)| it.job_manager == at).map(|(connection, _)| connection).collect();
        its.into_iter().for_each(|connection| self.close(connection, Role::JobManager));
    }
}

pub(super) fn error(failure: &Failure) -> Error {
    Error::new(ErrorKind::Storage, failure.why.clone())
}

/// How often a leader says that it lives.
pub(super) const BEAT: Duration = ms(500);
