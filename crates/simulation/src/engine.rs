//! Time, chance and what is going to happen: the one source of order in a run.
//!
//! What is due at the same time happens in the order in which it was planned, so a seed gives the same run again (I9).

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::fmt;
use std::time::Duration;

use highwater_core::Random;

/// What is planned, the time, and the run's random numbers.
pub struct Engine<T> {
    pub now: Duration,
    pub random: Random,
    planned: BinaryHeap<Planned<T>>,
    count: u64,
    trace: bool,
}

struct Planned<T> {
    at: Duration,
    number: u64,
    what: T,
}

impl<T> Engine<T> {
    pub fn new(seed: u64, trace: bool) -> Self {
        Engine { now: Duration::ZERO, random: Random::new(seed), planned: BinaryHeap::new(), count: 0, trace }
    }

    pub fn plan_at(&mut self, at: Duration, what: T) {
        self.count += 1;
        self.planned.push(Planned { at: at.max(self.now), number: self.count, what });
    }

    pub fn plan(&mut self, after: Duration, what: T) {
        self.plan_at(self.now + after, what);
    }

    /// Goes on to what is due next.
    pub fn next(&mut self) -> Option<T> {
        let next = self.planned.pop()?;
        self.now = next.at;
        Some(next.what)
    }

    /// A duration of `from..=to` milliseconds, in steps of a tenth.
    pub fn between(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_micros(from * 1000 + self.random.up_to(((to - from) * 10) as usize) as u64 * 100)
    }

    pub fn say(&self, what: fmt::Arguments<'_>) {
        if self.trace {
            println!("{:10.4} {what}", self.now.as_secs_f64());
        }
    }
}

// The heap gives its greatest first: that is what is due first.
impl<T> Ord for Planned<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl<T> PartialOrd for Planned<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Planned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<T> Eq for Planned<T> {}
