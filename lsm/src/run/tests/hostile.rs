//! Files that somebody made: every checksum right, and what they say is not. Merges end with an error that names the file
//! and the place, never with a panic, and carry nothing wrong into their output.

use std::ops::Range;

use super::super::block::{BLOCK_BYTES_MAX, HEADER_BYTES, Header, SLOT_BYTES};
use super::super::directory::Directory;
use super::super::footer::{FOOTER_BYTES, FORMAT_VERSION, Footer};
use super::super::reseal::Seals;
use super::behaviour::{check_prefixes, mixed_model, mixed_plan};
use super::copies::{COPY, open_copy};
use super::*;
use crate::codec::checksum;
use crate::error::ErrorKind;

/// What a test does to a file whose checksums are set right afterwards.
fn changed(bytes: &[u8], change: impl FnOnce(&mut [u8], &Seals)) -> Vec<u8> {
    let (seals, mut bytes) = (Seals::of(bytes, ID), bytes.to_vec());
    change(&mut bytes, &seals);
    seals.seal(&mut bytes);
    bytes
}

/// Merges a run the way `compaction` does, copying blocks or not; what comes out.
pub(super) fn merged(plan: &Plan, run: &Run, copies: bool) -> Result<Vec<u8>> {
    let (mut writer, sink) = plan.writer(COPY);
    let mut cursor = run.sweep();
    cursor.seek(&[])?;
    while let Some(key) = cursor.key() {
        if copies && let Some(block) = cursor.block_ahead()? {
            writer.add_block(&block)?;
            cursor.skip_block()?;
        } else {
            writer.add(key, hash32(key), cursor.entry()?)?;
            cursor.next()?;
        }
    }
    writer.finish(&Clocks::default(), false)?;
    Ok(sink.take())
}

/// Expects every way of merging `bytes` to end with `Damaged`, naming the file and a byte in `place`.
fn expect_damage(plan: &Plan, bytes: &[u8], place: &Range<usize>, copies: &[bool], what: &str) {
    for (is_mapped, copies) in
        [true, false].into_iter().flat_map(|mapped| copies.iter().map(move |copy| (mapped, *copy)))
    {
        let run = plan.open(bytes, is_mapped).unwrap();
        let Err(error) = merged(plan, &run, copies) else { panic!("{what}: not found, copies {copies}") };
        assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
        let found = error.place().unwrap();
        assert_eq!(found.path, Path::new("test.run"));
        assert!(place.contains(&(found.offset.unwrap() as usize)), "{error}, expected in {place:?}");
        assert!(error.to_string().contains(what), "{error}, expected {what}");
        assert!(run.verify().is_err(), "{what}");
    }
}

fn numbers(count: u32) -> Model {
    (0..count).map(|number| (number.to_be_bytes().to_vec(), Owned::value(&[5; 20]))).collect()
}

/// Where slot `slot` of the block at `at` stands.
fn slot_at(bytes: &[u8], at: usize, slot: usize) -> usize {
    let header = Header::read(&bytes[at..]).unwrap();
    at + HEADER_BYTES + usize::from(header.table) + slot * SLOT_BYTES
}

#[test]
fn keys_out_of_order_in_a_block_are_damage_to_a_merge() {
    let plan = Plan::small(1_000, 1 << 20, Codec::None);
    let (bytes, _) = plan.write(&numbers(300));
    let last = Header::read(&bytes).unwrap().count as usize - 1;
    for (one, two) in [(3, 4), (0, last), (last - 1, last), (0, 1)] {
        let mut place = 0..0;
        let bytes = changed(&bytes, |bytes, seals| {
            place = seals.blocks[2].clone();
            let (one, two) = (slot_at(bytes, place.start, one), slot_at(bytes, place.start, two));
            for byte in 0..SLOT_BYTES {
                bytes.swap(one + byte, two + byte);
            }
        });
        expect_damage(&plan, &bytes, &place, &[false], "keys that are not in order");
        // Or a key that the table does not find, whichever comes first.
        expect_damage(&plan, &bytes, &place, &[true], "key");
    }
}

#[test]
fn blocks_out_of_order_are_damage_to_a_merge() {
    let plan = Plan::small(1_000, 1 << 20, Codec::None);
    let (bytes, _) = plan.write(&numbers(600));
    let mut place = 0..0;
    let bytes = changed(&bytes, |bytes, seals| {
        let (one, two) = (seals.blocks[3].clone(), seals.blocks[4].clone());
        assert_eq!(one.len(), two.len(), "blocks of one length can be swapped");
        place = one.start..two.end;
        let copy = bytes[one.clone()].to_vec();
        bytes.copy_within(two.clone(), one.start);
        bytes[two].copy_from_slice(&copy);
    });
    expect_damage(&plan, &bytes, &place, &[true, false], "keys that are not in order");
}

#[test]
fn a_header_that_contradicts_its_entries_is_damage_to_a_copy() {
    let mut model = numbers(60);
    let expiry = Some(Expiry { clock: crate::entry::ClockId(1), at: 7 });
    model.insert(vec![0, 0, 0, 9], Owned::of(Entry::value(b"brief", expiry)));
    let plan = Plan::small(1_000, 1 << 20, Codec::None);
    let (bytes, _) = plan.write(&model);
    // Tombstones, operands, expiring, bytes of keys and values, first and last expiry.
    for at in [20, 21, 22, 24, 28, 40] {
        let mut place = 0..0;
        let bytes = changed(&bytes, |bytes, seals| {
            place = seals.blocks[0].clone();
            bytes[place.start + at] += 1;
        });
        expect_damage(&plan, &bytes, &place, &[true], "block of");
    }
}

/// The copy would hold a key that no get finds, under a checksum that says all is well.
#[test]
fn keys_that_their_block_does_not_find_are_damage_to_a_copy() {
    let plan = Plan::small(1_000, 1 << 20, Codec::None);
    let (bytes, _) = plan.write(&numbers(300));
    let seals = Seals::of(&bytes, ID);
    let place = seals.blocks[1].clone();
    let header = Header::read(&bytes[place.clone()]).unwrap();
    let table = place.start + HEADER_BYTES..place.start + HEADER_BYTES + usize::from(header.table);
    let used = table.clone().find(|cell| bytes[*cell] == 0).unwrap();
    for (at, byte) in
        [(slot_at(&bytes, place.start, 0), bytes[table.end] ^ 1), (used, 0xff), (used, header.count as u8)]
    {
        let bytes = changed(&bytes, |bytes, _| bytes[at] = byte);
        expect_damage(&plan, &bytes, &place, &[true], "does not find it");
    }
}

/// A cleared flag made the copy of a block refer to extents of the run it came from.
#[test]
fn flags_that_do_not_fit_the_entries_are_found() {
    let mut model = mixed_model();
    model.insert(vec![0, 7, b'a', 1, 0], Owned::value(&[3; 9_000]));
    let plan = mixed_plan(Codec::None);
    let (bytes, _) = plan.write(&model);
    let seals = Seals::of(&bytes, ID);
    plan.open(&bytes, true).unwrap().verify().unwrap();
    for has_extents in [true, false] {
        let place = seals.blocks.iter().find(|block| (bytes[block.start + 13] & 1 != 0) == has_extents).unwrap();
        let bytes = changed(&bytes, |bytes, _| bytes[place.start + 13] ^= 1);
        assert!(plan.open(&bytes, true).unwrap().verify().unwrap_err().to_string().contains("flags"));
        if has_extents {
            expect_damage(&plan, &bytes, place, &[true], "flags");
        }
    }
    // A copy looks for scanned keys itself.
    let bytes = changed(&bytes, |bytes, seals| seals.blocks.iter().for_each(|block| bytes[block.start + 13] &= !2));
    let run = plan.open(&bytes, true).unwrap();
    assert!(run.verify().unwrap_err().to_string().contains("flags"));
    let copy = open_copy(merged(&plan, &run, true).unwrap(), &plan);
    check_prefixes(&copy);
    copy.verify().unwrap();
    // Where no key is scanned.
    let plan = Plan::default();
    let (bytes, _) = plan.write(&numbers(10));
    let bytes = changed(&bytes, |bytes, seals| bytes[seals.blocks[0].start + 13] = 2);
    assert!(plan.open(&bytes, true).unwrap().verify().is_err());
}

/// A block of another codec than its run's was copied under the name of the run's codec: nobody could read it again.
#[cfg(all(feature = "lz4", feature = "zstd"))]
#[test]
fn a_block_of_another_codec_than_its_run_is_damage() {
    let plan = Plan::small(1_000, 1 << 20, Codec::Zstd);
    let (bytes, _) = plan.write(&numbers(300));
    let mut place = 0..0;
    let bytes = changed(&bytes, |bytes, seals| {
        bytes[seals.directory.end - 1] = 1;
        place = seals.blocks[0].clone();
    });
    let plan = Plan::small(1_000, 1 << 20, Codec::Lz4);
    expect_damage(&plan, &bytes, &place, &[true, false], "codec");
}

/// A body of 1 MiB makes an image that is longer than any block may be.
#[cfg(feature = "lz4")]
#[test]
fn a_body_that_makes_too_long_an_image_is_damage() {
    let plan = Plan::small(4_000, 1 << 20, Codec::Lz4);
    let (bytes, _) = Plan::small(4_000, 1 << 20, Codec::None).write(&numbers(20));
    let seals = Seals::of(&bytes, ID);
    let [block] = &seals.blocks[..] else { panic!("one block") };
    for (raw, fits) in [(BLOCK_BYTES_MAX - HEADER_BYTES, true), (BLOCK_BYTES_MAX, false)] {
        let mut body = bytes[block.start + HEADER_BYTES..block.end].to_vec();
        body.resize(raw, 0);
        let packed = super::super::compress::Packer::new(Codec::Lz4).pack(&body).unwrap().to_vec();
        let header = Header { stored: packed.len() as u32, raw: raw as u32, codec: 1, ..Header::read(&bytes).unwrap() };
        let bytes = with_block(&bytes, &seals, &[&header.to_bytes()[..], &packed].concat());
        let run = plan.open(&bytes, true).unwrap();
        assert_eq!(merged(&plan, &run, true).is_ok(), fits, "a body of {raw} bytes");
        assert_eq!(merged(&plan, &run, false).is_ok(), fits, "a body of {raw} bytes");
    }
}

/// The file of one block with another block in its place, as long as that may be.
#[cfg(feature = "lz4")]
fn with_block(bytes: &[u8], seals: &Seals, block: &[u8]) -> Vec<u8> {
    let at = seals.directory.start as u64;
    let mut directory = Directory::read(&bytes[seals.directory.clone()], at, bytes.len() as u64).unwrap();
    let section = &mut directory.sections[0];
    let (lines, index) = (section.places.lines as usize, section.places.index as usize);
    let mut index = bytes[lines..index + section.index_bytes()].to_vec().split_off(index - lines);
    let length = block.len() as u32 | u32::from(index[15]) << 24;
    index[12..16].copy_from_slice(&length.to_le_bytes());
    let mut file = block.to_vec();
    file[..4].copy_from_slice(&checksum(ID, 0, &block[4..]).to_le_bytes());
    let filter_at = file.len();
    file.resize(filter_at.next_multiple_of(64), 0);
    file.extend_from_slice(&bytes[lines..section.places.index as usize]);
    section.bytes = filter_at as u64;
    section.filter_crc = checksum(ID, filter_at as u64, &file[filter_at..]);
    section.index_crc = checksum(ID, file.len() as u64, &index);
    file.extend_from_slice(&index);
    directory.properties.codec = 1;
    let directory_offset = file.len() as u64;
    directory.put(&mut file);
    let written = &file[directory_offset as usize..];
    let (directory_bytes, directory_crc) = (written.len() as u64, checksum(ID, directory_offset, written));
    let footer = Footer { version: FORMAT_VERSION, directory_offset, directory_bytes, directory_crc };
    file.extend_from_slice(&footer.to_bytes(ID));
    file
}

/// A source that claims to be long, and has nothing but a footer.
#[derive(Debug)]
struct Claims {
    bytes: u64,
    footer: [u8; FOOTER_BYTES],
}

impl Source for Claims {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> Result<()> {
        into.fill(0);
        if offset + FOOTER_BYTES as u64 == self.bytes {
            into.copy_from_slice(&self.footer);
        }
        Ok(())
    }

    fn path(&self) -> &Path {
        Path::new("test.run")
    }
}

#[test]
fn a_claimed_terabyte_of_directory_is_not_allocated() {
    for directory_bytes in [1u64 << 40, 1 << 62] {
        let footer = Footer { version: FORMAT_VERSION, directory_offset: 0, directory_bytes, directory_crc: 0 };
        let source = Claims { bytes: directory_bytes + FOOTER_BYTES as u64, footer: footer.to_bytes(ID) };
        let cache = Arc::new(BlockCache::new(1 << 20));
        let error = Plan::default().open_source(Arc::new(source), ID, cache).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
        assert!(error.to_string().contains("directory of"), "{error}");
    }
}

#[test]
fn a_file_longer_than_any_disk_is_damage() {
    let source = Claims { bytes: u64::MAX, footer: [0; FOOTER_BYTES] };
    let error = Plan::default().open_source(Arc::new(source), ID, Arc::new(BlockCache::new(1 << 20))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert!(error.to_string().contains("expected at most"), "{error}");
}

/// The directory of large keys, one section for each, would pass any bound.
#[test]
fn sections_grow_with_a_large_directory() {
    let plan = Plan::small(512, 1, Codec::None);
    let (mut writer, sink) = plan.writer(ID);
    let mut key = vec![0; 65_535];
    for number in 0..700u16 {
        key[..2].copy_from_slice(&number.to_be_bytes());
        writer.add(&key, hash32(&key), Entry::value(b"v", None)).unwrap();
    }
    writer.finish(&Clocks::default(), false).unwrap();
    let run = plan.open(&sink.take(), true).unwrap();
    let sections = run.directory.sections.len();
    assert!((128..300).contains(&sections), "{sections} sections");
    run.verify().unwrap();
}
