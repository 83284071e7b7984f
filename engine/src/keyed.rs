//! Operations on the states of one key.
//!
//! The bytes of key and namespace are written once, into a buffer that the engine keeps; each operation puts the tag of its state in
//! front. So nothing is allocated for an operation but what the values themselves need.

mod kinds;

use std::borrow::Cow;
use std::marker::PhantomData;

use bedload_lsm::{Expiry, KeyRange, frame, frames};
use bedload_snapshot::KeyGroups;

pub use self::kinds::{Addable, Mergeable, Readable};
use crate::backend::{Backend, Change, Place};
use crate::codec::Codec;
use crate::elements::{ELEMENT_END_BYTES, decode_element, encode_element};
use crate::error::{Error, Result, fix};
use crate::key_groups::{KeyHash, key_group};
use crate::operands::{folded, operands};
use crate::ordered::Ordered;
use crate::seeded::{Bug, is_seeded};
use crate::spec::{List, Map, State, StateKind, Value};
use crate::state_key::{GROUP_BYTES, HEAD_BYTES, Kind, Parts, Tag, framed};
use crate::timers::{Batch, Pass, Queue, Timers, timer_key};
use crate::ttl::{Ttl, Visibility};

/// What operations work on.
pub(crate) struct Core {
    pub backend: Backend,
    pub groups: KeyGroups,
    pub max_groups: u32,
    pub hash: KeyHash,
    /// The form of the keys, once one was seen or a checkpoint named it.
    pub key_form: Option<Cow<'static, str>>,
    /// The type that was last found to have that form.
    key_type: &'static str,
    pub queues: Vec<Queue>,
    pub pass: Option<Pass>,
    /// Buffers for timers that fire.
    pub batches: Vec<Batch>,
    /// A walk over a map, of which there is one at a time.
    place: Place,
    /// Group, tag, framed key, framed namespace, and behind them what an operation adds.
    key: Vec<u8>,
    /// Where the framed key ends in it.
    key_end: usize,
    buffer: Vec<u8>,
    timer: Vec<u8>,
}

impl Core {
    pub fn new(backend: Backend, groups: KeyGroups, max_groups: u32, hash: KeyHash) -> Core {
        Core {
            backend,
            groups,
            max_groups,
            hash,
            key_form: None,
            key_type: "",
            queues: Vec::new(),
            pass: None,
            batches: Vec::new(),
            place: Place::default(),
            key: Vec::new(),
            key_end: 0,
            buffer: Vec::new(),
            timer: Vec::new(),
        }
    }

    /// Goes to a record's key.
    #[inline]
    pub fn with_key<K: Ordered + ?Sized>(&mut self, key: &K) -> Result<Keyed<'_>> {
        self.check_form::<K>()?;
        self.key.clear();
        self.key.extend_from_slice(&[0; HEAD_BYTES]);
        let mut start = 0;
        framed(&mut self.key, |out| {
            start = out.len();
            key.encode(out);
        });
        self.key_end = self.key.len();
        // A long key was moved by the digits of its length.
        let length = self.key_end - start;
        let encoded = if length < 0x80 { &self.key[start..] } else { long_key(&self.key[HEAD_BYTES..]) };
        let group = key_group(self.hash.hash(key, encoded)?, self.max_groups);
        if group < self.groups.first || self.groups.last < group {
            return Err(self.foreign(group));
        }
        self.key[..GROUP_BYTES].copy_from_slice(&group.to_be_bytes());
        Ok(Keyed::new(self, true))
    }

    /// Goes to the key of a timer.
    pub fn with_timer_key(&mut self, parts: &Parts<'_>) -> Keyed<'_> {
        self.key.clear();
        self.key.extend_from_slice(&parts.group.to_be_bytes());
        self.key.extend_from_slice(&[0; 4]);
        framed(&mut self.key, |out| out.extend_from_slice(parts.key));
        self.key_end = self.key.len();
        Keyed::new(self, true)
    }

    #[cold]
    fn foreign(&self, group: u16) -> Error {
        fix(format!(
            "a key of group {group} was given to a worker of groups {}: route records by `key_group` and `subtask`",
            self.groups
        ))
    }

    #[inline]
    fn check_form<K: Ordered + ?Sized>(&mut self) -> Result<()> {
        let name = std::any::type_name::<K>();
        if std::ptr::eq(name, self.key_type) { Ok(()) } else { self.learn_form::<K>(name) }
    }

    #[cold]
    fn learn_form<K: Ordered + ?Sized>(&mut self, name: &'static str) -> Result<()> {
        let form = K::name();
        match &self.key_form {
            Some(known) if *known != form => {
                return Err(fix(format!(
                    "a key of form {form}, and the keys of this job are of form {known}: one job has one type of keys"
                )));
            }
            _ => {}
        }
        self.key_form = Some(form);
        self.key_type = name;
        Ok(())
    }
}

/// The bytes of a framed key whose length takes more than a byte.
fn long_key(mut framed: &[u8]) -> &[u8] {
    crate::state_key::unframe(&mut framed).expect("it was framed a moment ago")
}

/// The states of one key, and of one namespace where states have them.
///
/// Made by [`Engine::with_key`](crate::Engine::with_key), which hashes the key once.
pub struct Keyed<'a, N: ?Sized = ()> {
    core: &'a mut Core,
    /// Where the framed namespace ends in the core's key.
    end: usize,
    is_plain: bool,
    namespace: PhantomData<fn(&N)>,
}

impl<'a> Keyed<'a> {
    /// With or without an empty namespace.
    #[inline]
    fn new(core: &'a mut Core, is_plain: bool) -> Keyed<'a> {
        let end = core.key_end + 1;
        Keyed { core, end, is_plain, namespace: PhantomData }
    }

    /// The same key in a namespace, such as a window.
    #[inline]
    pub fn namespace<N: Ordered + ?Sized>(&mut self, namespace: &N) -> Keyed<'_, N> {
        let core = &mut *self.core;
        core.key.truncate(core.key_end);
        framed(&mut core.key, |out| namespace.encode(out));
        let end = core.key.len();
        Keyed { core, end, is_plain: false, namespace: PhantomData }
    }

    /// Joins what a state has in the namespaces `from` into the namespace `into`, and empties those: windows that grow together.
    ///
    /// # Errors
    /// Those of the store.
    pub fn merge_namespaces<S: Mergeable>(
        &mut self,
        state: &State<S>,
        into: &S::Namespace,
        from: &[&S::Namespace],
    ) -> Result<()>
    where
        S::Namespace: Ordered,
    {
        for namespace in from {
            let mut moved = Vec::new();
            let mut source = self.namespace(*namespace);
            let key = source.key(state.tag);
            let (backend, key) = key;
            let is_there = backend.read(key, Visibility::Living, |bytes| {
                moved.extend_from_slice(bytes.unwrap_or_default());
                Ok(bytes.is_some())
            })?;
            if is_there {
                backend.delete(key)?;
                S::merge_into(&mut self.namespace(into), state, &moved)?;
            }
        }
        Ok(())
    }
}

impl<N: Ordered + ?Sized> Keyed<'_, N> {
    /// The key of a state, and what it is used with.
    #[inline]
    fn key(&mut self, tag: Tag) -> (&mut Backend, &[u8]) {
        let (backend, key, _) = self.parts(tag);
        (backend, key)
    }

    #[inline]
    fn parts(&mut self, tag: Tag) -> (&mut Backend, &[u8], &mut Vec<u8>) {
        self.place(tag);
        let Core { backend, key, buffer, .. } = &mut *self.core;
        (backend, key, buffer)
    }

    /// Brings the core's key to this namespace and this tag.
    #[inline]
    fn place(&mut self, tag: Tag) {
        let core = &mut *self.core;
        if self.is_plain {
            core.key.truncate(core.key_end);
            core.key.push(0);
        } else {
            core.key.truncate(self.end);
        }
        core.key[GROUP_BYTES..HEAD_BYTES].copy_from_slice(&tag.0);
    }

    #[inline]
    fn expiry(&self, ttl: Option<Ttl>) -> Option<Expiry> {
        ttl.map(|ttl| ttl.expiry(self.core.backend.clocks().now(ttl.clock_id())))
    }

    /// What a state has under this key: the value, the list, the result.
    ///
    /// # Errors
    /// Those of the store; `Damaged` when the bytes are not what the declaration says.
    #[inline]
    pub fn get<S: Readable<Namespace = N>>(&mut self, state: &State<S>) -> Result<S::Read> {
        S::read(self, state)
    }

    /// Adds to a list, a reducing or an aggregating state.
    ///
    /// # Errors
    /// Those of the store; `Fix` when the codec cannot write it.
    #[inline]
    pub fn add<S: Addable<Namespace = N>>(&mut self, state: &State<S>, input: S::In) -> Result<()> {
        S::add(self, state, input)
    }

    /// Removes all that a state has under this key; of a map, by one range delete.
    ///
    /// # Errors
    /// Those of the store.
    pub fn clear<S: StateKind<Namespace = N>>(&mut self, state: &State<S>) -> Result<()> {
        let (backend, key) = self.key(state.tag);
        match state.spec.kind {
            Kind::Map => backend.delete_range(&KeyRange::prefix(key)),
            _ => backend.delete(key),
        }
    }

    /// Sets a value.
    ///
    /// # Errors
    /// As [`Keyed::add`].
    #[inline]
    pub fn set<T, C: Codec<T>>(&mut self, state: &State<Value<T, N, C>>, value: &T) -> Result<()> {
        let expiry = self.expiry(state.spec.ttl);
        let (backend, key, buffer) = self.parts(state.tag);
        buffer.clear();
        state.spec.encode(value, buffer)?;
        backend.put(key, buffer, expiry)
    }

    /// Changes a value in one descent: `change` sees it, or none, and what it leaves is written.
    ///
    /// ```
    /// # use bedload::{Engine, Spec, Start, Value};
    /// const FLIGHTS: Spec<Value<u64>> = Value::named("flights");
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let directory = tempfile::tempdir().unwrap();
    /// let mut engine = Engine::builder(directory.path()).start(Start::Empty).open().await?;
    /// let flights = engine.state(FLIGHTS)?;
    /// let mut plane = engine.with_key("N14228")?;
    /// plane.update(&flights, |count| *count.get_or_insert_default() += 1)?;
    /// assert_eq!(plane.get(&flights)?, Some(1));
    /// # Ok::<(), bedload::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As [`Keyed::get`] and [`Keyed::add`].
    #[inline]
    pub fn update<T, C: Codec<T>, R>(
        &mut self,
        state: &State<Value<T, N, C>>,
        change: impl FnOnce(&mut Option<T>) -> R,
    ) -> Result<R> {
        self.change(state, state.visibility(), |value| Ok(change(value)))
    }

    /// Reads an item, lets it be changed, and writes it.
    #[inline]
    fn change<S: StateKind, R>(
        &mut self,
        state: &State<S>,
        visibility: Visibility,
        change: impl FnOnce(&mut Option<S::Item>) -> Result<R>,
    ) -> Result<R> {
        let expiry = self.expiry(state.spec.ttl);
        let (backend, key, buffer) = self.parts(state.tag);
        backend.update(key, buffer, visibility, |bytes, out| {
            let mut value = bytes.map(|bytes| state.spec.decode(bytes)).transpose()?;
            let result = change(&mut value)?;
            let change = match (&value, bytes) {
                (Some(value), _) => {
                    state.spec.encode(value, out)?;
                    Change::Write(expiry)
                }
                (None, Some(_)) => Change::Delete,
                (None, None) => Change::Keep,
            };
            Ok((change, result))
        })
    }

    /// Reads an item; renews its life where the declaration says so.
    #[inline]
    fn item<S: StateKind>(&mut self, state: &State<S>) -> Result<Option<S::Item>> {
        let renewed = self.renewed(state.spec.ttl);
        let (backend, key, buffer) = self.parts(state.tag);
        let look = |bytes: Option<&[u8]>| bytes.map(|bytes| state.spec.decode(bytes)).transpose();
        backend.read_and_renew(key, buffer, renewed, state.visibility(), look)
    }

    /// When something ends whose life is renewed by a read of now.
    #[inline]
    fn renewed(&self, ttl: Option<Ttl>) -> Option<Expiry> {
        self.expiry(ttl.filter(|ttl| ttl.is_renewed_by_reads() && !is_seeded(Bug::ReadsRenewNothing)))
    }

    /// What was added to a state with a [merge function](crate::MergeFunction), as far as the function has not made one of it: one operand,
    /// mostly, and more where it refuses or is not to be had.
    ///
    /// # Errors
    /// As [`Keyed::get`]; `Fix` for a state of another kind.
    pub fn operands<S: StateKind<Namespace = N>>(&mut self, state: &State<S>) -> Result<Vec<S::Item>> {
        if state.spec.kind != Kind::Merged {
            return Err(fix(format!("state {}: it is not declared with a merge function", state.spec.name)));
        }
        let (backend, key) = self.key(state.tag);
        backend.read(key, state.visibility(), |list| operands(&state.spec, list.unwrap_or_default()))
    }

    /// Reads what operands come to; renews their life where the declaration says so.
    fn folded<S: StateKind>(&mut self, state: &State<S>) -> Result<Option<S::Item>> {
        let renewed = self.renewed(state.spec.ttl);
        let (backend, key, buffer) = self.parts(state.tag);
        backend.read_and_renew(key, buffer, renewed, state.visibility(), |list| {
            folded(&state.spec, state.spec.function(), list.unwrap_or_default())
        })
    }

    /// Adds an operand.
    fn add_operand<S: StateKind>(&mut self, state: &State<S>, operand: &S::Item) -> Result<()> {
        let expiry = self.expiry(state.spec.ttl);
        self.place(state.tag);
        let Core { backend, key, buffer, .. } = &mut *self.core;
        let mut written = Ok(());
        buffer.clear();
        framed(buffer, |out| written = state.spec.encode(operand, out));
        written?;
        backend.merge(key, buffer, expiry)
    }

    /// Adds operands as they are stored.
    fn add_stored<S: StateKind>(&mut self, state: &State<S>, stored: &[u8]) -> Result<()> {
        let expiry = self.expiry(state.spec.ttl);
        let (backend, key) = self.key(state.tag);
        backend.merge(key, stored, expiry)
    }

    /// Replaces a list.
    ///
    /// # Errors
    /// As [`Keyed::add`].
    pub fn set_list<T, C: Codec<T>>(&mut self, state: &State<List<T, N, C>>, items: &[T]) -> Result<()> {
        let expiry = self.expiry(state.spec.ttl);
        let mut list = Vec::new();
        let mut element = Vec::new();
        for item in items {
            encode_element(state, item, expiry, &mut element)?;
            frame(&mut list, &element);
        }
        let (backend, key) = self.key(state.tag);
        if items.is_empty() { backend.delete(key) } else { backend.put(key, &list, expiry) }
    }

    /// Shows the elements of a list in order, without collecting them.
    ///
    /// # Errors
    /// As [`Keyed::get`], and those of `look`.
    pub fn each<T, C: Codec<T>>(
        &mut self,
        state: &State<List<T, N, C>>,
        mut look: impl FnMut(T) -> Result<()>,
    ) -> Result<()> {
        let now = state.spec.ttl.map(|ttl| self.core.backend.clocks().now(ttl.clock_id()));
        let renewed = self.renewed(state.spec.ttl);
        let (backend, key, buffer) = self.parts(state.tag);
        let visibility = state.visibility();
        let Some(renewed) = renewed else {
            return backend.read(key, visibility, |list| {
                for element in frames(list.unwrap_or_default()) {
                    let (item, lives) = decode_element(state, element?, now)?;
                    if lives || visibility == Visibility::UntilCleaned {
                        look(state.spec.decode(item)?)?;
                    }
                }
                Ok(())
            });
        };
        let mut renewed_element = Vec::new();
        backend.update(key, buffer, visibility, |list, out| {
            for element in frames(list.unwrap_or_default()) {
                let element = element?;
                let (item, lives) = decode_element(state, element, now)?;
                if !lives {
                    if visibility == Visibility::UntilCleaned {
                        look(state.spec.decode(item)?)?;
                    }
                    continue;
                }
                let item = state.spec.decode(item)?;
                renewed_element.clear();
                renewed_element.extend_from_slice(&renewed.at.to_be_bytes());
                renewed_element.extend_from_slice(&element[ELEMENT_END_BYTES..]);
                frame(out, &renewed_element);
                look(item)?;
            }
            let change = if out.is_empty() { Change::Keep } else { Change::Write(Some(renewed)) };
            Ok((change, ()))
        })
    }

    /// Puts into a map.
    ///
    /// # Errors
    /// As [`Keyed::add`].
    #[inline]
    pub fn insert<K: Ordered + ?Sized, V, C: Codec<V>>(
        &mut self,
        state: &State<Map<K, V, N, C>>,
        map_key: &K,
        value: &V,
    ) -> Result<()> {
        let expiry = self.expiry(state.spec.ttl);
        self.place(state.tag);
        map_key.encode(&mut self.core.key);
        let Core { backend, key, buffer, .. } = &mut *self.core;
        buffer.clear();
        state.spec.encode(value, buffer)?;
        backend.put(key, buffer, expiry)
    }

    /// The value under a key of a map.
    ///
    /// # Errors
    /// As [`Keyed::get`].
    #[inline]
    pub fn find<K: Ordered + ?Sized, V, C: Codec<V>>(
        &mut self,
        state: &State<Map<K, V, N, C>>,
        map_key: &K,
    ) -> Result<Option<V>> {
        let renewed = self.renewed(state.spec.ttl);
        self.place(state.tag);
        map_key.encode(&mut self.core.key);
        let Core { backend, key, buffer, .. } = &mut *self.core;
        let look = |bytes: Option<&[u8]>| bytes.map(|bytes| state.spec.decode(bytes)).transpose();
        backend.read_and_renew(key, buffer, renewed, state.visibility(), look)
    }

    /// Whether a map has a key.
    ///
    /// # Errors
    /// Those of the store.
    pub fn contains<K: Ordered + ?Sized, V, C: Codec<V>>(
        &mut self,
        state: &State<Map<K, V, N, C>>,
        map_key: &K,
    ) -> Result<bool> {
        let renewed = self.renewed(state.spec.ttl);
        self.place(state.tag);
        map_key.encode(&mut self.core.key);
        let Core { backend, key, buffer, .. } = &mut *self.core;
        backend.read_and_renew(key, buffer, renewed, state.visibility(), |bytes| Ok(bytes.is_some()))
    }

    /// Removes a key of a map.
    ///
    /// # Errors
    /// Those of the store.
    pub fn remove<K: Ordered + ?Sized, V, C: Codec<V>>(
        &mut self,
        state: &State<Map<K, V, N, C>>,
        map_key: &K,
    ) -> Result<()> {
        self.place(state.tag);
        map_key.encode(&mut self.core.key);
        let Core { backend, key, .. } = &mut *self.core;
        backend.delete(key)
    }

    /// The entries of a map in the order of their keys; they may be removed on the way.
    pub fn entries<K: Ordered + ?Sized, V, C: Codec<V>>(
        &mut self,
        state: &State<Map<K, V, N, C>>,
    ) -> Entries<'_, K, V, N, C> {
        let renewed = self.renewed(state.spec.ttl);
        self.place(state.tag);
        let Core { backend, key, place, .. } = &mut *self.core;
        let prefix_bytes = key.len();
        backend.go_to(place, key, state.visibility());
        Entries { core: self.core, prefix_bytes, renewed, state: *state }
    }

    /// Whether a map has no entries.
    ///
    /// # Errors
    /// Those of the store.
    pub fn is_empty<K: Ordered + ?Sized, V, C: Codec<V>>(&mut self, state: &State<Map<K, V, N, C>>) -> Result<bool> {
        let (backend, key) = self.key(state.tag);
        let mut is_empty = true;
        backend.scan(&KeyRange::prefix(key), state.visibility(), |_, _| {
            is_empty = false;
            Ok(false)
        })?;
        Ok(is_empty)
    }

    /// Sets a timer for this key and namespace, at a time in milliseconds. One that is set already is set once. One at or below the
    /// present reading of its clock fires at the next advance.
    ///
    /// # Errors
    /// Those of the store.
    pub fn set_timer(&mut self, timers: &Timers<N>, at: u64) -> Result<()> {
        self.place(timers.tag);
        let Core { backend, key, timer, queues, pass, .. } = &mut *self.core;
        let group = [key[0], key[1]];
        timer_key(group, timers.tag, at, &key[HEAD_BYTES..], timer);
        let queue = &mut queues[timers.queue];
        if let Some(pass) = pass.as_mut().filter(|pass| pass.takes(queue.clock, at)) {
            // One that was deleted before stays deleted for this pass.
            pass.late.insert(timer.clone());
            return Ok(());
        }
        queue.note(u16::from_be_bytes(group), at);
        backend.put(timer, &[], None)
    }

    /// Deletes a timer of this key and namespace; none is no error.
    ///
    /// # Errors
    /// Those of the store.
    pub fn delete_timer(&mut self, timers: &Timers<N>, at: u64) -> Result<()> {
        self.place(timers.tag);
        let Core { backend, key, timer, queues, pass, .. } = &mut *self.core;
        timer_key([key[0], key[1]], timers.tag, at, &key[HEAD_BYTES..], timer);
        if let Some(pass) = pass.as_mut().filter(|pass| pass.takes(queues[timers.queue].clock, at)) {
            pass.late.remove(timer);
            pass.deleted.insert(timer.clone());
        }
        backend.delete(timer)
    }
}

/// The entries of a map, one after the other.
pub struct Entries<'a, K: Ordered + ?Sized, V, N: Ordered + ?Sized, C: Codec<V>> {
    core: &'a mut Core,
    prefix_bytes: usize,
    /// The end of what is shown, where reads renew lives.
    renewed: Option<Expiry>,
    state: State<Map<K, V, N, C>>,
}

impl<K: Ordered + ?Sized, V, N: Ordered + ?Sized, C: Codec<V>> Entries<'_, K, V, N, C> {
    /// The next entry.
    ///
    /// # Errors
    /// As [`Keyed::get`].
    #[expect(clippy::should_implement_trait, reason = "entries are removed between two steps, and steps fail")]
    pub fn next(&mut self) -> Result<Option<(K::Owned, V)>> {
        let Core { backend, place, buffer, .. } = &mut *self.core;
        let Some((key, value)) = backend.next(place)? else { return Ok(None) };
        if self.renewed.is_some() {
            backend.read_and_renew(key, buffer, self.renewed, self.state.visibility(), |_| Ok(()))?;
        }
        let mut map_key = &key[self.prefix_bytes..];
        Ok(Some((K::decode(&mut map_key)?, self.state.spec.decode(value)?)))
    }

    /// Removes the entry that was shown last.
    ///
    /// # Errors
    /// Those of the store; `Fix` when none was shown, or it was removed already.
    pub fn remove(&mut self) -> Result<()> {
        let Core { backend, place, .. } = &mut *self.core;
        backend.remove_at(place)
    }
}
