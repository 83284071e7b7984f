//! Operations on typed states, and what the [model](crate::state_model) says to each.

use std::time::Duration;

use bedload::{
    Aggregate, Aggregating, Clock, Engine, Fired, Keyed, List, Map, MergeFunction, Mergeable, Ordered, Reducing,
    Renewal, Spec, State, StateKind, Timers, Ttl, Value,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::state_model::{Due, Item, Life, Model};

/// How many states there are.
pub const STATES: usize = 13;

/// Those whose types have two versions: a value, a list and a map.
pub const VERSIONED: [usize; 3] = [0, 1, 2];

/// What is declared.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// The version of types, 1 or 2.
    pub version: u8,
    /// Which of several lives values and maps have.
    pub life: usize,
}

/// An operation on a state of a key.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// The number of the state.
    pub state: usize,
    /// 0 reads, 7 clears, 6 joins namespaces; the others write, or do what the kind has besides.
    pub what: u64,
    /// The namespace.
    pub namespace: u64,
    /// What is written, or looked for.
    pub number: u64,
    /// The namespaces that are joined into the other.
    pub from: [u64; 2],
}

/// What an operation gives: keys of maps, numbers, and what the second version of a type has more.
pub type Answer = Vec<(u64, i64, u32)>;

/// Something that is kept.
trait Thing: Serialize + DeserializeOwned + 'static {
    fn of(number: i64, more: u32) -> Self;
    fn parts(&self) -> (u64, i64, u32);
}

/// The first version of a type.
#[derive(Serialize, Deserialize)]
struct First(i64);

/// The second one.
#[derive(Serialize, Deserialize)]
struct Second {
    number: i64,
    more: u32,
}

impl From<First> for Second {
    fn from(First(number): First) -> Second {
        Second { number, more: 0 }
    }
}

impl Thing for First {
    fn of(number: i64, _: u32) -> First {
        First(number)
    }

    fn parts(&self) -> (u64, i64, u32) {
        (0, self.0, 0)
    }
}

impl Thing for Second {
    fn of(number: i64, more: u32) -> Second {
        Second { number, more }
    }

    fn parts(&self) -> (u64, i64, u32) {
        (0, self.number, self.more)
    }
}

impl Thing for i64 {
    fn of(number: i64, _: u32) -> i64 {
        number
    }

    fn parts(&self) -> (u64, i64, u32) {
        (0, *self, 0)
    }
}

impl Thing for String {
    fn of(number: i64, _: u32) -> String {
        "x".repeat(number as usize)
    }

    fn parts(&self) -> (u64, i64, u32) {
        (0, self.len() as i64, 0)
    }
}

struct Mean;

impl Aggregate for Mean {
    type In = i64;
    type Accumulator = (i64, u32);
    type Out = i64;

    fn start() -> (i64, u32) {
        (0, 0)
    }

    fn add((sum, count): &mut (i64, u32), input: i64) {
        *sum += input;
        *count += 1;
    }

    fn merge(into: &mut (i64, u32), other: (i64, u32)) {
        into.0 += other.0;
        into.1 += other.1;
    }

    fn result((sum, count): &(i64, u32)) -> i64 {
        sum / i64::from(*count)
    }
}

const fn ttl(after_ms: u64, clock: Clock, renewal: Renewal) -> Ttl {
    Ttl::after(Duration::from_millis(after_ms)).clock(clock).renewed_by(renewal)
}

/// The lives that values and maps are declared with, from program to program.
const LIVES: [Option<Ttl>; 4] = [
    None,
    Some(ttl(60, Clock::Event, Renewal::CreateAndWrite)),
    Some(ttl(45, Clock::Processing, Renewal::ReadAndWrite)),
    Some(ttl(30, Clock::Event, Renewal::ReadAndWrite)),
];

const PLAIN: Spec<Value<i64, u64>> = Value::named("plain");
/// How long elements of a list live, from program to program.
const LIVING_MS: [u64; 4] = [50, 20, 90, 35];
const LIVING: Spec<List<i64, u64>> = List::named("living");
const RENEWED: Spec<List<i64>> = List::named("renewed").ttl(ttl(40, Clock::Processing, Renewal::ReadAndWrite));
const NAMES: Spec<Map<str, i64, u64>> = Map::named("names");
const SUM: Spec<Reducing<i64, u64>> = Reducing::sum("sum");
const MIN: Spec<Reducing<i64>> = Reducing::min("min").ttl(ttl(35, Clock::Processing, Renewal::ReadAndWrite));
const MAX: Spec<Reducing<i64, u64>> = Reducing::max("max").ttl(ttl(70, Clock::Event, Renewal::CreateAndWrite));
const LONGEST: Spec<Reducing<String, u64>> =
    Reducing::by("longest", |left: String, right| if right.len() > left.len() { right } else { left }).ttl(ttl(
        55,
        Clock::Event,
        Renewal::ReadAndWrite,
    ));
const MEAN: Spec<Aggregating<Mean, u64>> = Aggregating::named("mean");
/// Associative, and not the same the other way around.
const COUNTING: Spec<Reducing<i64, u64>> = Reducing::with(
    "counting",
    MergeFunction::new("the last that counts", 1, last_that_counts),
)
.ttl(ttl(65, Clock::Event, Renewal::ReadAndWrite));

fn last_that_counts(left: i64, right: i64) -> i64 {
    if right % 3 == 0 { left } else { right }
}

/// How long items of a state live.
fn life_of(state: usize, program: Program) -> Option<Life> {
    let life = |after_ms, clock, is_renewed_by_reads| Some(Life { clock, after_ms, is_renewed_by_reads });
    match (state, program.life) {
        (0 | 2, 1) => life(60, Clock::Event, false),
        (0 | 2, 2) => life(45, Clock::Processing, true),
        (0 | 2, 3) => life(30, Clock::Event, true),
        (4, number) => life(LIVING_MS[number], Clock::Event, false),
        (5, _) => life(40, Clock::Processing, true),
        (8, _) => life(35, Clock::Processing, true),
        (9, _) => life(70, Clock::Event, false),
        (10, _) => life(55, Clock::Event, true),
        (12, _) => life(65, Clock::Event, true),
        _ => None,
    }
}

/// How many namespaces a state has.
pub fn namespaces_of(state: usize) -> u64 {
    if matches!(state, 0 | 2 | 5 | 8) { 1 } else { 4 }
}

/// The states of an engine that are written by one version of a type.
struct Versioned<T: Thing> {
    value: State<Value<T>>,
    list: State<List<T, u64>>,
    map: State<Map<u32, T>>,
}

enum OfVersion {
    First(Versioned<First>),
    Second(Versioned<Second>),
}

/// The states and timers of an engine.
pub struct Handles {
    versioned: OfVersion,
    plain: State<Value<i64, u64>>,
    living: State<List<i64, u64>>,
    renewed: State<List<i64>>,
    names: State<Map<str, i64, u64>>,
    sum: State<Reducing<i64, u64>>,
    min: State<Reducing<i64>>,
    max: State<Reducing<i64, u64>>,
    longest: State<Reducing<String, u64>>,
    mean: State<Aggregating<Mean, u64>>,
    counting: State<Reducing<i64, u64>>,
    idle: [Timers<()>; 2],
    window: [Timers<u64>; 2],
}

fn living<S: StateKind>(spec: Spec<S>, program: Program) -> Spec<S> {
    match LIVES[program.life] {
        Some(ttl) => spec.ttl(ttl),
        None => spec,
    }
}

fn second<S: StateKind>(spec: Spec<S>, is_forgetful: bool) -> Spec<S>
where
    S::Item: From<First>,
    S::Codec: bedload::Codec<First>,
{
    if is_forgetful { spec.version(2) } else { spec.version(2).reads_version::<First>(1) }
}

impl<T: Thing> Versioned<T> {
    fn declare(engine: &mut Engine, program: Program, specs: Specs<T>) -> bedload::Result<Versioned<T>> {
        Ok(Versioned {
            value: engine.state(living(specs.0, program))?,
            list: engine.state(specs.1)?,
            map: engine.state(living(specs.2, program))?,
        })
    }
}

type Specs<T> = (Spec<Value<T>>, Spec<List<T, u64>>, Spec<Map<u32, T>>);

fn specs<T: Thing>() -> Specs<T> {
    (Value::named("value"), List::named("history"), Map::named("entries"))
}

fn second_specs(is_forgetful: bool) -> Specs<Second> {
    let (value, list, map) = specs();
    (second(value, is_forgetful), second(list, is_forgetful), second(map, is_forgetful))
}

impl Handles {
    /// Declares all states of a program.
    pub fn declare(engine: &mut Engine, program: Program) -> bedload::Result<Handles> {
        let versioned = match program.version {
            1 => OfVersion::First(Versioned::declare(engine, program, specs())?),
            _ => OfVersion::Second(Versioned::declare(engine, program, second_specs(false))?),
        };
        Ok(Handles {
            versioned,
            plain: engine.state(PLAIN)?,
            living: engine.state(LIVING.ttl(ttl(LIVING_MS[program.life], Clock::Event, Renewal::CreateAndWrite)))?,
            renewed: engine.state(RENEWED)?,
            names: engine.state(NAMES)?,
            sum: engine.state(SUM)?,
            min: engine.state(MIN)?,
            max: engine.state(MAX)?,
            longest: engine.state(LONGEST)?,
            mean: engine.state(MEAN)?,
            counting: engine.state(COUNTING)?,
            idle: [engine.timers("idle")?, engine.processing_timers("tick")?],
            window: [engine.timers("window")?, engine.processing_timers("pulse")?],
        })
    }

    /// Declares states by a program that reads no earlier version.
    pub fn declare_forgetful(engine: &mut Engine, program: Program) -> bedload::Result<()> {
        match program.version {
            1 => Versioned::declare(engine, program, specs::<First>()).map(drop),
            _ => Versioned::declare(engine, program, second_specs(true)).map(drop),
        }
    }

    /// Sets a timer.
    pub fn set(&self, keyed: &mut Keyed<'_>, timer: Due) -> bedload::Result<()> {
        match timer.queue % 2 {
            0 => keyed.set_timer(&self.idle[timer.queue / 2], timer.at),
            _ => keyed.namespace(&timer.namespace).set_timer(&self.window[timer.queue / 2], timer.at),
        }
    }

    /// Deletes a timer.
    pub fn delete(&self, keyed: &mut Keyed<'_>, timer: Due) -> bedload::Result<()> {
        match timer.queue % 2 {
            0 => keyed.delete_timer(&self.idle[timer.queue / 2], timer.at),
            _ => keyed.namespace(&timer.namespace).delete_timer(&self.window[timer.queue / 2], timer.at),
        }
    }

    /// Which timer fires.
    pub fn due(&self, fired: &Fired<'_>, key: u64) -> bedload::Result<Due> {
        let at = fired.at();
        for number in 0..2 {
            if fired.is(&self.idle[number]) {
                return Ok(Due { at, queue: number * 2, key, namespace: 0 });
            }
            if fired.is(&self.window[number]) {
                return Ok(Due { at, queue: number * 2 + 1, key, namespace: fired.namespace::<u64>()? });
            }
        }
        panic!("timers of {} fire", fired.name())
    }

    /// Shows the keys and namespaces of a state.
    pub fn keys<K: Ordered<Owned = K>>(
        &self,
        engine: &Engine,
        state: usize,
        look: &mut impl FnMut(K, u64) -> bedload::Result<()>,
    ) -> bedload::Result<()> {
        match (state, &self.versioned) {
            (0, OfVersion::First(states)) => engine.keys::<K, _>(&states.value, |key, ()| look(key, 0)),
            (0, OfVersion::Second(states)) => engine.keys::<K, _>(&states.value, |key, ()| look(key, 0)),
            (1, OfVersion::First(states)) => engine.keys::<K, _>(&states.list, look),
            (1, OfVersion::Second(states)) => engine.keys::<K, _>(&states.list, look),
            (2, OfVersion::First(states)) => engine.keys::<K, _>(&states.map, |key, ()| look(key, 0)),
            (2, OfVersion::Second(states)) => engine.keys::<K, _>(&states.map, |key, ()| look(key, 0)),
            (3, _) => engine.keys::<K, _>(&self.plain, look),
            (4, _) => engine.keys::<K, _>(&self.living, look),
            (5, _) => engine.keys::<K, _>(&self.renewed, |key, ()| look(key, 0)),
            (6, _) => engine.keys::<K, _>(&self.names, look),
            (7, _) => engine.keys::<K, _>(&self.sum, look),
            (8, _) => engine.keys::<K, _>(&self.min, |key, ()| look(key, 0)),
            (9, _) => engine.keys::<K, _>(&self.max, look),
            (10, _) => engine.keys::<K, _>(&self.longest, look),
            (12, _) => engine.keys::<K, _>(&self.counting, look),
            _ => engine.keys::<K, _>(&self.mean, look),
        }
    }

    /// Migrates one of the versioned states.
    pub fn migrate(&self, engine: &mut Engine, state: usize) -> bedload::Result<usize> {
        match (state, &self.versioned) {
            (0, OfVersion::First(states)) => engine.migrate(&states.value),
            (0, OfVersion::Second(states)) => engine.migrate(&states.value),
            (1, OfVersion::First(states)) => engine.migrate(&states.list),
            (1, OfVersion::Second(states)) => engine.migrate(&states.list),
            (_, OfVersion::First(states)) => engine.migrate(&states.map),
            (_, OfVersion::Second(states)) => engine.migrate(&states.map),
        }
    }
}

fn name(number: u64) -> String {
    format!("{}\0", number % 10)
}

/// Applies an operation to an engine.
pub fn apply(keyed: &mut Keyed<'_>, handles: &Handles, operation: Operation) -> bedload::Result<Answer> {
    let Operation { state, namespace, .. } = operation;
    if operation.what == 6 {
        match (state, &handles.versioned) {
            (1, OfVersion::First(states)) => return join(keyed, &states.list, operation),
            (1, OfVersion::Second(states)) => return join(keyed, &states.list, operation),
            (4, _) => return join(keyed, &handles.living, operation),
            (7, _) => return join(keyed, &handles.sum, operation),
            (9, _) => return join(keyed, &handles.max, operation),
            (10, _) => return join(keyed, &handles.longest, operation),
            (11, _) => return join(keyed, &handles.mean, operation),
            (12, _) => return join(keyed, &handles.counting, operation),
            _ => {}
        }
    }
    match (state, &handles.versioned) {
        (0, OfVersion::First(states)) => on_value(keyed, &states.value, operation),
        (0, OfVersion::Second(states)) => on_value(keyed, &states.value, operation),
        (1, OfVersion::First(states)) => on_list(&mut keyed.namespace(&namespace), &states.list, operation),
        (1, OfVersion::Second(states)) => on_list(&mut keyed.namespace(&namespace), &states.list, operation),
        (2, OfVersion::First(states)) => on_map(keyed, &states.map, operation, |number| number as u32 % 10, u64::from),
        (2, OfVersion::Second(states)) => on_map(keyed, &states.map, operation, |number| number as u32 % 10, u64::from),
        (3, _) => on_value(&mut keyed.namespace(&namespace), &handles.plain, operation),
        (4, _) => on_list(&mut keyed.namespace(&namespace), &handles.living, operation),
        (5, _) => on_list(keyed, &handles.renewed, operation),
        (6, _) => on_names(&mut keyed.namespace(&namespace), &handles.names, operation),
        (7, _) => on_reducing(&mut keyed.namespace(&namespace), &handles.sum, operation),
        (8, _) => on_reducing(keyed, &handles.min, operation),
        (9, _) => on_reducing(&mut keyed.namespace(&namespace), &handles.max, operation),
        (10, _) => on_reducing(&mut keyed.namespace(&namespace), &handles.longest, operation),
        (12, _) => on_reducing(&mut keyed.namespace(&namespace), &handles.counting, operation),
        _ => {
            let mut keyed = keyed.namespace(&namespace);
            match operation.what {
                0 => Ok(keyed.get(&handles.mean)?.map(|mean| (0, mean, 0)).into_iter().collect()),
                7 => keyed.clear(&handles.mean).map(|()| Answer::new()),
                _ => keyed.add(&handles.mean, added(operation).number).map(|()| Answer::new()),
            }
        }
    }
}

fn join<S: Mergeable<Namespace = u64>>(
    keyed: &mut Keyed<'_>,
    state: &State<S>,
    operation: Operation,
) -> bedload::Result<Answer> {
    let [first, second] = &operation.from;
    keyed.merge_namespaces(state, &operation.namespace, &[first, second])?;
    Ok(Answer::new())
}

fn on_value<T: Thing, N: Ordered + ?Sized>(
    keyed: &mut Keyed<'_, N>,
    state: &State<Value<T, N>>,
    operation: Operation,
) -> bedload::Result<Answer> {
    let new = added(operation);
    match operation.what {
        0 => return Ok(keyed.get(state)?.iter().map(Thing::parts).collect()),
        1..3 => keyed.set(state, &T::of(new.number, new.more))?,
        3..7 => {
            let former = keyed.update(state, |value| {
                let former = value.as_ref().map(Thing::parts);
                let sum = former.map_or(0, |(_, number, _)| number).wrapping_add(new.number);
                *value = (!operation.number.is_multiple_of(5)).then(|| T::of(sum, new.more));
                former
            })?;
            return Ok(former.into_iter().collect());
        }
        _ => keyed.clear(state)?,
    }
    Ok(Answer::new())
}

fn on_list<T: Thing, N: Ordered + ?Sized>(
    keyed: &mut Keyed<'_, N>,
    state: &State<List<T, N>>,
    operation: Operation,
) -> bedload::Result<Answer> {
    let new = added(operation);
    match operation.what {
        0 => return Ok(keyed.get(state)?.iter().map(Thing::parts).collect()),
        1 => {
            let items: Vec<T> = (0..new.number % 4).map(|number| T::of(number, new.more)).collect();
            keyed.set_list(state, &items)?;
        }
        7 => keyed.clear(state)?,
        _ => keyed.add(state, T::of(new.number, new.more))?,
    }
    Ok(Answer::new())
}

fn on_map<T: Thing, N: Ordered + ?Sized, K: Ordered<Owned = K> + Copy>(
    keyed: &mut Keyed<'_, N>,
    state: &State<Map<K, T, N>>,
    operation: Operation,
    map_key: impl Fn(u64) -> K,
    number_of: impl Fn(K) -> u64,
) -> bedload::Result<Answer> {
    let new = added(operation);
    let key = map_key(operation.number);
    match operation.what {
        0 => match operation.number % 4 {
            0 => return Ok(keyed.find(state, &key)?.iter().map(Thing::parts).collect()),
            1 => return Ok(vec![(0, i64::from(keyed.contains(state, &key)?), 0)]),
            2 => return Ok(vec![(0, i64::from(keyed.is_empty(state)?), 0)]),
            _ => {}
        },
        1..4 => return keyed.insert(state, &key, &T::of(new.number, new.more)).map(|()| Answer::new()),
        4 => return keyed.remove(state, &key).map(|()| Answer::new()),
        7 if operation.number.is_multiple_of(3) => return keyed.clear(state).map(|()| Answer::new()),
        _ => {}
    }
    let mut all = Answer::new();
    let mut entries = keyed.entries(state);
    while let Some((key, value)) = entries.next()? {
        let (number, (_, value, more)) = (number_of(key), value.parts());
        all.push((number, value, more));
        if removes(operation, number) {
            entries.remove()?;
        }
    }
    Ok(all)
}

fn on_names(
    keyed: &mut Keyed<'_, u64>,
    state: &State<Map<str, i64, u64>>,
    operation: Operation,
) -> bedload::Result<Answer> {
    let key = name(operation.number);
    match operation.what {
        0 => match operation.number % 4 {
            0 => return Ok(keyed.find(state, &key)?.iter().map(Thing::parts).collect()),
            1 => return Ok(vec![(0, i64::from(keyed.contains(state, &key)?), 0)]),
            2 => return Ok(vec![(0, i64::from(keyed.is_empty(state)?), 0)]),
            _ => {}
        },
        1..4 => return keyed.insert(state, &key, &added(operation).number).map(|()| Answer::new()),
        4 => return keyed.remove(state, &key).map(|()| Answer::new()),
        7 if operation.number.is_multiple_of(3) => return keyed.clear(state).map(|()| Answer::new()),
        _ => {}
    }
    let mut all = Answer::new();
    let mut entries = keyed.entries(state);
    while let Some((key, value)) = entries.next()? {
        let number = key.trim_end_matches('\0').parse().expect("names are numbers");
        all.push((number, value, 0));
        if removes(operation, number) {
            entries.remove()?;
        }
    }
    Ok(all)
}

/// Whether an operation that shows entries removes this one.
fn removes(operation: Operation, map_key: u64) -> bool {
    operation.what > 0 && map_key % 3 == operation.number % 3
}

fn on_reducing<T: Thing, N: Ordered + ?Sized>(
    keyed: &mut Keyed<'_, N>,
    state: &State<Reducing<T, N>>,
    operation: Operation,
) -> bedload::Result<Answer> {
    match operation.what {
        0 => return Ok(keyed.get(state)?.iter().map(Thing::parts).collect()),
        7 => keyed.clear(state)?,
        _ => keyed.add(state, T::of(added(operation).number, 0))?,
    }
    Ok(Answer::new())
}

/// What an operation adds or sets.
fn added(operation: Operation) -> Item {
    let number = if operation.state == 10 { operation.number % 30 } else { operation.number } as i64;
    Item { number, more: operation.number as u32 % 7, version: 1, end: None }
}

/// How two items of a state become one.
fn fold(state: usize, left: Item, right: Item) -> Item {
    let number = match state {
        7 | 11 => left.number + right.number,
        8 => left.number.min(right.number),
        12 => last_that_counts(left.number, right.number),
        _ => left.number.max(right.number),
    };
    Item { number, more: left.more + right.more, ..right }
}

/// What the model says to an operation.
pub fn answer(model: &mut Model, program: Program, key: u64, operation: Operation) -> Answer {
    let Operation { state, what, namespace, .. } = operation;
    let life = life_of(state, program);
    let slot = (state, key, namespace, 0);
    let version = if VERSIONED.contains(&state) { program.version } else { 1 };
    let mut new = Item { version, end: model.end(life), ..added(operation) };
    let parts = |item: &Item| (0, item.number, item.more);
    if !(VERSIONED.contains(&state) && version == 2) {
        new.more = u32::from(state == 11);
    }
    if state == 2 || state == 6 {
        return answer_of_map(model, life, key, operation, new);
    }
    if what == 0 {
        let items = model.read(slot, life);
        return match state {
            11 => items.iter().map(|mean| (0, mean.number / i64::from(mean.more), 0)).collect(),
            _ => items.iter().map(parts).collect(),
        };
    }
    if what == 7 {
        model.clear(slot);
        return Answer::new();
    }
    let is_list = matches!(state, 1 | 4 | 5);
    if what == 6 && matches!(state, 1 | 4 | 7 | 9..) {
        for from in operation.from {
            let moved = model.look((state, key, from, 0));
            model.clear((state, key, from, 0));
            let mut there = model.look(slot);
            if is_list {
                there.extend(moved);
                model.write(slot, there);
            } else if let Some(moved) = moved.first() {
                let joined = there.first().map_or(*moved, |there| fold(state, *there, *moved));
                model.write(slot, vec![Item { end: new.end, ..joined }]);
            }
        }
        return Answer::new();
    }
    let mut there = model.look(slot);
    match state {
        0 | 3 if what < 3 => model.write(slot, vec![new]),
        0 | 3 => {
            let former: Answer = there.iter().map(parts).collect();
            new.number += former.first().map_or(0, |(_, number, _)| *number);
            model.write(slot, if !operation.number.is_multiple_of(5) { vec![new] } else { Vec::new() });
            return former;
        }
        _ if is_list && what == 1 => {
            let items = (0..new.number % 4).map(|number| Item { number, ..new }).collect();
            model.write(slot, items);
        }
        _ if is_list => {
            there.push(new);
            model.write(slot, there);
        }
        _ => {
            let folded = there.first().map_or(new, |there| fold(state, *there, new));
            model.write(slot, vec![folded]);
        }
    }
    Answer::new()
}

fn answer_of_map(model: &mut Model, life: Option<Life>, key: u64, operation: Operation, new: Item) -> Answer {
    let Operation { state, what, namespace, number, .. } = operation;
    let slot = (state, key, namespace, number % 10);
    match what {
        0 => match number % 4 {
            0 => return model.read(slot, life).iter().map(|item| (0, item.number, item.more)).collect(),
            1 => return vec![(0, i64::from(!model.read(slot, life).is_empty()), 0)],
            2 => return vec![(0, i64::from(model.map_keys(slot).is_empty()), 0)],
            _ => {}
        },
        1..4 => {
            model.write(slot, vec![new]);
            return Answer::new();
        }
        4 => {
            model.write(slot, Vec::new());
            return Answer::new();
        }
        7 if number.is_multiple_of(3) => {
            model.clear(slot);
            return Answer::new();
        }
        _ => {}
    }
    let mut all = Answer::new();
    for map_key in model.map_keys(slot) {
        let slot = (state, key, namespace, map_key);
        all.extend(model.read(slot, life).iter().map(|item| (map_key, item.number, item.more)));
        if removes(operation, map_key) {
            model.write(slot, Vec::new());
        }
    }
    all
}
