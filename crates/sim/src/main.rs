//! Explores seeds of the simulator, or replays one.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool answers on its terminal"
)]

use std::process::ExitCode;

use clap::Parser;
use wellspring_sim::{Options, Plant, Report, Run, run};

/// Simulates whole installations in virtual time and looks for broken invariants.
#[derive(Debug, Parser)]
#[command(name = "wellspring-sim", version)]
struct Args {
    /// How many seeds to explore.
    #[arg(long, default_value_t = 100, conflicts_with = "seed")]
    seeds: u64,
    /// The first seed to explore.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Replay this one seed.
    #[arg(long)]
    seed: Option<u64>,
    /// How many virtual days a seed lives at least.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=730))]
    days: u32,
    /// Switch a known bug on.
    #[arg(long)]
    plant: Option<Plant>,
    /// List the known bugs.
    #[arg(long)]
    list_plants: bool,
    /// Print the event log of a replayed seed.
    #[arg(long, requires = "seed")]
    log: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.list_plants {
        for plant in Plant::ALL {
            println!("{plant}");
        }
        return ExitCode::SUCCESS;
    }
    match args.seed {
        Some(seed) => replay(&args, seed),
        None => explore(&args),
    }
}

fn replay(args: &Args, seed: u64) -> ExitCode {
    let done = run(Options {
        plant: args.plant,
        days: args.days,
        log: args.log,
        ..Options::of(seed)
    });
    for line in &done.log {
        println!("{line}");
    }
    print!("{}", done.report);
    match done.violation {
        Some(_) => failed(args, seed, &done),
        None => ExitCode::SUCCESS,
    }
}

fn explore(args: &Args) -> ExitCode {
    let mut sum = Report::default();
    for seed in args.from..args.from.saturating_add(args.seeds) {
        let options = Options {
            plant: args.plant,
            days: args.days,
            ..Options::of(seed)
        };
        let done = run(options);
        if done.violation.is_some() {
            eprintln!();
            return failed(
                args,
                seed,
                &run(Options {
                    log: true,
                    ..options
                }),
            );
        }
        sum.add(&done.report);
        if sum.seeds.is_multiple_of(10) {
            eprint!("\r{} of {} seeds", sum.seeds, args.seeds);
        }
    }
    eprintln!("\r{} of {} seeds", sum.seeds, args.seeds);
    print!("{sum}");
    let missing = sum.missing();
    if missing.is_empty() {
        return ExitCode::SUCCESS;
    }
    for fault in missing {
        println!("the fault {fault} never struck");
    }
    ExitCode::FAILURE
}

fn failed(args: &Args, seed: u64, done: &Run) -> ExitCode {
    let plant = args
        .plant
        .map_or_else(String::new, |plant| format!(" --plant {plant}"));
    if !args.log {
        for line in done.log.iter().rev().take(CONTEXT).rev() {
            println!("{line}");
        }
    }
    if let Some(violation) = &done.violation {
        println!("{violation}");
    }
    let days = if args.days == Options::of(seed).days {
        String::new()
    } else {
        format!(" --days {}", args.days)
    };
    println!("wellspring-sim --seed {seed}{days}{plant}");
    ExitCode::FAILURE
}

/// Lines of the log that are shown with a failure.
const CONTEXT: usize = 30;
