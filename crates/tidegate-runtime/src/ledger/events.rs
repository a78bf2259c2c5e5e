//! Events in the ledger.

use super::{Ledger, Tx, runs::time};
use crate::error::{Result, json, sql};
use jiff::Timestamp;
use sqlx::Row as _;
use tidegate_core::{
    RunId,
    event::{Draft, Event},
};

/// Appends an event.
pub async fn append(tx: &mut Tx, pipeline: &str, draft: &Draft, now: Timestamp) -> Result<()> {
    sqlx::query("INSERT INTO events (id, kind, pipeline, run, time, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")
        .bind(uuid::Uuid::now_v7().to_string())
        .bind(draft.kind)
        .bind(pipeline.to_owned())
        .bind(draft.run.0)
        .bind(now.to_string())
        .bind(serde_json::to_string(&draft.data).map_err(json)?)
        .execute(&mut **tx)
        .await
        .map_err(sql)?;
    Ok(())
}

impl Ledger {
    /// Events after `sequence`, in order.
    pub async fn events(&self, pipeline: Option<&str>, after: i64, limit: i64) -> Result<Vec<Event>> {
        let rows = sqlx::query("SELECT * FROM events WHERE sequence > ?1 AND (?2 IS NULL OR pipeline = ?2) ORDER BY sequence LIMIT ?3")
            .bind(after)
            .bind(pipeline.map(str::to_owned))
            .bind(limit)
            .fetch_all(&self.pool)
            .await
            .map_err(sql)?;
        let mut events = Vec::with_capacity(rows.len());
        for row in rows {
            let text = |column: &str| row.try_get::<String, _>(column).map_err(sql);
            let run: Option<i64> = row.try_get("run").map_err(sql)?;
            events.push(Event {
                specversion: "1.0".to_owned(),
                id: text("id")?,
                source: format!("/pipelines/{}", text("pipeline")?),
                kind: text("kind")?,
                subject: run.map(|run| format!("runs/{}", RunId(run))),
                time: time(&text("time")?)?,
                sequence: Some(row.try_get("sequence").map_err(sql)?),
                data: serde_json::from_str(&text("data")?).map_err(json)?,
            });
        }
        Ok(events)
    }
}
