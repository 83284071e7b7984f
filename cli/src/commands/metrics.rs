//! `bedload metrics`: figures of running jobs as Prometheus reads them, over HTTP or as a text.

mod families;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bedload::{Error, ErrorKind, Result};
use clap::Args;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderMap};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore};

use crate::context::{Answer, Context};
use crate::exit;
use crate::interrupt::Interrupt;
use crate::watch::{Look, Watched, Watcher};

/// How long a scrape may take that does not tell how long it waits; Prometheus gives up after 10 s unless told otherwise.
const SCRAPE_LIMIT: Duration = Duration::from_secs(9);
/// What is left of the time of one that does, for the answer.
const SCRAPE_REST: Duration = Duration::from_millis(500);
/// How long a scraper may take to say what it wants.
const HEADER_LIMIT: Duration = Duration::from_secs(10);
/// How many of them are served at once.
const CONNECTIONS_MAX: usize = 32;
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves figures of running jobs to Prometheus: from the repo, and from working directories on this machine.
///
/// What can be known from outside: of each job its checkpoints, the age, size and timings of the newest one, pins and leases; of each
/// directory what `bedload stat` tells. A job's own process knows more (memory, merges, waits): the feature `metrics` of the library gives
/// that to the recorder of the program. Names and meanings stand in docs/monitoring.md, rules for alerts in docs/alerts.yml.
///
/// What cannot be read is told by bedload_up, bedload_job_up and bedload_directory_up, and the reason goes to standard error; the others are
/// served all the same, and --once ends with exit code 0. Nothing is written anywhere, and garbage is not looked for, which would read a whole job.
#[derive(Debug, Args)]
#[command(
    after_help = "What has a slash or starts with a dot is a directory, all else is a job. Without a job, that of the settings is \
                        served, and without that all jobs of the repo.\n\nExamples:\n  \
                        bedload metrics board --repo s3://checkpoints/prod\n  \
                        bedload metrics board /var/state/op-3 --listen 127.0.0.1:9184\n  \
                        bedload metrics --once > /var/lib/node_exporter/textfile/bedload.prom.new"
)]
pub struct MetricsArguments {
    /// Jobs of the repo, and working directories of engines or stores on this machine.
    #[arg(value_name = "JOB|DIR")]
    watched: Vec<Watched>,
    /// Where to listen. Whoever reaches it can read the names of jobs and directories; port 0 takes one that is free.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9184")]
    listen: SocketAddr,
    /// Prints the figures and ends: for the text files of node_exporter, which are to be renamed when they are complete.
    #[arg(long, conflicts_with = "listen")]
    once: bool,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Figures(Look);

impl Answer for Figures {
    fn text(&self) -> String {
        families::exposition(&self.0)
    }
}

#[derive(Serialize)]
struct Listening {
    listening: String,
}

impl Answer for Listening {
    fn text(&self) -> String {
        format!("listening on {}\n", self.listening)
    }
}

/// Looks, and says on standard error what could not be read, and what can be read again.
struct Scraper {
    watcher: Watcher,
    failed: BTreeSet<(String, String)>,
}

impl Scraper {
    async fn scrape(&mut self, limit: Duration) -> Look {
        let look = self.watcher.look(limit).await;
        let failed: BTreeSet<(String, String)> =
            look.failures().into_iter().map(|(what, failure)| (what, failure.message)).collect();
        for (_, failure) in failed.difference(&self.failed) {
            eprintln!("bedload: {failure}");
        }
        for (what, _) in &self.failed {
            if failed.iter().all(|(other, _)| other != what) {
                eprintln!("bedload: {what}: can be read again");
            }
        }
        self.failed = failed;
        look
    }
}

/// Runs the command; gives the exit code.
///
/// # Errors
/// `Fix` when there is nothing to watch, or the address is taken.
pub async fn run(arguments: &MetricsArguments, context: &Context) -> Result<u8> {
    let watcher = Watcher::new(context, &arguments.watched)?;
    let mut scraper = Scraper { watcher, failed: BTreeSet::new() };
    if arguments.once {
        let look = scraper.scrape(Duration::from_secs(60)).await;
        context.print(&Figures(look))?;
        return Ok(exit::DONE);
    }
    let not_listening = |cause: std::io::Error| {
        let message = format!(
            "listening on {}: {cause}; is it served already? name another address with --listen",
            arguments.listen
        );
        Error::new(ErrorKind::Fix, message)
    };
    let listener = TcpListener::bind(arguments.listen).await.map_err(not_listening)?;
    let address = listener.local_addr().map_err(not_listening)?;
    context.print(&Listening { listening: format!("http://{address}/metrics") })?;
    serve(&listener, Arc::new(Mutex::new(scraper))).await
}

/// Serves until the process is told to end.
async fn serve(listener: &TcpListener, scraper: Arc<Mutex<Scraper>>) -> Result<u8> {
    let mut interrupt = Interrupt::listen()?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await.expect("nobody closes it");
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            next = next => next,
            () = interrupt.wait() => return Ok(exit::DONE),
        };
        match accepted {
            Ok((stream, _)) => {
                let scraper = Arc::clone(&scraper);
                tokio::spawn(async move {
                    // Who went away does not want to know.
                    serve_one(stream, scraper).await.ok();
                    drop(place);
                });
            }
            // Too many files are open, or whoever came has gone.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn serve_one(stream: TcpStream, scraper: Arc<Mutex<Scraper>>) -> hyper::Result<()> {
    let service = service_fn(move |request: Request<Incoming>| {
        let scraper = Arc::clone(&scraper);
        async move { Ok::<_, Infallible>(answer(&request, &scraper).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_LIMIT);
    builder.serve_connection(TokioIo::new(stream), service).await
}

async fn answer(request: &Request<Incoming>, scraper: &Mutex<Scraper>) -> Response<Full<Bytes>> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => {
            let look = scraper.lock().await.scrape(limit_of(request.headers())).await;
            (StatusCode::OK, families::exposition(&look))
        }
        (&Method::GET | &Method::HEAD, _) => (StatusCode::NOT_FOUND, "the figures are at /metrics\n".to_owned()),
        _ => (StatusCode::METHOD_NOT_ALLOWED, "figures are read with GET\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, TEXT.parse().expect("it is a value of a header"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, "GET, HEAD".parse().expect("it is a value of a header"));
    }
    response
}

/// How long a scrape may take: Prometheus tells how long it waits.
fn limit_of(headers: &HeaderMap) -> Duration {
    let told = headers.get("X-Prometheus-Scrape-Timeout-Seconds").and_then(|value| value.to_str().ok()?.parse().ok());
    let told = told.and_then(|seconds: f64| Duration::try_from_secs_f64(seconds).ok());
    told.map_or(SCRAPE_LIMIT, |told| told.saturating_sub(SCRAPE_REST).clamp(SCRAPE_REST, Duration::from_secs(600)))
}
