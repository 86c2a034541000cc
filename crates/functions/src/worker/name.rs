//! Which function, source or sink: `tenant/namespace/name`, the same for all three kinds, as in Pulsar.

use std::fmt;

use crate::{Error, Result};

/// Bytes of one part of a name.
const PART_BYTES_MAX: usize = 255;

/// The name of a function, source or sink.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Whose it is.
    pub tenant: String,
    /// Of the tenant, without it.
    pub namespace: String,
    /// Its own.
    pub name: String,
}

impl Name {
    /// Of its parts.
    ///
    /// # Errors
    /// [`Error::Invalid`]: a part is empty, too long, or has characters that would not survive in a key, a path or a subscription.
    pub fn new(tenant: &str, namespace: &str, name: &str) -> Result<Self> {
        for (what, part) in [("tenant", tenant), ("namespace", namespace), ("name", name)] {
            let is_good = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '=' | ':' | '.' | '+');
            if part.is_empty() || part.len() > PART_BYTES_MAX || !part.chars().all(is_good) || part.starts_with("..") {
                let shown: String = part.chars().take(80).filter(|c| !c.is_control()).collect();
                return Err(Error::Invalid(format!(
                    "the {what} {shown:?} is none: it has 1 to {PART_BYTES_MAX} letters, digits and - _ = : . +"
                )));
            }
        }
        let [tenant, namespace, name] = [tenant, namespace, name].map(str::to_owned);
        Ok(Self { tenant, namespace, name })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tenant, self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_nothing_that_separates() {
        for good in ["f", "my-function_2", "a.b", "Größe"] {
            assert!(Name::new("public", "default", good).is_ok(), "{good}");
        }
        let long = "x".repeat(256);
        for bad in ["", "a/b", "..", "../x", "a\0", "a b", "a\\b", "a%2fb", &long] {
            assert!(Name::new("public", "default", bad).is_err(), "{bad}");
        }
    }
}
