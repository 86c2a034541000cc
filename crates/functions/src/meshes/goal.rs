//! What a mesh is to be, read from its manifest: the one place that knows how `mesh` says it and what the worker wants to hear.

use admin_api::mesh::{File, UPLOADED};
use serde_json::{Value, json};
use std::collections::BTreeMap;

use super::row::SecretDocuments;
use crate::{
    Error, Kind, Result,
    packages::{PackageName, Packages},
    worker::{self, Given, secret_values},
};

/// One function, source or sink that is wanted.
pub(super) struct Wish {
    pub(super) kind: Kind,
    pub(super) node: mesh::Node,
    /// Where its code is fetched from, if it brings some.
    code: Option<String>,
    pub(super) apart: worker::Apart,
}

impl Wish {
    pub(super) fn given(&self) -> Given {
        self.code.clone().map_or(Given::Nothing, Given::Url)
    }
}

/// What of the code must be there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum CodeIs {
    /// All of it: it will be needed.
    There,
    /// What is not there will be missed when it is needed.
    Meant,
}

/// All that is wanted, in the order in which it is made: what reads a topic before what writes it.
#[derive(Default)]
pub(super) struct Goal {
    nodes: Vec<(worker::Name, Wish)>,
    places: BTreeMap<worker::Name, usize>,
}

impl Goal {
    /// Of a manifest. `code`: where the code is that it names by a path.
    ///
    /// # Errors
    /// [`Error::Invalid`]: all that is wrong with it, each with file, line and column; code that is not given.
    pub(super) fn read(
        files: &[File],
        secrets: &SecretDocuments,
        code: &BTreeMap<String, String>,
        (code_is, packages): (CodeIs, &Packages),
    ) -> Result<Self> {
        let (names, texts): (Vec<&str>, Vec<&str>) =
            files.iter().map(|file| (file.name.as_str(), file.text.as_str())).unzip();
        let (manifest, problems) = mesh::check(&texts);
        let errors = problems.iter().filter(|problem| problem.severity == mesh::Severity::Error);
        let mut errors: Vec<String> = errors.map(|problem| problem.shown(&names)).collect();
        let mut wishes = BTreeMap::new();
        for (at, node) in ordered(manifest.nodes).into_iter().enumerate() {
            let origin = node.origin;
            match wish(node, secrets, code, (code_is, packages)).and_then(|wish| Ok((name(&wish.node)?, wish))) {
                Ok((name, wish)) => drop(wishes.insert(name, (at, wish))),
                Err(error) => {
                    let (file, text) = (names.get(origin.file).copied().unwrap_or("-"), error.to_string());
                    errors.push(format!("{file}:{}:{}: error: {text}", origin.line, origin.column));
                }
            }
        }
        if !errors.is_empty() {
            return Err(Error::Invalid(errors.join("\n")));
        }
        let mut nodes: Vec<_> = wishes.into_iter().collect();
        nodes.sort_by_key(|(_, (at, _))| *at);
        let places = nodes.iter().enumerate().map(|(at, (name, _))| (name.clone(), at)).collect();
        Ok(Self { nodes: nodes.into_iter().map(|(name, (_, wish))| (name, wish)).collect(), places })
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn has(&self, name: &worker::Name) -> bool {
        self.places.contains_key(name)
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = (&worker::Name, &Wish)> {
        self.nodes.iter().map(|(name, wish)| (name, wish))
    }

    /// One of them, and its place in the order.
    pub(super) fn get(&self, name: &worker::Name) -> Option<(usize, &Wish)> {
        let at = *self.places.get(name)?;
        Some((at, &self.nodes.get(at)?.1))
    }
}

/// Its name.
pub(super) fn name(node: &mesh::Node) -> Result<worker::Name> {
    worker::Name::new(node.tenant(), node.namespace(), node.local_name())
}

fn wish(
    mut node: mesh::Node,
    secrets: &SecretDocuments,
    code: &BTreeMap<String, String>,
    (code_is, packages): (CodeIs, &Packages),
) -> Result<Wish> {
    let kind = kind(&node);
    let url = match &node.code {
        None => None,
        Some(place) => match place.place {
            mesh::Place::Builtin => None,
            mesh::Place::Package | mesh::Place::Url => Some(place.location.clone()),
            mesh::Place::Local => Some(code.get(&place.location).cloned().ok_or_else(|| {
                Error::Invalid(format!("the code {} is a file of the client's, and was not sent", place.location))
            })?),
        },
    };
    // What is behind another URL is looked at when the URL changes.
    if let Some(url) = url.as_deref().filter(|url| PackageName::is_meant_by(url))
        && let Some(place) = &mut node.code
    {
        let package: PackageName = url.parse()?;
        place.digest = match (package.version().strip_prefix(UPLOADED), packages.get(&package)) {
            (_, Err(error)) if code_is == CodeIs::There => return Err(error),
            // Its name says what is in it.
            (Some(digest), _) => Some(digest.to_owned()),
            (None, found) => found.ok().map(|entry| entry.blob.digest().to_owned()),
        };
    }
    let found = node.secrets.iter().filter_map(|(name, place)| {
        let value = secrets.get(&place.path)?.get(&place.key)?;
        Some((name.clone(), value.clone()))
    });
    let given = secret_values(found);
    let env = node.environment(|at| secrets.get(&at.name)?.get(&at.key).map(String::as_str)).map_err(Error::Invalid)?;
    let apart = worker::Apart { secrets: given, env: secret_values(env) };
    Ok(Wish { kind, node, code: url, apart })
}

/// What the worker calls its kind.
pub(super) fn kind(node: &mesh::Node) -> Kind {
    match node.kind() {
        mesh::Kind::Function => Kind::Function,
        mesh::Kind::Source => Kind::Source,
        mesh::Kind::Sink => Kind::Sink,
    }
}

/// The configuration as the worker takes it.
pub(super) fn config(node: &mesh::Node) -> Value {
    let config = match &node.config {
        mesh::Config::Function(config) => serde_json::to_value(config),
        mesh::Config::Source(config) => serde_json::to_value(config),
        mesh::Config::Sink(config) => serde_json::to_value(config),
    };
    // Maps with text keys and finite numbers always are JSON.
    config.unwrap_or_default()
}

/// What reads a topic before what writes it.
fn ordered(nodes: Vec<mesh::Node>) -> Vec<mesh::Node> {
    let order = mesh::Graph::of(&nodes).downstream_first();
    let mut nodes: Vec<_> = nodes.into_iter().map(Some).collect();
    order.into_iter().filter_map(|at| nodes.get_mut(at)?.take()).collect()
}

/// A manifest without the values of its secrets, and these.
///
/// Lines stay where they are: the text of a document that is a Secret is replaced by its keys and as many empty lines as it takes.
pub(super) fn without_secrets(files: &[File]) -> Result<(Vec<File>, SecretDocuments)> {
    let mut secrets = SecretDocuments::new();
    let mut kept = Vec::new();
    // Each is read twice, in parts and whole.
    let (mut parts, mut wholes) = (mesh::Room::default(), mesh::Room::default());
    for File { name, text } in files {
        let mut whole = String::with_capacity(text.len());
        for document in documents(text) {
            let (manifest, problems) = mesh::Manifest::parse_within(&[document], &mut parts);
            if parts.is_full() {
                let why = problems.last().map_or("it is too large", |problem| &problem.text);
                return Err(Error::Invalid(format!("{name}: {why}")));
            }
            let plain = |values: &BTreeMap<String, mesh::SecretText>| {
                values.iter().map(|(key, value)| (key.clone(), value.reveal().to_owned())).collect()
            };
            let values: SecretDocuments =
                manifest.secrets().iter().map(|(name, values)| (name.clone(), plain(values))).collect();
            if !manifest.documents.iter().any(|document| document.kind == "Secret") {
                whole += document;
                continue;
            }
            whole += &match &manifest.documents[..] {
                [_] => shells(document, &values),
                _ => list_of_shells(document, &manifest).ok_or_else(|| {
                    Error::Invalid(format!(
                        "{name}: a Secret among the items of a List begins in a line of its own, as `kubectl get -o yaml` writes it, or \
                         is a document of its own"
                    ))
                })?,
            };
            for (name, values) in values {
                secrets.entry(name).or_default().extend(values);
            }
        }
        all_found(name, text, &secrets, &mut wholes)?;
        kept.push(File { name: name.clone(), text: whole });
    }
    Ok((kept, secrets))
}

/// Whether the whole text has no Secret that its parts do not have: what is taken for something else would be kept and shown.
fn all_found(file: &str, text: &str, found: &SecretDocuments, room: &mut mesh::Room) -> Result<()> {
    let (manifest, _) = mesh::Manifest::parse_within(&[text], room);
    if room.is_full() {
        return Err(Error::Invalid(format!("{file}: the manifest is too large")));
    }
    let is_found = |(name, values): (&String, &BTreeMap<String, mesh::SecretText>)| {
        found.get(name).is_some_and(|found| values.keys().all(|key| found.contains_key(key)))
    };
    let is_misspelt = |kind: &str| kind != "Secret" && kind.eq_ignore_ascii_case("secret");
    if !manifest.secrets().iter().all(is_found) || manifest.documents.iter().any(|of| is_misspelt(&of.kind)) {
        return Err(Error::Invalid(format!(
            "{file}: a Secret cannot be told from what is around it; write `kind: Secret`, `---` on a line of its own before and after it, \
             and indent values of several lines"
        )));
    }
    Ok(())
}

/// Documents with the markers before them.
fn documents(text: &str) -> Vec<&str> {
    let mut starts = vec![0];
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        // At the beginning of a line, these three and nothing or a blank begin a document, whatever is around them.
        let is_marker =
            line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        if at > 0 && is_marker {
            starts.push(at);
        }
        at += line.len();
    }
    starts.push(text.len());
    starts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect()
}

/// A List with what stands in the place of its Secrets; nothing where its lines do not tell its items apart.
fn list_of_shells(document: &str, manifest: &mesh::Manifest) -> Option<String> {
    let mut lines: Vec<String> = document.lines().map(str::to_owned).collect();
    for secret in manifest.documents.iter().filter(|of| of.kind == "Secret") {
        let (first, column) = (secret.at.line.checked_sub(1)?, secret.at.column.checked_sub(1)?);
        let begin: String = lines.get(first)?.chars().take(column).collect();
        let dash = begin.trim_end().strip_suffix('-').filter(|before| before.trim().is_empty())?;
        // Its mapping ends where something stands further left.
        let is_within = |line: &String| {
            let text = line.trim_start();
            text.is_empty() || text.starts_with('#') || line.chars().count() - text.chars().count() >= column
        };
        let after = lines.iter().skip(first + 1).take_while(|line| is_within(line)).count();
        let shell = shell(&secret.name, manifest.secrets().get(&secret.name)?.keys());
        *lines.get_mut(first)? = format!("{dash}- {shell} {APART}");
        lines.iter_mut().skip(first + 1).take(after).for_each(String::clear);
    }
    let text = lines.join("\n") + "\n";
    let (again, _) = mesh::Manifest::parse(&text);
    let is_same = |(one, other): (&mesh::Document, &mesh::Document)| {
        (&one.kind, &one.name, one.at.line) == (&other.kind, &other.name, other.at.line)
    };
    let is_whole = again.documents.len() == manifest.documents.len()
        && again.documents.iter().zip(&manifest.documents).all(is_same)
        && again.secrets().values().flat_map(BTreeMap::values).all(|value| value.reveal().is_empty());
    is_whole.then_some(text)
}

const APART: &str = "# The values of this Secret are kept apart.";

/// A Secret of this name with these keys, and nothing in them.
fn shell<'a>(name: &str, keys: impl Iterator<Item = &'a String>) -> Value {
    let values: BTreeMap<&String, &str> = keys.map(|key| (key, "")).collect();
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values})
}

/// What stands in the place of a Secret's document.
fn shells(document: &str, values: &SecretDocuments) -> String {
    let mut lines = vec!["---".to_owned(), APART.to_owned()];
    for (name, values) in values {
        lines.push(shell(name, values.keys()).to_string());
    }
    lines.resize(lines.len().max(document.lines().count()), String::new());
    lines.join("\n") + "\n"
}
