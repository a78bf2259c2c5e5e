//! What is logged, and how it is written.

use crate::cli::LogFormat;
use tracing_subscriber::EnvFilter;

/// The variable that says what is logged.
const LOG: &str = "TIDEGATE_LOG";

/// Begins to log to stderr.
pub fn begin(format: LogFormat) {
    // What is said on a terminal without the log is in the log where that is all there is.
    let usual = match format {
        LogFormat::Text => "error,tidegate=warn",
        LogFormat::Json => "error,tidegate=info",
    };
    let filter = EnvFilter::try_from_env(LOG).unwrap_or_else(|_| EnvFilter::new(usual));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(coloured());
    match format {
        LogFormat::Text => log.with_target(false).init(),
        LogFormat::Json => log.json().flatten_event(true).with_current_span(false).with_span_list(false).init(),
    }
}

/// As for everything else on stderr.
fn coloured() -> bool {
    anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never
}
