//! TaskManagers: their connection to whoever leads, and their part of an attempt, which goes on while nobody does.

use std::collections::BTreeMap;
use std::time::Duration;

use highwater_core::{CheckpointId, Error, ErrorKind, Parallelism};
use highwater_jobmaster::{AttemptToken, Deployment, TaskManagerId};

use super::asking::{Failure, Tag};
use super::leading::id_of;
use super::{What, World, ms};
use crate::job::{self, Effect, Files, Payload, Restored, Worker};
use crate::network::{Connection, Data, Notice, Order, Process, Role, Status};
use crate::storage::{Answer, Ask};

/// How often sources read.
const WORK: Duration = ms(100);
/// A leader that has said nothing for this long is given up.
const SILENCE: Duration = ms(5000);
/// One that does not answer a registration, too.
const NO_ANSWER: Duration = ms(1000);

pub(crate) struct TaskManager {
    pub life: u32,
    pub alive: bool,
    /// Its machine is gone for good, and says nothing more.
    pub power_cut: bool,
    pub frozen_until: Duration,
    /// Its sinks are slow until then.
    pub slow_until: Duration,
    pub part: Option<Part>,
    slots: u32,
    connection: Option<usize>,
    registered: bool,
    heard: Duration,
    /// It was told to stop, and goes once its part is over.
    is_leaving: bool,
    /// When it drops its part, unless a leader comes: the last one fell silent, and may have given it up.
    alone_at: Option<Duration>,
    ticks: u64,
    /// Which JobManager it asks next.
    next: usize,
    /// The newest leader that it has heard of.
    leader: u64,
    /// The newest attempt that it has had a part of.
    newest: Option<AttemptToken>,
    pub early: Vec<Data>,
}

pub(crate) struct Part {
    pub token: AttemptToken,
    deployment: Deployment,
    first_epoch: CheckpointId,
    stage: Stage,
    pub workers: BTreeMap<u32, Worker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Restoring,
    Running,
    Done,
    /// Nothing is done any more, but it is not dropped yet.
    Ending,
}

impl Part {
    fn parallelism(&self) -> Option<Parallelism> {
        Parallelism::new(self.deployment.parallelism())
    }

    fn status(&self) -> Status {
        let ended = self.workers.values().filter(|worker| worker.source_ended).map(|worker| worker.subtask);
        Status {
            token: self.token,
            started: matches!(self.stage, Stage::Running | Stage::Done),
            done: self.stage == Stage::Done,
            ended: ended.collect(),
            epoch: self.workers.values().map(Worker::epoch).max().unwrap_or(self.first_epoch.0),
            is_last: self.workers.values().any(Worker::is_last),
        }
    }

    fn member(&self, subtask: u32) -> Option<TaskManagerId> {
        let process = subtask / self.deployment.workers.max(1);
        self.deployment.members.get(process as usize).map(|member| member.id)
    }
}

impl World {
    pub fn add_task_manager(&mut self, slots: u32) {
        let index = self.task_managers.len();
        self.task_managers.push(TaskManager::new(0, slots));
        self.begin_work(index);
    }

    pub fn restart_task_manager(&mut self, index: usize) {
        let (life, slots) = (self.task_managers[index].life + 1, self.task_managers[index].slots);
        self.task_managers[index] = TaskManager::new(life, slots);
        self.begin_work(index);
    }

    fn begin_work(&mut self, index: usize) {
        let at = self.task_manager(index);
        self.engine.say(format_args!("{at:?} starts"));
        let first = self.engine.between(1, 300);
        self.engine.plan(first, What::Work(at));
    }

    pub fn task_manager(&self, index: usize) -> Process {
        Process { role: Role::TaskManager, index, life: self.task_managers[index].life }
    }

    fn process_of(&self, id: TaskManagerId) -> Process {
        Process { role: Role::TaskManager, index: (id.0 >> 32) as usize, life: id.0 as u32 }
    }

    fn it(&mut self, at: Process) -> &mut TaskManager {
        &mut self.task_managers[at.index]
    }

    /// Sources read, and the connection is looked after.
    pub fn work(&mut self, at: Process) {
        let pause = WORK + self.engine.between(0, 10);
        self.engine.plan(pause, What::Work(at));
        let now = self.engine.now;
        let it = self.it(at);
        it.ticks += 1;
        let silent = now.saturating_sub(it.heard);
        match it.connection {
            None => self.connect(at),
            Some(connection) if silent >= if it.registered { SILENCE } else { NO_ANSWER } => {
                if it.registered {
                    it.alone_at = Some(now + SILENCE);
                }
                self.close(connection, Role::TaskManager);
                self.leader_lost(at, connection);
            }
            Some(_) if it.registered && it.ticks.is_multiple_of(5) => self.say_to_leader(at, Notice::Heartbeat),
            Some(_) => {}
        }
        if self.it(at).alone_at.take_if(|alone_at| *alone_at <= now).is_some() {
            self.seen.dropped_alone += u64::from(self.it(at).part.is_some());
            self.end_part(at);
        }
        let it = self.it(at);
        let Some(part) = it.part.as_mut().filter(|part| part.stage == Stage::Running) else { return };
        let most = if now < it.slow_until { 1 } else { usize::MAX };
        let mut held_back = 0;
        let worked = part.workers.iter_mut().map(|(subtask, worker)| {
            held_back += u64::from(!worker.has_room());
            let effects = worker.read().into_iter().chain(worker.process(most, now));
            (*subtask, effects.collect())
        });
        let (token, effects) = (part.token, worked.collect::<Vec<(u32, Vec<Effect>)>>());
        self.seen.held_back += held_back;
        effects.into_iter().for_each(|(subtask, effects)| self.carry_out_work(at, token, subtask, effects));
    }

    fn connect(&mut self, at: Process) {
        let count = self.job_managers.len();
        let now = self.engine.now;
        let it = self.it(at);
        let asked = it.next % count;
        (it.next, it.heard, it.registered) = (it.next + 1, now, false);
        let holds = it.part.as_ref().filter(|part| part.stage != Stage::Ending).map(Part::status);
        let ending = it.part.as_ref().is_some_and(|part| part.stage == Stage::Ending);
        if ending {
            return;
        }
        let slots = it.slots;
        let job_manager = self.job_manager(asked);
        let connection = self.network.connections.len();
        let (notices, orders) = Default::default();
        self.network.connections.push(Connection {
            task_manager: at,
            job_manager,
            open: (true, false),
            notices,
            orders,
        });
        self.it(at).connection = Some(connection);
        self.say_to_leader(at, Notice::Register { id: id_of(at), slots, holds });
    }

    fn say_to_leader(&mut self, at: Process, notice: Notice) {
        if let Some(connection) = self.it(at).connection {
            self.network.connections[connection].notices.push_back(notice);
            self.send_along(connection, Role::JobManager);
        }
    }

    pub fn leader_lost(&mut self, at: Process, connection: usize) {
        let it = self.it(at);
        if it.connection == Some(connection) {
            it.connection = None;
            it.registered = false;
            if it.is_leaving {
                self.kill_task_manager(at.index);
            }
        }
    }

    /// An order of the leader.
    pub fn obey(&mut self, at: Process, connection: usize, order: Order) {
        let now = self.engine.now;
        let it = self.it(at);
        if it.connection != Some(connection) {
            return;
        }
        it.heard = now;
        if !matches!(order, Order::Heartbeat) {
            self.engine.say(format_args!("{at:?} is told {order:?}"));
        }
        let it = self.it(at);
        match order {
            Order::Heartbeat => {}
            Order::Registered { leader } if leader < it.leader => {
                // One that does not know yet that it was replaced.
                self.close(connection, Role::TaskManager);
                self.leader_lost(at, connection);
            }
            Order::Registered { leader } => (it.leader, it.registered, it.alone_at) = (leader, true, None),
            Order::Start { deployment, first_epoch, restore } => self.start(at, deployment, first_epoch, restore),
            Order::Trigger { token, id, is_last } => {
                self.each_worker(at, token, |worker| worker.trigger(id, is_last));
            }
            Order::Resume { token } => self.each_worker(at, token, |worker| {
                worker.resume();
                Vec::new()
            }),
            Order::Complete { token, id } => {
                self.check_counts(id);
                self.each_worker(at, token, |worker| worker.complete(id));
            }
            Order::Finish { token } => self.finish(at, token),
            Order::Abort { token } => match &it.part {
                Some(part) if part.token == token => self.end_part(at),
                Some(_) | None => self.say_to_leader(at, Notice::Released { token }),
            },
        }
    }

    fn start(&mut self, at: Process, deployment: Deployment, first_epoch: CheckpointId, restore: Option<CheckpointId>) {
        let token = deployment.token;
        let it = self.it(at);
        if let Some(part) = &it.part {
            let held = part.token;
            return self.violate(format!("{at:?} is to start attempt {token} and still has a part of {held}"));
        }
        if it.newest.is_some_and(|newest| newest >= token) {
            return self.violate(format!("{at:?} is to start attempt {token} after a newer one"));
        }
        it.newest = Some(token);
        it.part = Some(Part { token, deployment, first_epoch, stage: Stage::Restoring, workers: BTreeMap::new() });
        match restore {
            Some(id) => {
                self.check_counts(id);
                self.ask(at, Tag::Restore { token, id }, Ask::Open(id));
            }
            None => self.restored(at, &Restored::default()),
        }
    }

    /// An answer of the storage to a TaskManager.
    pub fn task_manager_answered(&mut self, at: Process, tag: Tag, result: Result<Answer, Failure>) {
        let part = self.it(at).part.as_ref().map(|part| (part.token, part.stage));
        match (tag, result) {
            (Tag::Restore { token, id }, result) if part == Some((token, Stage::Restoring)) => {
                let restored = match result {
                    Ok(Answer::Opened(files)) => self.verified(at, id, files),
                    Ok(_) => return,
                    Err(failure) => Err(Error::new(failure.kind, failure.why)),
                };
                match restored {
                    Ok(restored) => self.restored(at, &restored),
                    Err(error) => {
                        self.engine.say(format_args!("{at:?} cannot restore: {error}"));
                        self.fail_part(at, error.kind(), Vec::new());
                    }
                }
            }
            (Tag::Wrote { token, id, task, snapshot, files }, Ok(_)) if part == Some((token, Stage::Running)) => {
                self.say_to_leader(at, Notice::Acknowledged { token, id, task, snapshot, files });
            }
            (Tag::Wrote { token, id, task, .. }, Err(_)) if part == Some((token, Stage::Running)) => {
                self.say_to_leader(at, Notice::Declined { token, id, task });
            }
            _ => {}
        }
    }

    /// What was read of a checkpoint, which may have been damaged on its way: once at most for each, since a leader gives one up that is
    /// damaged again.
    fn verified(&mut self, at: Process, id: CheckpointId, mut files: Files) -> Result<Restored, Error> {
        let is_damaged = self.is_rough() && !self.misread.contains(&id) && self.engine.random.chance(20);
        let place = if is_damaged { self.flip_a_bit(&mut files) } else { None };
        let opened = job::open(id, &files).map(|(_, restored)| restored);
        if let Some((name, byte)) = place {
            self.misread.insert(id);
            self.seen.misread += 1;
            self.engine.say(format_args!("{at:?}: a bit of byte {byte} of {name} of {id} was damaged on its way"));
            self.check_verified(id, &name, byte, &opened);
        }
        opened
    }

    fn flip_a_bit(&mut self, files: &mut Files) -> Option<(String, usize)> {
        let random = &mut self.engine.random;
        let which = random.up_to(files.len().checked_sub(1)?);
        let (name, bytes) = files.iter_mut().nth(which)?;
        let byte = random.up_to(bytes.len().checked_sub(1)?);
        bytes[byte] ^= 1 << random.up_to(7);
        Some((name.clone(), byte))
    }

    /// The state is there: the processes connect to each other.
    fn restored(&mut self, at: Process, restored: &Restored) {
        let input = self.setup.input;
        let me = id_of(at);
        let Some(part) = &self.task_managers[at.index].part else { return };
        let (token, first_epoch, workers) = (part.token, part.first_epoch, part.deployment.workers);
        let (Some(parallelism), Some(process)) = (part.parallelism(), part.deployment.process(me)) else { return };
        let peers: Vec<Process> = part
            .deployment
            .members
            .iter()
            .map(|member| self.process_of(member.id))
            .filter(|peer| *peer != at)
            .collect();
        for peer in peers {
            if self.thaws_at(peer).is_none() {
                let delay = self.engine.between(1, 50);
                self.engine.plan(delay, What::PeerLost { at, peer, token, unreachable: false });
            } else if self.network.is_cut(at, peer) {
                self.engine.plan(ms(1000), What::PeerLost { at, peer, token, unreachable: true });
            }
        }
        let mut effects = Vec::new();
        let mut made = BTreeMap::new();
        for subtask in process.0 * workers..(process.0 + 1) * workers {
            let (worker, commits) = Worker::restore(token, subtask, parallelism, input, first_epoch, restored);
            made.insert(subtask, worker);
            effects.push((subtask, commits));
        }
        if let Some(part) = &mut self.it(at).part {
            (part.workers, part.stage) = (made, Stage::Running);
        }
        self.say_to_leader(at, Notice::Started { token });
        effects.into_iter().for_each(|(subtask, effects)| self.carry_out_work(at, token, subtask, effects));
        let early = std::mem::take(&mut self.it(at).early);
        early.into_iter().for_each(|data| self.receive(at, data));
    }

    fn each_worker(&mut self, at: Process, token: AttemptToken, act: impl Fn(&mut Worker) -> Vec<Effect>) {
        let Some(part) = &mut self.it(at).part else { return };
        if part.token != token || part.stage != Stage::Running {
            return;
        }
        let effects: Vec<(u32, Vec<Effect>)> =
            part.workers.iter_mut().map(|(subtask, worker)| (*subtask, act(worker))).collect();
        effects.into_iter().for_each(|(subtask, effects)| self.carry_out_work(at, token, subtask, effects));
    }

    fn carry_out_work(&mut self, at: Process, token: AttemptToken, subtask: u32, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send { to, what } => self.send_data(at, Data { token, from: subtask, to, what }),
                Effect::Snapshot { id, operator, content } => {
                    let Some(parallelism) = self.it(at).part.as_ref().and_then(Part::parallelism) else { return };
                    let bytes = content.encode();
                    let key_groups = self.setup.input.key_groups;
                    let (snapshot, files) = job::handles(operator, subtask, parallelism, key_groups, id, &bytes);
                    let (task, name) = (job::task(operator, subtask), format!("{operator}-{subtask}"));
                    let tag = Tag::Wrote { token, id, task, snapshot, files };
                    self.ask(at, tag, Ask::Write { id, name, bytes });
                }
                Effect::SourceEnded => self.say_to_leader(at, Notice::SourceEnded { token, subtask }),
                Effect::Commit(transaction) => self.commit(transaction),
                Effect::Wrong(what) => self.violate(what),
            }
        }
    }

    fn send_data(&mut self, at: Process, data: Data) {
        let to = self.it(at).part.as_ref().and_then(|part| part.member(data.to)).map(|id| self.process_of(id));
        let Some(to) = to else { return };
        self.network.channels.entry((at, to)).or_default().push_back(data);
        if matches!(data.what, Payload::Record { .. }) {
            self.check_on_the_way(at, to, data);
        }
        let delay = if to == at { Duration::ZERO } else { self.engine.between(0, 20) };
        self.engine.plan(delay, What::Data { from: at, to });
    }

    /// The next message between two TaskManagers arrives.
    pub fn data(&mut self, from: Process, to: Process) {
        if self.network.is_cut(from, to) {
            return self.engine.plan(ms(20), What::Data { from, to });
        }
        if let Some(data) = self.network.channels.get_mut(&(from, to)).and_then(|channel| channel.pop_front()) {
            self.receive(to, data);
        }
    }

    fn receive(&mut self, at: Process, data: Data) {
        let now = self.engine.now;
        let it = self.it(at);
        let is_slow = now < it.slow_until;
        let is_to_come = it.newest.is_none_or(|newest| newest < data.token);
        match &mut it.part {
            Some(part) if part.token == data.token && part.stage == Stage::Running => {
                let Some(worker) = part.workers.get_mut(&data.to) else { return };
                worker.receive(data.from, data.what);
                let effects = if is_slow { Vec::new() } else { worker.process(usize::MAX, now) };
                self.seen.stashed += u64::from(worker.stashed() > 0);
                self.carry_out_work(at, data.token, data.to, effects);
            }
            Some(part) if part.token == data.token && part.stage == Stage::Restoring => it.early.push(data),
            Some(_) | None if is_to_come => it.early.push(data),
            Some(_) | None => {}
        }
    }

    /// All is committed: the part has come to its end.
    fn finish(&mut self, at: Process, token: AttemptToken) {
        let Some(part) = self.it(at).part.as_mut().filter(|part| part.token == token) else { return };
        if part.stage == Stage::Running {
            part.stage = Stage::Done;
            self.bad_moment();
            self.say_to_leader(at, Notice::Done { token });
            let delay = self.engine.between(1, 300);
            self.engine.plan(delay, What::Dropped { at, token });
        }
    }

    /// The part fails here.
    pub fn fail_part(&mut self, at: Process, kind: ErrorKind, unreachable: Vec<(TaskManagerId, TaskManagerId)>) {
        let Some(part) = &self.it(at).part else { return };
        if matches!(part.stage, Stage::Restoring | Stage::Running) {
            let token = part.token;
            self.seen.failures += 1;
            self.engine.say(format_args!("{at:?}: its part of {token} fails: {kind}"));
            self.say_to_leader(at, Notice::Failed { token, kind, unreachable });
            self.end_part(at);
        }
    }

    fn end_part(&mut self, at: Process) {
        let Some(part) = self.it(at).part.as_mut().filter(|part| part.stage != Stage::Ending) else { return };
        part.stage = Stage::Ending;
        let token = part.token;
        self.peers_notice(at);
        let longest = if self.engine.random.chance(50) { 20 } else { 300 };
        let delay = self.engine.between(1, longest);
        self.engine.plan(delay, What::Dropped { at, token });
    }

    /// The other processes of the attempt see their connections to this one end.
    fn peers_notice(&mut self, at: Process) {
        let Some(part) = &self.task_managers[at.index].part else { return };
        let token = part.token;
        let peers: Vec<Process> = part.deployment.members.iter().map(|member| self.process_of(member.id)).collect();
        for peer in peers.into_iter().filter(|peer| *peer != at) {
            let delay = self.engine.between(1, 50);
            self.engine.plan(delay, What::PeerLost { at: peer, peer: at, token, unreachable: false });
        }
    }

    pub fn dropped(&mut self, at: Process, token: AttemptToken) {
        let it = self.it(at);
        if it.part.as_ref().is_some_and(|part| part.token == token) {
            it.part = None;
            it.early.retain(|data| data.token > token);
            self.say_to_leader(at, Notice::Released { token });
            if self.it(at).is_leaving {
                self.seen.left += 1;
                self.kill_task_manager(at.index);
            }
        }
    }

    pub fn peer_lost(&mut self, at: Process, peer: Process, token: AttemptToken, unreachable: bool) {
        let has_part = self.it(at).part.as_ref().is_some_and(|part| part.token == token);
        let mended = unreachable && !self.network.is_cut(at, peer);
        if has_part && !mended {
            let unreachable = if unreachable { vec![(id_of(at), id_of(peer))] } else { Vec::new() };
            self.fail_part(at, ErrorKind::Cluster, unreachable);
        }
    }

    /// It is told to stop: with a part of an attempt it asks its leader to be let go, and waits for that until the end of its patience.
    pub fn leave(&mut self, index: usize) {
        let at = self.task_manager(index);
        let it = self.it(at);
        let waits = it.alive && it.registered && it.part.is_some();
        it.is_leaving = waits;
        self.engine.say(format_args!("{at:?} is told to stop, and waits: {waits}"));
        if waits {
            self.say_to_leader(at, Notice::Leaving);
        } else if self.it(at).alive {
            self.kill_task_manager(index);
        }
    }

    pub fn kill_task_manager(&mut self, index: usize) {
        let at = self.task_manager(index);
        self.engine.say(format_args!("{at:?} is killed"));
        self.peers_notice(at);
        let connection = self.task_managers[index].connection.take();
        self.task_managers[index].alive = false;
        self.task_managers[index].part = None;
        if let Some(connection) = connection {
            self.close(connection, Role::TaskManager);
        }
    }

    /// A machine goes without a word, unless too few would be left.
    pub fn cut_power(&mut self, index: usize) {
        let others =
            self.task_managers.iter().enumerate().filter(|(other, it)| *other != index && !it.power_cut).count();
        let at = self.task_manager(index);
        let it = &mut self.task_managers[index];
        if others >= 2 && it.alive {
            (it.alive, it.power_cut, it.part, it.connection) = (false, true, None, None);
            self.seen.kills += 1;
            self.engine.say(format_args!("the machine of {at:?} is gone"));
        }
    }

    pub fn break_connection(&mut self, index: usize) {
        if let Some(connection) = self.task_managers[index].connection {
            self.engine.say(format_args!("the connection of {:?} breaks", self.task_manager(index)));
            self.tell_loss(connection, Role::TaskManager);
            self.tell_loss(connection, Role::JobManager);
        }
    }

    /// Two TaskManagers do not reach each other: those that have parts of one attempt find out.
    pub fn link_is_cut(&mut self, a: usize, b: usize) {
        let ends = (self.task_manager(a), self.task_manager(b));
        let token = |index: usize| self.task_managers[index].part.as_ref().map(|part| part.token);
        let (Some(token), true) = (token(a), token(a) == token(b)) else { return };
        for (at, peer) in [(ends.0, ends.1), (ends.1, ends.0)] {
            let delay = self.engine.between(500, 2000);
            self.engine.plan(delay, What::PeerLost { at, peer, token, unreachable: true });
        }
    }
}

impl TaskManager {
    fn new(life: u32, slots: u32) -> Self {
        TaskManager {
            life,
            alive: true,
            power_cut: false,
            frozen_until: Duration::ZERO,
            slow_until: Duration::ZERO,
            part: None,
            slots,
            connection: None,
            registered: false,
            heard: Duration::ZERO,
            is_leaving: false,
            alone_at: None,
            ticks: 0,
            next: 0,
            leader: 0,
            newest: None,
            early: Vec::new(),
        }
    }
}
