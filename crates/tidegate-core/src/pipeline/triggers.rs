//! What starts runs when the pipeline is served.

use super::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Triggers of `tidegate serve`. Several may stand side by side; those that come together make one run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Triggers {
    /// At set times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// When a source has published something new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_change: Option<SourceChange>,
    /// When a file is dropped where a `file` source looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<Dropped>,
    /// When rows are pushed to a `push` source. Without it, its defaults hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<Push>,
    /// When somebody POSTs to `/v1/hooks/PIPELINE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Hook>,
    /// When one of these pipelines has published.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
}

/// Set times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Five cron fields: minute, hour, day of month, month, day of week; or a word such as `@daily`.
    pub cron: String,
    /// IANA time zone (default UTC). A time that daylight saving skips is made up for right after; one that comes twice counts once.
    #[serde(default = "utc")]
    pub timezone: String,
    /// What to do about times that passed while nothing was running.
    #[serde(default)]
    pub missed: Missed,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// What to do about missed times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Missed {
    /// One run for all of them.
    #[default]
    Once,
    /// None; the next set time comes soon enough.
    Skip,
    /// One run for each, up to a hundred.
    All,
}

/// Conditional polling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceChange {
    /// How often to ask. Up to a tenth of it is added or taken away, so that many pipelines spread out.
    pub every: Span,
}

/// Watching the places of `file` sources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Dropped {
    /// How often to look.
    pub every: Span,
}

impl Default for Dropped {
    fn default() -> Self {
        Self { every: Span(Duration::from_secs(1)) }
    }
}

/// How pushed rows are gathered into runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Push {
    /// Longest wait before pushed rows are run.
    pub every: Span,
    /// Bytes after which they are run at once.
    pub bytes: super::ByteSize,
    /// Bytes that may wait; beyond them a push is answered with 429.
    pub backlog: super::ByteSize,
}

impl Default for Push {
    fn default() -> Self {
        Self { every: Span(Duration::from_millis(500)), bytes: super::ByteSize(16 << 20), backlog: super::ByteSize(256 << 20) }
    }
}

/// A webhook that starts runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// The secret the caller signs with: GitHub's `X-Hub-Signature-256`, or `Tidegate-Signature`. For callers that cannot sign (S3 by way of
    /// SNS or EventBridge) the secret is the token in `Authorization: Bearer` or in the address, `?token=`.
    pub secret: String,
}
