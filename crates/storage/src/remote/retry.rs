//! The decision after an attempt that failed: another one, after which pause, or the end, and with what outcome.
//!
//! Pauses are exponential with full jitter (each is drawn between nothing and a bound that doubles), so that workers
//! that failed together do not come back together. Source: M. Brooker, "Exponential Backoff And Jitter", AWS
//! Architecture Blog, 2015.
//!
//! Invariant: whatever the later attempts say, an operation of which one attempt may have taken effect is never
//! reported as one that did not happen.

use std::time::Duration;

use highwater_core::BoxError;

use crate::error::{Error, Outcome, What};

/// Bound of the first pause.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// What the bound of a pause grows to.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What an attempt may need to know of those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// From 0.
    pub(crate) index: u32,
    /// Whether an earlier attempt of this operation may have taken effect.
    pub(crate) in_doubt: bool,
}

/// Whether an operation changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Reads,
    Writes,
}

/// How an attempt failed.
#[derive(Debug)]
pub(crate) struct Failed {
    what: What,
    in_doubt: bool,
    settled: bool,
    again: bool,
    cut_short: bool,
    detail: Option<String>,
    source: Option<BoxError>,
}

impl Failed {
    /// A certain refusal, which another attempt would get too.
    pub(crate) fn new(what: What, source: impl Into<BoxError>) -> Self {
        Failed { source: Some(source.into()), ..Failed::plain(what) }
    }

    /// As [`new`](Self::new), where `what` alone says it all.
    pub(crate) fn plain(what: What) -> Self {
        Failed { what, in_doubt: false, settled: false, again: false, cut_short: false, detail: None, source: None }
    }

    /// The other side did not answer in time.
    pub(crate) fn no_answer(within: Duration) -> Self {
        Failed::new(What::Other, format!("no answer within {}", seconds(within))).in_doubt().again()
    }

    /// As [`no_answer`](Self::no_answer), where the operation's limit left it less time than an attempt has.
    pub(crate) fn cut_short(within: Duration) -> Self {
        Failed { cut_short: true, ..Failed::no_answer(within) }
    }

    /// It may have taken effect.
    pub(crate) fn in_doubt(self) -> Self {
        Failed { in_doubt: true, ..self }
    }

    /// It shows that no earlier attempt has taken effect or ever will.
    pub(crate) fn settled(self) -> Self {
        Failed { in_doubt: false, settled: true, ..self }
    }

    /// Another attempt may do better.
    pub(crate) fn again(self) -> Self {
        Failed { again: true, ..self }
    }

    /// Adds the way out.
    pub(crate) fn with_detail(self, detail: impl Into<String>) -> Self {
        Failed { detail: Some(detail.into()), ..self }
    }

    /// Whether another attempt may do better.
    #[cfg(feature = "hdfs")]
    pub(crate) fn is_to_be_tried_again(&self) -> bool {
        self.again
    }

    /// What stood in the way.
    pub(crate) fn what(&self) -> What {
        self.what
    }
}

/// An operation while it is tried.
#[derive(Debug)]
pub(crate) struct Course {
    limit: Duration,
    start: Duration,
    failed: u32,
    in_doubt: bool,
    last: Option<Failed>,
}

impl Course {
    pub(crate) fn new(limit: Duration, now: Duration) -> Self {
        Course { limit, start: now, failed: 0, in_doubt: false, last: None }
    }

    pub(crate) fn attempt(&self) -> Attempt {
        Attempt { index: self.failed, in_doubt: self.in_doubt }
    }

    pub(crate) fn time_left(&self, now: Duration) -> Duration {
        self.limit.saturating_sub(now.saturating_sub(self.start))
    }

    /// After an attempt that failed: the pause before the next one, or how it ended. `unit` is random, in `0.0..1.0`.
    pub(crate) fn after(&mut self, failed: Failed, now: Duration, unit: f64) -> Result<Duration, End> {
        let bound = FIRST_PAUSE.saturating_mul(1 << self.failed.min(16)).min(LONGEST_PAUSE);
        let pause = bound.mul_f64(unit);
        if !failed.again || pause >= self.time_left(now) {
            return Err(self.end(failed, now));
        }
        self.failed += 1;
        self.in_doubt = self.doubt_after(&failed);
        self.last = Some(failed);
        Ok(pause)
    }

    /// How it ended by an attempt that failed.
    pub(crate) fn end(&mut self, last: Failed, now: Duration) -> End {
        let (took, in_doubt) = (now.saturating_sub(self.start), self.doubt_after(&last));
        // An attempt without time says less than the one before it.
        let last = self.last.take().filter(|_| last.cut_short).unwrap_or(last);
        End { attempts: self.failed + 1, took, in_doubt, last }
    }

    fn doubt_after(&self, failed: &Failed) -> bool {
        (self.in_doubt && !failed.settled) || failed.in_doubt
    }
}

/// How an operation ended that did not succeed.
#[derive(Debug)]
pub(crate) struct End {
    attempts: u32,
    took: Duration,
    in_doubt: bool,
    last: Failed,
}

impl End {
    pub(crate) fn into_error(self, operation: &'static str, path: &str, effect: Effect) -> Error {
        let outcome = match effect {
            Effect::Writes if self.in_doubt => Outcome::MayHaveHappened,
            Effect::Writes | Effect::Reads => Outcome::DidNotHappen,
        };
        let tried = (self.attempts > 1).then(|| format!("tried {} times in {}", self.attempts, seconds(self.took)));
        let detail: Vec<String> = tried.into_iter().chain(self.last.detail).collect();
        let error = Error::new(self.last.what, outcome, operation, path);
        let error = if detail.is_empty() { error } else { error.with_detail(detail.join("; ")) };
        match self.last.source {
            Some(source) => error.with_source(source),
            None => error,
        }
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn lost() -> Failed {
        Failed::new(What::Other, "reset").in_doubt().again()
    }

    fn busy() -> Failed {
        Failed::new(What::Other, "busy").again()
    }

    #[test]
    fn pauses_double_up_to_a_bound_and_are_jittered() {
        let mut course = Course::new(Duration::MAX, at(0));
        let pauses: Vec<u128> = (0..8).map(|_| course.after(busy(), at(0), 0.5).unwrap().as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 2500, 2500]);
        assert_eq!(course.after(busy(), at(0), 0.0).unwrap(), Duration::ZERO);
    }

    #[test]
    fn the_limit_ends_it_and_the_error_says_what_was_tried() {
        let mut course = Course::new(LIMIT, at(100));
        course.after(busy(), at(120), 0.5).unwrap();
        let end = course.after(busy(), at(160), 0.5).expect_err("the limit is reached");
        let error = end.into_error("publish", "job/_metadata", Effect::Writes);
        assert_eq!(error.outcome(), Outcome::DidNotHappen);
        assert_eq!(error.to_string(), "cannot publish job/_metadata: tried 2 times in 60.0 s");
    }

    #[test]
    fn an_attempt_without_time_does_not_hide_the_reason() {
        let mut course = Course::new(LIMIT, at(0));
        course.after(Failed::plain(What::Full).again(), at(59), 0.0).unwrap();
        let end = course.after(Failed::cut_short(at(1)), at(60), 0.0).expect_err("the limit is reached");
        let error = end.into_error("publish", "x", Effect::Writes);
        assert_eq!((error.what(), error.outcome()), (What::Full, Outcome::MayHaveHappened));
    }

    #[test]
    fn a_refusal_is_not_tried_again() {
        let end = Course::new(LIMIT, at(0)).after(Failed::plain(What::Denied), at(1), 0.0).expect_err("refused");
        let error = end.into_error("read", "x", Effect::Reads);
        assert_eq!((error.what(), error.outcome()), (What::Denied, Outcome::DidNotHappen));
        assert!(!error.to_string().contains("tried"), "{error}");
    }

    #[test]
    fn one_lost_answer_leaves_the_whole_operation_in_doubt() {
        for last in [Failed::plain(What::Denied), Failed::plain(What::AlreadyExists), Failed::plain(What::NotFound)] {
            let mut course = Course::new(LIMIT, at(0));
            assert_eq!(course.attempt(), Attempt { index: 0, in_doubt: false });
            course.after(lost(), at(1), 0.0).unwrap();
            assert_eq!(course.attempt(), Attempt { index: 1, in_doubt: true });
            course.after(busy(), at(2), 0.0).unwrap();
            let end = course.after(last, at(3), 0.0).expect_err("refused");
            assert_eq!(end.into_error("publish", "x", Effect::Writes).outcome(), Outcome::MayHaveHappened);
        }
    }

    #[test]
    fn who_has_looked_can_settle_it() {
        let mut course = Course::new(LIMIT, at(0));
        course.after(lost(), at(1), 0.0).unwrap();
        let end = course.after(Failed::plain(What::AlreadyExists).settled(), at(2), 0.0).expect_err("refused");
        assert_eq!(end.into_error("publish", "x", Effect::Writes).outcome(), Outcome::DidNotHappen);
    }

    #[test]
    fn reading_is_never_in_doubt() {
        let end = Course::new(at(0), at(0)).after(lost(), at(1), 0.0).expect_err("the limit is reached");
        assert_eq!(end.into_error("read", "x", Effect::Reads).outcome(), Outcome::DidNotHappen);
    }
}
