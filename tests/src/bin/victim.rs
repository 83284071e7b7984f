//! A worker that works until it is killed: `victim ADDRESS DIRECTORY OPENING`. For the test of kills.

use std::path::Path;
use std::process::ExitCode;

use tests::kills::work_until_killed;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, directory, opening] = &arguments[..] else {
        eprintln!("usage: victim ADDRESS DIRECTORY OPENING");
        return ExitCode::from(2);
    };
    let opening = opening.parse().expect("OPENING is a number");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads can be had");
    match runtime.block_on(work_until_killed(address, Path::new(directory), opening)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
