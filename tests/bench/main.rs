//! `make bench`: how fast the service is, beside what PostgreSQL and the processor do without it, in one run.
//!
//! The service is the released program as its own process, with its own PostgreSQL (fsync on), spoken to over loopback
//! HTTP; every instruction and every read is signed by this program, which runs on the same cores: its signing is a part of the load, and
//! what each of the three used of the processors is counted apart. Whatever is refused ends the run.
//!
//! Figures are measured in windows of a few seconds, those of the baselines between ours, several rounds of them; a
//! figure is the median of its windows, a ratio that of neighbouring windows' ratios, a latency is over all of them. The
//! largest log is compared with a second service's of the smallest size, in turn. The log grows meanwhile: each figure
//! says from how many records to how many. They are named
//!
//! | name | what |
//! |---|---|
//! | `single, N` | single instructions, N in flight, all on one fund; `1000 funds`: each on another |
//! | `lists of N` | requests in lists of N, mode `each`, four in flight; counts lines |
//! | `balance`, `statement`, `fund` | signed reads by an agency and by a preparer, 32 in flight |
//! | `replay` | records of the exported bundle, verified by the auditor's library on all cores |
//! | `commits, N` | PostgreSQL's commits of one row of 800 bytes on N connections |
//! | `COPY` | of the log's first records and postings into the same schema; counts entries, as lists count lines |
//! | `ed25519` | the crate's rates for messages as long as an instruction |
//!
//! This is no test: nothing here fails for being slow.

mod baseline;
mod client;
mod figures;
mod picture;
mod process;
mod report;
mod stored;
mod supply;
mod train;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;

use baseline::{Commits, Ed25519};
use client::{Worker, drive};
use figures::{LARGE, SMALL, Stage, VERIFY_ALL, VERIFY_BESIDE, Window};
use process::Process;
use supply::{Funds, Read, Supply};

/// Replay is repeated only within this.
const REPLAY_LIMIT: Duration = Duration::from_secs(60);

/// Loads a service and reports how fast it is
#[derive(Debug, Parser)]
struct Args {
    /// At how many records in the log, ascending
    #[arg(long, value_delimiter = ',', default_value = "100000,2000000")]
    records: Vec<u64>,
    /// How long a window is, in seconds
    #[arg(long, default_value_t = 3.0)]
    window: f64,
    /// How many windows each figure has
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// About a minute: 10,000 records, one round of windows of a second
    #[arg(long, conflicts_with_all = ["records", "window", "rounds"])]
    quick: bool,
    /// Only the figures whose names begin so, each as often as there are rounds: for profiling
    #[arg(long)]
    only: Vec<String>,
    /// Where results.json and results.svg go; else target/bench
    #[arg(long)]
    out: Option<PathBuf>,
    /// Measure nothing: fill the smallest log, train the dictionary of what is stored on it, and write that here
    #[arg(long)]
    train: Option<PathBuf>,
    /// Where the service's data lie meanwhile: the disk that is measured
    #[arg(long)]
    dir: Option<PathBuf>,
    /// What cargo passes
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let mut args = Args::parse();
    if args.quick {
        args = Args { records: vec![10_000], window: 1.0, rounds: 1, ..args };
    }
    let name = format!("safeconduct-bench-{}", std::process::id());
    let dir = args.dir.clone().unwrap_or_else(std::env::temp_dir).join(name);
    let mut about = report::machine();
    let process = Process::start(&dir);
    about.extend(stored::server(&process));
    for (name, value) in &about {
        println!("{name}: {value}");
    }
    let mut run = Run::new(&args, process, dir.clone());
    if let Some(file) = &args.train {
        run.supply.fill(&run.process, args.records[0]);
        return train::train(&run.process, file);
    }
    let out = args.out.clone().unwrap_or_else(|| tests::binary::target().join("bench"));
    fs::create_dir_all(&out).expect("a directory");
    let (json, svg) = (out.join("results.json"), out.join("results.svg"));
    let mut stages = vec![];
    for (index, records) in args.records.iter().enumerate() {
        let mut stage = run.stage(*records);
        if index > 0 {
            let mut small = Run::new(&args, Process::start(&dir.join("small")), dir.join("small"));
            small.supply.fill(&small.process, args.records[0]);
            run.beside(&mut small, &mut stage);
        }
        stages.push(stage);
        // A long run that is ended leaves what it had.
        let targets = figures::targets(&stages);
        let results = report::json(&about, &stages, &targets);
        fs::write(&json, format!("{results:#}\n")).expect("a file");
        fs::write(&svg, picture::draw(&stages, &targets)).expect("a file");
    }
    drop(run);
    print!("{}", report::text(&stages, &figures::targets(&stages)));
    println!("\n{}\n{}", json.display(), svg.display());
}

fn cores() -> usize {
    std::thread::available_parallelism().expect("a number of cores").get()
}

/// One ledger under load, which only grows.
struct Run {
    process: Process,
    supply: Supply,
    commits: Commits,
    dir: PathBuf,
    window: Duration,
    rounds: usize,
    /// The beginnings of the figures' names that are measured; all where there are none.
    only: Vec<String>,
    /// The most lines a second so far.
    lines_per_s: f64,
    /// The database's bytes and the log's records before it was filled.
    empty: (u64, u64),
}

impl Run {
    fn new(args: &Args, process: Process, dir: PathBuf) -> Run {
        let supply = Supply::found(&process);
        let commits = Commits::prepare(&process);
        let empty = (stored::database_bytes(&process), supply.size());
        let window = Duration::from_secs_f64(args.window);
        let (rounds, only) = (args.rounds, args.only.clone());
        Run { process, supply, commits, dir, window, rounds, only, lines_per_s: 1_000.0, empty }
    }

    fn is_wanted(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|wanted| name.starts_with(wanted))
    }

    /// Everything, at this many records.
    fn stage(&mut self, records: u64) -> Stage {
        let mut stage = Stage { records, ..Stage::default() };
        self.lines_per_s = self.lines_per_s.max(self.supply.fill(&self.process, records));
        stage.filled = self.supply.size();
        let bytes = stored::database_bytes(&self.process);
        stage.bytes = stored::bytes_by_relation(&self.process);
        stage.bytes_per_record = (bytes - self.empty.0) as f64 / (stage.filled - self.empty.1) as f64;

        // What is compared with other sizes comes first, since it makes the log grow.
        for _ in 0..self.rounds {
            self.singles(&mut stage);
        }
        for _ in 0..self.rounds {
            self.reads(&mut stage);
        }
        for _ in 0..self.rounds {
            self.lists(&mut stage);
        }
        let copied = stage.filled.min(100_000);
        if self.is_wanted("COPY") {
            for _ in 0..self.rounds {
                stage.add("COPY, 1000 a commit", baseline::copy(&self.process, copied, false));
                stage.add("COPY, all in one", baseline::copy(&self.process, copied, true));
            }
        }
        if self.is_wanted("replay") {
            self.replay(&mut stage);
        }
        stage.resident_max_mb = self.process.resident_max_mb();
        stage
    }

    fn singles(&mut self, stage: &mut Stage) {
        let commits = ["commits, 1", "commits, 8", "commits, 32"];
        for ((name, of_postgres), in_flight) in
            ["single, 1", "single, 8", "single, 32"].into_iter().zip(commits).zip([1, 8, 32])
        {
            let connections = usize::try_from(in_flight).expect("a number");
            if self.is_wanted(of_postgres) {
                stage.add(of_postgres, self.commits.window(&self.process, connections, self.window));
            }
            self.requests(stage, name, in_flight, 1, Funds::Hot);
        }
        self.requests(stage, "single, 32, 1000 funds", 32, 1, Funds::Spread);
        self.requests(stage, "single, 256", 256, 1, Funds::Hot);
    }

    fn lists(&mut self, stage: &mut Stage) {
        self.requests(stage, "lists of 100", 4, 100, Funds::Spread);
        let (one, all) = (1, cores());
        self.signatures(stage, "ed25519 sign, one core", Ed25519::Sign, one);
        self.signatures(stage, "ed25519 sign, all cores", Ed25519::Sign, all);
        self.signatures(stage, "ed25519 verify_strict, one core", Ed25519::Verify, one);
        self.signatures(stage, VERIFY_ALL, Ed25519::Verify, all);
        self.requests(stage, "lists of 1000", 4, 1_000, Funds::Spread);
    }

    /// As often as there are rounds, unless that takes too long, with a window of signatures before and after.
    fn replay(&mut self, stage: &mut Stage) {
        let (began, bundle) = (Instant::now(), stored::export(&self.process, &self.supply.desk, &self.dir));
        self.signatures(stage, VERIFY_BESIDE, Ed25519::Verify, cores());
        for _ in 0..self.rounds {
            stage.add("replay", bundle.replay(&self.process));
            self.signatures(stage, VERIFY_BESIDE, Ed25519::Verify, cores());
            if began.elapsed() > REPLAY_LIMIT {
                break;
            }
        }
    }

    /// Single instructions on this log and on another one that is smaller, in turn.
    fn beside(&mut self, small: &mut Run, stage: &mut Stage) {
        for _ in 0..self.rounds {
            small.requests(stage, SMALL, 32, 1, Funds::Hot);
            self.requests(stage, LARGE, 32, 1, Funds::Hot);
        }
    }

    /// Requests for one window, all of them accepted.
    fn requests(&mut self, stage: &mut Stage, name: &'static str, in_flight: u64, list: usize, funds: Funds) {
        if !self.is_wanted(name) {
            return;
        }
        // So that the window does not end early: nothing is faster than lists.
        self.supply.refill(&self.process, (self.window.as_secs_f64() * self.lines_per_s * 1.5) as u64);
        let before = self.supply.size();
        let mut window = self.drive(self.supply.requests(in_flight, list, funds));
        window.log = (before, self.supply.size());
        self.lines_per_s = self.lines_per_s.max(window.per_s());
        stage.add(name, window);
    }

    fn reads(&mut self, stage: &mut Stage) {
        for (name, read) in
            [("balance, 32", Read::Balance), ("statement, 32", Read::Statement), ("fund, 32", Read::Fund)]
        {
            if !self.is_wanted(name) {
                continue;
            }
            let size = self.supply.size();
            let mut window = self.drive(self.supply.reads(32, read));
            window.log = (size, size);
            stage.add(name, window);
        }
    }

    fn signatures(&self, stage: &mut Stage, name: &'static str, half: Ed25519, cores: usize) {
        if self.is_wanted(name) || name == VERIFY_BESIDE {
            stage.add(name, baseline::ed25519(&self.process, half, cores, self.window / 3));
        }
    }

    fn drive<W: Worker>(&self, workers: impl Iterator<Item = W>) -> Window {
        drive(&self.process, self.window, workers)
    }
}
