//! `token`.

use crate::{
    cli::Output,
    context::{Context, Ending},
};
use clap::Subcommand;
use tidegate_core::{Code, Failure};
use tidegate_runtime::ledger::tokens::Scope;

/// Who may do what over HTTP
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  tidegate token create grafana --scope read
  tidegate token create loader --scope ingest
  tidegate token revoke loader")]
pub enum TokenCommand {
    /// Make a token; it is shown once.
    Create {
        /// What it is for.
        name: String,
        /// What it allows: read, ingest, operate or admin; several with commas.
        #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',', required = true)]
        scopes: Vec<String>,
    },
    /// List tokens, without showing them.
    List,
    /// Take a token away; it is refused from now on.
    Revoke {
        /// Its name.
        name: String,
    },
}

/// Makes, lists, takes away.
pub async fn token(context: &Context, command: TokenCommand) -> Ending {
    let ledger = context.ledger().await?;
    match command {
        TokenCommand::Create { name, scopes } => {
            let scopes = scopes
                .iter()
                .map(|word| {
                    Scope::parse(word).ok_or_else(|| {
                        Failure::new(Code::TG106, format!("there is no scope `{word}`"))
                            .hint("the scopes are read, ingest, operate and admin")
                    })
                })
                .collect::<Result<Vec<_>, _>>()?;
            let token = ledger.create_token(&name, &scopes, crate::context::clock()()).await?;
            match context.terminal.format() {
                Output::Json => context.terminal.json(&serde_json::json!({ "name": name, "scopes": scopes, "token": token })),
                _ => context.terminal.text(&token),
            }
            context.terminal.remark("it is shown only now; only its hash is kept");
        }
        TokenCommand::List => {
            let tokens = ledger.tokens().await?;
            if context.terminal.format() == Output::Json {
                tokens.iter().for_each(|token| context.terminal.json(token));
            } else if tokens.is_empty() {
                context.terminal.remark("there is no token; `tidegate token create` makes one");
            } else {
                let words = |scopes: &[Scope]| scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(", ");
                let rows: Vec<Vec<String>> =
                    tokens.iter().map(|token| vec![token.name.clone(), words(&token.scopes), token.created_at.clone()]).collect();
                context.terminal.table(&["NAME", "SCOPES", "SINCE (UTC)"], &rows);
            }
        }
        TokenCommand::Revoke { name } => {
            if !ledger.revoke_token(&name).await? {
                return Err(Failure::new(Code::TG106, format!("there is no token `{name}`"))
                    .hint("`tidegate token list` shows them")
                    .into());
            }
            context.terminal.remark(&format!("the token {name} is refused from now on"));
            if ledger.tokens().await?.is_empty() {
                context
                    .terminal
                    .remark("warning: that was the last one: on a loopback address everybody on this machine may do everything again");
            }
        }
    }
    Ok(0)
}
