//! The metrics: names, meanings, and where each is taken from. docs/monitoring.md has the same list; a test compares them.

use crate::disk::{Directory, LocalSeen, LockState, StoreSeen};
use crate::exposition::{Exposition, Sample};
use crate::watch::{DirectorySeen, JobFigures, JobSeen, Look, Newest, WorkerFigures};

/// A metric of something: its name, what it means, and its value, where there is one.
type Family<T> = (&'static str, &'static str, fn(&T) -> Option<f64>);

const JOB: &[Family<JobFigures>] = &[
    ("bedload_job_epoch", "Counts the starts of coordinators, with gaps.", |job| some(job.epoch)),
    ("bedload_job_checkpoints", "Checkpoints that exist.", |job| some(job.checkpoints)),
    ("bedload_job_pins", "Pins: checkpoints that somebody keeps.", |job| some(job.pins)),
    ("bedload_job_leases", "Checkpoints in the making, and reads that are going on.", |job| some(job.leases)),
    ("bedload_job_key_groups", "Key groups of the newest checkpoint.", |job| {
        newest(job, |newest| newest.key_groups.into())
    }),
    ("bedload_job_workers", "Workers of the newest checkpoint.", |job| {
        newest(job, |newest| newest.workers.len() as u64)
    }),
    ("bedload_newest_checkpoint_number", "Its number: grows with each one.", |job| newest(job, |newest| newest.number)),
    ("bedload_newest_checkpoint_completed_timestamp_seconds", "When it was complete, in seconds since 1970.", |job| {
        Some(job.newest.as_ref()?.completed_at_ms as f64 / 1e3)
    }),
    ("bedload_newest_checkpoint_runs", "Its runs.", |job| newest(job, |newest| newest.runs)),
    ("bedload_newest_checkpoint_bytes", "Bytes of its runs: what a restore writes.", |job| {
        newest(job, |newest| newest.bytes)
    }),
    ("bedload_newest_checkpoint_parcel_bytes", "Bytes of its runs as shipped: what a restore downloads.", |job| {
        newest(job, |newest| newest.parcel_bytes)
    }),
    ("bedload_newest_checkpoint_new_bytes", "Bytes of its runs that the checkpoint before does not have.", |job| {
        Some(job.newest.as_ref()?.new_bytes? as f64)
    }),
    ("bedload_newest_checkpoint_new_parcel_bytes", "The same as shipped: what it uploaded.", |job| {
        Some(job.newest.as_ref()?.new_parcel_bytes? as f64)
    }),
];

const WORKER: &[Family<WorkerFigures>] = &[
    ("bedload_worker_bytes", "Bytes of the runs that the worker's part of the newest checkpoint names.", |worker| {
        some(worker.bytes)
    }),
    ("bedload_worker_pause_seconds", "What the operator waited for the newest checkpoint.", |worker| {
        seconds(worker.pause_us)
    }),
    ("bedload_worker_flush_seconds", "How long its flush took.", |worker| seconds(worker.flush_us)),
    ("bedload_worker_link_seconds", "How long linking the copy on the worker's machine took.", |worker| {
        seconds(worker.link_us)
    }),
    ("bedload_worker_upload_seconds", "How long its upload took.", |worker| seconds(worker.upload_us)),
    ("bedload_worker_verify_seconds", "How long looking at the upload took.", |worker| seconds(worker.verify_us)),
];

const DIRECTORY: &[Family<Directory>] = &[
    ("bedload_directory_locked", "Whether a process works there; not there where that cannot be seen.", |seen| {
        match seen.lock.state {
            LockState::Held => Some(1.0),
            LockState::Free => Some(0.0),
            LockState::Unknown => None,
        }
    }),
    ("bedload_directory_disk_free_bytes", "What can still be written on its disk.", |seen| some(seen.disk.free_bytes)),
    ("bedload_directory_disk_bytes", "The size of its disk.", |seen| some(seen.disk.total_bytes)),
    ("bedload_directory_version", "Counts changes of runs and tiles.", |seen| store(seen, |store| store.version)),
    ("bedload_directory_tiles", "Tiles of the store.", |seen| store(seen, |store| store.tiles)),
    ("bedload_directory_slices", "Slices of all tiles.", |seen| store(seen, |store| store.slices)),
    (
        "bedload_directory_slices_of_a_tile_max",
        "Slices of the tile that has most: what a read may have to look into.",
        |seen| store(seen, |store| store.slices_of_a_tile_max),
    ),
    ("bedload_directory_entries", "Entries that slices show, hidden ones included.", |seen| {
        store(seen, |store| store.entries)
    }),
    ("bedload_directory_tombstones", "Tombstones among these entries.", |seen| store(seen, |store| store.tombstones)),
    ("bedload_directory_reached_bytes", "Bytes of these entries.", |seen| store(seen, |store| store.reached_bytes)),
    ("bedload_directory_local_copies", "Copies of checkpoints on this machine.", |seen| {
        local(seen, |local| local.copies.len() as u64)
    }),
    ("bedload_directory_local_damaged_copies", "Copies that cannot be read.", |seen| {
        local(seen, |local| local.damaged_copies.len() as u64)
    }),
    (
        "bedload_directory_local_run_bytes",
        "Bytes of complete runs beside the store, most of them shared with it.",
        |seen| local(seen, |local| local.run_bytes),
    ),
    ("bedload_directory_arriving_bytes", "Bytes of runs of a lazy restore that are not here as a whole.", |seen| {
        local(seen, |local| local.arriving_bytes)
    }),
    ("bedload_directory_arrived_bytes", "How many of these bytes are here.", |seen| {
        local(seen, |local| local.arrived_bytes)
    }),
];

/// Runs by where they are: how many, and their bytes.
type Place = (&'static str, fn(&StoreSeen) -> (u64, u64));

const PLACES: &[Place] = &[
    ("here", |store| {
        let missing = store.missing_runs.len() as u64;
        (store.runs - store.foreign_runs - missing, store.run_bytes - store.foreign_bytes - store.missing_bytes)
    }),
    ("foreign", |store| (store.foreign_runs, store.foreign_bytes)),
    ("missing", |store| (store.missing_runs.len() as u64, store.missing_bytes)),
    ("beside", |store| (store.other_runs, store.other_bytes)),
];

/// All metrics of what was seen.
pub(super) fn exposition(look: &Look) -> String {
    let mut text = Exposition::default();
    let up = f64::from(u8::from(look.failures().is_empty()));
    text.gauge("bedload_up", "Whether all could be read: the repo, the jobs and the directories.", [(Vec::new(), up)]);
    jobs(&mut text, &look.jobs, look.now_ms);
    directories(&mut text, &look.directories);
    text.finish()
}

fn jobs(text: &mut Exposition, jobs: &[JobSeen], now_ms: u64) {
    let label = |job: &JobSeen| vec![("job", job.job.to_string())];
    let up = jobs.iter().map(|job| (label(job), f64::from(u8::from(job.figures.is_some()))));
    text.gauge("bedload_job_up", "Whether the job could be read.", up);
    let age = |newest: &Newest| now_ms.saturating_sub(newest.completed_at_ms) as f64 / 1e3;
    let ages = jobs.iter().filter_map(|job| Some((label(job), age(job.newest()?))));
    text.gauge("bedload_newest_checkpoint_age_seconds", "How long ago the newest checkpoint was complete.", ages);
    for (name, help, value) in JOB {
        let samples = jobs.iter().filter_map(|job| Some((label(job), value(job.figures.as_ref()?)?)));
        text.gauge(name, help, samples);
    }
    let workers = || {
        let of = |job| JobSeen::newest(job).into_iter().flat_map(|newest| &newest.workers);
        jobs.iter().flat_map(move |job| of(job).map(move |worker| (job, worker)))
    };
    for (name, help, value) in WORKER {
        let samples = workers().filter_map(|(job, worker)| {
            let labels = vec![("job", job.job.to_string()), ("worker", worker.worker.clone())];
            Some((labels, value(worker)?))
        });
        text.gauge(name, help, samples);
    }
}

fn directories(text: &mut Exposition, directories: &[DirectorySeen]) {
    let label = |seen: &DirectorySeen| vec![("directory", seen.directory.clone())];
    let up = directories.iter().map(|seen| (label(seen), f64::from(u8::from(seen.seen.is_some()))));
    text.gauge("bedload_directory_up", "Whether the directory could be read.", up);
    for (name, help, value) in DIRECTORY {
        let samples = directories.iter().filter_map(|seen| Some((label(seen), value(seen.seen.as_ref()?)?)));
        text.gauge(name, help, samples);
    }
    let (mut counts, mut bytes): (Vec<Sample>, Vec<Sample>) = (Vec::new(), Vec::new());
    for seen in directories {
        let Some(store) = seen.seen.as_ref().and_then(|seen| seen.store.as_ref()) else { continue };
        for (place, of) in PLACES {
            let labels = || vec![("directory", seen.directory.clone()), ("place", (*place).to_owned())];
            let (count, of_all) = of(store);
            counts.push((labels(), count as f64));
            bytes.push((labels(), of_all as f64));
        }
    }
    let help = "Runs by where they are: here, foreign (of a lazy restore), missing, or beside (of no version).";
    text.gauge("bedload_directory_runs", help, counts);
    text.gauge("bedload_directory_run_bytes", "Bytes of these runs.", bytes);
}

fn some(value: u64) -> Option<f64> {
    Some(value as f64)
}

fn seconds(us: u64) -> Option<f64> {
    Some(us as f64 / 1e6)
}

fn newest(job: &JobFigures, value: fn(&Newest) -> u64) -> Option<f64> {
    job.newest.as_ref().map(|newest| value(newest) as f64)
}

fn store(seen: &Directory, value: fn(&StoreSeen) -> u64) -> Option<f64> {
    seen.store.as_ref().map(|store| value(store) as f64)
}

fn local(seen: &Directory, value: fn(&LocalSeen) -> u64) -> Option<f64> {
    seen.local.as_ref().map(|local| value(local) as f64)
}
