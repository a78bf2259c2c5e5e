//! `validate`.

use crate::{
    cli::Output,
    context::{Context, Ending, Trouble},
    pipelines,
};
use clap::Args;
use std::path::PathBuf;
use tidegate_core::{pipeline::LoadError, seam::Renderer as _};

/// Check pipelines
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidegate validate pipelines/covid19
  tidegate validate pipelines/*")]
pub struct ValidateArgs {
    /// Pipeline folders (or their `pipeline.yaml`).
    #[arg(required = true, value_name = "PIPELINE")]
    pipelines: Vec<PathBuf>,
}

/// Reads, plans the SQL against empty sources, renders the templates.
pub async fn validate(context: &Context, args: ValidateArgs) -> Ending {
    let mut failures = Vec::new();
    let scratch = tempfile::tempdir()
        .map_err(|error| tidegate_core::Failure::new(tidegate_core::Code::TG403, "no temporary folder").because(&error))?;
    for path in &args.pipelines {
        let pipeline = match pipelines::read(path, &pipelines::environment) {
            Ok(pipeline) => pipeline,
            Err(LoadError { failures: found }) => {
                failures.extend(found);
                continue;
            }
        };
        let before = failures.len();
        let templates = tidegate_connectors::render::Templates::new();
        for (i, notifier) in pipeline.file.notify.iter().enumerate() {
            let place = i.to_string();
            let wrong = tidegate_connectors::render::samples(&pipeline)
                .iter()
                .find_map(|sample| templates.render(sample, notifier.template.as_ref()).err());
            failures.extend(wrong.map(|failure| failure.at(pipeline.location(&["notify", &place, "template"]))));
            if !notifier.is_on() {
                context.terminal.remark(&format!(
                    "note: the {} notifier of {} has nobody to tell, so it is off",
                    notifier.kind(),
                    pipeline.name()
                ));
            }
        }
        match tidegate_engine::validate(&pipeline, scratch.path()).await {
            Err(found) => failures.extend(found),
            Ok(_) if failures.len() > before => {}
            Ok(columns) if context.terminal.format() == Output::Json => {
                let columns: serde_json::Map<String, serde_json::Value> =
                    columns.into_iter().map(|(name, kind)| (name, kind.into())).collect();
                context.terminal.json(&serde_json::json!({ "pipeline": pipeline.name(), "table": pipeline.table(), "columns": columns }));
            }
            Ok(columns) => {
                let columns: Vec<String> = columns.into_iter().map(|(name, kind)| format!("{name} {kind}")).collect();
                context.terminal.text(&format!(
                    "{} is valid; {} will have the columns {}",
                    pipeline.path,
                    pipeline.table(),
                    columns.join(", ")
                ));
            }
        }
    }
    if failures.is_empty() { Ok(0) } else { Err(Trouble::Wrong(failures)) }
}
