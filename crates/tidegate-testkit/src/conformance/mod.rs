//! What every implementation of a trait must do, fakes included: one suite per trait, which panics at the first breach.
//!
//! A case tells a suite how to make the thing under test and how to look at what it did.

mod destination;
mod notifier;
mod receiver;
mod source;

pub use destination::{DestinationCase, destination};
pub use notifier::{NotifierCase, notifier};
pub use receiver::{ReceiverCase, receiver};
pub use source::{SourceCase, source};
