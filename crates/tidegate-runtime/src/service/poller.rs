//! Polling: asks publishers, cheaply and politely, whether there is something new.
//!
//! One conditional request a source; a run is asked for only if the answer is not "not modified". What is remembered here
//! is only how to be polite: if the process dies, the next one asks again.

use super::{
    Service,
    worker::{jitter, later},
};
use crate::error::Result;
use jiff::Timestamp;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tidegate_core::{
    Failure,
    pipeline::Pipeline,
    seam::{Glance, Validators},
    trigger::Trigger,
};
use tokio::sync::Semaphore;

/// Requests at a time to one host.
const PER_HOST: usize = 2;
/// Requests at a time to all of them.
const AT_ONCE: usize = 32;
/// Pipelines that are polled in the first second, so that a start is no burst.
const FIRST_SECOND: f64 = 50.0;
/// Longest wait after failures.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// Failures in a row after which a run is asked for, whose failure people are told of.
const TELL_AFTER: u32 = 5;

/// How polling stands.
pub(super) struct Polls {
    next: Mutex<BTreeMap<String, Poll>>,
    hosts: Mutex<HashMap<String, Arc<Semaphore>>>,
    at_once: Arc<Semaphore>,
}

impl Default for Polls {
    fn default() -> Self {
        Self { next: Mutex::default(), hosts: Mutex::default(), at_once: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

#[derive(Debug, Clone, Default)]
struct Poll {
    due: Option<Timestamp>,
    busy: bool,
    failures: u32,
    /// What each source showed when a run was last asked for.
    shown: BTreeMap<String, Validators>,
}

impl Polls {
    fn update(&self, pipeline: &str, change: impl FnOnce(&mut Poll)) {
        change(self.next.lock().unwrap_or_else(PoisonError::into_inner).entry(pipeline.to_owned()).or_default());
    }

    fn host(&self, place: &str) -> Arc<Semaphore> {
        let host = place.split("://").nth(1).unwrap_or(place).split(['/', '?']).next().unwrap_or_default().to_owned();
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(hosts.entry(host).or_insert_with(|| Arc::new(Semaphore::new(PER_HOST))))
    }
}

impl Service {
    /// Polls the pipelines whose turn it is, beside each other.
    pub async fn poll(self: Arc<Self>) -> Result<()> {
        for pipeline in self.take_due() {
            let service = Arc::clone(&self);
            tokio::spawn(async move {
                let failed = service.poll_one(&pipeline).await.err();
                service.polled(&pipeline, failed);
            });
        }
        Ok(())
    }

    /// The pipelines that are to be polled now. They are busy from here on.
    fn take_due(&self) -> Vec<Arc<Pipeline>> {
        let now = self.now();
        let polled = self.pipelines().into_iter().filter(|pipeline| every(pipeline).is_some()).collect::<Vec<_>>();
        #[allow(clippy::cast_precision_loss, reason = "thousands at most")]
        let spread = Duration::from_secs_f64(polled.len() as f64 / FIRST_SECOND);
        let mut next = self.polls.next.lock().unwrap_or_else(PoisonError::into_inner);
        polled
            .into_iter()
            .filter(|pipeline| {
                let poll = next.entry(pipeline.name().to_owned()).or_default();
                let first = || later(now, spread.min(every(pipeline).unwrap_or(spread)).mul_f64(jitter()));
                let due = !poll.busy && *poll.due.get_or_insert_with(first) <= now;
                poll.busy |= due;
                due
            })
            .collect()
    }

    /// Decides when the pipeline is polled next.
    fn polled(&self, pipeline: &Pipeline, failed: Option<Failure>) {
        let (now, every) = (self.now(), every(pipeline).unwrap_or(LONGEST_WAIT));
        self.polls.update(pipeline.name(), |poll| {
            poll.busy = false;
            poll.failures = if failed.is_some() { poll.failures + 1 } else { 0 };
            let wait = every.saturating_mul(1 << poll.failures.min(10)).min(LONGEST_WAIT.max(every));
            poll.due = Some(later(now, wait.mul_f64(0.9 + 0.2 * jitter())));
        });
        if let Some(failure) = failed {
            polled("failed");
            tracing::info!(pipeline = pipeline.name(), code = failure.code.as_str(), "a publisher could not be asked: {failure}");
        }
    }

    /// Forgets what a pipeline's sources showed: a run could not use it, and it is news again.
    pub(super) fn forget_shown(&self, pipeline: &str) {
        self.polls.update(pipeline, |poll| poll.shown.clear());
    }

    /// Looks at every source, and asks for a run if one has something new.
    async fn poll_one(&self, pipeline: &Arc<Pipeline>) -> Result<()> {
        let mut shown = BTreeMap::new();
        let mut news = None;
        for (name, spec) in pipeline.file.sources.iter().filter(|(_, spec)| spec.push.is_none()) {
            let state = self.conductor.ledger.source_state(pipeline.name(), name).await?.filter(|state| state.place == spec.place());
            let known = state.map(|state| state.validators).unwrap_or_default();
            let host = self.polls.host(spec.place());
            let (_host, _all) = (host.acquire().await, self.polls.at_once.acquire().await);
            let glance = match self.conductor.source(pipeline, name)?.glance(&known).await {
                Ok(glance) => glance,
                Err(failure) => {
                    let mut tell = false;
                    self.polls.update(pipeline.name(), |poll| tell = poll.failures + 1 == TELL_AFTER);
                    if tell {
                        self.ask(pipeline.name(), &Trigger::SourceChange { source: name.clone() }).await?;
                    }
                    return Err(failure);
                }
            };
            match glance {
                Glance::Same => polled("same"),
                Glance::Missing { .. } => polled("missing"),
                Glance::New(validators) => {
                    polled("new");
                    news.get_or_insert_with(|| name.clone());
                    shown.insert(name.clone(), validators);
                }
            }
        }
        let Some(source) = news else { return Ok(()) };
        let mut told = false;
        self.polls.update(pipeline.name(), |poll| {
            // Publications that no run could use yet (another source has none) are no news a second time.
            told = shown.iter().all(|(name, validators)| *validators != Validators::default() && poll.shown.get(name) == Some(validators));
            poll.shown = shown;
        });
        if told { Ok(()) } else { self.ask(pipeline.name(), &Trigger::SourceChange { source }).await }
    }
}

fn polled(how: &'static str) {
    metrics::counter!("tidegate_polls_total", "answer" => how).increment(1);
}

fn every(pipeline: &Pipeline) -> Option<Duration> {
    pipeline.file.triggers.as_ref()?.source_change.as_ref().map(|poll| poll.every.0)
}
