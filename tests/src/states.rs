//! Typed states and timers against plain collections: on disk, in memory, and in the model (`state_model`), one history for all.
//!
//! One seed makes one history. Each operation is applied to two jobs, of which one has its states on disk and the other in memory, and to
//! the model; what it answers must be the same everywhere. Jobs take checkpoints, and go back to them on another number of workers, with
//! the residences exchanged, lazily, with later versions of types and other lives. Clocks jump, timers fire, and while they fire they
//! set and delete others.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bedload::{
    Barrier, CheckpointId, ClaimRef, Clock, Engine, Error, ErrorKind, Fired, JobName, Keyed, Repo, Residence,
    Restoring, Start,
};
use bedload_lsm::Env;
use bedload_lsm::fs::{Fs, MemoryFs};
use bedload_snapshot::testing::{FaultStore, ObjectFault, TestAmbient};
use bedload_snapshot::{Epoch, Patience, RepoOptions, ShipOptions, ShipPolicy};
use tokio::runtime::Runtime;

use crate::Random;
use crate::state_ended::{EndedHandles, EndedOperation, ended_among};
use crate::state_keys::{KEYS, TestKey, key_number};
use crate::state_model::{Due, Firing, Model, clock_of};
use crate::state_operations::{Answer, Handles, Operation, Program, STATES, VERSIONED, answer, apply, namespaces_of};

const KEY_GROUPS: u32 = 16;
const WORKERS_MAX: u64 = 8;
const QUEUES: u64 = 4;

/// How a history runs.
#[derive(Clone, Copy, Debug)]
pub struct StatesOptions {
    /// How many steps, each of which may be many operations.
    pub steps: usize,
    /// While checkpoints are taken, one request in this many fails; 0: none.
    pub fault_one_in: u64,
}

/// What a history did.
#[derive(Clone, Copy, Debug, Default)]
pub struct StatesTally {
    /// Operations that were compared.
    pub operations: u64,
    /// Timers that fired.
    pub fired: u64,
    /// Checkpoints that both jobs completed.
    pub checkpoints: u64,
    /// Checkpoints that a job did not complete.
    pub failed: u64,
    /// Starts from a checkpoint.
    pub restores: u64,
    /// Starts that fetched lazily.
    pub lazy: u64,
    /// Items that were migrated.
    pub migrated: u64,
    /// Items that had ended and were shown, where that is allowed.
    pub ended_shown: u64,
}

type Checked<T = ()> = Result<T, String>;

fn unexpected(error: &Error) -> String {
    format!("unexpected error ({:?}): {error}", error.kind())
}

/// Runs the history of `seed`.
///
/// # Errors
/// What was wrong.
pub fn run_states(seed: u64, options: StatesOptions) -> Result<StatesTally, String> {
    match seed % 3 {
        0 => History::<i64>::run(seed, options),
        1 => History::<String>::run(seed, options),
        _ => History::<(String, u32)>::run(seed, options),
    }
}

/// One of the two jobs.
struct Side {
    objects: FaultStore,
    ambient: Arc<TestAmbient>,
    repo: Repo,
    residence: Residence,
    epoch: Option<Epoch>,
    workers: Vec<Member>,
    machines: Vec<MemoryFs>,
    /// The checkpoints of the moments that it completed.
    moments: BTreeMap<usize, CheckpointId>,
    openings: u64,
}

struct Member {
    engine: Engine,
    env: Env,
    handles: Handles,
    ended: EndedHandles,
}

/// What was when a checkpoint was taken.
#[derive(Clone)]
struct Moment {
    model: Model,
    program: Program,
    /// The oldest version of items that may be there.
    oldest: u8,
    operator: Operator,
    workers: usize,
}

/// State that belongs to no key, by worker.
#[derive(Clone, Default)]
struct Operator {
    lists: Vec<Vec<u64>>,
    unions: Vec<Vec<u64>>,
    broadcast: Option<u64>,
}

struct History<K> {
    runtime: Runtime,
    random: Random,
    seed: u64,
    options: StatesOptions,
    sides: [Side; 2],
    model: Model,
    program: Program,
    oldest: u8,
    operator: Operator,
    moments: Vec<Moment>,
    advances: u64,
    tally: StatesTally,
    key: std::marker::PhantomData<K>,
}

impl<K: TestKey> History<K> {
    fn run(seed: u64, options: StatesOptions) -> Checked<StatesTally> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| error.to_string())?;
        let side = |residence| Side::new(&runtime, seed, residence);
        let sides = [side(Residence::Disk)?, side(Residence::Heap)?];
        let mut history = History {
            runtime,
            random: Random::new(seed),
            seed,
            options,
            sides,
            model: Model::default(),
            program: Program { version: 1, life: 0 },
            oldest: 1,
            operator: Operator::default(),
            moments: Vec::new(),
            advances: 0,
            tally: StatesTally::default(),
            key: std::marker::PhantomData::<K>,
        };
        history.restart()?;
        for step in 0..options.steps {
            history.step().map_err(|what| format!("step {step}: {what}"))?;
        }
        history.check().map_err(|what| format!("at the end: {what}"))?;
        Ok(history.tally)
    }

    fn step(&mut self) -> Checked {
        match self.random.below(20) {
            0..9 => (0..self.random.below(40)).try_for_each(|_| self.operate()),
            9..13 => self.advance(),
            13..15 => self.checkpoint(),
            15..17 => self.restart(),
            17 => self.check(),
            18 => self.migrate(),
            _ => {
                self.work_in_background();
                self.set_operator_state()
            }
        }
    }

    fn worker_of(&self, key: u64) -> usize {
        let engine = |member: &Member| {
            member.engine.group_of(&K::of(key)).map(|group| {
                let groups = member.engine.groups();
                groups.first <= group && group <= groups.last
            })
        };
        let found = self.sides[0].workers.iter().position(|member| engine(member).is_ok_and(|is_mine| is_mine));
        found.expect("the workers have all key groups")
    }

    fn draw_operation(&mut self) -> (u64, Operation) {
        let state = self.random.below(STATES as u64) as usize;
        let mut draw = |bound| self.random.below(bound);
        let operation = Operation {
            state,
            what: draw(8),
            namespace: draw(namespaces_of(state)),
            number: draw(1000),
            from: [draw(4), draw(4)],
        };
        (draw(KEYS), operation)
    }

    /// One operation on a state, or a timer set or deleted.
    fn operate(&mut self) -> Checked {
        self.tally.operations += 1;
        match self.random.below(8) {
            0 | 1 => return self.set_timer(),
            2 => return self.operate_on_ended(),
            _ => {}
        }
        let (key, operation) = self.draw_operation();
        let expected = answer(&mut self.model, self.program, key, operation);
        self.compare(key, operation, &expected)
    }

    fn compare(&mut self, key: u64, operation: Operation, expected: &Answer) -> Checked {
        let worker = self.worker_of(key);
        for side in &mut self.sides {
            let member = &mut side.workers[worker];
            let mut keyed = member.engine.with_key(&K::of(key)).map_err(|error| unexpected(&error))?;
            let found = apply(&mut keyed, &member.handles, operation).map_err(|error| unexpected(&error))?;
            if found != *expected {
                let residence = side.residence;
                return Err(format!("{operation:?} of key {key}, {residence:?}: {found:?}, expected {expected:?}"));
            }
        }
        Ok(())
    }

    /// An operation on states that show what has ended: the two jobs may show more and less of that.
    fn operate_on_ended(&mut self) -> Checked {
        let (key, operation) = (self.random.below(KEYS), EndedOperation::draw(|bound| self.random.below(bound)));
        let now = self.model.now(Clock::Event);
        let allowed = self.model.ended.answer(key, operation, now);
        let worker = self.worker_of(key);
        for side in &mut self.sides {
            let member = &mut side.workers[worker];
            let mut keyed = member.engine.with_key(&K::of(key)).map_err(|error| unexpected(&error))?;
            let shown = operation.apply(&mut keyed, &member.ended).map_err(|error| unexpected(&error))?;
            match ended_among(&shown, &allowed) {
                Some(ended) => self.tally.ended_shown += ended as u64,
                None => {
                    let residence = side.residence;
                    return Err(format!("{operation:?} of key {key}, {residence:?}: {shown:?}, allowed {allowed:?}"));
                }
            }
        }
        Ok(())
    }

    fn set_timer(&mut self) -> Checked {
        let (queue, key) = (self.random.below(QUEUES) as usize, self.random.below(KEYS));
        let namespace = if queue % 2 == 1 { self.random.below(4) } else { 0 };
        let at = (self.model.now(clock_of(queue)) + self.random.below(80)).saturating_sub(10);
        let timer = Due { at, queue, key, namespace };
        let deletes = self.random.below(3) == 0;
        if deletes {
            // Mostly one that is there.
            let there = self.model.timers.range(timer..).find(|there| there.key == key).copied();
            let timer = there.unwrap_or(timer);
            self.model.timers.remove(&timer);
            return self.on_both(key, |keyed, handles| handles.delete(keyed, timer));
        }
        self.model.timers.insert(timer);
        self.on_both(key, |keyed, handles| handles.set(keyed, timer))
    }

    fn on_both(&mut self, key: u64, work: impl Fn(&mut Keyed<'_>, &Handles) -> bedload::Result<()>) -> Checked {
        let worker = self.worker_of(key);
        for side in &mut self.sides {
            let member = &mut side.workers[worker];
            let mut keyed = member.engine.with_key(&K::of(key)).map_err(|error| unexpected(&error))?;
            work(&mut keyed, &member.handles).map_err(|error| unexpected(&error))?;
        }
        Ok(())
    }

    /// Moves a clock of all workers on, or asks once more for the same reading.
    fn advance(&mut self) -> Checked {
        self.advances += 1;
        let clock = [Clock::Event, Clock::Processing][self.random.below(2) as usize];
        let jump = [0, 1, 5, 20, 60, 400][self.random.below(6) as usize];
        let now = self.model.now(clock) + jump;
        self.model.advance(clock, now);
        let owners: Vec<usize> = (0..KEYS).map(|key| self.worker_of(key)).collect();
        for worker in 0..self.sides[0].workers.len() {
            let (seed, advances) = (self.seed, self.advances);
            let clocks = (self.model.now(Clock::Event), self.model.now(Clock::Processing));
            let mut seen: [Vec<(Due, Answer)>; 2] = Default::default();
            let mut failed = [false; 2];
            for (number, side) in self.sides.iter_mut().enumerate() {
                let Member { engine, handles, .. } = &mut side.workers[worker];
                let mut fire = |keyed: &mut Keyed<'_>, fired: &Fired<'_>| {
                    let timer = handles.due(fired, key_number::<K>(&fired.key::<K>()?))?;
                    let reaction = Reaction::of(timer, seed ^ advances, clocks);
                    let answered = reaction.react(keyed, handles, timer);
                    seen[number].push((timer, answered.as_ref().ok().cloned().unwrap_or_default()));
                    answered.map(drop)
                };
                let count = match clock {
                    Clock::Event => engine.advance_watermark(now, &mut fire),
                    Clock::Processing => engine.advance_processing_time(now, &mut fire),
                };
                match count {
                    Ok(count) if count != seen[number].len() => {
                        return Err(format!("{count} fired, of {:?}", seen[number]));
                    }
                    Ok(_) => {}
                    Err(error) if error.to_string().contains(REFUSAL) => failed[number] = true,
                    Err(error) => return Err(unexpected(&error)),
                }
            }
            if seen[0] != seen[1] || failed[0] != failed[1] {
                return Err(format!("{clock:?} {now}: on disk and in memory fired {seen:?}"));
            }
            let program = self.program;
            let mut firing = Firing::start(&mut self.model, clock, now, |key| owners[key as usize] == worker);
            for (timer, answered) in &seen[0] {
                firing.fire(*timer)?;
                self.tally.fired += 1;
                let reaction = Reaction::of(*timer, seed ^ advances, clocks);
                let expected = reaction.expect(&mut firing, program, *timer);
                if *answered != expected {
                    return Err(format!("{timer:?} fired and found {answered:?}, expected {expected:?}"));
                }
            }
            if let (Some(missed), false) = (firing.end(), failed[0]) {
                return Err(format!("{missed:?} is due at {now} and did not fire"));
            }
        }
        Ok(())
    }

    /// All states of all keys, and the listings of keys.
    fn check(&mut self) -> Checked {
        for state in 0..STATES {
            let expected: BTreeSet<(u64, u64)> = self.model.keys(state);
            for side in &self.sides {
                let mut found = BTreeSet::new();
                for member in &side.workers {
                    let mut look = |key: K, namespace| {
                        assert!(found.insert((key_number(&key), namespace)), "{key:?} is listed once");
                        Ok(())
                    };
                    member.handles.keys(&member.engine, state, &mut look).map_err(|error| unexpected(&error))?;
                }
                if found != expected {
                    let residence = side.residence;
                    return Err(format!("keys of state {state}, {residence:?}: {found:?}, expected {expected:?}"));
                }
            }
            for key in 0..KEYS {
                for namespace in 0..namespaces_of(state) {
                    let read = Operation { state, what: 0, namespace, number: 3, from: [0; 2] };
                    let expected = answer(&mut self.model, self.program, key, read);
                    self.compare(key, read, &expected)?;
                }
            }
        }
        Ok(())
    }

    fn migrate(&mut self) -> Checked {
        for state in VERSIONED {
            let expected = self.model.migrate(state, self.program.version);
            self.tally.migrated += expected as u64;
            for side in &mut self.sides {
                let mut found = 0;
                for member in &mut side.workers {
                    found += member.handles.migrate(&mut member.engine, state).map_err(|error| unexpected(&error))?;
                }
                if found != expected {
                    let residence = side.residence;
                    return Err(format!(
                        "state {state}, {residence:?}: {found} items were migrated, expected {expected}"
                    ));
                }
            }
        }
        self.oldest = self.program.version;
        Ok(())
    }

    fn set_operator_state(&mut self) -> Checked {
        let mut next = || self.random.below(100);
        let lists: Vec<Vec<u64>> = self.sides[0].workers.iter().map(|_| vec![next(), next()]).collect();
        self.operator =
            Operator { unions: lists.iter().map(|list| vec![list[0]]).collect(), lists, broadcast: Some(next()) };
        for side in &mut self.sides {
            for (number, member) in side.workers.iter_mut().enumerate() {
                let state = member.engine.operator_state();
                let set = state.set_list("list", &self.operator.lists[number]);
                let set = set.and_then(|()| state.set_union("union", &self.operator.unions[number]));
                set.and_then(|()| state.set_broadcast("rules", "limit", self.operator.broadcast.as_ref()))
                    .map_err(|error| unexpected(&error))?;
            }
        }
        Ok(())
    }

    fn work_in_background(&mut self) {
        let mut random = self.random.clone();
        for member in self.sides.iter().flat_map(|side| &side.workers) {
            for _ in 0..random.below(4) {
                member.env.step_background(&mut || random.draw());
            }
        }
        self.random = random;
    }

    fn checkpoint(&mut self) -> Checked {
        let number = self.moments.len();
        self.moments.push(Moment {
            model: self.model.clone(),
            program: self.program,
            oldest: self.oldest,
            operator: self.operator.clone(),
            workers: self.sides[0].workers.len(),
        });
        let gives_up = self.random.below(8) == 0;
        for side in &mut self.sides {
            side.inject(self.options.fault_one_in);
            let shipped = self.runtime.block_on(side.checkpoint(gives_up));
            side.inject(0);
            match shipped {
                Ok(Some(checkpoint)) => drop(side.moments.insert(number, checkpoint)),
                Ok(None) => self.tally.failed += 1,
                Err(error) if self.options.fault_one_in == 0 => return Err(unexpected(&error)),
                Err(_) => self.tally.failed += 1,
            }
        }
        self.tally.checkpoints += u64::from(self.sides.iter().all(|side| side.moments.contains_key(&number)));
        Ok(())
    }

    /// Starts both jobs from one of the last moments that both have.
    fn restart(&mut self) -> Checked {
        let common: Vec<usize> =
            self.sides[0].moments.keys().filter(|moment| self.sides[1].moments.contains_key(moment)).copied().collect();
        let recent = &common[common.len().saturating_sub(2)..];
        let moment = (!recent.is_empty()).then(|| recent[self.random.below(recent.len() as u64) as usize]);
        let former = moment.map(|moment| self.moments[moment].clone());
        let count = 1 + self.random.below(WORKERS_MAX) as usize;
        let earliest = former.as_ref().map_or(1, |former| former.program.version);
        let later = if self.random.below(3) == 0 { 2 } else { earliest };
        self.program = Program { version: earliest.max(later), life: self.random.below(4) as usize };
        self.oldest = former.as_ref().map_or(self.program.version, |former| former.oldest);
        self.model = former.as_ref().map_or_else(Model::default, |former| former.model.clone());
        let is_lazy = self.random.below(3) == 0;
        let restoring = if is_lazy { Restoring::Lazily } else { Restoring::Whole };
        let exchange = self.random.below(3) == 0;
        let fresh = self.random.below(1 << WORKERS_MAX);
        for side in &mut self.sides {
            if exchange {
                side.residence = if side.residence == Residence::Disk { Residence::Heap } else { Residence::Disk };
            }
            let start = moment.map(|moment| side.moments[&moment]);
            let started = self.runtime.block_on(side.start(count, start, restoring, fresh, self.program));
            started.map_err(|error| unexpected(&error))?;
        }
        self.tally.restores += u64::from(moment.is_some());
        self.tally.lazy += u64::from(is_lazy && moment.is_some());
        self.check_declarations()?;
        self.check_operator_state(former.as_ref(), count)?;
        self.set_operator_state()?;
        self.check()
    }

    /// A program that does not read what may be there is refused.
    fn check_declarations(&mut self) -> Checked {
        for side in &mut self.sides {
            let engine = &mut side.workers[0].engine;
            if Handles::declare_forgetful(engine, self.program).is_ok() != (self.oldest == self.program.version) {
                return Err(format!("items of version {}, and {:?} is wrongly declared", self.oldest, self.program));
            }
        }
        Ok(())
    }

    fn check_operator_state(&mut self, former: Option<&Moment>, count: usize) -> Checked {
        let nothing = Operator::default();
        let operator = former.map_or(&nothing, |former| &former.operator);
        let dealt: Vec<u64> = operator.lists.concat();
        for side in &mut self.sides {
            for (number, member) in side.workers.iter_mut().enumerate() {
                let positions: Vec<u8> = member.engine.positions().iter().map(|position| position.bytes[0]).collect();
                let state = member.engine.operator_state();
                let read = || {
                    Ok((state.list::<u64>("list")?, state.union::<u64>("union")?, state.broadcast("rules", "limit")?))
                };
                let found = read().map_err(|error: Error| unexpected(&error))?;
                let mine: Vec<u64> = dealt.iter().skip(number).step_by(count).copied().collect();
                if found != (mine, operator.unions.concat(), operator.broadcast) {
                    return Err(format!("worker {number} of {count}: operator state {found:?}"));
                }
                if positions != (0..former.map_or(0, |former| former.workers) as u8).collect::<Vec<u8>>() {
                    return Err(format!("worker {number} of {count}: positions {positions:?}"));
                }
            }
        }
        Ok(())
    }
}

/// What a callback fails with.
const REFUSAL: &str = "the operator refuses";

/// What a timer does when it fires: drawn from the timer, so that both jobs and the model agree.
#[derive(Clone, Copy, Debug)]
enum Reaction {
    Set(Due),
    Delete(Due),
    Replace(Due),
    Operate(Operation),
    Fail,
}

impl Reaction {
    fn of(timer: Due, salt: u64, (event, processing): (u64, u64)) -> Reaction {
        let place = timer.at << 32 | (timer.queue as u64) << 16 | timer.key << 8 | timer.namespace;
        let mut random = Random::new(place ^ salt.wrapping_mul(0x9e37_79b9));
        let other = Due { queue: (timer.queue + 2) % 4, at: event.min(processing), ..timer };
        let near = 1 + random.below(9);
        let state = random.below(STATES as u64) as usize;
        match random.below(10) {
            0 => Reaction::Set(Due { at: timer.at.saturating_sub(random.below(20)), ..timer }),
            1 => Reaction::Set(Due { at: timer.at + random.below(90), ..timer }),
            2 => Reaction::Set(other),
            3 => Reaction::Delete(Due { at: timer.at + near, ..timer }),
            4 => Reaction::Replace(Due { at: timer.at + near, ..timer }),
            5 if random.below(8) == 0 => Reaction::Fail,
            _ => Reaction::Operate(Operation {
                state,
                what: random.below(8),
                namespace: random.below(namespaces_of(state)),
                number: random.below(1000),
                from: [random.below(4), random.below(4)],
            }),
        }
    }

    fn react(self, keyed: &mut Keyed<'_>, handles: &Handles, fired: Due) -> bedload::Result<Answer> {
        match self {
            Reaction::Set(timer) => handles.set(keyed, timer)?,
            Reaction::Delete(timer) => handles.delete(keyed, timer)?,
            Reaction::Replace(timer) => {
                handles.delete(keyed, timer)?;
                handles.set(keyed, timer)?;
            }
            Reaction::Operate(operation) => return apply(keyed, handles, operation),
            Reaction::Fail => return Err(Error::new(ErrorKind::Fix, format!("{REFUSAL} {fired:?}"))),
        }
        Ok(Answer::new())
    }

    fn expect(self, firing: &mut Firing<'_>, program: Program, fired: Due) -> Answer {
        match self {
            Reaction::Set(timer) => firing.set(timer),
            Reaction::Delete(timer) => firing.delete(timer),
            Reaction::Replace(timer) => {
                firing.delete(timer);
                firing.set(timer);
            }
            Reaction::Operate(operation) => return answer(firing.model, program, fired.key, operation),
            Reaction::Fail => {}
        }
        Answer::new()
    }
}

impl Side {
    fn new(runtime: &Runtime, seed: u64, residence: Residence) -> Checked<Side> {
        let objects = FaultStore::default();
        let ambient = Arc::new(TestAmbient::new(seed));
        let options =
            RepoOptions::default().ambient(ambient.clone()).patience(Patience { tries: 3, ..Patience::default() });
        let repo = runtime.block_on(options.open_store(Arc::new(objects.clone()), "memory://"));
        Ok(Side {
            objects,
            ambient,
            repo: repo.map_err(|error| unexpected(&error))?,
            residence,
            epoch: None,
            workers: Vec::new(),
            machines: Vec::new(),
            moments: BTreeMap::new(),
            openings: seed << 20,
        })
    }

    /// Lets one request in this many fail; 0: none.
    fn inject(&self, one_in: u64) {
        self.objects.choose(move |request| {
            let fails = one_in > 0 && request.random.is_multiple_of(one_in);
            fails.then_some([ObjectFault::FailBefore, ObjectFault::Hang][(request.random / one_in.max(1)) as usize % 2])
        });
    }

    async fn start(
        &mut self,
        count: usize,
        from: Option<CheckpointId>,
        restoring: Restoring,
        fresh_machines: u64,
        program: Program,
    ) -> bedload::Result<()> {
        self.epoch = None;
        self.workers.clear();
        self.ambient.pass_ms(1000);
        let mut epoch = Epoch::start(&self.repo, &JobName::new("job")?, KEY_GROUPS, "test").await?;
        for index in 0..count {
            if self.machines.len() <= index {
                self.machines.push(MemoryFs::new());
            } else if fresh_machines >> index & 3 == 0 {
                self.machines[index] = MemoryFs::new();
            }
            let fs: Arc<dyn Fs> = Arc::new(self.machines[index].clone());
            self.openings += 1;
            let opening = AtomicU64::new(self.openings << 10);
            let random = move || opening.fetch_add(1, Ordering::Relaxed);
            let env = Env::builder().fs(Arc::clone(&fs)).threads(0).memory(64 << 10).random(random).build()?;
            let ship = ShipOptions {
                runs_at_once: 1,
                level: 1,
                policy: ShipPolicy { ratio: 1.0, stack_max: 3, ..ShipPolicy::default() },
                ..ShipOptions::default()
            };
            let builder = Engine::builder("worker").repo(&self.repo, "job").worker(index as u32, count as u32);
            let builder = builder.max_groups(KEY_GROUPS).env(&env).fs(fs).residence(self.residence);
            let builder = builder.restoring(restoring).ship_options(ship).start(from.map_or(Start::Empty, Start::At));
            let mut engine = builder.open().await?;
            let handles = Handles::declare(&mut engine, program)?;
            let ended = EndedHandles::declare(&mut engine)?;
            self.workers.push(Member { engine, env, handles, ended });
        }
        if let Some(from) = from {
            epoch.build_upon(from)?;
        }
        self.epoch = Some(epoch);
        Ok(())
    }

    /// Takes a checkpoint; none when it was given up.
    async fn checkpoint(&mut self, gives_up: bool) -> bedload::Result<Option<CheckpointId>> {
        self.ambient.pass_ms(1000);
        let epoch = self.epoch.as_mut().expect("the job was started");
        let barrier = epoch.begin().await?;
        let claims = if gives_up { Ok(None) } else { ship(&mut self.workers, &barrier).await.map(Some) };
        let completed = match claims {
            Ok(Some(claims)) => epoch.complete(&barrier, claims).await.map(Some),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        let is_there = matches!(completed, Ok(Some(_)));
        if !is_there {
            epoch.abort(&barrier).await;
        }
        for member in &mut self.workers {
            if is_there {
                member.engine.confirm(barrier.checkpoint).await;
            } else {
                member.engine.abort(barrier.checkpoint).await;
            }
        }
        completed.map(|completed| completed.map(|_| barrier.checkpoint))
    }
}

async fn ship(workers: &mut [Member], barrier: &Barrier) -> bedload::Result<Vec<ClaimRef>> {
    let mut claims = Vec::new();
    for (number, member) in workers.iter_mut().enumerate() {
        claims.push(member.engine.checkpoint(barrier, &[number as u8])?.ship().await?.claim);
    }
    Ok(claims)
}
