//! Lists of operands: how a [`MergeFunction`] makes one of them, and what becomes of those that it refuses.

use std::sync::Arc;

use bedload_lsm::{FoldFn, frame, frames};

use crate::error::{Error, ErrorKind, Result};
use crate::merge_function::{Functions, MergeFunction};
use crate::seeded::{Bug, is_seeded};
use crate::spec::{Reducer, Spec, StateKind};
use crate::state_key::{framed, unframe};

/// How often a function may refuse before the rest of a list is left as it is, but for its seam: else it would be asked about all that it
/// has refused at each write. What it takes makes the list shorter, once and for all.
const REFUSALS_MAX: usize = 4;

/// Makes the function of a declaration known to a store.
pub(crate) fn register<S: StateKind + 'static>(functions: &Arc<Functions>, spec: &Spec<S>) {
    let Reducer::Merged(Some(function)) = spec.reducer else { return };
    // It does not keep what keeps it.
    let (spec, counted) = (*spec, Arc::downgrade(functions));
    let fold: Arc<FoldFn> = Arc::new(move |older: &[u8], newer: &[u8], out: &mut Vec<u8>| {
        join(&spec, &function, older, newer, out, &|| {
            if let Some(functions) = counted.upgrade() {
                functions.note_refusal();
            }
        });
    });
    functions.register(spec.tag().0, fold);
}

/// Joins two lists of operands as far as the function takes them; `out` is empty.
fn join<S: StateKind>(
    spec: &Spec<S>,
    function: &MergeFunction<S::Item>,
    older: &[u8],
    newer: &[u8],
    out: &mut Vec<u8>,
    refused: &dyn Fn(),
) {
    if let (Some(left), Some(right)) = (single(older), single(newer)) {
        let mut joined = Ok(());
        framed(out, |out| joined = join_two(spec, function, left, right, out));
        if joined.is_ok() {
            return;
        }
        refused();
        out.clear();
    } else if join_lists(spec, function, (older, newer), out, refused).is_ok() {
        return;
    } else {
        out.clear();
    }
    out.extend_from_slice(older);
    out.extend_from_slice(newer);
}

/// # Errors
/// When a list is damaged.
fn join_lists<S: StateKind>(
    spec: &Spec<S>,
    function: &MergeFunction<S::Item>,
    (older, newer): (&[u8], &[u8]),
    out: &mut Vec<u8>,
    refused: &dyn Fn(),
) -> Result<()> {
    let mut operands = frames(older).collect::<Result<Vec<&[u8]>>>()?;
    let seam = operands.len();
    for operand in frames(newer) {
        operands.push(operand?);
    }
    let mut refusals = 0;
    let (mut pending, mut joined) = (Vec::new(), Vec::new());
    for (at, operand) in operands.into_iter().enumerate() {
        if at > 0 && (refusals < REFUSALS_MAX || at == seam) {
            joined.clear();
            if join_two(spec, function, &pending, operand, &mut joined).is_ok() {
                std::mem::swap(&mut pending, &mut joined);
                continue;
            }
            refusals += 1;
            refused();
        }
        if at > 0 {
            frame(out, &pending);
        }
        pending.clear();
        pending.extend_from_slice(operand);
    }
    frame(out, &pending);
    Ok(())
}

fn join_two<S: StateKind>(
    spec: &Spec<S>,
    function: &MergeFunction<S::Item>,
    older: &[u8],
    newer: &[u8],
    out: &mut Vec<u8>,
) -> Result<()> {
    let (older, newer) = (spec.decode(older)?, spec.decode(newer)?);
    let (older, newer) = if is_seeded(Bug::OperandsExchanged) { (newer, older) } else { (older, newer) };
    spec.encode(&function.apply(older, newer)?, out)
}

/// The operand of a list of one.
fn single(mut list: &[u8]) -> Option<&[u8]> {
    let operand = unframe(&mut list)?;
    list.is_empty().then_some(operand)
}

/// The operands of a list.
///
/// # Errors
/// `Damaged` when they are not what the declaration says.
pub(crate) fn operands<S: StateKind>(spec: &Spec<S>, list: &[u8]) -> Result<Vec<S::Item>> {
    frames(list).map(|operand| spec.decode(operand?)).collect()
}

/// What the operands of a list come to; none of an empty one.
///
/// # Errors
/// What the function refuses with; `Fix` when there are several and the state was declared without one.
pub(crate) fn folded<S: StateKind>(
    spec: &Spec<S>,
    function: Option<&MergeFunction<S::Item>>,
    list: &[u8],
) -> Result<Option<S::Item>> {
    let mut folded = None;
    for operand in frames(list) {
        let operand = spec.decode(operand?)?;
        folded = Some(match (folded, function) {
            (None, _) => operand,
            (Some(older), Some(function)) => {
                let refused = |error: Error| error.context(format_args!("state {}", spec.name));
                function.apply(older, operand).map_err(refused)?
            }
            (Some(_), None) => {
                let message = format!(
                    "state {}: several operands, and it was declared without its merge function: declare it with that, or read the operands",
                    spec.name
                );
                return Err(Error::new(ErrorKind::Fix, message));
            }
        });
    }
    Ok(folded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::spec::Reducing;

    /// Puts texts one behind the other, and refuses what would get longer than six.
    const SHORT: Spec<Reducing<String>> = Reducing::with(
        "short",
        MergeFunction::fallible("short text", 1, |left, right| {
            if left.len() + right.len() > 6 {
                return Err(Error::new(ErrorKind::Fix, format!("{left} and {right} are too long")));
            }
            Ok(left + &right)
        }),
    );

    fn fold() -> (Arc<Functions>, Arc<FoldFn>) {
        let functions = Arc::new(Functions::default());
        register(&functions, &SHORT);
        let fold = functions.find(&SHORT.tag().0).unwrap();
        (functions, fold)
    }

    fn list(texts: &[String]) -> Vec<u8> {
        let mut list = Vec::new();
        for text in texts {
            let mut operand = Vec::new();
            SHORT.encode(text, &mut operand).unwrap();
            frame(&mut list, &operand);
        }
        list
    }

    proptest! {
        /// However often the function refuses, all that was added is there, in order.
        #[test]
        fn no_operand_is_lost_or_moved(
            older in prop::collection::vec("[a-z]{0,5}", 1..30),
            newer in prop::collection::vec("[a-z]{0,5}", 1..30),
        ) {
            let (_, fold) = fold();
            let mut out = Vec::new();
            fold(&list(&older), &list(&newer), &mut out);
            let found = operands(&SHORT, &out).unwrap();
            prop_assert_eq!(found.concat(), older.concat() + &newer.concat());
            if found.len() <= REFUSALS_MAX {
                for pair in found.windows(2) {
                    prop_assert!(pair[0].len() + pair[1].len() > 6, "{:?} were not joined", pair);
                }
            }
        }

        #[test]
        fn no_bytes_make_it_panic_or_are_lost(older: Vec<u8>, newer: Vec<u8>) {
            let (_, fold) = fold();
            let mut out = Vec::new();
            fold(&older, &newer, &mut out);
            if frames(&older).any(|operand| operand.is_err()) {
                prop_assert_eq!(out, [older, newer].concat());
            }
        }
    }

    /// A list grew to hundreds of operands before its function was declared, and was read as a whole for ever.
    #[test]
    fn a_long_list_becomes_short_once_its_function_is_known() {
        let (functions, fold) = fold();
        let letters: Vec<String> = ('a'..='x').map(String::from).collect();
        let mut out = Vec::new();
        fold(&list(&letters), &list(&["".into()]), &mut out);
        let found = operands(&SHORT, &out).unwrap();
        assert_eq!(found, ["abcdef", "ghijkl", "mnopqr", "stuvwx"]);
        assert_eq!(functions.refused(), 3);
        // One that refuses much is not asked about everything each time.
        let long: Vec<String> = (0..100).map(|_| "abcdef".to_owned()).collect();
        let before = functions.refused();
        out.clear();
        fold(&list(&long), &list(&["g".into()]), &mut out);
        assert_eq!(operands(&SHORT, &out).unwrap().len(), 101);
        assert_eq!(functions.refused() - before, 1 + REFUSALS_MAX as u64);
    }

    #[test]
    fn two_that_are_taken_are_one_and_two_that_are_refused_are_counted() {
        let (functions, fold) = fold();
        let mut out = Vec::new();
        fold(&list(&["El".into()]), &list(&["y".into()]), &mut out);
        assert_eq!(operands(&SHORT, &out).unwrap(), ["Ely"]);
        assert_eq!(functions.refused(), 0);
        let (older, mut out) = (out, Vec::new());
        fold(&older, &list(&["March".into()]), &mut out);
        assert_eq!(operands(&SHORT, &out).unwrap(), ["Ely", "March"]);
        assert_eq!(functions.refused(), 1);
        let Reducer::Merged(function) = SHORT.reducer else { panic!("it has a function") };
        let error = folded(&SHORT, function.as_ref(), &out).unwrap_err().to_string();
        assert_eq!(error, "state short: merge function short text, version 1: Ely and March are too long");
        assert_eq!(folded(&SHORT, None, &out).unwrap_err().kind(), ErrorKind::Fix);
        assert_eq!(folded(&SHORT, None, b"").unwrap(), None);
    }
}
