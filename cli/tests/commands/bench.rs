//! `bench`.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep};

use crate::support::{Place, names, run};

fn is_positive(value: &Value) -> bool {
    value.as_f64().is_some_and(|value| value > 0.0)
}

#[test]
fn a_small_run_measures_everything_and_leaves_a_page_alone() {
    let place = Place::empty();
    let arguments = ["bench", "--keys", "2000", "--seconds", "1", "--memory", "8", "--html", "page.html", "--json"];
    let answer = run(place.folder.path(), &arguments).expect(0).json();
    assert_eq!((&answer["keys"], &answer["equal"]), (&2000.into(), &true.into()), "{answer:#}");
    assert_eq!((&answer["repo_is_temporary"], answer["left"].as_array().map(Vec::len)), (&true.into(), Some(0)));
    let updates = &answer["updates"];
    assert!(is_positive(&updates["per_s"]) && updates["seconds"].as_f64().unwrap() >= 1.0, "{updates:#}");
    let latency = &updates["latency_ns"];
    let shares = ["p50", "p90", "p99", "p99_9", "p99_99", "max"].map(|share| latency[share].as_u64().unwrap());
    assert!(shares[0] > 0 && shares.is_sorted(), "{latency:#}");
    let rates = updates["throughput"].as_array().unwrap();
    assert!(rates.len() >= 4 && rates.iter().any(|rate| is_positive(&rate["updates_per_s"])), "{updates:#}");
    let checkpoints = &answer["checkpoints"];
    assert_eq!(checkpoints["count"], checkpoints["each"].as_array().unwrap().len());
    assert!(checkpoints["count"].as_u64().unwrap() >= 1, "{checkpoints:#}");
    assert!(is_positive(&checkpoints["first"]["uploaded_bytes"]) && is_positive(&checkpoints["uploaded_bytes"]["max"]));
    assert!(is_positive(&checkpoints["took_us"]["p50"]), "{checkpoints:#}");
    let restore = &answer["restore"];
    assert!(is_positive(&restore["bytes"]) && is_positive(&restore["fetched_bytes"]), "{restore:#}");
    let steps =
        ["lazy_opened_us", "lazy_first_get_us", "lazy_all_local_us"].map(|step| restore[step].as_u64().unwrap());
    assert!(steps[0] > 0 && steps.is_sorted() && is_positive(&restore["eager_opened_us"]), "{restore:#}");

    let page = std::fs::read_to_string(place.path("page.html")).unwrap();
    assert_eq!(page.matches("<svg").count(), 6);
    assert!(!page.contains("http") && page.contains("prefers-color-scheme: dark"), "the page needs nothing else");
    assert_eq!(names(place.folder.path()), ["page.html"], "the folder is removed");
}

#[test]
fn people_read_what_was_measured() {
    let place = Place::empty();
    let text = run(place.folder.path(), &["bench", "--keys", "500", "--seconds", "1"]).expect(0).out;
    for told in ["500 keys with a counter each", "p99.9", "pause", "all local after", "equal        yes", "was removed"]
    {
        assert!(text.contains(told), "{told:?} is missing in {text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 100 || line.contains("directory")), "{text}");
}

#[test]
fn a_named_repo_is_left_as_it_was() {
    let place = Place::with_job(1);
    let before = (place.repo_names(""), place.repo_names("jobs"));
    let answer = place.run(&["bench", "--keys", "2000", "--seconds", "1", "--json"]).expect(0).json();
    assert_eq!((&answer["equal"], &answer["repo_is_temporary"]), (&true.into(), &false.into()));
    assert!(answer["job"].as_str().unwrap().starts_with("bench-"), "{answer:#}");
    assert_eq!(answer["left"], serde_json::json!([]));
    assert_eq!((place.repo_names(""), place.repo_names("jobs")), before);
    assert_eq!(place.run(&["ls", "--json"]).expect(0).json()["jobs"].as_array().map(Vec::len), Some(1));
    assert_eq!(place.run(&["ls", "board", "--json"]).expect(0).json()["checkpoints"].as_array().unwrap().len(), 1);

    let place = Place::on_disk();
    let text = place.run(&["bench", "--keys", "500", "--seconds", "1"]).expect(0).out;
    assert!(text.contains("bedload.json, which makes a repo of the place"), "{text}");
    assert_eq!(
        (names(place.folder.path()), names(&place.path("repo"))),
        (vec!["repo".into()], vec!["bedload.json".into(), "probes".into()])
    );
}

#[test]
fn an_interrupt_removes_the_folder_and_the_job() {
    let place = Place::with_job(1);
    let mut command = Command::new(env!("CARGO_BIN_EXE_bedload"));
    command
        .args(["bench", "--keys", "100000", "--seconds", "300", "--repo", &place.address])
        .current_dir(place.folder.path());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // In the middle of it: the first checkpoints exist.
    let runtime = Runtime::new().unwrap();
    let limit = Instant::now() + Duration::from_secs(60);
    let is_under_way = || {
        let jobs = names(&place.path("repo/jobs"));
        let job = jobs.iter().find(|name| name.starts_with("bench-"));
        job.is_some_and(|job| place.path(&format!("repo/jobs/{job}/chain/000000000003.json")).exists())
    };
    while !is_under_way() {
        assert!(Instant::now() < limit && child.try_wait().unwrap().is_none(), "it is not under way");
        runtime.block_on(async { sleep(Duration::from_millis(10)).await });
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said}");
    assert!(said.contains("interrupted; the folder was removed"), "{said}");
    assert_eq!(names(&place.path("repo/jobs")), ["board"]);
    assert!(names(place.folder.path()).iter().all(|name| !name.starts_with("bedload-bench-")));
}

#[test]
fn what_cannot_be_measured_is_told_before_it_is_tried() {
    let place = Place::empty();
    let ran = run(place.folder.path(), &["bench", "none"]).expect(10);
    assert!(ran.err.contains("there is no such directory"), "{}", ran.err);
    let ran = run(place.folder.path(), &["bench", "--html", "none/page.html"]).expect(10);
    assert!(ran.err.contains("for the page"), "{}", ran.err);
    run(place.folder.path(), &["bench", "--keys", "0"]).expect(2);
    assert_eq!(names(place.folder.path()), Vec::<String>::new());
}
