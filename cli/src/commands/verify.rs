//! `bedload verify`: whether checkpoints are whole, and what it costs where they are not.

use bedload::{JobName, Repo, Result};
use bedload_snapshot::{Cost, Verified, VerifyLevel, jobs, verify, verify_job};
use clap::Args;
use serde::Serialize;

use crate::context::{Answer, Context};
use crate::exit;
use crate::reference::Reference;
use crate::text::{number, size};

/// Looks whether checkpoints are whole, and tells of each damage what cannot be restored because of it.
///
/// Levels, each doing what those before it do: `meta` reads the chain and all claims; `head` asks for each run's length; `sample=5%` reads the
/// table and 5 % of the chunks of each run, at random; `full` reads everything and compares digests. Exit code 3 when something is wrong.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bedload verify\n  bedload verify late-board --level sample=5%\n  bedload verify late-board@latest --level full"
)]
pub struct VerifyArguments {
    /// JOB for everything it has, JOB@ID for one checkpoint; all jobs of the repo when left out.
    what: Option<String>,
    /// How thoroughly: meta, head, sample=N%, full.
    #[arg(long, default_value = "head", value_parser = level)]
    level: VerifyLevel,
}

fn level(text: &str) -> std::result::Result<VerifyLevel, String> {
    let sample = text.strip_prefix("sample=").map(|part| part.strip_suffix('%').unwrap_or(part).parse());
    match (text, sample) {
        ("meta", _) => Ok(VerifyLevel::Manifests),
        ("head", _) => Ok(VerifyLevel::Lengths),
        ("full", _) => Ok(VerifyLevel::Everything),
        (_, Some(Ok(percent @ 1..=100))) => Ok(VerifyLevel::Samples(percent)),
        _ => Err("expected meta, head, sample=1% to sample=100%, or full".to_owned()),
    }
}

#[derive(Serialize)]
struct Report {
    jobs: Vec<JobReport>,
}

#[derive(Serialize)]
struct JobReport {
    job: String,
    checkpoints: usize,
    claims: usize,
    parcels: usize,
    bytes_read: u64,
    faults: Vec<FaultLine>,
    unknown: Vec<String>,
}

#[derive(Serialize)]
struct FaultLine {
    fault: String,
    cost: CostLine,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum CostLine {
    /// These cannot be restored, in these key groups.
    Checkpoints(Vec<Hit>),
    /// No checkpoint can be found.
    Job,
    /// Garbage stays.
    Collection,
}

#[derive(Serialize)]
struct Hit {
    checkpoint: String,
    key_groups: Vec<String>,
}

impl JobReport {
    fn new(job: &JobName, verified: Verified) -> JobReport {
        let faults = verified.faults.into_iter().map(|fault| FaultLine {
            fault: fault.error.to_string(),
            cost: match fault.cost {
                Cost::Job => CostLine::Job,
                Cost::Collection => CostLine::Collection,
                Cost::Groups(hit) => CostLine::Checkpoints(
                    hit.into_iter()
                        .map(|(checkpoint, groups)| Hit {
                            checkpoint: format!("{job}@{checkpoint}"),
                            key_groups: groups.iter().map(ToString::to_string).collect(),
                        })
                        .collect(),
                ),
            },
        });
        JobReport {
            job: job.to_string(),
            checkpoints: verified.checkpoints,
            claims: verified.claims,
            parcels: verified.parcels,
            bytes_read: verified.bytes_read,
            faults: faults.collect(),
            unknown: verified.unknown,
        }
    }
}

impl Answer for Report {
    fn text(&self) -> String {
        let mut text = String::new();
        for job in &self.jobs {
            let verdict = match job.faults.len() {
                0 => "whole".to_owned(),
                1 => "1 fault".to_owned(),
                count => format!("{count} faults"),
            };
            text.push_str(&format!(
                "{}: {verdict}; {} checkpoints, {} claims, {} runs, {} read\n",
                job.job,
                number(job.checkpoints as u64),
                number(job.claims as u64),
                number(job.parcels as u64),
                size(job.bytes_read)
            ));
            for FaultLine { fault, cost } in &job.faults {
                text.push_str(&format!("\n  {fault}\n"));
                match cost {
                    CostLine::Job => text.push_str("    costs: the job; no checkpoint of it can be found\n"),
                    CostLine::Collection => text.push_str("    costs: garbage stays; checkpoints are whole\n"),
                    CostLine::Checkpoints(hit) => {
                        for Hit { checkpoint, key_groups } in hit {
                            let groups = key_groups.join(", ");
                            text.push_str(&format!("    costs: {checkpoint}, key groups {groups}\n"));
                        }
                    }
                }
            }
            for path in &job.unknown {
                text.push_str(&format!("  not of bedload, left alone: {path}\n"));
            }
        }
        if self.jobs.is_empty() {
            text.push_str("no job\n");
        }
        text
    }
}

/// Runs the command; gives the exit code.
pub async fn run(arguments: &VerifyArguments, context: &Context) -> Result<u8> {
    let repo = context.repo().await?;
    let mut reports = Vec::new();
    match arguments.what.as_deref() {
        Some(what) if what.contains('@') => {
            let found = context.find(&repo, &what.parse::<Reference>()?).await?;
            let verified = verify(&repo, &found.job, found.id(), arguments.level).await?;
            reports.push(JobReport::new(&found.job, verified));
        }
        Some(job) => {
            let job = context.existing_job(&repo, Some(&JobName::new(job)?)).await?;
            reports.push(report(&repo, &job, arguments.level, context).await?);
        }
        None => {
            for job in jobs(&repo).await? {
                reports.push(report(&repo, &job, arguments.level, context).await?);
            }
        }
    }
    let is_whole = reports.iter().all(|job| job.faults.is_empty());
    context.print(&Report { jobs: reports })?;
    Ok(if is_whole { exit::DONE } else { exit::PROBLEMS })
}

async fn report(repo: &Repo, job: &JobName, level: VerifyLevel, context: &Context) -> Result<JobReport> {
    let progress = |done: bedload_snapshot::VerifyProgress| {
        let (parcels, all) = (number(done.parcels as u64), number(done.all_parcels as u64));
        context.progress(&format!("{job}: {parcels} of {all} runs, {} read", size(done.bytes_read)));
    };
    Ok(JobReport::new(job, verify_job(repo, job, level, &progress).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read() {
        assert_eq!(level("meta"), Ok(VerifyLevel::Manifests));
        assert_eq!(level("head"), Ok(VerifyLevel::Lengths));
        assert_eq!(level("sample=5%"), Ok(VerifyLevel::Samples(5)));
        assert_eq!(level("full"), Ok(VerifyLevel::Everything));
        for wrong in ["", "sample", "sample=0%", "sample=101%", "sample=x", "all"] {
            level(wrong).unwrap_err();
        }
    }
}
