//! What a command works with: home, ledger, conductor.

use crate::{cli::Global, output::Terminal, pipelines, progress::Bars};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tidegate_connectors::World;
use tidegate_core::{
    Failure,
    pipeline::Pipeline,
    seam::{Destination, Destinations, NoProgress, Outside, Progress},
};
use tidegate_engine::{DeltaDestination, Engine, Seal, Tables, Veil};
use tidegate_runtime::{Conductor, Home, Ledger};

/// How a command ends badly.
#[derive(Debug)]
pub enum Trouble {
    /// Failures to be told; wrong use or wrong files.
    Wrong(Vec<Failure>),
    /// A failure while working.
    Failed(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        use tidegate_core::Class;
        let usage = failure.class() == Class::User && (failure.code.as_str() < "TG200" || failure.code.as_str() > "TG399");
        if usage { Self::Wrong(vec![failure]) } else { Self::Failed(failure) }
    }
}

impl From<tidegate_core::pipeline::LoadError> for Trouble {
    fn from(error: tidegate_core::pipeline::LoadError) -> Self {
        Self::Wrong(error.failures)
    }
}

/// How a command ends: its exit code.
pub type Ending = Result<u8, Trouble>;

/// The built-in destinations.
struct BuiltIn {
    threads: usize,
}

impl Destinations for BuiltIn {
    fn open(&self, _: &Pipeline, table: &Path, history: &Path) -> Vec<Box<dyn Destination>> {
        vec![Box::new(DeltaDestination::new(table, history, self.threads))]
    }
}

/// How many threads work on data.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get).min(16)
}

/// The time; fixed by `TIDEGATE_NOW` in tests (debug builds only).
pub fn clock() -> tidegate_runtime::Clock {
    #[cfg(debug_assertions)]
    if let Some(fixed) = std::env::var("TIDEGATE_NOW").ok().and_then(|text| text.parse::<jiff::Timestamp>().ok()) {
        return Arc::new(move || fixed);
    }
    Arc::new(jiff::Timestamp::now)
}

/// What a command works with.
pub struct Context {
    /// Options of the command line.
    pub global: Global,
    /// Where to write.
    pub terminal: Terminal,
    /// The home folder.
    pub home: Home,
    /// What seals sensitive values, if there is a key.
    pub seal: Option<Arc<Seal>>,
}

impl Context {
    /// From the command line.
    pub fn new(global: Global) -> Result<Self, Failure> {
        let seal = crate::key::seal(&global)?.map(Arc::new);
        Ok(Self { seal, ..Self::without_key(global) })
    }

    /// For a world of its own, in which sensitive values are masked.
    pub fn without_key(global: Global) -> Self {
        Self { terminal: Terminal::new(&global), home: Home::new(&global.home), seal: None, global }
    }

    /// The ledger.
    pub async fn ledger(&self) -> Result<Ledger, Failure> {
        Ledger::open(&self.home).await
    }

    /// The tables.
    pub fn tables(&self) -> Tables {
        Tables::new(&self.home.root().join("tables"), &self.home.scratch("_query"), threads())
    }

    /// A conductor on the outside world.
    pub async fn conductor(&self, mirror: Option<PathBuf>) -> Result<Conductor, Failure> {
        Ok(self.conductor_with(self.ledger().await?, self.world(mirror), self.progress()))
    }

    /// The same for a service.
    pub async fn conductor_for_service(&self, mirror: Option<PathBuf>) -> Result<Conductor, Failure> {
        Ok(self.conductor_with(Ledger::open_for_service(&self.home).await?, self.world(mirror), self.progress()))
    }

    /// A conductor on another outside world.
    pub async fn conductor_on(&self, outside: Arc<dyn Outside>, progress: Arc<dyn Progress>) -> Result<Conductor, Failure> {
        Ok(self.conductor_with(self.ledger().await?, outside, progress))
    }

    fn world(&self, mirror: Option<PathBuf>) -> Arc<dyn Outside> {
        let terminal = self.terminal.clone();
        Arc::new(World::new(mirror, Arc::new(move |text: &str| terminal.remark(text))))
    }

    fn progress(&self) -> Arc<dyn Progress> {
        if self.terminal.shows_progress() { Arc::new(Bars::new()) } else { Arc::new(NoProgress) }
    }

    fn conductor_with(&self, ledger: Ledger, outside: Arc<dyn Outside>, progress: Arc<dyn Progress>) -> Conductor {
        let threads = threads();
        Conductor {
            home: self.home.clone(),
            ledger,
            plane: Arc::new(Engine::new(threads, self.seal.clone())),
            outside,
            destinations: Arc::new(BuiltIn { threads }),
            clock: clock(),
            environment: self.global.environment.clone(),
            progress,
            positions: tidegate_runtime::Positions::default(),
            delivery: tidegate_runtime::Delivery::Inline,
            traces: crate::traces::traces(),
        }
    }

    /// Makes sure that a pipeline of this name is known, where one is named.
    pub async fn known(&self, ledger: &Ledger, name: Option<&str>) -> Result<(), Failure> {
        let Some(name) = name else { return Ok(()) };
        let known: Vec<String> = ledger.pipelines().await?.into_iter().map(|(name, _)| name).collect();
        if known.iter().any(|known| known == name) {
            return Ok(());
        }
        Err(Failure::new(tidegate_core::Code::TG104, format!("the ledger knows no pipeline `{name}`")).detail("it knows", known.join(", ")))
    }

    /// Over the columns whose values are not shown (INV-7), as the pipeline's file says, or as it said when it last ran.
    pub async fn veil(&self, ledger: &Ledger, pipeline: &str) -> Result<Veil, Failure> {
        let columns = match self.pipeline_of(ledger, pipeline).await {
            Ok(pipeline) => pipeline.sensitive_columns(),
            Err(_) => ledger.sensitive_columns(pipeline).await?,
        };
        Ok(Veil::new(columns, self.seal.clone()))
    }

    /// The pipeline of a run, read from where it was when it ran.
    pub async fn pipeline_of(&self, ledger: &Ledger, name: &str) -> Result<Arc<Pipeline>, Trouble> {
        let known = ledger.pipelines().await?;
        let path = known.iter().find(|(known, _)| known == name).map(|(_, path)| PathBuf::from(path));
        let path = path.ok_or_else(|| {
            let names: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
            Failure::new(tidegate_core::Code::TG104, format!("the ledger knows no pipeline `{name}`")).detail("it knows", names.join(", "))
        })?;
        Ok(pipelines::read(&path, &pipelines::environment)?)
    }
}
