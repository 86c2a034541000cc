//! What manifests come to, from the outside.

#![allow(clippy::unwrap_used)] // A test that unwraps has said what it expects.

mod conversion;
mod graph;
mod hostile;
mod kubectl;
mod kubernetes;
mod mistakes;
mod plan;
mod properties;
mod samples;

/// Problems of one file as lines, notes left out.
fn problems(yaml: &str) -> String {
    let (_, problems) = mesh::check(&[yaml]);
    let told = problems.iter().filter(|problem| problem.severity != mesh::Severity::Note);
    told.map(|problem| problem.shown(&["app.yaml"]) + "\n").collect()
}

/// A Function that is right, with these lines in its spec.
fn function(name: &str, lines: &str) -> String {
    let lines: String = lines.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "apiVersion: compute.functionmesh.io/v1alpha1\nkind: Function\nmetadata: {{name: {name}}}\nspec:\n  className: m.C\n  \
         python: {{py: m.py}}\n{lines}"
    )
}

/// A mesh of functions that each read one topic and write another.
fn chain(edges: &[(&str, &str, &str)]) -> String {
    let functions: String = edges
        .iter()
        .map(|(name, reads, writes)| {
            format!(
                "  - {{name: {name}, className: m.C, python: {{py: m.py}}, input: {{topics: [{reads}]}}, output: {{topic: {writes}}}}}\n"
            )
        })
        .collect();
    format!(
        "apiVersion: compute.functionmesh.io/v1alpha1\nkind: FunctionMesh\nmetadata: {{name: app}}\nspec:\n  functions:\n{functions}"
    )
}
