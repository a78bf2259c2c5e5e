//! The commands, one file each: `XArgs` is what may be typed, `x` is what it does and gives the exit code.

pub mod backfill;
pub mod completions;
pub mod decide;
pub mod demo;
pub mod doctor;
pub mod events;
pub mod history;
pub mod init;
pub mod key;
pub mod quarantine;
pub mod query;
pub mod rebuild;
pub mod run;
pub mod runs;
pub mod schema;
pub mod serve;
pub mod status;
pub mod test;
pub mod token;
pub mod validate;

use crate::{
    cli::{Cli, Command},
    context::{Context, Ending},
    output::Terminal,
};
use std::process::ExitCode;
use tidegate_core::Outcome;
use tidegate_runtime::Ended;

/// Does what was typed.
pub async fn dispatch(cli: Cli) -> ExitCode {
    let terminal = Terminal::new(&cli.global);
    // Whoever makes a key has none yet.
    let context = if matches!(cli.command, Command::Key(_)) { Ok(Context::without_key(cli.global)) } else { Context::new(cli.global) };
    let context = match context {
        Ok(context) => context,
        Err(failure) => return ExitCode::from(terminal.trouble(failure.into())),
    };
    let ending: Ending = match cli.command {
        Command::Demo(args) => demo::demo(&context, args).await,
        Command::Init(args) => init::init(&context, args).await,
        Command::Validate(args) => validate::validate(&context, args).await,
        Command::Test(args) => test::test(&context, args).await,
        Command::Plan(args) => run::plan(&context, args).await,
        Command::Run(args) => run::run(&context, args).await,
        Command::Serve(args) => serve::serve(&context, args).await,
        Command::Token(command) => token::token(&context, command).await,
        Command::Key(args) => key::key(&context, args).await,
        Command::Reveal(args) => key::reveal(&context, args).await,
        Command::Queue(args) => serve::queue(&context, args).await,
        Command::Pause(args) => serve::pause(&context, args).await,
        Command::Resume(args) => serve::resume(&context, args).await,
        Command::Cancel(args) => serve::cancel(&context, args).await,
        Command::Status(args) => status::status(&context, args).await,
        Command::Runs(args) => runs::runs(&context, args).await,
        Command::Show(args) => runs::show(&context, args).await,
        Command::Diff(args) => runs::diff(&context, args).await,
        Command::History(args) => history::history(&context, args).await,
        Command::Quarantine(command) => quarantine::quarantine(&context, command).await,
        Command::Approve(args) => decide::approve(&context, args).await,
        Command::Discard(args) => decide::discard(&context, args).await,
        Command::Query(args) => query::query(&context, args).await,
        Command::Events(args) => events::events(&context, args).await,
        Command::Backfill(args) => backfill::backfill(&context, args).await,
        Command::Replay(args) => decide::replay(&context, args).await,
        Command::Rebuild(args) => rebuild::rebuild(&context, args).await,
        Command::Doctor(args) => doctor::doctor(&context, args).await,
        Command::Schema(args) => schema::schema(&context, args).await,
        Command::Completions(args) => completions::completions(&context, args).await,
    };
    let code = match ending {
        Ok(code) => code,
        Err(trouble) => context.terminal.trouble(trouble),
    };
    ExitCode::from(code)
}

/// The exit code of an outcome.
pub fn exit_code(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Published | Outcome::Unchanged | Outcome::Cancelled => 0,
        Outcome::Failed => 1,
        Outcome::Held => 3,
        Outcome::Waiting => 4,
    }
}

/// The exit code of a run that ended: 1 also if somebody could not be told of it, or is behind. What is held stays held
/// until somebody decides, also for a run that found nothing new.
pub fn code_of(ended: &Ended) -> u8 {
    match (&ended.after[..], &ended.receipt.held) {
        ([_, ..], _) => 1,
        ([], Some(_)) => exit_code(Outcome::Held),
        ([], None) => exit_code(ended.receipt.outcome),
    }
}
