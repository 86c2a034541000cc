//! `geminga completion`: scripts that let a shell complete commands and options.

use clap_complete::Shell;
use std::sync::OnceLock;

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    geminga completion bash > /etc/bash_completion.d/geminga\n  \
    geminga completion zsh > \"${fpath[1]}/_geminga\"\n  \
    geminga completion fish > ~/.config/fish/completions/geminga.fish")]
pub struct Args {
    /// The shell
    shell: Shell,
}

static ROOT: OnceLock<fn() -> clap::Command> = OnceLock::new();

/// Tells the completion what the whole command line is, where the binary has more commands than this crate.
pub fn set_root(root: fn() -> clap::Command) {
    // Set once, by the binary.
    let _ = ROOT.set(root);
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let alone = || <crate::Command as clap::Subcommand>::augment_subcommands(clap::Command::new("geminga"));
    let mut root = ROOT.get().map_or_else(alone, |root| root());
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut root, "geminga", &mut script);
    crate::output::print(&String::from_utf8_lossy(&script))
}
