//! `status`.

use crate::{
    cli::Output,
    context::{Context, Ending},
};
use clap::Args;
use serde_json::json;
use tidegate_core::{Outcome, RunState, receipt::thousands};

/// How every pipeline stands
#[derive(Debug, Args)]
pub struct StatusArgs {}

/// One line a pipeline.
pub async fn status(context: &Context, _: StatusArgs) -> Ending {
    let ledger = context.ledger().await?;
    let mut rows = Vec::new();
    for (name, path) in ledger.pipelines().await? {
        let runs = ledger.runs(Some(&name), 1).await?;
        let Some(last) = runs.first() else { continue };
        let settled = ledger.last_settled(&name).await?;
        let receipt = if settled.0 > 0 { ledger.run(settled).await?.receipt } else { None };
        let open = ledger.quarantine_open(&name).await?;
        let troubles = ledger.outbox_troubles(&name).await?;
        let (waiting, given_up) = troubles.iter().fold((0, 0), |sum, (_, waiting, given_up, _)| (sum.0 + waiting, sum.1 + given_up));
        let incident = ledger.incident(&name).await?.map(|(trouble, _)| trouble);
        let paused = ledger.paused(&name).await?;
        if context.terminal.format() == Output::Json {
            context.terminal.json(&json!({
                "pipeline": name, "path": path, "table": last.table, "rows": receipt.as_ref().map(|r| r.rows_after),
                "last_run": last.id, "state": last.state, "table_run": settled, "published_at": receipt.as_ref().map(|r| r.finished_at.to_string()),
                "quarantine_open": open, "notifications_waiting": waiting, "notifications_given_up": given_up, "trouble": incident, "paused": paused,
            }));
            continue;
        }
        let state = match last.state {
            RunState::Done(Outcome::Held) => format!("held: tidegate show {}", last.id),
            RunState::Done(Outcome::Failed) => format!("failed: tidegate show {}", last.id),
            RunState::Running => "at work, or interrupted: the next run goes on with it".to_owned(),
            other => other.as_str().to_owned(),
        };
        let state = if paused.is_some() { format!("{state} (paused)") } else { state };
        rows.push(vec![
            name,
            last.table.clone(),
            receipt.as_ref().map_or_else(|| "-".to_owned(), |receipt| thousands(receipt.rows_after)),
            settled.to_string(),
            receipt.map_or_else(|| "-".to_owned(), |receipt| receipt.finished_at.strftime("%Y-%m-%d %H:%M").to_string()),
            thousands(open),
            state,
        ]);
    }
    if context.terminal.format() != Output::Json {
        if rows.is_empty() {
            context.terminal.remark("no pipeline has run here yet; `tidegate run PIPELINE` does");
        } else {
            context.terminal.table(&["PIPELINE", "TABLE", "ROWS", "RUN", "AT (UTC)", "QUARANTINE", "LAST"], &rows);
        }
    }
    Ok(0)
}
