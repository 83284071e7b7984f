//! The command line, and the help that explains it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Measures bedload beside RocksDB, fjall, redb, LMDB, Cobble and the standard maps, on the work of stream operators.
///
/// Every run is a process of its own, so that processor seconds, peak memory and bytes written are those of one store and
/// one workload, background threads included. Every store gets the same keys, the same values and the same budget, has one
/// writer thread, and is durable only at checkpoints. What a workload reads is checked; a wrong answer fails the run.
#[derive(Debug, Parser)]
#[command(name = "peers", version, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  peers quick
      every store and workload with 200,000 keys: does all of it work? (The figures mean little.)
  peers compare --stores bedload,rocksdb-flink,rocksdb-tuned --workloads rmw-uniform,get-hit
      1 million keys, a budget of 256 MiB, 3 repetitions, interleaved; a table of medians and ratios at the end
  peers compare --keys 20000000 --dir /mnt/disk/peers --results big.jsonl
      everything with 20 million keys; needs about 60 GB in the directory and some hours
  peers table big.jsonl --markdown
      the table again, from the results
  peers chart one.jsonl big.jsonl --out cost-curve.svg
      time, processor time and bytes written over the number of keys
  peers list
      the names of all stores and workloads";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs workloads on stores, interleaved (A B A B), adds a JSON line for each run to a file, and prints the table.
    Compare(Compare),
    /// Runs everything once with few keys, to see that all of it works.
    Quick(Quick),
    /// Prints the table of earlier results.
    Table(Table),
    /// Draws costs over the number of keys, from results of several sizes at one budget.
    Chart(Chart),
    /// Lists stores and workloads.
    List,
    /// Runs one workload on one store in this process and prints its result as JSON. `compare` calls this.
    Run(Run),
    /// Fills one store in this process, for later runs. `run` calls this.
    Fill(FillStore),
}

#[derive(Clone, Debug, Args)]
pub struct Size {
    /// How many keys of 18 bytes, with values of 100 bytes.
    #[arg(long, default_value_t = 1_000_000)]
    pub keys: u64,
    /// What each store may hold in memory: write buffers and caches together, in MiB.
    #[arg(long, default_value_t = 256)]
    pub memory_mib: u64,
    /// Operations of a workload, instead of what suits the number of keys.
    #[arg(long)]
    pub operations: Option<u64>,
    /// Seconds of counting with a checkpoint each second.
    #[arg(long, default_value_t = 12.0)]
    pub seconds: f64,
    /// Checkpoints that are shipped; the second half of them is measured.
    #[arg(long, default_value_t = 60)]
    pub checkpoints: u64,
    /// Where the choice of keys comes from; each repetition adds one.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Bounds all memory, page cache included, in MiB.
    ///
    /// With --cgroup the system enforces it. Without, the files of a store are pushed out of the page cache, several times a
    /// second, while files and anonymous memory together exceed the limit. That is rough: it is harsher than a real limit for
    /// stores that read files, and does nothing to pages that are mapped (see "mapped" in the table).
    #[arg(long)]
    pub limit_mib: Option<u64>,
    /// A memory control group of yours that runs are put into, with --limit-mib: a directory with cgroup.procs and either
    /// memory.max (version 2) or memory.limit_in_bytes (version 1) that you may write to.
    #[arg(long, requires = "limit_mib")]
    pub cgroup: Option<PathBuf>,
    /// Where stores are kept; not a tmpfs. Filled stores stay there for later runs of the same size by the same build; remove it
    /// at the end.
    #[arg(long, default_value_os_t = default_directory())]
    pub dir: PathBuf,
}

#[derive(Debug, Args)]
pub struct Compare {
    /// Names of stores, separated by commas, or `all`.
    #[arg(long, default_value = "all")]
    pub stores: String,
    /// Names of workloads, separated by commas, or `all`.
    #[arg(long, default_value = "all")]
    pub workloads: String,
    /// How often everything is run; the table shows medians.
    #[arg(long, default_value_t = 3)]
    pub reps: u32,
    /// The file that each run adds a line to.
    #[arg(long, default_value = "results.jsonl")]
    pub results: PathBuf,
    /// Prints the table as Markdown.
    #[arg(long)]
    pub markdown: bool,
    #[command(flatten)]
    pub size: Size,
}

#[derive(Debug, Args)]
pub struct Quick {
    /// Names of stores, separated by commas, or `all`.
    #[arg(long, default_value = "all")]
    pub stores: String,
    /// Names of workloads, separated by commas, or `all`.
    #[arg(long, default_value = "all")]
    pub workloads: String,
    /// Where stores are kept.
    #[arg(long, default_value_os_t = default_directory())]
    pub dir: PathBuf,
}

#[derive(Debug, Args)]
pub struct Table {
    /// Files of results.
    #[arg(required = true)]
    pub results: Vec<PathBuf>,
    /// Prints the table as Markdown.
    #[arg(long)]
    pub markdown: bool,
}

#[derive(Debug, Args)]
pub struct Chart {
    /// Files of results.
    #[arg(required = true)]
    pub results: Vec<PathBuf>,
    /// Where to write the drawing, as SVG.
    #[arg(long, default_value = "cost-curve.svg")]
    pub out: PathBuf,
}

#[derive(Debug, Args)]
pub struct Run {
    #[arg(long)]
    pub store: String,
    #[arg(long)]
    pub workload: String,
    /// Which repetition this is, counted from 0; the seed moves with it.
    #[arg(long, default_value_t = 0)]
    pub rep: u32,
    #[command(flatten)]
    pub size: Size,
}

#[derive(Debug, Args)]
pub struct FillStore {
    #[arg(long)]
    pub store: String,
    /// points, maps or timers.
    #[arg(long)]
    pub fill: String,
    /// The directory of the store, which must be empty.
    #[arg(long)]
    pub into: PathBuf,
    #[arg(long)]
    pub keys: u64,
    #[arg(long)]
    pub memory_mib: u64,
}

fn default_directory() -> PathBuf {
    std::env::temp_dir().join("peers")
}
