//! Rows and timers of a key group, after all that was written of them was applied.

use highwater_checkpoint::block::SectionKind::{Removed, Rows};
use highwater_core::{ErrorKind, KeyGroup, KeyHash, MaxParallelism};
use highwater_snapshot::{KeyedReader, STATE, Snapshot, TIMERS, Timer};
use highwater_state::{Data, StateSchema};

use crate::support::{FOLDER, GROUPS, METADATA, SCHEMA, inline, keyed, of_one, sample, segment, storage};

fn group_of(key: u64) -> u16 {
    KeyHash::of(&key.to_le_bytes()).key_group(MaxParallelism::new(GROUPS).unwrap()).0
}

/// Three keys of one key group.
fn keys() -> (u16, [u64; 3]) {
    let mut keys = (0..).filter(|key| group_of(*key) == 1);
    (1, std::array::from_fn(|_| keys.next().unwrap()))
}

fn encoded<T: Data>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.encode(&mut bytes);
    bytes
}

fn schema() -> StateSchema {
    StateSchema::from_json(SCHEMA).unwrap()
}

fn rows(snapshot: &Snapshot, group: u16) -> highwater_core::Result<Vec<(u64, u64)>> {
    let operator = snapshot.operator("count")?;
    let mut reader = KeyedReader::open(snapshot, operator, STATE)?.unwrap();
    let decode = |bytes: Vec<u8>| u64::decode(&mut bytes.as_slice()).unwrap();
    let rows = reader.rows(KeyGroup(group), &schema())?;
    Ok(rows.into_iter().map(|(key, row)| (decode(key), decode(row))).collect())
}

#[test]
fn later_sections_win_and_those_from_before_the_base_mean_nothing() {
    let (group, [a, b, c]) = keys();
    let written = |rows: &[(u64, u64)]| rows.iter().flat_map(encoded).collect::<Vec<u8>>();
    let since = |id| [0, id, 0, 0];
    let snapshot = |id| {
        of_one(vec![keyed(
            STATE,
            since(id),
            vec![
                segment(1, vec![inline(&[(1, group, Rows, 3, &written(&[(a, 1), (b, 1), (c, 1)]))])]),
                segment(
                    2,
                    vec![
                        inline(&[(2, group, Removed, 2, &[encoded(&a), encoded(&b)].concat())]),
                        inline(&[(2, group, Rows, 1, &written(&[(b, 2)]))]),
                    ],
                ),
            ],
        )])
    };
    assert_eq!(rows(&snapshot(1), group).unwrap(), [(b, 2), (c, 1)]);
    assert_eq!(rows(&snapshot(2), group).unwrap(), [(b, 2)]);
    assert_eq!(rows(&snapshot(1), 0).unwrap(), []);
}

#[test]
fn timers_are_removed_by_the_hash_of_their_key() {
    let (group, [a, b, _]) = keys();
    let timer = |time: i64, key: u64| encoded(&(true, time, key));
    let removed = encoded(&(true, 5i64, KeyHash::of(&encoded(&a)).0));
    let snapshot = of_one(vec![keyed(
        TIMERS,
        [1; 4],
        vec![
            segment(1, vec![inline(&[(1, group, Rows, 3, &[timer(5, a), timer(5, b), timer(6, a)].concat())])]),
            segment(2, vec![inline(&[(2, group, Removed, 1, &removed)])]),
        ],
    )]);
    let operator = snapshot.operator("count").unwrap();
    let mut reader = KeyedReader::open(&snapshot, operator, TIMERS).unwrap().unwrap();
    let timers = reader.timers(KeyGroup(group), &schema().key).unwrap();
    let timer = |time_ms, key: u64| Timer { is_event_time: true, time_ms, key: encoded(&key) };
    assert_eq!(timers.into_iter().collect::<Vec<_>>(), [timer(5, b), timer(6, a)]);
    assert!(KeyedReader::open(&snapshot, operator, STATE).unwrap().is_none());
}

#[test]
fn entries_that_are_not_what_the_section_says_are_refused_with_their_place() {
    let (group, [a, ..]) = keys();
    let stranger = (0..).find(|key| group_of(*key) != group).unwrap();
    for (entries, bytes, what) in [
        (2, encoded(&(a, 1u64)), "1 entries, the section says 2"),
        (1, encoded(&(a, 1u64, 1u8)), "1 bytes follow the 1 entries"),
        (1, encoded(&(a, 1u32)), "entry 0 does not decode"),
        (1, encoded(&(stranger, 1u64)), "entry 0 does not decode"),
    ] {
        let blocks = vec![inline(&[(1, group, Rows, entries, &bytes)])];
        let error = rows(&of_one(vec![keyed(STATE, [1; 4], vec![segment(1, blocks)])]), group).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let text = error.to_string();
        assert!(text.contains(what) && text.contains("_metadata, key group 1 of state state"), "{text}");
    }
}

#[test]
fn state_in_a_store_is_refused() {
    let (metadata, file) = sample();
    let files: [(&str, &[u8]); 2] = [(METADATA, &metadata.encode()), ("job/shared/1-0", &file.bytes)];
    let snapshot = Snapshot::open(&storage(&files), FOLDER).unwrap();
    let error = KeyedReader::open(&snapshot, snapshot.operator("large").unwrap(), STATE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert!(error.to_string().contains("store of kind rocksdb"), "{error}");
    let error = snapshot.operator("no-such").unwrap_err();
    assert!(error.to_string().contains("its operators are count, large"), "{error}");
}

#[test]
fn key_groups_from_the_same_blocks_are_known_to_be_the_same() {
    let (group, [a, b, _]) = keys();
    let snapshot = |key| {
        let bytes = encoded(&(key, 1u64));
        of_one(vec![keyed(STATE, [1; 4], vec![segment(1, vec![inline(&[(1, group, Rows, 1, &bytes)])])])])
    };
    let (one, same, other) = (snapshot(a), snapshot(a), snapshot(b));
    let open = |snapshot| KeyedReader::open(snapshot, Snapshot::operator(snapshot, "count").unwrap(), STATE).unwrap();
    let (one, same, other) = (open(&one).unwrap(), open(&same).unwrap(), open(&other).unwrap());
    assert!(one.is_same_at(KeyGroup(group), &same));
    assert!(!one.is_same_at(KeyGroup(group), &other));
    assert!(one.is_same_at(KeyGroup(0), &other));
}
