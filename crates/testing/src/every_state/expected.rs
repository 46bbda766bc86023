//! What has to come out, computed by plain loops over the script.

use std::collections::{BTreeMap, BTreeSet};

use super::Line;
use super::keyed::{EVENT_TTL_MS, PROCESSING_TTL_MS, Total};
use super::operator::Scale;
use super::script::{Event, KEYS, Kind};

/// All lines of the job, in no particular order.
pub fn lines(events: &[Event]) -> Vec<Line> {
    [totals, recents, pairs, scales, items].into_iter().flat_map(|part| part(events)).collect()
}

fn of<'a>(events: &'a [Event], key: u64, kinds: &'a [Kind]) -> impl DoubleEndedIterator<Item = &'a Event> + Clone {
    events.iter().filter(move |event| event.key == key && kinds.contains(&event.kind))
}

/// The watermark before an event: none before the first.
fn watermark_before(events: &[Event], id: u64) -> Option<i64> {
    events[..id as usize].iter().rfind(|event| event.kind != Kind::Item).map(|event| event.event_ms - 1)
}

/// The first event by which a timer has fired, in processing time and in event time.
fn fires_before(events: &[Event], time_ms: i64, is_event_time: bool) -> Option<u64> {
    let is_due = |event: &&Event| match is_event_time {
        true => watermark_before(events, event.id).is_some_and(|watermark| watermark >= time_ms),
        false => event.clock_ms >= time_ms,
    };
    events.iter().find(is_due).map(|event| event.id)
}

/// What is stored for a key when all events before `id` have come in.
fn total(events: &[Event], key: u64, id: u64) -> Vec<i64> {
    let all: Vec<_> = of(&events[..id as usize], key, &[Kind::Left]).map(|event| event.amount).collect();
    // The one that is emitted is still there when it clears the state.
    let cleared = all.iter().rposition(|amount| amount.is_multiple_of(Total::CLEARS)).map_or(0, |at| at + 1);
    total_of(&all[cleared..])
}

fn total_of(amounts: &[u64]) -> Vec<i64> {
    let latest = &amounts[amounts.len().saturating_sub(Total::LATEST)..];
    let mut line = vec![amounts.len() as i64, latest.len() as i64];
    line.extend(latest.iter().map(|amount| *amount as i64));
    for rest in 0..Total::AMOUNTS {
        let count = amounts.iter().filter(|amount| **amount % Total::AMOUNTS == rest).count();
        if count > 0 {
            line.extend([rest as i64, count as i64]);
        }
    }
    line.push(amounts.iter().max().map_or(-1, |greatest| *greatest as i64));
    let sum = amounts.iter().sum::<u64>() as i64;
    line.push(if amounts.is_empty() { -1 } else { 1000 * sum + amounts.len() as i64 });
    line
}

fn totals(events: &[Event]) -> Vec<Line> {
    let (mut lines, end) = (Vec::new(), events.len() as u64);
    let mut in_processing_time = BTreeSet::new();
    for event in events.iter().filter(|event| event.kind == Kind::Left) {
        let all: Vec<_> =
            of(&events[..=event.id as usize], event.key, &[Kind::Left]).map(|event| event.amount).collect();
        let before = &all[..all.len() - 1];
        let cleared = before.iter().rposition(|amount| amount.is_multiple_of(Total::CLEARS)).map_or(0, |at| at + 1);
        lines.push(("total".to_owned(), event.key, total_of(&all[cleared..])));

        let time_ms = event.event_ms + Total::EVENT_DELAY_MS;
        let at = fires_before(events, time_ms, true).unwrap_or(end);
        let numbers = [vec![time_ms], total(events, event.key, at)].concat();
        lines.push(("total in event time".to_owned(), event.key, numbers));
        in_processing_time.insert((event.key, event.clock_ms + Total::PROCESSING_DELAY_MS));
    }
    for (key, time_ms) in in_processing_time {
        // The end of the input is no moment in processing time.
        if let Some(at) = fires_before(events, time_ms, false) {
            let numbers = [vec![time_ms], total(events, key, at)].concat();
            lines.push(("total in processing time".to_owned(), key, numbers));
        }
    }
    lines
}

/// A state with a time-to-live: when it was written, and its stamp.
#[derive(Clone, Copy, Default)]
struct Expiring(Option<(i64, i64)>);

impl Expiring {
    /// When the state was written that is there at `now_ms`. One that is not is written.
    fn touch(&mut self, now_ms: i64, ttl_ms: i64, is_renewed: bool) -> i64 {
        self.0 = self.0.filter(|(_, stamp)| stamp + ttl_ms > now_ms);
        let written = self.0.map_or(-1, |(written, _)| written);
        match &mut self.0 {
            Some((_, stamp)) if is_renewed => *stamp = now_ms,
            Some(_) => {}
            None => self.0 = Some((now_ms, now_ms)),
        }
        written
    }
}

fn recents(events: &[Event]) -> Vec<Line> {
    let mut lines = Vec::new();
    for key in 0..KEYS {
        let [mut value, mut list, mut map, mut greatest, mut sum] = [Expiring::default(); 5];
        for event in of(events, key, &[Kind::Left]) {
            let (clock_ms, ttl_ms) = (event.clock_ms, PROCESSING_TTL_MS);
            let since = [value.touch(clock_ms, ttl_ms, false), list.touch(clock_ms, ttl_ms, true)];
            lines.push(("recent".to_owned(), key, vec![event.id as i64, since[0], since[1]]));
            let (event_ms, ttl_ms) = (event.event_ms, EVENT_TTL_MS);
            let since = [
                map.touch(event_ms, ttl_ms, false),
                greatest.touch(event_ms, ttl_ms, true),
                sum.touch(event_ms, ttl_ms, false),
            ];
            lines.push(("recent in event time".to_owned(), key, [vec![event_ms], since.to_vec()].concat()));
        }
    }
    lines
}

fn pairs(events: &[Event]) -> Vec<Line> {
    let paired = events.iter().filter(|event| matches!(event.kind, Kind::Left | Kind::Right));
    let line = |event: &Event| {
        let other = if event.kind == Kind::Left { Kind::Right } else { Kind::Left };
        let kinds = [other];
        let others = of(&events[..event.id as usize], event.key, &kinds).map(|other| other.amount as i64);
        ("pair".to_owned(), event.key, std::iter::once(event.id as i64).chain(others).collect())
    };
    paired.map(line).collect()
}

/// Sum of the factors, events and raises of a key when all events before `id` have come in.
fn scale(events: &[Event], key: u64, id: u64) -> [i64; 3] {
    let events = &events[..id as usize];
    let rules = || events.iter().filter(|event| event.kind == Kind::Rule);
    let factors: BTreeMap<_, _> = rules().map(|rule| (rule.key, rule.amount)).collect();
    let mut own = of(events, key, &[Kind::Left]);
    let count = own.clone().count();
    let first = own.next().map_or(u64::MAX, |event| event.id);
    let raises = rules().filter(|rule| rule.id > first).count();
    [factors.values().sum::<u64>() as i64, count as i64, raises as i64]
}

fn scales(events: &[Event]) -> Vec<Line> {
    let line = |event: &Event| {
        let now =
            ("scale".to_owned(), event.key, [&[event.id as i64][..], &scale(events, event.key, event.id + 1)].concat());
        let time_ms = event.event_ms + Scale::DELAY_MS;
        let at = fires_before(events, time_ms, true).unwrap_or(events.len() as u64);
        let numbers = [&[time_ms][..], &scale(events, event.key, at)].concat();
        [now, ("scale in event time".to_owned(), event.key, numbers)]
    };
    events.iter().filter(|event| event.kind == Kind::Left).flat_map(line).collect()
}

fn items(events: &[Event]) -> Vec<Line> {
    let mut known = BTreeSet::new();
    let line = |event: &Event| {
        let is_new = i64::from(known.insert(event.key));
        [("item".to_owned(), event.key, vec![event.id as i64, is_new]), ("bundled".to_owned(), event.id, Vec::new())]
    };
    events.iter().filter(|event| event.kind == Kind::Item).flat_map(line).collect()
}
