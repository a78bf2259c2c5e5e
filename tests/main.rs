//! The integration tests: one binary, over the real command line.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that fails by panicking is a test that works"
)]

mod environment;
mod real_data;
mod receivers;

mod accidents;
mod chaos;
mod commands;
mod conformance;
mod dropped;
mod external_readers;
mod faults;
mod house_rules;
mod invariants;
mod keys;
mod modes;
mod notifications;
mod pipelines;
mod repairs;
mod replays;
mod sealed;
mod server;
mod serving;
mod silence;
mod sources;
mod spectrum;
mod subscribing;
mod time_travel;
#[cfg(feature = "otlp")]
mod traces;
mod triggers;
