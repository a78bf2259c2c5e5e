//! Events in the ledger: written in the transaction of what they tell of, read in their order.

use super::{Ledger, Tx, runs::time};
use crate::error::{Result, json, sql};
use jiff::Timestamp;
use sqlx::{Row as _, sqlite::SqliteRow};
use tidegate_core::{
    RunId,
    event::{Draft, Event, kind},
};

/// Appends an event. Those of a run are caused by its start, and part of its trace.
pub async fn append(tx: &mut Tx, pipeline: &str, draft: &Draft, now: Timestamp) -> Result<()> {
    let query = "INSERT INTO events (id, kind, pipeline, run, time, data, trace, cause) VALUES (?1, ?2, ?3, ?4, ?5, ?6, \
                 (SELECT trace FROM runs WHERE id = ?4), \
                 (SELECT id FROM events WHERE run = ?4 AND kind = ?7 AND ?2 <> ?7 ORDER BY sequence LIMIT 1))";
    sqlx::query(query)
        .bind(uuid::Uuid::now_v7().to_string())
        .bind(draft.kind)
        .bind(pipeline.to_owned())
        .bind(draft.run.map(|run| run.0))
        .bind(now.to_string())
        .bind(serde_json::to_string(&draft.data).map_err(json)?)
        .bind(kind::RUN_STARTED)
        .execute(&mut **tx)
        .await
        .map_err(sql)?;
    Ok(())
}

/// Which events are wanted.
#[derive(Debug, Clone, Default)]
pub struct Wanted<'a> {
    /// Only those of this pipeline.
    pub pipeline: Option<&'a str>,
    /// Only those of this type.
    pub kind: Option<&'a str>,
    /// Only those after this number.
    pub after: i64,
    /// At most so many.
    pub limit: i64,
}

fn read(row: &SqliteRow) -> Result<Event> {
    let text = |column: &str| row.try_get::<String, _>(column).map_err(sql);
    let optional = |column: &str| row.try_get::<Option<String>, _>(column).map_err(sql);
    let run: Option<i64> = row.try_get("run").map_err(sql)?;
    let sequence: i64 = row.try_get("sequence").map_err(sql)?;
    Ok(Event {
        specversion: "1.0".to_owned(),
        id: text("id")?,
        source: format!("/pipelines/{}", text("pipeline")?),
        kind: text("kind")?,
        subject: run.map(|run| format!("runs/{}", RunId(run))),
        time: time(&text("time")?)?,
        sequence: Some(sequence),
        // The event's place in the trace is its own number: a span id has 16 digits and is never zero.
        traceparent: optional("trace")?.map(|trace| format!("00-{trace}-{sequence:016x}-01")),
        causationid: optional("cause")?,
        data: serde_json::from_str(&text("data")?).map_err(json)?,
    })
}

impl Ledger {
    /// Events, in order.
    pub async fn events(&self, wanted: &Wanted<'_>) -> Result<Vec<Event>> {
        let query = "SELECT * FROM events WHERE sequence > ?1 AND (?2 IS NULL OR pipeline = ?2) AND (?4 IS NULL OR kind = ?4) \
                     ORDER BY sequence LIMIT ?3";
        let rows = sqlx::query(query)
            .bind(wanted.after)
            .bind(wanted.pipeline.map(str::to_owned))
            .bind(wanted.limit)
            .bind(wanted.kind.map(str::to_owned))
            .fetch_all(&self.pool)
            .await
            .map_err(sql)?;
        rows.iter().map(read).collect()
    }

    /// The number of the newest event.
    pub async fn newest_event(&self) -> Result<i64> {
        let (newest,): (Option<i64>,) = sqlx::query_as("SELECT max(sequence) FROM events").fetch_one(&self.pool).await.map_err(sql)?;
        Ok(newest.unwrap_or(0))
    }
}
