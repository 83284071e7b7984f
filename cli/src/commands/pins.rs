//! `bedload pin` and `bedload unpin`: checkpoints that somebody keeps.

use bedload::{JobName, Result};
use bedload_snapshot::{PinName, pin as keep, unpin as let_go};
use clap::Args;
use serde::Serialize;

use crate::context::{Answer, Context};
use crate::exit;
use crate::reference::Reference;

/// Keeps a checkpoint until it is unpinned, whether it expires or not.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bedload pin late-board@latest before-the-upgrade --reason \"ticket 4711\"\n  bedload ls late-board"
)]
pub struct PinArguments {
    /// The checkpoint.
    checkpoint: Reference,
    /// The name of the pin.
    #[arg(value_parser = PinName::new)]
    name: PinName,
    /// Why, for people.
    #[arg(long, default_value = "")]
    reason: String,
}

/// Removes a pin. Its checkpoint stays until it expires; one that has expired is garbage from then on.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  bedload unpin late-board before-the-upgrade")]
pub struct UnpinArguments {
    /// The job.
    #[arg(value_parser = JobName::new)]
    job: JobName,
    /// The name of the pin.
    #[arg(value_parser = PinName::new)]
    name: PinName,
}

#[derive(Serialize)]
struct Pinned {
    job: String,
    pin: String,
    checkpoint: Option<String>,
}

impl Answer for Pinned {
    fn text(&self) -> String {
        match &self.checkpoint {
            Some(checkpoint) => format!("{}@{checkpoint} is kept by pin {}\n", self.job, self.pin),
            None => format!("pin {} of {} is gone\n", self.pin, self.job),
        }
    }
}

/// Runs `bedload pin`; gives the exit code.
pub async fn pin(arguments: &PinArguments, context: &Context) -> Result<u8> {
    let repo = context.repo().await?;
    let found = context.find(&repo, &arguments.checkpoint).await?;
    keep(&repo, &found.job, &arguments.name, found.id(), &arguments.reason).await?;
    let checkpoint = Some(found.id().to_string());
    context.print(&Pinned { job: found.job.to_string(), pin: arguments.name.to_string(), checkpoint })?;
    Ok(exit::DONE)
}

/// Runs `bedload unpin`; gives the exit code.
pub async fn unpin(arguments: &UnpinArguments, context: &Context) -> Result<u8> {
    let repo = context.repo().await?;
    let job = context.existing_job(&repo, Some(&arguments.job)).await?;
    let_go(&repo, &job, &arguments.name).await?;
    let (job, pin) = (job.to_string(), arguments.name.to_string());
    context.print(&Pinned { job, pin, checkpoint: None })?;
    Ok(exit::DONE)
}
