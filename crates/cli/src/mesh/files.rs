//! Manifests from files, standard input, or a server that has applied them.

use crate::http::Admin;
use anyhow::{Context, bail, ensure};
use mesh::{MANIFEST_BYTES_MAX, Manifest, Problem, Severity};
use std::{collections::BTreeMap, io::Read, path::Path};

/// What messages call standard input.
const STDIN: &str = "<stdin>";

/// Endings of the files of a directory that are manifests, as `kubectl` has it.
const EXTENSIONS: [&str; 3] = ["json", "yaml", "yml"];

/// Which manifests a command reads.
#[derive(Debug, clap::Args)]
pub(crate) struct Paths {
    /// Manifests, read as one: files, directories of them, or `-` for standard input
    #[arg(required_unless_present = "filename", value_name = "FILE")]
    files: Vec<String>,
    /// The same, as `kubectl` is told
    #[arg(short = 'f', long, value_name = "FILE", value_delimiter = ',')]
    filename: Vec<String>,
}

/// The same, or the mesh of a server.
#[derive(Debug, clap::Args)]
pub(crate) struct PathsOrName {
    /// Manifests, directories of them, `-` for standard input, or the name of an applied mesh
    #[arg(required_unless_present = "filename", value_name = "FILE|NAME")]
    files: Vec<String>,
    /// Manifests, as `kubectl` is told
    #[arg(short = 'f', long, value_name = "FILE", value_delimiter = ',')]
    filename: Vec<String>,
}

impl Paths {
    /// All of them, in their order.
    pub(crate) fn all(&self) -> Vec<String> {
        [&self.files[..], &self.filename].concat()
    }
}

impl PathsOrName {
    /// All of them, in their order.
    pub(crate) fn all(&self) -> Vec<String> {
        [&self.files[..], &self.filename].concat()
    }
}

/// Some files that are read together.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// As messages call them.
    pub(crate) names: Vec<String>,
    pub(crate) texts: Vec<String>,
    /// Where the server has code that a manifest names by a path, by that path.
    pub(crate) code: BTreeMap<String, String>,
    /// The name of the mesh, where a server has applied it.
    pub(crate) mesh: Option<String>,
}

/// What they say.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) manifest: Manifest,
    pub(crate) problems: Vec<Problem>,
}

impl Files {
    /// Reads files, and those of directories; `-` is standard input. A pipe is as good as a file, since a shell makes one of `<(...)`.
    ///
    /// # Errors
    /// One cannot be read, or is no text; a directory has none; all of them together are too long.
    pub(crate) fn read(paths: &[String]) -> anyhow::Result<Self> {
        let mut files = Self::default();
        let mut left = MANIFEST_BYTES_MAX;
        for path in &expanded(paths)? {
            let mut bytes = Vec::new();
            // One more than may be says that it is too long, and a slip such as a device does not fill the memory.
            if path == "-" {
                std::io::stdin().lock().take(left as u64 + 1).read_to_end(&mut bytes).context("read standard input")?;
            } else {
                let file = std::fs::File::open(path).with_context(|| format!("read {path}"))?;
                file.take(left as u64 + 1).read_to_end(&mut bytes).with_context(|| format!("read {path}"))?;
            }
            ensure!(bytes.len() <= left, "{path}: the manifest is longer than {MANIFEST_BYTES_MAX} bytes");
            left -= bytes.len();
            files.texts.push(text(bytes).with_context(|| format!("{path} is no text in UTF-8"))?);
            files.names.push(if path == "-" { STDIN.to_owned() } else { path.clone() });
        }
        Ok(files)
    }

    /// Files, or what a server has applied under a name: an argument that is no file, and could not be one that is meant.
    ///
    /// # Errors
    /// As [`Files::read`]; no server answers, or it has no such mesh.
    pub(crate) async fn of(named: &PathsOrName, admin: impl FnOnce() -> anyhow::Result<Admin>) -> anyhow::Result<Self> {
        match &named.files[..] {
            [name] if named.filename.is_empty() && is_name(name) => match Self::applied(&admin()?, name).await? {
                Some(files) => Ok(files),
                None => bail!("there is no file {name}, and the server has no mesh of that name"),
            },
            _ => Self::read(&named.all()),
        }
    }

    /// What a server has applied under a name, `NAME` or `NAMESPACE/NAME`; nothing where it has not.
    ///
    /// # Errors
    /// No server answers.
    pub(crate) async fn applied(admin: &Admin, name: &str) -> anyhow::Result<Option<Self>> {
        let (namespace, local) = name.split_once('/').unwrap_or(("default", name));
        let call = admin.path(["admin", "v3", "meshes", namespace, local]);
        let found: admin_api::mesh::Manifest = match call.get().await {
            Ok(found) => found,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let (names, texts) = found.files.into_iter().map(|file| (file.name, file.text)).unzip();
        Ok(Some(Self { names, texts, code: found.code, mesh: Some(name.to_owned()) }))
    }

    /// All that they say, and all that is wrong with it.
    pub(crate) fn check(&self) -> Checked {
        let texts: Vec<&str> = self.texts.iter().map(String::as_str).collect();
        let (manifest, problems) = mesh::check(&texts);
        Checked { manifest, problems }
    }

    /// A problem as a line.
    pub(crate) fn line(&self, problem: &Problem) -> String {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        crate::output::shown(&problem.shown(&names))
    }
}

impl Checked {
    pub(crate) fn count(&self, severity: Severity) -> usize {
        self.problems.iter().filter(|problem| problem.severity == severity).count()
    }

    /// Tells on standard error what is probably not what was meant.
    pub(crate) fn warn(&self, files: &Files) {
        for problem in self.problems.iter().filter(|problem| problem.severity == Severity::Warning) {
            eprintln!("{}", files.line(problem));
        }
    }

    /// Tells what is wrong on standard error, and refuses where that is an error.
    ///
    /// # Errors
    /// There is one.
    pub(crate) fn or_refuse(self, files: &Files) -> anyhow::Result<Manifest> {
        for problem in self.problems.iter().filter(|problem| problem.severity == Severity::Error) {
            eprintln!("{}", files.line(problem));
        }
        match self.count(Severity::Error) {
            0 => Ok(self.manifest),
            1 => bail!("the manifest has an error"),
            count => bail!("the manifest has {count} errors"),
        }
    }
}

/// The text of a file: UTF-8, or UTF-16 that says so in its first two bytes, as PowerShell writes it.
fn text(bytes: Vec<u8>) -> anyhow::Result<String> {
    let wide = |of: fn([u8; 2]) -> u16| {
        let units = bytes[2..].chunks(2).map(|pair| pair.try_into().map_or(0xfffd, of));
        char::decode_utf16(units).collect::<Result<String, _>>().context("its UTF-16 is broken")
    };
    match bytes[..] {
        [0xff, 0xfe, ..] => wide(u16::from_le_bytes),
        [0xfe, 0xff, ..] => wide(u16::from_be_bytes),
        _ => Ok(String::from_utf8(bytes)?),
    }
}

/// Directories as the manifests directly in them, by name.
fn expanded(paths: &[String]) -> anyhow::Result<Vec<String>> {
    let mut all = Vec::new();
    for path in paths {
        if path == "-" || !Path::new(path).is_dir() {
            all.push(path.clone());
            continue;
        }
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path).with_context(|| format!("read {path}"))? {
            let file = entry.with_context(|| format!("read {path}"))?.path();
            let is_manifest = file.extension().is_some_and(|end| EXTENSIONS.iter().any(|known| end == *known));
            if is_manifest && file.is_file() {
                found
                    .push(file.to_str().with_context(|| format!("{} is no name in UTF-8", file.display()))?.to_owned());
            }
        }
        ensure!(!found.is_empty(), "{path}: a directory without a file that ends in .yaml, .yml or .json");
        found.sort();
        all.append(&mut found);
    }
    Ok(all)
}

/// Whether an argument is the name of a mesh: no file has it, and it looks like none.
fn is_name(argument: &str) -> bool {
    let looks_like_a_file =
        argument == "-" || argument.ends_with(".yaml") || argument.ends_with(".yml") || argument.ends_with(".json");
    let parts: Vec<&str> = argument.split('/').collect();
    let is_part = |part: &&str| {
        part.starts_with(|first: char| first.is_ascii_alphanumeric())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
    };
    !looks_like_a_file && parts.len() <= 2 && parts.iter().all(is_part) && !Path::new(argument).exists()
}

/// The same, or that of the file where the manifest gives itself none.
///
/// # Errors
/// There are several files, or the manifest has several names for a mesh.
pub(crate) fn name_or_file(manifest: &Manifest, files: &Files) -> anyhow::Result<String> {
    let has_meshes = manifest.meshes().next().is_some();
    name(manifest).or_else(|error| match &files.names[..] {
        [file] if !has_meshes && file != STDIN => {
            let stem = Path::new(file).file_stem().unwrap_or_default();
            Ok(stem.to_string_lossy().into_owned())
        }
        _ => Err(error),
    })
}

/// The name that a manifest gives itself, as `NAMESPACE/NAME`: that of its one FunctionMesh, else of its one function, source or sink.
///
/// # Errors
/// It has several, or none.
pub(crate) fn name(manifest: &Manifest) -> anyhow::Result<String> {
    let of = |kinds: &[&str]| -> Vec<String> {
        let documents = manifest.documents.iter().filter(|document| kinds.contains(&document.kind.as_str()));
        documents.map(|document| format!("{}/{}", document.namespace, document.name)).collect()
    };
    let found = Some(of(&["FunctionMesh"]))
        .filter(|meshes| !meshes.is_empty())
        .unwrap_or_else(|| of(&["Function", "Source", "Sink"]));
    match &found[..] {
        [name] => Ok(name.clone()),
        [] => bail!("the manifest has no function, no source and no sink"),
        names => bail!("the manifest has {} resources that could name the mesh; give one with --name", names.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(yaml: &str) -> Result<String, String> {
        name(&Manifest::parse(yaml).0).map_err(|error| error.to_string())
    }

    #[test]
    fn a_manifest_names_itself_where_one_resource_does() {
        let of = |kind: &str, name: &str| {
            format!("apiVersion: compute.functionmesh.io/v1alpha1\nkind: {kind}\nmetadata: {name}\n---\n")
        };
        let mesh = of("FunctionMesh", "{name: shop, namespace: prod}");
        let function = of("Function", "{name: f}");
        assert_eq!(named(&mesh).unwrap(), "prod/shop");
        assert_eq!(named(&function).unwrap(), "default/f");
        assert_eq!(named(&format!("{function}{mesh}")).unwrap(), "prod/shop");
        assert!(named(&format!("{function}{}", of("Sink", "{name: s}"))).unwrap_err().contains("--name"));
        assert!(named("").is_err());
    }

    #[test]
    fn an_argument_is_a_name_where_it_can_be_no_file() {
        for name in ["shop", "prod/shop", "a.b-c_d"] {
            assert!(is_name(name), "{name}");
        }
        // `src` is there, where tests run.
        for file in ["-", "app.yaml", "a/b/c", "./app", "", "a/", "src", "/etc/app.yml", "a b"] {
            assert!(!is_name(file), "{file}");
        }
    }

    #[test]
    fn a_directory_is_the_manifests_directly_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let read = |paths: &[String]| Files::read(paths).map(|files| files.names).map_err(|error| error.to_string());
        assert!(read(&[path("")]).unwrap_err().contains("a directory without a file that ends in .yaml"));
        for name in ["b.yaml", "a.yml", "c.json", "code.py", ".yaml"] {
            std::fs::write(path(name), "").unwrap();
        }
        std::fs::create_dir(path("more.yaml")).unwrap();
        assert_eq!(read(&[path("")]).unwrap(), [path("a.yml"), path("b.yaml"), path("c.json")]);
        assert_eq!(read(&[path("c.json"), path("")]).unwrap().len(), 4);
    }

    #[test]
    fn what_is_read_is_bounded_and_must_be_text() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(path("binary"), [0xc3, 0x28]).unwrap();
        assert!(Files::read(&[path("binary")]).unwrap_err().to_string().contains("no text"));
        std::fs::write(path("broken"), [0xff, 0xfe, 0x00, 0xd8]).unwrap();
        assert!(Files::read(&[path("broken")]).unwrap_err().to_string().contains("no text"));
        std::fs::write(path("wide"), [0xff, 0xfe, 0x61, 0x00, 0xe9, 0x00]).unwrap();
        std::fs::write(path("big"), [0xfe, 0xff, 0x00, 0x61, 0x00, 0xe9]).unwrap();
        assert_eq!(Files::read(&[path("wide"), path("big")]).unwrap().texts, ["a\u{e9}"; 2]);
        assert!(Files::read(&[path("absent.yaml")]).unwrap_err().to_string().contains("absent.yaml"));
        std::fs::write(path("half"), vec![b'#'; MANIFEST_BYTES_MAX / 2]).unwrap();
        let halves = |count| Files::read(&vec![path("half"); count]).map_err(|error| error.to_string());
        assert_eq!(halves(2).unwrap().check().count(Severity::Error), 0);
        assert!(halves(3).unwrap_err().contains("is longer than"));
        assert!(Files::read(&["/dev/zero".to_owned()]).unwrap_err().to_string().contains("is longer than"));
    }
}
