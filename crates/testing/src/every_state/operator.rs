//! Functions with operator state: a broadcast state beside keyed state, and the two kinds of lists.

use std::collections::BTreeSet;

use highwater::prelude::*;

use super::Line;
use super::ledger::Ledger;
use super::script::Event;

/// What every subtask has heard.
#[derive(OperatorState)]
pub struct Factors {
    by_name: BroadcastState<u64, u64>,
}

/// What a key has of it.
#[derive(KeyedState)]
pub struct Raised {
    events: ValueState<u64>,
    raises: ValueState<u64>,
}

/// Emits each event, and again at a timer, with the sum of the factors; each new factor raises every key.
#[derive(Clone)]
pub struct Scale {
    pub ledger: Ledger,
}

impl Scale {
    /// How long after an event its timer is, in event time.
    pub const DELAY_MS: i64 = 30;

    fn emit(&self, what: &str, first: i64, raised: &Raised, factors: &Factors, out: &mut Context<'_, u64, Line>) {
        let factor: u64 = factors.by_name.values().sum();
        let counts = [factor, raised.events.get_or_default(), raised.raises.get_or_default()];
        out.collect((what.into(), *out.key(), [vec![first], counts.map(|count| count as i64).to_vec()].concat()));
    }
}

impl KeyedBroadcastProcessFunction<u64, Event, Event> for Scale {
    type State = Raised;
    type Broadcast = Factors;
    type Out = Line;

    fn process(
        &mut self,
        event: Event,
        raised: &mut Raised,
        factors: &Factors,
        out: &mut Context<'_, u64, Line>,
    ) -> UserResult {
        raised.events.update(|count| *count += 1);
        self.emit("scale", event.id as i64, raised, factors, out);
        let time_ms = event.event_ms + Self::DELAY_MS;
        self.ledger.registers("scale", TimeDomain::EventTime, time_ms, event.key);
        out.register_event_time_timer(time_ms);
        self.ledger.called();
        Ok(())
    }

    fn process_broadcast(
        &mut self,
        rule: Event,
        factors: &mut Factors,
        context: &mut KeyedBroadcastContext<'_, u64, Raised, Line>,
    ) -> UserResult {
        factors.by_name.insert(rule.key, rule.amount);
        context.apply_to_keyed_state(|_, raised| {
            raised.raises.update(|count| *count += 1);
            Ok(())
        })?;
        self.ledger.called();
        Ok(())
    }

    fn on_timer(
        &mut self,
        timer: Timer,
        raised: &mut Raised,
        factors: &Factors,
        out: &mut Context<'_, u64, Line>,
    ) -> UserResult {
        self.emit("scale in event time", timer.time_ms, raised, factors, out);
        self.ledger.fired("scale", timer, *out.key());
        Ok(())
    }
}

/// What a subtask without keys has.
#[derive(OperatorState)]
pub struct Items {
    waiting: SplitList<u64>,
    known: UnionList<u64>,
}

/// Emits whether an item is new, which a subtask knows of its own, and after a restore of those of all; and events in bundles.
#[derive(Clone)]
pub struct Bundle {
    pub ledger: Ledger,
    restored: BTreeSet<u64>,
}

impl Bundle {
    /// How many events are emitted at once.
    const BUNDLE: usize = 3;

    pub fn new(ledger: Ledger) -> Self {
        Bundle { ledger, restored: BTreeSet::new() }
    }
}

impl ProcessFunction<Event> for Bundle {
    type State = Items;
    type Out = Line;

    fn open(&mut self, items: &mut Items, _: &OpenContext) -> UserResult {
        self.restored = items.known.take_restored().into_iter().collect();
        Ok(())
    }

    fn process(&mut self, event: Event, items: &mut Items, out: &mut ProcessContext<'_, Line>) -> UserResult {
        let is_new = !self.restored.contains(&event.key) && !items.known.own.iter().any(|known| *known == event.key);
        if is_new {
            items.known.own.add(event.key);
        }
        out.collect(("item".into(), event.key, vec![event.id as i64, i64::from(is_new)]));
        items.waiting.add(event.id);
        if items.waiting.len() >= Self::BUNDLE {
            emit_all(items, out);
        }
        self.ledger.called();
        Ok(())
    }

    fn finish(&mut self, items: &mut Items, out: &mut ProcessContext<'_, Line>) -> UserResult {
        emit_all(items, out);
        Ok(())
    }
}

fn emit_all(items: &mut Items, out: &mut ProcessContext<'_, Line>) {
    for id in items.waiting.take() {
        out.collect(("bundled".into(), id, Vec::new()));
    }
}
