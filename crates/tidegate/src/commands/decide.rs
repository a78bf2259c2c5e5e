//! `approve`, `discard`, `replay`.

use super::code_of;
use crate::context::{Context, Ending};
use clap::Args;
use tidegate_core::RunId;

/// Let a held run pass its guards
#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// The run's number.
    run: i64,
}

/// Publishes the held run.
pub async fn approve(context: &Context, args: ApproveArgs) -> Ending {
    let conductor = context.conductor(None).await?;
    let run = conductor.ledger.run(RunId(args.run)).await?;
    let pipeline = context.pipeline_of(&conductor.ledger, &run.pipeline).await?;
    let ended = conductor.approve(&pipeline, run.id).await?;
    context.terminal.ended(&ended);
    Ok(code_of(&ended))
}

/// Drop a held run
#[derive(Debug, Args)]
pub struct DiscardArgs {
    /// The run's number.
    run: i64,
}

/// Cancels the held run and puts its publication aside.
pub async fn discard(context: &Context, args: DiscardArgs) -> Ending {
    let conductor = context.conductor(None).await?;
    let run = conductor.ledger.run(RunId(args.run)).await?;
    let pipeline = context.pipeline_of(&conductor.ledger, &run.pipeline).await?;
    let run = conductor.discard(&pipeline, run.id).await?;
    context.terminal.remark(&format!("run {} is discarded; its publication is not read again", run.id));
    Ok(0)
}

/// Run again on the bytes of an earlier run
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidegate replay 17      after mending the pipeline, for a publication that was set aside")]
pub struct ReplayArgs {
    /// The earlier run's number.
    run: i64,
}

/// A new run on old publications.
pub async fn replay(context: &Context, args: ReplayArgs) -> Ending {
    let conductor = context.conductor(None).await?;
    let run = conductor.ledger.run(RunId(args.run)).await?;
    let pipeline = context.pipeline_of(&conductor.ledger, &run.pipeline).await?;
    let ended = conductor.replay(&pipeline, run.id).await?;
    context.terminal.ended(&ended);
    Ok(code_of(&ended))
}
