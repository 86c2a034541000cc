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

Run a function on a topic:
  geminga functions new --lang python exclaim
  geminga functions create exclaim.py --inputs orders --output loud
  geminga functions top

Run it here, against any Pulsar broker:
  geminga localrun exclaim.py --inputs orders --output loud

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
    /// Run one instance of a function as Function Mesh starts its generic runtime, `pulsar_rust_instance`, by which name this program does
    /// the same.
    #[command(after_help = INSTANCE_HELP)]
    Instance {
        /// What `pulsar_rust_instance`, `JavaInstanceMain` and `python_instance_main.py` take.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "--NAME VALUE", required = true)]
        arguments: Vec<String>,
    },
    /// Make machine code of the WASM component on standard input, on standard output.
    #[cfg(feature = "wasm")]
    #[command(name = COMPILE, hide = true)]
    Compile {
        /// What it may take.
        memory_bytes: u64,
    },
    Demo(cli::demo::Args),
    #[command(flatten)]
    Client(cli::Command),
}

/// What this program does for a broker that compiles: no person calls it.
#[cfg(feature = "wasm")]
pub(crate) const COMPILE: &str = "compile-component";

const INSTANCE_HELP: &str = "\
Code:
  --function_file FILE --language nodejs|python|executable|wasm|java
  --py FILE, --jar FILE    the same, as Pulsar's own instances have it
Function and broker, all of them wanted:
  --function_details JSON    FunctionDetails as protobuf's JSON
  --instance_id N --function_id TEXT --function_version TEXT
  --pulsar_serviceurl URL --cluster_name NAME
  --port N                   gRPC InstanceControl
  --metrics_port N           Prometheus, at / and /metrics
  --expected_healthcheck_interval SECONDS   0: nobody has to ask
And where they apply:
  --state_storage_serviceurl file:///DIR    where state is kept
  --client_auth_plugin CLASS --client_auth_params token:...
  --web_serviceurl URL
Arguments that are not known are told of and passed over. Secrets are
environment variables of their names. The environment's settings of
`geminga config` hold, such as GEMINGA_FUNCTIONS__PYTHON.";

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
    /// End as SIGTERM does when the process that started this one ends
    #[arg(long, hide = true)]
    pub(crate) with_parent: bool,
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

    /// `UPDATE_EXPECT=1 cargo test -p geminga` writes the page again.
    #[test]
    fn the_reference_page_is_this_command_line() {
        let mut root = <Args as clap::CommandFactory>::command();
        root.build();
        let mut page = "# Command line\n\n\
             What `geminga help COMMAND` says, on one page. Commands that talk to a broker work with any Pulsar broker; a\n\
             command that fails says why on standard error and exits with 1, and with 2 when it was called wrongly.\n"
            .to_owned();
        for command in root.get_subcommands() {
            describe(&mut page, 2, command);
        }
        expect_test::expect_file!["../../../docs/reference/command-line.md"].assert_eq(&page);
    }

    fn describe(page: &mut String, level: usize, command: &clap::Command) {
        if command.get_name() == "help" || command.is_hide_set() {
            return;
        }
        let mut usage = command.clone().render_usage().to_string().replace("Usage: ", "");
        usage = usage.lines().map(str::trim).collect::<Vec<_>>().join(" ");
        *page += &format!("\n{} {}\n\n", "#".repeat(level), command.get_bin_name().unwrap_or(command.get_name()));
        let about = command.get_long_about().or(command.get_about());
        *page += &format!("{}\n\n`{usage}`\n", about.map(ToString::to_string).unwrap_or_default());
        // Options of a group hold for all its commands.
        let is_group = command.has_subcommands();
        let args = command.get_arguments().filter(|a| !a.is_hide_set() && (is_group || !a.is_global_set()));
        let args: Vec<_> = args.filter(|a| !["help", "version"].contains(&a.get_id().as_str())).collect();
        if !args.is_empty() {
            page.push('\n');
        }
        for arg in args {
            *page += &format!("- `{}`", arg.to_string().replace('`', "'"));
            if let (Some(short), Some(_)) = (arg.get_short(), arg.get_long()) {
                *page += &format!(", `-{short}`");
            }
            let mut notes: Vec<String> = Vec::new();
            if let Some(help) = arg.get_help() {
                notes.push(help.to_string());
            }
            let values: Vec<_> = arg.get_possible_values().iter().map(|v| format!("`{}`", v.get_name())).collect();
            if !values.is_empty() && arg.get_action().takes_values() {
                notes.push(format!("one of {}", values.join(", ")));
            }
            if let Some(variable) = arg.get_env() {
                notes.push(format!("environment: `{}`", variable.to_string_lossy()));
            }
            let defaults: Vec<_> = arg.get_default_values().iter().map(|v| v.to_string_lossy()).collect();
            if !defaults.is_empty() && arg.get_action().takes_values() {
                notes.push(format!("default: `{}`", defaults.join(" ")));
            }
            *page += &format!(": {}\n", notes.join("; "));
        }
        if let Some(after) = command.get_after_help() {
            *page += &format!("\n```text\n{after}\n```\n");
        }
        for inner in command.get_subcommands() {
            describe(page, level + 1, inner);
        }
    }
}
