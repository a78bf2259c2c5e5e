//! Asking the sources, and deciding whether there is anything to do.

use crate::{
    Conductor, Ended, RunOptions,
    error::Result,
    intake::PushSource,
    ledger::{
        runs::{self, NewRun, Report, Run},
        snapshots::{self, NewSnapshot, Snapshot, SourceState},
    },
    raw::{self, Part, RawLanding},
    trace::Stopwatch,
};
use jiff::Timestamp;
use std::{collections::BTreeMap, path::Path, sync::Arc};
use tidegate_core::{
    Code, Counts, Failure, Outcome, Receipt, RunId, RunState, SourceReceipt,
    pipeline::Pipeline,
    seam::{Fetched, Glance, Landing as _, Source, Validators},
    trigger::Trigger,
};

/// A publication given by hand, for a backfill.
#[derive(Debug, Clone, Copy)]
pub struct Publication<'a> {
    /// The file.
    pub path: &'a Path,
    /// When it was published.
    pub published_at: Timestamp,
}

/// What a source gave, before anything of it is recorded.
enum Given {
    /// Nothing new: the publication of `latest` is still the newest.
    Same,
    /// The bytes of `latest` again, with other validators.
    SameBytes(Validators),
    /// Something new.
    New { parts: Vec<Part>, sha256: String, validators: Validators, published_at: Timestamp },
    /// Nothing was ever published there.
    Never(String),
}

/// The publications a run would read.
pub(crate) struct Heads {
    given: BTreeMap<String, (Option<SourceState>, Given)>,
}

impl Conductor {
    /// Asks every source, and runs the pipeline if there is something new.
    pub(crate) async fn run_new(&self, pipeline: &Arc<Pipeline>, options: &RunOptions) -> Result<Ended> {
        let started = self.now();
        // What was pushed is there once: a held run is not released by later rows, they wait for a person's decision.
        if pipeline.is_incremental()
            && let Some(held) = self.ledger.runs_in(pipeline.name(), RunState::Done(Outcome::Held), RunId(0)).await?.pop()
        {
            let mut receipt = self.receipt_of_nothing(pipeline, Outcome::Unchanged, started).await?;
            receipt.held = held.receipt.as_ref().and_then(|receipt| receipt.held.clone());
            let note = Some(format!("run {} is held, and what came since waits for `approve` or `discard`", held.id));
            return Ok(Ended { receipt, report: Report { note, ..Report::default() }, after: Vec::new() });
        }
        let heads = match self.ask(pipeline).await {
            Ok(heads) => heads,
            Err(failure) => {
                let ended = self.fail_extract(pipeline, failure, &options.triggers, started).await?;
                return self.follow(pipeline, ended).await;
            }
        };
        if let Some(waiting) = self.waiting(pipeline, &heads, started).await? {
            return Ok(waiting);
        }
        if !options.again
            && heads.all_same()
            && let Some(ended) = self.nothing_new(pipeline, &heads, started).await?
        {
            return Ok(ended);
        }
        let run = self.record(pipeline, heads, "run", &options.triggers).await?;
        let mut watch = Stopwatch::new(started);
        watch.lap("extract", self.now());
        self.execute_watched(pipeline, run, watch).await
    }

    /// The source of this name: out in the world, or what was pushed here.
    pub(crate) fn source(&self, pipeline: &Pipeline, name: &str) -> Result<Box<dyn Source>> {
        match pipeline.file.sources.get(name).filter(|spec| spec.push.is_some()) {
            Some(spec) => Ok(Box::new(PushSource::new(&self.home, pipeline.name(), name, spec))),
            None => self.outside.source(pipeline, name),
        }
    }

    /// The dropped file that a run would take next. None also if that cannot be told: the next run says why.
    pub async fn dropped(&self, pipeline: &Pipeline) -> Option<Validators> {
        if pipeline.is_incremental() && self.ledger.is_held(pipeline.name()).await.unwrap_or(true) {
            return None;
        }
        for (name, spec) in pipeline.file.sources.iter().filter(|(_, spec)| spec.is_archived()) {
            let state = self.ledger.source_state(pipeline.name(), name).await.ok()?;
            let known = state.filter(|state| state.place == spec.place()).map(|state| state.validators).unwrap_or_default();
            if let Ok(Glance::New(next)) = self.source(pipeline, name).ok()?.glance(&known).await {
                return Some(next);
            }
        }
        None
    }

    async fn ask(&self, pipeline: &Arc<Pipeline>) -> Result<Heads> {
        let mut given = BTreeMap::new();
        for (name, spec) in &pipeline.file.sources {
            let state = self.ledger.source_state(pipeline.name(), name).await?;
            // What another address said about its file says nothing about this one's.
            let state = state.filter(|state| state.place == spec.place());
            let known = state.as_ref().map(|state| state.validators.clone()).unwrap_or_default();
            let source = self.source(pipeline, name)?;
            let mut landing =
                RawLanding::new(&self.home, pipeline.name(), name, pipeline.file.limits.max_bytes, Arc::clone(&self.progress));
            let fetched = source.fetch(&known, &mut landing).await?;
            let now = self.now();
            let one = match (fetched, &state) {
                (Fetched::NotModified, Some(_)) => Given::Same,
                (Fetched::NotModified, None) => {
                    return Err(Failure::new(
                        Code::TG202,
                        format!("source `{name}`: the publisher says \"not modified\" to a first request"),
                    ));
                }
                (Fetched::Missing { said }, None) => Given::Never(said),
                (Fetched::Missing { said }, Some(_)) => {
                    return Err(Failure::new(Code::TG209, format!("source `{name}` was there before and is gone: {said}"))
                        .hint("if it has moved, change its address; the table keeps what it has"));
                }
                (Fetched::Landed { validators, published_at }, _) => {
                    let parts = landing.keep().await?;
                    let sha256 = raw::publication_hash(&parts);
                    let latest = match &state {
                        Some(state) => Some(self.ledger.snapshot(state.latest).await?),
                        None => None,
                    };
                    match latest {
                        // The same rows pushed twice are two pushes.
                        Some(latest) if latest.sha256 == sha256 && !pipeline.is_incremental() => Given::SameBytes(validators),
                        _ => Given::New { parts, sha256, validators, published_at: published_at.unwrap_or(now) },
                    }
                }
            };
            given.insert(name.clone(), (state, one));
        }
        Ok(Heads { given })
    }

    /// If a source has never published anything: there is nothing to build the table from, and that is no error.
    async fn waiting(&self, pipeline: &Arc<Pipeline>, heads: &Heads, started: Timestamp) -> Result<Option<Ended>> {
        let missing: Vec<String> = heads
            .given
            .iter()
            .filter_map(|(name, (_, given))| match given {
                Given::Never(said) => Some(format!("source `{name}` has not published anything yet: {said}")),
                _ => None,
            })
            .collect();
        if missing.is_empty() {
            return Ok(None);
        }
        let receipt = self.receipt_of_nothing(pipeline, Outcome::Waiting, started).await?;
        let report = Report { note: Some(missing.join("; ")), ..Report::default() };
        Ok(Some(Ended { receipt, report, after: Vec::new() }))
    }

    /// All sources gave what they gave before: says how things stand, or none if the definition changed meanwhile.
    async fn nothing_new(&self, pipeline: &Arc<Pipeline>, heads: &Heads, started: Timestamp) -> Result<Option<Ended>> {
        // Rows that were pushed are run once, whatever the definition says later.
        if pipeline.is_incremental() {
            let receipt = self.receipt_of_nothing(pipeline, Outcome::Unchanged, started).await?;
            return Ok(Some(Ended { receipt, report: Report::default(), after: Vec::new() }));
        }
        let recent = self.ledger.runs(Some(pipeline.name()), 100).await?;
        let Some(last) = recent.iter().find(|run| !run.inputs.is_empty()).cloned() else { return Ok(None) };
        // A publisher that could not be reached and now can: people are told, so it takes a run.
        if self.is_unreached(pipeline).await? {
            return Ok(None);
        }
        if last.definition != pipeline.definition || last.table != pipeline.table() || last.key != pipeline.file.table.key {
            return Ok(None);
        }
        // A replay may have left the table with an older publication than the newest.
        if matches!(last.state, tidegate_core::RunState::Done(Outcome::Published | Outcome::Unchanged)) {
            for (name, (state, _)) in &heads.given {
                let Some(state) = state else { continue };
                if last.inputs.get(name) != Some(&self.head(pipeline, state).await?.id) {
                    return Ok(None);
                }
            }
        }
        let fetched_again = heads.given.values().any(|(_, given)| matches!(given, Given::SameBytes(_)));
        if fetched_again {
            // So that the next request can be answered with "not modified".
            let mut tx = self.ledger.begin().await?;
            for (name, (state, given)) in &heads.given {
                if let (Some(state), Given::SameBytes(validators)) = (state, given) {
                    snapshots::seen(&mut tx, pipeline.name(), name, validators, state.latest, &state.place).await?;
                }
            }
            tx.commit().await.map_err(crate::error::sql)?;
            self.tell_taken(pipeline).await;
        }
        if last.state == tidegate_core::RunState::Done(Outcome::Failed)
            && let Some(receipt) = last.receipt
        {
            // The same bytes and the same definition give the same error.
            return Ok(Some(Ended { receipt, report: last.report, after: Vec::new() }));
        }
        let mut receipt = self.receipt_of_nothing(pipeline, Outcome::Unchanged, started).await?;
        receipt.held =
            last.receipt.as_ref().filter(|_| last.state == RunState::Done(Outcome::Held)).and_then(|receipt| receipt.held.clone());
        let held = (last.state == tidegate_core::RunState::Done(Outcome::Held))
            .then(|| format!("run {} is held: `tidegate show {}` says why", last.id, last.id));
        Ok(Some(Ended { receipt, report: Report { note: held, ..Report::default() }, after: Vec::new() }))
    }

    /// Whether people were told that a publisher cannot be reached, and nothing else since.
    pub(crate) async fn is_unreached(&self, pipeline: &Pipeline) -> Result<bool> {
        let recent = self.ledger.runs(Some(pipeline.name()), 1).await?;
        let unreached = recent.first().is_some_and(|newest| newest.inputs.is_empty() && newest.state == RunState::Done(Outcome::Failed));
        Ok(unreached && self.ledger.incident(pipeline.name()).await?.is_some())
    }

    /// The receipt of a run that was none: no number, and the table as it is.
    pub(crate) async fn receipt_of_nothing(&self, pipeline: &Arc<Pipeline>, outcome: Outcome, started: Timestamp) -> Result<Receipt> {
        let settled = self.ledger.last_settled(pipeline.name()).await?;
        let last = if settled.0 > 0 { self.ledger.run(settled).await?.receipt } else { None };
        let rows = last.as_ref().map_or(0, |receipt| receipt.rows_after);
        let mut sources = last.map(|receipt| receipt.sources).unwrap_or_default();
        for source in sources.values_mut() {
            source.changed = false;
        }
        Ok(Receipt {
            run: None,
            pipeline: pipeline.name().to_owned(),
            outcome,
            table: pipeline.table().to_owned(),
            counts: Counts { unchanged: if outcome == Outcome::Unchanged { rows } else { 0 }, ..Counts::default() },
            rows_before: rows,
            rows_after: rows,
            sources: if outcome == Outcome::Unchanged { sources } else { BTreeMap::new() },
            held: None,
            error: None,
            started_at: started,
            finished_at: self.now(),
        })
    }

    /// Records what was fetched together with the run that will read it. From here on a crash leads to a repetition.
    async fn record(&self, pipeline: &Arc<Pipeline>, heads: Heads, kind: &str, triggers: &[Trigger]) -> Result<Run> {
        let now = self.now();
        let mut tx = self.ledger.begin().await?;
        let mut inputs = BTreeMap::new();
        let mut published_at = Timestamp::MIN;
        for (name, (state, given)) in heads.given {
            let place = pipeline.file.sources[&name].place();
            let id = match (given, state) {
                (Given::New { parts, sha256, validators, published_at: at }, _) => {
                    let new = NewSnapshot {
                        pipeline: pipeline.name(),
                        source: &name,
                        sha256: &sha256,
                        parts: &parts,
                        published_at: at,
                        fetched_at: now,
                    };
                    let id = snapshots::create(&mut tx, &new).await?;
                    snapshots::seen(&mut tx, pipeline.name(), &name, &validators, id, place).await?;
                    published_at = published_at.max(at);
                    id
                }
                (given, Some(state)) => {
                    if let Given::SameBytes(validators) = &given {
                        snapshots::seen(&mut tx, pipeline.name(), &name, validators, state.latest, place).await?;
                    }
                    let snapshot = self.head(pipeline, &state).await?;
                    published_at = published_at.max(snapshot.published_at);
                    snapshot.id
                }
                (_, None) => return Err(Failure::new(Code::TG901, format!("source `{name}` gave nothing"))),
            };
            inputs.insert(name, id);
        }
        runs::know_pipeline(&mut tx, pipeline).await?;
        let new = NewRun {
            pipeline: pipeline.name(),
            kind,
            inputs: &inputs,
            definition: &pipeline.definition,
            table: pipeline.table(),
            key: &pipeline.file.table.key,
            published_at,
            triggers,
            now,
        };
        let id = runs::create(&mut tx, &new).await?;
        tidegate_core::fault::point("extract.before_record");
        tx.commit().await.map_err(crate::error::sql)?;
        tidegate_core::fault::point("extract.recorded");
        self.tell_taken(pipeline).await;
        self.ledger.run(id).await
    }

    /// Tells the sources what is on record now. One that cannot clear it away says so at the next fetch.
    async fn tell_taken(&self, pipeline: &Arc<Pipeline>) {
        for name in pipeline.file.sources.keys() {
            let told: Result<()> = async {
                let state = self.ledger.source_state(pipeline.name(), name).await?;
                match state.filter(|state| state.place == pipeline.file.sources[name].place()) {
                    Some(state) => self.source(pipeline, name)?.taken(&state.validators).await,
                    None => Ok(()),
                }
            }
            .await;
            if let Err(failure) = told {
                tracing::warn!(pipeline = pipeline.name(), source = name, "{failure}");
            }
            tidegate_core::fault::point("extract.taken");
        }
    }

    /// The publication of a source that a run reads: the newest, unless that was discarded or set aside.
    async fn head(&self, pipeline: &Arc<Pipeline>, state: &SourceState) -> Result<Snapshot> {
        let latest = self.ledger.snapshot(state.latest).await?;
        let usable = latest.status != "discarded" && (latest.status != "set_aside" || self.mended(pipeline, latest.id).await?);
        match state.accepted {
            Some(accepted) if !usable => self.ledger.snapshot(accepted).await,
            _ => Ok(latest),
        }
    }

    /// Whether the definition has changed since a run on this publication was set aside.
    async fn mended(&self, pipeline: &Arc<Pipeline>, snapshot: i64) -> Result<bool> {
        let failed = self.ledger.runs_in(pipeline.name(), tidegate_core::RunState::Done(Outcome::Failed), tidegate_core::RunId(0)).await?;
        Ok(!failed.iter().any(|run| run.definition == pipeline.definition && run.inputs.values().any(|id| *id == snapshot)))
    }

    /// A run on a publication given by hand, and on what the other sources gave last.
    pub(crate) async fn extract_given(&self, pipeline: &Arc<Pipeline>, source: &str, publication: &Publication<'_>) -> Result<Run> {
        let failed =
            |error: std::io::Error| Failure::new(Code::TG206, format!("{} cannot be read", publication.path.display())).because(&error);
        let mut landing = RawLanding::new(&self.home, pipeline.name(), source, pipeline.file.limits.max_bytes, Arc::clone(&self.progress));
        let name = publication.path.file_name().map_or_else(|| "data".to_owned(), |name| name.to_string_lossy().into_owned());
        let bytes = tokio::fs::read(publication.path).await.map_err(failed)?;
        landing.begin(&name, Some(bytes.len() as u64)).await?;
        landing.write(&bytes).await?;
        let parts = landing.keep().await?;
        let sha256 = raw::publication_hash(&parts);
        let mut given = BTreeMap::new();
        for name in pipeline.file.sources.keys() {
            let state = self.ledger.source_state(pipeline.name(), name).await?;
            let one = if name == source {
                Given::New {
                    parts: parts.clone(),
                    sha256: sha256.clone(),
                    validators: Validators::default(),
                    published_at: publication.published_at,
                }
            } else if state.is_some() {
                Given::Same
            } else {
                return Err(Failure::new(
                    Code::TG106,
                    format!("source `{name}` has never been fetched, so there is nothing to backfill `{source}` against"),
                )
                .hint("run the pipeline once, so that every source has been fetched"));
            };
            given.insert(name.clone(), (state, one));
        }
        self.record(pipeline, Heads { given }, "backfill", &[Trigger::Manual]).await
    }

    /// A failure before there was anything to run on. It has a number all the same, so that it can be looked at.
    async fn fail_extract(&self, pipeline: &Arc<Pipeline>, failure: Failure, triggers: &[Trigger], started: Timestamp) -> Result<Ended> {
        let now = self.now();
        let mut tx = self.ledger.begin().await?;
        runs::know_pipeline(&mut tx, pipeline).await?;
        let inputs = BTreeMap::new();
        let new = NewRun {
            pipeline: pipeline.name(),
            kind: "run",
            inputs: &inputs,
            definition: &pipeline.definition,
            table: pipeline.table(),
            key: &pipeline.file.table.key,
            published_at: now,
            triggers,
            now,
        };
        let id = runs::create(&mut tx, &new).await?;
        tx.commit().await.map_err(crate::error::sql)?;
        let run = self.ledger.run(id).await?;
        self.commit_failure(pipeline, &run, failure, BTreeMap::new(), started).await
    }

    /// For `plan`: asks the sources, prepares, and leaves no trace but bytes in the raw store.
    pub(crate) async fn plan_locked(&self, pipeline: &Arc<Pipeline>) -> Result<Ended> {
        let started = self.now();
        let heads = self.ask(pipeline).await?;
        if let Some(waiting) = self.waiting(pipeline, &heads, started).await? {
            return Ok(waiting);
        }
        // What was run is not run once more where each publication is read once.
        if pipeline.is_incremental() && heads.all_same() {
            let receipt = self.receipt_of_nothing(pipeline, Outcome::Unchanged, started).await?;
            return Ok(Ended { receipt, report: Report::default(), after: Vec::new() });
        }
        let mut snapshots = BTreeMap::new();
        let mut published_at = Timestamp::MIN;
        for (name, (state, given)) in heads.given {
            let (parts, sha256, at) = match (given, state) {
                (Given::New { parts, sha256, published_at, .. }, _) => (parts, sha256, published_at),
                (_, Some(state)) => {
                    let head = self.head(pipeline, &state).await?;
                    (head.parts, head.sha256, head.published_at)
                }
                (_, None) => return Err(Failure::new(Code::TG901, format!("source `{name}` gave nothing"))),
            };
            published_at = published_at.max(at);
            snapshots.insert(name, (parts, sha256));
        }
        self.rehearse(pipeline, snapshots, published_at, started).await
    }
}

impl Heads {
    fn all_same(&self) -> bool {
        self.given.values().all(|(_, given)| matches!(given, Given::Same | Given::SameBytes(_)))
    }
}

/// A source's part of a receipt before it was parsed.
pub(crate) fn unread(snapshot: &Snapshot, changed: bool) -> SourceReceipt {
    SourceReceipt { changed, sha256: snapshot.sha256.clone(), ..SourceReceipt::default() }
}
