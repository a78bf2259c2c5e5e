//! A publisher with ETags and generated publications in the formats of the reference pipeline. `tidegate demo` and the
//! tests share them.

pub mod covid;
pub mod mutate;
pub mod publisher;

pub use publisher::Publisher;
