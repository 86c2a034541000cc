//! `function://tenant/namespace/name@version`.

use std::{fmt, str::FromStr};

use crate::{Error, Kind, Result};

/// Bytes of one part of a name.
const PART_BYTES_MAX: usize = 255;

/// What a package is for: the scheme of its name.
pub type PackageType = Kind;

/// The name of a package, complete with its version. Source: Pulsar's `PackageName`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageName {
    kind: PackageType,
    tenant: String,
    namespace: String,
    name: String,
    version: String,
}

impl PackageName {
    /// Of its parts; an empty version is `latest`.
    ///
    /// # Errors
    /// [`Error::Invalid`], in Pulsar's words: some part is empty, too long, or has characters that a name may not have.
    pub fn new(kind: &str, tenant: &str, namespace: &str, name: &str, version: &str) -> Result<Self> {
        let kind = package_type(kind)?;
        let version = if version.is_empty() { "latest" } else { version };
        if ![tenant, namespace, name, version].into_iter().all(is_part) {
            return Err(Error::Invalid(format!(
                "Invalid package name '{kind}://{tenant}/{namespace}/{name}@{version}'"
            )));
        }
        let [tenant, namespace, name, version] = [tenant, namespace, name, version].map(str::to_owned);
        Ok(Self { kind, tenant, namespace, name, version })
    }

    /// Whether `url` is meant to be one.
    #[must_use]
    pub fn is_meant_by(url: &str) -> bool {
        url.split_once("://").is_some_and(|(scheme, _)| package_type(scheme).is_ok())
    }

    /// Which version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Its last part.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key of its row; those of one namespace, and of one package, begin alike.
    pub(super) fn key(&self) -> String {
        let Self { kind, tenant, namespace, name, version } = self;
        format!("{kind}/{tenant}/{namespace}/{name}@{version}")
    }
}

/// `function`, `source` or `sink`.
///
/// # Errors
/// [`Error::Invalid`], in Pulsar's words.
pub(super) fn package_type(text: &str) -> Result<PackageType> {
    [Kind::Function, Kind::Source, Kind::Sink]
        .into_iter()
        .find(|kind| kind.as_str().eq_ignore_ascii_case(text))
        .ok_or_else(|| Error::Invalid(format!("Invalid package domain: '{text}'")))
}

/// Names are keys and are shown, so they have nothing that separates or that cannot be seen.
fn is_part(part: &str) -> bool {
    let is_bad = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '/' | '\\' | '@' | ':');
    !part.is_empty() && part.len() <= PART_BYTES_MAX && !part.contains(is_bad) && part != "." && part != ".."
}

impl FromStr for PackageName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = || Error::Invalid(format!("Invalid package name '{text}'"));
        let (kind, rest) = text.split_once("://").ok_or_else(invalid)?;
        let (path, version) = rest.split_once('@').unwrap_or((rest, ""));
        match path.split('/').collect::<Vec<_>>()[..] {
            [tenant, namespace, name] => Self::new(kind, tenant, namespace, name, version),
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for PackageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, tenant, namespace, name, version } = self;
        write!(f, "{kind}://{tenant}/{namespace}/{name}@{version}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_version_means_the_latest() {
        for (text, complete) in [
            ("function://public/default/f", "function://public/default/f@latest"),
            ("SINK://a/b/c@v1.2", "sink://a/b/c@v1.2"),
        ] {
            assert_eq!(text.parse::<PackageName>().unwrap().to_string(), complete);
        }
    }

    #[test]
    fn what_could_leave_its_place_is_no_name() {
        for text in [
            "public/default/f",
            "function://public/f",
            "function://public/default/a/b",
            "function://../default/f",
            "function://public/default/..@1",
            "function://public/default/f@..",
            "function://public/default/f@1@2",
            "function://public/default/f\0",
            "function://public/default/f\\..",
            "function:///default/f",
            "archive://public/default/f",
        ] {
            assert!(text.parse::<PackageName>().is_err(), "{text}");
        }
        let long = format!("function://public/default/{}", "x".repeat(256));
        assert!(long.parse::<PackageName>().is_err());
    }
}
