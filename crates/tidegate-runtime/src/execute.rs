//! One try of a run: from recorded publications to an outcome.

use crate::{
    Conductor, Ended, clear,
    error::Result,
    extract::unread,
    ledger::{
        quarantine::Discarded,
        runs::{Report, Run},
    },
    raw::{self, Part},
    trace::Stopwatch,
};
use jiff::Timestamp;
use std::{collections::BTreeMap, sync::Arc};
use tidegate_core::{
    Code, Failure, Outcome, Receipt, RunId, SourceReceipt, fault, guard,
    pipeline::{Pipeline, Severity},
    receipt::{Held, counted, verify},
    seam::{Prepared, RawFile, SourceInput, Work},
};

/// What the data plane found, judged.
pub(crate) struct Judged {
    pub(crate) prepared: Prepared,
    pub(crate) outcome: Outcome,
    pub(crate) held: Option<Held>,
    pub(crate) sources: BTreeMap<String, SourceReceipt>,
}

impl Conductor {
    /// Executes a run that the ledger has as running, commits its outcome, and lets destinations and people follow.
    pub(crate) async fn execute(&self, pipeline: &Arc<Pipeline>, run: Run) -> Result<Ended> {
        self.execute_watched(pipeline, run, Stopwatch::new(self.now())).await
    }

    /// The same, where some time was spent on the run already.
    pub(crate) async fn execute_watched(&self, pipeline: &Arc<Pipeline>, run: Run, mut watch: Stopwatch) -> Result<Ended> {
        let id = run.id;
        let ended = self.execute_to_commit(pipeline, run, &mut watch).await?;
        watch.lap("commit", self.now());
        let ended = self.follow(pipeline, ended).await?;
        watch.lap("follow", self.now());
        self.hand_on(pipeline, id, watch, &ended).await;
        Ok(ended)
    }

    async fn execute_to_commit(&self, pipeline: &Arc<Pipeline>, run: Run, watch: &mut Stopwatch) -> Result<Ended> {
        let started = self.now();
        let scratch = self.home.scratch(pipeline.name());
        clear(&scratch);
        let mut sources = BTreeMap::new();
        let mut parts = BTreeMap::new();
        for (name, id) in &run.inputs {
            let snapshot = self.ledger.snapshot(*id).await?;
            let accepted = self.ledger.source_state(pipeline.name(), name).await?.and_then(|state| state.accepted);
            let changed = match accepted {
                Some(accepted) => self.ledger.snapshot(accepted).await?.sha256 != snapshot.sha256,
                None => true,
            };
            sources.insert(name.clone(), unread(&snapshot, changed));
            parts.insert(name.clone(), snapshot.parts);
        }
        // The table must say what the ledger says before anything is compared with it (INV-5).
        let behind = self.apply_pending(pipeline).await;
        if let Some(failure) = behind.into_iter().next() {
            return self.commit_failure(pipeline, &run, failure, sources, started).await;
        }
        // Bytes that were kept for long are looked at before history is told from them once more.
        if run.kind == "replay"
            && let Some(failure) = parts.values().flatten().find_map(|part| raw::verify(&self.home, part).err())
        {
            return self.commit_failure(pipeline, &run, failure, sources, started).await;
        }
        let changeset = self.home.changeset(pipeline.name(), run.id, run.tries);
        // A file of this try can only be that of a process that died before its commit.
        let _ = std::fs::remove_file(&changeset);
        let work = match self.work(pipeline, run.id, &parts, run.published_at, changeset.clone()).await {
            Ok(work) => work,
            // A source that was added since: the run can never be repeated, and must not block others.
            Err(failure) => return self.commit_failure(pipeline, &run, failure, sources, started).await,
        };
        let prepared = self.plane.prepare(work).await;
        clear(&scratch);
        watch.lap("prepare", self.now());
        let discarded = self.ledger.discarded(pipeline.name()).await?;
        let judged = prepared.and_then(|prepared| judge(pipeline, prepared, sources.clone(), &discarded, run.approved));
        fault::point("execute.judged");
        if self.ledger.cancel_wanted(run.id).await? {
            let _ = std::fs::remove_file(&changeset);
            return self.commit_cancel(pipeline, &run, started).await;
        }
        match judged {
            Ok(judged) => self.commit(pipeline, &run, judged, started).await,
            Err(failure) => {
                let _ = std::fs::remove_file(&changeset);
                self.commit_failure(pipeline, &run, failure, sources, started).await
            }
        }
    }

    async fn work(
        &self,
        pipeline: &Arc<Pipeline>,
        run: RunId,
        parts: &BTreeMap<String, Vec<Part>>,
        published_at: Timestamp,
        changeset: std::path::PathBuf,
    ) -> Result<Work> {
        let mut open = self.ledger.open_identities(pipeline.name()).await?;
        let mut inputs = Vec::new();
        // In the order of the pipeline file, so that SQL errors and receipts do not depend on anything else.
        for name in pipeline.file.sources.keys() {
            let parts = parts.get(name).ok_or_else(|| {
                Failure::new(Code::TG408, format!("run {run} knows nothing of source `{name}`: it was added to the pipeline later"))
                    .hint("run the pipeline anew")
            })?;
            let parts: Vec<_> = parts.iter().map(|part| raw::file(&self.home, part)).collect();
            if let Some(RawFile { path, .. }) = parts.iter().find(|part| !part.path.is_file()) {
                return Err(Failure::new(Code::TG407, format!("the kept publication of source `{name}` is not there: {}", path.display()))
                    .hint("restore it from a backup; if it is the newest one, `tidegate run --again` fetches it anew"));
            }
            inputs.push(SourceInput { name: name.clone(), parts, open: open.remove(name).unwrap_or_default() });
        }
        Ok(Work {
            pipeline: Arc::clone(pipeline),
            run,
            sources: inputs,
            open: open.remove(pipeline.table()).unwrap_or_default(),
            table: self.home.table(pipeline.table()),
            changeset,
            scratch: self.home.scratch(pipeline.name()),
            published_at,
            committed_at: self.now(),
            progress: Arc::clone(&self.progress),
        })
    }

    /// Everything of a run but its commit.
    pub(crate) async fn rehearse(
        &self,
        pipeline: &Arc<Pipeline>,
        parts: BTreeMap<String, (Vec<Part>, String)>,
        published_at: Timestamp,
        started: Timestamp,
    ) -> Result<Ended> {
        let behind = self.apply_pending(pipeline).await;
        if let Some(failure) = behind.into_iter().next() {
            return Err(failure);
        }
        let scratch = self.home.scratch(pipeline.name());
        clear(&scratch);
        let mut sources = BTreeMap::new();
        for (name, (_, sha256)) in &parts {
            let accepted = self.ledger.source_state(pipeline.name(), name).await?.and_then(|state| state.accepted);
            let changed = match accepted {
                Some(accepted) => self.ledger.snapshot(accepted).await?.sha256 != *sha256,
                None => true,
            };
            sources.insert(name.clone(), SourceReceipt { changed, sha256: sha256.clone(), ..SourceReceipt::default() });
        }
        let parts = parts.into_iter().map(|(name, (parts, _))| (name, parts)).collect();
        let work = self.work(pipeline, RunId(0), &parts, published_at, scratch.join("plan").join("changes").join("plan.parquet")).await?;
        let prepared = self.plane.prepare(work).await;
        clear(&scratch);
        let discarded = self.ledger.discarded(pipeline.name()).await?;
        let judged = judge(pipeline, prepared?, sources, &discarded, false)?;
        let report = Report {
            restatement: judged.prepared.restatement.clone(),
            sample: judged.prepared.sample.clone(),
            violations: judged.prepared.violations.clone(),
            ..Report::default()
        };
        let mut receipt = receipt(pipeline, RunId(0), &judged, started, self.now());
        receipt.run = None;
        Ok(Ended { receipt, report, after: Vec::new() })
    }
}

/// Verifies the numbers, then asks checks and guards.
fn judge(
    pipeline: &Pipeline,
    prepared: Prepared,
    mut sources: BTreeMap<String, SourceReceipt>,
    discarded: &Discarded,
    approved: bool,
) -> Result<Judged> {
    for (name, parsed) in &prepared.sources {
        let known = sources.entry(name.clone()).or_default();
        (known.read, known.accepted, known.rejected) = (parsed.receipt.read, parsed.receipt.accepted, parsed.receipt.rejected);
    }
    // INV-1
    verify(&sources, &prepared.counts, prepared.produced, prepared.rows_before, prepared.rows_after)?;
    if let Some(violation) = prepared.violations.iter().find(|violation| violation.severity == Severity::Error) {
        let mut failure =
            Failure::new(Code::TG304, format!("check `{}` found {}", violation.check, counted(violation.rows, "violation", "violations")));
        for example in &violation.examples {
            failure = failure.detail("violates", example.clone());
        }
        return Err(failure.hint("set `severity: warn` to publish all the same, or `severity: hold` to let a person decide"));
    }
    let mut reasons = Vec::new();
    if !approved {
        // Rows of which a person said that they do not matter are held against no publication.
        let mut held_against = sources.clone();
        for row in prepared.rejected.iter().filter(|row| discarded.contains(&(row.source.clone(), row.identity.clone(), row.raw.clone()))) {
            if let Some(source) = held_against.get_mut(&row.source) {
                source.rejected = source.rejected.saturating_sub(1);
            }
        }
        reasons = guard::breaches(&pipeline.file.table.guards, &prepared.counts, &held_against, prepared.rows_before, prepared.rows_after);
        let holding = prepared.violations.iter().filter(|violation| violation.severity == Severity::Hold);
        reasons.extend(
            holding.map(|violation| format!("check `{}` found {}", violation.check, counted(violation.rows, "violation", "violations"))),
        );
    }
    let outcome = match (reasons.is_empty(), prepared.changeset.is_some()) {
        (false, _) => Outcome::Held,
        (true, true) => Outcome::Published,
        (true, false) => Outcome::Unchanged,
    };
    let held = (outcome == Outcome::Held).then_some(Held { reasons });
    Ok(Judged { prepared, outcome, held, sources })
}

/// The receipt of a judged run.
pub(crate) fn receipt(pipeline: &Pipeline, run: RunId, judged: &Judged, started: Timestamp, now: Timestamp) -> Receipt {
    let held = judged.outcome == Outcome::Held;
    Receipt {
        run: Some(run),
        pipeline: pipeline.name().to_owned(),
        outcome: judged.outcome,
        table: pipeline.table().to_owned(),
        counts: judged.prepared.counts,
        rows_before: judged.prepared.rows_before,
        rows_after: if held { judged.prepared.rows_before } else { judged.prepared.rows_after },
        sources: judged.sources.clone(),
        held: judged.held.clone(),
        error: None,
        started_at: started,
        finished_at: now,
    }
}
