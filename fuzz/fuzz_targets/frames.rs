//! A list of framed elements, read from hostile bytes: what can be read is written again as the same bytes.

#![no_main]

use bedload_lsm::{frame, frames};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|list: &[u8]| {
    let mut again = Vec::new();
    let mut is_whole = true;
    for element in frames(list) {
        assert!(is_whole, "an element behind an error");
        match element {
            Ok(element) => frame(&mut again, element),
            Err(_) => is_whole = false,
        }
    }
    assert!(list.starts_with(&again));
    assert_eq!(is_whole, list == again);
});
