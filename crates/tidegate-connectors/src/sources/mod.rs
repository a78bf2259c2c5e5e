//! Places that publish.

pub mod file;
pub mod http;
