//! TaskManagers that leave a job which runs: the attempt is ended for them after a checkpoint that is taken at once, and the next one goes
//! on from it without them. How long one waits for that is its own decision: when it is gone it is lost, as any other.

use std::time::Duration;

use super::{JobMaster, Purpose, Stage};
use crate::id::TaskManagerId;
use crate::protocol::{Command, Notice};

/// After a checkpoint that failed.
const ASK_AGAIN: Duration = Duration::from_secs(3);

impl JobMaster {
    pub(super) fn leave(&mut self, id: TaskManagerId) {
        self.registry.hear(id);
        self.registry.leave(id);
        if !self.facts.has_checkpoints {
            let why = "it leaves, and the job takes no checkpoint to go on from without it";
            self.commands.push(Command::Drop { id, why: why.to_owned() });
            self.lose(id, why);
        }
    }

    /// The members of the newest attempt that want to leave.
    pub(super) fn leaving(&self) -> impl Iterator<Item = TaskManagerId> {
        let members = self.newest.iter().flat_map(|newest| &newest.members);
        let is_leaving = |id: &TaskManagerId| self.registry.get(*id).is_some_and(|known| known.is_leaving);
        members.map(|member| member.id).filter(is_leaving)
    }

    pub(super) fn let_go_if_due(&mut self) {
        let Stage::Deployed(deployed) = &self.stage else { return };
        let Some(id) = self.leaving().next() else { return };
        let is_held = deployed.asked.is_some() || self.now < deployed.not_asked_before;
        if self.stopping || is_held {
            return;
        }
        if deployed.running_since.is_some() {
            let who = self.name(id);
            self.ask(Purpose::Leave, format!("to go on without {who}, which leaves"));
        } else if !deployed.is_attached {
            // It has done nothing yet that a checkpoint could keep.
            self.redeploy_without();
        }
    }

    /// Goes on with what is left, if that is enough. Where it is not, others are waited for as if those that leave were lost.
    pub(super) fn redeploy_without(&mut self) {
        let left = self.layout(self.ceiling()).0.parallelism();
        let is_enough = left >= self.config.min_parallelism.count();
        self.redeploy(if is_enough { left } else { self.parallelism() }, "a TaskManager leaves");
    }

    pub(super) fn leave_failed(&mut self, why: String) {
        let not_before = self.now.saturating_add(ASK_AGAIN);
        if let Stage::Deployed(deployed) = &mut self.stage {
            deployed.not_asked_before = deployed.not_asked_before.max(not_before);
        }
        self.tell(Notice::LeaveFailed { why });
    }
}
