//! A plan for a terminal, like a diff.

use super::{Action, Plan};
use serde_json::Value;
use std::fmt::Write;

/// Characters of a value that are shown.
const VALUE_CHARS_MAX: usize = 60;

impl Plan {
    /// A line for each step, those of an update with what differs, and a line that counts.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for step in self.steps.iter().filter(|step| step.action != Action::Unchanged) {
            let sign = match step.action {
                Action::Create => '+',
                Action::Update => '~',
                Action::Delete => '-',
                Action::Unchanged => ' ',
            };
            let _ = writeln!(text, "{sign} {}", step.id);
            let width = step.changes.iter().map(|change| change.field.chars().count()).max().unwrap_or(0);
            for change in &step.changes {
                let _ =
                    writeln!(text, "    {:<width$}  {} -> {}", change.field, shown(&change.old), shown(&change.new));
            }
        }
        let counts = [
            (Action::Create, "to create"),
            (Action::Update, "to update"),
            (Action::Delete, "to delete"),
            (Action::Unchanged, "unchanged"),
        ];
        let counts = counts.map(|(action, word)| (self.count(action), word));
        let counts: Vec<String> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
        text + &if counts.is_empty() { "nothing to do".to_owned() } else { counts.join(", ") } + "\n"
    }
}

fn shown(value: &Value) -> String {
    if value.is_null() {
        return "nothing".to_owned();
    }
    let text = value.to_string();
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
