//! Changesets: what a run did to a table, row by row.
//!
//! A changeset is one immutable Parquet file with the columns
//!
//! | column | type | meaning |
//! | --- | --- | --- |
//! | the table's columns | as in the table | the row afterwards; for a delete, the row that was taken out |
//! | `_op` | string | `insert`, `update` or `delete` |
//! | `_run` | int64 | the run that published it |
//! | `_published_at` | timestamp (UTC, µs) | when the publisher said it: the newest publication the run read |
//! | `_committed_at` | timestamp (UTC, µs) | when the table began to say it |
//! | `_before` | struct of the columns outside the key | for an update, the values before; null otherwise |
//!
//! in the order of the table's key. The history table `X__history` is the union of all of them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    /// It is new.
    Insert,
    /// It has other values.
    Update,
    /// It is gone.
    Delete,
}

impl Op {
    /// The word in `_op`.
    pub fn as_str(self) -> &'static str {
        match self {
            Op::Insert => "insert",
            Op::Update => "update",
            Op::Delete => "delete",
        }
    }

    /// The op named so.
    pub fn parse(word: &str) -> Option<Self> {
        [Op::Insert, Op::Update, Op::Delete].into_iter().find(|op| op.as_str() == word)
    }
}

/// One changed row, for people and messages. Sensitive values are masked before it is made (INV-7).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// What happened.
    pub op: Op,
    /// The key's columns.
    pub key: Map<String, Value>,
    /// The row before, for an update or a delete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Map<String, Value>>,
    /// The row after, for an insert or an update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Map<String, Value>>,
}

/// Where a changeset lies and what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangesetInfo {
    /// Path below the home folder.
    pub file: String,
    /// Changed rows.
    pub rows: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of the file, in hexadecimal: a changeset is never altered.
    pub sha256: String,
}

/// How a restatement looks: how far back it reaches, by how much, which rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Restatement {
    /// Rows of the past that were changed or withdrawn.
    pub rows: u64,
    /// The oldest and newest key touched, as text, by the first date column of the key if there is one.
    #[serde(default)]
    pub oldest: Option<String>,
    /// See `oldest`.
    #[serde(default)]
    pub newest: Option<String>,
    /// Days between the oldest restated day and the newest day in the table.
    #[serde(default)]
    pub days_back: Option<i64>,
    /// Per numeric column, what the updates did to it.
    #[serde(default)]
    pub columns: Vec<ColumnShift>,
}

/// What the updates of one run did to one column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColumnShift {
    /// The column.
    pub column: String,
    /// Updated rows in which it differs.
    pub rows: u64,
    /// Sum of (after − before) over the rows where both are numbers; null for columns that are none.
    pub net: Option<f64>,
    /// Largest |after − before|; null for columns that are no numbers.
    pub largest: Option<f64>,
}
