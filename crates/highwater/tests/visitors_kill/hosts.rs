//! A cluster on hosts of its own, whose network fails.

use std::ops::Range;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use crate::count::Counts;
use crate::job::{Job, PATIENCE};
use crate::network::Network;

/// How often to look whether something has happened.
const LOOK: Duration = Duration::from_millis(20);

/// Processes, which none outlives this.
pub struct Processes(pub Vec<Child>);

impl Drop for Processes {
    fn drop(&mut self) {
        for process in &mut self.0 {
            // Of no use for one that has ended, and a panic here would hide the first.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// A JobManager with these options on each of the first hosts, a TaskManager with one slot on each of the others.
pub fn start(
    job: &Job,
    network: &Network,
    job_managers: Range<usize>,
    task_managers: Range<usize>,
    options: &[&str],
) -> Processes {
    let listens: Vec<String> = job_managers.clone().map(|host| format!("{}:7001", network.address(host))).collect();
    let all = listens.join(",");
    let mut processes = Vec::new();
    for (host, listen) in job_managers.zip(&listens) {
        let arguments = [["jobmanager", "--listen", listen, "--scale-up-pause", "0s"].as_slice(), options].concat();
        processes.push(job.spawn_on(network.on(host), &arguments));
    }
    for host in task_managers {
        let listen = format!("{}:0", network.address(host));
        let arguments = ["taskmanager", "--jobmanager", &all, "--slots", "1", "--listen", &listen];
        processes.push(job.spawn_on(network.on(host), &arguments));
    }
    Processes(processes)
}

/// Waits until something has happened. `what` says it, for the failure.
pub fn wait(job: &Job, what: &str, mut happened: impl FnMut() -> bool) {
    let began = Instant::now();
    while !happened() {
        assert!(began.elapsed() < PATIENCE, "not {what}:\n{}", job.last_messages());
        std::thread::sleep(LOOK);
    }
}

/// Waits until a checkpoint has completed that had not begun: the second, since one is taken after the other.
pub fn goes_on(job: &Job) {
    let known = job.counted().len();
    wait(job, "going on with checkpoints", || job.counted().len() >= known + 2);
}

/// Waits until all of the log has been counted, and compares.
pub fn assert_counted(job: &Job, log: &Path) {
    let counts = Counts::of_log(log);
    wait(job, "all visible", || job.visible("").lines().count() as u64 >= counts.requests());
    Counts::of_results(&job.visible("")).assert_equals(&counts);
}
