//! What goes on at a web server, by the time stamps of its access log: the sessions of each client, the most requested pages of
//! each hour, and bursts of errors; each from windows in event time.
//!
//! Lines need not be in order: a result waits until those that are late by the tolerance have come. Lines that are later still go
//! to an output of their own, and so do those that are no requests. Kill it at any moment and start it again: the output holds
//! every result exactly once. (What is late is so by the watermark, which begins anew after a restore: what comes too late right
//! after that may make a small result of its own.)
//!
//! * `hits`: the requests, read from lines;
//! * `results`: what windows keep of them, and the lines of output;
//! * `generated`: a log for those who have none at hand.
//!
//! The parser of the log, dates, and the summary at the end are those of the example `visitors`.

mod generated;
mod hits;
mod results;

#[path = "../visitors/earlier.rs"]
mod earlier;
#[path = "../visitors/input.rs"]
mod input;
#[path = "../visitors/log.rs"]
mod log;
#[path = "../visitors/mix.rs"]
mod mix;
#[path = "../visitors/tally.rs"]
mod tally;
#[path = "../visitors/time.rs"]
mod time;

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use highwater::prelude::*;
use highwater::settings::Role;
use highwater::state::Count;
use highwater::window::{EventTimeSessionWindows, SlidingEventTimeWindows, TumblingEventTimeWindows};
use highwater::{Record, Settings, logging};

use self::hits::{Hit, ReadHits};
use self::results::{Burst, PageCount, Session, SessionTotals, TopPage};
use self::tally::{Summary, Totals};

const HOUR: Duration = Duration::from_secs(60 * 60);
/// The windows in which errors are counted, and how long after one the next one begins.
const BURST: Duration = Duration::from_secs(5 * 60);
const BURST_SLIDE: Duration = Duration::from_secs(60);
/// How long a log that is followed may have nothing new before another one no longer waits for it.
const IDLE: Duration = Duration::from_secs(60);
/// How long a file of results may grow before it becomes visible.
const ROLL_INTERVAL: Duration = Duration::from_secs(10);

/// Folders of the results.
const SESSIONS: &str = "sessions";
const PAGES: &str = "pages";
const BURSTS: &str = "bursts";
const LATE: &str = "late";
const REJECTED: &str = "rejected";
const CSV: &str = ".csv";

/// Finds sessions, top pages and bursts of errors in an access log.
///
/// Writes lines of CSV to a folder each: `sessions` has `address,first_time,last_time,requests,errors` of each session of a client,
/// which ends when it has sent nothing for longer than the gap; `pages` has `hour,rank,requests,page` of the most requested pages
/// of each hour, pages with as many requests in alphabetical order; `bursts` has `address,from,to,errors` of each window of 5
/// minutes, of which one begins with each minute, in which a client got at least so many errors, which are responses with a status
/// from 400; `late` has `missed,time,address,status,page` of each request that came too late for the result that is named first. A
/// page is the target of a request up to `?`; it stands last and without quotes, since it may hold anything. Lines that do not fit
/// the format are in `rejected`. All times are ISO 8601 in UTC.
///
/// The program can be stopped (Ctrl-C) or killed at any moment. Started again with the same options, it goes on where its newest
/// checkpoint was taken, and the output holds every result exactly once. Output is in files without a leading dot; what is hidden
/// is not output yet.
#[derive(Debug, Parser)]
#[command(
    name = "sessions",
    after_help = "Of the job options, this program has defaults of its own for two:\n  \
                  --checkpoint-dir ./sessions-checkpoints  --checkpoint-interval 1s"
)]
struct Args {
    /// Access log in Apache's combined format: a file, plain or .gz, or a folder of such files (default: generated lines
    /// without end)
    #[arg(long, value_name = "PATH")]
    input: Option<PathBuf>,

    /// Wait for more at the end of the file, until Ctrl-C
    #[arg(long, requires = "input")]
    follow: bool,

    /// Lines a second to generate if there is no input, of which 2 make a second of the log's time
    #[arg(long, value_name = "LINES", default_value_t = 1_000, conflicts_with = "input")]
    rate: u64,

    /// How much later than one with a later time stamp a line may come
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    tolerance_seconds: u32,

    /// How long a client may send nothing within a session
    #[arg(long, value_name = "MINUTES", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    gap_minutes: u32,

    /// How many pages of each hour
    #[arg(long, value_name = "COUNT", default_value = "10")]
    top: NonZeroUsize,

    /// How many errors within 5 minutes are a burst
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    burst_errors: u64,

    /// Folder for the folders of results
    #[arg(long, value_name = "DIR", default_value = "./sessions-output")]
    output: PathBuf,

    /// Size at which a file of results ends, so that it becomes visible with the next checkpoint; it ends after 10 s in any case
    #[arg(long, value_name = "BYTES", default_value_t = 128 << 20)]
    roll_bytes: u64,

    #[command(flatten)]
    job: JobArgs,
}

fn main() -> highwater::Result<()> {
    let args = Args::parse();
    let mut defaults = Settings { checkpoint_dir: Some("./sessions-checkpoints".into()), ..Settings::default() };
    defaults.checkpoint.interval = Some(Duration::from_secs(1));
    let settings = args.job.resolve_over(defaults)?;
    logging::init(settings.log_format);

    let has_workers = settings.role != Role::JobManager;
    let env = StreamExecutionEnvironment::with_settings(settings);
    env.show_progress(true).control_socket(true);
    let totals = Arc::new(Totals::default());
    build(&env, &args, &totals);
    let job = env.execute("sessions")?;

    let summary = Summary { totals: &totals, job: &job, output: &args.output, has_workers };
    // That nobody reads the summary does not make a run fail whose results are on disk.
    let _ = writeln!(std::io::stdout(), "{summary}");
    Ok(())
}

/// log -> hits -> sessions, pages and bursts -> files; what is late for them, and the lines that are no hits -> files.
fn build(env: &StreamExecutionEnvironment, args: &Args, totals: &Arc<Totals>) {
    let rejected = OutputTag::new(REJECTED);
    let folders = [SESSIONS, PAGES, BURSTS, LATE, REJECTED].map(|folder| args.output.join(folder));
    let hits = lines(env, args).process(ReadHits::new(folders, &rejected, totals)).uid("hits").name("requests");
    let line = |line: &String, out: &mut Vec<u8>| writeln!(out, "{line}").expect("memory takes everything");
    write(&hits.side_output(&rejected), args, (REJECTED, ".log"), line);

    let late = OutputTag::new(LATE);
    let sessions = sessions(&hits, args, &late);
    let pages = page_counts(&hits, &late);
    let bursts = bursts(&hits, args, &late);
    write(&sessions, args, (SESSIONS, CSV), Session::append_csv);
    write(&top_pages(&pages, args.top), args, (PAGES, CSV), TopPage::append_csv);
    write(&bursts, args, (BURSTS, CSV), Burst::append_csv);
    let too_late = late_for(SESSIONS, &sessions, &late);
    let too_late = too_late.union([&late_for(PAGES, &pages, &late), &late_for(BURSTS, &bursts, &late)]);
    write(&too_late, args, (LATE, CSV), line);
}

/// The lines of the log.
fn lines(env: &StreamExecutionEnvironment, args: &Args) -> DataStream<String> {
    let tolerance = Duration::from_secs(args.tolerance_seconds.into());
    // At the source, although lines are read into hits later: so files with the same hours do not make each other late.
    let watermarks =
        WatermarkStrategy::for_bounded_out_of_orderness(tolerance, |line: &String| hits::timestamp_of(line));
    match &args.input {
        Some(path) => {
            let source = FileSource::lines(path).follow(args.follow);
            let watermarks = if args.follow { watermarks.with_idleness(IDLE) } else { watermarks };
            env.from_source(source, watermarks, "access log").uid(&input::uid(path, args.follow))
        }
        None => {
            eprintln!("No --input: generating {} log lines a second until Ctrl-C.", args.rate);
            env.from_source(Generator::new(generated::line).rate(args.rate), watermarks, "generated log")
                .uid("generated")
        }
    }
}

/// The requests of each client up to a gap.
fn sessions(hits: &DataStream<Hit>, args: &Args, late: &OutputTag<Hit>) -> DataStream<Session> {
    let gap = Duration::from_secs(60 * u64::from(args.gap_minutes));
    hits.key_by(|hit: &Hit| hit.address.clone())
        .window(EventTimeSessionWindows::with_gap(gap))
        .side_output_late_data(late)
        .aggregate_with::<SessionTotals, _>(move |totals, context| {
            let session = Session::new(context.key(), context.window(), gap, &totals);
            context.collect(session);
            Ok(())
        })
        .uid("sessions")
        .name("sessions by client")
}

/// How often each page was requested in each hour.
fn page_counts(hits: &DataStream<Hit>, late: &OutputTag<Hit>) -> DataStream<PageCount> {
    hits.filter(|hit| Ok(!hit.page.is_empty()))
        .key_by(|hit: &Hit| hit.page.clone())
        .window(TumblingEventTimeWindows::of(HOUR))
        .side_output_late_data(late)
        .aggregate_with::<Count<Hit>, _>(|requests, context| {
            let page = context.key().clone();
            context.collect(PageCount { page, requests });
            Ok(())
        })
        .uid("page-counts")
        .name("requests by page and hour")
}

/// The first `n` pages of each hour: a count has the last time of its hour, so the same windows take it in.
fn top_pages(counts: &DataStream<PageCount>, n: NonZeroUsize) -> DataStream<TopPage> {
    counts
        .map(|count| Ok(vec![count]))
        .window_all(TumblingEventTimeWindows::of(HOUR))
        .reduce_with(
            move |top, more| {
                PageCount::add_to_top(top, more, n);
                Ok(())
            },
            |top, context| {
                let hour = context.window();
                TopPage::ranked(hour, top).for_each(|page| context.collect(page));
                Ok(())
            },
        )
        .uid("top-pages")
        .name("top pages by hour")
}

/// The windows in which a client got too many errors.
fn bursts(hits: &DataStream<Hit>, args: &Args, late: &OutputTag<Hit>) -> DataStream<Burst> {
    let least = args.burst_errors;
    hits.filter(|hit| Ok(hit.is_error()))
        .key_by(|hit: &Hit| hit.address.clone())
        .window(SlidingEventTimeWindows::of(BURST, BURST_SLIDE))
        .side_output_late_data(late)
        .aggregate_with::<Count<Hit>, _>(move |errors, context| {
            if errors >= least {
                let burst = Burst::new(context.key(), context.window(), errors);
                context.collect(burst);
            }
            Ok(())
        })
        .uid("bursts")
        .name("errors by client")
}

/// The hits that came too late for `results`, as lines.
fn late_for<T: Record>(missed: &'static str, results: &DataStream<T>, late: &OutputTag<Hit>) -> DataStream<String> {
    results.side_output(late).map(move |hit| Ok(format!("{missed},{hit}")))
}

/// Writes what `append` makes of each record into files in `folder` of the output whose names end in `suffix`.
fn write<T: Record>(
    results: &DataStream<T>,
    args: &Args,
    (folder, suffix): (&str, &str),
    append: impl Fn(&T, &mut Vec<u8>) + Clone + Send + Sync + 'static,
) {
    let sink = FileSink::new(args.output.join(folder), append);
    let sink = sink.suffix(suffix).roll_bytes(args.roll_bytes).roll_interval(ROLL_INTERVAL);
    results.sink_to(sink).uid(&format!("{folder}-sink")).name(folder);
}
