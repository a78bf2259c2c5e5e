//! `init`.

use crate::{
    cli::Output,
    context::{Context, Ending},
    pipelines,
};
use async_trait::async_trait;
use clap::Args;
use std::{fmt::Write as _, io::Write as _, path::PathBuf};
use tidegate_connectors::sources::{file::FileSource, http::HttpSource};
use tidegate_core::{
    Code, Failure,
    pipeline::{self, ColumnType, Format, Span},
    seam::{Fetched, Landing, Source, Validators},
};
use tidegate_engine::Guess;

/// Write a pipeline for a file or URL
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidegate init https://example.org/prices.csv
  tidegate init data/prices.csv --name prices")]
pub struct InitArgs {
    /// A URL, or the path of a file.
    place: String,
    /// Name of the pipeline, its source and its table (default: from the file's name).
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The folder to write (default: `pipelines/NAME`).
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// How much of the file is looked at.
const HEAD: usize = 1 << 20;

/// Keeps the first bytes and lets the others go; of a Parquet file, which says what it is at its end, it keeps all.
#[derive(Default)]
struct HeadLanding {
    head: Vec<u8>,
    more: bool,
    whole: Option<tempfile::NamedTempFile>,
}

#[async_trait]
impl Landing for HeadLanding {
    async fn begin(&mut self, _: &str, _: Option<u64>) -> Result<(), Failure> {
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let failed = |error: std::io::Error| Failure::new(Code::TG403, "the temporary folder did not take the file").because(&error);
        if self.head.is_empty() && bytes.starts_with(b"PAR1") {
            self.whole = Some(tempfile::NamedTempFile::new().map_err(failed)?);
        }
        if let Some(whole) = &mut self.whole {
            whole.write_all(bytes).map_err(failed)?;
        }
        let room = HEAD - self.head.len();
        self.more |= bytes.len() > room;
        self.head.extend_from_slice(&bytes[..bytes.len().min(room)]);
        Ok(())
    }

    async fn restart(&mut self) -> Result<(), Failure> {
        *self = Self::default();
        Ok(())
    }
}

/// Looks, guesses, writes, and says what it guessed.
pub async fn init(context: &Context, args: InitArgs) -> Ending {
    let web = args.place.starts_with("http://") || args.place.starts_with("https://");
    let name = args.name.clone().unwrap_or_else(|| name_of(&args.place));
    if !pipeline::is_plain(&name) {
        return Err(Failure::new(Code::TG106, format!("`{name}` cannot be the name of a pipeline")).hint(pipeline::PLAIN).into());
    }
    let mut landing = HeadLanding::default();
    let source: Box<dyn Source> = if web {
        let spec = pipeline::HttpSource {
            url: args.place.clone(),
            headers: Default::default(),
            timeout: Span(std::time::Duration::from_secs(30)),
        };
        Box::new(HttpSource::new(&name, &spec, 3)?)
    } else {
        Box::new(FileSource::new(&name, std::path::Path::new(""), &args.place))
    };
    if let Fetched::Missing { said } = source.fetch(&Validators::default(), &mut landing).await? {
        return Err(Failure::new(Code::TG106, said).into());
    }
    if landing.head.trim_ascii().is_empty() {
        return Err(Failure::new(Code::TG210, format!("{} is empty", args.place)).into());
    }
    let guess = match &landing.whole {
        Some(file) => Some(tidegate_engine::guess_parquet(file.path()).map_err(Failure::from)?),
        None => tidegate_engine::guess(&landing.head, !landing.more),
    };
    let Some(guess) = guess else {
        return Err(Failure::new(Code::TG203, format!("{} is neither CSV nor JSON lines nor Parquet", args.place))
            .hint("if it is one of them with something special, copy a pipeline from the guide")
            .into());
    };
    let folder = args.folder.unwrap_or_else(|| PathBuf::from("pipelines").join(&name));
    let file = folder.join("pipeline.yaml");
    let failed = |error: std::io::Error| Failure::new(Code::TG101, format!("{} cannot be written", file.display())).because(&error);
    if file.exists() {
        return Err(Failure::new(Code::TG106, format!("{} is there already", file.display()))
            .hint("choose another `--folder`, or remove it first")
            .into());
    }
    let place = if web { args.place.clone() } else { std::path::absolute(&args.place).map_err(failed)?.display().to_string() };
    std::fs::create_dir_all(&folder).map_err(failed)?;
    std::fs::write(&file, write(&name, &place, web, &guess)).map_err(failed)?;
    // What was written must be valid; if not, it is seen now and not left behind.
    let pipeline = match pipelines::read(&folder, &pipelines::environment) {
        Ok(pipeline) => pipeline,
        Err(trouble) => {
            std::fs::remove_file(&file).map_err(failed)?;
            let _ = std::fs::remove_dir(&folder);
            return Err(trouble.into());
        }
    };
    let key = &pipeline.file.table.key;
    match context.terminal.format() {
        Output::Json => context
            .terminal
            .json(&serde_json::json!({ "pipeline": name, "file": file.display().to_string(), "key": key, "rows_looked_at": guess.rows })),
        _ => context.terminal.text(&file.display().to_string()),
    }
    let columns = pipeline.file.sources.values().flat_map(|source| &source.columns).map(|(name, column)| format!("{name} {}", column.kind));
    context.terminal.remark(&format!("looked at {} rows: {}", guess.rows, columns.collect::<Vec<_>>().join(", ")));
    match key.as_slice() {
        [] => context.terminal.remark("no column or few columns identify a row, so the table is replaced as a whole; set `key` and `mode: mirror` to see single rows change"),
        key => context.terminal.remark(&format!("the key is guessed to be {}; please check it", key.join(", "))),
    }
    context.terminal.remark(&format!("next: tidegate plan {}", folder.display()));
    Ok(0)
}

/// A plain name from the last part of a path or URL.
fn name_of(place: &str) -> String {
    let last = place.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/').rsplit(['/', '\\']).next().unwrap_or_default();
    let stem = last.split('.').next().unwrap_or_default().to_lowercase();
    let plain: String = stem.chars().map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '_' }).collect();
    let plain = plain.trim_matches('_');
    if plain.starts_with(|c: char| c.is_ascii_lowercase()) {
        plain.chars().take(60).collect()
    } else {
        format!("t{plain}").chars().take(60).collect()
    }
}

/// A name that SQL takes without quotes, if there is an obvious one.
fn column_name(published: &str) -> String {
    let plain: String = published.trim().to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let plain = plain.trim_matches('_').to_owned();
    if plain.starts_with(|c: char| c.is_ascii_lowercase()) { plain } else { format!("c_{plain}") }
}

fn format_name(format: Format) -> &'static str {
    match format {
        Format::Csv => "csv",
        Format::Jsonl => "jsonl",
        Format::Parquet => "parquet",
    }
}

fn write(name: &str, place: &str, web: bool, guess: &Guess) -> String {
    let quote = |text: &str| serde_json::to_string(text).unwrap_or_default();
    let mut out = format!("version: 1\nname: {name}\n\nsources:\n  {name}:\n");
    let _ =
        if web { writeln!(out, "    http: {{ url: {} }}", quote(place)) } else { writeln!(out, "    file: {{ path: {} }}", quote(place)) };
    let _ = writeln!(out, "    format: {}", format_name(guess.format));
    if guess.delimiter != ',' {
        let _ = writeln!(out, "    csv: {{ delimiter: {} }}", quote(&guess.delimiter.to_string()));
    }
    out.push_str("    columns:\n");
    let mut names: Vec<String> = Vec::new();
    for (published, kind, full) in &guess.columns {
        let mut column = column_name(published);
        while names.contains(&column) {
            column.push('_');
        }
        let from = if column == *published { String::new() } else { format!(", from: {}", quote(published)) };
        let required = if *full && (guess.key.contains(published) || *kind != ColumnType::String) { ", required: true" } else { "" };
        let _ = writeln!(out, "      {column}: {{ type: {kind}{from}{required} }}");
        names.push(column);
    }
    let _ = write!(out, "\ntable:\n  name: {name}\n");
    if guess.key.is_empty() {
        out.push_str("  mode: replace\n");
    } else {
        let key: Vec<String> = guess
            .columns
            .iter()
            .zip(&names)
            .filter(|((published, ..), _)| guess.key.contains(published))
            .map(|(_, column)| column.clone())
            .collect();
        let _ = writeln!(out, "  key: [{}]", key.join(", "));
        out.push_str("  mode: mirror                    # mirror: rows gone upstream are removed; merge: they stay\n");
    }
    out.push_str("  guards: { max_removed: 10%, max_rejected: 5% }\n\nnotify:\n  - console: {}\n");
    out
}
