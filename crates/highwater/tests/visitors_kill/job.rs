//! The example as a job of child processes: started, watched through its directories, and killed.

use std::fs::{self, File, OpenOptions};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How often to look whether the moment has come.
const LOOK: Duration = Duration::from_millis(1);
/// How long anything may take before it counts as hanging.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// What stays the same from run to run.
pub struct Job {
    program: PathBuf,
    input: PathBuf,
    output: PathBuf,
    checkpoints: PathBuf,
    messages: PathBuf,
    /// For what is kept on local disk.
    temporary: PathBuf,
    options: Vec<String>,
}

/// How waiting for a moment ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The moment has come.
    Due,
    /// The job had come to its end before.
    Ended,
}

impl Job {
    /// In `folder`, with these options beside those that every start has.
    pub fn new(example: &str, folder: &Path, input: &Path, options: &[&str]) -> Self {
        fs::create_dir_all(folder.join("temporary")).unwrap();
        Job {
            program: program(example),
            input: input.into(),
            output: folder.join("output"),
            checkpoints: folder.join("checkpoints"),
            messages: folder.join("messages.txt"),
            temporary: folder.join("temporary"),
            options: options.iter().map(|option| option.to_string()).collect(),
        }
    }

    /// With its checkpoints where this URI says. What looks at a folder of them finds none.
    pub fn with_checkpoints_at(self, uri: &str) -> Self {
        Job { checkpoints: uri.into(), ..self }
    }

    /// Starts it in one process.
    pub fn start(&self, workers: usize) -> Run<'_> {
        Run { job: self, process: self.spawn(&["--workers", &workers.to_string()]) }
    }

    /// Starts a process with these arguments beside those that all of them have.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.spawn_by(Command::new(&self.program), arguments)
    }

    /// The same on a host of its own: `enter` runs what follows it there.
    pub fn spawn_on(&self, mut enter: Command, arguments: &[&str]) -> Child {
        enter.arg(&self.program);
        self.spawn_by(enter, arguments)
    }

    fn spawn_by(&self, mut command: Command, arguments: &[&str]) -> Child {
        let messages = OpenOptions::new().create(true).append(true).open(&self.messages).unwrap();
        command.arg("--input").arg(&self.input).arg("--output").arg(&self.output);
        command.arg("--checkpoint-dir").arg(&self.checkpoints);
        command.args(&self.options);
        command.args(["--restart-strategy", "fixed-delay:attempts=1000,delay=20ms"]).args(arguments);
        command.env("TMPDIR", &self.temporary).env("RUST_LOG", "info").stdin(Stdio::null());
        command.stdout(File::try_clone(&messages).unwrap()).stderr(messages);
        command.spawn().unwrap_or_else(|error| panic!("cannot start {}: {error}", self.program.display()))
    }

    /// The newest checkpoint that has completed, 0 if none has.
    pub fn completed(&self) -> u64 {
        self.checkpoints(|folder| folder.join("_metadata").exists())
    }

    /// The newest checkpoint that has begun and not completed, 0 if none has.
    pub fn in_progress(&self) -> u64 {
        self.checkpoints(|folder| !folder.join("_metadata").exists())
    }

    /// The newest of those with a snapshot in it already, 0 if none has: sinks wait for it to complete, and must not commit.
    pub fn being_written(&self) -> u64 {
        self.checkpoints(|folder| !folder.join("_metadata").exists() && !names(folder).is_empty())
    }

    fn checkpoints(&self, of: impl Fn(&Path) -> bool) -> u64 {
        // Of the only job. Its folder is there once it has found its feet; and checkpoints are removed at any time.
        let Ok(jobs) = fs::read_dir(&self.checkpoints) else { return 0 };
        let entries = jobs.filter_map(|job| fs::read_dir(job.ok()?.path()).ok()).flatten();
        let id = |path: &Path| path.file_name()?.to_str()?.strip_prefix("chk-")?.parse().ok();
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        paths.filter_map(|path| id(&path).filter(|_| of(&path))).max().unwrap_or(0)
    }

    /// All that is visible in a folder of the output: `""` for the output itself.
    pub fn visible(&self, folder: &str) -> String {
        visible(&self.output.join(folder))
    }

    /// Names of the files in folders of the output that are still in progress.
    pub fn unfinished(&self, folders: &[&str]) -> Vec<String> {
        let names = folders.iter().flat_map(|folder| names(&self.output.join(folder)));
        names.filter(|name| name.ends_with(".inprogress")).collect()
    }

    /// What the processes have said.
    pub fn messages(&self) -> String {
        fs::read_to_string(&self.messages).unwrap_or_default()
    }

    /// The checkpoints that count, in the order in which a leader has said so.
    pub fn counted(&self) -> Vec<u64> {
        let said = self.messages();
        said.lines()
            .filter(|line| line.contains(" checkpoint completed "))
            .map(|line| number(line, "checkpoint"))
            .collect()
    }

    /// What JobManagers have said as they began to lead, each with its token and its address.
    pub fn leaders(&self) -> Vec<String> {
        let said = self.messages();
        said.lines().filter(|line| line.contains("this JobManager leads job=")).map(String::from).collect()
    }

    /// The last of it, for a failure.
    pub fn last_messages(&self) -> String {
        let messages = self.messages();
        let skip = messages.lines().count().saturating_sub(40);
        messages.lines().skip(skip).fold(String::new(), |all, line| all + line + "\n")
    }
}

/// The process of one start of the job, which it does not outlive.
pub struct Run<'a> {
    job: &'a Job,
    process: Child,
}

impl Run<'_> {
    /// Kills it: false if it had ended before.
    pub fn kill(&mut self) -> bool {
        let ran = self.process.try_wait().unwrap().is_none();
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        ran
    }

    /// Waits until `due`, and then for `delay`.
    pub fn wait_until(&mut self, due: impl Fn(&Job) -> bool, delay: Duration) -> Outcome {
        let began = Instant::now();
        let mut due_since = None;
        loop {
            if self.has_ended() {
                return Outcome::Ended;
            }
            if due_since.is_none() && due(self.job) {
                due_since = Some(Instant::now());
            }
            if due_since.is_some_and(|since| since.elapsed() >= delay) {
                return Outcome::Due;
            }
            self.look_again(began);
        }
    }

    /// Waits until it has ended well.
    pub fn wait_for_end(&mut self) {
        let began = Instant::now();
        while !self.has_ended() {
            self.look_again(began);
        }
    }

    /// Whether it has ended, and well.
    fn has_ended(&mut self) -> bool {
        let end = self.process.try_wait().unwrap();
        if let Some(failed) = end.filter(|status| !status.success()) {
            panic!("the process ended with {failed}:\n{}", self.job.last_messages());
        }
        end.is_some()
    }

    fn look_again(&self, began: Instant) {
        assert!(began.elapsed() < PATIENCE, "the job hangs:\n{}", self.job.last_messages());
        std::thread::sleep(LOOK);
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        // Of no use for one that has ended, and a panic here would hide the first.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An example, which cargo builds before it runs the tests of the package.
fn program(example: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).expect("a test is in target/<profile>/deps");
    let program = profile.join("examples").join(format!("{example}{}", std::env::consts::EXE_SUFFIX));
    assert!(program.exists(), "{} is missing: cargo build --example {example}", program.display());
    program
}

/// The number that a line gives as `name`.
pub fn number(line: &str, name: &str) -> u64 {
    let value = line.split_once(&format!(" {name}=")).map(|(_, rest)| rest.split(' ').next().unwrap_or(rest));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no number {name} in {line:?}"))
}

/// Addresses on this machine that nobody listens on.
pub fn free_addresses(count: usize) -> Vec<String> {
    let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect()
}

/// The contents of all files in `folder` without a leading dot.
fn visible(folder: &Path) -> String {
    let visible = names(folder).into_iter().filter(|name| !name.starts_with('.')).map(|name| folder.join(name));
    visible.filter(|path| path.is_file()).map(|path| fs::read_to_string(path).unwrap()).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}
