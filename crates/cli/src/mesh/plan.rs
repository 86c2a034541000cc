//! `geminga mesh plan`: what an apply would change.

use super::files::{self, Files};
use crate::{output, web::Reach};
use anyhow::Context;
use mesh::{Node, Place, Plan};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, fmt::Write, fs::File, io};

/// Show what applying a manifest would change, and change nothing
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    geminga mesh plan app.yaml\n  \
    geminga mesh plan app.yaml --name staging/shop\n  \
    geminga mesh plan new.yaml --against old.yaml\n  \
    git show HEAD:app.yaml | geminga mesh plan app.yaml --against -\n\n\
    + is made, ~ is changed, - goes. Steps are in the order of an apply: who reads a topic comes before who writes it,\n\
    what goes comes last. The values of secrets are not compared, nor what somebody changed by hand since.")]
pub(crate) struct Args {
    /// Manifests; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// Compare with this manifest instead of what the server has applied; may be repeated
    #[arg(long, value_name = "FILE")]
    against: Vec<String>,
    /// The mesh on the server [default: what the manifest calls itself]
    #[arg(long, value_name = "[NAMESPACE/]NAME", conflicts_with = "against")]
    name: Option<String>,
    /// How it is told
    #[arg(short = 'o', long, alias = "output", value_enum, default_value = "text")]
    format: Format,
    #[command(flatten)]
    reach: Reach,
}

/// What the version of a package begins with that came with a manifest; its SHA-256 follows.
const UPLOADED: &str = "@mesh-sha256-";

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Like a diff
    Text,
    /// Steps with their changes, for programs
    Json,
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    let wanted_files = Files::read(&args.files)?;
    let mut wanted = wanted_files.check().or_refuse(&wanted_files)?;
    let applied = if args.against.is_empty() {
        let name = match &args.name {
            Some(name) => name.clone(),
            None => files::name(&wanted)?,
        };
        Files::applied(&args.reach.admin()?, &name).await?
    } else {
        Some(Files::read(&args.against)?)
    };
    let mut old = Vec::new();
    if let Some(applied) = applied {
        old = applied.check().manifest.nodes;
        // Without a server nobody knows what the files were then.
        if args.against.is_empty() {
            old.iter_mut().for_each(|node| uploaded(node, &applied.code));
            wanted.nodes.iter_mut().try_for_each(local)?;
        }
    }
    let plan = Plan::between(&old, &wanted.nodes);
    if args.format == Format::Json {
        return output::json(&plan);
    }
    let lines: String = plan.text().lines().map(|line| output::shown(line) + "\n").collect();
    output::print(&lines)
}

/// The digest of code that was sent along with a manifest, from where the server has put it.
fn uploaded(node: &mut Node, code: &BTreeMap<String, String>) {
    if let Some(at) = node.code.as_mut().filter(|code| code.place == Place::Local) {
        let url = code.get(&at.location);
        at.digest = url.and_then(|url| url.rsplit_once(UPLOADED)).map(|(_, digest)| digest.to_owned());
    }
}

/// The digest of code that is a file here.
fn local(node: &mut Node) -> anyhow::Result<()> {
    if let Some(at) = node.code.as_mut().filter(|code| code.place == Place::Local) {
        let context = || format!("the code {}", at.location);
        let mut file = File::open(&at.location).with_context(context)?;
        let mut hash = Sha256::new();
        io::copy(&mut file, &mut hash).with_context(context)?;
        let mut digest = String::new();
        for byte in hash.finalize() {
            let _ = write!(digest, "{byte:02x}");
        }
        at.digest = Some(digest);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh::{Action, Manifest};

    #[test]
    fn a_local_file_that_changed_since_it_was_sent_is_a_change() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f.py").to_str().unwrap().to_owned();
        std::fs::write(&path, "abc").unwrap();
        let yaml = format!(
            "apiVersion: compute.functionmesh.io/v1alpha1\nkind: Function\nmetadata: {{name: f}}\nspec: {{className: f.F, python: {{py: {path}}}, \
             input: {{topics: [in]}}}}\n"
        );
        let (mut old, mut new) = (Manifest::parse(&yaml).0.nodes, Manifest::parse(&yaml).0.nodes);
        let sent = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let code = BTreeMap::from([(path.clone(), format!("function://public/default/f.py@mesh-sha256-{sent}"))]);
        uploaded(&mut old[0], &code);
        local(&mut new[0]).unwrap();
        assert!(Plan::between(&old, &new).is_empty());
        std::fs::write(&path, "abd").unwrap();
        local(&mut new[0]).unwrap();
        let plan = Plan::between(&old, &new);
        assert_eq!((plan.count(Action::Update), plan.steps[0].changes[0].field.as_str()), (1, "code"));
        std::fs::remove_file(&path).unwrap();
        assert!(local(&mut new[0]).unwrap_err().to_string().contains(&path));
    }
}
