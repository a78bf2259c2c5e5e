//! From text to a [`PipelineFile`]: substitution of `${ENV}`, YAML, then all validation errors at once.

use super::{Locations, PipelineFile, locate, validate::validate};
use crate::{Failure, Location, error::Code};
use granit_parser::ScalarStyle;
use std::fmt;

/// Everything that is wrong with a pipeline file.
#[derive(Debug, Clone)]
pub struct LoadError {
    /// In the order in which they stand in the file.
    pub failures: Vec<Failure>,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} errors in the pipeline file", self.failures.len())
    }
}

impl std::error::Error for LoadError {}

/// Reads the pipeline file `text`, which the user calls `path`. `env` looks up environment variables.
pub fn load(path: &str, text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<(PipelineFile, Locations), LoadError> {
    let text = substitute(path, text, env)?;
    let (locations, _) = locate::walk(&text);
    let file: PipelineFile = serde_saphyr::from_str(&text).map_err(|error| LoadError { failures: vec![syntax(path, &text, &error)] })?;
    let failures: Vec<Failure> = validate(&file)
        .into_iter()
        .map(|problem| {
            let at: Vec<&str> = problem.at.iter().map(String::as_str).collect();
            let location = locations.nearest(&at).map(|(line, column)| Location { file: path.to_owned(), line, column });
            let mut failure = Failure::new(Code::TG102, problem.what).at(location);
            failure.hints.extend(problem.hint);
            failure
        })
        .collect();
    if failures.is_empty() { Ok((file, locations)) } else { Err(LoadError { failures }) }
}

/// A YAML or type error, without the library's drawing: ours comes later.
fn syntax(path: &str, text: &str, error: &serde_saphyr::Error) -> Failure {
    let bare = error.without_snippet();
    let location = bare.location().map(|at| Location {
        file: path.to_owned(),
        line: usize::try_from(at.line()).unwrap_or(1),
        column: usize::try_from(at.column()).unwrap_or(1),
    });
    let said = bare.to_string();
    let message = match said.find(" at line ").or_else(|| said.find("; see line ")) {
        Some(end) => said[..end].to_owned(),
        None => said,
    };
    let message = message.split_once(": line ").map_or(message.as_str(), |(head, _)| head).trim().to_owned();
    // YAML takes the brace of an unquoted `${NAME}` inside `{ … }` for its own.
    let line = location.as_ref().and_then(|at| text.lines().nth(at.line.saturating_sub(1))).unwrap_or_default();
    let mut failure = Failure::new(Code::TG102, message).at(location);
    if line.split_once('{').is_some_and(|(_, flow)| flow.contains(" ${")) {
        failure = failure.hint("within `{ … }` a variable needs quotes: `\"${NAME}\"`");
    }
    failure.hint("`tidegate schema` prints the JSON Schema that editors use to complete and check this file")
}

/// Puts the values of `${NAME}` and `${NAME:default}` in place. `$${` stands for a plain `${`.
///
/// Only scalars are touched, and a value is quoted as its place demands: no value can add keys or lines to the file,
/// and a variable named in a comment is not asked for.
pub fn substitute(path: &str, text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, LoadError> {
    let (_, scalars) = locate::walk(text);
    let mut out = String::with_capacity(text.len());
    let mut failures = Vec::new();
    let mut done = 0;
    for scalar in scalars {
        let Some(raw) = text.get(scalar.bytes.clone()) else { continue };
        if scalar.bytes.start < done || !raw.contains("${") {
            continue;
        }
        out.push_str(&text[done..scalar.bytes.start]);
        match fill(raw, env) {
            Ok(filled) => out.push_str(&quote(filled, scalar.style)),
            Err(message) => failures.push(
                Failure::new(Code::TG103, message)
                    .at(Some(Location { file: path.to_owned(), line: scalar.line, column: scalar.column }))
                    .hint("set it, or give a default as `${NAME:default}`"),
            ),
        }
        done = scalar.bytes.end;
    }
    out.push_str(&text[done..]);
    if failures.is_empty() { Ok(out) } else { Err(LoadError { failures }) }
}

/// The pieces of a scalar after substitution: text of the file, and values from outside.
enum Piece<'a> {
    Text(&'a str),
    Value(String),
}

fn fill<'a>(raw: &'a str, env: &dyn Fn(&str) -> Option<String>) -> Result<Vec<Piece<'a>>, String> {
    let mut pieces = Vec::new();
    let mut rest = raw;
    while let Some(at) = rest.find("${") {
        if let Some(before) = rest[..at].strip_suffix('$') {
            pieces.extend([Piece::Text(before), Piece::Text("${")]);
            rest = &rest[at + 2..];
            continue;
        }
        pieces.push(Piece::Text(&rest[..at]));
        let Some(length) = rest[at..].find('}') else { return Err("`${` without its `}`".to_owned()) };
        let inner = &rest[at + 2..at + length];
        let (name, default) = inner.split_once(':').map_or((inner, None), |(name, default)| (name, Some(default)));
        let value = env(name).or_else(|| default.map(str::to_owned));
        pieces.push(Piece::Value(value.ok_or_else(|| format!("the environment variable `{name}` is not set"))?));
        rest = &rest[at + length + 1..];
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

/// Writes the pieces so that YAML reads them as the same single scalar.
fn quote(pieces: Vec<Piece<'_>>, style: ScalarStyle) -> String {
    let escape = |value: &str| {
        let quoted = serde_json::to_string(value).unwrap_or_default();
        quoted[1..quoted.len() - 1].to_owned()
    };
    let render = |value: &dyn Fn(&str) -> String| {
        pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => (*text).to_owned(),
                Piece::Value(text) => value(text),
            })
            .collect::<String>()
    };
    match style {
        ScalarStyle::DoubleQuoted => render(&escape),
        ScalarStyle::SingleQuoted => render(&|value| value.replace('\'', "''").replace(['\n', '\r'], " ")),
        ScalarStyle::Plain => {
            let plain = render(&str::to_owned);
            let harmless = !plain.is_empty() && plain.chars().all(|c| c.is_ascii_alphanumeric() || "._/@+-%".contains(c));
            if harmless { plain } else { serde_json::to_string(&plain).unwrap_or_default() }
        }
        // Block scalars keep their indentation only if no value brings its own lines.
        _ => render(&|value| value.replace(['\n', '\r'], " ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("example.org".to_owned()),
            "EVIL" => Some("x\nguards: off # \"'".to_owned()),
            "PORT" => Some("25".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn values_take_their_place_and_nothing_more() {
        let text = "a: https://${HOST}/x # not ${THIS}\nb: \"${EVIL}\"\nc: ${PORT}\nd: ${NONE:}\ne: '${EVIL}'\nf: $${HOST}\n";
        let out = substitute("p", text, &env).unwrap();
        let read: std::collections::BTreeMap<String, serde_json::Value> = serde_saphyr::from_str(&out).unwrap();
        assert_eq!(read["a"], "https://example.org/x");
        assert_eq!(read["b"], "x\nguards: off # \"'");
        assert_eq!(read["c"], 25);
        assert_eq!(read["d"], "");
        assert_eq!(read["e"], "x guards: off # \"'");
        assert_eq!(read["f"], "${HOST}");
        assert_eq!(read.len(), 6);
    }

    #[test]
    fn an_unquoted_variable_in_braces_is_told_to_be_quoted() {
        let error = load("p.yaml", "version: 1\nsources:\n  s:\n    http: { url: ${HOST} }\n", &env).unwrap_err();
        assert!(error.failures[0].hints[0].contains("needs quotes"), "{:?}", error.failures);
    }

    #[test]
    fn a_missing_variable_is_named_with_its_place() {
        let error = substitute("p.yaml", "a: 1\nb: ${NOPE}\nc: ${NADA}\n", &env).unwrap_err();
        assert_eq!(error.failures.len(), 2);
        assert_eq!(error.failures[0].location.as_ref().unwrap().to_string(), "p.yaml:2:4");
        assert!(error.failures[0].message.contains("NOPE"));
    }
}
