//! Places that publish.

pub mod dropped;
pub mod file;
pub mod http;
