//! Commands that ask running jobs, and the one that starts them: with the real processes of the example `ticks`.
//!
//! `cargo test` builds the example too; with `--test cli` alone, run `cargo build -p highwater-cli --example ticks` before.
#![cfg(unix)]
#![allow(clippy::disallowed_methods, reason = "the test watches real processes in real time")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::job::flip;
use crate::run::{highwater, json, refused, text};

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

/// The folders of jobs.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        // Where the folder for temporary files is behind a link, jobs say where it really is.
        self.0.path().canonicalize().unwrap().join(name).to_str().unwrap().to_owned()
    }

    /// The arguments of a job that has all its folders here, those of `name`.
    fn arguments(&self, name: &str) -> Vec<String> {
        let (output, checkpoints) = (self.path(&format!("{name}-output")), self.path(name));
        let own =
            ["--output", &output, "--checkpoint-dir", &checkpoints, "--run-dir", &self.path("run"), "--workers", "1"];
        own.map(str::to_owned).into()
    }

    fn start(&self, name: &str, arguments: &[&str]) -> Running {
        let mut command = Command::new(program());
        command.args(self.arguments(name)).args(["--checkpoint-interval", "20ms"]).args(arguments);
        self.spawn(command)
    }

    /// Starts a job and waits until it answers.
    fn spawn(&self, mut command: Command) -> Running {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut running = Running { name: format!("ticks-{}", child.id()), child };
        wait_for("the job", || {
            assert_eq!(running.child.try_wait().unwrap(), None, "the job has ended");
            let run = self.ask(&["info", &running.name, "--json"]);
            let info: Value = serde_json::from_str(&run.stdout).ok()?;
            (run.code == 0 && info["checkpoints_completed"].as_u64() > Some(0)).then_some(())
        });
        running
    }

    /// Runs the command for jobs of this place.
    fn ask(&self, args: &[&str]) -> crate::run::Run {
        highwater(&[args, &["--run-dir", &self.path("run")]].concat())
    }

    fn json(&self, args: &[&str]) -> Value {
        json(0, &[args, &["--run-dir", &self.path("run")]].concat())
    }

    fn text(&self, args: &[&str]) -> String {
        text(0, &[args, &["--run-dir", &self.path("run")]].concat())
    }

    fn refused(&self, args: &[&str], words: &[&str]) {
        refused(2, &[args, &["--run-dir", &self.path("run")]].concat(), words);
    }

    /// Each clock has been counted up by one, without a gap and nothing twice. How many ticks there were.
    fn counted_once(&self, name: &str) -> usize {
        let entries = fs::read_dir(self.path(&format!("{name}-output"))).unwrap().map(|entry| entry.unwrap().path());
        let visible = |path: &PathBuf| path.is_file() && !path.file_name().unwrap().to_str().unwrap().starts_with('.');
        let mut counts = BTreeMap::<String, Vec<u64>>::new();
        for path in entries.filter(visible) {
            for line in fs::read_to_string(path).unwrap().lines() {
                let (clock, count) = line.split_once(',').unwrap();
                counts.entry(clock.to_owned()).or_default().push(count.parse().unwrap());
            }
        }
        for (clock, seen) in &mut counts {
            seen.sort_unstable();
            assert!(seen.iter().copied().eq(1..=seen.len() as u64), "clock {clock} was counted {seen:?}");
        }
        counts.values().map(Vec::len).sum()
    }
}

fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).expect("a test is in target/<profile>/deps");
    let program = profile.join("examples").join("ticks");
    assert!(program.exists(), "{} is missing: cargo build -p highwater-cli --example ticks", program.display());
    program
}

struct Running {
    child: Child,
    /// The job with its process.
    name: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    fn wait_for_end(mut self) {
        let status = wait_for("the end", || self.child.try_wait().unwrap());
        assert_eq!(status.code(), Some(0));
    }
}

/// The only line.
fn line(text: &str) -> &str {
    let line = text.strip_suffix('\n').unwrap_or_else(|| panic!("no line: {text:?}"));
    assert!(!line.contains('\n'), "more than a line: {text}");
    line
}

fn folder(path: &str) -> PathBuf {
    PathBuf::from(path.strip_prefix("file://").unwrap())
}

#[test]
fn a_job_is_listed_asked_for_savepoints_stopped_and_goes_on_from_there() {
    let place = Place::new();
    assert_eq!(place.text(&["list"]), format!("no jobs are running in {}\n", place.path("run")));
    assert_eq!(place.json(&["list"]), json!({"jobs": []}));

    let job = place.start("a", &["--savepoint-dir", &place.path("savepoints")]);
    let listed = &place.json(&["list"])["jobs"][0];
    let info = place.json(&["info", "ticks"]);
    assert_eq!((&listed["job"], &listed["pid"]), (&json!("ticks"), &json!(job.child.id())));
    assert_eq!((&listed["status"]["phase"], &info["phase"]), (&json!("running"), &json!("running")));
    let table = place.text(&["list"]);
    assert!(table.starts_with("JOB    PID") && table.lines().nth(1).unwrap().contains("running"), "{table}");
    assert!(place.text(&["info", "ticks"]).contains("restored from    none"));

    let output = place.text(&["savepoint", "ticks"]);
    let first = line(&output);
    assert!(first.starts_with(&format!("file://{}/savepoint-ticks-", place.path("savepoints"))), "{first}");
    text(0, &["checkpoint", "verify", first]);
    let document = place.json(&["savepoint", &job.name, &place.path("elsewhere")]);
    assert_eq!((&document["job"], &document["pid"]), (&json!("ticks"), &json!(job.child.id())));
    assert!(folder(document["taken"]["path"].as_str().unwrap()).starts_with(place.path("elsewhere")));
    let output = place.text(&["checkpoint", "trigger", "ticks"]);
    assert!(line(&output).contains("/a/ticks/chk-"), "{output}");
    assert_eq!(place.json(&["info", "ticks"])["savepoints"], 2);

    let output = place.text(&["stop", "ticks", "--savepoint"]);
    let last = line(&output);
    job.wait_for_end();
    assert_eq!(place.json(&["list"]), json!({"jobs": []}));
    let before = place.counted_once("a");
    let listing = json(0, &["checkpoint", "list", &place.path("a")]);
    let newest = listing["snapshots"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&newest["status"], &newest["savepoint"]), (&json!("ended_with_savepoint"), &json!(last)));
    assert!(text(0, &["checkpoint", "list", &place.path("a")]).contains(&format!("ended with {last}")));
    let verified = json(0, &["checkpoint", "verify", &place.path("a")]);
    assert_eq!(verified["snapshots"].as_array().unwrap().last().unwrap()["status"], "sound");
    let of_note = json(0, &["checkpoint", "show", newest["path"].as_str().unwrap()]);
    assert_eq!(of_note, json(0, &["checkpoint", "show", last]), "the folder stands for the savepoint");

    let job = place.start("a", &[]);
    assert_eq!(place.json(&["info", "ticks"])["restored"], last);
    let output = place.text(&["stop", "ticks", "--drain"]);
    assert!(line(&output).contains("/a/ticks/chk-"), "{output}");
    job.wait_for_end();
    assert!(place.counted_once("a") > before);
}

#[test]
fn a_savepoint_that_a_job_has_ended_with_and_that_is_gone_counts_as_damage() {
    let place = Place::new();
    let job = place.start("a", &[]);
    let output = place.text(&["stop", "ticks", "--savepoint-dir", &place.path("savepoints")]);
    job.wait_for_end();
    fs::remove_dir_all(place.path("savepoints")).unwrap();
    let verified = json(1, &["checkpoint", "verify", &place.path("a")]);
    let newest = verified["snapshots"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(newest["status"], "damaged");
    let what = newest["damages"][0]["what"].as_str().unwrap();
    assert!(what.contains(line(&output)) && what.contains("is gone"), "{what}");
    assert!(newest["damages"][0]["path"].as_str().unwrap().ends_with("/_savepoint"));
}

#[test]
fn what_cannot_be_done_is_said_and_the_job_goes_on() {
    let place = Place::new();
    place.refused(&["savepoint", "ticks"], &["no job named ticks is running", &place.path("run")]);
    let (one, two) = (place.start("a", &[]), place.start("b", &[]));
    place.refused(&["stop", "tocks"], &["no job named tocks is running", &one.name, &two.name]);
    place.refused(&["stop", "ticks"], &["several jobs are named ticks", &one.name, &two.name]);
    assert_eq!(place.json(&["list"])["jobs"].as_array().unwrap().len(), 2);

    place.refused(&["savepoint", &one.name], &[&one.name, "has not done it", "--savepoint-dir"]);
    place.refused(&["stop", &one.name, "--savepoint"], &["has not done it", "--savepoint-dir"]);
    fs::write(place.path("file"), "in the way").unwrap();
    let in_the_way = place.path("file/savepoints");
    place.refused(&["savepoint", &one.name, &in_the_way], &["cannot take a savepoint", &in_the_way]);
    place.refused(&["stop", &one.name, "--savepoint-dir", &in_the_way], &["cannot take a savepoint"]);
    assert_eq!(place.json(&["info", &one.name])["phase"], "running");

    // Who asks and goes away takes nothing back, and takes nobody along.
    let mut client = Command::new(env!("CARGO_BIN_EXE_highwater"))
        .args(["savepoint", &one.name, &place.path("savepoints"), "--run-dir", &place.path("run")])
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    Command::new("kill").args(["-INT", &client.id().to_string()]).status().unwrap();
    client.wait().unwrap();
    assert_eq!(place.json(&["info", &one.name])["phase"], "running");
    place.text(&["stop", &one.name]);
    one.wait_for_end();

    two.signal("-STOP");
    let listed = &place.json(&["list"])["jobs"][0];
    assert_eq!(listed["status"], Value::Null);
    assert!(listed["reason"].as_str().unwrap().contains("does not answer"), "{listed}");
    assert!(place.text(&["list"]).contains("unknown: "));
    two.signal("-CONT");
    let name = two.name.clone();
    two.signal("-KILL");
    drop(two);
    assert_eq!(place.json(&["list"]), json!({"jobs": []}), "a killed job is not running");
    place.refused(&["stop", &name], &["is running"]);
    place.counted_once("a");
}

#[test]
fn a_job_is_cancelled_and_goes_on_from_its_newest_checkpoint() {
    let place = Place::new();
    let job = place.start("a", &[]);
    place.refused(&["rescale", "ticks", "--parallelism", "2"], &["has not done it", "in a cluster", "--workers"]);
    assert_eq!(place.text(&["cancel", "ticks"]), "");
    job.wait_for_end();
    assert_eq!(place.json(&["list"]), json!({"jobs": []}));
    let job = place.start("a", &[]);
    assert!(place.json(&["info", "ticks"])["restored"].as_str().unwrap().contains("/a/ticks/chk-"));
    assert_eq!(place.json(&["cancel", &job.name])["taken"], Value::Null);
    job.wait_for_end();
}

#[test]
fn a_relative_folder_is_that_of_who_asks() {
    let place = Place::new();
    let _job = place.start("a", &[]);
    fs::create_dir(place.path("here")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_highwater"))
        .current_dir(place.path("here"))
        .args(["savepoint", "ticks", "savepoints"])
        .env("HIGHWATER_RUN_DIR", place.path("run"))
        .output()
        .unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    assert!(line(&output).starts_with(&format!("file://{}/savepoint-", place.path("here/savepoints"))), "{output}");
}

#[test]
fn a_job_is_resumed_from_the_newest_savepoint_by_its_own_program() {
    let place = Place::new();
    let savepoints = place.path("savepoints");
    let job = place.start("a", &["--savepoint-dir", &savepoints]);
    place.text(&["savepoint", "ticks"]);
    let output = place.text(&["stop", "ticks", "--savepoint"]);
    let newest = line(&output);
    job.wait_for_end();
    fs::remove_dir_all(place.path("a")).unwrap();

    let resume = |from: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_highwater"));
        command.args(["resume", "--claim", "--from", from]).arg(program()).arg("--").args(place.arguments("a"));
        command.args(["--checkpoint-interval", "20ms"]);
        command
    };
    let job = place.spawn(resume(&savepoints));
    assert_eq!(place.json(&["info", &job.name])["restored"], newest, "the command has become the job");
    wait_for("the claimed savepoint to go", || (!folder(newest).exists()).then_some(()));
    let second = line(&place.text(&["stop", "ticks", "--savepoint-dir", &savepoints])).to_owned();
    job.wait_for_end();
    place.counted_once("a");

    flip(&folder(&second).join("_metadata"), 40);
    let damaged = resume(&savepoints).output().unwrap();
    assert_eq!(damaged.status.code(), Some(1), "nothing older is taken: {damaged:?}");
    assert!(String::from_utf8(damaged.stderr).unwrap().contains("checksum"));
    fs::create_dir(place.path("empty")).unwrap();
    let nothing = resume(&place.path("empty")).output().unwrap();
    let said = String::from_utf8(nothing.stderr).unwrap();
    assert!(nothing.status.code() == Some(2) && said.contains("there is no snapshot of job ticks"), "{said}");
}

#[test]
fn a_program_that_cannot_be_resumed_is_not_started() {
    let place = Place::new();
    let _job = place.start("a", &[]);
    let path = line(&place.text(&["savepoint", "ticks", &place.path("savepoints")])).to_owned();
    let (script, started) = (place.path("job.sh"), place.path("started"));
    let describe = r#"{"job": "ticks", "operators": [{"uid": "count", "name": "count"}]}"#;
    fs::write(&script, format!("test \"$1\" = --describe || touch {started}\necho '{describe}'\n")).unwrap();
    let said = text(1, &["resume", "--from", &path, "/bin/sh", "--", &script]);
    assert!(said.contains("operator count") && said.contains("can NOT be restored"), "{said}");
    assert!(!Path::new(&started).exists());
    let missing = highwater(&["resume", "--from", &path, "/no/such/program"]);
    assert!(missing.code == 2 && missing.stderr.contains("cannot be started"), "{missing:?}");
}
