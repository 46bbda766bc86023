//! Each fate does what it says, and a storage without faults is a storage.

use std::sync::Arc;

use highwater_storage::{CheckpointStorage, MemoryStorage, Outcome, conformance};
use highwater_testing::{Call, Fate, FaultyStorage};

const BAD: [Fate; 3] = [Fate::HappensInDoubt, Fate::Fails, Fate::FailsInDoubt];

fn faulty() -> FaultyStorage {
    let storage = FaultyStorage::new(Arc::new(MemoryStorage::new()));
    storage.create_dir("job").unwrap();
    storage
}

#[test]
fn without_faults_it_conforms() {
    conformance::checkpoint_storage(|| Arc::new(FaultyStorage::new(Arc::new(MemoryStorage::new()))));
}

#[test]
fn a_publish_has_four_outcomes() {
    for (fate, told, there) in [
        (Fate::Happens, None, true),
        (Fate::HappensInDoubt, Some(Outcome::MayHaveHappened), true),
        (Fate::Fails, Some(Outcome::DidNotHappen), false),
        (Fate::FailsInDoubt, Some(Outcome::MayHaveHappened), false),
    ] {
        let storage = faulty();
        storage.set(Call::Publish, 2, fate);
        storage.publish("job/first", b"1").unwrap();
        let result = storage.publish("job/second", b"2");
        assert_eq!(result.err().map(|error| error.outcome()), told, "{fate:?}");
        assert_eq!(storage.read("job/second").is_ok(), there, "{fate:?}");
        storage.publish("job/third", b"3").unwrap();
        assert_eq!(storage.count(Call::Publish), 3);
    }
}

#[test]
fn a_writer_is_given_up_after_an_error() {
    for fate in BAD {
        let storage = faulty();
        storage.set(Call::Append, 1, fate);
        let mut writer = storage.create("job/data").unwrap();
        writer.append(b"lost").unwrap_err();
        writer.append(b"kept").unwrap_err();
        writer.finish().unwrap_err();
        storage.read("job/data").expect_err("a file that lacks bytes was finished");
    }
}

#[test]
fn an_unfinished_file_appears_only_if_the_finish_happened() {
    for fate in BAD {
        let storage = faulty();
        storage.set(Call::Finish, 1, fate);
        let mut writer = storage.create("job/data").unwrap();
        writer.append(b"all").unwrap();
        writer.finish().unwrap_err();
        assert_eq!(storage.read("job/data").is_ok(), fate == Fate::HappensInDoubt, "{fate:?}");
    }
}

#[test]
fn a_seed_gives_the_same_faults_again() {
    let run = |seed| {
        let storage = FaultyStorage::seeded(Arc::new(MemoryStorage::new()), seed, 30);
        (0..200).map(|n| storage.create_dir(&format!("dir-{n}")).map_err(|error| error.to_string())).collect::<Vec<_>>()
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
    let faults = run(7).iter().filter(|result| result.is_err()).count();
    assert!((30..90).contains(&faults), "{faults} of 200 calls failed, should be about 60");
}
