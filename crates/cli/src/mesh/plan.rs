//! `geminga mesh plan`: what an apply would change.

use super::{
    apply,
    code::Code,
    files::{self, Files, PathsOrName},
    progress,
    resource::Name,
};
use crate::{output, web::Reach};
use mesh::Plan;

/// Show what applying a manifest would change, and change nothing
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    geminga mesh plan app.yaml\n  \
    geminga mesh plan app.yaml --name staging/shop\n  \
    geminga mesh plan shop\n  \
    geminga mesh plan new.yaml --against old.yaml\n  \
    git show HEAD:app.yaml | geminga mesh plan app.yaml --against -\n\n\
    + is made, ~ is changed, - goes. Steps are in the order of an apply: who reads a topic comes before who writes it,\n\
    what goes comes last. The plan for the name of a mesh shows what somebody changed by hand since it was applied.")]
pub(crate) struct Args {
    #[command(flatten)]
    named: PathsOrName,
    /// Compare with this manifest instead of what the server has applied, and ask no server; may be repeated
    #[arg(long, value_name = "FILE")]
    against: Vec<String>,
    /// The mesh on the server [default: what the manifest calls itself, else the file]
    #[arg(long, value_name = "[NAMESPACE/]NAME", conflicts_with = "against")]
    name: Option<String>,
    /// How it is told
    #[arg(short = 'o', long, alias = "output", value_enum, default_value = "text")]
    format: Format,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Like a diff
    Text,
    /// Steps with their changes, for programs
    Json,
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    let is_json = args.format == Format::Json;
    if !args.against.is_empty() {
        let wanted = Files::read(&args.named.all())?;
        let old = Files::read(&args.against)?.check().manifest.nodes;
        let plan = Plan::between(&old, &wanted.check().or_refuse(&wanted)?.nodes);
        if is_json {
            return output::json(&plan);
        }
        let lines: String = plan.text().lines().map(|line| output::shown(line) + "\n").collect();
        return output::print(&lines);
    }
    let files = Files::of(&args.named, || args.reach.admin()).await?;
    let manifest = files.check().or_refuse(&files)?;
    let name = match (&args.name, &files.mesh) {
        (Some(name), _) | (None, Some(name)) => Name::parse(name)?,
        (None, None) => Name::parse(&files::name_or_file(&manifest, &files)?)?,
    };
    // An applied mesh knows where its code is; for a plan, code need not be sent.
    let code = if files.mesh.is_some() { files.code.clone() } else { Code::find(&files, &manifest)?.urls() };
    let plan = apply::plan(&args.reach.admin()?, &name, apply::request(&files, code)).await?;
    if is_json { output::json(&plan) } else { output::print(&progress::plan(&plan)) }
}
