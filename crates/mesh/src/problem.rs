//! What is wrong with a manifest, all of it at once, each where it is written.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt};

/// Problems told of one manifest: no more than a person can read.
const PROBLEMS_MAX: usize = 500;

/// How many that are not told are looked at, for whether one of them is an error: a hostile manifest may have a million.
const LOOKED_AT_MAX: usize = 5_000;

/// Characters a text has at most; names in it come from outside.
const CHARS_MAX: usize = 500;

/// Where something is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct At {
    /// Which of the files that were read together, from 0.
    pub file: usize,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It cannot be applied.
    Error,
    /// It can, and is probably not what was meant.
    Warning,
    /// Worth knowing; nothing to correct.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// One thing worth telling whoever wrote a manifest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Problem {
    /// Where.
    pub at: At,
    /// How bad.
    pub severity: Severity,
    /// What, in a sentence that stands alone.
    pub text: String,
}

impl Problem {
    /// `file:line:column: severity: text`, as compilers say it. `files` are the names of what was read together.
    #[must_use]
    pub fn shown(&self, files: &[&str]) -> String {
        let file = files.get(self.at.file).copied().unwrap_or("-");
        format!("{file}:{}:{}: {}: {}", self.at.line, self.at.column, self.severity, self.text)
    }
}

/// Collects problems; keeps what was said once and no more than a person can read.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    list: BTreeSet<Problem>,
    /// How many of these are errors.
    errors: usize,
    left_out: usize,
    /// Of those left out.
    worst: Option<Severity>,
}

impl Problems {
    pub(crate) fn error(&mut self, at: At, text: impl Into<String>) {
        self.add(at, Severity::Error, text.into());
    }

    pub(crate) fn warning(&mut self, at: At, text: impl Into<String>) {
        self.add(at, Severity::Warning, text.into());
    }

    pub(crate) fn note(&mut self, at: At, text: impl Into<String>) {
        self.add(at, Severity::Note, text.into());
    }

    /// Whether no error was told of anything that begins at `at` or after it, so that one that follows from it may be.
    pub(crate) fn has_none_within(&self, at: At) -> bool {
        self.list.iter().rev().take_while(|problem| problem.at >= at).all(|problem| problem.severity != Severity::Error)
    }

    pub(crate) fn add(&mut self, at: At, severity: Severity, text: String) {
        let problem = Problem { at, severity, text: shortened(&text) };
        if self.list.contains(&problem) {
            return;
        }
        if self.list.len() >= PROBLEMS_MAX {
            // An error takes the place of the last that is none.
            if severity != Severity::Error || self.errors == self.list.len() {
                return self.leave_out(severity);
            }
            let spare = self.list.iter().rev().find(|told| told.severity != Severity::Error).cloned();
            let Some(spare) = spare else { return self.leave_out(severity) };
            self.list.remove(&spare);
            self.leave_out(spare.severity);
        }
        self.list.insert(problem);
        self.errors += usize::from(severity == Severity::Error);
    }

    /// Whether a further one is only counted, so that what it would say need not be found.
    pub(crate) fn is_full(&self) -> bool {
        self.left_out >= LOOKED_AT_MAX
    }

    /// One more that is not told, nor looked at: it may be an error.
    pub(crate) fn count(&mut self) {
        self.leave_out(Severity::Error);
    }

    fn leave_out(&mut self, severity: Severity) {
        self.left_out += 1;
        self.worst = self.worst.into_iter().chain([severity]).min();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// In the order they are written.
    pub(crate) fn into_sorted(self) -> Vec<Problem> {
        let Self { list, left_out, worst, .. } = self;
        let mut list: Vec<_> = list.into_iter().collect();
        if let (Some(last), Some(severity)) = (list.last(), worst) {
            let text = format!("and {left_out} more");
            list.push(Problem { at: last.at, severity, text });
        }
        list
    }
}

/// `text` without control characters, at most [`CHARS_MAX`] long.
fn shortened(text: &str) -> String {
    let plain = |text: &str| text.replace(char::is_control, "?");
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}...", plain(&text[..end])),
        None => plain(text),
    }
}

/// A name or value from outside as it is repeated in a sentence.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
