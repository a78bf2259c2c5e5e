//! The commit: one transaction of the ledger. Before it, nothing has happened; after it, everything will (INV-2).

use crate::{
    Conductor, Ended,
    error::{Result, sql},
    execute::{Judged, receipt},
    ledger::{
        Tx, events,
        outbox::{self, NewEntry},
        quarantine::{self, Reconcile},
        runs::{self, Report, Run},
        snapshots,
    },
};
use jiff::Timestamp;
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};
use tidegate_core::{
    Counts, Failure, Outcome, Receipt, RunId, RunState, SourceReceipt, Stage,
    event::{Draft, kind},
    fault,
    incident::{self, Turn},
    message::Message,
    pipeline::{Pipeline, Severity},
    receipt::counted,
    retry::{self, Verdict},
};

/// Quarantined rows that a message shows.
const SHOWN: usize = 10;

impl Conductor {
    /// Commits a judged run: published, unchanged or held.
    pub(crate) async fn commit(&self, pipeline: &Arc<Pipeline>, run: &Run, judged: Judged, started: Timestamp) -> Result<Ended> {
        let now = self.now();
        let receipt = receipt(pipeline, run.id, &judged, started, now);
        let settled = judged.outcome != Outcome::Held;
        let mut report = Report {
            restatement: judged.prepared.restatement.clone(),
            sample: judged.prepared.sample.clone(),
            violations: judged.prepared.violations.clone(),
            drift: self.drift(pipeline, &judged).await?,
            reverted: self.reverted(pipeline, run).await?,
            rejected: if settled { Vec::new() } else { judged.prepared.rejected.iter().take(SHOWN).cloned().collect() },
            ..Report::default()
        };
        let held = self.ledger.runs_in(pipeline.name(), RunState::Done(Outcome::Held), RunId(0)).await?;
        fault::point("commit.begin");
        let mut tx = self.ledger.begin().await?;
        let mut opened = Vec::new();
        if settled {
            let movements = quarantine::reconcile(
                &mut tx,
                &Reconcile { pipeline, run: run.id, rejected: &judged.prepared.rejected, healed: &healed(pipeline, &judged), now },
            )
            .await?;
            report.quarantine = [movements.opened.len() as u64, movements.resolved, movements.open];
            opened = movements.opened;
            for (source, id) in &run.inputs {
                let parsed = judged.prepared.sources.get(source).cloned().unwrap_or_default();
                snapshots::accept(&mut tx, pipeline.name(), source, *id, &parsed).await?;
            }
        }
        let mut releases = None;
        for earlier in held.iter().filter(|earlier| earlier.id < run.id) {
            let why = if settled { format!("released by run {}", run.id) } else { format!("run {} is held in its place", run.id) };
            runs::cancel(&mut tx, earlier, &why).await?;
            append(&mut tx, pipeline, kind::RUN_RELEASED, earlier.id, json!({ "by": run.id, "why": why }), now).await?;
            releases = Some(earlier.id.0);
        }
        if let (Some(earlier), true) = (releases, settled) {
            report.note = Some(format!("released the held run {earlier}"));
        }
        stages(&mut tx, pipeline, run.id, &judged, now).await?;
        let changeset = judged.prepared.changeset.as_ref();
        runs::finish(&mut tx, run.id, &receipt, changeset, &report, false).await?;
        self.events_of(&mut tx, pipeline, run.id, &receipt, &report, now).await?;
        let message = Message {
            environment: self.environment.clone(),
            recovery: false,
            silence: None,
            releases: releases.filter(|_| settled),
            warnings: warnings(&report),
            restatement: report.restatement.clone(),
            changes: report.sample.clone(),
            quarantined: opened.into_iter().take(SHOWN).collect(),
            quarantined_new: report.quarantine[0],
            quarantine_resolved: report.quarantine[1],
            quarantine_open: report.quarantine[2],
            receipt: receipt.clone(),
        };
        self.tell(&mut tx, pipeline, run.tries, message, now).await?;
        fault::point("commit.before");
        tx.commit().await.map_err(sql)?;
        fault::point("commit.after");
        Ok(Ended { receipt, report, after: Vec::new() })
    }

    /// Commits a failed run. Nothing but the ledger's memory of it changes.
    pub(crate) async fn commit_failure(
        &self,
        pipeline: &Arc<Pipeline>,
        run: &Run,
        failure: Failure,
        sources: BTreeMap<String, SourceReceipt>,
        started: Timestamp,
    ) -> Result<Ended> {
        let now = self.now();
        let settled = self.ledger.last_settled(pipeline.name()).await?;
        let rows = if settled.0 > 0 { self.ledger.run(settled).await?.receipt.map_or(0, |receipt| receipt.rows_after) } else { 0 };
        // Without publications there is nothing to remember: the next run asks for them again anyway.
        let set_aside =
            run.inputs.is_empty() || retry::verdict(failure.class(), run.tries, pipeline.file.retry.tries, true) == Verdict::SetAside;
        let receipt = Receipt {
            run: Some(run.id),
            pipeline: pipeline.name().to_owned(),
            outcome: Outcome::Failed,
            table: pipeline.table().to_owned(),
            counts: Counts::default(),
            rows_before: rows,
            rows_after: rows,
            sources,
            held: None,
            error: Some(failure),
            started_at: started,
            finished_at: now,
        };
        let mut report = Report::default();
        if settled.0 > 0 {
            report.note = Some(format!("the table still holds run {settled}"));
        }
        let open = self.ledger.quarantine_open(pipeline.name()).await?;
        let mut tx = self.ledger.begin().await?;
        runs::finish(&mut tx, run.id, &receipt, None, &report, set_aside).await?;
        if set_aside && !run.inputs.is_empty() {
            self.put_inputs_aside(&mut tx, pipeline, run, "set_aside").await?;
            append(&mut tx, pipeline, kind::RUN_SET_ASIDE, run.id, json!({ "tries": run.tries }), now).await?;
        }
        self.events_of(&mut tx, pipeline, run.id, &receipt, &report, now).await?;
        let message = Message {
            environment: self.environment.clone(),
            recovery: false,
            silence: None,
            releases: None,
            warnings: Vec::new(),
            restatement: report.restatement.clone(),
            changes: Vec::new(),
            quarantined: Vec::new(),
            quarantined_new: 0,
            quarantine_resolved: 0,
            quarantine_open: open,
            receipt: receipt.clone(),
        };
        self.tell(&mut tx, pipeline, run.tries, message, now).await?;
        fault::point("commit.failure_before");
        tx.commit().await.map_err(sql)?;
        fault::point("commit.failure_after");
        Ok(Ended { receipt, report, after: Vec::new() })
    }

    /// Ends a run that somebody wanted to end before its commit. Its publications are put aside, or the next run would do the same.
    pub(crate) async fn commit_cancel(&self, pipeline: &Arc<Pipeline>, run: &Run, started: Timestamp) -> Result<Ended> {
        let now = self.now();
        let mut receipt = self.receipt_of_nothing(pipeline, Outcome::Cancelled, started).await?;
        receipt.run = Some(run.id);
        let report = Report { note: Some("cancelled by a person".to_owned()), ..Report::default() };
        let mut tx = self.ledger.begin().await?;
        runs::finish(&mut tx, run.id, &receipt, None, &report, false).await?;
        self.put_inputs_aside(&mut tx, pipeline, run, "discarded").await?;
        append(&mut tx, pipeline, kind::RUN_CANCELLED, run.id, json!({ "why": "cancelled by a person" }), now).await?;
        tx.commit().await.map_err(sql)?;
        Ok(Ended { receipt, report, after: Vec::new() })
    }

    /// The publications that are new with this run are not read by later runs by themselves.
    pub(crate) async fn put_inputs_aside(&self, tx: &mut Tx, pipeline: &Arc<Pipeline>, run: &Run, status: &'static str) -> Result<()> {
        for (source, id) in &run.inputs {
            let accepted = self.ledger.source_state(pipeline.name(), source).await?.and_then(|state| state.accepted);
            if accepted != Some(*id) {
                snapshots::put_aside(tx, *id, status).await?;
            }
        }
        Ok(())
    }

    /// How the columns of the publications differ from those the table was built from.
    async fn drift(&self, pipeline: &Arc<Pipeline>, judged: &Judged) -> Result<Vec<String>> {
        let mut drift = Vec::new();
        for (source, parsed) in &judged.prepared.sources {
            let Some(accepted) = self.ledger.source_state(pipeline.name(), source).await?.and_then(|state| state.accepted) else {
                continue;
            };
            let Some(before) = self.ledger.snapshot(accepted).await?.header else { continue };
            let added: Vec<&str> = parsed.header.iter().filter(|name| !before.contains(name)).map(String::as_str).collect();
            let gone: Vec<&str> = before.iter().filter(|name| !parsed.header.contains(name)).map(String::as_str).collect();
            if !added.is_empty() {
                drift.push(format!("source `{source}` has new columns: {}", added.join(", ")));
            }
            if !gone.is_empty() {
                drift.push(format!("source `{source}` no longer has: {}", gone.join(", ")));
            }
        }
        Ok(drift)
    }

    /// Which sources give again what they had taken back since: "200 OK" with old content.
    async fn reverted(&self, pipeline: &Arc<Pipeline>, run: &Run) -> Result<Vec<String>> {
        let mut reverted = Vec::new();
        // Where each publication is read once, the same rows may well come again.
        if run.kind != "run" || pipeline.is_incremental() {
            return Ok(reverted);
        }
        for (source, id) in &run.inputs {
            let Some(accepted) = self.ledger.source_state(pipeline.name(), source).await?.and_then(|state| state.accepted) else {
                continue;
            };
            let (now, accepted) = (self.ledger.snapshot(*id).await?, self.ledger.snapshot(accepted).await?);
            if now.sha256 == accepted.sha256 {
                continue;
            }
            if let Some(old) = self.ledger.same_before(pipeline.name(), source, &now.sha256, accepted.id).await? {
                reverted.push(format!("source `{source}` gives again what it gave on {}", old.fetched_at.strftime("%Y-%m-%d %H:%M UTC")));
            }
        }
        Ok(reverted)
    }

    async fn events_of(
        &self,
        tx: &mut Tx,
        pipeline: &Arc<Pipeline>,
        run: RunId,
        receipt: &Receipt,
        report: &Report,
        now: Timestamp,
    ) -> Result<()> {
        for drift in &report.drift {
            append(tx, pipeline, kind::SOURCE_DRIFTED, run, json!({ "drift": drift }), now).await?;
        }
        for reverted in &report.reverted {
            append(tx, pipeline, kind::SOURCE_REVERTED, run, json!({ "reverted": reverted }), now).await?;
        }
        for violation in &report.violations {
            append(tx, pipeline, kind::CHECK_VIOLATED, run, json!(violation), now).await?;
        }
        if report.quarantine[0] > 0 {
            append(tx, pipeline, kind::QUARANTINE_OPENED, run, json!({ "rows": report.quarantine[0] }), now).await?;
        }
        if report.quarantine[1] > 0 {
            append(tx, pipeline, kind::QUARANTINE_RESOLVED, run, json!({ "rows": report.quarantine[1] }), now).await?;
        }
        let kind = match receipt.outcome {
            Outcome::Published => kind::RUN_PUBLISHED,
            Outcome::Unchanged => kind::RUN_UNCHANGED,
            Outcome::Held => kind::RUN_HELD,
            Outcome::Failed => kind::RUN_FAILED,
            Outcome::Cancelled => kind::RUN_CANCELLED,
            Outcome::Waiting => kind::RUN_WAITING,
        };
        append(tx, pipeline, kind, run, json!(receipt), now).await
    }

    /// Writes the messages of a run to the outbox: once per incident, plus recovery.
    async fn tell(&self, tx: &mut Tx, pipeline: &Arc<Pipeline>, attempt: u32, mut message: Message, now: Timestamp) -> Result<()> {
        let open = self.ledger.incident(pipeline.name()).await?;
        let turn = incident::turn(
            open.as_ref().map(|(trouble, _)| trouble),
            message.receipt.outcome,
            message.receipt.error.as_ref().map(|error| error.code),
        );
        message.recovery = turn == Turn::Ends;
        let mut told = Vec::new();
        if turn != Turn::GoesOn {
            let attributes = message.attributes();
            let was_told = open.map(|(_, told)| told).unwrap_or_default();
            for (i, notifier) in pipeline.file.notify.iter().enumerate().filter(|(_, notifier)| notifier.is_on()) {
                let wanted = match &notifier.when {
                    Some(policy) => policy.matches(&attributes),
                    // Without a policy: whatever a person would want to know of.
                    None => matches!(message.receipt.outcome, Outcome::Published | Outcome::Held | Outcome::Failed),
                };
                // Whoever was told of the trouble is told of its end.
                if wanted || (message.recovery && was_told.contains(&i)) {
                    let run = message.receipt.run.unwrap_or(RunId(0));
                    // The same try of a run, notifier and outcome are the same delivery.
                    let nth = if attempt > 1 { format!(".{attempt}") } else { String::new() };
                    let delivery = format!("{}.{run}.{}.{i}{nth}", pipeline.name(), message.receipt.outcome);
                    let entry = NewEntry {
                        pipeline: pipeline.name(),
                        delivery: &delivery,
                        run,
                        notifier: i,
                        kind: notifier.kind(),
                        message: &message,
                        now,
                    };
                    outbox::write(tx, &entry).await?;
                    told.push(i);
                }
            }
        }
        match turn {
            Turn::Begins(trouble) => runs::set_incident(tx, pipeline.name(), Some((&trouble, &told))).await,
            Turn::Ends => runs::set_incident(tx, pipeline.name(), None).await,
            Turn::Well | Turn::GoesOn => Ok(()),
        }
    }
}

/// Appends an event.
pub(crate) async fn append(
    tx: &mut Tx,
    pipeline: &Arc<Pipeline>,
    kind: &'static str,
    run: RunId,
    data: serde_json::Value,
    now: Timestamp,
) -> Result<()> {
    events::append(tx, pipeline.name(), &Draft { kind, run: Some(run), data }, now).await
}

/// What each stage found. They are told with the commit: before it nothing has happened, and a repetition would say it again.
async fn stages(tx: &mut Tx, pipeline: &Arc<Pipeline>, run: RunId, judged: &Judged, now: Timestamp) -> Result<()> {
    let prepared = &judged.prepared;
    let fetched: BTreeMap<_, _> =
        judged.sources.iter().map(|(name, source)| (name, json!({ "changed": source.changed, "sha256": source.sha256 }))).collect();
    let parsed: BTreeMap<_, _> = judged
        .sources
        .iter()
        .map(|(name, source)| (name, json!({ "read": source.read, "accepted": source.accepted, "rejected": source.rejected })))
        .collect();
    let found = [
        (Stage::Extract, json!({ "sources": fetched })),
        (Stage::Parse, json!({ "sources": parsed })),
        (Stage::Transform, json!({ "produced": prepared.produced })),
        (Stage::Diff, json!({ "counts": prepared.counts, "rows_before": prepared.rows_before, "rows_after": prepared.rows_after })),
        (Stage::Check, json!({ "violations": prepared.violations.len() })),
        (Stage::Guard, json!({ "reasons": judged.held.as_ref().map(|held| &held.reasons) })),
    ];
    for (stage, found) in found {
        append(tx, pipeline, kind::STAGE_FINISHED, run, json!({ "stage": stage, "found": found }), now).await?;
    }
    Ok(())
}

fn healed(pipeline: &Pipeline, judged: &Judged) -> BTreeMap<String, std::collections::BTreeSet<String>> {
    let mut healed: BTreeMap<_, _> = judged.prepared.sources.iter().map(|(name, parsed)| (name.clone(), parsed.healed.clone())).collect();
    healed.insert(pipeline.table().to_owned(), judged.prepared.healed.clone());
    healed
}

fn warnings(report: &Report) -> Vec<String> {
    let reverted = report.reverted.iter().cloned();
    let checks = report.violations.iter().filter(|violation| violation.severity == Severity::Warn);
    checks
        .map(|violation| format!("check `{}` found {}", violation.check, counted(violation.rows, "violation", "violations")))
        .chain(reverted)
        .chain(report.drift.iter().cloned())
        .collect()
}
