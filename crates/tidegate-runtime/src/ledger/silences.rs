//! Of which publishers people were told that they are silent.

use super::{Ledger, Tx, runs::time};
use crate::error::{Result, json, sql};
use jiff::Timestamp;

/// A silence that people were told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// What was newest then.
    pub last: Timestamp,
    /// The places of the notifiers that were told.
    pub told: Vec<usize>,
}

impl Ledger {
    /// What was told of a source; none while it is heard.
    pub async fn silence(&self, pipeline: &str, source: &str) -> Result<Option<Told>> {
        let row: Option<(String, String)> = sqlx::query_as("SELECT last, told FROM silences WHERE pipeline = ?1 AND source = ?2")
            .bind(pipeline.to_owned())
            .bind(source.to_owned())
            .fetch_optional(&self.pool)
            .await
            .map_err(sql)?;
        let Some((last, told)) = row else { return Ok(None) };
        Ok(Some(Told { last: time(&last)?, told: serde_json::from_str(&told).map_err(json)? }))
    }

    /// The pipelines that have silent sources.
    pub async fn pipelines_with_silences(&self) -> Result<Vec<String>> {
        let rows: Vec<(String,)> = sqlx::query_as("SELECT DISTINCT pipeline FROM silences").fetch_all(&self.pool).await.map_err(sql)?;
        Ok(rows.into_iter().map(|(pipeline,)| pipeline).collect())
    }

    /// The silent sources of a pipeline, with what was newest.
    pub async fn silences(&self, pipeline: &str) -> Result<Vec<(String, String)>> {
        sqlx::query_as("SELECT source, last FROM silences WHERE pipeline = ?1 ORDER BY source")
            .bind(pipeline.to_owned())
            .fetch_all(&self.pool)
            .await
            .map_err(sql)
    }
}

/// Notes a silence that people are told of. `false` if another process has.
pub async fn begin(tx: &mut Tx, pipeline: &str, source: &str, told: &Told) -> Result<bool> {
    let done = sqlx::query("INSERT INTO silences (pipeline, source, last, told) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING")
        .bind(pipeline.to_owned())
        .bind(source.to_owned())
        .bind(told.last.to_string())
        .bind(serde_json::to_string(&told.told).map_err(json)?)
        .execute(&mut **tx)
        .await
        .map_err(sql)?;
    Ok(done.rows_affected() == 1)
}

/// Notes that a silence is over. `false` if another process has.
pub async fn end(tx: &mut Tx, pipeline: &str, source: &str) -> Result<bool> {
    let done = sqlx::query("DELETE FROM silences WHERE pipeline = ?1 AND source = ?2")
        .bind(pipeline.to_owned())
        .bind(source.to_owned())
        .execute(&mut **tx)
        .await
        .map_err(sql)?;
    Ok(done.rows_affected() == 1)
}
