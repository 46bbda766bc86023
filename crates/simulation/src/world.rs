//! One run: processes, what is between them, what goes wrong, and what must hold all the time.
//!
//! * [`asking`]: requests to the storage and what becomes of them;
//! * [`job_managers`]: JobManagers and their elections; [`leading`]: what a leader does for the job master; [`driver`]: one attempt;
//! * [`task_managers`]: TaskManagers and their parts of an attempt;
//! * [`setup`], [`seen`]: what a run is made of, and what is reported of it;
//! * [`faults`]: what goes wrong and is mended;
//! * [`checks`]: the invariants.

mod asking;
mod checks;
mod driver;
mod faults;
mod job_managers;
mod leading;
mod seen;
mod setup;
mod task_managers;

use std::collections::BTreeSet;
use std::time::Duration;

use highwater_core::CheckpointId;
use highwater_jobmaster::AttemptToken;

use crate::engine::Engine;
use crate::network::{Network, Process, Role};
use crate::storage::{Answer, Ask, Storage};
use asking::{Failure, Tag};
use checks::Outside;
use faults::Fault;
use job_managers::JobManager;
pub use seen::{Seen, Violation};
use setup::Setup;
use task_managers::TaskManager;

/// The job has to end this long after nothing goes wrong any more.
const TIME_TO_END: Duration = Duration::from_secs(300);

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// What happens.
#[derive(Debug)]
pub(crate) enum What {
    /// A JobManager looks what is due.
    Wake(Process),
    /// A leader says that it lives.
    Beat(Process),
    /// A TaskManager's sources read, and it looks after its connection.
    Work(Process),
    /// The next message of a connection arrives at one of its ends.
    Deliver {
        connection: usize,
        to: Role,
    },
    /// One end of a connection is told that the other is gone.
    Lost {
        connection: usize,
        at: Role,
    },
    /// The next message between two TaskManagers arrives.
    Data {
        from: Process,
        to: Process,
    },
    /// A process of the attempt is gone, or does not answer.
    PeerLost {
        at: Process,
        peer: Process,
        token: AttemptToken,
        unreachable: bool,
    },
    /// A TaskManager has dropped its part.
    Dropped {
        at: Process,
        token: AttemptToken,
    },
    /// A request reaches the storage; nobody waits for the answer if there is no tag.
    Reach {
        who: Process,
        tag: Option<Box<Tag>>,
        ask: Box<Ask>,
    },
    /// An answer of the storage arrives.
    Answer {
        who: Process,
        tag: Box<Tag>,
        result: Box<Result<Answer, Failure>>,
    },
    Fault(Fault),
    Mend(Fault),
    /// Nothing goes wrong from now on.
    Calm,
}

impl What {
    /// The process that has to run for it to happen.
    fn at(&self, network: &Network) -> Option<Process> {
        match self {
            What::Wake(at) | What::Beat(at) | What::Work(at) => Some(*at),
            What::Deliver { connection, to: at } | What::Lost { connection, at } => {
                let connection = &network.connections[*connection];
                Some(match at {
                    Role::JobManager => connection.job_manager,
                    Role::TaskManager => connection.task_manager,
                })
            }
            What::PeerLost { at, .. } | What::Dropped { at, .. } => Some(*at),
            What::Answer { who, .. } => Some(*who),
            What::Data { to, .. } => Some(*to),
            What::Reach { .. } | What::Fault(_) | What::Mend(_) | What::Calm => None,
        }
    }
}

pub(crate) struct World {
    pub engine: Engine<What>,
    pub setup: Setup,
    pub storage: Storage,
    pub network: Network,
    pub job_managers: Vec<JobManager>,
    pub task_managers: Vec<TaskManager>,
    pub outside: Outside,
    pub seen: Seen,
    pub storage_away: u32,
    /// Checkpoints that were damaged on their way to a reader.
    pub misread: BTreeSet<CheckpointId>,
    pub calm: bool,
    pub wrong: Option<String>,
}

/// Runs one seed.
///
/// # Errors
/// What did not hold.
pub fn run(seed: u64, trace: bool) -> Result<Seen, Violation> {
    let mut engine = Engine::new(seed, trace);
    let setup = Setup::draw(&mut engine);
    engine.say(format_args!("{setup:?}"));
    let mut world = World {
        engine,
        storage: Storage::default(),
        network: Network::default(),
        job_managers: Vec::new(),
        task_managers: Vec::new(),
        outside: Outside::default(),
        seen: Seen::default(),
        storage_away: 0,
        misread: BTreeSet::new(),
        calm: false,
        wrong: None,
        setup,
    };
    world.begin();
    let violation = world.go();
    violation.map_or(Ok(world.seen), |what| Err(Violation { seed, at: world.engine.now, what }))
}

impl World {
    fn begin(&mut self) {
        for index in 0..self.setup.job_managers {
            self.add_job_manager(index);
        }
        for slots in self.setup.slots.clone() {
            self.add_task_manager(slots);
        }
        self.plan_faults();
    }

    /// Goes on until the job has ended and everybody could know, or something does not hold.
    fn go(&mut self) -> Option<String> {
        let deadline = self.setup.faults_until + TIME_TO_END;
        while let Some(what) = self.engine.next() {
            self.seen.steps += 1;
            if self.engine.now > deadline {
                return Some(format!("liveness: the job has not ended {TIME_TO_END:?} after the last fault"));
            }
            self.happen(what);
            if self.wrong.is_some() {
                return self.wrong.take();
            }
            if self.storage.newest.as_ref().is_some_and(|entry| entry.state.ended.is_some()) {
                return self.check_end();
            }
        }
        Some("liveness: nothing happens any more".to_owned())
    }

    fn happen(&mut self, what: What) {
        if let Some(at) = what.at(&self.network) {
            match self.thaws_at(at) {
                // A process that stands still does it later, in the same order.
                Some(later) if later > self.engine.now => return self.engine.plan_at(later, what),
                Some(_) => {}
                None => return self.die_away(&what),
            }
        }
        match what {
            What::Wake(at) => self.wake(at),
            What::Beat(at) => self.beat(at),
            What::Work(at) => self.work(at),
            What::Deliver { connection, to } => self.deliver(connection, to),
            What::Lost { connection, at } => self.connection_lost(connection, at),
            What::Data { from, to } => self.data(from, to),
            What::PeerLost { at, peer, token, unreachable } => self.peer_lost(at, peer, token, unreachable),
            What::Dropped { at, token } => self.dropped(at, token),
            What::Reach { who, tag, ask } => self.reach(who, tag, *ask),
            What::Answer { who, tag, result } => match who.role {
                Role::JobManager => self.answered(who, *tag, *result),
                Role::TaskManager => self.task_manager_answered(who, *tag, *result),
            },
            What::Fault(fault) => self.fault(fault),
            What::Mend(fault) => self.mend(fault),
            What::Calm => self.be_calm(),
        }
    }

    /// When a process goes on: never, if that life of it is over.
    fn thaws_at(&self, at: Process) -> Option<Duration> {
        let (life, alive, thaws) = match at.role {
            Role::JobManager => {
                let it = &self.job_managers[at.index];
                (it.life, it.alive, it.frozen_until)
            }
            Role::TaskManager => {
                let it = &self.task_managers[at.index];
                (it.life, it.alive, it.frozen_until)
            }
        };
        (alive && life == at.life).then_some(thaws)
    }

    /// A message to a dead process: its kernel says so, if anything of the machine is reached.
    fn die_away(&mut self, what: &What) {
        if let What::Deliver { connection, to } = what {
            let task_manager = self.network.connections[*connection].task_manager;
            if !self.task_managers[task_manager.index].power_cut {
                self.tell_loss(*connection, other(*to));
            }
        }
    }

    pub(crate) fn violate(&mut self, what: String) {
        self.engine.say(format_args!("VIOLATED: {what}"));
        self.wrong.get_or_insert(what);
    }

    /// Sends the next message of a connection, whose order is that of its queue.
    pub(crate) fn send_along(&mut self, connection: usize, to: Role) {
        let delay = self.engine.between(0, 3);
        self.engine.plan(delay, What::Deliver { connection, to });
    }

    fn deliver(&mut self, connection: usize, to: Role) {
        let it = &mut self.network.connections[connection];
        let (ends, is_open) = (
            (it.task_manager, it.job_manager),
            match to {
                Role::TaskManager => it.open.0,
                Role::JobManager => it.open.1 || !it.notices.is_empty(),
            },
        );
        if self.network.is_cut(ends.0, ends.1) {
            return self.engine.plan(ms(20), What::Deliver { connection, to });
        }
        if !is_open {
            return self.tell_loss(connection, other(to));
        }
        let it = &mut self.network.connections[connection];
        match to {
            Role::TaskManager => {
                if let Some(order) = it.orders.pop_front() {
                    self.obey(ends.0, connection, order);
                }
            }
            Role::JobManager => {
                if let Some(notice) = it.notices.pop_front() {
                    self.hear(ends.1, connection, notice);
                }
            }
        }
    }

    /// One end is told that the other is gone, unless the link between them is cut.
    pub(crate) fn tell_loss(&mut self, connection: usize, at: Role) {
        let it = &self.network.connections[connection];
        let is_open = if at == Role::TaskManager { it.open.0 } else { it.open.1 };
        if is_open && !self.network.is_cut(it.task_manager, it.job_manager) {
            let delay = self.engine.between(0, 5);
            self.engine.plan(delay, What::Lost { connection, at });
        }
    }

    /// One end closes a connection.
    pub(crate) fn close(&mut self, connection: usize, at: Role) {
        let it = &mut self.network.connections[connection];
        match at {
            Role::TaskManager => it.open.0 = false,
            Role::JobManager => it.open.1 = false,
        }
        self.tell_loss(connection, other(at));
    }

    fn connection_lost(&mut self, connection: usize, at: Role) {
        let it = &mut self.network.connections[connection];
        let was_open = match at {
            Role::TaskManager => std::mem::replace(&mut it.open.0, false),
            Role::JobManager => std::mem::replace(&mut it.open.1, false),
        };
        let ends = (it.task_manager, it.job_manager);
        if was_open {
            match at {
                Role::TaskManager => self.leader_lost(ends.0, connection),
                Role::JobManager => self.task_manager_lost(ends.1, connection),
            }
        }
    }
}

fn other(end: Role) -> Role {
    match end {
        Role::TaskManager => Role::JobManager,
        Role::JobManager => Role::TaskManager,
    }
}
