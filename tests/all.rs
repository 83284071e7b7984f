//! Every test of what lies above the store, in one binary: it links once, and its parts are shared.

mod ahead;
mod copies;
mod damaged_repos;
mod jobs;
mod kills;
mod lazy_restores;
mod leases;
mod lost_objects;
mod others;
mod repos;
mod requests;
mod rescales;
mod running;
mod states;
mod taking_over;
mod uploads;
