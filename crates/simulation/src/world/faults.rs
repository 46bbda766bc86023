//! What goes wrong, and is mended, and what people ask for: all of it before a certain time, after which the job has to come to its end.

use std::time::Duration;

use highwater_checkpoint::RequestId;
use highwater_core::{ErrorKind, Parallelism};
use highwater_jobmaster::Event;

use super::driver::Stopping;
use super::{What, World, ms};
use crate::network::{Process, Role};

/// Nothing goes wrong before that.
const QUIET: Duration = ms(5000);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    KillTaskManager(usize),
    KillJobManager(usize),
    /// For good, and nobody is told: its machine is gone.
    PowerCut(usize),
    FreezeTaskManager(usize),
    FreezeJobManager(usize),
    /// Between a TaskManager and a JobManager.
    CutLeader(usize, usize),
    /// Between two TaskManagers.
    CutPeers(usize, usize),
    StorageAway,
    StorageAwayFrom(usize),
    BreakConnection(usize),
    UserException(usize),
    NewTaskManager,
    SlowSinks(usize),
    Rescale,
    /// A TaskManager is told to stop.
    Leave(usize),
    Savepoint,
    Stop(Stopping),
    Cancel,
}

impl World {
    pub fn plan_faults(&mut self) {
        let until = self.setup.faults_until;
        let mut at = QUIET;
        let pause = 500 + self.engine.random.up_to(9500) as u64;
        while at < until {
            let fault = self.draw_fault();
            self.engine.plan_at(at, What::Fault(fault));
            at += self.engine.between(50, pause);
        }
        self.engine.plan_at(until, What::Calm);
        if let Some((at, end)) = self.setup.end {
            self.engine.plan_at(at, What::Fault(end));
        }
    }

    fn draw_fault(&mut self) -> Fault {
        let random = &mut self.engine.random;
        let task_manager = random.up_to(self.task_managers.len() - 1);
        let other = (task_manager + 1 + random.up_to(self.task_managers.len() - 2)) % self.task_managers.len();
        let job_manager = random.up_to(self.job_managers.len() - 1);
        match random.up_to(22) {
            0..=2 => Fault::KillTaskManager(task_manager),
            3..=4 => Fault::KillJobManager(job_manager),
            5 => Fault::FreezeTaskManager(task_manager),
            6 => Fault::FreezeJobManager(job_manager),
            7 => Fault::CutLeader(task_manager, job_manager),
            8 => Fault::CutPeers(task_manager, other),
            9 => Fault::StorageAway,
            10 => Fault::StorageAwayFrom(job_manager),
            11 => Fault::BreakConnection(task_manager),
            12 => Fault::UserException(task_manager),
            13 => Fault::NewTaskManager,
            14 => Fault::PowerCut(task_manager),
            15..=16 => Fault::SlowSinks(task_manager),
            17..=18 => Fault::Savepoint,
            19..=20 => Fault::Leave(task_manager),
            _ => Fault::Rescale,
        }
    }

    /// Something is under way in which a fault is worth more than at another time.
    pub fn bad_moment(&mut self) {
        if self.is_rough() && self.engine.random.chance(8) {
            let (fault, delay) = (self.draw_fault(), self.engine.between(0, 30));
            self.engine.plan(delay, What::Fault(fault));
        }
    }

    /// Whether anything may go wrong now.
    pub fn is_rough(&self) -> bool {
        !self.calm && self.engine.now > QUIET
    }

    pub fn fault(&mut self, fault: Fault) {
        self.engine.say(format_args!("FAULT {fault:?}"));
        let lasts =
            if self.engine.random.chance(50) { self.engine.between(50, 2000) } else { self.engine.between(50, 12_000) };
        let mended = (self.engine.now + lasts).min(self.setup.faults_until);
        match fault {
            Fault::KillTaskManager(index) if self.task_managers[index].alive => {
                self.seen.kills += 1;
                self.kill_task_manager(index);
            }
            Fault::KillJobManager(index) if self.job_managers[index].alive => {
                self.seen.kills += 1;
                self.kill_job_manager(index);
            }
            Fault::KillTaskManager(_) | Fault::KillJobManager(_) => return,
            Fault::PowerCut(index) => self.cut_power(index),
            Fault::FreezeTaskManager(index) => self.task_managers[index].frozen_until = mended,
            Fault::FreezeJobManager(index) => self.job_managers[index].frozen_until = mended,
            Fault::CutLeader(task_manager, job_manager) => {
                self.network.cut((Role::TaskManager, task_manager), (Role::JobManager, job_manager));
            }
            Fault::CutPeers(a, b) => {
                self.network.cut((Role::TaskManager, a), (Role::TaskManager, b));
                self.link_is_cut(a, b);
            }
            Fault::StorageAway => self.storage_away += 1,
            Fault::StorageAwayFrom(index) => self.job_managers[index].storage_away += 1,
            Fault::BreakConnection(index) => self.break_connection(index),
            Fault::UserException(index) if self.task_managers[index].alive => {
                self.fail_part(self.task_manager(index), ErrorKind::UserFunction, Vec::new());
            }
            Fault::UserException(_) => {}
            Fault::NewTaskManager if self.task_managers.len() < 6 => self.add_task_manager(2),
            Fault::NewTaskManager => {}
            Fault::SlowSinks(index) => self.task_managers[index].slow_until = mended,
            Fault::Rescale => {
                let wanted = 1 + self.engine.random.up_to(3) as u32;
                let Some(parallelism) = Parallelism::new(wanted) else { return };
                self.ask_leaders(|world, at| {
                    world.decide(at, Event::Rescale { request: RequestId(0), parallelism });
                });
            }
            Fault::Leave(index) => self.leave(index),
            Fault::Savepoint => self.ask_leaders(Self::take_savepoint),
            Fault::Stop(stopping) => {
                self.ask_leaders(|world, at| world.stop(at, stopping));
                // It is over soon: whatever can go wrong in it does so now.
                if self.is_rough() {
                    let (then, delay) = (self.draw_fault(), self.engine.between(0, 100));
                    self.engine.plan(delay, What::Fault(then));
                }
            }
            Fault::Cancel => self.ask_leaders(|world, at| world.decide(at, Event::Cancel)),
        }
        self.engine.plan_at(mended, What::Mend(fault));
    }

    pub fn mend(&mut self, fault: Fault) {
        match fault {
            Fault::KillTaskManager(index) if !self.task_managers[index].power_cut => self.restart_task_manager(index),
            Fault::Leave(index) if !self.task_managers[index].power_cut => {
                if self.task_managers[index].alive {
                    self.kill_task_manager(index);
                }
                self.restart_task_manager(index);
            }
            Fault::KillTaskManager(_) | Fault::Leave(_) | Fault::PowerCut(_) => {}
            Fault::KillJobManager(index) => self.restart_job_manager(index),
            Fault::CutLeader(task_manager, job_manager) => {
                self.network.mend((Role::TaskManager, task_manager), (Role::JobManager, job_manager));
            }
            Fault::CutPeers(a, b) => self.network.mend((Role::TaskManager, a), (Role::TaskManager, b)),
            Fault::StorageAway => self.storage_away -= 1,
            Fault::StorageAwayFrom(index) => self.job_managers[index].storage_away -= 1,
            Fault::FreezeTaskManager(_) | Fault::FreezeJobManager(_) | Fault::SlowSinks(_) => {}
            Fault::BreakConnection(_) | Fault::UserException(_) | Fault::NewTaskManager | Fault::Rescale => {}
            Fault::Savepoint | Fault::Stop(_) | Fault::Cancel => {}
        }
    }

    pub fn be_calm(&mut self) {
        self.engine.say(format_args!("nothing goes wrong any more"));
        self.calm = true;
    }

    /// Somebody asks every JobManager that thinks it leads.
    fn ask_leaders(&mut self, ask: impl Fn(&mut Self, Process)) {
        for index in 0..self.job_managers.len() {
            let at = self.job_manager(index);
            if self.job_managers[index].alive && self.engine.now >= self.job_managers[index].frozen_until {
                ask(self, at);
                self.arm(at);
            }
        }
    }
}
