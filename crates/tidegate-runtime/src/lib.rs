//! The conductor: ledger, raw store, run executor, recovery, outbox. It knows no SQL engine and no protocol.
//!
//! A run of a pipeline:
//!
//! 1. what an earlier process left unfinished is finished or repeated (`recover.rs`, INV-5);
//! 2. every source is asked for its publication (`extract.rs`); if none has a new one, nothing is written at all;
//! 3. the data plane works out what would change (`execute.rs`);
//! 4. one transaction of the ledger makes it so (`commit.rs`, INV-2);
//! 5. destinations apply the changeset and people are told (`follow.rs`), each at its own pace.

mod commit;
mod decide;
mod error;
mod execute;
mod extract;
mod follow;
mod home;
pub mod intake;
pub mod ledger;
pub mod raw;
mod recover;
mod retention;
pub mod service;
mod silence;
mod subscribe;
mod trace;

pub use error::StateError;
pub use extract::Publication;
pub use home::{Home, PipelineLock};
pub use ledger::{
    Ledger,
    runs::{Report, Run},
};

use error::Result;
use jiff::Timestamp;
use recover::Recovered;
use std::{path::Path, sync::Arc};
use tidegate_core::{
    Failure, Receipt,
    pipeline::Pipeline,
    seam::{DataPlane, Destination, Destinations, Outside, Progress, Traces},
    trigger::Trigger,
};

/// Tells the time. Tests give a fixed one.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Everything a run needs.
pub struct Conductor {
    /// The home folder.
    pub home: Home,
    /// The ledger in it.
    pub ledger: Ledger,
    /// Parses, transforms, diffs.
    pub plane: Arc<dyn DataPlane>,
    /// Sources and notifiers.
    pub outside: Arc<dyn Outside>,
    /// Where tables are published.
    pub destinations: Arc<dyn Destinations>,
    /// Tells the time.
    pub clock: Clock,
    /// Where this runs, for filter policies (`prod`, `test`, …).
    pub environment: String,
    /// Told about progress.
    pub progress: Arc<dyn Progress>,
    /// What is known of destinations while a pipeline's lock is held.
    pub positions: Positions,
    /// Who delivers notifications.
    pub delivery: Delivery,
    /// Where the spans of runs go.
    pub traces: Arc<dyn Traces>,
}

/// The last run each destination has applied, as found out since the lock was taken: nobody else applies meanwhile, and
/// asking a destination means reading its log.
#[derive(Debug, Default)]
pub struct Positions {
    known: std::sync::Mutex<std::collections::BTreeMap<(String, String), tidegate_core::RunId>>,
}

impl Positions {
    fn get(&self, pipeline: &str, destination: &str) -> Option<tidegate_core::RunId> {
        let known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        known.get(&(pipeline.to_owned(), destination.to_owned())).copied()
    }

    fn set(&self, pipeline: &str, destination: &str, run: tidegate_core::RunId) {
        let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        known.insert((pipeline.to_owned(), destination.to_owned()), run);
    }

    fn forget(&self, pipeline: &str) {
        let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        known.retain(|(name, _), _| name != pipeline);
    }
}

/// A run that ended, and what went wrong after it was decided.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Its receipt.
    pub receipt: Receipt,
    /// What else is known.
    pub report: Report,
    /// Destinations that did not take the changes, notifications that did not go out. They are tried again.
    pub after: Vec<Failure>,
}

/// How a run is to be made.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// Read the publications again even if neither they nor the definition changed.
    pub again: bool,
    /// What asked for it.
    pub triggers: Vec<Trigger>,
}

/// Who delivers notifications.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The run itself, before it is over.
    Inline,
    /// The service, on its own time: a slow receiver slows no run.
    Deferred,
}

impl Conductor {
    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Whoever works on a pipeline holds its lock; and its table is that of no other.
    async fn lock(&self, pipeline: &Pipeline) -> Result<PipelineLock> {
        let lock = self.home.lock(pipeline.name())?;
        self.owns_table(pipeline).await?;
        self.positions.forget(pipeline.name());
        Ok(lock)
    }

    async fn owns_table(&self, pipeline: &Pipeline) -> Result<()> {
        let Some(owner) = self.ledger.other_owner(pipeline.table(), pipeline.name()).await? else { return Ok(()) };
        // A pipeline that was given another name in its place goes on with its table.
        let path = ledger::runs::from_everywhere(&pipeline.path);
        if self.ledger.pipelines().await?.iter().all(|(name, at)| *name != owner || *at == path) {
            return Ok(());
        }
        let what = format!("the table `{}` is that of pipeline `{owner}`", pipeline.table());
        Err(Failure::new(tidegate_core::Code::TG303, what).hint("give one of them another `table: { name: … }`"))
    }

    fn destinations(&self, pipeline: &Pipeline) -> Vec<Box<dyn Destination>> {
        self.destinations.open(pipeline, &self.home.table(pipeline.table()), &self.home.history(pipeline.table()))
    }

    /// Runs a pipeline: what is left over first, then what is new. The last of the ended runs is the newest.
    pub async fn run(&self, pipeline: &Arc<Pipeline>, options: RunOptions) -> Result<Vec<Ended>> {
        let _lock = self.lock(pipeline).await?;
        self.find_again(pipeline).await?;
        self.meet_subscribers(pipeline).await?;
        let Recovered { mut ended, behind, go_on } = self.recover(pipeline).await?;
        if !go_on {
            return Ok(ended);
        }
        let mut newest = self.run_new(pipeline, &options).await?;
        // Whoever was behind before and was not asked again meanwhile still is.
        if newest.receipt.run.is_none() {
            newest.after.extend(behind);
        }
        // Nothing new since a publication that was just tried again: it has been told already.
        if newest.receipt.run.is_none() || ended.iter().all(|earlier| earlier.receipt.run != newest.receipt.run) {
            ended.push(newest);
        }
        // Whoever published just now is not silent.
        let untold = self.watch_silence(pipeline).await?;
        if let Some(last) = ended.last_mut() {
            last.after.extend(untold);
        }
        self.prune(pipeline).await;
        Ok(ended)
    }

    /// Notes where a pipeline that is known lies now, if it was moved.
    async fn find_again(&self, pipeline: &Pipeline) -> Result<()> {
        let known = self.ledger.pipelines().await?;
        let path = ledger::runs::from_everywhere(&pipeline.path);
        if known.iter().any(|(name, before)| name == pipeline.name() && *before != path) {
            let mut tx = self.ledger.begin().await?;
            ledger::runs::know_pipeline(&mut tx, pipeline).await?;
            tx.commit().await.map_err(error::sql)?;
        }
        Ok(())
    }

    /// Runs a pipeline once for each of `publications` of a source, in their order, as if they had come one after another.
    pub async fn backfill(
        &self,
        pipeline: &Arc<Pipeline>,
        source: &str,
        publications: &[Publication<'_>],
        tell: &mut dyn FnMut(&Ended),
    ) -> Result<()> {
        let _lock = self.lock(pipeline).await?;
        self.recover(pipeline).await?.ended.iter().for_each(&mut *tell);
        for publication in publications {
            let run = self.extract_given(pipeline, source, publication).await?;
            tell(&self.execute(pipeline, run).await?);
        }
        Ok(())
    }

    /// Makes the table and its history again from the changesets. Says how many there were.
    pub async fn rebuild(&self, pipeline: &Arc<Pipeline>) -> Result<usize> {
        let _lock = self.lock(pipeline).await?;
        let runs = self.ledger.to_apply(pipeline.name(), tidegate_core::RunId(0)).await?;
        // What cannot be made again must not be taken away.
        for run in &runs {
            let missing = run.changeset.iter().map(|changeset| self.home.changeset_file(changeset)).find(|file| !file.is_file());
            if let Some(file) = missing {
                let what = format!("the changeset of run {} is not there: {}", run.id, file.display());
                return Err(Failure::new(tidegate_core::Code::TG407, what).hint("restore it from a backup; the table was not touched"));
            }
        }
        for folder in [self.home.table(pipeline.table()), self.home.history(pipeline.table())] {
            clear(&folder);
        }
        self.positions.forget(pipeline.name());
        if let Some(failure) = self.apply_pending(pipeline).await.into_iter().next() {
            return Err(failure);
        }
        self.reopen_mended(pipeline).await?;
        Ok(runs.len())
    }

    /// What a run would do, without doing it.
    pub async fn plan(&self, pipeline: &Arc<Pipeline>) -> Result<Ended> {
        let _lock = self.lock(pipeline).await?;
        self.plan_locked(pipeline).await
    }
}

/// Removes a folder of intermediate data, if it is there.
fn clear(folder: &Path) {
    if folder.exists() {
        let _ = std::fs::remove_dir_all(folder);
    }
}
