//! Collecting rejected rows, up to a limit (INV-8).

use super::Spec;
use crate::{
    error::{EngineError, Result},
    rows,
};
use arrow::array::{Array as _, RecordBatch};
use tidegate_core::quarantine::{Reason, Rejected};

/// Longest raw text that is kept; the publication itself stays in the raw store.
const RAW: usize = 4096;

/// The rejected rows of one source.
pub(super) struct Rejects {
    source: String,
    most: u64,
    /// The file being read, if the publication has several.
    pub(super) part: Option<String>,
    pub(super) rows: Vec<Rejected>,
}

/// A row on its way to quarantine.
pub(super) struct Reject<'a> {
    pub(super) line: u64,
    pub(super) raw: &'a [u8],
    pub(super) column: Option<String>,
    pub(super) reason: Reason,
    pub(super) message: String,
    pub(super) identity: Option<String>,
    pub(super) key: Option<String>,
}

impl Rejects {
    pub(super) fn new(source: &str, most: u64) -> Self {
        Self { source: source.to_owned(), most, part: None, rows: Vec::new() }
    }

    pub(super) fn add(&mut self, spec: &Spec, row: Reject<'_>) -> Result<()> {
        if self.rows.len() as u64 >= self.most {
            let first = self.rows.first().map_or_else(String::new, |row| row.message.clone());
            return Err(EngineError::TooManyRejected { name: self.source.clone(), most: self.most, first });
        }
        let raw = text(row.raw);
        // One that was made of cells is hidden already.
        let identity = row.identity.unwrap_or_else(|| spec.veil.over_identity(raw.clone()));
        self.rows.push(Rejected {
            source: self.source.clone(),
            part: self.part.clone(),
            line: Some(row.line),
            raw: spec.veil.over_text(raw, "source"),
            column: row.column,
            reason: row.reason,
            message: row.message,
            identity,
            key: row.key,
        });
        Ok(())
    }
}

/// The values that identify a row, as the table shows them; none if one of them is missing or bad.
pub(super) fn key(spec: &Spec, typed: &RecordBatch, row: usize) -> Option<String> {
    if spec.identity.is_empty() || spec.identity.iter().any(|column| typed.column(*column).is_null(row)) {
        return None;
    }
    Some(spec.identity.iter().map(|column| rows::text(typed.column(*column), row)).collect::<Vec<_>>().join("\u{1f}"))
}

/// A row's identity as it is compared with those in quarantine.
pub(super) fn identity(spec: &Spec, cells: &[&[u8]]) -> String {
    let mut out = String::new();
    for (i, cell) in cells.iter().enumerate() {
        if i > 0 {
            out.push('\u{1f}');
        }
        out.push_str(&String::from_utf8_lossy(cell));
    }
    spec.veil.over_identity(out)
}

fn text(raw: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(&raw[..raw.len().min(RAW)]).into_owned();
    if raw.len() > RAW {
        text.push('…');
    }
    text
}
