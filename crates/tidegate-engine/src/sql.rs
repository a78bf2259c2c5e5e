//! DataFusion, as Tidegate uses it: queries only, bounded memory with spilling, errors with their place in the user's SQL.

use crate::error::{EngineError, Result};
use datafusion::{
    common::DataFusionError,
    execution::{
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        memory_pool::FairSpillPool,
        runtime_env::RuntimeEnvBuilder,
    },
    prelude::{DataFrame, SQLOptions, SessionConfig, SessionContext},
    sql::{
        parser::Statement,
        sqlparser::{ast, parser::ParserError},
    },
};
use std::{path::Path, sync::Arc};
use tidegate_core::{Location, pipeline::SqlFile};

/// Rows per batch.
pub(crate) const BATCH: usize = 8192;

/// A context with `memory` bytes for sorts and aggregates; what does not fit goes to `scratch`.
pub(crate) fn context(memory: u64, scratch: &Path, threads: usize) -> Result<SessionContext> {
    std::fs::create_dir_all(scratch).map_err(|source| EngineError::Write { path: scratch.to_owned(), source })?;
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(usize::try_from(memory).unwrap_or(usize::MAX))))
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Directories(vec![scratch.to_owned()])))
        .build_arc()?;
    let mut config = SessionConfig::new().with_target_partitions(threads).with_batch_size(BATCH).with_information_schema(false);
    let options = config.options_mut();
    options.sql_parser.collect_spans = true;
    // Tables have plain strings; views would only be cast back at the end.
    options.sql_parser.map_string_types_to_utf8view = false;
    options.execution.parquet.schema_force_view_types = false;
    options.execution.sort_spill_reservation_bytes = usize::try_from(memory / 32).unwrap_or(1 << 20).clamp(1 << 20, 10 << 20);
    Ok(SessionContext::new_with_config_rt(config, runtime))
}

/// Plans a query that only reads. Errors point into `sql`.
pub(crate) async fn query(context: &SessionContext, sql: &SqlFile) -> Result<DataFrame> {
    let fail = |error: DataFusionError| plan_error(&error, sql);
    let state = context.state();
    let dialect = state.config().options().sql_parser.dialect;
    let statement = state.sql_to_statement(&sql.text, &dialect).map_err(fail)?;
    let reads_only = matches!(&statement, Statement::Statement(inner) if matches!(inner.as_ref(), ast::Statement::Query(_)));
    if !reads_only {
        return Err(EngineError::Sql {
            message: "only a SELECT can stand here".to_owned(),
            location: Some(Location { file: sql.path.clone(), line: 1, column: 1 }),
            hints: Vec::new(),
            running: false,
        });
    }
    let plan = state.statement_to_plan(statement).await.map_err(fail)?;
    SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false).verify_plan(&plan).map_err(fail)?;
    let frame = context.execute_logical_plan(plan).await.map_err(fail)?;
    // Types of comparisons and function arguments are settled only here.
    frame.clone().create_physical_plan().await.map_err(fail)?;
    Ok(frame)
}

/// What an error says, in one line and without the library's prefixes.
pub(crate) fn say(error: &DataFusionError) -> String {
    explain(error, "").0
}

/// The message, its place (line, column), and hints.
fn explain(error: &DataFusionError, sql: &str) -> (String, Option<(usize, usize)>, Vec<String>) {
    let error = error.iter().next().unwrap_or(error);
    if let Some(diagnostic) = error.diagnostic() {
        let at = diagnostic.span.map(|span| (to_usize(span.start.line), to_usize(span.start.column)));
        let hints =
            diagnostic.notes.iter().map(|note| note.message.clone()).chain(diagnostic.helps.iter().map(|help| help.message.clone()));
        return (diagnostic.message.clone(), at, hints.collect());
    }
    if let DataFusionError::SQL(parser, _) = error.find_root() {
        let text = match parser.as_ref() {
            ParserError::ParserError(text) | ParserError::TokenizerError(text) => text.as_str(),
            ParserError::RecursionLimitExceeded => return ("the query is nested too deeply".to_owned(), None, Vec::new()),
        };
        let place = text.rsplit_once(" at Line: ").and_then(|(message, place)| {
            let (line, column) = place.split_once(", Column: ")?;
            Some((message, (line.parse().ok()?, column.parse().ok()?)))
        });
        return match place {
            Some((message, at)) => (message.to_owned(), Some(at), Vec::new()),
            None => (text.to_owned(), Some(end(sql)), Vec::new()),
        };
    }
    let text = error.find_root().strip_backtrace();
    let text = text
        .split_once(": ")
        .filter(|(prefix, _)| prefix.ends_with("error") || prefix.ends_with("Error"))
        .map_or(text.as_str(), |(_, rest)| rest);
    let first = text.lines().next().unwrap_or_default().to_owned();
    (first, place_of_quoted(text, sql), Vec::new())
}

fn to_usize(n: u64) -> usize {
    usize::try_from(n).unwrap_or(1)
}

/// Just behind the last character.
fn end(sql: &str) -> (usize, usize) {
    let text = sql.trim_end();
    (text.lines().count().max(1), text.lines().last().map_or(0, |line| line.chars().count()) + 1)
}

/// Errors about function arguments carry no place; the first name they quote that stands in the SQL is the best there is.
fn place_of_quoted(message: &str, sql: &str) -> Option<(usize, usize)> {
    let quoted = message.split('\'').skip(1).step_by(2);
    let called = quoted
        .filter_map(|text| text.split('(').next())
        .filter(|name| name.len() > 1 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
    let lower = sql.to_lowercase();
    let at = called.filter_map(|name| lower.find(&name.to_lowercase())).next()?;
    let before = sql.get(..at)?;
    Some((before.matches('\n').count() + 1, before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1))
}

fn sql_error(error: &DataFusionError, sql: &SqlFile, running: bool) -> EngineError {
    let (message, at, hints) = explain(error, &sql.text);
    let (line, column) = at.unwrap_or((1, 1));
    EngineError::Sql { message, location: Some(Location { file: sql.path.clone(), line, column }), hints, running }
}

fn plan_error(error: &DataFusionError, sql: &SqlFile) -> EngineError {
    sql_error(error, sql, false)
}

/// An error while the query ran: a failed cast, a division by zero, or too little memory.
pub(crate) fn run_error(error: DataFusionError, sql: &SqlFile) -> EngineError {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => EngineError::from(error),
        _ => sql_error(&error, sql, true),
    }
}
