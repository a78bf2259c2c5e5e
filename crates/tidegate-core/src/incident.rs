//! Incidents: people are told once when something begins to go wrong, and once when it is over.

use crate::{Code, Outcome};
use serde::{Deserialize, Serialize};

/// What kind of trouble a pipeline is in. Another kind is another incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trouble {
    /// Runs are held.
    Held,
    /// Runs fail with this code.
    Failed(Code),
}

/// What a run means for the open incident of its pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// All was well and is.
    Well,
    /// Trouble begins, or becomes another one: tell.
    Begins(Trouble),
    /// The same trouble as before: people know.
    GoesOn,
    /// The trouble is over: tell those who were told of it.
    Ends,
}

/// Decides from the open incident and how the new run ended.
pub fn turn(open: Option<&Trouble>, outcome: Outcome, error: Option<Code>) -> Turn {
    let trouble = match outcome {
        Outcome::Held => Trouble::Held,
        Outcome::Failed => Trouble::Failed(error.unwrap_or(Code::TG901)),
        Outcome::Published | Outcome::Unchanged => return if open.is_some() { Turn::Ends } else { Turn::Well },
        // Neither says anything about whether the trouble is over.
        Outcome::Waiting | Outcome::Cancelled => return if open.is_some() { Turn::GoesOn } else { Turn::Well },
    };
    if open == Some(&trouble) { Turn::GoesOn } else { Turn::Begins(trouble) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_per_incident_plus_recovery() {
        let failed = Trouble::Failed(Code::TG204);
        assert_eq!(turn(None, Outcome::Failed, Some(Code::TG204)), Turn::Begins(failed.clone()));
        assert_eq!(turn(Some(&failed), Outcome::Failed, Some(Code::TG204)), Turn::GoesOn);
        assert_eq!(turn(Some(&failed), Outcome::Failed, Some(Code::TG201)), Turn::Begins(Trouble::Failed(Code::TG201)));
        assert_eq!(turn(Some(&failed), Outcome::Published, None), Turn::Ends);
        assert_eq!(turn(None, Outcome::Published, None), Turn::Well);
        assert_eq!(turn(Some(&Trouble::Held), Outcome::Waiting, None), Turn::GoesOn);
    }
}
