//! Bytes that sort as the values do, and end where they end: keys, namespaces, keys of maps.
//!
//! | type | bytes |
//! |---|---|
//! | unsigned numbers, `bool` | big-endian |
//! | signed numbers | big-endian, with the sign turned over |
//! | `str`, `[u8]` | each zero followed by `ff`, then two zeros |
//! | `Option` | `00`, or `01` and the value |
//! | tuples, arrays | one part after the other |
//! | `()` | none |
//!
//! What is written by one type is read by that type. The name of a type stands in every checkpoint, so that another one is refused.

use std::borrow::Cow;

use crate::error::{Error, ErrorKind, Result};

/// A value whose bytes sort as it does.
///
/// ```
/// use bedload::Ordered;
///
/// let bytes = |value: &(i64, &str)| {
///     let mut bytes = Vec::new();
///     value.encode(&mut bytes);
///     bytes
/// };
/// assert!(bytes(&(-1, "b")) < bytes(&(0, "a")));
/// assert!(bytes(&(0, "a")) < bytes(&(0, "a\0")));
/// assert_eq!(<(i64, String)>::decode(&mut &bytes(&(7, "Ely"))[..])?, (7, "Ely".to_owned()));
/// # Ok::<(), bedload::Error>(())
/// ```
pub trait Ordered {
    /// What reading gives: the type itself, or its owned form.
    type Owned;

    /// Names the form of the bytes.
    fn name() -> Cow<'static, str>;

    /// Appends the bytes.
    fn encode(&self, out: &mut Vec<u8>);

    /// Takes a value from the front of `bytes`.
    ///
    /// # Errors
    /// `Damaged` when the bytes are not of this form.
    fn decode(bytes: &mut &[u8]) -> Result<Self::Owned>;

    /// Java's `hashCode` of the same value, where Java has one: what Apache Flink assigns keys by.
    fn java_hash(&self) -> Option<i32> {
        None
    }
}

/// The error for bytes that are not of the form of `name`.
pub(crate) fn not_of(name: &str, bytes: &[u8]) -> Error {
    let head = &bytes[..bytes.len().min(16)];
    Error::new(
        ErrorKind::Damaged,
        format!("{head:02x?} are not the bytes of a {name}; was it written by another type?"),
    )
}

fn take<'a, const N: usize>(bytes: &mut &'a [u8], name: &str) -> Result<&'a [u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>().ok_or_else(|| not_of(name, bytes))?;
    *bytes = rest;
    Ok(head)
}

macro_rules! unsigned {
    ($($type:ident),*) => {$(
        impl Ordered for $type {
            type Owned = $type;

            fn name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }

            #[inline]
            fn decode(bytes: &mut &[u8]) -> Result<$type> {
                Ok($type::from_be_bytes(*take(bytes, stringify!($type))?))
            }
        }
    )*};
}

macro_rules! signed {
    ($($type:ident as $unsigned:ident, $java:expr);*) => {$(
        impl Ordered for $type {
            type Owned = $type;

            fn name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&(*self as $unsigned ^ (1 << ($unsigned::BITS - 1))).to_be_bytes());
            }

            #[inline]
            fn decode(bytes: &mut &[u8]) -> Result<$type> {
                let turned = $unsigned::from_be_bytes(*take(bytes, stringify!($type))?);
                Ok((turned ^ (1 << ($unsigned::BITS - 1))) as $type)
            }

            fn java_hash(&self) -> Option<i32> {
                let hash: fn($type) -> Option<i32> = $java;
                hash(*self)
            }
        }
    )*};
}

unsigned!(u8, u16, u32, u64, u128);
signed!(
    i8 as u8, |value| Some(i32::from(value));
    i16 as u16, |value| Some(i32::from(value));
    i32 as u32, Some;
    // Long.hashCode: the halves, one over the other.
    i64 as u64, |value| Some((value ^ ((value as u64) >> 32) as i64) as i32);
    i128 as u128, |_| None
);

impl Ordered for bool {
    type Owned = bool;

    fn name() -> Cow<'static, str> {
        "bool".into()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn decode(bytes: &mut &[u8]) -> Result<bool> {
        match take::<1>(bytes, "bool")? {
            [0] => Ok(false),
            [1] => Ok(true),
            other => Err(not_of("bool", other)),
        }
    }
}

impl Ordered for () {
    type Owned = ();

    fn name() -> Cow<'static, str> {
        "()".into()
    }

    fn encode(&self, _: &mut Vec<u8>) {}

    fn decode(_: &mut &[u8]) -> Result<()> {
        Ok(())
    }
}

/// Writes bytes of any length so that their end is seen and their order stays.
fn encode_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() + 2);
    let mut rest = bytes;
    while let Some(zero) = rest.iter().position(|byte| *byte == 0) {
        out.extend_from_slice(&rest[..=zero]);
        out.push(0xff);
        rest = &rest[zero + 1..];
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(&[0, 0]);
}

fn decode_bytes(bytes: &mut &[u8], name: &str) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let zero = bytes.iter().position(|byte| *byte == 0).ok_or_else(|| not_of(name, bytes))?;
        out.extend_from_slice(&bytes[..zero]);
        let follower = *bytes.get(zero + 1).ok_or_else(|| not_of(name, bytes))?;
        *bytes = &bytes[zero + 2..];
        match follower {
            0 => return Ok(out),
            0xff => out.push(0),
            _ => return Err(not_of(name, &[0, follower])),
        }
    }
}

impl Ordered for [u8] {
    type Owned = Vec<u8>;

    fn name() -> Cow<'static, str> {
        "bytes".into()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        encode_bytes(self, out);
    }

    fn decode(bytes: &mut &[u8]) -> Result<Vec<u8>> {
        decode_bytes(bytes, "bytes")
    }
}

impl Ordered for str {
    type Owned = String;

    fn name() -> Cow<'static, str> {
        "str".into()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        encode_bytes(self.as_bytes(), out);
    }

    fn decode(bytes: &mut &[u8]) -> Result<String> {
        let text = decode_bytes(bytes, "str")?;
        String::from_utf8(text).map_err(|error| not_of("str", error.as_bytes()))
    }

    fn java_hash(&self) -> Option<i32> {
        Some(self.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit))))
    }
}

/// What a type that leads to another one says: all that the other one says.
macro_rules! as_target {
    ($target:ty) => {
        type Owned = <$target as Ordered>::Owned;

        fn name() -> Cow<'static, str> {
            <$target>::name()
        }

        fn encode(&self, out: &mut Vec<u8>) {
            <$target>::encode(self, out);
        }

        fn decode(bytes: &mut &[u8]) -> Result<Self::Owned> {
            <$target>::decode(bytes)
        }

        fn java_hash(&self) -> Option<i32> {
            <$target>::java_hash(self)
        }
    };
}

impl Ordered for String {
    as_target!(str);
}

impl Ordered for Vec<u8> {
    as_target!([u8]);
}

impl<T: Ordered + ?Sized> Ordered for &T {
    as_target!(T);
}

impl<const N: usize> Ordered for [u8; N] {
    type Owned = [u8; N];

    fn name() -> Cow<'static, str> {
        format!("[u8; {N}]").into()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn decode(bytes: &mut &[u8]) -> Result<[u8; N]> {
        take::<N>(bytes, "array").copied()
    }
}

impl<T: Ordered> Ordered for Option<T> {
    type Owned = Option<T::Owned>;

    fn name() -> Cow<'static, str> {
        format!("option {}", T::name()).into()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.is_some().encode(out);
        if let Some(value) = self {
            value.encode(out);
        }
    }

    fn decode(bytes: &mut &[u8]) -> Result<Option<T::Owned>> {
        Ok(if bool::decode(bytes)? { Some(T::decode(bytes)?) } else { None })
    }
}

macro_rules! tuple {
    ($($part:ident $place:tt),*) => {
        impl<$($part: Ordered),*> Ordered for ($($part,)*) {
            type Owned = ($($part::Owned,)*);

            fn name() -> Cow<'static, str> {
                format!("({})", [$($part::name()),*].join(", ")).into()
            }

            fn encode(&self, out: &mut Vec<u8>) {
                $(self.$place.encode(out);)*
            }

            fn decode(bytes: &mut &[u8]) -> Result<Self::Owned> {
                Ok(($($part::decode(bytes)?,)*))
            }
        }
    };
}

tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes<T: Ordered + ?Sized>(value: &T) -> Vec<u8> {
        let mut out = Vec::new();
        value.encode(&mut out);
        out
    }

    fn check<T: Ordered<Owned = T> + Ord + std::fmt::Debug>(left: &T, right: &T) -> Result<(), TestCaseError> {
        let (mine, theirs) = (bytes(left), bytes(right));
        prop_assert_eq!(mine.cmp(&theirs), left.cmp(right));
        let mut joined = mine.clone();
        joined.extend(&theirs);
        let mut rest = &joined[..];
        prop_assert_eq!(&T::decode(&mut rest).unwrap(), left);
        prop_assert_eq!(&T::decode(&mut rest).unwrap(), right);
        prop_assert!(rest.is_empty());
        for end in 0..mine.len() {
            prop_assert!(T::decode(&mut &mine[..end]).is_err(), "a cut value is told");
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn numbers_keep_their_order(left: (i64, u32, i8, bool), right: (i64, u32, i8, bool)) {
            check(&left, &right)?;
        }

        #[test]
        fn texts_keep_their_order_and_end(left: (String, Option<i32>), right: (String, Option<i32>)) {
            check(&left, &right)?;
        }

        #[test]
        fn bytes_keep_their_order_and_end(
            left in prop::collection::vec(0u8..3, 0..6),
            right in prop::collection::vec(0u8..3, 0..6),
        ) {
            check(&(left, 7u16), &(right, 7u16))?;
        }

        #[test]
        fn no_bytes_make_it_panic(hostile: Vec<u8>) {
            <(String, Option<i64>, bool)>::decode(&mut &hostile[..]).ok();
        }
    }

    #[test]
    fn types_are_told_apart_by_their_names() {
        assert_eq!(<(i64, Option<&str>)>::name(), "(i64, option str)");
        assert_eq!(<&[u8]>::name(), Vec::<u8>::name());
    }
}
