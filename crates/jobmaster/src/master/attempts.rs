//! From one attempt to the next: failures, what is waited for, and deployments.

use std::collections::BTreeSet;
use std::time::Duration;

use highwater_checkpoint::{Decision, Failure};
use highwater_core::{Error, ErrorKind, KeyHash};

use super::{Deployed, JobMaster, Stage, Waiting, lost};
use crate::id::{AttemptToken, TaskManagerId};
use crate::layout::{self, Layout, Offer};
use crate::protocol::{Command, Deployment, JobEnd, JobRecord, Member, Notice};
use crate::reach::Suspicion;
use crate::registry::TaskManager;

/// How often people are told that the job still waits.
const SAY_AGAIN: Duration = Duration::from_secs(30);

impl JobMaster {
    pub(super) fn attach_if_all_are_there(&mut self) {
        let Stage::Attaching { arrived, since } = &self.stage else { return };
        let Some(newest) = &self.newest else { return };
        if newest.members.iter().all(|member| arrived.contains(&member.id)) {
            let deployed = Deployed::new(self.now, true);
            self.commands.push(Command::Attach(newest.clone()));
            self.stage = Stage::Deployed(deployed);
            self.concluded = false;
        } else if self.now >= self.given_up_at(*since) {
            let waited = self.config.resource_wait;
            let missing = newest.members.iter().filter(|member| !arrived.contains(&member.id));
            let missing: Vec<&str> = missing.map(|member| member.address.as_str()).collect();
            let missing = missing.join(", ");
            self.fail(lost(format!("the TaskManagers at {missing} did not come to the new leader within {waited:?}")));
        }
    }

    /// When the members of an attempt to attach are no longer waited for.
    pub(super) fn given_up_at(&self, since: Duration) -> Duration {
        since.saturating_add(self.config.resource_wait)
    }

    pub(super) fn run(&mut self, token: AttemptToken) {
        let (now, is_newest) = (self.now, self.is_newest(token));
        let Stage::Deployed(deployed) = &mut self.stage else { return };
        if !is_newest || deployed.running_since.is_some() {
            return;
        }
        deployed.running_since = Some(now);
        self.has_run = true;
        if let Some(newest) = &self.newest {
            self.reach.worked(&newest.members.iter().map(|member| member.id).collect());
        }
        self.rescaled();
    }

    pub(super) fn attempt_failed(
        &mut self,
        token: AttemptToken,
        error: Error,
        unreachable: &[(TaskManagerId, TaskManagerId)],
    ) {
        if !self.is_newest(token) {
            return;
        }
        // Also of an attempt that has failed already, for another reason: both ends of a connection have something to say.
        self.reach.failed(unreachable, self.now);
        self.fail(error);
    }

    /// The newest attempt, if it is not over yet, has failed.
    pub(super) fn fail(&mut self, error: Error) {
        let (since, running_since) = match &self.stage {
            Stage::Attaching { since, .. } => (*since, Some(*since)),
            Stage::Deployed(deployed) => (self.now, deployed.running_since),
            Stage::Waiting(_) | Stage::Ending(_) | Stage::Over => return,
        };
        self.abort_newest(&error.to_string());
        self.rescale_failed(&error);
        // A job that has never run, and for a reason that is not another process, is set up wrongly: its user wants to hear that now.
        if self.stopping || (!self.has_run && error.kind() != ErrorKind::Cluster) {
            self.stage = Stage::Ending(Err(error));
            return;
        }
        let failure = Failure { kind: error.kind(), at: self.now, running_since };
        let jitter = self.jitter();
        match self.restarts.on_failure(failure, jitter) {
            Decision::GiveUp { why } => {
                self.stage = Stage::Ending(Err(error.context(format!("the job has failed: {why}"))))
            }
            Decision::RestartAfter(delay) => {
                let delay = self.delay_after(&error, running_since, delay);
                self.tell(Notice::Restarting { why: error.to_string(), after: delay });
                self.wait(since, delay, error);
            }
        }
    }

    /// A process that was lost is no reason to wait: another may be there. But if attempts end sooner than the restart strategy would
    /// wait, something ends processes again and again.
    fn delay_after(&self, error: &Error, running_since: Option<Duration>, delay: Duration) -> Duration {
        let ran_for = running_since.map_or(Duration::ZERO, |since| self.now.saturating_sub(since));
        if error.kind() == ErrorKind::Cluster && ran_for >= delay { Duration::ZERO } else { delay }
    }

    pub(super) fn pass_over(&mut self, token: AttemptToken, error: Error) {
        if self.is_newest(token) && matches!(self.stage, Stage::Deployed(_)) {
            self.abort_newest(&error.to_string());
            self.tell(Notice::Restarting { why: error.to_string(), after: Duration::ZERO });
            self.wait(self.now, Duration::ZERO, error);
        }
    }

    /// The next attempt follows `delay` from now, with as many workers as the one before.
    fn wait(&mut self, since: Duration, delay: Duration, error: Error) {
        let before = self.newest.as_ref().map(Deployment::parallelism);
        let worth =
            before.or(self.config.parallelism.map(|wanted| wanted.count())).map(|worth| worth.min(self.ceiling()));
        let not_before = self.now.saturating_add(delay);
        self.stage = Stage::Waiting(Waiting { since, not_before, worth, error: Some(error) });
        self.said.waiting = None;
    }

    /// Also of an attempt that was given up meanwhile: what is committed is committed.
    pub(super) fn attempt_ended(&mut self, token: AttemptToken, end: JobEnd) {
        if self.is_newest(token) && !self.concluded && !matches!(self.stage, Stage::Over) {
            self.end(Ok(end));
        }
    }

    /// A number in 0..1 that differs between jobs that failed together.
    fn jitter(&mut self) -> f64 {
        self.restarts_drawn += 1;
        let mut drawn = self.facts.seed.to_le_bytes().to_vec();
        drawn.extend(self.restarts_drawn.to_le_bytes());
        (KeyHash::of(&drawn).0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// When the job goes on with fewer workers than are worth waiting for.
    pub(super) fn fewer_at(&self, waiting: &Waiting) -> Duration {
        let (since, wait) = match waiting.worth {
            Some(_) => (waiting.since, self.config.resource_wait),
            None => (self.registry.changed(), self.config.scale_up_wait),
        };
        since.saturating_add(wait)
    }

    pub(super) fn deploy_if_possible(&mut self) {
        let is_over = self.is_over();
        let Stage::Waiting(waiting) = &mut self.stage else { return };
        if self.registry.is_empty() && self.newest.is_none() {
            waiting.since = self.now;
        }
        if !is_over || self.now < waiting.not_before {
            return;
        }
        let (worth, not_before) = (waiting.worth, self.fewer_at_now());
        let (layout, left_out) = self.layout(self.ceiling());
        let possible = layout.parallelism();
        let is_worth = worth.is_some_and(|worth| possible >= worth);
        if possible < self.config.min_parallelism.count() || !(is_worth || self.now >= not_before) {
            return self.say_waiting(possible, worth);
        }
        if let Some(wanted) = worth.filter(|_| !is_worth) {
            self.tell(Notice::FewerWorkers { parallelism: possible, wanted });
        }
        self.say_left_out(left_out);
        self.say_unused(&layout);
        self.deploy(layout);
    }

    fn fewer_at_now(&self) -> Duration {
        match &self.stage {
            Stage::Waiting(waiting) => self.fewer_at(waiting),
            _ => self.now,
        }
    }

    fn deploy(&mut self, layout: Layout) {
        let token = self.next_token;
        self.next_token = token.next();
        let address = |id: TaskManagerId| self.registry.get(id).map(|known| known.address.clone()).unwrap_or_default();
        let members: Vec<Member> = layout.members.iter().map(|id| Member { id: *id, address: address(*id) }).collect();
        layout.members.iter().for_each(|id| self.registry.deploy(*id, token));
        let deployment = Deployment { token, members, workers: layout.workers };
        self.newest = Some(deployment.clone());
        self.concluded = false;
        self.stage = Stage::Deployed(Deployed::new(self.now, false));
        self.record();
        self.commands.push(Command::Deploy(deployment));
    }

    pub(super) fn record(&mut self) {
        if let Some(deployment) = self.newest.clone() {
            self.commands.push(Command::Record(JobRecord { deployment, rescaled_to: self.rescaled_to }));
        }
    }

    /// The best layout with at most `ceiling` workers, and who is left out since others cannot reach it.
    pub(super) fn layout(&self, ceiling: u32) -> (Layout, BTreeSet<TaskManagerId>) {
        let previous: Vec<TaskManagerId> =
            self.newest.iter().flat_map(|newest| &newest.members).map(|member| member.id).collect();
        let offers = self.offers();
        let choose = |left_out: &BTreeSet<TaskManagerId>| {
            let offers: Vec<Offer> = offers.iter().copied().filter(|offer| !left_out.contains(&offer.id)).collect();
            layout::choose(&offers, ceiling, &previous)
        };
        let mut ranked: Vec<TaskManagerId> = offers.iter().map(|offer| offer.id).collect();
        ranked.sort_by_key(|id| (!previous.contains(id), *id));
        let all = choose(&BTreeSet::new());
        let min = self.config.min_parallelism.count();
        for (suspicion, least) in [(Suspicion::Once, all.parallelism()), (Suspicion::Again, min)] {
            let left_out = self.reach.left_out(&ranked, suspicion, self.now);
            let apart = choose(&left_out);
            if !left_out.is_empty() && apart.parallelism() >= least {
                return (apart, left_out);
            }
        }
        (all, BTreeSet::new())
    }

    /// The TaskManagers that the next attempt could use.
    fn offers(&self) -> Vec<Offer> {
        let is_free = |known: &&TaskManager| !known.is_leaving && known.holds.is_none_or(|token| self.is_newest(token));
        self.registry.iter().filter(is_free).map(|known| Offer { id: known.id, slots: known.slots }).collect()
    }

    fn say_waiting(&mut self, possible: u32, wanted: Option<u32>) {
        if self.say_again_at().is_none_or(|at| self.now >= at) {
            self.said.waiting = Some(self.now);
            let min = self.config.min_parallelism.count();
            self.tell(Notice::WaitingForSlots { possible, wanted, min });
        }
    }

    pub(super) fn say_again_at(&self) -> Option<Duration> {
        self.said.waiting.map(|said| said.saturating_add(SAY_AGAIN))
    }

    fn say_left_out(&mut self, left_out: BTreeSet<TaskManagerId>) {
        if !left_out.is_empty() && left_out != self.said.left_out {
            let names = left_out.iter().map(|id| self.name(*id)).collect();
            self.tell(Notice::KeptApart { left_out: names });
        }
        self.said.left_out = left_out;
    }

    fn say_unused(&mut self, layout: &Layout) {
        let slots = self.offers().iter().fold(0u32, |sum, offer| sum.saturating_add(offer.slots));
        let unused = slots.min(self.ceiling()).saturating_sub(layout.parallelism());
        if unused > 0 && unused != self.said.unused {
            self.tell(Notice::UnusedSlots { unused, workers: layout.workers });
        }
        self.said.unused = unused;
    }
}
