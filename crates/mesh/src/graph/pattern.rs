//! Patterns of topics.
//!
//! Source: Pulsar's `TopicList.filterTopics`: the scheme is left out on both sides, and the whole rest must match.

use regex::{Regex, RegexBuilder};

/// Bytes a compiled expression may take.
const SIZE_MAX: usize = 1 << 20;

pub(super) struct Compiled {
    expression: Regex,
    /// `persistent` or `non-persistent`; a pattern matches its own kind alone.
    domain: String,
}

impl Compiled {
    /// Nothing where the expression is none, or one that this kind of engine cannot match, such as one that looks ahead.
    pub(super) fn new(pattern: &str) -> Option<Self> {
        let (domain, rest) = pattern.split_once("://").unwrap_or(("persistent", pattern));
        let expression = RegexBuilder::new(&format!("^(?:{rest})$")).size_limit(SIZE_MAX).build().ok()?;
        Some(Self { expression, domain: domain.to_owned() })
    }

    pub(super) fn matches(&self, topic: &str) -> bool {
        let (domain, rest) = topic.split_once("://").unwrap_or(("persistent", topic));
        domain == self.domain && self.expression.is_match(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::Compiled;

    #[test]
    fn a_pattern_matches_whole_names_without_their_scheme() {
        let matches = |pattern: &str, topic: &str| Compiled::new(pattern).map(|compiled| compiled.matches(topic));
        assert_eq!(matches("persistent://public/default/in-.*", "persistent://public/default/in-1"), Some(true));
        assert_eq!(matches("persistent://public/default/in", "persistent://public/default/in-1"), Some(false));
        assert_eq!(matches("persistent://public/default/a|b", "persistent://public/default/a"), Some(true));
        assert_eq!(matches("persistent://public/.*/x", "non-persistent://public/default/x"), Some(false));
        assert_eq!(matches("persistent://public/default/(?!in).*", "persistent://public/default/x"), None);
        assert_eq!(matches("persistent://public/default/(", "persistent://public/default/x"), None);
    }
}
