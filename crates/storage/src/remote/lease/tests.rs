use super::*;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

const TIME: Duration = Duration::from_secs(10);

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn holding(generation: u64) -> (u64, Record) {
    (generation, Record { owner: "me".into(), holds: TIME })
}

#[test]
fn a_folder_that_is_free_is_taken_at_once() {
    assert_eq!(Watch::default().look(None, at(0)), Verdict::Free(1));
    let given_back = (7, Record { owner: "me".into(), holds: Duration::ZERO });
    assert_eq!(Watch::default().look(Some(&given_back), at(0)), Verdict::Free(8));
}

#[test]
fn a_holder_that_renews_lives() {
    let mut watch = Watch::default();
    assert_eq!(watch.look(Some(&holding(7)), at(0)), Verdict::Unclear(at(1000)));
    assert_eq!(watch.look(Some(&holding(8)), at(1000)), Verdict::Lives);
}

#[test]
fn a_holder_is_given_its_whole_time_and_a_tenth_more() {
    let mut watch = Watch::default();
    watch.look(Some(&holding(7)), at(500));
    assert_eq!(watch.look(Some(&holding(7)), at(10_500)), Verdict::Unclear(at(1000)));
    assert_eq!(watch.look(Some(&holding(7)), at(11_499)), Verdict::Unclear(at(1)));
    assert_eq!(watch.look(Some(&holding(7)), at(11_500)), Verdict::Free(8));
}

#[test]
fn only_a_lease_of_this_version_is_read() {
    let held = Held {
        dir: "job".into(),
        owner: "me".into(),
        time: TIME,
        state: Mutex::new(State { generation: 0, valid_until: at(0), replaced: false }),
    };
    for (given_back, holds) in [(false, TIME), (true, Duration::ZERO)] {
        let record = Record::parse("job", 1, &held.record(given_back)).unwrap();
        assert_eq!(record, Record { owner: "me".into(), holds });
    }
    for other in [
        "",
        "highwater-lease 2\nowner a\nholds_ms 1\n",
        "highwater-lease 1\nowner a\nholds_ms x\n",
        "highwater-lease 1\n",
    ] {
        let error = Record::parse("job", 7, other.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("job/.lease/00000000000000000007"), "{error}");
    }
}

/// Files in memory that may be cut off.
#[derive(Default)]
struct Files {
    files: Mutex<BTreeMap<u64, Vec<u8>>>,
    unreachable: std::sync::atomic::AtomicBool,
}

impl Files {
    fn reach(&self) -> Result<MutexGuard<'_, BTreeMap<u64, Vec<u8>>>> {
        if self.unreachable.load(Ordering::SeqCst) {
            return Err(Error::new(What::Other, Outcome::DidNotHappen, "reach", "the files"));
        }
        Ok(lock(&self.files))
    }
}

impl LeaseFiles for Files {
    fn generations(&self, _: &str) -> Result<Vec<u64>> {
        Ok(self.reach()?.keys().copied().collect())
    }

    fn read(&self, _: &str, generation: u64) -> Result<Vec<u8>> {
        let found = self.reach()?.get(&generation).cloned();
        found.ok_or_else(|| Error::new(What::NotFound, Outcome::DidNotHappen, "read", generation))
    }

    fn create(&self, _: &str, generation: u64, content: &[u8]) -> Result<()> {
        match self.reach()?.entry(generation) {
            std::collections::btree_map::Entry::Occupied(_) => {
                Err(Error::new(What::AlreadyExists, Outcome::DidNotHappen, "create", generation))
            }
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(content.to_vec());
                Ok(())
            }
        }
    }

    fn remove(&self, _: &str, generation: u64) -> Result<()> {
        self.reach()?.remove(&generation);
        Ok(())
    }
}

/// Time that passes when told to.
#[derive(Default)]
struct Hand(AtomicU64);

impl Clock for Hand {
    fn monotonic(&self) -> Duration {
        at(self.0.load(Ordering::SeqCst))
    }

    fn unix_ms(&self) -> i64 {
        0
    }
}

/// A run of a job: its leases, and a renewer that is moved by hand.
struct Run {
    leases: Leases,
    renewer: Renewer,
}

fn run(files: &Arc<Files>, clock: &Arc<Hand>) -> Run {
    let mut leases = Leases::new("mem:".into(), Arc::clone(files) as _, Arc::clone(files) as _, TIME);
    leases.clock = Arc::clone(clock) as _;
    let held = Arc::new(Held {
        dir: "job".into(),
        owner: token(),
        time: TIME,
        state: Mutex::new(State { generation: 0, valid_until: at(0), replaced: false }),
    });
    leases.acquire(&held).expect("it is free");
    lock(&leases.held).insert("job".into(), Arc::clone(&held));
    Run { leases, renewer: Renewer { held, files: Arc::clone(files) as _, clock: Arc::clone(clock) as _ } }
}

#[test]
fn who_cannot_renew_in_time_stops_by_itself_and_goes_on_if_nobody_came() {
    let (files, clock) = (Arc::new(Files::default()), Arc::new(Hand::default()));
    let run = run(&files, &clock);
    run.leases.check("publish", "job/chk-1/_metadata").expect("held");
    files.unreachable.store(true, Ordering::SeqCst);
    clock.0.store(9_999, Ordering::SeqCst);
    run.renewer.renew(false);
    run.leases.check("publish", "job/chk-1/_metadata").expect("held to the end of its time");
    clock.0.store(10_000, Ordering::SeqCst);
    let error = run.leases.check("publish", "job/chk-1/_metadata").expect_err("its time is over");
    assert_eq!((error.what(), error.outcome()), (What::Locked, Outcome::DidNotHappen));
    run.leases.check("publish", "jobs/chk-1/_metadata").expect("another folder");

    files.unreachable.store(false, Ordering::SeqCst);
    run.renewer.renew(false);
    run.leases.check("publish", "job/chk-1/_metadata").expect("nobody came, so it holds again");
    assert_eq!(lock(&files.files).keys().copied().collect::<BTreeSet<_>>(), [2].into(), "old generations are removed");
}

#[test]
fn who_was_replaced_never_comes_back() {
    let (files, clock) = (Arc::new(Files::default()), Arc::new(Hand::default()));
    let first = run(&files, &clock);
    files.create("job", 2, b"highwater-lease 1\nowner other\nholds_ms 10000\n").unwrap();
    first.renewer.renew(false);
    let error = first.leases.check("remove", "job/chk-1").expect_err("replaced");
    assert!(error.to_string().contains("this one must end"), "{error}");
    lock(&files.files).clear();
    first.renewer.renew(false);
    assert!(lock(&files.files).is_empty(), "it does not renew any more");
}

#[test]
fn a_lease_is_given_back_and_the_next_generation_follows() {
    let (files, clock) = (Arc::new(Files::default()), Arc::new(Hand::default()));
    let first = run(&files, &clock);
    first.renewer.renew(true);
    let second = run(&files, &clock);
    assert_eq!(lock(&second.renewer.held.state).generation, 3, "a generation comes once, also after it was given back");
}

#[test]
fn a_renewal_whose_answer_was_lost_is_recognised() {
    let (files, clock) = (Arc::new(Files::default()), Arc::new(Hand::default()));
    let run = run(&files, &clock);
    files.create("job", 2, &run.renewer.held.record(false)).unwrap();
    clock.0.store(9_000, Ordering::SeqCst);
    run.renewer.renew(false);
    clock.0.store(18_999, Ordering::SeqCst);
    run.leases.check("publish", "job/x").expect("renewed at 9 s, by the generation after the one in doubt");
    assert_eq!(lock(&run.renewer.held.state).generation, 3);
}
