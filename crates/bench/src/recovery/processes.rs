//! The processes of a measured job, as children of the benchmark.
//!
//! Invariant: none outlives the benchmark, however that ends. A [`Process`] that is dropped is killed, an interrupt is an error of the
//! next [`wait`](Processes::wait), and the system kills the children of a benchmark that was itself killed. What they have written goes
//! with them, as it is all in one temporary folder.

use std::fmt::Write;
use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use tempfile::TempDir;

use super::source::SPLITS;
use super::watch::Watch;
use crate::Failure;
use crate::cli::Placement;

/// How long anything may take before it counts as hanging.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Lines of a process's log in an error.
const LAST_LINES: usize = 12;

/// The hidden command that is one process of the job.
const COMMAND: &str = "recovery-job";

/// What all processes of a job have in common.
#[derive(Clone, Debug)]
pub struct Setup {
    pub keys: u64,
    /// Rows a second of each split of the endless job.
    pub rate: u64,
    /// Rows of the job with an end, which takes them as fast as it can; endless, if `None`.
    pub rows: Option<u64>,
    pub placement: Placement,
    /// Where its temporary folder is.
    pub parent: PathBuf,
}

/// The job's processes.
pub struct Processes {
    setup: Setup,
    program: PathBuf,
    pub watch: Watch,
    /// Where each JobManager listens.
    addresses: Vec<String>,
    job_managers: Vec<Process>,
    /// Those with workers: TaskManagers, or the only process.
    workers: Vec<Process>,
    /// How many were started, which numbers their files.
    started: usize,
    /// Removed last.
    folder: TempDir,
}

/// A child process, killed when this goes.
struct Process {
    child: Child,
    /// What it is to the job.
    role: &'static str,
    log: PathBuf,
}

impl Processes {
    /// A job that is one process.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn alone(setup: Setup) -> Result<Self, Failure> {
        let mut processes = Self::none(setup)?;
        let alone = processes.spawn("run", &["--workers", &SPLITS.to_string()])?;
        processes.workers.push(alone);
        Ok(processes)
    }

    /// A cluster of so many of each, with one slot in each TaskManager.
    ///
    /// # Errors
    /// If one of them cannot be started.
    pub fn cluster(setup: Setup, job_managers: usize, task_managers: usize) -> Result<Self, Failure> {
        let mut processes = Self::none(setup)?;
        processes.addresses = free_addresses(job_managers)?;
        for index in 0..job_managers {
            let job_manager = processes.job_manager(index)?;
            processes.job_managers.push(job_manager);
        }
        for _ in 0..task_managers {
            processes.add_task_manager()?;
        }
        Ok(processes)
    }

    fn none(setup: Setup) -> Result<Self, Failure> {
        fs::create_dir_all(&setup.parent)?;
        let folder = tempfile::Builder::new().prefix("highwater-bench-").tempdir_in(&setup.parent)?;
        let (program, watch) = (std::env::current_exe()?, Watch::start()?);
        let (addresses, job_managers, workers) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Processes { setup, program, watch, addresses, job_managers, workers, started: 0, folder })
    }

    /// Where the JobManagers listen, separated by commas.
    pub fn addresses(&self) -> String {
        self.addresses.join(",")
    }

    /// The file whose appearance is asked for to have a user function fail.
    pub fn fault_file(&self) -> PathBuf {
        self.folder.path().join("fault")
    }

    /// How many TaskManagers there are.
    pub fn task_managers(&self) -> usize {
        self.workers.len()
    }

    /// Starts another TaskManager.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn add_task_manager(&mut self) -> Result<(), Failure> {
        let job_managers = self.addresses();
        let arguments = ["--jobmanager", &job_managers, "--slots", "1", "--listen", "127.0.0.1:0"];
        let task_manager = self.spawn("taskmanager", &arguments)?;
        self.workers.push(task_manager);
        Ok(())
    }

    fn job_manager(&mut self, index: usize) -> Result<Process, Failure> {
        let listen = self.addresses[index].clone();
        self.spawn("jobmanager", &["--listen", &listen, "--parallelism", &SPLITS.to_string()])
    }

    /// Kills the TaskManager of a process id with SIGKILL.
    ///
    /// # Errors
    /// If there is none.
    pub fn kill_task_manager(&mut self, pid: u32) -> Result<(), Failure> {
        let index = self.workers.iter().position(|process| process.child.id() == pid);
        let index = index.ok_or_else(|| format!("process {pid} is none of the TaskManagers"))?;
        self.workers.remove(index).kill()?;
        Ok(())
    }

    /// Kills the JobManager at `address` with SIGKILL, and returns which of them it is.
    ///
    /// # Errors
    /// If there is none.
    pub fn kill_job_manager(&mut self, address: &str) -> Result<usize, Failure> {
        let index = self.addresses.iter().position(|other| other == address);
        let index = index.ok_or_else(|| format!("no JobManager listens at {address}"))?;
        self.job_managers.remove(index).kill()?;
        Ok(index)
    }

    /// Starts the JobManager again that was killed.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn restart_job_manager(&mut self, index: usize) -> Result<(), Failure> {
        let job_manager = self.job_manager(index)?;
        self.job_managers.insert(index, job_manager);
        Ok(())
    }

    fn spawn(&mut self, role: &'static str, arguments: &[&str]) -> Result<Process, Failure> {
        self.started += 1;
        let of_its_own = |what: &str| self.folder.path().join(format!("{role}-{}{what}", self.started));
        let (log, state_dir) = (of_its_own(".log"), of_its_own(""));
        let Setup { keys, rate, rows, placement, .. } = &self.setup;
        let backend = placement.backend.to_possible_value().ok_or("a backend without a name")?;
        let mut command = Command::new(&self.program);
        command.args([COMMAND, role]).args(arguments);
        command.args(["--job-name", "recovery", "--checkpoint-interval", "1s"]);
        command.arg("--checkpoint-dir").arg(self.folder.path().join("checkpoints"));
        command.args(["--restart-strategy", "fixed-delay:attempts=1000000,delay=0s"]);
        command.args(["--keys", &keys.to_string(), "--report-to", &self.watch.address().to_string()]);
        command.args(["--backend", backend.get_name(), "--state-memory", &placement.memory_budget.to_string()]);
        command.arg("--state-dir").arg(state_dir);
        command.args(["--rate", &rate.to_string()]).arg("--fault-file").arg(self.fault_file());
        if let Some(rows) = rows {
            command.args(["--rows", &rows.to_string()]);
        }
        let file = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        die_with_this(&mut command);
        let child = command.spawn().map_err(|error| format!("cannot start {}: {error}", self.program.display()))?;
        Ok(Process { child, role, log })
    }

    /// Looks again and again until what is waited for has come.
    ///
    /// # Errors
    /// If looking fails, a process ends, the user interrupts, or it takes too long; with the last that the processes said.
    pub fn wait<T>(
        &mut self,
        what: &str,
        pause: Duration,
        mut look: impl FnMut(&mut Self) -> Result<Option<T>, Failure>,
    ) -> Result<T, Failure> {
        let began = Instant::now();
        loop {
            self.check()?;
            if let Some(found) = look(self)? {
                return Ok(found);
            }
            if began.elapsed() >= PATIENCE {
                let (said, lost) = (self.last_words()?, self.watch.seen().lost());
                return Err(format!("no {what} within {PATIENCE:?} ({lost} datagrams were lost){said}").into());
            }
            std::thread::sleep(pause);
        }
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// Those of [`wait`](Self::wait).
    pub fn pause(&mut self, time: Duration) -> Result<(), Failure> {
        let until = Instant::now() + time;
        self.wait("time", Duration::from_millis(10), |_| Ok((Instant::now() >= until).then_some(())))
    }

    /// That nobody has interrupted, no count was wrong, and no process has ended: those of a job with an end may, well.
    fn check(&mut self) -> Result<(), Failure> {
        if INTERRUPTED.load(Ordering::Relaxed) {
            return Err("interrupted".into());
        }
        let wrong = self.watch.seen().wrong();
        if let Some((count, expected)) = wrong {
            let said = self.last_words()?;
            return Err(
                format!("counted wrong: a key that has come {expected} times has the count {count}{said}").into()
            );
        }
        let has_end = self.setup.rows.is_some();
        for process in self.job_managers.iter_mut().chain(&mut self.workers) {
            let Some(status) = process.child.try_wait()? else { continue };
            if !(has_end && status.success()) {
                return Err(process.ended_early(status)?.into());
            }
        }
        Ok(())
    }

    /// The last that each process has said.
    fn last_words(&self) -> io::Result<String> {
        self.job_managers.iter().chain(&self.workers).map(Process::last_words).collect()
    }
}

impl Process {
    fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(|_| ())
    }

    fn ended_early(&self, status: ExitStatus) -> io::Result<String> {
        Ok(format!("a {} ended early with {status}{}", self.role, self.last_words()?))
    }

    fn last_words(&self) -> io::Result<String> {
        let said = last_lines(&fs::read_to_string(&self.log)?, LAST_LINES);
        Ok(format!("\n{} {}:\n{said}", self.role, self.child.id()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a process that has ended, which is what is wanted.
        let _ = self.kill();
    }
}

fn last_lines(text: &str, count: usize) -> String {
    let skip = text.lines().count().saturating_sub(count);
    text.lines().skip(skip).fold(String::new(), |mut all, line| {
        // Writing to a string cannot fail.
        let _ = writeln!(all, "  {line}");
        all
    })
}

/// Addresses on this machine that nobody listens on.
fn free_addresses(count: usize) -> io::Result<Vec<String>> {
    // All are taken before the first is given back, so that they differ.
    let listeners = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<io::Result<Vec<_>>>()?;
    listeners.iter().map(|listener| listener.local_addr().map(|address| address.to_string())).collect()
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Has Ctrl-C and SIGTERM end the next wait.
///
/// # Errors
/// If the system does not allow it.
pub fn hear_interrupts() -> Result<(), Failure> {
    ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::Relaxed))?;
    Ok(())
}

/// Has the system kill the child when this process ends, and keeps a terminal's Ctrl-C from it, which is for this process to answer.
fn die_with_this(command: &mut Command) {
    command.process_group(0);
    #[cfg(target_os = "linux")]
    {
        let parent = std::process::id();
        // SAFETY: between fork and exec only `prctl` and `getppid` are called, which may be called there.
        unsafe {
            command.pre_exec(move || {
                if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                    return Err(io::Error::last_os_error());
                }
                // It may have ended before the call.
                if libc::getppid() as u32 != parent {
                    return Err(io::Error::from(io::ErrorKind::NotConnected));
                }
                Ok(())
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_log_the_last_lines_are_told() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "  b\n  c\n");
        assert_eq!(last_lines("a", 2), "  a\n");
        assert_eq!(last_lines("", 2), "");
    }

    #[test]
    fn addresses_differ() {
        let addresses = free_addresses(3).unwrap();
        assert!(addresses[0] != addresses[1] && addresses[1] != addresses[2] && addresses[0] != addresses[2]);
    }

    #[test]
    fn a_process_does_not_outlive_what_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let file = File::create(&log).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo said; exec sleep 600"]).stdout(file);
        die_with_this(&mut command);
        let process = Process { child: command.spawn().unwrap(), role: "sleeper", log };
        let pid = process.child.id() as i32;
        // SAFETY: signal 0 only asks whether the process is there.
        let is_there = || unsafe { libc::kill(pid, 0) } == 0;
        assert!(is_there());
        drop(process);
        assert!(!is_there());
    }
}
