//! What the rounds of a benchmark showed, as a table or as JSON, and a summary of all.

use std::fmt;

use serde_json::{Value, json};

use super::options::{Backend, Options};

/// Keys of the figures that are in the summary.
const RATE: &str = "k_rows_per_s";
const CPU: &str = "cpu_seconds_per_million_rows";
const MEMORY: &str = "peak_mib";

/// What one run showed.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// From the first row to the end of the input at the last sink.
    pub rows_per_s: f64,
    pub cpu_seconds: f64,
    pub peak_bytes: f64,
    pub checkpoints: Option<Checkpoints>,
    /// Of a job whose result is one.
    pub sum: Option<u64>,
}

/// The checkpoints of one run, from the moment they began to their completion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Checkpoints {
    pub completed: f64,
    pub p50_ms: f64,
    pub max_ms: f64,
}

/// What both have the same of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Of the input.
    pub rows: u64,
    pub of: String,
}

/// A benchmark over all rounds.
#[derive(Debug)]
pub struct Report {
    job: String,
    options: Options,
    checked: Option<Checked>,
    figures: Vec<Figure>,
}

/// All benchmarks in one table, a line each.
pub struct Summary<'a>(pub &'a [Report]);

/// A figure of both; of checkpoints there is none where none was completed.
#[derive(Debug)]
struct Figure {
    name: &'static str,
    key: &'static str,
    ours: Option<Spread>,
    theirs: Option<Spread>,
}

/// The middle of some measurements, and how far they are apart.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Report {
    /// Of at least one round.
    pub fn of(
        job: String,
        options: &Options,
        checked: Option<Checked>,
        ours: &[Measured],
        theirs: &[Measured],
    ) -> Option<Self> {
        if ours.is_empty() || theirs.is_empty() {
            return None;
        }
        let millions = options.events as f64 / 1e6;
        let figure = |name, key, of: &dyn Fn(&Measured) -> Option<f64>| {
            let spread = |rounds: &[Measured]| Spread::of(rounds.iter().filter_map(of));
            Figure { name, key, ours: spread(ours), theirs: spread(theirs) }
        };
        let checkpoint = |of: fn(&Checkpoints) -> f64| move |run: &Measured| run.checkpoints.as_ref().map(of);
        let figures = vec![
            figure("k rows/s", RATE, &|run| Some(run.rows_per_s / 1e3)),
            figure("CPU s/M rows", CPU, &|run| Some(run.cpu_seconds / millions)),
            figure("peak MiB", MEMORY, &|run| Some(run.peak_bytes / 1_048_576.0)),
            figure("checkpoints", "checkpoints", &checkpoint(|all| all.completed)),
            figure("their ms, p50", "checkpoint_p50_ms", &checkpoint(|all| all.p50_ms)),
            figure("their ms, max", "checkpoint_max_ms", &checkpoint(|all| all.max_ms)),
        ];
        Some(Report { job, options: options.clone(), checked, figures })
    }

    pub fn json(&self) -> Value {
        let Options { events, keys, rounds, parallelism, checkpoint_interval_ms, memory_budget, heap, debug, .. } =
            &self.options;
        let of = |side: fn(&Figure) -> Option<Spread>| -> Value {
            self.figures.iter().map(|figure| (figure.key.to_owned(), side(figure).map(Spread::json))).collect()
        };
        let ratios: Value = self.figures.iter().map(|figure| (figure.key.to_owned(), figure.ratio())).collect();
        let checked = self.checked.as_ref().map(|Checked { rows, of }| json!({ "rows": rows, "same": of }));
        json!({
            "job": self.job, "events": events, "keys": keys, "rounds": rounds, "parallelism": parallelism,
            "checkpoint_interval_ms": checkpoint_interval_ms, "backend": self.options.backend.to_string(),
            "memory_budget": memory_budget, "flink_heap": heap, "debug": debug, "checked": checked,
            "highwater": of(|figure| figure.ours), "flink": of(|figure| figure.theirs), "highwater_to_flink": ratios,
        })
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Backend::Memory => "memory",
            Backend::Rocksdb => "rocksdb",
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { events, parallelism, backend, memory_budget, heap, rounds, debug, .. } = &self.options;
        let interval = self.options.checkpoint_interval();
        write!(
            f,
            "{}: {events} rows, parallelism {parallelism}, checkpoints {interval}, state in {backend}, ",
            self.job
        )?;
        write!(f, "{} MB of memory for each worker's, heap of Flink {heap}, ", memory_budget / 1_000_000)?;
        writeln!(f, "{rounds} rounds; median (min-max)")?;
        if *debug {
            writeln!(f, "  Highwater is not optimized: do not compare the figures")?;
        }
        if let Some(Checked { rows, of }) = &self.checked {
            writeln!(f, "  the same in both, over {rows} rows: {of}")?;
        }
        writeln!(f, "  {:<15}{:>28}{:>28}{:>10}", "", "highwater", "flink", "ratio")?;
        for figure in self.figures.iter().filter(|figure| figure.ours.or(figure.theirs).is_some()) {
            let cell = |spread: Option<Spread>| spread.map_or("-".to_owned(), |spread| spread.to_string());
            let ratio = ratio_text(figure.ratio());
            writeln!(f, "  {:<15}{:>28}{:>28}{ratio:>10}", figure.name, cell(figure.ours), cell(figure.theirs))?;
        }
        Ok(())
    }
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [ours, theirs] = ["highwater k rows/s", "flink k rows/s"];
        writeln!(f, "{:<12}{ours:>20}{theirs:>16}{:>8}{:>11}{:>14}", "job", "ratio", "CPU ratio", "memory ratio")?;
        for Report { job, figures, .. } in self.0 {
            let figure = |key| figures.iter().find(|figure| figure.key == key);
            let rate = |side: fn(&Figure) -> Option<Spread>| {
                figure(RATE).and_then(side).map_or("-".to_owned(), |Spread { median, .. }| format!("{median:.1}"))
            };
            let (ours, theirs) = (rate(|figure| figure.ours), rate(|figure| figure.theirs));
            let [speed, cpu, memory] = [RATE, CPU, MEMORY].map(|key| ratio_text(figure(key).and_then(Figure::ratio)));
            writeln!(f, "{job:<12}{ours:>20}{theirs:>16}{speed:>8}{cpu:>11}{memory:>14}")?;
        }
        Ok(())
    }
}

fn ratio_text(ratio: Option<f64>) -> String {
    ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"))
}

impl Figure {
    /// Of the medians, Highwater's over Flink's.
    fn ratio(&self) -> Option<f64> {
        let (ours, theirs) = (self.ours?.median, self.theirs?.median);
        (theirs > 0.0).then(|| ours / theirs)
    }
}

impl Spread {
    /// Of at least one value.
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_unstable_by(f64::total_cmp);
        Some(Spread { median: median(&sorted)?, min: *sorted.first()?, max: *sorted.last()? })
    }

    fn json(self) -> Value {
        json!({ "median": self.median, "min": self.min, "max": self.max })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spread { median, min, max } = self;
        write!(f, "{median:.1} ({min:.1}-{max:.1})")
    }
}

/// Of values in order; between the two in the middle, if their number is even.
pub fn median(sorted: &[f64]) -> Option<f64> {
    let half = sorted.len() / 2;
    let upper = *sorted.get(half)?;
    Some(if sorted.len() % 2 == 1 { upper } else { (sorted[half - 1] + upper) / 2.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rows_per_s: f64, checkpoints: Option<Checkpoints>) -> Measured {
        Measured { rows_per_s, cpu_seconds: 10.0, peak_bytes: 1_048_576.0, checkpoints, sum: None }
    }

    fn report() -> Report {
        let ours = [2e6, 4e6, 9e6].map(|rate| run(rate, None));
        let checkpoints = Checkpoints { completed: 3.0, p50_ms: 7.0, max_ms: 9.0 };
        let theirs = [1e6, 3e6].map(|rate| run(rate, Some(checkpoints)));
        let checked = Checked { rows: 5, of: "3 rows of the result".to_owned() };
        Report::of("q5".to_owned(), &Options::default(), Some(checked), &ours, &theirs).unwrap()
    }

    #[test]
    fn the_table_has_medians_and_ratios() {
        let text = report().to_string();
        let line = |name: &str| text.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_default();
        let cells = |name: &str| line(name).split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
        assert_eq!(cells("k rows/s"), "k rows/s 4000.0 (2000.0-9000.0) 2000.0 (1000.0-3000.0) 2.00");
        assert_eq!(cells("CPU s"), "CPU s/M rows 1.0 (1.0-1.0) 1.0 (1.0-1.0) 1.00");
        assert_eq!(cells("their ms, p50"), "their ms, p50 - 7.0 (7.0-7.0) -");
        assert!(text.contains("heap of Flink 4g") && text.contains("the same in both, over 5 rows: 3 rows"), "{text}");
    }

    #[test]
    fn the_summary_has_a_line_for_each_job() {
        let runs = |memory| [Measured { peak_bytes: memory, ..run(1e6, None) }];
        let other = Report::of("q10".to_owned(), &Options::default(), None, &runs(3e6), &runs(0.0)).unwrap();
        let expected = "\
job           highwater k rows/s  flink k rows/s   ratio  CPU ratio  memory ratio
q5                        4000.0          2000.0    2.00       1.00          1.00
q10                       1000.0          1000.0    1.00       1.00             -
";
        assert_eq!(Summary(&[report(), other]).to_string(), expected);
    }

    #[test]
    fn json_has_the_same() {
        let json = report().json();
        assert_eq!(json["highwater_to_flink"]["k_rows_per_s"], json!(2.0));
        assert_eq!(json["highwater"]["checkpoint_p50_ms"], Value::Null);
        assert_eq!(json["flink"]["checkpoint_max_ms"]["median"], json!(9.0));
    }

    #[test]
    fn no_rounds_are_no_report() {
        assert!(Report::of("q5".to_owned(), &Options::default(), None, &[], &[]).is_none());
    }
}
