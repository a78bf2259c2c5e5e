//! The spans of a run: what it did and how long each part took, handed on once it is over.
//!
//! They are in the trace of the run's events. If the process dies, the events are there and the spans are not.

use crate::{Conductor, Ended};
use jiff::Timestamp;
use tidegate_core::{RunId, pipeline::Pipeline, seam::Span};

/// Collects the spans of one try of a run.
pub(crate) struct Stopwatch {
    began: Timestamp,
    since: Timestamp,
    spans: Vec<Span>,
}

impl Stopwatch {
    pub(crate) fn new(began: Timestamp) -> Self {
        Self { began, since: began, spans: Vec::new() }
    }

    /// What was done since the last call was `name`.
    pub(crate) fn lap(&mut self, name: &'static str, now: Timestamp) {
        self.spans.push(Span { name, started: self.since, finished: now, attributes: Vec::new(), error: None });
        self.since = now;
    }
}

impl Conductor {
    /// Hands on the spans of a run that ended; without a trace to put them in, they are dropped.
    pub(crate) async fn hand_on(&self, pipeline: &Pipeline, run: RunId, watch: Stopwatch, ended: &Ended) {
        if !self.traces.is_on() {
            return;
        }
        let Ok(Some(trace)) = self.ledger.trace_of(run).await else { return };
        let receipt = &ended.receipt;
        let whole = Span {
            name: "run",
            started: watch.began,
            finished: self.now(),
            attributes: vec![
                ("tidegate.pipeline", pipeline.name().to_owned()),
                ("tidegate.table", receipt.table.clone()),
                ("tidegate.run", run.to_string()),
                ("tidegate.outcome", receipt.outcome.as_str().to_owned()),
                ("tidegate.rows_after", receipt.rows_after.to_string()),
            ],
            error: receipt.error.as_ref().map(|failure| format!("{}: {}", failure.code, failure.message)),
        };
        self.traces.record(&trace, [whole].into_iter().chain(watch.spans).collect());
    }
}
