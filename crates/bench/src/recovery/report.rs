//! What the rounds of `recovery` showed, as a table or JSON.

use std::fmt;

use serde::Serialize;

use crate::cli::{Placement, RecoveryOptions};
use crate::statistics::Spread;

/// What one round showed.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// From the kill of a TaskManager to the first record of the next attempt, with a slot standing by.
    pub task_manager_ms: f64,
    /// The longest gap before the leading JobManager was killed, over as long a time as after it.
    pub gap_before_ms: f64,
    /// The longest gap after it.
    pub gap_after_ms: f64,
    /// From then to the next completed checkpoint.
    pub checkpoint_ms: f64,
    /// From a user function's error to the first record of the next attempt.
    pub error_ms: f64,
    /// What the JobManager says of the pause, to half of the workers.
    pub rescale_down_ms: f64,
    /// And back.
    pub rescale_up_ms: f64,
    /// Two processes of one worker each.
    pub cluster_rows_per_s: f64,
    /// One process of two workers.
    pub process_rows_per_s: f64,
    /// Datagrams that were lost, which makes gaps longer.
    pub lost: u64,
}

/// All results of one invocation.
#[derive(Serialize)]
pub struct Report {
    keys: u64,
    rate: u64,
    rows: u64,
    rounds: u32,
    backend: String,
    lost_datagrams: u64,
    lines: Vec<Line>,
}

/// One figure, over all rounds.
#[derive(Serialize)]
struct Line {
    what: &'static str,
    unit: Unit,
    measured: Spread,
    /// What Highwater wants to keep.
    #[serde(skip_serializing_if = "Option::is_none")]
    asked: Option<&'static str>,
    /// Apache Flink 1.20.5.
    #[serde(skip_serializing_if = "Option::is_none")]
    flink: Option<&'static str>,
    values: Vec<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum Unit {
    #[serde(rename = "ms")]
    Milliseconds,
    #[serde(rename = "rows/s")]
    RowsPerSecond,
    #[serde(rename = "ratio")]
    Ratio,
}

/// What the lines say, beside the figures.
struct Kind {
    what: &'static str,
    unit: Unit,
    of: fn(&Round) -> f64,
    asked: Option<&'static str>,
    flink: Option<&'static str>,
}

/// Flink 1.20.5 with jobs of the same kind on a machine of the same size: 2 cores at 2.5 GHz, RocksDB, fixed-delay restarts without a
/// delay, medians of three kills. On its default heartbeats with 4 M keys and a checkpoint every 5 s it took 12.3 to 18.8 s; with
/// heartbeats tuned to notice a loss early, 2 M keys and a checkpoint every 3 s, 1.53 to 1.86 s.
const FLINK_TASK_MANAGER: &str = "18.6 s, tuned 1.5 s";

/// The same, one run: an exception in a task of a single JVM, 10 M keys and a checkpoint every 10 s, to the first record.
const FLINK_ERROR: &str = "1.0 s (10 M keys)";

const KINDS: [Kind; 10] = [
    kind("TaskManager killed: to the first record", Unit::Milliseconds, |round| round.task_manager_ms)
        .asks("1 s")
        .beside(FLINK_TASK_MANAGER),
    kind("5 s before a JobManager is killed: longest gap", Unit::Milliseconds, |round| round.gap_before_ms),
    kind("leading JobManager killed, 5 s: longest gap", Unit::Milliseconds, |round| round.gap_after_ms).asks("none"),
    kind("leading JobManager killed: to the next checkpoint", Unit::Milliseconds, |round| round.checkpoint_ms)
        .asks("3 s"),
    kind("error of a user function: to the first record", Unit::Milliseconds, |round| round.error_ms)
        .asks("200 ms")
        .beside(FLINK_ERROR),
    kind("rescale from 2 workers to 1: pause", Unit::Milliseconds, |round| round.rescale_down_ms),
    kind("rescale from 1 worker to 2: pause", Unit::Milliseconds, |round| round.rescale_up_ms),
    kind("two processes of one worker", Unit::RowsPerSecond, |round| round.cluster_rows_per_s),
    kind("one process of two workers", Unit::RowsPerSecond, |round| round.process_rows_per_s),
    kind("two processes / one process", Unit::Ratio, |round| round.cluster_rows_per_s / round.process_rows_per_s)
        .asks(">= 0.6"),
];

const fn kind(what: &'static str, unit: Unit, of: fn(&Round) -> f64) -> Kind {
    Kind { what, unit, of, asked: None, flink: None }
}

impl Kind {
    const fn asks(self, asked: &'static str) -> Self {
        Kind { asked: Some(asked), ..self }
    }

    const fn beside(self, flink: &'static str) -> Self {
        Kind { flink: Some(flink), ..self }
    }

    fn line(&self, rounds: &[Round]) -> Option<Line> {
        let values: Vec<f64> = rounds.iter().map(self.of).collect();
        let Kind { what, unit, asked, flink, .. } = *self;
        Some(Line { what, unit, measured: Spread::of(values.iter().copied())?, asked, flink, values })
    }
}

impl Report {
    /// Sums up at least one round.
    pub fn of(options: &RecoveryOptions, placement: Placement, rounds: &[Round]) -> Self {
        let RecoveryOptions { keys, rate, rows, .. } = *options;
        let lost_datagrams = rounds.iter().map(|round| round.lost).sum();
        let lines = KINDS.iter().filter_map(|kind| kind.line(rounds)).collect();
        let backend = format!("{:?}", placement.backend).to_lowercase();
        Report { keys, rate, rows, rounds: rounds.len() as u32, backend, lost_datagrams, lines }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { keys, rate, rows, rounds, backend, lost_datagrams, lines } = self;
        writeln!(
            f,
            "recovery: {keys} keys, {backend}, {rate} rows/s a worker ({rows} rows for throughput), {rounds} rounds\n"
        )?;
        let header = ["", "median (min-max)", "asked", "Flink 1.20.5"].map(str::to_owned);
        let cells = lines.iter().map(|line| {
            let measured = line.unit.show(line.measured);
            [line.what.to_owned(), measured, line.asked.unwrap_or("").into(), line.flink.unwrap_or("").into()]
        });
        write!(f, "{}", table(std::iter::once(header).chain(cells).collect()))?;
        if *lost_datagrams > 0 {
            writeln!(f, "\n{lost_datagrams} datagrams were lost: gaps may be shorter than they look")?;
        }
        Ok(())
    }
}

impl Unit {
    fn show(self, Spread { median, min, max }: Spread) -> String {
        match self {
            Unit::Milliseconds => format!("{median:.0} ({min:.0}-{max:.0}) ms"),
            Unit::RowsPerSecond => {
                format!("{:.2} ({:.2}-{:.2}) M rows/s", median / 1e6, min / 1e6, max / 1e6)
            }
            Unit::Ratio => format!("{median:.2} ({min:.2}-{max:.2})"),
        }
    }
}

/// Columns as wide as their widest cell.
fn table(rows: Vec<[String; 4]>) -> String {
    let widths: Vec<usize> =
        (0..4).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    rows.iter().fold(String::new(), |text, row| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        text + line.trim_end() + "\n"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(ms: f64) -> Round {
        Round {
            task_manager_ms: ms,
            gap_before_ms: ms,
            gap_after_ms: ms,
            checkpoint_ms: ms,
            error_ms: ms,
            rescale_down_ms: ms,
            rescale_up_ms: ms,
            cluster_rows_per_s: 3e6,
            process_rows_per_s: ms * 1e6,
            lost: 1,
        }
    }

    #[test]
    fn every_line_has_its_figure_and_what_is_asked() {
        let rounds = [round(4.0), round(2.0), round(12.0)];
        let lines: Vec<Line> = KINDS.iter().filter_map(|kind| kind.line(&rounds)).collect();
        assert_eq!(lines.len(), KINDS.len());
        let ratio = &lines[9];
        assert_eq!(ratio.values, [0.75, 1.5, 0.25]);
        assert_eq!(ratio.unit.show(ratio.measured), "0.75 (0.25-1.50)");
        assert_eq!(lines[0].unit.show(lines[0].measured), "4 (2-12) ms");
        assert_eq!(lines[8].unit.show(lines[8].measured), "4.00 (2.00-12.00) M rows/s");
        let json = serde_json::to_value(&lines[0]).unwrap();
        assert_eq!((json["asked"].as_str(), json["unit"].as_str()), (Some("1 s"), Some("ms")));
        assert!(KINDS[0].line(&[]).is_none());
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["", "a", "b", "c"], ["long", "x", "", ""], ["s", "wide", "y", "z"]];
        let text = table(rows.map(|row| row.map(str::to_owned)).to_vec());
        assert_eq!(text, "      a     b  c\nlong  x\ns     wide  y  z\n");
    }
}
