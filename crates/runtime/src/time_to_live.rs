//! The time-to-live of a keyed task's state: what time it is for it, and when expired rows are cleaned up.
//!
//! In processing time the present is read from the clock once a batch. In event time it is the watermark up to which all timers
//! have fired, and while timers fire the time of the one that does: so a timer finds the state as it was at its time, however far
//! the watermark has jumped. The end of the input lets no time pass; what is left then stays as it is.
//!
//! Clean-up goes through the rows bit by bit between batches, in rounds that begin an eighth of the shortest time-to-live apart:
//! nothing takes memory for much longer than it can be seen, and a long time-to-live costs next to nothing.
//!
//! What is in a store on disk the store drops by itself, in the background; a round only tells it what time it is.
//!
//! The present in event time is in checkpoints. Watermarks are not, and what has expired must not be seen again after a restore.

use highwater_checkpoint::metadata::{OperatorState, Redistribution};
use highwater_core::{KeyGroupRange, Result};
use highwater_state::keyed::ttl::TtlClocks;
use highwater_state::keyed::ttl::TtlTimeCharacteristic::{EventTime, ProcessingTime};
use highwater_state::tier::TieredTables;
use highwater_state::{Data, Key, KeyedState};

use crate::graph::Task;
use crate::mark::{MAX_WATERMARK, NO_WATERMARK};
use crate::restore::decode_all;
use crate::source_task::encoded;

/// Name of the operator state that holds the present in event time: no field of a user's operator state can be called so.
pub(crate) const EVENT_TIME: &str = "event-time";

/// Rounds of clean-up in the shortest time-to-live.
const ROUNDS: i64 = 8;

/// The times and the clean-up of one task. Of a state without time-to-live nothing here is called.
pub(crate) struct TimeToLive {
    clocks: TtlClocks,
    /// The present in event time, in ms since the Unix epoch.
    event_ms: i64,
    /// The present in processing time.
    processing_ms: i64,
    rounds: [Option<Rounds>; 2],
    /// How many rows are still to be visited in the round that is under way.
    rows_left: usize,
}

impl TimeToLive {
    /// The times of the states of `S`, with the present in event time of what the restored checkpoint has for `range`.
    ///
    /// # Errors
    /// If a time-to-live is zero.
    pub fn open<S: KeyedState>(task: &Task, range: KeyGroupRange) -> Result<Self> {
        let clocks = TtlClocks::of::<S>().map_err(|error| error.context(format!("operator {}", task.name)))?;
        Ok(TimeToLive::new(clocks, restored_event_time(task, range)?))
    }

    fn new(clocks: TtlClocks, event_ms: i64) -> Self {
        clocks.set(EventTime, event_ms);
        let rounds = [ProcessingTime, EventTime].map(|time| clocks.shortest_ttl_ms(time).map(Rounds::every));
        TimeToLive { clocks, event_ms, processing_ms: i64::MIN, rounds, rows_left: 0 }
    }

    /// Reads the clock: `now_ms` since the Unix epoch.
    pub fn set_processing_time(&mut self, now_ms: i64) {
        self.processing_ms = now_ms;
        self.clocks.set(ProcessingTime, now_ms);
    }

    /// Event time has come to `time_ms`: all timers up to that watermark have fired, or a timer of that time does.
    pub fn advance_event_time(&mut self, time_ms: i64) {
        if time_ms != MAX_WATERMARK {
            self.event_ms = self.event_ms.max(time_ms);
        }
        // Also if nothing has changed: the last record's time is still set.
        self.clocks.set(EventTime, self.event_ms);
    }

    /// Prepares a state for the function that is called for a record with event time `time_ms`.
    #[inline]
    pub fn hand_out<S: KeyedState>(&self, state: &mut S, time_ms: i64) {
        self.clocks.set_record(time_ms, self.event_ms);
        state.follow(&self.clocks);
    }

    /// Cleans up the rows in about `slots` slots if a round is under way or due; whether it goes on.
    pub fn clean_up<K: Key, S: KeyedState>(&mut self, rows: &mut TieredTables<K, S>, slots: usize) -> bool {
        if self.rows_left == 0 {
            if !self.begins_round() {
                return false;
            }
            self.rows_left = rows.table().len();
        }
        self.advance_event_time(self.event_ms);
        let (clocks, mut visited) = (&self.clocks, 0);
        rows.expire_below(clocks);
        rows.sweep_rows(slots, |_, state| {
            visited += 1;
            state.follow(clocks);
            state.expire()
        });
        self.rows_left = if rows.table().is_empty() { 0 } else { self.rows_left.saturating_sub(visited) };
        self.rows_left > 0
    }

    fn begins_round(&mut self) -> bool {
        let [processing, event] = &mut self.rounds;
        let begins = |rounds: &mut Option<Rounds>, now_ms| rounds.as_mut().is_some_and(|rounds| rounds.begins(now_ms));
        // Both are asked, since a round is for both.
        begins(processing, self.processing_ms) | begins(event, self.event_ms)
    }

    /// When the clock has to be looked at for the next round, in ms since the Unix epoch.
    pub fn next_round_ms(&self) -> Option<i64> {
        self.rounds[0].as_ref().map(|rounds| rounds.next_ms)
    }

    /// The present in event time, for a checkpoint; none without a time-to-live in event time.
    pub fn operator_state(&self) -> Option<OperatorState> {
        self.rounds[1].as_ref().map(|_| OperatorState {
            name: EVENT_TIME.into(),
            schema: i64::schema().to_json(),
            redistribution: Redistribution::Union,
            elements: vec![encoded(&self.event_ms)],
        })
    }
}

/// How far event time had come for the key groups in `range`: the least of the subtasks that had one of them.
fn restored_event_time(task: &Task, range: KeyGroupRange) -> Result<i64> {
    let operator = task.attempt.restored.as_ref().and_then(|restored| restored.operator(&task.id.operator));
    let Some(operator) = operator else { return Ok(NO_WATERMARK) };
    let mut least = None;
    for (_, stored) in &operator.subtasks {
        if !stored.keyed.iter().any(|keyed| keyed.range.iter().any(|group| range.contains(group))) {
            continue;
        }
        for state in stored.operator_state.iter().filter(|state| state.name == EVENT_TIME) {
            least = decode_all::<i64>(&state.elements, "event time")?.into_iter().chain(least).min();
        }
    }
    Ok(least.unwrap_or(NO_WATERMARK))
}

/// When rounds of clean-up begin, in one of the times.
struct Rounds {
    interval_ms: i64,
    next_ms: i64,
}

impl Rounds {
    /// The first is due at once.
    fn every(ttl_ms: i64) -> Self {
        Rounds { interval_ms: (ttl_ms / ROUNDS).max(1), next_ms: i64::MIN }
    }

    /// Whether a round begins now.
    fn begins(&mut self, now_ms: i64) -> bool {
        // A clock that was set back must not put off the next round for as long.
        let is_due = now_ms >= self.next_ms || self.next_ms.saturating_sub(now_ms) > self.interval_ms;
        if is_due {
            self.next_ms = now_ms.saturating_add(self.interval_ms);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use highwater_core::MaxParallelism;
    use highwater_state::table::{ChunkKind, Scope};
    use highwater_state::{Ttl, ValueState};

    use super::*;

    #[derive(KeyedState)]
    struct Row {
        #[state(ttl = "80ms")]
        of_clock: ValueState<u64, Ttl>,
        #[state(ttl = "80ms", time = "event")]
        of_events: ValueState<u64, Ttl>,
    }

    type Rows = TieredTables<u64, Row>;

    fn ttl(event_ms: i64, processing_ms: i64) -> TimeToLive {
        let mut ttl = TimeToLive::new(TtlClocks::of::<Row>().unwrap(), event_ms);
        ttl.set_processing_time(processing_ms);
        ttl
    }

    fn rows() -> Rows {
        TieredTables::in_memory(MaxParallelism::new(8).unwrap(), KeyGroupRange::new(0..8))
    }

    /// Hands out the rows of some keys for records at `time_ms`.
    fn hand_out(ttl: &TimeToLive, rows: &mut Rows, keys: std::ops::Range<u64>, time_ms: i64, f: impl Fn(&mut Row)) {
        for key in keys {
            rows.with(key.key_hash(), &key, |row| {
                ttl.hand_out(row, time_ms);
                f(row);
            })
            .unwrap();
        }
    }

    fn clean_up_all(ttl: &mut TimeToLive, rows: &mut Rows) {
        while ttl.clean_up(rows, 1_000) {}
    }

    #[test]
    fn a_round_begins_an_eighth_of_the_time_after_the_one_before() {
        let mut rounds = Rounds::every(80);
        let begun: Vec<i64> = (1_000..1_040).filter(|now| rounds.begins(*now)).collect();
        assert_eq!(begun, [1_000, 1_010, 1_020, 1_030]);
        // The clock is set back: not the same hour once more without clean-up.
        assert!(rounds.begins(500) && !rounds.begins(509) && rounds.begins(510));
        assert_eq!(Rounds::every(1).interval_ms, 1);
    }

    #[test]
    fn a_round_goes_on_until_every_row_was_visited_and_leaves_what_is_alive_unchanged() {
        let (mut ttl, mut rows) = (ttl(0, 0), rows());
        clean_up_all(&mut ttl, &mut rows);
        hand_out(&ttl, &mut rows, 0..20_000, 0, |row| row.of_clock.set(1));
        rows.begin_snapshot(|_| Scope::Full).unwrap();
        while !rows.advance_snapshot(usize::MAX, &mut |_| {}) {}
        ttl.set_processing_time(79);
        clean_up_all(&mut ttl, &mut rows);
        ttl.set_processing_time(80);
        hand_out(&ttl, &mut rows, 0..10, 0, |row| row.of_clock.set(2));
        assert!(!ttl.clean_up(&mut rows, 1_000), "the last round began less than an eighth ago");
        ttl.set_processing_time(90);
        let mut steps = 0;
        while ttl.clean_up(&mut rows, 1_000) {
            steps += 1;
        }
        assert_eq!(rows.table().len(), 10);
        assert!(steps >= 20, "{steps} steps of 1000 slots for 20000 rows");
        let mut changes = [0, 0];
        rows.begin_snapshot(|_| Scope::Changed).unwrap();
        let mut count = |kind, entries| changes[usize::from(kind == ChunkKind::Removed)] += entries;
        while !rows.advance_snapshot(usize::MAX, &mut |chunk| count(chunk.kind, chunk.entries)) {}
        assert_eq!(changes, [10, 19_990], "changed, and removed");
    }

    #[test]
    fn clean_up_changes_nothing_that_is_alive() {
        let (mut ttl, mut rows) = (ttl(0, 0), rows());
        hand_out(&ttl, &mut rows, 0..1_000, 0, |row| row.of_clock.set(1));
        for (now_ms, scope) in [(0, Scope::Full), (79, Scope::Changed)] {
            ttl.set_processing_time(now_ms);
            clean_up_all(&mut ttl, &mut rows);
            let mut entries = 0;
            rows.begin_snapshot(|_| scope).unwrap();
            while !rows.advance_snapshot(usize::MAX, &mut |chunk| entries += chunk.entries) {}
            assert_eq!(entries, if scope == Scope::Full { 1_000 } else { 0 });
        }
    }

    #[test]
    fn the_end_of_the_input_expires_nothing() {
        let (mut ttl, mut rows) = (ttl(NO_WATERMARK, 0), rows());
        hand_out(&ttl, &mut rows, 0..100, 1_000, |row| row.of_events.set(1));
        for time_ms in [1_079, MAX_WATERMARK] {
            ttl.advance_event_time(time_ms);
            hand_out(&ttl, &mut rows, 0..100, NO_WATERMARK, |row| assert!(row.of_events.is_set()));
            clean_up_all(&mut ttl, &mut rows);
            assert_eq!(rows.table().len(), 100, "at {time_ms}");
        }
        assert_eq!(ttl.operator_state().unwrap().elements, [1_079i64.to_le_bytes()]);
        ttl.advance_event_time(1_089);
        clean_up_all(&mut ttl, &mut rows);
        assert!(rows.table().is_empty());
    }

    #[test]
    fn clean_up_stamps_with_the_present_and_not_with_the_last_record() {
        let (mut ttl, mut rows) = (ttl(100, 0), rows());
        // As if restored from a time in which there was no time-to-live.
        rows.with(1u64.key_hash(), &1, |row| row.of_events.set(1)).unwrap();
        ttl.clocks.set_record(5_000, 100);
        clean_up_all(&mut ttl, &mut rows);
        ttl.advance_event_time(180);
        clean_up_all(&mut ttl, &mut rows);
        assert!(rows.table().is_empty());
    }
}
