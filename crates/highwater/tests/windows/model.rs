//! What windows come to, computed the plain way: each window by itself with all its records, and with timers that are registered and
//! taken back one by one, as in Flink's `WindowOperator`.

use std::collections::BTreeSet;

use crate::script::{Action, Row, Step};

/// Start and end; all of time for a global window.
type Window = (i64, i64);

pub const GLOBAL: Window = (i64::MIN, i64::MAX);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Time {
    Event,
    Processing,
}

#[derive(Clone, Copy, Debug)]
pub enum Assigner {
    Slices {
        time: Time,
        size: i64,
        slide: i64,
        offset: i64,
    },
    /// Sessions with a gap, and so much more for the remainder of the record's id by 3.
    Sessions {
        time: Time,
        gap: i64,
        more: i64,
    },
    Global,
}

#[derive(Clone, Copy, Debug)]
pub enum Trigger {
    Event,
    Processing,
    Count(u64),
    ContinuousEvent(i64),
    ContinuousProcessing(i64),
    /// By how far ids are apart.
    Delta(u64),
    Never,
}

#[derive(Clone, Copy, Debug)]
pub enum Evictor {
    None,
    Count(usize),
    Time(i64),
    /// By how far ids are apart.
    Delta(u64),
}

/// What is made of a window that fires; records with an even id are those of the left side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Ids,
    /// And how often it has fired.
    Counted,
    /// A row for each of the left with each of the right.
    Joined,
    /// Those of the left before those of the right.
    CoGrouped,
}

#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub assigner: Assigner,
    pub trigger: Trigger,
    pub purging: bool,
    pub evictor: Evictor,
    pub lateness: i64,
    /// Late records make rows.
    pub late_rows: bool,
    /// All records make the windows, not those of a key.
    pub all: bool,
    pub shape: Shape,
}

impl Kind {
    pub fn new(assigner: Assigner, trigger: Trigger) -> Self {
        Kind {
            assigner,
            trigger,
            purging: false,
            evictor: Evictor::None,
            lateness: 0,
            late_rows: false,
            all: false,
            shape: Shape::Ids,
        }
    }

    /// What windows follow.
    fn time(self) -> Time {
        match self.assigner {
            Assigner::Slices { time, .. } | Assigner::Sessions { time, .. } => time,
            Assigner::Global => Time::Processing,
        }
    }

    /// The rows that come out over a script.
    pub fn rows(self, number: u64, steps: &[Step]) -> Vec<Row> {
        let mut rows = Vec::new();
        for key in 0..if self.all { 1 } else { 3 } {
            let mut keyed =
                Keyed { kind: self, windows: Vec::new(), timers: BTreeSet::new(), out: Vec::new(), now: (0, 0) };
            for (index, step) in steps.iter().enumerate() {
                keyed.now = (step.watermark, step.clock_ms);
                if let Action::Record { key: of, id, at_ms } = step.action
                    && (self.all || of == key)
                {
                    keyed.add(id, at_ms);
                }
                // As long as the clock shows a time, it is not over.
                keyed.advance(Time::Processing, step.clock_ms - 1);
                step.beats.iter().for_each(|beat| keyed.advance(Time::Event, *beat));
                rows.extend(keyed.rows(number, index as u64 + 1, key));
            }
            keyed.advance(Time::Event, i64::MAX);
            rows.extend(keyed.rows(number, steps.len() as u64 + 1, key));
        }
        rows
    }
}

#[derive(Clone, Debug)]
struct State {
    window: Window,
    /// `None` once purged.
    records: Option<Vec<(u64, i64)>>,
    count: u64,
    next: Option<i64>,
    last: Option<u64>,
    fired: u64,
}

/// The windows of a key.
struct Keyed {
    kind: Kind,
    windows: Vec<State>,
    timers: BTreeSet<(Time, i64, Window)>,
    /// Windows that fired, with their records and how often they had before; late records.
    out: Vec<(Window, Vec<u64>, u64)>,
    /// Watermark and clock.
    now: (i64, i64),
}

fn max_timestamp(window: Window) -> i64 {
    if window == GLOBAL { i64::MAX } else { window.1 - 1 }
}

fn multiple_after(time: i64, interval: i64) -> i64 {
    time.div_euclid(interval).saturating_add(1).saturating_mul(interval)
}

impl Keyed {
    fn time(&self) -> Time {
        self.kind.time()
    }

    fn cleanup(&self, window: Window) -> i64 {
        let lateness = if self.time() == Time::Event { self.kind.lateness } else { 0 };
        max_timestamp(window).saturating_add(lateness)
    }

    fn assign(&self, id: u64, time: i64) -> Vec<Window> {
        match self.kind.assigner {
            Assigner::Global => vec![GLOBAL],
            Assigner::Sessions { gap, more, .. } => vec![(time, time + gap + more * (id % 3) as i64)],
            Assigner::Slices { size, slide, offset, .. } => {
                let around = (time - offset).div_euclid(slide);
                let starts = (around - size / slide - 2..=around + 1).map(|index| index * slide + offset);
                starts
                    .map(|start| (start, start + size))
                    .filter(|window| (window.0..window.1).contains(&time))
                    .collect()
            }
        }
    }

    fn add(&mut self, id: u64, at_ms: i64) {
        let time = if self.time() == Time::Event { at_ms } else { self.now.1 };
        let is_session = matches!(self.kind.assigner, Assigner::Sessions { .. });
        let mut is_skipped = true;
        for mut window in self.assign(id, time) {
            let meet = |one: Window, other: Window| one.0 <= other.1 && other.0 <= one.1;
            let met: Vec<_> = self.windows.iter().filter(|of| is_session && meet(of.window, window)).cloned().collect();
            for of in &met {
                window = (window.0.min(of.window.0), window.1.max(of.window.1));
            }
            if self.time() == Time::Event && self.cleanup(window) <= self.now.0 {
                continue;
            }
            is_skipped = false;
            if is_session && (met.len() != 1 || met[0].window != window) {
                self.merge(window, met);
            }
            self.add_to(window, id, time);
        }
        let is_late = self.time() == Time::Event && time.saturating_add(self.kind.lateness) <= self.now.0;
        if is_skipped && is_late && self.kind.late_rows {
            self.out.push(((0, 0), vec![id], 0));
        }
    }

    fn merge(&mut self, window: Window, met: Vec<State>) {
        let mut merged = State { window, records: None, count: 0, next: None, last: None, fired: 0 };
        for of in met {
            self.forget(of.window);
            if let Some(records) = of.records {
                merged.records.get_or_insert_default().extend(records);
            }
            merged.count += of.count;
            merged.fired += of.fired;
            merged.next = [merged.next, of.next].into_iter().flatten().min();
            merged.last = merged.last.or(of.last);
        }
        // One that is past was at the old end of a session or later, when that had fired.
        let next = merged.next.map(|next| next.min(max_timestamp(window)));
        if let Some(next) = next.filter(|next| *next > self.now.0) {
            self.timers.insert((Time::Event, next, window));
        }
        if matches!(self.kind.trigger, Trigger::Event | Trigger::ContinuousEvent(_))
            && max_timestamp(window) > self.now.0
        {
            self.timers.insert((Time::Event, max_timestamp(window), window));
        }
        self.windows.push(merged);
    }

    fn forget(&mut self, window: Window) {
        self.windows.retain(|of| of.window != window);
        self.timers.retain(|timer| timer.2 != window);
    }

    fn add_to(&mut self, window: Window, id: u64, time: i64) {
        let (watermark, clock) = self.now;
        let index = self.windows.iter().position(|of| of.window == window).unwrap_or_else(|| {
            self.windows.push(State { window, records: None, count: 0, next: None, last: None, fired: 0 });
            self.windows.len() - 1
        });
        let state = &mut self.windows[index];
        state.records.get_or_insert_default().push((id, time));
        let end = max_timestamp(window);
        let mut timer = |time, at| {
            self.timers.insert((time, at, window));
        };
        let fires = match self.kind.trigger {
            Trigger::Never => false,
            Trigger::Event | Trigger::ContinuousEvent(_) if end <= watermark => true,
            Trigger::Event => {
                timer(Time::Event, end);
                false
            }
            Trigger::Processing => {
                timer(Time::Processing, end);
                false
            }
            Trigger::Count(count) => {
                state.count += 1;
                let fires = state.count >= count;
                if fires {
                    state.count = 0;
                }
                fires
            }
            Trigger::ContinuousEvent(interval) => {
                timer(Time::Event, end);
                if state.next.is_none_or(|next| next <= watermark) {
                    state.next = Some(multiple_after(time.max(watermark), interval));
                }
                timer(Time::Event, state.next.unwrap().min(end));
                false
            }
            Trigger::ContinuousProcessing(interval) => {
                if state.next.is_none() {
                    state.next = Some(multiple_after(clock, interval));
                    timer(Time::Processing, state.next.unwrap());
                    if self.kind.time() == Time::Processing {
                        timer(Time::Processing, end);
                    }
                }
                false
            }
            Trigger::Delta(threshold) => {
                let fires = state.last.is_some_and(|last| id.abs_diff(last) > threshold);
                if fires || state.last.is_none() {
                    state.last = Some(id);
                }
                fires
            }
        };
        if fires {
            self.fire(window);
        }
        if self.cleanup(window) < i64::MAX {
            self.timers.insert((self.time(), self.cleanup(window), window));
        }
    }

    /// The watermark or the clock comes to `to`.
    fn advance(&mut self, time: Time, to: i64) {
        if time == Time::Event {
            self.now.0 = to;
        }
        while let Some(timer) = self.timers.iter().find(|timer| timer.0 == time && timer.1 <= to).copied() {
            self.timers.remove(&timer);
            self.on_timer(timer);
        }
    }

    fn on_timer(&mut self, (time, at, window): (Time, i64, Window)) {
        let end = max_timestamp(window);
        let Some(state) = self.windows.iter_mut().find(|of| of.window == window) else { return };
        let is_next = state.next == Some(at);
        let fires = match (self.kind.trigger, time) {
            (Trigger::Event, Time::Event) | (Trigger::Processing, Time::Processing) => at == end,
            (Trigger::ContinuousEvent(interval), Time::Event) => {
                let is_next = is_next && at < end;
                if is_next {
                    state.next = Some(multiple_after(at.max(self.now.0), interval));
                    self.timers.insert((Time::Event, state.next.unwrap().min(end), window));
                }
                is_next || at == end
            }
            (Trigger::ContinuousProcessing(interval), Time::Processing) => {
                let is_end = at == end && self.kind.time() == Time::Processing;
                if is_next {
                    state.next = Some(multiple_after(at.max(self.now.1), interval));
                    self.timers.insert((Time::Processing, state.next.unwrap(), window));
                }
                is_next || is_end
            }
            _ => false,
        };
        if fires {
            self.fire(window);
        }
        if time == self.time() && at == self.cleanup(window) && at < i64::MAX {
            self.forget(window);
        }
    }

    fn fire(&mut self, window: Window) {
        let Some(state) = self.windows.iter_mut().find(|of| of.window == window) else { return };
        let Some(records) = &mut state.records else { return };
        match self.kind.evictor {
            Evictor::None => {}
            Evictor::Count(count) => drop(records.drain(..records.len().saturating_sub(count))),
            Evictor::Time(age) => {
                let newest = records.iter().map(|record| record.1).max().unwrap();
                records.retain(|record| newest - record.1 < age);
            }
            Evictor::Delta(threshold) => {
                let last = records.last().unwrap().0;
                records.retain(|record| record.0.abs_diff(last) < threshold);
            }
        }
        let mut ids: Vec<u64> = records.iter().map(|record| record.0).collect();
        ids.sort_unstable();
        let fired = state.fired;
        if self.kind.shape == Shape::Counted {
            state.fired += 1;
        }
        if self.kind.purging {
            state.records = None;
        }
        let (left, right): (Vec<u64>, Vec<u64>) = ids.iter().partition(|id| *id % 2 == 0);
        match self.kind.shape {
            Shape::Ids | Shape::Counted => self.out.push((window, ids, fired)),
            Shape::CoGrouped => self.out.push((window, [left, right].concat(), fired)),
            Shape::Joined => {
                let pairs = left.iter().flat_map(|left| right.iter().map(|right| vec![*left, *right]));
                self.out.extend(pairs.map(|ids| (window, ids, fired)));
            }
        }
    }

    fn rows(&mut self, kind: u64, step: u64, key: u64) -> Vec<Row> {
        self.out.drain(..).map(|(window, ids, fired)| Row { kind, step, key, window, ids, fired }).collect()
    }
}
