//! What a run would do: parse, transform, dedupe, diff, check. Only the changeset file is written.

use crate::{
    Engine, Veil,
    changeset::{ChangesetWriter, Stamp},
    delta::CurrentTable,
    diff::{self, Deduped, Rules},
    error::{EngineError, Result},
    order::{self, Order, OrderProbe},
    parse::SourceRows,
    restatement::NewestDay,
    schema, sql,
    staged::{self, Batches, Staged, Stager},
    table_checks,
};
use arrow::{
    array::RecordBatch,
    compute::{CastOptions, cast_with_options},
    datatypes::SchemaRef,
};
use datafusion::prelude::SessionContext;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};
use tidegate_core::{
    Counts, Stage,
    changes::ChangesetInfo,
    fault,
    pipeline::{Mode, Pipeline},
    quarantine::Rejected,
    seam::{Parsed, Prepared, Progress, Work},
};
use tokio::runtime::Handle;

/// Everything one preparation needs.
struct Preparation<'a> {
    work: &'a Work,
    pipeline: &'a Pipeline,
    handle: Handle,
    engine: &'a Engine,
    context: SessionContext,
}

/// Where rows are gathered on their way into the diff, and what is seen of them meanwhile.
struct Intake {
    stager: Stager,
    probe: OrderProbe,
    newest_day: NewestDay,
}

impl Intake {
    fn push(&mut self, batch: RecordBatch) -> Result<()> {
        self.probe.observe(&batch)?;
        self.newest_day.observe(&batch);
        self.stager.push(batch)
    }

    fn finish(self, sources: BTreeMap<String, Parsed>, rejected: Vec<Rejected>) -> Result<Produced> {
        Ok(Produced { staged: self.stager.finish()?, probe: self.probe, newest_day: self.newest_day, sources, rejected })
    }
}

/// Runs on a blocking thread; `handle` drives the query engine.
pub(crate) fn prepare(work: &Work, handle: Handle, engine: &Engine) -> Result<Prepared> {
    let pipeline = &work.pipeline;
    let memory = pipeline.file.limits.memory.0;
    let context = sql::context(memory / 2, &work.scratch, engine.threads)?;
    let preparation = Preparation { work, pipeline, handle, engine, context };
    preparation.run()
}

/// The rows that came out of the transform, and what the sources held.
struct Produced {
    staged: Staged,
    probe: OrderProbe,
    newest_day: NewestDay,
    sources: BTreeMap<String, Parsed>,
    rejected: Vec<Rejected>,
}

/// What a table is compared by.
struct Shape {
    schema: SchemaRef,
    /// As declared; without one, all columns.
    key: Order,
    /// In which the table is kept.
    order: Order,
    unkeyed_append: bool,
}

/// What is known of the produced rows once all are through.
struct Facts {
    rows: u64,
    newest_day: NewestDay,
    sources: BTreeMap<String, Parsed>,
    rejected: Vec<Rejected>,
}

/// What the comparison found.
struct Compared {
    diffed: diff::Diffed,
    found: Deduped,
    changeset: Option<ChangesetInfo>,
    writer: ChangesetWriter,
}

/// Rows on their way from the parser into the comparison.
struct Passing {
    rows: Option<SourceRows>,
    probe: OrderProbe,
    newest_day: NewestDay,
    count: u64,
}

impl Passing {
    fn next(&mut self, progress: &dyn Progress, source: &str) -> Result<Option<RecordBatch>> {
        let Some(rows) = &mut self.rows else { return Ok(None) };
        let batch = rows.next().transpose()?;
        if rows.has_rejected() {
            return Err(EngineError::NotInOrder);
        }
        let Some(batch) = batch else { return Ok(None) };
        self.probe.observe(&batch)?;
        if !self.probe.is_distinct() {
            return Err(EngineError::NotInOrder);
        }
        self.newest_day.observe(&batch);
        self.count += batch.num_rows() as u64;
        progress.advance(Stage::Parse, source, self.count, None);
        Ok(Some(batch))
    }
}

impl Preparation<'_> {
    fn run(&self) -> Result<Prepared> {
        let current = self.handle.block_on(CurrentTable::open(&self.work.table))?;
        fault::point("prepare.begin");
        if self.pipeline.transform.is_none()
            && let Some(prepared) = self.stream(&current)?
        {
            return Ok(prepared);
        }
        let produced = match &self.pipeline.transform {
            None => self.parse_straight(&current)?,
            Some(_) => self.parse_and_transform(&current)?,
        };
        let shape = self.shape(&current, &produced.staged.schema())?;
        // The order the rows have, or else the table's: then they are sorted.
        let (shape, rows, distinct) = match produced.probe.found() {
            _ if shape.unkeyed_append => (shape, produced.staged.read()?, true),
            Some(found) => (Shape { order: found.order, ..shape }, produced.staged.read()?, found.distinct),
            None => {
                let sorted = order::sort(&self.context, &produced.staged, &shape.order, &self.handle)?;
                (shape, sorted, false)
            }
        };
        fault::point("prepare.transformed");
        let compared = self.compare(&current, &shape, rows, distinct, &self.withheld(&produced.rejected), Some(produced.staged.rows()))?;
        let facts =
            Facts { rows: produced.staged.rows(), newest_day: produced.newest_day, sources: produced.sources, rejected: produced.rejected };
        self.conclude(&current, &shape, compared, facts)
    }

    /// Compares rows while they are parsed. That works if they come in the table's order, each key once, and all of them
    /// good: which rows of the table stay for the sake of a rejected one is known only at the end. None if it does not
    /// work: then they are gathered first.
    fn stream(&self, current: &CurrentTable) -> Result<Option<Prepared>> {
        let input = self.work.sources.first().ok_or_else(|| EngineError::Bug("a run without sources".to_owned()))?;
        if current.order().is_none() || !input.open.is_empty() || !self.work.open.is_empty() {
            return Ok(None);
        }
        let rows = SourceRows::open(self.pipeline, input, self.engine.threads, self.engine.seal.as_ref())?;
        let schema = schema::table_schema(&rows.schema(), &self.pipeline.file.table.key)?;
        let shape = self.shape(current, &schema)?;
        let passing = Arc::new(Mutex::new(Passing {
            rows: Some(rows),
            probe: OrderProbe::one(shape.order.clone()),
            newest_day: NewestDay::new(&schema, &shape.key),
            count: 0,
        }));
        let (taken, progress, name) = (Arc::clone(&passing), Arc::clone(&self.work.progress), input.name.clone());
        let passed =
            std::iter::from_fn(move || taken.lock().unwrap_or_else(PoisonError::into_inner).next(progress.as_ref(), &name).transpose());
        let compared = match self.compare(current, &shape, Box::new(passed), true, &BTreeSet::new(), None) {
            Err(EngineError::NotInOrder) => return Ok(None),
            other => other?,
        };
        let mut passing = passing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(rows) = passing.rows.take() else { return Err(EngineError::Bug("rows were taken twice".to_owned())) };
        let (parsed, rejected) = rows.finish();
        let sources = BTreeMap::from([(input.name.clone(), parsed)]);
        fault::point("prepare.parsed");
        let newest_day = std::mem::replace(&mut passing.newest_day, NewestDay::new(&schema, &shape.key));
        self.conclude(current, &shape, compared, Facts { rows: passing.count, newest_day, sources, rejected }).map(Some)
    }

    fn shape(&self, current: &CurrentTable, schema: &SchemaRef) -> Result<Shape> {
        let table = &self.pipeline.file.table;
        let key = self.key(schema)?;
        // Without a key, an append-only table takes every row for a new one, and keeps no order.
        let unkeyed_append = table.mode == Mode::Append && table.key.is_empty();
        if let Some(order) = current.order() {
            let had: BTreeSet<&str> = order.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
            let before = current.schema();
            let has: BTreeSet<&str> = match table.key.is_empty() {
                true if unkeyed_append => BTreeSet::new(),
                true => before.fields().iter().map(|field| field.name().as_str()).collect(),
                false => table.key.iter().map(String::as_str).collect(),
            };
            // What was said of rows by one key cannot be told by another: neither the diff nor the history would be true.
            if had != has {
                return Err(EngineError::KeyChanged { table: table.name.clone(), had: listed(&had), has: listed(&has) });
            }
        }
        let order = match current.order() {
            _ if unkeyed_append => Order { columns: Vec::new() },
            Some(names) => Order::by_names(schema, names)?,
            None => key.clone(),
        };
        Ok(Shape { schema: Arc::clone(schema), key, order, unkeyed_append })
    }

    fn veil(&self) -> Veil {
        Veil::new(self.pipeline.sensitive_columns(), self.engine.seal.clone())
    }

    /// Rows in the table's order against the table. Writes the changeset.
    fn compare(
        &self,
        current: &CurrentTable,
        shape: &Shape,
        rows: Batches,
        distinct: bool,
        withheld: &BTreeSet<String>,
        total: Option<u64>,
    ) -> Result<Compared> {
        let table = &self.pipeline.file.table;
        let Shape { schema, key, order, unkeyed_append } = shape;
        let veil = self.veil();
        let stamp = Stamp { run: self.work.run, published_at: self.work.published_at, committed_at: self.work.committed_at };
        let mut writer = ChangesetWriter::new(&self.work.changeset, Arc::clone(schema), key.clone(), order.clone(), stamp, veil.clone());
        let most = self.pipeline.file.limits.max_quarantine;
        let found = Arc::new(Mutex::new(Deduped::default()));
        // Rows that were seen to have a key each need no second look, unless some of them are waited for in quarantine.
        let rows = if distinct && self.work.open.is_empty() {
            rows
        } else {
            diff::dedupe(rows, &table.name, key.clone(), most, self.work.open.clone(), veil.clone(), Arc::clone(&found))
        };
        let rules = Rules { table: &table.name, mode: table.mode, order, withheld, found: &found, key, most_rejected: most, veil: &veil };
        let rows = watched(rows, Arc::clone(&self.work.progress), Stage::Diff, table.name.clone(), total);
        let before = if *unkeyed_append { Box::new(std::iter::empty()) as Batches } else { current.read(schema)? };
        // Decoding the table need not wait for the comparison.
        let before = staged::ahead(before)?;
        let diffed = diff::diff(&rules, before, rows, &mut writer)?;
        let changeset = writer.finish(relative(&self.work.changeset))?;
        self.work.progress.advance(Stage::Diff, &table.name, diffed.produced, total);
        fault::point("prepare.diffed");
        let found = std::mem::take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Compared { diffed, found, changeset, writer })
    }

    /// Adds up what was found, and asks the table's checks.
    fn conclude(&self, current: &CurrentTable, shape: &Shape, compared: Compared, facts: Facts) -> Result<Prepared> {
        let Compared { diffed, found, changeset, mut writer } = compared;
        let mut rejected = facts.rejected;
        let mut table_rejected = found.rejected;
        table_rejected.extend(diffed.conflicts);
        table_rejected.sort_by(|a, b| a.identity.cmp(&b.identity).then_with(|| a.raw.cmp(&b.raw)));
        let rejected_count = table_rejected.len() as u64;
        rejected.extend(table_rejected);
        let (rows_before, kept) = if shape.unkeyed_append { (current.rows(), current.rows()) } else { (diffed.rows_before, diffed.kept) };
        if rows_before != current.rows() {
            return Err(EngineError::Bug(format!("the table has {} rows by its log, and {rows_before} were read", current.rows())));
        }
        let counts = Counts {
            new: diffed.new,
            updated: diffed.updated,
            removed: diffed.removed,
            unchanged: diffed.unchanged,
            duplicate: found.duplicate,
            rejected: rejected_count,
            kept,
        };
        let violations = self.handle.block_on(table_checks::run(
            self.pipeline,
            &self.context,
            current,
            &shape.schema,
            &shape.key,
            changeset.is_some().then_some(self.work.changeset.as_path()),
            &self.veil(),
        ))?;
        writer.restated.newest_day = facts.newest_day.day();
        Ok(Prepared {
            sources: facts.sources,
            rejected,
            healed: found.healed,
            produced: facts.rows,
            counts,
            rows_before,
            rows_after: rows_before + counts.new - counts.removed,
            violations,
            changeset,
            restatement: writer.restated.report(),
            sample: std::mem::take(&mut writer.sample),
        })
    }

    /// The key as declared; without one, all columns.
    fn key(&self, schema: &SchemaRef) -> Result<Order> {
        match self.pipeline.file.table.key.as_slice() {
            [] => Ok(Order { columns: (0..schema.fields().len()).collect() }),
            names => Order::by_names(schema, names),
        }
    }

    /// Keys of table rows whose source row is in quarantine: they stay as they are. A source row stands for a row of the
    /// table if it is identified by the table's key.
    fn withheld(&self, rejected: &[Rejected]) -> BTreeSet<String> {
        let table = &self.pipeline.file.table;
        let stands_for = |row: &&Rejected| {
            let source = self.pipeline.file.sources.get(&row.source);
            source.is_some_and(|source| source.identity(&table.key) == table.key.iter().map(String::as_str).collect::<Vec<_>>())
        };
        if table.mode != Mode::Mirror || table.key.is_empty() {
            return BTreeSet::new();
        }
        rejected.iter().filter(stands_for).filter_map(|row| row.key.clone()).collect()
    }

    /// Gathers produced rows in a share of the memory limit.
    fn intake(&self, current: &CurrentTable, schema: &SchemaRef, share: usize) -> Result<Intake> {
        let key = self.key(schema)?;
        let probe = match current.order() {
            Some(names) => OrderProbe::one(Order::by_names(schema, names)?),
            None => OrderProbe::any(&key),
        };
        let stager = Stager::new(Arc::clone(schema), self.work.scratch.join("produced.arrow"), self.budget() / share);
        Ok(Intake { stager, probe, newest_day: NewestDay::new(schema, &key) })
    }

    /// Bytes that all limits together come to.
    fn budget(&self) -> usize {
        usize::try_from(self.pipeline.file.limits.memory.0).unwrap_or(usize::MAX)
    }

    /// One source, no SQL: its rows are the table's rows.
    fn parse_straight(&self, current: &CurrentTable) -> Result<Produced> {
        let input = self.work.sources.first().ok_or_else(|| EngineError::Bug("a run without sources".to_owned()))?;
        let mut rows = SourceRows::open(self.pipeline, input, self.engine.threads, self.engine.seal.as_ref())?;
        let schema = schema::table_schema(&rows.schema(), &self.pipeline.file.table.key)?;
        // Nothing is sorted or joined here, so the query engine leaves its half of the memory.
        let mut intake = self.intake(current, &schema, 2)?;
        let mut done = 0;
        for batch in rows.by_ref() {
            let batch = batch?;
            done += batch.num_rows() as u64;
            self.work.progress.advance(Stage::Parse, &input.name, done, None);
            intake.push(batch)?;
        }
        let (parsed, rejected) = rows.finish();
        fault::point("prepare.parsed");
        intake.finish(BTreeMap::from([(input.name.clone(), parsed)]), rejected)
    }

    fn parse_and_transform(&self, current: &CurrentTable) -> Result<Produced> {
        let mut sources = BTreeMap::new();
        let mut rejected = Vec::new();
        let share = self.budget() / 8 / self.work.sources.len().max(1);
        for input in &self.work.sources {
            let mut rows = SourceRows::open(self.pipeline, input, self.engine.threads, self.engine.seal.as_ref())?;
            let mut stager = Stager::new(rows.schema(), self.work.scratch.join(format!("source-{}.arrow", input.name)), share);
            let mut done = 0;
            for batch in rows.by_ref() {
                let batch = batch?;
                done += batch.num_rows() as u64;
                self.work.progress.advance(Stage::Parse, &input.name, done, None);
                stager.push(batch)?;
            }
            let (parsed, bad) = rows.finish();
            sources.insert(input.name.clone(), parsed);
            rejected.extend(bad);
            self.context.register_table(datafusion::common::TableReference::bare(input.name.clone()), stager.finish()?.table()?)?;
        }
        fault::point("prepare.parsed");
        let text = self.pipeline.transform.clone().ok_or_else(|| EngineError::Bug("a transform without SQL".to_owned()))?;
        let frame = self.handle.block_on(sql::query(&self.context, &text))?;
        let produced = frame.schema().as_arrow().clone();
        let schema = schema::table_schema(&produced, &self.pipeline.file.table.key)?;
        let mut intake = self.intake(current, &schema, 8)?;
        let mut done = 0;
        let for_errors = text.clone();
        let stream = self.handle.block_on(frame.execute_stream()).map_err(|error| sql::run_error(error, &text))?;
        for batch in order::blocking(stream, Arc::new(produced), self.handle.clone(), move |error| sql::run_error(error, &for_errors)) {
            let batch = conform(&batch?, &schema)?;
            done += batch.num_rows() as u64;
            self.work.progress.advance(Stage::Transform, &self.pipeline.file.table.name, done, None);
            intake.push(batch)?;
        }
        intake.finish(sources, rejected)
    }
}

fn watched(rows: Batches, progress: Arc<dyn Progress>, stage: Stage, what: String, total: Option<u64>) -> Batches {
    let mut done = 0;
    Box::new(rows.inspect(move |batch| {
        if let Ok(batch) = batch {
            done += batch.num_rows() as u64;
            progress.advance(stage, &what, done, total);
        }
    }))
}

/// Gives a batch the table's types. A value that does not fit (an unsigned number beyond int64) is an error, not a null.
pub(crate) fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let cast = |(column, field): (&arrow::array::ArrayRef, &Arc<arrow::datatypes::Field>)| {
        if column.data_type() == field.data_type() { Ok(Arc::clone(column)) } else { cast_with_options(column, field.data_type(), &strict) }
    };
    let columns = batch.columns().iter().zip(schema.fields()).map(cast).collect::<Result<_, _>>()?;
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

/// The changeset as the ledger calls it: its folder and name.
fn relative(path: &Path) -> String {
    let parts: Vec<String> = path.components().rev().take(3).map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}

/// A key, for people.
fn listed(names: &BTreeSet<&str>) -> String {
    if names.is_empty() { "none".to_owned() } else { names.iter().copied().collect::<Vec<_>>().join(", ") }
}
