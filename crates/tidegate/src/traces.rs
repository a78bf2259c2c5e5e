//! Where the spans of runs go: to an OpenTelemetry collector, if this build can and the environment names one.
//!
//! The variables are OpenTelemetry's own: `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_HEADERS`, ….

#[cfg(feature = "otlp")]
mod otlp;

use std::sync::Arc;
use tidegate_core::seam::{NoTraces, Traces};

/// The variables that name a collector.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];

/// As the environment says.
pub fn traces() -> Arc<dyn Traces> {
    if !ENDPOINTS.iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty())) {
        return Arc::new(NoTraces);
    }
    #[cfg(feature = "otlp")]
    match otlp::Collector::new() {
        Ok(collector) => return Arc::new(collector),
        Err(error) => tracing::warn!("no traces are sent: {error}"),
    }
    #[cfg(not(feature = "otlp"))]
    tracing::warn!("no traces are sent: this Tidegate was built without the feature `otlp`");
    Arc::new(NoTraces)
}
