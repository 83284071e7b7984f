//! Runs adopted over a source that fetches on demand, slowly and with failures: right data or the source's error.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bedload_lsm::fs::{Fs, MemoryFs, ReadMode, Source};
use bedload_lsm::{
    AdoptedRun, AdoptedSource, AdoptedStack, Clocks, Env, Error, ErrorKind, Result, RunId, Store, StoreOptions, Tuning,
};

/// A file that is never complete: every range is asked for, and refused while `fails` is set.
#[derive(Debug)]
struct Fetching {
    file: Arc<dyn Source>,
    fails: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
}

impl Source for Fetching {
    fn bytes(&self) -> u64 {
        self.file.bytes()
    }

    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> Result<()> {
        self.file.read_exact_at(into, offset)
    }

    fn ensure(&self, range: Range<u64>) -> Result<()> {
        assert!(range.end <= self.bytes(), "only bytes of the file are asked for");
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.fails.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Retry, "the repo does not answer: try again"));
        }
        Ok(())
    }

    fn is_complete(&self) -> bool {
        false
    }

    fn path(&self) -> &Path {
        self.file.path()
    }
}

fn options(env: &Env) -> StoreOptions {
    let mut tuning = Tuning::default();
    tuning.block_bytes = 512;
    tuning.section_bytes = 1 << 10;
    tuning.keep_flushed = false;
    Store::options().env(env).tuning(tuning)
}

#[test]
fn a_lazy_run_serves_what_its_source_gives_and_passes_on_its_errors() {
    let fs = MemoryFs::new();
    let env = Env::builder().fs(Arc::new(fs.clone())).threads(0).build().unwrap();
    let mut parent = options(&env).open("/parent").unwrap();
    for number in 0..500u32 {
        parent.put(&number.to_be_bytes(), &[number as u8; 30]).unwrap();
    }
    let stacks = parent.freeze().unwrap().wait().unwrap();
    let run = stacks.tiles().next().unwrap().slices[0].run.clone();
    let (fails, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let path = run.path().unwrap().to_owned();
    let (open_fails, open_asked, disk) = (Arc::clone(&fails), Arc::clone(&asked), fs.clone());
    let fetching = move || -> Arc<dyn Source> {
        let file = disk.open(&path, ReadMode::Pread).unwrap();
        Arc::new(Fetching { file, fails: Arc::clone(&open_fails), asked: Arc::clone(&open_asked) })
    };
    let source = AdoptedSource::Lazy(fetching());
    let adopted = AdoptedRun { id: run.id(), bytes: run.bytes(), digest: *run.digest(), source };
    let range = bedload_lsm::KeyRange::from(100u32.to_be_bytes()..400u32.to_be_bytes());
    let mut child = options(&env).open("/child").unwrap();
    child.adopt(&[AdoptedStack { range, runs: vec![adopted] }], &Clocks::default()).unwrap();
    assert!(asked.load(Ordering::Relaxed) > 0, "footer and directory were asked for");
    fails.store(true, Ordering::Relaxed);
    let error = child.get(&200u32.to_be_bytes()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
    assert!(child.get(&450u32.to_be_bytes()).unwrap().is_none(), "clipped: the source is not asked");
    fails.store(false, Ordering::Relaxed);
    assert_eq!(child.get(&200u32.to_be_bytes()).unwrap().as_deref(), Some(&[200; 30][..]));
    assert_eq!(child.scan(..).unwrap().count(), 300);
    child.put(&200u32.to_be_bytes(), b"new").unwrap();
    child.close().unwrap();

    let error = options(&env).open("/child").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fix, "{error}");
    let id = run.id();
    let find = move |asked_for: RunId| (asked_for == id).then(&fetching);
    let child = options(&env).sources(find).open("/child").unwrap();
    assert_eq!(child.get(&200u32.to_be_bytes()).unwrap().as_deref(), Some(&b"new"[..]));
    assert_eq!(child.scan(..).unwrap().count(), 300);
}
