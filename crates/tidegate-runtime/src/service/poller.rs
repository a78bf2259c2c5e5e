//! Polling: asks publishers, cheaply and politely, whether there is something new, and looks into folders.
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
    pipeline::{Pipeline, Source},
    retry,
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

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Look {
    /// Every source, for the trigger `source_change`.
    Sources,
    /// Folders on this machine, for the trigger `file`.
    Folders,
}

impl Look {
    fn every(self, pipeline: &Pipeline) -> Option<Duration> {
        let triggers = pipeline.file.triggers.as_ref()?;
        match self {
            Look::Sources => triggers.source_change.as_ref().map(|poll| poll.every.0),
            Look::Folders => triggers.file.as_ref().map(|files| files.every.0),
        }
    }

    fn is_at(self, source: &Source) -> bool {
        match self {
            Look::Sources => source.push.is_none(),
            Look::Folders => source.file.is_some(),
        }
    }

    fn trigger(self, source: String) -> Trigger {
        match self {
            Look::Sources => Trigger::SourceChange { source },
            Look::Folders => Trigger::File { source },
        }
    }
}

/// Longest time for which nobody is gone through: pipelines may have been read again meanwhile.
const QUIET: Duration = Duration::from_secs(2);

/// How polling stands.
pub(super) struct Polls {
    next: Mutex<BTreeMap<(String, Look), Poll>>,
    /// Before these moments nobody's turn comes, so that a thousand pipelines need not be gone through each time.
    quiet: Mutex<BTreeMap<Look, Timestamp>>,
    hosts: Mutex<HashMap<String, Arc<Semaphore>>>,
    at_once: Arc<Semaphore>,
}

impl Default for Polls {
    fn default() -> Self {
        Self { next: Mutex::default(), quiet: Mutex::default(), hosts: Mutex::default(), at_once: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

#[derive(Debug, Clone, Default)]
struct Poll {
    due: Option<Timestamp>,
    busy: bool,
    failures: u32,
    /// Runs that failed in a row.
    failed_runs: u32,
    /// Whether all sources have answered since the start.
    answered: bool,
    /// What each source showed when a run was last asked for.
    shown: BTreeMap<String, Validators>,
    /// Whether the pipeline was held then: what waits behind a held run is news again once that is decided.
    held: bool,
}

impl Polls {
    fn update(&self, pipeline: &str, look: Look, change: impl FnOnce(&mut Poll)) {
        change(self.next.lock().unwrap_or_else(PoisonError::into_inner).entry((pipeline.to_owned(), look)).or_default());
    }

    fn quiet(&self) -> std::sync::MutexGuard<'_, BTreeMap<Look, Timestamp>> {
        self.quiet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody's turn may come at this moment.
    fn wake_at(&self, look: Look, at: Timestamp) {
        let mut quiet = self.quiet();
        if quiet.get(&look).is_some_and(|until| at < *until) {
            quiet.insert(look, at);
        }
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
        for (pipeline, look) in [Look::Sources, Look::Folders].into_iter().flat_map(|look| self.take_due(look)) {
            let service = Arc::clone(&self);
            tokio::spawn(async move {
                let failed = service.poll_one(&pipeline, look).await.err();
                service.polled(&pipeline, look, failed);
            });
        }
        Ok(())
    }

    /// The pipelines that are to be polled now. They are busy from here on.
    fn take_due(&self, look: Look) -> Vec<(Arc<Pipeline>, Look)> {
        let now = self.now();
        if self.polls.quiet().get(&look).is_some_and(|until| now < *until && *until <= later(now, QUIET)) {
            return Vec::new();
        }
        let polled: Vec<_> =
            self.pipelines().into_iter().filter_map(|pipeline| look.every(&pipeline).map(|every| (pipeline, every))).collect();
        #[allow(clippy::cast_precision_loss, reason = "thousands at most")]
        let spread = Duration::from_secs_f64(polled.len() as f64 / FIRST_SECOND);
        let mut next = self.polls.next.lock().unwrap_or_else(PoisonError::into_inner);
        let mut quiet = later(now, QUIET);
        let due = polled.into_iter().filter(|(pipeline, every)| {
            let poll = next.entry((pipeline.name().to_owned(), look)).or_default();
            let first = || later(now, spread.min(*every).mul_f64(jitter()));
            let due = !poll.busy && *poll.due.get_or_insert_with(first) <= now;
            poll.busy |= due;
            if !poll.busy {
                quiet = quiet.min(poll.due.unwrap_or(now));
            }
            due
        });
        let due = due.map(|(pipeline, _)| (pipeline, look)).collect();
        self.polls.quiet().insert(look, quiet);
        due
    }

    /// Decides when the pipeline is polled next.
    fn polled(&self, pipeline: &Pipeline, look: Look, failed: Option<Failure>) {
        let (now, every) = (self.now(), look.every(pipeline).unwrap_or(LONGEST_WAIT));
        self.polls.update(pipeline.name(), look, |poll| {
            poll.busy = false;
            poll.failures = if failed.is_some() { poll.failures + 1 } else { 0 };
            let wait = every.saturating_mul(1 << poll.failures.min(10)).min(LONGEST_WAIT.max(every));
            let next = Some(later(now, wait.mul_f64(0.9 + 0.2 * jitter())));
            // A run that failed meanwhile may have put it off for longer.
            poll.due = if poll.failed_runs > 0 { poll.due.max(next) } else { next };
            self.polls.wake_at(look, poll.due.unwrap_or(now));
        });
        if let Some(failure) = failed {
            polled("failed");
            tracing::info!(pipeline = pipeline.name(), code = failure.code.as_str(), "a publisher could not be asked: {failure}");
        }
    }

    /// Forgets what a pipeline's sources showed: a run could not use it, and it is news again, after a while that grows.
    pub(super) fn put_off(&self, pipeline: &str) {
        for look in [Look::Sources, Look::Folders] {
            self.polls.update(pipeline, look, |poll| {
                poll.shown.clear();
                poll.failed_runs += 1;
                let wait = later(self.now(), retry::backoff(poll.failed_runs + 2, jitter()));
                poll.due = poll.due.max(Some(wait));
            });
        }
    }

    /// Notes that a run could use what it found.
    pub(super) fn succeeded(&self, pipeline: &str) {
        for look in [Look::Sources, Look::Folders] {
            self.polls.update(pipeline, look, |poll| poll.failed_runs = 0);
        }
    }

    /// Looks into the folders of a pipeline now: where a run took one file, the next may be waiting.
    pub(super) async fn look_again(&self, pipeline: &Arc<Pipeline>) -> Result<()> {
        let mut failed = 0;
        self.polls.update(pipeline.name(), Look::Folders, |poll| failed = poll.failed_runs);
        let is_on = pipeline.takes_files() && Look::Folders.every(pipeline).is_some();
        if is_on && failed == 0 { self.poll_one(pipeline, Look::Folders).await } else { Ok(()) }
    }

    /// Looks at every source, and asks for a run if one has something new.
    async fn poll_one(&self, pipeline: &Arc<Pipeline>, look: Look) -> Result<()> {
        let mut shown = BTreeMap::new();
        let mut news = None;
        let mut trouble = None;
        for (name, spec) in pipeline.file.sources.iter().filter(|(_, spec)| look.is_at(spec)) {
            match self.glance(pipeline, name, spec).await {
                Ok(Glance::Same) => polled("same"),
                Ok(Glance::Missing { .. }) => polled("missing"),
                Ok(Glance::New(validators)) => {
                    polled("new");
                    news.get_or_insert_with(|| name.clone());
                    shown.insert(name.clone(), validators);
                }
                // Who reads at set times reads what is there; who watches a folder waits until it is complete.
                Ok(Glance::Settling) if look == Look::Folders || spec.is_archived() => polled("settling"),
                Ok(Glance::Settling) => {
                    polled("new");
                    news.get_or_insert_with(|| name.clone());
                    shown.insert(name.clone(), Validators::default());
                }
                // The news of one source is not kept back by the trouble of another.
                Err(failure) => trouble = Some((name, failure)),
            }
        }
        if let Some((source, _)) = &trouble {
            let mut tell = false;
            self.polls.update(pipeline.name(), look, |poll| tell = poll.failures + 1 == TELL_AFTER);
            if tell {
                self.ask(pipeline.name(), &look.trigger((*source).clone())).await?;
            }
        }
        if let Some(source) = news {
            let held = self.conductor.ledger.is_held(pipeline.name()).await?;
            let mut told = false;
            self.polls.update(pipeline.name(), look, |poll| {
                // Publications that no run could use yet (another source has none) are no news a second time.
                told = poll.held == held
                    && shown
                        .iter()
                        .all(|(name, validators)| *validators != Validators::default() && poll.shown.get(name) == Some(validators));
                (poll.shown, poll.held) = (shown, held);
            });
            if !told {
                self.ask(pipeline.name(), &look.trigger(source)).await?;
            }
        }
        if let Some((_, failure)) = trouble {
            return Err(failure);
        }
        // People were told that a publisher could not be reached: a run tells them that it can be, also if there is no news.
        let mut first = false;
        self.polls.update(pipeline.name(), look, |poll| {
            first = !poll.answered || poll.failures >= TELL_AFTER;
            poll.answered = true;
        });
        if first && self.conductor.is_unreached(pipeline).await? {
            self.ask(pipeline.name(), &look.trigger(pipeline.file.sources.keys().next().cloned().unwrap_or_default())).await?;
        }
        Ok(())
    }

    async fn glance(&self, pipeline: &Arc<Pipeline>, name: &str, spec: &Source) -> Result<Glance> {
        let state = self.conductor.ledger.source_state(pipeline.name(), name).await?.filter(|state| state.place == spec.place());
        let known = state.map(|state| state.validators).unwrap_or_default();
        let host = self.polls.host(spec.place());
        let (_host, _all) = (host.acquire().await, self.polls.at_once.acquire().await);
        self.conductor.source(pipeline, name)?.glance(&known).await
    }
}

fn polled(how: &'static str) {
    metrics::counter!("tidegate_polls_total", "answer" => how).increment(1);
}
