//! `metrics`: as a text and over HTTP, at a repo that a job made, and at one that is gone meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use bedload::{CheckpointId, Repo};
use bedload_lsm::fs::{DiskFs, Fs};
use bedload_snapshot::{Epoch, pin};

use crate::support::{Place, run};

/// What Prometheus reads: value by series. Fails for what it would refuse: a sample without help and type, or a series twice.
fn checked(text: &str) -> BTreeMap<String, f64> {
    let (mut helped, mut typed, mut found) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').expect("a name and a text");
            assert!(help.len() > 5 && helped.insert(name.to_owned()), "{line}");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a name and a type");
            assert!(helped.contains(name) && kind == "gauge" && typed.insert(name.to_owned()), "{line}");
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a series and a value");
            let name = series.split('{').next().expect("a name");
            assert!(typed.contains(name), "{line} has no type");
            assert!(
                name.starts_with("bedload_") && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{name}"
            );
            let value: f64 = value.parse().expect("a number");
            assert!(found.insert(series.to_owned(), value).is_none(), "{series} is there twice");
        }
    }
    found
}

/// The names of metrics in a text, as far as they stand alone.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("bedload_")).map(str::to_owned).collect()
}

#[test]
fn figures_of_a_job_and_of_a_directory_are_printed_as_prometheus_reads_them() {
    let place = Place::with_job(3);
    let directory = place.path("board-worker-0");
    let path = directory.to_str().unwrap();
    let ran = place.run(&["metrics", "--once", "board", path]).expect(0);
    let found = checked(&ran.out);
    let of = |series: &str| *found.get(series).unwrap_or_else(|| panic!("no {series} in\n{}", ran.out));
    assert_eq!(of("bedload_up"), 1.0);
    assert_eq!(of("bedload_job_up{job=\"board\"}"), 1.0);
    assert_eq!(of("bedload_job_checkpoints{job=\"board\"}"), 3.0);
    assert_eq!(of("bedload_job_workers{job=\"board\"}"), 2.0);
    assert_eq!(of("bedload_job_key_groups{job=\"board\"}"), 128.0);
    assert_eq!(of("bedload_newest_checkpoint_number{job=\"board\"}"), 3.0);
    assert!((0.0..600.0).contains(&of("bedload_newest_checkpoint_age_seconds{job=\"board\"}")));
    let (bytes, new) = (
        of("bedload_newest_checkpoint_bytes{job=\"board\"}"),
        of("bedload_newest_checkpoint_new_bytes{job=\"board\"}"),
    );
    assert!(0.0 < new && new <= bytes, "{new} of {bytes}");
    for worker in ["w-0", "w-1"] {
        for part in ["pause", "flush", "link", "upload", "verify"] {
            of(&format!("bedload_worker_{part}_seconds{{job=\"board\",worker=\"{worker}\"}}"));
        }
        let upload = of(&format!("bedload_worker_upload_seconds{{job=\"board\",worker=\"{worker}\"}}"));
        assert!(upload > 0.0 && upload < 60.0, "{upload} s");
    }
    assert_eq!(of(&format!("bedload_directory_up{{directory=\"{path}\"}}")), 1.0);
    assert!(of(&format!("bedload_directory_disk_free_bytes{{directory=\"{path}\"}}")) > 0.0);
    assert!(of(&format!("bedload_directory_entries{{directory=\"{path}\"}}")) > 100.0);
    assert_eq!(of(&format!("bedload_directory_local_copies{{directory=\"{path}\"}}")), 1.0);
    assert_eq!(of(&format!("bedload_directory_runs{{directory=\"{path}\",place=\"missing\"}}")), 0.0);
    assert_eq!(ran.err, "");

    // Without a job: all of the repo.
    let all = checked(&place.run(&["metrics", "--once"]).expect(0).out);
    assert_eq!(all["bedload_job_checkpoints{job=\"board\"}"], 3.0);
    assert_eq!((all["bedload_job_pins{job=\"board\"}"], all["bedload_job_leases{job=\"board\"}"]), (0.0, 0.0));
    // JSON has the same.
    let answer = place.run(&["metrics", "--once", "--json"]).expect(0).json();
    assert_eq!(answer["jobs"][0]["figures"]["newest"]["workers"][1]["worker"], "w-1");
}

#[test]
fn pins_and_checkpoints_in_the_making_are_counted() {
    let place = Place::with_job(1);
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let (repo, job) = (Repo::open(&place.address).await.unwrap(), "board".parse().unwrap());
        let newest = CheckpointId { epoch: 1, number: 1 };
        pin(&repo, &job, &"release".parse().unwrap(), newest, "a test").await.unwrap();
        let mut epoch = Epoch::start(&repo, &job, 128, "a test").await.unwrap();
        epoch.begin().await.unwrap();
    });
    let found = checked(&place.run(&["metrics", "--once"]).expect(0).out);
    assert_eq!(found["bedload_job_pins{job=\"board\"}"], 1.0);
    assert_eq!(found["bedload_job_leases{job=\"board\"}"], 1.0);
    assert!(found["bedload_job_epoch{job=\"board\"}"] > 1.0);
    assert!(!found.contains_key("bedload_newest_checkpoint_new_bytes{job=\"board\"}"), "there is none before it");
}

#[test]
fn the_documents_name_each_figure_and_no_other() {
    let place = Place::with_job(2);
    let directory = place.path("board-worker-0");
    let out = place.run(&["metrics", "--once", directory.to_str().unwrap()]).expect(0).out;
    let served: BTreeSet<String> =
        checked(&out).keys().map(|series| series.split('{').next().unwrap().to_owned()).collect();
    let document = include_str!("../../../docs/monitoring.md");
    let told: BTreeMap<&str, &str> = document
        .lines()
        .filter(|line| line.starts_with("| `bedload_"))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            (cells[1].trim_matches('`'), cells[3])
        })
        .collect();
    let told_names: BTreeSet<String> = told.keys().map(|name| (*name).to_owned()).collect();
    assert_eq!(told_names, served);
    for (name, meaning) in told {
        assert!(out.contains(&format!("# HELP {name} {meaning}\n")), "{name} is told otherwise");
    }
    let in_rules = names(include_str!("../../../docs/alerts.yml"));
    assert!(in_rules.len() > 5 && in_rules.is_subset(&served), "{in_rules:?}");
}

#[test]
fn what_cannot_be_read_is_told_and_the_rest_is_served() {
    let place = Place::with_job(1);
    let ran = place.run(&["metrics", "--once", "board", "bord", "./none"]).expect(0);
    let found = checked(&ran.out);
    assert_eq!(found["bedload_up"], 0.0);
    assert_eq!((found["bedload_job_up{job=\"board\"}"], found["bedload_job_up{job=\"bord\"}"]), (1.0, 0.0));
    let none = place.path("none");
    assert_eq!(found[&format!("bedload_directory_up{{directory=\"{}\"}}", none.display())], 0.0);
    assert!(ran.err.contains("bedload: there is no job bord in file:///"), "{}", ran.err);
    assert!(ran.err.contains("there is no such directory"), "{}", ran.err);

    let empty = Place::empty();
    std::fs::create_dir(empty.path("repo")).unwrap();
    let ran = empty.run(&["metrics", "--once"]).expect(0);
    assert_eq!(checked(&ran.out), BTreeMap::from([("bedload_up".to_owned(), 0.0)]));
    assert!(ran.err.contains("bedload.json is not there"), "{}", ran.err);

    let ran = run(empty.folder.path(), &["metrics", "--once"]).expect(2);
    assert!(ran.err.contains("no repo is named, and no directory"), "{}", ran.err);
}

/// A server, which ends with this.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(place: &Place, repo: &str) -> Server {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bedload"));
        command.args(["--repo", repo, "metrics", "board", "--listen", "127.0.0.1:0"]);
        command.env("AWS_ACCESS_KEY_ID", "some").env("AWS_SECRET_ACCESS_KEY", "secret");
        command.current_dir(place.folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the command");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("listening on http://").and_then(|rest| rest.strip_suffix("/metrics"));
        let address = address.unwrap_or_else(|| panic!("{line:?}")).to_owned();
        Server { child, address }
    }

    /// Head and body of the answer.
    fn ask(&self, request: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        let host = &self.address;
        let request = if request.contains(" HTTP/1.1") { request.to_owned() } else { format!("{request} HTTP/1.1") };
        write!(stream, "{request}\r\nHost: {host}\r\nConnection: close\r\n\r\n").expect("it reads");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("it answers");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        (head.to_owned(), body.to_owned())
    }

    /// Ends it as a service is ended; gives its exit code, and what it said on standard error.
    fn end(mut self) -> (Option<i32>, String) {
        let told = Command::new("kill").arg(self.child.id().to_string()).status().expect("kill");
        assert!(told.success());
        let code = self.child.wait().expect("it ends").code();
        let mut text = String::new();
        self.child.stderr.take().expect("it is piped").read_to_string(&mut text).expect("text");
        (code, text)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // After a test that failed.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn it_is_scraped_over_http_also_while_the_repo_is_gone() {
    let place = Place::with_job(2);
    let server = Server::start(&place, &place.address);
    let (head, body) = server.ask("GET /metrics");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.to_lowercase().contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert_eq!(checked(&body)["bedload_job_checkpoints{job=\"board\"}"], 2.0);
    assert!(server.ask("GET /").0.starts_with("HTTP/1.1 404 "));
    assert!(server.ask("POST /metrics").0.starts_with("HTTP/1.1 405 "));
    let (head, body) = server.ask("HEAD /metrics");
    assert!(head.starts_with("HTTP/1.1 200 ") && body.is_empty(), "{head}\n{body}");

    DiskFs.rename(&place.path("repo"), &place.path("away")).unwrap();
    std::fs::create_dir(place.path("repo")).unwrap();
    for _ in 0..2 {
        assert_eq!(checked(&server.ask("GET /metrics").1), BTreeMap::from([("bedload_up".to_owned(), 0.0)]));
    }
    std::fs::remove_dir(place.path("repo")).unwrap();
    DiskFs.rename(&place.path("away"), &place.path("repo")).unwrap();
    assert_eq!(checked(&server.ask("GET /metrics").1)["bedload_up"], 1.0);

    let (code, text) = server.end();
    assert_eq!(code, Some(0));
    assert_eq!(text.matches("bedload.json is not there").count(), 1, "once until it changes: {text}");
    assert!(text.contains("repo: can be read again"), "{text}");
}

#[test]
fn a_repo_that_does_not_answer_is_given_up_before_the_scraper_gives_up() {
    let (place, silent) = (Place::empty(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let repo = format!("s3://bucket/repo?endpoint={endpoint}&allow_http=true&region=here");
    let server = Server::start(&place, &repo);
    let (head, body) = server.ask("GET /metrics HTTP/1.1\r\nX-Prometheus-Scrape-Timeout-Seconds: 1.5");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(checked(&body), BTreeMap::from([("bedload_up".to_owned(), 0.0)]));
    let (code, text) = server.end();
    assert_eq!(code, Some(0));
    assert!(text.contains("the repo did not answer within 1s"), "{text}");
}

#[test]
fn a_place_that_is_taken_is_a_usage_error() {
    let place = Place::with_job(1);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ran = place.run(&["metrics", "--listen", &taken.local_addr().unwrap().to_string()]).expect(2);
    assert!(ran.err.contains("name another address with --listen"), "{}", ran.err);
}
