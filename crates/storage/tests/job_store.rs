//! A job's folder holds I3 at every crash: each sync of a scenario is made the last one, with and without effect, and
//! what is found afterwards is judged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use highwater_core::{CheckpointId, JobName};
use highwater_storage::layout::data_name;
use highwater_storage::{
    CheckpointAt, CheckpointDir, Error, JobStore, LocalStorage, MemoryStorage, Outcome, Result, What,
};
use highwater_testing::{Call, Fate, FaultyStorage, SimulatedDisk, SyncEffect};

const WORKERS: u32 = 2;
const CHECKPOINTS: u64 = 3;
const SEEDS: u64 = 24;

fn job() -> JobName {
    JobName::parse("visitors").unwrap()
}

fn open(disk: &SimulatedDisk) -> Result<JobStore> {
    JobStore::open(Arc::new(LocalStorage::open("/mnt/checkpoints", Arc::new(disk.clone()))?), job())
}

fn data(id: CheckpointId, worker: u32) -> Vec<u8> {
    format!("data of worker {worker} in checkpoint {id};").repeat(3).into_bytes()
}

/// What the metadata of a checkpoint must be: it stands for all of its data.
fn metadata(id: CheckpointId) -> Vec<u8> {
    format!("checkpoint {id} of {WORKERS} workers").into_bytes()
}

fn write_data(store: &JobStore, id: CheckpointId) -> Result<()> {
    for worker in 0..WORKERS {
        let mut writer = store.create_data(id, worker)?;
        for part in data(id, worker).chunks(10) {
            writer.append(part)?;
        }
        writer.finish()?;
    }
    Ok(())
}

/// What a run was told, up to its crash.
#[derive(Debug, Default)]
struct Told {
    published: BTreeSet<CheckpointId>,
    discarding: BTreeSet<CheckpointId>,
    discarded: BTreeSet<CheckpointId>,
}

/// Takes checkpoints and retains one, as the coordinator does: a checkpoint is discarded once a newer one is published.
fn take_checkpoints(disk: &SimulatedDisk, told: &mut Told) -> Result<()> {
    let store = open(disk)?;
    for id in (1..=CHECKPOINTS).map(CheckpointId) {
        store.locate(id)?;
        write_data(&store, id)?;
        store.publish_metadata(id, &metadata(id))?;
        told.published.insert(id);
        if id.0 > 1 {
            let subsumed = CheckpointId(id.0 - 1);
            told.discarding.insert(subsumed);
            store.discard(subsumed)?;
            told.discarded.insert(subsumed);
        }
    }
    Ok(())
}

/// I3: what has a metadata is whole. Returns the checkpoints that exist.
fn check_whole(store: &JobStore, case: &str) -> BTreeSet<CheckpointId> {
    let completed = |found: &CheckpointDir| found.has_metadata.then_some(found.id);
    let ids: BTreeSet<_> = store.checkpoints().expect(case).iter().filter_map(completed).collect();
    for id in &ids {
        assert_eq!(store.read_metadata(*id).expect(case), metadata(*id), "{case}");
        for worker in 0..WORKERS {
            let expected = data(*id, worker);
            let found = store.read_block(*id, &data_name(worker), 0, expected.len() as u64).expect(case);
            assert_eq!(found, expected, "{case}");
        }
    }
    ids
}

fn check_told(store: &JobStore, told: &Told, case: &str) {
    let completed = check_whole(store, case);
    for id in told.published.difference(&told.discarding) {
        assert!(completed.contains(id), "{case}: checkpoint {id} was published and is gone");
    }
    for found in store.checkpoints().expect(case) {
        assert!(!told.discarded.contains(&found.id), "{case}: checkpoint {} was discarded and is back", found.id);
    }
}

/// Takes the next checkpoint and discards all others, as a new run of the job does. Returns its id.
fn go_on(store: &JobStore) -> Result<CheckpointId> {
    let found = store.checkpoints()?;
    let id = found.last().map_or(CheckpointId(0), |newest| newest.id).next();
    store.locate(id)?;
    write_data(store, id)?;
    store.publish_metadata(id, &metadata(id))?;
    found.iter().try_for_each(|old| store.discard(old.id))?;
    Ok(id)
}

/// Runs the scenario once for every sync of it, both effects and many seeds, and hands over the disk at the crash.
fn at_every_sync(check: impl Fn(&SimulatedDisk, &Told, &str)) {
    let whole = SimulatedDisk::new(0);
    take_checkpoints(&whole, &mut Told::default()).expect("the scenario works");
    assert!(whole.syncs() > 30, "only {} syncs", whole.syncs());
    for n in 1..=whole.syncs() {
        for effect in [SyncEffect::Took, SyncEffect::Lost] {
            for seed in 0..SEEDS {
                let disk = SimulatedDisk::new(seed);
                disk.crash_at_sync(n, effect);
                let mut told = Told::default();
                let case = format!("crash at sync {n} ({effect:?}), seed {seed}");
                take_checkpoints(&disk, &mut told).expect_err(&case);
                check(&disk, &told, &case);
            }
        }
    }
}

#[test]
fn after_a_power_cut_at_any_sync_every_checkpoint_is_whole_and_none_is_lost() {
    at_every_sync(|disk, told, case| check_told(&open(&disk.reboot()).expect(case), told, case));
}

#[test]
fn after_a_power_cut_at_any_sync_the_job_goes_on() {
    at_every_sync(|disk, _, case| {
        let disk = disk.reboot();
        let id = open(&disk).and_then(|store| go_on(&store)).expect(case);
        assert_eq!(check_whole(&open(&disk.reboot()).expect(case), case), [id].into(), "{case}");
    });
}

#[test]
fn after_a_kill_at_any_sync_the_job_goes_on_and_a_power_cut_loses_nothing() {
    at_every_sync(|disk, _, case| {
        let disk = disk.restart();
        let id = open(&disk).and_then(|store| go_on(&store)).expect(case);
        assert_eq!(check_whole(&open(&disk.reboot()).expect(case), case), [id].into(), "{case}");
    });
}

#[test]
fn what_a_restarted_process_has_seen_survives_a_power_cut() {
    at_every_sync(|disk, told, case| {
        let next = disk.restart();
        let store = open(&next).expect(case);
        check_told(&store, told, case);
        let seen = check_whole(&store, case);
        let found = check_whole(&open(&next.reboot()).expect(case), case);
        assert_eq!(found, seen, "{case}: the restarted process relied on what it saw");
    });
}

#[test]
fn what_was_read_by_its_id_survives_a_power_cut() {
    at_every_sync(|disk, _, case| {
        let next = disk.restart();
        let store = open(&next).expect(case);
        let read: Vec<_> = (1..=CHECKPOINTS).map(CheckpointId).filter(|id| store.read_metadata(*id).is_ok()).collect();
        let found = check_whole(&open(&next.reboot()).expect(case), case);
        assert!(read.iter().all(|id| found.contains(id)), "{case}: {read:?} were read, {found:?} are left");
    });
}

fn in_memory() -> JobStore {
    JobStore::open(Arc::new(MemoryStorage::new()), job()).unwrap()
}

fn take(store: &JobStore, id: u64) {
    let id = CheckpointId(id);
    store.locate(id).and_then(|()| write_data(store, id)).unwrap();
    store.publish_metadata(id, &metadata(id)).unwrap();
}

#[test]
fn checkpoints_are_listed_by_number_also_those_never_completed() {
    let store = in_memory();
    for id in [9, 10, 100] {
        take(&store, id);
    }
    store.locate(CheckpointId(11)).unwrap();
    let listed: Vec<_> = store.checkpoints().unwrap().iter().map(|found| (found.id.0, found.has_metadata)).collect();
    assert_eq!(listed, [(9, true), (10, true), (11, false), (100, true)]);
}

#[test]
fn a_checkpoint_is_begun_again_only_if_it_was_not_completed() {
    let store = in_memory();
    store.locate(CheckpointId(7)).unwrap();
    store.locate(CheckpointId(7)).expect("locating is safe to repeat");
    store.publish_metadata(CheckpointId(7), b"m").unwrap();
    let error: Error = store.locate(CheckpointId(7)).expect_err("it is completed");
    assert_eq!((error.what(), error.outcome()), (What::AlreadyExists, Outcome::DidNotHappen));
    assert!(error.to_string().contains("memory:/visitors/chk-7"), "{error}");
}

#[test]
fn a_checkpoint_is_read_by_id_or_by_folder() {
    let storage = Arc::new(MemoryStorage::new());
    take(&JobStore::open(Arc::clone(&storage) as _, job()).unwrap(), 7);
    let other = JobStore::open(storage, JobName::parse("other").unwrap()).unwrap();
    let at = CheckpointAt::from("visitors/chk-7");
    assert_eq!(other.read_metadata(at).unwrap(), metadata(CheckpointId(7)));
    assert_eq!(other.read_block(at, "data-1", 0, 4).unwrap(), b"data");
    assert_eq!(other.read_metadata(CheckpointId(7)).unwrap_err().what(), What::NotFound);
    assert_eq!(other.read_block(at, "../chk-7/data-1", 0, 4).unwrap_err().what(), What::Other);
}

#[test]
fn a_discard_that_fails_half_way_leaves_no_checkpoint_and_can_be_repeated() {
    let cases: BTreeMap<&str, (Call, Fate, bool)> = [
        ("the metadata stays", (Call::RemoveFile, Fate::Fails, true)),
        ("the metadata went", (Call::RemoveFile, Fate::HappensInDoubt, false)),
        ("the data stay", (Call::RemoveDirAll, Fate::FailsInDoubt, false)),
        ("the data went", (Call::RemoveDirAll, Fate::HappensInDoubt, false)),
    ]
    .into();
    for (case, (call, fate, exists)) in cases {
        let storage = Arc::new(FaultyStorage::new(Arc::new(MemoryStorage::new())));
        let store = JobStore::open(Arc::clone(&storage) as _, job()).unwrap();
        take(&store, 1);
        storage.set(call, 1, fate);
        store.discard(CheckpointId(1)).expect_err(case);
        assert_eq!(check_whole(&store, case).contains(&CheckpointId(1)), exists, "{case}");
        store.discard(CheckpointId(1)).expect(case);
        assert_eq!(store.checkpoints().unwrap(), [], "{case}");
    }
}
