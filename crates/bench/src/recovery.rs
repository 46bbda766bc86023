//! `recovery`: how long a cluster stands still when a part of it is lost, or changes, and what more than one process costs.
//!
//! The cluster is processes of this program: two JobManagers, and TaskManagers of one slot each, two with a worker and one standing by.
//! Its job counts rows per key, and its sinks tell this process of the records that come through ([`signal`]). Each round has a cluster
//! of its own, in which one thing after the other is done to it. Before each, all keys are in the state and two checkpoints have
//! completed since the thing before; the second only just, so every measurement begins at the same distance from a checkpoint.
//!
//! * [`job`], [`source`], [`beacon`], [`signal`]: the measured job;
//! * [`processes`]: its processes, none of which outlives this one;
//! * [`watch`]: the records that have come through, and the gaps between them;
//! * [`report`]: the figures, beside what is asked.

mod beacon;
pub mod job;
mod processes;
mod report;
mod signal;
mod source;
mod watch;

use std::fs;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use highwater_control::{Addresses, Answer, ClusterClient, Request};

use self::processes::{PATIENCE, Processes, Setup, hear_interrupts};
use self::report::{Report, Round};
use self::signal::monotonic_ns;
use self::source::SPLITS;
use crate::Failure;
use crate::cli::{Placement, RecoveryOptions};
use crate::rows::sum_of_counts;

/// How long processing is watched for gaps.
const WATCHED: Duration = Duration::from_secs(5);

/// Datagrams of the end of the watched time are here by then.
const ARRIVAL: Duration = Duration::from_millis(200);

/// How long a JobManager that leads is looked for, before it is asked for something that must not be asked for twice.
const SEARCH: Duration = Duration::from_secs(10);

/// How often the datagrams are looked through.
const LOOK: Duration = Duration::from_millis(5);

/// How often a JobManager is asked, which costs it something.
const ASK: Duration = Duration::from_millis(20);

/// Of these, in the order of their ids, the newest completed one is looked for.
const NEWEST_CHECKPOINTS: u32 = 8;

/// Measures and prints.
///
/// # Errors
/// If the cluster does not do what it should, with what its processes said last.
pub fn measure(options: &RecoveryOptions) -> Result<(), Failure> {
    // At the end of a round every key must come once more.
    let cycle_s = options.keys / options.rate / u64::from(SPLITS);
    if cycle_s >= PATIENCE.as_secs() / 2 {
        let why = format!("at {} rows/s a worker it takes {cycle_s} s until a key comes again", options.rate);
        return Err(format!("{why}: give fewer --keys or a higher --rate").into());
    }
    hear_interrupts()?;
    let placement = Placement { backend: options.backend, memory_budget: options.memory_budget };
    let setup = Setup {
        keys: options.keys,
        rate: options.rate,
        rows: None,
        placement,
        parent: options.checkpoint_dir.clone().unwrap_or_else(std::env::temp_dir),
    };
    let mut rounds = Vec::new();
    for number in 1..=options.rounds {
        let round = round(&setup, options.rows)?;
        let Round { task_manager_ms, gap_after_ms, error_ms, .. } = round;
        eprintln!(
            "round {number} of {}: TaskManager {task_manager_ms:.0} ms, JobManager {gap_after_ms:.0} ms, error {error_ms:.0} ms",
            options.rounds
        );
        rounds.push(round);
    }
    let report = Report::of(options, placement, &rounds);
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?)
    } else {
        print!("{report}")
    }
    Ok(())
}

fn round(setup: &Setup, rows: u64) -> Result<Round, Failure> {
    let mut cluster = Cluster::start(setup.clone())?;
    let task_manager_ms = cluster.kill_a_task_manager()?;
    let JobManagerKilled { gap_before_ms, gap_after_ms, checkpoint_ms } = cluster.kill_the_leader()?;
    let error_ms = cluster.fail_a_function()?;
    let rescale_down_ms = cluster.rescale(SPLITS / 2)?;
    let rescale_up_ms = cluster.rescale(SPLITS)?;
    let lost = cluster.end()?;
    let bounded = Setup { rows: Some(rows), ..setup.clone() };
    let cluster_rows_per_s = rows_per_s(Processes::cluster(bounded.clone(), 1, SPLITS as usize)?, &bounded)?;
    let process_rows_per_s = rows_per_s(Processes::alone(bounded.clone())?, &bounded)?;
    Ok(Round {
        task_manager_ms,
        gap_before_ms,
        gap_after_ms,
        checkpoint_ms,
        error_ms,
        rescale_down_ms,
        rescale_up_ms,
        cluster_rows_per_s,
        process_rows_per_s,
        lost,
    })
}

/// Rows a second of a job with an end, from the first to the last, which must have counted right.
fn rows_per_s(mut processes: Processes, setup: &Setup) -> Result<f64, Failure> {
    let rows = setup.rows.unwrap_or(0);
    let progress = processes.wait("end of the rows", ASK, |processes| {
        Ok(processes.watch.seen().progress(0).filter(|progress| progress.rows >= rows))
    })?;
    let (sum, expected) = (progress.sum, sum_of_counts(rows, setup.keys));
    if (progress.rows, sum) != (rows, expected) {
        let counted = progress.rows;
        return Err(
            format!("counted wrong: {counted} of {rows} rows, the sum is {sum}, and should be {expected}").into()
        );
    }
    Ok(rows as f64 / (progress.last_ns.saturating_sub(progress.first_ns)) as f64 * 1e9)
}

/// A cluster to which things are done.
struct Cluster {
    processes: Processes,
    client: ClusterClient,
    keys: u64,
    /// When it was last changed: what was opened since is the newest attempt's.
    changed_ns: u64,
}

/// What the loss of the leading JobManager showed.
struct JobManagerKilled {
    gap_before_ms: f64,
    gap_after_ms: f64,
    checkpoint_ms: f64,
}

impl Cluster {
    /// Starts one, and has it run until all keys are in the state.
    fn start(setup: Setup) -> Result<Self, Failure> {
        let keys = setup.keys;
        let processes = Processes::cluster(setup, 2, SPLITS as usize + 1)?;
        let addresses = Addresses::parse(&processes.addresses())?;
        // Without patience: who waits asks again.
        let client = ClusterClient::new(addresses, Duration::ZERO)?;
        let mut cluster = Cluster { processes, client, keys, changed_ns: 0 };
        cluster.processes.wait("state with all keys", ASK, |processes| {
            Ok(processes.watch.seen().progress(0).filter(|progress| progress.new_keys >= keys))
        })?;
        Ok(cluster)
    }

    /// Kills one that has a worker.
    fn kill_a_task_manager(&mut self) -> Result<f64, Failure> {
        self.settle()?;
        let pid = self.processes.watch.seen().newest_pid().ok_or("no records have come through")?;
        let killed_ns = monotonic_ns();
        self.processes.kill_task_manager(pid)?;
        let first_ns = self.next_attempt(killed_ns)?;
        self.processes.add_task_manager()?;
        Ok(ms(first_ns.saturating_sub(killed_ns)))
    }

    /// Kills the JobManager that leads.
    fn kill_the_leader(&mut self) -> Result<JobManagerKilled, Failure> {
        self.settle()?;
        self.processes.pause(WATCHED)?;
        let before = self.next_checkpoint(None)?;
        let leader = self.ask("leader", |client| client.job("", 0))?.leader;
        let killed_ns = monotonic_ns();
        let index = self.processes.kill_job_manager(&leader)?;
        self.next_checkpoint(Some(before))?;
        let completed_ns = monotonic_ns();
        let watched_ns = WATCHED.as_nanos() as u64;
        let until_ns = killed_ns + watched_ns;
        self.processes.pause(Duration::from_nanos(until_ns.saturating_sub(monotonic_ns())) + ARRIVAL)?;
        self.processes.restart_job_manager(index)?;
        let seen = self.processes.watch.seen();
        if seen.next_attempt(killed_ns).is_some() {
            return Err("a new attempt began when the leading JobManager was killed: workers are to run on".into());
        }
        let gap_ms = |from_ns, to_ns| ms(seen.longest_gap_ns(SPLITS, from_ns, to_ns));
        Ok(JobManagerKilled {
            gap_before_ms: gap_ms(killed_ns.saturating_sub(watched_ns), killed_ns),
            gap_after_ms: gap_ms(killed_ns, until_ns),
            checkpoint_ms: ms(completed_ns.saturating_sub(killed_ns)),
        })
    }

    /// Has a user function fail.
    fn fail_a_function(&mut self) -> Result<f64, Failure> {
        self.settle()?;
        let asked_ns = monotonic_ns();
        fs::write(self.processes.fault_file(), "")?;
        let failing = |processes: &mut Processes| Ok(processes.watch.seen().failing_after(asked_ns));
        let failed_ns = self.processes.wait("failure of the user function", LOOK, failing)?;
        let first_ns = self.next_attempt(failed_ns)?;
        Ok(ms(first_ns.saturating_sub(failed_ns)))
    }

    /// Has the job go on with another parallelism; the pause is what the JobManager says it was.
    fn rescale(&mut self, parallelism: u32) -> Result<f64, Failure> {
        self.settle()?;
        self.changed_ns = monotonic_ns();
        let mut client = ClusterClient::new(self.client.addresses().clone(), SEARCH)?;
        let (answer, answered) = mpsc::channel();
        // On a thread, for a JobManager may take as long as it likes to answer.
        thread::Builder::new().name("rescale".to_owned()).spawn(move || {
            let asked = client.ask("", &Request::Rescale { parallelism });
            let last = asked.and_then(|answers| answers.last().unwrap_or(Ok(Answer::Unknown)));
            // Nobody listens any more after an interrupt.
            let _ = answer.send(last);
        })?;
        let what = format!("answer to a rescale to {parallelism}");
        match self.processes.wait(&what, LOOK, |_| Ok(answered.try_recv().ok()))?? {
            Answer::Completed { pause_ms: Some(pause_ms), .. } => Ok(pause_ms as f64),
            answer => Err(format!("a rescale to {parallelism} was answered with {answer:?}").into()),
        }
    }

    /// Ends it, once every key has come again and its count was right. Returns how many datagrams were lost.
    fn end(mut self) -> Result<u64, Failure> {
        let (keys, began_ns) = (self.keys, self.changed_ns);
        self.processes.wait("row of every key", ASK, |processes| {
            // A tenth more, as splits are not equally far.
            Ok(processes.watch.seen().progress(began_ns).filter(|progress| progress.rows >= keys + keys / 10))
        })?;
        let lost = self.processes.watch.seen().lost();
        Ok(lost)
    }

    /// Waits until all TaskManagers are there, and two checkpoints have completed.
    fn settle(&mut self) -> Result<(), Failure> {
        let count = self.processes.task_managers();
        let Cluster { processes, client, .. } = self;
        processes.wait("TaskManager of each process", ASK, |_| {
            let there = heard(client.task_managers())?;
            Ok(there.filter(|there| there.len() == count))
        })?;
        let first = self.next_checkpoint(None)?;
        self.next_checkpoint(Some(first))?;
        Ok(())
    }

    /// Waits for a completed checkpoint that is newer than `before`, or than the newest at this moment.
    fn next_checkpoint(&mut self, before: Option<u64>) -> Result<u64, Failure> {
        let newest = |client: &mut ClusterClient| -> highwater::Result<u64> {
            let checkpoints = client.job("", NEWEST_CHECKPOINTS)?.checkpoints;
            let completed = checkpoints.iter().filter(|checkpoint| checkpoint.outcome == "completed");
            Ok(completed.map(|checkpoint| checkpoint.id).max().unwrap_or(0))
        };
        let before = match before {
            Some(before) => before,
            None => self.ask("leader", newest)?,
        };
        let Cluster { processes, client, .. } = self;
        processes.wait("completed checkpoint", ASK, |_| Ok(heard(newest(client))?.filter(|id| *id > before)))
    }

    /// What a JobManager answers, once one leads.
    fn ask<T>(
        &mut self,
        what: &str,
        question: impl Fn(&mut ClusterClient) -> highwater::Result<T>,
    ) -> Result<T, Failure> {
        let Cluster { processes, client, .. } = self;
        processes.wait(what, ASK, |_| heard(question(client)))
    }

    /// Waits for the first records of an attempt that begins after a moment.
    fn next_attempt(&mut self, since_ns: u64) -> Result<u64, Failure> {
        self.processes
            .wait("record of the next attempt", LOOK, |processes| Ok(processes.watch.seen().next_attempt(since_ns)))
    }
}

/// Nothing yet, if nobody leads.
fn heard<T>(answer: highwater::Result<T>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.kind() == highwater::ErrorKind::Cluster => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}
