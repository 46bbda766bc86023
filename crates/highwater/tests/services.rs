//! Whole jobs with their checkpoints and savepoints in HDFS and in S3.
//!
//! Here the `visitors` example is killed with SIGKILL while it works, started again, and in the end compared with a plain count;
//! fewer times than in `visitors_kill`, since what is new is where checkpoints lie. [`jobs`] has jobs of this process, and faults
//! of the servers. `cargo xtask test --only services` starts the servers and runs this.
#![allow(clippy::disallowed_methods, reason = "the test watches real processes in real time")]

#[path = "visitors_kill/cluster.rs"]
#[allow(dead_code, reason = "shared with tests that use more of it")]
mod cluster;
#[path = "visitors_kill/count.rs"]
#[allow(dead_code, reason = "shared with tests that use more of it")]
mod count;
#[cfg(target_os = "linux")]
#[path = "services/cut_off.rs"]
mod cut_off;
#[cfg(target_os = "linux")]
#[path = "visitors_kill/hosts.rs"]
mod hosts;
#[path = "visitors_kill/input.rs"]
mod input;
#[path = "visitors_kill/job.rs"]
#[allow(dead_code, reason = "shared with tests that use more of it")]
mod job;
#[path = "services/jobs.rs"]
mod jobs;
#[path = "visitors_kill/kills.rs"]
#[allow(dead_code, reason = "shared with tests that use more of it")]
mod kills;
#[path = "services/leaders.rs"]
mod leaders;
#[cfg(target_os = "linux")]
#[path = "visitors_kill/network.rs"]
#[allow(dead_code, reason = "shared with tests that use more of it")]
mod network;
#[path = "engine/support.rs"]
#[allow(dead_code, reason = "shared with tests that use more of it")]
mod support;

use std::env;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use highwater_core::JobName;
use highwater_storage::{JobStore, open_uri};
use highwater_testing::Random;

use count::Counts;

const LINES: usize = 1_200_000;
const KILLS: u64 = 2;
/// How long anything may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(300);

#[test]
fn killed_with_checkpoints_in_hdfs_it_counts_every_request_once() {
    killed_job(&hdfs("visitors").dir(""));
}

#[test]
fn killed_with_checkpoints_in_s3_it_counts_every_request_once() {
    killed_job(&s3("visitors").dir(""));
}

/// A folder on a server that no other run of the tests uses.
struct Place {
    server: SocketAddr,
    /// What stands around the server and the rest of the path in a URI.
    uri: fn(&SocketAddr, &str) -> String,
    folder: String,
}

fn hdfs(test: &str) -> Place {
    let server = variable("HIGHWATER_TEST_HDFS");
    let uri = |server: &SocketAddr, path: &str| format!("hdfs://{server}/{path}?user=highwater");
    Place { server: address(&server), uri, folder: format!("{test}-{}", std::process::id()) }
}

fn s3(test: &str) -> Place {
    let server = variable("HIGHWATER_TEST_S3");
    let uri =
        |server: &SocketAddr, path: &str| format!("s3://highwater/{path}?endpoint=http://{server}&allow_http=true");
    Place { server: address(&server), uri, folder: format!("{test}-{}", std::process::id()) }
}

fn address(uri: &str) -> SocketAddr {
    uri.rsplit('/').next().and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("{uri:?} has no address"))
}

impl Place {
    /// The URI of a directory in it, with a lease that runs out while a test waits for it.
    fn dir(&self, below: &str) -> String {
        self.dir_at(&self.server, below, "lease=6s")
    }

    /// The same through another address.
    fn dir_at(&self, server: &SocketAddr, below: &str, options: &str) -> String {
        format!("{}&{options}", (self.uri)(server, &format!("{}{below}", self.folder)))
    }
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run `cargo xtask services up` and export what it prints, or `cargo xtask test --only services`")
    })
}

fn killed_job(checkpoints: &str) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    input::write(&log, &mut Random::new(1), LINES, 3_000);
    let job = Job { log: log.clone(), output: folder.path().join("output"), checkpoints: checkpoints.to_owned() };
    for kill in 1..=KILLS {
        let known = job.completed();
        let mut run = job.start();
        // Two more checkpoints: one that was restored from, one that goes on from it.
        run.wait(&format!("checkpoint {} of run {kill}", known + 2), |job| job.completed() >= known + 2);
        run.process.kill().unwrap();
        assert!(
            run.process.wait().unwrap().code().is_none(),
            "it ended by itself before kill {kill}: {LINES} are too few"
        );
        println!("killed after checkpoint {}", job.completed());
    }
    job.start().wait_for_end();
    Counts::of_results(&job.results()).assert_equals(&Counts::of_log(&log));
}

struct Job {
    log: PathBuf,
    output: PathBuf,
    checkpoints: String,
}

impl Job {
    fn start(&self) -> Run<'_> {
        let messages = self.messages();
        let mut command = Command::new(program());
        command.arg("--input").arg(&self.log).arg("--output").arg(&self.output);
        command.args(["--checkpoint-dir", &self.checkpoints, "--checkpoint-interval", "100ms", "--workers", "2"]);
        command.env("RUST_LOG", "info").stdin(Stdio::null());
        let messages = File::options().create(true).append(true).open(messages).unwrap();
        command.stdout(messages.try_clone().unwrap()).stderr(messages);
        let process = command.spawn().unwrap_or_else(|error| panic!("cannot start the example: {error}"));
        Run { job: self, process }
    }

    /// The newest checkpoint that has completed, 0 if none has.
    fn completed(&self) -> u64 {
        let storage = open_uri(&self.checkpoints).unwrap();
        let store = JobStore::open(storage, JobName::parse("visitors").unwrap()).unwrap();
        // While the job discards one, a listing may find half of it.
        let found = store.checkpoints().unwrap();
        found.iter().filter(|found| found.has_metadata).map(|found| found.id.0).max().unwrap_or(0)
    }

    /// All that is visible of the results.
    fn results(&self) -> String {
        let entries = fs::read_dir(&self.output).unwrap().map(|entry| entry.unwrap());
        let visible = entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'));
        let files = visible.map(|entry| entry.path()).filter(|path| path.is_file());
        files.map(|path| fs::read_to_string(path).unwrap()).collect()
    }

    fn messages(&self) -> PathBuf {
        self.log.with_file_name("messages.txt")
    }
}

/// A start of the job, which does not outlive the test.
struct Run<'a> {
    job: &'a Job,
    process: Child,
}

impl Run<'_> {
    fn wait(&mut self, what: &str, due: impl Fn(&Job) -> bool) {
        let began = Instant::now();
        while !due(self.job) {
            if let Some(status) = self.process.try_wait().unwrap() {
                panic!("the job ended with {status} before {what}:\n{}", self.last_messages());
            }
            assert!(began.elapsed() < PATIENCE, "no {what}:\n{}", self.last_messages());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn wait_for_end(&mut self) {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < PATIENCE, "the job hangs:\n{}", self.last_messages());
            std::thread::sleep(Duration::from_millis(20));
        };
        assert!(status.success(), "the job ended with {status}:\n{}", self.last_messages());
    }

    fn last_messages(&self) -> String {
        let messages = fs::read_to_string(self.job.messages()).unwrap_or_default();
        let skip = messages.lines().count().saturating_sub(40);
        messages.lines().skip(skip).fold(String::new(), |all, line| all + line + "\n")
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        // Of no use for one that has ended, and a panic here would hide the first.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The example, which is built before the tests of the workspace.
fn program() -> PathBuf {
    let test = env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).expect("a test is in target/<profile>/deps");
    let program = profile.join("examples").join(format!("visitors{}", env::consts::EXE_SUFFIX));
    assert!(program.exists(), "{} is missing: cargo build -p highwater --example visitors", program.display());
    program
}
