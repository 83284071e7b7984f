//! Who may have a directory: one store at a time, on a disk that can be relied on.

use std::process::{Command, Stdio};
use std::sync::Arc;

use bedload_lsm::fs::{FsKind, MemoryFs};
use bedload_lsm::{Env, ErrorKind, Store};

/// Set for the child process of a test: the directory it holds until its input ends.
const HOLD: &str = "BEDLOAD_TEST_HOLD";

/// Not a test by itself: what the child of the next one runs.
#[test]
fn hold_a_directory_for_the_parent() {
    let Ok(directory) = std::env::var(HOLD) else { return };
    let _store = Store::options().open(directory).expect("nobody else has it");
    println!("held");
    // Until the parent closes its end.
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).expect("a pipe can be read");
}

#[test]
fn a_second_process_is_told_the_pid_of_the_first() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ownership::hold_a_directory_for_the_parent", "--nocapture", "--test-threads=1"])
        .env(HOLD, directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    assert!(lines.any(|line| line.unwrap().contains("held")), "the child never held the directory");
    let error = Store::options().open(directory.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(error.to_string().contains(&format!("process {}", child.id())), "{error}");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    Store::options().open(directory.path()).unwrap().close().unwrap();
}

#[test]
fn a_second_store_of_this_process_is_refused_too() {
    let directory = tempfile::tempdir().unwrap();
    let first = Store::options().open(directory.path()).unwrap();
    let error = Store::options().open(directory.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    first.close().unwrap();
    Store::options().open(directory.path()).unwrap().close().unwrap();
}

#[test]
fn a_remote_file_system_is_refused_unless_allowed() {
    for name in ["NFS", "FUSE"] {
        let fs = MemoryFs::new();
        fs.set_kind(FsKind::Remote(name.to_owned()));
        let env = Env::builder().fs(Arc::new(fs)).threads(0).build().unwrap();
        let error = Store::options().env(&env).open("/store").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fix);
        let message = error.to_string();
        assert!(message.contains(name) && message.contains("allow_remote_directory"), "{message}");
        Store::options().env(&env).allow_remote_directory().open("/store").unwrap().close().unwrap();
    }
}

#[test]
fn a_tmpfs_works_with_a_warning() {
    let fs = MemoryFs::new();
    fs.set_kind(FsKind::Doubtful("tmpfs".to_owned()));
    let env = Env::builder().fs(Arc::new(fs)).threads(0).build().unwrap();
    let store = Store::options().env(&env).open("/store").unwrap();
    assert!(store.warning().is_some_and(|warning| warning.contains("tmpfs")));
}

#[test]
fn another_key_shape_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::options().open(directory.path()).unwrap();
    store.put(b"a", b"1").unwrap();
    store.close().unwrap();
    let error = Store::options().shape(bedload_lsm::ScannedKeys).open(directory.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fix);
    assert!(error.to_string().contains("points"), "{error}");
}

#[test]
fn a_store_on_a_real_disk_keeps_what_it_closed_with() {
    let (left, right) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let open = || Store::options().memory(4 << 20).directory(right.path()).open(left.path()).unwrap();
    let mut store = open();
    for number in 0..60_000u32 {
        store.put(&number.to_be_bytes(), &[number as u8; 100]).unwrap();
    }
    store.close().unwrap();
    let store = open();
    assert!(store.opened_clean());
    for number in (0..60_000u32).step_by(7) {
        assert_eq!(store.get(&number.to_be_bytes()).unwrap().as_deref(), Some(&[number as u8; 100][..]));
    }
    assert_eq!(store.scan(..).unwrap().count(), 60_000);
}
