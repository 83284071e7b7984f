//! Damaged and hostile files: an error or right data, never a panic and never wrong data.

use proptest::prelude::*;

use super::super::block::walk_block;
use super::super::directory::Directory;
use super::super::footer::FOOTER_BYTES;
use super::super::reseal::Seals;
use super::copies::open_copy;
use super::hostile::merged;
use super::*;
use crate::codec::checksum;
use crate::entry::ClockId;
use crate::error::ErrorKind;

/// A small file with everything in it.
fn small(codec: Codec) -> (Plan, Model, Vec<u8>) {
    let mut model = Model::new();
    for number in 0..24u32 {
        let key = format!("key/{:03}", number * 7);
        let expiry = (number % 3 == 0).then_some(Expiry { clock: ClockId(number as u8 % 4), at: u64::from(number) });
        let entry = match number % 8 {
            1 => Owned::of(Entry::TOMBSTONE),
            2 => Owned::of(Entry::operand(b"operand", expiry, 3)),
            _ => Owned::of(Entry::value(format!("value {number} value {number}").as_bytes(), expiry)),
        };
        model.insert(key.into_bytes(), entry);
    }
    model.insert(b"key/long".to_vec(), Owned::value(&[3; 8_200]));
    let ranges = vec![KeyRange::from("key/5".as_bytes()..b"key/6")];
    let plan = Plan { ranges, ..Plan::small(300, 800, codec) };
    let (bytes, _) = plan.write(&model);
    (plan, model, bytes)
}

/// Reads everything in every way; whatever is read must be right. Returns whether damage was met.
fn read_all(plan: &Plan, model: &Model, bytes: &[u8], is_mapped: bool) -> bool {
    let run = match plan.open(bytes, is_mapped) {
        Ok(run) => run,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
            return true;
        }
    };
    let mut damaged = run.verify().is_err();
    let mut probes: Vec<_> = model.keys().cloned().collect();
    probes.extend([b"key/001".to_vec(), b"".to_vec(), b"zzz".to_vec()]);
    for key in &probes {
        match get(&run, key) {
            Ok(found) => assert_eq!(found.as_ref(), model.get(key), "{}", key.escape_ascii()),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
                damaged = true;
            }
        }
        assert!(run.may_contain(hash32(key), key) || !model.contains_key(key));
    }
    for list in [forwards(&run), backwards(&run)] {
        match list {
            Ok(list) => assert_eq!(list, model.clone().into_iter().collect::<Vec<_>>()),
            Err(_) => damaged = true,
        }
    }
    run.stats_in(&KeyRange::from("key/02".as_bytes()..b"key/1"));
    damaged
}

#[test]
fn every_flipped_byte_is_found_and_never_believed() {
    for codec in codecs() {
        let (plan, model, bytes) = small(codec);
        assert!(!read_all(&plan, &model, &bytes, true) && !read_all(&plan, &model, &bytes, false));
        let value = bytes.windows(64).position(|window| window == [3; 64]).unwrap();
        for at in 0..bytes.len() {
            // The inside of the long value is one thing: a few places stand for all.
            if (value + 64..value + 8_100).contains(&at) && at % 997 != 0 {
                continue;
            }
            for pattern in [1 << (at % 8), 0xff] {
                let mut flipped = bytes.clone();
                flipped[at] ^= pattern;
                assert!(read_all(&plan, &model, &flipped, at % 2 == 0), "byte {at} of {} went unseen", bytes.len());
            }
        }
    }
}

#[test]
fn every_flipped_bit_of_a_tiny_file_is_found() {
    let model = Model::from([(b"a".to_vec(), Owned::value(b"1")), (b"b".to_vec(), Owned::of(Entry::TOMBSTONE))]);
    let plan = Plan::default();
    let (bytes, _) = plan.write(&model);
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(read_all(&plan, &model, &flipped, bit % 2 == 0), "bit {bit} went unseen");
    }
}

#[test]
fn a_file_that_was_cut_anywhere_does_not_open() {
    let (plan, _, bytes) = small(Codec::None);
    for length in 0..bytes.len() {
        let is_mapped = length % 2 == 0;
        assert!(plan.open(&bytes[..length], is_mapped).is_err(), "cut to {length}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(plan.open(&longer, true).is_err());
}

#[test]
fn swapped_blocks_and_foreign_blocks_are_found() {
    let model: Model = (0..600u32).map(|number| (number.to_be_bytes().to_vec(), Owned::value(&[5; 20]))).collect();
    let plan = Plan::small(1_000, 1 << 20, Codec::None);
    let (bytes, _) = plan.write(&model);
    let run = plan.open(&bytes, true).unwrap();
    let index = run.index(0).unwrap();
    let index = super::super::section::Index::new(index.as_slice());
    let spans: Vec<_> = (0..10).map(|block| index.span(block).unwrap()).collect();
    let (one, two) = (spans[3], spans[4]);
    assert_eq!(one.1, two.1, "blocks of one length can be swapped");
    let mut swapped = bytes.clone();
    let (from, to) = (one.0 as usize..one.0 as usize + one.1, two.0 as usize..two.0 as usize + two.1);
    swapped[from.clone()].copy_from_slice(&bytes[to.clone()]);
    swapped[to].copy_from_slice(&bytes[from.clone()]);
    assert!(read_all(&plan, &model, &swapped, true) && read_all(&plan, &model, &swapped, false));

    let (mut writer, sink) = plan.writer(RunId { sequence: 43, ..ID });
    model.iter().for_each(|(key, entry)| writer.add(key, hash32(key), entry.entry()).unwrap());
    writer.finish(&Clocks::default(), false).unwrap();
    let other = sink.take();
    assert!(plan.open(&other, true).is_err(), "another run's file under this run's name");
    let mut foreign = bytes.clone();
    foreign[from.clone()].copy_from_slice(&other[from]);
    assert!(read_all(&plan, &model, &foreign, true));
}

#[test]
fn errors_name_what_was_found_and_where() {
    let (plan, _, mut bytes) = small(Codec::None);
    bytes[20] ^= 1;
    let error = get(&plan.open(&bytes, true).unwrap(), b"key/000").unwrap_err().to_string();
    assert!(error.starts_with("test.run at byte 0: block checksum "), "{error}");
    assert!(error.ends_with("the file is damaged: restore from the last checkpoint"), "{error}");
}

#[test]
fn a_newer_format_is_not_called_damage() {
    let (plan, _, mut bytes) = small(Codec::None);
    let footer = bytes.len() - FOOTER_BYTES;
    bytes[footer + 8] = 2;
    let crc = checksum(ID, footer as u64, &bytes[footer..footer + 60]);
    bytes[footer + 60..].copy_from_slice(&crc.to_le_bytes());
    let error = plan.open(&bytes, true).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fix);
    assert!(error.to_string().contains("format version 2, expected 1"), "{error}");
}

proptest! {
    #[test]
    fn hostile_blocks_do_not_panic(
        edits in proptest::collection::vec((0usize..700, any::<u8>()), 1..12),
        garbage in proptest::collection::vec(any::<u8>(), 0..300),
        cut in 0usize..700,
    ) {
        let (_, _, bytes) = small(Codec::None);
        let length = 48 + u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
        let mut image = bytes[..length].to_vec();
        for (at, byte) in edits {
            image[at % length] = byte;
        }
        walk_block(&image);
        walk_block(&image[..cut.min(length)]);
        walk_block(&garbage);
        // The header claims what fits, so that what stands behind it is reached.
        let mut fitting = [&bytes[..48], &garbage].concat();
        fitting[8..12].copy_from_slice(&(garbage.len() as u32).to_le_bytes());
        walk_block(&fitting);
    }

    #[test]
    fn hostile_files_with_right_checksums_do_not_panic(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        in_directory: bool,
        is_mapped: bool,
        codec in 0..codecs().len(),
    ) {
        let (plan, model, mut bytes) = small(codecs()[codec]);
        let seals = Seals::of(&bytes, ID);
        for (place, byte) in edits {
            let range = if in_directory { seals.directory.clone() } else { 0..seals.directory.start };
            let place = range.start + place.index(range.len());
            bytes[place] = byte;
        }
        seals.seal(&mut bytes);
        let Ok(run) = plan.open(&bytes, is_mapped) else { return Ok(()) };
        run.verify().ok();
        forwards(&run).ok();
        backwards(&run).ok();
        for key in model.keys() {
            get(&run, key).ok();
            run.may_contain(hash32(key), key);
            run.stats_in(&KeyRange { start: key.clone(), end: None });
        }
        for copies in [true, false] {
            if let Ok(copy) = merged(&plan, &run, copies) {
                open_copy(copy, &plan).verify().unwrap();
            }
        }
    }

    #[test]
    fn hostile_directories_do_not_panic(garbage in proptest::collection::vec(any::<u8>(), 0..400), offset in 0u64..1000) {
        Directory::read(&garbage, offset, 2_000).ok();
    }
}
