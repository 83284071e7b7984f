//! What a run costs besides time: processor seconds, memory, bytes written. Of the whole process, background threads
//! included; read from `/proc`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::stores::{evict_files, list_files};

/// How often memory is looked at.
const SAMPLE_EVERY: Duration = Duration::from_millis(50);
/// How often files are evicted under a memory limit, in samples.
const SAMPLES_PER_EVICTION: u32 = 5;

/// What the timed part of a run took.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Costs {
    /// Wall-clock seconds of the timed operations.
    pub seconds: f64,
    /// Processor seconds, user and system, until the last operation returned.
    pub cpu_seconds: f64,
    /// The same until background work had come to rest: what the work cost in the end.
    pub cpu_settled_seconds: f64,
    /// Bytes written to files (as they were dirtied), until the last operation returned.
    pub written_bytes: u64,
    /// The same until background work had come to rest.
    pub written_settled_bytes: u64,
    /// Peak resident memory, mapped files included, in MiB.
    pub peak_mib: f64,
    /// Peak of anonymous memory, without what the process held before the store was opened, in MiB.
    pub anonymous_mib: f64,
    /// Peak of mapped files, without the program itself, in MiB.
    pub mapped_mib: f64,
    /// Bytes that the store's directory takes once at rest.
    pub disk_bytes: u64,
}

/// Memory of the process before the store was opened.
#[derive(Clone, Copy, Debug)]
pub struct Baseline {
    anonymous_kib: u64,
    mapped_kib: u64,
}

impl Baseline {
    pub fn take() -> Baseline {
        Baseline { anonymous_kib: status_kib("RssAnon:"), mapped_kib: status_kib("RssFile:") }
    }
}

/// Measures from [`Meter::start`] to [`Meter::stop`], and on to [`Stopped::settled`].
pub struct Meter {
    baseline: Baseline,
    start: Instant,
    cpu: f64,
    written: u64,
    sampler: Sampler,
}

/// A meter whose operations are done.
pub struct Stopped {
    costs: Costs,
    cpu: f64,
    written: u64,
}

impl Meter {
    /// Begins. `limit` bounds anonymous memory and files together, by evicting files of `directory` now and then.
    pub fn start(baseline: Baseline, directory: &Path, limit_bytes: Option<u64>) -> Result<Meter> {
        // Sets the peak back to what is resident now; a system that forbids it reports a peak that includes the loading.
        fs::write("/proc/self/clear_refs", "5").ok();
        let sampler = Sampler::start(directory, limit_bytes)?;
        Ok(Meter { baseline, cpu: cpu_seconds(), written: written_bytes()?, sampler, start: Instant::now() })
    }

    /// Ends the timed part.
    pub fn stop(self) -> Result<Stopped> {
        let seconds = self.start.elapsed().as_secs_f64();
        let (cpu, written) = (cpu_seconds(), written_bytes()?);
        let (anonymous, mapped) = self.sampler.stop();
        let mib = |kib: u64, base: u64| kib.saturating_sub(base) as f64 / 1024.0;
        let costs = Costs {
            seconds,
            cpu_seconds: cpu - self.cpu,
            written_bytes: written - self.written,
            peak_mib: mib(status_kib("VmHWM:"), 0),
            anonymous_mib: mib(anonymous, self.baseline.anonymous_kib),
            mapped_mib: mib(mapped, self.baseline.mapped_kib),
            ..Costs::default()
        };
        Ok(Stopped { costs, cpu: self.cpu, written: self.written })
    }
}

impl Stopped {
    /// Adds what it took until background work had come to rest.
    pub fn settled(self, directory: &Path) -> Result<Costs> {
        let disk_bytes = list_files(directory)?.iter().map(|file| file.disk_bytes).sum();
        let cpu_settled_seconds = cpu_seconds() - self.cpu;
        let written_settled_bytes = written_bytes()? - self.written;
        Ok(Costs { disk_bytes, cpu_settled_seconds, written_settled_bytes, ..self.costs })
    }
}

/// A thread that looks at memory from time to time.
struct Sampler {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    done: AtomicBool,
    anonymous_kib: AtomicU64,
    mapped_kib: AtomicU64,
}

impl Sampler {
    fn start(directory: &Path, limit_bytes: Option<u64>) -> Result<Sampler> {
        let shared = Arc::new(Shared::default());
        let (mine, directory): (_, PathBuf) = (Arc::clone(&shared), directory.to_owned());
        let watch = move || {
            let mut samples = 0u32;
            while !mine.done.load(Ordering::Relaxed) {
                let anonymous = mine.sample();
                samples += 1;
                if let Some(limit) = limit_bytes
                    && samples.is_multiple_of(SAMPLES_PER_EVICTION)
                    && exceeds(&directory, anonymous, limit)
                {
                    // A file that vanishes meanwhile needs no eviction.
                    evict_files(&directory).ok();
                }
                std::thread::park_timeout(SAMPLE_EVERY);
            }
            mine.sample();
        };
        let thread =
            std::thread::Builder::new().name("sampler".to_owned()).spawn(watch).context("starting a thread")?;
        Ok(Sampler { shared, thread })
    }

    fn stop(self) -> (u64, u64) {
        self.shared.done.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        self.thread.join().expect("the sampler does not panic");
        (self.shared.anonymous_kib.load(Ordering::Relaxed), self.shared.mapped_kib.load(Ordering::Relaxed))
    }
}

impl Shared {
    fn sample(&self) -> u64 {
        let (anonymous, mapped) = (status_kib("RssAnon:"), status_kib("RssFile:"));
        self.anonymous_kib.fetch_max(anonymous, Ordering::Relaxed);
        self.mapped_kib.fetch_max(mapped, Ordering::Relaxed);
        anonymous
    }
}

fn exceeds(directory: &Path, anonymous_kib: u64, limit_bytes: u64) -> bool {
    let files: u64 = list_files(directory).map_or(0, |files| files.iter().map(|file| file.bytes).sum());
    files + (anonymous_kib << 10) > limit_bytes
}

/// Processor time of the process, ended threads included.
pub fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Bytes that the process has dirtied in files or written past the page cache.
pub fn written_bytes() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/io").context("reading /proc/self/io")?;
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|number| number.parse().ok()).context("/proc/self/io has no write_bytes")
}

/// A line of the process's status, in KiB; 0 where there is none.
fn status_kib(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}
