//! `bedload gc`: lets checkpoints expire, and deletes what nothing reaches any more.

use bedload::{CheckpointId, Error, ErrorKind, JobName, Repo, Result, Retention};
use bedload_snapshot::{
    CollectOptions, Collected, Deletes, ObjectName, collect, expire_these, plan_collection, plan_expiry,
};
use clap::Args;
use humantime::Duration as Span;
use serde::Serialize;

use crate::context::{Answer, Context};
use crate::exit;
use crate::text::{counted, life, number, size};

/// Lets checkpoints expire, and deletes what no checkpoint, pin, reader or writer needs. Tells what it would do; does it with --apply.
///
/// Without a --keep option no checkpoint expires: only garbage goes, of checkpoints that expired earlier or never came to be. A checkpoint
/// that any --keep option keeps stays, and so do the newest one and those that are pinned. Ages of checkpoints count from the newest one, so
/// that a job that stands still loses nothing; ages of objects count by the store's clock.
///
/// What will be deleted is written to the repo before it is: one that was interrupted is made good by running it again. It refuses, with
/// exit code 14, when an object is missing that a checkpoint needs, when a manifest is damaged, and when more than half of the job's bytes would go.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bedload gc late-board\n  bedload gc late-board --keep-last 5 --keep-hourly 24 --keep-daily 7\n  \
                  bedload gc late-board --keep-last 5 --apply"
)]
pub struct GcArguments {
    /// The job; that of the settings when left out.
    #[arg(value_parser = JobName::new)]
    job: Option<JobName>,
    /// Keeps the newest N checkpoints.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    keep_last: Option<usize>,
    /// Keeps the newest checkpoint of each of the last N hours that have one.
    #[arg(long, value_name = "N")]
    keep_hourly: Option<usize>,
    /// Keeps the newest checkpoint of each of the last N days (UTC) that have one.
    #[arg(long, value_name = "N")]
    keep_daily: Option<usize>,
    /// Keeps checkpoints at most this much older than the newest one: 7d, 12h.
    #[arg(long, value_name = "TIME")]
    keep_within: Option<Span>,
    /// How old garbage must be. At least as long as a worker may need from an upload to its claim.
    #[arg(long, default_value = "24h", value_name = "TIME")]
    grace: Span,
    /// Does it.
    #[arg(long)]
    apply: bool,
    /// Allows that more than half of the job's bytes are deleted.
    #[arg(long)]
    more_than_half: bool,
}

impl GcArguments {
    /// What is kept; none when nothing shall expire.
    fn retention(&self) -> Option<Retention> {
        let GcArguments { keep_last, keep_hourly, keep_daily, keep_within, .. } = self;
        let is_asked = keep_last.is_some() || keep_hourly.is_some() || keep_daily.is_some() || keep_within.is_some();
        is_asked.then(|| Retention {
            last: keep_last.unwrap_or(0),
            within_ms: keep_within.map_or(0, milliseconds),
            hourly: keep_hourly.unwrap_or(0),
            daily: keep_daily.unwrap_or(0),
        })
    }
}

fn at_least_one(text: &str) -> std::result::Result<usize, String> {
    let count = text.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| "expected a number of at least 1: the newest checkpoint always stays".to_owned())
}

fn milliseconds(span: Span) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[derive(Serialize)]
struct Swept {
    job: String,
    is_applied: bool,
    expired: Vec<String>,
    garbage: Vec<GarbageLine>,
    garbage_bytes: u64,
    /// Objects of the job, and their bytes.
    objects: usize,
    bytes: u64,
    young: usize,
    grace_ms: u64,
    unknown: Vec<String>,
    deleted: usize,
    /// Whether --apply needs --more-than-half.
    is_more_than_half: bool,
}

#[derive(Serialize)]
struct GarbageLine {
    path: String,
    bytes: u64,
    what: &'static str,
}

/// Why an object of such a name is garbage when nothing reaches it.
fn what(path: &str) -> &'static str {
    match ObjectName::parse(path) {
        Some(ObjectName::Parcel(..)) => "run of no checkpoint",
        Some(ObjectName::Claim(..)) => "claim of no checkpoint",
        Some(ObjectName::Lease(..)) => "lease that keeps nothing",
        Some(ObjectName::Slot(..)) => "behind a boundary of the chain",
        Some(ObjectName::Boundary(..)) => "boundary before a later one",
        Some(ObjectName::Deletions(..)) => "list of an earlier collection",
        Some(ObjectName::Probe(_) | ObjectName::WorkerProbe(..)) => "probe that was left",
        Some(ObjectName::Marker | ObjectName::Pin(..)) | None => "unfinished file of a writer that died",
    }
}

impl Swept {
    fn new(job: &JobName, arguments: &GcArguments, expired: &[CheckpointId], found: Collected) -> Swept {
        let is_more_than_half = found.garbage_bytes > found.bytes / 2;
        let garbage = found.garbage.into_iter().chain(found.leftovers);
        Swept {
            job: job.to_string(),
            is_applied: arguments.apply,
            expired: expired.iter().map(|checkpoint| format!("{job}@{checkpoint}")).collect(),
            garbage: garbage.map(|(path, bytes)| GarbageLine { what: what(&path), path, bytes }).collect(),
            garbage_bytes: found.garbage_bytes,
            objects: found.objects,
            bytes: found.bytes,
            young: found.young,
            grace_ms: milliseconds(arguments.grace),
            unknown: found.unknown,
            deleted: found.deleted,
            is_more_than_half,
        }
    }
}

impl Answer for Swept {
    fn text(&self) -> String {
        let mut text = String::new();
        for checkpoint in &self.expired {
            text.push_str(if self.is_applied { "expired  " } else { "expires  " });
            text.push_str(checkpoint);
            text.push('\n');
        }
        for GarbageLine { path, bytes, what } in &self.garbage {
            text.push_str(&format!("{path}\n  {:>10}  {what}\n", size(*bytes)));
        }
        for path in &self.unknown {
            text.push_str(&format!("{path}\n  not of bedload, left alone\n"));
        }
        let (all, bytes) = (number(self.objects as u64), size(self.bytes));
        let (count, garbage) = (self.garbage.len(), size(self.garbage_bytes));
        let verb = if self.is_applied { "deleted" } else { "would delete" };
        let count = number(if self.is_applied { self.deleted } else { count } as u64);
        text.push_str(&format!("{verb} {count} of {all} objects, {garbage} of {bytes}\n"));
        if self.young > 0 {
            let (young, grace) = (counted(self.young, "object"), life(std::time::Duration::from_millis(self.grace_ms)));
            text.push_str(&format!("{young} more that nothing reaches: younger than {grace}, and kept\n"));
        }
        if !self.is_applied {
            text.push_str(match self.is_more_than_half {
                true => "nothing was changed: it is more than half, so that it takes --apply --more-than-half\n",
                false => "nothing was changed: --apply does it\n",
            });
        }
        text
    }
}

/// Runs the command; gives the exit code.
pub async fn run(arguments: &GcArguments, context: &Context) -> Result<u8> {
    let repo = context.repo().await?;
    let job = context.existing_job(&repo, arguments.job.as_ref()).await?;
    match sweep(arguments, &repo, &job).await {
        Ok(swept) => {
            context.print(&swept)?;
            Ok(exit::DONE)
        }
        Err(Refused::Damaged(error)) => {
            context.complain(&format!("{error}\n  nothing was deleted; `bedload verify {job}` tells what is damaged"));
            Ok(exit::REFUSED)
        }
        Err(Refused::Halfway(expired, error)) => {
            let expired = counted(expired, "checkpoint");
            context.complain(&format!(
                "{error}\n  {expired} expired before that; run it again, to delete what they leave"
            ));
            Ok(exit::code_of(&error))
        }
        Err(Refused::MoreThanHalf(swept)) => {
            let (garbage, bytes) = (size(swept.garbage_bytes), size(swept.bytes));
            context.print(&Swept { is_applied: false, ..*swept })?;
            context.complain(&format!(
                "{garbage} of {bytes} of job {job} would go, which is more than half: if that is meant, --more-than-half allows it"
            ));
            Ok(exit::REFUSED)
        }
        Err(Refused::Failed(error)) => Err(error),
    }
}

/// Why it was not done.
enum Refused {
    Damaged(Error),
    MoreThanHalf(Box<Swept>),
    /// So many checkpoints have expired, and then this was in the way.
    Halfway(usize, Error),
    Failed(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Refused {
        if error.kind() == ErrorKind::Damaged { Refused::Damaged(error) } else { Refused::Failed(error) }
    }
}

async fn sweep(arguments: &GcArguments, repo: &Repo, job: &JobName) -> std::result::Result<Swept, Refused> {
    let retention = arguments.retention();
    let expiring = match &retention {
        Some(retention) => plan_expiry(repo, job, retention).await?,
        None => Vec::new(),
    };
    let grace_ms = milliseconds(arguments.grace);
    // Looked at as a whole before anything is changed: what cannot be collected must not expire either.
    let planned = plan_collection(repo, job, grace_ms, &expiring).await?;
    let planned = Swept::new(job, arguments, &expiring, planned);
    let is_too_much = planned.is_more_than_half && !arguments.more_than_half;
    if !arguments.apply {
        return Ok(planned);
    }
    if is_too_much {
        return Err(Refused::MoreThanHalf(Box::new(planned)));
    }
    let expired = match expiring.is_empty() {
        true => Vec::new(),
        false => expire_these(repo, job, &expiring, "bedload gc").await?,
    };
    let deletes = if arguments.more_than_half { Deletes::Everything } else { Deletes::UpToHalf };
    let collected = collect(repo, job, &CollectOptions { grace_ms, deletes }).await;
    let collected = collected.map_err(|error| Refused::Halfway(expired.len(), error))?;
    Ok(Swept::new(job, arguments, &expired, collected))
}
