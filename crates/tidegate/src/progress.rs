//! Progress bars on a terminal.

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use tidegate_core::{Stage, seam::Progress};

/// How long a stage must take before it gets a bar: what is over in a moment needs none.
const PATIENCE: Duration = Duration::from_millis(400);

/// A bar per stage and thing.
pub struct Bars {
    all: MultiProgress,
    bars: Mutex<BTreeMap<(Stage, String), Bar>>,
}

struct Bar {
    since: Instant,
    shown: Option<ProgressBar>,
}

impl Bars {
    /// None yet.
    pub fn new() -> Self {
        Self { all: MultiProgress::new(), bars: Mutex::new(BTreeMap::new()) }
    }
}

fn style(stage: Stage, known: bool) -> ProgressStyle {
    let numbers = match (stage, known) {
        (Stage::Extract, true) => "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec}",
        (Stage::Extract, false) => "{spinner} {bytes} {bytes_per_sec}",
        (_, true) => "{wide_bar} {human_pos}/{human_len} rows",
        (_, false) => "{spinner} {human_pos} rows",
    };
    ProgressStyle::with_template(&format!("  {{prefix:<9}} {{msg:<16}} {numbers}")).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Progress for Bars {
    fn advance(&self, stage: Stage, what: &str, done: u64, total: Option<u64>) {
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = bars.entry((stage, what.to_owned())).or_insert_with(|| Bar { since: Instant::now(), shown: None });
        if bar.shown.is_none() && bar.since.elapsed() > PATIENCE {
            let shown = self.all.add(ProgressBar::new(total.unwrap_or(0)).with_prefix(stage.as_str()).with_message(what.to_owned()));
            shown.set_style(style(stage, total.is_some()));
            bar.shown = Some(shown);
        }
        if let Some(shown) = &bar.shown {
            shown.set_position(done);
            if total.is_some_and(|total| done >= total) {
                shown.finish_and_clear();
            }
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        let _ = self.all.clear();
    }
}
