//! The input: events in one fixed order, each with its event time and the processing time at which it comes in.

use highwater::state::Data;

use crate::Random;

/// How many events there are.
pub const EVENTS: u64 = 150;
/// How many keys they have.
pub const KEYS: u64 = 6;
/// How many of the items that come again are one and the same.
pub const ITEMS: u64 = 12;

/// Which functions an event is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Data)]
pub enum Kind {
    /// For every keyed function; of a pair it is the first input.
    Left,
    /// The second input of a pair.
    Right,
    /// Broadcast.
    Rule,
    /// For the function without keys.
    Item,
}

/// One record of the input.
#[derive(Clone, Debug, PartialEq, Eq, Data)]
pub struct Event {
    /// 0, 1, .. in the order in which events come in.
    pub id: u64,
    /// Whom it is for.
    pub kind: Kind,
    /// The key, the name of a rule, or the item.
    pub key: u64,
    /// Something to add up.
    pub amount: u64,
    /// When it happened: later than every event before it.
    pub event_ms: i64,
    /// When it comes in: not before the events before it.
    pub clock_ms: i64,
}

/// The events, the same each time.
pub fn events() -> Vec<Event> {
    let mut random = Random::new(11);
    let (mut event_ms, mut clock_ms) = (0, 1_000_000);
    let mut event = |id| {
        event_ms += 1 + (random.any() % 20) as i64;
        clock_ms += (random.any() % 20) as i64;
        let kind = match random.any() % 10 {
            0..=4 => Kind::Left,
            5 | 6 => Kind::Right,
            7 => Kind::Rule,
            _ => Kind::Item,
        };
        let key = match kind {
            Kind::Left | Kind::Right => random.any() % KEYS,
            Kind::Rule => random.any() % 3,
            Kind::Item => random.any() % ITEMS,
        };
        Event { id, kind, key, amount: random.any() % 30, event_ms, clock_ms }
    };
    (0..EVENTS).map(&mut event).collect()
}
