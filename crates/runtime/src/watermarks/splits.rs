//! The watermark of one source subtask: the minimum over the splits that it reads (Flink's FLIP-27).
//!
//! Each split has a generator of its own, so that a slow split holds the watermark back and no record of it is late because another
//! is ahead. A split counts from the moment its reader names it until it is finished; one that is not begun yet, as the next of
//! several files, does not. A reader that names no splits has one generator for all its records.
//!
//! Invariants: the watermark never exceeds the minimum over the splits that are begun and not idle; it never goes back. When all
//! splits are idle it goes up to the highest of them, whichever of them was the last to become idle.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use highwater_core::Clock;

use super::{BatchGenerator, LeadBound, WatermarkOutput, WatermarkStrategy};
use crate::batch::Batch;
use crate::mark::NO_WATERMARK;
use crate::source::{SourceOutput, SplitEvent};

/// How far event time has come somewhere, and whether that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub watermark: i64,
    pub idle: bool,
}

impl Standing {
    /// Several together: the minimum over those that are not idle, else the highest.
    pub fn of(all: impl IntoIterator<Item = Standing>) -> Option<Standing> {
        all.into_iter().reduce(|a, b| match (a.idle, b.idle) {
            (false, false) => Standing { watermark: a.watermark.min(b.watermark), idle: false },
            (true, true) => Standing { watermark: a.watermark.max(b.watermark), idle: true },
            (false, true) => a,
            (true, false) => b,
        })
    }
}

/// The generators of one source subtask.
pub(crate) struct SplitWatermarks<T> {
    strategy: WatermarkStrategy<T>,
    bound: LeadBound,
    /// Of the records whose reader names no split.
    main: Option<Progress<T>>,
    splits: BTreeMap<u32, Progress<T>>,
    /// The split that the reader has named last.
    current: Option<u32>,
    reading: ReadingTime,
    /// When there was last a record, in reading time.
    active_at: Duration,
    /// Over all splits, the finished ones too: never goes back.
    watermark: i64,
}

struct Progress<T> {
    generator: Option<Box<dyn BatchGenerator<T>>>,
    output: WatermarkOutput,
    /// When it was begun or had its last record, in reading time.
    active_at: Duration,
    is_used: bool,
}

impl<T: 'static> SplitWatermarks<T> {
    /// For a source subtask that has begun no split yet.
    pub fn new(strategy: WatermarkStrategy<T>, clock: Arc<dyn Clock>) -> Self {
        let mut watermarks = SplitWatermarks {
            bound: LeadBound::new(strategy.max_lead(), clock),
            strategy,
            main: None,
            splits: BTreeMap::new(),
            current: None,
            reading: ReadingTime::default(),
            active_at: Duration::ZERO,
            watermark: NO_WATERMARK,
        };
        watermarks.main = Some(watermarks.begin());
        watermarks
    }

    fn begin(&self) -> Progress<T> {
        Progress {
            generator: self.strategy.generator(),
            output: WatermarkOutput::default(),
            active_at: self.reading.elapsed,
            is_used: false,
        }
    }

    /// Whether it matters that time passes.
    pub fn has_idleness(&self) -> bool {
        self.strategy.idleness().is_some()
    }

    /// Whether there is anything to do without records.
    pub fn is_periodic(&self) -> bool {
        self.strategy.is_periodic()
    }

    /// It is `now` in monotonic time; if the source was not kept from reading, time has passed for its splits.
    pub fn pass_time(&mut self, now: Duration) {
        self.reading.pass(now);
    }

    /// Whether the source is kept from reading from now on.
    pub fn keep_from_reading(&mut self, blocked: bool) {
        self.reading.blocked = blocked;
    }

    /// Sees what a reader has emitted, and gives it event times; how many records are too far in the future.
    pub fn observe(&mut self, output: &mut SourceOutput<T>) -> (Batch<T>, u64) {
        let (records, mut times) = output.take().into_columns();
        self.strategy.assign(&records, &mut times);
        let mut begin = 0;
        for event in output.take_events() {
            let (SplitEvent::Selected { row, .. } | SplitEvent::Finished { row, .. }) = event;
            self.follow(&records, &times, begin..row);
            begin = row;
            match event {
                SplitEvent::Selected { split, .. } => self.select(split),
                SplitEvent::Finished { split, .. } => self.finish(split),
            }
        }
        self.follow(&records, &times, begin..records.len());
        (Batch::from_columns(records, times), self.bound.next_batch())
    }

    fn select(&mut self, split: u32) {
        if self.main.as_ref().is_some_and(|main| !main.is_used) {
            self.main = None;
        }
        if !self.splits.contains_key(&split) {
            self.splits.insert(split, self.begin());
        }
        self.current = Some(split);
    }

    fn finish(&mut self, split: u32) {
        // What it brought since the watermark was last asked for counts, as far as the others let it.
        self.tick();
        self.splits.remove(&split);
        if self.current == Some(split) {
            self.current = None;
        }
    }

    /// Sees the records of the current split.
    fn follow(&mut self, records: &[T], times: &[i64], rows: std::ops::Range<usize>) {
        if rows.is_empty() {
            return;
        }
        if self.current.is_none() && self.main.is_none() {
            self.main = Some(self.begin());
        }
        let progress = match self.current {
            Some(split) => self.splits.get_mut(&split),
            None => self.main.as_mut(),
        };
        let progress = progress.expect("a split that was selected is there until it is finished");
        progress.is_used = true;
        progress.active_at = self.reading.elapsed;
        self.active_at = self.reading.elapsed;
        if let Some(generator) = &mut progress.generator {
            let times = if times.is_empty() { times } else { &times[rows.clone()] };
            generator.observe(&records[rows], times, &mut self.bound, &mut progress.output);
        }
    }

    fn tick(&mut self) -> Option<Standing> {
        let (elapsed, timeout) = (self.reading.elapsed, self.strategy.idleness());
        let standing = |progress: &mut Progress<T>| {
            if let Some(generator) = &mut progress.generator {
                generator.tick(&mut progress.output);
            }
            let quiet = timeout.is_some_and(|timeout| elapsed - progress.active_at >= timeout);
            Standing { watermark: progress.output.watermark(), idle: quiet || progress.output.is_idle() }
        };
        let together = Standing::of(self.main.iter_mut().chain(self.splits.values_mut()).map(standing))?;
        self.watermark = self.watermark.max(together.watermark);
        Some(together)
    }

    /// Where the source subtask stands.
    pub fn standing(&mut self) -> Standing {
        let idle = match self.tick() {
            Some(together) => together.idle,
            // Between two splits.
            None => self.strategy.idleness().is_some_and(|timeout| self.reading.elapsed - self.active_at >= timeout),
        };
        Standing { watermark: self.watermark, idle }
    }
}

/// The time in which a source could have read: it stands still while something keeps the source from it.
#[derive(Debug, Default)]
struct ReadingTime {
    elapsed: Duration,
    looked_at: Option<Duration>,
    blocked: bool,
}

impl ReadingTime {
    fn pass(&mut self, now: Duration) {
        if let Some(then) = self.looked_at.replace(now)
            && !self.blocked
        {
            self.elapsed += now.saturating_sub(then);
        }
    }
}

#[cfg(test)]
mod tests {
    use highwater_core::KeyHash;

    use super::*;
    use crate::batch::NO_TIME;

    const BOUND_MS: i64 = 5;
    const TIMEOUT: Duration = Duration::from_millis(40);
    const FAR_AHEAD: i64 = 1 << 40;

    /// Noon of 1970-01-01.
    struct Noon;

    impl Clock for Noon {
        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }

        fn unix_ms(&self) -> i64 {
            12 * 3_600_000
        }
    }

    fn watermarks() -> SplitWatermarks<i64> {
        let bound = Duration::from_millis(BOUND_MS as u64);
        let strategy = WatermarkStrategy::for_bounded_out_of_orderness(bound, |time: &i64| *time);
        SplitWatermarks::new(strategy.with_idleness(TIMEOUT), Arc::new(Noon))
    }

    /// What is known of a split that is begun and not finished.
    #[derive(Clone, Copy)]
    struct Split {
        latest: i64,
        active_at: Duration,
    }

    /// Computes everything anew at each step.
    #[derive(Default)]
    struct Model {
        splits: BTreeMap<u32, Split>,
        elapsed: Duration,
        active_at: Duration,
        watermark: Option<i64>,
        blocked: bool,
    }

    impl Model {
        fn standing(&mut self) -> Standing {
            let idle = |at: Duration| self.elapsed - at >= TIMEOUT;
            let watermark = |split: &Split| (split.latest != NO_TIME).then(|| split.latest - BOUND_MS - 1);
            let active: Vec<_> = self.splits.values().filter(|split| !idle(split.active_at)).collect();
            let together = match (self.splits.is_empty(), active.is_empty()) {
                (true, _) => None,
                (false, false) => active.into_iter().map(watermark).min().flatten(),
                (false, true) => self.splits.values().filter_map(watermark).max(),
            };
            let is_idle = match self.splits.is_empty() {
                true => idle(self.active_at),
                false => self.splits.values().all(|split| idle(split.active_at)),
            };
            self.watermark = self.watermark.max(together);
            Standing { watermark: self.watermark.unwrap_or(NO_WATERMARK), idle: is_idle }
        }
    }

    #[test]
    fn the_watermark_is_the_minimum_over_active_splits_whatever_happens() {
        let (mut idle, mut moved) = (0, 0);
        for seed in 0..300u64 {
            let (mut watermarks, mut model, mut output) = (watermarks(), Model::default(), SourceOutput::default());
            let mut now = Duration::ZERO;
            watermarks.pass_time(now);
            // The splits are read side by side.
            for split in 0..3 {
                output.split(split);
                model.splits.insert(split, Split { latest: NO_TIME, active_at: Duration::ZERO });
            }
            watermarks.observe(&mut output);
            for step in 0..60u64 {
                let random = KeyHash::of(&(seed << 32 | step).to_le_bytes()).0;
                let split = (random >> 8) as u32 % 4;
                match random % 16 {
                    0 => {
                        model.standing();
                        output.finish_split(split);
                        model.splits.remove(&split);
                    }
                    1 | 2 => {
                        now += Duration::from_millis((random >> 16) % 50);
                        watermarks.pass_time(now);
                        if !model.blocked {
                            model.elapsed += Duration::from_millis((random >> 16) % 50);
                        }
                    }
                    3 => {
                        model.blocked = (random >> 16).is_multiple_of(3);
                        watermarks.keep_from_reading(model.blocked);
                    }
                    kind => {
                        let time = match kind {
                            4 => NO_TIME,
                            5 => FAR_AHEAD,
                            _ => (step * 4 + (random >> 16) % 30) as i64 - 60,
                        };
                        output.split(split);
                        output.emit(time);
                        let latest = model.splits.get(&split).map_or(NO_TIME, |split| split.latest);
                        let latest = if time == FAR_AHEAD { latest } else { latest.max(time) };
                        model.splits.insert(split, Split { latest, active_at: model.elapsed });
                        model.active_at = model.elapsed;
                    }
                }
                let before = watermarks.watermark;
                watermarks.observe(&mut output);
                let standing = watermarks.standing();
                assert_eq!(standing, model.standing(), "seed {seed}, step {step}");
                assert!(standing.watermark >= before, "seed {seed}, step {step}: a watermark never goes back");
                idle += u32::from(standing.idle);
                moved += u32::from(standing.watermark > before);
            }
        }
        assert!(idle > 100 && moved > 1000, "a test in which nothing happens shows nothing: {idle}, {moved}");
    }

    #[test]
    fn what_is_too_far_ahead_goes_on_and_is_counted() {
        let (mut watermarks, mut output) = (watermarks(), SourceOutput::default());
        [100, FAR_AHEAD, 90, -7, NO_TIME, i64::MAX].into_iter().for_each(|time| output.emit(time));
        let (batch, too_far_ahead) = watermarks.observe(&mut output);
        assert_eq!(too_far_ahead, 2);
        let times: Vec<i64> = batch.into_iter().map(|(_, time)| time).collect();
        assert_eq!(times, [100, FAR_AHEAD, 90, -7, NO_TIME, i64::MAX], "the records go on");
        assert_eq!(watermarks.standing().watermark, 100 - BOUND_MS - 1);
        assert_eq!(watermarks.observe(&mut output).1, 0, "each is counted once");
    }

    #[test]
    fn the_bound_on_the_future_can_be_set_and_taken_away() {
        let lead = Duration::from_secs(1);
        let of = |strategy: WatermarkStrategy<i64>, time: i64| {
            let (mut watermarks, mut output) =
                (SplitWatermarks::new(strategy, Arc::new(Noon)), SourceOutput::default());
            output.emit(time);
            watermarks.observe(&mut output);
            watermarks.standing().watermark
        };
        let strategy = || WatermarkStrategy::for_monotonous_timestamps(|time: &i64| *time);
        let limit = Noon.unix_ms() + 1000;
        assert_eq!(of(strategy().with_max_timestamp_lead(lead), limit), limit - 1);
        assert_eq!(of(strategy().with_max_timestamp_lead(lead), limit + 1), NO_WATERMARK);
        assert_eq!(of(strategy(), limit + 1), limit);
        assert_eq!(of(strategy().without_max_timestamp_lead(), i64::MAX), i64::MAX - 1);
        assert_eq!(of(strategy().without_max_timestamp_lead(), i64::MIN + 1), i64::MIN, "before it there is nothing");
    }
}
