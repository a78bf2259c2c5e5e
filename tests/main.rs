//! The integration tests, one binary over the real command line.
