//! `nexmark`: each query by itself, in a process of its own, over the same events.
//!
//! A run is timed from the first event to the moment in which the sinks have seen the end of the input, so the windows that the end
//! closes are in it. Rows go nowhere, but for those of q10, which writes files; or, with `--output`, into a file that can be compared.

mod run;
mod sinks;

use std::fmt;

use highwater_nexmark::Query;
use serde::Serialize;

use crate::Failure;
use crate::cli::{Backend, ChildRun, NexmarkOptions};
use crate::report::Checkpoints;
use crate::run::Measurement;
use crate::statistics::{Percentiles, Spread};
use run::{NexmarkRun, Results};

/// Measures and prints.
pub fn measure(options: &NexmarkOptions) -> Result<(), Failure> {
    let queries = queries(&options.query)?;
    if let Some(dir) = &options.output {
        std::fs::create_dir_all(dir).map_err(|error| format!("cannot create {}: {error}", dir.display()))?;
    }
    let mut measured: Vec<Vec<Results>> = vec![Vec::new(); queries.len()];
    for round in 1..=options.rounds {
        for (query, results) in queries.iter().zip(&mut measured) {
            let result = run_of(*query, options).measure(options.checkpoint_dir.as_deref())?;
            let rate = result.measured.rows_per_s / 1e6;
            eprintln!("round {round} of {}: {query:5} {rate:8.2} M events/s", options.rounds);
            results.push(result);
        }
    }
    let rounds = queries.iter().zip(&measured);
    let reports: Vec<Report> = rounds.filter_map(|(query, rounds)| Report::of(*query, options, rounds)).collect();
    if options.json {
        println!("{}", serde_json::to_string_pretty(&reports)?);
    } else {
        let NexmarkOptions { events, workers, generators, rounds, .. } = options;
        println!(
            "nexmark: {events} events, {generators} generators, {workers} workers, {rounds} rounds; median (min-max)"
        );
        reports.iter().for_each(|report| print!("{report}"));
    }
    Ok(())
}

/// Carries out one run and prints what it showed.
pub fn child(options: &ChildRun) -> Result<(), Failure> {
    let run: NexmarkRun = serde_json::from_str(&options.run)?;
    println!("{}", serde_json::to_string(&run.execute()?)?);
    Ok(())
}

fn queries(names: &[String]) -> Result<Vec<Query>, Failure> {
    let mut queries = Vec::new();
    for name in names {
        match name.as_str() {
            "all" => queries.extend(Query::ALL),
            name => queries.push(name.parse()?),
        }
    }
    Ok(queries)
}

fn run_of(query: Query, options: &NexmarkOptions) -> NexmarkRun {
    NexmarkRun {
        query: query.name().to_owned(),
        events: options.events,
        generators: options.generators,
        workers: options.workers,
        interval: options.checkpoint_interval,
        placement: options.placement,
        output: options.output.clone(),
        rate: options.rate,
        dir: None,
    }
}

/// A query over all rounds.
#[derive(Serialize)]
struct Report {
    query: &'static str,
    events: u64,
    workers: u32,
    generators: u32,
    backend: Backend,
    /// Rows that came to the sinks, those that take the place of others included.
    rows_out: u64,
    events_per_s: Spread,
    cpu_seconds_per_million_events: Spread,
    total_seconds: Spread,
    peak_bytes: Spread,
    checkpoints: Option<Checkpoints>,
    /// From the moment in which a result was due to its arrival at the sink, of the round in the middle.
    latency_us: Option<Percentiles>,
}

impl Report {
    fn of(query: Query, options: &NexmarkOptions, rounds: &[Results]) -> Option<Self> {
        let measured: Vec<Measurement> = rounds.iter().map(|round| round.measured.clone()).collect();
        let spread = |figure: &dyn Fn(&Measurement) -> f64| Spread::of(measured.iter().map(figure));
        let mut latencies: Vec<Percentiles> = rounds.iter().filter_map(|round| round.latency_us).collect();
        latencies.sort_by(|one, other| one.p99.total_cmp(&other.p99));
        Some(Report {
            query: query.name(),
            events: options.events,
            workers: options.workers,
            generators: options.generators,
            backend: options.placement.backend,
            rows_out: rounds.first()?.rows_out,
            events_per_s: spread(&|round| round.rows_per_s)?,
            cpu_seconds_per_million_events: spread(&|round| round.cpu_seconds * 1e6 / options.events as f64)?,
            total_seconds: spread(&|round| round.total_seconds)?,
            peak_bytes: spread(&|round| round.peak_bytes as f64)?,
            checkpoints: Checkpoints::of(&measured),
            latency_us: latencies.get(latencies.len() / 2).copied(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scaled = |Spread { median, min, max }: Spread, unit: f64| {
            format!("{:.2} ({:.2}-{:.2})", median / unit, min / unit, max / unit)
        };
        write!(f, "{:5} {} M events/s", self.query, scaled(self.events_per_s, 1e6))?;
        write!(f, ", {} CPU s/M events", scaled(self.cpu_seconds_per_million_events, 1.0))?;
        write!(f, ", peak {} MiB, {} rows", scaled(self.peak_bytes, 1048576.0), self.rows_out)?;
        if let Some(Checkpoints { completed, total_ms: Percentiles { p50, max, .. }, .. }) = &self.checkpoints {
            write!(f, ", {completed} checkpoints of p50 {p50:.1}, max {max:.1} ms")?;
        }
        if let Some(Percentiles { p50, p99, p999, max }) = self.latency_us {
            write!(f, ", latency us p50 {p50:.0}, p99 {p99:.0}, p99.9 {p999:.0}, max {max:.0}")?;
        }
        writeln!(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_go_by_their_names_and_all_are_every_one_of_them() {
        let named = |names: &[&str]| queries(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(named(&["q5", "q12-processing-time"]).unwrap(), [Query::Q5, Query::Q12ProcessingTime]);
        assert_eq!(named(&["all"]).unwrap(), Query::ALL);
        let error = named(&["q0", "q24"]).unwrap_err().to_string();
        assert!(error.contains("\"q24\"") && error.contains("q23"), "{error}");
    }
}
