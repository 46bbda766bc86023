//! A cluster whose disks are full for a while, that of the checkpoints and that of the output: it says so, goes on once there is room
//! again, and the output is what a plain loop over the log counts.
//!
//! The disks are file systems in memory, which takes Linux and the right to mount them. Where that is not to be had the test says so
//! and ends: `HIGHWATER_MOUNT=required` makes it an error.
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

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cluster::Cluster;
use highwater_testing::Random;
use job::Job;

/// A disk of 16 MB. Gone when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts it.
    ///
    /// # Errors
    /// If this machine does not allow it, with what it says.
    fn mount(at: &Path) -> Result<Self, String> {
        fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        let output = mount.args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"]).arg(at).output();
        let output = output.map_err(|error| format!("mount: {error}"))?;
        if output.status.success() {
            Ok(SmallDisk(at.to_owned()))
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
        }
    }

    fn filler(&self) -> PathBuf {
        self.0.join(".filler")
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let mut filler = OpenOptions::new().create(true).append(true).open(self.filler()).unwrap();
        loop {
            match filler.write(&[0; 4096]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn free(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What still has a file open there keeps it until it ends.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

#[test]
fn while_disks_are_full_it_says_so_and_once_there_is_room_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let disks = ["checkpoints", "output"].map(|name| SmallDisk::mount(&folder.path().join(name)));
    let disks = match disks {
        [Ok(checkpoints), Ok(output)] => [checkpoints, output],
        [Err(why), _] | [_, Err(why)] => {
            assert!(!std::env::var("HIGHWATER_MOUNT").is_ok_and(|wanted| wanted == "required"), "{why}");
            return println!("not tested, since this machine mounts no file systems: {why}");
        }
    };
    let log = folder.path().join("access.log");
    input::write(&log, &mut Random::new(23), 60_000, 3_000);
    let all = fs::read(&log).unwrap();
    let half = all.len() / 2;
    fs::write(&log, &all[..half]).unwrap();
    let options = ["--follow", "--checkpoint-interval", "50ms", "--roll-bytes", "100000"];
    let job = Job::new("visitors", folder.path(), &log, &options);
    let mut cluster = Cluster::start(&job, 2, 2);
    assert!(cluster.waits(|job| job.completed() > 2));

    let full = |disk: &SmallDisk, cluster: &mut Cluster<'_>| {
        let known = job.messages().len();
        disk.fill();
        let words = "no space is left; free some or use another directory";
        let says_so = |job: &Job| job.messages().get(known..).is_some_and(|new| new.contains(words));
        assert!(cluster.waits(says_so));
        // Longer than the lease of a leader, which is kept where checkpoints are.
        cluster.pause(Duration::from_secs(4));
        disk.free();
        let known = job.completed().max(job.in_progress());
        assert!(cluster.waits(|job| job.completed() > known), "checkpoints go on");
    };
    let [checkpoints, output] = &disks;
    full(checkpoints, &mut cluster);
    // The sink has something to write only if there is something to read.
    OpenOptions::new().append(true).open(&log).unwrap().write_all(&all[half..]).unwrap();
    full(output, &mut cluster);
    cluster::stop_when_read(&job, &mut cluster, &log);
}
