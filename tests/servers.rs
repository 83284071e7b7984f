//! The suite for object stores, against the servers that `tests/servers/run` has started.
//!
//! `BEDLOAD_SERVERS` names them, one a line: a name, `good` or `unfenced`, and the address of an empty place.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use tests::conformance::check_repo;
use tests::kills::Kills;

/// Name, kind and address of each server.
fn servers() -> Vec<[String; 3]> {
    let Ok(servers) = std::env::var("BEDLOAD_SERVERS") else {
        println!("skipped: BEDLOAD_SERVERS is not set; tests/servers/run starts servers and sets it");
        return Vec::new();
    };
    let parse = |server: &str| {
        let words: Vec<String> = server.split_whitespace().map(str::to_owned).collect();
        words.try_into().unwrap_or_else(|_| panic!("{server:?}: expected a name, good or unfenced, and an address"))
    };
    servers.lines().filter(|line| !line.trim().is_empty()).map(parse).collect()
}

#[test]
fn real_servers_keep_what_is_shipped() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be had");
    for [name, kind, address] in servers() {
        let (kind, address) = (kind.as_str(), address.as_str());
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

/// Some kills on each server. What is left of the parts of an upload no listing shows, and no collection finds: the rule of a
/// bucket for unfinished uploads removes it. How much that is, is told.
#[test]
fn nothing_that_was_complete_is_lost_to_a_kill_on_a_server() {
    for [name, _, address] in servers().into_iter().filter(|[_, kind, _]| kind == "good") {
        let (place, query) = address.split_once('?').expect("the address of a server has its endpoint");
        let address = format!("{place}/kills?{query}");
        let directory = tempfile::tempdir().unwrap();
        let (victim, directory) = (Path::new(env!("CARGO_BIN_EXE_victim")), directory.path());
        let kills = Kills { victim, address: &address, directory, kills: 10, after_ms: 300..2_300 };
        let steps = kills.check().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(steps > 100, "{name}: {steps} steps in all");
        let unfinished =
            if place.starts_with("s3:") { unfinished_uploads(query).to_string() } else { "unknown".into() };
        println!("{name}: passed, {steps} steps; uploads that kills left unfinished: {unfinished}");
    }
}

/// How many unfinished uploads the bucket of a server has that asks for no credentials.
fn unfinished_uploads(query: &str) -> usize {
    let endpoint = query.split('&').find_map(|option| option.strip_prefix("endpoint=http://"));
    let endpoint = endpoint.expect("a server of this machine");
    let mut server = TcpStream::connect(endpoint).expect("it listens");
    let request = format!("GET /bucket?uploads HTTP/1.1\r\nHost: {endpoint}\r\nConnection: close\r\n\r\n");
    server.write_all(request.as_bytes()).expect("it listens");
    let mut answer = String::new();
    server.read_to_string(&mut answer).expect("it answers in text");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("ListMultipartUploadsResult"), "{answer}");
    answer.matches("<UploadId>").count()
}

/// Nobody listens there: the error tells of the request, and not of the credentials that signed it.
#[test]
fn no_text_holds_credentials() {
    use bedload_snapshot::{Patience, RepoOptions};
    let secrets = ["AWS_SECRET_ACCESS_KEY", "AZURE_STORAGE_ACCOUNT_KEY"];
    let secrets: Vec<String> = secrets.iter().filter_map(|name| std::env::var(name).ok()).collect();
    if secrets.len() < 2 {
        println!("skipped: no credentials in the environment; tests/servers/run sets some");
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be had");
    for address in [
        "s3://bucket/repo?endpoint=http://127.0.0.1:9&region=us-east-1&allow_http=true",
        "az://container/repo?endpoint=http://127.0.0.1:9/devstoreaccount1&allow_http=true",
    ] {
        let options = RepoOptions::default().patience(Patience { tries: 1, ..Patience::default() });
        let texts = format!("{options:?}");
        let error = runtime.block_on(options.open(address)).expect_err("nobody listens there");
        let mut cause: Option<&dyn std::error::Error> = Some(&error);
        let mut texts = format!("{texts} {error:?}");
        while let Some(error) = cause {
            texts.push_str(&format!(" {error} {error:?}"));
            cause = error.source();
        }
        for secret in &secrets {
            assert!(!texts.contains(secret.as_str()), "{address}: {}", texts.replace(secret.as_str(), "[secret]"));
        }
        println!("{address}: {error}");
    }
}

#[test]
fn credentials_in_an_endpoint_are_refused_and_not_told() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("threads can be had");
    for endpoint in [
        "http://key:hunter2hunter2@host:9000",
        "http://host/a?sig=hunter2hunter2",
        "http://host/a%23sig=hunter2hunter2",
        "http:key:hunter2hunter2@host",
        "http://key:12/hunter2hunter2@host",
        "localhost:key:hunter2hunter2@host",
        "key:hunter2hunter2@host:9000",
    ] {
        for place in ["s3://b/x", "az://c/x"] {
            let address = format!("{place}?endpoint={endpoint}");
            let error = runtime.block_on(bedload_snapshot::Repo::open(&address)).expect_err("it is refused");
            let texts = format!("{error} {error:?}");
            assert!(texts.contains("endpoint") && !texts.contains("hunter2"), "{address}: {texts}");
        }
    }
}
