//! The subcommands of `geminga` that talk to a broker: `topics`, `subscriptions` and the like over its REST API,
//! `produce`, `consume` and `perf` over the binary protocol. They work with any Pulsar broker.
//!
//! What a person reads goes to standard output as text, tables or, with `-o json`, what the broker answered. A command
//! that fails returns an error that says what to do about it, and the process exits with 1.

mod brokers;
mod clusters;
mod completion;
pub mod consume;
pub mod demo;
mod form;
mod functions;
pub mod http;
mod mesh;
mod namespaces;
pub mod output;
mod packages;
mod peek;
pub mod perf;
pub mod produce;
mod service;
mod subscriptions;
mod tenants;
mod topics;
mod units;
mod web;

pub use completion::set_root;
pub use functions::{Code, Kind, Local, LocalRun};

/// Everything but running a broker.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Produce(produce::Args),
    Consume(consume::Args),
    #[command(visible_alias = "topic")]
    Topics(topics::Args),
    #[command(visible_alias = "subscription")]
    Subscriptions(subscriptions::Args),
    #[command(visible_alias = "namespace")]
    Namespaces(namespaces::Args),
    #[command(visible_alias = "tenant")]
    Tenants(tenants::Args),
    #[command(visible_alias = "cluster")]
    Clusters(clusters::Args),
    #[command(visible_alias = "broker")]
    Brokers(brokers::Args),
    #[command(visible_alias = "function")]
    Functions(functions::FunctionArgs),
    #[command(visible_alias = "source")]
    Sources(functions::SourceArgs),
    #[command(visible_alias = "sink")]
    Sinks(functions::SinkArgs),
    Localrun(functions::LocalFunction),
    #[command(visible_alias = "package")]
    Packages(packages::Args),
    #[command(visible_alias = "meshes")]
    Mesh(mesh::Args),
    Perf(perf::Args),
    Completion(completion::Args),
}

impl Command {
    /// What this command wants to run on this machine, which is not for this crate to do; else the command.
    ///
    /// # Errors
    /// All that is wrong with what is to run.
    pub fn local_run(self) -> anyhow::Result<Result<LocalRun, Self>> {
        Ok(match self {
            Self::Localrun(asked) => Ok(asked.asked(std::env::var("GEMINGA_TOKEN").ok())?),
            Self::Functions(args) => functions::local_function(args)?.map_err(Self::Functions),
            Self::Sources(args) => functions::local_source(args)?.map_err(Self::Sources),
            Self::Sinks(args) => functions::local_sink(args)?.map_err(Self::Sinks),
            other => Err(other),
        })
    }
}

/// Runs one of them.
///
/// # Errors
/// No broker answers, it refuses, or options make no sense together; the text is for a person.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Produce(args) => produce::run(args).await,
        Command::Consume(args) => consume::run(args).await,
        Command::Topics(args) => topics::run(args).await,
        Command::Subscriptions(args) => subscriptions::run(args).await,
        Command::Namespaces(args) => namespaces::run(args).await,
        Command::Tenants(args) => tenants::run(args).await,
        Command::Clusters(args) => clusters::run(args).await,
        Command::Brokers(args) => brokers::run(args).await,
        Command::Functions(args) => functions::run(args).await,
        Command::Sources(args) => functions::run_sources(args).await,
        Command::Sinks(args) => functions::run_sinks(args).await,
        Command::Localrun(_) => anyhow::bail!("localrun runs in the program `geminga`"),
        Command::Packages(args) => packages::run(args).await,
        Command::Mesh(args) => mesh::run(args).await,
        Command::Perf(args) => perf::run(args).await,
        Command::Completion(args) => completion::run(args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[derive(Debug, Parser)]
    struct Args {
        #[command(subcommand)]
        command: Command,
    }

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn options_of_a_group_may_follow_its_commands() {
        let line = "geminga topics list public/default -o json --admin-url http://other:8080";
        assert!(Args::try_parse_from(line.split(' ')).is_ok());
    }
}
