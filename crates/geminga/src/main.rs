//! The one binary: reads configuration, sets up logging, builds the services and joins them; and hands the other
//! subcommands to `cli`.

mod args;
mod connection;
mod functions;
mod instance;
mod localrun;
mod settings;
mod signals;
mod standalone;
mod telemetry;

use anyhow::Context;
use args::{Args, Command};
use clap::Parser;
use std::process::ExitCode;

/// Buffers of a megabyte come and go with every read. The system's allocator takes each from the kernel anew, page by page, which
/// was a third of the broker's processor time when reading a backlog.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::set_root(<Args as clap::CommandFactory>::command);
    let mut given = std::env::args_os();
    let args = match given.next() {
        Some(program) if instance::is_meant_by(&program.to_string_lossy()) => {
            let arguments = given.map(|argument| argument.to_string_lossy().into_owned()).collect();
            Args { command: Command::Instance { arguments } }
        }
        _ => Args::parse(),
    };
    match run(args) {
        Ok(code) => code,
        Err(error) => {
            // The whole chain on one line: what failed, and why.
            eprintln!("geminga: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("worker")
        .build()
        .context("start the runtime")?;
    let code = match args.command {
        Command::Standalone(options) => {
            let settings = settings::Settings::load(&options)?;
            telemetry::start(&settings.log)?;
            if options.with_parent {
                rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
                    .context("ask to be told of the end of the process that started this one")?;
            }
            runtime.block_on(standalone::run(settings)).map(|()| ExitCode::SUCCESS)
        }
        Command::Config => cli::output::print(&settings::template()).map(|()| ExitCode::SUCCESS),
        #[cfg(feature = "wasm")]
        Command::Compile { memory_bytes } => Ok(runtime_wasm::compile(memory_bytes)),
        Command::Demo(args) => runtime.block_on(cli::demo::run(args)).map(|()| ExitCode::SUCCESS),
        Command::Instance { arguments } => runtime.block_on(instance::run(arguments)),
        Command::Client(command) => match command.local_run()? {
            Ok(asked) => runtime.block_on(localrun::run(asked)),
            Err(command) => runtime.block_on(cli::run(command)).map(|()| ExitCode::SUCCESS),
        },
    };
    // Reads from disk that nobody waits for any more shall not hold the process.
    runtime.shutdown_background();
    code
}
