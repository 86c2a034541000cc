//! Function Mesh's own manifests: all are read, and what is truly wrong with them is told.

use expect_test::expect_file;
use std::{fmt::Write, path::Path};

/// Each sample with its name, by name.
pub(crate) fn samples() -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/function-mesh");
    let files = std::fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
    let manifests = files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    let mut samples: Vec<_> = manifests
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(&path).unwrap()))
        .collect();
    samples.sort();
    samples
}

#[test]
fn function_meshs_samples_are_read_and_what_is_wrong_with_them_is_told() {
    let mut told = String::new();
    for (name, text) in samples() {
        let (manifest, problems) = mesh::check(&[&text]);
        let nodes: Vec<String> = manifest.nodes.iter().map(|node| node.id().to_string()).collect();
        writeln!(told, "# {name}: {}", if nodes.is_empty() { "nothing".to_owned() } else { nodes.join(", ") }).unwrap();
        for problem in problems {
            writeln!(told, "{}", problem.shown(&[&name])).unwrap();
        }
    }
    expect_file!["../function-mesh/problems.txt"].assert_eq(&told);
}

#[test]
fn our_own_example_has_no_mistakes() {
    let yaml = include_str!("../../../../examples/mesh/shop.yaml");
    let (manifest, problems) = mesh::check(&[yaml]);
    assert_eq!(problems, []);
    assert_eq!(mesh::Graph::of(&manifest.nodes).layers.len(), 4);
}
