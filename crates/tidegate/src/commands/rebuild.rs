//! `rebuild`.

use crate::{
    context::{Context, Ending},
    pipelines,
};
use clap::Args;
use std::path::PathBuf;

/// Make a table again from its changesets
#[derive(Debug, Args)]
pub struct RebuildArgs {
    /// Pipeline folder (or its `pipeline.yaml`).
    pipeline: PathBuf,
}

/// Drops table and history and applies every changeset again.
pub async fn rebuild(context: &Context, args: RebuildArgs) -> Ending {
    let pipeline = pipelines::read(&args.pipeline, &pipelines::environment)?;
    let conductor = context.conductor(None).await?;
    let applied = conductor.rebuild(&pipeline).await?;
    let rows = context.tables().state(pipeline.table()).await.map_err(tidegate_core::Failure::from)?.map_or(0, |(rows, _)| rows);
    context.terminal.remark(&format!("{} was made again from {applied} changesets; it has {rows} rows", pipeline.table()));
    Ok(0)
}
