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

macro_rules! kinds {
    ($($name:ident = $text:literal;)*) => {
        /// The types of events.
        #[allow(missing_docs, reason = "the names say it")]
        pub mod kind {
            $(pub const $name: &str = $text;)*
            /// Every type there is.
            pub const ALL: &[&str] = &[$($name),*];
        }
    };
}

kinds! {
    RUN_STARTED = "tidegate.run.started";
    RUN_QUEUED = "tidegate.run.queued";
    RUN_REPEATED = "tidegate.run.repeated";
    STAGE_FINISHED = "tidegate.stage.finished";
    RUN_PUBLISHED = "tidegate.run.published";
    RUN_UNCHANGED = "tidegate.run.unchanged";
    RUN_HELD = "tidegate.run.held";
    RUN_FAILED = "tidegate.run.failed";
    RUN_CANCELLED = "tidegate.run.cancelled";
    RUN_WAITING = "tidegate.run.waiting";
    RUN_APPROVED = "tidegate.run.approved";
    RUN_RELEASED = "tidegate.run.released";
    RUN_SET_ASIDE = "tidegate.run.set_aside";
    SOURCE_SILENT = "tidegate.source.silent";
    SOURCE_HEARD = "tidegate.source.heard";
    SOURCE_REVERTED = "tidegate.source.reverted";
    SOURCE_DRIFTED = "tidegate.source.drifted";
    CHECK_VIOLATED = "tidegate.check.violated";
    QUARANTINE_OPENED = "tidegate.quarantine.opened";
    QUARANTINE_RESOLVED = "tidegate.quarantine.resolved";
    QUARANTINE_DISCARDED = "tidegate.quarantine.discarded";
    TABLE_APPLIED = "tidegate.table.applied";
    TABLE_CHANGED = "tidegate.table.changed";
    NOTIFICATION_SENT = "tidegate.notification.sent";
    NOTIFICATION_GIVEN_UP = "tidegate.notification.given_up";
    PIPELINE_PAUSED = "tidegate.pipeline.paused";
    PIPELINE_RESUMED = "tidegate.pipeline.resumed";
    PIPELINE_RELOADED = "tidegate.pipeline.reloaded";
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
