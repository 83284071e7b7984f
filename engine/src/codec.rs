//! How values become bytes.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result, fix};
use crate::ordered::Ordered;

/// A way to write values of a type. Its name stands in every checkpoint, so that bytes are never read by another one.
pub trait Codec<T> {
    /// Names the form.
    const NAME: &'static str;

    /// Appends the bytes of a value.
    ///
    /// # Errors
    /// `Fix` when the value cannot be written.
    fn encode(value: &T, out: &mut Vec<u8>) -> Result<()>;

    /// Reads a value from all of `bytes`.
    ///
    /// # Errors
    /// `Damaged` when they are not what was written.
    fn decode(bytes: &[u8]) -> Result<T>;
}

/// [Postcard](https://docs.rs/postcard): compact, for whatever serde knows (the default). Fields may not be added or removed without a
/// new [version](crate::Spec::version).
#[derive(Clone, Copy, Debug)]
pub struct Postcard;

impl<T: Serialize + DeserializeOwned> Codec<T> for Postcard {
    const NAME: &'static str = "postcard";

    #[inline]
    fn encode(value: &T, out: &mut Vec<u8>) -> Result<()> {
        postcard::serialize_with_flavor(value, Tail(out))
            .map_err(|cause| fix(format!("a value cannot be written: {cause}")))
    }

    #[inline]
    fn decode(bytes: &[u8]) -> Result<T> {
        let damaged = |what: String| {
            Error::new(
                ErrorKind::Damaged,
                format!("a value cannot be read: {what}; was its type changed without a new version?"),
            )
        };
        let (value, rest) = postcard::take_from_bytes(bytes).map_err(|cause| damaged(cause.to_string()))?;
        if rest.is_empty() { Ok(value) } else { Err(damaged(format!("{} bytes too many", rest.len()))) }
    }
}

/// Lets postcard append to a vector.
struct Tail<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Tail<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    #[inline]
    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Bytes as they are.
#[derive(Clone, Copy, Debug)]
pub struct Raw;

impl Codec<Vec<u8>> for Raw {
    const NAME: &'static str = "raw";

    fn encode(value: &Vec<u8>, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(value);
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Vec<u8>> {
        Ok(bytes.to_vec())
    }
}

/// The bytes of [`Ordered`]: those of keys, for values.
#[derive(Clone, Copy, Debug)]
pub struct InOrder;

impl<T: Ordered<Owned = T>> Codec<T> for InOrder {
    const NAME: &'static str = "ordered";

    fn encode(value: &T, out: &mut Vec<u8>) -> Result<()> {
        value.encode(out);
        Ok(())
    }

    fn decode(mut bytes: &[u8]) -> Result<T> {
        let value = T::decode(&mut bytes)?;
        if bytes.is_empty() { Ok(value) } else { Err(crate::ordered::not_of(&T::name(), bytes)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_and_others_are_told() {
        let mut bytes = vec![9];
        <Postcard as Codec<(String, u64)>>::encode(&("Ely".into(), 7), &mut bytes).unwrap();
        let value: (String, u64) = Postcard::decode(&bytes[1..]).unwrap();
        assert_eq!(value, ("Ely".into(), 7));
        let cut: Result<(String, u64)> = Postcard::decode(&bytes[1..bytes.len() - 1]);
        assert_eq!(cut.unwrap_err().kind(), ErrorKind::Damaged);
        bytes.push(0);
        let long: Result<(String, u64)> = Postcard::decode(&bytes[1..]);
        assert!(long.unwrap_err().to_string().contains("1 bytes too many"));
        let ordered: Result<u32> = InOrder::decode(&[0; 5]);
        assert_eq!(ordered.unwrap_err().kind(), ErrorKind::Damaged);
    }
}
