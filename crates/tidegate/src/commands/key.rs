//! `key` and `reveal`.

use crate::{
    cli::Output,
    context::{Context, Ending},
};
use clap::Args;
use std::io::BufRead as _;
use tidegate_core::{Code, Failure};
use tidegate_engine::Seal;

/// Print a new key for sealing the values of sensitive columns
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  (umask 077; tidegate key > tidegate.key)
  tidegate serve --key-file tidegate.key

Keep it: what is sealed with a key can be read with that key only.")]
pub struct KeyArgs {}

/// Makes a key.
pub async fn key(context: &Context, _: KeyArgs) -> Ending {
    let key = Seal::new_key().ok_or_else(|| Failure::new(Code::TG901, "the system gives no random numbers"))?;
    context.terminal.text(&key);
    Ok(0)
}

/// Copy stdin to stdout and open the sealed values in it
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidegate quarantine show 7 | tidegate reveal --key-file tidegate.key
  tidegate events -o json | tidegate reveal -o json

With `-o json` a sealed value becomes the JSON value it was. What was sealed with another key stays as it is.")]
pub struct RevealArgs {}

/// Opens what comes in on stdin, line by line.
pub async fn reveal(context: &Context, _: RevealArgs) -> Ending {
    let seal = context.seal.as_ref().ok_or_else(|| {
        Failure::new(Code::TG106, "there is no key to open sealed values with").hint("give `--key-file`, or set TIDEGATE_KEY")
    })?;
    let json = context.terminal.format() == Output::Json;
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|error| Failure::new(Code::TG106, "stdin cannot be read").because(&error))?;
        context.terminal.text(&seal.reveal(&line, json));
    }
    Ok(0)
}
