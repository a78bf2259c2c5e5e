//! The command line: what may be typed. What it means is in `commands/`, one file a command.

use crate::commands;
use clap::{
    Args, Parser, Subcommand, ValueEnum,
    builder::{OsStringValueParser, TypedValueParser as _},
};
use std::path::PathBuf;

/// Keeps tables fresh from public data that is restated, and tells exactly which rows changed.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, propagate_version = true, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "Examples:
  tidegate demo                              watch the whole thing work, without network
  tidegate init https://example.org/a.csv    write a pipeline for a file on the web
  tidegate run pipelines/covid19             fetch, check, diff, publish; ends in a receipt
  tidegate query 'SELECT * FROM us_daily ORDER BY date DESC LIMIT 5'

Exit codes: 0 done, 1 a run failed, 2 wrong use or a wrong file, 3 held, 4 waiting for a first publication";

/// What holds for every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The folder in which everything is kept.
    #[arg(long, global = true, env = "TIDEGATE_HOME", default_value = ".tidegate", value_name = "DIR")]
    pub home: PathBuf,
    /// How results are written to stdout.
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Text, value_name = "FORMAT")]
    pub output: Output,
    /// When to use colour.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub color: Color,
    /// No progress bars and no remarks; errors are still told.
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Where this runs (`prod`, `test`, …), for the filter rules of notifications.
    #[arg(long, global = true, env = "TIDEGATE_ENVIRONMENT", default_value = "local", value_name = "NAME")]
    pub environment: String,
    /// How stderr is written.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, env = "TIDEGATE_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// A file with the key that seals values of sensitive columns; its first line. Further lines are older keys, which only open. Instead of a file the
    /// key itself can be in TIDEGATE_KEY. Without a key such values are masked.
    #[arg(long, global = true, env = "TIDEGATE_KEY_FILE", value_name = "FILE", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub key_file: Option<PathBuf>,
}

/// Formats of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line: timestamp, level, message, fields. Remarks and errors are in it too.
    Json,
}

/// Formats of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// One JSON value a line.
    Json,
    /// Comma-separated values, where there are rows.
    Csv,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch the COVID-19 pipeline work on generated publications, without network or set-up.
    Demo(commands::demo::DemoArgs),
    /// Look at a file or URL and write a pipeline for it.
    Init(commands::init::InitArgs),
    /// Check a pipeline: its file, then its SQL and templates; all errors of a step at once.
    Validate(commands::validate::ValidateArgs),
    /// Run the tests of a pipeline.
    Test(commands::test::TestArgs),
    /// Say what a run would change, without changing it.
    Plan(commands::run::PlanArgs),
    /// Fetch, parse, transform, check, diff, publish. Ends in a receipt.
    Run(commands::run::RunArgs),
    /// Run pipelines whenever their triggers say so, until told to stop.
    Serve(commands::serve::ServeArgs),
    /// Who may do what over HTTP: create, list, revoke.
    #[command(subcommand)]
    Token(commands::token::TokenCommand),
    /// Print a new key for sealing the values of sensitive columns.
    Key(commands::key::KeyArgs),
    /// Copy stdin to stdout and open the sealed values in it.
    Reveal(commands::key::RevealArgs),
    /// What waits to be run, and what is at work.
    Queue(commands::serve::QueueArgs),
    /// Let a served pipeline rest; what is asked for meanwhile waits.
    Pause(commands::serve::PauseArgs),
    /// Let a paused pipeline go on.
    Resume(commands::serve::PauseArgs),
    /// End a run that is at work, before its commit.
    Cancel(commands::serve::CancelArgs),
    /// How every pipeline stands.
    Status(commands::status::StatusArgs),
    /// List runs, newest first.
    Runs(commands::runs::RunsArgs),
    /// Everything about one run.
    Show(commands::runs::ShowArgs),
    /// The rows a run changed, before and after.
    Diff(commands::runs::DiffArgs),
    /// Everything ever said about one row.
    History(commands::history::HistoryArgs),
    /// Rejected rows: list, show, retry, discard, export.
    #[command(subcommand)]
    Quarantine(commands::quarantine::QuarantineCommand),
    /// Let a held run pass its guards.
    Approve(commands::decide::ApproveArgs),
    /// Drop a held run; its publication is not read again.
    Discard(commands::decide::DiscardArgs),
    /// Ask the tables in SQL, as they are or as they were.
    Query(commands::query::QueryArgs),
    /// What happened, as CloudEvents.
    Events(commands::events::EventsArgs),
    /// Run over older publications, in order, to build up the history.
    Backfill(commands::backfill::BackfillArgs),
    /// Run again on the very bytes an earlier run had.
    Replay(commands::decide::ReplayArgs),
    /// Make a table and its history again from the changesets.
    Rebuild(commands::rebuild::RebuildArgs),
    /// Look for anything that is wrong with the home folder, and say what to do.
    Doctor(commands::doctor::DoctorArgs),
    /// Print the JSON Schema of the pipeline file, for editors.
    Schema(commands::schema::SchemaArgs),
    /// Print a completion script for a shell.
    Completions(commands::completions::CompletionsArgs),
}
