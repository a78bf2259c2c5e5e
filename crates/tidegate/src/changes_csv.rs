//! Changed rows as CSV: the row afterwards (of a delete, the row that was taken out), and what it was before.

use crate::output::Terminal;
use serde_json::Value;
use tidegate_core::changes::{Change, Op};

/// Prints a line for each change; each begins with the cells named by `lead`.
pub fn print(terminal: &Terminal, lead: &[&str], changes: &[(Vec<Value>, &Change)]) {
    let mut keys: Vec<&str> = Vec::new();
    let mut others: Vec<&str> = Vec::new();
    for (_, change) in changes {
        keys.extend(change.key.keys().map(String::as_str).filter(|name| !keys.contains(name)).collect::<Vec<_>>());
        for name in [&change.after, &change.before].into_iter().flatten().flat_map(|row| row.keys()) {
            if !keys.contains(&name.as_str()) && !others.contains(&name.as_str()) {
                others.push(name);
            }
        }
    }
    let before: Vec<String> = others.iter().map(|name| format!("before.{name}")).collect();
    let heading = lead.iter().chain(&["op"]).chain(&keys).chain(&others).copied().chain(before.iter().map(String::as_str));
    terminal.csv(heading.map(Value::from));
    for (first, change) in changes {
        let cell = |row: &Option<serde_json::Map<String, Value>>, name: &str| {
            row.as_ref().and_then(|row| row.get(name)).cloned().unwrap_or_default()
        };
        let row = if change.op == Op::Delete { &change.before } else { &change.after };
        let was = if change.op == Op::Update { &change.before } else { &None };
        let cells = [Value::from(change.op.as_str())].into_iter();
        let cells = cells.chain(keys.iter().map(|name| change.key.get(*name).cloned().unwrap_or_default()));
        let cells = cells.chain(others.iter().map(|name| cell(row, name))).chain(others.iter().map(|name| cell(was, name)));
        terminal.csv(first.iter().cloned().chain(cells));
    }
}
