//! Guards: limits on what a run may change. A run beyond one of them is held, not failed: a person, or the next sane
//! publication, decides.

use crate::{
    Counts, SourceReceipt,
    pipeline::Guards,
    receipt::{counted, thousands},
};
use std::collections::BTreeMap;

/// The guards that hold a run with these numbers, each as one sentence; none if it may pass.
pub fn breaches(
    guards: &Guards,
    counts: &Counts,
    sources: &BTreeMap<String, SourceReceipt>,
    rows_before: u64,
    rows_after: u64,
) -> Vec<String> {
    let mut found = Vec::new();
    let limits = [
        ("remove", "max_removed", guards.max_removed, counts.removed),
        ("change", "max_updated", guards.max_updated, counts.updated),
        // The first load adds everything by its nature.
        ("add", "max_new", guards.max_new.filter(|_| rows_before > 0), counts.new),
    ];
    for (verb, name, limit, count) in limits {
        if let Some(limit) = limit
            && limit.exceeded(count, rows_before)
        {
            found.push(format!(
                "would {verb} {} of {} rows{} ({name}: {limit})",
                thousands(count),
                thousands(rows_before),
                share(count, rows_before)
            ));
        }
    }
    if let Some(limit) = guards.max_rejected {
        for (source, numbers) in sources {
            if limit.exceeded(numbers.rejected, numbers.read) {
                found.push(format!(
                    "source `{source}` has {} of {}{} (max_rejected: {limit})",
                    counted(numbers.rejected, "bad row", "bad rows"),
                    thousands(numbers.read),
                    share(numbers.rejected, numbers.read)
                ));
            }
        }
    }
    // Rows that were good by themselves and contradict each other, or the table.
    let produced = counts.new + counts.updated + counts.unchanged + counts.duplicate + counts.rejected;
    if let Some(limit) = guards.max_rejected.filter(|limit| limit.exceeded(counts.rejected, produced)) {
        found.push(format!(
            "{} of {}{} contradict each other or have no key (max_rejected: {limit})",
            counted(counts.rejected, "row", "rows"),
            thousands(produced),
            share(counts.rejected, produced)
        ));
    }
    if let Some(fewest) = guards.min_rows
        && rows_after < fewest
    {
        found.push(format!("would leave {} rows (min_rows: {fewest})", thousands(rows_after)));
    }
    found
}

#[allow(clippy::cast_precision_loss, reason = "row counts are far below 2^52")]
fn share(count: u64, total: u64) -> String {
    if total == 0 { String::new() } else { format!(", {:.1} %", count as f64 * 100.0 / total as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Limit;

    fn sources(read: u64, rejected: u64) -> BTreeMap<String, SourceReceipt> {
        BTreeMap::from([("s".to_owned(), SourceReceipt { read, accepted: read - rejected, rejected, ..SourceReceipt::default() })])
    }

    #[test]
    fn a_truncated_file_is_held_and_a_restatement_is_not() {
        let guards = Guards::default();
        let wiped = Counts { removed: 129, ..Counts::default() };
        assert_eq!(breaches(&guards, &wiped, &sources(1, 0), 129, 0), ["would remove 129 of 129 rows, 100.0 % (max_removed: 10%)"]);
        let restated = Counts { new: 1, updated: 39, unchanged: 92, ..Counts::default() };
        assert!(breaches(&guards, &restated, &sources(133, 0), 131, 132).is_empty());
    }

    #[test]
    fn the_first_load_is_free_but_not_its_bad_rows() {
        let guards = Guards { max_new: Some(Limit::Percent(1.0)), ..Guards::default() };
        let first = Counts { new: 100, ..Counts::default() };
        assert!(breaches(&guards, &first, &sources(100, 5), 0, 100).is_empty());
        assert_eq!(breaches(&guards, &first, &sources(100, 6), 0, 100).len(), 1);
    }

    #[test]
    fn rows_that_contradict_each_other_are_bad_rows_too() {
        let counts = Counts { new: 1, rejected: 8, ..Counts::default() };
        let held = breaches(&Guards::default(), &counts, &sources(9, 0), 0, 1);
        assert_eq!(held, ["8 rows of 9, 88.9 % contradict each other or have no key (max_rejected: 5%)"]);
    }

    #[test]
    fn off_means_off() {
        let wiped = Counts { removed: 129, ..Counts::default() };
        assert!(breaches(&Guards::off(), &wiped, &sources(10, 10), 129, 0).is_empty());
    }
}
