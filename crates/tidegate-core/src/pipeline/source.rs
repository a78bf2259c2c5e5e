//! Sources: where bytes come from and how they are read.

use super::{Column, Span};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// A source: one place (`http`, `file` or `push`), one format, its columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// A file on the web.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpSource>,
    /// A file, or several, on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileSource>,
    /// Rows that others push while the pipeline is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<PushSource>,
    /// How the bytes are to be read; gzip and zstd are recognised by themselves.
    pub format: Format,
    /// What is special about the CSV, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csv: Option<CsvOptions>,
    /// The columns that are used, by the name they have in SQL. Others in the file are ignored.
    #[schemars(with = "BTreeMap<String, Column>")]
    pub columns: IndexMap<String, Column>,
    /// The columns that identify a row of this source, so that a rejected row is recognised in later publications. Without
    /// it: those columns of the table's key that the source has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<String>,
    /// When to tell people that the publisher has fallen silent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence: Option<Silence>,
    /// What the source is, and under which terms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// When a publisher counts as silent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Silence {
    /// How long there may be nothing new.
    pub after: Span,
    /// A date or timestamp column: what counts is its newest value (for a date, the end of that day in UTC), so that a publisher who goes on giving
    /// old content is silent too. Without it, the moment at which other bytes came last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
}

/// The formats there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Comma-separated values, RFC 4180 and what the world makes of it.
    Csv,
    /// One JSON object a line.
    Jsonl,
    /// Apache Parquet.
    Parquet,
}

/// A file on the web.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpSource {
    /// Its address.
    pub url: String,
    /// Headers to send, such as an API key from `${ENV}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Longest wait for a connection or for the next bytes.
    #[serde(default = "half_a_minute")]
    pub timeout: Span,
}

fn half_a_minute() -> Span {
    Span(Duration::from_secs(30))
}

/// Files on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileSource {
    /// A path or a pattern (`in/*.csv`), relative to the pipeline's folder. The files a pattern finds are one publication, read in the order of their names.
    pub path: String,
    /// A folder to which each file is moved once it is taken, relative to the pipeline's folder and on the same file system. With it, every file (or
    /// folder) that the pattern finds is a publication of its own, and they are run one after another in the order of their names. Without it, files
    /// are left where they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<String>,
    /// How long a file must have been left alone before it counts as complete: for the `file` trigger, and wherever files are archived.
    #[serde(default = "two_seconds", skip_serializing_if = "is_two_seconds")]
    pub settle: Span,
}

fn two_seconds() -> Span {
    Span(Duration::from_secs(2))
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_two_seconds(span: &Span) -> bool {
    *span == two_seconds()
}

/// Rows that are pushed by POST to `/v1/ingest/PIPELINE/SOURCE`; it has no settings of its own. What a run reads is what came since the last one, so
/// the table must be one that keeps rows: `mode: merge` or `mode: append`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PushSource {}

/// Deviations from plain CSV.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CsvOptions {
    /// The character between cells.
    pub delimiter: char,
    /// The character around cells that contain delimiters or line ends.
    pub quote: char,
    /// Whether the first row names the columns. Without it, the columns are taken in the order they are declared.
    pub header: bool,
    /// Lines before the header that are not part of the table.
    pub skip_lines: usize,
    /// Name of the encoding, if it is neither UTF-8 nor UTF-16 with a byte order mark (`windows-1252`, `shift_jis`, …).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// Further texts that mean "no value"; an empty cell always does, and nothing else unless it is listed here.
    pub nulls: Vec<String>,
    /// Whether spaces around cells are dropped.
    pub trim: bool,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self { delimiter: ',', quote: '"', header: true, skip_lines: 0, encoding: None, nulls: Vec::new(), trim: false }
    }
}

impl Source {
    /// The CSV options, or the defaults.
    pub fn csv_options(&self) -> CsvOptions {
        self.csv.clone().unwrap_or_default()
    }

    /// The columns that identify a row, given the table's key.
    pub fn identity<'a>(&'a self, table_key: &'a [String]) -> Vec<&'a str> {
        let key = if self.key.is_empty() { table_key } else { &self.key };
        key.iter().map(String::as_str).filter(|name| self.columns.contains_key(*name)).collect()
    }

    /// Whether each file is taken once and then moved away.
    pub fn is_archived(&self) -> bool {
        self.file.as_ref().is_some_and(|file| file.archive.is_some())
    }

    /// Where the bytes come from, for people.
    pub fn place(&self) -> &str {
        match (&self.http, &self.file) {
            (Some(http), _) => &http.url,
            (None, Some(file)) => &file.path,
            (None, None) => {
                if self.push.is_some() {
                    "push"
                } else {
                    ""
                }
            }
        }
    }
}
