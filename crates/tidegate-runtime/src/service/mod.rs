//! The service: triggers ask for runs, the queue says whose turn it is, workers run, and what follows is delivered.
//!
//! ```text
//! scheduler ─┐
//! poller ────┤                    ┌▶ worker ─▶ Conductor::run ─▶ events ─┬▶ after-trigger
//! intake ────┼─▶ queue (ledger) ──┤                                      ├▶ outbox: notifiers
//! hook ──────┤                    └▶ worker                              ├▶ subscribers
//!            │                                                          └▶ live streams
//! person ────┘
//! ```
//!
//! Everything that must survive a crash is in the ledger or in a file that was brought to disk before it was answered.
//! Each part has a `step` that does what is due at the time of the conductor's clock and returns: tests drive the steps
//! with a clock of their own, and [`Service::run`] drives them with a real one.

mod after;
pub mod news;
mod outbox;
mod poller;
mod reload;
mod scheduler;
mod subscribers;
mod worker;

use crate::{
    Conductor, Delivery, Ended,
    error::Result,
    intake::{Accepted, Intake},
    ledger::events,
};
use jiff::Timestamp;
use std::{
    collections::BTreeMap,
    future::Future,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tidegate_core::{
    Failure,
    event::{Draft, kind},
    pipeline::Pipeline,
    trigger::Trigger,
};
use tokio::{sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// How often the ledger is asked whether another process has put something there.
const GLANCE: Duration = Duration::from_millis(250);
/// How often the intake is looked at.
const INTAKE: Duration = Duration::from_millis(50);
/// How often the ledger is asked for new events, while somebody listens.
const NEWS: Duration = Duration::from_millis(50);
/// How often the pipelines' files are looked at.
const RELOAD: Duration = Duration::from_secs(2);
/// How often it is asked whether a publisher has fallen silent.
const SILENCE: Duration = Duration::from_secs(5);
/// Wait after an error of the service's own before it tries again.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// What a service may do.
#[derive(Debug, Clone)]
pub struct ServiceOptions {
    /// Most runs at work at a time, over all processes on the ledger.
    pub max_concurrent_runs: usize,
    /// How long a process may be silent before its runs are taken over.
    pub lease: Duration,
    /// How long runs at work may take to end once the service is asked to.
    pub grace: Duration,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        Self { max_concurrent_runs: 2, lease: Duration::from_secs(15), grace: Duration::from_secs(30) }
    }
}

/// How a pipeline is read again from its folder.
pub type Reader = Arc<dyn Fn(&std::path::Path) -> std::result::Result<Arc<Pipeline>, Vec<Failure>> + Send + Sync>;
/// Told of what the service does.
pub type Watcher = Arc<dyn Fn(&Note) + Send + Sync>;

/// Something to tell whoever watches the service.
#[derive(Debug)]
pub enum Note<'a> {
    /// A run ended.
    Ended(&'a Ended),
    /// Something went wrong beside the runs.
    Failed(&'a str, &'a Failure),
    /// A pipeline was read again.
    Reloaded(&'a str),
}

/// A running service.
pub struct Service {
    /// Runs pipelines.
    pub conductor: Conductor,
    options: ServiceOptions,
    /// This process, in leases.
    owner: String,
    served: Mutex<BTreeMap<String, Served>>,
    reader: Reader,
    watcher: Watcher,
    /// Wakes workers when there is something in the queue.
    wake: Notify,
    /// When each schedule is due next.
    due: Mutex<BTreeMap<String, (tidegate_core::pipeline::Schedule, Timestamp)>>,
    /// The newest event that downstream pipelines were looked at for.
    followed: std::sync::atomic::AtomicI64,
    /// Where the look at the pipelines' files goes on.
    reloaded: std::sync::atomic::AtomicUsize,
    polls: poller::Polls,
    sending: outbox::Sending,
    serving: subscribers::Serving,
    intake: Intake,
    news: news::News,
}

/// A pipeline that is served.
#[derive(Clone)]
struct Served {
    pipeline: Arc<Pipeline>,
    /// Where it was read from.
    folder: PathBuf,
    /// What its files looked like when they were read.
    stamp: String,
}

impl Service {
    /// Over these pipelines, each with the folder it was read from.
    pub async fn new(
        mut conductor: Conductor,
        pipelines: Vec<(PathBuf, Arc<Pipeline>)>,
        options: ServiceOptions,
        reader: Reader,
        watcher: Watcher,
    ) -> Result<Self> {
        conductor.delivery = Delivery::Deferred;
        let mut tx = conductor.ledger.begin().await?;
        for (_, pipeline) in &pipelines {
            crate::ledger::runs::know_pipeline(&mut tx, pipeline).await?;
        }
        tx.commit().await.map_err(crate::error::sql)?;
        let served = pipelines.into_iter().map(|(folder, pipeline)| {
            let stamp = reload::stamp(&pipeline);
            (pipeline.name().to_owned(), Served { pipeline, folder, stamp })
        });
        let owner = uuid::Uuid::now_v7().simple().to_string();
        Ok(Self {
            served: Mutex::new(served.collect()),
            intake: Intake::new(&conductor.home, &conductor.ledger, &owner),
            conductor,
            options,
            owner,
            reader,
            watcher,
            wake: Notify::new(),
            due: Mutex::default(),
            followed: std::sync::atomic::AtomicI64::new(-1),
            reloaded: std::sync::atomic::AtomicUsize::new(0),
            polls: poller::Polls::default(),
            sending: outbox::Sending::default(),
            serving: subscribers::Serving::default(),
            news: news::News::default(),
        })
    }

    fn now(&self) -> Timestamp {
        (self.conductor.clock)()
    }

    fn served(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Served>> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pipelines that are served, as they are now.
    pub fn pipelines(&self) -> Vec<Arc<Pipeline>> {
        self.served().values().map(|served| Arc::clone(&served.pipeline)).collect()
    }

    /// The pipeline of this name, if it is served.
    pub fn pipeline(&self, name: &str) -> Option<Arc<Pipeline>> {
        self.served().get(name).map(|served| Arc::clone(&served.pipeline))
    }

    /// Takes pushed rows. When this returns they are on disk.
    pub async fn push(&self, pipeline: &Arc<Pipeline>, source: &str, body: Vec<u8>, key: Option<&str>) -> Result<Accepted> {
        let (bytes, rows) = (body.len() as u64, body.iter().filter(|byte| **byte == b'\n').count() as u64);
        let accepted = self.intake.push(pipeline, source, body, key).await?;
        let how = if accepted.duplicate { "duplicate" } else { "new" };
        metrics::counter!("tidegate_pushes_total", "pipeline" => pipeline.name().to_owned(), "how" => how).increment(1);
        metrics::counter!("tidegate_pushed_bytes_total", "pipeline" => pipeline.name().to_owned()).increment(bytes);
        metrics::counter!("tidegate_pushed_lines_total", "pipeline" => pipeline.name().to_owned()).increment(rows);
        Ok(accepted)
    }

    /// Asks for runs of the pipelines to which closed segments of pushed rows wait.
    pub async fn take_in(&self) -> Result<()> {
        for pipeline in self.pipelines().into_iter().filter(|pipeline| pipeline.is_incremental()) {
            for name in pipeline.file.sources.keys() {
                let ledger = &self.conductor.ledger;
                // Rows that come after a held run wait with it for a person.
                let blocked =
                    || async { Ok::<_, Failure>(ledger.is_waiting(pipeline.name()).await? || ledger.is_held(pipeline.name()).await?) };
                if self.intake.ready(&pipeline, name)? && !blocked().await? {
                    self.ask(pipeline.name(), &Trigger::Push { source: name.clone() }).await?;
                }
            }
        }
        Ok(())
    }

    /// Asks for a run.
    pub async fn ask(&self, pipeline: &str, trigger: &Trigger) -> Result<()> {
        self.conductor.ledger.ask(pipeline, trigger, self.now()).await?;
        self.wake.notify_one();
        Ok(())
    }

    /// Tells of publishers that have fallen silent, and of those that are heard again.
    pub async fn watch_silences(&self) -> Result<()> {
        let told = self.conductor.ledger.pipelines_with_silences().await?;
        // One question for all of those that nobody waits for.
        let watched = |pipeline: &Pipeline| pipeline.file.sources.values().any(|source| source.silence.is_some());
        for pipeline in self.pipelines().into_iter().filter(|pipeline| watched(pipeline) || told.iter().any(|name| name == pipeline.name()))
        {
            self.conductor.watch_silence(&pipeline).await?;
        }
        Ok(())
    }

    /// Pauses a pipeline, or lets it go on, and says so.
    pub async fn pause(&self, pipeline: &str, pause: bool) -> Result<()> {
        pause_pipeline(&self.conductor, pipeline, pause).await?;
        self.wake.notify_one();
        Ok(())
    }

    /// Works until `stop`; then lets runs that are at work end, up to the grace period.
    ///
    /// Whatever is not done by then is left as it is: the ledger has it, and the next process goes on with it.
    pub async fn run(self: &Arc<Self>, stop: CancellationToken) {
        let mut helpers = JoinSet::new();
        self.every(&mut helpers, &stop, GLANCE, |service| async move { service.schedule().await });
        self.every(&mut helpers, &stop, GLANCE, |service| async move { service.follow_others().await });
        self.every(&mut helpers, &stop, GLANCE, |service| async move { service.poll().await });
        self.every(&mut helpers, &stop, GLANCE, |service| async move { service.deliver_waiting().await });
        self.every(&mut helpers, &stop, GLANCE, |service| async move { service.serve_subscribers().await });
        self.every(&mut helpers, &stop, INTAKE, |service| async move { service.take_in().await });
        self.every(&mut helpers, &stop, NEWS, |service| async move { service.tail().await });
        self.every(&mut helpers, &stop, SILENCE, |service| async move { service.watch_silences().await });
        self.every(&mut helpers, &stop, RELOAD, |service| async move { service.reload().await });
        let mut workers = JoinSet::new();
        for _ in 0..self.options.max_concurrent_runs {
            let (service, stop) = (Arc::clone(self), stop.clone());
            workers.spawn(async move {
                while !stop.is_cancelled() {
                    match service.work().await {
                        Ok(true) => {}
                        Ok(false) => {
                            tokio::select! {
                                () = service.wake.notified() => {}
                                () = tokio::time::sleep(GLANCE) => {}
                                () = stop.cancelled() => {}
                            }
                        }
                        Err(failure) => service.stumble("queue", &failure, &stop).await,
                    }
                }
            });
        }
        stop.cancelled().await;
        helpers.abort_all();
        let ended = tokio::time::timeout(self.options.grace, async { while workers.join_next().await.is_some() {} }).await;
        if ended.is_err() {
            tracing::warn!("runs at work did not end in time; they are repeated at the next start");
            workers.abort_all();
        }
    }

    fn every<F, W>(self: &Arc<Self>, tasks: &mut JoinSet<()>, stop: &CancellationToken, pause: Duration, step: F)
    where
        F: Fn(Arc<Self>) -> W + Send + 'static,
        W: Future<Output = Result<()>> + Send,
    {
        let (service, stop) = (Arc::clone(self), stop.clone());
        tasks.spawn(async move {
            while !stop.is_cancelled() {
                if let Err(failure) = step(Arc::clone(&service)).await {
                    service.stumble("service", &failure, &stop).await;
                }
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stop.cancelled() => {}
                }
            }
        });
    }

    async fn stumble(&self, what: &str, failure: &Failure, stop: &CancellationToken) {
        (self.watcher)(&Note::Failed(what, failure));
        tokio::select! {
            () = tokio::time::sleep(AFTER_ERROR) => {}
            () = stop.cancelled() => {}
        }
    }

    async fn say(&self, pipeline: &str, kind: &'static str, data: serde_json::Value) -> Result<()> {
        say(&self.conductor, pipeline, kind, data).await
    }
}

async fn say(conductor: &Conductor, pipeline: &str, kind: &'static str, data: serde_json::Value) -> Result<()> {
    let mut tx = conductor.ledger.begin().await?;
    events::append(&mut tx, pipeline, &Draft { kind, run: None, data }, conductor.now()).await?;
    tx.commit().await.map_err(crate::error::sql)
}

/// Pauses a pipeline, or lets it go on, and says so. Works beside a service as well as in it.
pub async fn pause_pipeline(conductor: &Conductor, pipeline: &str, pause: bool) -> Result<()> {
    let now = conductor.now();
    conductor.ledger.pause(pipeline, pause.then_some(now)).await?;
    let kind = if pause { kind::PIPELINE_PAUSED } else { kind::PIPELINE_RESUMED };
    say(conductor, pipeline, kind, serde_json::json!({})).await
}

#[cfg(test)]
mod tests;
