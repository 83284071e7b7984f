//! The suite for object stores, against the servers that `tests/servers/run` has started.
//!
//! `BEDLOAD_SERVERS` names them, one a line: a name, `good` or `unfenced`, and the address of an empty place.

use tests::conformance::check_repo;

#[test]
fn real_servers_keep_what_is_shipped() {
    let Ok(servers) = std::env::var("BEDLOAD_SERVERS") else {
        println!("skipped: BEDLOAD_SERVERS is not set; tests/servers/run starts servers and sets it");
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be had");
    for server in servers.lines().filter(|line| !line.trim().is_empty()) {
        let [name, kind, address] = server.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("{server:?}: expected a name, good or unfenced, and an address");
        };
        let directory = tempfile::tempdir().unwrap();
        match kind {
            "good" => runtime
                .block_on(check_repo(address, directory.path()))
                .unwrap_or_else(|error| panic!("{name}: {error}")),
            "unfenced" => {
                let error = runtime.block_on(bedload_snapshot::Repo::open(address)).unwrap_err();
                assert!(error.to_string().contains("lets two writers create the same object"), "{name}: {error}");
            }
            kind => panic!("{name}: {kind:?} is neither good nor unfenced"),
        }
        println!("{name}: passed");
    }
}
