//! Code that a manifest names by a path: found beside the manifest, sent to the server once, and known there by its digest.

use super::files::Files;
use crate::{
    form::Form,
    http::{Admin, Call},
};
use admin_api::mesh::UPLOADED;
use anyhow::{Context, bail};
use mesh::{Manifest, Node, Place};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Files of code by the path that the manifest names them by.
#[derive(Debug, Default)]
pub(crate) struct Code {
    files: BTreeMap<String, Found>,
}

#[derive(Debug, PartialEq, Eq)]
struct Found {
    path: PathBuf,
    /// SHA-256 in hexadecimal.
    digest: String,
}

impl Code {
    /// Finds all that the manifest names.
    ///
    /// # Errors
    /// One is not there or cannot be read: all of these, each with the place in the manifest where it is named.
    pub(crate) fn find(files: &Files, manifest: &Manifest) -> anyhow::Result<Self> {
        let (mut found, mut missing) = (Self::default(), Vec::new());
        for node in &manifest.nodes {
            let Some(location) = local(node) else { continue };
            let at = place(files, node, location);
            let path = beside(files, node, location);
            match digest(&path) {
                Err(error) => {
                    let what = crate::output::shown(&path.display().to_string());
                    missing.push(format!("{at}: error: the code of {}, {what}: {error}", node.id()));
                }
                Ok(digest) => {
                    let one = Found { path, digest };
                    let before = found.files.entry(location.to_owned()).or_insert_with(|| Found { ..one.clone() });
                    if before.digest != one.digest {
                        let (one, other) = (before.path.display(), one.path.display());
                        missing.push(format!(
                            "{at}: error: {location} is two files, {one} and {other}; name one of them otherwise"
                        ));
                    }
                }
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        let count = missing.len();
        missing.into_iter().for_each(|line| eprintln!("{line}"));
        match count {
            1 => bail!("code cannot be read"),
            count => bail!("code cannot be read in {count} places"),
        }
    }

    /// Where each will be on the server.
    pub(crate) fn urls(&self) -> BTreeMap<String, String> {
        self.files.iter().map(|(location, found)| (location.clone(), found.url())).collect()
    }

    /// Sends what the server has not; tells which.
    ///
    /// # Errors
    /// The server does not answer, or refuses; a file cannot be read any more.
    pub(crate) async fn send(&self, admin: &Admin) -> anyhow::Result<()> {
        let distinct: BTreeMap<String, &Found> = self.files.values().map(|found| (found.url(), found)).collect();
        for found in distinct.values() {
            match found.at(admin).at(["metadata"]).get::<serde_json::Value>().await {
                Ok(_) => continue,
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
            let about = json!({"description": "sent by `geminga mesh apply`"});
            let form = Form::new().json("metadata", &about).file("file", &found.path).await;
            let form = form.with_context(|| format!("read {}", found.path.display()))?;
            match found.at(admin).form(form).post().await {
                Ok(()) => {}
                // Somebody else was faster, with the same content.
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error).with_context(|| format!("send {}", found.path.display())),
            }
        }
        Ok(())
    }
}

impl Clone for Found {
    fn clone(&self) -> Self {
        Self { path: self.path.clone(), digest: self.digest.clone() }
    }
}

impl Found {
    /// Its file name, as far as the name of a package can have it.
    fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' }).collect()
    }

    fn version(&self) -> String {
        format!("{UPLOADED}{}", self.digest)
    }

    fn url(&self) -> String {
        format!("function://public/default/{}@{}", self.name(), self.version())
    }

    fn at<'a>(&self, admin: &'a Admin) -> Call<'a> {
        admin.path(["admin", "v3", "packages", "function", "public", "default", &self.name(), &self.version()])
    }
}

/// The path that a node names its code by, if it is one.
fn local(node: &Node) -> Option<&str> {
    node.code.as_ref().filter(|code| code.place == Place::Local).map(|code| code.location.as_str())
}

/// A path is meant from the manifest that names it.
fn beside(files: &Files, node: &Node, location: &str) -> PathBuf {
    let manifest = files.names.get(node.origin.file).map(Path::new);
    match manifest.and_then(Path::parent) {
        Some(directory) => directory.join(location),
        None => PathBuf::from(location),
    }
}

/// Where the manifest names it, as compilers say places: the first line from the node on that has the path.
fn place(files: &Files, node: &Node, location: &str) -> String {
    let file = files.names.get(node.origin.file).map_or("-", String::as_str);
    let text = files.texts.get(node.origin.file).map_or("", String::as_str);
    let mut lines = text.lines().enumerate().skip(node.origin.line.saturating_sub(1));
    let found = lines.find_map(|(line, text)| {
        let at = text.find(location)?;
        Some((line + 1, text[..at].chars().count() + 1))
    });
    let (line, column) = found.unwrap_or((node.origin.line, node.origin.column));
    format!("{file}:{line}:{column}")
}

fn digest(path: &Path) -> io::Result<String> {
    let (file, length) = crate::form::open(path)?;
    let mut file = file.take(length);
    let (mut hash, mut piece) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        hash.update(&piece[..read]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "apiVersion: compute.functionmesh.io/v1alpha1
kind: Function
metadata: {name: f}
spec:
  className: f.F
  input: {topics: [a]}
  output: {topic: b}
  python:
    py: code/f.py
";

    fn files(dir: &Path) -> (Files, Manifest) {
        let name = dir.join("app.yaml").display().to_string();
        let files = Files { names: vec![name], texts: vec![MANIFEST.to_owned()], ..Files::default() };
        let (manifest, _) = Manifest::parse(MANIFEST);
        (files, manifest)
    }

    #[test]
    fn code_is_found_beside_its_manifest_and_known_by_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("code")).unwrap();
        std::fs::write(dir.path().join("code/f.py"), "").unwrap();
        let (files, manifest) = files(dir.path());
        let urls = Code::find(&files, &manifest).unwrap().urls();
        let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(urls["code/f.py"], format!("function://public/default/f.py@mesh-sha256-{digest}"));
    }

    #[test]
    fn code_is_a_file_and_nothing_that_a_reader_waits_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
        let digest = |path: PathBuf| {
            let (tell, told) = std::sync::mpsc::channel();
            std::thread::spawn(move || tell.send(digest(&path).map_err(|error| error.to_string())));
            told.recv_timeout(std::time::Duration::from_secs(30)).expect("it does not wait")
        };
        for path in [path, "/dev/zero".into(), dir.path().to_owned()] {
            assert_eq!(digest(path), Err("it is no file".to_owned()));
        }
        let large = dir.path().join("large");
        std::fs::File::create(&large).unwrap().set_len(crate::form::FILE_BYTES_MAX + 1).unwrap();
        assert!(digest(large).unwrap_err().contains("at most"));
    }

    #[test]
    fn what_is_missing_is_told_with_the_line_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let (files, manifest) = files(dir.path());
        assert!(Code::find(&files, &manifest).is_err());
        let at = place(&files, &manifest.nodes[0], "code/f.py");
        assert!(at.ends_with("app.yaml:9:9"), "{at}");
    }
}
