//! What the types alone cannot say. All errors are collected; none stops the search for the next.

use super::{ColumnType, Format, Mode, Notify, PipelineFile, SmtpTls, Source};
use crate::{
    Outcome,
    filter::Policy,
    message::{ATTRIBUTES, SILENT},
};

/// One problem: where (a path of keys), what, and what to do.
pub(super) struct Problem {
    pub(super) at: Vec<String>,
    pub(super) what: String,
    pub(super) hint: Option<String>,
}

struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, at: &[&str], what: impl Into<String>) -> &mut Problem {
        self.0.push(Problem { at: at.iter().map(|part| (*part).to_owned()).collect(), what: what.into(), hint: None });
        let last = self.0.len() - 1;
        &mut self.0[last]
    }
}

impl Problem {
    fn hint(&mut self, hint: impl Into<String>) {
        self.hint = Some(hint.into());
    }
}

pub(super) fn validate(file: &PipelineFile) -> Vec<Problem> {
    let mut problems = Problems(Vec::new());
    if file.version != 1 {
        problems
            .add(&["version"], format!("this Tidegate reads version 1 of the pipeline file, not {}", file.version))
            .hint("write `version: 1`");
    }
    name(&mut problems, &["name"], "pipeline", &file.name);
    sources(&mut problems, file);
    table(&mut problems, file);
    for (i, destination) in file.destinations.iter().enumerate() {
        if destination.delta.is_none() {
            problems.add(&["destinations", &i.to_string()], "a destination needs its kind").hint("write `- delta: {}`");
        }
    }
    for (i, notifier) in file.notify.iter().enumerate() {
        notify(&mut problems, &i.to_string(), notifier);
    }
    subscribers(&mut problems, file);
    triggers(&mut problems, file);
    if file.retry.tries == 0 || file.retry.fetch_tries == 0 {
        problems.add(&["retry"], "a number of tries must be at least 1");
    }
    if file.limits.memory.0 < 16 << 20 {
        problems.add(&["limits", "memory"], "the memory limit must be at least 16MiB");
    }
    problems.0
}

/// What a name may be.
pub const PLAIN: &str = "use lower-case letters, digits and `_`, beginning with a letter, at most 63";

/// Whether a pipeline, source or table may have this name.
pub fn is_plain(name: &str) -> bool {
    name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Names become folder names, SQL identifiers and URL parts, so they are kept plain.
fn name(problems: &mut Problems, at: &[&str], of: &str, name: &str) {
    if !is_plain(name) {
        problems.add(at, format!("`{name}` cannot be the name of a {of}")).hint(PLAIN);
    } else if of != "subscriber" && (name.ends_with("__history") || matches!(name, "previous" | "changes")) {
        problems.add(at, format!("`{name}` is taken: Tidegate gives this name to a table of its own")).hint("choose another name");
    }
}

fn sources(problems: &mut Problems, file: &PipelineFile) {
    if file.sources.is_empty() {
        problems.add(&["sources"], "a pipeline needs at least one source");
    }
    if file.transform.is_none() && file.sources.len() > 1 {
        problems.add(&["sources"], "several sources need a transform that makes one table of them").hint("add `transform: transform.sql`");
    }
    for (source_name, source) in &file.sources {
        let at = ["sources", source_name.as_str()];
        name(problems, &at, "source", source_name);
        if *source_name == file.table.name && file.transform.is_some() {
            problems
                .add(&at, format!("source `{source_name}` has the table's name, so that SQL could not tell them apart"))
                .hint("rename one of them");
        }
        source_place(problems, &at, source);
        columns(problems, source_name, source);
    }
}

fn source_place(problems: &mut Problems, at: &[&str; 2], source: &Source) {
    let places = [("http", source.http.is_some()), ("file", source.file.is_some()), ("push", source.push.is_some())];
    let given: Vec<&str> = places.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
    if given.len() > 1 {
        problems.add(at, format!("source `{}` has several places: {}", at[1], given.join(", "))).hint("make several sources of it");
        return;
    }
    match (&source.http, &source.file) {
        (None, None) if source.push.is_none() => problems
            .add(at, format!("source `{}` does not say where it comes from", at[1]))
            .hint("add `http: { url: … }`, `file: { path: … }` or `push: {}`"),
        (Some(http), None) if !(http.url.starts_with("https://") || http.url.starts_with("http://")) => {
            problems.add(&[at[0], at[1], "http", "url"], format!("`{}` is not an http or https address", http.url));
        }
        (None, Some(file)) if file.path.trim().is_empty() => {
            problems.add(&[at[0], at[1], "file", "path"], "the path is empty");
        }
        (None, Some(file)) if file.archive.as_ref().is_some_and(|archive| archive.trim().is_empty()) => {
            problems.add(&[at[0], at[1], "file", "archive"], "the archive is no folder");
        }
        _ => {}
    }
}

fn triggers(problems: &mut Problems, file: &PipelineFile) {
    let pushed = file.sources.iter().find(|(_, source)| source.push.is_some());
    if let (Some((name, _)), Mode::Mirror | Mode::Replace) = (pushed, file.table.mode) {
        problems
            .add(&["table"], format!("source `{name}` gives only what was pushed since the last run, so the table has to keep its rows"))
            .hint("use `mode: merge` or `mode: append`");
    }
    if let Some((name, _)) = pushed.filter(|(_, source)| source.format == Format::Parquet) {
        problems.add(&["sources", name, "format"], "only `csv` and `jsonl` can be pushed");
    }
    if let (Some((name, _)), true) = (pushed, file.sources.len() > 1) {
        problems
            .add(&["sources"], format!("source `{name}` is pushed to, and the pipeline has other sources"))
            .hint("make a pipeline of its own for the pushed rows, and read its table in another");
    }
    let keeps = matches!(file.table.mode, Mode::Merge | Mode::Append);
    if let (Some((name, _)), true) = (file.sources.iter().find(|(_, source)| source.is_archived()), keeps && file.sources.len() > 1) {
        problems
            .add(
                &["sources", name, "file", "archive"],
                format!("each file of source `{name}` is read once, and the pipeline has other sources"),
            )
            .hint("make a pipeline of its own for the dropped files, and read its table in another; or use `mode: mirror`");
    }
    let Some(triggers) = &file.triggers else { return };
    if let Some(schedule) = &triggers.schedule {
        if let Err(why) = crate::schedule::parse_cron(&schedule.cron) {
            problems
                .add(&["triggers", "schedule", "cron"], format!("`{}` is not a set of times: {why}", schedule.cron))
                .hint("minute, hour, day of month, month, day of week: `15 12 * * *` is every day at 12:15");
        }
        if crate::schedule::time_zone(&schedule.timezone).is_none() {
            problems
                .add(&["triggers", "schedule", "timezone"], format!("there is no time zone `{}`", schedule.timezone))
                .hint("use a name such as `Europe/Berlin` or `UTC`");
        }
    }
    if triggers.source_change.as_ref().is_some_and(|poll| poll.every.0 < std::time::Duration::from_millis(100)) {
        problems.add(&["triggers", "source_change", "every"], "publishers are not asked more often than every 100ms");
    }
    if triggers.file.is_some() && file.sources.values().all(|source| source.file.is_none()) {
        problems.add(&["triggers", "file"], "no source of this pipeline is a `file`").hint("`source_change` watches the web");
    }
    if triggers.file.as_ref().is_some_and(|files| files.every.0 < std::time::Duration::from_millis(100)) {
        problems.add(&["triggers", "file", "every"], "folders are not looked at more often than every 100ms");
    }
    if triggers.push.is_some() && pushed.is_none() {
        problems.add(&["triggers", "push"], "no source of this pipeline is a `push`").hint("add a source with `push: {}`");
    }
    if triggers.webhook.as_ref().is_some_and(|hook| hook.secret.len() < 16) {
        problems.add(&["triggers", "webhook", "secret"], "the secret of a webhook needs at least 16 characters");
    }
    if triggers.after.contains(&file.name) {
        problems.add(&["triggers", "after"], "a pipeline cannot start itself");
    }
}

fn columns(problems: &mut Problems, source_name: &str, source: &Source) {
    let at = ["sources", source_name, "columns"];
    if source.columns.is_empty() {
        problems
            .add(&at, format!("source `{source_name}` declares no columns"))
            .hint("`tidegate init URL` looks at the file and writes them for you");
    }
    let mut seen = std::collections::BTreeMap::new();
    for (column_name, column) in &source.columns {
        if column_name.starts_with('_') || column_name.is_empty() || column_name.chars().any(char::is_control) {
            problems
                .add(&[at[0], at[1], at[2], column_name], format!("`{column_name}` cannot be the name of a column"))
                .hint("names that begin with `_` are Tidegate's own");
        }
        let published = column.from.as_deref().unwrap_or(column_name);
        if let Some(other) = seen.insert(published, column_name) {
            problems.add(&[at[0], at[1], at[2], column_name], format!("columns `{other}` and `{column_name}` both read `{published}`"));
        }
    }
    if let Some(name) = source.silence.as_ref().and_then(|silence| silence.column.as_ref())
        && !source
            .columns
            .get(name)
            .is_some_and(|column| matches!(column.kind, ColumnType::Date | ColumnType::Timestamp) && !column.sensitive)
    {
        problems.add(
            &["sources", source_name, "silence", "column"],
            format!("source `{source_name}` has no date or timestamp column `{name}` that may be shown"),
        );
    }
    if source.silence.as_ref().is_some_and(|silence| silence.after.0.is_zero()) {
        problems.add(&["sources", source_name, "silence", "after"], "a publisher would always be silent");
    }
    for (i, column) in source.key.iter().enumerate() {
        if !source.columns.contains_key(column) {
            problems.add(
                &["sources", source_name, "key", &i.to_string()],
                format!("the key column `{column}` is not a column of source `{source_name}`"),
            );
        }
    }
    let Some(csv) = &source.csv else { return };
    let csv_at = ["sources", source_name, "csv"];
    if source.format != Format::Csv {
        problems.add(&csv_at, "`csv` options need `format: csv`");
    }
    if csv.delimiter == csv.quote || !csv.delimiter.is_ascii() || !csv.quote.is_ascii() || "\r\n".contains([csv.delimiter, csv.quote]) {
        problems.add(&csv_at, "delimiter and quote must be two different ASCII characters, and no line ends");
    }
}

fn table(problems: &mut Problems, file: &PipelineFile) {
    let table = &file.table;
    name(problems, &["table", "name"], "table", &table.name);
    if table.key.is_empty() && matches!(table.mode, Mode::Mirror | Mode::Merge) {
        problems
            .add(&["table"], "a table that is mirrored or merged needs a key")
            .hint("name the columns that identify a row (`key: [date]`), or use `mode: replace` or `mode: append`");
    }
    for (i, column) in table.key.iter().enumerate() {
        let at = ["table", "key", &i.to_string()];
        if table.key[..i].contains(column) {
            problems.add(&at, format!("`{column}` stands twice in the key"));
        }
        // Without a transform the table's columns are the source's, so a wrong key can be told before the first run.
        if let (None, Some((source_name, source))) = (&file.transform, file.sources.first())
            && !source.columns.contains_key(column)
        {
            let known: Vec<&str> = source.columns.keys().map(String::as_str).collect();
            problems
                .add(&at, format!("the key column `{column}` is not a column of source `{source_name}`"))
                .hint(format!("its columns are {}", known.join(", ")));
        }
    }
    for (i, check) in table.checks.iter().enumerate() {
        if table.checks[..i].iter().any(|other| other.name == check.name) {
            problems.add(&["table", "checks", &i.to_string(), "name"], format!("two checks are called `{}`", check.name));
        }
    }
}

fn notify(problems: &mut Problems, i: &str, notifier: &Notify) {
    let kinds = usize::from(notifier.console.is_some())
        + usize::from(notifier.email.is_some())
        + usize::from(notifier.webhook.is_some())
        + usize::from(notifier.slack.is_some());
    if kinds != 1 {
        problems.add(&["notify", i], "a notifier has exactly one of `console`, `email`, `webhook`, `slack`");
    }
    for (attribute, values) in notifier.when.iter().flat_map(Policy::asks) {
        let at = ["notify", i, "when", attribute];
        if !ATTRIBUTES.contains(&attribute) {
            problems
                .add(&at, format!("no message has the attribute `{attribute}`, so nobody would ever be told"))
                .hint(format!("the attributes are {}", ATTRIBUTES.join(", ")));
        }
        for value in values.into_iter().filter(|_| attribute == "outcome") {
            if value.as_str().is_none_or(|word| word != SILENT && Outcome::parse(word).is_none()) {
                problems
                    .add(&at, format!("no run ends as {value}"))
                    .hint("outcomes are published, unchanged, held, failed, cancelled, waiting, and silent for a publisher");
            }
        }
    }
    if let Some(email) = &notifier.email {
        for (n, to) in email.to.iter().enumerate() {
            if !to.trim().is_empty() && !to.contains('@') {
                problems.add(&["notify", i, "email", "to", &n.to_string()], format!("`{to}` is not an e-mail address"));
            }
        }
        if email.tls == SmtpTls::None && email.password.is_some() {
            problems.add(&["notify", i, "email", "tls"], "a password would be sent in the clear").hint("use `tls: starttls` or `tls: tls`");
        }
    }
    let urls = [notifier.webhook.as_ref().map(|w| ("webhook", &w.url)), notifier.slack.as_ref().map(|s| ("slack", &s.url))];
    for (kind, url) in urls.into_iter().flatten() {
        if !(url.is_empty() || url.starts_with("https://") || url.starts_with("http://")) {
            // The address of a webhook is a secret: it is not repeated here (INV-7).
            problems.add(&["notify", i, kind, "url"], "this is not an http or https address");
        }
    }
}

fn subscribers(problems: &mut Problems, file: &PipelineFile) {
    for (n, subscriber) in file.subscribers.iter().enumerate() {
        let i = n.to_string();
        name(problems, &["subscribers", &i, "name"], "subscriber", &subscriber.name);
        if file.subscribers[..n].iter().any(|other| other.name == subscriber.name) {
            problems.add(&["subscribers", &i, "name"], format!("two subscribers are called `{}`", subscriber.name));
        }
        if subscriber.events.is_some() == subscriber.changes.is_some() {
            problems
                .add(&["subscribers", &i], "a subscriber is given either `events` or `changes`")
                .hint("write `events: {}` for all events");
        }
        if !(subscriber.webhook.url.starts_with("https://") || subscriber.webhook.url.starts_with("http://")) {
            // The address of a webhook is a secret: it is not repeated here (INV-7).
            problems.add(&["subscribers", &i, "webhook", "url"], "this is not an http or https address");
        }
        if subscriber.changes.as_ref().is_some_and(|changes| changes.rows == 0) {
            problems.add(&["subscribers", &i, "changes", "rows"], "a delivery has at least one row");
        }
        for (k, wanted) in subscriber.events.iter().flat_map(|events| &events.types).enumerate() {
            use crate::event::kind;
            // What no ledger has is given to nobody.
            let mut given = kind::ALL.iter().filter(|kind| ![kind::TABLE_CHANGED, kind::RUN_WAITING].contains(kind));
            if !given.any(|kind| kind == wanted || (wanted.ends_with('.') && kind.starts_with(wanted.as_str()))) {
                problems
                    .add(&["subscribers", &i, "events", "types", &k.to_string()], format!("no event is of type `{wanted}`"))
                    .hint("a type such as `tidegate.run.published`, or its beginning, such as `tidegate.run.`");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::pipeline::load;

    const GOOD: &str = "version: 1\nname: p\nsources:\n  s:\n    http: { url: 'https://example.org/x.csv' }\n    format: csv\n    columns:\n      d: { type: date, required: true }\n      n: { type: int64, check: \"n >= 0\" }\ntable:\n  name: t\n  key: [d]\n  guards: { max_removed: off }\nnotify:\n  - email: { to: ['a@example.org', ''] }\n    when: { outcome: [published, failed] }\n";

    fn failures(text: &str) -> Vec<String> {
        match load("p.yaml", text, &|_| None) {
            Ok(_) => Vec::new(),
            Err(error) => error
                .failures
                .iter()
                .map(|f| format!("{} {}", f.location.as_ref().map_or(String::new(), ToString::to_string), f.message))
                .collect(),
        }
    }

    #[test]
    fn a_good_file_has_no_errors() {
        assert_eq!(failures(GOOD), Vec::<String>::new());
        let (file, _) = load("p.yaml", GOOD, &|_| None).unwrap();
        assert_eq!(file.table.guards.max_removed, None);
        assert_eq!(file.table.guards.max_rejected, Some(crate::pipeline::Limit::Percent(5.0)));
    }

    #[test]
    fn all_errors_come_at_once_with_their_places() {
        let bad = GOOD
            .replace("name: p\n", "name: P\n")
            .replace("key: [d]", "key: [d, x, d]")
            .replace("https://", "ftp://")
            .replace("['a@example.org', '']", "[nobody]");
        insta::assert_snapshot!(failures(&bad).join("\n"), @r"
        p.yaml:2:1 `P` cannot be the name of a pipeline
        p.yaml:5:13 `ftp://example.org/x.csv` is not an http or https address
        p.yaml:12:12 the key column `x` is not a column of source `s`
        p.yaml:12:15 `d` stands twice in the key
        p.yaml:15:19 `nobody` is not an e-mail address
        ");
    }

    #[test]
    fn unknown_keys_and_wrong_types_are_errors_with_a_place() {
        let unknown = failures(&GOOD.replace("format: csv", "formt: csv"));
        assert!(unknown[0].starts_with("p.yaml:6:5 unknown field"), "{unknown:?}");
        let kind = failures(&GOOD.replace("type: int64", "type: integer"));
        assert!(kind[0].contains("p.yaml:9:") && kind[0].contains("did you mean `int64`"), "{kind:?}");
        assert!(!failures("version: [").is_empty());
        assert!(!failures("").is_empty());
    }

    #[test]
    fn a_typing_mistake_in_a_filter_silences_nobody() {
        for (wrong, said) in [("{ outcom: [published] }", "outcom"), ("{ outcome: [publishd] }", "publishd")] {
            let found = failures(&GOOD.replace("{ outcome: [published, failed] }", wrong));
            assert!(found.len() == 1 && found[0].contains(said), "{found:?}");
        }
    }
}
