//! `schema`.

use crate::context::{Context, Ending};
use clap::Args;

/// Print the JSON Schema of the pipeline file
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidegate schema > pipeline.schema.json
and, as the first line of pipeline.yaml, for editors with a YAML language server:
  # yaml-language-server: $schema=pipeline.schema.json")]
pub struct SchemaArgs {}

/// Prints it.
pub async fn schema(context: &Context, _: SchemaArgs) -> Ending {
    let schema = schemars::schema_for!(tidegate_core::pipeline::PipelineFile);
    context.terminal.text(&serde_json::to_string_pretty(&schema).unwrap_or_default());
    Ok(0)
}
