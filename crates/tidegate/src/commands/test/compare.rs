//! What was expected against what was found, as sentences.

use super::spec::Expect;
use crate::context::{Context, Trouble};
use serde_json::{Map, Value};
use tidegate_core::{Failure, quarantine::Status};
use tidegate_engine::Answer;
use tidegate_runtime::{Conductor, Ended};
use tidegate_testkit::fakes::Sent;

/// What a run left behind.
pub(super) struct Found<'a> {
    pub(super) ended: &'a Ended,
    pub(super) messages: &'a [Sent],
    pub(super) context: &'a Context,
    pub(super) conductor: &'a Conductor,
    pub(super) table: &'a str,
}

/// The differences; none if all is as expected.
pub(super) async fn compare(expect: &Expect, found: &Found<'_>) -> Result<Vec<String>, Trouble> {
    let mut out = Vec::new();
    receipt(expect, found, &mut out);
    if let Some(expected) = &expect.rows {
        rows(expected, &table(found).await?, &mut out);
    }
    if let Some(expected) = &expect.quarantine {
        let open = found.conductor.ledger.quarantine(None, Some(Status::Open), i64::MAX).await?;
        let open: Vec<String> = open
            .iter()
            .map(|row| format!("{} line {}: {} ({})", row.row.source, row.row.line.unwrap_or_default(), row.row.message, row.row.raw))
            .collect();
        texts("quarantine", expected, &open, &mut out);
    }
    if let Some(expected) = &expect.messages {
        if expected.len() != found.messages.len() {
            let subjects: Vec<String> = found.messages.iter().map(|sent| format!("{}: {}", sent.kind, sent.rendered.subject)).collect();
            out.push(format!("expected {} messages, got {}: {}", expected.len(), found.messages.len(), subjects.join(" | ")));
        }
        for (expected, Sent { kind, rendered, .. }) in expected.iter().zip(found.messages) {
            for (what, wanted, got) in
                [("to", &expected.to, kind), ("subject", &expected.subject, &rendered.subject), ("text", &expected.text, &rendered.text)]
            {
                if let Some(wanted) = wanted
                    && !got.contains(wanted.as_str())
                {
                    out.push(format!("message {what}: expected `{wanted}` in\n      {}", got.replace('\n', "\n      ")));
                }
            }
        }
    }
    Ok(out)
}

fn receipt(expect: &Expect, found: &Found<'_>, out: &mut Vec<String>) {
    let receipt = &found.ended.receipt;
    if let Some(outcome) = expect.outcome
        && outcome != receipt.outcome
    {
        let why = receipt
            .error
            .as_ref()
            .map(|error| format!(" ({}: {})", error.code, error.message))
            .or_else(|| receipt.held.as_ref().map(|held| format!(" ({})", held.reasons.join("; "))));
        out.push(format!("outcome: expected {outcome}, got {}{}", receipt.outcome, why.unwrap_or_default()));
    }
    let counts = serde_json::to_value(receipt.counts).unwrap_or_default();
    for (name, wanted) in &expect.counts {
        match counts.get(name).and_then(Value::as_u64) {
            Some(got) if got == *wanted => {}
            // A count that is left out of the receipt is 0.
            None if name == "kept" && *wanted == 0 => {}
            got => out
                .push(format!("{name}: expected {wanted}, got {}", got.map_or_else(|| "no such count".to_owned(), |got| got.to_string()))),
        }
    }
    if let Some(wanted) = expect.rows_after
        && wanted != receipt.rows_after
    {
        out.push(format!("rows_after: expected {wanted}, got {}", receipt.rows_after));
    }
    if let Some(wanted) = &expect.held {
        let reasons = receipt.held.as_ref().map(|held| held.reasons.join("; ")).unwrap_or_default();
        if !reasons.contains(wanted.as_str()) {
            out.push(format!("held: expected `{wanted}`, got `{reasons}`"));
        }
    }
    if let Some(wanted) = &expect.error {
        let error = receipt.error.as_ref().map(|error| format!("{} {}", error.code, error.message)).unwrap_or_default();
        if !error.contains(wanted.as_str()) {
            out.push(format!("error: expected `{wanted}`, got `{error}`"));
        }
    }
}

async fn table(found: &Found<'_>) -> Result<Vec<Map<String, Value>>, Trouble> {
    let mut rows = Vec::new();
    let key = found.conductor.ledger.runs(None, 1).await?.first().map(|run| run.key.clone()).unwrap_or_default();
    let order = if key.is_empty() {
        String::new()
    } else {
        format!(" ORDER BY {}", key.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", "))
    };
    let sql = format!("SELECT * FROM {}{order}", found.table);
    let mut take = |answer: Answer| {
        rows.extend(answer.rows.into_iter().map(|row| answer.columns.iter().cloned().zip(row).collect::<Map<_, _>>()));
        true
    };
    let tables = found.context.tables();
    if tables.names().iter().any(|name| name == found.table) {
        tables.query(&sql, None, &|_| Vec::new(), &mut take).await.map_err(Failure::from)?;
    }
    Ok(rows)
}

fn rows(expected: &[Map<String, Value>], got: &[Map<String, Value>], out: &mut Vec<String>) {
    let show = |row: &Map<String, Value>| Value::Object(row.clone()).to_string();
    for i in 0..expected.len().max(got.len()) {
        match (expected.get(i), got.get(i)) {
            (Some(wanted), Some(row)) => {
                let shown: Map<String, Value> = wanted
                    .keys()
                    .map(|name| (name.clone(), row.get(name).cloned().unwrap_or(Value::String("(no such column)".to_owned()))))
                    .collect();
                if shown != *wanted {
                    out.push(format!("row {}:\n      - {}\n      + {}", i + 1, show(wanted), show(&shown)));
                }
            }
            (Some(wanted), None) => out.push(format!("row {}:\n      - {}", i + 1, show(wanted))),
            (None, Some(row)) => out.push(format!("row {}:\n      + {}", i + 1, show(row))),
            (None, None) => {}
        }
    }
}

fn texts(what: &str, expected: &[String], got: &[String], out: &mut Vec<String>) {
    for i in 0..expected.len().max(got.len()) {
        match (expected.get(i), got.get(i)) {
            (Some(wanted), Some(text)) if text.contains(wanted.as_str()) => {}
            (wanted, text) => out.push(format!(
                "{what} {}:\n      - {}\n      + {}",
                i + 1,
                wanted.map_or("", String::as_str),
                text.map_or("", String::as_str)
            )),
        }
    }
}
