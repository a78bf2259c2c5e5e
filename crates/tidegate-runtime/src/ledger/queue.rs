//! The queue: which pipelines are to be run, and which process has which of them.
//!
//! A pipeline waits at most once: triggers that come meanwhile join it. It is leased at most once: a lease whose process
//! has not been heard of for a while is free for any other, which goes on with the run.

use super::{Ledger, Tx};
use crate::error::{Result, json, sql};
use jiff::Timestamp;
use std::time::Duration;
use tidegate_core::trigger::Trigger;

/// Triggers that an entry remembers; more of them change nothing.
const MOST_TRIGGERS: usize = 32;

/// A pipeline that is to be run, and is this process's to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The entry's number.
    pub id: i64,
    /// The pipeline.
    pub pipeline: String,
    /// What asked for it.
    pub triggers: Vec<Trigger>,
    /// Failed tries before this one.
    pub tries: u32,
    /// When it was first asked for.
    pub created_at: Timestamp,
    /// Whether another process had it and was not heard of again.
    pub taken_over: bool,
}

/// An entry, for people.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Entry {
    /// The pipeline.
    pub pipeline: String,
    /// `waiting` or `leased`.
    pub state: String,
    /// What asked for it.
    pub triggers: Vec<Trigger>,
    /// Failed tries before this one.
    pub tries: u32,
    /// Not before this moment.
    pub not_before: Timestamp,
    /// Until when a process has it.
    pub lease_until: Option<Timestamp>,
}

fn moment(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or_default()
}

/// Asks for a run of a pipeline, not before a moment.
pub async fn enqueue(tx: &mut Tx, pipeline: &str, trigger: &Trigger, tries: u32, not_before: Timestamp, now: Timestamp) -> Result<()> {
    let waiting: Option<(i64, String)> = sqlx::query_as("SELECT id, triggers FROM queue WHERE pipeline = ?1 AND state = 'waiting'")
        .bind(pipeline.to_owned())
        .fetch_optional(&mut **tx)
        .await
        .map_err(sql)?;
    let query = match waiting {
        Some((id, triggers)) => {
            let mut triggers: Vec<Trigger> = serde_json::from_str(&triggers).map_err(json)?;
            if !triggers.contains(trigger) && triggers.len() < MOST_TRIGGERS {
                triggers.push(trigger.clone());
            }
            // Whoever wants it sooner gets it sooner.
            sqlx::query("UPDATE queue SET triggers = ?2, not_before = min(not_before, ?3) WHERE id = ?1")
                .bind(id)
                .bind(serde_json::to_string(&triggers).map_err(json)?)
                .bind(not_before.as_millisecond())
        }
        None => sqlx::query(
            "INSERT INTO queue (pipeline, state, triggers, tries, not_before, created_at) VALUES (?1, 'waiting', ?2, ?3, ?4, ?5)",
        )
        .bind(pipeline.to_owned())
        .bind(serde_json::to_string(&[trigger]).map_err(json)?)
        .bind(tries)
        .bind(not_before.as_millisecond())
        .bind(now.as_millisecond()),
    };
    query.execute(&mut **tx).await.map_err(sql)?;
    Ok(())
}

impl Ledger {
    /// Asks for a run of a pipeline now.
    pub async fn ask(&self, pipeline: &str, trigger: &Trigger, now: Timestamp) -> Result<()> {
        let mut tx = self.begin().await?;
        enqueue(&mut tx, pipeline, trigger, 0, now, now).await?;
        tx.commit().await.map_err(sql)
    }

    /// Whether there is anything to take at all. Looked at before a transaction is begun, which would wait for those of others.
    pub async fn is_due(&self, now: Timestamp) -> Result<bool> {
        let due: Option<(i64,)> = sqlx::query_as(
            "SELECT 1 FROM queue WHERE (state = 'waiting' AND not_before <= ?1) OR (state = 'leased' AND lease_until <= ?1) LIMIT 1",
        )
        .bind(now.as_millisecond())
        .fetch_optional(&self.pool)
        .await
        .map_err(sql)?;
        Ok(due.is_some())
    }

    /// Takes the next entry that is due: first one whose process died, then the pipeline that was served longest ago. None
    /// if nothing is due, or as many runs are at work as may be. Only `pipelines` are considered.
    pub async fn claim(&self, owner: &str, pipelines: &[String], most: usize, lease: Duration, now: Timestamp) -> Result<Option<Claim>> {
        let millis = now.as_millisecond();
        let names = serde_json::to_string(pipelines).map_err(json)?;
        let mut tx = self.begin().await?;
        let (at_work,): (i64,) = sqlx::query_as("SELECT count(*) FROM queue WHERE state = 'leased' AND lease_until > ?1")
            .bind(millis)
            .fetch_one(&mut *tx)
            .await
            .map_err(sql)?;
        if usize::try_from(at_work).unwrap_or(usize::MAX) >= most {
            return Ok(None);
        }
        let query = "SELECT q.id, q.pipeline, q.triggers, q.tries, q.created_at, q.state = 'leased' FROM queue q \
             LEFT JOIN pipelines p ON p.name = q.pipeline \
             WHERE q.pipeline IN (SELECT value FROM json_each(?1)) AND ( \
               (q.state = 'leased' AND q.lease_until <= ?2) OR \
               (q.state = 'waiting' AND q.not_before <= ?2 AND p.paused IS NULL \
                AND NOT EXISTS (SELECT 1 FROM queue o WHERE o.pipeline = q.pipeline AND o.state = 'leased'))) \
             ORDER BY q.state = 'waiting', coalesce(p.claimed, 0), q.id LIMIT 1";
        let found: Option<(i64, String, String, u32, i64, bool)> =
            sqlx::query_as(query).bind(names).bind(millis).fetch_optional(&mut *tx).await.map_err(sql)?;
        let Some((id, pipeline, triggers, tries, created, taken_over)) = found else { return Ok(None) };
        sqlx::query("UPDATE queue SET state = 'leased', owner = ?2, lease_until = ?3 WHERE id = ?1")
            .bind(id)
            .bind(owner.to_owned())
            .bind(until(now, lease))
            .execute(&mut *tx)
            .await
            .map_err(sql)?;
        sqlx::query("UPDATE pipelines SET claimed = ?2 WHERE name = ?1")
            .bind(pipeline.clone())
            .bind(id)
            .execute(&mut *tx)
            .await
            .map_err(sql)?;
        tx.commit().await.map_err(sql)?;
        let triggers = serde_json::from_str(&triggers).map_err(json)?;
        Ok(Some(Claim { id, pipeline, triggers, tries, created_at: moment(created), taken_over }))
    }

    /// Says that the process is still at it. `false` if another one has taken the entry over.
    pub async fn heartbeat(&self, owner: &str, id: i64, lease: Duration, now: Timestamp) -> Result<bool> {
        let done = sqlx::query("UPDATE queue SET lease_until = ?3 WHERE id = ?1 AND owner = ?2")
            .bind(id)
            .bind(owner.to_owned())
            .bind(until(now, lease))
            .execute(&self.writer)
            .await
            .map_err(sql)?;
        Ok(done.rows_affected() == 1)
    }

    /// Whether a run of this pipeline is asked for already.
    pub async fn is_waiting(&self, pipeline: &str) -> Result<bool> {
        let row: Option<(i64,)> = sqlx::query_as("SELECT 1 FROM queue WHERE pipeline = ?1 AND state = 'waiting'")
            .bind(pipeline.to_owned())
            .fetch_optional(&self.pool)
            .await
            .map_err(sql)?;
        Ok(row.is_some())
    }

    /// Whether a run of this pipeline is held.
    pub async fn is_held(&self, pipeline: &str) -> Result<bool> {
        let row: Option<(i64,)> = sqlx::query_as("SELECT 1 FROM runs WHERE pipeline = ?1 AND state = 'held' LIMIT 1")
            .bind(pipeline.to_owned())
            .fetch_optional(&self.pool)
            .await
            .map_err(sql)?;
        Ok(row.is_some())
    }

    /// The whole queue, in the order of asking.
    pub async fn queue(&self) -> Result<Vec<Entry>> {
        let rows: Vec<(String, String, String, u32, i64, Option<i64>)> =
            sqlx::query_as("SELECT pipeline, state, triggers, tries, not_before, lease_until FROM queue ORDER BY id")
                .fetch_all(&self.pool)
                .await
                .map_err(sql)?;
        rows.into_iter()
            .map(|(pipeline, state, triggers, tries, not_before, lease_until)| {
                Ok(Entry {
                    pipeline,
                    state,
                    triggers: serde_json::from_str(&triggers).map_err(json)?,
                    tries,
                    not_before: moment(not_before),
                    lease_until: lease_until.map(moment),
                })
            })
            .collect()
    }

    /// Since when a pipeline is paused.
    pub async fn paused(&self, pipeline: &str) -> Result<Option<Timestamp>> {
        let row: Option<(Option<i64>,)> = sqlx::query_as("SELECT paused FROM pipelines WHERE name = ?1")
            .bind(pipeline.to_owned())
            .fetch_optional(&self.pool)
            .await
            .map_err(sql)?;
        Ok(row.and_then(|(since,)| since).map(moment))
    }

    /// Pauses a pipeline, or lets it go on. What is at work ends; what is asked for meanwhile waits.
    pub async fn pause(&self, pipeline: &str, since: Option<Timestamp>) -> Result<()> {
        sqlx::query("UPDATE pipelines SET paused = ?2 WHERE name = ?1")
            .bind(pipeline.to_owned())
            .bind(since.map(Timestamp::as_millisecond))
            .execute(&self.writer)
            .await
            .map_err(sql)?;
        Ok(())
    }
}

fn until(now: Timestamp, lease: Duration) -> i64 {
    now.as_millisecond().saturating_add(i64::try_from(lease.as_millis()).unwrap_or(i64::MAX))
}

/// Ends an entry that this process has.
pub async fn finish(tx: &mut Tx, owner: &str, id: i64) -> Result<()> {
    sqlx::query("DELETE FROM queue WHERE id = ?1 AND owner = ?2").bind(id).bind(owner.to_owned()).execute(&mut **tx).await.map_err(sql)?;
    Ok(())
}
