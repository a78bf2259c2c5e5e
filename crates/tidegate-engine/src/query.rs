//! Questions to the tables: SQL, the table as it was, the history of a key, the changes of a run.

use crate::{
    Veil, changeset,
    delta::CurrentTable,
    error::{EngineError, Result},
    rows, schema, sql,
};
use arrow::array::RecordBatch;
use datafusion::{common::TableReference, prelude::SessionContext};
use futures::StreamExt as _;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use std::path::{Path, PathBuf};
use tidegate_core::{RunId, changes::Change, pipeline::SqlFile};

/// Memory for one question.
const MEMORY: u64 = 512 << 20;

/// The tables of a home folder.
pub struct Tables {
    folder: PathBuf,
    scratch: PathBuf,
    threads: usize,
}

/// Rows of an answer; each has a value per column.
#[derive(Debug, Clone, Serialize)]
pub struct Answer {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Their types, as in the pipeline file.
    pub types: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<Value>>,
}

/// Up to when what was said counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    /// As this run left the tables.
    Run(RunId),
    /// As far as it had been published by then.
    Published(Timestamp),
}

/// One entry of a row's history.
#[derive(Debug, Clone, Serialize)]
pub struct Statement {
    /// The run that published it.
    pub run: RunId,
    /// When the publisher said it.
    pub published_at: Timestamp,
    /// When the table began to say it.
    pub committed_at: Timestamp,
    /// What was said.
    #[serde(flatten)]
    pub change: Change,
}

impl Tables {
    /// Those in `folder`; `scratch` is for sorting.
    pub fn new(folder: &Path, scratch: &Path, threads: usize) -> Self {
        Self { folder: folder.to_owned(), scratch: scratch.to_owned(), threads }
    }

    /// The names of all tables, histories included.
    pub fn names(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return Vec::new() };
        let tables = entries.filter_map(|entry| entry.ok()).filter(|entry| entry.path().join("_delta_log").is_dir());
        let mut names: Vec<String> = tables.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// Answers a SELECT over all tables, a batch at a time. With `as_of`, each table is as that run left it (`key` says the
    /// keys of the tables: empty for one that has none).
    pub async fn query(
        &self,
        text: &str,
        as_of: Option<AsOf>,
        key: &(dyn Fn(&str) -> Vec<String> + Sync),
        out: &mut (dyn FnMut(Answer) -> bool + Send),
    ) -> Result<()> {
        let context = sql::context(MEMORY, &self.scratch, self.threads)?;
        for name in self.names() {
            let table = CurrentTable::open(&self.folder.join(&name)).await?;
            let provider = table.provider(&table.schema())?;
            context.register_table(TableReference::bare(name.clone()), provider)?;
        }
        if let Some(when) = as_of {
            for name in self.names().iter().filter(|name| !name.ends_with("__history")) {
                let view = context.sql(&self.as_of_sql(&context, name, when, &key(name)).await?).await?.into_view();
                context.deregister_table(TableReference::bare(name.clone()))?;
                context.register_table(TableReference::bare(name.clone()), view)?;
            }
        }
        let text = SqlFile { path: "query".to_owned(), text: text.to_owned() };
        let frame = sql::query(&context, &text).await.map_err(|error| self.known(error))?;
        let fields: Vec<_> = frame.schema().fields().iter().cloned().collect();
        let columns: Vec<String> = fields.iter().map(|field| field.name().clone()).collect();
        let types: Vec<String> = fields.iter().map(|field| schema::type_name(field.data_type())).collect();
        let answer = |rows| Answer { columns: columns.clone(), types: types.clone(), rows };
        let mut stream = frame.execute_stream().await.map_err(|error| sql::run_error(error, &text))?;
        let mut any = false;
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(|error| sql::run_error(error, &text))?;
            any = true;
            if !out(answer(values(&batch))) {
                return Ok(());
            }
        }
        if !any {
            out(answer(Vec::new()));
        }
        Ok(())
    }

    /// An unknown table is best answered with the known ones.
    fn known(&self, error: EngineError) -> EngineError {
        match error {
            EngineError::Sql { message, location, mut hints, running } => {
                if message.starts_with("table ") {
                    hints.push(match self.names().as_slice() {
                        [] => "there is no table yet; `tidegate run PIPELINE` makes one".to_owned(),
                        names => format!("the tables are {}", names.join(", ")),
                    });
                }
                EngineError::Sql { message, location, hints, running }
            }
            other => other,
        }
    }

    /// The last statement about each key up to then. Tables without a key are known by all of their columns.
    async fn as_of_sql(&self, context: &SessionContext, name: &str, when: AsOf, key: &[String]) -> Result<String> {
        let (said, newest) = match when {
            AsOf::Run(run) => (format!("_run <= {run}"), "_run DESC"),
            // What a replay or a backfill says counts for the day it was published, not for the day it was run.
            AsOf::Published(moment) => (
                format!("_published_at <= arrow_cast({}, 'Timestamp(Microsecond, Some(\"UTC\"))')", moment.as_microsecond()),
                "_published_at DESC, _run DESC",
            ),
        };
        let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let table = context.table(TableReference::bare(name)).await?;
        let columns: Vec<String> = table.schema().fields().iter().map(|field| quote(field.name())).collect();
        let list = columns.join(", ");
        let history = quote(&format!("{name}__history"));
        if key.is_empty() {
            // Of every row as many as were inserted less those that were deleted.
            return Ok(format!(
                "SELECT {list} FROM (SELECT {list}, _op, row_number() OVER (PARTITION BY {list}, _op) AS _nth, \
                 sum(CASE _op WHEN 'insert' THEN 1 ELSE -1 END) OVER (PARTITION BY {list}) AS _left FROM {history} WHERE {said}) \
                 WHERE _op = 'insert' AND _nth <= _left"
            ));
        }
        let key = key.iter().map(|name| quote(name)).collect::<Vec<_>>().join(", ");
        Ok(format!(
            "SELECT {list} FROM (SELECT {list}, _op, row_number() OVER (PARTITION BY {key} ORDER BY {newest}) AS _n FROM {history} WHERE {said}) \
             WHERE _n = 1 AND _op <> 'delete'"
        ))
    }

    /// Everything ever said about the rows whose key's columns have these texts, oldest first.
    pub async fn history(&self, table: &str, key: &[(String, String)], all_key: &[String], veil: &Veil) -> Result<Vec<Statement>> {
        let context = sql::context(MEMORY, &self.scratch, self.threads)?;
        let history = CurrentTable::open(&self.folder.join(format!("{table}__history"))).await?;
        if !history.exists() {
            return Ok(Vec::new());
        }
        context.register_table(TableReference::bare("history"), history.provider(&history.schema())?)?;
        let quote = |text: &str, mark: &str| format!("{mark}{}{mark}", text.replace(mark, &mark.repeat(2)));
        let wanted = key
            .iter()
            .map(|(name, value)| format!("CAST({} AS VARCHAR) = {}", quote(name, "\""), quote(value, "'")))
            .collect::<Vec<_>>()
            .join(" AND ");
        let frame = context.sql(&format!("SELECT * FROM history WHERE {wanted} ORDER BY _run")).await?;
        let mut statements = Vec::new();
        for batch in frame.collect().await? {
            for row in 0..batch.num_rows() {
                let moment = |name: &str| {
                    batch.column_by_name(name).and_then(|column| rows::text(column.as_ref(), row).parse().ok()).unwrap_or_default()
                };
                let run = batch.column_by_name("_run").and_then(|column| rows::text(column.as_ref(), row).parse().ok()).unwrap_or_default();
                if let Some(change) = changeset::change(&batch, row, all_key, veil) {
                    statements.push(Statement {
                        run: RunId(run),
                        published_at: moment("_published_at"),
                        committed_at: moment("_committed_at"),
                        change,
                    });
                }
            }
        }
        Ok(statements)
    }

    /// The changed rows in a changeset, the first `limit` of them.
    pub fn changes(&self, file: &Path, limit: usize, veil: &Veil) -> Result<Vec<Change>> {
        changeset::changes(file, 0, limit, veil)
    }

    /// Looks whether a table is there with all of its files.
    pub async fn look(&self, table: &str) -> Result<()> {
        let folder = self.folder.join(table);
        let current = CurrentTable::open(&folder).await?;
        let missing = if current.exists() { current.missing() } else { Some(folder) };
        missing.map_or(Ok(()), |path| Err(EngineError::Altered { path, why: "it is not there".to_owned() }))
    }

    /// Reads every row of a table and compares their number and order with what the log says.
    pub async fn verify(&self, table: &str) -> Result<()> {
        let current = CurrentTable::open(&self.folder.join(table)).await?;
        tokio::task::spawn_blocking(move || current.verify()).await.map_err(|error| EngineError::Bug(error.to_string()))?
    }

    /// The last run each table has applied, and its rows, as its own log says.
    pub async fn state(&self, table: &str) -> Result<Option<(u64, usize)>> {
        let current = CurrentTable::open(&self.folder.join(table)).await?;
        Ok(current.exists().then(|| (current.rows(), current.files().len())))
    }
}

fn values(batch: &RecordBatch) -> Vec<Vec<Value>> {
    (0..batch.num_rows()).map(|row| batch.columns().iter().map(|column| rows::value(column.as_ref(), row)).collect()).collect()
}
