//! Messages: what people and systems are told about a run, before a notifier gives it its form.

use crate::{
    Receipt,
    changes::{Change, Restatement},
    filter::Attributes,
    quarantine::Rejected,
    silence::SilenceNote,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// All that a template may speak of. Sensitive values are masked before it is made (INV-7).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The run's receipt.
    pub receipt: Receipt,
    /// Where the pipeline runs (`--environment`, default `local`).
    pub environment: String,
    /// Whether trouble that was reported earlier is over with this run.
    pub recovery: bool,
    /// A publisher that fell silent, or is heard again; the receipt is then none of a run.
    #[serde(default)]
    pub silence: Option<SilenceNote>,
    /// The held run that this one releases.
    pub releases: Option<i64>,
    /// Checks of severity `warn` that were violated, each as one sentence.
    pub warnings: Vec<String>,
    /// How far back the publication restates, and by how much.
    pub restatement: Restatement,
    /// The first changed rows.
    pub changes: Vec<Change>,
    /// Rows that came into quarantine with this run (the first of them).
    pub quarantined: Vec<Rejected>,
    /// How many rows came into quarantine with this run.
    pub quarantined_new: u64,
    /// How many rows left quarantine with this run.
    pub quarantine_resolved: u64,
    /// How many rows are in quarantine now.
    pub quarantine_open: u64,
}

/// What a message about a silent publisher has for an outcome, in filter policies.
pub const SILENT: &str = "silent";

/// The names of the attributes that filter policies see.
pub const ATTRIBUTES: [&str; 14] = [
    "environment",
    "pipeline",
    "table",
    "outcome",
    "recovery",
    "new",
    "updated",
    "removed",
    "unchanged",
    "rejected",
    "quarantined",
    "warnings",
    "source",
    "code",
];

impl Message {
    /// What filter policies see.
    pub fn attributes(&self) -> Attributes {
        let counts = &self.receipt.counts;
        let mut attributes = Attributes::from([
            ("environment".to_owned(), json!(self.environment)),
            ("pipeline".to_owned(), json!(self.receipt.pipeline)),
            ("table".to_owned(), json!(self.receipt.table)),
            ("outcome".to_owned(), json!(self.receipt.outcome)),
            ("recovery".to_owned(), json!(self.recovery)),
            ("new".to_owned(), json!(counts.new)),
            ("updated".to_owned(), json!(counts.updated)),
            ("removed".to_owned(), json!(counts.removed)),
            ("unchanged".to_owned(), json!(counts.unchanged)),
            ("rejected".to_owned(), json!(self.receipt.rejected())),
            ("quarantined".to_owned(), json!(self.quarantined_new)),
            ("warnings".to_owned(), json!(self.warnings.len())),
        ]);
        if let Some(silence) = &self.silence {
            attributes.insert("outcome".to_owned(), json!(SILENT));
            attributes.insert("source".to_owned(), json!(silence.source));
        }
        if let Some(error) = &self.receipt.error {
            attributes.insert("code".to_owned(), json!(error.code));
        }
        attributes
    }
}

/// A message in the form people read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rendered {
    /// One line.
    pub subject: String,
    /// Plain text.
    pub text: String,
    /// HTML, complete.
    pub html: String,
}
