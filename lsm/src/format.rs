//! The bytes of a store's files, field by field. No code: the page for whoever reads them without this crate.
//!
//! | file | what it is | written by | read by |
//! |---|---|---|---|
//! | `<opening>-<sequence>.run` | a run: immutable entries in key order | flushes and merges, once | open, gets, scans, merges |
//! | `VERSION` | which runs are the store, and where each is seen | each change of runs or tiles, and close | open |
//! | `VERSION.new` | a version while it is written | the same, then renamed to `VERSION` | nobody: open removes it |
//! | `LOCK` | who has the directory open | open | whoever comes second, for its error |
//!
//! All but the runs stand in the first working directory; runs stand in any of them. Files have mode 0600, directories 0700.
//! Other names are left alone; a file with the name of a run that no version names is removed by the next open.
//!
//! Promise: **the format of every release opens for ever**. Before the first release it may change without notice. A format
//! of a later release is an error of kind [`Fix`](crate::ErrorKind::Fix) that says so; it is never guessed at.
//!
//! # Numbers, strings, checksums
//!
//! - `u16`, `u32`, `u64`: little-endian. *varint*: seven bits a byte, lowest first, the top bit says that more follow; only
//!   the shortest form is accepted. *framed*: a varint length, then so many bytes.
//! - *checksum*: CRC-32 (IEEE) over a seed of 24 bytes and then the bytes that it covers. The seed is the run's id (16
//!   bytes) and the offset at which the part starts in the file (u64). So a block of another file, or of another place in
//!   this one, is as wrong as a flipped bit.
//! - *id* of a run ([`RunId`](crate::RunId)): u64 `opening`, drawn at random when a store is opened, and u64 `sequence`,
//!   counted in that opening. The file's name is both in hexadecimal: 16 digits, `-`, at least 8 digits, `.run`.
//! - *hash* of a key: the low 32 bits of its XXH3-64. *hash of a scan prefix*: the high 32 bits of XXH3-64 of the prefix,
//!   xor `0x9e3779b9`.
//! - *eight bytes of a key*: as a number that orders like the bytes, so big-endian and filled with zeros; stored like every
//!   other u64.
//!
//! # A run
//!
//! ```text
//!   byte 0 ┌──────────────────────────────────────────────────────────────────────────┐
//!          │ section 0:  [extent …][block]  [extent …][block]  …                      │  entries in key order, no gaps
//!          │ section 1:  [extent …][block]  …                                         │
//!          ├──────────────────────────────────────────────────────────────────────────┤
//!          │ [zeros][filter of section 0][index of section 0]                         │  zeros up to a multiple of 64
//!          │ [zeros][filter of section 1][index of section 1]  …                      │
//!          ├──────────────────────────────────────────────────────────────────────────┤
//!          │ directory:  sections · range tombstones · properties                     │
//!          ├──────────────────────────────────────────────────────────────────────────┤
//!          │ footer, 64 bytes                                                         │
//!          └──────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The parts follow each other without gaps, so every byte is under exactly one checksum, or is a checksum that another one
//! covers or that guards itself. A run that holds nothing but range tombstones has no sections.
//!
//! ## Block
//!
//! Up to 255 entries in key order, found by hash without searching or by key with a binary search over the slots.
//!
//! ```text
//!    0  checksum u32     over bytes 4 to the end of the block as it stands in the file
//!    4  stored u32       bytes of the body in the file
//!    8  raw u32          bytes of the body when decompressed; equal to `stored` without a codec
//!   12  codec u8         0 none, 1 LZ4 (block format), 2 zstd (a frame)
//!   13  flags u8         1: has extents, 2: has scanned keys
//!   14  count u16        entries, 1 to 255
//!   16  shared u16       bytes that all its keys start with
//!   18  table u16        cells of the table: the least power of two that leaves a quarter of them empty
//!   20  tombstones u8
//!   21  operands u8
//!   22  expiring u8      entries with an expiry
//!   23  clock u8         the clock by which all of these expire; 0xff: none expires, or by more than one clock
//!   24  key bytes u32    of all keys, each whole
//!   28  value bytes u32  of all values and operands that stand in the block
//!   32  first expiry u64
//!   40  last expiry u64  both zero when byte 23 is 0xff
//!   48  body:
//!       table    table × u8       the number of a slot, at cell (hash mod table) or the next free one behind it, around
//!                                 the end; 0xff is an empty cell
//!       slots    count × 6        in key order: { hash u32, offset u16 of the entry behind the start of the entries }
//!       prefix   shared × u8      what all keys start with
//!       entries  one after the other, in key order
//! ```
//!
//! Only the body is compressed, and only when that makes it smaller: the codec of a run is a wish, each block says what it
//! got. Whoever builds a filter from a block needs its slots alone.
//!
//! ```text
//!   entry   flags u8         bits 0–1: 0 value, 1 tombstone, 2 operand; 4 has an expiry, 8 has `written`, 16 has an extent
//!           suffix framed    the key behind the prefix
//!           clock u8, at varint          with flag 4: gone as soon as the clock reads `at`
//!           written varint               with flag 8: the reading of the key's clock when the operand was written
//!           value framed                 without flag 16; at most 8,192 bytes
//!           offset u64, length u32, checksum u32     with flag 16: where the extent stands in the file, and its checksum
//! ```
//!
//! A tombstone is its flags (1) and its suffix. Without flag 8, `written` is zero.
//!
//! ## Extent
//!
//! The bytes of one value or operand above 8,192 bytes, as they are, never compressed. Extents stand directly before the
//! block that refers to them, in the order of its entries; a block ends when the extents before it have reached 1 MiB.
//!
//! ## Section
//!
//! A bundle of whole partitions of useful size (`Tuning::section_bytes`): the unit of filters, indexes and counts. A
//! partition of more than four times that size is split. The section starts with the first extent or block of its first key.
//!
//! ```text
//!   filter   lines × 64 bytes: a blocked Bloom filter, one line (cache line) a question
//!              lines  ⌈hashes × bits per key / 512⌉; the hashes are those of all keys, and of all scan prefixes of scanned keys
//!              line   hash × lines >> 32
//!              bits   m = (hash xor 0x5bd1e995) × 0x9e3779b97f4a7c15 in 64 bits; six fields of nine bits, from the top of m
//!                     down, each name one bit of the line: bit n is bit n mod 8 of byte n / 8
//!   index    blocks × u64                 eight bytes of the block's first key, behind what all keys of the section share
//!            blocks × { u32, u32 }        offset of the block behind the section's start; its length in the low 24 bits and
//!                                         log2 of its table in the high 8
//! ```
//!
//! The zeros before a filter belong to it: its checksum starts with them. A section without filter (0 bits a key) has no
//! zeros either. A filter answers a question about a scan prefix only where the run's shape is the store's.
//!
//! ## Directory
//!
//! ```text
//!   sections varint, then each:
//!       first key framed · last key framed
//!       bytes varint (extents and blocks) · blocks varint
//!       entries, tombstones, operands, expiring: varints
//!       clocks u8, then each: clock u8 · first expiry varint · last expiry varint · count varint
//!       lines of the filter varint · checksum of zeros and filter u32 · checksum of the index u32
//!   ranges varint, then each, in order, neither overlapping nor touching:
//!       start framed · flag u8 · end framed where the flag is 1; 0 reaches to the end of the key space
//!   properties:
//!       shape name framed · shape version u32
//!       clocks 16 × u64: by these a merge judges expiring values under keys with a merge rule
//!       entries, tombstones, operands, expiring, key bytes, value bytes (with extents): varints
//!       codec u8: that of its compressed blocks
//! ```
//!
//! Nothing in it is an offset: blocks of section after section start at byte 0, filters and indexes of section after section
//! follow. The sums must meet the directory's own place, or it is damaged. A range tombstone hides what older runs hold
//! inside; entries of its own run win over it.
//!
//! ## Footer
//!
//! ```text
//!    0  magic "BEDLRUN1"
//!    8  format version u32, 1
//!   12  id of the run, 16 bytes
//!   28  reserved u32, zero
//!   32  offset of the directory u64
//!   40  bytes of the directory u64
//!   48  checksum of the directory u32
//!   52  bytes of the file u64
//!   60  checksum u32, over the 60 bytes before
//! ```
//!
//! # `VERSION`
//!
//! Written whole beside the old one and renamed over it, so that a reader finds the old or the new one.
//!
//! ```text
//!   magic "BEDLVER1" · format u32, 1
//!   clean u8: 1 when the store was closed in order behind this version, else 0
//!   number u64: counts versions · seal u64: the newest seal that is flushed
//!   clocks 16 × u64: those of that seal
//!   shape name framed · shape version u32
//!   runs varint, then each, by ascending id:
//!       id 16 bytes · bytes of the file u64 · BLAKE3 of the file 32 bytes · foreign u8: 1 when it is not a file of the store
//!   tiles varint, then each, in key order, the first at the empty key:
//!       start framed
//!       slices varint, then each, newest first: index of the run varint · first seal varint · (last seal − first) varint
//!   checksum u32, over everything before
//! ```
//!
//! A tile reaches to the start of the next one, and clips its slices. The seals of a stack descend and never overlap. The
//! checksum's seed has the eight bytes of the magic as `opening`, zero as `sequence`, and offset 0. The BLAKE3 is for those
//! who ship files; the store itself compares checksums.
//!
//! # `LOCK`
//!
//! The text `process <pid> on host <name>`, under an exclusive `flock` for as long as the store is open. Open replaces the
//! text when it has got the lock, and an error quotes up to 1,024 bytes of it. The file stays; its text alone means nothing.
//!
//! # Limits
//!
//! | | at most |
//! |---|---|
//! | key | 65,535 bytes ([`KEY_BYTES_MAX`](crate::KEY_BYTES_MAX)) |
//! | value, operand, what they fold to | 256 MiB ([`VALUE_BYTES_MAX`](crate::VALUE_BYTES_MAX)) |
//! | value inside a block | 8,192 bytes; longer ones are extents |
//! | clocks | 16 ([`CLOCKS_MAX`](crate::CLOCKS_MAX)) |
//! | name of a key shape | 255 bytes |
//! | entries of a block | 255, and 60,000 bytes unless it is one entry alone |
//! | header and decompressed body of a block | 1 MiB; readers refuse more before they make room for it |
//! | blocks of a section | 4 GiB, because offsets have 32 bits; writers end one at about 1 GiB |
//! | `VERSION` | 256 MiB |
//!
//! # What a damaged byte leads to
//!
//! A part is verified when it is first touched, and again whenever it was not kept; [`RunRef::verify`](crate::RunRef::verify)
//! reads everything again. Nothing is repaired in silence, and what is not touched does no harm.
//!
//! | where | what follows |
//! |---|---|
//! | block | `Damaged` from gets, scans and merges that touch it |
//! | extent | `Damaged` from whoever reads that value; checked at every read of a mapped file |
//! | filter | `Damaged` from gets into its section; scans and deletes go on as if it might hold everything |
//! | index | `Damaged` from gets, scans and merges in its section; estimates count the whole section |
//! | directory, footer, length of a run | `Damaged` from open and adopt |
//! | `VERSION` | `Damaged` from open |
//! | `VERSION.new`, `LOCK` | nothing |
//!
//! [`Damaged`](crate::ErrorKind::Damaged) names the file and the byte, what was found and what was expected. A merge that
//! meets damage is tried again and again and counted in [`Metrics::failures`](crate::Metrics::failures): the way out is to
//! restore from the last checkpoint. In a mapped file, a byte that changes after its part was verified is not noticed; a file
//! that is cut ends the process (see [`ReadMode`](crate::fs::ReadMode)).
//!
//! # Read by hand
//!
//! A run of two entries, without this crate's reader:
//!
//! ```
//! use bedload_lsm::{ScannedKeys, Store};
//! use xxhash_rust::xxh3::xxh3_64;
//!
//! # let directory = tempfile::tempdir()?;
//! let mut store = Store::options().shape(ScannedKeys).open(directory.path())?;
//! store.put(b"stop/1", b"Ely")?;
//! store.put(b"stop/2", b"March")?;
//! let stacks = store.freeze()?.wait()?;
//! let run = stacks.tiles().next().expect("tiles cover every key").slices[0].run.clone();
//! let file = std::fs::read(run.path().expect("it is a file of the store"))?;
//!
//! let number = |at: usize, bytes: usize| -> usize {
//!     file[at..at + bytes].iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
//! };
//! let checksum = |part: usize, covered: std::ops::Range<usize>| {
//!     let mut crc = crc32fast::Hasher::new();
//!     crc.update(&run.id().opening.to_le_bytes());
//!     crc.update(&run.id().sequence.to_le_bytes());
//!     crc.update(&(part as u64).to_le_bytes());
//!     crc.update(&file[covered]);
//!     crc.finalize() as usize
//! };
//!
//! let footer = file.len() - 64;
//! assert_eq!(&file[footer..footer + 8], b"BEDLRUN1");
//! assert_eq!((number(footer + 8, 4), number(footer + 52, 8)), (1, file.len()));
//! assert_eq!(number(footer + 12, 8) as u64, run.id().opening);
//! assert_eq!(number(footer + 60, 4), checksum(footer, footer..footer + 60));
//! let directory = number(footer + 32, 8);
//! assert_eq!(directory + number(footer + 40, 8), footer);
//! assert_eq!(number(footer + 48, 4), checksum(directory, directory..footer));
//!
//! // One block, alone in its section. Two keys share five bytes; four cells leave a quarter empty.
//! let block = 48 + number(4, 4);
//! assert_eq!(number(0, 4), checksum(0, 4..block));
//! let (count, shared, table) = (number(14, 2), number(16, 2), number(18, 2));
//! assert_eq!((count, shared, table), (2, 5, 4));
//!
//! // The directory starts with that section: keys, bytes, blocks; entries, tombstones, operands, expiring; no clocks.
//! let section = [&b"\x01\x06stop/1\x06stop/2"[..], &[block as u8, 1, 2, 0, 0, 0, 0]].concat();
//! assert!(file[directory..].starts_with(&section));
//! // Three hashes, since all keys have the empty scan prefix: one line of 64 bytes, at a multiple of 64.
//! let (line, index) = (block.next_multiple_of(64), block.next_multiple_of(64) + 64);
//! let tail = directory + section.len();
//! assert_eq!(file[tail], 1);
//! assert_eq!(number(tail + 1, 4), checksum(block, block..index));
//! assert_eq!(number(tail + 5, 4), checksum(index, index..directory));
//! assert_eq!(&file[index..index + 8], b"\0\0\0\0\0\0\x001"); // "1" behind "stop/", big-endian, stored little-endian
//!
//! // A get: the table's cell gives the slot, the slot hash and entry.
//! let hash = xxh3_64(b"stop/2") as u32 as usize;
//! let (slots, mut cell) = (48 + table, hash % table);
//! while number(slots + 6 * usize::from(file[48 + cell]), 4) != hash {
//!     cell = (cell + 1) % table;
//! }
//! let entries = slots + 6 * count + shared;
//! let entry = entries + number(slots + 6 * usize::from(file[48 + cell]) + 4, 2);
//! assert_eq!(&file[entry..block], b"\x00\x012\x05March"); // a value; one byte of key, "2"; five bytes
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The version of a store that was closed without ever holding anything:
//!
//! ```
//! use bedload_lsm::Store;
//!
//! # let directory = tempfile::tempdir()?;
//! Store::options().open(directory.path())?.close()?;
//! let version = std::fs::read(directory.path().join("VERSION"))?;
//!
//! let (body, checksum) = version.split_last_chunk::<4>().expect("it ends with its checksum");
//! let seed = [&b"BEDLVER1"[..], &[0; 16]].concat(); // opening, sequence and offset
//! assert_eq!(*checksum, crc32fast::hash(&[&seed, body].concat()).to_le_bytes());
//! assert!(body.starts_with(b"BEDLVER1\x01\0\0\0\x01")); // format 1, clean
//! // Behind number, seal and clocks: the shape, no runs, one tile at the empty key without slices.
//! assert_eq!(&body[12 + 1 + 8 + 8 + 16 * 8..], b"\x06points\x01\0\0\0\0\x01\0\0");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
