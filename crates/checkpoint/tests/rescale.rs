//! Rescaling: whatever the old and the new parallelism, every block and every element is restored exactly once.

use highwater_checkpoint::rescale::{all_elements, assign_keyed, check_coverage, split_elements};
use highwater_checkpoint::{
    Block, KeyedSnapshot, Lineage, Location, OperatorSnapshot, OperatorState, Redistribution, Segment, TaskSnapshot,
};
use highwater_core::{
    CheckpointId, ErrorKind, KeyGroup, KeyGroupRange, MaxParallelism, OperatorUid, Parallelism, SubtaskIndex,
};

fn parallelism(count: u32) -> Parallelism {
    Parallelism::new(count).unwrap()
}

fn max(count: u32) -> MaxParallelism {
    MaxParallelism::new(count).unwrap()
}

/// A block that can be told from others by its number of entries.
fn block(group: KeyGroup, entries: u64) -> Block {
    let range = KeyGroupRange::new(u32::from(group.0)..u32::from(group.0) + 1);
    Block { range, entries, location: Location::Inline(vec![]) }
}

/// Two blocks for each key group, in segments of their own, and two elements for each subtask, `a0 b0 a1 b1 ..`.
fn snapshot(stored: u32, max_parallelism: u32) -> OperatorSnapshot {
    let task = |subtask: SubtaskIndex| {
        let range = max(max_parallelism).range_of(subtask, parallelism(stored));
        let groups: Vec<KeyGroup> = range.iter().collect();
        let segment = |entries| Segment {
            id: CheckpointId(entries),
            blocks: groups.iter().map(|group| block(*group, entries)).collect(),
        };
        let segments = vec![segment(1), segment(2)];
        let state = |name: &str, segments| KeyedSnapshot {
            name: name.to_owned(),
            max_parallelism: max(max_parallelism),
            range,
            schema: format!("schema of {name}"),
            lineage: Lineage { since: vec![CheckpointId(1); range.count()], segments },
            store: None,
        };
        let elements = ["a", "b"].map(|letter| format!("{letter}{subtask}").into_bytes()).to_vec();
        let redistribution = Redistribution::Split;
        let list = OperatorState { name: "list".to_owned(), schema: "text".to_owned(), redistribution, elements };
        TaskSnapshot { keyed: vec![state("timers", vec![]), state("state", segments)], operator_state: vec![list] }
    };
    OperatorSnapshot {
        uid: OperatorUid::parse("count").unwrap(),
        name: "count".to_owned(),
        parallelism: parallelism(stored),
        max_parallelism: max(max_parallelism),
        subtasks: (0..stored).map(SubtaskIndex).map(|subtask| (subtask, task(subtask))).collect(),
    }
}

fn split(stored: u32, now: u32, subtask: u32) -> Vec<String> {
    let snapshot = snapshot(stored, 8);
    let shares = split_elements(&snapshot, SubtaskIndex(subtask), parallelism(now)).unwrap();
    assert_eq!(shares.len(), 1);
    assert_eq!((shares[0].name, shares[0].schema), ("list", "text"));
    shares[0].elements.iter().map(|element| String::from_utf8(element.to_vec()).unwrap()).collect()
}

#[test]
fn every_block_goes_to_the_owner_of_its_key_group_exactly_once() {
    for max_parallelism in [1, 7, 8, 128] {
        for stored in [1, 2, 3, 7, 8].into_iter().filter(|p| *p <= max_parallelism) {
            let snapshot = snapshot(stored, max_parallelism);
            check_coverage(&snapshot).unwrap();
            for now in [1, 2, 5, 7, 8].into_iter().filter(|p| *p <= max_parallelism) {
                let mut restored = Vec::new();
                for subtask in (0..now).map(SubtaskIndex) {
                    let shares = assign_keyed(&snapshot, subtask, parallelism(now), max(max_parallelism)).unwrap();
                    let [state, timers] = &shares[..] else { panic!("{shares:?}") };
                    assert_eq!((state.name, state.schema), ("state", "schema of state"));
                    assert_eq!((timers.name, timers.lineage.segments.len()), ("timers", 0));
                    assert_eq!(state.lineage.since.len(), state.range.count());
                    assert!(state.lineage.segments.is_sorted_by_key(|segment| segment.id));
                    let groups = |block: &Block| block.range.start();
                    let owned = |block: &Block| state.range.contains(KeyGroup(groups(block) as u16));
                    assert!(state.lineage.blocks().all(owned), "{stored} to {now}, subtask {subtask}");
                    restored.extend(state.lineage.blocks().map(|block| (groups(block), block.entries)));
                }
                restored.sort_unstable();
                let all: Vec<_> = (0..max_parallelism).flat_map(|group| [(group, 1), (group, 2)]).collect();
                assert_eq!(restored, all, "{stored} to {now}: each once");
            }
        }
    }
}

#[test]
fn elements_are_dealt_out_in_turn() {
    assert_eq!(split(2, 3, 0), ["a0", "b1"]);
    assert_eq!(split(2, 3, 1), ["b0"]);
    assert_eq!(split(2, 3, 2), ["a1"]);
    assert_eq!(split(3, 1, 0), ["a0", "b0", "a1", "b1", "a2", "b2"]);
    assert!(split(1, 4, 3).is_empty());
}

#[test]
fn with_the_same_parallelism_each_subtask_gets_its_own_elements_back() {
    assert_eq!(split(3, 3, 1), ["a1", "b1"]);
}

#[test]
fn a_union_is_all_elements() {
    let snapshot = snapshot(2, 8);
    let shares = all_elements(&snapshot);
    assert_eq!(shares[0].elements, [b"a0", b"b0", b"a1", b"b1"]);
}

#[test]
fn another_max_parallelism_is_refused_where_there_is_keyed_state() {
    let mut snapshot = snapshot(2, 8);
    let assign = |snapshot: &OperatorSnapshot| {
        assign_keyed(snapshot, SubtaskIndex(0), parallelism(2), max(16)).map(|shares| shares.len())
    };
    let error = assign(&snapshot).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert_eq!(
        error.message(),
        "operator count has keyed state with max parallelism 8, the program asks for 16: \
         set its max parallelism to 8, or start without the state"
    );
    snapshot.subtasks.iter_mut().for_each(|(_, task)| task.keyed.clear());
    assert_eq!(assign(&snapshot).unwrap(), 0);
}

#[test]
fn a_subtask_that_is_none_restores_nothing() {
    let snapshot = snapshot(2, 8);
    let error = assign_keyed(&snapshot, SubtaskIndex(2), parallelism(2), max(8)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert_eq!(split_elements(&snapshot, SubtaskIndex(2), parallelism(2)).unwrap_err().kind(), ErrorKind::Internal);
}

#[test]
fn gaps_and_overlaps_are_named() {
    for (range, expected) in [
        (4..4, "no subtask has key group 4"),
        (5..8, "no subtask has key group 4"),
        (4..7, "no subtask has key group 7"),
        (2..8, "more than one subtask has key group 2"),
        (0..8, "more than one subtask has key group 0"),
    ] {
        let mut snapshot = snapshot(2, 8);
        snapshot.subtasks[1].1.keyed[0].range = KeyGroupRange::new(range.clone());
        let error = check_coverage(&snapshot).unwrap_err();
        assert_eq!(error.message(), format!("{expected} of state \"timers\""), "{range:?}");
    }
}

/// One to four, three, two and one again: whatever has been dealt out is dealt out again, each element once.
#[test]
fn elements_survive_any_sequence_of_rescales() {
    let mut snapshot = snapshot(1, 8);
    let original: Vec<_> = (0..11u8).map(|element| vec![element]).collect();
    snapshot.subtasks[0].1.operator_state[0].elements.clone_from(&original);
    for now in [4, 3, 2, 2, 5, 1] {
        let task = |subtask| {
            let shares = split_elements(&snapshot, subtask, parallelism(now)).unwrap();
            let elements: Vec<_> = shares[0].elements.iter().map(|element| element.to_vec()).collect();
            let state = OperatorState { elements, ..snapshot.subtasks[0].1.operator_state[0].clone() };
            (subtask, TaskSnapshot { operator_state: vec![state], ..TaskSnapshot::default() })
        };
        let subtasks: Vec<_> = (0..now).map(SubtaskIndex).map(task).collect();
        let counts: Vec<_> = subtasks.iter().map(|(_, task)| task.operator_state[0].elements.len()).collect();
        assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?} at {now}");
        snapshot = OperatorSnapshot { parallelism: parallelism(now), subtasks, ..snapshot };
        let mut all: Vec<_> = all_elements(&snapshot)[0].elements.iter().map(|element| element.to_vec()).collect();
        all.sort();
        assert_eq!(all, original, "at {now}");
    }
}
