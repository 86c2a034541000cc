//! `geminga mesh`: applications of functions, sources and sinks, declared in the manifests of Function Mesh.

mod apply;
mod check;
mod code;
mod files;
mod graph;
mod plan;
mod progress;
mod resource;
mod simulate;
mod status;

/// Applications of several functions: check, draw, run, watch, and how they scale
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:\n  \
    geminga mesh check app.yaml\n  \
    geminga mesh graph app.yaml\n  \
    geminga mesh graph app.yaml --format mermaid\n  \
    geminga mesh plan app.yaml\n  \
    geminga mesh plan new.yaml --against old.yaml\n  \
    geminga mesh apply app.yaml --wait\n  \
    geminga mesh status app --watch\n  \
    geminga mesh delete app\n\n\
    A manifest is what `kubectl apply` takes: Function, Source, Sink and FunctionMesh of compute.functionmesh.io/v1alpha1,\n\
    with the ConfigMaps and Secrets they name. Several files are read as one; - is standard input."
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Check(check::Args),
    Graph(graph::Args),
    Plan(plan::Args),
    Apply(apply::Args),
    Status(status::StatusArgs),
    List(status::ListArgs),
    Delete(status::DeleteArgs),
    Simulate(simulate::Args),
}

/// Runs the command.
///
/// # Errors
/// A file cannot be read, a manifest has errors, no broker answers; the text is for a person.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::Check(args) => check::run(&args),
        Command::Graph(args) => graph::run(&args).await,
        Command::Plan(args) => plan::run(&args).await,
        Command::Apply(args) => apply::run(args).await,
        Command::Status(args) => status::run(args).await,
        Command::List(args) => status::list(args).await,
        Command::Delete(args) => status::delete(args).await,
        Command::Simulate(args) => simulate::run(&args),
    }
}
