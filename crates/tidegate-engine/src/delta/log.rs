//! The Delta log: opening, creating, committing.

use crate::{
    error::{EngineError, Result},
    parquet_file::sync_folder,
};
use arrow::datatypes::{Schema, SchemaRef};
use deltalake_core::{
    DeltaTable, DeltaTableBuilder, DeltaTableError,
    kernel::{
        Action, MetadataExt as _, StructType, Transaction,
        engine::arrow_conversion::TryIntoKernel as _,
        transaction::{CommitBuilder, CommitProperties, TransactionError},
    },
    operations::{create::CreateBuilder, vacuum::VacuumMode},
    protocol::{DeltaOperation, SaveMode},
};
use std::{fs::File, path::Path};
use tidegate_core::{RunId, fault};
use url::Url;

/// The application id under which runs are recorded in the log.
const APP: &str = "tidegate";
/// Metadata key: the order the table is kept in, column names joined by commas.
pub(super) const ORDER: &str = "tidegate.order";

/// Commits between two rounds of tidying up; checkpoints have the same rhythm.
const TIDY_EVERY: u64 = 20;
/// How long the data files of earlier versions stay, for readers that are still at them.
const KEEP_VERSIONS: chrono::Duration = chrono::Duration::days(7);

fn url(folder: &Path) -> Result<Url> {
    let absolute = std::path::absolute(folder).map_err(|source| EngineError::Write { path: folder.to_owned(), source })?;
    Url::from_directory_path(&absolute).map_err(|()| EngineError::Bug(format!("`{}` is no folder's path", absolute.display())))
}

/// Opens the table in `folder`; none if there is none.
pub(super) async fn open(folder: &Path) -> Result<Option<DeltaTable>> {
    if !folder.join("_delta_log").is_dir() {
        return Ok(None);
    }
    match DeltaTableBuilder::from_url(url(folder)?)?.load().await {
        Ok(table) => Ok(Some(table)),
        // A process died between making the folder and the first commit.
        Err(DeltaTableError::NotATable(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The last run recorded in the table's log.
pub(super) async fn position(folder: &Path) -> Result<Option<RunId>> {
    match open(folder).await? {
        Some(table) => {
            only_ours(folder, table.version())?;
            position_in(&table).await
        }
        None => Ok(None),
    }
}

/// Makes sure that the newest commit which touched rows or columns is one of ours. Ours carry the run's number; the ones
/// before were the newest in their time.
fn only_ours(folder: &Path, newest: Option<u64>) -> Result<()> {
    for version in (1..=newest.unwrap_or(0)).rev() {
        let path = folder.join("_delta_log").join(format!("{version:020}.json"));
        // Entries are cleaned up once a checkpoint has them, but never the newest.
        let Ok(text) = std::fs::read_to_string(&path) else { return Ok(()) };
        let actions: Vec<serde_json::Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        if actions.iter().any(|action| action["txn"]["appId"] == APP) {
            return Ok(());
        }
        if actions.iter().any(|action| ["add", "remove", "metaData"].iter().any(|kind| action.get(kind).is_some())) {
            let operation = actions.iter().find_map(|action| action["commitInfo"]["operation"].as_str()).unwrap_or("commit");
            return Err(EngineError::Foreign {
                path: folder.to_owned(),
                why: format!("version {version} of its log is a {operation} of another program"),
            });
        }
    }
    Ok(())
}

pub(super) async fn position_in(table: &DeltaTable) -> Result<Option<RunId>> {
    Ok(table.snapshot()?.transaction_version(table.log_store().as_ref(), APP).await?.map(RunId))
}

/// Creates an empty table.
pub(super) async fn create(folder: &Path, name: &str, schema: &SchemaRef, order: Option<&[String]>) -> Result<DeltaTable> {
    let delta = delta_schema(schema)?;
    let mut settings = vec![
        ("delta.checkpointInterval".to_owned(), Some("20".to_owned())),
        ("delta.logRetentionDuration".to_owned(), Some("interval 30 days".to_owned())),
    ];
    settings.extend(order.filter(|order| !order.is_empty()).map(|order| (ORDER.to_owned(), Some(order.join(",")))));
    let table = CreateBuilder::new()
        .with_location(url(folder)?.as_str())
        .with_table_name(name)
        .with_columns(delta.fields().cloned())
        .with_configuration(settings)
        // Our own key is not one Delta knows.
        .with_raise_if_key_not_exists(false)
        // Somebody else creating it in the same moment must be an error, not a second protocol entry.
        .with_commit_properties(CommitProperties::default().with_max_retries(0))
        .await?;
    sync_log(folder)?;
    Ok(table)
}

fn delta_schema(schema: &Schema) -> Result<StructType> {
    Ok(schema.try_into_kernel()?)
}

/// A new schema for the table, as an action of the next commit.
pub(super) fn evolve(table: &DeltaTable, schema: &SchemaRef) -> Result<Action> {
    let metadata = table.snapshot()?.metadata().clone().with_schema(&delta_schema(schema)?);
    Ok(Action::Metadata(metadata.map_err(|error| EngineError::from(DeltaTableError::from(error)))?))
}

/// Commits `actions` together with the run's number, at exactly the version the caller has seen.
pub(super) async fn commit(folder: &Path, table: &mut DeltaTable, run: RunId, actions: Vec<Action>) -> Result<()> {
    let now = jiff::Timestamp::now().as_millisecond();
    let properties = CommitProperties::default()
        .with_application_transaction(Transaction::new_with_last_update(APP, run.0, Some(now)))
        .with_metadata([("tidegate.run".to_owned(), serde_json::json!(run.0))])
        .with_max_retries(0);
    let operation = DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None };
    let log_store = table.log_store();
    fault::point("delta.before_commit");
    let prepared = CommitBuilder::from(properties)
        .with_actions(actions)
        .build(Some(table.snapshot()?), log_store, operation)
        .into_prepared_commit_future()
        .await?;
    let done = prepared.await.map_err(|error| conflict(folder, error))?;
    sync_log(folder)?;
    fault::point("delta.committed");
    // Checkpoints and the cleaning of old log entries: if they fail, the commit stands, and the next one tries again.
    match done.await {
        Ok(done) => {
            table.state = Some(done.snapshot());
            if table.version().is_some_and(|version| version.is_multiple_of(TIDY_EVERY)) {
                tidy(folder, table).await;
            }
        }
        Err(error) => tracing::warn!(table = %folder.display(), %error, "the Delta log could not be tidied up"),
    }
    Ok(())
}

/// Removes data files that no version of the last days needs, and what dead processes left. The library knows which.
async fn tidy(folder: &Path, table: &DeltaTable) {
    let leftovers = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in leftovers.filter(|path| path.extension().is_some_and(|ending| ending == "part")) {
        let _ = std::fs::remove_file(path);
    }
    let vacuumed = table.clone().vacuum().with_mode(VacuumMode::Full).with_retention_period(KEEP_VERSIONS).await;
    if let Err(error) = vacuumed {
        tracing::warn!(table = %folder.display(), %error, "data files of old versions could not be removed");
    }
}

fn conflict(folder: &Path, error: DeltaTableError) -> EngineError {
    match &error {
        DeltaTableError::Transaction { source: TransactionError::MaxCommitAttempts(_) | TransactionError::CommitConflict(_) } => {
            EngineError::Foreign { path: folder.to_owned(), why: "another writer committed to its log at the same time".to_owned() }
        }
        _ => error.into(),
    }
}

/// The library writes log entries atomically but leaves them to the page cache.
fn sync_log(folder: &Path) -> Result<()> {
    let log = folder.join("_delta_log");
    let failed = |source| EngineError::Write { path: log.clone(), source };
    let mut newest: Option<std::path::PathBuf> = None;
    for entry in std::fs::read_dir(&log).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|ending| ending == "json") && newest.as_ref().is_none_or(|newest| path > *newest) {
            newest = Some(path);
        }
    }
    if let Some(path) = newest {
        File::open(path).and_then(|file| file.sync_all()).map_err(failed)?;
    }
    sync_folder(Some(&log)).map_err(failed)
}
