//! Runs in the ledger.

use super::{Ledger, Tx, events};
use crate::error::{Result, StateError, json, sql};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::{Row as _, sqlite::SqliteRow};
use std::collections::BTreeMap;
use tidegate_core::{
    Code, Failure, Outcome, Receipt, RunId, RunState,
    changes::{Change, ChangesetInfo, Restatement},
    event::{Draft, kind},
    incident::Trouble,
    pipeline::Pipeline,
    quarantine::Rejected,
    seam::Violation,
    trigger::Trigger,
};

/// What is kept of a run besides its receipt.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// How far back it restates.
    #[serde(default)]
    pub restatement: Restatement,
    /// The first changed rows.
    #[serde(default)]
    pub sample: Vec<Change>,
    /// Violated checks.
    #[serde(default)]
    pub violations: Vec<Violation>,
    /// Of a held run, the first rows it would reject: they are in no quarantine yet.
    #[serde(default)]
    pub rejected: Vec<Rejected>,
    /// Changes of the sources' columns, as sentences.
    #[serde(default)]
    pub drift: Vec<String>,
    /// Sources that give old content again, as sentences.
    #[serde(default)]
    pub reverted: Vec<String>,
    /// Rows that came into quarantine, left it, and were in it afterwards.
    #[serde(default)]
    pub quarantine: [u64; 3],
    /// The run that made a hold pointless, or the held run that this one released.
    #[serde(default)]
    pub note: Option<String>,
}

/// A run as the ledger knows it.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its number.
    pub id: RunId,
    /// Its pipeline.
    pub pipeline: String,
    /// `run`, `replay` or `backfill`.
    pub kind: String,
    /// Where it stands.
    pub state: RunState,
    /// Source names to snapshots.
    pub inputs: BTreeMap<String, i64>,
    /// Hash of the definition it ran with.
    pub definition: String,
    /// Tries so far.
    pub tries: u32,
    /// Whether it was given up.
    pub set_aside: bool,
    /// Whether a person let it pass the guards.
    pub approved: bool,
    /// The table's name.
    pub table: String,
    /// The table's key.
    pub key: Vec<String>,
    /// Its receipt, once it ended.
    pub receipt: Option<Receipt>,
    /// Its changeset, if it changes something.
    pub changeset: Option<ChangesetInfo>,
    /// What else is known.
    pub report: Report,
    /// The newest publication it reads.
    pub published_at: Timestamp,
    /// When it was created.
    pub created_at: Timestamp,
}

/// What is needed to create a run.
pub struct NewRun<'a> {
    /// Its pipeline.
    pub pipeline: &'a str,
    /// `run`, `replay` or `backfill`.
    pub kind: &'a str,
    /// Source names to snapshots.
    pub inputs: &'a BTreeMap<String, i64>,
    /// Hash of the definition.
    pub definition: &'a str,
    /// The table's name.
    pub table: &'a str,
    /// The table's key.
    pub key: &'a [String],
    /// The newest publication it reads.
    pub published_at: Timestamp,
    /// What asked for it.
    pub triggers: &'a [Trigger],
    /// Now.
    pub now: Timestamp,
}

const COLUMNS: &str = "id, pipeline, kind, state, inputs, definition, tries, set_aside, approved, table_name, table_key, receipt, changeset, report, published_at, created_at";

/// A time of the ledger.
pub(super) fn time(text: &str) -> Result<Timestamp> {
    text.parse().map_err(|error: jiff::Error| Failure::new(Code::TG401, format!("the ledger holds a time that cannot be read: {error}")))
}

fn read(row: &SqliteRow) -> Result<Run> {
    let text = |column: &str| row.try_get::<String, _>(column).map_err(sql);
    let optional = |column: &str| row.try_get::<Option<String>, _>(column).map_err(sql);
    let number = |column: &str| row.try_get::<i64, _>(column).map_err(sql);
    let state = text("state")?;
    Ok(Run {
        id: RunId(number("id")?),
        pipeline: text("pipeline")?,
        kind: text("kind")?,
        state: RunState::parse(&state)
            .ok_or_else(|| Failure::new(Code::TG401, format!("the ledger holds a run in the state `{state}`")))?,
        inputs: serde_json::from_str(&text("inputs")?).map_err(json)?,
        definition: text("definition")?,
        tries: u32::try_from(number("tries")?).unwrap_or(u32::MAX),
        set_aside: number("set_aside")? != 0,
        approved: number("approved")? != 0,
        table: text("table_name")?,
        key: serde_json::from_str(&text("table_key")?).map_err(json)?,
        receipt: optional("receipt")?.map(|text| serde_json::from_str(&text)).transpose().map_err(json)?,
        changeset: optional("changeset")?.map(|text| serde_json::from_str(&text)).transpose().map_err(json)?,
        report: optional("report")?.map(|text| serde_json::from_str(&text)).transpose().map_err(json)?.unwrap_or_default(),
        published_at: time(&text("published_at")?)?,
        created_at: time(&text("created_at")?)?,
    })
}

impl Ledger {
    /// The run of this number.
    pub async fn run(&self, id: RunId) -> Result<Run> {
        let query = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM runs WHERE id = ?1"))).bind(id.0);
        match query.fetch_optional(&self.pool).await.map_err(sql)? {
            Some(row) => read(&row),
            None => Err(StateError::NoRun(id.0).into()),
        }
    }

    /// Runs of a pipeline (or of all), newest first.
    pub async fn runs(&self, pipeline: Option<&str>, limit: i64) -> Result<Vec<Run>> {
        let query = format!("SELECT {COLUMNS} FROM runs WHERE (?1 IS NULL OR pipeline = ?1) ORDER BY id DESC LIMIT ?2");
        let rows = sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(pipeline.map(str::to_owned))
            .bind(limit)
            .fetch_all(&self.pool)
            .await
            .map_err(sql)?;
        rows.iter().map(read).collect()
    }

    /// Runs of a pipeline in this state with a number above `after`, oldest first.
    pub async fn runs_in(&self, pipeline: &str, state: RunState, after: RunId) -> Result<Vec<Run>> {
        let query = format!("SELECT {COLUMNS} FROM runs WHERE pipeline = ?1 AND state = ?2 AND id > ?3 ORDER BY id");
        let query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(pipeline.to_owned()).bind(state.as_str()).bind(after.0);
        query.fetch_all(&self.pool).await.map_err(sql)?.iter().map(read).collect()
    }

    /// The newest run that made or confirmed what the table says; 0 if there is none.
    pub async fn last_settled(&self, pipeline: &str) -> Result<RunId> {
        let (id,): (i64,) =
            sqlx::query_as("SELECT coalesce(max(id), 0) FROM runs WHERE pipeline = ?1 AND state IN ('published', 'unchanged')")
                .bind(pipeline.to_owned())
                .fetch_one(&self.pool)
                .await
                .map_err(sql)?;
        Ok(RunId(id))
    }

    /// Published runs of a table after `after`, in commit order.
    pub async fn to_apply(&self, pipeline: &str, after: RunId) -> Result<Vec<Run>> {
        let runs = self.runs_in(pipeline, RunState::Done(Outcome::Published), after).await?;
        Ok(runs.into_iter().filter(|run| run.changeset.is_some()).collect())
    }

    /// The first of these.
    pub async fn next_to_apply(&self, pipeline: &str, after: RunId) -> Result<Option<Run>> {
        let query = format!(
            "SELECT {COLUMNS} FROM runs WHERE pipeline = ?1 AND state = 'published' AND changeset IS NOT NULL AND id > ?2 ORDER BY id LIMIT 1"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(pipeline.to_owned()).bind(after.0);
        query.fetch_optional(&self.pool).await.map_err(sql)?.as_ref().map(read).transpose()
    }

    /// Another pipeline that has run for this table.
    pub async fn other_owner(&self, table: &str, pipeline: &str) -> Result<Option<String>> {
        let (first, last): (Option<String>, Option<String>) = sqlx::query_as(
            "SELECT (SELECT min(pipeline) FROM runs WHERE table_name = ?1), (SELECT max(pipeline) FROM runs WHERE table_name = ?1)",
        )
        .bind(table.to_owned())
        .fetch_one(&self.pool)
        .await
        .map_err(sql)?;
        Ok([first, last].into_iter().flatten().find(|owner| owner != pipeline))
    }

    /// The sensitive columns of a pipeline, as of its last run: also where its file is not there any more.
    pub async fn sensitive_columns(&self, pipeline: &str) -> Result<Vec<String>> {
        let row: Option<(Option<String>,)> = sqlx::query_as("SELECT sensitive FROM pipelines WHERE name = ?1")
            .bind(pipeline.to_owned())
            .fetch_optional(&self.pool)
            .await
            .map_err(sql)?;
        row.and_then(|(columns,)| columns).map_or_else(|| Ok(Vec::new()), |columns| serde_json::from_str(&columns).map_err(json))
    }

    /// The W3C id of a run's trace.
    pub async fn trace_of(&self, id: RunId) -> Result<Option<String>> {
        let (trace,): (Option<String>,) =
            sqlx::query_as("SELECT trace FROM runs WHERE id = ?1").bind(id.0).fetch_one(&self.pool).await.map_err(sql)?;
        Ok(trace)
    }

    /// Whether somebody wants this run to end.
    pub async fn cancel_wanted(&self, id: RunId) -> Result<bool> {
        let (wanted,): (i64,) =
            sqlx::query_as("SELECT cancel FROM runs WHERE id = ?1").bind(id.0).fetch_one(&self.pool).await.map_err(sql)?;
        Ok(wanted != 0)
    }

    /// Notes that somebody wants a run that is at work to end. `false` if it is over already.
    pub async fn want_cancel(&self, id: RunId) -> Result<bool> {
        let done = sqlx::query("UPDATE runs SET cancel = 1 WHERE id = ?1 AND state = 'running'")
            .bind(id.0)
            .execute(&self.writer)
            .await
            .map_err(sql)?;
        Ok(done.rows_affected() == 1)
    }

    /// The pipelines the ledger knows, with the paths of their files.
    pub async fn pipelines(&self) -> Result<Vec<(String, String)>> {
        sqlx::query_as("SELECT name, path FROM pipelines ORDER BY name").fetch_all(&self.pool).await.map_err(sql)
    }

    /// The open trouble of a pipeline, and which notifiers were told of it.
    pub async fn incident(&self, pipeline: &str) -> Result<Option<(Trouble, Vec<usize>)>> {
        let row: Option<(Option<String>, Option<String>)> = sqlx::query_as("SELECT incident, told FROM pipelines WHERE name = ?1")
            .bind(pipeline.to_owned())
            .fetch_optional(&self.pool)
            .await
            .map_err(sql)?;
        let Some((Some(trouble), told)) = row else { return Ok(None) };
        let told = told.map(|text| serde_json::from_str(&text)).transpose().map_err(json)?.unwrap_or_default();
        Ok(Some((serde_json::from_str(&trouble).map_err(json)?, told)))
    }
}

/// A path that means the same from every folder.
pub fn from_everywhere(path: &str) -> String {
    std::path::absolute(path).map_or_else(|_| path.to_owned(), |path| path.display().to_string())
}

/// Makes a pipeline known, wherever it is asked for.
pub async fn know_pipeline(tx: &mut Tx, pipeline: &Pipeline) -> Result<()> {
    sqlx::query(
        "INSERT INTO pipelines (name, path, sensitive) VALUES (?1, ?2, ?3) \
         ON CONFLICT (name) DO UPDATE SET path = excluded.path, sensitive = excluded.sensitive",
    )
    .bind(pipeline.name().to_owned())
    .bind(from_everywhere(&pipeline.path))
    .bind(serde_json::to_string(&pipeline.sensitive_columns()).map_err(json)?)
    .execute(&mut **tx)
    .await
    .map_err(sql)?;
    Ok(())
}

/// Notes the trouble of a pipeline, or that there is none.
pub async fn set_incident(tx: &mut Tx, pipeline: &str, incident: Option<(&Trouble, &[usize])>) -> Result<()> {
    let (trouble, told) = match incident {
        Some((trouble, told)) => (Some(serde_json::to_string(trouble).map_err(json)?), Some(serde_json::to_string(told).map_err(json)?)),
        None => (None, None),
    };
    sqlx::query("UPDATE pipelines SET incident = ?2, told = ?3 WHERE name = ?1")
        .bind(pipeline.to_owned())
        .bind(trouble)
        .bind(told)
        .execute(&mut **tx)
        .await
        .map_err(sql)?;
    Ok(())
}

/// Creates a run, at work, and says so.
pub async fn create(tx: &mut Tx, run: &NewRun<'_>) -> Result<RunId> {
    let triggers = serde_json::to_string(run.triggers).map_err(json)?;
    let inputs = serde_json::to_string(run.inputs).map_err(json)?;
    let key = serde_json::to_string(run.key).map_err(json)?;
    let query = "INSERT INTO runs (pipeline, kind, state, inputs, definition, table_name, table_key, published_at, created_at, triggers, trace) \
                 VALUES (?1, ?2, 'running', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) RETURNING id";
    let (id,): (i64,) = sqlx::query_as(query)
        .bind(run.pipeline.to_owned())
        .bind(run.kind.to_owned())
        .bind(inputs)
        .bind(run.definition.to_owned())
        .bind(run.table.to_owned())
        .bind(key)
        .bind(run.published_at.to_string())
        .bind(run.now.to_string())
        .bind(triggers)
        .bind(uuid::Uuid::now_v7().simple().to_string())
        .fetch_one(&mut **tx)
        .await
        .map_err(sql)?;
    let data = serde_json::json!({ "kind": run.kind, "triggers": run.triggers });
    events::append(tx, run.pipeline, &Draft { kind: kind::RUN_STARTED, run: Some(RunId(id)), data }, run.now).await?;
    Ok(RunId(id))
}

/// Sets a run to work again, with another definition perhaps.
pub async fn restart(tx: &mut Tx, id: RunId, definition: &str, approved: bool) -> Result<()> {
    sqlx::query(
        "UPDATE runs SET state = 'running', tries = tries + 1, definition = ?2, set_aside = 0, approved = ?3, cancel = 0 WHERE id = ?1",
    )
    .bind(id.0)
    .bind(definition.to_owned())
    .bind(i64::from(approved))
    .execute(&mut **tx)
    .await
    .map_err(sql)?;
    Ok(())
}

/// Gives the runs that failed for the state they found (a missing file, a foreign table) their tries back: it is mended.
pub async fn reopen(tx: &mut Tx, pipeline: &str, runs: &[&Run]) -> Result<()> {
    for run in runs {
        sqlx::query("UPDATE runs SET set_aside = 0, tries = 0 WHERE id = ?1").bind(run.id.0).execute(&mut **tx).await.map_err(sql)?;
        for snapshot in run.inputs.values() {
            sqlx::query("UPDATE snapshots SET status = 'fetched' WHERE id = ?1 AND pipeline = ?2 AND status = 'set_aside'")
                .bind(snapshot)
                .bind(pipeline.to_owned())
                .execute(&mut **tx)
                .await
                .map_err(sql)?;
        }
    }
    Ok(())
}

/// Ends a run.
pub async fn finish(
    tx: &mut Tx,
    id: RunId,
    receipt: &Receipt,
    changeset: Option<&ChangesetInfo>,
    report: &Report,
    set_aside: bool,
) -> Result<()> {
    let changeset = changeset.map(serde_json::to_string).transpose().map_err(json)?;
    sqlx::query("UPDATE runs SET state = ?2, receipt = ?3, changeset = ?4, report = ?5, set_aside = ?6, finished_at = ?7 WHERE id = ?1")
        .bind(id.0)
        .bind(receipt.outcome.as_str())
        .bind(serde_json::to_string(receipt).map_err(json)?)
        .bind(changeset)
        .bind(serde_json::to_string(report).map_err(json)?)
        .bind(i64::from(set_aside))
        .bind(receipt.finished_at.to_string())
        .execute(&mut **tx)
        .await
        .map_err(sql)?;
    Ok(())
}

/// Cancels a held run, saying why. Its receipt keeps what it would have done.
pub async fn cancel(tx: &mut Tx, run: &Run, why: &str) -> Result<()> {
    let report = Report { note: Some(why.to_owned()), ..run.report.clone() };
    let receipt = run.receipt.clone().map(|receipt| Receipt { outcome: Outcome::Cancelled, ..receipt });
    sqlx::query("UPDATE runs SET state = 'cancelled', report = ?2, receipt = ?3 WHERE id = ?1")
        .bind(run.id.0)
        .bind(serde_json::to_string(&report).map_err(json)?)
        .bind(receipt.map(|receipt| serde_json::to_string(&receipt)).transpose().map_err(json)?)
        .execute(&mut **tx)
        .await
        .map_err(sql)?;
    Ok(())
}
