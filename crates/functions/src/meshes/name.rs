//! Which mesh: `namespace/name`, Kubernetes' `metadata.namespace` and `metadata.name`.

use std::{fmt, str::FromStr};

use crate::{Error, Result};

/// Where meshes are that say nothing else.
pub const NAMESPACE: &str = "default";
/// Bytes of one part.
const PART_BYTES_MAX: usize = 253;

/// The name of a mesh.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Where it is.
    pub namespace: String,
    /// Its own.
    pub name: String,
}

impl Name {
    /// Of its parts.
    ///
    /// # Errors
    /// [`Error::Invalid`]: a part is empty, too long, or has characters that would not survive in a key or a URL.
    pub fn new(namespace: &str, name: &str) -> Result<Self> {
        for (what, part) in [("namespace", namespace), ("name", name)] {
            let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            let begins_well = part.starts_with(|c: char| c.is_ascii_alphanumeric());
            if part.len() > PART_BYTES_MAX || !begins_well || !part.chars().all(is_good) {
                let shown: String = part.chars().take(80).filter(|c| !c.is_control()).collect();
                return Err(Error::Invalid(format!(
                    "{shown:?} is no {what} of a mesh: it begins with a letter or digit and has at most {PART_BYTES_MAX} letters, \
                     digits and - _ ."
                )));
            }
        }
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

impl FromStr for Name {
    type Err = Error;

    /// Reads `NAME` or `NAMESPACE/NAME`.
    fn from_str(text: &str) -> Result<Self> {
        match text.split_once('/') {
            Some((namespace, name)) => Self::new(namespace, name),
            None => Self::new(NAMESPACE, text),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
