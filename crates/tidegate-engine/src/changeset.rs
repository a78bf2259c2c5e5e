//! Writing and reading changesets; their shape is described in [`tidegate_core::changes`].

use crate::{
    Veil,
    diff::Changes,
    error::{EngineError, Result},
    order::Order,
    parquet_file::ParquetFile,
    restatement::Restated,
    rows,
    schema::timestamp,
    staged::Batches,
};
use arrow::{
    array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray, new_null_array},
    buffer::NullBuffer,
    compute::interleave,
    datatypes::{DataType, Field, Fields, Schema, SchemaRef},
};
use jiff::Timestamp;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Value};
use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};
use tidegate_core::{
    RunId,
    changes::{Change, ChangesetInfo, Op},
};

/// Columns a changeset has besides the table's.
pub(crate) const OWN: [&str; 5] = ["_op", "_run", "_published_at", "_committed_at", "_before"];
/// Rows that are gathered before they are written.
const FLUSH: usize = 8192;
/// Changed rows that are shown to people.
const SAMPLE: usize = 20;

/// What every row of a changeset says about itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    pub(crate) run: RunId,
    pub(crate) published_at: Timestamp,
    pub(crate) committed_at: Timestamp,
}

/// The schema of the changesets of a table. `_before` is left out where the key is the whole row.
pub(crate) fn changeset_schema(table: &Schema, key: &Order) -> SchemaRef {
    let mut fields: Vec<Field> = table.fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.push(Field::new("_op", DataType::Utf8, true));
    fields.push(Field::new("_run", DataType::Int64, true));
    fields.push(Field::new("_published_at", timestamp(), true));
    fields.push(Field::new("_committed_at", timestamp(), true));
    let before = before_fields(table, key);
    if !before.is_empty() {
        fields.push(Field::new("_before", DataType::Struct(before), true));
    }
    Arc::new(Schema::new(fields))
}

fn before_fields(table: &Schema, key: &Order) -> Fields {
    table.fields().iter().enumerate().filter(|(i, _)| !key.columns.contains(i)).map(|(_, field)| Arc::clone(field)).collect()
}

/// A gathered row: which of the batches, and which row of it.
type Place = (usize, usize);

/// Writes a changeset while the diff runs.
pub(crate) struct ChangesetWriter {
    path: PathBuf,
    table: SchemaRef,
    schema: SchemaRef,
    key: Order,
    order: Order,
    stamp: Stamp,
    file: Option<ParquetFile>,
    rows: Vec<(Op, Option<Place>, Option<Place>)>,
    /// Batches that gathered rows point into; the first is one row of nulls.
    sources: Vec<RecordBatch>,
    veil: Veil,
    pub(crate) sample: Vec<Change>,
    pub(crate) restated: Restated,
}

impl ChangesetWriter {
    /// The file comes into being with the first changed row.
    pub(crate) fn new(path: &Path, table: SchemaRef, key: Order, order: Order, stamp: Stamp, veil: Veil) -> Self {
        let schema = changeset_schema(&table, &key);
        let restated = Restated::new(&table, &key, &veil);
        Self {
            path: path.to_owned(),
            sources: vec![nulls(&table)],
            schema,
            table,
            key,
            order,
            stamp,
            file: None,
            rows: Vec::new(),
            veil,
            sample: Vec::new(),
            restated,
        }
    }

    /// Ends the file; none if nothing changed. `name` is how the ledger will call it.
    pub(crate) fn finish(&mut self, name: String) -> Result<Option<ChangesetInfo>> {
        self.flush()?;
        let Some(file) = self.file.take() else { return Ok(None) };
        let written = file.finish()?;
        Ok(Some(ChangesetInfo { file: name, rows: written.rows, bytes: written.bytes, sha256: written.sha256 }))
    }

    fn source(&mut self, batch: &RecordBatch) -> usize {
        let known = self.sources.iter().rposition(|known| {
            known.num_rows() == batch.num_rows() && known.columns().iter().zip(batch.columns()).all(|(a, b)| Arc::ptr_eq(a, b))
        });
        known.unwrap_or_else(|| {
            self.sources.push(batch.clone());
            self.sources.len() - 1
        })
    }

    fn flush(&mut self) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let gathered = std::mem::take(&mut self.rows);
        let values: Vec<(usize, usize)> = gathered.iter().map(|(_, before, after)| after.or(*before).unwrap_or((0, 0))).collect();
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for i in 0..self.table.fields().len() {
            columns.push(self.gather(i, &values)?);
        }
        let ops: StringArray = gathered.iter().map(|(op, ..)| Some(op.as_str())).collect();
        self.own_columns(&mut columns, Arc::new(ops));
        let updated: Vec<bool> = gathered.iter().map(|(op, ..)| *op == Op::Update).collect();
        let before: Vec<(usize, usize)> =
            gathered.iter().map(|(op, before, _)| before.filter(|_| *op == Op::Update).unwrap_or((0, 0))).collect();
        let fields = before_fields(&self.table, &self.key);
        if !fields.is_empty() {
            let inner = (0..self.table.fields().len())
                .filter(|i| !self.key.columns.contains(i))
                .map(|i| self.gather(i, &before))
                .collect::<Result<_>>()?;
            columns.push(Arc::new(StructArray::try_new(fields, inner, Some(NullBuffer::from(updated)))?));
        }
        self.sources.truncate(1);
        self.write(&RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    fn gather(&self, column: usize, indices: &[(usize, usize)]) -> Result<ArrayRef> {
        let arrays: Vec<&dyn Array> = self.sources.iter().map(|batch| batch.column(column).as_ref()).collect();
        Ok(interleave(&arrays, indices)?)
    }

    fn own_columns(&self, columns: &mut Vec<ArrayRef>, ops: ArrayRef) {
        let n = ops.len();
        let moment = |at: Timestamp| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from_value(at.as_microsecond(), n).with_timezone(crate::schema::UTC))
        };
        columns.push(ops);
        columns.push(Arc::new(Int64Array::from_value(self.stamp.run.0, n)));
        columns.push(moment(self.stamp.published_at));
        columns.push(moment(self.stamp.committed_at));
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        for row in 0..batch.num_rows().min(SAMPLE.saturating_sub(self.sample.len())) {
            self.sample.extend(change(batch, row, &self.key.names(&self.table), &self.veil));
        }
        self.restated.observe(batch)?;
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let notes =
                    [("tidegate.order", self.order.names(&self.table).join(",")), ("tidegate.key", self.key.names(&self.table).join(","))];
                self.file.insert(ParquetFile::create(&self.path, Arc::clone(&self.schema), &notes)?)
            }
        };
        file.write(batch)
    }
}

fn nulls(schema: &SchemaRef) -> RecordBatch {
    let columns = schema.fields().iter().map(|field| new_null_array(field.data_type(), 1)).collect();
    RecordBatch::try_new(Arc::clone(schema), columns).unwrap_or_else(|_| RecordBatch::new_empty(Arc::clone(schema)))
}

impl Changes for ChangesetWriter {
    fn insert(&mut self, rows: &RecordBatch) -> Result<()> {
        self.flush()?;
        let n = rows.num_rows();
        let mut columns = rows.columns().to_vec();
        self.own_columns(&mut columns, Arc::new(StringArray::from_iter_values(std::iter::repeat_n(Op::Insert.as_str(), n))));
        if let Some(field) = self.schema.fields().get(columns.len()) {
            columns.push(new_null_array(field.data_type(), n));
        }
        self.write(&RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    fn row(&mut self, op: Op, before: Option<(&RecordBatch, usize)>, after: Option<(&RecordBatch, usize)>) -> Result<()> {
        let before = before.map(|(batch, row)| (self.source(batch), row));
        let after = after.map(|(batch, row)| (self.source(batch), row));
        self.rows.push((op, before, after));
        // Batches are kept alive by the rows that point into them, so their number is bounded too.
        if self.rows.len() >= FLUSH || self.sources.len() >= 64 { self.flush() } else { Ok(()) }
    }
}

/// A row of a changeset as people see it.
pub(crate) fn change(batch: &RecordBatch, row: usize, key: &[String], veil: &Veil) -> Option<Change> {
    let op = Op::parse(&rows::text(batch.column_by_name("_op")?, row))?;
    let own = |name: &str| OWN.contains(&name);
    let mut whole = rows::object(batch, row);
    let old = match whole.shift_remove("_before") {
        Some(Value::Object(old)) => old,
        _ => Map::new(),
    };
    whole.retain(|name, _| !own(name));
    let key_values: Map<String, Value> = key.iter().filter_map(|name| whole.get(name).map(|value| (name.clone(), value.clone()))).collect();
    let before = match op {
        Op::Insert => None,
        Op::Delete => Some(whole.clone()),
        Op::Update => Some(whole.iter().map(|(name, value)| (name.clone(), old.get(name).unwrap_or(value).clone())).collect()),
    };
    let after = (op != Op::Delete).then_some(whole);
    let over = |row| veil.over(row);
    Some(Change { op, key: over(key_values), before: before.map(over), after: after.map(over) })
}

/// A changeset being read.
pub(crate) struct ChangesetReader {
    /// All columns.
    pub(crate) whole: SchemaRef,
    /// The table's columns.
    pub(crate) table: SchemaRef,
    /// The table's order.
    pub(crate) order: Order,
    /// The table's key.
    pub(crate) key: Vec<String>,
    pub(crate) batches: Batches,
}

/// Opens the changeset at `path`.
pub(crate) fn read(path: &Path) -> Result<ChangesetReader> {
    read_some(path, 0, usize::MAX)
}

fn read_some(path: &Path, first: u64, most: usize) -> Result<ChangesetReader> {
    let altered = |why: String| EngineError::Altered { path: path.to_owned(), why };
    let file = File::open(path).map_err(|error| altered(error.to_string()))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| altered(error.to_string()))?;
    let note = |key: &str| -> Option<Vec<String>> {
        let notes = builder.metadata().file_metadata().key_value_metadata()?;
        let value = notes.iter().find(|note| note.key == key)?.value.clone()?;
        Some(value.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect())
    };
    let (order, key) = note("tidegate.order").zip(note("tidegate.key")).ok_or_else(|| altered("it is not a changeset".to_owned()))?;
    let fields: Fields = builder.schema().fields().iter().filter(|field| !OWN.contains(&field.name().as_str())).cloned().collect();
    let table = Arc::new(Schema::new(fields));
    let order = Order::by_names(&table, &order)?;
    let whole = Arc::clone(builder.schema());
    let builder = builder.with_batch_size(FLUSH).with_offset(usize::try_from(first).unwrap_or(usize::MAX));
    let reader = if most == usize::MAX { builder.build()? } else { builder.with_limit(most).build()? };
    Ok(ChangesetReader { whole, table, order, key, batches: Box::new(reader.map(|batch| batch.map_err(EngineError::from))) })
}

/// Changed rows as people see them, from row `first` on, `most` at most.
pub(crate) fn changes(path: &Path, first: u64, most: usize, veil: &Veil) -> Result<Vec<Change>> {
    let reader = read_some(path, first, most)?;
    let mut changes = Vec::new();
    for batch in reader.batches {
        let batch = batch?;
        changes.extend((0..batch.num_rows()).filter_map(|row| change(&batch, row, &reader.key, veil)));
    }
    Ok(changes)
}

/// The ops of a batch of a changeset.
pub(crate) fn ops(batch: &RecordBatch) -> Result<Vec<Op>> {
    let column = batch.column_by_name("_op").ok_or_else(|| EngineError::Bug("a changeset without `_op`".to_owned()))?;
    column
        .as_string::<i32>()
        .iter()
        .map(|word| word.and_then(Op::parse).ok_or_else(|| EngineError::Bug("an unknown `_op`".to_owned())))
        .collect()
}
