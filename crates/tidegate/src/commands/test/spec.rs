//! The shape of a test file.

use serde::Deserialize;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, path::Path};
use tidegate_core::Outcome;

/// A test file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    /// Its tests.
    pub(super) tests: Vec<Spec>,
}

/// A test: publications one after another, and what is expected of each run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spec {
    /// What it shows.
    pub(super) name: String,
    /// The environment filter policies see (default `test`).
    #[serde(default)]
    pub(super) environment: Option<String>,
    /// What happens, in order.
    pub(super) steps: Vec<Step>,
}

/// Publications, and the run after them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    /// What sources publish. A source that is not named has published nothing new.
    #[serde(default)]
    pub(super) publish: BTreeMap<String, Publication>,
    /// What the run must give. What is not named is not looked at.
    pub(super) expect: Expect,
}

/// A publication: text, or a file beside the pipeline.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Publication {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    file: Option<String>,
}

impl Publication {
    pub(super) fn bytes(&self, folder: &Path) -> Result<Vec<u8>, String> {
        match (&self.text, &self.file) {
            (Some(text), None) => Ok(text.clone().into_bytes()),
            (None, Some(file)) => std::fs::read(folder.join(file)).map_err(|error| format!("{file}: {error}")),
            _ => Err("a publication has `text` or `file`".to_owned()),
        }
    }
}

/// What a run must give.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    /// Its outcome.
    pub(super) outcome: Option<Outcome>,
    /// Counts of the receipt, by name.
    #[serde(default)]
    pub(super) counts: BTreeMap<String, u64>,
    /// Rows in the table afterwards.
    pub(super) rows_after: Option<u64>,
    /// A text within a reason for which it is held.
    pub(super) held: Option<String>,
    /// The error's code, or a text within its message.
    pub(super) error: Option<String>,
    /// The whole table, in the order of its key; of each row only the named columns are looked at.
    pub(super) rows: Option<Vec<Map<String, Value>>>,
    /// The rows in quarantine: a text within the reason of each, in order.
    pub(super) quarantine: Option<Vec<String>>,
    /// The messages people get, in order.
    pub(super) messages: Option<Vec<ExpectMessage>>,
}

/// What a message must say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectMessage {
    /// The notifier's kind.
    pub(super) to: Option<String>,
    /// A text within the subject.
    pub(super) subject: Option<String>,
    /// A text within the body.
    pub(super) text: Option<String>,
}
