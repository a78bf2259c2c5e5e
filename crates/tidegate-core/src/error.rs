//! One shape for every error that a person or a retry policy meets.
//!
//! Each crate has its own `thiserror` enums; at a seam they become a [`Failure`]. `Display` gives *what* went wrong in
//! one line and never repeats the cause: the causes are kept apart, so that an edge can print them as it likes.

mod codes;

pub use codes::Code;

use serde::{Deserialize, Serialize};
use std::fmt;

/// What a retry policy reads, and the only thing it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// The pipeline file, its SQL or the published data must change first; repeating the same work gives the same error.
    User,
    /// The same work may succeed later: a network, a busy server, a full disk.
    Transient,
    /// The state found cannot be worked with, and waiting does not help.
    Terminal,
    /// Tidegate itself is wrong.
    Bug,
}

/// A place in a file the user wrote. Lines and columns count from 1.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Location {
    /// The file as the user named it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// An error as it crosses a seam: what, where, why, what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Stable code with a page in `docs/errors/`.
    pub code: Code,
    /// What went wrong, in one line, without a full stop.
    pub message: String,
    /// Where in the user's files, if it is to be found there.
    #[serde(default)]
    pub location: Option<Location>,
    /// Facts that help, as `label: value` (`got: date, cases`).
    #[serde(default)]
    pub details: Vec<(String, String)>,
    /// The causes, outermost first.
    #[serde(default)]
    pub causes: Vec<String>,
    /// Ways out, each a full sentence fragment that can follow `hint:`.
    #[serde(default)]
    pub hints: Vec<String>,
}

impl Failure {
    /// A failure with a code and its one line.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), location: None, details: Vec::new(), causes: Vec::new(), hints: Vec::new() }
    }

    /// The class decides about retries.
    pub fn class(&self) -> Class {
        self.code.class()
    }

    /// Adds the place in the user's file.
    #[must_use]
    pub fn at(mut self, location: Option<Location>) -> Self {
        self.location = location.or(self.location);
        self
    }

    /// Adds one fact.
    #[must_use]
    pub fn detail(mut self, label: &str, value: impl Into<String>) -> Self {
        self.details.push((label.to_owned(), value.into()));
        self
    }

    /// Adds one way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Keeps the whole chain of causes of `error`.
    #[must_use]
    pub fn because(mut self, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(cause) = next {
            let text = cause.to_string();
            // Some libraries repeat the inner message in the outer one; a repeated line helps nobody.
            if !self.causes.iter().chain([&self.message]).any(|said| said.contains(&text)) {
                self.causes.push(text);
            }
            next = cause.source();
        }
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
