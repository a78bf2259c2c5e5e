//! A publisher with ETags and generated publications in the formats of the reference pipeline. `tidegate demo` and the
//! tests share them.

#![allow(clippy::panic, reason = "a conformance suite says by panicking what does not conform")]

pub mod conformance;
pub mod covid;
pub mod fakes;
pub mod mutate;
pub mod publisher;

pub use publisher::Publisher;
