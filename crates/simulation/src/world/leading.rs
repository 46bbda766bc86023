//! What a leader does for its job master: carries its commands out, and tells it what happens.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use highwater_checkpoint::recovery::Damaged;
use highwater_core::{CheckpointId, Error};
use highwater_ha::election::{self, Append, RequestId};
use highwater_ha::{JobState, NotRecorded, Token};
use highwater_jobmaster::{Command, Event, JobMaster, JobRecord, TaskManagerId};

use super::driver::Driver;
use super::job_managers::BEAT;
use super::{What, World};
use crate::network::{Notice, Order, Process, Role, Status};

/// A JobManager that leads.
pub(crate) struct Leading {
    pub token: Token,
    pub master: JobMaster,
    todo: VecDeque<Command>,
    /// Nothing is carried out before this is on record.
    recording: Option<RequestId>,
    appends: BTreeMap<RequestId, Recorded>,
    pub connections: BTreeMap<TaskManagerId, usize>,
    /// What each TaskManager has of an attempt, as far as it has said.
    pub statuses: BTreeMap<TaskManagerId, Status>,
    pub driver: Option<Driver>,
    /// The newest that count, oldest first.
    pub completed: Vec<CheckpointId>,
    /// Those that did not verify.
    pub damaged: Damaged,
    /// Above every id that attempts of this leader, and of those before it, have used.
    pub next_id: CheckpointId,
    /// This leader uses ids below this one, and the next begins with it: what an older leader asked the storage to delete may be
    /// deleted at any later time, also when no trace of it was left, and must not be what a newer leader has written.
    pub ids_below: CheckpointId,
    /// What is on record of the job.
    record: Option<JobRecord>,
    /// Whether the ids of this leader are on record.
    is_reserved: bool,
    requests: u64,
}

/// How many checkpoint ids a leader reserves.
const RESERVED: u64 = 1_000_000;

/// What a leader leaves to the next: of the job master, and where its ids begin.
pub(super) type OnRecord = (JobRecord, CheckpointId);

/// What an append was for.
#[derive(Clone, Copy, Debug)]
enum Recorded {
    Job,
    Completed { token: highwater_jobmaster::AttemptToken, id: CheckpointId },
    Ended,
}

impl Leading {
    pub fn next_wake(&self) -> Option<Duration> {
        let coordinator = self.driver.as_ref().and_then(Driver::next_wake);
        self.master.next_wake().into_iter().chain(coordinator).min()
    }

    pub fn next_request(&mut self) -> u64 {
        self.requests += 1;
        self.requests
    }
}

/// The name of a TaskManager: each life of a process has its own.
pub(super) fn id_of(process: Process) -> TaskManagerId {
    TaskManagerId((process.index as u128) << 32 | u128::from(process.life))
}

impl World {
    pub fn leading(&mut self, at: Process) -> Option<&mut Leading> {
        self.job_managers[at.index].leading.as_mut()
    }

    pub fn granted(&mut self, at: Process, token: Token, state: &JobState) {
        let (config, facts, now) = (self.setup.config.clone(), self.setup.facts(), self.engine.now);
        self.engine.say(format_args!("{at:?} leads as {token}, {:?} count", state.completed));
        let known =
            state.attempt.as_ref().map(|attempt| postcard::from_bytes::<OnRecord>(&attempt.content)).transpose();
        let (record, first_id) = match known {
            Ok(known) => known.map_or((None, CheckpointId(1)), |(record, ids_below)| (Some(record), ids_below)),
            Err(error) => return self.violate(format!("what is on record is not readable: {error}")),
        };
        let master = match record.clone() {
            None => JobMaster::new(config, facts, token.0, now),
            Some(record) => JobMaster::resume(config, facts, token.0, record, now),
        };
        let master = match master {
            Ok(master) => master,
            Err(error) => return self.violate(format!("a leader cannot begin: {error}")),
        };
        self.job_managers[at.index].leading = Some(Leading {
            token,
            master,
            todo: VecDeque::new(),
            recording: None,
            appends: BTreeMap::new(),
            connections: BTreeMap::new(),
            statuses: BTreeMap::new(),
            driver: None,
            completed: state.completed.iter().map(|completed| completed.id).collect(),
            damaged: Damaged::default(),
            next_id: first_id,
            ids_below: CheckpointId(first_id.0 + RESERVED),
            record,
            is_reserved: false,
            requests: 0,
        });
        self.decide(at, Event::Tick);
    }

    pub fn revoked(&mut self, at: Process, why: &str) {
        self.engine.say(format_args!("{at:?} leads no longer: {why}"));
        if let Some(leading) = self.job_managers[at.index].leading.take() {
            leading.connections.into_values().for_each(|connection| self.close(connection, Role::JobManager));
        }
    }

    pub fn beat(&mut self, at: Process) {
        let connections: Vec<usize> =
            self.leading(at).map(|leading| leading.connections.values().copied().collect()).unwrap_or_default();
        connections.into_iter().for_each(|connection| self.order_along(connection, Order::Heartbeat));
        self.engine.plan(BEAT, What::Beat(at));
    }

    fn order_along(&mut self, connection: usize, order: Order) {
        self.network.connections[connection].orders.push_back(order);
        self.send_along(connection, Role::TaskManager);
    }

    pub fn order(&mut self, at: Process, to: TaskManagerId, order: Order) {
        let connection = self.leading(at).and_then(|leading| leading.connections.get(&to).copied());
        if let Some(connection) = connection {
            self.order_along(connection, order);
        }
    }

    /// What a TaskManager says.
    pub fn hear(&mut self, at: Process, connection: usize, notice: Notice) {
        let who = self.network.connections[connection].task_manager;
        let id = id_of(who);
        if let Notice::Register { id, slots, holds } = notice {
            return self.register(at, connection, id, slots, holds);
        }
        if !self.network.connections[connection].open.1 {
            return self.tell_loss(connection, Role::TaskManager);
        }
        if !matches!(notice, Notice::Heartbeat) {
            self.engine.say(format_args!("{at:?} hears of {who:?}: {notice:?}"));
        }
        self.note(at, id, &notice);
        match notice {
            Notice::Register { .. } => {}
            Notice::Heartbeat => self.decide(at, Event::Heartbeat { id }),
            Notice::Leaving => self.decide(at, Event::Leaving { id }),
            Notice::Failed { token, kind, unreachable } => {
                self.task_failed(at, token, Error::new(kind, "a task failed"), unreachable);
            }
            Notice::Released { token } => self.decide(at, Event::Released { id, token }),
            Notice::Acknowledged { token, id, task, snapshot, files } => {
                let bytes = files.iter().map(|file| file.len).sum();
                self.task_says(
                    at,
                    token,
                    highwater_checkpoint::Event::Acknowledged { id, task, snapshot, files, bytes },
                );
            }
            Notice::Declined { token, id, task } => {
                let reason = "the storage failed".to_owned();
                self.task_says(at, token, highwater_checkpoint::Event::Declined { id, task, reason });
            }
            Notice::Started { .. } | Notice::SourceEnded { .. } | Notice::Done { .. } => self.look_after_attempt(at),
        }
        self.arm(at);
    }

    fn register(&mut self, at: Process, connection: usize, id: TaskManagerId, slots: u32, holds: Option<Status>) {
        let Some(leading) = self.leading(at) else {
            return self.tell_loss(connection, Role::TaskManager);
        };
        let token = leading.token;
        let old = leading.connections.insert(id, connection);
        match &holds {
            Some(status) => leading.statuses.insert(id, status.clone()),
            None => leading.statuses.remove(&id),
        };
        self.engine.say(format_args!("{at:?}: {id} registers with {holds:?}"));
        self.network.connections[connection].open.1 = true;
        if let Some(old) = old {
            self.close(old, Role::JobManager);
        }
        self.order_along(connection, Order::Registered { leader: token.0 });
        let holds = holds.map(|status| status.token);
        self.decide(at, Event::Registered { id, address: format!("taskmanager-{id}"), slots, holds });
        self.arm(at);
    }

    /// Keeps in mind what a TaskManager has of an attempt.
    fn note(&mut self, at: Process, id: TaskManagerId, notice: &Notice) {
        let Some(status) = self.leading(at).and_then(|leading| leading.statuses.get_mut(&id)) else { return };
        match notice {
            Notice::Started { token } if *token == status.token => status.started = true,
            Notice::Done { token } if *token == status.token => status.done = true,
            Notice::SourceEnded { token, subtask } if *token == status.token => {
                status.ended.insert(*subtask);
            }
            _ => {}
        }
    }

    pub fn task_manager_lost(&mut self, at: Process, connection: usize) {
        let id = id_of(self.network.connections[connection].task_manager);
        let Some(leading) = self.leading(at) else { return };
        if leading.connections.get(&id) == Some(&connection) {
            leading.connections.remove(&id);
            self.decide(at, Event::Disconnected { id, why: "connection reset".to_owned() });
            self.arm(at);
        }
    }

    /// Tells the job master, and carries out what it decides.
    pub fn decide(&mut self, at: Process, event: Event) {
        let now = self.engine.now;
        if self.leading(at).is_none() {
            return;
        }
        if !matches!(event, Event::Tick | Event::Heartbeat { .. }) {
            self.engine.say(format_args!("{at:?} job master: {event:?}"));
        }
        if let Some(leading) = self.leading(at) {
            let commands = leading.master.step(event, now);
            leading.todo.extend(commands);
        }
        self.carry_out(at);
    }

    fn carry_out(&mut self, at: Process) {
        loop {
            let Some(leading) = self.leading(at).filter(|leading| leading.recording.is_none()) else { return };
            let Some(command) = leading.todo.pop_front() else { return };
            self.engine.say(format_args!("{at:?} carries out {command:?}"));
            match command {
                Command::Record(record) => self.record(at, record),
                Command::Deploy(deployment) => self.deploy(at, deployment),
                Command::Attach(deployment) => match leading_record(self.leading(at)) {
                    Some(record) => {
                        if let Some(leading) = self.leading(at) {
                            leading.todo.push_front(Command::Attach(deployment));
                        }
                        self.record(at, record);
                    }
                    None => self.attach(at, deployment),
                },
                Command::Abort { token, members, .. } => {
                    members.into_iter().for_each(|id| self.order(at, id, Order::Abort { token }));
                    self.end_attempt(at, token);
                }
                Command::TakeCheckpoint { token, .. } => self.take_checkpoint(at, token),
                Command::Refuse { id, .. } | Command::Drop { id, .. } => {
                    if let Some(connection) = self.leading(at).and_then(|leading| leading.connections.remove(&id)) {
                        self.close(connection, Role::JobManager);
                    }
                }
                Command::Answer { result, .. } => self.seen.rescaled += u64::from(result.is_ok()),
                Command::Tell(_) => {}
                Command::EndJob { result } => {
                    let text = result.map_or_else(|error| error.to_string(), |end| format!("{end:?}"));
                    self.append(at, Append::Ended(text.into_bytes()), Recorded::Ended);
                }
            }
        }
    }

    fn record(&mut self, at: Process, record: JobRecord) {
        let Some(leading) = self.leading(at) else { return };
        leading.is_reserved = true;
        let on_record: OnRecord = (record, leading.ids_below);
        match postcard::to_stdvec(&on_record) {
            Ok(bytes) => self.append(at, Append::Attempt(bytes), Recorded::Job),
            Err(error) => self.violate(format!("a record cannot be encoded: {error}")),
        }
    }

    fn append(&mut self, at: Process, append: Append, what: Recorded) {
        let Some(leading) = self.leading(at) else { return };
        let (request, token) = (RequestId(leading.next_request()), leading.token);
        leading.appends.insert(request, what);
        if let Recorded::Job = what {
            leading.recording = Some(request);
        }
        self.elect(at, election::Event::Append { request, token, append });
    }

    /// A published checkpoint counts only once the log says so.
    pub fn append_completed(&mut self, at: Process, token: highwater_jobmaster::AttemptToken, id: CheckpointId) {
        self.append(at, Append::Completed(id), Recorded::Completed { token, id });
    }

    pub fn recorded(&mut self, at: Process, request: RequestId, result: Result<(), NotRecorded>) {
        let retained = self.setup.checkpoints.retained as usize;
        let Some(leading) = self.leading(at) else { return };
        match (leading.appends.remove(&request), result) {
            (Some(Recorded::Job), Ok(())) => {
                leading.recording = None;
                self.carry_out(at);
            }
            (Some(Recorded::Completed { token, id }), Ok(())) => {
                leading.completed.push(id);
                let excess = leading.completed.len().saturating_sub(retained);
                leading.completed.drain(..excess);
                self.published(at, token, highwater_checkpoint::Event::Published { id });
            }
            (Some(Recorded::Completed { token, id }), Err(error)) => {
                self.seen.not_recorded += 1;
                let may_have_happened = error.outcome() == highwater_storage::Outcome::MayHaveHappened;
                let error = error.to_string();
                let failed = highwater_checkpoint::Event::PublishFailed { id, error, may_have_happened };
                self.published(at, token, failed);
            }
            // It leads no longer, and will be told.
            (Some(Recorded::Job | Recorded::Ended), Err(_)) | (Some(Recorded::Ended), Ok(())) | (None, _) => {}
        }
    }
}

/// What is to be recorded again before anything else, so that the ids of this leader are its own.
fn leading_record(leading: Option<&mut Leading>) -> Option<JobRecord> {
    leading.filter(|leading| !leading.is_reserved).and_then(|leading| leading.record.clone())
}
