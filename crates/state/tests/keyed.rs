//! Declared state: what its operations do, and that a row survives being encoded.

use highwater_state::keyed::{Max, Min, Sum};
use highwater_state::{
    Aggregate, AggregatingState, Data, DecodeError, KeyedState, ListState, MapState, Plain, ReducingState, State,
    ValueState,
};
use proptest::prelude::*;

#[derive(KeyedState, Debug, PartialEq)]
struct Visitor {
    requests: ValueState<u64>,
    pages: MapState<String, u64>,
    latest: ListState<String>,
}

#[derive(KeyedState, Debug, PartialEq)]
struct Window<A, K: Data + Ord>
where
    A: Data,
{
    r#type: ValueState<A>,
    out: MapState<K, A>,
}

fn encoding(state: &impl KeyedState) -> Vec<u8> {
    let mut bytes = Vec::new();
    state.encode(&mut bytes);
    bytes
}

fn state_encoding(state: &impl State) -> Vec<u8> {
    let mut bytes = Vec::new();
    state.encode(&mut bytes);
    bytes
}

#[test]
fn a_value_is_set_changed_and_cleared() {
    let mut value = ValueState::<u64>::default();
    assert_eq!((value.get(), value.get_or_default(), value.is_set()), (None, 0, false));
    assert_eq!(
        value.update(|value| {
            *value += 5;
            *value
        }),
        5
    );
    value.update(|value| *value += 1);
    assert_eq!((value.get(), value.get_or_default(), value.is_set()), (Some(&6), 6, true));
    assert_eq!((value.take(), value.take()), (Some(6), None));
    value.set(0);
    assert!(value.is_set(), "the default is a value too");
    value.clear();
    assert!(!value.is_set());
}

#[test]
fn a_list_keeps_its_order() {
    let mut list = ListState::<i32>::default();
    list.add(3);
    list.extend([1, 2]);
    assert_eq!((list.len(), list.as_slice()), (3, &[3, 1, 2][..]));
    assert_eq!(list.iter().chain(&list).sum::<i32>(), 12);
    list.update(vec![9]);
    assert_eq!(list.take(), [9]);
    assert!(list.is_empty());
    list.add(1);
    list.clear();
    assert!(list.is_empty());
}

#[test]
fn a_map_iterates_in_the_order_of_its_keys() {
    let mut map = MapState::<String, i32>::default();
    assert_eq!(map.insert("b".to_owned(), 1), None);
    assert_eq!(map.insert("b".to_owned(), 2), Some(1));
    map.update("a".into(), |value| *value += 7);
    map.update("c".into(), |value| *value += 1);
    assert_eq!((map.get("a"), map.get("z"), map.contains_key("b"), map.len()), (Some(&7), None, true, 3));
    assert_eq!(map.keys().map(String::as_str).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(map.values().copied().collect::<Vec<_>>(), [7, 2, 1]);
    assert_eq!(map.range("b".to_owned()..).count(), 2);
    map.retain(|_, value| *value > 1);
    assert_eq!(map.iter().chain(&map).map(|(_, value)| value).sum::<i32>(), 18);
    assert_eq!(map.remove("a"), Some(7));
    assert!(!map.is_empty());
    map.clear();
    assert!(map.is_empty());
}

#[test]
fn what_is_added_is_reduced() {
    fn of<R: highwater_state::Reduce<u64>>(values: &[u64]) -> Option<u64> {
        let mut state = ReducingState::<u64, R>::default();
        assert!(!state.is_set() && state.is_cleared());
        values.iter().for_each(|value| state.add(*value));
        assert_eq!((state.is_set(), state.get().copied()), (!values.is_empty(), state.clone().take()));
        let back = State::decode(&mut &state_encoding(&state)[..]).unwrap();
        assert_eq!(state, back);
        state.take()
    }
    assert_eq!((of::<Sum>(&[]), of::<Sum>(&[3, 1, 2])), (None, Some(6)));
    assert_eq!((of::<Min>(&[3, 1, 2]), of::<Max>(&[3, 1, 2]), of::<Max>(&[0])), (Some(1), Some(3), Some(0)));
    let mut state = ReducingState::<u64, Sum>::default();
    state.add(0);
    assert!(state.is_set(), "a sum of 0 is a sum");
    state.clear();
    assert!(!state.is_set());
}

/// The mean, kept as sum and count.
enum Mean {}

impl Aggregate for Mean {
    type In = u64;
    type Accumulator = (u64, u64);
    type Out = f64;

    fn create() -> (u64, u64) {
        (0, 0)
    }

    fn add((sum, count): &mut (u64, u64), value: u64) {
        *sum += value;
        *count += 1;
    }

    fn result((sum, count): &(u64, u64)) -> f64 {
        *sum as f64 / *count as f64
    }

    fn merge((sum, count): &mut (u64, u64), other: (u64, u64)) {
        *sum += other.0;
        *count += other.1;
    }
}

#[test]
fn what_is_added_is_aggregated() {
    let mut mean = AggregatingState::<Mean>::default();
    assert_eq!((mean.get(), mean.accumulator(), mean.is_set()), (None, None, false));
    mean.add(1);
    mean.add(2);
    assert_eq!((mean.get(), mean.accumulator(), mean.is_set()), (Some(1.5), Some(&(3, 2)), true));
    let mut other = AggregatingState::<Mean>::default();
    other.merge(mean.take().unwrap());
    assert!(!mean.is_set());
    other.merge((3, 1));
    assert_eq!(other.get(), Some(2.0));
    assert_eq!(State::decode(&mut &state_encoding(&other)[..]), Ok(other.clone()));
    other.clear();
    assert!(other.is_cleared());
}

/// Tools read them as options.
#[test]
fn reducing_and_aggregating_states_are_encoded_as_options() {
    #[derive(KeyedState)]
    struct Sensor {
        sum: ReducingState<u64, Sum>,
        mean: AggregatingState<Mean>,
    }

    let mut sensor = Sensor::default();
    sensor.mean.add(7);
    let mut expected = Vec::new();
    (None::<u64>, Some((7u64, 1u64))).encode(&mut expected);
    assert_eq!(encoding(&sensor), expected);
    let states: Vec<_> = Sensor::states().iter().map(ToString::to_string).collect();
    assert_eq!(states, ["sum: ReducingState<u64>", "mean: AggregatingState<(u64, u64)>"]);
    assert!(!sensor.is_empty());
    sensor.clear();
    assert!(sensor.is_empty());
}

#[test]
fn a_row_is_empty_when_all_of_its_states_are_cleared() {
    let mut visitor = Visitor::default();
    assert!(visitor.is_empty());
    visitor.requests.set(0);
    assert!(!visitor.is_empty());
    visitor.requests.clear();
    visitor.pages.insert("/".into(), 1);
    assert!(!visitor.is_empty());
    visitor.pages.clear();
    visitor.latest.add("/".into());
    assert!(!visitor.is_empty());
    visitor.requests.set(1);
    visitor.pages.insert("/".into(), 1);
    visitor.clear();
    assert_eq!(visitor, Visitor::default());
}

#[test]
fn a_plain_value_is_never_empty() {
    let mut count = Plain(3u64);
    assert!(!count.is_empty());
    count.clear();
    assert_eq!(count, Plain(0));
    assert!(!count.is_empty(), "what is the default is not nothing");
}

#[test]
fn states_are_named_after_their_fields() {
    let names = |states: Vec<highwater_state::schema::NamedState>| {
        states.into_iter().map(|state| state.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(
        names(Visitor::states()),
        ["requests: ValueState<u64>", "pages: MapState<String, u64>", "latest: ListState<String>"]
    );
    assert_eq!(names(Window::<f64, u8>::states()), ["type: ValueState<f64>", "out: MapState<u8, f64>"]);
    assert_eq!(names(Plain::<u64>::states()), ["u64"]);
}

#[test]
fn small_states_stay_small() {
    assert_eq!(size_of::<ValueState<u64>>(), 16);
    assert_eq!(size_of::<ValueState<String>>(), 24);
    assert_eq!(size_of::<Plain<u64>>(), 8);
}

#[test]
fn the_crate_can_be_named() {
    mod facade {
        pub use highwater_state as state;
    }

    #[derive(facade::state::KeyedState)]
    #[state(crate = "facade::state")]
    struct Named {
        hits: ValueState<u32>,
    }

    assert_eq!(Named::states()[0].name, "hits");
    assert!(Named::default().hits.get().is_none());
}

proptest! {
    #[test]
    fn rows_survive_being_encoded(
        requests in any::<Option<u64>>(),
        pages in any::<Vec<(String, u64)>>(),
        latest in any::<Vec<String>>(),
    ) {
        let mut visitor = Visitor::default();
        if let Some(requests) = requests {
            visitor.requests.set(requests);
        }
        for (page, hits) in pages {
            visitor.pages.insert(page, hits);
        }
        visitor.latest.extend(latest);

        let bytes = encoding(&visitor);
        let mut input = &bytes[..];
        prop_assert_eq!(Visitor::decode(&mut input), Ok(visitor));
        prop_assert!(input.is_empty());
        for len in (0..bytes.len()).step_by(1 + bytes.len() / 64) {
            prop_assert!(Visitor::decode(&mut &bytes[..len]).is_err());
        }
    }

    #[test]
    fn plain_rows_survive_being_encoded(value in any::<(u32, String)>()) {
        let bytes = encoding(&Plain(value.clone()));
        prop_assert_eq!(Plain::<(u32, String)>::decode(&mut &bytes[..]), Ok(Plain(value)));
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(0..4u8, 0..60)) {
        let row: Result<Visitor, DecodeError> = Visitor::decode(&mut &bytes[..]);
        if let Ok(row) = row {
            prop_assert_eq!(Visitor::decode(&mut &encoding(&row)[..]), Ok(row));
        }
    }
}
