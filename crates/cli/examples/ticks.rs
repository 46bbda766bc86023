//! A job without an end, to try the command on: it counts the ticks of each of seven clocks into files.
//!
//! ```sh
//! cargo run -p highwater-cli --example ticks -- --checkpoint-dir ticks --checkpoint-interval 1s --output ticks-output
//! ```

use std::path::PathBuf;

use clap::Parser;
use highwater::prelude::*;
use highwater::settings::JobArgs;

#[derive(Parser)]
struct Args {
    /// Folder for the counts
    #[arg(long, value_name = "DIR")]
    output: PathBuf,

    /// Ticks a second
    #[arg(long, default_value_t = 1_000)]
    rate: u64,

    #[command(flatten)]
    job: JobArgs,
}

fn main() -> highwater::Result<()> {
    let args = Args::parse();
    let env = StreamExecutionEnvironment::with_settings(args.job.resolve()?);
    env.control_socket(true);
    env.from_source(Generator::new(|tick| tick).rate(args.rate), WatermarkStrategy::no_watermarks(), "ticks")
        .uid("ticks")
        .key_by(|tick: &u64| tick % 7)
        .stateful_map(|count: &mut u64, tick| {
            *count += 1;
            Ok(format!("{},{count}", tick % 7))
        })
        .uid("count")
        .sink_to(FileSink::lines(&args.output).roll_bytes(1 << 10))
        .uid("files");
    env.execute("ticks")?;
    Ok(())
}
