//! Terminal output: data to stdout, everything else to stderr, readable without colour.

use crate::{
    cli::{Color, Global, LogFormat, Output},
    context::Trouble,
};
use serde::Serialize;
use serde_json::Value;
use std::{
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
};
use tidegate_core::{
    Failure, Outcome, Receipt,
    changes::{Change, Op},
    receipt::{counted, thousands},
};
use tidegate_runtime::{Ended, Report};

/// Where results and remarks go.
#[derive(Debug, Clone)]
pub struct Terminal {
    format: Output,
    quiet: bool,
    /// Whether what goes to stderr is log lines.
    structured: bool,
    /// The pipeline that is spoken of, where there are many.
    about: Option<String>,
}

const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[1;31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";

/// Obeys `--color`; `anstream` does the rest (NO_COLOR, pipes, Windows).
pub fn set_colour(color: Color) {
    match color {
        Color::Auto => {}
        Color::Always => anstream::ColorChoice::Always.write_global(),
        Color::Never => anstream::ColorChoice::Never.write_global(),
    }
}

/// A line to stdout. A reader that has seen enough (`| head`) is no error.
fn out(text: &str) {
    let mut stdout = anstream::stdout().lock();
    if writeln!(stdout, "{text}").is_err() {
        std::process::exit(0);
    }
}

fn err(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// For what happens before there is a terminal.
pub fn fatal(text: &str) -> ExitCode {
    err(&format!("{RED}error{RESET}: {text}"));
    ExitCode::from(1)
}

impl Terminal {
    /// From the command line.
    pub fn new(global: &Global) -> Self {
        Self { format: global.output, quiet: global.quiet, structured: global.log_format == LogFormat::Json, about: None }
    }

    /// The same where every remark and error says of which pipeline it is.
    pub fn about(&self, pipeline: &str) -> Self {
        Self { about: Some(pipeline.to_owned()), ..self.clone() }
    }

    fn subject(&self) -> String {
        self.about.as_ref().map_or_else(String::new, |pipeline| format!("{DIM}{pipeline}:{RESET} "))
    }

    /// The format of results.
    pub fn format(&self) -> Output {
        self.format
    }

    /// Whether somebody watches.
    pub fn shows_progress(&self) -> bool {
        !self.quiet && !self.structured && std::io::stderr().is_terminal()
    }

    /// A result, as one JSON value.
    pub fn json(&self, value: &impl Serialize) {
        out(&serde_json::to_string(value).unwrap_or_default());
    }

    /// A result, for people.
    pub fn text(&self, text: &str) {
        out(text);
    }

    /// Something to know, unless `--quiet`.
    pub fn remark(&self, text: &str) {
        if self.structured {
            tracing::info!(pipeline = self.about, "{}", anstream::adapter::strip_str(text));
        } else if !self.quiet {
            err(&(self.subject() + text));
        }
    }

    /// A line of CSV.
    pub fn csv(&self, cells: impl IntoIterator<Item = Value>) {
        out(&cells.into_iter().map(|cell| csv_cell(&cell)).collect::<Vec<_>>().join(","));
    }

    /// Aligned columns, with a heading; with `-o csv`, as CSV.
    pub fn table(&self, heading: &[&str], rows: &[Vec<String>]) {
        if self.format == Output::Csv {
            self.csv(heading.iter().copied().map(Value::from));
            rows.iter().for_each(|row| self.csv(row.iter().map(String::as_str).map(Value::from)));
            return;
        }
        // A cell of several lines would break the columns.
        let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| cell.replace(['\n', '\r'], "⏎")).collect()).collect();
        let mut widths: Vec<usize> = heading.iter().map(|cell| cell.chars().count()).collect();
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let line = |cells: Vec<&str>| {
            let padded: Vec<String> =
                cells.iter().zip(&widths).map(|(cell, width)| format!("{cell}{}", " ".repeat(width - cell.chars().count()))).collect();
            padded.join("  ").trim_end().to_owned()
        };
        out(&format!("{DIM}{}{RESET}", line(heading.to_vec())));
        for row in &rows {
            out(&line(row.iter().map(String::as_str).collect()));
        }
    }

    /// The end of a run: its receipt to stdout, what else there is to say to stderr.
    pub fn ended(&self, ended: &Ended) {
        match self.format {
            Output::Json => self.json(&ended.receipt),
            Output::Text | Output::Csv => receipt_text(&ended.receipt, &ended.report).iter().for_each(|line| out(line)),
        }
        if let Some(failure) = &ended.receipt.error {
            self.failure(failure, Some(&nothing_written(&ended.receipt, &ended.report)));
        }
        if let Some(held) = &ended.receipt.held {
            let run = ended.receipt.run.map_or_else(String::new, |run| format!(" {run}"));
            self.remark(&format!("{YELLOW}held{RESET}: {}", held.reasons.join("; ")));
            if ended.receipt.run.is_some() {
                self.remark(&format!("hint: `tidegate diff{run}` shows what would change; `tidegate approve{run}` or `tidegate discard{run}` decides; the next sane publication releases it, unless its pipeline reads only what is new"));
            }
        }
        for violation in ended.report.violations.iter().filter(|_| ended.receipt.outcome != Outcome::Held) {
            self.remark(&format!(
                "{YELLOW}warning{RESET}: check `{}` found {}, such as {}",
                violation.check,
                counted(violation.rows, "violation", "violations"),
                violation.examples.first().map_or("", String::as_str)
            ));
        }
        for drift in ended.report.drift.iter().chain(&ended.report.reverted) {
            self.remark(&format!("{YELLOW}warning{RESET}: {drift}"));
        }
        if let (Some(note), None) = (&ended.report.note, &ended.receipt.error) {
            self.remark(&format!("note: {note}"));
        }
        for failure in &ended.after {
            self.failure(failure, Some("the run stands all the same; this is tried again with the next run"));
        }
    }

    /// An error: what, where, why, what happened to the data, what to do.
    pub fn failure(&self, failure: &Failure, data: Option<&str>) {
        if !self.structured {
            return err(&(self.subject() + &failure_lines(failure, data).join("\n")));
        }
        let place = failure.location.as_ref().map(ToString::to_string);
        let details: Vec<String> = failure.details.iter().map(|(label, value)| format!("{label}: {value}")).collect();
        tracing::error!(
            pipeline = self.about,
            code = failure.code.as_str(),
            place,
            details = (!details.is_empty()).then(|| details.join("; ")),
            causes = (!failure.causes.is_empty()).then(|| failure.causes.join("; ")),
            hints = (!failure.hints.is_empty()).then(|| failure.hints.join("; ")),
            data,
            "{}",
            failure.message
        );
    }

    /// The same as a result, where the error is what was asked for.
    pub fn failure_text(&self, failure: &Failure) {
        failure_lines(failure, None).iter().for_each(|line| out(line));
    }

    /// Ends a command that could not do what it was asked for.
    pub fn trouble(&self, trouble: Trouble) -> u8 {
        match trouble {
            Trouble::Wrong(failures) => {
                failures.iter().for_each(|failure| self.failure(failure, None));
                2
            }
            Trouble::Failed(failure) => {
                self.failure(&failure, None);
                1
            }
        }
    }
}

fn failure_lines(failure: &Failure, data: Option<&str>) -> Vec<String> {
    let place = failure.location.as_ref().map_or_else(String::new, |location| format!(" ({location})"));
    let mut lines = vec![format!("{RED}error[{}]{RESET}: {BOLD}{}{RESET}{place}", failure.code, failure.message)];
    lines.extend(failure.details.iter().map(|(label, value)| format!("  {label}: {value}")));
    lines.extend(failure.causes.iter().map(|cause| format!("  because: {cause}")));
    lines.extend(data.map(str::to_owned));
    lines.extend(failure.hints.iter().map(|hint| format!("{GREEN}hint{RESET}: {hint}")));
    lines
}

fn nothing_written(receipt: &Receipt, report: &Report) -> String {
    match &report.note {
        Some(note) => format!("nothing was written; {note}"),
        None if receipt.rows_before == 0 => "nothing was written; there is no table yet".to_owned(),
        None => "nothing was written; the table is as it was".to_owned(),
    }
}

fn colour(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Published => GREEN,
        Outcome::Failed => RED,
        Outcome::Held => YELLOW,
        Outcome::Unchanged | Outcome::Cancelled | Outcome::Waiting => DIM,
    }
}

/// A receipt for people, as lines.
pub fn receipt_text(receipt: &Receipt, report: &Report) -> Vec<String> {
    let run = receipt.run.map_or_else(|| "     -".to_owned(), |run| format!("run {run:>2}"));
    let head = format!("{run}  {}{:<9}{RESET}  {}", colour(receipt.outcome), receipt.outcome.as_str(), receipt.table);
    if matches!(receipt.outcome, Outcome::Waiting | Outcome::Failed) {
        return vec![format!("{head}  {} rows", thousands(receipt.rows_after))];
    }
    let would = if receipt.outcome == Outcome::Held { "would be " } else { "" };
    let counts = receipt.shown();
    let kept = if counts.kept > 0 { format!(" ({} kept)", thousands(counts.kept)) } else { String::new() };
    let mut lines = vec![format!(
        "{head}  {would}{BOLD}{counts}{RESET}{kept}  {} → {} rows",
        thousands(receipt.rows_before),
        thousands(receipt.rows_after)
    )];
    let width = receipt.sources.keys().map(|name| name.chars().count()).max().unwrap_or(0);
    if receipt.run.is_some() || receipt.outcome != Outcome::Unchanged {
        for (name, source) in &receipt.sources {
            let rejected =
                if source.rejected > 0 { format!(", {YELLOW}{} rejected{RESET}", thousands(source.rejected)) } else { String::new() };
            let changed = if source.changed { "" } else { "  (not changed)" };
            lines.push(format!(
                "        {DIM}{name:<width$}{RESET}  {} read, {} accepted{rejected}{DIM}{changed}{RESET}",
                thousands(source.read),
                thousands(source.accepted)
            ));
        }
    }
    if receipt.counts.duplicate > 0 {
        lines.push(format!("        {} exact repetitions collapsed", thousands(receipt.counts.duplicate)));
    }
    let restated = &report.restatement;
    if restated.rows > 0 && receipt.outcome == Outcome::Published {
        let back = restated.days_back.map_or_else(String::new, |days| format!(", up to {days} days back"));
        let (oldest, newest) = (restated.oldest.as_deref().unwrap_or("?"), restated.newest.as_deref().unwrap_or("?"));
        lines.push(format!("        {DIM}restated {} rows, {oldest} to {newest}{back}{RESET}", thousands(restated.rows)));
    }
    let [opened, resolved, open] = report.quarantine;
    if opened + resolved + open > 0 {
        lines.push(format!(
            "        {DIM}quarantine: {} new, {} resolved, {} open{RESET}",
            thousands(opened),
            thousands(resolved),
            thousands(open)
        ));
    }
    lines
}

/// A changed row on one line: `~ date=2020-03-02  cases 88 → 89`.
pub fn change_text(change: &Change) -> String {
    let show = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => "∅".to_owned(),
        other => other.to_string(),
    };
    let key = change.key.iter().map(|(name, value)| format!("{name}={}", show(value))).collect::<Vec<_>>().join(" ");
    let rest = |row: &serde_json::Map<String, serde_json::Value>| {
        row.iter()
            .filter(|(name, _)| !change.key.contains_key(*name))
            .map(|(name, value)| format!("{name} {}", show(value)))
            .collect::<Vec<_>>()
            .join("  ")
    };
    match (change.op, &change.before, &change.after) {
        (Op::Insert, _, Some(after)) => format!("{GREEN}+{RESET} {key}  {}", rest(after)),
        (Op::Delete, Some(before), _) => format!("{RED}−{RESET} {key}  {}", rest(before)),
        (Op::Update, Some(before), Some(after)) => {
            let differing = after.iter().filter(|(name, value)| before.get(*name) != Some(value));
            let cells = differing
                .map(|(name, value)| format!("{name} {} → {}", before.get(name).map_or_else(|| "∅".to_owned(), show), show(value)));
            let cells = cells.collect::<Vec<_>>();
            // Masked values look the same before and after.
            let shown = if cells.is_empty() { "(in sensitive columns)".to_owned() } else { cells.join("  ") };
            format!("{YELLOW}~{RESET} {key}  {shown}")
        }
        _ => key,
    }
}

/// Quotes a CSV cell if it needs it.
fn csv_cell(value: &Value) -> String {
    let text = match value {
        Value::Null => return String::new(),
        Value::String(text) if text.is_empty() => return "\"\"".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}
