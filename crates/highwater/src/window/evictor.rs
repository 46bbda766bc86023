//! Which elements of a window are dropped when it fires.

use std::time::Duration;

use highwater_state::Data;

use super::time::Window;

/// An element of a window with the time that it was assigned by.
#[derive(Clone, Debug, PartialEq, Eq, Data)]
#[data(crate = "highwater_state")]
pub struct Timed<T> {
    /// The element.
    pub record: T,
    /// Its event time, or when it came in processing time, in ms since the Unix epoch.
    pub time_ms: i64,
}

/// Drops elements of a window when it fires. All elements have to be kept for that, also where they are only counted.
pub trait Evictor<T, W: Window>: Clone + Send + Sync + 'static {
    /// Drops elements, which are in the order they came, before the function sees them.
    fn evict_before(&self, elements: &mut Vec<Timed<T>>, window: &W);

    /// Drops elements after the function has seen them.
    fn evict_after(&self, elements: &mut Vec<Timed<T>>, window: &W) {
        let _ = (elements, window);
    }

    /// What is wrong with the settings, and what to do.
    ///
    /// # Errors
    /// If the evictor cannot be right.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Keeps the last few elements.
#[derive(Clone, Copy, Debug)]
pub struct CountEvictor {
    count: usize,
}

impl CountEvictor {
    /// Keeps the last `count` elements.
    pub fn of(count: usize) -> Self {
        CountEvictor { count }
    }
}

impl<T, W: Window> Evictor<T, W> for CountEvictor {
    fn evict_before(&self, elements: &mut Vec<Timed<T>>, _: &W) {
        elements.drain(..elements.len().saturating_sub(self.count));
    }

    fn check(&self) -> Result<(), String> {
        match self.count {
            0 => Err("an evictor keeps the last 0 elements: give at least 1".into()),
            _ => Ok(()),
        }
    }
}

/// Keeps the elements that are not much older than the newest.
#[derive(Clone, Copy, Debug)]
pub struct TimeEvictor {
    age_ms: i64,
}

impl TimeEvictor {
    /// Keeps the elements that are less than `age` older than the newest.
    pub fn of(age: Duration) -> Self {
        TimeEvictor { age_ms: i64::try_from(age.as_millis()).unwrap_or(i64::MAX) }
    }
}

impl<T, W: Window> Evictor<T, W> for TimeEvictor {
    fn evict_before(&self, elements: &mut Vec<Timed<T>>, _: &W) {
        let newest = elements.iter().map(|timed| timed.time_ms).max();
        if let Some(newest) = newest {
            elements.retain(|timed| timed.time_ms > newest.saturating_sub(self.age_ms));
        }
    }

    fn check(&self) -> Result<(), String> {
        match self.age_ms {
            0 => Err("an evictor keeps the elements of the last 0 ms: give at least 1 ms".into()),
            _ => Ok(()),
        }
    }
}

/// Keeps the elements that differ little from the last one.
#[derive(Clone)]
pub struct DeltaEvictor<D> {
    threshold: f64,
    delta: D,
}

impl<D> DeltaEvictor<D> {
    /// Keeps the elements for which `delta(element, last)` is less than `threshold`.
    pub fn of(threshold: f64, delta: D) -> Self {
        DeltaEvictor { threshold, delta }
    }
}

impl<T: Clone, W: Window, D: Fn(&T, &T) -> f64 + Clone + Send + Sync + 'static> Evictor<T, W> for DeltaEvictor<D> {
    fn evict_before(&self, elements: &mut Vec<Timed<T>>, _: &W) {
        if let Some(Timed { record: last, .. }) = elements.last().cloned() {
            elements.retain(|timed| (self.delta)(&timed.record, &last) < self.threshold);
        }
    }
}
