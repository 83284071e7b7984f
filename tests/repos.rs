//! The suite for object stores, against memory and files.

use tests::conformance::check_repo;

fn check(address: &str, directory: &std::path::Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be had");
    runtime.block_on(check_repo(address, directory)).unwrap_or_else(|error| panic!("{address}: {error}"));
}

#[test]
fn a_repo_in_a_directory_keeps_what_is_shipped() {
    let directory = tempfile::tempdir().unwrap();
    check(&format!("file://{}/repo", directory.path().display()), &directory.path().join("work"));
}

#[test]
fn addresses_that_are_not_understood_say_what_to_do() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("threads can be had");
    let open = |address: &str| runtime.block_on(bedload_snapshot::Repo::open(address)).unwrap_err().to_string();
    for (address, expected) in [
        ("checkpoints", "expected one like file:///mnt/repo"),
        ("ftp://host/x", "expected file, s3, gs, az or memory"),
        ("file://host/x", "write three slashes"),
        ("file:///tmp/x?region=eu", "unknown option \"region\""),
        ("s3:///x", "no bucket or container"),
        ("s3://key:hunter2hunter2@bucket/x", "credentials in an address end up in logs"),
        ("memory:///#x", "has no part behind #"),
    ] {
        let error = open(address);
        assert!(error.contains(expected), "{address}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn a_store_that_creates_what_exists_is_refused() {
    use bedload_snapshot::RepoOptions;
    use bedload_snapshot::testing::FaultStore;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("threads can be had");
    let store = || std::sync::Arc::new(FaultStore::default().ignoring_conditions());
    let open = |options: RepoOptions| runtime.block_on(options.open_store(store(), "s3://bucket"));
    let error = open(RepoOptions::default()).unwrap_err();
    assert!(error.to_string().contains("lets two writers create the same object"), "{error}");
    open(RepoOptions::default().allow_unfenced()).unwrap();
}
