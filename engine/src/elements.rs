//! Elements of lists: items, each behind its end where the list has a life.

use bedload_lsm::{Expiry, frames};

use crate::error::{Error, ErrorKind, Result};
use crate::spec::{State, StateKind};

/// Bytes of the end of an element, where elements have one: the time, big-endian.
pub(crate) const ELEMENT_END_BYTES: usize = 8;

pub(crate) fn encode_element<S: StateKind>(
    state: &State<S>,
    item: &S::Item,
    expiry: Option<Expiry>,
    out: &mut Vec<u8>,
) -> Result<()> {
    out.clear();
    if let Some(expiry) = expiry {
        out.extend_from_slice(&expiry.at.to_be_bytes());
    }
    state.spec.encode(item, out)
}

/// The bytes of an element's item, and whether it lives.
pub(crate) fn decode_element<'a, S: StateKind>(
    state: &State<S>,
    element: &'a [u8],
    now: Option<u64>,
) -> Result<(&'a [u8], bool)> {
    let Some(now) = now else { return Ok((element, true)) };
    let (at, item) = split_end(state, element)?;
    Ok((item, at > now))
}

/// Whether a list whose elements end has one that lives.
pub(crate) fn has_living<S: StateKind>(state: &State<S>, list: &[u8], now: u64) -> Result<bool> {
    for element in frames(list) {
        if split_end(state, element?)?.0 > now {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The end of an element, and its item.
pub(crate) fn split_end<'a, S: StateKind>(state: &State<S>, element: &'a [u8]) -> Result<(u64, &'a [u8])> {
    let (at, item) = element.split_first_chunk::<ELEMENT_END_BYTES>().ok_or_else(|| {
        Error::new(ErrorKind::Damaged, format!("state {}: an element without its end", state.spec.name))
    })?;
    Ok((u64::from_be_bytes(*at), item))
}
