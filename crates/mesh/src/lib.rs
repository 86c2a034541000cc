//! Meshes: manifests of Function Mesh read, checked, drawn, and compared with what runs.
//!
//! A manifest is what `kubectl apply` takes: `compute.functionmesh.io/v1alpha1` Function, Source, Sink and FunctionMesh, and the
//! ConfigMaps and Secrets they refer to. It has no edges; they follow from topics. Nothing here does I/O: text in, values out.
//!
//! ```
//! let yaml = "
//! apiVersion: compute.functionmesh.io/v1alpha1
//! kind: Function
//! metadata:
//!   name: shout
//! spec:
//!   className: shout.Shout
//!   python: {py: shout.py}
//!   input: {topics: [quiet]}
//!   output: {topic: loud}
//!   replicas: 3
//!   maxReplicas: 2
//! ";
//! let (manifest, problems) = mesh::Manifest::parse(yaml);
//! assert_eq!(manifest.nodes[0].name(), "public/default/shout");
//! assert_eq!(problems[0].shown(&["app.yaml"]), "app.yaml:11:13: error: replicas 3 is above maxReplicas 2");
//! ```

mod check;
mod convert;
mod graph;
mod manifest;
mod node;
mod plan;
mod problem;
mod shape;
mod yaml;

pub use check::check;
pub use graph::{Drawing, Graph, Pattern, Topic, Vertex};
pub use manifest::{Document, Manifest, SecretText};
pub use node::{
    CodeRef, Config, Id, Input, KeyRef, Kind, Node, Output, Place, PulsarRef, Role, SecretRef, ValueFrom, Variable,
};
pub use plan::{Action, Change, Plan, Step, changes};
pub use problem::{At, Problem, Severity};
pub use yaml::{MANIFEST_BYTES_MAX, Room};
