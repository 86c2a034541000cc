//! What is wrong with a configuration, all of it at once: whoever wrote it corrects it in one go.

use std::fmt;

/// Problems told of one configuration; a hostile one may have a million.
const PROBLEMS_MAX: usize = 100;

/// Characters a message or a path has at most; names in them come from outside.
const CHARS_MAX: usize = 500;

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, as a path of JSON names: `resources.ram`; empty where the whole is meant.
    pub field: String,
    /// What, in a sentence that stands alone. Where Pulsar refuses the same thing, these are Pulsar's words.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Everything that is wrong with a configuration; as an error never empty, and at most 100 long.
///
/// Prints as the message itself when there is one, so that a client that compares texts finds what Pulsar says, and as a
/// list otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    list: Vec<Problem>,
    left_out: usize,
}

impl Problems {
    /// Adds one, shortened and on one line; what is already in the list is not told twice.
    pub fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        let problem = Problem { field: plain(field.into()), message: plain(message.into()) };
        if self.list.contains(&problem) {
            return;
        }
        if self.is_full() {
            return self.count();
        }
        self.list.push(problem);
    }

    /// The problems, in the order they were found.
    #[must_use]
    pub fn as_slice(&self) -> &[Problem] {
        &self.list
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether a further one is only counted.
    pub(crate) fn is_full(&self) -> bool {
        self.list.len() >= PROBLEMS_MAX
    }

    /// One more that is not told.
    pub(crate) fn count(&mut self) {
        self.left_out += 1;
    }

    /// `value` when there is no problem.
    ///
    /// # Errors
    /// These problems, when there is one.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }
}

/// `text` without control characters, shortened.
fn plain(text: String) -> String {
    match text.char_indices().nth(CHARS_MAX) {
        None if !text.contains(char::is_control) => text,
        None => text.replace(char::is_control, "?"),
        Some((end, _)) => format!("{}...", text[..end].replace(char::is_control, "?")),
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        let mut problems = Self::default();
        problems.add(problem.field, problem.message);
        problems
    }
}

impl IntoIterator for Problems {
    type Item = Problem;
    type IntoIter = std::vec::IntoIter<Problem>;
    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.list[..] {
            [only] => only.fmt(f),
            many => {
                write!(f, "{} problems:", many.len() + self.left_out)?;
                for problem in many {
                    write!(f, "\n- {problem}")?;
                }
                if self.left_out > 0 {
                    write!(f, "\n- and {} more", self.left_out)?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for Problems {}
