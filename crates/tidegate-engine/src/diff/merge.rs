//! The merge of the current table with the produced rows.

use super::{Changes, Deduped};
use crate::{
    error::{EngineError, Result},
    order::Order,
    rows,
    staged::Batches,
    veil::Veil,
};
use arrow::{
    array::{ArrayRef, RecordBatch},
    buffer::BooleanBuffer,
    compute::kernels::cmp::distinct,
};
use std::{
    cmp::Ordering,
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};
use tidegate_core::{
    changes::Op,
    pipeline::Mode,
    quarantine::{Reason, Rejected},
};

/// What the merge found.
#[derive(Debug, Default)]
pub(crate) struct Diffed {
    pub(crate) new: u64,
    pub(crate) updated: u64,
    pub(crate) removed: u64,
    pub(crate) unchanged: u64,
    pub(crate) kept: u64,
    pub(crate) rows_before: u64,
    /// Rows counted as they came in, independently of what became of them.
    pub(crate) produced: u64,
    /// Produced rows that an append-only table cannot take.
    pub(crate) conflicts: Vec<Rejected>,
}

/// What the merge needs to know.
pub(crate) struct Rules<'a> {
    pub(crate) table: &'a str,
    pub(crate) mode: Mode,
    pub(crate) order: &'a Order,
    /// Keys of source rows that are in quarantine: their table rows stay.
    pub(crate) withheld: &'a BTreeSet<String>,
    /// What is found in the produced rows while they go by: rows of the table stay also for the sake of contradicting ones.
    pub(crate) found: &'a Mutex<Deduped>,
    /// The key as declared, to form identities.
    pub(crate) key: &'a Order,
    pub(crate) most_rejected: u64,
    pub(crate) veil: &'a Veil,
}

/// One side of the merge.
struct Side {
    input: Batches,
    batch: Option<RecordBatch>,
    at: usize,
}

impl Side {
    /// Makes sure that there is a current row, if there is one at all.
    fn fill(&mut self) -> Result<bool> {
        loop {
            match &self.batch {
                Some(batch) if self.at < batch.num_rows() => return Ok(true),
                _ => {
                    self.at = 0;
                    self.batch = self.input.next().transpose()?;
                    if self.batch.is_none() {
                        return Ok(false);
                    }
                }
            }
        }
    }

    fn left(&self) -> usize {
        self.batch.as_ref().map_or(0, |batch| batch.num_rows() - self.at)
    }
}

/// Widest slice that is compared at once.
const WINDOW: usize = 8192;

/// Merges `current` and `produced`, both in the rules' order and without repeated keys.
pub(crate) fn diff(rules: &Rules<'_>, current: Batches, produced: Batches, changes: &mut dyn Changes) -> Result<Diffed> {
    let mut out = Diffed::default();
    let mut before = Side { input: current, batch: None, at: 0 };
    let mut after = Side { input: produced, batch: None, at: 0 };
    let mut window = 64;
    loop {
        let (has_before, has_after) = (before.fill()?, after.fill()?);
        match (&before.batch, &after.batch) {
            _ if !has_before && !has_after => return Ok(out),
            (_, Some(rows)) if !has_before => {
                let rest = rows.slice(after.at, after.left());
                out.new += rest.num_rows() as u64;
                out.produced += rest.num_rows() as u64;
                changes.insert(&rest)?;
                after.at += rest.num_rows();
            }
            (Some(rows), _) if !has_after => {
                let rows = rows.clone();
                for row in before.at..rows.num_rows() {
                    gone(rules, &mut out, &rows, row, changes)?;
                }
                before.at = rows.num_rows();
            }
            (Some(old), Some(new)) => {
                let (old, new) = (old.clone(), new.clone());
                let n = before.left().min(after.left()).min(window);
                let same_keys = equal_keys(rules.order, &old.slice(before.at, n), &new.slice(after.at, n))?;
                if same_keys > 0 {
                    matched(rules, &mut out, (&old, before.at), (&new, after.at), same_keys, changes)?;
                    before.at += same_keys;
                    after.at += same_keys;
                }
                if same_keys == n {
                    window = (window * 2).min(WINDOW);
                    continue;
                }
                window = 64;
                let comparator = rules.order.comparator(&old, &new)?;
                while before.left() > 0 && after.left() > 0 {
                    match comparator.compare(before.at, after.at) {
                        Ordering::Less => {
                            gone(rules, &mut out, &old, before.at, changes)?;
                            before.at += 1;
                        }
                        Ordering::Greater => {
                            out.new += 1;
                            out.produced += 1;
                            changes.row(Op::Insert, None, Some((&new, after.at)))?;
                            after.at += 1;
                        }
                        Ordering::Equal => break,
                    }
                }
            }
            _ => return Err(EngineError::Bug("a side of the diff has rows and no batch".to_owned())),
        }
    }
}

/// A bit for each value that differs; none if none does, which is found faster: whole stretches of bytes are compared.
fn differences(old: &ArrayRef, new: &ArrayRef) -> Result<Option<BooleanBuffer>> {
    if old.as_ref() == new.as_ref() {
        return Ok(None);
    }
    Ok(Some(distinct(old, new)?.values().clone()))
}

/// How many rows from the start have the same key on both sides.
fn equal_keys(order: &Order, old: &RecordBatch, new: &RecordBatch) -> Result<usize> {
    let mut same = old.num_rows();
    for column in &order.columns {
        let differs = differences(&old.column(*column).slice(0, same), &new.column(*column).slice(0, same))?;
        if let Some(first) = differs.and_then(|differs| differs.set_indices().next()) {
            same = first;
        }
    }
    Ok(same)
}

/// Rows with the same keys: unchanged or updated.
fn matched(
    rules: &Rules<'_>,
    out: &mut Diffed,
    old: (&RecordBatch, usize),
    new: (&RecordBatch, usize),
    n: usize,
    changes: &mut dyn Changes,
) -> Result<()> {
    out.rows_before += n as u64;
    out.produced += n as u64;
    let mut differs: Option<BooleanBuffer> = None;
    for column in (0..old.0.num_columns()).filter(|column| !rules.order.columns.contains(column)) {
        let Some(bits) = differences(&old.0.column(column).slice(old.1, n), &new.0.column(column).slice(new.1, n))? else { continue };
        differs = Some(differs.map_or_else(|| bits.clone(), |before| &before | &bits));
    }
    let Some(differs) = differs else {
        out.unchanged += n as u64;
        return Ok(());
    };
    let different = differs.count_set_bits() as u64;
    out.unchanged += n as u64 - different;
    for row in differs.set_indices() {
        if rules.mode == Mode::Append {
            // Counted as rejected by the caller; the table's row stays.
            out.kept += 1;
            conflict(rules, out, new.0, new.1 + row)?;
        } else {
            out.updated += 1;
            changes.row(Op::Update, Some((old.0, old.1 + row)), Some((new.0, new.1 + row)))?;
        }
    }
    Ok(())
}

/// A row of the table that is not produced any more.
fn gone(rules: &Rules<'_>, out: &mut Diffed, old: &RecordBatch, row: usize, changes: &mut dyn Changes) -> Result<()> {
    out.rows_before += 1;
    if !rules.mode.removes() || stays(rules, old, row) {
        out.kept += 1;
        return Ok(());
    }
    out.removed += 1;
    changes.row(Op::Delete, Some((old, row)), None)
}

/// Whether the rows that speak of this key are all bad ones.
fn stays(rules: &Rules<'_>, old: &RecordBatch, row: usize) -> bool {
    let found = rules.found.lock().unwrap_or_else(PoisonError::into_inner);
    let contradicted = Some(&found.contradicted).filter(|keys| rules.mode == Mode::Mirror && !keys.is_empty());
    if rules.withheld.is_empty() && contradicted.is_none() {
        return false;
    }
    let key = identity(rules, old, row);
    rules.withheld.contains(&key) || contradicted.is_some_and(|keys| keys.contains(&key))
}

fn identity(rules: &Rules<'_>, batch: &RecordBatch, row: usize) -> String {
    rules.key.columns.iter().map(|column| rows::text(batch.column(*column), row)).collect::<Vec<_>>().join("\u{1f}")
}

fn conflict(rules: &Rules<'_>, out: &mut Diffed, new: &RecordBatch, row: usize) -> Result<()> {
    if out.conflicts.len() as u64 >= rules.most_rejected {
        return Err(EngineError::TooManyRejected {
            name: rules.table.to_owned(),
            most: rules.most_rejected,
            first: out.conflicts.first().map_or_else(String::new, |row| row.message.clone()),
        });
    }
    out.conflicts.push(Rejected {
        source: rules.table.to_owned(),
        part: None,
        line: None,
        raw: rules.veil.over_text(serde_json::Value::Object(rows::object(new, row)).to_string(), "table"),
        column: None,
        reason: Reason::AppendConflict,
        message: "the table is append-only and has another row with this key".to_owned(),
        identity: rules.veil.over_identity(identity(rules, new, row)),
        key: None,
    });
    Ok(())
}
