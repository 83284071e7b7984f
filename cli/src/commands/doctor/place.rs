//! What the place of a repo can do, how fast, and who reaches it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bedload::{Error, ErrorKind, JobName, Patience, Repo, Result, WorkerName, WorkerProbe, write_probe};
use bedload_lsm::fs::{DiskFs, Fs, FsKind};
use bedload_snapshot::{ProbeId, TrialStep, TriedStep, forget_probe, has_probe, read_probes, shown_address};
use serde::Serialize;
use tokio::time::Instant;

use super::report::{Findings, Latency, line};
use crate::context::Context;
use crate::text::span;

/// How often each request is made.
const ROUNDS: usize = 20;
/// How long a request may take here: shorter than a job would wait.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// The job that probes for another machine are written for; it has nothing else.
const JOB: &str = "bedload-doctor";
/// How often somebody looks whether the other machine was there.
const LOOK: Duration = Duration::from_millis(250);
/// How far clocks may differ without a word.
const CLOCK_MS_MAX: i64 = 10_000;

#[derive(Debug, Serialize)]
pub struct Place {
    repo: String,
    /// Whether a job was here before. None where that is not known.
    is_repo: Option<bool>,
    requests: Vec<Request>,
    /// How far the store's clock is ahead of this machine's: at least, and at most.
    clock_ahead_ms: Option<(i64, i64)>,
    reached_by: String,
    /// What became of the probe for another machine.
    probe: Option<String>,
}

#[derive(Debug, Serialize)]
struct Request {
    name: &'static str,
    latency: Option<Latency>,
    failure: Option<String>,
}

/// What is to be proved between two machines.
#[derive(Debug, Clone)]
pub enum Sharing {
    /// Write a probe, and wait so long for another machine to find it.
    Show(Duration),
    /// Find it.
    Find(Shown),
}

/// A probe as people copy it from one machine to the other: who wrote it, and which.
#[derive(Debug, Clone)]
pub struct Shown {
    machine: WorkerName,
    id: ProbeId,
}

impl Shown {
    /// # Errors
    /// `Fix` for what is none.
    pub fn understand(text: &str) -> Result<Shown> {
        let wrong = || Error::new(ErrorKind::Fix, "expected what --show-probe printed: a name, a colon, and 32 digits");
        let (machine, id) = text.rsplit_once(':').ok_or_else(wrong)?;
        Ok(Shown { machine: WorkerName::new(machine)?, id: id.parse()? })
    }
}

/// Tries a place out.
///
/// # Errors
/// Those of settings; what is wrong with the place is told in the findings.
pub async fn examine(
    context: &Context,
    address: &str,
    sharing: Option<&Sharing>,
    stop: &AtomicBool,
    findings: &mut Findings,
) -> Result<Place> {
    let request_limit = context.settings.request_limit()?.min(REQUEST_LIMIT);
    let patience = Patience { tries: 2, request_limit, ..Patience::default() };
    let reached_by = reached_by(address, findings);
    let mut place = Place {
        repo: shown_address(address),
        is_repo: None,
        requests: Vec::new(),
        clock_ahead_ms: None,
        reached_by,
        probe: None,
    };
    let repo = match context.options()?.patience(patience).open_as_it_is(address) {
        Ok(repo) => repo,
        Err(error) => {
            findings.problem(format!("the repo cannot be opened: {error}"), advice(&error));
            return Ok(place);
        }
    };
    place.repo = repo.to_string();
    context.progress("trying the repo out");
    let trial = match repo.try_out(ROUNDS).await {
        Ok(trial) => trial,
        Err(error) => {
            findings.problem(format!("the repo cannot be read: {error}"), advice(&error));
            return Ok(place);
        }
    };
    (place.is_repo, place.clock_ahead_ms) = (Some(trial.is_repo), trial.clock_ahead_ms);
    for TriedStep { step, took_us, failure } in trial.steps {
        let (name, latency) =
            (name_of(step), Latency::of(&took_us.into_iter().map(Duration::from_micros).collect::<Vec<_>>()));
        if let Some(error) = &failure {
            findings.problem(format!("{name} failed: {error}"), advice(error));
        }
        place.requests.push(Request { name, latency, failure: failure.map(|error| error.to_string()) });
    }
    if let Some((least, most)) =
        trial.clock_ahead_ms.filter(|(least, most)| *least > CLOCK_MS_MAX || *most < -CLOCK_MS_MAX)
    {
        findings.remark(format!(
            "the store's clock {}: no decision hangs on it, but ages are told by it; some stores refuse requests of clocks that differ \
             by more",
            distance(least, most)
        ));
    }
    if let (Some(sharing), true) = (sharing, place.requests.iter().all(|request| request.failure.is_none())) {
        place.probe = Some(match sharing {
            Sharing::Show(wait) => show(&repo, address, *wait, stop, findings).await?,
            Sharing::Find(shown) => find(&repo, shown, findings).await?,
        });
    }
    Ok(place)
}

fn name_of(step: TrialStep) -> &'static str {
    match step {
        TrialStep::Create => "create",
        TrialStep::CreateAgain => "create again",
        TrialStep::List => "list",
        TrialStep::ReadRange => "read a range",
        TrialStep::Delete => "delete",
    }
}

fn advice(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::Denied => "give credentials in the environment that may read, create, list and delete there",
        ErrorKind::Missing => "make the folder, bucket or container, or correct the address",
        ErrorKind::Full => "make room there",
        ErrorKind::Retry => "make the store answer, then try again; the address may be wrong, too",
        _ => "correct the address, or use another store",
    }
}

/// Which machines the address leads to the same place, as far as it says so itself.
fn reached_by(address: &str, findings: &mut Findings) -> String {
    if let Some(path) = address.strip_prefix("file://") {
        return match DiskFs.kind(Path::new(path)) {
            Ok(FsKind::Remote(name)) => format!("every machine that has mounted this {name} at the same path"),
            _ => "only this machine, unless it is a shared mount".to_owned(),
        };
    }
    if address.starts_with("memory:") {
        findings
            .problem("memory:// is the memory of one process", "name a directory that is shared, or an object store");
        return "only one process".to_owned();
    }
    let endpoint = address.split_once("endpoint=").map_or("", |(_, endpoint)| endpoint);
    let host = endpoint.split_once("://").map_or(endpoint, |(_, host)| host);
    if ["localhost", "127.", "[::1]"].iter().any(|here| host.starts_with(here)) {
        return "only this machine: the endpoint is one of its own".to_owned();
    }
    "every machine that has the credentials".to_owned()
}

/// Writes a probe, and waits until another machine has read it.
async fn show(
    repo: &Repo,
    address: &str,
    wait: Duration,
    stop: &AtomicBool,
    findings: &mut Findings,
) -> Result<String> {
    let (job, machine) = (JobName::new(JOB)?, this_machine()?);
    let probe = write_probe(repo, &job, &machine).await?;
    eprintln!(
        "on the other machine, within {}:\n  bedload doctor --repo '{address}' --find-probe {machine}:{}",
        humantime::format_duration(wait),
        probe.id
    );
    let found = wait_for_another(repo, &job, &probe, wait, stop).await;
    // The first error is the one to tell.
    let forgotten = forget_probe(repo, &job, &probe).await;
    let is_found = found?;
    forgotten?;
    if is_found {
        return Ok("the other machine has found it: both reach one place".to_owned());
    }
    let advice =
        "run what was printed on the other machine, in time; when that does not find it, both reach different places";
    findings.problem("no other machine has found the probe", advice);
    Ok("nobody has found it".to_owned())
}

/// Whether a probe is gone in time.
async fn wait_for_another(
    repo: &Repo,
    job: &JobName,
    probe: &WorkerProbe,
    wait: Duration,
    stop: &AtomicBool,
) -> Result<bool> {
    let start = Instant::now();
    while has_probe(repo, job, probe).await? {
        if start.elapsed() >= wait || stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(true)
}

/// Looks for the probe of another machine.
async fn find(repo: &Repo, shown: &Shown, findings: &mut Findings) -> Result<String> {
    let Shown { machine, id } = shown.clone();
    if machine == this_machine()? {
        findings.remark(format!(
            "the probe was written on {machine}, and this is {machine}: that tells nothing of other machines"
        ));
    }
    let probe = WorkerProbe { worker: machine.clone(), id, place: format!("the same address, on {machine}") };
    match read_probes(repo, &JobName::new(JOB)?, &[probe]).await {
        Ok(()) => Ok(format!("that of {machine} was found: both reach one place")),
        Err(error) if error.kind() == ErrorKind::Fix => {
            findings.problem(
                format!("the probe of {machine} is not to be seen from here"),
                "mount the same directory on both machines, or use an object store; and look whether --show-probe still waits there",
            );
            Ok(format!("that of {machine} was not found"))
        }
        Err(error) => Err(error),
    }
}

/// The machine's name, as far as it can stand in the name of a worker.
fn this_machine() -> Result<WorkerName> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String =
        name.trim().chars().filter(|mark| mark.is_ascii_alphanumeric() || "._-".contains(*mark)).collect();
    let name = name.trim_start_matches(['.', '_', '-']);
    WorkerName::new(if name.is_empty() || name.len() > 120 { "a-machine" } else { name })
}

/// How far a clock is ahead or behind; what is less than a second is none of that.
fn distance(least_ms: i64, most_ms: i64) -> String {
    let told = |ms: i64| span(Duration::from_millis(ms.unsigned_abs()));
    if least_ms >= 1_000 {
        format!("is {} to {} ahead", told(least_ms), told(most_ms))
    } else if most_ms <= -1_000 {
        format!("is {} to {} behind", told(most_ms), told(least_ms))
    } else {
        format!("shows the same, to {}", told(most_ms.abs().max(least_ms.abs())))
    }
}

impl Place {
    pub fn text(&self) -> String {
        let mut text = format!("repo {}\n", self.repo);
        match self.is_repo {
            Some(true) => text += &line("is a repo", "yes"),
            Some(false) => text += &line("is a repo", "not yet: the first job makes one of it"),
            None => {}
        }
        for Request { name, latency, failure } in &self.requests {
            let refused = if *name == name_of(TrialStep::CreateAgain) { "refused, as it should be: " } else { "" };
            match (failure, latency) {
                (Some(_), _) => text += &line(name, "failed"),
                (None, Some(latency)) => text += &line(name, &format!("{refused}{latency}, of {}", latency.count)),
                (None, None) => {}
            }
        }
        if let Some((least, most)) = self.clock_ahead_ms {
            text += &line("its clock", &distance(least, most));
        }
        text += &line("reached by", &self.reached_by);
        if let Some(probe) = &self.probe {
            text += &line("probe", probe);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_tell_who_reaches_them() {
        let mut findings = Findings::default();
        let mut told = |address: &str| reached_by(address, &mut findings);
        assert!(told("file:///").starts_with("only this machine, unless"));
        assert!(told("s3://b/f?endpoint=http://127.0.0.1:9000").starts_with("only this machine: the endpoint"));
        assert!(told("s3://b/f?region=eu-west-1").starts_with("every machine"));
        assert!(told("memory://").contains("one process"));
        assert_eq!(findings.problems.len(), 1);
    }

    #[test]
    fn clocks_are_told_in_both_directions() {
        assert_eq!(distance(2_000, 3_500), "is 2.0 s to 3.5 s ahead");
        assert_eq!(distance(-3_500, -2_000), "is 2.0 s to 3.5 s behind");
        assert_eq!(distance(-400, 600), "shows the same, to 600 ms");
    }

    #[test]
    fn probes_are_copied_as_text() {
        let shown = Shown::understand("host-1:0000000000000000000000000000000a").unwrap();
        assert_eq!((shown.machine.as_str(), shown.id), ("host-1", ProbeId(10)));
        assert!(Shown::understand("host-1").is_err());
        assert!(Shown::understand("host-1:xyz").is_err());
    }
}
