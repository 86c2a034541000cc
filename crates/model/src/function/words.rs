//! A command line as its words, for `exec` and `runtimeFlags`; no shell is asked.

use super::config::FunctionConfig;

/// A quote is opened and not closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a quote is not closed")]
pub struct UnclosedQuote;

/// The words of `line`, split as a POSIX shell splits them and nothing more: blanks separate; within `'` everything is
/// itself; within `"` a backslash makes `"` and `\` themselves; elsewhere it makes any character itself. Variables,
/// patterns and operators are plain text.
///
/// # Errors
/// [`UnclosedQuote`].
pub fn split_words(line: &str) -> Result<Vec<String>, UnclosedQuote> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            // An empty pair of quotes is a word, too.
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '\\') => word.get_or_insert_default().extend(chars.next()),
            (Some('"'), '\\') => {
                let escaped = chars.next_if(|next| matches!(next, '"' | '\\'));
                word.get_or_insert_default().push(escaped.unwrap_or('\\'));
            }
            (Some(open), c) if open == c => quote = None,
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if quote.is_some() { Err(UnclosedQuote) } else { Ok(words) }
}

impl FunctionConfig {
    /// The command line of a process function as its words, the program first; validation has refused it where it is
    /// empty or does not end.
    #[must_use]
    pub fn command(&self) -> Option<Vec<String>> {
        self.exec.as_deref().and_then(|exec| split_words(exec).ok()).filter(|words| !words.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_as_a_shell_splits_it() {
        for (line, words) in [
            ("", &[][..]),
            ("  node  f.js ", &["node", "f.js"]),
            ("sh -c 'echo \"$1\" | wc'", &["sh", "-c", "echo \"$1\" | wc"]),
            (r#"a "b \"c\" \d" e\ f"#, &["a", r#"b "c" \d"#, "e f"]),
            (r#"x '' "" y"#, &["x", "", "", "y"]),
            (r"pre'fix 'ed\", &["prefix ed"]),
            ("tab\tnew\nline", &["tab", "new", "line"]),
            ("$HOME/*.js;&", &["$HOME/*.js;&"]),
        ] {
            assert_eq!(split_words(line).unwrap(), words, "{line}");
        }
        for open in ["'", "a \"b", "\"\\\""] {
            assert_eq!(split_words(open), Err(UnclosedQuote), "{open}");
        }
    }
}
