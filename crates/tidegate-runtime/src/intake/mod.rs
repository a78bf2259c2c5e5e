//! The intake: rows that are pushed, durable before they are answered, on their way to a run.
//!
//! Each process writes to a folder of its own, `intake/PIPELINE/SOURCE/PROCESS/`, which it holds a lock on:
//!
//! ```text
//! push ─▶ frames in 0000000007.open ─(size or time)─▶ 0000000007.rows ─▶ publication of a run ─▶ removed
//!         one write and one fsync for all that came meanwhile
//! ```
//!
//! Which segments a run has read is recorded with the run, as the validators of its source, so that none is read twice
//! and none is forgotten (INV-3, INV-4). What a dead process left is taken over by whoever comes to it first.

mod frame;
mod lane;
mod source;

pub use lane::Accepted;
pub(crate) use source::PushSource;

use crate::{error::Result, home::Home, ledger::Ledger};
use lane::Lane;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use tidegate_core::{
    Code, Failure,
    pipeline::{Format, Pipeline},
};

/// The lanes of this process, one for each source that was pushed to.
pub struct Intake {
    home: Home,
    ledger: Ledger,
    owner: String,
    lanes: Mutex<BTreeMap<(String, String), Arc<Lane>>>,
}

impl Intake {
    /// Of a process called `owner`.
    pub fn new(home: &Home, ledger: &Ledger, owner: &str) -> Self {
        Self { home: home.clone(), ledger: ledger.clone(), owner: owner.to_owned(), lanes: Mutex::default() }
    }

    /// Takes rows. When this returns they are on disk, and will be run; the same key again changes nothing.
    pub async fn push(&self, pipeline: &Arc<Pipeline>, source: &str, body: Vec<u8>, key: Option<&str>) -> Result<Accepted> {
        check(pipeline, source, &body)?;
        let lane = self.lane(pipeline, source).await?;
        lane.push(body, key.map(frame::digest)).await
    }

    async fn lane(&self, pipeline: &Arc<Pipeline>, source: &str) -> Result<Arc<Lane>> {
        let name = (pipeline.name().to_owned(), source.to_owned());
        let known = self.lanes.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
        let limits = pipeline.file.triggers.as_ref().and_then(|triggers| triggers.push.clone()).unwrap_or_default();
        if let Some(lane) = known.filter(|lane| lane.limits == limits) {
            return Ok(lane);
        }
        let lane = Arc::new(Lane::open(&self.home, &self.ledger, &self.owner, &name, limits).await?);
        // Two requests at once: the first one's lane stays.
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        match lanes.get(&name).filter(|known| known.limits == lane.limits) {
            Some(known) => Ok(Arc::clone(known)),
            None => {
                lanes.insert(name, Arc::clone(&lane));
                Ok(lane)
            }
        }
    }

    /// Takes over what dead processes left, and says whether rows of this source wait for a run.
    pub fn ready(&self, pipeline: &Pipeline, source: &str) -> Result<bool> {
        let name = (pipeline.name().to_owned(), source.to_owned());
        let lane = self.lanes.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
        if let Some(lane) = lane {
            lane.glance();
        }
        lane::take_over(&self.home, &self.ledger, pipeline.name(), source)?;
        Ok(!source::sealed(&self.home, pipeline.name(), source)?.is_empty())
    }
}

/// What can be told before anything is kept.
fn check(pipeline: &Pipeline, source: &str, body: &[u8]) -> Result<()> {
    let spec = pipeline.file.sources.get(source).filter(|spec| spec.push.is_some()).ok_or_else(|| {
        Failure::new(Code::TG104, format!("pipeline `{}` has no source `{source}` that rows can be pushed to", pipeline.name()))
    })?;
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Failure::new(Code::TG210, "nothing was pushed"));
    }
    let wrong = |promised: &str| Failure::new(Code::TG203, format!("source `{source}` takes {promised}, and this is something else"));
    match spec.format {
        Format::Jsonl if body.trim_ascii_start().first() != Some(&b'{') => Err(wrong("JSON lines")),
        Format::Csv => {
            let options = spec.csv_options();
            let header = String::from_utf8_lossy(source::header_of(body)).into_owned();
            let quotes = [options.quote, ' '];
            let names: Vec<&str> = header.split(options.delimiter).map(|name| name.trim_matches(&quotes[..])).collect();
            let missing: Vec<&str> = spec
                .columns
                .iter()
                .filter(|(_, column)| !column.optional)
                .map(|(name, column)| column.from.as_deref().unwrap_or(name))
                .filter(|name| !names.contains(name))
                .collect();
            // What is special about the header is for the parser to understand.
            if !options.header || options.skip_lines > 0 || options.encoding.is_some() || missing.is_empty() {
                return Ok(());
            }
            Err(Failure::new(Code::TG204, format!("the header lacks {}", missing.join(", "))).detail("got", header.trim().to_owned()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
