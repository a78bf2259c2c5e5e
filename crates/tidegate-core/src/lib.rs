//! The vocabulary of Tidegate: pipeline file, types, receipts, events, run states, filter rules, and the traits
//! through which the data plane, the conductor and the outside world meet.
//!
//! INV-6: nothing here does IO, reads a clock or looks at the environment. What is needed comes in as an argument.

pub mod changes;
pub mod error;
pub mod event;
pub mod fault;
pub mod filter;
pub mod guard;
pub mod incident;
pub mod message;
pub mod pipeline;
pub mod quarantine;
pub mod receipt;
pub mod retry;
pub mod run;
pub mod schedule;
pub mod seam;
pub mod silence;
pub mod trigger;

pub use error::{Class, Code, Failure, Location};
pub use receipt::{Counts, Receipt, SourceReceipt};
pub use run::{Outcome, RunId, RunState, Stage};
