//! Writing a file anew with some of its rows changed: row groups in which nothing changes are taken as they are, and so are
//! columns in which nothing changes of row groups that keep their rows.
//!
//! Which row groups a change may touch is told by their statistics of the first column of the table's order. That is never
//! too few: rows are compared by their whole key only within the row groups that are read.

use super::{
    current::{self, DataFile, GroupReader},
    merge::{self, Slice},
};
use crate::{error::Result, order::Order, parquet_file::ParquetFile};
use arrow::{
    array::{Array as _, RecordBatch},
    compute::concat_batches,
    datatypes::{DataType, Schema, SchemaRef},
};
use parquet::{arrow::arrow_reader::statistics::StatisticsConverter, file::metadata::ParquetMetaData};
use std::{collections::VecDeque, fs::File, iter, sync::Arc};
use tidegate_core::changes::Op;

/// The only column of batches of bounds.
const FIRST: usize = 0;

/// A file whose row groups can be taken one by one.
pub(super) struct Base {
    file: File,
    metadata: Arc<ParquetMetaData>,
    /// Least and greatest value of the first column of the order, a row for each row group; may be wider than the truth.
    least: RecordBatch,
    most: RecordBatch,
}

/// Row groups beside each other that changes touch, and these changes; or one that none touches.
struct Stretch {
    groups: std::ops::Range<usize>,
    changes: Vec<Slice>,
}

/// Takes those changes out that are not beyond `last`.
fn take_up_to(changes: &mut VecDeque<Slice>, last: &RecordBatch, order: &Order) -> Result<Vec<Slice>> {
    let mut taken = Vec::new();
    while let Some(slice) = changes.pop_front() {
        let comparator = order.comparator(&slice.rows, last)?;
        let count = (0..slice.len()).take_while(|row| comparator.compare(*row, 0).is_le()).count();
        let beyond = slice.slice(count, slice.len() - count);
        taken.push(slice.slice(0, count));
        if beyond.len() > 0 {
            changes.push_front(beyond);
            break;
        }
    }
    taken.retain(|slice| slice.len() > 0);
    Ok(taken)
}

fn with_views(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Utf8 => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View)),
        _ => Arc::clone(field),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

impl Base {
    /// None if the file has but one row group, or other columns than the table has now, or does not say what is in it.
    pub(super) fn open(file: &DataFile, schema: &SchemaRef, order: &Order) -> Result<Option<Self>> {
        let builder = current::open(file)?;
        let groups = builder.metadata().num_row_groups();
        let Some(first) = order.columns.first().filter(|_| groups > 1 && builder.schema().fields() == schema.fields()) else {
            return Ok(None);
        };
        let field = schema.field(*first).clone();
        let converter = StatisticsConverter::try_new(field.name(), builder.schema(), builder.parquet_schema())?;
        let row_groups = builder.metadata().row_groups();
        let (least, most) = (converter.row_group_mins(row_groups)?, converter.row_group_maxes(row_groups)?);
        let nulls: u64 = converter.row_group_null_counts(row_groups)?.iter().map(|count| count.unwrap_or(1)).sum();
        if least.null_count() + most.null_count() > 0 || nulls > 0 {
            return Ok(None);
        }
        let bounds = Arc::new(Schema::new(vec![field]));
        let failed = |error: std::io::Error| crate::error::EngineError::Altered { path: file.path.clone(), why: error.to_string() };
        Ok(Some(Self {
            file: File::open(&file.path).map_err(failed)?,
            metadata: Arc::clone(builder.metadata()),
            least: RecordBatch::try_new(Arc::clone(&bounds), vec![least])?,
            most: RecordBatch::try_new(bounds, vec![most])?,
        }))
    }

    /// Writes the rows of the file, changed by `changes`, to `out`.
    pub(super) fn rewrite(
        self,
        file: &DataFile,
        changes: &[Slice],
        schema: &SchemaRef,
        order: &Order,
        out: &mut ParquetFile,
    ) -> Result<()> {
        // Texts are only passed on: as views they are not copied on the way.
        let views = with_views(schema);
        let reader = GroupReader::new(file, &self.metadata, &views)?;
        for Stretch { groups, changes } in self.stretches(changes, order)? {
            let last_group = groups.end - 1;
            let mut left = changes.iter().map(|slice| slice.cast(&views)).collect::<Result<VecDeque<_>>>()?;
            for group in groups {
                if left.is_empty() {
                    out.copy_group(&self.file, self.metadata.row_group(group))?;
                    continue;
                }
                let rows = reader.read(group)?;
                let end = rows.slice(rows.num_rows().saturating_sub(1), 1);
                let here = if group == last_group { left.drain(..).collect() } else { take_up_to(&mut left, &end, order)? };
                self.renew(group, rows, &here, order, out)?;
            }
        }
        Ok(())
    }

    /// Writes the rows of one row group, changed.
    fn renew(&self, group: usize, rows: RecordBatch, changes: &[Slice], order: &Order, out: &mut ParquetFile) -> Result<()> {
        let before = self.metadata.row_group(group);
        if changes.is_empty() {
            return out.copy_group(&self.file, before);
        }
        let mut updated = Vec::new();
        merge::merge(Box::new(iter::once(Ok(rows.clone()))), changes, order, &mut |rows| {
            updated.push(rows);
            Ok(())
        })?;
        if !changes.iter().flat_map(|slice| &slice.ops).all(|op| *op == Op::Update) {
            return out.write_evenly(&updated);
        }
        // Each row is where it was: columns in which no value is another are taken as they are, such as those of the key.
        let updated = concat_batches(&rows.schema(), &updated)?;
        let differ: Vec<bool> = rows.columns().iter().zip(updated.columns()).map(|(was, is)| was != is).collect();
        out.patch_group(&self.file, before, &updated, &differ)
    }

    /// The file as stretches, in order.
    fn stretches(&self, changes: &[Slice], order: &Order) -> Result<Vec<Stretch>> {
        let groups = self.metadata.num_row_groups();
        let mut touched = vec![false; groups];
        // For each change the first row group that it touches.
        let mut places = Vec::with_capacity(changes.len());
        let mut place = 0;
        for slice in changes {
            let firsts = slice.rows.project(&order.columns[..1])?;
            let only = Order { columns: vec![FIRST] };
            let (from, to) = (only.comparator(&firsts, &self.most)?, only.comparator(&firsts, &self.least)?);
            let mut of_slice = Vec::with_capacity(slice.len());
            for row in 0..slice.len() {
                // Changes come in order, so the search never goes back. What is beyond the last row group belongs to it.
                while place + 1 < groups && from.compare(row, place).is_gt() {
                    place += 1;
                }
                touched[place] = true;
                for further in (place + 1..groups).take_while(|group| to.compare(row, *group).is_ge()) {
                    touched[further] = true;
                }
                of_slice.push(place);
            }
            places.push(of_slice);
        }
        let mut stretches: Vec<Stretch> = Vec::new();
        for (group, touched_here) in touched.iter().enumerate() {
            match stretches.last_mut().filter(|_| *touched_here && group > 0 && touched[group - 1]) {
                Some(last) => last.groups.end = group + 1,
                None => stretches.push(Stretch { groups: group..group + 1, changes: Vec::new() }),
            }
        }
        let mut at = 0;
        for (slice, places) in changes.iter().zip(&places) {
            let mut row = 0;
            while row < slice.len() {
                while stretches[at].groups.end <= places[row] {
                    at += 1;
                }
                let end = (row..slice.len()).find(|row| places[*row] >= stretches[at].groups.end).unwrap_or(slice.len());
                stretches[at].changes.push(slice.slice(row, end - row));
                row = end;
            }
        }
        Ok(stretches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::{
        array::{ArrayRef, AsArray as _, Int64Array, StringArray},
        datatypes::{DataType, Field, Int64Type, Schema},
    };
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use tidegate_core::changes::Op;

    type Rows = BTreeMap<i64, i64>;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(
            ["text", "id", "n"].map(|name| Field::new(name, if name == "text" { DataType::Utf8 } else { DataType::Int64 }, true)).to_vec(),
        ))
    }

    fn batch(rows: impl IntoIterator<Item = (i64, i64)>) -> RecordBatch {
        let rows: Vec<(i64, i64)> = rows.into_iter().collect();
        let text: ArrayRef = Arc::new(rows.iter().map(|(id, _)| Some(format!("{:03}", id / 10))).collect::<StringArray>());
        let column = |f: fn(&(i64, i64)) -> i64| Arc::new(rows.iter().map(f).collect::<Int64Array>()) as ArrayRef;
        RecordBatch::try_new(schema(), vec![text, column(|row| row.0), column(|row| row.1)]).unwrap()
    }

    fn read(file: &DataFile) -> Rows {
        let batches = current::read_file(file, &schema()).unwrap().map(Result::unwrap);
        let ids = |batch: &RecordBatch, column: usize| batch.column(column).as_primitive::<Int64Type>().values().to_vec();
        batches.flat_map(|batch| ids(&batch, 1).into_iter().zip(ids(&batch, 2)).collect::<Vec<_>>()).collect()
    }

    #[test]
    fn row_by_row_into_one_place_makes_no_tiny_row_groups() {
        let folder = tempfile::tempdir().unwrap();
        let order = Order { columns: vec![0, 1] };
        let write = |path: &std::path::Path, rows: &dyn Fn(&mut ParquetFile)| {
            let mut out = ParquetFile::create(path, schema(), &[]).unwrap();
            rows(&mut out);
            let written = out.finish().unwrap();
            let groups = written.metadata.num_row_groups();
            (DataFile { path: path.to_owned(), name: "f".to_owned(), bytes: written.bytes, rows: written.rows }, groups)
        };
        let (mut file, _) = write(&folder.path().join("0"), &|out| out.write_grouped(&batch((0..100).map(|id| (id * 1000, 0)))).unwrap());
        let mut groups = 0;
        for id in 1..=200 {
            let slice = Slice { rows: batch([(50_000 + id, 1)]), ops: vec![Op::Insert] };
            (file, groups) = write(&folder.path().join(id.to_string()), &|out| {
                Base::open(&file, &schema(), &order)
                    .unwrap()
                    .unwrap()
                    .rewrite(&file, std::slice::from_ref(&slice), &schema(), &order, out)
                    .unwrap();
            });
        }
        assert_eq!((file.rows, read(&file).len()), (300, 300));
        assert!(groups <= 300 / 16 + 3, "{groups} row groups");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Whatever changes where, the new file has the rows of the old one with the changes made, in order.
        #[test]
        fn copied_and_changed_row_groups_make_the_table(
            before in proptest::collection::btree_map(0..400i64, 0..5i64, 40..200),
            changes in proptest::collection::btree_map(0..400i64, 0..6i64, 0..40), cut in 1usize..12,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let order = Order { columns: vec![0, 1] };
            let path = folder.path().join("base.parquet");
            let mut out = ParquetFile::create(&path, schema(), &[]).unwrap();
            out.write_grouped(&batch(before.clone())).unwrap();
            let written = out.finish().unwrap();
            let base = DataFile { path, name: "base.parquet".to_owned(), bytes: written.bytes, rows: written.rows };
            let mut after = before.clone();
            // A change to 5 is a delete.
            let made: Vec<(i64, i64, Op)> = changes.into_iter().filter_map(|(id, n)| match (before.contains_key(&id), n) {
                (true, 5) => { after.remove(&id); Some((id, n, Op::Delete)) }
                (false, 5) => None,
                (known, n) => { after.insert(id, n); Some((id, n, if known { Op::Update } else { Op::Insert })) }
            }).collect();
            let slices: Vec<Slice> = made.chunks(cut).map(|part| Slice {
                rows: batch(part.iter().map(|(id, n, _)| (*id, *n))),
                ops: part.iter().map(|(.., op)| *op).collect(),
            }).collect();
            let groups = Base::open(&base, &schema(), &order).unwrap().unwrap();
            let target = folder.path().join("new.parquet");
            let mut out = ParquetFile::create(&target, schema(), &[]).unwrap();
            groups.rewrite(&base, &slices, &schema(), &order, &mut out).unwrap();
            let written = out.finish().unwrap();
            prop_assert_eq!(written.rows, after.len() as u64);
            let new = DataFile { path: target, name: "new.parquet".to_owned(), bytes: written.bytes, rows: written.rows };
            prop_assert_eq!(read(&new), after);
        }
    }
}
