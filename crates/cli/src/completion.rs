//! `geminga completion`: scripts that let a shell complete commands and options.

use clap_complete::Shell;

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    geminga completion bash > /etc/bash_completion.d/geminga\n  \
    geminga completion zsh > \"${fpath[1]}/_geminga\"\n  \
    geminga completion fish > ~/.config/fish/completions/geminga.fish")]
pub struct Args {
    shell: Shell,
}

impl Args {
    /// The script, for the whole command line that `root` describes.
    #[must_use]
    pub fn script(&self, mut root: clap::Command) -> Vec<u8> {
        let name = root.get_name().to_owned();
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut root, name, &mut script);
        script
    }
}

/// Prints the script for the commands of this crate; a binary that has more calls [`Args::script`] itself.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let root = <crate::Command as clap::Subcommand>::augment_subcommands(clap::Command::new("geminga"));
    crate::output::print(&String::from_utf8_lossy(&args.script(root)))
}
