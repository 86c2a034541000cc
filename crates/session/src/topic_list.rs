//! Lists of topic names: which of them a pattern means, the hash that says whether a list changed, and watchers.
//!
//! Source: Pulsar's `TopicList` and `TopicListService`; PIP-145.

use broker::{Broker, TopicChange};
use model::{NamespaceName, TopicName};
use regex::bytes::{Regex, RegexBuilder};
use std::collections::BTreeSet;
use tokio::sync::broadcast;

/// A compiled pattern may take this much memory.
const PATTERN_BYTES_MAX: usize = 256 * 1024;

/// A pattern over topic names, compared with the name without its scheme and without its partition suffix.
#[derive(Debug, Clone)]
pub(crate) struct Pattern(Regex);

impl Pattern {
    /// Compiles what a client sent. The pattern may begin with a scheme, which says nothing: names are compared
    /// without theirs.
    ///
    /// # Errors
    /// It is no pattern, or too large a one. Patterns are matched in linear time, so what needs backtracking
    /// (look-around, back references) is none; Pulsar's broker uses RE2 and refuses the same.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        let anchored = format!("^(?:{})$", unquote(without_scheme(text)));
        RegexBuilder::new(&anchored)
            .unicode(false)
            .size_limit(PATTERN_BYTES_MAX)
            .dfa_size_limit(PATTERN_BYTES_MAX)
            .build()
            .map(Self)
            .map_err(|error| error.to_string())
    }

    pub(crate) fn matches(&self, topic: &TopicName) -> bool {
        let whole = topic.partitioned();
        self.0.is_match(format!("{}/{}", whole.namespace(), whole.local()).as_bytes())
    }
}

fn without_scheme(pattern: &str) -> &str {
    match pattern.split_once("://") {
        Some((_, rest)) => rest,
        None => pattern,
    }
}

/// `\Q...\E`, which Java and RE2 have, as ordinary escapes.
fn unquote(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some((before, quoted)) = rest.split_once("\\Q") {
        let (text, after) = quoted.split_once("\\E").unwrap_or((quoted, ""));
        out.push_str(before);
        out.push_str(&regex::escape(text));
        rest = after;
    }
    // A scheme may have been cut off together with the `\Q` before it.
    let rest = match rest.split_once("\\E") {
        Some((text, after)) if out.is_empty() => format!("{}{after}", regex::escape(text)),
        _ => rest.to_owned(),
    };
    out + &rest
}

/// CRC32C of the sorted names joined by commas, in hex, lowest byte first (as Guava prints a hash).
pub(crate) fn hash<'a>(sorted: impl IntoIterator<Item = &'a str>) -> String {
    let mut joined = String::new();
    for (index, name) in sorted.into_iter().enumerate() {
        if index > 0 {
            joined.push(',');
        }
        joined.push_str(name);
    }
    format!("{:08x}", wire::crc32c(joined.as_bytes()).swap_bytes())
}

/// Names as they go to the client: sorted as text, without the broker's own topics.
pub(crate) fn names(topics: Vec<TopicName>, keep: impl Fn(&TopicName) -> bool) -> Vec<String> {
    let mut names: Vec<_> =
        topics.into_iter().filter(|t| !t.is_system() && keep(t)).map(|topic| topic.to_string()).collect();
    names.sort_unstable();
    names
}

/// Follows the topics of one namespace that match a pattern.
pub(crate) struct Watcher {
    broker: Broker,
    namespace: NamespaceName,
    pattern: Pattern,
    changes: broadcast::Receiver<TopicChange>,
    topics: BTreeSet<String>,
}

/// What became different since the last time.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Update {
    pub(crate) created: Vec<String>,
    pub(crate) deleted: Vec<String>,
    pub(crate) hash: String,
}

impl Watcher {
    /// Lists what is there and follows what comes.
    ///
    /// # Errors
    /// The namespace does not exist.
    pub(crate) async fn open(broker: Broker, namespace: NamespaceName, pattern: Pattern) -> broker::Result<Self> {
        // Followed first and listed second, so that nothing falls between the two.
        let changes = broker.watch_topics(&namespace)?;
        let mut watcher = Self { broker, namespace, pattern, changes, topics: BTreeSet::new() };
        watcher.topics = watcher.list().await?;
        Ok(watcher)
    }

    async fn list(&self) -> broker::Result<BTreeSet<String>> {
        let topics = self.broker.topics_of_namespace(&self.namespace).await?;
        Ok(names(topics, |t| self.wants(t)).into_iter().collect())
    }

    fn wants(&self, topic: &TopicName) -> bool {
        topic.namespace() == &self.namespace
            && topic.is_persistent()
            && !topic.is_system()
            && self.pattern.matches(topic)
    }

    /// All that match now, and their hash.
    pub(crate) fn matching(&self) -> (Vec<String>, String) {
        (self.topics.iter().cloned().collect(), self.hash())
    }

    fn hash(&self) -> String {
        hash(self.topics.iter().map(String::as_str))
    }

    /// Waits for a change that matters and gathers those that came with it; `None` when the broker or the namespace is gone.
    pub(crate) async fn next(&mut self) -> Option<Update> {
        loop {
            let mut update = Update::default();
            let mut change = self.changes.recv().await;
            loop {
                match change {
                    Ok(TopicChange::Created(topic)) => {
                        if self.wants(&topic) && self.topics.insert(topic.to_string()) {
                            update.created.push(topic.to_string());
                        }
                    }
                    Ok(TopicChange::Deleted(topic)) => {
                        if self.topics.remove(&topic.to_string()) {
                            update.deleted.push(topic.to_string());
                        }
                    }
                    Err(broadcast::error::RecvError::Lagged(_)) => {
                        let now = self.list().await.ok()?;
                        update.created.extend(now.difference(&self.topics).cloned());
                        update.deleted.extend(self.topics.difference(&now).cloned());
                        self.topics = now;
                    }
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
                change = match self.changes.try_recv() {
                    Ok(change) => Ok(change),
                    Err(broadcast::error::TryRecvError::Empty) => break,
                    Err(broadcast::error::TryRecvError::Lagged(n)) => Err(broadcast::error::RecvError::Lagged(n)),
                    Err(broadcast::error::TryRecvError::Closed) => return None,
                };
            }
            // Created and deleted within one gathering is nothing; the other way round is a new topic.
            let (created, topics) = (std::mem::take(&mut update.created), &self.topics);
            update.created = created.into_iter().filter(|t| topics.contains(t)).collect();
            if !update.created.is_empty() || !update.deleted.is_empty() {
                update.hash = self.hash();
                return Some(update);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_see_no_scheme_and_no_partition() {
        let topic: TopicName = "persistent://public/default/orders-eu-partition-3".parse().unwrap();
        for (pattern, expected) in [
            ("persistent://public/default/orders-.*", true),
            ("public/default/orders-..", true),
            ("^persistent://public/default/orders-eu$", true),
            ("public/default/orders", false),
            ("public/default/orders-eu-partition-3", false),
            (r"persistent://public/default/\Qorders-eu\E", true),
            (r"\Qpersistent://public/default/orders-\E.*", true),
            (r"public/default/\Qorders.*\E", false),
            ("public/default/(orders|bills)-e.|x", true),
        ] {
            assert_eq!(Pattern::new(pattern).unwrap().matches(&topic), expected, "{pattern}");
        }
    }

    #[test]
    fn hostile_patterns_are_refused() {
        for pattern in ["(", r"(a)\1", "(?=a)", "((a{500}){500}){500}"] {
            assert!(Pattern::new(pattern).is_err(), "{pattern}");
        }
    }

    /// Checked with Guava: `Hashing.crc32c().hashBytes("a,b".getBytes(UTF_8))`, whose `toString` begins with the lowest
    /// byte; the check value of CRC-32C for "123456789" is 0xe3069283.
    #[test]
    fn hash_is_printed_lowest_byte_first() {
        assert_eq!(hash(["123456789"]), "839206e3");
        assert_eq!(hash([]), "00000000");
        assert_eq!(hash(["a", "b"]), format!("{:08x}", wire::crc32c(b"a,b").swap_bytes()));
    }

    #[test]
    fn names_are_sorted_as_text_and_without_system_topics() {
        let topics = ["b", "a-partition-10", "a-partition-2", "__change_events"].map(|t| t.parse().unwrap()).to_vec();
        let base = "persistent://public/default/";
        let expected = ["a-partition-10", "a-partition-2", "b"].map(|t| format!("{base}{t}"));
        assert_eq!(names(topics, |_| true), expected);
    }
}
