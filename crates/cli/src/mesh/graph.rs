//! `geminga mesh graph`: who writes what for whom.

use super::files::{Files, PathsOrName};
use crate::{output, web::Reach};
use mesh::{Drawing, Graph, Severity};

/// Draw a manifest, or an applied mesh: who writes which topic for whom
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    geminga mesh graph app.yaml\n  \
    geminga mesh graph app.yaml --format dot | dot -Tsvg > app.svg\n  \
    geminga mesh graph app.yaml --format mermaid >> README.md\n  \
    geminga mesh graph shop\n\n\
    Text goes layer by layer: the first reads nothing that others write. ~> is what is no result: dead letters, late\n\
    data and logs; other formats draw it with dashed lines.")]
pub(crate) struct Args {
    #[command(flatten)]
    named: PathsOrName,
    /// How it is drawn
    #[arg(short = 'o', long, alias = "output", value_enum, default_value = "text")]
    format: Format,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people, layer by layer
    Text,
    /// For Graphviz
    Dot,
    /// For Markdown
    Mermaid,
    /// Nodes, topics, layers and cycles, for programs
    Json,
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    let files = Files::of(&args.named, || args.reach.admin()).await?;
    let checked = files.check();
    // What can be read can be drawn; what cannot is told beside it.
    for problem in checked.problems.iter().filter(|problem| problem.severity == Severity::Error) {
        eprintln!("{}", files.line(problem));
    }
    let graph = Graph::of(&checked.manifest.nodes);
    let drawing = match args.format {
        Format::Json => return output::json(&graph.json()),
        Format::Text => Drawing::Text,
        Format::Dot => Drawing::Dot,
        Format::Mermaid => Drawing::Mermaid,
    };
    output::print(&graph.drawn(drawing))
}
