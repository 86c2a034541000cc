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

/// Names are kept at most this long, in bytes, so that a hostile one cannot fill the catalog.
const NAME_BYTES_MAX: usize = 1024;

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
    /// Joins the parts.
    ///
    /// # Errors
    /// The local name is empty, too long, or holds a control character.
    pub fn new(domain: Domain, namespace: NamespaceName, local: &str) -> Result<Self, ParseError> {
        if local.is_empty() {
            return Err(error("topic", local, "the local name is empty"));
        }
        if local.len() > NAME_BYTES_MAX {
            return Err(error(
                "topic",
                &local[..local.floor_char_boundary(80)],
                "the local name is longer than 1024 bytes",
            ));
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
        let (_, index) = self.local.rsplit_once(PARTITION)?;
        // `+3` and `03` name no partition: Pulsar compares the text of the number.
        let number: u32 = index.parse().ok()?;
        (number.to_string() == index).then_some(number)
    }

    /// The topic this is a partition of, or itself.
    #[must_use]
    pub fn partitioned(&self) -> Self {
        match self.partition() {
            None => self.clone(),
            Some(_) => {
                let (base, _) = self.local.rsplit_once(PARTITION).unwrap_or((&self.local, ""));
                Self { local: base.to_owned(), ..self.clone() }
            }
        }
    }

    /// Partition `index` of this topic.
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
        if text.len() > 2 * NAME_BYTES_MAX {
            return Err(error("topic", &text[..text.floor_char_boundary(80)], "longer than 2048 bytes"));
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

fn error(what: &'static str, name: &str, why: &'static str) -> ParseError {
    ParseError { what, name: name.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for none in ["orders-partition-", "orders-partition-x", "orders-partition-03", "orders-partition-+3", "orders"]
        {
            assert_eq!(none.parse::<TopicName>().unwrap().partition(), None, "{none}");
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
