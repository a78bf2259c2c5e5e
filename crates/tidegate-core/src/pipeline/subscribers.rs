//! Systems that are told everything: events or changed rows, each at least once and in order.

use super::{ByteSize, Webhook};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A subscriber: a webhook that is given events or changed rows; exactly one of `events` and `changes` is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subscriber {
    /// Its name: lower-case letters, digits and `_`. What it has is remembered under this name; another name begins anew.
    pub name: String,
    /// Where to POST.
    pub webhook: Webhook,
    /// Give it events, as CloudEvents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<EventsWanted>,
    /// Give it the changed rows of published runs, before and after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<ChangesWanted>,
    /// Where it begins.
    #[serde(default)]
    pub from: From,
}

/// Which events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventsWanted {
    /// Types such as `tidegate.run.published`, or their beginnings, such as `tidegate.run.`; without it, all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
}

impl EventsWanted {
    /// Whether events of this type are wanted.
    pub fn includes(&self, kind: &str) -> bool {
        let matches = |wanted: &String| if wanted.ends_with('.') { kind.starts_with(wanted) } else { kind == wanted };
        self.types.is_empty() || self.types.iter().any(matches)
    }
}

/// How changed rows are batched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ChangesWanted {
    /// Most rows of one delivery.
    pub rows: u32,
    /// Most bytes of their JSON in one delivery; a single row that is larger comes alone.
    pub bytes: ByteSize,
}

impl Default for ChangesWanted {
    fn default() -> Self {
        Self { rows: 1000, bytes: ByteSize(1 << 20) }
    }
}

/// Where a subscriber begins that was never heard of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum From {
    /// With what happens from now on.
    #[default]
    Now,
    /// With the first event, or the first change, that there is.
    Beginning,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_whole_or_beginnings() {
        let wanted = EventsWanted { types: vec!["tidegate.run.".to_owned(), "tidegate.table.applied".to_owned()] };
        assert!(wanted.includes("tidegate.run.published") && wanted.includes("tidegate.table.applied"));
        assert!(!wanted.includes("tidegate.table.applied.x") && !wanted.includes("tidegate.source.drifted"));
        assert!(EventsWanted::default().includes("anything"));
    }
}
