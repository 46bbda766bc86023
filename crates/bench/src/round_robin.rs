//! `keyed-count`: all subjects in turn, round after round, so that a slow minute of the machine slows all of them.

use std::path::Path;

use crate::Failure;
use crate::cli::{Backend, Interval, KeyedCount};
use crate::report::{Report, Variant};
use crate::run::{Measurement, Run, Subject};

/// Measures and prints.
pub fn keyed_count(options: &KeyedCount) -> Result<(), Failure> {
    let runs = runs(options);
    let mut measured: Vec<Vec<Measurement>> = vec![Vec::new(); runs.len()];
    for round in 1..=options.rounds {
        for (run, results) in runs.iter().zip(&mut measured) {
            let result = measure(run, options.checkpoint_dir.as_deref())?;
            let rate = result.rows_per_s / 1e6;
            eprintln!("round {round} of {}: {:9} {rate:8.2} M rows/s", options.rounds, Variant::name(run));
            results.push(result);
        }
    }
    let report = Report::of(options, runs.iter().zip(&measured));
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?)
    } else {
        print!("{report}")
    }
    Ok(())
}

/// One of each: the job for every checkpoint interval, then the yardsticks.
fn runs(options: &KeyedCount) -> Vec<Run> {
    let run = |subject, interval| Run {
        subject,
        rows: options.rows,
        keys: options.keys,
        workers: options.workers,
        state: options.state,
        interval,
        placement: options.placement,
        checkpoint_dir: None,
    };
    let mut runs: Vec<Run> =
        options.checkpoint_interval.iter().map(|interval| run(Subject::Highwater, *interval)).collect();
    if options.yardsticks {
        runs.extend([Subject::Timely, Subject::Loop].map(|subject| run(subject, Interval(None))));
    }
    runs
}

fn measure(run: &Run, checkpoint_dir: Option<&Path>) -> Result<Measurement, Failure> {
    if run.interval.0.is_none() && (run.placement.backend == Backend::Memory || run.subject != Subject::Highwater) {
        return run.measure();
    }
    let parent = checkpoint_dir.map_or_else(std::env::temp_dir, Path::to_path_buf);
    std::fs::create_dir_all(&parent)?;
    let dir = tempfile::Builder::new().prefix("highwater-bench-").tempdir_in(parent)?;
    Run { checkpoint_dir: Some(dir.path().to_path_buf()), ..run.clone() }.measure()
}
