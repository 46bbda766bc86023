//! The format of `_metadata`: fixed by a file, and safe against whatever is read in its place.

use std::time::Duration;

use highwater_checkpoint::block::BLOCK;
use highwater_checkpoint::{
    Block, CheckpointTimes, CheckpointingMode, FileDigest, KeyedSnapshot, Lineage, Location, Metadata,
    OperatorSnapshot, OperatorState, Redistribution, Segment, SnapshotKind, StoreSnapshot, TaskSnapshot,
};
use highwater_core::frame::{self, HEADER_LEN, Kind};
use highwater_core::{
    CheckpointId, ErrorKind, JobName, KeyGroupRange, MaxParallelism, OperatorUid, Parallelism, SubtaskIndex,
};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, RngSeed};

/// Written by version 1. Never to be written again: what it holds has to stay readable.
const VERSION_1: &[u8] = include_bytes!("fixtures/metadata-v1.bin");

/// Written by version 2.
const VERSION_2: &[u8] = include_bytes!("fixtures/metadata-v2.bin");

const METADATA: Kind = Kind { magic: *b"HWMD", version: 2, name: "checkpoint metadata" };

fn block(version: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::seal(Kind { version, ..BLOCK }, payload, &mut bytes);
    bytes
}

fn keyed(name: &str, range: std::ops::Range<u32>, segments: Vec<Segment>) -> KeyedSnapshot {
    let range = KeyGroupRange::new(range);
    KeyedSnapshot {
        name: name.to_owned(),
        max_parallelism: MaxParallelism::new(8).unwrap(),
        range,
        schema: r#"{"key":"String"}"#.to_owned(),
        lineage: Lineage { since: vec![CheckpointId(42); range.count()], segments },
        store: None,
    }
}

fn in_file(groups: std::ops::Range<u32>, entries: u64, name: &str, offset: u64, len: u64) -> Block {
    let location = Location::File { name: name.to_owned(), offset, len };
    Block { range: KeyGroupRange::new(groups), entries, location }
}

fn inline(version: u16) -> Block {
    let location = Location::Inline(block(version, b"three entries"));
    Block { range: KeyGroupRange::new(3..4), entries: 3, location }
}

/// What [`VERSION_1`] holds: every kind of thing that metadata of that version can.
fn sample_of_version_1() -> Metadata {
    let segment = |blocks| vec![Segment { id: CheckpointId(42), blocks }];
    // A state without blocks had no segments, and has an empty one now.
    let first = TaskSnapshot {
        keyed: vec![keyed("state", 0..4, segment(vec![inline(1)])), keyed("timers", 0..4, segment(vec![]))],
        operator_state: vec![],
    };
    let blocks = vec![
        in_file(7..8, 70_000, "count-1.state", 0, 900),
        in_file(4..5, 1, "count-1.state", 900, 100),
        in_file(7..8, 2, "count-1.state", 1000, 24),
    ];
    let second = TaskSnapshot {
        keyed: vec![keyed("state", 4..8, segment(blocks)), keyed("timers", 4..8, segment(vec![]))],
        operator_state: vec![],
    };
    let positions = OperatorState {
        name: "positions".to_owned(),
        schema: r#""u64""#.to_owned(),
        redistribution: Redistribution::Split,
        elements: vec![b"split 0".to_vec(), vec![], b"split 2".to_vec()],
    };
    let operator = |uid: &str, name: &str, subtasks: Vec<TaskSnapshot>| OperatorSnapshot {
        uid: OperatorUid::parse(uid).unwrap(),
        name: name.to_owned(),
        parallelism: Parallelism::new(subtasks.len() as u32).unwrap(),
        max_parallelism: MaxParallelism::new(8).unwrap(),
        subtasks: (0..).map(SubtaskIndex).zip(subtasks).collect(),
    };
    Metadata {
        job: JobName::parse("visitors").unwrap(),
        id: CheckpointId(42),
        kind: SnapshotKind::Checkpoint,
        created_unix_ms: 1_700_000_000_123,
        mode: CheckpointingMode::AtLeastOnce,
        operators: vec![
            operator("read", "read pages", vec![TaskSnapshot { keyed: vec![], operator_state: vec![positions] }]),
            operator("count", "count visitors", vec![first, second]),
        ],
        files: vec![FileDigest { name: "count-1.state".to_owned(), shared_by: None, len: 1024, crc32c: 0xdead_beef }],
        times: CheckpointTimes {
            init: Duration::from_millis(1),
            prepare: Duration::from_micros(2_500),
            confirm: Duration::from_secs(3),
            complete: Duration::ZERO,
        },
    }
}

/// What [`VERSION_2`] holds: in addition shared files, a lineage of several segments, a store, and every way to redistribute.
fn sample() -> Metadata {
    let mut metadata = sample_of_version_1();
    metadata.files.push(FileDigest {
        name: "40-1".to_owned(),
        shared_by: Some(CheckpointId(40)),
        len: 5000,
        crc32c: 7,
    });
    let rules = |name: &str, redistribution| OperatorState {
        name: name.to_owned(),
        schema: r#""string""#.to_owned(),
        redistribution,
        elements: vec![b"rule".to_vec()],
    };
    let read = &mut metadata.operators[0].subtasks[0].1;
    read.operator_state.push(rules("everywhere", Redistribution::Broadcast));
    read.operator_state.push(rules("all", Redistribution::Union));
    let count = &mut metadata.operators[1].subtasks;
    count[0].1.keyed[0].lineage.segments[0].blocks[0] = inline(2);
    let state = &mut count[1].1.keyed[0];
    state.lineage.since = [40, 42, 39, 40].map(CheckpointId).to_vec();
    state.lineage.segments.insert(0, Segment { id: CheckpointId(40), blocks: vec![in_file(2..8, 9, "40-1", 0, 4000)] });
    state.store =
        Some(StoreSnapshot { kind: "rocksdb".to_owned(), files: vec![("000007.sst".to_owned(), "40-1".to_owned())] });
    metadata
}

fn damaged(change: impl FnOnce(&mut Metadata)) -> String {
    let mut metadata = sample();
    change(&mut metadata);
    let error = Metadata::decode(&metadata.encode(), "chk-42/_metadata").expect_err("damage went unnoticed");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    error.message().to_owned()
}

#[test]
fn version_1_stays_readable() {
    assert_eq!(Metadata::decode(VERSION_1, "metadata-v1.bin").unwrap(), sample_of_version_1());
}

#[test]
fn version_2_stays_readable_and_is_what_is_written() {
    assert_eq!(Metadata::decode(VERSION_2, "metadata-v2.bin").unwrap(), sample());
    assert_eq!(sample().encode(), VERSION_2, "the format has changed: it needs a new version and a new fixture");
}

#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    for fixture in [VERSION_1, VERSION_2] {
        for bit in 0..fixture.len() * 8 {
            let mut bytes = fixture.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Metadata::decode(&bytes, "here").unwrap_err().kind(), ErrorKind::Corrupt, "bit {bit}");
        }
        for len in 0..fixture.len() {
            let error = Metadata::decode(&fixture[..len], "here").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "cut at {len}");
        }
    }
}

#[test]
fn bytes_that_follow_are_found() {
    let mut after_the_frame = VERSION_2.to_vec();
    after_the_frame.push(0);
    let error = Metadata::decode(&after_the_frame, "here").unwrap_err();
    assert_eq!(error.message(), "here: 1 bytes follow the checkpoint metadata");

    let mut within_the_frame = Vec::new();
    frame::seal(METADATA, &[&VERSION_2[HEADER_LEN..], &[0, 0]].concat(), &mut within_the_frame);
    let error = Metadata::decode(&within_the_frame, "here").unwrap_err();
    assert_eq!(error.message(), "here: 2 bytes of the checkpoint metadata are left over");
}

#[test]
fn other_versions_are_told_apart() {
    for (version, kind) in [(0, ErrorKind::Corrupt), (3, ErrorKind::Incompatible)] {
        let mut bytes = Vec::new();
        frame::seal(Kind { version, ..METADATA }, &VERSION_2[HEADER_LEN..], &mut bytes);
        assert_eq!(Metadata::decode(&bytes, "here").unwrap_err().kind(), kind, "version {version}");
    }
}

/// With a valid checksum around it, so that nothing but the decoder stands between the damage and the program.
#[test]
fn a_flipped_bit_behind_the_checksum_never_panics() {
    for (version, fixture) in [(1, VERSION_1), (2, VERSION_2)] {
        let payload = &fixture[HEADER_LEN..];
        for bit in 0..payload.len() * 8 {
            let mut payload = payload.to_vec();
            payload[bit / 8] ^= 1 << (bit % 8);
            let mut bytes = Vec::new();
            frame::seal(Kind { version, ..METADATA }, &payload, &mut bytes);
            if let Ok(metadata) = Metadata::decode(&bytes, "here") {
                assert_eq!(Metadata::decode(&metadata.encode(), "here").unwrap(), metadata);
            }
        }
    }
}

#[test]
fn operators_and_subtasks_are_there_once() {
    let message = damaged(|metadata| metadata.operators[0].uid = metadata.operators[1].uid.clone());
    assert_eq!(message, "chk-42/_metadata: operator count is there twice");
    let message = damaged(|metadata| metadata.operators[1].subtasks[1].0 = SubtaskIndex(0));
    assert_eq!(message, "chk-42/_metadata: operator count: its 2 snapshots are not those of subtasks 0..2");
    damaged(|metadata| drop(metadata.operators[1].subtasks.pop()));
    let message = damaged(|metadata| {
        let task = &mut metadata.operators[0].subtasks[0].1;
        task.operator_state.push(task.operator_state[0].clone());
    });
    assert!(message.ends_with("operator read: subtask 0: operator state \"positions\" is there twice"), "{message}");
    let message = damaged(|metadata| metadata.operators[1].subtasks[0].1.keyed[1].name = "state".to_owned());
    assert!(message.ends_with("operator count: subtask 0: keyed state \"state\" is there twice"), "{message}");
    let message = damaged(|metadata| metadata.operators[1].subtasks[1].1.keyed[0].schema = "{}".to_owned());
    assert!(message.ends_with("operator count: subtask 1 has another schema for keyed state \"state\""), "{message}");
}

#[test]
fn key_groups_are_covered_once_and_blocks_are_within_them() {
    let range_of = |metadata: &mut Metadata, subtask: usize, range| {
        let timers = &mut metadata.operators[1].subtasks[subtask].1.keyed[1];
        timers.range = KeyGroupRange::new(range);
        timers.lineage.since.resize(timers.range.count(), CheckpointId(42));
    };
    for (subtask, range, expected) in [
        (1, 5..8, "operator count: no subtask has key group 4 of state \"timers\""),
        (1, 3..8, "operator count: more than one subtask has key group 3 of state \"timers\""),
        (1, 4..7, "operator count: no subtask has key group 7 of state \"timers\""),
        (0, 1..4, "operator count: no subtask has key group 0 of state \"timers\""),
        (1, 4..9, "operator count: subtask 1: state \"timers\": key groups 4..9 are not within 0..8"),
    ] {
        let message = damaged(|metadata| range_of(metadata, subtask, range));
        assert_eq!(message, format!("chk-42/_metadata: {expected}"));
    }
    let message = damaged(|metadata| drop(metadata.operators[1].subtasks[0].1.keyed.pop()));
    assert!(message.ends_with("no subtask has key group 0 of state \"timers\""), "{message}");
    let other = MaxParallelism::new(16).unwrap();
    let message = damaged(|metadata| metadata.operators[1].subtasks[0].1.keyed[0].max_parallelism = other);
    assert!(message.ends_with("state \"state\": max parallelism is 16, the operator's is 8"), "{message}");
}

#[test]
fn a_lineage_is_in_order_and_within_the_key_groups() {
    let lineage = |change: fn(&mut Lineage)| {
        damaged(|metadata| change(&mut metadata.operators[1].subtasks[1].1.keyed[0].lineage))
    };
    let later = lineage(|lineage| lineage.segments[1].id = CheckpointId(43));
    assert!(later.ends_with("a segment was written by checkpoint 43, which came later"), "{later}");
    let later = lineage(|lineage| lineage.since[2] = CheckpointId(43));
    assert!(later.ends_with("a key group was written in full by checkpoint 43, which came later"), "{later}");
    let few = lineage(|lineage| lineage.since.truncate(3));
    assert!(few.ends_with("3 of 4 key groups have a base"), "{few}");
    assert!(lineage(|lineage| lineage.segments.reverse()).ends_with("its segments are out of order"));
    for range in [3..3, 7..9] {
        damaged(|metadata| {
            let state = &mut metadata.operators[1].subtasks[1].1.keyed[0];
            state.lineage.segments[0].blocks[0].range = KeyGroupRange::new(range);
        });
    }
}

#[test]
fn shared_files_are_of_checkpoints_up_to_this_one_and_not_for_savepoints() {
    let message = damaged(|metadata| metadata.files[1].shared_by = Some(CheckpointId(43)));
    assert!(message.ends_with("file 40-1 was written by checkpoint 43, which came later"), "{message}");
    let message = damaged(|metadata| metadata.kind = SnapshotKind::Savepoint);
    assert!(message.ends_with("file 40-1 of a savepoint is not in its folder"), "{message}");
    let message = damaged(|metadata| {
        let store = metadata.operators[1].subtasks[1].1.keyed[0].store.as_mut();
        store.unwrap().files[0].1 = "41-1".to_owned();
    });
    assert!(message.ends_with("file \"41-1\" is not listed"), "{message}");
}

#[test]
fn numbers_that_no_constructor_lets_pass_are_refused() {
    // Goes around the constructors as damaged bytes do.
    fn forged<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> T {
        postcard::from_bytes(bytes).unwrap()
    }
    damaged(|metadata| metadata.job = forged(b"\x04../x"));
    damaged(|metadata| metadata.operators[0].uid = forged(b"\x03a b"));
    damaged(|metadata| {
        metadata.operators[0].parallelism = forged(&[0]);
        metadata.operators[0].subtasks.clear();
    });
    damaged(|metadata| metadata.operators[0].max_parallelism = forged(&[0]));
    damaged(|metadata| metadata.operators[1].max_parallelism = forged(&[1]));
    damaged(|metadata| metadata.operators[1].subtasks[1].1.keyed[1].range = forged(&[8, 4]));
}

#[test]
fn blocks_are_within_listed_files_and_whole() {
    let location = |metadata: &mut Metadata, subtask: usize, location| {
        metadata.operators[1].subtasks[subtask].1.keyed[0].lineage.segments[0].blocks[0].location = location;
    };
    let in_file = |name: &str, offset, len| Location::File { name: name.to_owned(), offset, len };
    let mut flipped = block(2, b"three entries");
    flipped[HEADER_LEN] ^= 1;
    for bad in [
        in_file("count-2.state", 0, 900),
        in_file("count-1.state", 1000, 25),
        in_file("count-1.state", u64::MAX, 900),
        in_file("count-1.state", 0, 19),
        Location::Inline(vec![]),
        Location::Inline(flipped),
        Location::Inline([block(2, b"three"), block(2, b"four")].concat()),
    ] {
        damaged(|metadata| location(metadata, 1, bad));
    }
}

#[test]
fn file_names_stay_in_the_folder() {
    for bad in ["", ".", "..", "../a", "a/b", "/a", "a\\b", "a b", ".hidden", "_metadata", &"x".repeat(201)] {
        let file = FileDigest { name: bad.to_owned(), shared_by: None, len: 1, crc32c: 0 };
        damaged(|metadata| metadata.files.push(file));
    }
    damaged(|metadata| metadata.files.push(metadata.files[0].clone()));
}

proptest! {
    #![proptest_config(ProptestConfig {
        rng_algorithm: RngAlgorithm::ChaCha,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_bytes_never_panic(payload in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Metadata::decode(&payload, "here").is_err());
        let mut bytes = Vec::new();
        frame::seal(METADATA, &payload, &mut bytes);
        prop_assert!(Metadata::decode(&bytes, "here").is_err());
    }

    #[test]
    fn scrambled_metadata_never_panics(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut payload = VERSION_2[HEADER_LEN..].to_vec();
        for (at, byte) in changes {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        let mut bytes = Vec::new();
        frame::seal(METADATA, &payload, &mut bytes);
        if let Ok(metadata) = Metadata::decode(&bytes, "here") {
            prop_assert_eq!(Metadata::decode(&metadata.encode(), "here").unwrap(), metadata);
        }
    }
}
