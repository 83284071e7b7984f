//! Every test that needs more than one module, in one binary: it links once, and its parts are shared.

mod ahead;
mod copies;
mod crash;
mod damaged_repos;
mod faults;
mod flips;
mod jobs;
mod kills;
mod lazy;
mod lazy_restores;
mod leases;
mod lost_objects;
mod memory;
mod model;
mod others;
mod ownership;
mod regressions;
mod repos;
mod requests;
mod rescales;
mod running;
mod scripts;
mod states;
mod taking_over;
mod tidy;
mod uploads;
