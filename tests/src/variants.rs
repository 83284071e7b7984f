//! Option sets under which one operation list must give one history.

use bedload_lsm::fs::ReadMode;
use bedload_lsm::{Codec, Durability, Tuning};

/// One way to open a store.
#[derive(Clone, Debug)]
pub struct Variant {
    /// What is special about it.
    pub name: &'static str,
    /// Knobs.
    pub tuning: Tuning,
    /// What is synced.
    pub durability: Durability,
    /// How runs are read.
    pub read_mode: ReadMode,
    /// Memory of the environment.
    pub memory: usize,
    /// Worker threads; 0 steps.
    pub threads: usize,
    /// Working directories.
    pub directories: usize,
}

fn base() -> Variant {
    let mut tuning = Tuning::default();
    tuning.memtable_bytes = 4 << 10;
    tuning.block_bytes = 512;
    tuning.section_bytes = 1 << 10;
    tuning.tile_bytes_max = 8 << 10;
    tuning.stack_max = 6;
    Variant {
        name: "base",
        tuning,
        durability: Durability::Disposable,
        read_mode: ReadMode::Mmap,
        memory: 1 << 20,
        threads: 0,
        directories: 1,
    }
}

fn with(name: &'static str, change: impl FnOnce(&mut Variant)) -> Variant {
    let mut variant = base();
    variant.name = name;
    change(&mut variant);
    variant
}

/// The one of this name.
///
/// # Panics
/// When there is none.
pub fn variant(name: &str) -> Variant {
    variants().into_iter().find(|variant| variant.name == name).expect("the caller names a variant")
}

/// All of them.
pub fn variants() -> Vec<Variant> {
    let mut list = vec![
        base(),
        with("pread", |v| v.read_mode = ReadMode::Pread),
        with("pread, tiny cache", |v| {
            v.read_mode = ReadMode::Pread;
            v.memory = 64 << 10;
        }),
        with("tiny memtables", |v| v.tuning.memtable_bytes = 1 << 10),
        with("one large memtable", |v| v.tuning.memtable_bytes = 256 << 10),
        with("memtable chosen by memory", |v| {
            v.tuning.memtable_bytes = 0;
            v.memory = 128 << 10;
        }),
        with("flushed memtables forgotten", |v| v.tuning.keep_flushed = false),
        with("little memory, nothing kept", |v| {
            v.memory = 64 << 10;
            v.tuning.keep_flushed = false;
        }),
        with("no filters", |v| v.tuning.filter_bits = 0),
        with("long filters", |v| v.tuning.filter_bits = 20),
        with("large blocks", |v| v.tuning.block_bytes = 16 << 10),
        with("large sections", |v| v.tuning.section_bytes = 1 << 20),
        with("sections as small as blocks", |v| v.tuning.section_bytes = 512),
        with("lz4", |v| v.tuning.codec = Codec::Lz4),
        with("lz4, pread", |v| {
            v.tuning.codec = Codec::Lz4;
            v.read_mode = ReadMode::Pread;
        }),
        with("fan-in 2", |v| v.tuning.fan_in = 2),
        with("fan-in 8", |v| v.tuning.fan_in = 8),
        with("rebase at once", |v| v.tuning.rebase_ratio = 0.1),
        with("rebase late", |v| v.tuning.rebase_ratio = 4.0),
        with("short stacks", |v| v.tuning.stack_max = 2),
        with("long stacks", |v| v.tuning.stack_max = 40),
        with("tiny tiles", |v| v.tuning.tile_bytes_max = 2 << 10),
        with("one tile", |v| v.tuning.tile_bytes_max = 1 << 30),
        with("synced", |v| v.durability = Durability::Synced),
        with("synced, pread, tiny tiles", |v| {
            v.durability = Durability::Synced;
            v.read_mode = ReadMode::Pread;
            v.tuning.tile_bytes_max = 2 << 10;
        }),
        with("one thread", |v| v.threads = 1),
        with("three threads, tiny memtables", |v| {
            v.threads = 3;
            v.tuning.memtable_bytes = 1 << 10;
        }),
        with("three threads, tiny tiles", |v| {
            v.threads = 3;
            v.tuning.tile_bytes_max = 2 << 10;
            v.tuning.rebase_ratio = 0.1;
        }),
        with("two directories", |v| v.directories = 2),
        with("slow merges", |v| {
            v.threads = 1;
            v.tuning.merge_bytes_per_second = 4 << 20;
        }),
    ];
    list.shrink_to_fit();
    list
}
