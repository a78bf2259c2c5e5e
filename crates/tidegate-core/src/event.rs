//! Events: every step of a run, as CloudEvents 1.0 (<https://github.com/cloudevents/spec>).

use crate::RunId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One event as it stands in the ledger and leaves the program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Always `1.0`.
    pub specversion: String,
    /// Unique; consumers recognise a repetition by it.
    pub id: String,
    /// `/pipelines/NAME`.
    pub source: String,
    /// `tidegate.run.started`, `tidegate.stage.finished`, ….
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is about, within the source: `runs/42`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When it happened (UTC).
    pub time: Timestamp,
    /// Place in the order of all events of the ledger (CloudEvents `sequence` extension).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<i64>,
    /// The trace this is part of, as W3C Trace Context has it (CloudEvents `distributed tracing` extension): all events of a
    /// run have the same trace id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Id of the event that led to this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub causationid: Option<String>,
    /// What happened.
    pub data: Value,
}

impl Event {
    /// The pipeline it is about.
    pub fn pipeline(&self) -> &str {
        self.source.strip_prefix("/pipelines/").unwrap_or(&self.source)
    }
}

/// The types of events.
#[allow(missing_docs, reason = "the names say it")]
pub mod kind {
    pub const RUN_STARTED: &str = "tidegate.run.started";
    pub const RUN_QUEUED: &str = "tidegate.run.queued";
    pub const RUN_REPEATED: &str = "tidegate.run.repeated";
    pub const STAGE_FINISHED: &str = "tidegate.stage.finished";
    pub const RUN_PUBLISHED: &str = "tidegate.run.published";
    pub const RUN_UNCHANGED: &str = "tidegate.run.unchanged";
    pub const RUN_HELD: &str = "tidegate.run.held";
    pub const RUN_FAILED: &str = "tidegate.run.failed";
    pub const RUN_CANCELLED: &str = "tidegate.run.cancelled";
    pub const RUN_WAITING: &str = "tidegate.run.waiting";
    pub const RUN_APPROVED: &str = "tidegate.run.approved";
    pub const RUN_RELEASED: &str = "tidegate.run.released";
    pub const RUN_SET_ASIDE: &str = "tidegate.run.set_aside";
    pub const SOURCE_DRIFTED: &str = "tidegate.source.drifted";
    pub const CHECK_VIOLATED: &str = "tidegate.check.violated";
    pub const QUARANTINE_OPENED: &str = "tidegate.quarantine.opened";
    pub const QUARANTINE_RESOLVED: &str = "tidegate.quarantine.resolved";
    pub const QUARANTINE_DISCARDED: &str = "tidegate.quarantine.discarded";
    pub const TABLE_APPLIED: &str = "tidegate.table.applied";
    pub const NOTIFICATION_SENT: &str = "tidegate.notification.sent";
    pub const NOTIFICATION_GIVEN_UP: &str = "tidegate.notification.given_up";
    pub const PIPELINE_PAUSED: &str = "tidegate.pipeline.paused";
    pub const PIPELINE_RESUMED: &str = "tidegate.pipeline.resumed";
    pub const PIPELINE_RELOADED: &str = "tidegate.pipeline.reloaded";
}

/// An event before the ledger gives it its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// See [`kind`].
    pub kind: &'static str,
    /// The run it is about, if it is about one.
    pub run: Option<RunId>,
    /// What happened.
    pub data: Value,
}
