//! Declarations of states: what is kept under a key, how it is written, how long it lives.

use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

use crate::codec::{Codec, Postcard};
use crate::error::{Error, ErrorKind, Result};
use crate::merge_function::MergeFunction;
use crate::ordered::Ordered;
use crate::state_key::{Kind, Tag};
use crate::ttl::{Ttl, Visibility};

/// How many earlier versions of a type a declaration may read.
const VERSIONS_MAX: usize = 8;

/// A kind of state: what [`Spec`] and [`State`] are about.
pub trait StateKind {
    /// What is written: the value, an element of the list, a value of the map, the accumulator.
    type Item;
    /// The type of the namespace, such as a window; `()` where there is none.
    type Namespace: ?Sized;
    /// How items are written.
    type Codec: Codec<Self::Item>;

    #[doc(hidden)]
    fn forms() -> Forms;
}

/// How the parts of a state are written, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forms {
    /// Items.
    pub codec: String,
    /// Namespaces.
    pub namespace: String,
    /// Keys of a map; none for other states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map_key: Option<String>,
}

macro_rules! kind {
    ($(#[$doc:meta])* $name:ident<$item:ident $(, $key:ident)?>) => {
        $(#[$doc])*
        pub struct $name<$($key: ?Sized,)? $item, N: ?Sized = (), C = Postcard>(PhantomData<fn() -> ($(Box<$key>,)? $item, C, Box<N>)>);

        impl<$($key: Ordered + ?Sized,)? $item, N: Ordered + ?Sized, C: Codec<$item>> StateKind for $name<$($key,)? $item, N, C> {
            type Item = $item;
            type Namespace = N;
            type Codec = C;

            fn forms() -> Forms {
                let map_key: Option<String> = None;
                $(let map_key = map_key.or(Some($key::name().into_owned()));)?
                Forms { codec: C::NAME.to_owned(), namespace: N::name().into_owned(), map_key }
            }
        }
    };
}

kind! {
    /// One value a key. Flink's `ValueState`.
    Value<T>
}
kind! {
    /// A list a key; adding reads nothing. Flink's `ListState`.
    List<T>
}
kind! {
    /// A map a key, in the order of its keys; text as keys is declared as `str`. Flink's `MapState`.
    Map<V, K>
}
kind! {
    /// One value a key, folded from what was added by a function of two values. Flink's `ReducingState`.
    Reducing<T>
}

/// One accumulator a key, folded from inputs of another type. Flink's `AggregatingState`.
pub struct Aggregating<A, N: ?Sized = (), C = Postcard>(PhantomData<Named<A, C, N>>);

/// Types that a declaration names and has no values of.
type Named<A, C, N> = fn() -> (A, C, Box<N>);

/// How inputs are aggregated. Flink's `AggregateFunction`.
///
/// ```
/// use bedload::Aggregate;
///
/// /// The mean of numbers.
/// struct Mean;
/// impl Aggregate for Mean {
///     type In = f64;
///     type Accumulator = (f64, u64);
///     type Out = f64;
///     fn start() -> (f64, u64) { (0.0, 0) }
///     fn add((sum, count): &mut (f64, u64), input: f64) { *sum += input; *count += 1 }
///     fn merge(left: &mut (f64, u64), right: (f64, u64)) { left.0 += right.0; left.1 += right.1 }
///     fn result((sum, count): &(f64, u64)) -> f64 { sum / *count as f64 }
/// }
/// # let _ = Mean;
/// ```
pub trait Aggregate {
    /// What is added.
    type In;
    /// What is kept.
    type Accumulator;
    /// What is read.
    type Out;

    /// The accumulator of nothing.
    fn start() -> Self::Accumulator;
    /// Adds an input.
    fn add(accumulator: &mut Self::Accumulator, input: Self::In);
    /// Joins two accumulators.
    fn merge(into: &mut Self::Accumulator, other: Self::Accumulator);
    /// What an accumulator comes to.
    fn result(accumulator: &Self::Accumulator) -> Self::Out;

    /// Joins two accumulators: [`Aggregate::merge`] as a [`MergeFunction`] takes it.
    fn join(mut older: Self::Accumulator, newer: Self::Accumulator) -> Self::Accumulator {
        Self::merge(&mut older, newer);
        older
    }
}

impl<A: Aggregate, N: Ordered + ?Sized, C: Codec<A::Accumulator>> StateKind for Aggregating<A, N, C> {
    type Item = A::Accumulator;
    type Namespace = N;
    type Codec = C;

    fn forms() -> Forms {
        Forms { codec: C::NAME.to_owned(), namespace: N::name().into_owned(), map_key: None }
    }
}

/// How a reducing state folds.
pub(crate) enum Reducer<T> {
    /// Numbers that the store itself folds, without a read.
    Stored,
    /// Any function; an add reads and writes.
    Function(fn(T, T) -> T),
    /// A function that the store applies, without a read; none where a program only looks at operands.
    Merged(Option<MergeFunction<T>>),
}

impl<T> Clone for Reducer<T> {
    fn clone(&self) -> Reducer<T> {
        *self
    }
}

impl<T> Copy for Reducer<T> {}

/// The declaration of a state: a name, and what stands under it. A constant, mostly.
///
/// ```
/// use std::time::Duration;
/// use bedload::{Clock, Map, Reducing, Spec, Ttl, Value};
///
/// const PLANE: Spec<Value<String>> = Value::named("plane");
/// const STOPS: Spec<Map<i64, String>> = Map::named("stops").ttl(Ttl::after(Duration::from_secs(6 * 3600)).clock(Clock::Event));
/// const FLIGHTS: Spec<Reducing<i64>> = Reducing::sum("flights");
/// # let _ = (PLANE, STOPS, FLIGHTS);
/// ```
pub struct Spec<S: StateKind> {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) ttl: Option<Ttl>,
    pub(crate) version: u8,
    pub(crate) earlier: [Option<Earlier<S::Item>>; VERSIONS_MAX],
    pub(crate) reducer: Reducer<S::Item>,
}

/// An earlier version of a type, and how it is read.
pub(crate) struct Earlier<T> {
    version: u8,
    read: fn(&[u8]) -> Result<T>,
}

impl<T> Clone for Earlier<T> {
    fn clone(&self) -> Earlier<T> {
        *self
    }
}

impl<T> Copy for Earlier<T> {}

impl<S: StateKind> Clone for Spec<S> {
    fn clone(&self) -> Spec<S> {
        *self
    }
}

impl<S: StateKind> Copy for Spec<S> {}

const fn spec<S: StateKind>(name: &'static str, kind: Kind, reducer: Reducer<S::Item>) -> Spec<S> {
    Spec { name, kind, ttl: None, version: 1, earlier: [None; VERSIONS_MAX], reducer }
}

impl<T, N: Ordered + ?Sized, C: Codec<T>> Value<T, N, C> {
    /// A value of this name.
    pub const fn named(name: &'static str) -> Spec<Value<T, N, C>> {
        spec(name, Kind::Value, Reducer::Stored)
    }
}

impl<T, N: Ordered + ?Sized, C: Codec<T>> List<T, N, C> {
    /// A list of this name.
    pub const fn named(name: &'static str) -> Spec<List<T, N, C>> {
        spec(name, Kind::List, Reducer::Stored)
    }
}

impl<K: Ordered + ?Sized, V, N: Ordered + ?Sized, C: Codec<V>> Map<K, V, N, C> {
    /// A map of this name.
    pub const fn named(name: &'static str) -> Spec<Map<K, V, N, C>> {
        spec(name, Kind::Map, Reducer::Stored)
    }
}

impl<N: Ordered + ?Sized> Reducing<i64, N> {
    /// The sum of what is added; adding reads nothing.
    pub const fn sum(name: &'static str) -> Spec<Reducing<i64, N>> {
        spec(name, Kind::Sum, Reducer::Stored)
    }

    /// The smallest number that was added; adding reads nothing.
    pub const fn min(name: &'static str) -> Spec<Reducing<i64, N>> {
        spec(name, Kind::Min, Reducer::Stored)
    }

    /// The largest number that was added; adding reads nothing.
    pub const fn max(name: &'static str) -> Spec<Reducing<i64, N>> {
        spec(name, Kind::Max, Reducer::Stored)
    }
}

impl<T, N: Ordered + ?Sized, C: Codec<T>> Reducing<T, N, C> {
    /// What `reduce` makes of the value so far and what is added. Adding reads and writes: for a function that is not associative. One
    /// that is belongs to [`Reducing::with`].
    pub const fn by(name: &'static str, reduce: fn(T, T) -> T) -> Spec<Reducing<T, N, C>> {
        spec(name, Kind::Value, Reducer::Function(reduce))
    }

    /// What an associative function makes of all that was added, in its order. Adding reads nothing: the function is applied where
    /// operands meet, in the memtable, in reads, flushes and merges of the store.
    ///
    /// Name and version of the function stand in every claim, and a program with another one is refused when it declares the state. What
    /// the function refuses stays as it was added: reading fails with what it said, [`Keyed::operands`](crate::Keyed::operands)
    /// shows it, and [`Stats::refused_merges`](crate::Stats::refused_merges) counts it.
    ///
    /// ```
    /// use bedload::{Engine, MergeFunction, Reducing, Spec, Start};
    ///
    /// const LONGEST: Spec<Reducing<String>> = Reducing::with(
    ///     "longest name",
    ///     MergeFunction::new("the longer text", 1, |older, newer| if newer.len() > older.len() { newer } else { older }),
    /// );
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let directory = tempfile::tempdir().unwrap();
    /// let mut engine = Engine::builder(directory.path()).start(Start::Empty).open().await?;
    /// let longest = engine.state(LONGEST)?;
    /// let mut plane = engine.with_key("N14228")?;
    /// for name in ["Ely", "Cambridge", "March"] {
    ///     plane.add(&longest, name.to_owned())?;
    /// }
    /// assert_eq!(plane.get(&longest)?.as_deref(), Some("Cambridge"));
    /// # Ok::<(), bedload::Error>(()) }).unwrap();
    /// ```
    pub const fn with(name: &'static str, function: MergeFunction<T>) -> Spec<Reducing<T, N, C>> {
        spec(name, Kind::Merged, Reducer::Merged(Some(function)))
    }

    /// A state of [`Reducing::with`] for a program that does not have its function: it shows [operands](crate::Keyed::operands), and adds
    /// to them.
    pub const fn without_function(name: &'static str) -> Spec<Reducing<T, N, C>> {
        spec(name, Kind::Merged, Reducer::Merged(None))
    }
}

impl<A: Aggregate, N: Ordered + ?Sized, C: Codec<A::Accumulator>> Aggregating<A, N, C> {
    /// An aggregate of this name.
    pub const fn named(name: &'static str) -> Spec<Aggregating<A, N, C>> {
        spec(name, Kind::Value, Reducer::Stored)
    }

    /// An aggregate whose accumulators the store joins, as [`Reducing::with`] does: adding reads nothing. [`Aggregate::join`] is the
    /// function, unless it is to be another.
    ///
    /// ```
    /// use bedload::{Aggregate, Aggregating, MergeFunction, Spec};
    /// # struct Mean;
    /// # impl Aggregate for Mean {
    /// #     type In = f64;
    /// #     type Accumulator = (f64, u64);
    /// #     type Out = f64;
    /// #     fn start() -> (f64, u64) { (0.0, 0) }
    /// #     fn add((sum, count): &mut (f64, u64), input: f64) { *sum += input; *count += 1 }
    /// #     fn merge(left: &mut (f64, u64), right: (f64, u64)) { left.0 += right.0; left.1 += right.1 }
    /// #     fn result((sum, count): &(f64, u64)) -> f64 { sum / *count as f64 }
    /// # }
    ///
    /// const MEAN: Spec<Aggregating<Mean>> = Aggregating::with("mean delay", MergeFunction::new("mean", 1, Mean::join));
    /// # let _ = MEAN;
    /// ```
    pub const fn with(name: &'static str, function: MergeFunction<A::Accumulator>) -> Spec<Aggregating<A, N, C>> {
        spec(name, Kind::Merged, Reducer::Merged(Some(function)))
    }
}

impl<S: StateKind> Spec<S> {
    /// Values live that long; elements of lists and maps each for itself.
    pub const fn ttl(mut self, ttl: Ttl) -> Spec<S> {
        self.ttl = Some(ttl);
        self
    }

    /// The version of the type of its items: 1 to 255 (default 1). A checkpoint of a later version is refused.
    pub const fn version(mut self, version: u8) -> Spec<S> {
        self.version = version;
        self
    }

    /// Reads items of an earlier `version`, which were of type `Old`. They are written anew when they are next written.
    pub const fn reads_version<Old>(mut self, version: u8) -> Spec<S>
    where
        S::Item: From<Old>,
        S::Codec: Codec<Old>,
    {
        let mut place = 0;
        while self.earlier[place].is_some() {
            place += 1;
        }
        self.earlier[place] = Some(Earlier { version, read: read_earlier::<Old, S> });
        self
    }

    /// The function that the store applies.
    pub(crate) fn function(&self) -> Option<&MergeFunction<S::Item>> {
        match &self.reducer {
            Reducer::Merged(function) => function.as_ref(),
            Reducer::Stored | Reducer::Function(_) => None,
        }
    }

    /// The first bytes of its keys.
    pub(crate) fn tag(&self) -> Tag {
        // What is merged must end by one clock, which its keys name; a value may change its clock.
        let is_merged = !matches!(self.kind, Kind::Value | Kind::Map);
        Tag::new(self.kind, self.ttl.filter(|_| is_merged).map(|ttl| ttl.which_clock()), self.name)
    }

    /// The oldest version that it reads.
    pub(crate) fn reads(&self, version: u8) -> bool {
        version == self.version || self.earlier.iter().flatten().any(|earlier| earlier.version == version)
    }

    /// Writes an item, behind its version.
    #[inline]
    pub(crate) fn encode(&self, item: &S::Item, out: &mut Vec<u8>) -> Result<()> {
        out.push(self.version);
        S::Codec::encode(item, out)
    }

    /// Reads an item.
    #[inline]
    pub(crate) fn decode(&self, bytes: &[u8]) -> Result<S::Item> {
        let fault = |what: &str| Error::new(ErrorKind::Damaged, format!("state {}: {what}", self.name));
        let (&version, bytes) = bytes.split_first().ok_or_else(|| fault("an item without a version"))?;
        if version == self.version {
            return S::Codec::decode(bytes);
        }
        match self.earlier.iter().flatten().find(|earlier| earlier.version == version) {
            Some(earlier) => (earlier.read)(bytes),
            None => Err(fault(&format!(
                "an item of version {version}, and this declaration of version {} does not read it",
                self.version
            ))),
        }
    }
}

fn read_earlier<Old, S: StateKind>(bytes: &[u8]) -> Result<S::Item>
where
    S::Item: From<Old>,
    S::Codec: Codec<Old>,
{
    Ok(<S::Codec as Codec<Old>>::decode(bytes)?.into())
}

/// A state of an open engine: what operations of a key are given.
pub struct State<S: StateKind> {
    pub(crate) spec: Spec<S>,
    pub(crate) tag: Tag,
    /// When the last of what earlier declarations wrote ends, where these had a longer life; 0 where none had.
    pub(crate) ends_until: u64,
}

impl<S: StateKind> Clone for State<S> {
    fn clone(&self) -> State<S> {
        *self
    }
}

impl<S: StateKind> Copy for State<S> {}

impl<S: StateKind> State<S> {
    /// Its name.
    pub fn name(&self) -> &'static str {
        self.spec.name
    }

    /// Whether reads show what has ended.
    #[inline]
    pub(crate) fn visibility(&self) -> Visibility {
        self.spec.ttl.map_or(Visibility::Living, |ttl| ttl.visibility())
    }
}
