//! Finds the checkpoint that is meant.

use crate::chain::Chain;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::LiveCompletion;
use crate::names::CheckpointId;
use crate::pins::pins;
use crate::repo::Repo;

/// Which checkpoint is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The newest one; an error when there is none.
    Latest,
    /// The newest one, or none: a job that never completed a checkpoint starts empty, and so does one whose name is misspelt.
    LatestOrEmpty,
    /// This one: it exists, or a pin keeps it.
    At(CheckpointId),
}

/// The checkpoint that `start` means; `None` for [`Start::LatestOrEmpty`] where there is none.
///
/// # Errors
/// `Missing` when it does not exist; those of the requests.
pub(crate) async fn choose(repo: &Repo, chain: &Chain, start: Start) -> Result<Option<LiveCompletion>> {
    let state = chain.state();
    let found = match start {
        Start::Latest | Start::LatestOrEmpty => state.newest().map(|(slot, _)| slot),
        Start::At(checkpoint) => state.find(checkpoint),
    };
    if let Some(slot) = found {
        return Ok(Some(LiveCompletion { slot, completion: state.live()[&slot].clone() }));
    }
    let message = match start {
        Start::LatestOrEmpty => return Ok(None),
        Start::Latest => {
            "no checkpoint exists; is this the right job? to begin without one, start with latest-or-empty".into()
        }
        Start::At(checkpoint) => {
            let pinned = pins(repo, chain.job()).await?.into_iter().map(|(_, pin)| pin.checkpoint);
            if let Some(kept) = pinned.into_iter().find(|kept| kept.completion.checkpoint == checkpoint) {
                return Ok(Some(kept));
            }
            let known: Vec<String> =
                state.live().values().rev().take(5).map(|live| live.checkpoint.to_string()).collect();
            format!("checkpoint {checkpoint} does not exist; the newest are: {}", known.join(", "))
        }
    };
    Err(Error::at(ErrorKind::Missing, format!("{repo}/jobs/{}", chain.job()), None, message))
}
