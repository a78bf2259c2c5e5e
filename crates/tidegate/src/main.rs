//! Tidegate: keeps tables fresh from public data that is restated, and tells exactly which rows changed.
//!
//! This crate is the wiring: commands, terminal output, and the ties between engine, connectors and conductor. It alone
//! looks at the environment, prints, and exits.

mod changes_csv;
mod cli;
mod commands;
mod context;
mod demo;
mod faults;
mod key;
mod logging;
mod memory;
mod output;
mod pipelines;
mod progress;
mod traces;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    faults::install();
    memory::limit_arenas();
    // Two cryptography providers are linked in; one has to be named before the first connection.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = cli::Cli::parse();
    output::set_colour(cli.global.color);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output::fatal(&error.to_string()),
    };
    logging::begin(cli.global.log_format);
    let code = runtime.block_on(commands::dispatch(cli));
    // Threads that still read ahead have nothing to say any more.
    runtime.shutdown_background();
    code
}
