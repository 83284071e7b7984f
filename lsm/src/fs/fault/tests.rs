//! Faults come where the plan says, are counted, and leave the inner disk as a real failure would.

use super::*;
use crate::error::ErrorKind;
use crate::fs::MemoryFs;

fn disks() -> (MemoryFs, FaultFs) {
    let memory = MemoryFs::new();
    (memory.clone(), FaultFs::new(Arc::new(memory)))
}

fn plan(fault: Fault, when: FaultWhen) -> Option<FaultPlan> {
    Some(FaultPlan { fault, when })
}

/// Writes a file as a store does and reads it back.
fn scenario(fs: &dyn Fs) -> Result<Vec<u8>> {
    let mut file = fs.create_new(Path::new("/a.tmp"))?;
    file.append(b"0123")?;
    file.append(b"456789")?;
    file.sync_data()?;
    file.finish()?;
    fs.rename(Path::new("/a.tmp"), Path::new("/a"))?;
    fs.sync_dir(Path::new("/"))?;
    let source = fs.open(Path::new("/a"), ReadMode::Pread)?;
    let mut bytes = vec![0; 10];
    source.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

#[test]
fn without_a_plan_nothing_fails_and_the_log_tells_what_was_done() {
    let (_, fs) = disks();
    assert_eq!(scenario(&fs).unwrap(), b"0123456789");
    fs.hard_link(Path::new("/a"), Path::new("/b")).unwrap();
    fs.remove(Path::new("/b")).unwrap();
    assert!(fs.create_new(Path::new("/a")).is_err());
    let expected = [
        "create a.tmp",
        "append a.tmp 10",
        "sync a.tmp",
        "finish a.tmp",
        "rename a.tmp a",
        "sync_dir .",
        "link a b",
        "remove b",
        "create a failed",
    ];
    assert_eq!(fs.log(), expected);
    assert_eq!(fs.operations(), 12);
    assert_eq!(fs.injected(), 0);
    fs.clear_log();
    assert!(fs.log().is_empty());
}

#[test]
fn appends_to_two_files_in_turn_are_not_merged() {
    let (_, fs) = disks();
    let mut a = fs.create_new(Path::new("/a")).unwrap();
    let mut b = fs.create_new(Path::new("/b")).unwrap();
    for file in [&mut a, &mut b] {
        file.append(b"12").unwrap();
        file.append(b"3").unwrap();
    }
    a.append(b"4").unwrap();
    fs.set_plan(plan(Fault::Eio, FaultWhen::Nth(0)));
    a.append(b"56").unwrap_err();
    assert_eq!(fs.log()[2..], ["append a 3", "append b 3", "append a 1", "append a 2 failed"]);
}

#[test]
fn each_fault_hits_each_operation_it_can_hit_once() {
    let places = [
        (Fault::Eio, 9, ErrorKind::Retry),
        (Fault::NoSpace, 6, ErrorKind::Full),
        (Fault::ShortWrite, 2, ErrorKind::Retry),
        (Fault::ShortRead, 1, ErrorKind::Damaged),
        (Fault::SyncFailure, 2, ErrorKind::Retry),
    ];
    for (fault, expected, kind) in places {
        let mut surfaced = 0;
        for n in 0.. {
            let (_, fs) = disks();
            fs.set_plan(plan(fault, FaultWhen::Nth(n)));
            let result = scenario(&fs);
            if fs.injected() == 0 {
                assert_eq!(result.unwrap(), b"0123456789");
                break;
            }
            assert_eq!(result.unwrap_err().kind(), kind, "{fault:?}");
            surfaced += fs.injected();
        }
        assert_eq!(surfaced, expected, "{fault:?}");
    }
}

#[test]
fn a_failed_file_stays_failed_and_its_bytes_are_not_durable() {
    let (memory, fs) = disks();
    let mut file = fs.create_new(Path::new("/a")).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    file.append(b"0123").unwrap();
    fs.set_plan(plan(Fault::SyncFailure, FaultWhen::Nth(0)));
    assert_eq!(file.sync_data().unwrap_err().kind(), ErrorKind::Retry);
    assert_eq!(file.sync_data().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(file.append(b"4").unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(file.finish().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(fs.injected(), 1);
    assert!(memory.crash_image(&mut || 1).read("/a").unwrap().is_empty());
}

#[test]
fn a_short_write_leaves_half_of_the_bytes() {
    let (memory, fs) = disks();
    let mut file = fs.create_new(Path::new("/a")).unwrap();
    fs.set_plan(plan(Fault::ShortWrite, FaultWhen::Nth(1)));
    file.append(b"0123").unwrap();
    assert!(file.append(b"456789").is_err());
    assert_eq!(memory.read("/a").unwrap(), b"0123456");
}

#[test]
fn from_the_nth_on_everything_fails_until_the_plan_ends() {
    let (_, fs) = disks();
    fs.set_plan(plan(Fault::Eio, FaultWhen::FromNth(1)));
    fs.space(Path::new("/")).unwrap();
    for _ in 0..3 {
        assert!(fs.kind(Path::new("/")).is_err());
    }
    assert_eq!(fs.injected(), 3);
    fs.set_plan(None);
    fs.kind(Path::new("/")).unwrap();
}

#[test]
fn a_probability_is_met_and_repeats_from_its_seed() {
    let run = |seed| {
        let (_, fs) = disks();
        fs.set_plan(plan(Fault::Eio, FaultWhen::OneIn { n: 8, seed }));
        (0..8000).map(|_| fs.kind(Path::new("/")).is_ok()).collect::<Vec<bool>>()
    };
    let failed = run(1).iter().filter(|succeeded| !**succeeded).count();
    assert!((800..1200).contains(&failed), "{failed}");
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn flips_reach_every_read_of_the_byte_and_no_other() {
    let (_, fs) = disks();
    scenario(&fs).unwrap();
    let source = fs.open(Path::new("/a"), ReadMode::Mmap).unwrap();
    assert!(source.mapped().is_some());
    fs.set_flips(vec![BitFlip { name_part: "a".to_owned(), offset: 4, mask: 0x41 }]);
    assert!(source.mapped().is_none(), "the flip could not reach it");
    let read = |from: u64, bytes: usize| {
        let mut into = vec![0; bytes];
        source.read_exact_at(&mut into, from).unwrap();
        into
    };
    assert_eq!(read(0, 10), b"0123u56789");
    assert_eq!(read(4, 1), b"u");
    assert_eq!(read(0, 4), b"0123");
    assert_eq!(read(5, 5), b"56789");
    assert_eq!(fs.flipped(), 2);
    fs.set_flips(vec![BitFlip { name_part: "other".to_owned(), offset: 4, mask: 0x41 }]);
    assert_eq!(source.mapped(), Some(b"0123456789".as_slice()));
    assert_eq!(read(4, 1), b"4");
}

#[test]
fn a_plan_hides_mapped_memory_only_while_it_can_hit_reads() {
    let (_, fs) = disks();
    scenario(&fs).unwrap();
    let source = fs.open(Path::new("/a"), ReadMode::Mmap).unwrap();
    for (fault, hidden) in
        [(Fault::Eio, true), (Fault::ShortRead, true), (Fault::NoSpace, false), (Fault::SyncFailure, false)]
    {
        fs.set_plan(plan(fault, FaultWhen::Nth(1000)));
        assert_eq!(source.mapped().is_none(), hidden, "{fault:?}");
    }
}
