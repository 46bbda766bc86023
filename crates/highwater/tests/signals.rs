//! Processes of a job that are told to end while they wait for something that does not come.
//!
//! `cargo test` builds the example too; with `--test signals` alone, run `cargo build --example visitors` before.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, reason = "the test watches real processes in real time")]

use std::fs::{self, File, OpenOptions};
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long anything may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(60);
/// Signals that come sooner after each other count as one.
const APART: Duration = Duration::from_millis(500);
/// Of open(2).
const O_NONBLOCK: i32 = 0o4000;

/// Waits until `look` finds something.
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{what} does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A process of the example. It does not outlive the test.
struct Process {
    child: Child,
    log: std::path::PathBuf,
}

impl Process {
    /// Starts it in `folder`, with these arguments.
    fn start(folder: &TempDir, name: &str, arguments: &[&str]) -> Self {
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().and_then(Path::parent).expect("a test is in target/<profile>/deps");
        let program = profile.join("examples").join("visitors");
        assert!(program.exists(), "{} is missing: cargo build -p highwater --example visitors", program.display());
        let log = folder.path().join(name);
        let mut command = Command::new(program);
        command.current_dir(folder.path()).env("RUST_LOG", "info").args(arguments);
        command.args(["--output", "output", "--checkpoint-dir", "checkpoints"]);
        command.env("NO_PROXY", "127.0.0.1");
        command.env("AWS_ACCESS_KEY_ID", "anybody").env("AWS_SECRET_ACCESS_KEY", "nothing");
        let child = command.stdout(Stdio::null()).stderr(File::create(&log).unwrap()).spawn().unwrap();
        Process { child, log }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn terminate(&self) {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_jobmanager_that_waits_for_its_first_answer_of_the_ha_directory_ends_with_the_first_signal() {
    let folder = tempfile::tempdir().unwrap();
    // Takes connections, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    silent.set_nonblocking(true).unwrap();
    let ha_dir = format!("s3://b/ha?endpoint=http://{}&allow_http=true&region=r", silent.local_addr().unwrap());
    let arguments = ["jobmanager", "--listen", "127.0.0.1:0", "--ha-lease", "10m", "--ha-dir", &ha_dir];
    let mut job_manager = Process::start(&folder, "jobmanager.txt", &arguments);
    let _connection = wait_for("a connection", || silent.accept().ok());
    job_manager.terminate();
    let status = wait_for("the end", || job_manager.ended());
    assert_eq!(status.code(), Some(130), "{}", job_manager.log());
}

/// The number of the entry after the newest in a log of leaders.
fn next_entry(log: &Path) -> Option<u64> {
    let numbers = fs::read_dir(log).ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u64>().ok());
    numbers.max().map(|newest| newest + 1)
}

#[test]
fn a_leader_whose_ha_directory_hangs_ends_with_the_second_signal() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["jobmanager", "--listen", "127.0.0.1:0", "--ha-lease", "10m", "--ha-dir", "ha"];
    let mut job_manager = Process::start(&folder, "jobmanager.txt", &arguments);
    let listens = || Some(job_manager.log().split_once("listen=")?.1.split_whitespace().next()?.to_owned());
    let address = wait_for("its address", listens);
    wait_for("a leader", || job_manager.log().contains("this JobManager leads").then_some(()));
    // The next entry is one that is never read to its end.
    let log = folder.path().join("ha/visitors");
    let pipe = log.join(format!("{:020}", next_entry(&log).unwrap()));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let arguments = ["taskmanager", "--slots", "1", "--listen", "127.0.0.1:0", "--jobmanager", &address];
    let _task_manager = Process::start(&folder, "taskmanager.txt", &arguments);
    let being_read = || OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(&pipe).ok();
    let _never_written = wait_for("the attempt, which is put on record", being_read);

    job_manager.terminate();
    std::thread::sleep(APART);
    assert_eq!(job_manager.ended(), None, "it waits for the answer:\n{}", job_manager.log());
    job_manager.terminate();
    let status = wait_for("the end", || job_manager.ended());
    assert_eq!(status.code(), Some(130), "{}", job_manager.log());
}
