//! A manifest: documents, and the nodes they come to.

use crate::{
    convert::{self, Around, Places},
    node::{Kind, Node, SecretRef, ValueFrom},
    problem::{At, Problem, Problems, Severity, quoted},
    shape::{self, Checker, Record},
    yaml::{self, Room, Value},
};
use base64::Engine;
use model::function::nearest;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// The group of Function Mesh's resources.
const GROUP: &str = "compute.functionmesh.io";
/// What it was called before 2021.
const OLD_GROUP: &str = "cloud.streamnative.io";
const KINDS: [&str; 8] =
    ["ConnectorCatalog", "Function", "Source", "Sink", "FunctionMesh", "BackendConfig", "ConfigMap", "Secret"];

/// Functions, sources and sinks of one manifest.
const NODES_MAX: usize = 5000;

/// All that some files say, read together.
#[derive(Debug, Default)]
pub struct Manifest {
    /// What each document is, in their order.
    pub documents: Vec<Document>,
    /// Functions, sources and sinks, those of meshes too, in the order they are written.
    pub nodes: Vec<Node>,
    /// Where the parts of each node are written.
    pub(crate) places: Vec<Places>,
    config_maps: BTreeMap<String, BTreeMap<String, String>>,
    secrets: BTreeMap<String, BTreeMap<String, SecretText>>,
    /// Secrets and keys of theirs whose values are no texts.
    binary: BTreeSet<(String, String)>,
}

/// One document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// As it is written.
    pub api_version: String,
    /// As it is written.
    pub kind: String,
    /// `metadata.namespace`, Kubernetes' own; `default` where none is given.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// Where it begins.
    pub at: At,
}

/// A value nobody should see.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

impl SecretText {
    /// The value itself, for the one who needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Manifest {
    /// Reads one file: what could be read of it, and all that is wrong with it alone. What its parts are to each other,
    /// [`crate::check`] says.
    #[must_use]
    pub fn parse(yaml: &str) -> (Self, Vec<Problem>) {
        Self::parse_all(&[yaml])
    }

    /// Reads several files as if they were one; [`At::file`](crate::At::file) says which.
    #[must_use]
    pub fn parse_all(files: &[&str]) -> (Self, Vec<Problem>) {
        Self::parse_within(files, &mut Room::default())
    }

    /// The same with what is left of what may be read, for those who read one input in parts.
    #[must_use]
    pub fn parse_within(files: &[&str], room: &mut Room) -> (Self, Vec<Problem>) {
        let mut problems = Problems::default();
        let manifest = Self::read(files, room, &mut problems);
        (manifest, problems.into_sorted())
    }

    pub(crate) fn read(files: &[&str], room: &mut Room, problems: &mut Problems) -> Self {
        let mut manifest = Self::default();
        for (file, text) in files.iter().enumerate() {
            for mut document in yaml::load(file, text, room, problems) {
                manifest.document(&mut document, problems);
            }
        }
        manifest.resolve(room, problems);
        manifest
    }

    /// Whether any document is one that is read here.
    pub(crate) fn has_ours(&self) -> bool {
        self.documents.iter().any(|document| KINDS.contains(&document.kind.as_str()))
    }

    /// Names of the meshes, in their order.
    pub fn meshes(&self) -> impl Iterator<Item = &str> {
        self.documents.iter().filter(|document| document.kind == "FunctionMesh").map(|document| document.name.as_str())
    }

    /// The value of a secret, where a Secret of these files has it.
    #[must_use]
    pub fn secret(&self, at: &SecretRef) -> Option<&SecretText> {
        self.secrets.get(&at.path)?.get(&at.key)
    }

    /// By name: the Secrets of these files, key by key.
    #[must_use]
    pub fn secrets(&self) -> &BTreeMap<String, BTreeMap<String, SecretText>> {
        &self.secrets
    }

    /// By name: the ConfigMaps of these files, key by key.
    #[must_use]
    pub fn config_maps(&self) -> &BTreeMap<String, BTreeMap<String, String>> {
        &self.config_maps
    }

    fn document(&mut self, document: &mut Value, problems: &mut Problems) {
        let text = |name: &str| document.get(name).and_then(Value::text).unwrap_or_default().to_owned();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        if kind.ends_with("List") && document.get("items").is_some() {
            // What `kubectl get -o yaml` and the API server write.
            let items = document.entries_mut().iter_mut().find(|entry| entry.name == "items");
            for item in items.map(|entry| entry.value.items_mut()).unwrap_or_default() {
                self.document(item, problems);
            }
            return;
        }
        let name = object_name(document).unwrap_or_default().to_owned();
        let metadata = document.get("metadata");
        let namespace =
            metadata.and_then(|metadata| metadata.get("namespace")).and_then(Value::text).unwrap_or("default");
        let (api_version, kind) = (api_version.as_str(), kind.as_str());
        self.documents.push(Document {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.clone(),
            at: document.at,
        });
        if document.entries().is_empty() {
            return problems
                .error(document.at, "a document must be a mapping with apiVersion, kind, metadata and spec");
        }
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let is_ours = matches!(kind, "Function" | "Source" | "Sink" | "FunctionMesh" | "BackendConfig");
        let at = |name: &str| document.get(name).map_or(document.at, |value| value.at);
        match (group, kind) {
            (GROUP | OLD_GROUP, _) if is_ours => {
                if group == OLD_GROUP {
                    problems.note(at("apiVersion"), format!("{OLD_GROUP} is the old name of {GROUP}"));
                }
                if version != "v1alpha1" {
                    problems.warning(at("apiVersion"), format!("read as v1alpha1, though it says {}", quoted(version)));
                }
            }
            ("", "ConfigMap" | "Secret") => {}
            (_, "") if document.get("kind").is_none() => {
                return problems
                    .error(document.at, "kind is required: Function, Source, Sink, FunctionMesh, ConfigMap or Secret");
            }
            (GROUP | OLD_GROUP, "ConnectorCatalog" | "MeshConfig") => {
                return problems.note(document.at, format!("a {kind} is for Kubernetes and has no effect here"));
            }
            (GROUP | OLD_GROUP, _) => {
                let near = nearest(kind, &KINDS).map(|near| format!(", did you mean {near}?")).unwrap_or_default();
                return problems.error(at("kind"), format!("there is no kind {}{near}", quoted(kind)));
            }
            // That it is required is told with what else is.
            _ if is_ours && api_version.is_empty() => {}
            _ if is_ours => {
                let text = format!("a {kind} has the apiVersion {GROUP}/v1alpha1, found {}", quoted(api_version));
                problems.error(at("apiVersion"), text);
            }
            _ => {
                let what = [quoted(kind), quoted(&name)].join(" ");
                match scaled(document) {
                    // Who wrote it means it to scale, and here nothing would.
                    Some(target) => {
                        let text = format!(
                            "{} has no effect here; minReplicas, maxReplicas and pod.autoScalingMetrics or pod.vpa of {target} have",
                            what.trim_end()
                        );
                        problems.warning(document.at, text);
                    }
                    None => {
                        let text = format!("{} is for Kubernetes and is passed over", what.trim_end());
                        problems.note(document.at, text);
                    }
                }
                return;
            }
        }
        match kind {
            "Function" => self.alone(Kind::Function, document, &shape::FUNCTION, problems),
            "Source" => self.alone(Kind::Source, document, &shape::SOURCE, problems),
            "Sink" => self.alone(Kind::Sink, document, &shape::SINK, problems),
            "FunctionMesh" => self.mesh(document, problems),
            "ConfigMap" => self.config_map(document, problems),
            "Secret" => self.secret_document(document, problems),
            _ => {
                checked(document, &shape::BACKEND_CONFIG, problems);
                let text = "a BackendConfig is for Kubernetes and has no effect here";
                problems.note(document.at, text);
            }
        }
    }

    fn alone(&mut self, kind: Kind, document: &mut Value, record: &'static Record, problems: &mut Problems) {
        let misread = within(&checked(document, record, problems), "spec.");
        let (object, name_at) = (object_name(document), object_at(document).unwrap_or(document.at));
        if let Some(spec) = document.get("spec") {
            let around = Around { mesh: None, object, at: document.at, name_at, misread: &misread };
            self.node(kind, spec, &around, problems);
        }
    }

    fn mesh(&mut self, document: &mut Value, problems: &mut Problems) {
        let misread = checked(document, &shape::FUNCTION_MESH, problems);
        let document = &*document;
        let mesh = Some(object_name(document).unwrap_or_default());
        let empty = "this mesh has no function, no source and no sink";
        let Some(spec) = document.get("spec") else { return problems.warning(document.at, empty) };
        let count = self.nodes.len();
        for (field, kind) in [("sources", Kind::Source), ("functions", Kind::Function), ("sinks", Kind::Sink)] {
            for (index, part) in spec.get(field).map(Value::items).unwrap_or_default().iter().enumerate() {
                let misread = within(&misread, &format!("spec.{field}.{index}."));
                let around = Around { mesh, object: None, at: part.at, name_at: part.at, misread: &misread };
                self.node(kind, part, &around, problems);
            }
        }
        for resource in spec.get("genericResources").map(Value::items).unwrap_or_default() {
            let text = |name: &str| resource.get(name).and_then(Value::text);
            let kind = match text("kind") {
                Some("Function") => Kind::Function,
                Some("Source") => Kind::Source,
                Some("Sink") => Kind::Sink,
                kind => {
                    let text =
                        format!("{} is for Kubernetes and is passed over", quoted(kind.unwrap_or("this resource")));
                    problems.note(resource.at, text);
                    continue;
                }
            };
            let Some(mut spec) = resource.get("spec").cloned() else { continue };
            let mut checker = Checker::of_spec(problems);
            checker.record(&mut spec, shape::spec_of(kind));
            let misread = checker.misread;
            let name_at = resource.get("name").map_or(resource.at, |name| name.at);
            let around = Around { mesh, object: text("name"), at: resource.at, name_at, misread: &misread };
            self.node(kind, &spec, &around, problems);
        }
        if self.nodes.len() == count && misread.is_empty() {
            problems.warning(document.at, empty);
        }
    }

    fn node(&mut self, kind: Kind, spec: &Value, around: &Around<'_>, problems: &mut Problems) {
        if self.nodes.len() == NODES_MAX {
            return problems.error(around.at, format!("more than {NODES_MAX} functions, sources and sinks"));
        }
        let node = convert::node(kind, spec, around, problems);
        if !node.kept.is_empty() {
            let names: Vec<&str> = node.kept.keys().map(String::as_str).collect();
            let text = format!("{}: kept for Kubernetes, no effect here: {}", node.id(), names.join(", "));
            problems.note(node.origin, text);
        }
        self.places.push(Places::of(kind, spec, &node, around.name_at));
        self.nodes.push(node);
    }

    fn config_map(&mut self, document: &mut Value, problems: &mut Problems) {
        checked(document, &shape::CONFIG_MAP, problems);
        let entries = document.get("data").map(Value::entries).unwrap_or_default();
        let data = entries.iter().filter_map(|entry| Some((entry.name.clone(), entry.value.written()?.to_owned())));
        let name = self.documents.last().map(|document| document.name.clone()).unwrap_or_default();
        self.config_maps.entry(name).or_default().extend(data);
    }

    fn secret_document(&mut self, document: &mut Value, problems: &mut Problems) {
        checked(document, &shape::SECRET, problems);
        let (mut found, mut binary) = (BTreeMap::new(), BTreeSet::new());
        for entry in document.get("data").map(Value::entries).unwrap_or_default() {
            if entry.value.is_null() {
                found.insert(entry.name.clone(), SecretText(String::new()));
                continue;
            }
            match entry.value.written().and_then(from_base64).map(String::from_utf8) {
                Some(Ok(text)) => drop(found.insert(entry.name.clone(), SecretText(text))),
                Some(Err(_)) => {
                    // A key store, say, which Kubernetes mounts.
                    found.insert(entry.name.clone(), SecretText(String::new()));
                    binary.insert(entry.name.clone());
                }
                None => {
                    // It is there, so that its users are not told it is not.
                    found.insert(entry.name.clone(), SecretText(String::new()));
                    let text = format!("data.{} is no base64; stringData takes it as it is", quoted(&entry.name));
                    problems.error(entry.value.at, text);
                }
            }
        }
        for entry in document.get("stringData").map(Value::entries).unwrap_or_default() {
            if let Some(text) = entry.value.written() {
                found.insert(entry.name.clone(), SecretText(text.to_owned()));
            }
        }
        let name = self.documents.last().map(|document| document.name.clone()).unwrap_or_default();
        self.binary.extend(binary.into_iter().map(|key| (name.clone(), key)));
        self.secrets.entry(name).or_default().extend(found);
    }

    /// What nodes name and these files have.
    fn resolve(&mut self, room: &mut Room, problems: &mut Problems) {
        for (node, places) in self.nodes.iter_mut().zip(&self.places) {
            let id = node.id();
            if let Some(pulsar) = &mut node.pulsar
                && let Some(map) = self.config_maps.get(&pulsar.config_map)
            {
                let mut copy = |key: &str| map.get(key).map(|value| room.copy(value)).transpose();
                match (copy("brokerServiceURL"), copy("webServiceURL")) {
                    (Ok(broker), Ok(web)) => (pulsar.broker_service_url, pulsar.web_service_url) = (broker, web),
                    (Err(why), _) | (_, Err(why)) => problems.error(node.origin, why),
                }
                for key in ["brokerServiceURL", "webServiceURL"] {
                    if !map.contains_key(key) {
                        let text = format!("{id}: the ConfigMap {} has no {key}", quoted(&pulsar.config_map));
                        problems.warning(node.origin, text);
                    }
                }
            }
            convert::env::resolve(node, room, &places.env, &self.config_maps, &self.secrets, problems);
            let of_env = node.env.iter().filter_map(|variable| match &variable.value_from {
                Some(ValueFrom::Secret(of)) => {
                    Some((&variable.name, &of.name, &of.key, places.env.get(&variable.name)))
                }
                _ => None,
            });
            let of_secrets = node.secrets.iter().map(|(name, of)| (name, &of.path, &of.key, places.secrets.get(name)));
            for (name, of, key, at) in of_env.chain(of_secrets) {
                if self.binary.contains(&(of.clone(), key.clone())) {
                    let (name, of, key) = (quoted(name), quoted(of), quoted(key));
                    let text = format!("{id}: {name} cannot have the value of {key} of the Secret {of}: it is no text");
                    problems.error(at.copied().unwrap_or(node.origin), text);
                }
            }
            for (name, at) in &node.secrets {
                let place = places.secrets.get(name).copied().unwrap_or(node.origin);
                let Some(secret) = self.secrets.get(&at.path) else {
                    let known: Vec<&str> = self.secrets.keys().map(String::as_str).collect();
                    let near = nearest(&at.path, &known).map(|near| format!("; did you mean {near}?"));
                    let text = format!(
                        "{id}: secret {}: there is no Secret {} in these files, so that the server's environment must have it{}",
                        quoted(name),
                        quoted(&at.path),
                        near.unwrap_or_default()
                    );
                    // Where there are others, this one may be a slip.
                    let severity = if known.is_empty() { Severity::Note } else { Severity::Warning };
                    problems.add(place, severity, text);
                    continue;
                };
                if !secret.contains_key(&at.key) {
                    let known: Vec<&str> = secret.keys().map(String::as_str).collect();
                    let near =
                        nearest(&at.key, &known).map(|near| format!(", did you mean {near}?")).unwrap_or_default();
                    let text = format!(
                        "{id}: secret {}: the Secret {} has no key {}{near}",
                        quoted(name),
                        quoted(&at.path),
                        quoted(&at.key)
                    );
                    problems.error(place, text);
                }
            }
        }
    }
}

/// The function, source or sink that an autoscaler of Kubernetes or KEDA is for.
fn scaled(document: &Value) -> Option<String> {
    let spec = document.get("spec")?;
    let target = spec.get("scaleTargetRef").or_else(|| spec.get("targetRef"))?;
    let text = |name: &str| target.get(name).and_then(Value::text);
    let kind = text("kind").filter(|kind| matches!(*kind, "Function" | "Source" | "Sink"))?;
    Some(format!("{kind} {}", quoted(text("name")?)))
}

/// Where `metadata.name` is.
fn object_at(document: &Value) -> Option<At> {
    document.get("metadata")?.get("name").map(|name| name.at)
}

/// `metadata.name`.
fn object_name(document: &Value) -> Option<&str> {
    document.get("metadata")?.get("name").and_then(Value::text)
}

/// What of a document could not be read.
fn checked(document: &mut Value, record: &'static Record, problems: &mut Problems) -> BTreeSet<String> {
    let mut checker = Checker::new(problems);
    checker.record(document, record);
    checker.misread
}

/// The paths below `prefix`, without it.
fn within(paths: &BTreeSet<String>, prefix: &str) -> BTreeSet<String> {
    paths.iter().filter_map(|path| path.strip_prefix(prefix)).map(str::to_owned).collect()
}

/// What base64 stands for; YAML folds long lines.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let text: String = text.split_ascii_whitespace().collect();
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}
