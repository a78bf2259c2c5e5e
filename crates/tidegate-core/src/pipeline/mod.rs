//! The pipeline file: what a user may write, and what it means.
//!
//! Parse ([`load`]) → validate (all errors at once) → build → run. The structs here are the reference: `tidegate schema`
//! and `docs/reference/pipeline.md` are generated from them and their comments.

mod columns;
#[cfg(test)]
mod fuzz;
mod limits;
mod load;
mod locate;
mod notify;
mod source;
mod subscribers;
mod table;
mod triggers;
mod validate;

pub use columns::{Column, ColumnType};
pub use limits::{ByteSize, Limit, Limits, Span};
pub use load::{LoadError, load, substitute};
pub use locate::Locations;
pub use notify::{Console, Email, Notify, Slack, SmtpTls, Template, Webhook};
pub use source::{CsvOptions, FileSource, Format, HttpSource, PushSource, Silence, Source};
pub use subscribers::{ChangesWanted, EventsWanted, From, Subscriber};
pub use table::{Check, Guards, Mode, Severity, Table};
pub use triggers::{Dropped, Hook, Missed, Push, Schedule, SourceChange, Triggers};
pub use validate::{PLAIN, is_plain};

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A pipeline: sources in, one table out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PipelineFile {
    /// Version of this file format; always 1.
    pub version: u32,
    /// Name of the pipeline: lower-case letters, digits and `_`, beginning with a letter.
    pub name: String,
    /// What the pipeline is for, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What starts a run when `tidegate serve` is running. `tidegate run` needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub triggers: Option<Triggers>,
    /// Where the data comes from. Each source is a table in the transform, under its name here.
    #[schemars(with = "BTreeMap<String, Source>")]
    pub sources: IndexMap<String, Source>,
    /// A `.sql` file beside this file with one SELECT over the sources. Without it there must be one source, whose columns are the table's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transform: Option<String>,
    /// The table that comes out.
    pub table: Table,
    /// Where the table is published besides the built-in Delta table, which is always kept.
    #[serde(default = "delta_only")]
    pub destinations: Vec<DestinationSpec>,
    /// Who is told about which runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<Notify>,
    /// Systems that are given every event or every changed row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subscribers: Vec<Subscriber>,
    /// Tries before a failing publication is set aside, and the waits between them.
    #[serde(default)]
    pub retry: Retry,
    /// Bounds on memory and on sizes.
    #[serde(default)]
    pub limits: Limits,
    /// Test files, as a path or a pattern beside this file (default `tests/*.yaml`).
    #[serde(default = "default_tests")]
    pub tests: String,
}

fn default_tests() -> String {
    "tests/*.yaml".to_owned()
}

fn delta_only() -> Vec<DestinationSpec> {
    vec![DestinationSpec { delta: Some(Delta {}) }]
}

/// One destination; exactly one kind is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DestinationSpec {
    /// The Delta Lake folder below the home folder: table `X` and its history `X__history`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delta: Option<Delta>,
}

/// The built-in Delta table; it has no settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Delta {}

/// How often failing work is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Tries of one publication, the first included, before it is set aside and newer ones go on.
    pub tries: u32,
    /// Tries of one download, the first included.
    pub fetch_tries: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self { tries: 3, fetch_tries: 4 }
    }
}

/// A pipeline as the rest of the program uses it: the file, its SQL, and where each part of it stands.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// What the file says.
    pub file: PipelineFile,
    /// The path of `pipeline.yaml`, as the user named it.
    pub path: String,
    /// The transform's SQL, and the path of its file as the user would name it.
    pub transform: Option<SqlFile>,
    /// Positions of every key in the file.
    pub locations: Locations,
    /// SHA-256 over everything that decides what rows come out: the file after substitution, and the SQL.
    /// Given by whoever read the files; a change means that unchanged bytes must be read again.
    pub definition: String,
}

/// SQL with the name of the file it stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlFile {
    /// Path for messages.
    pub path: String,
    /// The text.
    pub text: String,
}

impl Pipeline {
    /// The pipeline's name.
    pub fn name(&self) -> &str {
        &self.file.name
    }

    /// The table's name.
    pub fn table(&self) -> &str {
        &self.file.table.name
    }

    /// Whether a run reads only what came since the last one: rows that were pushed, or files that were dropped for a table that keeps its rows. What
    /// is not in it is not gone.
    pub fn is_incremental(&self) -> bool {
        let keeps = matches!(self.file.table.mode, Mode::Merge | Mode::Append);
        self.file.sources.values().any(|source| source.push.is_some() || (keeps && source.is_archived()))
    }

    /// Whether files are dropped for it that are taken one after another.
    pub fn takes_files(&self) -> bool {
        self.file.sources.values().any(Source::is_archived)
    }

    /// Columns of the table whose values are not shown: those with the name of a sensitive column of a source.
    pub fn sensitive_columns(&self) -> Vec<String> {
        let columns = self.file.sources.values().flat_map(|source| source.columns.iter());
        columns.filter(|(_, column)| column.sensitive).map(|(name, _)| name.clone()).collect()
    }

    /// Where `path` (such as `["sources", "nyt", "columns"]`) stands, or the nearest thing above it that is there.
    pub fn location(&self, path: &[&str]) -> Option<crate::Location> {
        self.locations.nearest(path).map(|(line, column)| crate::Location { file: self.path.clone(), line, column })
    }

    /// The parts of the definition that decide which rows come out, as text to hash.
    ///
    /// Notifications, triggers and limits are not among them: changing an address must not make every byte be read again.
    pub fn definition_text(file: &PipelineFile, transform: Option<&str>) -> String {
        let sources = serde_json::to_string(&file.sources).unwrap_or_default();
        let mut table = file.table.clone();
        table.guards = Guards::off();
        let table = serde_json::to_string(&table).unwrap_or_default();
        format!("tidegate definition 1\n{sources}\n{table}\n{}", transform.unwrap_or_default())
    }
}
