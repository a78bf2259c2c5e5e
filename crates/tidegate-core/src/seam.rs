//! The traits through which the data plane, the conductor and the outside world meet.
//!
//! The conductor (`tidegate-runtime`) calls them; `tidegate-engine` and `tidegate-connectors` implement them; the binary
//! ties them together. Each has a conformance suite in `tidegate-testkit` or beside its implementations.

use crate::{
    Counts, Failure, RunId, SourceReceipt,
    changes::{Change, ChangesetInfo, Restatement},
    message::{Message, Rendered},
    pipeline::{Pipeline, Severity},
    quarantine::Rejected,
};
use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Told how far a stage is. Called often; must be cheap and must not fail.
pub trait Progress: Send + Sync {
    /// `stage` of `what` (a source, a table) is at `done` of `total` bytes or rows, if the total is known.
    fn advance(&self, stage: crate::Stage, what: &str, done: u64, total: Option<u64>);
}

/// Progress that nobody watches.
pub struct NoProgress;

impl Progress for NoProgress {
    fn advance(&self, _: crate::Stage, _: &str, _: u64, _: Option<u64>) {}
}

// --- traces ------------------------------------------------------------------------------------------------------

/// Part of a run, with its times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// What it was: `run`, `extract`, `prepare`, `commit`, `follow`.
    pub name: &'static str,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// What is to be known of it.
    pub attributes: Vec<(&'static str, String)>,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// Where the spans of runs go. Must not fail, and must not wait.
pub trait Traces: Send + Sync {
    /// Takes spans of a trace (its W3C id); the first is the parent of the others.
    fn record(&self, trace: &str, spans: Vec<Span>);

    /// Whether anybody wants them.
    fn is_on(&self) -> bool {
        true
    }
}

/// Traces that nobody looks at.
pub struct NoTraces;

impl Traces for NoTraces {
    fn record(&self, _: &str, _: Vec<Span>) {}

    fn is_on(&self) -> bool {
        false
    }
}

// --- sources -----------------------------------------------------------------------------------------------------

/// What is known of the last fetch: sent back so that the publisher can say "not modified".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validators {
    /// HTTP `ETag`, or for files a fingerprint of names, sizes and times.
    pub etag: Option<String>,
    /// HTTP `Last-Modified`.
    pub last_modified: Option<String>,
}

/// How a fetch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// The publisher says that nothing changed since the validators were given.
    NotModified,
    /// There is nothing at that place (404, no such file).
    Missing {
        /// What the publisher said, for people.
        said: String,
    },
    /// Bytes were handed to the landing.
    Landed {
        /// To be sent back next time.
        validators: Validators,
        /// When the publisher says it was published; none if it does not say.
        published_at: Option<Timestamp>,
    },
}

/// Where a source's bytes go while they arrive. Nothing is kept until the fetch has ended well.
#[async_trait]
pub trait Landing: Send {
    /// Begins a file of the publication. A publication has one, unless the source is a pattern over several.
    async fn begin(&mut self, name: &str, size: Option<u64>) -> Result<(), Failure>;
    /// Takes the next bytes of the file begun last. Refuses what is beyond the size limit (INV-8).
    async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure>;
    /// Forgets all that was written since the fetch began, so that a try can be repeated.
    async fn restart(&mut self) -> Result<(), Failure>;
}

/// What a glance at a source shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Glance {
    /// What is known is still the newest.
    Same,
    /// There is nothing at that place.
    Missing {
        /// What the publisher said, for people.
        said: String,
    },
    /// There may be something new, with these validators.
    New(Validators),
    /// Somebody is still writing.
    Settling,
}

/// A place that publishes. Called by one task at a time per source; a fetch may be repeated at any point, and must hand
/// over the same publication whole or fail.
#[async_trait]
pub trait Source: Send + Sync {
    /// Fetches what is published now, unless `known` says that we have it.
    async fn fetch(&self, known: &Validators, landing: &mut dyn Landing) -> Result<Fetched, Failure>;

    /// Looks whether there is something new, as cheaply as can be, without taking it. May say `New` for something that
    /// turns out to be the same; never `Same` for something new.
    async fn glance(&self, known: &Validators) -> Result<Glance, Failure>;

    /// Told once the publication with these validators is on record: what only waited for that may be cleared away. If
    /// the process dies before, the next fetch is given the same validators and makes up for it.
    async fn taken(&self, _recorded: &Validators) -> Result<(), Failure> {
        Ok(())
    }
}

// --- the data plane ----------------------------------------------------------------------------------------------

/// A file of a publication as it lies in the raw store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawFile {
    /// The name it was published under.
    pub name: String,
    /// Where its bytes are.
    pub path: PathBuf,
    /// How many came.
    pub bytes: u64,
    /// Whether the store keeps them in frames of zstd (whatever they are themselves).
    pub packed: bool,
}

/// A publication as it lies in the raw store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceInput {
    /// The source's name.
    pub name: String,
    /// Its files, in order.
    pub parts: Vec<RawFile>,
    /// Identities of the rows of this source that are open in quarantine: the data plane says which of them are good now.
    pub open: BTreeSet<String>,
}

/// What the data plane is asked to do.
pub struct Work {
    /// The pipeline.
    pub pipeline: Arc<Pipeline>,
    /// The run.
    pub run: RunId,
    /// A publication for each source.
    pub sources: Vec<SourceInput>,
    /// Identities of produced rows that are open in quarantine.
    pub open: BTreeSet<String>,
    /// The current table (may not exist yet).
    pub table: PathBuf,
    /// Where the changeset is to be written; the file does not exist.
    pub changeset: PathBuf,
    /// A folder for whatever does not fit in memory; removed by the caller.
    pub scratch: PathBuf,
    /// For `_published_at`.
    pub published_at: Timestamp,
    /// For `_committed_at`.
    pub committed_at: Timestamp,
    /// Told about progress.
    pub progress: Arc<dyn Progress>,
}

/// What one source was found to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parsed {
    /// Rows read, accepted, rejected; `changed` and `sha256` are the caller's to fill in.
    pub receipt: SourceReceipt,
    /// The column names of the file.
    pub header: Vec<String>,
    /// Of the open identities, those whose row was accepted.
    pub healed: BTreeSet<String>,
    /// The newest value of the column by which the publisher's silence is told, if there is one.
    pub newest: Option<Timestamp>,
}

/// A check and what it found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// The check's name.
    pub check: String,
    /// What it does to the run.
    pub severity: Severity,
    /// Rows that violate it.
    pub rows: u64,
    /// The first of them, as JSON.
    pub examples: Vec<String>,
}

/// What a run would do. Nothing but the changeset file has been written.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Per source.
    pub sources: BTreeMap<String, Parsed>,
    /// Rejected rows, of the sources and of the table.
    pub rejected: Vec<Rejected>,
    /// Of the open identities of produced rows, those that are good now.
    pub healed: BTreeSet<String>,
    /// Rows as they left the transform.
    pub produced: u64,
    /// What became of them.
    pub counts: Counts,
    /// Rows in the table before.
    pub rows_before: u64,
    /// Rows in the table afterwards.
    pub rows_after: u64,
    /// Violated checks.
    pub violations: Vec<Violation>,
    /// The changeset, unless nothing changes.
    pub changeset: Option<ChangesetInfo>,
    /// How far back it restates.
    pub restatement: Restatement,
    /// The first changed rows.
    pub sample: Vec<Change>,
}

/// Parses, transforms, diffs and checks.
///
/// Called by the conductor once per try of a run. Writes the changeset file and nothing else; repeating it with the same
/// work gives the same rows and counts (INV-3).
#[async_trait]
pub trait DataPlane: Send + Sync {
    /// Works out what the run would do.
    async fn prepare(&self, work: Work) -> Result<Prepared, Failure>;

    /// Changed rows of a changeset, from row `first` on, `most` at most. Sensitive values are hidden (INV-7).
    async fn changes(&self, pipeline: &Arc<Pipeline>, changeset: &Path, first: u64, most: usize) -> Result<Vec<Change>, Failure>;
}

// --- destinations ------------------------------------------------------------------------------------------------

/// A committed changeset to apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The run that published it.
    pub run: RunId,
    /// The file.
    pub changeset: PathBuf,
    /// The key of the table, empty if rows have none.
    pub key: Vec<String>,
    /// Rows the table must hold afterwards (INV-1 across the seam).
    pub rows_after: u64,
}

/// A place where a table is published.
///
/// The conductor calls [`Destination::apply`] for every committed changeset of a pipeline, in commit order (INV-5), until it
/// returns `Ok`; it may call it again for a changeset that was applied, and that must change nothing (INV-3).
#[async_trait]
pub trait Destination: Send + Sync {
    /// Its name in the ledger's cursors; never changes for the same place.
    fn name(&self) -> &str;
    /// The last run applied here, as the destination itself says; none if there is no table yet.
    async fn position(&self) -> Result<Option<RunId>, Failure>;
    /// Applies a changeset, all or nothing (INV-2).
    async fn apply(&self, committed: &Committed) -> Result<(), Failure>;
}

// --- notifiers ---------------------------------------------------------------------------------------------------

/// A way to tell somebody. May be called again for a message that was delivered: `id` is the same then, and is passed on
/// so that the receiver can tell.
#[async_trait]
pub trait Notifier: Send + Sync {
    /// Delivers or fails.
    async fn send(&self, id: &str, message: &Message, rendered: &Rendered) -> Result<(), Failure>;
}

/// Something for a subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parcel {
    /// By which the subscriber knows a repetition.
    pub id: String,
    /// The media type of the body.
    pub content_type: &'static str,
    /// The events, as JSON.
    pub body: String,
}

/// A system that is given events. May be given the same parcel again, under the same id.
#[async_trait]
pub trait Receiver: Send + Sync {
    /// Takes all of it or fails.
    async fn take(&self, parcel: &Parcel) -> Result<(), Failure>;
}

/// Makes text of a message; pure.
pub trait Renderer: Send + Sync {
    /// With the notifier's own template, or the built-in one.
    fn render(&self, message: &Message, template: Option<&crate::pipeline::Template>) -> Result<Rendered, Failure>;
}

/// Builds the outside world's ends from what the pipeline file says.
pub trait Outside: Send + Sync {
    /// The source of this name.
    fn source(&self, pipeline: &Pipeline, name: &str) -> Result<Box<dyn Source>, Failure>;
    /// The notifier at this place in the file.
    fn notifier(&self, pipeline: &Pipeline, index: usize) -> Result<Box<dyn Notifier>, Failure>;
    /// The subscriber at this place in the file.
    fn subscriber(&self, pipeline: &Pipeline, index: usize) -> Result<Box<dyn Receiver>, Failure>;
    /// What renders messages.
    fn renderer(&self) -> &dyn Renderer;
}

/// Opens the destinations of a pipeline; the first is the built-in table.
pub trait Destinations: Send + Sync {
    /// For a table that lives in `table` with its history in `history`.
    fn open(&self, pipeline: &Pipeline, table: &Path, history: &Path) -> Vec<Box<dyn Destination>>;
}
