//! Quarantine in the ledger. Rows move only within the transaction of the run that moves them.

use super::{Ledger, Tx, runs::time};
use crate::error::{Result, json, sql};
use jiff::Timestamp;
use sqlx::{Row as _, sqlite::SqliteRow};
use std::collections::{BTreeMap, BTreeSet};
use tidegate_core::{
    Code, Failure, RunId,
    pipeline::Pipeline,
    quarantine::{Quarantined, Rejected, Status},
};

/// Rows by source, identity and raw text.
pub type Discarded = BTreeSet<(String, String, String)>;

/// What a run did to the quarantine.
#[derive(Debug, Clone, Default)]
pub struct Movements {
    /// Rows that came in.
    pub opened: Vec<Rejected>,
    /// Rows that were resolved.
    pub resolved: u64,
    /// Rows in quarantine afterwards.
    pub open: u64,
}

fn read(row: &SqliteRow) -> Result<Quarantined> {
    let text = |column: &str| row.try_get::<String, _>(column).map_err(sql);
    let number = |column: &str| row.try_get::<i64, _>(column).map_err(sql);
    let status = text("status")?;
    Ok(Quarantined {
        id: number("id")?,
        pipeline: text("pipeline")?,
        row: serde_json::from_str(&text("row")?).map_err(json)?,
        status: Status::parse(&status)
            .ok_or_else(|| Failure::new(Code::TG401, format!("the ledger holds a quarantined row that is `{status}`")))?,
        first_run: RunId(number("first_run")?),
        last_run: RunId(number("last_run")?),
        seen: u64::try_from(number("seen")?).unwrap_or_default(),
        closed_run: row.try_get::<Option<i64>, _>("closed_run").map_err(sql)?.map(RunId),
        closed_because: row.try_get("closed_because").map_err(sql)?,
        opened_at: time(&text("opened_at")?)?,
    })
}

impl Ledger {
    /// Quarantined rows of a pipeline (or of all), in the order in which they came.
    pub async fn quarantine(&self, pipeline: Option<&str>, status: Option<Status>, limit: i64) -> Result<Vec<Quarantined>> {
        let rows = sqlx::query(
            "SELECT * FROM quarantine WHERE (?1 IS NULL OR pipeline = ?1) AND (?2 IS NULL OR status = ?2) ORDER BY id LIMIT ?3",
        )
        .bind(pipeline.map(str::to_owned))
        .bind(status.map(Status::as_str))
        .bind(limit)
        .fetch_all(&self.pool)
        .await
        .map_err(sql)?;
        rows.iter().map(read).collect()
    }

    /// The quarantined row of this number.
    pub async fn quarantined(&self, id: i64) -> Result<Quarantined> {
        match sqlx::query("SELECT * FROM quarantine WHERE id = ?1").bind(id).fetch_optional(&self.pool).await.map_err(sql)? {
            Some(row) => read(&row),
            None => {
                Err(Failure::new(Code::TG409, format!("there is no quarantined row {id}")).hint("`tidegate quarantine list` shows them"))
            }
        }
    }

    /// How many rows of a pipeline are in quarantine.
    pub async fn quarantine_open(&self, pipeline: &str) -> Result<u64> {
        let (n,): (i64,) = sqlx::query_as("SELECT count(*) FROM quarantine WHERE pipeline = ?1 AND status = 'open'")
            .bind(pipeline.to_owned())
            .fetch_one(&self.pool)
            .await
            .map_err(sql)?;
        Ok(u64::try_from(n).unwrap_or_default())
    }

    /// Rows of a pipeline of which a person said that they do not matter.
    pub async fn discarded(&self, pipeline: &str) -> Result<Discarded> {
        let rows = sqlx::query("SELECT * FROM quarantine WHERE pipeline = ?1 AND status = 'discarded'")
            .bind(pipeline.to_owned())
            .fetch_all(&self.pool)
            .await
            .map_err(sql)?;
        rows.iter().map(|row| read(row).map(|row| (row.row.source, row.row.identity, row.row.raw))).collect()
    }

    /// Identities of open rows, by source (the table's own rows under its name).
    pub async fn open_identities(&self, pipeline: &str) -> Result<BTreeMap<String, BTreeSet<String>>> {
        let rows: Vec<(String, String)> = sqlx::query_as("SELECT source, identity FROM quarantine WHERE pipeline = ?1 AND status = 'open'")
            .bind(pipeline.to_owned())
            .fetch_all(&self.pool)
            .await
            .map_err(sql)?;
        let mut open: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (source, identity) in rows {
            open.entry(source).or_default().insert(identity);
        }
        Ok(open)
    }
}

/// What a run found of bad rows.
pub struct Reconcile<'a> {
    /// The pipeline.
    pub pipeline: &'a Pipeline,
    /// The run.
    pub run: RunId,
    /// Rows it rejected.
    pub rejected: &'a [Rejected],
    /// Identities of open rows that are good now, by source.
    pub healed: &'a BTreeMap<String, BTreeSet<String>>,
    /// Now.
    pub now: Timestamp,
}

/// Reconciles what a run rejected with what was in quarantine.
///
/// A row that was bad before and still is stays, and is not new. A row that is not rejected any more is resolved: it is
/// good now (`healed`), or the publisher took it out. A row that a person discarded stays discarded while its text is the
/// same. Where runs read only what is new, a row that does not come again is still bad, and one that does is another one.
pub async fn reconcile(tx: &mut Tx, found: &Reconcile<'_>) -> Result<Movements> {
    let Reconcile { run, rejected, healed, now, .. } = *found;
    let (pipeline, incremental) = (found.pipeline.name(), found.pipeline.is_incremental());
    let known = sqlx::query("SELECT * FROM quarantine WHERE pipeline = ?1 AND status IN ('open', 'discarded') ORDER BY id")
        .bind(pipeline.to_owned())
        .fetch_all(&mut **tx)
        .await
        .map_err(sql)?;
    let mut open: BTreeMap<(String, String), Vec<Quarantined>> = BTreeMap::new();
    let mut discarded: BTreeSet<(String, String, String)> = BTreeSet::new();
    for row in &known {
        let row = read(row)?;
        if row.status == Status::Open {
            open.entry((row.row.source.clone(), row.row.identity.clone())).or_default().push(row);
        } else {
            discarded.insert((row.row.source.clone(), row.row.identity.clone(), row.row.raw.clone()));
        }
    }
    open.values_mut().for_each(|rows| rows.reverse());
    let mut movements = Movements::default();
    for row in rejected {
        let json_row = serde_json::to_string(row).map_err(json)?;
        let before = if incremental { None } else { open.get_mut(&(row.source.clone(), row.identity.clone())).and_then(Vec::pop) };
        if let Some(before) = before {
            sqlx::query("UPDATE quarantine SET row = ?2, last_run = ?3, seen = seen + 1 WHERE id = ?1")
                .bind(before.id)
                .bind(json_row)
                .bind(run.0)
                .execute(&mut **tx)
                .await
                .map_err(sql)?;
            movements.open += 1;
        } else if !discarded.contains(&(row.source.clone(), row.identity.clone(), row.raw.clone())) {
            sqlx::query("INSERT INTO quarantine (pipeline, source, identity, status, row, first_run, last_run, seen, opened_at) VALUES (?1, ?2, ?3, 'open', ?4, ?5, ?5, 1, ?6)")
                .bind(pipeline.to_owned())
                .bind(row.source.clone())
                .bind(row.identity.clone())
                .bind(json_row)
                .bind(run.0)
                .bind(now.to_string())
                .execute(&mut **tx)
                .await
                .map_err(sql)?;
            movements.open += 1;
            movements.opened.push(row.clone());
        }
    }
    for ((source, identity), rows) in open {
        let good = healed.get(&source).is_some_and(|healed| healed.contains(&identity));
        if incremental && !good {
            movements.open += rows.len() as u64;
            continue;
        }
        let why = if good { "the row is good now" } else { "the row is no longer published" };
        for row in rows {
            close(tx, row.id, Status::Resolved, Some(run), why).await?;
            movements.resolved += 1;
        }
    }
    Ok(movements)
}

/// Closes a quarantined row.
pub async fn close(tx: &mut Tx, id: i64, status: Status, run: Option<RunId>, why: &str) -> Result<()> {
    sqlx::query("UPDATE quarantine SET status = ?2, closed_run = ?3, closed_because = ?4 WHERE id = ?1")
        .bind(id)
        .bind(status.as_str())
        .bind(run.map(|run| run.0))
        .bind(why.to_owned())
        .execute(&mut **tx)
        .await
        .map_err(sql)?;
    Ok(())
}
