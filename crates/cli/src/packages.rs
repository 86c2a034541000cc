//! `geminga packages`: code by name and version.

use crate::{
    form::Form,
    functions::saved,
    http::{Admin, Call},
    output::{self, pairs},
    produce::Output,
    service::pair,
    tenants::list,
    web::Web,
};
use anyhow::{Context, bail};
use model::function::PackageMetadata;
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::PathBuf, str::FromStr, time::Duration};

/// Keep code by name and version, to deploy it from there
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:\n  \
    geminga packages upload function://public/default/exclaim@1 exclaim.py --description 'adds !'\n  \
    geminga packages list public/default\n  \
    geminga packages list-versions function://public/default/exclaim\n  \
    geminga functions create --py function://public/default/exclaim@1 --classname exclaim.Exclaim -i orders\n  \
    geminga packages download function://public/default/exclaim@1 exclaim.py"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    web: Web,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Packages of a namespace
    List {
        #[arg(value_name = "TENANT/NAMESPACE")]
        namespace: String,
        /// `function`, `source` or `sink`
        #[arg(long = "type", value_name = "TYPE", default_value = "function")]
        kind: String,
    },
    /// Versions of a package
    #[command(alias = "versions")]
    ListVersions {
        /// `TYPE://TENANT/NAMESPACE/NAME`
        package: Package,
    },
    /// Upload one version
    Upload {
        /// `TYPE://TENANT/NAMESPACE/NAME@VERSION`
        package: Package,
        /// The file
        #[arg(value_name = "FILE", required_unless_present = "path")]
        file: Option<PathBuf>,
        /// The file, as pulsar-admin has it
        #[arg(long, value_name = "FILE", conflicts_with = "file")]
        path: Option<PathBuf>,
        #[command(flatten)]
        about: About,
    },
    /// Download one version
    Download {
        /// `TYPE://TENANT/NAMESPACE/NAME@VERSION`
        package: Package,
        /// Where to
        #[arg(value_name = "FILE", required_unless_present = "path")]
        file: Option<PathBuf>,
        /// Where to, as pulsar-admin has it
        #[arg(long, value_name = "FILE", conflicts_with = "file")]
        path: Option<PathBuf>,
    },
    /// What is known of one version
    #[command(alias = "metadata")]
    GetMetadata {
        /// `TYPE://TENANT/NAMESPACE/NAME@VERSION`
        package: Package,
    },
    /// Say something else about one version
    UpdateMetadata {
        /// `TYPE://TENANT/NAMESPACE/NAME@VERSION`
        package: Package,
        #[command(flatten)]
        about: About,
    },
    /// Delete one version
    Delete {
        /// `TYPE://TENANT/NAMESPACE/NAME@VERSION`
        package: Package,
    },
}

#[derive(Debug, clap::Args)]
struct About {
    /// What it is
    #[arg(short, long, value_name = "TEXT", default_value = "")]
    description: String,
    /// Whom to ask
    #[arg(short, long, value_name = "TEXT")]
    contact: Option<String>,
    /// Something to remember with it; may be repeated
    #[arg(short = 'P', long = "properties", value_name = "NAME=VALUE", value_parser = pair)]
    properties: Vec<(String, String)>,
}

impl About {
    fn json(self) -> Value {
        let properties: BTreeMap<_, _> = self.properties.into_iter().collect();
        json!({ "description": self.description, "contact": self.contact, "properties": properties })
    }
}

/// `TYPE://TENANT/NAMESPACE/NAME[@VERSION]`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Package {
    parts: [String; 4],
    version: Option<String>,
}

impl FromStr for Package {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fail = || format!("expected TYPE://TENANT/NAMESPACE/NAME@VERSION, not '{text}'");
        let (kind, rest) = text.split_once("://").ok_or_else(fail)?;
        let (path, version) = match rest.rsplit_once('@') {
            Some((path, version)) => (path, Some(version.to_owned())),
            None => (rest, None),
        };
        let [tenant, namespace, name] = path.split('/').collect::<Vec<_>>()[..] else { return Err(fail()) };
        let parts = [kind, tenant, namespace, name].map(str::to_owned);
        if parts.iter().chain(&version).any(String::is_empty) { Err(fail()) } else { Ok(Self { parts, version }) }
    }
}

impl std::fmt::Display for Package {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [kind, tenant, namespace, name] = &self.parts;
        write!(f, "{kind}://{tenant}/{namespace}/{name}")?;
        self.version.iter().try_for_each(|version| write!(f, "@{version}"))
    }
}

impl Package {
    fn all<'a>(&self, admin: &'a Admin) -> Call<'a> {
        admin.path(["admin", "v3", "packages"]).at(&self.parts)
    }

    fn one<'a>(&self, admin: &'a Admin) -> anyhow::Result<Call<'a>> {
        match &self.version {
            Some(version) => Ok(self.all(admin).at([version])),
            None => bail!("say which version: {self}@VERSION"),
        }
    }
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let admin = args.web.admin()?;
    let format = args.web.output;
    let done = |what: &str, package: &Package| crate::tenants::done(format, what, &package.to_string());
    match args.command {
        Command::List { namespace, kind } => {
            let Some((tenant, namespace)) = namespace.split_once('/') else {
                bail!("expected TENANT/NAMESPACE, not '{namespace}'");
            };
            let names: Vec<String> = admin.path(["admin", "v3", "packages", &kind, tenant, namespace]).get().await?;
            list(format, &names)
        }
        Command::ListVersions { package } => list(format, &package.all(&admin).get::<Vec<String>>().await?),
        Command::Upload { package, file, path, about } => {
            let Some(file) = file.or(path) else { bail!("say which file") };
            let form = Form::new().json("metadata", &about.json());
            let form = form.file("file", &file).await.with_context(|| format!("cannot read {}", file.display()))?;
            package.one(&admin)?.form(form).post().await?;
            done("uploaded", &package)
        }
        Command::Download { package, file, path } => {
            let Some(to) = file.or(path) else { bail!("say where to") };
            let bytes = package.one(&admin)?.save(&to).await?;
            saved(&to, bytes)
        }
        Command::GetMetadata { package } => {
            let metadata: PackageMetadata = package.one(&admin)?.at(["metadata"]).get().await?;
            if format == Output::Json {
                return output::json(&metadata);
            }
            let when = |ms: i64| {
                let at = std::time::UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap_or_default());
                humantime::format_rfc3339_seconds(at).to_string()
            };
            let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
            let rows = [
                ("description".to_owned(), or_none(metadata.description)),
                ("contact".to_owned(), or_none(metadata.contact)),
                ("created".to_owned(), when(metadata.create_time)),
                ("changed".to_owned(), when(metadata.modification_time)),
            ];
            output::print(&pairs(rows.into_iter().chain(metadata.properties.into_iter().flatten())))
        }
        Command::UpdateMetadata { package, about } => {
            package.one(&admin)?.at(["metadata"]).json(&about.json()).put().await?;
            done("updated", &package)
        }
        Command::Delete { package } => {
            package.one(&admin)?.delete().await?;
            done("deleted", &package)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_named_with_or_without_its_version() {
        let package: Package = "function://acme/shop/exclaim@1.0".parse().unwrap();
        assert_eq!(package.version.as_deref(), Some("1.0"));
        assert_eq!(package.to_string(), "function://acme/shop/exclaim@1.0");
        assert_eq!("sink://a/b/c".parse::<Package>().unwrap().version, None);
        for bad in ["", "a/b/c@1", "function://a/b@1", "function://a//c@1", "function://a/b/c@", "function://a/b/c/d@1"]
        {
            assert!(bad.parse::<Package>().is_err(), "{bad}");
        }
    }
}
