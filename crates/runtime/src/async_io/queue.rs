//! The records of one task whose requests are under way, and when their results may be emitted.
//!
//! Pure: records, answers and watermarks in, results out.
//!
//! Invariants:
//! * the results of a record come out once, and the watermarks that came after it only after them;
//! * in order: results come out in the order of their records; unordered: as they are answered, but not before those of a record
//!   with a watermark between the two;
//! * until its results have come out a record is among the [pending](Queue::pending) ones.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::OutputMode;
use crate::mark::NO_WATERMARK;

/// A record whose results have not come out.
struct Entry<In, Out> {
    input: In,
    time: i64,
    results: Option<Vec<Out>>,
}

/// What waits, by the place of a record in the order in which they came.
pub(super) struct Queue<In, Out> {
    mode: OutputMode,
    entries: BTreeMap<u64, Entry<In, Out>>,
    /// The place of the next record that comes.
    next: u64,
    /// The place of the next record to ask for.
    unasked: u64,
    /// The places of those that are answered.
    answered: BTreeSet<u64>,
    /// Watermarks with the place of the record that came after.
    watermarks: VecDeque<(u64, i64)>,
    passed: i64,
}

impl<In: Clone, Out> Queue<In, Out> {
    /// Nothing waits.
    pub fn new(mode: OutputMode) -> Self {
        Queue {
            mode,
            entries: BTreeMap::new(),
            next: 0,
            unasked: 0,
            answered: BTreeSet::new(),
            watermarks: VecDeque::new(),
            passed: NO_WATERMARK,
        }
    }

    /// A record has come.
    pub fn push(&mut self, input: In, time: i64) {
        self.entries.insert(self.next, Entry { input, time, results: None });
        self.next += 1;
    }

    /// The watermark is `watermark` now.
    pub fn advance_watermark(&mut self, watermark: i64) {
        let newest = self.watermarks.back().map_or(self.passed, |(_, watermark)| *watermark);
        if watermark > newest {
            self.watermarks.push_back((self.next, watermark));
            self.settle();
        }
    }

    /// The next record to ask for, with its place, if fewer than `capacity` that were asked for wait.
    pub fn ask(&mut self, capacity: usize) -> Option<(u64, In)> {
        let unasked = self.next - self.unasked;
        if unasked == 0 || self.entries.len() as u64 - unasked >= capacity as u64 {
            return None;
        }
        let place = self.unasked;
        self.unasked += 1;
        self.entries.get(&place).map(|entry| (place, entry.input.clone()))
    }

    /// Whether every record has been asked for.
    pub fn is_all_asked(&self) -> bool {
        self.unasked == self.next
    }

    /// The record at `place`, if it is not answered.
    pub fn unanswered(&self, place: u64) -> Option<&In> {
        self.entries.get(&place).filter(|entry| entry.results.is_none()).map(|entry| &entry.input)
    }

    /// The results of the record at `place`: the first that are given count.
    pub fn answer(&mut self, place: u64, results: Vec<Out>) {
        if let Some(entry) = self.entries.get_mut(&place).filter(|entry| entry.results.is_none()) {
            entry.results = Some(results);
            self.answered.insert(place);
        }
    }

    /// The next results that may be emitted, with the event time of their record.
    pub fn pop(&mut self) -> Option<(Vec<Out>, i64)> {
        let place = *self.answered.first()?;
        let may_come = match self.mode {
            OutputMode::Ordered => self.entries.first_key_value().is_some_and(|(first, _)| *first == place),
            OutputMode::Unordered => self.watermarks.front().is_none_or(|(after, _)| place < *after),
        };
        if !may_come {
            return None;
        }
        self.answered.pop_first();
        let entry = self.entries.remove(&place)?;
        self.settle();
        Some((entry.results.unwrap_or_default(), entry.time))
    }

    /// Lets the watermarks pass before which nothing waits any more.
    fn settle(&mut self) {
        let first = self.entries.first_key_value().map_or(self.next, |(first, _)| *first);
        while let Some((_, watermark)) = self.watermarks.front().filter(|(after, _)| *after <= first) {
            self.passed = *watermark;
            self.watermarks.pop_front();
        }
    }

    /// The last watermark before which nothing waits.
    pub fn passed(&self) -> i64 {
        self.passed
    }

    /// The records whose results have not come out, with their event times, in the order they came.
    pub fn pending(&self) -> impl Iterator<Item = (&In, i64)> {
        self.entries.values().map(|entry| (&entry.input, entry.time))
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps of a fixed generator of pseudo-random numbers.
    fn random(state: &mut u64) -> u64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *state >> 33
    }

    /// What came in, in order.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Came {
        Record(u64),
        Watermark(i64),
    }

    fn records(moments: &[Came]) -> impl Iterator<Item = u64> + Clone {
        moments.iter().filter_map(|moment| match moment {
            Came::Record(record) => Some(*record),
            Came::Watermark(_) => None,
        })
    }

    /// Runs random steps; what came in, and what came out, with the watermarks where they passed.
    fn run(mode: OutputMode, seed: u64, capacity: usize) -> (Vec<Came>, Vec<Came>) {
        let (mut state, mut queue) = (seed, Queue::<u64, u64>::new(mode));
        let (mut came, mut went, mut asked, mut passed) = (Vec::new(), Vec::new(), 0, NO_WATERMARK);
        let (mut unanswered, mut out) = (Vec::new(), BTreeSet::new());
        let (mut records, mut watermark) = (0, 0);
        for step in 0..1000 {
            let is_closing = step > 500;
            match random(&mut state) % 6 {
                0 | 1 if !is_closing => {
                    queue.push(records, records as i64);
                    came.push(Came::Record(records));
                    records += 1;
                }
                2 if !is_closing => {
                    watermark += random(&mut state) as i64 % 3;
                    queue.advance_watermark(watermark);
                    came.push(Came::Watermark(watermark));
                }
                3 => {
                    while let Some((place, input)) = queue.ask(capacity) {
                        assert_eq!((place, input), (asked, asked));
                        asked += 1;
                        unanswered.push(place);
                    }
                    let waiting = (0..asked).filter(|asked| !out.contains(asked)).count();
                    assert!(waiting <= capacity && (queue.is_all_asked() || waiting == capacity));
                }
                4 if !unanswered.is_empty() => {
                    let place = unanswered.swap_remove(random(&mut state) as usize % unanswered.len());
                    assert_eq!(queue.unanswered(place), Some(&place));
                    queue.answer(place, vec![place]);
                    assert_eq!(queue.unanswered(place), None);
                    queue.answer(place, vec![u64::MAX]);
                }
                _ => {
                    if let Some((results, time)) = queue.pop() {
                        assert_eq!(results, [time as u64]);
                        went.push(Came::Record(results[0]));
                        out.insert(results[0]);
                    }
                }
            }
            if queue.passed() > passed {
                passed = queue.passed();
                went.push(Came::Watermark(passed));
            }
            let pending: Vec<u64> = queue.pending().map(|(input, _)| *input).collect();
            let expected = (0..records).filter(|record| !out.contains(record));
            assert!(expected.eq(pending.iter().copied()), "what has not come out is pending");
        }
        (came, went)
    }

    #[test]
    fn results_and_watermarks_come_out_in_an_order_that_the_mode_allows() {
        let modes = [OutputMode::Ordered, OutputMode::Unordered];
        for (mode, seed) in modes.into_iter().flat_map(|mode| (0..20).map(move |seed| (mode, seed))) {
            // With room for one there is one order only.
            let (came, went) = run(mode, seed, 2 + seed as usize % 5);
            let place = |record: u64| came.iter().position(|came| *came == Came::Record(record)).unwrap();
            assert!(records(&went).count() > 50, "{mode:?} {seed}");
            assert_eq!(records(&went).is_sorted(), mode == OutputMode::Ordered, "{mode:?} {seed}");
            for (index, moment) in went.iter().enumerate() {
                let Came::Watermark(watermark) = *moment else { continue };
                let is_it = |came: &Came| matches!(came, Came::Watermark(came) if *came >= watermark);
                let arrived = came.iter().position(is_it).unwrap();
                let is_after = |record: u64| place(record) > arrived;
                assert!(records(&went[index..]).all(is_after), "{mode:?} {seed}: a result behind its watermark");
                assert!(!records(&went[..index]).any(is_after), "{mode:?} {seed}: a result ahead of its watermark");
            }
        }
    }
}
