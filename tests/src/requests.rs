//! Every request of a job goes wrong, one after the other, in every way that it can.
//!
//! A script of steps is played once without faults, to know its requests. Then it is played once for each *case*: a request, a
//! fault, and how long the fault lasts. With a fault that comes once the script must succeed: tries are there for that. With one
//! that stays it may give up. Then the store heals, a new coordinator takes over, and must find everything as it must be:
//!
//! * What was complete exists, what was given up does not, and whatever exists restores to what was frozen.
//! * A collection behind the grace time leaves the claims and parcels of what exists, and nothing else.
//! * The job goes on: another checkpoint is made, and restores.
//! * The requests that were made are bounded: in number whatever fails, and in all when it fails once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bedload_lsm::fs::MemoryFs;
use bedload_snapshot::testing::{FaultStore, ObjectFault, Operation, Request};
use bedload_snapshot::{
    CheckpointId, Epoch, ErrorKind, Fetcher, KeyGroups, ObjectName, Restored, Start, restore, restore_lazily,
};

use crate::member::Member;
use crate::scene::{GRACE_MS, KEY_GROUPS, Scene, Stop, TRIES, check, same_state};

/// How many requests more than without faults a script makes for a fault that comes once: the request again, or a whole upload
/// or listing again, and a look at what may have happened.
const EXTRA_ONCE_MAX: u64 = 16;

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// Two workers and small states: checkpoints with deltas and rebased tiles, one that is given up and whose uploads are used
    /// again, one that takes longer than the grace time, a reader that dies, expiries, collections, a void, rescales.
    Small,
    /// One worker with a run of some chunks: an upload in parts, and a restore that goes on in the background.
    Large,
}

/// How long a fault lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasts {
    /// One request goes wrong.
    Once,
    /// It and all that follow, as far as they can go wrong in this way.
    FromThenOn,
    /// It and those that follow and ask for the same.
    SameOperation,
}

/// Which request goes wrong, and how.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// How many requests of the script come before it.
    pub index: u64,
    /// In which way.
    pub fault: ObjectFault,
    /// For how long.
    pub lasts: Lasts,
}

impl fmt::Display for Case {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "request {} {:?} {:?}", self.index, self.fault, self.lasts)
    }
}

/// What plays of a script did, in all.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestTally {
    /// How many cases.
    pub cases: u64,
    /// How many scripts gave up.
    pub gave_up: u64,
    /// Requests of all scripts.
    pub requests: u64,
    /// The most requests that a fault cost which came once.
    pub extra_once_max: u64,
    /// How often a request was made at most and failed each time, of those that a script makes no more than twice.
    pub failures_max: u64,
    /// Uploads in parts that nobody completed or aborted.
    pub unfinished: u64,
}

/// What a script does without faults.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deeds {
    /// Runs that were used again after their checkpoint was given up.
    pub reused_runs: usize,
    /// Tiles that were uploaded in the place of their deltas.
    pub rebased_tiles: usize,
    /// Runs that were uploaded to shorten stacks.
    pub shortening_runs: usize,
    /// Objects that were collected.
    pub deleted: usize,
    /// Bytes that were fetched for restores that go on in the background.
    pub fetched_bytes: u64,
}

/// A request that a script makes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Asked {
    operation: Operation,
    path: String,
    /// The first byte that is asked for, and the first that is not.
    bytes: Option<(u64, u64)>,
}

impl Asked {
    fn new(request: &Request<'_>) -> Asked {
        let bytes = request.range.as_ref().map(|range| (range.start, range.end));
        Asked { operation: request.operation, path: request.path.to_owned(), bytes }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?} {}", self.operation, self.path)?;
        self.bytes.map_or(Ok(()), |(start, end)| write!(out, " from {start} to {end}"))
    }
}

/// A script whose requests are known.
pub struct Plan {
    script: Script,
    seed: u64,
    requests: Vec<Asked>,
    /// What it does.
    pub deeds: Deeds,
}

impl Plan {
    /// Plays the script without faults. `seed` makes what is written, and names.
    ///
    /// # Errors
    /// What was wrong.
    pub fn new(script: Script, seed: u64) -> Result<Plan, String> {
        let objects = FaultStore::default();
        let (seen, dying) = (Arc::new(Mutex::new(Vec::new())), Arc::default());
        objects.choose({
            let (seen, dying) = (Arc::clone(&seen), Arc::clone(&dying));
            move |request| {
                seen.lock().expect("nobody panics under it").push(Asked::new(request));
                death(&dying, request)
            }
        });
        let mut play = Play::new(script, seed, &objects, dying);
        let told = play.run();
        objects.choose(|_| None);
        told.map_err(|stop| format!("{script:?} without faults: {stop:?}"))?;
        let (deeds, leftovers) = (play.deeds, play.take_over().map_err(|stop| format!("{script:?}: {stop:?}"))?);
        if leftovers > 0 {
            return Err(format!("{script:?}: {leftovers} uploads in parts were left unfinished without faults"));
        }
        let requests = std::mem::take(&mut *seen.lock().expect("nobody panics under it"));
        Ok(Plan { script, seed, requests, deeds })
    }

    /// How many requests there are.
    pub fn requests(&self) -> usize {
        self.requests.len()
    }

    /// Every request that can go wrong in some way.
    pub fn cases(&self, lasts: Lasts) -> Vec<Case> {
        let of = |(index, asked): (usize, &Asked)| {
            let faults = ObjectFault::KINDS.into_iter().filter(|fault| fault.touches(asked.operation));
            faults.map(move |fault| Case { index: index as u64, fault, lasts }).collect::<Vec<Case>>()
        };
        self.requests.iter().enumerate().flat_map(of).collect()
    }

    /// Plays the script with a fault, and looks at what is left of it.
    ///
    /// # Errors
    /// What was wrong.
    pub fn run(&self, case: Case, tally: &mut RequestTally) -> Result<(), String> {
        let asked = &self.requests[case.index as usize];
        let told = |stop: Stop| format!("{:?} of seed {}, {case} ({asked}): {stop:?}", self.script, self.seed);
        let objects = FaultStore::default();
        let (injected, dying) = (Arc::default(), Arc::default());
        inject(&objects, case, asked.clone(), Arc::clone(&injected), Arc::clone(&dying));
        let mut play = Play::new(self.script, self.seed, &objects, dying);
        let done = play.run();
        let requests = objects.requests();
        objects.choose(|_| None);
        let injected: Injected = std::mem::take(&mut *injected.lock().expect("nobody panics under it"));
        tally.cases += 1;
        tally.requests += requests;
        self.check_end(case, done, requests, &injected, tally).map_err(told)?;
        let unfinished = play.take_over().map_err(told)?;
        tally.unfinished += unfinished;
        // Its number was lost with the answer, so nobody can abort it.
        let is_lost = asked.operation == Operation::StartParts && case.fault != ObjectFault::FailBefore;
        if unfinished > 0 && case.lasts == Lasts::Once && !is_lost {
            return Err(told(Stop::Wrong(format!("{unfinished} uploads in parts were left unfinished"))));
        }
        Ok(())
    }

    fn check_end(
        &self,
        case: Case,
        done: Result<(), Stop>,
        requests: u64,
        injected: &Injected,
        tally: &mut RequestTally,
    ) -> Result<(), Stop> {
        if let Some(asked) = &injected.strayed {
            return Err(Stop::Wrong(format!("the script is not deterministic: it asked for {asked}")));
        }
        let total = self.requests.len() as u64;
        let is_once = case.lasts == Lasts::Once;
        let bound = if is_once { total } else { 2 * total } + EXTRA_ONCE_MAX;
        check(requests <= bound, || format!("{requests} requests, {total} without faults"))?;
        if is_once {
            tally.extra_once_max = tally.extra_once_max.max(requests.saturating_sub(total));
        }
        match done {
            Err(Stop::GaveUp(error)) if !is_once && [ErrorKind::Retry, ErrorKind::Damaged].contains(&error.kind()) => {
                tally.gave_up += 1;
                self.check_failures(injected, tally)
            }
            done => done,
        }
    }

    /// Each request is tried as often as it may be, each time that the script makes it. A lease is deleted by its holder, as well
    /// as that can be done, and by the collector.
    fn check_failures(&self, injected: &Injected, tally: &mut RequestTally) -> Result<(), Stop> {
        for (asked, often) in &injected.failures {
            let times = self.requests.iter().filter(|request| *request == asked).count().max(2) as u64;
            if times == 2 {
                tally.failures_max = tally.failures_max.max(*often);
            }
            check(*often <= times * u64::from(TRIES), || format!("{asked} failed {often} times before it gave up"))?;
        }
        Ok(())
    }
}

/// What went wrong.
#[derive(Debug, Default)]
struct Injected {
    /// The request in the place of the one that was to go wrong, when it was another one.
    strayed: Option<Asked>,
    /// How often each request went wrong.
    failures: BTreeMap<Asked, u64>,
}

/// Lets requests of `objects` go wrong as `case` says, of which the first is `expected`.
fn inject(objects: &FaultStore, case: Case, expected: Asked, injected: Arc<Mutex<Injected>>, dying: Arc<AtomicBool>) {
    objects.choose(move |request| {
        let mut injected = injected.lock().expect("nobody panics under it");
        let found = Asked::new(request);
        if request.index == case.index && found != expected {
            injected.strayed = Some(found.clone());
        }
        let goes_wrong = match case.lasts {
            Lasts::Once => request.index == case.index,
            Lasts::FromThenOn => request.index >= case.index,
            Lasts::SameOperation => request.index >= case.index && request.operation == expected.operation,
        };
        if goes_wrong && case.fault.touches(request.operation) {
            *injected.failures.entry(found).or_default() += 1;
            return Some(case.fault);
        }
        death(&dying, request)
    });
}

/// Who dies does not get any claim.
fn death(dying: &AtomicBool, request: &Request<'_>) -> Option<ObjectFault> {
    let is_claim = matches!(ObjectName::parse(request.path), Some(ObjectName::Claim(..)));
    (is_claim && dying.load(Ordering::SeqCst)).then_some(ObjectFault::Late)
}

/// A script that is being played.
struct Play {
    script: Script,
    seed: u64,
    objects: FaultStore,
    /// Whether who reads a checkpoint dies over its claims.
    dying: Arc<AtomicBool>,
    scene: Option<Scene>,
    deeds: Deeds,
    /// What is fetched in the background, and by whom.
    lazy: Option<(Restored, Fetcher, MemoryFs)>,
}

/// The time after which what is fetched in the background counts as forgotten.
const BACKGROUND_LIMIT: Duration = Duration::from_secs(120);

impl Play {
    fn new(script: Script, seed: u64, objects: &FaultStore, dying: Arc<AtomicBool>) -> Play {
        Play { script, seed, objects: objects.clone(), dying, scene: None, deeds: Deeds::default(), lazy: None }
    }

    fn scene(&mut self) -> &mut Scene {
        self.scene.as_mut().expect("it was opened")
    }

    fn run(&mut self) -> Result<(), Stop> {
        self.scene = Some(Scene::open(&self.objects, self.seed)?);
        match self.script {
            Script::Small => self.play_small(),
            Script::Large => self.play_large(),
        }
    }

    fn play_small(&mut self) -> Result<(), Stop> {
        self.scene().start(2)?;
        self.scene().write(40)?;
        self.checkpoint()?;
        self.scene().write(12)?;
        let second = self.checkpoint()?;
        self.scene().write(12)?;
        self.give_up_and_use_again()?;
        self.let_a_reader_die(second)?;
        self.scene().work_in_background(8);
        self.scene().write(60)?;
        self.checkpoint()?;
        self.expire_and_collect(second)?;
        let replaced = self.scene().start(3)?;
        self.meet_the_replaced(replaced)?;
        self.scene().write(12)?;
        self.checkpoint()?;
        self.void_what_is_made()?;
        self.start_lazily()?;
        self.scene().write(12)?;
        self.checkpoint().map(drop)
    }

    fn play_large(&mut self) -> Result<(), Stop> {
        self.scene().start(1)?;
        self.scene().write_noise(140 << 10)?;
        self.scene().write(12)?;
        self.checkpoint()?;
        self.start_lazily()?;
        self.scene().write(12)?;
        self.checkpoint().map(drop)
    }

    fn checkpoint(&mut self) -> Result<CheckpointId, Stop> {
        let checkpoint = self.scene().checkpoint()?;
        self.note_reports();
        Ok(checkpoint)
    }

    fn note_reports(&mut self) {
        for report in &self.scene.as_ref().expect("it was opened").reports {
            self.deeds.rebased_tiles += report.rebased_tiles;
            self.deeds.shortening_runs += report.shortening_runs;
        }
    }

    /// A checkpoint is given up when all is uploaded. The next one takes longer than the grace time, and a collection runs
    /// meanwhile.
    fn give_up_and_use_again(&mut self) -> Result<(), Stop> {
        let scene = self.scene();
        let barrier = scene.begin()?;
        scene.ship(&barrier)?;
        let uploaded: usize = scene.reports.iter().map(|report| report.uploaded_runs).sum();
        scene.give_up(&barrier);
        let barrier = scene.begin()?;
        let claims = scene.ship(&barrier)?;
        let again: usize = scene.reports.iter().map(|report| report.uploaded_runs).sum();
        scene.pass_ms(2 * GRACE_MS);
        let collected = scene.collect()?.deleted;
        scene.complete(&barrier, claims)?;
        self.note_reports();
        self.deeds.reused_runs += uploaded.saturating_sub(again);
        self.deeds.deleted += collected;
        Ok(())
    }

    /// Somebody begins to restore a checkpoint, and is not heard of any more.
    fn let_a_reader_die(&mut self, checkpoint: CheckpointId) -> Result<(), Stop> {
        let dies = |scene: &Scene, options: &_, pool: &_| {
            let reading = pin!(restore(&scene.repo, &scene.job, options, pool));
            Ok(scene.until_late(reading).transpose()?.and(None))
        };
        self.dying.store(true, Ordering::SeqCst);
        let dead = self.scene().join(&MemoryFs::new(), KeyGroups::all(KEY_GROUPS), Start::At(checkpoint), dies);
        self.dying.store(false, Ordering::SeqCst);
        self.objects.let_go();
        dead.map(drop)
    }

    /// All but the newest checkpoints expire. What the dead reader's lease names stays until it is declared void.
    fn expire_and_collect(&mut self, read: CheckpointId) -> Result<(), Stop> {
        let scene = self.scene();
        let chain = scene.chain()?;
        let completion = chain.state().find(read).map(|slot| &chain.state().live()[&slot]);
        let completion = completion.ok_or_else(|| Stop::Wrong(format!("checkpoint {read} does not exist")))?;
        // The reader may have died before it had written its lease.
        let kept = if scene.is_read(read)? { scene.objects_of(completion)? } else { BTreeSet::new() };
        scene.expire_all_but(2)?;
        scene.mark_boundary()?;
        scene.pass_ms(2 * GRACE_MS);
        let mut deleted = scene.collect()?.deleted;
        let lost: Vec<&String> = kept.iter().filter(|path| scene.objects.bytes(path).is_none()).collect();
        check(lost.is_empty(), || format!("a lease names {lost:?}, and they were deleted"))?;
        scene.void_leases()?;
        scene.pass_ms(8 * 24 * 3600 * 1000);
        deleted += scene.collect()?.deleted;
        self.deeds.deleted += deleted;
        Ok(())
    }

    /// The coordinator before this one believes that it is the newest.
    fn meet_the_replaced(&mut self, replaced: Option<Epoch>) -> Result<(), Stop> {
        let mut replaced = replaced.expect("there was one");
        let scene = self.scene();
        match scene.runtime.block_on(replaced.begin()) {
            Err(error) if error.kind() == ErrorKind::Fenced => Ok(()),
            Err(error) => Err(Stop::GaveUp(error)),
            Ok(_) => Err(Stop::Wrong("a coordinator that was replaced has begun a checkpoint".into())),
        }
    }

    /// Somebody declares the lease void under which a checkpoint is made: it cannot be completed any more.
    fn void_what_is_made(&mut self) -> Result<(), Stop> {
        let scene = self.scene();
        let barrier = scene.begin()?;
        let claims = scene.ship(&barrier)?;
        let mut chain = scene.chain()?;
        scene.runtime.block_on(chain.void(barrier.lease, "the test"))?;
        match scene.complete(&barrier, claims) {
            Err(Stop::GaveUp(error)) if error.kind() == ErrorKind::Fenced => {}
            Err(stop) => return Err(stop),
            Ok(()) => return Err(Stop::Wrong("a checkpoint was completed whose lease was void".into())),
        }
        scene.give_up(&barrier);
        Ok(())
    }

    /// One worker takes the place of all, and reads before all is here.
    fn start_lazily(&mut self) -> Result<(), Stop> {
        let scene = self.scene.as_mut().expect("it was opened");
        scene.coordinate()?;
        scene.members.clear();
        let (fetcher, machine, lazy) = (Fetcher::start(1)?, MemoryFs::new(), &mut self.lazy);
        let lazily = |scene: &Scene, options: &_, pool: &_| {
            let (told, ended) = std::sync::mpsc::channel();
            let done = move |result| {
                // Nobody listens any more when the test has failed.
                told.send(result).ok();
            };
            let restored = restore_lazily(&scene.repo, &scene.job, options, pool, &fetcher, done);
            let restored = scene.runtime.block_on(restored)?;
            let restored = restored.ok_or_else(|| Stop::Wrong("no checkpoint exists".into()))?;
            // The order of requests is known only as long as one party makes them.
            let ended = ended.recv_timeout(BACKGROUND_LIMIT);
            let ended = ended.map_err(|_| Stop::Wrong("the background was never done".into()))?;
            if let Err(error) = ended {
                *lazy = Some((restored, fetcher, machine.clone()));
                return Err(Stop::GaveUp(error));
            }
            self.deeds.fetched_bytes += fetcher.progress().fetched_parcel_bytes();
            Ok(Some(restored))
        };
        let (member, checkpoint) = scene.join(&machine, KeyGroups::all(KEY_GROUPS), Start::Latest, lazily)?;
        scene.members.push(member);
        scene.started_from(&BTreeSet::from([checkpoint]))
    }

    /// The store has healed. Looks at what is there, lets a new coordinator go on, and gives how many uploads in parts were left
    /// unfinished.
    fn take_over(mut self) -> Result<u64, Stop> {
        let mut scene = match self.scene.take() {
            Some(scene) => scene,
            None => Scene::open(&self.objects, self.seed + 1)?,
        };
        if let Some((restored, _fetcher, machine)) = self.lazy.take() {
            read_what_was_given_up(&mut scene, &restored, &machine)?;
        }
        let live = scene.check_all()?;
        let replaced = scene.coordinate()?;
        if let Some(mut replaced) = replaced {
            let begun = scene.runtime.block_on(replaced.begin());
            check(begun.is_err_and(|error| error.kind() == ErrorKind::Fenced), || "a zombie was not fenced".into())?;
        }
        scene.void_leases()?;
        scene.pass_ms(2 * GRACE_MS);
        let collected = scene.collect()?;
        check(collected.unknown.is_empty(), || format!("unknown objects: {collected:?}"))?;
        let (left, reached) = (scene.objects_of_checkpoints(), scene.reached()?);
        let garbage: Vec<&String> = left.difference(&reached).collect();
        check(garbage.is_empty(), || format!("garbage that was not collected: {garbage:?}"))?;
        let lost: Vec<&String> = reached.difference(&left).collect();
        check(lost.is_empty(), || format!("a checkpoint that exists lacks {lost:?}"))?;
        check(scene.leases() == 0, || format!("{} leases stayed", scene.leases()))?;
        // Where the last answer was lost it may be newer than the last one that was told.
        scene.completed.extend(&live);
        let after = scene.check_all()?;
        check(after == live, || format!("{live:?} existed, {after:?} do behind a collection"))?;
        scene.start(1)?;
        scene.write(5)?;
        let checkpoint = scene.checkpoint()?;
        scene.check_restore(checkpoint)?;
        Ok(scene.objects.unfinished().len() as u64)
    }
}

/// The background has given up, and its lease stays. A store that adopts now asks for what it reads, and gets it.
fn read_what_was_given_up(scene: &mut Scene, restored: &Restored, machine: &MemoryFs) -> Result<(), Stop> {
    let (store, env) = scene.open_store(machine)?;
    let worker = scene.worker(KeyGroups::all(KEY_GROUPS), machine);
    let mut member = Member { store, env, worker };
    restored.adopt(&mut member.store)?;
    same_state("a store behind a background that gave up", &member.contents()?, &scene.frozen[&restored.checkpoint])
}
