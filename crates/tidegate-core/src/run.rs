//! Runs: their states, outcomes and stages, and which state may follow which.
//!
//! ```text
//! queued ─▶ running ─┬▶ published          approve
//!    ▲         ▲     ├▶ unchanged     ┌──────────────▶ running (guards off) ─▶ published
//!    │ retry   │     ├▶ held ─────────┤ discard
//!    └─────────┼─────┼▶ failed        ├──────────────▶ cancelled
//!              │     ├▶ waiting       │ a sane publication came
//!   crash: the └─────┴▶ cancelled     └──────────────▶ cancelled (released by run N)
//!   same run again
//! ```

use serde::{Deserialize, Serialize};
use std::fmt;

/// Number of a run in its ledger, from 1, in order of creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub i64);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The table now says something new.
    Published,
    /// The sources gave nothing that changes the table.
    Unchanged,
    /// A guard or a check holds the run for a person or for the next sane publication.
    Held,
    /// An error; nothing was written.
    Failed,
    /// A person, or a later publication, made the run pointless.
    Cancelled,
    /// A source has never published anything yet, so there is nothing to build the table from.
    Waiting,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Waits for its turn.
    Queued,
    /// At work, or interrupted: the next start decides which.
    Running,
    /// Over.
    #[serde(untagged)]
    Done(Outcome),
}

impl RunState {
    /// Whether the state machine above has this arrow.
    pub fn may_become(self, next: RunState) -> bool {
        use Outcome::*;
        use RunState::*;
        match (self, next) {
            (Queued, Running | Done(Cancelled)) => true,
            // The same run again after a crash, or any end.
            (Running, Running | Done(_)) => true,
            // Approved, discarded, or released by the next publication.
            (Done(Held), Running | Done(Cancelled)) => true,
            // Retried while tries are left.
            (Done(Failed), Queued | Running) => true,
            _ => false,
        }
    }
}

impl Outcome {
    /// The word used in receipts, filters and the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Published => "published",
            Outcome::Unchanged => "unchanged",
            Outcome::Held => "held",
            Outcome::Failed => "failed",
            Outcome::Cancelled => "cancelled",
            Outcome::Waiting => "waiting",
        }
    }

    /// The outcome named so, if there is one.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Published, Self::Unchanged, Self::Held, Self::Failed, Self::Cancelled, Self::Waiting]
            .into_iter()
            .find(|outcome| outcome.as_str() == word)
    }
}

impl RunState {
    /// The word kept in the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            RunState::Queued => "queued",
            RunState::Running => "running",
            RunState::Done(outcome) => outcome.as_str(),
        }
    }

    /// The state named so, if there is one.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "queued" => Some(Self::Queued),
            "running" => Some(Self::Running),
            other => Outcome::parse(other).map(Self::Done),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The stages of a run, in order. Each beginning and end is an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Bytes from the publisher to the raw store.
    Extract,
    /// Bytes to typed rows, bad rows aside.
    Parse,
    /// The pipeline's SQL.
    Transform,
    /// Produced rows against the current table.
    Diff,
    /// The pipeline's checks on the table as it would be.
    Check,
    /// Limits on what may change.
    Guard,
    /// The one ledger transaction.
    Commit,
    /// The changeset to the destinations.
    Apply,
    /// Messages to people and systems.
    Notify,
}

impl Stage {
    /// The word used in events and progress lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Extract => "extract",
            Stage::Parse => "parse",
            Stage::Transform => "transform",
            Stage::Diff => "diff",
            Stage::Check => "check",
            Stage::Guard => "guard",
            Stage::Commit => "commit",
            Stage::Apply => "apply",
            Stage::Notify => "notify",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [RunState; 8] = [
        RunState::Queued,
        RunState::Running,
        RunState::Done(Outcome::Published),
        RunState::Done(Outcome::Unchanged),
        RunState::Done(Outcome::Held),
        RunState::Done(Outcome::Failed),
        RunState::Done(Outcome::Cancelled),
        RunState::Done(Outcome::Waiting),
    ];

    #[test]
    fn every_state_survives_its_word() {
        for state in STATES {
            assert_eq!(RunState::parse(state.as_str()), Some(state));
            let json = serde_json::to_string(&state).unwrap();
            assert_eq!(json, format!("\"{}\"", state.as_str()));
            assert_eq!(serde_json::from_str::<RunState>(&json).unwrap(), state);
        }
    }

    #[test]
    fn what_is_published_stays_published() {
        for next in STATES {
            assert!(!RunState::Done(Outcome::Published).may_become(next));
            assert!(!RunState::Done(Outcome::Cancelled).may_become(next));
        }
    }

    #[test]
    fn every_end_is_reached_through_running_or_a_hold() {
        for end in STATES.into_iter().filter(|s| matches!(s, RunState::Done(_))) {
            assert!(RunState::Running.may_become(end));
        }
        assert!(RunState::Done(Outcome::Held).may_become(RunState::Running));
        assert!(!RunState::Done(Outcome::Unchanged).may_become(RunState::Running));
    }
}
