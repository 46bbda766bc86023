//! Jobs of Highwater: `highwater-bench`, one round at a time.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::options::{Backend, Options};
use super::report::{Checkpoints, Measured};
use super::{KEYED_COUNT, Work};
use crate::{child, setup};

/// Builds what [`measure`] runs.
pub fn build(debug: bool, backend: Backend, root: &Path) -> Result<(), String> {
    if backend == Backend::Rocksdb {
        setup::rocksdb(root)?;
    }
    let built = child::to_success_aside(&mut cargo("build", debug, backend, root));
    built.map_err(|why| format!("cannot build highwater-bench: {why}"))
}

/// Runs a job once.
pub fn measure(job: &str, options: &Options, root: &Path, work: &Work) -> Result<Measured, String> {
    let mut command = bench(job, options.events, options.parallelism, options, root, work)?;
    let said = child::to_text(&mut command, &work.log("highwater", job))?;
    measured(job, options.events, &said)
        .ok_or_else(|| format!("highwater-bench {job} said what is not understood: {said}"))
}

/// The file with the rows of a query's result.
pub fn result(job: &str, events: u64, options: &Options, root: &Path, work: &Work) -> Result<PathBuf, String> {
    let dir = work.results("highwater")?;
    let mut command = bench(job, events, 1, options, root, work)?;
    command.arg("--output").arg(&dir);
    child::to_text(&mut command, &work.log("highwater", job))?;
    Ok(dir.join(format!("{job}.txt")))
}

fn bench(
    job: &str,
    events: u64,
    generators: u32,
    options: &Options,
    root: &Path,
    work: &Work,
) -> Result<Command, String> {
    let mut command = cargo("run", options.debug, options.backend, root);
    command.args(["-q", "--"]);
    if job == KEYED_COUNT {
        command.args([KEYED_COUNT, "--rows", &events.to_string(), "--keys", &options.keys.to_string()]);
    } else {
        command.args(["nexmark", "--query", job, "--events", &events.to_string()]);
        command.args(["--generators", &generators.to_string()]);
    }
    command.args(["--workers", &options.parallelism.to_string(), "--backend", &options.backend.to_string()]);
    command.args(["--memory-budget", &options.memory_budget.to_string()]);
    command.args(["--checkpoint-interval", &options.checkpoint_interval(), "--json"]);
    command.arg("--checkpoint-dir").arg(work.scratch()?);
    Ok(command)
}

/// A command of cargo for `highwater-bench`.
pub fn cargo(what: &str, debug: bool, backend: Backend, root: &Path) -> Command {
    let mut command = child::cargo(root);
    command.args([what, "-p", "highwater-bench"]);
    if !debug {
        command.arg("--release");
    }
    if backend == Backend::Rocksdb {
        command.args(["--features", "rocksdb"]);
        if let Some(dir) = setup::rocksdb_lib_dir() {
            command.env("ROCKSDB_LIB_DIR", dir);
        }
    }
    command
}

/// What the JSON of one round says.
fn measured(job: &str, events: u64, said: &str) -> Option<Measured> {
    let said: Value = serde_json::from_str(said).ok()?;
    let is_count = job == KEYED_COUNT;
    let result = if is_count { said.pointer("/results/0")? } else { said.get(0)? };
    let figure = |path: &str| result.pointer(path)?.as_f64();
    let cpu_seconds = if is_count {
        figure("/cpu_seconds/median")?
    } else {
        figure("/cpu_seconds_per_million_events/median")? * events as f64 / 1e6
    };
    let checkpoints = || {
        Some(Checkpoints {
            completed: figure("/checkpoints/completed")?,
            p50_ms: figure("/checkpoints/total_ms/p50")?,
            max_ms: figure("/checkpoints/total_ms/max")?,
        })
    };
    Some(Measured {
        rows_per_s: figure(if is_count { "/rows_per_s/median" } else { "/events_per_s/median" })?,
        cpu_seconds,
        peak_bytes: figure("/peak_bytes/median")?,
        checkpoints: checkpoints(),
        sum: if is_count { Some(said.get("sum_of_counts")?.as_u64()?) } else { None },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_understood() {
        let said = r#"{"sum_of_counts": 18446744073709551615, "results": [{"rows_per_s": {"median": 5.5},
            "cpu_seconds": {"median": 2.0}, "peak_bytes": {"median": 7.0}, "checkpoints": null}]}"#;
        let expected =
            Measured { rows_per_s: 5.5, cpu_seconds: 2.0, peak_bytes: 7.0, checkpoints: None, sum: Some(u64::MAX) };
        assert_eq!(measured(KEYED_COUNT, 10, said), Some(expected));
        assert_eq!(measured(KEYED_COUNT, 10, "[]"), None);
    }

    #[test]
    fn a_query_is_understood() {
        let said = r#"[{"events_per_s": {"median": 5.5}, "cpu_seconds_per_million_events": {"median": 2.0},
            "peak_bytes": {"median": 7.0}, "checkpoints": {"completed": 3, "total_ms": {"p50": 1.5, "max": 2.5}}}]"#;
        let checkpoints = Checkpoints { completed: 3.0, p50_ms: 1.5, max_ms: 2.5 };
        let expected =
            Measured { rows_per_s: 5.5, cpu_seconds: 6.0, peak_bytes: 7.0, checkpoints: Some(checkpoints), sum: None };
        assert_eq!(measured("q5", 3_000_000, said), Some(expected));
        assert_eq!(measured("q5", 3_000_000, "broken"), None);
    }
}
