//! `query`.

use crate::{
    cli::Output,
    context::{Context, Ending, Trouble},
};
use clap::Args;
use std::collections::BTreeMap;
use tidegate_core::{Code, Failure, RunId};
use tidegate_engine::{Answer, AsOf};
use tidegate_runtime::Ledger;

/// Ask the tables in SQL
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidegate query 'SELECT * FROM us_daily ORDER BY date DESC LIMIT 5'
  tidegate query 'SELECT * FROM us_daily' --as-of 2020-05-30      what had been said by then
  tidegate query 'SELECT * FROM us_daily' --as-of run:12          as run 12 left it
  tidegate query 'SELECT * FROM us_daily' -o csv > us_daily.csv")]
pub struct QueryArgs {
    /// One SELECT. The tables are those of the home folder; `X__history` has every change of `X`.
    sql: String,
    /// A day, a moment (RFC 3339) or `run:N`.
    #[arg(long, value_name = "WHEN")]
    as_of: Option<String>,
    /// Most rows to print as text.
    #[arg(long, default_value_t = 1000, value_name = "N")]
    limit: usize,
}

/// Prints the answer.
pub async fn query(context: &Context, args: QueryArgs) -> Ending {
    let ledger = context.ledger().await?;
    let runs = ledger.runs(None, i64::MAX).await?;
    let keys: BTreeMap<String, Vec<String>> = runs.iter().rev().map(|run| (run.table.clone(), run.key.clone())).collect();
    let as_of = match &args.as_of {
        Some(when) => Some(moment(&ledger, when).await?),
        None => None,
    };
    if let Some(AsOf::Published(until)) = as_of
        && let Some(first) = runs.iter().filter(|run| run.changeset.is_some()).map(|run| run.published_at).min()
        && until < first
    {
        context.terminal.remark(&format!("nothing had been published by then; the first publication is of {first}"));
    }
    let terminal = context.terminal.clone();
    let limit = args.limit;
    let mut collected: Option<Answer> = None;
    let mut first = true;
    let mut cut = false;
    let mut take = |answer: Answer| match terminal.format() {
        Output::Json => {
            for row in &answer.rows {
                let object: serde_json::Map<String, serde_json::Value> = answer.columns.iter().cloned().zip(row.iter().cloned()).collect();
                terminal.json(&object);
            }
            true
        }
        Output::Csv => {
            if std::mem::take(&mut first) {
                terminal.csv(answer.columns.iter().map(|name| name.as_str().into()));
            }
            for row in &answer.rows {
                terminal.csv(row.iter().cloned());
            }
            true
        }
        Output::Text => {
            match &mut collected {
                Some(all) => all.rows.extend(answer.rows),
                None => collected = Some(answer),
            }
            let all = collected.as_mut().map_or(0, |all| all.rows.len());
            cut = all > limit;
            !cut
        }
    };
    let key = |table: &str| keys.get(table).cloned().unwrap_or_default();
    context.tables().query(&args.sql, as_of, &key, &mut take).await.map_err(|error| match Failure::from(error) {
        // SQL that cannot be understood is wrong use; SQL that fails on the data is not.
        failure if failure.code == Code::TG301 => Trouble::Wrong(vec![failure]),
        failure => Trouble::Failed(failure),
    })?;
    if let Some(answer) = collected {
        let heading: Vec<&str> = answer.columns.iter().map(String::as_str).collect();
        let rows: Vec<Vec<String>> = answer.rows.iter().take(limit).map(|row| row.iter().map(text).collect()).collect();
        context.terminal.table(&heading, &rows);
    }
    if cut {
        context.terminal.remark(&format!("… only the first {limit} rows are shown; `--limit` shows more, `-o csv` all"));
    }
    Ok(0)
}

fn text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => "∅".to_owned(),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What `--as-of` means.
async fn moment(ledger: &Ledger, when: &str) -> Result<AsOf, Failure> {
    let wrong = || {
        Failure::new(Code::TG106, format!("`{when}` is neither a day, nor a moment, nor `run:N`"))
            .hint("for example `2020-05-30`, `2020-05-30T12:00:00Z`, `run:12`")
    };
    if let Some(run) = when.strip_prefix("run:") {
        let run = run.parse().map(RunId).map_err(|_| wrong())?;
        return Ok(AsOf::Run(ledger.run(run).await?.id));
    }
    let until = match when.parse::<jiff::civil::Date>() {
        // A day means all of it.
        Ok(day) if when.len() == 10 => day
            .tomorrow()
            .and_then(|day| day.to_zoned(jiff::tz::TimeZone::UTC))
            .map(|moment| moment.timestamp() - jiff::SignedDuration::from_nanos(1))
            .map_err(|_| wrong())?,
        _ => when.parse::<jiff::Timestamp>().map_err(|_| wrong())?,
    };
    Ok(AsOf::Published(until))
}
