//! A publisher's silence: nothing new for too long, or new bytes with old content.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A publisher that fell silent, or is heard again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilenceNote {
    /// The source.
    pub source: String,
    /// What was newest when it fell silent.
    pub last: Timestamp,
    /// How long there may be nothing new.
    pub after: String,
    /// Whether it is over.
    pub over: bool,
}

/// What changes about a silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Nothing: silent as before, or heard as before.
    AsBefore,
    /// It has fallen silent: tell.
    FellSilent,
    /// It is heard again: tell those who were told.
    Again,
}

/// Decides from what is newest, and from whether people were told that there is nothing newer.
pub fn heard(newest: Timestamp, after: Duration, told: bool, now: Timestamp) -> Heard {
    // A newest moment that is still to come is no silence.
    let silent = now > newest && now.duration_since(newest).unsigned_abs() > after;
    match (silent, told) {
        (true, false) => Heard::FellSilent,
        (false, true) => Heard::Again,
        _ => Heard::AsBefore,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn told_once_and_once_when_it_is_over() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let day = Duration::from_secs(86_400);
        assert_eq!(heard(at(0), day, false, at(86_400)), Heard::AsBefore);
        assert_eq!(heard(at(0), day, false, at(86_401)), Heard::FellSilent);
        assert_eq!(heard(at(0), day, true, at(200_000)), Heard::AsBefore);
        assert_eq!(heard(at(150_000), day, true, at(200_000)), Heard::Again);
        assert_eq!(heard(at(300_000), day, false, at(200_000)), Heard::AsBefore, "a clock that was set back");
    }
}
