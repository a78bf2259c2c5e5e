//! Applying a changeset to a table.

use super::{
    current::{CurrentTable, DataFile, read_file},
    log, merge,
    merge::Slice,
    rewrite::Base,
    stats,
};
use crate::{
    changeset,
    error::{EngineError, Result},
    order::Order,
    parquet_file::{ParquetFile, Written, sync_folder},
};
use arrow::{
    array::RecordBatch,
    datatypes::{Schema, SchemaRef},
};
use deltalake_core::kernel::{Action, Add, Remove};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};
use tidegate_core::{RunId, fault, seam::Committed};

/// Rows of a data file. Few enough to rewrite quickly, enough for good compression and few files.
const ROWS_PER_FILE: usize = 1 << 18;

/// A file to be written: the rows of `base`, changed by `changes`.
struct Task {
    number: usize,
    base: Option<DataFile>,
    changes: Vec<Slice>,
}

/// What became of it.
struct Done {
    number: usize,
    replaced: Option<DataFile>,
    files: Vec<(String, Written)>,
}

/// Applies `committed` to the table in `folder`, in one Delta commit.
pub(super) async fn apply(folder: &Path, committed: &Committed, threads: usize) -> Result<()> {
    let (folder, committed) = (folder.to_owned(), committed.clone());
    let opened = CurrentTable::open(&folder).await?;
    if opened.has(committed.run).await? {
        return Ok(());
    }
    let (folder, committed, opened, files, schema, order) = tokio::task::spawn_blocking(move || {
        let (files, schema, order) = rewrite(&folder, &committed, &opened, threads)?;
        Ok::<_, EngineError>((folder, committed, opened, files, schema, order))
    })
    .await
    .map_err(|error| EngineError::Bug(error.to_string()))??;
    fault::point("delta.files_written");

    let mut actions = Vec::new();
    let mut rows = i128::from(opened.rows());
    for done in &files {
        for (name, written) in &done.files {
            rows += i128::from(written.rows);
            actions.push(Action::Add(stats::add(name.clone(), written, &schema)?));
        }
        if let Some(file) = &done.replaced {
            rows -= i128::from(file.rows);
            actions.push(Action::Remove(remove(file)));
        }
    }
    // INV-1 across the seam: the table must hold what the receipt says.
    if rows != i128::from(committed.rows_after) {
        return Err(EngineError::Foreign {
            path: folder,
            why: format!("it would hold {rows} rows, and the run says {}", committed.rows_after),
        });
    }
    let same_schema = opened.schema() == schema;
    let mut table = match opened.delta {
        Some(table) => table,
        None => log::create(&folder, &name_of(&folder), &schema, Some(&order)).await?,
    };
    if !same_schema && table.version() != Some(0) {
        actions.insert(0, log::evolve(&table, &schema)?);
    }
    log::commit(&folder, &mut table, committed.run, actions).await
}

fn name_of(folder: &Path) -> String {
    folder.file_name().map_or_else(|| "table".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn remove(file: &DataFile) -> Remove {
    Remove {
        path: file.name.clone(),
        data_change: true,
        // Without it, a vacuum takes the file for long gone and pulls it from under readers.
        deletion_timestamp: Some(jiff::Timestamp::now().as_millisecond()),
        extended_file_metadata: Some(true),
        partition_values: Some(std::collections::HashMap::new()),
        size: Some(i64::try_from(file.bytes).unwrap_or(i64::MAX)),
        ..Remove::default()
    }
}

type Rewritten = (Vec<Done>, SchemaRef, Vec<String>);

/// Writes the new files. They are nobody's until the commit.
fn rewrite(folder: &Path, committed: &Committed, current: &CurrentTable, threads: usize) -> Result<Rewritten> {
    let changes = changeset::read(&committed.changeset)?;
    let schema = Arc::clone(&changes.table);
    let order = match current.order() {
        Some(names) => Order::by_names(&schema, names)?,
        None => changes.order.clone(),
    };
    let names = order.names(&schema);
    let (send, receive) = mpsc::sync_channel::<Task>(1);
    let receive = Mutex::new(receive);
    let results = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1))
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    loop {
                        let task = receive.lock().unwrap_or_else(PoisonError::into_inner).recv();
                        let Ok(task) = task else { return Ok(()) };
                        let done = write(folder, committed.run, task, &schema, &order)?;
                        results.lock().unwrap_or_else(PoisonError::into_inner).push(done);
                    }
                })
            })
            .collect();
        let planned = plan(current, changes.batches, &schema, &order, &|task| {
            send.send(task).map_err(|_| EngineError::Bug("a writer stopped".to_owned()))
        });
        drop(send);
        // A writer's own error says more than "a writer stopped".
        for worker in workers {
            worker.join().map_err(|_| EngineError::Bug("a writer panicked".to_owned()))??;
        }
        planned
    })?;
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|done| done.number);
    Ok((results, schema, names))
}

/// Deals the changes out to the files they belong to. What comes after the last file becomes files of its own, unless
/// that one is small: so files grow to their size in daily steps.
fn plan(
    current: &CurrentTable,
    changes: crate::staged::Batches,
    schema: &SchemaRef,
    order: &Order,
    out: &dyn Fn(Task) -> Result<()>,
) -> Result<()> {
    let files = current.files();
    // Another schema: every file is written anew. Tables without an order take new rows at the end.
    let all = !files.is_empty() && current.schema() != *schema;
    // A table without an order takes new rows in new files: nothing says where else they would belong.
    let unordered = order.columns.is_empty();
    let bounds = current.first_keys();
    let bound_order = Order { columns: (0..order.columns.len()).collect() };
    let first_column = Order { columns: vec![0] };
    let key_only = |batch: &RecordBatch| batch.project(&order.columns);
    let full = files.last().is_some_and(|file| file.rows as usize >= ROWS_PER_FILE / 2);
    let mut file = 0;
    let mut number = 0;
    let mut waiting: Vec<Slice> = Vec::new();
    let mut emit = |base: Option<&DataFile>, waiting: &mut Vec<Slice>| -> Result<()> {
        if waiting.is_empty() && !(all && base.is_some()) {
            return Ok(());
        }
        number += 1;
        out(Task { number, base: base.cloned(), changes: std::mem::take(waiting) })
    };
    let upper_bound = if full && !all && !unordered { current.upper_bound(&order.names(schema))? } else { None };
    if unordered {
        for file in files {
            emit(Some(file), &mut Vec::new())?;
        }
    }
    let mut beyond = files.is_empty() || unordered;
    for batch in changes {
        let slice = Slice::new(&batch?, schema)?;
        let keys = key_only(&slice.rows)?;
        let mut at = 0;
        while at < slice.len() {
            // How far this file reaches: to the next file's first key, or, for the last, to its own upper bound.
            let mut end = slice.len();
            let mut next = false;
            if beyond {
                // Everything that is left is new.
            } else if file + 1 < files.len() {
                let comparator = bound_order.comparator(&keys, bounds)?;
                end = (at..slice.len()).find(|row| comparator.compare(*row, file + 1).is_ge()).unwrap_or(end);
                next = end < slice.len();
            } else if let Some(last) = &upper_bound {
                let comparator = first_column.comparator(&keys, last)?;
                end = (at..slice.len()).find(|row| comparator.compare(*row, 0).is_gt()).unwrap_or(end);
                next = end < slice.len();
            }
            if end > at {
                waiting.push(slice.slice(at, end - at));
                at = end;
            }
            if next {
                emit(files.get(file), &mut waiting)?;
                file += 1;
                beyond = file >= files.len();
            }
            if beyond && waiting.iter().map(Slice::len).sum::<usize>() >= ROWS_PER_FILE {
                emit(None, &mut waiting)?;
            }
        }
    }
    emit(files.get(file).filter(|_| !beyond), &mut waiting)?;
    if all && !unordered {
        for file in files.iter().skip(file + 1) {
            emit(Some(file), &mut waiting)?;
        }
    }
    Ok(())
}

/// Writes the files of one task; none if no row is left.
fn write(folder: &Path, run: RunId, task: Task, schema: &SchemaRef, order: &Order) -> Result<Done> {
    let mut files = Vec::new();
    if let Some(base) = &task.base
        && base.rows as usize + task.changes.iter().map(Slice::len).sum::<usize>() < 2 * ROWS_PER_FILE
        && let Some(groups) = Base::open(base, schema, order)?
    {
        let name = file_name(run, task.number, 0);
        let mut file = ParquetFile::create(&folder.join(&name), Arc::clone(schema), &[])?;
        groups.rewrite(base, &task.changes, schema, order, &mut file)?;
        let written = file.finish()?;
        if written.rows > 0 {
            files.push((name, written));
        } else {
            let _ = std::fs::remove_file(folder.join(name));
        }
        return Ok(Done { number: task.number, replaced: task.base, files });
    }
    let mut open: Option<(String, ParquetFile, usize)> = None;
    let base: crate::staged::Batches = match &task.base {
        Some(file) => read_file(file, schema)?,
        None => Box::new(std::iter::empty()),
    };
    let number = task.number;
    // A file that grew beyond twice its size is cut.
    merge::merge(base, &task.changes, order, &mut |rows| {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let (_, file, count) = match &mut open {
            Some(open) => open,
            None => {
                let name = file_name(run, number, files.len());
                let file = ParquetFile::create(&folder.join(&name), Arc::clone(schema), &[])?;
                open.insert((name, file, 0))
            }
        };
        file.write_grouped(&rows)?;
        *count += rows.num_rows();
        if *count >= 2 * ROWS_PER_FILE
            && let Some((name, file, _)) = open.take()
        {
            files.push((name, file.finish()?));
        }
        Ok(())
    })?;
    if let Some((name, file, _)) = open {
        files.push((name, file.finish()?));
    }
    Ok(Done { number, replaced: task.base, files })
}

fn file_name(run: RunId, task: usize, nth: usize) -> String {
    format!("run-{:08}-{task:05}-{nth}-{}.parquet", run.0, uuid::Uuid::now_v7().simple())
}

/// Adds a changeset to the history, whose data files are the changesets.
pub(super) async fn append_history(folder: &Path, committed: &Committed) -> Result<()> {
    let opened = CurrentTable::open(folder).await?;
    if opened.has(committed.run).await? {
        return Ok(());
    }
    let own = changeset::read(&committed.changeset)?.whole;
    let name = format!("run-{:08}.parquet", committed.run.0);
    let target = folder.join(&name);
    let failed = |source| EngineError::Write { path: target.clone(), source };
    std::fs::create_dir_all(folder).map_err(failed)?;
    link(&committed.changeset, &target).map_err(failed)?;
    sync_folder(Some(folder)).map_err(failed)?;
    fault::point("history.linked");
    let merged = union(&opened.schema(), &own);
    let mut actions = Vec::new();
    let mut table = match opened.delta {
        Some(table) => {
            if opened_schema_differs(&table, &merged)? {
                actions.push(log::evolve(&table, &merged)?);
            }
            table
        }
        None => log::create(folder, &name_of(folder), &merged, None).await?,
    };
    let bytes = std::fs::metadata(&target).map_err(failed)?.len();
    let rows = parquet_rows(&target)?;
    let add = Add {
        path: name,
        size: i64::try_from(bytes).unwrap_or(i64::MAX),
        modification_time: jiff::Timestamp::now().as_millisecond(),
        data_change: true,
        stats: Some(serde_json::json!({ "numRecords": rows, "minValues": { "_run": committed.run.0 }, "maxValues": { "_run": committed.run.0 }, "nullCount": { "_run": 0 } }).to_string()),
        ..Add::default()
    };
    actions.push(Action::Add(add));
    log::commit(folder, &mut table, committed.run, actions).await
}

fn opened_schema_differs(table: &deltalake_core::DeltaTable, wanted: &SchemaRef) -> Result<bool> {
    Ok(table.snapshot()?.snapshot().arrow_schema() != *wanted)
}

/// A hard link, or a copy where the file system has none. A link left by a process that died is the same file.
fn link(from: &Path, to: &Path) -> std::io::Result<()> {
    match std::fs::hard_link(from, to) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(_) => {
            let part: PathBuf = to.with_extension("part");
            std::fs::copy(from, &part)?;
            std::fs::rename(part, to)
        }
        Ok(()) => Ok(()),
    }
}

fn parquet_rows(path: &Path) -> Result<i64> {
    let file = std::fs::File::open(path).map_err(|error| EngineError::Altered { path: path.to_owned(), why: error.to_string() })?;
    let builder = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file)?;
    Ok(builder.metadata().file_metadata().num_rows())
}

/// All columns of both; those of `before` first.
fn union(before: &Schema, after: &Schema) -> SchemaRef {
    let mut fields = before.fields().to_vec();
    for field in after.fields() {
        if !fields.iter().any(|known| known.name() == field.name()) {
            fields.push(Arc::clone(field));
        }
    }
    Arc::new(Schema::new(fields))
}
