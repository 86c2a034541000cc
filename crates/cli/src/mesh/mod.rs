//! `geminga mesh`.

mod simulate;

/// Applications of several functions, and how they scale
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Simulate(simulate::Args),
}

/// Runs the command.
///
/// # Errors
/// The text is for a person.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::Simulate(args) => simulate::run(&args),
    }
}
