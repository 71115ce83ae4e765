//! The benchmark of the judge: whom it aborts and passes, and how soon, in worlds whose truth is known, beside the rules of
//! others on the same numbers. `hack/bench judge` runs it.
mod bars;
mod methods;
mod other_metrics;
mod peers;
mod run;
mod speed;
mod tables;
mod worlds;

use anyhow::Context;
use clap::Parser;
use methods::Method;
use run::{Experiment, Key};
use std::{io::Write, path::PathBuf, process::ExitCode};
use tables::{ALWAYS, FIXED, SHARES, SHARES_OF_ALWAYS, TENTH, TRUTHS};
use worlds::{BURSTS, Cell, HEAVY_BURSTS, INCIDENT, PLAIN, Share, TRAFFIC, UNSEEN, UNSEEN_BURSTS, WORSE, World};

#[derive(Parser)]
struct Args {
    /// Releases of every cell.
    #[arg(long, default_value_t = 4000, value_parser = clap::value_parser!(u64).range(8..))]
    runs: u64,
    /// One seed, one result.
    #[arg(long, default_value_t = 20_240_601)]
    seed: u64,
    /// Where all rows go as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Cargo says this to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let Args { runs, seed, json, bench: _ } = Args::parse();
    let mut out = std::io::stdout().lock();
    writeln!(out, "seed {seed}, {runs} releases a cell; half an hour each, 50 requests a second, a look every 10 s")?;
    out.flush()?;
    let experiments: Vec<_> = cells()
        .into_iter()
        .map(|(cell, methods)| of_errors(cell, methods, seed, runs))
        .chain(other_metrics::all_scores(seed, runs))
        .chain(other_metrics::all_latencies(seed, runs))
        .collect();
    let results = run::run(&experiments);
    write!(out, "{}", tables::all(&results))?;
    if let Some(file) = json {
        let text = serde_json::to_string_pretty(&results.rows())?;
        std::fs::write(&file, text + "\n").with_context(|| format!("{} cannot be written", file.display()))?;
    }
    let (bars, missed) = bars::all(&results);
    write!(out, "{bars}{}", speed::table(seed))?;
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// All cells, and who judges there.
fn cells() -> Vec<(Cell, Vec<Method>)> {
    let cells = |worlds: &[World], shares: &[Share], truths: &[u32], methods: &[Method]| {
        let mut cells = Vec::new();
        for world in worlds {
            for share in shares {
                let of = |truth: &u32| (Cell { world: *world, share: *share, truth: *truth }, methods.to_vec());
                cells.extend(truths.iter().map(of));
            }
        }
        cells
    };
    let policy = [Method::Policy];
    [
        cells(&[PLAIN], &SHARES, &TRUTHS, &Method::ALL),
        cells(&[INCIDENT, WORSE], &[TENTH], &[1], &Method::ALL),
        cells(&[BURSTS, HEAVY_BURSTS], &[TENTH], &TRUTHS, &Method::ALL),
        cells(&[UNSEEN_BURSTS], &[TENTH], &TRUTHS, &policy),
        cells(&TRAFFIC, &[TENTH], &[1, 2, 10], &[Method::Policy, FIXED]),
        cells(&[PLAIN, UNSEEN], &SHARES_OF_ALWAYS, &[ALWAYS], &policy),
    ]
    .concat()
}

fn of_errors<'a>(cell: Cell, methods: Vec<Method>, seed: u64, runs: u64) -> Experiment<'a> {
    let key = |method: &Method| Key {
        method: method.name(),
        world: cell.world.name.to_owned(),
        canary: cell.share.name(),
        truth: f64::from(cell.truth),
    };
    Experiment {
        keys: methods.iter().map(key).collect(),
        runs,
        play: Box::new(move |number| {
            let release = cell.release(seed, number);
            methods.iter().map(|method| method.judge(&release)).collect()
        }),
    }
}
