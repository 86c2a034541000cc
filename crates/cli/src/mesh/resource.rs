//! Which mesh a command is about: by its name, or by a manifest that has one.

use super::files::{self, Files};
use crate::{
    http::{Admin, Call},
    web::Reach,
};
use anyhow::bail;
use std::{fmt, path::Path};

/// Where the server is, and how its answer is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    /// How it is told
    #[arg(short = 'o', long, alias = "output", value_enum, default_value = "text")]
    format: Format,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// What the server answered
    Json,
}

impl Asked {
    /// A client of the server; connects when it is used.
    ///
    /// # Errors
    /// The URL is none.
    pub(crate) fn admin(&self) -> anyhow::Result<Admin> {
        self.reach.admin()
    }

    /// Whether for programs.
    #[must_use]
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }
}

/// Which mesh, by its name or by its manifest.
#[derive(Debug, clap::Args)]
pub(crate) struct Which {
    /// The name of a mesh, or a file with its manifest
    #[arg(required_unless_present = "filename", value_name = "[NAMESPACE/]NAME|FILE")]
    mesh: Option<String>,
    /// A file with its manifest, as `kubectl` is told
    #[arg(short = 'f', long, value_name = "FILE", value_delimiter = ',', conflicts_with = "mesh")]
    filename: Vec<String>,
}

impl Which {
    /// Its name.
    ///
    /// # Errors
    /// The file cannot be read or names none.
    pub(crate) fn name(&self) -> anyhow::Result<Name> {
        match &self.mesh {
            Some(mesh) => Name::of(mesh),
            None => Name::in_files(&self.filename),
        }
    }
}

/// `NAMESPACE/NAME`, as Kubernetes has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl Name {
    /// Reads `NAME`, of the namespace `default`, or `NAMESPACE/NAME`.
    ///
    /// # Errors
    /// It is neither.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
        if namespace.is_empty() || name.is_empty() || name.contains('/') {
            bail!("expected NAME or NAMESPACE/NAME, not '{text}'");
        }
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// What an argument names: a mesh, or a file with the manifest of one.
    ///
    /// # Errors
    /// The file cannot be read or names none.
    pub(crate) fn of(argument: &str) -> anyhow::Result<Self> {
        if argument != "-" && !Path::new(argument).is_file() && !has_extension(argument) {
            return Self::parse(argument);
        }
        Self::in_files(&[argument.to_owned()])
    }

    fn in_files(paths: &[String]) -> anyhow::Result<Self> {
        let files = Files::read(paths)?;
        let manifest = files.check().manifest;
        Self::parse(&files::name_or_file(&manifest, &files)?)
    }

    /// A request to something of it.
    pub(crate) fn at<'a>(&self, admin: &'a Admin) -> Call<'a> {
        admin.path(["admin", "v3", "meshes", &self.namespace, &self.name])
    }
}

/// Whether it is meant to be a file.
fn has_extension(argument: &str) -> bool {
    let extension = Path::new(argument).extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("yaml" | "yml" | "json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mesh_is_named_or_found_in_a_file() {
        assert_eq!(Name::of("shop").unwrap().to_string(), "default/shop");
        assert_eq!(Name::of("staging/shop").unwrap().to_string(), "staging/shop");
        for bad in ["", "/a", "a/", "a/b/c", "missing.yaml"] {
            assert!(Name::of(bad).is_err(), "{bad}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.yaml");
        let text = "apiVersion: compute.functionmesh.io/v1alpha1\nkind: FunctionMesh\nmetadata: {name: shop, namespace: prod}\n";
        std::fs::write(&path, text).unwrap();
        assert_eq!(Name::of(path.to_str().unwrap()).unwrap().to_string(), "prod/shop");
    }
}
