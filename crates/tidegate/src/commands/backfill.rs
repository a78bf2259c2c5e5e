//! `backfill`.

use super::exit_code;
use crate::{
    context::{Context, Ending},
    pipelines,
};
use clap::Args;
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use std::path::{Path, PathBuf};
use tidegate_core::{Code, Failure};
use tidegate_runtime::Publication;

/// Run over older publications
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidegate backfill pipelines/covid19 --source nyt archive/us-*.csv
A file's time of publication is the day in its name (2020-05-31…), or else its modification time.")]
pub struct BackfillArgs {
    /// Pipeline folder (or its `pipeline.yaml`).
    pipeline: PathBuf,
    /// The source they are publications of. May be left out if there is one.
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// The publications, in the order in which they appeared.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// One run a file.
pub async fn backfill(context: &Context, args: BackfillArgs) -> Ending {
    let pipeline = pipelines::read(&args.pipeline, &pipelines::environment)?;
    let names: Vec<&str> = pipeline.file.sources.keys().map(String::as_str).collect();
    let source = match (&args.source, names.as_slice()) {
        (Some(name), names) if names.contains(&name.as_str()) => name.clone(),
        (None, [one]) => (*one).to_owned(),
        (given, names) => {
            let what = given.as_ref().map_or_else(|| "there are several sources".to_owned(), |name| format!("there is no source `{name}`"));
            return Err(Failure::new(Code::TG106, what).detail("sources", names.join(", ")).hint("say which with `--source`").into());
        }
    };
    let mut publications = Vec::new();
    for path in &args.files {
        publications.push(Publication { path, published_at: published_at(path)? });
    }
    let conductor = context.conductor(None).await?;
    let mut code = 0;
    let terminal = context.terminal.clone();
    let result = conductor
        .backfill(&pipeline, &source, &publications, &mut |ended| {
            terminal.ended(ended);
            code = exit_code(ended.receipt.outcome);
        })
        .await;
    result?;
    conductor.ledger.close().await;
    Ok(code)
}

fn published_at(path: &Path) -> Result<Timestamp, Failure> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let day = (0..name.len().saturating_sub(9)).filter_map(|at| name.get(at..at + 10)).find_map(|text| text.parse::<Date>().ok());
    if let Some(moment) = day.and_then(|day| day.to_zoned(TimeZone::UTC).ok()) {
        return Ok(moment.timestamp());
    }
    let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    let modified = modified.map_err(|error| Failure::new(Code::TG206, format!("{} cannot be read", path.display())).because(&error))?;
    Timestamp::try_from(modified)
        .map_err(|error| Failure::new(Code::TG206, format!("{} has a time that cannot be", path.display())).because(&error))
}
