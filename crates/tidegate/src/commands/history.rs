//! `history`.

use crate::{
    changes_csv,
    cli::Output,
    context::{Context, Ending},
    output::change_text,
};
use clap::Args;
use serde_json::json;
use tidegate_core::{Code, Failure};

/// Everything ever said about one row
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidegate history us_daily 2020-05-01
  tidegate history county_daily 2020-05-01 Cook Illinois
  tidegate history county_daily county=Cook state=Illinois -o json
  tidegate history us_daily 2020-05-01 -o csv")]
pub struct HistoryArgs {
    /// The table.
    table: String,
    /// The key's values, in the order of the key, or as `column=value`.
    #[arg(required = true, value_name = "KEY")]
    key: Vec<String>,
}

/// One line a statement, oldest first.
pub async fn history(context: &Context, args: HistoryArgs) -> Ending {
    let ledger = context.ledger().await?;
    let runs = ledger.runs(None, i64::MAX).await?;
    let Some(last) = runs.iter().find(|run| run.table == args.table && !run.key.is_empty()) else {
        let known = context.tables().names().join(", ");
        return Err(Failure::new(Code::TG106, format!("there is no table `{}` with a key", args.table)).detail("tables", known).into());
    };
    let named = args.key.iter().all(|part| part.split_once('=').is_some_and(|(name, _)| last.key.iter().any(|key| key == name)));
    if let Some(wrong) =
        args.key.iter().filter_map(|part| part.split_once('=')).map(|(name, _)| name).find(|name| !last.key.iter().any(|key| key == name))
        && args.key.iter().all(|part| part.contains('='))
    {
        return Err(Failure::new(Code::TG106, format!("`{wrong}` is not in the key of {}", args.table))
            .detail("key", last.key.join(", "))
            .into());
    }
    if !named && args.key.len() != last.key.len() {
        return Err(Failure::new(
            Code::TG106,
            format!("the key of {} has {} columns: {}", args.table, last.key.len(), last.key.join(", ")),
        )
        .hint("give a value for each, in this order, or some of them as `column=value`")
        .into());
    }
    let wanted: Vec<(String, String)> = if named {
        args.key.iter().filter_map(|part| part.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    } else {
        last.key.iter().cloned().zip(args.key.iter().cloned()).collect()
    };
    let veil = context.veil(&ledger, &last.pipeline).await?;
    let statements = context.tables().history(&args.table, &wanted, &last.key, &veil).await.map_err(Failure::from)?;
    match context.terminal.format() {
        Output::Json => statements.iter().for_each(|statement| context.terminal.json(statement)),
        Output::Csv => {
            let rows: Vec<_> =
                statements.iter().map(|statement| (vec![json!(statement.run), json!(statement.published_at)], &statement.change)).collect();
            changes_csv::print(&context.terminal, &["run", "published_at"], &rows);
        }
        Output::Text => statements.iter().for_each(|statement| {
            context.terminal.text(&format!(
                "run {:<4} {}  {}",
                statement.run,
                statement.published_at.strftime("%Y-%m-%d %H:%M"),
                change_text(&statement.change)
            ));
        }),
    }
    if statements.is_empty() {
        context.terminal.remark("nothing was ever said about this key");
    }
    Ok(0)
}
