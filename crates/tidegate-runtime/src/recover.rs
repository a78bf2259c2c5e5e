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
    Class, Failure, Outcome, RunId, RunState,
    event::kind,
    pipeline::Pipeline,
    retry::{self, Verdict},
};

/// What became of earlier work.
pub(crate) struct Recovered {
    /// Runs that ended now.
    pub(crate) ended: Vec<Ended>,
    /// Destinations and notifiers that still do not take what was committed before.
    pub(crate) behind: Vec<Failure>,
    /// Whether newer work may go on.
    pub(crate) go_on: bool,
}

impl Conductor {
    /// Finishes what is unfinished.
    pub(crate) async fn recover(&self, pipeline: &Arc<Pipeline>) -> Result<Recovered> {
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
        let behind: Vec<Failure> = failures.into_iter().chain(undelivered).collect();
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
            runs::restart(&mut tx, run.id, &pipeline.definition, run.approved).await?;
            tx.commit().await.map_err(sql)?;
            let again = self.execute(pipeline, self.ledger.run(run.id).await?).await?;
            let blocked = again.receipt.outcome == Outcome::Failed && !self.ledger.run(run.id).await?.set_aside;
            ended.push(again);
            if blocked {
                // It may succeed later, and order matters: newer publications wait for it, a bounded number of times.
                return Ok(Recovered { ended, behind, go_on: false });
            }
        }
        Ok(Recovered { ended, behind, go_on: true })
    }

    /// Lets publications that failed for the state of the home folder be tried again, now that it is mended.
    pub(crate) async fn reopen_mended(&self, pipeline: &Arc<Pipeline>) -> Result<()> {
        let settled = self.ledger.last_settled(pipeline.name()).await?;
        let failed = self.ledger.runs_in(pipeline.name(), RunState::Done(Outcome::Failed), settled).await?;
        let terminal = |run: &&runs::Run| {
            run.receipt.as_ref().and_then(|receipt| receipt.error.as_ref()).is_some_and(|error| error.class() == Class::Terminal)
        };
        let mended: Vec<&runs::Run> = failed.iter().filter(terminal).collect();
        let mut tx = self.ledger.begin().await?;
        runs::reopen(&mut tx, pipeline.name(), &mended).await?;
        tx.commit().await.map_err(sql)
    }
}
