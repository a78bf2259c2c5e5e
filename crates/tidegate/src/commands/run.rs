//! `run` and `plan`.

use super::{code_of, exit_code};
use crate::{
    cli::Output,
    context::{Context, Ending},
    output::change_text,
    pipelines,
};
use clap::Args;
use std::{path::PathBuf, sync::Arc};
use tidegate_core::{pipeline::Pipeline, trigger::Trigger};
use tidegate_runtime::{Conductor, RunOptions};

/// Run pipelines
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidegate run pipelines/covid19
  tidegate run pipelines/covid19 --mirror ~/mirror    reads ~/mirror/HOST/PATH instead of https://HOST/PATH
  tidegate run pipelines/* -o json                    one receipt a line")]
pub struct RunArgs {
    /// Pipeline folders (or their `pipeline.yaml`).
    #[arg(required = true, value_name = "PIPELINE")]
    pipelines: Vec<PathBuf>,
    /// Read `DIR/HOST/PATH` instead of `https://HOST/PATH`.
    #[arg(long, value_name = "DIR")]
    mirror: Option<PathBuf>,
    /// Read the publications again even if nothing changed.
    #[arg(long)]
    again: bool,
}

/// Runs each pipeline; the worst outcome gives the exit code.
pub async fn run(context: &Context, args: RunArgs) -> Ending {
    // All files are read first: a mistake in the last one should not be told after an hour's work on the others.
    let mut read = Vec::new();
    for path in &args.pipelines {
        read.push(pipelines::read(path, &pipelines::environment)?);
    }
    let conductor = context.conductor(args.mirror).await?;
    let mut code = 0;
    for pipeline in read {
        code = code.max(run_one(context, &conductor, &pipeline, args.again).await);
        // Dropped files are taken one after another, until none is left that can be.
        let mut before = None;
        while let Some(next) = conductor.dropped(&pipeline).await.filter(|next| before.as_ref() != Some(next)) {
            code = code.max(run_one(context, &conductor, &pipeline, false).await);
            before = Some(next);
        }
    }
    conductor.ledger.close().await;
    Ok(code)
}

async fn run_one(context: &Context, conductor: &Conductor, pipeline: &Arc<Pipeline>, again: bool) -> u8 {
    match conductor.run(pipeline, RunOptions { again, triggers: vec![Trigger::Manual] }).await {
        Ok(ended) => {
            for ended in &ended {
                context.terminal.ended(ended);
            }
            // A publication that failed again does not make the newer one's success a failure.
            ended.last().map_or(0, code_of)
        }
        Err(failure) => {
            context.terminal.failure(&failure, Some("nothing was written"));
            1
        }
    }
}

/// Say what a run would change
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidegate plan pipelines/covid19
  tidegate plan pipelines/covid19 -o json")]
pub struct PlanArgs {
    /// Pipeline folder (or its `pipeline.yaml`).
    pipeline: PathBuf,
    /// Read `DIR/HOST/PATH` instead of `https://HOST/PATH`.
    #[arg(long, value_name = "DIR")]
    mirror: Option<PathBuf>,
}

/// A run without its commit.
pub async fn plan(context: &Context, args: PlanArgs) -> Ending {
    let pipeline = pipelines::read(&args.pipeline, &pipelines::environment)?;
    let conductor = context.conductor(args.mirror).await?;
    let ended = conductor.plan(&pipeline).await?;
    context.terminal.ended(&ended);
    if context.terminal.format() != Output::Json {
        for change in &ended.report.sample {
            context.terminal.text(&format!("  {}", change_text(change)));
        }
        context.terminal.remark("nothing was written; `tidegate run` does it");
    }
    Ok(exit_code(ended.receipt.outcome))
}
