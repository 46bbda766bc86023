//! Random operations and times against a naive model, for every kind of state and all settings.

use std::collections::BTreeMap;

use highwater_state::keyed::ttl::{StateTtlConfig, StateVisibility, TtlClocks, TtlTimeCharacteristic, UpdateType};
use highwater_state::keyed::{Aggregate, Sum};
use highwater_state::{AggregatingState, KeyedState, ListState, MapState, ReducingState, Ttl, ValueState};
use proptest::prelude::*;

const TTL_MS: i64 = 10;

/// The values themselves, and how many.
#[derive(Debug)]
enum All {}

impl Aggregate for All {
    type In = u8;
    type Accumulator = Vec<u8>;
    type Out = (Vec<u8>, usize);

    fn create() -> Vec<u8> {
        Vec::new()
    }

    fn add(all: &mut Vec<u8>, value: u8) {
        all.push(value);
    }

    fn result(all: &Vec<u8>) -> (Vec<u8>, usize) {
        (all.clone(), all.len())
    }

    fn merge(all: &mut Vec<u8>, other: Vec<u8>) {
        all.extend(other);
    }
}

/// The states of a row, whatever their settings.
struct States<'a> {
    value: &'a mut ValueState<u8, Ttl>,
    list: &'a mut ListState<u8, Ttl>,
    map: &'a mut MapState<u8, u8, Ttl>,
    sum: &'a mut ReducingState<u64, Sum, Ttl>,
    all: &'a mut AggregatingState<All, Ttl>,
}

trait Row: KeyedState {
    fn states(&mut self) -> States<'_>;
}

macro_rules! row {
    ($name:ident: $time:literal, $update:literal, $visibility:literal) => {
        #[derive(KeyedState)]
        struct $name {
            #[state(ttl = "10ms", time = $time, update = $update, visibility = $visibility)]
            value: ValueState<u8, Ttl>,
            #[state(ttl = "10ms", time = $time, update = $update, visibility = $visibility)]
            list: ListState<u8, Ttl>,
            #[state(ttl = "10ms", time = $time, update = $update, visibility = $visibility)]
            map: MapState<u8, u8, Ttl>,
            #[state(ttl = "10ms", time = $time, update = $update, visibility = $visibility)]
            sum: ReducingState<u64, Sum, Ttl>,
            #[state(ttl = "10ms", time = $time, update = $update, visibility = $visibility)]
            all: AggregatingState<All, Ttl>,
        }

        impl Row for $name {
            fn states(&mut self) -> States<'_> {
                let Self { value, list, map, sum, all } = self;
                States { value, list, map, sum, all }
            }
        }
    };
}

row!(Processing: "processing", "write", "never_return_expired");
row!(ProcessingReturned: "processing", "write", "return_until_cleaned");
row!(ProcessingRead: "processing", "read_and_write", "never_return_expired");
row!(ProcessingReadReturned: "processing", "read_and_write", "return_until_cleaned");
row!(Event: "event", "write", "never_return_expired");
row!(EventReturned: "event", "write", "return_until_cleaned");
row!(EventRead: "event", "read_and_write", "never_return_expired");
row!(EventReadReturned: "event", "read_and_write", "return_until_cleaned");

#[derive(Clone, Debug)]
enum Step {
    /// The machine's clock moves, back as well.
    Clock(i64),
    Watermark(i64),
    /// The next record, so much after the watermark.
    Record(i64),
    CleanUp,
    Restore,
    Set(u8),
    Get,
    Update,
    Take,
    Clear,
    ListAdd(u8),
    ListExtend(Vec<u8>),
    ListIter,
    ListBackwards,
    ListLen,
    ListUpdate(Vec<u8>),
    ListTake,
    MapInsert(u8, u8),
    MapGet(u8),
    MapContains(u8),
    MapUpdate(u8),
    MapRemove(u8),
    MapRetain,
    MapIter,
    MapRange(u8),
    MapLen,
    SumAdd(u8),
    SumGet,
    AllAdd(u8),
    AllMerge(Vec<u8>),
    AllGet,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || 0..4u8;
    let few = || prop::collection::vec(any::<u8>(), 0..4);
    let time = prop_oneof![
        4 => (-3..9i64).prop_map(Step::Clock),
        4 => (0..9i64).prop_map(Step::Watermark),
        4 => (-20..9i64).prop_map(Step::Record),
        2 => Just(Step::CleanUp),
        1 => Just(Step::Restore),
    ];
    let value = prop_oneof![
        any::<u8>().prop_map(Step::Set),
        Just(Step::Get),
        Just(Step::Update),
        Just(Step::Take),
        Just(Step::Clear)
    ];
    let list = prop_oneof![
        any::<u8>().prop_map(Step::ListAdd),
        few().prop_map(Step::ListExtend),
        Just(Step::ListIter),
        Just(Step::ListBackwards),
        Just(Step::ListLen),
        few().prop_map(Step::ListUpdate),
        Just(Step::ListTake),
    ];
    let map = prop_oneof![
        (key(), any::<u8>()).prop_map(|(key, value)| Step::MapInsert(key, value)),
        key().prop_map(Step::MapGet),
        key().prop_map(Step::MapContains),
        key().prop_map(Step::MapUpdate),
        key().prop_map(Step::MapRemove),
        Just(Step::MapRetain),
        Just(Step::MapIter),
        key().prop_map(Step::MapRange),
        Just(Step::MapLen),
    ];
    let folded = prop_oneof![
        any::<u8>().prop_map(Step::SumAdd),
        Just(Step::SumGet),
        any::<u8>().prop_map(Step::AllAdd),
        few().prop_map(Step::AllMerge),
        Just(Step::AllGet),
    ];
    prop::collection::vec(prop_oneof![2 => time, 1 => value, 1 => list, 2 => map, 1 => folded], 1..120)
}

/// A value with its stamp.
type Stamped<T> = (T, i64);

/// What the row should be, in plain collections.
#[derive(Debug)]
struct Model {
    config: StateTtlConfig,
    clock_ms: i64,
    watermark_ms: i64,
    record_ms: i64,
    value: Option<Stamped<u8>>,
    list: Vec<Stamped<u8>>,
    map: BTreeMap<u8, Stamped<u8>>,
    sum: Option<Stamped<u64>>,
    all: Option<Stamped<Vec<u8>>>,
}

impl Model {
    fn new(config: StateTtlConfig) -> Self {
        Model {
            config,
            clock_ms: 1_000,
            watermark_ms: 100,
            record_ms: 100,
            value: None,
            list: Vec::new(),
            map: BTreeMap::new(),
            sum: None,
            all: None,
        }
    }

    fn has_expired(&self, stamp: i64) -> bool {
        let present = match self.config.time {
            TtlTimeCharacteristic::ProcessingTime => self.clock_ms,
            TtlTimeCharacteristic::EventTime => self.watermark_ms,
        };
        present >= stamp + TTL_MS
    }

    fn is_visible(&self, stamp: i64) -> bool {
        !self.has_expired(stamp) || self.config.visibility == StateVisibility::ReturnExpiredIfNotCleanedUp
    }

    /// The stamp after a write of something with the stamp `before`, or of something new.
    fn written(&self, before: Option<i64>) -> i64 {
        match self.config.time {
            TtlTimeCharacteristic::ProcessingTime => self.clock_ms,
            TtlTimeCharacteristic::EventTime => self.record_ms.max(self.watermark_ms).max(before.unwrap_or(i64::MIN)),
        }
    }

    fn after_read(&self, stamp: i64) -> i64 {
        match self.config.update {
            UpdateType::OnReadAndWrite if self.is_visible(stamp) => self.written(Some(stamp)),
            UpdateType::OnReadAndWrite | UpdateType::OnCreateAndWrite => stamp,
        }
    }

    /// What a read of `entry` returns; its stamp changes.
    fn read<T: Clone>(&self, entry: &mut Option<Stamped<T>>) -> Option<T> {
        let (value, stamp) = entry.as_mut()?;
        *stamp = self.after_read(*stamp);
        self.is_visible(*stamp).then(|| value.clone())
    }

    /// Changes `entry`, starting from `fresh` if nothing is to be seen of it; returns what was.
    fn write<T: Clone>(&self, entry: &mut Option<Stamped<T>>, fresh: T, change: impl FnOnce(&mut T)) -> Option<T> {
        let visible = entry.take().filter(|(_, stamp)| self.is_visible(*stamp));
        let stamp = self.written(visible.as_ref().map(|(_, stamp)| *stamp));
        let before = visible.map(|(value, _)| value);
        let mut value = before.clone().unwrap_or(fresh);
        change(&mut value);
        *entry = Some((value, stamp));
        before
    }

    fn clean_up(&mut self) -> bool {
        let before = self.count();
        let expired = |stamp: i64| self.has_expired(stamp);
        let value = self.value.filter(|(_, stamp)| !expired(*stamp));
        let list = self.list.iter().copied().filter(|(_, stamp)| !expired(*stamp)).collect();
        let map = self.map.iter().map(|(k, v)| (*k, *v)).filter(|(_, (_, stamp))| !expired(*stamp)).collect();
        let sum = self.sum.filter(|(_, stamp)| !expired(*stamp));
        let all = self.all.clone().filter(|(_, stamp)| !expired(*stamp));
        (self.value, self.list, self.map, self.sum, self.all) = (value, list, map, sum, all);
        self.count() != before
    }

    /// Everything that is kept, visible or not.
    fn count(&self) -> usize {
        let single = [self.value.is_some(), self.sum.is_some(), self.all.is_some()];
        single.iter().filter(|is_there| **is_there).count() + self.list.len() + self.map.len()
    }

    fn read_list(&mut self) -> Vec<u8> {
        let mut list = std::mem::take(&mut self.list);
        list.iter_mut().for_each(|(_, stamp)| *stamp = self.after_read(*stamp));
        self.list = list;
        self.list.iter().filter(|(_, stamp)| self.is_visible(*stamp)).map(|(value, _)| *value).collect()
    }

    fn read_map(&mut self, from: u8) -> Vec<(u8, u8)> {
        let mut map = std::mem::take(&mut self.map);
        map.range_mut(from..).for_each(|(_, (_, stamp))| *stamp = self.after_read(*stamp));
        self.map = map;
        let visible = self.map.range(from..).filter(|(_, (_, stamp))| self.is_visible(*stamp));
        visible.map(|(key, (value, _))| (*key, *value)).collect()
    }

    fn write_map(&mut self, key: u8, change: impl FnOnce(&mut u8)) -> Option<u8> {
        let mut entry = self.map.remove(&key);
        let before = self.write(&mut entry, 0, change);
        self.map.extend(entry.map(|entry| (key, entry)));
        before
    }
}

/// Runs the steps on a row and on the model, and compares everything that can be seen.
fn check<S: Row>(steps: &[Step]) {
    let mut model = Model::new(S::ttl_configs()[0].1);
    let (mut row, clocks) = (S::default(), TtlClocks::of::<S>().unwrap());
    for step in steps {
        clocks.set(TtlTimeCharacteristic::ProcessingTime, model.clock_ms);
        clocks.set(TtlTimeCharacteristic::EventTime, model.watermark_ms);
        clocks.set_record(model.record_ms, model.watermark_ms);
        row.follow(&clocks);
        match step {
            Step::Clock(by) => model.clock_ms += by,
            Step::Watermark(by) => model.watermark_ms += by,
            Step::Record(after) => model.record_ms = model.watermark_ms + after,
            Step::CleanUp => assert_eq!(row.expire(), model.clean_up()),
            Step::Restore => {
                let mut bytes = Vec::new();
                row.encode(&mut bytes);
                row = S::decode(&mut &bytes[..]).unwrap();
                row.follow(&clocks);
            }
            step => apply(step, Row::states(&mut row), &mut model),
        }
        assert_eq!(row.is_empty(), model.count() == 0, "{step:?}");
    }
}

/// One operation on a state.
fn apply(step: &Step, row: States<'_>, model: &mut Model) {
    match step {
        Step::Set(_) | Step::Get | Step::Update | Step::Take | Step::Clear => {
            let mut entry = model.value.take();
            apply_to_value(step, row.value, &mut entry, model);
            model.value = entry;
        }
        Step::SumAdd(_) | Step::SumGet => {
            let mut entry = model.sum.take();
            if let Step::SumAdd(value) = step {
                row.sum.add(u64::from(*value));
                model.write(&mut entry, 0, |sum| *sum += u64::from(*value));
            } else {
                assert_eq!(row.sum.is_set(), entry.is_some_and(|(_, stamp)| model.is_visible(stamp)));
                assert_eq!(row.sum.get().copied(), model.read(&mut entry));
            }
            model.sum = entry;
        }
        Step::AllAdd(_) | Step::AllMerge(_) | Step::AllGet => {
            let mut entry = model.all.take();
            match step {
                Step::AllAdd(value) => {
                    row.all.add(*value);
                    model.write(&mut entry, Vec::new(), |all| all.push(*value));
                }
                Step::AllMerge(values) => {
                    row.all.merge(values.clone());
                    model.write(&mut entry, Vec::new(), |all| all.extend(values));
                }
                _ => assert_eq!(row.all.get().map(|(all, _)| all), model.read(&mut entry)),
            }
            model.all = entry;
        }
        step => {
            apply_to_list(step, row.list, model);
            apply_to_map(step, row.map, model);
        }
    }
}

fn apply_to_value(step: &Step, value: &mut ValueState<u8, Ttl>, entry: &mut Option<Stamped<u8>>, model: &Model) {
    match step {
        Step::Set(to) => {
            value.set(*to);
            model.write(entry, 0, |value| *value = *to);
        }
        Step::Update => {
            value.update(|value| *value = value.wrapping_add(1));
            model.write(entry, 0, |value| *value = value.wrapping_add(1));
        }
        Step::Take => assert_eq!(value.take(), entry.take().filter(|(_, at)| model.is_visible(*at)).map(|(v, _)| v)),
        Step::Clear => {
            value.clear();
            *entry = None;
        }
        _ => {
            assert_eq!(value.is_set(), entry.is_some_and(|(_, stamp)| model.is_visible(stamp)));
            assert_eq!(value.get().copied(), model.read(entry));
        }
    }
}

fn apply_to_list(step: &Step, list: &mut ListState<u8, Ttl>, model: &mut Model) {
    let new = model.written(None);
    match step {
        Step::ListAdd(element) => {
            list.add(*element);
            model.list.push((*element, new));
        }
        Step::ListExtend(elements) => {
            list.extend(elements.iter().copied());
            model.list.extend(elements.iter().map(|element| (*element, new)));
        }
        Step::ListIter => assert_eq!(list.iter().copied().collect::<Vec<_>>(), model.read_list()),
        Step::ListBackwards => {
            let mut expected = model.read_list();
            expected.reverse();
            assert_eq!(list.iter().rev().copied().collect::<Vec<_>>(), expected);
        }
        Step::ListLen => {
            let visible = model.list.iter().filter(|(_, stamp)| model.is_visible(*stamp)).count();
            assert_eq!((list.len(), list.is_empty()), (visible, visible == 0));
        }
        Step::ListUpdate(elements) => {
            list.update(elements.clone());
            model.list = elements.iter().map(|element| (*element, new)).collect();
        }
        Step::ListTake => {
            let expected = model.read_list();
            model.list.clear();
            assert_eq!(list.take(), expected);
        }
        _ => {}
    }
}

fn apply_to_map(step: &Step, map: &mut MapState<u8, u8, Ttl>, model: &mut Model) {
    match step {
        Step::MapInsert(key, value) => {
            assert_eq!(map.insert(*key, *value), model.write_map(*key, |to| *to = *value));
        }
        Step::MapGet(key) | Step::MapContains(key) => {
            let mut entry = model.map.remove(key);
            let expected = model.read(&mut entry);
            model.map.extend(entry.map(|entry| (*key, entry)));
            match step {
                Step::MapGet(_) => assert_eq!(map.get(key).copied(), expected),
                _ => assert_eq!(map.contains_key(key), expected.is_some()),
            }
        }
        Step::MapUpdate(key) => {
            map.update(*key, |value| *value = value.wrapping_add(1));
            model.write_map(*key, |value| *value = value.wrapping_add(1));
        }
        Step::MapRemove(key) => {
            let expected = model.map.remove(key).filter(|(_, stamp)| model.is_visible(*stamp)).map(|(value, _)| value);
            assert_eq!(map.remove(key), expected);
        }
        Step::MapRetain => {
            let visible: BTreeMap<_, _> = model.read_map(0).into_iter().collect();
            model.map.retain(|key, (value, _)| {
                *value /= 2;
                visible.contains_key(key) && *value % 2 == 0
            });
            map.retain(|_, value| {
                *value /= 2;
                *value % 2 == 0
            });
        }
        Step::MapIter => {
            let expected = model.read_map(0);
            assert_eq!(map.iter().map(|(key, value)| (*key, *value)).collect::<Vec<_>>(), expected);
            assert!(map.keys().rev().eq(expected.iter().rev().map(|(key, _)| key)));
            assert!(map.values().eq(expected.iter().map(|(_, value)| value)));
        }
        Step::MapRange(from) => {
            let expected = model.read_map(*from);
            assert_eq!(map.range(from..).map(|(key, value)| (*key, *value)).collect::<Vec<_>>(), expected);
        }
        Step::MapLen => {
            let visible = model.map.values().filter(|(_, stamp)| model.is_visible(*stamp)).count();
            assert_eq!((map.len(), map.is_empty()), (visible, visible == 0));
        }
        _ => {}
    }
}

proptest! {
    #[test]
    fn states_are_as_a_naive_model_says(steps in steps()) {
        check::<Processing>(&steps);
        check::<ProcessingReturned>(&steps);
        check::<ProcessingRead>(&steps);
        check::<ProcessingReadReturned>(&steps);
        check::<Event>(&steps);
        check::<EventReturned>(&steps);
        check::<EventRead>(&steps);
        check::<EventReadReturned>(&steps);
    }
}
