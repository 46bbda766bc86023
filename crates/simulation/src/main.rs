//! Runs simulations: `cargo xtask simulate`.

use std::process::ExitCode;

use clap::Parser;
use highwater_core::SystemClock;
use highwater_simulation::{Seen, cost};

/// How many checkpoints a cost is the average of.
const CHECKPOINTS: u64 = 10_000;

/// Whole clusters in one thread, with everything that can go wrong drawn from a seed.
#[derive(Parser)]
#[command(name = "simulate")]
struct Args {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, one run each.
    #[arg(long, default_value_t = 1)]
    runs: u64,
    /// Print every step.
    #[arg(long)]
    trace: bool,
    /// Instead, print what a checkpoint costs the coordinator, for numbers of tasks.
    #[arg(long)]
    cost: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.cost { print_costs() } else { simulate(&args) }
}

fn simulate(args: &Args) -> ExitCode {
    let (mut failed, mut seen) = (0u64, Seen::default());
    for seed in args.seed..args.seed.saturating_add(args.runs) {
        match highwater_simulation::run(seed, args.trace) {
            Ok(seen_here) => seen += seen_here,
            Err(violation) => {
                failed += 1;
                println!("{violation}");
            }
        }
    }
    println!("{} runs, {failed} failed; {seen:?}", args.runs);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print_costs() -> ExitCode {
    let clock = SystemClock::new();
    println!("{:>6}{:>13}{:>18}{:>12}", "tasks", "checkpoints", "us/checkpoint", "us/task");
    for tasks in cost::TASKS {
        let spent = match cost::per_checkpoint(tasks, CHECKPOINTS, &clock) {
            Ok(spent) => spent.as_secs_f64() * 1e6,
            Err(error) => {
                eprintln!("error: {error}");
                return ExitCode::FAILURE;
            }
        };
        println!("{tasks:>6}{CHECKPOINTS:>13}{spent:>18.1}{:>12.2}", spent / f64::from(tasks));
    }
    ExitCode::SUCCESS
}
