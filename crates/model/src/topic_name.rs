//! Topic and namespace names, parsed once at the edge.

use std::{fmt, str::FromStr};

/// Why a text is no topic or namespace name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid {what} name '{name}': {why}")]
pub struct ParseError {
    what: &'static str,
    name: String,
    why: &'static str,
}

/// Tenants, namespaces, topics, subscriptions and producers have names of at most so many bytes, so that a hostile one cannot
/// fill the catalog or a commit. The suffix of a partition is not counted: what may be a topic may be a partitioned one.
pub const NAME_BYTES_MAX: usize = 1024;
/// The same of a topic's name in full.
const FULL_NAME_BYTES_MAX: usize = 2 * NAME_BYTES_MAX;
/// The longest suffix of a partition.
const SUFFIX_BYTES_MAX: usize = PARTITION.len() + 10;

/// Whether a topic's messages are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Domain {
    /// Stored until acknowledged, and longer where retention says so.
    Persistent,
    /// Passed on to whoever is connected, never stored.
    NonPersistent,
}

impl Domain {
    /// `persistent` or `non-persistent`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Persistent => "persistent",
            Self::NonPersistent => "non-persistent",
        }
    }
}

impl FromStr for Domain {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "persistent" => Ok(Self::Persistent),
            "non-persistent" => Ok(Self::NonPersistent),
            _ => Err(error("topic", text, "the domain is neither persistent nor non-persistent")),
        }
    }
}

/// `tenant/namespace`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespaceName {
    text: String,
    slash: usize,
}

impl NamespaceName {
    /// Joins the two parts.
    ///
    /// # Errors
    /// A part is empty or has a character outside `[-=:.\w]` (Pulsar: `NamedEntity`).
    pub fn new(tenant: &str, namespace: &str) -> Result<Self, ParseError> {
        for part in [tenant, namespace] {
            if !is_entity(part) {
                return Err(error(
                    "namespace",
                    &format!("{tenant}/{namespace}"),
                    "a part is empty or has a forbidden character",
                ));
            }
        }
        Ok(Self { text: format!("{tenant}/{namespace}"), slash: tenant.len() })
    }

    /// The tenant.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.text[..self.slash]
    }

    /// The namespace without its tenant.
    #[must_use]
    pub fn local(&self) -> &str {
        &self.text[self.slash + 1..]
    }

    /// `tenant/namespace`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for NamespaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for NamespaceName {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text.split_once('/') {
            Some((tenant, namespace)) if !namespace.contains('/') => Self::new(tenant, namespace),
            _ => Err(error("namespace", text, "expected tenant/namespace")),
        }
    }
}

/// A complete topic name, `persistent://tenant/namespace/local`, partition suffix included.
///
/// Accepts Pulsar's short forms: `orders` (public/default) and `tenant/namespace/orders`. The old form with a cluster,
/// `persistent://tenant/cluster/namespace/topic`, is refused. Source: Pulsar's `TopicName`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName {
    domain: Domain,
    namespace: NamespaceName,
    local: String,
}

const PARTITION: &str = "-partition-";

impl TopicName {
    /// Joins the parts. What this accepts, [`FromStr`] accepts as text, and so do the names of its partitions.
    ///
    /// # Errors
    /// The local name is empty, holds a slash or a control character, or it or the whole is too long.
    pub fn new(domain: Domain, namespace: NamespaceName, local: &str) -> Result<Self, ParseError> {
        if local.is_empty() {
            return Err(error("topic", local, "the local name is empty"));
        }
        let (base, _) = split_partition(local).unwrap_or((local, 0));
        if base.len() > NAME_BYTES_MAX {
            return Err(error("topic", local, "the local name is longer than 1024 bytes"));
        }
        if domain.as_str().len() + "://".len() + namespace.text.len() + "/".len() + base.len() > FULL_NAME_BYTES_MAX {
            return Err(error("topic", local, "longer than 2048 bytes"));
        }
        if local.contains('/') {
            return Err(error("topic", local, "a slash in the local name"));
        }
        if local.chars().any(char::is_control) {
            return Err(error("topic", &local.escape_debug().to_string(), "a control character"));
        }
        Ok(Self { domain, namespace, local: local.to_owned() })
    }

    /// Whether messages are stored.
    #[must_use]
    pub fn domain(&self) -> Domain {
        self.domain
    }

    /// Whether messages are stored.
    #[must_use]
    pub fn is_persistent(&self) -> bool {
        self.domain == Domain::Persistent
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &NamespaceName {
        &self.namespace
    }

    /// What follows the namespace, partition suffix included.
    #[must_use]
    pub fn local(&self) -> &str {
        &self.local
    }

    /// Which partition of its topic this is, if it is one: `orders-partition-3` is `Some(3)`.
    #[must_use]
    pub fn partition(&self) -> Option<u32> {
        split_partition(&self.local).map(|(_, index)| index)
    }

    /// The topic this is a partition of, or itself.
    #[must_use]
    pub fn partitioned(&self) -> Self {
        match split_partition(&self.local) {
            None => self.clone(),
            Some((base, _)) => Self { local: base.to_owned(), ..self.clone() },
        }
    }

    /// Partition `index` of this topic, which is not a partition itself.
    #[must_use]
    pub fn with_partition(&self, index: u32) -> Self {
        Self { local: format!("{}{PARTITION}{index}", self.local), ..self.clone() }
    }

    /// Whether the broker keeps this topic for itself (`__change_events` and the like).
    #[must_use]
    pub fn is_system(&self) -> bool {
        self.local.starts_with("__")
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}/{}", self.domain.as_str(), self.namespace, self.local)
    }
}

impl FromStr for TopicName {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.len() > FULL_NAME_BYTES_MAX + SUFFIX_BYTES_MAX {
            return Err(error("topic", text, "longer than 2048 bytes"));
        }
        let (domain, rest) = match text.split_once("://") {
            Some((domain, rest)) => (domain.parse()?, rest),
            None => {
                // Short forms have no scheme: `topic` or `tenant/namespace/topic`.
                return match text.split('/').collect::<Vec<_>>()[..] {
                    [local] => Self::new(Domain::Persistent, NamespaceName::new("public", "default")?, local),
                    [tenant, namespace, local] => {
                        Self::new(Domain::Persistent, NamespaceName::new(tenant, namespace)?, local)
                    }
                    _ => Err(error("topic", text, "expected topic, tenant/namespace/topic or a full name")),
                };
            }
        };
        match rest.splitn(4, '/').collect::<Vec<_>>()[..] {
            [tenant, namespace, local] => Self::new(domain, NamespaceName::new(tenant, namespace)?, local),
            [_, _, _, _] => Err(error("topic", text, "names with a cluster (v1) are not supported")),
            _ => Err(error("topic", text, "expected domain://tenant/namespace/topic")),
        }
    }
}

/// Whether `part` may be a tenant, or a namespace within one: not empty, and of `[-=:.\w]` only. Source: `NamedEntity`.
pub(crate) fn is_entity(part: &str) -> bool {
    !part.is_empty()
        && part.len() <= NAME_BYTES_MAX
        && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'=' | b':' | b'.' | b'_'))
}

/// A partition's local name: that of its topic, and its number.
fn split_partition(local: &str) -> Option<(&str, u32)> {
    let (base, index) = local.rsplit_once(PARTITION)?;
    // `+3` and `03` name no partition: Pulsar compares the text of the number. Nor is anything a partition of nothing.
    let number: u32 = index.parse().ok()?;
    (!base.is_empty() && number.to_string() == index).then_some((base, number))
}

/// `name` as far as it fits a line.
fn error(what: &'static str, name: &str, why: &'static str) -> ParseError {
    ParseError { what, name: name[..name.floor_char_boundary(256)].to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn short_and_full_names_are_the_same_topic() {
        let full = "persistent://public/default/orders";
        assert_eq!("orders".parse::<TopicName>().unwrap().to_string(), full);
        assert_eq!("public/default/orders".parse::<TopicName>().unwrap().to_string(), full);
        assert_eq!(full.parse::<TopicName>().unwrap().to_string(), full);
    }

    #[test]
    fn a_partition_knows_its_topic() {
        let third: TopicName = "orders-partition-3".parse().unwrap();
        assert_eq!(third.partition(), Some(3));
        assert_eq!(third.partitioned(), "orders".parse().unwrap());
        assert_eq!("orders".parse::<TopicName>().unwrap().with_partition(3), third);
        for none in [
            "orders-partition-",
            "orders-partition-x",
            "orders-partition-03",
            "orders-partition-+3",
            "orders",
            "-partition-3",
        ] {
            let none: TopicName = none.parse().unwrap();
            assert_eq!((none.partition(), none.partitioned()), (None, none.clone()));
        }
    }

    #[test]
    fn the_longest_names_have_partitions() {
        let longest = "t".repeat(NAME_BYTES_MAX);
        let topic: TopicName = longest.parse().unwrap();
        let last = topic.with_partition(u32::MAX);
        assert_eq!(last.to_string().parse(), Ok(last.clone()));
        assert_eq!(last.partitioned(), topic);
        format!("{longest}t").parse::<TopicName>().unwrap_err();
        // As text of 2048 bytes, and with what the short form leaves out.
        let (tenant, namespace) = ("a".repeat(NAME_BYTES_MAX), "b".repeat(NAME_BYTES_MAX - 16));
        format!("persistent://{tenant}/{namespace}/c").parse::<TopicName>().unwrap();
        format!("persistent://{tenant}/{namespace}/cc").parse::<TopicName>().unwrap_err();
        format!("{tenant}/{namespace}/cc").parse::<TopicName>().unwrap_err();
        let namespace = NamespaceName::new(&tenant, &namespace).unwrap();
        TopicName::new(Domain::Persistent, namespace.clone(), "c").unwrap();
        TopicName::new(Domain::NonPersistent, namespace, "c").unwrap_err();
    }

    proptest! {
        /// Stored names are read again.
        #[test]
        fn what_is_a_name_is_one_as_text(
            persistent: bool,
            tenant in "[-=:.a-z_]{1,4}",
            namespace in "[-=:.a-z_]{1,1024}",
            local in r"([ -~é\t]|-partition-|-partition-[0-9]{1,3}|t{1020}){1,3}",
            index: u32,
        ) {
            let domain = if persistent { Domain::Persistent } else { Domain::NonPersistent };
            let namespace = NamespaceName::new(&tenant, &namespace).unwrap();
            prop_assert_eq!(namespace.to_string().parse(), Ok(namespace.clone()));
            if let Ok(name) = TopicName::new(domain, namespace, &local) {
                let whole = name.partitioned();
                for name in [name.clone(), whole.clone()] {
                    prop_assert_eq!(name.to_string().parse(), Ok(name));
                }
                if name.partition().is_none() {
                    let partition = name.with_partition(index);
                    prop_assert_eq!(partition.to_string().parse(), Ok(partition.clone()));
                    prop_assert_eq!(partition.partitioned(), name);
                }
            }
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for bad in [
            "",
            "a/b",
            "a/b/c/d",
            "http://a/b/c",
            "persistent://a/b",
            "persistent://a/b/",
            "persistent://a/b/c/d",
            "persistent://a b/c/d",
            "a\u{0}b",
        ] {
            assert!(bad.parse::<TopicName>().is_err(), "{bad:?}");
        }
    }
}
