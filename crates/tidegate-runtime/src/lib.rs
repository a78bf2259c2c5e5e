//! tidegate-runtime
