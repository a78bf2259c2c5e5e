//! Repair before new work (INV-5): what an earlier process left is finished or repeated first.

use crate::{
    Conductor, Ended,
    commit::append,
    error::{Result, sql},
    ledger::runs,
};
use serde_json::json;
use std::sync::Arc;
use tidegate_core::{
    Outcome, RunId, RunState,
    event::kind,
    pipeline::Pipeline,
    retry::{self, Verdict},
};

impl Conductor {
    /// Finishes what is unfinished. Says which runs ended, and whether newer work may go on.
    pub(crate) async fn recover(&self, pipeline: &Arc<Pipeline>) -> Result<(Vec<Ended>, bool)> {
        let mut ended = Vec::new();
        // Whoever holds the lock is the only process at work: a running run is an interrupted one.
        for run in self.ledger.runs_in(pipeline.name(), RunState::Running, RunId(0)).await? {
            let now = self.now();
            let mut tx = self.ledger.begin().await?;
            runs::restart(&mut tx, run.id, &pipeline.definition, run.approved).await?;
            append(&mut tx, pipeline, kind::RUN_REPEATED, run.id, json!({ "why": "interrupted", "try": run.tries + 1 }), now).await?;
            tx.commit().await.map_err(sql)?;
            let run = self.ledger.run(run.id).await?;
            if !run.inputs.is_empty() {
                ended.push(self.execute(pipeline, run).await?);
            } else {
                // It never came to have publications; the run that follows asks for them.
                let mut tx = self.ledger.begin().await?;
                runs::cancel(&mut tx, &run, "interrupted before there was anything to read").await?;
                tx.commit().await.map_err(sql)?;
            }
        }
        // The changesets and messages of runs that were committed.
        let failures = self.apply_pending(pipeline).await;
        let undelivered = self.deliver(pipeline).await?;
        for failure in failures.iter().chain(&undelivered) {
            tracing::warn!(pipeline = pipeline.name(), code = failure.code.as_str(), "{failure}");
        }
        // Publications that failed since the table last moved are repeated before newer ones.
        let settled = self.ledger.last_settled(pipeline.name()).await?;
        let failed = self.ledger.runs_in(pipeline.name(), RunState::Done(Outcome::Failed), settled).await?;
        for run in failed.into_iter().filter(|run| !run.inputs.is_empty()) {
            let same = run.definition == pipeline.definition;
            let class = run.receipt.as_ref().and_then(|receipt| receipt.error.as_ref()).map(tidegate_core::Failure::class);
            let Some(class) = class else { continue };
            if (run.set_aside && same) || retry::verdict(class, run.tries, pipeline.file.retry.tries, same) == Verdict::SetAside {
                continue;
            }
            let mut tx = self.ledger.begin().await?;
            runs::restart(&mut tx, run.id, &pipeline.definition, false).await?;
            tx.commit().await.map_err(sql)?;
            let again = self.execute(pipeline, self.ledger.run(run.id).await?).await?;
            let blocked = again.receipt.outcome == Outcome::Failed && !self.ledger.run(run.id).await?.set_aside;
            ended.push(again);
            if blocked {
                // It may succeed later, and order matters: newer publications wait for it, a bounded number of times.
                return Ok((ended, false));
            }
        }
        Ok((ended, true))
    }
}
