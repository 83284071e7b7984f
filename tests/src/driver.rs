//! Applies operations to a store and to the oracle and compares what both say.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bedload_lsm::fs::Fs;
use bedload_lsm::{
    AdoptedRun, AdoptedSource, AdoptedStack, Batch, ClockId, Env, Error, Expiry, Frozen, FrozenStacks, KeyRange, Rules,
    Store, Time, View,
};

use crate::keys::{TestKeys, TestRules};
use crate::operation::Operation;
use crate::oracle::{Content, Oracle};
use crate::random::Random;
use crate::variants::Variant;

/// A store said something else than the oracle, or failed where it must not.
#[derive(Debug)]
pub enum Failure {
    /// It failed; where faults are injected this may be right.
    Error(Error),
    /// It was wrong.
    Wrong(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Error(error)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Error(error) => write!(out, "unexpected error: {error}"),
            Failure::Wrong(what) => out.write_str(what),
        }
    }
}

type Checked<T = ()> = Result<T, Failure>;

/// Time that stands still: nothing in a driven store may depend on it.
struct Still;

impl Time for Still {
    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

/// A store and the oracle beside it.
pub struct Driver {
    fs: Arc<dyn Fs>,
    variant: Variant,
    env: Env,
    store: Option<Store>,
    /// What the store should hold.
    pub oracle: Oracle,
    /// The oracle after each operation, when kept: what a crash may go back to.
    pub history: Option<Vec<Oracle>>,
    /// The operation after which everything was last said to be flushed.
    pub flushed_at: usize,
    views: Vec<(View, Oracle)>,
    frozen: Vec<(Frozen, Oracle)>,
    /// The last frozen state whose deltas are still pinned.
    confirmed: Option<(FrozenStacks, Oracle)>,
    random: Random,
    adoptions: u64,
}

impl Driver {
    /// Opens a store in `fs` under the options of `variant`.
    pub fn open(fs: Arc<dyn Fs>, variant: &Variant, seed: u64) -> Checked<Driver> {
        let mut ids = Random::new(seed ^ 0x1d5);
        let ids = std::sync::Mutex::new(move || ids.draw());
        let mut builder = Env::builder()
            .fs(Arc::clone(&fs))
            .memory(variant.memory)
            .threads(variant.threads)
            .merge_bytes_per_second(variant.tuning.merge_bytes_per_second)
            .random(move || ids.lock().expect("no panic inside")());
        if variant.threads == 0 {
            builder = builder.time(Arc::new(Still));
        }
        let env = builder.build()?;
        let mut driver = Driver {
            fs,
            variant: variant.clone(),
            env,
            store: None,
            oracle: Oracle::default(),
            history: None,
            flushed_at: 0,
            views: Vec::new(),
            frozen: Vec::new(),
            confirmed: None,
            random: Random::new(seed),
            adoptions: 0,
        };
        driver.store = Some(driver.open_store("store")?);
        Ok(driver)
    }

    fn open_store(&self, name: &str) -> Checked<Store> {
        // The rate is the environment's.
        let mut tuning = self.variant.tuning.clone();
        tuning.merge_bytes_per_second = 0;
        let mut options = Store::options()
            .env(&self.env)
            .shape(TestKeys)
            .rules(TestRules)
            .tuning(tuning)
            .durability(self.variant.durability)
            .read_mode(self.variant.read_mode);
        for more in 1..self.variant.directories {
            options = options.directory(format!("/{name}-{more}"));
        }
        Ok(options.open(format!("/{name}"))?)
    }

    /// The store.
    pub fn store(&mut self) -> &mut Store {
        self.store.as_mut().expect("the store is open between operations")
    }

    /// Applies all operations; the error names the operation.
    pub fn apply_all(&mut self, operations: &[Operation]) -> Result<(), String> {
        for (index, operation) in operations.iter().enumerate() {
            self.apply(*operation).map_err(|failure| {
                format!("variant {:?}, operation {index} {operation:?}: {failure}", self.variant.name)
            })?;
        }
        self.check_everything().map_err(|failure| format!("variant {:?}, at the end: {failure}", self.variant.name))
    }

    /// Applies one operation and compares.
    pub fn apply(&mut self, operation: Operation) -> Checked {
        let result = self.apply_one(operation);
        let oracle = self.oracle.clone();
        if let Some(history) = &mut self.history {
            history.push(oracle);
        }
        result
    }

    fn apply_one(&mut self, Operation { kind, a, b, c }: Operation) -> Checked {
        match kind % 64 {
            0..=11 => self.put(a, b, c),
            12..=15 => self.put_until(a, b, c),
            16..=20 => self.delete(a),
            21..=26 => self.merge(a, b, c),
            27..=33 => self.update(a, b, c),
            34..=37 => self.get(a, b),
            38 => self.multi_get(a, b),
            39..=40 => self.scan(a, b, c),
            41..=42 => self.scan_prefix(a, c),
            43 => self.batch(a, b, c),
            44 => self.walk(a, b, c),
            45..=46 => self.pop_first(a, b),
            47 => self.delete_range(a, b),
            48 => self.delete_prefix(a),
            49 => self.low_mark(a),
            50 => self.set_clock(b, c),
            51 => self.take_view(c),
            52 => self.check_view(a),
            53 => self.freeze(),
            54 => self.check_frozen(),
            55..=59 => {
                for _ in 0..=c % 4 {
                    let random = &mut self.random;
                    self.env.step_background(&mut || random.draw());
                }
                Ok(())
            }
            60 => self.flush(),
            61 => self.reopen(c),
            62 => self.bytes_in(a, b),
            _ => self.move_range(a, b, c),
        }
    }

    fn value(key: &[u8], b: u16, c: u8) -> Vec<u8> {
        if TestRules.rule(key).is_some() && key[1] == b'c' {
            return i64::from(b).to_le_bytes().to_vec();
        }
        // Mostly short, sometimes longer than a block, rarely longer than an extent needs to be.
        let bytes = match c {
            0..=199 => usize::from(c % 32),
            200..=250 => usize::from(c) * 4,
            _ => 9000 + usize::from(c),
        };
        let mut value = vec![b as u8; bytes];
        value.extend_from_slice(&b.to_le_bytes());
        if key.get(1) == Some(&b'l') {
            let mut list = Vec::new();
            bedload_lsm::frame(&mut list, &value);
            return list;
        }
        value
    }

    fn expiry(&self, key: &[u8], c: u8) -> Expiry {
        let clock = TestRules.rule(key).and_then(|rule| rule.clock).unwrap_or(ClockId(c % 3));
        Expiry { clock, at: self.oracle.clocks.now(clock) + u64::from(c % 16) }
    }

    fn put(&mut self, a: u16, b: u16, c: u8) -> Checked {
        let key = TestKeys::key(a);
        let value = Driver::value(&key, b, c);
        self.store().put(&key, &value)?;
        self.oracle.put(&key, &value, None);
        Ok(())
    }

    fn put_until(&mut self, a: u16, b: u16, c: u8) -> Checked {
        let key = TestKeys::key(a);
        let (value, expiry) = (Driver::value(&key, b, c), self.expiry(&key, c));
        self.store().put_until(&key, &value, expiry)?;
        self.oracle.put(&key, &value, Some(expiry));
        Ok(())
    }

    fn delete(&mut self, a: u16) -> Checked {
        let key = TestKeys::key(a);
        self.store().delete(&key)?;
        self.oracle.delete(&key);
        Ok(())
    }

    fn merge(&mut self, a: u16, b: u16, c: u8) -> Checked {
        let mut key = TestKeys::key(a);
        key[1] = if a & 4 == 0 { b'l' } else { b'c' };
        let operand = Driver::value(&key, b, c % 200);
        let expiry = (b & 3 == 0).then(|| self.expiry(&key, c));
        match expiry {
            Some(expiry) => self.store().merge_until(&key, &operand, expiry)?,
            None => self.store().merge(&key, &operand)?,
        }
        self.oracle.merge(&key, &operand, expiry);
        Ok(())
    }

    fn update(&mut self, a: u16, b: u16, c: u8) -> Checked {
        let key = TestKeys::key(a);
        let expected = self.oracle.get(&key).map(<[u8]>::to_vec);
        let value = Driver::value(&key, b, c);
        let seen = self.store().update(&key, |slot| {
            let seen = slot.value().map(<[u8]>::to_vec);
            match b % 5 {
                0 => {}
                1 => slot.delete(),
                2 => {
                    if let Some(value) = slot.value_mut() {
                        value.iter_mut().for_each(|byte| *byte = byte.wrapping_add(1));
                    }
                }
                3 if TestRules.rule(&key).is_none() => slot.value_vec().push(b as u8),
                _ => slot.put(&value),
            }
            seen
        })?;
        same("update", &key, seen.as_deref(), expected.as_deref())?;
        let expiry = self.oracle.expiry(&key);
        match (b % 5, expected) {
            (0, _) | (2, None) => {}
            (1, _) => self.oracle.delete(&key),
            (2, Some(mut value)) => {
                value.iter_mut().for_each(|byte| *byte = byte.wrapping_add(1));
                self.oracle.put(&key, &value, expiry);
            }
            (3, expected) if TestRules.rule(&key).is_none() => {
                let mut value = expected.unwrap_or_default();
                value.push(b as u8);
                self.oracle.put(&key, &value, expiry);
            }
            _ => self.oracle.put(&key, &value, expiry),
        }
        Ok(())
    }

    fn get(&mut self, a: u16, b: u16) -> Checked {
        for key in [TestKeys::key(a), TestKeys::key(b)] {
            let store = self.store.as_ref().expect("the store is open between operations");
            same("get", &key, store.get(&key)?.as_deref(), self.oracle.get(&key))?;
        }
        Ok(())
    }

    fn multi_get(&mut self, a: u16, b: u16) -> Checked {
        let keys: Vec<Vec<u8>> = (0..12u16).map(|index| TestKeys::key(a.wrapping_add(index.wrapping_mul(b)))).collect();
        let store = self.store.as_ref().expect("the store is open between operations");
        for (key, value) in keys.iter().zip(store.multi_get(&keys)?) {
            same("multi_get", key, value.as_deref(), self.oracle.get(key))?;
        }
        Ok(())
    }

    fn range(a: u16, b: u16) -> KeyRange {
        let (mut start, mut end) = (TestKeys::key(a), TestKeys::key(b));
        start.truncate(1 + usize::from(a >> 13));
        end.truncate(1 + usize::from(b >> 13));
        KeyRange { start, end: (b & 31 != 31).then_some(end) }
    }

    fn scan(&mut self, a: u16, b: u16, c: u8) -> Checked {
        let range = Driver::range(a, b);
        let store = self.store.as_ref().expect("the store is open between operations");
        compare_scan(store.scan(range.clone())?, c, &self.oracle, &range)
    }

    fn scan_prefix(&mut self, a: u16, c: u8) -> Checked {
        let prefix = TestKeys::prefix(a);
        let store = self.store.as_ref().expect("the store is open between operations");
        compare_scan(store.scan_prefix(&prefix)?, c, &self.oracle, &KeyRange::prefix(&prefix))
    }

    fn batch(&mut self, a: u16, b: u16, c: u8) -> Checked {
        let mut batch = Batch::default();
        let mut after = self.oracle.clone();
        for index in 0..u16::from(c % 9) {
            let number = a.wrapping_add(index.wrapping_mul(b | 1));
            let mut key = TestKeys::key(number);
            match (number >> 3) % 3 {
                0 => {
                    batch.delete(&key);
                    after.delete(&key);
                }
                1 => {
                    key[1] = b'l';
                    let operand = Driver::value(&key, b, c % 100);
                    batch.merge(&key, &operand);
                    after.merge(&key, &operand, None);
                }
                _ => {
                    let value = Driver::value(&key, b, c);
                    batch.put(&key, &value);
                    after.put(&key, &value, None);
                }
            }
        }
        self.store().apply(&batch)?;
        self.oracle = after;
        Ok(())
    }

    /// Walks a range with a detached cursor, removing some keys and writing others on the way.
    fn walk(&mut self, a: u16, b: u16, c: u8) -> Checked {
        let range = Driver::range(a, b);
        let mut cursor = self.store().cursor(range.clone());
        let mut behind = range.start.clone();
        for step in 0..40u16 {
            let rest = KeyRange { start: behind.clone(), end: range.end.clone() };
            let expected = self.oracle.scan(&rest).into_iter().next();
            let store = self.store.as_mut().expect("the store is open between operations");
            let found = cursor.next(store)?.map(|(key, value)| (key.to_vec(), value.to_vec()));
            if found != expected {
                return Err(Failure::Wrong(format!("cursor found {found:?}, expected {expected:?}")));
            }
            let Some((key, _)) = found else { break };
            if (step + u16::from(c)) % 3 == 0 {
                store.remove_at(&mut cursor)?;
                self.oracle.delete(&key);
            }
            behind.clone_from(&key);
            behind.push(0);
            if c > 128 && step % 4 == 1 {
                self.put(a.wrapping_mul(step), b, c % 20)?;
            }
        }
        Ok(())
    }

    fn pop_first(&mut self, a: u16, b: u16) -> Checked {
        let range = if a & 0x100 == 0 { KeyRange::prefix(&TestKeys::queue(a)) } else { Driver::range(a, b) };
        let mut until = TestKeys::key(b);
        if a & 0x100 == 0 {
            until[0] = range.start[0];
            until[1] = b't';
        }
        let due = range.intersect(&KeyRange::from(..until.clone()));
        let expected = self.oracle.scan(&due);
        let mut found = Vec::new();
        let count = self.store().pop_first(range, &until, |key, value| found.push((key.to_vec(), value.to_vec())))?;
        if found != expected || count != expected.len() {
            return Err(Failure::Wrong(format!("pop_first of {due:?} found {found:?}, expected {expected:?}")));
        }
        if count > 0 {
            self.oracle.delete_range(&due);
        }
        Ok(())
    }

    fn delete_range(&mut self, a: u16, b: u16) -> Checked {
        let range = Driver::range(a, b);
        self.store().delete_range(range.clone())?;
        self.oracle.delete_range(&range);
        Ok(())
    }

    fn delete_prefix(&mut self, a: u16) -> Checked {
        let mut prefix = TestKeys::prefix(a);
        if prefix.is_empty() {
            prefix = TestKeys::key(a);
        }
        let range = KeyRange::prefix(&prefix);
        self.store().delete_range(range.clone())?;
        self.oracle.delete_range(&range);
        Ok(())
    }

    fn low_mark(&mut self, a: u16) -> Checked {
        let key = TestKeys::key(a);
        self.store().set_low_mark(&key)?;
        self.oracle.set_low_mark(&key);
        Ok(())
    }

    fn set_clock(&mut self, b: u16, c: u8) -> Checked {
        let clock = ClockId(c % 3);
        let now = (self.oracle.clocks.now(clock) + u64::from(b % 12)).saturating_sub(3);
        self.store().set_clock(clock, now)?;
        self.oracle.set_clock(clock, now);
        Ok(())
    }

    fn take_view(&mut self, c: u8) -> Checked {
        let view = self.store().view()?;
        if self.views.len() >= 4 {
            self.views.remove(usize::from(c) % 4);
        }
        self.views.push((view, self.oracle.clone()));
        Ok(())
    }

    fn check_view(&mut self, a: u16) -> Checked {
        if self.views.is_empty() {
            return Ok(());
        }
        let (view, oracle) = &self.views[usize::from(a) % self.views.len()];
        compare_scan(view.scan(..), a as u8, oracle, &KeyRange::all())?;
        let key = TestKeys::key(a);
        same("view", &key, view.get(&key)?.as_deref(), oracle.get(&key))
    }

    fn freeze(&mut self) -> Checked {
        let frozen = self.store().freeze()?;
        if self.frozen.len() >= 3 {
            self.frozen.remove(0);
        }
        self.frozen.push((frozen, self.oracle.clone()));
        Ok(())
    }

    /// The frozen stacks, adopted by another store, are the state of the freeze; so are the confirmed ones with the deltas
    /// since on top.
    fn check_frozen(&mut self) -> Checked {
        let Some((frozen, oracle)) = self.frozen.pop() else { return Ok(()) };
        let stacks = frozen.wait()?;
        let adopted = tiles_of(&stacks, &KeyRange::all());
        self.check_adopted("frozen stacks", &adopted, &stacks, &oracle)?;
        if let Some((base, _)) = &self.confirmed
            && let Some(deltas) = stacks.deltas_since(base.seal())
            && base.seal() < stacks.seal()
        {
            let mut shipped = tiles_of(base, &KeyRange::all());
            for delta in &deltas {
                let run = adopted_run(&delta.run)?;
                shipped.iter_mut().for_each(|stack| stack.runs.insert(0, run.clone()));
            }
            self.check_adopted("base and deltas", &shipped, &stacks, &oracle)?;
        }
        self.store().release(stacks.seal());
        self.confirmed = Some((stacks, oracle));
        Ok(())
    }

    fn check_adopted(
        &mut self,
        what: &str,
        stacks: &[AdoptedStack],
        frozen: &FrozenStacks,
        oracle: &Oracle,
    ) -> Checked {
        self.adoptions += 1;
        let name = format!("adopted-{}", self.adoptions);
        let mut other = self.open_store(&name)?;
        other.adopt(stacks, frozen.clocks())?;
        let found = contents(&other)?;
        let expected = oracle.scan(&KeyRange::all());
        other.close()?;
        for more in 0..self.variant.directories {
            let directory = if more == 0 { format!("/{name}") } else { format!("/{name}-{more}") };
            for file in self.fs.read_dir(directory.as_ref())? {
                self.fs.remove(&std::path::Path::new(&directory).join(file.name))?;
            }
        }
        differ(what, &found, &expected)
    }

    fn flush(&mut self) -> Checked {
        self.store().flush()?;
        self.flushed_at = self.history.as_ref().map_or(0, Vec::len);
        Ok(())
    }

    fn reopen(&mut self, c: u8) -> Checked {
        self.frozen.clear();
        self.confirmed = None;
        if c < 128 {
            self.views.clear();
        }
        // Views may outlive their store.
        let store = self.store.take().expect("the store is open between operations");
        let closed = store.close();
        self.store = Some(self.open_store("store")?);
        closed?;
        self.flushed_at = self.history.as_ref().map_or(0, Vec::len);
        if !self.store().opened_clean() {
            return Err(Failure::Wrong("a store closed in order did not open clean".to_owned()));
        }
        let clocks = *self.store().clocks();
        if clocks != self.oracle.clocks {
            return Err(Failure::Wrong("clocks went back over a close".to_owned()));
        }
        Ok(())
    }

    fn bytes_in(&mut self, a: u16, b: u16) -> Checked {
        let range = Driver::range(a, b);
        let bytes = self.store().bytes_in(range.clone());
        if bytes == 0 && !self.oracle.scan(&range).is_empty() {
            return Err(Failure::Wrong(format!("bytes_in({range:?}) is 0 and there are entries")));
        }
        Ok(())
    }

    /// Rescale: another store takes over a range, this one is clipped to the rest, and then takes the range back.
    fn move_range(&mut self, a: u16, b: u16, c: u8) -> Checked {
        if !c.is_multiple_of(3) {
            return Ok(());
        }
        let at = TestKeys::key(a);
        let (left, right) = (KeyRange::from(..at.clone()), KeyRange::from(at..));
        let (kept, moved) = if b & 1 == 0 { (left, right) } else { (right, left) };
        let frozen = self.store().freeze()?.wait()?;
        self.store().clip_to(kept.clone())?;
        let oracle = self.oracle.clone();
        let mut gone = oracle.clone();
        gone.delete_range(&moved);
        self.oracle = gone;
        self.check_everything()?;
        // What moves is in no delta: checkpoints start anew.
        self.frozen.clear();
        self.confirmed = None;
        let stacks = tiles_of(&frozen, &moved);
        if b & 2 == 0 {
            self.store().adopt(&stacks, frozen.clocks())?;
            self.oracle = oracle;
            self.check_everything()?;
        }
        self.flushed_at = self.history.as_ref().map_or(0, Vec::len);
        Ok(())
    }

    /// Compares everything the store and its views hold.
    pub fn check_everything(&mut self) -> Checked {
        let expected = self.oracle.scan(&KeyRange::all());
        let found = contents(self.store())?;
        differ("scan of everything", &found, &expected)?;
        let mut backwards = self.store().scan(..)?.backwards().collect::<Result<Content, _>>()?;
        backwards.reverse();
        differ("backward scan of everything", &backwards, &expected)?;
        for (key, value) in &expected {
            same("get", key, self.store().get(key)?.as_deref(), Some(value))?;
        }
        for (view, oracle) in &self.views {
            let found = view.scan(..).collect::<Result<Content, _>>()?;
            differ("view", &found, &oracle.scan(&KeyRange::all()))?;
        }
        Ok(())
    }

    /// The disk.
    pub fn fs(&self) -> &Arc<dyn Fs> {
        &self.fs
    }
}

/// Everything a store holds.
pub fn contents(store: &Store) -> Result<Content, Error> {
    store.scan(..)?.collect()
}

fn tiles_of(stacks: &FrozenStacks, clip: &KeyRange) -> Vec<AdoptedStack> {
    let tiles = stacks.tiles().map(|tile| AdoptedStack {
        range: tile.range.intersect(clip),
        runs: tile.slices.iter().map(|slice| adopted_run(&slice.run).expect("runs of the tests are files")).collect(),
    });
    tiles.filter(|stack| !stack.range.is_empty()).collect()
}

fn adopted_run(run: &bedload_lsm::RunRef) -> Checked<AdoptedRun> {
    let path: PathBuf = run.path().ok_or_else(|| Failure::Wrong("a run has no file".to_owned()))?.to_owned();
    Ok(AdoptedRun { id: run.id(), bytes: run.bytes(), digest: *run.digest(), source: AdoptedSource::File(path) })
}

fn compare_scan(scan: bedload_lsm::Scan<'_>, c: u8, oracle: &Oracle, range: &KeyRange) -> Checked {
    let mut expected = oracle.scan(range);
    let scan = if c.is_multiple_of(2) {
        scan
    } else {
        expected.reverse();
        scan.backwards()
    };
    let found = scan.collect::<Result<Content, _>>()?;
    differ(&format!("scan of {range:?}"), &found, &expected)
}

fn same(what: &str, key: &[u8], found: Option<&[u8]>, expected: Option<&[u8]>) -> Checked {
    if found == expected {
        return Ok(());
    }
    let show = |value: Option<&[u8]>| value.map_or("nothing".to_owned(), |value| value.escape_ascii().to_string());
    let (key, found, expected) = (key.escape_ascii(), show(found), show(expected));
    Err(Failure::Wrong(format!("{what} of {key} found {found}, expected {expected}")))
}

fn differ(what: &str, found: &Content, expected: &Content) -> Checked {
    if found == expected {
        return Ok(());
    }
    let at = found.iter().zip(expected).take_while(|(found, expected)| found == expected).count();
    let show = |content: &Content| {
        content.get(at).map_or("the end".to_owned(), |(key, value)| {
            let shown = &value[..value.len().min(40)];
            format!("{}={} ({} bytes)", key.escape_ascii(), shown.escape_ascii(), value.len())
        })
    };
    let (counts, found, expected) = ((found.len(), expected.len()), show(found), show(expected));
    Err(Failure::Wrong(format!("{what}: entry {at} is {found}, expected {expected}; {counts:?} entries in all")))
}
