//! `serve`, and what a person tells a service: `pause`, `resume`, `cancel`, `queue`.

use crate::{
    cli::Output,
    context::{Context, Ending, Trouble},
    pipelines,
};
use clap::Args;
use std::{path::PathBuf, sync::Arc, time::Duration};
use tidegate_core::{Code, Failure, RunId, RunState};
use tidegate_runtime::service::{Note, Service, ServiceOptions, pause_pipeline};
use tidegate_server::ServerOptions;
use tokio_util::sync::CancellationToken;

/// Run pipelines whenever their triggers say so
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidegate serve                                  every pipeline below ./pipelines
  tidegate serve pipelines/covid19 -o json        one receipt a line
  tidegate serve --listen 0.0.0.0:8080            beyond this machine: needs tokens, see `tidegate token`

Ends by SIGTERM or Ctrl-C: runs at work may end within --grace; what does not is repeated at the next start.")]
pub struct ServeArgs {
    /// Pipeline folders (default: all below `pipelines`).
    #[arg(value_name = "PIPELINE")]
    pipelines: Vec<PathBuf>,
    /// Read `DIR/HOST/PATH` instead of `https://HOST/PATH`.
    #[arg(long, value_name = "DIR")]
    mirror: Option<PathBuf>,
    /// Where to listen for HTTP; `off` for not at all. Beyond this machine every request needs a token.
    #[arg(long, default_value = "127.0.0.1:8430", env = "TIDEGATE_LISTEN", value_name = "ADDRESS")]
    listen: String,
    /// Certificate chain for TLS, PEM.
    #[arg(long, requires = "tls_key", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// Its key, PEM.
    #[arg(long, requires = "tls_cert", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Most runs at work at a time, over all processes on the home folder.
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=64))]
    max_concurrent_runs: usize,
    /// Seconds after which the runs of a process that is not heard of are taken over by another.
    #[arg(long, default_value_t = 15, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    lease: u64,
    /// Seconds that runs at work may take to end.
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    grace: u64,
}

/// Serves until it is told to stop.
pub async fn serve(context: &Context, args: ServeArgs) -> Ending {
    let folders = if args.pipelines.is_empty() { pipelines::below("pipelines") } else { args.pipelines.clone() };
    if folders.is_empty() {
        return Err(Failure::new(Code::TG104, "there is nothing to serve")
            .hint("name pipeline folders, or put them below `pipelines`")
            .into());
    }
    let mut served = Vec::new();
    let mut wrong = Vec::new();
    for folder in folders {
        match pipelines::read(&folder, &pipelines::environment) {
            Ok(pipeline) => served.push((folder, pipeline)),
            Err(error) => wrong.extend(error.failures),
        }
    }
    if !wrong.is_empty() {
        return Err(Trouble::Wrong(wrong));
    }
    let names: Vec<String> = served.iter().map(|(_, pipeline)| pipeline.name().to_owned()).collect();
    if let Some(twice) = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)).map(|(_, name)| name) {
        return Err(Failure::new(Code::TG106, format!("two pipelines are called `{twice}`")).into());
    }
    let options = ServiceOptions {
        max_concurrent_runs: args.max_concurrent_runs,
        lease: Duration::from_secs(args.lease),
        grace: Duration::from_secs(args.grace),
    };
    let conductor = context.conductor_for_service(args.mirror.clone()).await?;
    let terminal = context.terminal.clone();
    let watcher = Arc::new(move |note: &Note<'_>| match note {
        Note::Ended(ended) => terminal.about(&ended.receipt.pipeline).ended(ended),
        Note::Failed(pipeline, failure) => terminal.about(pipeline).failure(failure, None),
        Note::Reloaded(pipeline) => terminal.remark(&format!("{pipeline} was read again")),
    });
    let reader = Arc::new(|folder: &std::path::Path| pipelines::read(folder, &pipelines::environment).map_err(|error| error.failures));
    let service = Arc::new(Service::new(conductor, served, options, reader, watcher).await?);
    let stop = CancellationToken::new();
    tokio::spawn({
        let stop = stop.clone();
        async move {
            asked_to_stop().await;
            stop.cancel();
        }
    });
    let listening = match listen_on(&args)? {
        Some(options) => {
            let scheme = if options.tls.is_some() { "https" } else { "http" };
            let (address, server) = tidegate_server::listen(Arc::clone(&service), options, stop.clone()).await?;
            context.terminal.remark(&format!("listening on {scheme}://{address}"));
            if !address.ip().is_loopback() && scheme == "http" {
                context.terminal.remark(
                    "beyond this machine requests need a token (`tidegate token create`), which goes in plain text without `--tls-cert`",
                );
            }
            Some(server)
        }
        None => None,
    };
    context.terminal.remark(&format!("serving {}", names.join(", ")));
    service.run(stop).await;
    if let Some(server) = listening {
        let _ = server.await;
    }
    service.conductor.ledger.clone().close_after_service(&context.home).await;
    context.terminal.remark("stopped");
    Ok(0)
}

fn listen_on(args: &ServeArgs) -> Result<Option<ServerOptions>, Failure> {
    if args.listen == "off" {
        return Ok(None);
    }
    let listen = args.listen.parse().map_err(|_| {
        Failure::new(Code::TG106, format!("`{}` is no address to listen on", args.listen))
            .hint("an IP address and a port, for example `127.0.0.1:8430` or `[::]:8430`; or `off`")
    })?;
    let tls = args.tls_cert.clone().zip(args.tls_key.clone());
    Ok(Some(ServerOptions { listen, tls, ..ServerOptions::default() }))
}

/// Waits for SIGTERM or Ctrl-C.
async fn asked_to_stop() {
    let interrupted = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        let Ok(mut terminated) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else {
            let _ = interrupted.await;
            return;
        };
        tokio::select! {
            _ = interrupted => {}
            _ = terminated.recv() => {}
        }
    }
    #[cfg(not(unix))]
    let _ = interrupted.await;
}

/// Let a pipeline rest
#[derive(Debug, Args)]
pub struct PauseArgs {
    /// The pipeline's name.
    pipeline: String,
}

/// Pauses: what is at work ends, what is asked for meanwhile waits.
pub async fn pause(context: &Context, args: PauseArgs) -> Ending {
    set_paused(context, &args.pipeline, true).await
}

/// Resumes.
pub async fn resume(context: &Context, args: PauseArgs) -> Ending {
    set_paused(context, &args.pipeline, false).await
}

async fn set_paused(context: &Context, pipeline: &str, pause: bool) -> Ending {
    let conductor = context.conductor(None).await?;
    context.known(&conductor.ledger, Some(pipeline)).await?;
    pause_pipeline(&conductor, pipeline, pause).await?;
    context.terminal.remark(&format!("{pipeline} {}", if pause { "is paused; `tidegate resume` lets it go on" } else { "goes on" }));
    Ok(0)
}

/// End a run that is at work
#[derive(Debug, Args)]
pub struct CancelArgs {
    /// The run's number.
    run: i64,
}

/// Asks the process that has the run to end it before its commit.
pub async fn cancel(context: &Context, args: CancelArgs) -> Ending {
    let ledger = context.ledger().await?;
    let run = ledger.run(RunId(args.run)).await?;
    if run.state != RunState::Running || !ledger.want_cancel(run.id).await? {
        return Err(Failure::new(Code::TG405, format!("run {} is not at work: it is {}", run.id, run.state.as_str()))
            .hint("`tidegate discard` drops a held run")
            .into());
    }
    context.terminal.remark(&format!("run {} ends before its commit, unless that was under way", run.id));
    Ok(0)
}

/// What waits to be run
#[derive(Debug, Args)]
pub struct QueueArgs {}

/// One line an entry.
pub async fn queue(context: &Context, _: QueueArgs) -> Ending {
    let ledger = context.ledger().await?;
    let mut rows = Vec::new();
    for entry in ledger.queue().await? {
        if context.terminal.format() == Output::Json {
            context.terminal.json(&entry);
            continue;
        }
        let paused = ledger.paused(&entry.pipeline).await?.is_some();
        let triggers = entry.triggers.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let state = if paused && entry.state == "waiting" { "paused".to_owned() } else { entry.state };
        rows.push(vec![
            entry.pipeline,
            state,
            entry.not_before.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            entry.tries.to_string(),
            triggers,
        ]);
    }
    if context.terminal.format() != Output::Json {
        if rows.is_empty() {
            context.terminal.remark("nothing waits");
        } else {
            context.terminal.table(&["PIPELINE", "STATE", "NOT BEFORE (UTC)", "TRIES", "ASKED FOR BY"], &rows);
        }
    }
    Ok(0)
}
