//! Definitions of kind `PROTOBUF_NATIVE`: a set of file descriptors, and which message in them it is about. Source: Pulsar's
//! `ProtobufNativeSchemaUtils`.

use base64::{Engine, prelude::BASE64_STANDARD};
use prost::Message;
use serde::Deserialize;
use std::collections::{HashMap, HashSet};

/// Why it is no definition.
type Refusal = String;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    /// In base64.
    file_descriptor_set: String,
    root_message_type_name: String,
    root_file_descriptor_name: String,
}

// As much of `descriptor.proto` as says what there is.
#[derive(Clone, PartialEq, Message)]
struct FileSet {
    #[prost(message, repeated, tag = "1")]
    file: Vec<File>,
}

#[derive(Clone, PartialEq, Message)]
struct File {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    package: String,
    #[prost(string, repeated, tag = "3")]
    dependency: Vec<String>,
    #[prost(message, repeated, tag = "4")]
    message_type: Vec<MessageType>,
}

#[derive(Clone, PartialEq, Message)]
struct MessageType {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "3")]
    nested_type: Vec<MessageType>,
}

/// Full name of the message that a definition is about.
///
/// # Errors
/// A file or a message that it names is not in it.
pub(crate) fn root_message(data: &[u8]) -> Result<String, Refusal> {
    let data: Data = serde_json::from_slice(data).map_err(|error| error.to_string())?;
    let set = BASE64_STANDARD.decode(&data.file_descriptor_set).map_err(|error| error.to_string())?;
    // The decoder bounds how deep messages are nested.
    let set = FileSet::decode(&set[..]).map_err(|error| error.to_string())?;
    let files: HashMap<&str, &File> = set.file.iter().map(|file| (file.name.as_str(), file)).collect();
    let root = data.root_file_descriptor_name.as_str();
    let (mut met, mut open) = (HashSet::from([root]), vec![root]);
    while let Some(name) = open.pop() {
        let file = files.get(name).ok_or_else(|| format!("can't resolve dependency '{name}'."))?;
        open.extend(file.dependency.iter().map(String::as_str).filter(|name| met.insert(name)));
    }
    let root = files.get(root).ok_or("no root file")?;
    let wanted = &data.root_message_type_name;
    let path = wanted.strip_prefix(root.package.as_str()).unwrap_or(wanted);
    let mut types = &root.message_type;
    for name in path.strip_prefix('.').unwrap_or(path).split('.') {
        let found = types.iter().find(|of| of.name == name).ok_or_else(|| format!("no message {wanted}"))?;
        types = &found.nested_type;
    }
    let path = path.strip_prefix('.').unwrap_or(path);
    Ok(if root.package.is_empty() { path.to_owned() } else { format!("{}.{path}", root.package) })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A definition with one file `f.proto` that holds `messages`, as dotted paths.
    pub(crate) fn definition(package: &str, messages: &[&str], root: &str) -> Vec<u8> {
        fn add(types: &mut Vec<MessageType>, path: &str) {
            let (name, rest) = path.split_once('.').unwrap_or((path, ""));
            let at = types.iter().position(|of| of.name == name).unwrap_or_else(|| {
                types.push(MessageType { name: name.into(), nested_type: Vec::new() });
                types.len() - 1
            });
            if !rest.is_empty() {
                add(&mut types[at].nested_type, rest);
            }
        }
        let mut file = File { name: "f.proto".into(), package: package.into(), ..File::default() };
        messages.iter().for_each(|path| add(&mut file.message_type, path));
        let set = BASE64_STANDARD.encode(FileSet { file: vec![file] }.encode_to_vec());
        serde_json::json!({
            "fileDescriptorSet": set, "rootMessageTypeName": root, "rootFileDescriptorName": "f.proto"
        })
        .to_string()
        .into_bytes()
    }

    #[test]
    fn the_message_is_found_below_its_package_and_in_other_messages() {
        assert_eq!(root_message(&definition("p.q", &["A", "B.C"], "p.q.A")), Ok("p.q.A".into()));
        assert_eq!(root_message(&definition("p.q", &["A", "B.C"], "p.q.B.C")), Ok("p.q.B.C".into()));
        assert_eq!(root_message(&definition("", &["A"], "A")), Ok("A".into()));
        assert_eq!(root_message(&definition("p", &["A"], "p.Z")), Err("no message p.Z".into()));
    }

    #[test]
    fn what_is_named_has_to_be_there() {
        let file = File { name: "f.proto".into(), dependency: vec!["gone.proto".into()], ..File::default() };
        let set = BASE64_STANDARD.encode(FileSet { file: vec![file] }.encode_to_vec());
        let json = serde_json::json!({
            "fileDescriptorSet": set, "rootMessageTypeName": "A", "rootFileDescriptorName": "f.proto"
        });
        assert_eq!(root_message(json.to_string().as_bytes()), Err("can't resolve dependency 'gone.proto'.".into()));
        assert!(root_message(b"{}").is_err() && root_message(b"").is_err());
        assert!(
            root_message(br#"{"fileDescriptorSet":"%","rootMessageTypeName":"A","rootFileDescriptorName":"f"}"#)
                .is_err()
        );
    }
}
