//! The command line of `geminga`.

use clap::{Parser, Subcommand, ValueEnum};
use std::{net::IpAddr, path::PathBuf};

const EXAMPLES: &str = "\
Start a broker on pulsar://127.0.0.1:6650, with its data in ./data:
  geminga standalone

Publish, and receive what was published:
  geminga produce orders -m hello
  geminga consume orders -s billing

See and change what is there:
  geminga topics create orders --partitions 4
  geminga topics stats orders
  geminga subscriptions list orders

Serve other machines:
  geminga standalone --data /var/lib/geminga \\
      --bind 0.0.0.0 --advertised-address broker.example.org

All settings with their defaults, to change and to pass as --config:
  geminga config > geminga.toml

Completion for the shell:
  geminga completion bash > /etc/bash_completion.d/geminga

Programs written for Apache Pulsar connect to the same addresses: the
binary protocol and the REST API are Pulsar's.
`geminga COMMAND --help` says more about each command.";

/// A Pulsar-compatible message broker in one binary, and the tools to use it.
#[derive(Debug, Parser)]
#[command(name = "geminga", version, after_help = EXAMPLES, max_term_width = 120)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a broker on this machine.
    Standalone(Standalone),
    /// Print all settings with their defaults and what they mean, as a configuration file.
    Config,
    #[command(flatten)]
    Client(cli::Command),
}

const STANDALONE_HELP: &str = "\
Settings come from three places; the later wins:
  1. the file given with --config; `geminga config` prints one
  2. the environment: GEMINGA_BROKER_PORT=6651, and for a key in a section
     GEMINGA_BROKER__MAX_MESSAGE_SIZE=1048576
  3. these flags

When clients can connect, one line appears on standard output:
  geminga ready: pulsar://HOST:PORT http://HOST:PORT
Logs go to standard error; RUST_LOG chooses in detail, for example
RUST_LOG=info,session=debug.

SIGTERM and SIGINT stop it within seconds: clients are told to reconnect,
and what was acknowledged is on disk. A second signal stops it at once;
what was acknowledged is on disk then too.";

/// Flags of `geminga standalone`; what is not given comes from the environment, the file or the default.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = STANDALONE_HELP)]
pub(crate) struct Standalone {
    /// Directory for everything that is stored; made when it is not there [default: ./data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Port of Pulsar's binary protocol; 0 picks a free one [default: 6650]
    #[arg(long, value_name = "N")]
    pub(crate) broker_port: Option<u16>,
    /// Port of the REST API and of /metrics; 0 picks a free one [default: 8080]
    #[arg(long, value_name = "N")]
    pub(crate) web_port: Option<u16>,
    /// Address to listen on; 0.0.0.0 for all of this machine's [default: 127.0.0.1]
    #[arg(long, value_name = "ADDR")]
    pub(crate) bind: Option<IpAddr>,
    /// Host that clients are told to connect to [default: the address it listens on, or this machine's name]
    #[arg(long, value_name = "HOST")]
    pub(crate) advertised_address: Option<String>,
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How logs are written [default: text]
    #[arg(long, value_enum)]
    pub(crate) log_format: Option<LogFormat>,
    /// What is logged: error, warn, info, debug, trace, or filters like session=debug [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogFormat {
    /// For people; in colors on a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Args as clap::CommandFactory>::command().debug_assert();
    }
}
