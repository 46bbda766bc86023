//! A cluster whose machines have clocks that jump, by hours and by a day back: of the leader, of the standby and of a
//! TaskManager. The leader must stay, checkpoints must go on, and the output must be what a plain loop over the log counts.
//!
//! The clocks are `libfaketime`, of Debian's package of that name, between each process and its wall clock. What measures
//! time that passes is left as it is, as on a machine whose clock is set. Where the library is not to be had the test says
//! so and ends: `HIGHWATER_FAKETIME=required` makes it an error.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, reason = "the test watches real processes in real time")]
#![allow(dead_code, reason = "the modules are those of another test too")]

#[path = "visitors_kill/cluster.rs"]
mod cluster;
#[path = "visitors_kill/count.rs"]
mod count;
#[path = "visitors_kill/input.rs"]
mod input;
#[path = "visitors_kill/job.rs"]
mod job;
#[path = "visitors_kill/kills.rs"]
mod kills;

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use cluster::{Cluster, LASTING_LEASE};
use highwater_testing::Random;
use input::Growing;
use job::Job;

/// The year of each process: of the JobManagers, of the TaskManagers.
const YEARS: [[u32; 2]; 2] = [[2031, 2032], [2041, 2042]];

/// The wall clock of each process, in a year of its own, by which its messages are known.
struct Clocks {
    library: PathBuf,
    folder: PathBuf,
    processes: RefCell<Vec<u32>>,
}

impl Drop for Clocks {
    /// Removes what the library leaves behind of a process that was killed.
    fn drop(&mut self) {
        for process in self.processes.take() {
            for name in ["faketime_shm", "sem.faketime_sem"] {
                // Of one that has ended by itself it is gone.
                let _ = fs::remove_file(format!("/dev/shm/{name}_{process}"));
            }
        }
    }
}

impl Clocks {
    /// With their settings in `folder`; `None` if this machine does not have the library.
    fn new(folder: &Path) -> Option<Self> {
        let folders = fs::read_dir("/usr/lib").ok()?.filter_map(|entry| Some(entry.ok()?.path()));
        let mut libraries =
            folders.chain(["/usr/lib64".into()]).map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
        let library = libraries.find(|library| library.exists())?;
        let folder = folder.join("clocks");
        fs::create_dir(&folder).unwrap();
        Some(Clocks { library, folder, processes: RefCell::default() })
    }

    fn setting(&self, year: u32) -> PathBuf {
        self.folder.join(year.to_string())
    }

    /// Starts a process of a job in this year.
    fn spawn(&self, job: &Job, year: u32, arguments: &[&str]) -> Child {
        self.set(year, "15T12");
        let mut command = Command::new("env");
        command.arg(format!("LD_PRELOAD={}", self.library.display()));
        command.arg(format!("FAKETIME_TIMESTAMP_FILE={}", self.setting(year).display()));
        // It looks at its setting each time, and leaves alone the clock that never jumps, and the times of files.
        command.args(["FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", "NO_FAKE_STAT=1", "TZ=UTC"]);
        let process = job.spawn_on(command, arguments);
        self.processes.borrow_mut().push(process.id());
        process
    }

    /// Sets a clock to half past an hour of a day in June, as `15T12`.
    fn set(&self, year: u32, time: &str) {
        let (day, hour) = time.split_once('T').unwrap();
        let next = self.folder.join("next");
        fs::write(&next, format!("@{year}-06-{day} {hour}:30:00\n")).unwrap();
        // At once, since the process may read it now.
        fs::rename(next, self.setting(year)).unwrap();
    }
}

#[test]
fn with_clocks_that_jump_the_leader_stays_and_every_request_is_counted_once() {
    let folder = tempfile::tempdir().unwrap();
    let Some(clocks) = Clocks::new(folder.path()) else {
        let why = "there is no libfaketime below /usr/lib: install the package of that name";
        assert!(!std::env::var("HIGHWATER_FAKETIME").is_ok_and(|wanted| wanted == "required"), "{why}");
        return println!("not tested: {why}");
    };
    let log = folder.path().join("access.log");
    let mut growing = Growing::new(&log, &mut Random::new(31), 60_000, 3_000, 8);
    let options = ["--follow", "--checkpoint-interval", "50ms", "--roll-bytes", "100000"];
    // It begins with both TaskManagers, and has no reason to begin again.
    let both = ["--parallelism", "2", "--min-parallelism", "2"];
    let job = Job::new("visitors", folder.path(), &log, &[options.as_slice(), &both, &LASTING_LEASE].concat());
    let mut cluster = Cluster::start_by(&job, 2, 2, |part, index, arguments| {
        clocks.spawn(&job, YEARS[part as usize][index], arguments)
    });
    assert!(cluster.waits(|job| job.counted().len() > 2));
    let said_at = |time: &str| job.messages().lines().any(|line| line.starts_with(time));
    for year in YEARS.into_iter().flatten() {
        assert!(said_at(&format!("{year}-06-15T12:")), "the process of {year} has its clock:\n{}", job.messages());
    }

    let [leads, stands_by] = [cluster.leader(), 1 - cluster.leader()].map(|index| YEARS[0][index]);
    for year in [leads, stands_by, YEARS[1][0]] {
        for time in ["15T17", "14T12"] {
            clocks.set(year, time);
            growing.grow();
            let known = job.counted().len();
            assert!(cluster.waits(|job| job.counted().len() > known + 2), "checkpoints go on");
        }
    }
    growing.complete();
    cluster::stop_when_read(&job, &mut cluster, &log);
    // A TaskManager says nothing of it.
    for (year, time) in [(leads, "15T17"), (leads, "14T12"), (stands_by, "14T12")] {
        assert!(
            said_at(&format!("{year}-06-{time}:")),
            "the clock of {year} has jumped to {time}:\n{}",
            job.messages()
        );
    }
    let said = job.messages();
    assert_eq!(job.leaders().len(), 1, "the leader has stayed:\n{said}");
    assert_eq!(said.matches("starting from the beginning").count(), 1);
    assert!(!said.contains("the attempt ended") && !said.contains("checkpoint failed"), "{said}");
    let counted = job.counted();
    assert!(counted.is_sorted_by(|one, next| one < next), "{counted:?}");
}
