//! `geminga mesh check`: all mistakes at once, each where it is.

use super::files::{Files, Paths};
use crate::output;
use anyhow::bail;
use mesh::{Graph, Severity};
use serde_json::json;

/// Find all mistakes of a manifest, with file, line and column; exits with 1 when there is an error
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    geminga mesh check app.yaml\n  \
    geminga mesh check functions.yaml config.yaml --quiet\n  \
    kubectl get functionmesh app -o yaml | geminga mesh check -f -\n  \
    geminga mesh check app.yaml --format json\n\n\
    error: it cannot be applied. warning: probably not what was meant. note: worth knowing.\n\
    Nothing is sent anywhere.")]
pub(crate) struct Args {
    #[command(flatten)]
    paths: Paths,
    /// Warnings count as errors
    #[arg(long)]
    strict: bool,
    /// No notes
    #[arg(short, long)]
    quiet: bool,
    /// How they are told
    #[arg(short = 'o', long, alias = "output", value_enum, default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A line each, as compilers write them
    Text,
    /// One object, for programs
    Json,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let files = Files::read(&args.paths.all())?;
    let checked = files.check();
    let (errors, warnings) = (checked.count(Severity::Error), checked.count(Severity::Warning));
    let graph = Graph::of(&checked.manifest.nodes);
    let shown = checked.problems.iter().filter(|problem| !args.quiet || problem.severity != Severity::Note);
    if args.format == Format::Json {
        let problems = shown.map(|problem| {
            json!({
                "file": files.names.get(problem.at.file),
                "line": problem.at.line,
                "column": problem.at.column,
                "severity": problem.severity,
                "text": problem.text,
            })
        });
        output::json(&json!({"errors": errors, "warnings": warnings, "problems": problems.collect::<Vec<_>>()}))?;
    } else {
        let lines: String = shown.map(|problem| files.line(problem) + "\n").collect();
        output::print(&lines)?;
        let count = |number: usize, word: &str| match number {
            0 => format!("no {word}s"),
            1 => format!("1 {word}"),
            number => format!("{number} {word}s"),
        };
        output::line(format!("{}: {}, {}", graph.summary(), count(errors, "error"), count(warnings, "warning")))?;
    }
    if errors > 0 {
        bail!("the manifest cannot be applied");
    }
    if args.strict && warnings > 0 {
        bail!("warnings count as errors with --strict");
    }
    Ok(())
}
