//! Benchmarks side by side with another system: `cargo xtask bench --vs flink`.
//!
//! * [`options`]: what the command line asks for;
//! * [`highwater`], [`flink`]: how a job of each is run, and how Flink is installed;
//! * [`rows`]: whether two results are the same;
//! * [`report`]: medians, ratios and the tables;
//! * [`recovery`]: no comparison, but how long a cluster of Highwater stands still when it is hurt.
//!
//! Both run the same job over the same rows, in turn, each run in a process of its own: only figures of one invocation can be
//! compared. A benchmark whose results differ is an error, before any figure of it is printed.
//!
//! What is written goes below a folder outside the checkout, which a comparison that ends well removes. One that fails leaves it
//! behind with the logs, and one that was interrupted too: the next one begins with removing it.

mod flink;
mod highwater;
mod options;
pub mod recovery;
mod report;
mod rows;

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

pub use options::{HELP, Options};

use crate::services::home::{Home, create_dir, remove_dir};
use flink::Flink;
use report::{Checked, Measured, Report, Summary};

/// The benchmark that is no query of Nexmark.
const KEYED_COUNT: &str = "keyed-count";

/// Compares, and prints what it showed; a job that fails leaves the others to be compared.
pub fn run(options: &Options, root: &Path) -> Result<(), String> {
    let jobs = jobs(options, &root.join(flink::SQL))?;
    let home = Home::open()?;
    let work = Work::begin(&home)?;
    let flink = Flink::prepare(&home, &work, root)?;
    highwater::build(options.debug, options.backend, root)?;
    let comparison = Comparison { options, root, work: &work, flink };
    let (mut reports, mut failures) = (Vec::new(), Vec::new());
    for job in &jobs {
        match comparison.run(job) {
            Ok(report) => {
                if !options.json {
                    println!("{report}");
                }
                reports.push(report);
            }
            Err(why) => {
                eprintln!("{job} cannot be compared: {why}");
                failures.push(format!("{job}: {why}"));
            }
        }
    }
    if options.json {
        println!("{:#}", reports.iter().map(Report::json).collect::<serde_json::Value>());
    } else {
        print!("{}", Summary(&reports));
    }
    if !failures.is_empty() {
        let (logs, failures) = (work.dir.display(), failures.join("\n"));
        return Err(format!("what could not be compared:\n{failures}\nlogs and results are in {logs}"));
    }
    work.end()
}

/// The benchmarks that are asked for: every file of SQL is a query.
fn jobs(options: &Options, sql: &Path) -> Result<Vec<String>, String> {
    let entries = fs::read_dir(sql).map_err(|why| format!("cannot read {}: {why}", sql.display()))?;
    let names = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().to_string_lossy().strip_suffix(".sql")?.to_owned();
        Some((name.strip_prefix('q')?.parse::<u32>().ok()?, name))
    });
    let mut queries: Vec<(u32, String)> = names.collect();
    queries.sort();
    let all: Vec<String> =
        std::iter::once(KEYED_COUNT.to_owned()).chain(queries.into_iter().map(|(_, name)| name)).collect();
    let mut jobs = Vec::new();
    for name in &options.queries {
        match name.as_str() {
            "all" => jobs.extend(all.iter().cloned()),
            name if all.iter().any(|one| one == name) => jobs.push(name.to_owned()),
            name => {
                return Err(format!("there is no query {name:?} for Flink: give all, or some of {}", all.join(", ")));
            }
        }
    }
    Ok(jobs)
}

/// The folder that everything is written to, of one comparison at a time.
struct Work {
    dir: PathBuf,
    /// Locked while the comparison runs.
    _lock: File,
}

impl Work {
    fn begin(home: &Home) -> Result<Self, String> {
        let lock_path = home.dir("bench.lock");
        let lock = File::create(&lock_path).map_err(|why| format!("cannot create {}: {why}", lock_path.display()))?;
        lock.try_lock().map_err(|why| match why {
            TryLockError::WouldBlock => "another comparison runs: figures of both would be wrong".to_owned(),
            TryLockError::Error(why) => format!("cannot lock {}: {why}", lock_path.display()),
        })?;
        let dir = home.dir("bench");
        remove_dir(&dir)?;
        create_dir(&dir.join("log"))?;
        Ok(Work { dir, _lock: lock })
    }

    /// An empty folder for one run.
    fn scratch(&self) -> Result<PathBuf, String> {
        let scratch = self.dir.join("scratch");
        remove_dir(&scratch)?;
        create_dir(&scratch)?;
        Ok(scratch)
    }

    fn log(&self, system: &str, job: &str) -> PathBuf {
        self.dir.join(format!("log/{system}-{job}.log"))
    }

    /// Where a system writes the rows of its results.
    fn results(&self, system: &str) -> Result<PathBuf, String> {
        let dir = self.dir.join(system);
        create_dir(&dir)?;
        Ok(dir)
    }

    fn end(self) -> Result<(), String> {
        remove_dir(&self.dir)
    }
}

struct Comparison<'a> {
    options: &'a Options,
    root: &'a Path,
    work: &'a Work,
    flink: Flink,
}

impl Comparison<'_> {
    fn run(&self, job: &str) -> Result<Report, String> {
        let Options { rounds, .. } = *self.options;
        let mut checked = if job == KEYED_COUNT { None } else { Some(self.check(job)?) };
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 1..=rounds {
            let one = highwater::measure(job, self.options, self.root, self.work)?;
            let other = self.flink.measure(job, self.options, self.work)?;
            eprintln!("round {round} of {rounds}: {job}: {:.0} and {:.0} rows/s", one.rows_per_s, other.rows_per_s);
            if let Some(sum) = same_sum(job, &one, &other)? {
                checked = Some(Checked { rows: self.options.events, of: format!("sum of counts {sum}") });
            }
            ours.push(one);
            theirs.push(other);
        }
        let job = job.to_owned();
        Report::of(job, self.options, checked, &ours, &theirs).ok_or_else(|| "there was no round".to_owned())
    }

    /// That both have the same rows in the end, over a stream from one generator: so the order of rows that tie is the same.
    fn check(&self, job: &str) -> Result<Checked, String> {
        let events = self.options.events.min(self.options.check_events);
        let ours = highwater::result(job, events, self.options, self.root, self.work)?;
        let theirs = self.flink.result(job, events, self.options, self.work)?;
        let rows = rows::same(&ours, &theirs).map_err(|why| format!("{job}: {why}"))?;
        eprintln!("{job}: {rows} rows, the same in both");
        Ok(Checked { rows: events, of: format!("{rows} rows of the result") })
    }
}

/// The sum of a job that has one, which must be the same in both.
fn same_sum(job: &str, ours: &Measured, theirs: &Measured) -> Result<Option<u64>, String> {
    match (ours.sum, theirs.sum) {
        (Some(one), Some(other)) if one != other => {
            Err(format!("{job}: results differ: the sum of counts of Highwater is {one}, that of Flink {other}"))
        }
        (Some(sum), Some(_)) => Ok(Some(sum)),
        (_, None) | (None, _) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(sum: Option<u64>) -> Measured {
        Measured { rows_per_s: 1.0, cpu_seconds: 1.0, peak_bytes: 1.0, checkpoints: None, sum }
    }

    #[test]
    fn sums_must_be_the_same() {
        assert_eq!(same_sum("keyed-count", &measured(Some(7)), &measured(Some(7))), Ok(Some(7)));
        assert_eq!(
            same_sum("keyed-count", &measured(Some(7)), &measured(Some(8))),
            Err("keyed-count: results differ: the sum of counts of Highwater is 7, that of Flink 8".to_owned())
        );
        assert_eq!(same_sum("q5", &measured(None), &measured(None)), Ok(None));
    }
}
