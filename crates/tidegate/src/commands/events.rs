//! `events`.

use crate::{
    cli::Output,
    context::{Context, Ending},
};
use clap::Args;
use serde_json::{Value, json};
use std::time::Duration;
use tidegate_core::event::Event;
use tidegate_runtime::ledger::events::Wanted;

/// What happened
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidegate events covid19
  tidegate events --follow -o json")]
pub struct EventsArgs {
    /// Only those of this pipeline.
    pipeline: Option<String>,
    /// Only those of this type, such as `tidegate.run.published`.
    #[arg(long, value_name = "TYPE")]
    kind: Option<String>,
    /// Only those after this number.
    #[arg(long, default_value_t = 0, value_name = "SEQUENCE")]
    after: i64,
    /// Go on as things happen.
    #[arg(short, long)]
    follow: bool,
}

/// One line an event, oldest first.
pub async fn events(context: &Context, args: EventsArgs) -> Ending {
    let ledger = context.ledger().await?;
    context.known(&ledger, args.pipeline.as_deref()).await?;
    let mut after = args.after;
    if context.terminal.format() == Output::Csv {
        context.terminal.csv(["sequence", "time", "type", "source", "subject", "id", "data"].map(Value::from));
    }
    loop {
        let events = ledger.events(&Wanted { pipeline: args.pipeline.as_deref(), kind: args.kind.as_deref(), after, limit: 1000 }).await?;
        for event in &events {
            after = event.sequence.unwrap_or(after);
            match context.terminal.format() {
                Output::Json => context.terminal.json(event),
                Output::Csv => context.terminal.csv([
                    json!(event.sequence),
                    json!(event.time),
                    json!(event.kind),
                    json!(event.source),
                    json!(event.subject),
                    json!(event.id),
                    event.data.clone(),
                ]),
                Output::Text => context.terminal.text(&line(event)),
            }
        }
        if events.is_empty() {
            if !args.follow {
                return Ok(0);
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }
}

fn line(event: &Event) -> String {
    let short = event.kind.strip_prefix("tidegate.").unwrap_or(&event.kind);
    let pipeline = event.source.strip_prefix("/pipelines/").unwrap_or(&event.source);
    let subject = event.subject.as_deref().unwrap_or("-");
    let stage = event.data["stage"].as_str().map_or_else(String::new, |stage| format!("  {stage}"));
    format!(
        "{:>5}  {}  {pipeline:<12}  {subject:<8}  {short}{stage}",
        event.sequence.unwrap_or_default(),
        event.time.strftime("%Y-%m-%d %H:%M:%S")
    )
}
