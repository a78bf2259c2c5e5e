//! One file for each kind of thing.

pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod hooks;
pub(crate) mod ingest;
pub(crate) mod metrics;
pub(crate) mod pipelines;
pub(crate) mod runs;
