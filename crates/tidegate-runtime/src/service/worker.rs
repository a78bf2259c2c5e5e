//! Workers: take what is due, run it, and decide what becomes of it.

use super::{Note, Service};
use crate::{
    Ended, RunOptions,
    error::{Result, sql},
    ledger::{
        events,
        queue::{self, Claim},
    },
};
use jiff::Timestamp;
use serde_json::json;
use std::{
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
    time::Duration,
};
use tidegate_core::{
    Class, Code, Failure, Outcome,
    event::{Draft, kind},
    pipeline::Pipeline,
    retry,
    trigger::Trigger,
};
use tokio::task::JoinSet;

/// How soon a pipeline is tried again that somebody else is running.
const LOCKED: Duration = Duration::from_secs(1);

/// What becomes of an entry of the queue.
enum Verdict {
    /// It is done.
    Done,
    /// It is tried again, as one try more.
    Again(Duration),
    /// It could not begin; that was no try.
    Later(Duration),
}

impl Service {
    /// Takes the next entry of the queue and works it off. `false` if nothing is due.
    pub async fn work(&self) -> Result<bool> {
        if !self.conductor.ledger.is_due(self.now()).await? {
            return Ok(false);
        }
        let names: Vec<String> = self.pipelines().iter().map(|pipeline| pipeline.name().to_owned()).collect();
        let options = &self.options;
        let claim = self.conductor.ledger.claim(&self.owner, &names, options.max_concurrent_runs, options.lease, self.now()).await?;
        let Some(claim) = claim else { return Ok(false) };
        let Some(pipeline) = self.pipeline(&claim.pipeline) else { return Ok(false) };
        let verdict = self.run_claimed(&pipeline, &claim).await;
        self.settle(&claim, verdict).await?;
        self.look_again(&pipeline).await?;
        Ok(true)
    }

    async fn run_claimed(&self, pipeline: &Arc<Pipeline>, claim: &Claim) -> Verdict {
        let mut triggers = claim.triggers.clone();
        if claim.taken_over {
            triggers.push(Trigger::Repair);
        }
        let heartbeat = self.stay_alive(claim);
        let ran = self.conductor.run(pipeline, RunOptions { again: false, triggers }).await;
        drop(heartbeat);
        match ran {
            Ok(ended) => {
                // A look that found nothing new is no run.
                let is_run = |ended: &&Ended| ended.receipt.run.is_some() || ended.receipt.outcome == Outcome::Waiting;
                for ended in ended.iter().filter(is_run) {
                    count(ended);
                    (self.watcher)(&Note::Ended(ended));
                }
                self.judge(pipeline, claim, ended.last())
            }
            Err(failure) if failure.code == Code::TG402 => Verdict::Later(LOCKED),
            Err(failure) => {
                (self.watcher)(&Note::Failed(&claim.pipeline, &failure));
                self.again(pipeline, claim, &failure)
            }
        }
    }

    /// Renews the lease until it is dropped. A task of its own: a run that is busy with bytes that are all there, or that has
    /// the ledger's writer, must not keep it waiting.
    fn stay_alive(&self, claim: &Claim) -> JoinSet<()> {
        let (ledger, clock, lease) = (self.conductor.ledger.clone(), Arc::clone(&self.conductor.clock), self.options.lease);
        let (owner, pipeline, id) = (self.owner.clone(), claim.pipeline.clone(), claim.id);
        let mut heartbeat = JoinSet::new();
        heartbeat.spawn(async move {
            loop {
                tokio::time::sleep(lease / 3).await;
                let kept = ledger.heartbeat(&owner, id, lease, clock()).await;
                if !matches!(kept, Ok(true)) {
                    tracing::warn!(pipeline, "the lease of a run could not be renewed");
                }
            }
        });
        heartbeat
    }

    fn judge(&self, pipeline: &Pipeline, claim: &Claim, last: Option<&Ended>) -> Verdict {
        let Some(last) = last else { return Verdict::Done };
        if last.receipt.outcome == Outcome::Failed {
            self.put_off(&claim.pipeline);
        }
        if let Some(failure) = last.receipt.error.as_ref().filter(|_| last.receipt.outcome == Outcome::Failed) {
            return self.again(pipeline, claim, failure);
        }
        self.succeeded(&claim.pipeline);
        // Published, and a destination is behind: it catches up without waiting for the next trigger.
        match last.after.first() {
            Some(failure) => self.again(pipeline, claim, failure),
            None => Verdict::Done,
        }
    }

    /// Retry policy: reads the class of the error and nothing else. What is given up here comes again with the next trigger,
    /// and publications that were recorded are remembered in any case.
    fn again(&self, pipeline: &Pipeline, claim: &Claim, failure: &Failure) -> Verdict {
        let tried = claim.tries + 1;
        if failure.class() != Class::Transient || tried >= pipeline.file.retry.tries.max(1) {
            return Verdict::Done;
        }
        Verdict::Again(retry::backoff(tried + 1, jitter()))
    }

    async fn settle(&self, claim: &Claim, verdict: Verdict) -> Result<()> {
        let now = self.now();
        let mut tx = self.conductor.ledger.begin().await?;
        queue::finish(&mut tx, &self.owner, claim.id).await?;
        match verdict {
            Verdict::Done => {}
            Verdict::Again(wait) => {
                let data = json!({ "why": "retry", "try": claim.tries + 2, "seconds": wait.as_secs_f64() });
                events::append(&mut tx, &claim.pipeline, &Draft { kind: kind::RUN_QUEUED, run: None, data }, now).await?;
                queue::enqueue(&mut tx, &claim.pipeline, &Trigger::Retry, claim.tries + 1, later(now, wait), now).await?;
            }
            Verdict::Later(wait) => {
                for trigger in &claim.triggers {
                    queue::enqueue(&mut tx, &claim.pipeline, trigger, claim.tries, later(now, wait), now).await?;
                }
            }
        }
        tx.commit().await.map_err(sql)
    }
}

/// For `/metrics`.
fn count(ended: &Ended) {
    let receipt = &ended.receipt;
    let pipeline = || receipt.pipeline.clone();
    metrics::counter!("tidegate_runs_total", "pipeline" => pipeline(), "outcome" => receipt.outcome.as_str()).increment(1);
    let took = receipt.finished_at.duration_since(receipt.started_at).as_secs_f64();
    metrics::histogram!("tidegate_run_seconds", "pipeline" => pipeline()).record(took);
    if receipt.outcome == Outcome::Published {
        let counts = receipt.counts;
        for (what, rows) in
            [("new", counts.new), ("updated", counts.updated), ("removed", counts.removed), ("rejected", receipt.rejected())]
        {
            metrics::counter!("tidegate_rows_total", "pipeline" => pipeline(), "what" => what).increment(rows);
        }
    }
}

pub(super) fn later(now: Timestamp, wait: Duration) -> Timestamp {
    now.checked_add(wait).unwrap_or(now)
}

/// A number in `0.0..1.0`, another one each time.
#[allow(clippy::cast_precision_loss, reason = "a share need not be exact")]
pub(super) fn jitter() -> f64 {
    (RandomState::new().hash_one(0u8) >> 11) as f64 / (1u64 << 53) as f64
}
