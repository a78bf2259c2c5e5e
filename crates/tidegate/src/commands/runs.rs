//! `runs`, `show`, `diff`.

use crate::{
    changes_csv,
    cli::Output,
    context::{Context, Ending},
    output::{change_text, receipt_text},
};
use clap::Args;
use serde_json::json;
use tidegate_core::{
    Code, Failure, RunId,
    receipt::{counted, thousands},
    seam::RawFile,
};
use tidegate_runtime::raw;

/// List runs
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidegate runs
  tidegate runs covid19 --limit 100 -o json")]
pub struct RunsArgs {
    /// Only those of this pipeline.
    pipeline: Option<String>,
    /// How many.
    #[arg(long, default_value_t = 20, value_name = "N")]
    limit: i64,
}

/// One line a run, newest first.
pub async fn runs(context: &Context, args: RunsArgs) -> Ending {
    let ledger = context.ledger().await?;
    context.known(&ledger, args.pipeline.as_deref()).await?;
    let runs = ledger.runs(args.pipeline.as_deref(), args.limit).await?;
    if context.terminal.format() == Output::Json {
        for run in runs {
            match run.receipt {
                Some(receipt) => context.terminal.json(&receipt),
                None => context.terminal.json(&json!({ "run": run.id, "pipeline": run.pipeline, "state": run.state })),
            }
        }
        return Ok(0);
    }
    let rows: Vec<Vec<String>> = runs
        .iter()
        .map(|run| {
            let receipt = run.receipt.as_ref();
            let what = match (receipt.and_then(|receipt| receipt.error.as_ref()), &run.report.note) {
                (Some(error), _) => format!("{} {}", error.code, error.message),
                (None, Some(note)) => note.clone(),
                (None, None) => String::new(),
            };
            vec![
                run.id.to_string(),
                run.created_at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
                run.pipeline.clone(),
                if run.set_aside && !run.inputs.is_empty() { "set aside".to_owned() } else { run.state.as_str().to_owned() },
                receipt.map_or_else(String::new, |receipt| receipt.shown().to_string()),
                receipt.map_or_else(String::new, |receipt| thousands(receipt.rows_after)),
                what,
            ]
        })
        .collect();
    context.terminal.table(&["RUN", "AT (UTC)", "PIPELINE", "STATE", "COUNTS", "ROWS", "NOTE"], &rows);
    Ok(0)
}

/// Everything about one run
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Its number.
    run: i64,
}

/// Receipt, publications, changes, checks, quarantine.
pub async fn show(context: &Context, args: ShowArgs) -> Ending {
    let ledger = context.ledger().await?;
    let run = ledger.run(RunId(args.run)).await?;
    let mut snapshots = Vec::new();
    for id in run.inputs.values() {
        snapshots.push(ledger.snapshot(*id).await?);
    }
    if context.terminal.format() == Output::Json {
        let publications: Vec<_> = snapshots
            .iter()
            .map(|s| json!({ "source": s.source, "snapshot": s.id, "sha256": s.sha256, "bytes": s.bytes, "status": s.status, "published_at": s.published_at.to_string(), "fetched_at": s.fetched_at.to_string(), "header": s.header }))
            .collect();
        context.terminal.json(&json!({ "run": run.id, "kind": run.kind, "state": run.state, "tries": run.tries, "set_aside": run.set_aside, "receipt": run.receipt, "report": run.report, "changeset": run.changeset, "publications": publications }));
        return Ok(0);
    }
    let sensitive = !context.veil(&ledger, &run.pipeline).await?.is_empty();
    let terminal = &context.terminal;
    match &run.receipt {
        Some(receipt) => receipt_text(receipt, &run.report).iter().for_each(|line| terminal.text(line)),
        None => terminal.text(&format!("run {}  {}", run.id, run.state.as_str())),
    }
    terminal.text(&format!("        {} of {}, try {}, {}", run.kind, run.pipeline, run.tries, run.created_at));
    if let Some(note) = &run.report.note {
        terminal.text(&format!("        {note}"));
    }
    for reason in run.receipt.iter().filter_map(|receipt| receipt.held.as_ref()).flat_map(|held| &held.reasons) {
        terminal.text(&format!("  held: {reason}"));
    }
    for row in &run.report.rejected {
        let place = row.line.map_or_else(String::new, |line| format!(" line {line}"));
        let column = row.column.as_ref().map_or_else(String::new, |column| format!(", {column}"));
        terminal.text(&format!("  rejects {}{place}{column}: {}", row.source, row.message));
    }
    for violation in &run.report.violations {
        terminal.text(&format!(
            "  check `{}`: {}, such as {}",
            violation.check,
            counted(violation.rows, "violation", "violations"),
            violation.examples.join(" ")
        ));
    }
    for drift in run.report.drift.iter().chain(&run.report.reverted) {
        terminal.text(&format!("  {drift}"));
    }
    for snapshot in &snapshots {
        terminal.text(&format!(
            "  {}: snapshot {}, {} bytes, published {}, sha256 {}",
            snapshot.source,
            snapshot.id,
            thousands(snapshot.bytes),
            snapshot.published_at,
            &snapshot.sha256[..12]
        ));
        // The bytes themselves are not masked, so they are not shown where something in them is sensitive (INV-7).
        for part in snapshot.parts.iter().take(usize::from(!sensitive)) {
            for line in first_lines(&raw::file(&context.home, part)) {
                terminal.text(&format!("    │ {line}"));
            }
        }
    }
    for shift in &run.report.restatement.columns {
        let net =
            shift.net.map_or_else(String::new, |net| format!(", {net:+} in sum, at most {} in one row", shift.largest.unwrap_or_default()));
        terminal.text(&format!("  restated {}: {} rows{net}", shift.column, thousands(shift.rows)));
    }
    for change in &run.report.sample {
        terminal.text(&format!("  {}", change_text(change)));
    }
    if let Some(error) = run.receipt.as_ref().and_then(|receipt| receipt.error.as_ref()) {
        terminal.failure_text(error);
    }
    Ok(0)
}

/// The first lines of a publication, as text; none if it is no text.
fn first_lines(file: &RawFile) -> Vec<String> {
    use std::io::Read as _;
    let mut head = Vec::new();
    let read = raw::open(file).and_then(|bytes| bytes.take(2048).read_to_end(&mut head));
    if read.is_err() || head.contains(&0) {
        return Vec::new();
    }
    String::from_utf8_lossy(&head).lines().take(3).map(|line| line.chars().take(100).collect()).collect()
}

/// The rows a run changed
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidegate diff 42
  tidegate diff 42 --limit 100000 -o csv > changed.csv")]
pub struct DiffArgs {
    /// The run's number.
    run: i64,
    /// How many rows.
    #[arg(long, default_value_t = 1000, value_name = "N")]
    limit: usize,
}

/// One line a row: what it was and what it is.
pub async fn diff(context: &Context, args: DiffArgs) -> Ending {
    let ledger = context.ledger().await?;
    let run = ledger.run(RunId(args.run)).await?;
    let Some(changeset) = &run.changeset else {
        context.terminal.remark(&format!("run {} changed no rows", run.id));
        return Ok(0);
    };
    let veil = context.veil(&ledger, &run.pipeline).await?;
    let file = context.home.changeset_file(changeset);
    if !file.exists() {
        return Err(Failure::new(Code::TG407, format!("the changeset of run {} is not there any more: {}", run.id, file.display())).into());
    }
    let changes = context.tables().changes(&file, args.limit, &veil).map_err(Failure::from)?;
    match context.terminal.format() {
        Output::Json => changes.iter().for_each(|change| context.terminal.json(change)),
        Output::Csv => changes_csv::print(&context.terminal, &[], &changes.iter().map(|change| (Vec::new(), change)).collect::<Vec<_>>()),
        Output::Text => changes.iter().for_each(|change| context.terminal.text(&change_text(change))),
    }
    if (changes.len() as u64) < changeset.rows {
        context.terminal.remark(&format!("… and {} more; `--limit` shows them", thousands(changeset.rows - changes.len() as u64)));
    }
    Ok(0)
}
