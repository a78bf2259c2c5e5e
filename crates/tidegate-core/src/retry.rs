//! When failing work is repeated. Reads the error's class, and nothing else about it.

use crate::Class;
use std::time::Duration;

/// What becomes of a failed publication when the pipeline runs again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Repeat it before anything newer.
    Retry,
    /// Leave it aside, report it, let newer ones go on; `tidegate replay RUN` repeats it.
    SetAside,
}

/// Decides about a publication that failed `tried` times.
///
/// `same_definition` says whether pipeline file and SQL are still those of the failure: if they are not, the error's
/// cause may be mended, and the publication gets a new try whatever its class. With the same bytes and the same
/// definition only an error of its surroundings can end otherwise: a transient one by itself, a terminal one because
/// somebody mended what it found.
pub fn verdict(class: Class, tried: u32, tries: u32, same_definition: bool) -> Verdict {
    match (class, same_definition) {
        (_, false) => Verdict::Retry,
        (Class::Transient | Class::Terminal, true) if tried < tries => Verdict::Retry,
        _ => Verdict::SetAside,
    }
}

/// The wait before try `next` (2, 3, …): 1 s, 2 s, 4 s … up to five minutes, each shortened by up to half.
///
/// `jitter` is a number in `0.0..1.0`, drawn by the caller, so that many clients of one server spread out.
pub fn backoff(next: u32, jitter: f64) -> Duration {
    let seconds = f64::from(1u32 << next.saturating_sub(2).min(9)).min(300.0);
    Duration::from_secs_f64(seconds * (1.0 - jitter.clamp(0.0, 1.0) / 2.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_with_the_same_error_are_set_aside() {
        assert_eq!(verdict(Class::User, 1, 3, true), Verdict::SetAside);
        assert_eq!(verdict(Class::Bug, 1, 3, true), Verdict::SetAside);
    }

    #[test]
    fn a_mended_definition_gets_a_new_try() {
        assert_eq!(verdict(Class::User, 9, 3, false), Verdict::Retry);
    }

    #[test]
    fn errors_of_the_surroundings_get_a_bounded_number_of_tries() {
        assert_eq!(verdict(Class::Terminal, 2, 3, true), Verdict::Retry);
        assert_eq!(verdict(Class::Terminal, 3, 3, true), Verdict::SetAside);
        assert_eq!(verdict(Class::Transient, 2, 3, true), Verdict::Retry);
        assert_eq!(verdict(Class::Transient, 3, 3, true), Verdict::SetAside);
    }

    #[test]
    fn waits_double_and_are_bounded() {
        let waits: Vec<u64> = (2..14).map(|next| backoff(next, 0.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!(backoff(2, 1.0), Duration::from_millis(500));
    }
}
