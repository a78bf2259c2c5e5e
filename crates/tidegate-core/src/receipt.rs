//! The receipt: the numbers a run ends in, and the check that they add up (INV-1).

use crate::{Failure, Outcome, RunId, error::Code};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// What happened to the rows the transform produced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Rows whose key was not in the table.
    pub new: u64,
    /// Rows whose key was there with other values.
    pub updated: u64,
    /// Rows of the table that are no longer produced and were taken out.
    pub removed: u64,
    /// Rows that are in the table just so.
    pub unchanged: u64,
    /// Exact repetitions of another produced row, collapsed into it.
    pub duplicate: u64,
    /// Produced rows that contradict each other or have no key, set aside.
    pub rejected: u64,
    /// Rows no longer produced but left in place: their mode keeps them, or their source row waits in quarantine.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub kept: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Counts {
    /// Whether the table says something else afterwards.
    pub fn changes_something(&self) -> bool {
        self.new + self.updated + self.removed > 0
    }

    /// Rows the transform produced: each is exactly one of the five.
    pub fn produced(&self) -> u64 {
        self.new + self.updated + self.unchanged + self.duplicate + self.rejected
    }
}

/// `+1 ~39 −0 =92 ✗0`
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "+{} ~{} −{} ={} ✗{}",
            thousands(self.new),
            thousands(self.updated),
            thousands(self.removed),
            thousands(self.unchanged),
            thousands(self.rejected)
        )
    }
}

/// `1 row`, `1,234 rows`.
pub fn counted(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(n), if n == 1 { one } else { many })
}

/// `1234567` as `1,234,567`.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// What one source gave.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceReceipt {
    /// Rows in the publication, without the header.
    pub read: u64,
    /// Rows that became typed rows.
    pub accepted: u64,
    /// Rows set aside.
    pub rejected: u64,
    /// Whether the bytes differ from those of the last published run.
    pub changed: bool,
    /// SHA-256 of the bytes, in hexadecimal.
    pub sha256: String,
}

/// Why a run is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The guards and checks that hold it, each as one sentence.
    pub reasons: Vec<String>,
}

/// The receipt of a run. As JSON, one line a run, it is a stable interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Number of the run; null when nothing had to be recorded (every source said "not modified").
    pub run: Option<RunId>,
    /// Name of the pipeline.
    pub pipeline: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Name of the table.
    pub table: String,
    /// For a held run: what it would have changed.
    pub counts: Counts,
    /// Rows in the table before the run.
    pub rows_before: u64,
    /// Rows in the table after the run; for a held or failed one the same as before.
    pub rows_after: u64,
    /// Per source, by its name.
    pub sources: BTreeMap<String, SourceReceipt>,
    /// Why it is held, if it is.
    pub held: Option<Held>,
    /// Why it failed, if it did.
    pub error: Option<Failure>,
    /// When work on the run began (UTC).
    pub started_at: Timestamp,
    /// When it was over (UTC).
    pub finished_at: Timestamp,
}

impl Receipt {
    /// Rows rejected on their way into the table and in the sources.
    pub fn rejected(&self) -> u64 {
        self.counts.rejected + self.sources.values().map(|source| source.rejected).sum::<u64>()
    }

    /// The counts as people are shown them: with all rejected rows.
    pub fn shown(&self) -> Counts {
        Counts { rejected: self.rejected(), ..self.counts }
    }
}

/// INV-1: the numbers of a run add up, or the run fails before its commit.
///
/// `produced` is the number of rows counted as they left the transform, independently of what the diff made of them;
/// `rows_after` is what the run claims the table will hold.
pub fn verify(
    sources: &BTreeMap<String, SourceReceipt>,
    counts: &Counts,
    produced: u64,
    rows_before: u64,
    rows_after: u64,
) -> Result<(), Failure> {
    let wrong = |what: String| {
        Err(Failure::new(Code::TG305, what).hint("nothing was written; please report this with the output of `tidegate show`"))
    };
    for (name, source) in sources {
        if source.read != source.accepted + source.rejected {
            return wrong(format!(
                "source `{name}`: read {} is not accepted {} + rejected {}",
                source.read, source.accepted, source.rejected
            ));
        }
    }
    if counts.produced() != produced {
        return wrong(format!(
            "produced {produced} is not new {} + updated {} + unchanged {} + duplicate {} + rejected {}",
            counts.new, counts.updated, counts.unchanged, counts.duplicate, counts.rejected
        ));
    }
    if rows_before != counts.updated + counts.unchanged + counts.removed + counts.kept {
        return wrong(format!(
            "rows before {rows_before} is not updated {} + unchanged {} + removed {} + kept {}",
            counts.updated, counts.unchanged, counts.removed, counts.kept
        ));
    }
    if rows_after + counts.removed != rows_before + counts.new {
        return wrong(format!(
            "rows after {rows_after} is not rows before {rows_before} + new {} − removed {}",
            counts.new, counts.removed
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(read: u64, accepted: u64, rejected: u64) -> BTreeMap<String, SourceReceipt> {
        BTreeMap::from([("nyt".to_owned(), SourceReceipt { read, accepted, rejected, ..SourceReceipt::default() })])
    }

    #[test]
    fn inv_1_accounting_accepts_numbers_that_add_up() {
        let counts = Counts { new: 3, updated: 2, removed: 1, unchanged: 7, duplicate: 4, rejected: 5, kept: 2 };
        verify(&sources(21, 20, 1), &counts, 21, 12, 14).unwrap();
    }

    #[test]
    fn inv_1_accounting_refuses_each_wrong_number() {
        let good = Counts { new: 3, updated: 2, removed: 1, unchanged: 7, duplicate: 4, rejected: 5, kept: 2 };
        assert_eq!(verify(&sources(21, 19, 1), &good, 21, 12, 14).unwrap_err().code, Code::TG305);
        assert!(verify(&sources(21, 20, 1), &good, 22, 12, 14).is_err());
        assert!(verify(&sources(21, 20, 1), &good, 21, 13, 15).is_err());
        assert!(verify(&sources(21, 20, 1), &good, 21, 12, 15).is_err());
    }

    #[test]
    fn counts_read_like_a_receipt() {
        let counts = Counts { new: 1874, updated: 1000, removed: 500, unchanged: 997_342, rejected: 3, ..Counts::default() };
        assert_eq!(counts.to_string(), "+1,874 ~1,000 −500 =997,342 ✗3");
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(1_000_000), "1,000,000");
    }
}
