//! A cluster of child processes.

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use highwater_control::{Addresses, Answer, ClusterClient, Request};

use crate::count::Counts;
use crate::job::{Job, PATIENCE, free_addresses};
use crate::kills::assert_same;

/// How often to look whether something has happened.
const LOOK: Duration = Duration::from_millis(5);
/// For a leader that is to lead until the test ends that: it gets over a disk that is busy for seconds.
pub const LASTING_LEASE: [&str; 2] = ["--ha-lease", "8s"];

/// What a process is to the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    JobManager,
    TaskManager,
}

/// Starts a process of a part, with its index in it and its arguments.
type Start<'a> = dyn Fn(Part, usize, &[&str]) -> Child + 'a;

/// The processes of a job. None outlives it.
pub struct Cluster<'a> {
    job: &'a Job,
    start: Box<Start<'a>>,
    /// Where each JobManager listens.
    addresses: Vec<String>,
    job_managers: Vec<Child>,
    task_managers: Vec<Child>,
}

impl<'a> Cluster<'a> {
    /// Starts so many of each, with one slot in each TaskManager.
    pub fn start(job: &'a Job, job_managers: usize, task_managers: usize) -> Self {
        Self::start_by(job, job_managers, task_managers, |_, _, arguments| job.spawn(arguments))
    }

    /// The same, each process by `start`, as [`Start`] says.
    pub fn start_by(
        job: &'a Job,
        job_managers: usize,
        task_managers: usize,
        start: impl Fn(Part, usize, &[&str]) -> Child + 'a,
    ) -> Self {
        let (addresses, start) = (free_addresses(job_managers), Box::new(start));
        let mut cluster = Cluster { job, start, addresses, job_managers: Vec::new(), task_managers: Vec::new() };
        cluster.job_managers = (0..job_managers).map(|index| cluster.spawn(Part::JobManager, index)).collect();
        cluster.task_managers = (0..task_managers).map(|index| cluster.spawn(Part::TaskManager, index)).collect();
        cluster
    }

    fn spawn(&self, part: Part, index: usize) -> Child {
        let all = self.addresses.join(",");
        match part {
            Part::JobManager => {
                let address = self.addresses[index].as_str();
                (self.start)(part, index, &["jobmanager", "--listen", address, "--scale-up-pause", "0s"])
            }
            Part::TaskManager => {
                let place = ["--slots", "1", "--listen", "127.0.0.1:0"];
                (self.start)(part, index, &[["taskmanager", "--jobmanager", all.as_str()].as_slice(), &place].concat())
            }
        }
    }

    fn of(&mut self, part: Part) -> &mut Vec<Child> {
        match part {
            Part::JobManager => &mut self.job_managers,
            Part::TaskManager => &mut self.task_managers,
        }
    }

    /// Kills a process and starts another in its place; false if the job has ended.
    pub fn kill(&mut self, part: Part, index: usize) -> bool {
        if self.is_ending() {
            return false;
        }
        let process = &mut self.of(part)[index];
        process.kill().unwrap();
        process.wait().unwrap();
        let next = self.spawn(part, index);
        self.of(part)[index] = next;
        true
    }

    /// Which JobManager leads: the last that has said so.
    pub fn leader(&self) -> usize {
        let last = self.job.leaders().pop().expect("one leads");
        let leads = |address: &String| last.contains(address.as_str());
        self.addresses.iter().position(leads).unwrap_or_else(|| panic!("{last}"))
    }

    /// A client of the cluster.
    pub fn client(&self) -> ClusterClient {
        let addresses = Addresses::parse(&self.addresses.join(",")).unwrap();
        ClusterClient::new(addresses, Duration::from_secs(60)).unwrap()
    }

    /// Asks the job for something, as often as it asks for that, and returns its last answer.
    pub fn ask(&self, request: &Request) -> Answer {
        let began = Instant::now();
        loop {
            let answers = self.client().ask("visitors", request).unwrap();
            let last = answers.map(|answer| answer.unwrap_or_else(|error| panic!("{error}"))).last();
            match last.expect("it is answered") {
                Answer::Failed { reason } if reason.contains("ask again") => self.look_again(began),
                answer => return answer,
            }
        }
    }

    /// Starts one more TaskManager.
    pub fn add_task_manager(&mut self) {
        let added = self.spawn(Part::TaskManager, self.task_managers.len());
        self.task_managers.push(added);
    }

    /// Kills a TaskManager for good.
    pub fn remove_task_manager(&mut self) {
        let mut removed = self.task_managers.pop().expect("there is one");
        removed.kill().unwrap();
        removed.wait().unwrap();
    }

    /// Kills a JobManager for good.
    pub fn remove_job_manager(&mut self, index: usize) {
        self.addresses.remove(index);
        let mut removed = self.job_managers.remove(index);
        removed.kill().unwrap();
        removed.wait().unwrap();
    }

    /// Asks a process to end, which it does well; with it is gone for good.
    pub fn terminate(&mut self, part: Part, index: usize) {
        if part == Part::JobManager {
            self.addresses.remove(index);
        }
        let mut process = self.of(part).remove(index);
        terminate(&process);
        let began = Instant::now();
        let status = loop {
            if let Some(status) = process.try_wait().unwrap() {
                break status;
            }
            self.look_again(began);
        };
        assert!(status.success(), "it ended with {status}:\n{}", self.job.last_messages());
    }

    /// Where each JobManager listens.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Waits until something has happened; false if the job has ended before.
    pub fn waits(&mut self, mut for_it: impl FnMut(&Job) -> bool) -> bool {
        let began = Instant::now();
        while !for_it(self.job) {
            if self.is_ending() {
                return false;
            }
            self.look_again(began);
        }
        true
    }

    /// Lets time pass, unless the job ends.
    pub fn pause(&mut self, time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time && !self.is_ending() {
            std::thread::sleep(LOOK);
        }
    }

    /// Whether a process has ended, which all do when the job does.
    fn is_ending(&mut self) -> bool {
        let mut ended = false;
        for process in self.job_managers.iter_mut().chain(&mut self.task_managers) {
            if let Some(status) = process.try_wait().unwrap() {
                assert!(status.success(), "a process ended with {status}:\n{}", self.job.last_messages());
                ended = true;
            }
        }
        ended
    }

    /// Waits until the job has ended, and with it the processes.
    ///
    /// A TaskManager that was started a moment before may find nobody to tell it: it is ended here.
    pub fn wait_for_end(&mut self) {
        let began = Instant::now();
        while self.job_managers.iter_mut().any(|process| process.try_wait().unwrap().is_none()) {
            self.is_ending();
            self.look_again(began);
        }
        let patience = Instant::now() + Duration::from_secs(10);
        while self.task_managers.iter_mut().any(|process| process.try_wait().unwrap().is_none()) {
            if Instant::now() >= patience {
                break;
            }
            std::thread::sleep(LOOK);
        }
        self.is_ending();
    }

    fn look_again(&self, began: Instant) {
        assert!(began.elapsed() < PATIENCE, "the job hangs:\n{}", self.job.last_messages());
        std::thread::sleep(LOOK);
    }
}

/// Sends a process SIGTERM.
pub fn terminate(process: &Child) {
    let sent = Command::new("kill").args(["-TERM", &process.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Waits until a log has been read, stops the job, and compares.
pub fn stop_when_read(job: &Job, cluster: &mut Cluster<'_>, log: &Path) {
    wait_until_read(cluster, log);
    let answer = cluster.ask(&Request::Stop { drain: false, savepoint: None });
    assert!(matches!(answer, Answer::Completed { .. }), "{answer:?}");
    cluster.wait_for_end();
    assert_same(job, log);
}

/// Waits until a log has been read.
pub fn wait_until_read(cluster: &mut Cluster<'_>, log: &Path) {
    let all = Counts::of_log(log).requests();
    let mut client = cluster.client();
    let are_there = |job: &Job| {
        std::thread::sleep(Duration::from_millis(200));
        // A job that is starting cannot be stopped yet.
        job.visible("").lines().count() as u64 == all && client.job("", 0).unwrap().phase == "running"
    };
    assert!(cluster.waits(are_there), "it ended by itself");
}

/// Waits until all tasks run.
pub fn wait_until_running(cluster: &mut Cluster<'_>) {
    let mut client = cluster.client();
    assert!(cluster.waits(|_| client.job("", 0).unwrap().phase == "running"), "it ended by itself");
}

impl Drop for Cluster<'_> {
    fn drop(&mut self) {
        for process in self.job_managers.iter_mut().chain(&mut self.task_managers) {
            // Of no use for one that has ended, and a panic here would hide the first.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
