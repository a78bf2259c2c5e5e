//! What asked for a run.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What asked for a run. Several may ask for the same one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Trigger {
    /// A set time came.
    Schedule {
        /// The time.
        at: Timestamp,
    },
    /// A source has something new.
    SourceChange {
        /// The source.
        source: String,
    },
    /// A file was dropped.
    File {
        /// The source that reads it.
        source: String,
    },
    /// Rows were pushed.
    Push {
        /// The source they were pushed to.
        source: String,
    },
    /// A signed request came.
    Webhook {
        /// What it said: `GitHub push of owner/repository`, `S3 event`, ….
        said: String,
    },
    /// Another pipeline has published.
    After {
        /// The pipeline.
        pipeline: String,
        /// Its run.
        run: i64,
    },
    /// A person, or a program with a token.
    Manual,
    /// A failed run is tried again.
    Retry,
    /// Work that a process left behind.
    Repair,
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trigger::Schedule { at } => write!(f, "schedule {at}"),
            Trigger::SourceChange { source } => write!(f, "source {source} changed"),
            Trigger::File { source } => write!(f, "a file was dropped for source {source}"),
            Trigger::Push { source } => write!(f, "rows pushed to source {source}"),
            Trigger::Webhook { said } => write!(f, "webhook: {said}"),
            Trigger::After { pipeline, run } => write!(f, "pipeline {pipeline} published run {run}"),
            Trigger::Manual => f.write_str("by hand"),
            Trigger::Retry => f.write_str("retry"),
            Trigger::Repair => f.write_str("repair"),
        }
    }
}
