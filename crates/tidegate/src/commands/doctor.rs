//! `doctor`.

use crate::{
    cli::Output,
    context::{Context, Ending},
};
use clap::Args;
use serde_json::json;
use std::fs::File;
use tidegate_core::{Outcome, RunId, RunState};
use tidegate_runtime::{Ledger, raw};

/// Look for anything that is wrong
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Read every kept byte again and compare it with its hash.
    #[arg(long)]
    deep: bool,
}

/// Seconds after which a run that was asked for should have begun.
const OVERDUE: i64 = 60;

/// One finding a line; none is the good case.
pub async fn doctor(context: &Context, args: DoctorArgs) -> Ending {
    let ledger = context.ledger().await?;
    let mut findings: Vec<(String, String, String)> = Vec::new();
    let mut find = |pipeline: &str, what: String, hint: &str| findings.push((pipeline.to_owned(), what, hint.to_owned()));
    for (name, path) in ledger.pipelines().await? {
        if !std::path::Path::new(&path).exists() {
            find(&name, format!("its file {path} is not there"), "run it from where it lies now");
        }
        let now = crate::context::clock()();
        let at_work = ledger
            .queue()
            .await?
            .iter()
            .any(|entry| entry.pipeline == name && entry.state == "leased" && entry.lease_until.is_some_and(|until| until >= now));
        for run in ledger.runs_in(&name, RunState::Running, RunId(0)).await?.into_iter().filter(|_| !at_work) {
            find(&name, format!("run {} was interrupted", run.id), "the next `tidegate run` goes on with it first");
        }
        for run in ledger.runs_in(&name, RunState::Done(Outcome::Held), RunId(0)).await? {
            find(
                &name,
                format!("run {} is held", run.id),
                "`tidegate diff`, then `approve` or `discard`; the next sane publication releases it, unless its pipeline reads only what is new",
            );
        }
        let settled = ledger.last_settled(&name).await?;
        for run in ledger.runs_in(&name, RunState::Done(Outcome::Failed), settled).await? {
            let (what, hint) = match (run.inputs.is_empty(), run.set_aside) {
                (true, _) => ("failed before it had anything to read", "`tidegate show` says why; the next run asks the sources again"),
                (_, true) => {
                    ("failed and was set aside", "`tidegate show` says why; `tidegate replay` repeats it once its cause is mended")
                }
                (_, false) => ("failed and is tried again", "`tidegate show` says why; the next run repeats it first"),
            };
            find(&name, format!("run {} {what}", run.id), hint);
        }
        for (kind, waiting, given_up, error) in ledger.outbox_troubles(&name).await? {
            let why = error.map_or_else(String::new, |error| format!(": {error}"));
            find(
                &name,
                format!("{waiting} {kind} notifications wait and {given_up} were given up{why}"),
                "waiting ones are tried again with the next run",
            );
        }
        for failing in ledger.failing_subscribers().await?.into_iter().filter(|failing| failing.pipeline == name) {
            find(
                &name,
                format!(
                    "subscriber `{}` did not take what it was given, {} times: {}",
                    failing.name,
                    failing.tries,
                    failing.error.unwrap_or_default()
                ),
                "it is tried again, after at most five minutes; nothing is lost meanwhile",
            );
        }
        for (source, last) in ledger.silences(&name).await? {
            find(&name, format!("source `{source}` is silent: nothing newer than {last}"), "has the publisher stopped, or moved the file?");
        }
        for (what, hint) in in_the_queue(&ledger, &name).await? {
            find(&name, what, hint);
        }
        let published = ledger.to_apply(&name, RunId(0)).await?;
        for run in &published {
            if let Some(changeset) = &run.changeset {
                let file = context.home.changeset_file(changeset);
                let problem = if !file.exists() {
                    Some("is missing")
                } else if args.deep && !File::open(&file).and_then(raw::hash).is_ok_and(|hash| hash == changeset.sha256) {
                    Some("was altered")
                } else {
                    None
                };
                if let Some(problem) = problem {
                    find(
                        &name,
                        format!("the changeset of run {} {problem}: {}", run.id, file.display()),
                        "restore it from a backup; the tables are not affected until a rebuild",
                    );
                }
            }
        }
        if let Some(last) = published.last() {
            let rows = last.receipt.as_ref().map_or(0, |receipt| receipt.rows_after);
            match context.tables().state(&last.table).await {
                Ok(Some((found, _))) if found == rows => {}
                Ok(Some((found, _))) => find(
                    &name,
                    format!("{} has {found} rows, and run {} says {rows}", last.table, last.id),
                    "the next run applies what is missing; else `tidegate rebuild`",
                ),
                Ok(None) => find(&name, format!("{} is not there", last.table), "the next run makes it, or `tidegate rebuild`"),
                Err(error) => find(&name, format!("{} cannot be read: {error}", last.table), "`tidegate rebuild`"),
            }
            for table in [last.table.clone(), format!("{}__history", last.table)] {
                let tables = context.tables();
                let looked = tables.look(&table).await;
                let looked = if args.deep && looked.is_ok() { tables.verify(&table).await } else { looked };
                if let Err(error) = looked {
                    find(&name, format!("{table} is not whole: {}", tidegate_core::Failure::from(error)), "`tidegate rebuild`");
                }
            }
        }
        // What the table is built from, and what was seen last; older ones may be gone by their retention.
        for state in ledger.source_states(&name).await? {
            for id in [Some(state.latest), state.accepted].into_iter().flatten().collect::<std::collections::BTreeSet<_>>() {
                for part in ledger.snapshot(id).await?.parts {
                    let file = raw::path(&context.home, &part.sha256);
                    if !file.exists() {
                        find(
                            &name,
                            format!("the bytes of snapshot {id} are missing: {}", file.display()),
                            "restore them from a backup; the table is not affected, but cannot be worked out again from them",
                        );
                    }
                }
            }
        }
        if args.deep {
            for snapshot in ledger.snapshots(&name).await? {
                for part in &snapshot.parts {
                    let file = raw::file(&context.home, part);
                    if file.path.exists() && raw::verify(&context.home, part).is_err() {
                        find(
                            &name,
                            format!("the bytes of snapshot {} were altered: {}", snapshot.id, file.path.display()),
                            "remove the file; it is fetched again if it is the newest",
                        );
                    }
                }
            }
        }
    }
    for (pipeline, what, hint) in &findings {
        match context.terminal.format() {
            Output::Json => context.terminal.json(&json!({ "pipeline": pipeline, "finding": what, "hint": hint })),
            _ => context.terminal.text(&format!("{pipeline}: {what}\n  hint: {hint}")),
        }
    }
    if findings.is_empty() {
        context.terminal.remark("all is well");
    }
    Ok(u8::from(!findings.is_empty()))
}

/// Why a pipeline of a service does not move.
async fn in_the_queue(ledger: &Ledger, name: &str) -> Result<Vec<(String, &'static str)>, tidegate_core::Failure> {
    let now = crate::context::clock()();
    let paused = ledger.standings().await?.into_iter().any(|standing| standing.pipeline == name && standing.paused);
    let mut found = Vec::new();
    if paused {
        found.push(("it is paused; what is asked for waits".to_owned(), "`tidegate resume` lets it go on"));
    }
    for entry in ledger.queue().await?.into_iter().filter(|entry| entry.pipeline == name) {
        if entry.state == "leased" && entry.lease_until.is_some_and(|until| until < now) {
            found.push((
                "a run was at work in a process that is not heard of any more".to_owned(),
                "the next `tidegate serve` takes it over, or `tidegate run` finishes it",
            ));
        } else if entry.state == "waiting" && !paused && now.duration_since(entry.not_before).as_secs() > OVERDUE {
            found.push((
                format!("a run was asked for and is due since {}", entry.not_before),
                "is a service running that serves it, and are not as many runs at work as may be? `tidegate queue` shows them",
            ));
        } else if entry.tries > 0 {
            found.push((
                format!("a passing error is being retried, for the {}. time, at {}", entry.tries, entry.not_before),
                "`tidegate runs` and `tidegate show` say which",
            ));
        }
    }
    Ok(found)
}
