//! `quarantine`.

use crate::{
    cli::Output,
    context::{Context, Ending},
};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use std::path::PathBuf;
use tidegate_core::{Failure, quarantine::Status};
use tidegate_runtime::RunOptions;

/// Rejected rows
#[derive(Debug, Subcommand)]
pub enum QuarantineCommand {
    /// List quarantined rows.
    List(ListArgs),
    /// Everything about one row.
    Show(RowArgs),
    /// Read the last publications of a pipeline again: after its types or checks were mended.
    Retry(RetryArgs),
    /// Close rows for good; the same text is not brought up again.
    Discard(DiscardArgs),
    /// Write quarantined rows to stdout, as JSON lines (or `-o csv`).
    Export(ListArgs),
}

/// Which rows.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only those of this pipeline.
    pipeline: Option<String>,
    /// Only those that stand so.
    #[arg(long, value_enum, default_value_t = Which::Open, value_name = "STATUS")]
    status: Which,
    /// How many.
    #[arg(long, default_value_t = 1000, value_name = "N")]
    limit: i64,
}

/// Which rows, by how they stand.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Which {
    /// Still bad.
    Open,
    /// Good or gone in a later publication.
    Resolved,
    /// Closed by a person.
    Discarded,
    /// All of them.
    All,
}

/// One row.
#[derive(Debug, Args)]
pub struct RowArgs {
    /// Its number.
    id: i64,
}

/// Which pipeline.
#[derive(Debug, Args)]
pub struct RetryArgs {
    /// Its name.
    pipeline: String,
    /// Read `DIR/HOST/PATH` instead of `https://HOST/PATH`.
    #[arg(long, value_name = "DIR")]
    mirror: Option<PathBuf>,
}

/// Some rows.
#[derive(Debug, Args)]
pub struct DiscardArgs {
    /// Their numbers.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<i64>,
}

/// Does what was asked.
pub async fn quarantine(context: &Context, command: QuarantineCommand) -> Ending {
    match command {
        QuarantineCommand::List(args) => list(context, args, context.terminal.format()).await,
        QuarantineCommand::Export(args) => {
            let format = if context.terminal.format() == Output::Csv { Output::Csv } else { Output::Json };
            list(context, args, format).await
        }
        QuarantineCommand::Show(args) => show(context, args).await,
        QuarantineCommand::Retry(args) => retry(context, args).await,
        QuarantineCommand::Discard(args) => {
            let closed = context.conductor(None).await?.discard_rows(&args.ids).await?;
            context.terminal.remark(&format!("{closed} rows discarded"));
            Ok(0)
        }
    }
}

async fn list(context: &Context, args: ListArgs, format: Output) -> Ending {
    let status = match args.status {
        Which::Open => Some(Status::Open),
        Which::Resolved => Some(Status::Resolved),
        Which::Discarded => Some(Status::Discarded),
        Which::All => None,
    };
    let ledger = context.ledger().await?;
    context.known(&ledger, args.pipeline.as_deref()).await?;
    let rows = ledger.quarantine(args.pipeline.as_deref(), status, args.limit).await?;
    let mut lines = Vec::new();
    for row in &rows {
        match format {
            Output::Json => context.terminal.json(row),
            Output::Csv => {
                if lines.is_empty() {
                    context.terminal.text("id,pipeline,source,line,column,reason,message,raw,status,first_run,last_run");
                }
                let cells = json!([
                    row.id,
                    row.pipeline,
                    row.row.source,
                    row.row.line,
                    row.row.column,
                    row.row.reason,
                    row.row.message,
                    row.row.raw,
                    row.status,
                    row.first_run,
                    row.last_run
                ]);
                context.terminal.csv(cells.as_array().into_iter().flatten().cloned());
                lines.push(Vec::new());
            }
            Output::Text => lines.push(vec![
                row.id.to_string(),
                row.pipeline.clone(),
                row.row.source.clone(),
                row.row.line.map_or_else(|| "-".to_owned(), |line| line.to_string()),
                row.row.column.clone().unwrap_or_else(|| "-".to_owned()),
                row.row.message.clone(),
                row.row.raw.chars().take(60).collect(),
            ]),
        }
    }
    if format == Output::Text {
        if lines.is_empty() {
            context.terminal.remark("quarantine is empty");
        } else {
            context.terminal.table(&["ID", "PIPELINE", "SOURCE", "LINE", "COLUMN", "REASON", "ROW"], &lines);
        }
    }
    Ok(0)
}

async fn show(context: &Context, args: RowArgs) -> Ending {
    let row = context.ledger().await?.quarantined(args.id).await?;
    if context.terminal.format() == Output::Json {
        context.terminal.json(&row);
        return Ok(0);
    }
    let terminal = &context.terminal;
    let line = row.row.line.map_or_else(String::new, |line| format!(", line {line}"));
    let part = row.row.part.as_ref().map_or_else(String::new, |part| format!(", file {part}"));
    terminal.text(&format!("{} of {}: source {}{part}{line}", row.status.as_str(), row.pipeline, row.row.source));
    terminal.text(&format!(
        "  {}{}",
        row.row.message,
        row.row.column.as_ref().map_or_else(String::new, |column| format!(" (column {column})"))
    ));
    terminal.text(&format!("  {}", row.row.raw));
    terminal.text(&format!("  rejected first by run {}, last by run {}, in {} publications", row.first_run, row.last_run, row.seen));
    if let Some(why) = &row.closed_because {
        terminal.text(&format!("  closed{}: {why}", row.closed_run.map_or_else(String::new, |run| format!(" by run {run}"))));
    }
    Ok(0)
}

async fn retry(context: &Context, args: RetryArgs) -> Ending {
    let conductor = context.conductor(args.mirror).await?;
    let pipeline = context.pipeline_of(&conductor.ledger, &args.pipeline).await?;
    let ended = conductor
        .run(&pipeline, RunOptions { again: true, triggers: vec![tidegate_core::trigger::Trigger::Manual] })
        .await
        .map_err(|failure: Failure| failure)?;
    ended.iter().for_each(|ended| context.terminal.ended(ended));
    Ok(ended.last().map_or(0, |last| super::exit_code(last.receipt.outcome)))
}
