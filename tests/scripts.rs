//! Behaviour as reviewed text: each file in `scripts/` shows commands and what they answer.
//!
//! Rewrite them with `UPDATE_GOLDENFILES=1 cargo test -p tests scripts` and read the difference.

use std::error::Error;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bedload_lsm::fs::{FaultFs, MemoryFs};
use bedload_lsm::{ClockId, Durability, Env, Expiry, Frozen, KeyRange, Store, Time, Tuning};
use goldenscript::{Command, Context, Runner};
use tests::{TestKeys, TestRules};

/// Time that stands still.
struct Still;

impl Time for Still {
    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

struct Script {
    fs: FaultFs,
    env: Env,
    store: Option<Store>,
    frozen: Vec<Frozen>,
}

impl Script {
    fn new() -> Script {
        let fs = FaultFs::new(Arc::new(MemoryFs::new()));
        let opening = std::sync::atomic::AtomicU64::new(0);
        let next = move || 0xa0 + opening.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let env = Env::builder().fs(Arc::new(fs.clone())).time(Arc::new(Still)).threads(0).random(next);
        let env = env.memory(1 << 20).build().expect("no threads to refuse");
        Script { fs, env, store: None, frozen: Vec::new() }
    }

    fn open(&mut self, synced: bool) -> Result<String, Box<dyn Error>> {
        let mut tuning = Tuning::default();
        tuning.memtable_bytes = 64 << 10;
        tuning.keep_flushed = false;
        let durability = if synced { Durability::Synced } else { Durability::Disposable };
        let options = Store::options().env(&self.env).shape(TestKeys).rules(TestRules).tuning(tuning);
        let store = options.durability(durability).open("/store")?;
        let clean = if store.opened_clean() { "clean" } else { "not clean" };
        self.store = Some(store);
        Ok(clean.to_owned())
    }

    fn store(&mut self) -> Result<&mut Store, Box<dyn Error>> {
        self.store.as_mut().ok_or_else(|| "no store is open".into())
    }

    /// What the disk was asked to do since the last look.
    fn log(&mut self) -> String {
        let log = self.fs.log().join("\n");
        self.fs.clear_log();
        log
    }

    fn tiles(&mut self) -> Result<String, Box<dyn Error>> {
        let frozen = self.store()?.stats();
        let mut out = String::new();
        for tile in &frozen.tiles {
            let entries = (tile.entries, tile.tombstones);
            writeln!(out, "{:?}: {} slices, {} entries, {} tombstones", tile.range, tile.slices, entries.0, entries.1)?;
        }
        Ok(out)
    }

    fn stacks(&mut self) -> Result<String, Box<dyn Error>> {
        let mut out = String::new();
        for frozen in self.frozen.drain(..) {
            let stacks = frozen.wait()?;
            writeln!(out, "seal {}", stacks.seal())?;
            for tile in stacks.tiles() {
                let slice = |slice: &bedload_lsm::FrozenSlice| format!("{}{:?}", slice.run.id(), slice.seals);
                let slices: Vec<String> = tile.slices.iter().map(slice).collect();
                writeln!(out, "  {:?}: {}", tile.range, slices.join(" "))?;
            }
        }
        Ok(out)
    }

    fn scan(&mut self, range: KeyRange) -> Result<String, Box<dyn Error>> {
        let mut out = String::new();
        let mut scan = self.store()?.scan(range)?;
        while let Some((key, value)) = scan.next_entry()? {
            writeln!(out, "{} = {}", key.escape_ascii(), value.escape_ascii())?;
        }
        Ok(out)
    }
}

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _context: &Context) -> Result<String, Box<dyn Error>> {
        let texts: Vec<String> = command.args.iter().map(ToString::to_string).collect();
        let bytes = |index: usize| texts.get(index).map_or(&[][..], |text| text.as_bytes());
        let mut out = String::new();
        match command.name.as_str() {
            "open" => out = self.open(texts.first().is_some_and(|text| text == "synced"))?,
            "close" => self.store.take().ok_or("no store is open")?.close()?,
            "put" => self.store()?.put(bytes(0), bytes(1))?,
            "put_until" => {
                let expiry = Expiry { clock: ClockId(0), at: texts[2].parse()? };
                self.store()?.put_until(bytes(0), bytes(1), expiry)?;
            }
            "delete" => self.store()?.delete(bytes(0))?,
            "merge" => {
                let mut list = Vec::new();
                bedload_lsm::frame(&mut list, bytes(1));
                self.store()?.merge(bytes(0), &list)?;
            }
            "clock" => self.store()?.set_clock(ClockId(0), texts[0].parse()?)?,
            "low_mark" => self.store()?.set_low_mark(bytes(0))?,
            "delete_prefix" => self.store()?.delete_range(KeyRange::prefix(bytes(0)))?,
            "pop" => {
                let range = KeyRange::prefix(bytes(0));
                self.store()?.pop_first(range, bytes(1), |key, _| {
                    out.push_str(&key.escape_ascii().to_string());
                    out.push('\n');
                })?;
            }
            "get" => {
                let value = self.store()?.get(bytes(0))?.map(|value| value.escape_ascii().to_string());
                out = value.unwrap_or_else(|| "nothing".to_owned());
            }
            "scan" => out = self.scan(KeyRange::prefix(bytes(0)))?,
            "flush" => self.store()?.flush()?,
            "freeze" => {
                let frozen = self.store()?.freeze()?;
                self.frozen.push(frozen);
            }
            "stacks" => out = self.stacks()?,
            "release" => {
                let seal = texts[0].parse()?;
                self.store()?.release(seal);
            }
            "step" => {
                let mut steps = 0;
                while self.env.step_background(&mut || 0) {
                    steps += 1;
                }
                out = format!("{steps} steps");
            }
            "tiles" => out = self.tiles()?,
            "log" => out = self.log(),
            other => return Err(format!("unknown command {other}").into()),
        }
        Ok(out)
    }
}

fn run(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name);
    goldenscript::run(&mut Script::new(), &path).unwrap_or_else(|error| panic!("{name}: {error}"));
}

#[test]
fn scripts_flush_order() {
    run("flush_order");
}

#[test]
fn scripts_checkpoint() {
    run("checkpoint");
}

#[test]
fn scripts_reopen() {
    run("reopen");
}

#[test]
fn scripts_deletes_leave_nothing() {
    run("deletes_leave_nothing");
}

#[test]
fn scripts_queue() {
    run("queue");
}

#[test]
fn scripts_expiry() {
    run("expiry");
}

#[test]
fn scripts_merge() {
    run("merge");
}
