//! What reading, adding and joining namespaces mean for each kind of state.

use bedload_lsm::{Expiry, frame, frames};

use super::{Core, Keyed};
use crate::backend::Change;
use crate::codec::Codec;
use crate::elements::{encode_element, split_end};
use crate::error::{Error, ErrorKind, Result};
use crate::ordered::Ordered;
use crate::spec::{Aggregate, Aggregating, List, Reducer, Reducing, State, StateKind, Value};
use crate::ttl::Visibility;

/// A state that is read as a whole.
pub trait Readable: StateKind + Sized {
    /// What reading gives.
    type Read;

    #[doc(hidden)]
    fn read(keyed: &mut Keyed<'_, Self::Namespace>, state: &State<Self>) -> Result<Self::Read>;
}

/// A state that is added to.
pub trait Addable: StateKind + Sized {
    /// What is added.
    type In;

    #[doc(hidden)]
    fn add(keyed: &mut Keyed<'_, Self::Namespace>, state: &State<Self>, input: Self::In) -> Result<()>;
}

/// A state whose namespaces can be joined.
pub trait Mergeable: StateKind + Sized {
    #[doc(hidden)]
    fn merge_into(keyed: &mut Keyed<'_, Self::Namespace>, state: &State<Self>, stored: &[u8]) -> Result<()>;
}

impl<T, N: Ordered + ?Sized, C: Codec<T>> Readable for Value<T, N, C> {
    type Read = Option<T>;

    #[inline]
    fn read(keyed: &mut Keyed<'_, N>, state: &State<Self>) -> Result<Option<T>> {
        keyed.item(state)
    }
}

impl<T, N: Ordered + ?Sized, C: Codec<T>> Readable for List<T, N, C> {
    type Read = Vec<T>;

    fn read(keyed: &mut Keyed<'_, N>, state: &State<Self>) -> Result<Vec<T>> {
        let mut items = Vec::new();
        keyed.each(state, |item| {
            items.push(item);
            Ok(())
        })?;
        Ok(items)
    }
}

impl<T, N: Ordered + ?Sized, C: Codec<T>> Addable for List<T, N, C> {
    type In = T;

    #[inline]
    fn add(keyed: &mut Keyed<'_, N>, state: &State<Self>, item: T) -> Result<()> {
        let expiry = keyed.expiry(state.spec.ttl);
        keyed.place(state.tag);
        let Core { backend, key, buffer, timer, .. } = &mut *keyed.core;
        encode_element(state, &item, expiry, buffer)?;
        timer.clear();
        frame(timer, buffer);
        // The list lives as long as the last of its elements, and an earlier declaration may have given some of them a longer life.
        let list_expiry = expiry.map(|expiry| Expiry { at: expiry.at.max(state.ends_until), ..expiry });
        backend.merge(key, timer, list_expiry)
    }
}

impl<T, N: Ordered + ?Sized, C: Codec<T>> Mergeable for List<T, N, C> {
    fn merge_into(keyed: &mut Keyed<'_, N>, state: &State<Self>, stored: &[u8]) -> Result<()> {
        let Some(ttl) = state.spec.ttl else {
            let (backend, key) = keyed.key(state.tag);
            return backend.merge(key, stored, None);
        };
        // Elements keep their ends, and the list lives as long as the last of them.
        let clock = ttl.clock_id();
        let (backend, key, buffer) = keyed.parts(state.tag);
        let now = backend.clocks().now(clock);
        backend.update(key, buffer, Visibility::Living, |list, out| {
            let mut last = 0;
            for element in frames(list.unwrap_or_default()).chain(frames(stored)) {
                let element = element?;
                let (at, _) = split_end(state, element)?;
                if at > now {
                    frame(out, element);
                    last = last.max(at);
                }
            }
            let change = if out.is_empty() { Change::Keep } else { Change::Write(Some(Expiry { clock, at: last })) };
            Ok((change, ()))
        })
    }
}

/// The number that a stored reducer keeps.
fn stored_number<T: 'static>(number: i64) -> T {
    let boxed: Box<dyn std::any::Any> = Box::new(number);
    *boxed.downcast::<T>().expect("the constructors of stored reducers are those of i64")
}

impl<T, N: Ordered + ?Sized, C: Codec<T>> Readable for Reducing<T, N, C>
where
    T: 'static,
{
    type Read = Option<T>;

    fn read(keyed: &mut Keyed<'_, N>, state: &State<Self>) -> Result<Option<T>> {
        match state.spec.reducer {
            Reducer::Function(_) => return keyed.item(state),
            Reducer::Merged(_) => return keyed.folded(state),
            Reducer::Stored => {}
        }
        let renewed = keyed.renewed(state.spec.ttl);
        let (backend, key, buffer) = keyed.parts(state.tag);
        backend.read_and_renew(key, buffer, renewed, state.visibility(), |bytes| {
            let Some(bytes) = bytes else { return Ok(None) };
            let number: [u8; 8] = bytes.try_into().map_err(|_| {
                Error::new(
                    ErrorKind::Damaged,
                    format!("state {}: {} bytes, expected a number of 8", state.spec.name, bytes.len()),
                )
            })?;
            Ok(Some(stored_number(i64::from_le_bytes(number))))
        })
    }
}

impl<T, N: Ordered + ?Sized, C: Codec<T>> Addable for Reducing<T, N, C>
where
    T: 'static,
{
    type In = T;

    fn add(keyed: &mut Keyed<'_, N>, state: &State<Self>, input: T) -> Result<()> {
        if let Reducer::Function(reduce) = state.spec.reducer {
            return keyed.change(state, Visibility::Living, |value| {
                *value = Some(match value.take() {
                    Some(so_far) => reduce(so_far, input),
                    None => input,
                });
                Ok(())
            });
        }
        if let Reducer::Merged(_) = state.spec.reducer {
            return keyed.add_operand(state, &input);
        }
        let input: &dyn std::any::Any = &input;
        let number = input.downcast_ref::<i64>().expect("the constructors of stored reducers are those of i64");
        let expiry = keyed.expiry(state.spec.ttl);
        let (backend, key) = keyed.key(state.tag);
        backend.merge(key, &number.to_le_bytes(), expiry)
    }
}

impl<T, N: Ordered + ?Sized, C: Codec<T>> Mergeable for Reducing<T, N, C>
where
    T: 'static,
{
    fn merge_into(keyed: &mut Keyed<'_, N>, state: &State<Self>, stored: &[u8]) -> Result<()> {
        if let Reducer::Function(_) = state.spec.reducer {
            let item = state.spec.decode(stored)?;
            return Self::add(keyed, state, item);
        }
        keyed.add_stored(state, stored)
    }
}

impl<A: Aggregate, N: Ordered + ?Sized, C: Codec<A::Accumulator>> Readable for Aggregating<A, N, C> {
    type Read = Option<A::Out>;

    fn read(keyed: &mut Keyed<'_, N>, state: &State<Self>) -> Result<Option<A::Out>> {
        let accumulator = match state.spec.reducer {
            Reducer::Merged(_) => keyed.folded(state)?,
            Reducer::Stored | Reducer::Function(_) => keyed.item(state)?,
        };
        Ok(accumulator.map(|accumulator| A::result(&accumulator)))
    }
}

impl<A: Aggregate, N: Ordered + ?Sized, C: Codec<A::Accumulator>> Addable for Aggregating<A, N, C> {
    type In = A::In;

    fn add(keyed: &mut Keyed<'_, N>, state: &State<Self>, input: A::In) -> Result<()> {
        if let Reducer::Merged(_) = state.spec.reducer {
            let mut operand = A::start();
            A::add(&mut operand, input);
            return keyed.add_operand(state, &operand);
        }
        keyed.change(state, Visibility::Living, |value| {
            A::add(value.get_or_insert_with(A::start), input);
            Ok(())
        })
    }
}

impl<A: Aggregate, N: Ordered + ?Sized, C: Codec<A::Accumulator>> Mergeable for Aggregating<A, N, C> {
    fn merge_into(keyed: &mut Keyed<'_, N>, state: &State<Self>, stored: &[u8]) -> Result<()> {
        if let Reducer::Merged(_) = state.spec.reducer {
            return keyed.add_stored(state, stored);
        }
        let other = state.spec.decode(stored)?;
        keyed.change(state, Visibility::Living, |value| {
            A::merge(value.get_or_insert_with(A::start), other);
            Ok(())
        })
    }
}
