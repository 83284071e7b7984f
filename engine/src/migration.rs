//! Writes items of earlier versions anew.

use bedload_lsm::{frame, frames};

use crate::backend::{Backend, Change};
use crate::elements::ELEMENT_END_BYTES;
use crate::error::{Error, ErrorKind, Result};
use crate::seeded::{Bug, is_seeded};
use crate::spec::{State, StateKind};
use crate::state_key::Kind;
use crate::ttl::Visibility;

/// Writes what stands under a key anew where it is of an earlier version; gives how many items were.
pub(crate) fn migrate_one<S: StateKind>(backend: &mut Backend, state: &State<S>, key: &[u8]) -> Result<usize> {
    let mut buffer = Vec::new();
    let is_list = matches!(state.spec.kind, Kind::List | Kind::Merged);
    let is_number = matches!(state.spec.kind, Kind::Sum | Kind::Min | Kind::Max);
    let head_bytes = if state.spec.kind == Kind::List && state.spec.ttl.is_some() { ELEMENT_END_BYTES } else { 0 };
    let mut count = 0;
    let mut renew = |item: &[u8], out: &mut Vec<u8>| -> Result<()> {
        let damaged =
            || Error::new(ErrorKind::Damaged, format!("state {}: an element without its end", state.spec.name));
        let (head, item) = item.split_at_checked(head_bytes).ok_or_else(damaged)?;
        out.extend_from_slice(head);
        if item.first() == Some(&state.spec.version) {
            out.extend_from_slice(item);
            return Ok(());
        }
        count += 1;
        state.spec.encode(&state.spec.decode(item)?, out)
    };
    if is_number || state.spec.kind == Kind::Map && is_seeded(Bug::MapsNotMigrated) {
        return Ok(0);
    }
    backend.update(key, &mut buffer, Visibility::Living, |bytes, out| {
        let Some(bytes) = bytes else { return Ok((Change::Keep, ())) };
        if is_list {
            let mut element = Vec::new();
            for item in frames(bytes) {
                element.clear();
                renew(item?, &mut element)?;
                frame(out, &element);
            }
        } else {
            renew(bytes, out)?;
        }
        Ok((if out == bytes { Change::Keep } else { Change::Rewrite }, ()))
    })?;
    Ok(count)
}
