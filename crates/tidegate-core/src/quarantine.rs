//! Quarantine: rejected rows, why they were rejected, and what became of them.
//!
//! A rejected row is recognised again in later publications by its identity: the raw text of those columns of the
//! table's key that its source has, or, where there are none or the row has no columns at all, its whole raw text.

use crate::RunId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a row was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A cell is not of the column's type.
    Type,
    /// A required cell is empty.
    Required,
    /// The column's check is false.
    Check,
    /// More or fewer cells than the header has.
    Ragged,
    /// A quote is not closed, or text follows a closing quote.
    Quote,
    /// Bytes that are not valid in the encoding.
    Encoding,
    /// A line that is not a JSON object.
    Json,
    /// Rows with the same key and different values.
    KeyConflict,
    /// A produced row without a value in its key.
    KeyNull,
    /// An append-only table has another row with this key.
    AppendConflict,
}

impl Reason {
    /// The word kept in the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Type => "type",
            Reason::Required => "required",
            Reason::Check => "check",
            Reason::Ragged => "ragged",
            Reason::Quote => "quote",
            Reason::Encoding => "encoding",
            Reason::Json => "json",
            Reason::KeyConflict => "key_conflict",
            Reason::KeyNull => "key_null",
            Reason::AppendConflict => "append_conflict",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A row as a run rejected it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// The source it came from, or the table's name for a produced row.
    pub source: String,
    /// The file within the publication, if that has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// Line in the file on which the row begins, from 1; none for a produced row.
    pub line: Option<u64>,
    /// The row as it stands in the file (or, produced, as JSON), cut at 4 KiB; masked if it has a sensitive column.
    pub raw: String,
    /// The column that is wrong, if it is one.
    pub column: Option<String>,
    /// The kind of reason.
    pub reason: Reason,
    /// The reason in words.
    pub message: String,
    /// By which the row is recognised in later publications.
    pub identity: String,
    /// The values that identify the row, as a table shows them: by these its last good version is found. None if one of
    /// them is bad. Never written down, for they may be sensitive (INV-7).
    #[serde(skip)]
    pub key: Option<String>,
}

/// Where a quarantined row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Still bad in the newest publication.
    Open,
    /// Good, or gone, in a later publication.
    Resolved,
    /// A person said that it does not matter.
    Discarded,
}

impl Status {
    /// The word kept in the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Open => "open",
            Status::Resolved => "resolved",
            Status::Discarded => "discarded",
        }
    }

    /// The status named so.
    pub fn parse(word: &str) -> Option<Self> {
        [Status::Open, Status::Resolved, Status::Discarded].into_iter().find(|status| status.as_str() == word)
    }
}

/// A row in quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// Its number in the ledger.
    pub id: i64,
    /// The pipeline.
    pub pipeline: String,
    /// The row and the reason, as last seen.
    #[serde(flatten)]
    pub row: Rejected,
    /// Where it stands.
    pub status: Status,
    /// The run that first rejected it.
    pub first_run: RunId,
    /// The run that last rejected it.
    pub last_run: RunId,
    /// Publications in which it was bad.
    pub seen: u64,
    /// The run that closed it.
    pub closed_run: Option<RunId>,
    /// Why it was closed.
    pub closed_because: Option<String>,
    /// When it was first rejected (UTC).
    pub opened_at: Timestamp,
}
