//! `bedload files` and `bedload why`: which objects there are, why, and which may go.

use bedload::{CheckpointId, Error, ErrorKind, JobName, Repo, Result};
use bedload_snapshot::{ObjectName, Reacher, StoredObject, Why, claims, objects, why};
use clap::Args;
use serde::Serialize;

use crate::context::{Answer, Context};
use crate::exit;
use crate::text::{number, rfc3339, size};

/// Lists the objects of a job, or of one checkpoint, and what each is there for.
///
/// Objects that nothing reaches are garbage: `bedload gc` deletes them once they are old enough, and knows which are still being written.
/// Deleting by hand, or by age with a rule of the bucket, breaks checkpoints: new ones go on using old runs.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bedload files late-board\n  bedload files late-board@latest\n  bedload files late-board --only garbage --json"
)]
pub struct FilesArguments {
    /// JOB for all of its objects, or JOB@ID for those that a checkpoint needs; the job of the settings when left out.
    #[arg(value_name = "JOB[@ID]")]
    what: Option<String>,
    /// Only these.
    #[arg(long, value_enum)]
    only: Option<Only>,
}

/// Which objects are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Only {
    /// What checkpoints, pins, readers and writers need, and what holds the job together.
    Needed,
    /// What nothing reaches.
    Garbage,
    /// What is named like nothing of a repo.
    Unknown,
}

/// Says of an object why it is there, and whether it may be deleted.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  bedload why jobs/late-board/runs/4f0c…-1.parcel")]
pub struct WhyArguments {
    /// The object: its path below the repo, as `bedload files` shows it, or its whole address.
    object: String,
}

#[derive(Serialize)]
struct Files {
    job: String,
    checkpoint: Option<String>,
    objects: Vec<FileLine>,
    bytes: u64,
    garbage_bytes: u64,
}

#[derive(Serialize)]
struct FileLine {
    path: String,
    bytes: u64,
    modified_ms: u64,
    status: &'static str,
    why: String,
    checkpoints: Vec<String>,
}

impl FileLine {
    fn new(StoredObject { path, bytes, modified_ms, why }: StoredObject) -> FileLine {
        let checkpoints = checkpoints_of(&why);
        FileLine { status: status_of(&why), why: why.to_string(), path, bytes, modified_ms, checkpoints }
    }
}

/// The checkpoints that reach an object.
fn checkpoints_of(why: &Why) -> Vec<String> {
    let Why::Reached(reachers) = why else { return Vec::new() };
    let mut checkpoints: Vec<String> = reachers
        .iter()
        .map(|reacher| match reacher {
            Reacher::Checkpoint(id) | Reacher::Pin(_, id) | Reacher::Reading(_, id, _) | Reacher::Making(_, id, _) => {
                id.to_string()
            }
        })
        .collect();
    checkpoints.dedup();
    checkpoints
}

fn status_of(why: &Why) -> &'static str {
    match why {
        Why::Unknown => "unknown",
        Why::Kept | Why::Reached(_) | Why::Making => "needed",
        Why::Garbage => "garbage",
    }
}

impl Answer for Files {
    fn text(&self) -> String {
        let mut text = String::new();
        for FileLine { path, bytes, modified_ms, status, checkpoints, .. } in &self.objects {
            let by = match checkpoints.len() {
                0 => String::new(),
                1..=3 => format!("  {}", checkpoints.join(" ")),
                count => format!("  {} and {} more", checkpoints[count - 1], count - 1),
            };
            text.push_str(&format!("{path}\n  {:>10}  {}  {status}{by}\n", size(*bytes), rfc3339(*modified_ms)));
        }
        let (count, bytes) = (number(self.objects.len() as u64), size(self.bytes));
        text.push_str(&format!("{count} objects, {bytes}; {} of them garbage\n", size(self.garbage_bytes)));
        text
    }
}

/// Runs `bedload files`; gives the exit code.
pub async fn files(arguments: &FilesArguments, context: &Context) -> Result<u8> {
    let repo = context.repo().await?;
    let what = arguments.what.as_deref();
    let (job, checkpoint) = match what.filter(|what| what.contains('@')) {
        Some(checkpoint) => {
            let found = context.find(&repo, &checkpoint.parse()?).await?;
            (found.job.clone(), Some(found.id()))
        }
        None => (context.existing_job(&repo, what.map(JobName::new).transpose()?.as_ref()).await?, None),
    };
    let mut found = objects(&repo, &job).await?;
    if let Some(checkpoint) = checkpoint {
        let needed = objects_of(&repo, &job, checkpoint).await?;
        found.retain(|object| ObjectName::parse(&object.path).is_some_and(|name| needed.contains(&name)));
    }
    let checkpoint = checkpoint.map(|checkpoint| checkpoint.to_string());
    let lines = found.into_iter().map(FileLine::new).filter(|line| match arguments.only {
        None => true,
        Some(Only::Needed) => line.status == "needed",
        Some(Only::Garbage) => line.status == "garbage",
        Some(Only::Unknown) => line.status == "unknown",
    });
    let mut objects: Vec<FileLine> = lines.collect();
    objects.sort_by(|left, right| left.path.cmp(&right.path));
    let bytes = objects.iter().map(|line| line.bytes).sum();
    let garbage_bytes = objects.iter().filter(|line| line.status == "garbage").map(|line| line.bytes).sum();
    context.print(&Files { job: job.to_string(), checkpoint, objects, bytes, garbage_bytes })?;
    Ok(exit::DONE)
}

/// The claims and parcels of a checkpoint.
async fn objects_of(repo: &Repo, job: &JobName, checkpoint: CheckpointId) -> Result<Vec<ObjectName>> {
    let mut names = Vec::new();
    for claim in claims(repo, job, checkpoint).await? {
        names.extend(claim.runs.iter().map(|run| ObjectName::Parcel(job.clone(), run.parcel)));
        names.push(ObjectName::Claim(job.clone(), checkpoint, claim.worker, claim.attempt));
    }
    Ok(names)
}

#[derive(Serialize)]
struct WhyAnswer {
    object: String,
    status: &'static str,
    why: String,
    checkpoints: Vec<String>,
}

impl Answer for WhyAnswer {
    fn text(&self) -> String {
        format!("{}\n  {}\n", self.object, self.why)
    }
}

/// Runs `bedload why`; gives the exit code.
pub async fn tell_why(arguments: &WhyArguments, context: &Context) -> Result<u8> {
    let repo = context.repo().await?;
    let address = repo.to_string();
    // A repo in a folder is also named by the folder, as people see it there.
    let folder = address.strip_prefix("file://");
    let below = [Some(&*address), folder].into_iter().flatten().find_map(|root| arguments.object.strip_prefix(root));
    let path = match below {
        Some(below) => below.trim_start_matches('/'),
        None if arguments.object.contains("://") => {
            let message = format!("{} is not in {address}: give --repo the repo that it lies in", arguments.object);
            return Err(Error::new(ErrorKind::Fix, message));
        }
        None => arguments.object.trim_start_matches('/'),
    };
    let told = why(&repo, path).await;
    if told.as_ref().is_err_and(|error| error.kind() == ErrorKind::Missing) && ObjectName::parse(path).is_none() {
        let message = format!("there is no object {path:?} in {address}: name it as `bedload files JOB` does");
        return Err(Error::new(ErrorKind::Missing, message));
    }
    let why = told?;
    let checkpoints = checkpoints_of(&why);
    let answer = WhyAnswer { object: path.to_owned(), status: status_of(&why), why: why.to_string(), checkpoints };
    context.print(&answer)?;
    Ok(exit::DONE)
}
