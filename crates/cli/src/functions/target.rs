//! Which one a command is about: `exclaim`, `acme/shop/exclaim`, or pulsar-admin's flags.

use super::kind::Kind;
use crate::http::{Admin, Call};
use anyhow::{bail, ensure};
use std::fmt;

/// Where those are that say nothing else.
pub(super) const TENANT: &str = "public";
/// The namespace without its tenant, likewise.
pub(super) const NAMESPACE: &str = "default";

/// A function, source or sink by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) tenant: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tenant, self.namespace, self.name)
    }
}

impl Name {
    /// Reads `NAME` or `TENANT/NAMESPACE/NAME`.
    ///
    /// # Errors
    /// It is neither.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let [tenant, namespace, name] = match parts[..] {
            [name] => [TENANT, NAMESPACE, name],
            [tenant, namespace, name] => [tenant, namespace, name],
            _ => bail!("expected NAME or TENANT/NAMESPACE/NAME, not '{text}'"),
        };
        ensure!(!tenant.is_empty() && !namespace.is_empty() && !name.is_empty(), "'{text}' has an empty part");
        Ok(Self { tenant: tenant.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// A request to something of it.
    pub(crate) fn at<'a>(&self, admin: &'a Admin, kind: Kind) -> Call<'a> {
        admin.path(["admin", "v3", kind.path(), &self.tenant, &self.namespace, &self.name])
    }
}

/// The tenant and namespace of a list.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Place {
    /// The namespace [default: public/default]
    #[arg(value_name = "TENANT/NAMESPACE")]
    place: Option<String>,
    /// Its tenant, as pulsar-admin has it
    #[arg(long, value_name = "TENANT", conflicts_with = "place")]
    tenant: Option<String>,
    /// Its namespace, as pulsar-admin has it
    #[arg(long, value_name = "NAMESPACE", conflicts_with = "place")]
    namespace: Option<String>,
}

impl Place {
    /// Tenant, and namespace within it.
    ///
    /// # Errors
    /// It is no namespace.
    pub(super) fn resolve(&self) -> anyhow::Result<(String, String)> {
        if let Some(place) = &self.place {
            let Some((tenant, namespace)) = place.split_once('/') else {
                bail!("expected TENANT/NAMESPACE, not '{place}'");
            };
            return Ok((tenant.to_owned(), namespace.to_owned()));
        }
        let or = |given: &Option<String>, default: &str| given.clone().unwrap_or_else(|| default.to_owned());
        Ok((or(&self.tenant, TENANT), or(&self.namespace, NAMESPACE)))
    }
}

/// One of them.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Target {
    /// Which one, `NAME` or `TENANT/NAMESPACE/NAME`
    #[arg(value_name = "NAME")]
    which: Option<String>,
    /// The name, as pulsar-admin has it
    #[arg(long, value_name = "NAME", help_heading = "As pulsar-admin")]
    name: Option<String>,
    /// Its tenant [default: public]
    #[arg(long, value_name = "TENANT", help_heading = "As pulsar-admin")]
    tenant: Option<String>,
    /// Its namespace, without the tenant [default: default]
    #[arg(long, value_name = "NAMESPACE", help_heading = "As pulsar-admin")]
    namespace: Option<String>,
    /// `TENANT/NAMESPACE/NAME`
    #[arg(long, value_name = "FQFN", help_heading = "As pulsar-admin")]
    fqfn: Option<String>,
}

impl Target {
    /// Its name.
    ///
    /// # Errors
    /// None is given, or two that differ.
    pub(crate) fn resolve(&self) -> anyhow::Result<Name> {
        let flags = self.name.is_some() || self.tenant.is_some() || self.namespace.is_some();
        let one = match (&self.which, &self.name, &self.fqfn) {
            (Some(one), None, None) | (None, Some(one), None) | (None, None, Some(one)) => one,
            (None, None, None) => bail!("say which one: NAME, or TENANT/NAMESPACE/NAME"),
            _ => bail!("name it once: as NAME, with --fqfn, or with --tenant, --namespace and --name"),
        };
        let mut name = Name::parse(one)?;
        if !flags {
            ensure!(self.fqfn.is_none() || one.contains('/'), "--fqfn is of the form TENANT/NAMESPACE/NAME");
            return Ok(name);
        }
        ensure!(
            !one.contains('/'),
            "'{one}' says tenant and namespace already: leave out --tenant, --namespace and --name"
        );
        name.tenant = self.tenant.clone().unwrap_or(name.tenant);
        name.namespace = self.namespace.clone().unwrap_or(name.namespace);
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        target: Target,
    }

    fn name(line: &str) -> Result<String, String> {
        let line = std::iter::once("x").chain(line.split_whitespace());
        let target = Line::try_parse_from(line).map_err(|error| error.to_string())?.target;
        target.resolve().map(|name| name.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_name_comes_alone_or_whole_or_in_pulsar_admins_flags() {
        for (line, is) in [
            ("exclaim", "public/default/exclaim"),
            ("acme/shop/exclaim", "acme/shop/exclaim"),
            ("--fqfn acme/shop/exclaim", "acme/shop/exclaim"),
            ("--name exclaim", "public/default/exclaim"),
            ("--tenant acme --namespace shop --name exclaim", "acme/shop/exclaim"),
            ("exclaim --tenant acme", "acme/default/exclaim"),
        ] {
            assert_eq!(name(line).as_deref(), Ok(is), "{line}");
        }
        for bad in
            ["", "a/b", "a//c", "x --name y", "--fqfn x", "a/b/c --tenant d", "--fqfn a/b/c --name d", "--tenant acme"]
        {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
