use super::*;
use crate::{order::Order, staged::Batches};
use arrow::{
    array::{Array as _, AsArray as _, Int64Array, RecordBatch},
    datatypes::{DataType, Field, Int64Type, Schema},
};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};
use tidegate_core::pipeline::Mode;

type Row = (i64, i64, Option<i64>);

/// Rows (two key columns, one value) as batches of `size`.
fn batches(rows: &[Row], size: usize) -> Batches {
    let schema = Arc::new(Schema::new(["a", "b", "v"].map(|name| Field::new(name, DataType::Int64, true)).to_vec()));
    let all: Vec<_> = rows
        .chunks(size.max(1))
        .map(|rows| {
            let column = |f: &dyn Fn(&Row) -> Option<i64>| Arc::new(rows.iter().map(f).collect::<Int64Array>()) as _;
            Ok(RecordBatch::try_new(Arc::clone(&schema), vec![column(&|r| Some(r.0)), column(&|r| Some(r.1)), column(&|r| r.2)]).unwrap())
        })
        .collect();
    Box::new(all.into_iter())
}

fn row(batch: &RecordBatch, i: usize) -> Row {
    let n = |c: usize| batch.column(c).as_primitive::<Int64Type>();
    (n(0).value(i), n(1).value(i), n(2).is_valid(i).then(|| n(2).value(i)))
}

#[derive(Default)]
struct Log(Vec<(Op, Option<Row>, Option<Row>)>);

impl Changes for Log {
    fn insert(&mut self, rows: &RecordBatch) -> Result<()> {
        self.0.extend((0..rows.num_rows()).map(|i| (Op::Insert, None, Some(row(rows, i)))));
        Ok(())
    }

    fn row(&mut self, op: Op, before: Option<(&RecordBatch, usize)>, after: Option<(&RecordBatch, usize)>) -> Result<()> {
        self.0.push((op, before.map(|(b, i)| row(b, i)), after.map(|(b, i)| row(b, i))));
        Ok(())
    }
}

fn table() -> impl Strategy<Value = BTreeMap<(i64, i64), Option<i64>>> {
    proptest::collection::btree_map((0..12i64, 0..12i64), proptest::option::of(0..3i64), 0..120)
}

fn rows_of(table: &BTreeMap<(i64, i64), Option<i64>>) -> Vec<Row> {
    table.iter().map(|((a, b), v)| (*a, *b, *v)).collect()
}

proptest! {
    /// The merge against the plainest model there is: two maps.
    #[test]
    fn the_diff_is_that_of_two_maps(before in table(), after in table(), sizes in (1usize..40, 1usize..40), mode in prop_oneof![Just(Mode::Mirror), Just(Mode::Merge), Just(Mode::Append)]) {
        let key = Order { columns: vec![0, 1] };
        let withheld = BTreeSet::from(["3\u{1f}3".to_owned()]);
        let rules = Rules { table: "t", mode, order: &key, withheld: &withheld, found: &Mutex::default(), key: &key, most_rejected: 1000, veil: &crate::Veil::default() };
        let mut log = Log::default();
        let found = diff(&rules, batches(&rows_of(&before), sizes.0), batches(&rows_of(&after), sizes.1), &mut log).unwrap();

        let mut expected = Vec::new();
        let (mut kept, mut unchanged, mut conflicts) = (0, 0, 0);
        for k in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
            let full = |v: &Option<i64>| (k.0, k.1, *v);
            match (before.get(k), after.get(k)) {
                (Some(old), Some(new)) if old == new => unchanged += 1,
                (Some(_), Some(_)) if mode == Mode::Append => { conflicts += 1; kept += 1 }
                (Some(old), Some(new)) => expected.push((Op::Update, Some(full(old)), Some(full(new)))),
                (None, Some(new)) => expected.push((Op::Insert, None, Some(full(new)))),
                (Some(old), None) if mode == Mode::Mirror && *k != (3, 3) => expected.push((Op::Delete, Some(full(old)), None)),
                _ => kept += 1,
            }
        }
        prop_assert_eq!(&log.0, &expected);
        let ops = |op: Op| expected.iter().filter(|(o, ..)| *o == op).count() as u64;
        prop_assert_eq!((found.new, found.updated, found.removed), (ops(Op::Insert), ops(Op::Update), ops(Op::Delete)));
        prop_assert_eq!((found.unchanged, found.kept, found.conflicts.len()), (unchanged, kept, conflicts));
        prop_assert_eq!((found.rows_before, found.produced), (before.len() as u64, after.len() as u64));
    }

    /// A key of which contradicting rows speak is neither changed nor removed, wherever batches are cut.
    #[test]
    fn what_is_contradicted_stays(before in table(), mut after in proptest::collection::vec((0..12i64, 0..12i64, proptest::option::of(0..2i64)), 0..120), sizes in (1usize..40, 1usize..40)) {
        after.sort();
        let (key, found) = (Order { columns: vec![0, 1] }, Arc::new(Mutex::new(Deduped::default())));
        let produced = dedupe(batches(&after, sizes.1), "t", key.clone(), 1000, BTreeSet::new(), crate::Veil::default(), Arc::clone(&found));
        let rules = Rules { table: "t", mode: Mode::Mirror, order: &key, withheld: &BTreeSet::new(), found: &found, key: &key, most_rejected: 1000, veil: &crate::Veil::default() };
        let mut log = Log::default();
        let diffed = diff(&rules, batches(&rows_of(&before), sizes.0), produced, &mut log).unwrap();
        let spoken = |k: &(i64, i64)| after.iter().filter(|r| (r.0, r.1) == *k).map(|r| r.2).collect::<BTreeSet<_>>();
        let removed: Vec<(i64, i64)> = before.keys().copied().filter(|k| spoken(k).is_empty()).collect();
        let deletes: Vec<(i64, i64)> = log.0.iter().filter(|(op, ..)| *op == Op::Delete).map(|(_, old, _)| old.map(|r| (r.0, r.1)).unwrap()).collect();
        prop_assert_eq!(deletes, removed);
        prop_assert_eq!(diffed.kept, before.keys().filter(|k| spoken(k).len() > 1).count() as u64);
    }

    /// Repetitions collapse, contradictions are all rejected, wherever batches are cut.
    #[test]
    fn dedupe_is_that_of_groups(mut rows in proptest::collection::vec((0..6i64, 0..2i64, proptest::option::of(0..2i64)), 0..60), size in 1usize..20) {
        rows.sort();
        let found = Arc::new(Mutex::new(Deduped::default()));
        let key = Order { columns: vec![0, 1] };
        let out: Vec<Row> = dedupe(batches(&rows, size), "t", key, 1000, BTreeSet::new(), crate::Veil::default(), Arc::clone(&found))
            .flat_map(|batch| { let batch = batch.unwrap(); (0..batch.num_rows()).map(|i| row(&batch, i)).collect::<Vec<_>>() })
            .collect();
        let mut groups: BTreeMap<(i64, i64), Vec<Option<i64>>> = BTreeMap::new();
        rows.iter().for_each(|r| groups.entry((r.0, r.1)).or_default().push(r.2));
        let good: Vec<Row> = groups.iter().filter(|(_, v)| v.iter().all(|x| x == &v[0])).map(|(k, v)| (k.0, k.1, v[0])).collect();
        let duplicate: usize = groups.values().filter(|v| v.iter().all(|x| x == &v[0])).map(|v| v.len() - 1).sum();
        let rejected: usize = groups.values().filter(|v| !v.iter().all(|x| x == &v[0])).map(Vec::len).sum();
        prop_assert_eq!(out, good);
        let found = found.lock().unwrap();
        prop_assert_eq!((found.duplicate, found.rejected.len()), (duplicate as u64, rejected));
    }
}
