//! The control socket of real processes: what they answer, what a stop leaves behind, and what a client may do to them.
//!
//! `cargo test` builds the example too; with `--test control` alone, run `cargo build --example visitors` before.
#![allow(clippy::disallowed_methods, reason = "the test watches real processes in real time")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use highwater_control::{Answer, Connection, Request, RunDir, RunningJob, Savepoint, Taken};
use tempfile::TempDir;

/// How long anything may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(60);

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

/// The folders of a job.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn run_dir(&self) -> RunDir {
        RunDir::at(Some(&self.path("run")))
    }

    /// Starts `visitors`, which generates its input, with these arguments more.
    fn start(&self, arguments: &[&str]) -> Running {
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().and_then(Path::parent).expect("a test is in target/<profile>/deps");
        let program = profile.join("examples").join("visitors");
        assert!(program.exists(), "{} is missing: cargo build -p highwater --example visitors", program.display());
        let log = tempfile::tempfile().unwrap();
        let child = Command::new(program)
            .current_dir(self.0.path())
            .args(["--output", "output", "--rate", "5000", "--run-dir", &self.path("run")])
            .args(["--checkpoint-interval", "50ms", "--checkpoint-dir", "checkpoints"])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(log.try_clone().unwrap())
            .spawn()
            .unwrap();
        Running { child, log, dir: self.run_dir() }
    }

    /// The lines of the output that are visible.
    fn output(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path("output")) else { return Vec::new() };
        let visible = |path: &PathBuf| path.is_file() && !path.file_name().unwrap().to_str().unwrap().starts_with('.');
        let files = entries.map(|entry| entry.unwrap().path()).filter(visible);
        files
            .flat_map(|file| fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
            .collect()
    }
}

struct Running {
    child: Child,
    /// What it has written to standard error.
    log: File,
    dir: RunDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn job(&mut self) -> RunningJob {
        wait_for("the socket", || {
            let ended = self.child.try_wait().unwrap();
            assert_eq!(ended, None, "the job has ended:\n{}", self.log());
            self.dir.find("visitors").ok()
        })
    }

    fn status(&mut self) -> highwater_control::Status {
        match ask(&self.job(), &Request::Status {}).pop() {
            Some(Answer::Status(status)) => status,
            other => panic!("no status: {other:?}"),
        }
    }

    /// Waits until it has taken a checkpoint.
    fn settle(&mut self) {
        wait_for("a checkpoint", || (self.status().checkpoints_completed > 0).then_some(()));
    }

    /// Waits until it ends by itself, without an error.
    fn wait_for_end(mut self) {
        let status = wait_for("the end", || self.child.try_wait().unwrap());
        assert_eq!(status.code(), Some(0), "{}", self.log());
    }

    fn log(&mut self) -> String {
        let mut log = String::new();
        self.log.rewind().unwrap();
        self.log.read_to_string(&mut log).unwrap();
        log
    }
}

fn ask(job: &RunningJob, request: &Request) -> Vec<Answer> {
    let mut connection = Connection::open(&job.socket).unwrap();
    connection.ask(request).unwrap().collect::<highwater::Result<_>>().unwrap()
}

fn completed(answers: &[Answer]) -> Taken {
    match answers.last() {
        Some(Answer::Completed { taken: Some(taken), .. }) => taken.clone(),
        _ => panic!("nothing was taken: {answers:?}"),
    }
}

/// Each address is counted up by one, without a gap and nothing twice.
fn assert_counted_once(lines: &[String]) {
    let mut counts = std::collections::BTreeMap::<&str, Vec<u64>>::new();
    for line in lines {
        let mut fields = line.split(',');
        let (address, count) = (fields.next().unwrap(), fields.next().unwrap());
        counts.entry(address).or_default().push(count.parse().unwrap());
    }
    for (address, mut seen) in counts {
        seen.sort_unstable();
        assert!(seen.iter().copied().eq(1..=seen.len() as u64), "{address} was counted {seen:?}");
    }
}

#[test]
fn a_job_is_asked_for_savepoints_and_stops_and_resumes_exactly() {
    let place = Place::new();
    let mut running = place.start(&["--workers", "2", "--savepoint-dir", "savepoints"]);
    running.settle();
    let (job, status) = (running.job(), running.status());
    assert_eq!((status.job.as_str(), status.pid, status.phase.as_str()), ("visitors", running.child.id(), "running"));

    let answers = ask(&job, &Request::Savepoint(Savepoint::default()));
    assert!(matches!(answers[..], [Answer::Accepted, Answer::Started { .. }, Answer::Completed { .. }]), "{answers:?}");
    let between = completed(&answers);
    assert!(
        between.path.starts_with(&format!("file://{}/savepoint-visitors-", place.path("savepoints"))),
        "{between:?}"
    );
    assert!(completed(&ask(&job, &Request::Checkpoint {})).checkpoint > between.checkpoint);
    assert_eq!(running.status().savepoints, 1);

    let elsewhere = Savepoint { target: Some(place.path("elsewhere")) };
    let answers = ask(&job, &Request::Stop { drain: false, savepoint: Some(elsewhere) });
    let last = completed(&answers);
    assert!(matches!(answers[2], Answer::Ending { .. }), "{answers:?}");
    running.wait_for_end();
    assert!(!job.socket.exists(), "the socket is left");
    let before = place.output();
    assert_counted_once(&before);

    fs::remove_dir_all(place.path("checkpoints")).unwrap();
    let mut running = place.start(&["--restore", &last.path, "--workers", "3", "--claim-mode", "claim"]);
    running.settle();
    assert_eq!(running.status().restored.as_ref(), Some(&last.path));
    let answers = ask(&running.job(), &Request::Stop { drain: true, savepoint: None });
    completed(&answers);
    running.wait_for_end();
    let after = place.output();
    assert!(after.len() > before.len());
    assert_counted_once(&after);
    let folder = |path: &str| Path::new(path.strip_prefix("file://").unwrap()).exists();
    assert!(folder(&between.path) && !folder(&last.path), "what was claimed is deleted, and only that");
}

#[test]
fn a_client_that_talks_nonsense_or_goes_away_does_no_harm() {
    let place = Place::new();
    let mut running = place.start(&["--workers", "1"]);
    running.settle();
    let job = running.job();
    let connect = || UnixStream::connect(&job.socket).unwrap();

    let mut talker = connect();
    for nonsense in [&b"GET / HTTP/1.1\n"[..], b"\xff\xfe\n", b"{}\n", b"{\"version\":9,\"request\":\"stop\"}\n", b"\n"]
    {
        talker.write_all(nonsense).unwrap();
        let mut answer = String::new();
        BufReader::new(&talker).read_line(&mut answer).unwrap();
        assert!(answer.contains("\"failed\"") && answer.contains("not a request"), "{answer}");
    }
    let mut endless = connect();
    // The job may have hung up before all of it was sent.
    let _ = endless.write_all(&vec![b'x'; 200_000]);
    let mut answer = String::new();
    let _ = endless.read_to_string(&mut answer);
    assert!(answer.is_empty() || answer.contains("\"failed\""), "{answer}");

    let mut gone = connect();
    gone.write_all(Request::Checkpoint {}.line().as_bytes()).unwrap();
    drop(gone);
    let silent: Vec<_> = (0..20).map(|_| connect()).collect();
    let nowhere = ask(&job, &Request::Savepoint(Savepoint::default()));
    assert!(matches!(&nowhere[..], [Answer::Failed { reason }] if reason.contains("--savepoint-dir")), "{nowhere:?}");
    completed(&ask(&job, &Request::Checkpoint {}));
    completed(&ask(&job, &Request::Stop { drain: false, savepoint: None }));
    running.wait_for_end();
    drop(silent);
}

#[test]
fn a_killed_job_is_no_running_job_and_a_signal_still_stops_one() {
    let place = Place::new();
    let mut running = place.start(&["--workers", "1"]);
    running.settle();
    let job = running.job();
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    assert!(job.socket.exists(), "a killed job cannot remove it");
    assert_eq!(place.run_dir().jobs().unwrap(), []);
    assert!(!job.socket.exists());

    let mut running = place.start(&["--workers", "1"]);
    running.settle();
    let status = Command::new("kill").args(["-TERM", &running.child.id().to_string()]).status().unwrap();
    assert!(status.success());
    running.wait_for_end();
    assert_eq!(place.run_dir().jobs().unwrap(), []);
    assert_counted_once(&place.output());
}
