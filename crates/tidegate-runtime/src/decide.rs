//! What a person decides: approve or discard a held run, replay an old one, discard quarantined rows.

use crate::{
    Conductor, Ended,
    commit::append,
    error::{Result, sql},
    ledger::{
        events, quarantine,
        runs::{self, NewRun, Run},
    },
};
use serde_json::json;
use std::sync::Arc;
use tidegate_core::{
    Code, Failure, Outcome, RunId, RunState,
    event::{Draft, kind},
    pipeline::Pipeline,
    quarantine::Status,
    trigger::Trigger,
};

impl Conductor {
    async fn held(&self, pipeline: &Arc<Pipeline>, id: RunId) -> Result<Run> {
        let run = self.ledger.run(id).await?;
        if run.pipeline != pipeline.name() || run.state != RunState::Done(Outcome::Held) {
            let mut failure = Failure::new(Code::TG405, format!("run {id} is not held: it is {}", run.state.as_str()));
            if let Some(note) = &run.report.note {
                failure = failure.detail("note", note.clone());
            }
            return Err(failure.hint("`tidegate runs` shows which runs are held"));
        }
        Ok(run)
    }

    /// Lets a held run pass its guards. It is worked out again from its publications, so it says what it said.
    pub async fn approve(&self, pipeline: &Arc<Pipeline>, id: RunId) -> Result<Ended> {
        let _lock = self.lock(pipeline).await?;
        let run = self.held(pipeline, id).await?;
        if self.ledger.last_settled(pipeline.name()).await? > id {
            return Err(Failure::new(Code::TG408, format!("run {id} is older than what the table says now"))
                .hint("`tidegate replay` repeats it as a new run"));
        }
        let now = self.now();
        let mut tx = self.ledger.begin().await?;
        runs::restart(&mut tx, run.id, &pipeline.definition, true).await?;
        append(&mut tx, pipeline, kind::RUN_APPROVED, run.id, json!({}), now).await?;
        tx.commit().await.map_err(sql)?;
        self.execute(pipeline, self.ledger.run(id).await?).await
    }

    /// Drops a held run; its publications are not read again.
    pub async fn discard(&self, pipeline: &Arc<Pipeline>, id: RunId) -> Result<Run> {
        let _lock = self.lock(pipeline).await?;
        let run = self.held(pipeline, id).await?;
        let now = self.now();
        let mut tx = self.ledger.begin().await?;
        runs::cancel(&mut tx, &run, "discarded by a person").await?;
        self.put_inputs_aside(&mut tx, pipeline, &run, "discarded").await?;
        runs::set_incident(&mut tx, pipeline.name(), None).await?;
        append(&mut tx, pipeline, kind::RUN_CANCELLED, run.id, json!({ "why": "discarded by a person" }), now).await?;
        tx.commit().await.map_err(sql)?;
        self.ledger.run(id).await
    }

    /// Runs the pipeline on the very bytes an earlier run had, as a new run.
    pub async fn replay(&self, pipeline: &Arc<Pipeline>, id: RunId) -> Result<Ended> {
        let _lock = self.lock(pipeline).await?;
        let old = self.ledger.run(id).await?;
        if old.pipeline != pipeline.name() || old.inputs.is_empty() {
            return Err(Failure::new(Code::TG404, format!("run {id} read nothing that could be read again")));
        }
        let now = self.now();
        let mut tx = self.ledger.begin().await?;
        let new = NewRun {
            pipeline: pipeline.name(),
            kind: "replay",
            inputs: &old.inputs,
            definition: &pipeline.definition,
            table: pipeline.table(),
            key: &pipeline.file.table.key,
            published_at: old.published_at,
            triggers: &[Trigger::Manual],
            now,
        };
        let run = runs::create(&mut tx, &new).await?;
        tx.commit().await.map_err(sql)?;
        self.execute(pipeline, self.ledger.run(run).await?).await
    }

    /// Closes quarantined rows for good: the same text is not brought up again.
    pub async fn discard_rows(&self, ids: &[i64]) -> Result<u64> {
        let mut rows = Vec::new();
        for id in ids {
            rows.push(self.ledger.quarantined(*id).await?);
        }
        let mut tx = self.ledger.begin().await?;
        let mut closed = 0;
        for row in rows.iter().filter(|row| row.status == Status::Open) {
            quarantine::close(&mut tx, row.id, Status::Discarded, None, "discarded by a person").await?;
            let data = json!({ "id": row.id, "source": row.row.source, "first_run": row.first_run });
            events::append(&mut tx, &row.pipeline, &Draft { kind: kind::QUARANTINE_DISCARDED, run: Some(row.last_run), data }, self.now())
                .await?;
            closed += 1;
        }
        tx.commit().await.map_err(sql)?;
        Ok(closed)
    }
}
