//! A snapshot as small as can be, with everything in it.

use std::ops::Range;
use std::sync::Arc;

use highwater_checkpoint::block::{BLOCK, BlockBuilder, Section, SectionKind};
use highwater_checkpoint::{
    Block, CheckpointTimes, CheckpointingMode, FileDigest, KeyedSnapshot, Lineage, Location, Metadata,
    OperatorSnapshot, Segment, SnapshotKind, StoreSnapshot, TaskSnapshot,
};
use highwater_core::{
    CheckpointId, JobName, KeyGroup, KeyGroupRange, MaxParallelism, OperatorUid, Parallelism, SubtaskIndex, frame,
};
use highwater_snapshot::{STATE, Snapshot, TIMERS};
use highwater_storage::{CheckpointStorage, MemoryStorage};

/// The number of key groups.
pub const GROUPS: u32 = 4;

/// Keys are `u64`, and each has a plain `u64`.
pub const SCHEMA: &str = r#"{"key":"u64","states":[{"name":"","kind":"plain","schema":"u64"}]}"#;

pub const FOLDER: &str = "job/chk-2";
pub const SHARED: &str = "job/shared/1-0";
pub const METADATA: &str = "job/chk-2/_metadata";

/// A section: checkpoint, key group, kind, number of entries and the entries.
pub type Sketch<'a> = (u64, u16, SectionKind, u32, &'a [u8]);

/// The payload of a block, with its key groups and its entries.
pub fn block(sections: &[Sketch<'_>]) -> (KeyGroupRange, u64, Vec<u8>) {
    let mut builder = BlockBuilder::default();
    for (id, group, kind, entries, bytes) in sections {
        let (id, group) = (CheckpointId(*id), KeyGroup(*group));
        builder.push(&Section { id, group, kind: *kind, entries: *entries, bytes });
    }
    let mut closed = None;
    builder
        .close(|range, entries, payload| {
            let mut framed = Vec::new();
            frame::seal(BLOCK, payload, &mut framed);
            closed = Some((range, entries, framed));
            Ok(())
        })
        .unwrap();
    closed.unwrap()
}

pub fn inline(sections: &[Sketch<'_>]) -> Block {
    let (range, entries, framed) = block(sections);
    Block { range, entries, location: Location::Inline(framed) }
}

pub fn segment(id: u64, blocks: Vec<Block>) -> Segment {
    Segment { id: CheckpointId(id), blocks }
}

pub fn keyed(name: &str, since: [u64; GROUPS as usize], segments: Vec<Segment>) -> KeyedSnapshot {
    let max_parallelism = MaxParallelism::new(GROUPS).unwrap();
    let since = since.map(CheckpointId).to_vec();
    KeyedSnapshot {
        name: name.to_owned(),
        max_parallelism,
        range: max_parallelism.all(),
        schema: SCHEMA.to_owned(),
        lineage: Lineage { since, segments },
        store: None,
    }
}

pub fn operator(uid: &str, keyed: Vec<KeyedSnapshot>) -> OperatorSnapshot {
    OperatorSnapshot {
        uid: OperatorUid::parse(uid).unwrap(),
        name: uid.to_owned(),
        parallelism: Parallelism::new(1).unwrap(),
        max_parallelism: MaxParallelism::new(GROUPS).unwrap(),
        subtasks: vec![(SubtaskIndex(0), TaskSnapshot { keyed, operator_state: vec![] })],
    }
}

pub fn metadata(operators: Vec<OperatorSnapshot>, files: Vec<FileDigest>) -> Metadata {
    Metadata {
        job: JobName::parse("job").unwrap(),
        id: CheckpointId(2),
        kind: SnapshotKind::Checkpoint,
        created_unix_ms: 0,
        mode: CheckpointingMode::ExactlyOnce,
        operators,
        files,
        times: CheckpointTimes::default(),
    }
}

/// Where the blocks of the shared file are.
pub struct File {
    pub bytes: Vec<u8>,
    /// Of key groups 0 and 1, of which the first was written in full by a later checkpoint.
    pub first: Range<usize>,
    /// Nothing refers to it.
    pub unused: Range<usize>,
    /// Of key groups 2 and 3.
    pub last: Range<usize>,
}

/// A snapshot with blocks in a shared file, inline ones, and a store.
pub fn sample() -> (Metadata, File) {
    let mut bytes = Vec::new();
    let mut append = |sections: &[Sketch<'_>]| {
        let (range, entries, framed) = block(sections);
        let start = bytes.len();
        bytes.extend_from_slice(&framed);
        let (name, offset, len) = ("1-0".to_owned(), start as u64, framed.len() as u64);
        (Block { range, entries, location: Location::File { name, offset, len } }, start..bytes.len())
    };
    fn rows(group: u16, entry: &[u8]) -> Sketch<'_> {
        (1, group, SectionKind::Rows, 1, entry)
    }
    let (first_block, first) = append(&[rows(0, b"row 0"), rows(1, b"row 1")]);
    let (_, unused) = append(&[rows(0, b"nobody asks for this any more")]);
    let (last_block, last) = append(&[rows(2, b"row 2"), rows(3, b"row 3")]);
    let files = vec![
        FileDigest {
            name: "1-0".into(),
            shared_by: Some(CheckpointId(1)),
            len: bytes.len() as u64,
            crc32c: crc32c::crc32c(&bytes),
        },
        FileDigest { name: "sst".into(), shared_by: None, len: 3, crc32c: crc32c::crc32c(b"sst") },
    ];
    let newer = inline(&[(2, 0, SectionKind::Rows, 1, b"row 0 again")]);
    let state = keyed(STATE, [2, 1, 1, 1], vec![segment(1, vec![first_block, last_block]), segment(2, vec![newer])]);
    let timers = inline(&[(2, 3, SectionKind::Rows, 1, b"timer")]);
    let timers = keyed(TIMERS, [1; 4], vec![segment(2, vec![timers])]);
    let store = StoreSnapshot { kind: "rocksdb".into(), files: vec![("000012.sst".into(), "sst".into())] };
    let stored = KeyedSnapshot { store: Some(store), ..keyed(STATE, [0; 4], vec![]) };
    let operators = vec![operator("count", vec![state, timers]), operator("large", vec![stored])];
    (metadata(operators, files), File { bytes, first, unused, last })
}

/// A storage with these files.
pub fn storage(files: &[(&str, &[u8])]) -> Arc<dyn CheckpointStorage> {
    let storage = MemoryStorage::new();
    for (path, bytes) in files {
        storage.create_dir(path.rsplit_once('/').unwrap().0).unwrap();
        let mut writer = storage.create(path).unwrap();
        writer.append(bytes).unwrap();
        writer.finish().unwrap();
    }
    Arc::new(storage)
}

/// A snapshot of one operator, `count`, with nothing in files.
pub fn of_one(keyed: Vec<KeyedSnapshot>) -> Snapshot {
    let bytes = metadata(vec![operator("count", keyed)], vec![]).encode();
    Snapshot::open(&storage(&[(METADATA, &bytes)]), FOLDER).unwrap()
}
