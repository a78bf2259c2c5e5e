//! Messages as text and HTML, from Jinja templates.

use minijinja::{AutoEscape, Environment, Error, UndefinedBehavior, syntax::SyntaxConfig, value::Serde};
use tidegate_core::{
    Code, Failure,
    message::{Message, Rendered},
    pipeline::Template,
    receipt::thousands,
    seam::Renderer,
};

const SUBJECT: &str = include_str!("templates/subject.txt");
const TEXT: &str = include_str!("templates/message.txt");
const HTML: &str = include_str!("templates/message.html");

/// The built-in templates, and a place to render others.
pub struct Templates {
    environment: Environment<'static>,
}

impl Default for Templates {
    fn default() -> Self {
        Self::new()
    }
}

impl Templates {
    /// Ready to render.
    pub fn new() -> Self {
        let mut environment = Environment::new();
        // A misspelt field is an error, not an empty place.
        environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        // Blocks on lines of their own leave no blank lines. These settings are valid, so the default never comes in.
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().unwrap_or_default());
        environment.set_auto_escape_callback(|name| if name.ends_with("html") { AutoEscape::Html } else { AutoEscape::None });
        environment.add_filter("thousands", |n: u64| thousands(n));
        environment.add_filter("signed", |n: f64| if n > 0.0 { format!("+{n}") } else { format!("{n}") });
        Self { environment }
    }

    fn one(&self, name: &str, source: &str, message: &Message) -> Result<String, Failure> {
        let context = minijinja::Value::from(Serde(message));
        let rendered = self.environment.render_named_str(name, source, context);
        rendered.map(|text| text.trim().to_owned()).map_err(|error| wrong(name, &error))
    }
}

fn wrong(name: &str, error: &Error) -> Failure {
    let line = error.line().map_or_else(String::new, |line| format!(" (line {line} of `{name}`)"));
    let why = error.detail().map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()));
    Failure::new(Code::TG602, format!("the template is not valid: {why}{line}")).hint("docs/guide/notifications.md lists the fields")
}

impl Renderer for Templates {
    fn render(&self, message: &Message, template: Option<&Template>) -> Result<Rendered, Failure> {
        let own = template.cloned().unwrap_or_default();
        Ok(Rendered {
            // A line break in a subject would be a header of its own.
            subject: self.one("subject", own.subject.as_deref().unwrap_or(SUBJECT), message)?.replace(['\r', '\n'], " "),
            text: self.one("text", own.text.as_deref().unwrap_or(TEXT), message)?,
            html: self.one("html", own.html.as_deref().unwrap_or(HTML), message)?,
        })
    }
}

/// Messages of every kind, for trying out templates.
pub fn samples(pipeline: &tidegate_core::pipeline::Pipeline) -> Vec<Message> {
    let silence = |over| tidegate_core::silence::SilenceNote {
        source: "a source".to_owned(),
        last: jiff::Timestamp::UNIX_EPOCH,
        after: "1d".to_owned(),
        over,
    };
    let of_a_run = sample(pipeline);
    let about = |over| Message { silence: Some(silence(over)), ..of_a_run.clone() };
    vec![about(false), about(true), of_a_run.clone()]
}

/// A message about a run with something in every field.
pub fn sample(pipeline: &tidegate_core::pipeline::Pipeline) -> Message {
    use tidegate_core::{Counts, Outcome, Receipt, RunId, SourceReceipt, receipt::Held};
    let at = jiff::Timestamp::UNIX_EPOCH;
    let source = SourceReceipt { read: 3, accepted: 2, rejected: 1, changed: true, sha256: String::new() };
    Message {
        receipt: Receipt {
            run: Some(RunId(1)),
            pipeline: pipeline.name().to_owned(),
            outcome: Outcome::Published,
            table: pipeline.table().to_owned(),
            counts: Counts { new: 1, updated: 1, ..Counts::default() },
            rows_before: 1,
            rows_after: 2,
            sources: pipeline.file.sources.keys().map(|name| (name.clone(), source.clone())).collect(),
            held: Some(Held { reasons: vec!["a reason".to_owned()] }),
            error: Some(Failure::new(Code::TG901, "an error")),
            started_at: at,
            finished_at: at,
        },
        environment: "local".to_owned(),
        recovery: true,
        silence: None,
        releases: Some(1),
        warnings: vec!["a warning".to_owned()],
        restatement: tidegate_core::changes::Restatement::default(),
        changes: Vec::new(),
        quarantined: Vec::new(),
        quarantined_new: 0,
        quarantine_resolved: 0,
        quarantine_open: 0,
    }
}

#[cfg(test)]
mod tests;
