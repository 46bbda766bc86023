//! Functions with keyed state: all kinds of it with both kinds of timers, all kinds with a time-to-live, and one over two
//! keyed streams.

use highwater::prelude::*;
use highwater::state::keyed::Max;

use super::Line;
use super::ledger::Ledger;
use super::script::Event;

/// Sums and counts.
pub enum SumAndCount {}

impl Aggregate for SumAndCount {
    type In = u64;
    type Accumulator = (u64, u64);
    type Out = i64;

    fn create() -> (u64, u64) {
        (0, 0)
    }

    fn add((sum, count): &mut (u64, u64), value: u64) {
        *sum += value;
        *count += 1;
    }

    fn result((sum, count): &(u64, u64)) -> i64 {
        (1000 * sum + count) as i64
    }

    fn merge((sum, count): &mut (u64, u64), other: (u64, u64)) {
        *sum += other.0;
        *count += other.1;
    }
}

/// State that stays.
#[derive(KeyedState)]
pub struct Totals {
    count: ValueState<u64>,
    latest: ListState<u64>,
    by_amount: MapState<u64, u64>,
    greatest: ReducingState<u64, Max>,
    sum: AggregatingState<SumAndCount>,
}

/// Emits all of its state at each event, and at two timers for it.
#[derive(Clone)]
pub struct Total {
    pub ledger: Ledger,
}

impl Total {
    /// How long after an event its timer is, in event time.
    pub const EVENT_DELAY_MS: i64 = 45;
    /// The same in processing time.
    pub const PROCESSING_DELAY_MS: i64 = 60;
    /// An amount that can be divided by this clears the state.
    pub const CLEARS: u64 = 7;
    /// How many amounts are remembered.
    pub const LATEST: usize = 3;
    /// How many counts by amount there are.
    pub const AMOUNTS: u64 = 4;
}

fn line(totals: &Totals) -> Vec<i64> {
    let mut line = vec![totals.count.get_or_default() as i64, totals.latest.len() as i64];
    line.extend(totals.latest.iter().map(|amount| *amount as i64));
    line.extend(totals.by_amount.iter().flat_map(|(amount, count)| [*amount as i64, *count as i64]));
    line.push(totals.greatest.get().map_or(-1, |greatest| *greatest as i64));
    line.push(totals.sum.get().unwrap_or(-1));
    line
}

impl KeyedProcessFunction<u64, Event> for Total {
    type State = Totals;
    type Out = Line;

    fn process(&mut self, event: Event, totals: &mut Totals, out: &mut Context<'_, u64, Line>) -> UserResult {
        totals.count.update(|count| *count += 1);
        totals.latest.add(event.amount);
        if totals.latest.len() > Self::LATEST {
            let latest = totals.latest.take();
            totals.latest.update(latest[1..].to_vec());
        }
        totals.by_amount.update(event.amount % Self::AMOUNTS, |count| *count += 1);
        totals.greatest.add(event.amount);
        totals.sum.add(event.amount);
        out.collect(("total".into(), event.key, line(totals)));
        if event.amount.is_multiple_of(Self::CLEARS) {
            totals.clear();
        }
        for (domain, time_ms) in [
            (TimeDomain::EventTime, event.event_ms + Self::EVENT_DELAY_MS),
            (TimeDomain::ProcessingTime, out.processing_time() + Self::PROCESSING_DELAY_MS),
        ] {
            self.ledger.registers("total", domain, time_ms, event.key);
            match domain {
                TimeDomain::EventTime => out.register_event_time_timer(time_ms),
                TimeDomain::ProcessingTime => out.register_processing_time_timer(time_ms),
            }
        }
        self.ledger.called();
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, totals: &mut Totals, out: &mut Context<'_, u64, Line>) -> UserResult {
        let name = match timer.domain {
            TimeDomain::EventTime => "total in event time",
            TimeDomain::ProcessingTime => "total in processing time",
        };
        out.collect((name.into(), *out.key(), [vec![timer.time_ms], line(totals)].concat()));
        self.ledger.fired("total", timer, *out.key());
        Ok(())
    }
}

/// How long state lives in processing time: as the attributes of [`Recents`] say.
pub const PROCESSING_TTL_MS: i64 = 80;
/// How long state lives in event time.
pub const EVENT_TTL_MS: i64 = 90;

/// State that expires: every kind, in both times and with both settings of what renews it.
#[derive(KeyedState)]
pub struct Recents {
    #[state(ttl = "80ms", update = "write")]
    value: ValueState<u64, Ttl>,
    #[state(ttl = "80ms", update = "read_and_write")]
    list: ListState<u64, Ttl>,
    #[state(ttl = "90ms", time = "event", update = "write")]
    map: MapState<u64, u64, Ttl>,
    #[state(ttl = "90ms", time = "event", update = "read_and_write")]
    greatest: ReducingState<u64, Max, Ttl>,
    #[state(ttl = "90ms", time = "event", update = "write")]
    sum: AggregatingState<SumAndCount, Ttl>,
}

/// Writes each state when it is not there (any more), and emits which were: those in processing time at an event, those in event
/// time at the timer of its time, when it is that time wherever the watermark is.
#[derive(Clone)]
pub struct Recent {
    pub ledger: Ledger,
}

/// What was written, or less than any time.
fn known(written: Option<&u64>) -> i64 {
    written.map_or(-1, |written| *written as i64)
}

impl KeyedProcessFunction<u64, Event> for Recent {
    type State = Recents;
    type Out = Line;

    fn process(&mut self, event: Event, recents: &mut Recents, out: &mut Context<'_, u64, Line>) -> UserResult {
        let since = [known(recents.value.get()), known(recents.list.iter().next())];
        let now_ms = out.processing_time();
        if since[0] < 0 {
            recents.value.set(now_ms as u64);
        }
        if since[1] < 0 {
            recents.list.add(now_ms as u64);
        }
        out.collect(("recent".into(), event.key, vec![event.id as i64, since[0], since[1]]));
        self.ledger.registers("recent", TimeDomain::EventTime, event.event_ms, event.key);
        out.register_event_time_timer(event.event_ms);
        self.ledger.called();
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, recents: &mut Recents, out: &mut Context<'_, u64, Line>) -> UserResult {
        let (map, greatest) = (known(recents.map.get(&0)), known(recents.greatest.get()));
        let sum = recents.sum.get().map_or(-1, |sum| sum / 1000);
        let now_ms = timer.time_ms as u64;
        if map < 0 {
            recents.map.insert(0, now_ms);
        }
        if greatest < 0 {
            recents.greatest.add(now_ms);
        }
        if sum < 0 {
            recents.sum.add(now_ms);
        }
        out.collect(("recent in event time".into(), *out.key(), vec![timer.time_ms, map, greatest, sum]));
        self.ledger.fired("recent", timer, *out.key());
        Ok(())
    }
}

/// What both sides of a pair have brought.
#[derive(KeyedState)]
pub struct Sides {
    left: ListState<u64>,
    right: ListState<u64>,
}

/// Emits with each event what the other side has brought so far.
#[derive(Clone)]
pub struct Pair {
    pub ledger: Ledger,
}

impl Pair {
    fn emit(&self, event: &Event, other: &ListState<u64>, out: &mut Context<'_, u64, Line>) {
        let numbers = std::iter::once(event.id).chain(other.iter().copied()).map(|number| number as i64);
        out.collect(("pair".into(), event.key, numbers.collect()));
        self.ledger.called();
    }
}

impl KeyedCoProcessFunction<u64, Event, Event> for Pair {
    type State = Sides;
    type Out = Line;

    fn process1(&mut self, event: Event, sides: &mut Sides, out: &mut Context<'_, u64, Line>) -> UserResult {
        sides.left.add(event.amount);
        self.emit(&event, &sides.right, out);
        Ok(())
    }

    fn process2(&mut self, event: Event, sides: &mut Sides, out: &mut Context<'_, u64, Line>) -> UserResult {
        sides.right.add(event.amount);
        self.emit(&event, &sides.left, out);
        Ok(())
    }
}
