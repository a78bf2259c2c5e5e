//! Publications in the ledger: what a source gave at one fetch.

use super::{Ledger, Tx, runs::time};
use crate::{
    error::{Result, json, sql},
    raw::Part,
};
use jiff::Timestamp;
use sqlx::{Row as _, sqlite::SqliteRow};
use tidegate_core::seam::{Parsed, Validators};

/// What a source gave at one fetch.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Its number.
    pub id: i64,
    /// The source.
    pub source: String,
    /// Hash of the publication.
    pub sha256: String,
    /// Size of the publication.
    pub bytes: u64,
    /// Its files.
    pub parts: Vec<Part>,
    /// Its column names, once it was parsed.
    pub header: Option<Vec<String>>,
    /// `fetched`, `accepted`, `discarded` or `set_aside`.
    pub status: String,
    /// When it was published, as far as the publisher says; else when it was fetched.
    pub published_at: Timestamp,
    /// When it was fetched.
    pub fetched_at: Timestamp,
    /// The newest value of the column by which the source's silence is told.
    pub newest: Option<Timestamp>,
}

/// What is known of a source.
#[derive(Debug, Clone)]
pub struct SourceState {
    /// To be sent with the next request.
    pub validators: Validators,
    /// The last publication seen.
    pub latest: i64,
    /// The publication the table is built from.
    pub accepted: Option<i64>,
    /// Where the last publication came from.
    pub place: String,
}

const COLUMNS: &str = "id, source, sha256, bytes, parts, header, status, published_at, fetched_at, newest";

fn read(row: &SqliteRow) -> Result<Snapshot> {
    let text = |column: &str| row.try_get::<String, _>(column).map_err(sql);
    let header: Option<String> = row.try_get("header").map_err(sql)?;
    Ok(Snapshot {
        id: row.try_get("id").map_err(sql)?,
        source: text("source")?,
        sha256: text("sha256")?,
        bytes: u64::try_from(row.try_get::<i64, _>("bytes").map_err(sql)?).unwrap_or_default(),
        parts: serde_json::from_str(&text("parts")?).map_err(json)?,
        header: header.map(|text| serde_json::from_str(&text)).transpose().map_err(json)?,
        status: text("status")?,
        published_at: time(&text("published_at")?)?,
        fetched_at: time(&text("fetched_at")?)?,
        newest: row.try_get::<Option<String>, _>("newest").map_err(sql)?.as_deref().map(time).transpose()?,
    })
}

impl Ledger {
    /// What is known of a source of a pipeline.
    pub async fn source_state(&self, pipeline: &str, source: &str) -> Result<Option<SourceState>> {
        let row = sqlx::query("SELECT validators, latest, accepted, place FROM source_state WHERE pipeline = ?1 AND source = ?2")
            .bind(pipeline.to_owned())
            .bind(source.to_owned())
            .fetch_optional(&self.pool)
            .await
            .map_err(sql)?;
        let Some(row) = row else { return Ok(None) };
        let validators: String = row.try_get("validators").map_err(sql)?;
        Ok(Some(SourceState {
            validators: serde_json::from_str(&validators).map_err(json)?,
            latest: row.try_get("latest").map_err(sql)?,
            accepted: row.try_get("accepted").map_err(sql)?,
            place: row.try_get("place").map_err(sql)?,
        }))
    }

    /// What is known of all sources of a pipeline.
    pub async fn source_states(&self, pipeline: &str) -> Result<Vec<SourceState>> {
        let names: Vec<(String,)> = sqlx::query_as("SELECT source FROM source_state WHERE pipeline = ?1 ORDER BY source")
            .bind(pipeline.to_owned())
            .fetch_all(&self.pool)
            .await
            .map_err(sql)?;
        let mut states = Vec::new();
        for (name,) in names {
            states.extend(self.source_state(pipeline, &name).await?);
        }
        Ok(states)
    }

    /// The snapshot of this number.
    pub async fn snapshot(&self, id: i64) -> Result<Snapshot> {
        let query = format!("SELECT {COLUMNS} FROM snapshots WHERE id = ?1");
        let row = sqlx::query(sqlx::AssertSqlSafe(query)).bind(id).fetch_one(&self.pool).await.map_err(sql)?;
        read(&row)
    }

    /// The last publication with these bytes before another one.
    pub async fn same_before(&self, pipeline: &str, source: &str, sha256: &str, before: i64) -> Result<Option<Snapshot>> {
        let query = format!(
            "SELECT {COLUMNS} FROM snapshots WHERE pipeline = ?1 AND source = ?2 AND sha256 = ?3 AND id < ?4 ORDER BY id DESC LIMIT 1"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(query));
        let query = query.bind(pipeline.to_owned()).bind(source.to_owned()).bind(sha256.to_owned()).bind(before);
        query.fetch_optional(&self.pool).await.map_err(sql)?.as_ref().map(read).transpose()
    }

    /// The oldest snapshots of a pipeline that were fetched before a moment and whose bytes may still be there; a bounded number.
    pub async fn expired(&self, pipeline: &str, before: Timestamp) -> Result<Vec<Snapshot>> {
        let query = format!(
            "SELECT {COLUMNS} FROM snapshots WHERE pipeline = ?1 AND fetched_at < ?2 AND expired = 0 ORDER BY fetched_at LIMIT 1000"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(pipeline.to_owned()).bind(before.to_string());
        query.fetch_all(&self.pool).await.map_err(sql)?.iter().map(read).collect()
    }

    /// Whether another publication than this one still has a file with these bytes.
    pub async fn is_needed(&self, sha256: &str, but: i64) -> Result<bool> {
        let (needed,): (bool,) = sqlx::query_as(
            "SELECT EXISTS (SELECT 1 FROM snapshots WHERE sha256 = ?1 AND id <> ?2 AND expired = 0) OR \
             EXISTS (SELECT 1 FROM snapshots WHERE parts LIKE '%},{%' AND parts LIKE '%' || ?1 || '%' AND id <> ?2 AND expired = 0)",
        )
        .bind(sha256.to_owned())
        .bind(but)
        .fetch_one(&self.pool)
        .await
        .map_err(sql)?;
        Ok(needed)
    }

    /// Notes that the bytes of a publication are gone, as far as no other has them.
    pub async fn expire(&self, id: i64) -> Result<()> {
        sqlx::query("UPDATE snapshots SET expired = 1 WHERE id = ?1").bind(id).execute(&self.writer).await.map_err(sql)?;
        Ok(())
    }

    /// All snapshots of a pipeline, oldest first.
    pub async fn snapshots(&self, pipeline: &str) -> Result<Vec<Snapshot>> {
        let query = format!("SELECT {COLUMNS} FROM snapshots WHERE pipeline = ?1 ORDER BY id");
        let rows = sqlx::query(sqlx::AssertSqlSafe(query)).bind(pipeline.to_owned()).fetch_all(&self.pool).await.map_err(sql)?;
        rows.iter().map(read).collect()
    }
}

/// A publication that has just been fetched.
pub struct NewSnapshot<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The source.
    pub source: &'a str,
    /// Hash of the publication.
    pub sha256: &'a str,
    /// Its files.
    pub parts: &'a [Part],
    /// When it was published.
    pub published_at: Timestamp,
    /// When it was fetched.
    pub fetched_at: Timestamp,
}

/// Records a publication.
pub async fn create(tx: &mut Tx, new: &NewSnapshot<'_>) -> Result<i64> {
    let bytes: u64 = new.parts.iter().map(|part| part.bytes).sum();
    let query = "INSERT INTO snapshots (pipeline, source, sha256, bytes, parts, status, published_at, fetched_at) VALUES (?1, ?2, ?3, ?4, ?5, 'fetched', ?6, ?7) RETURNING id";
    let (id,): (i64,) = sqlx::query_as(query)
        .bind(new.pipeline.to_owned())
        .bind(new.source.to_owned())
        .bind(new.sha256.to_owned())
        .bind(i64::try_from(bytes).unwrap_or(i64::MAX))
        .bind(serde_json::to_string(new.parts).map_err(json)?)
        .bind(new.published_at.to_string())
        .bind(new.fetched_at.to_string())
        .fetch_one(&mut **tx)
        .await
        .map_err(sql)?;
    Ok(id)
}

/// Notes the last publication seen of a source, and what to send with the next request.
pub async fn seen(tx: &mut Tx, pipeline: &str, source: &str, validators: &Validators, latest: i64, place: &str) -> Result<()> {
    let query = "INSERT INTO source_state (pipeline, source, validators, latest, place) VALUES (?1, ?2, ?3, ?4, ?5) \
                 ON CONFLICT (pipeline, source) DO UPDATE SET validators = excluded.validators, latest = excluded.latest, place = excluded.place";
    sqlx::query(query)
        .bind(pipeline.to_owned())
        .bind(source.to_owned())
        .bind(serde_json::to_string(validators).map_err(json)?)
        .bind(latest)
        .bind(place.to_owned())
        .execute(&mut **tx)
        .await
        .map_err(sql)?;
    Ok(())
}

/// Notes that the table is built from this publication.
pub async fn accept(tx: &mut Tx, pipeline: &str, source: &str, id: i64, parsed: &Parsed) -> Result<()> {
    sqlx::query("UPDATE source_state SET accepted = ?3 WHERE pipeline = ?1 AND source = ?2")
        .bind(pipeline.to_owned())
        .bind(source.to_owned())
        .bind(id)
        .execute(&mut **tx)
        .await
        .map_err(sql)?;
    sqlx::query("UPDATE snapshots SET status = 'accepted', header = ?2, newest = ?3 WHERE id = ?1")
        .bind(id)
        .bind(serde_json::to_string(&parsed.header).map_err(json)?)
        .bind(parsed.newest.map(|newest| newest.to_string()))
        .execute(&mut **tx)
        .await
        .map_err(sql)?;
    Ok(())
}

/// Sets the status of a publication that no run reads any more by itself.
pub async fn put_aside(tx: &mut Tx, id: i64, status: &'static str) -> Result<()> {
    sqlx::query("UPDATE snapshots SET status = ?2 WHERE id = ?1 AND status <> 'accepted'")
        .bind(id)
        .bind(status)
        .execute(&mut **tx)
        .await
        .map_err(sql)?;
    Ok(())
}
