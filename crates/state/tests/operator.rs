//! Operator state: what is declared, what is stored of it, and what comes back.

use std::collections::BTreeMap;

use highwater_state::operator::{NamedElements, ReadElements, Redistribution};
use highwater_state::{BroadcastState, Data, DecodeError, OperatorState, Schema, SplitList, UnionList};

#[derive(OperatorState)]
struct Buffer {
    waiting: SplitList<String>,
    offsets: UnionList<(u32, u64)>,
}

#[derive(OperatorState)]
struct Rules<R: Ord> {
    rules: BroadcastState<String, R>,
    by_number: BroadcastState<u32, Vec<R>>,
}

/// The elements of two subtasks, of which this one gets the first's.
struct TwoSubtasks {
    by_name: BTreeMap<String, [Vec<Vec<u8>>; 2]>,
}

impl TwoSubtasks {
    fn storing<S: OperatorState>(subtasks: [&S; 2]) -> Self {
        let [first, second] = subtasks.map(OperatorState::encode);
        let elements = first.into_iter().zip(second).map(|(first, second)| [first, second]);
        TwoSubtasks { by_name: S::states().into_iter().map(|state| state.name).zip(elements).collect() }
    }
}

impl ReadElements for TwoSubtasks {
    type Error = DecodeError;

    fn share<T: Data>(&mut self, state: &NamedElements) -> Result<Vec<T>, DecodeError> {
        self.by_name[&state.name][0].iter().map(|bytes| T::decode(&mut bytes.as_slice())).collect()
    }

    fn all<T: Data>(&mut self, state: &NamedElements) -> Result<Vec<T>, DecodeError> {
        self.by_name[&state.name].iter().flatten().map(|bytes| T::decode(&mut bytes.as_slice())).collect()
    }
}

fn buffer(waiting: &[&str], offsets: &[(u32, u64)]) -> Buffer {
    let mut buffer = Buffer::default();
    buffer.waiting.extend(waiting.iter().map(|text| (*text).to_string()));
    buffer.offsets.own.extend(offsets.iter().copied());
    buffer
}

#[test]
fn states_are_declared_with_name_redistribution_and_schema() {
    let text = |state: NamedElements| (state.name, state.redistribution, state.schema.to_string());
    assert_eq!(
        Buffer::states().into_iter().map(text).collect::<Vec<_>>(),
        [
            ("waiting".to_string(), Redistribution::Split, "String".to_string()),
            ("offsets".to_string(), Redistribution::Union, "(u32, u64)".to_string()),
        ]
    );
    let [rules, by_number] = &Rules::<i64>::states()[..] else { panic!("two fields, two states") };
    assert_eq!(rules.redistribution, Redistribution::Broadcast);
    assert_eq!(rules.schema, Schema::Tuple(vec![Schema::String, Schema::I64]), "key and value");
    assert_eq!(by_number.name, "by_number");
    assert!(<() as OperatorState>::states().is_empty());
}

#[test]
fn a_split_list_restores_its_share_and_a_union_shows_all() {
    let (first, second) = (buffer(&["a", "b"], &[(0, 10)]), buffer(&["c"], &[(1, 20), (2, 30)]));
    let mut restored = Buffer::restore(&mut TwoSubtasks::storing([&first, &second])).unwrap();
    assert_eq!(restored.waiting.as_slice(), ["a", "b"]);
    assert_eq!(restored.offsets.own.as_slice(), [(0, 10)]);
    assert_eq!(restored.offsets.restored(), [(0, 10), (1, 20), (2, 30)]);
    let stored = restored.encode();
    assert_eq!(stored[1].len(), 1, "what a union shows is not stored again");
    assert_eq!(restored.offsets.take_restored().len(), 3);
    assert!(restored.offsets.restored().is_empty());
    assert_eq!(restored.encode(), stored);
}

#[test]
fn a_broadcast_map_is_stored_by_entry_in_the_order_of_its_keys() {
    let mut rules = Rules::<u8>::default();
    for (name, rule) in [("b", 2), ("c", 3), ("a", 1)] {
        rules.rules.insert(name.into(), rule);
    }
    rules.by_number.update(7, |rules| rules.push(9));
    let stored = rules.encode();
    assert_eq!(stored[0], [b"\x01\0\0\0a\x01", b"\x01\0\0\0b\x02", b"\x01\0\0\0c\x03"]);
    let restored = Rules::<u8>::restore(&mut TwoSubtasks::storing([&rules, &Rules::default()])).unwrap();
    assert_eq!((restored.rules, restored.by_number), (rules.rules, rules.by_number));
}

#[test]
fn lists_are_changed_like_lists_and_maps_like_maps() {
    let mut list = SplitList::default();
    list.extend([3, 1, 2]);
    list.retain(|element| *element != 1);
    list.as_mut_slice()[0] = 4;
    assert_eq!(list.iter().copied().collect::<Vec<i32>>(), [4, 2]);
    assert_eq!((&list).into_iter().len(), list.len());
    assert_eq!(list.take(), [4, 2]);
    list.update(vec![7]);
    list.clear();
    assert!(list.is_empty());

    let mut map = BroadcastState::default();
    assert_eq!(map.insert("a".to_string(), 1), None);
    assert_eq!(map.insert("b".to_string(), 2), None);
    map.update("a".to_string(), |value| *value += 10);
    assert_eq!((map.get("a"), map.contains_key("c"), map.len()), (Some(&11), false, 2));
    assert_eq!(map.range("aa".to_string()..).next(), Some((&"b".to_string(), &2)));
    map.retain(|key, _| key != "a");
    assert_eq!((map.keys().len(), map.values().sum::<i32>()), (1, 2));
    assert_eq!((map.remove("b"), map.is_empty()), (Some(2), true));
}
