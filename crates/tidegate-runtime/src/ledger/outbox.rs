//! Messages that are to be delivered. They are written with the run they tell of, and delivered afterwards.

use super::{Ledger, Tx, runs::time};
use crate::error::{Result, json, sql};
use jiff::Timestamp;
use std::time::Duration;
use tidegate_core::{Failure, RunId, message::Message};

/// A message on its way.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its number.
    pub id: i64,
    /// By which the receiver knows a repetition.
    pub delivery: String,
    /// The notifier's place in the pipeline file.
    pub notifier: usize,
    /// The notifier's kind when the message was written.
    pub kind: String,
    /// Tries so far.
    pub tries: u32,
    /// The message.
    pub message: Message,
    /// When it was written.
    pub created_at: Timestamp,
}

/// A message to be written.
pub struct NewEntry<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// By which the receiver knows a repetition; the same for the same thing told.
    pub delivery: &'a str,
    /// The run it tells of.
    pub run: RunId,
    /// The notifier's place in the pipeline file.
    pub notifier: usize,
    /// The notifier's kind.
    pub kind: &'a str,
    /// The message.
    pub message: &'a Message,
    /// Now.
    pub now: Timestamp,
}

/// Writes a message. With a delivery that is there already it changes nothing.
pub async fn write(tx: &mut Tx, entry: &NewEntry<'_>) -> Result<()> {
    let NewEntry { pipeline, delivery, run, notifier, kind, message, now } = *entry;
    sqlx::query("INSERT INTO outbox (delivery, pipeline, run, notifier, kind, message, status, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'pending', ?7) ON CONFLICT (delivery) DO NOTHING")
        .bind(delivery.to_owned())
        .bind(pipeline.to_owned())
        .bind(run.0)
        .bind(i64::try_from(notifier).unwrap_or_default())
        .bind(kind.to_owned())
        .bind(serde_json::to_string(message).map_err(json)?)
        .bind(now.to_string())
        .execute(&mut **tx)
        .await
        .map_err(sql)?;
    Ok(())
}

const COLUMNS: &str = "id, delivery, notifier, kind, tries, message, created_at";
type Row = (i64, String, i64, String, i64, String, String);

fn read((id, delivery, notifier, kind, tries, message, created_at): Row) -> Result<Entry> {
    Ok(Entry {
        id,
        delivery,
        notifier: usize::try_from(notifier).unwrap_or(usize::MAX),
        kind,
        tries: u32::try_from(tries).unwrap_or(u32::MAX),
        message: serde_json::from_str(&message).map_err(json)?,
        created_at: time(&created_at)?,
    })
}

impl Ledger {
    /// Messages of a pipeline that are not delivered yet, oldest first.
    pub async fn outbox(&self, pipeline: &str) -> Result<Vec<Entry>> {
        let query = format!("SELECT {COLUMNS} FROM outbox WHERE pipeline = ?1 AND status = 'pending' ORDER BY id LIMIT 1000");
        let rows: Vec<Row> =
            sqlx::query_as(sqlx::AssertSqlSafe(query)).bind(pipeline.to_owned()).fetch_all(&self.pool).await.map_err(sql)?;
        rows.into_iter().map(read).collect()
    }

    /// Who has something waiting that may be delivered now: pipelines and places of their notifiers.
    pub async fn outbox_due(&self, now: Timestamp) -> Result<Vec<(String, usize)>> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT pipeline, notifier FROM outbox WHERE status = 'pending' \
             GROUP BY pipeline, notifier HAVING min(not_before) <= ?1 AND max(lease_until) <= ?1",
        )
        .bind(now.as_millisecond())
        .fetch_all(&self.pool)
        .await
        .map_err(sql)?;
        Ok(rows.into_iter().map(|(pipeline, notifier)| (pipeline, usize::try_from(notifier).unwrap_or(usize::MAX))).collect())
    }

    /// Takes the oldest message of a notifier to deliver it, if it is due and nobody else is at it.
    pub async fn take_entry(&self, pipeline: &str, notifier: usize, lease: Duration, now: Timestamp) -> Result<Option<Entry>> {
        let query = format!(
            "UPDATE outbox SET lease_until = ?3 WHERE id = (SELECT id FROM outbox WHERE pipeline = ?1 AND notifier = ?2 AND status = 'pending' ORDER BY id LIMIT 1) \
             AND not_before <= ?4 AND lease_until <= ?4 RETURNING {COLUMNS}"
        );
        let millis = now.as_millisecond();
        let row: Option<Row> = sqlx::query_as(sqlx::AssertSqlSafe(query))
            .bind(pipeline.to_owned())
            .bind(i64::try_from(notifier).unwrap_or(i64::MAX))
            .bind(millis.saturating_add(i64::try_from(lease.as_millis()).unwrap_or(i64::MAX)))
            .bind(millis)
            .fetch_optional(&self.writer)
            .await
            .map_err(sql)?;
        row.map(read).transpose()
    }

    /// Keeps a message that this process is delivering.
    pub async fn keep_entry(&self, id: i64, lease: Duration, now: Timestamp) -> Result<()> {
        sqlx::query("UPDATE outbox SET lease_until = ?2 WHERE id = ?1 AND status = 'pending'")
            .bind(id)
            .bind(now.as_millisecond().saturating_add(i64::try_from(lease.as_millis()).unwrap_or(i64::MAX)))
            .execute(&self.writer)
            .await
            .map_err(sql)?;
        Ok(())
    }

    /// Messages of a pipeline that did not arrive, by notifier: its kind, how many wait, how many were given up, and the
    /// last error.
    pub async fn outbox_troubles(&self, pipeline: &str) -> Result<Vec<(String, i64, i64, Option<String>)>> {
        sqlx::query_as(
            "SELECT kind, sum(status = 'pending'), sum(status = 'given_up'), max(last_error) FROM outbox \
             WHERE pipeline = ?1 AND status IN ('pending', 'given_up') GROUP BY notifier, kind ORDER BY notifier",
        )
        .bind(pipeline.to_owned())
        .fetch_all(&self.pool)
        .await
        .map_err(sql)
    }
}

/// Notes a delivery.
pub async fn sent(tx: &mut Tx, id: i64, now: Timestamp) -> Result<()> {
    sqlx::query("UPDATE outbox SET status = 'sent', tries = tries + 1, sent_at = ?2, last_error = NULL WHERE id = ?1")
        .bind(id)
        .bind(now.to_string())
        .execute(&mut **tx)
        .await
        .map_err(sql)?;
    Ok(())
}

/// Notes a failed delivery; with `give_up`, the last.
pub async fn failed(tx: &mut Tx, id: i64, failure: &Failure, give_up: bool) -> Result<()> {
    let status = if give_up { "given_up" } else { "pending" };
    sqlx::query("UPDATE outbox SET status = ?2, tries = tries + 1, last_error = ?3 WHERE id = ?1")
        .bind(id)
        .bind(status)
        .bind(failure.to_string())
        .execute(&mut **tx)
        .await
        .map_err(sql)?;
    Ok(())
}

/// Sets the moment of the next try.
pub async fn postpone(tx: &mut Tx, id: i64, not_before: Timestamp) -> Result<()> {
    sqlx::query("UPDATE outbox SET not_before = ?2, lease_until = 0 WHERE id = ?1")
        .bind(id)
        .bind(not_before.as_millisecond())
        .execute(&mut **tx)
        .await
        .map_err(sql)?;
    Ok(())
}
