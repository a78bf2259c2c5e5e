//! `demo`.

use super::exit_code;
use crate::{
    cli::{Global, Output},
    context::{Context, Ending},
    demo::PIPELINE,
    pipelines,
};
use clap::Args;
use std::path::PathBuf;
use tidegate_core::{Code, Failure, Outcome};
use tidegate_runtime::RunOptions;
use tidegate_testkit::{Publisher, covid};

/// Watch the COVID-19 pipeline work
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Where the demo keeps its home and its copy of the pipeline (default: `tidegate-demo`, made anew).
    #[arg(long, value_name = "DIR", default_value = "tidegate-demo")]
    folder: PathBuf,
}

/// A publisher, thirty days of publications, a run after each.
pub async fn demo(context: &Context, args: DemoArgs) -> Ending {
    let home = args.folder.join("home");
    let pipeline_folder = args.folder.join("covid19");
    let failed = |error: std::io::Error| Failure::new(Code::TG403, format!("{} cannot be written", args.folder.display())).because(&error);
    if args.folder.exists() {
        // Only what an earlier demo made is taken away.
        if !home.join("ledger.db").exists() && args.folder.read_dir().map_err(failed)?.next().is_some() {
            return Err(Failure::new(Code::TG106, format!("{} is there and is no demo's folder", args.folder.display()))
                .hint("choose another one with `--folder`")
                .into());
        }
        std::fs::remove_dir_all(&args.folder).map_err(failed)?;
    }
    std::fs::create_dir_all(&pipeline_folder).map_err(failed)?;
    for (name, text) in PIPELINE {
        std::fs::write(pipeline_folder.join(name), text).map_err(failed)?;
    }
    let publisher = Publisher::start().await.map_err(failed)?;
    let (nyt, jhu) = (publisher.url(covid::NYT), publisher.url(covid::JHU));
    let environment = move |name: &str| match name {
        "COVID19_NYT_URL" => Some(nyt.clone()),
        "COVID19_JHU_URL" => Some(jhu.clone()),
        _ => None,
    };
    let pipeline = pipelines::read(&pipeline_folder, &environment)?;
    let inner = Context::without_key(Global { home: home.clone(), ..context.global.clone() });
    let conductor = inner.conductor(None).await?;
    let terminal = &context.terminal;
    terminal.remark("A publisher is started on this machine. It publishes generated data in the formats of the New York Times and\nof Johns Hopkins, with the kinds of accidents that really happened; the pipeline runs after each publication.\n");
    let mut code = 0;
    let mut outcomes = std::collections::BTreeMap::<&str, u32>::new();
    for publication in covid::publications() {
        publisher.publish(publication.path, publication.bytes);
        let who = if publication.path == covid::NYT { "nyt" } else { "jhu" };
        terminal.remark(&format!(
            "{} {who} publishes{}",
            publication.day,
            publication.remark.map_or_else(String::new, |remark| format!(": {remark}"))
        ));
        for ended in conductor.run(&pipeline, RunOptions::default()).await? {
            terminal.ended(&ended);
            *outcomes.entry(ended.receipt.outcome.as_str()).or_default() += 1;
            // Holds and failures are what the demo is there to show; anything else unexpected ends it.
            if !matches!(ended.receipt.outcome, Outcome::Held | Outcome::Failed | Outcome::Waiting) {
                code = code.max(exit_code(ended.receipt.outcome));
            }
        }
    }
    conductor.ledger.close().await;
    if context.global.output != Output::Json {
        let summary: Vec<String> = outcomes.iter().map(|(outcome, n)| format!("{n} {outcome}")).collect();
        terminal.remark(&format!("\nThat was {}. It is all still there; try:", summary.join(", ")));
        let home = home.display();
        for line in [
            format!("tidegate --home {home} status"),
            format!("tidegate --home {home} runs"),
            format!("tidegate --home {home} history us_daily 2020-04-20"),
            format!("tidegate --home {home} quarantine list --status all"),
            format!("tidegate --home {home} query 'SELECT * FROM us_daily ORDER BY date DESC LIMIT 5'"),
            "tidegate init https://example.org/your.csv    to write a pipeline of your own".to_owned(),
        ] {
            terminal.remark(&format!("  {line}"));
        }
    }
    Ok(code)
}
