//! `completions`.

use crate::{
    cli::Cli,
    context::{Context, Ending},
};
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

/// Print a completion script
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidegate completions bash > ~/.local/share/bash-completion/completions/tidegate")]
pub struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// Prints it.
pub async fn completions(context: &Context, args: CompletionsArgs) -> Ending {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "tidegate", &mut script);
    context.terminal.text(String::from_utf8_lossy(&script).trim_end());
    Ok(0)
}
