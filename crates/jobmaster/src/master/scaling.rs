//! Other parallelism for a job that runs: because slots have come, or because somebody asks for it. Both go through a checkpoint that is
//! taken at once, from which the next attempt goes on.

use std::time::Duration;

use highwater_checkpoint::RequestId;
use highwater_core::{Error, Parallelism};

use super::{Deployed, JobMaster, Purpose, Rescale, Stage, Waiting};
use crate::id::AttemptToken;
use crate::protocol::{Command, Deployment, Notice};

impl JobMaster {
    /// When new slots may be used.
    pub(super) fn scale_up_at(&self, deployed: &Deployed) -> Duration {
        let stable = self.registry.changed().saturating_add(self.config.scale_up_wait);
        let rested = deployed.at.saturating_add(self.config.scale_up_pause);
        stable.max(rested).max(deployed.not_asked_before)
    }

    pub(super) fn scale_up_if_due(&mut self) {
        let Stage::Deployed(deployed) = &self.stage else { return };
        let may_change = self.facts.has_checkpoints && !self.stopping;
        let is_busy = deployed.running_since.is_none() || deployed.asked.is_some();
        if !may_change || is_busy || self.now < self.scale_up_at(deployed) {
            return;
        }
        let (current, possible) = (self.parallelism(), self.layout(self.ceiling()).0.parallelism());
        if possible > current {
            self.ask(Purpose::ScaleUp, format!("to go on with {possible} workers instead of {current}"));
        }
    }

    pub(super) fn rescale(&mut self, request: RequestId, parallelism: Parallelism) {
        if let Err(why) = self.check_rescale(parallelism) {
            return self.commands.push(Command::Answer { request, result: Err(why) });
        }
        if self.parallelism() == parallelism.count() {
            self.rescaled_to = Some(parallelism);
            self.record();
            return self.commands.push(Command::Answer { request, result: Ok(parallelism) });
        }
        self.rescale = Some(Rescale { request, parallelism, under_way: false });
        match &mut self.stage {
            // The checkpoint that is under way serves both.
            Stage::Deployed(Deployed { asked: Some(purpose), .. }) => *purpose = Purpose::Rescale,
            _ => self.ask(Purpose::Rescale, format!("to go on with {parallelism} workers")),
        }
    }

    fn check_rescale(&self, parallelism: Parallelism) -> Result<(), String> {
        let (min, max) = (self.config.min_parallelism.count(), self.facts.max_parallelism.count());
        let wanted = parallelism.count();
        if !matches!(&self.stage, Stage::Deployed(deployed) if deployed.running_since.is_some()) {
            return Err("the job does not run now: ask again when it does".to_owned());
        }
        if self.stopping {
            return Err("the job is stopping".to_owned());
        }
        if self.rescale.is_some() {
            return Err("the parallelism is being changed already: ask again when it has".to_owned());
        }
        if !self.facts.has_checkpoints {
            return Err(
                "the job takes no checkpoints, so it would lose its state: give it a checkpoint interval".to_owned()
            );
        }
        if !(min..=max).contains(&wanted) {
            return Err(format!(
                "parallelism {wanted} is not between the min parallelism {min} and the max parallelism {max} of the job"
            ));
        }
        let possible = self.layout(wanted).0.parallelism();
        if possible != wanted {
            return Err(format!(
                "parallelism {wanted} is not possible now, {possible} is: every process of a job has the same number of \
                 workers; start TaskManagers with as many slots as the others"
            ));
        }
        Ok(())
    }

    pub(super) fn ask(&mut self, purpose: Purpose, why: String) {
        let Some(token) = self.newest.as_ref().map(|newest| newest.token) else { return };
        if let Stage::Deployed(deployed) = &mut self.stage {
            deployed.asked = Some(purpose);
            self.commands.push(Command::TakeCheckpoint { token, why });
        }
    }

    pub(super) fn checkpoint_taken(&mut self, token: AttemptToken, result: Result<(), String>) {
        let (is_newest, someone_leaves) = (self.is_newest(token), self.leaving().next().is_some());
        let Stage::Deployed(deployed) = &mut self.stage else { return };
        let Some(purpose) = deployed.asked.take_if(|_| is_newest) else { return };
        let not_before = self.now.saturating_add(self.config.scale_up_pause);
        match (purpose, result) {
            _ if self.stopping => self.answer_rescale(Err("the job is stopping".to_owned())),
            (Purpose::ScaleUp | Purpose::Leave, Ok(())) if someone_leaves => self.redeploy_without(),
            // They are gone.
            (Purpose::Leave, Ok(())) => {}
            (Purpose::Leave, Err(why)) => self.leave_failed(why),
            (Purpose::ScaleUp, Ok(())) => {
                // The slots may be gone again.
                let (current, possible) = (self.parallelism(), self.layout(self.ceiling()).0.parallelism());
                if possible > current {
                    self.redeploy(current, &format!("the job goes on with {possible} workers"));
                }
            }
            (Purpose::ScaleUp, Err(why)) => {
                deployed.not_asked_before = not_before;
                self.tell(Notice::ScaleUpFailed { why });
            }
            (Purpose::Rescale, Ok(())) => self.carry_out_rescale(),
            (Purpose::Rescale, Err(why)) => {
                self.answer_rescale(Err(format!("the checkpoint to go on from failed: {why}")));
            }
        }
    }

    fn carry_out_rescale(&mut self) {
        let Some(rescale) = &mut self.rescale else { return };
        rescale.under_way = true;
        let parallelism = rescale.parallelism;
        self.rescaled_to = Some(parallelism);
        self.redeploy(parallelism.count(), &format!("the job was rescaled to {parallelism} workers"));
    }

    /// Ends the attempt in order to go on in another way, with a parallelism of which `worth` is worth waiting for.
    pub(super) fn redeploy(&mut self, worth: u32, why: &str) {
        self.abort_newest(why);
        let (since, not_before) = (self.now, self.now);
        self.stage = Stage::Waiting(Waiting { since, not_before, worth: Some(worth), error: None });
        self.said.waiting = None;
    }

    /// The next attempt runs.
    pub(super) fn rescaled(&mut self) {
        let runs_with = Parallelism::new(self.parallelism());
        let Some(rescale) = self.rescale.filter(|rescale| rescale.under_way) else { return };
        let result = match runs_with {
            Some(now) if now == rescale.parallelism => Ok(now),
            Some(now) => {
                Err(format!("slots were lost meanwhile: the job goes on with {now} workers, until there are more"))
            }
            None => Err("slots were lost meanwhile".to_owned()),
        };
        self.answer_rescale(result);
    }

    /// The attempt failed before it could be ended for another.
    pub(super) fn rescale_failed(&mut self, error: &Error) {
        if self.rescale.is_some_and(|rescale| !rescale.under_way) {
            self.answer_rescale(Err(format!("the attempt failed before its checkpoint was taken: {error}")));
        }
    }

    pub(super) fn answer_rescale(&mut self, result: Result<Parallelism, String>) {
        if let Some(Rescale { request, .. }) = self.rescale.take() {
            self.commands.push(Command::Answer { request, result });
        }
    }

    pub(super) fn parallelism(&self) -> u32 {
        self.newest.as_ref().map_or(0, Deployment::parallelism)
    }
}
