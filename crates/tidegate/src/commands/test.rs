//! `test`: the YAML tests of a pipeline, each in a home of its own.

mod compare;
mod spec;
mod world;

use crate::{
    cli::{Global, Output},
    context::{Context, Ending, Trouble},
    pipelines,
};
use clap::Args;
use spec::{Spec, Step};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tidegate_core::{
    Code, Failure,
    pipeline::{LoadError, Pipeline},
    seam::NoProgress,
};
use tidegate_runtime::RunOptions;
use world::TestWorld;

/// Run the tests of pipelines
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidegate test pipelines/covid19
  tidegate test pipelines/covid19 restatement     only tests whose name contains it")]
pub struct TestArgs {
    /// Pipeline folder (or its `pipeline.yaml`).
    pipeline: PathBuf,
    /// Only tests whose name contains this.
    filter: Option<String>,
}

/// Runs them; the exit code is 1 if one fails.
pub async fn test(context: &Context, args: TestArgs) -> Ending {
    let pipeline = pipelines::read(&args.pipeline, &pipelines::environment)?;
    let folder = Path::new(&pipeline.path).parent().map_or_else(PathBuf::new, Path::to_owned);
    let pattern = folder.join(&pipeline.file.tests).display().to_string();
    let mut files: Vec<PathBuf> = glob::glob(&pattern).map(|paths| paths.flatten().collect()).unwrap_or_default();
    files.sort();
    let (mut passed, mut failed) = (0, 0);
    for file in &files {
        for spec in read(file)? {
            let name = format!("{}: {}", file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()), spec.name);
            if args.filter.as_ref().is_some_and(|filter| !name.contains(filter.as_str())) {
                continue;
            }
            let differences = one(&pipeline, &folder, &spec, context.global.clone()).await?;
            if differences.is_empty() {
                passed += 1
            } else {
                failed += 1
            }
            match context.terminal.format() {
                Output::Json => context
                    .terminal
                    .json(&serde_json::json!({ "test": name, "passed": differences.is_empty(), "differences": differences })),
                _ => {
                    context.terminal.text(&format!("{} {name}", if differences.is_empty() { "ok    " } else { "FAILED" }));
                    differences.iter().for_each(|difference| context.terminal.text(&format!("    {difference}")));
                }
            }
        }
    }
    if passed + failed == 0 {
        return Err(Failure::new(Code::TG105, format!("no test was found at {pattern}")).into());
    }
    context.terminal.remark(&format!("{passed} passed, {failed} failed"));
    Ok(u8::from(failed > 0))
}

/// The tests in a file: one, or a list of them.
fn read(file: &Path) -> Result<Vec<Spec>, Trouble> {
    let shown = file.display().to_string();
    let wrong = |error: &(dyn std::error::Error + 'static)| {
        Trouble::from(LoadError {
            failures: vec![Failure::new(Code::TG105, format!("the test file {shown} cannot be read")).because(error)],
        })
    };
    let text = std::fs::read_to_string(file).map_err(|error| wrong(&error))?;
    serde_saphyr::from_str::<spec::File>(&text).map(|file| file.tests).map_err(|error| wrong(error.without_snippet()))
}

/// Runs one test in an empty home; says what differs from what was expected.
async fn one(pipeline: &Arc<Pipeline>, folder: &Path, spec: &Spec, global: Global) -> Result<Vec<String>, Trouble> {
    let home = tempfile::tempdir().map_err(|error| Failure::new(Code::TG403, "no temporary folder").because(&error))?;
    let context = Context::without_key(Global {
        home: home.path().to_owned(),
        environment: spec.environment.clone().unwrap_or_else(|| "test".to_owned()),
        ..global
    });
    let world = Arc::new(TestWorld::new());
    let conductor = context.conductor_on(Arc::clone(&world) as _, Arc::new(NoProgress)).await?;
    // A notifier that is off for want of an address is on in a test: nobody is really told.
    let pipeline = with_everybody_told(pipeline);
    let mut differences = Vec::new();
    for (i, step) in spec.steps.iter().enumerate() {
        let Step { publish, expect } = step;
        for (source, publication) in publish {
            if !pipeline.file.sources.contains_key(source) {
                let why = format!("the pipeline has no source `{source}`");
                return Err(Failure::new(Code::TG105, format!("test `{}`, step {}: {why}", spec.name, i + 1)).into());
            }
            world.publish(
                source,
                publication
                    .bytes(folder)
                    .map_err(|why| Failure::new(Code::TG105, format!("test `{}`, step {}: {why}", spec.name, i + 1)))?,
            );
        }
        let ended = conductor.run(&pipeline, RunOptions::default()).await?;
        let messages = world.take_messages();
        let Some(last) = ended.last() else { continue };
        let found = compare::Found { ended: last, messages: &messages, context: &context, conductor: &conductor, table: pipeline.table() };
        for difference in compare::compare(expect, &found).await? {
            differences.push(format!("step {}: {difference}", i + 1));
        }
    }
    conductor.ledger.close().await;
    Ok(differences)
}

fn with_everybody_told(pipeline: &Arc<Pipeline>) -> Arc<Pipeline> {
    let mut pipeline = pipeline.as_ref().clone();
    for email in pipeline.file.notify.iter_mut().filter_map(|notifier| notifier.email.as_mut()) {
        if email.to.iter().all(|to| to.trim().is_empty()) {
            email.to = vec!["test@localhost".to_owned()];
        }
    }
    Arc::new(pipeline)
}
