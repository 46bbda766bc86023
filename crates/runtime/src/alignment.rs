//! When a task may process a batch, and when the barrier of an epoch has passed.
//!
//! Pure: marks and frontiers in, decisions out. Batches of an epoch after the task's own are kept aside until the barrier has
//! passed (exactly once) or let through at once (at least once).
//!
//! Invariants: I1, batches come out in the order of their epochs and [`Alignment::barrier`] is true only when every batch of the
//! epoch has come out. I5, a batch kept aside has left timely's accounting, so its mark holds the watermark back here.

use std::collections::VecDeque;

use highwater_checkpoint::CheckpointingMode;

use crate::mark::{Frontier, MAX_WATERMARK, Mark, NO_WATERMARK};

/// The aligner of one task's input.
#[derive(Debug)]
pub struct Alignment<B> {
    mode: CheckpointingMode,
    mark: Mark,
    /// Batches of later epochs, and batches of this epoch that were kept aside before it began, oldest epoch first.
    stash: VecDeque<(Mark, B)>,
}

impl<B> Alignment<B> {
    /// For a task that starts in `epoch`.
    pub fn new(mode: CheckpointingMode, epoch: u64) -> Self {
        Alignment { mode, mark: Mark::new(epoch, NO_WATERMARK), stash: VecDeque::new() }
    }

    /// The task's own mark: everything it emits travels under it.
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// Takes in a batch that has arrived; returns it if it may be processed now.
    ///
    /// # Panics
    /// If its epoch is over: then a snapshot would already have missed it (I1).
    pub fn admit(&mut self, mark: Mark, batch: B) -> Option<B> {
        assert!(mark.epoch >= self.mark.epoch, "a batch of epoch {} arrived in epoch {}", mark.epoch, self.mark.epoch);
        let due = mark.epoch == self.mark.epoch || self.mode == CheckpointingMode::AtLeastOnce;
        if due {
            return Some(batch);
        }
        self.stash.push_back((mark, batch));
        None
    }

    /// The next batch that was kept aside and whose epoch has come.
    pub fn released(&mut self) -> Option<B> {
        let due = self.stash.iter().position(|(mark, _)| mark.epoch <= self.mark.epoch)?;
        self.stash.remove(due).map(|(_, batch)| batch)
    }

    /// Whether a batch waits whose epoch has come.
    pub fn has_released(&self) -> bool {
        self.stash.iter().any(|(mark, _)| mark.epoch <= self.mark.epoch)
    }

    /// Whether the barrier of the task's epoch has arrived: nothing of this epoch can come any more, or waits.
    pub fn barrier(&self, frontier: Frontier) -> bool {
        match frontier {
            Frontier::Open { epoch, .. } => epoch > self.mark.epoch && !self.has_released(),
            Frontier::Closed => false,
        }
    }

    /// Enters the next epoch, after the snapshot of this one.
    pub fn next_epoch(&mut self) {
        self.mark.epoch += 1;
    }

    /// Moves the watermark up to the minimum over the frontier and what waits; returns the new one if it has moved.
    pub fn advance_watermark(&mut self, frontier: Frontier) -> Option<i64> {
        let Frontier::Open { watermark, .. } = frontier else { return None };
        let waiting = self.stash.iter().map(|(mark, _)| mark.watermark).min().unwrap_or(MAX_WATERMARK);
        let watermark = watermark.min(waiting);
        (watermark > self.mark.watermark).then(|| {
            self.mark.watermark = watermark;
            watermark
        })
    }

    /// Whether nothing can come any more and nothing waits.
    pub fn is_finished(&self, frontier: Frontier) -> bool {
        frontier == Frontier::Closed && self.stash.is_empty()
    }

    /// Enters the newest epoch that waits, when the input has closed and no barrier will come.
    pub fn close_epochs(&mut self) {
        if let Some(newest) = self.stash.iter().map(|(mark, _)| mark.epoch).max() {
            self.mark.epoch = self.mark.epoch.max(newest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(epoch: u64, watermark: i64) -> Frontier {
        Frontier::Open { epoch, watermark }
    }

    #[test]
    fn a_batch_of_the_next_epoch_waits_for_the_barrier_and_holds_the_watermark() {
        let mut task = Alignment::new(CheckpointingMode::ExactlyOnce, 1);
        assert_eq!(task.admit(Mark::new(1, 0), "a"), Some("a"));
        assert_eq!(task.admit(Mark::new(2, 5), "b"), None);
        assert!(!task.barrier(open(1, 9)));
        assert_eq!(task.advance_watermark(open(1, 9)), Some(5), "the batch that waits came at watermark 5");
        assert!(task.barrier(open(3, 9)));
        assert_eq!(task.released(), None, "not before the snapshot");
        task.next_epoch();
        assert!(!task.barrier(open(3, 9)), "a batch of epoch 2 still waits");
        assert_eq!(task.released(), Some("b"));
        assert!(task.barrier(open(3, 9)));
        assert_eq!(task.advance_watermark(open(3, 9)), Some(9));
    }

    #[test]
    fn at_least_once_lets_it_through_at_once() {
        let mut task = Alignment::new(CheckpointingMode::AtLeastOnce, 1);
        assert_eq!(task.admit(Mark::new(2, 5), "b"), Some("b"));
        assert_eq!(task.advance_watermark(open(1, 9)), Some(9));
    }

    #[test]
    #[should_panic(expected = "a batch of epoch 1 arrived in epoch 2")]
    fn a_batch_of_an_epoch_that_is_over_is_a_bug() {
        let mut task = Alignment::new(CheckpointingMode::ExactlyOnce, 2);
        task.admit(Mark::new(1, 0), ());
    }

    #[test]
    fn the_watermark_never_goes_back() {
        let mut task = Alignment::<()>::new(CheckpointingMode::ExactlyOnce, 1);
        assert_eq!(task.advance_watermark(open(1, 9)), Some(9));
        assert_eq!(task.advance_watermark(open(2, 4)), None);
        assert_eq!(task.mark(), Mark::new(1, 9));
    }

    #[test]
    fn a_closed_input_releases_everything() {
        let mut task = Alignment::new(CheckpointingMode::ExactlyOnce, 1);
        task.admit(Mark::new(2, 5), "b");
        assert!(!task.is_finished(Frontier::Closed));
        task.close_epochs();
        assert_eq!(task.released(), Some("b"));
        assert!(task.is_finished(Frontier::Closed));
    }
}
