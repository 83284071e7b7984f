//! The worker processes: this same program, started again, with pipes in both directions.
//!
//! A process that was killed may have said things that were not read yet: each has a number, and what comes from one that was replaced is
//! dropped. Processes stand in a group of their own, so that Ctrl-C reaches the coordinator alone, which ends them; should it be killed, they
//! end with their standard input.

use std::process::Stdio;
use std::time::Duration;

use bedload::{Error, ErrorKind, Result};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;

use crate::protocol::{Order, Said, Setup};

/// The hidden command that makes a process a worker.
pub const WORKER_COMMAND: &str = "demo-worker";

/// How long processes may take to end by themselves.
const END_LIMIT: Duration = Duration::from_secs(5);

/// All worker processes of a job. One task has it.
pub struct Fleet {
    processes: Vec<Process>,
    started: u64,
    sender: mpsc::UnboundedSender<(u64, Option<Said>)>,
    heard: mpsc::UnboundedReceiver<(u64, Option<Said>)>,
}

struct Process {
    number: u64,
    child: Child,
    input: Option<ChildStdin>,
    setup: Setup,
}

impl Fleet {
    /// An empty one.
    pub fn new() -> Fleet {
        let (sender, heard) = mpsc::unbounded_channel();
        Fleet { processes: Vec::new(), started: 0, sender, heard }
    }

    pub fn len(&self) -> usize {
        self.processes.len()
    }

    /// Starts one more.
    ///
    /// # Errors
    /// Those of starting a process.
    pub async fn add(&mut self, setup: Setup) -> Result<()> {
        let process = self.start(setup)?;
        self.processes.push(process);
        self.set_up(self.processes.len() - 1).await
    }

    /// Waits for nothing, so that no process is started that is not known here: `end` waits for all of them.
    fn start(&mut self, setup: Setup) -> Result<Process> {
        let failed = |cause| Error::io("start a worker process", "bedload", cause);
        let program = std::env::current_exe().map_err(failed)?;
        let mut command = Command::new(program);
        command.arg(WORKER_COMMAND).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.process_group(0).kill_on_drop(true).spawn().map_err(failed)?;
        self.started += 1;
        let number = self.started;
        let output = child.stdout.take().expect("standard output is a pipe");
        let input = child.stdin.take();
        tokio::spawn(listen(number, output, self.sender.clone()));
        Ok(Process { number, child, input, setup })
    }

    async fn set_up(&mut self, worker: usize) -> Result<()> {
        let setup = self.processes[worker].setup.clone();
        self.tell(worker, &Order::Setup(setup)).await
    }

    /// The number of a worker's process in the system.
    pub fn process_id(&self, worker: usize) -> u32 {
        self.processes[worker].child.id().unwrap_or(0)
    }

    /// Kills a worker's process as `kill -9` does, and deletes all that it had on its disk.
    ///
    /// # Errors
    /// Those of the system.
    pub async fn kill(&mut self, worker: usize) -> Result<()> {
        let process = &mut self.processes[worker];
        process.child.kill().await.map_err(|cause| Error::io("kill", "a worker process", cause))?;
        let directory = &process.setup.directory;
        std::fs::remove_dir_all(directory).map_err(|cause| Error::io("delete", directory, cause))
    }

    /// Starts a process in the place of one that was killed.
    ///
    /// # Errors
    /// Those of starting a process.
    pub async fn replace(&mut self, worker: usize) -> Result<()> {
        let setup = self.processes[worker].setup.clone();
        self.processes[worker] = self.start(setup)?;
        self.set_up(worker).await
    }

    /// # Errors
    /// `Closed` when it has ended.
    pub async fn tell(&mut self, worker: usize, order: &Order) -> Result<()> {
        self.processes[worker].tell(order).await
    }

    /// # Errors
    /// `Closed` when one has ended.
    pub async fn tell_all(&mut self, order: &Order) -> Result<()> {
        for process in &mut self.processes {
            process.tell(order).await?;
        }
        Ok(())
    }

    /// What one says, and which; nothing when it has ended. May be given up while it waits.
    pub async fn hear(&mut self) -> (usize, Option<Said>) {
        loop {
            let (number, said) = self.heard.recv().await.expect("a sender is kept here");
            if let Some(worker) = self.processes.iter().position(|process| process.number == number) {
                return (worker, said);
            }
        }
    }

    /// Ends all: in order, and by force those that do not.
    pub async fn end(&mut self) {
        for process in &mut self.processes {
            process.input = None;
        }
        for process in &mut self.processes {
            if tokio::time::timeout(END_LIMIT, process.child.wait()).await.is_err() {
                // It has ended meanwhile, or cannot be killed: nothing more can be done here.
                process.child.kill().await.ok();
            }
        }
    }
}

impl Process {
    async fn tell(&mut self, order: &Order) -> Result<()> {
        let mut line = serde_json::to_string(order).expect("messages are plain data");
        line.push('\n');
        let ended = || Error::new(ErrorKind::Closed, "a worker process has ended; it says why on standard error");
        let input = self.input.as_mut().ok_or_else(ended)?;
        input.write_all(line.as_bytes()).await.map_err(|_| ended())
    }
}

/// Passes on what a process says, until it ends.
async fn listen(number: u64, output: ChildStdout, sender: mpsc::UnboundedSender<(u64, Option<Said>)>) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        // The last line of a killed process may be a part of one.
        let Ok(said) = serde_json::from_str(&line) else { break };
        if sender.send((number, Some(said))).is_err() {
            return;
        }
    }
    sender.send((number, None)).ok();
}
