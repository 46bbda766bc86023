//! Who visits a web server: for every client address of an access log the number of its requests, their bytes, and the time of
//! its last request, kept as state and written out with every request.
//!
//! Kill it at any moment, `kill -9` included, and start it again: it goes on from its newest checkpoint, and the output holds
//! every request exactly once.
//!
//! * `log`: reads a line of the log;
//! * `visits`: the state of a client, and the function that keeps it;
//! * `generated`: a log for those who have none at hand, and `mix`, the random numbers in it;
//! * `tally`: the summary at the end;
//! * `input` and `earlier`: telling inputs apart, and runs;
//! * `time`: dates.

mod earlier;
mod generated;
mod input;
mod log;
mod mix;
mod tally;
mod time;
mod visits;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use highwater::prelude::*;
use highwater::settings::Role;
use highwater::{Settings, logging};

use self::tally::{Summary, Tally, Totals};
use self::visits::{CountVisits, Visit, VisitCount};

/// How long a file of results may grow before it becomes visible.
const ROLL_INTERVAL: Duration = Duration::from_secs(10);
/// Folder of the output that lines go to which are no requests.
const REJECTED: &str = "rejected";

/// Counts requests, bytes and the last visit of every client in an access log.
///
/// Writes a line `address,requests,bytes,last_time` for each request: what is known of its client with this request. The last
/// time is the latest time stamp so far, as ISO 8601 in UTC; logs are not in order, so it need not be that of the last line.
///
/// The program can be stopped (Ctrl-C) or killed at any moment. Started again with the same options, it goes on where its newest
/// checkpoint was taken, and the output holds every request exactly once. Output is in files without a leading dot; what is
/// hidden is not output yet.
#[derive(Debug, Parser)]
#[command(
    name = "visitors",
    after_help = "Of the job options, this program has defaults of its own for two:\n  \
                  --checkpoint-dir ./visitors-checkpoints  --checkpoint-interval 1s"
)]
struct Args {
    /// Access log in Apache's combined format: a file, plain or .gz, or a folder of such files (default: generated lines
    /// without end)
    #[arg(long, value_name = "PATH")]
    input: Option<PathBuf>,

    /// Wait for more at the end of the file, until Ctrl-C
    #[arg(long, requires = "input")]
    follow: bool,

    /// Lines a second to generate if there is no input
    #[arg(long, value_name = "LINES", default_value_t = 1_000, conflicts_with = "input")]
    rate: u64,

    /// Folder for the results; lines that do not fit the format go to the folder `rejected` in it
    #[arg(long, value_name = "DIR", default_value = "./visitors-output")]
    output: PathBuf,

    /// Size at which a file of results ends, so that it becomes visible with the next checkpoint; it ends after 10 s in any case
    #[arg(long, value_name = "BYTES", default_value_t = 128 << 20)]
    roll_bytes: u64,

    #[command(flatten)]
    job: JobArgs,
}

fn main() -> highwater::Result<()> {
    run(|_, _| {})
}

/// Runs the job. `configure` may change what is set for it.
pub fn run(configure: impl FnOnce(&StreamExecutionEnvironment, &Settings)) -> highwater::Result<()> {
    let args = Args::parse();
    let mut defaults = Settings { checkpoint_dir: Some("./visitors-checkpoints".into()), ..Settings::default() };
    defaults.checkpoint.interval = Some(Duration::from_secs(1));
    let settings = args.job.resolve_over(defaults)?;
    logging::init(settings.log_format);

    let env = StreamExecutionEnvironment::with_settings(settings.clone());
    configure(&env, &settings);
    env.show_progress(true).control_socket(true);
    let totals = Arc::new(Totals::default());
    build(&env, &args, &totals);
    let job = env.execute("visitors")?;

    let has_workers = settings.role != Role::JobManager;
    let summary = Summary { totals: &totals, job: &job, output: &args.output, has_workers };
    // That nobody reads the summary does not make a run fail whose results are on disk.
    let _ = writeln!(std::io::stdout(), "{summary}");
    Ok(())
}

/// log -> requests -> by address -> counts -> files, and from the requests what is none -> files.
fn build(env: &StreamExecutionEnvironment, args: &Args, totals: &Arc<Totals>) {
    let rejected = OutputTag::<String>::new(REJECTED);
    let to_rejected = rejected.clone();
    let mut tally = Tally::of(totals);
    let visits = lines(env, args).flat_map(move |line, out| {
        let line_bytes = line.len() + 1;
        match Visit::of(line) {
            Ok(visit) => {
                tally.accept(line_bytes);
                out.collect(visit);
            }
            Err(line) => {
                tally.reject(line_bytes);
                out.side_output(&to_rejected, line);
            }
        }
        Ok(())
    });
    let rejected_sink = FileSink::lines(args.output.join(REJECTED)).suffix(".log");
    visits
        .side_output(&rejected)
        .sink_to(rejected_sink.roll_bytes(args.roll_bytes).roll_interval(ROLL_INTERVAL))
        .uid("rejected-sink")
        .name("rejected lines");
    let counts_sink = FileSink::new(&args.output, VisitCount::append_csv).suffix(".csv");
    visits
        .key_by(|visit: &Visit| visit.address.clone())
        .process(CountVisits::into_folders([args.output.clone(), args.output.join(REJECTED)]))
        .uid("visits")
        .name("visits by address")
        .sink_to(counts_sink.roll_bytes(args.roll_bytes).roll_interval(ROLL_INTERVAL))
        .uid("counts-sink")
        .name("counts");
}

/// The lines of the log.
fn lines(env: &StreamExecutionEnvironment, args: &Args) -> DataStream<String> {
    let watermarks = WatermarkStrategy::no_watermarks();
    match &args.input {
        Some(path) => {
            let source = FileSource::lines(path).follow(args.follow);
            env.from_source(source, watermarks, "access log").uid(&input::uid(path, args.follow))
        }
        None => {
            eprintln!("No --input: generating {} log lines a second until Ctrl-C.", args.rate);
            env.from_source(Generator::new(generated::line).rate(args.rate), watermarks, "generated log")
                .uid("generated")
        }
    }
}
