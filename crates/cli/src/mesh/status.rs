//! `geminga mesh status`, `list` and `delete`.

use super::{
    progress,
    resource::{Asked, Name, Which},
};
use crate::{
    output::{self, Table},
    units::{age, count, rate},
};
use admin_api::mesh::{Node, Status, Summary};
use anyhow::bail;
use std::{
    io::IsTerminal,
    time::{Duration, SystemTime},
};

/// How each part of a mesh does: instances, rates, backlog, the scaler's last decision, errors
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    geminga mesh status shop\n  \
    geminga mesh status app.yaml --watch\n  \
    geminga mesh status staging/shop --format json\n\n\
    IN/S is what is published to its inputs, DONE/S what it is done with, OUT/S what it publishes. OLDEST is the age of\n\
    the oldest message that waits.")]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    which: Which,
    /// Look again and again
    #[arg(short, long)]
    watch: bool,
    /// From one look to the next
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "2s")]
    every: Duration,
    #[command(flatten)]
    asked: Asked,
}

/// All meshes of the server
#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    asked: Asked,
}

/// Delete a mesh with all its functions, sources and sinks: who writes goes first, and who reads may finish
#[derive(Debug, clap::Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    which: Which,
    /// Wait until it is gone, and tell how far it is
    #[arg(short, long)]
    wait: bool,
    #[command(flatten)]
    asked: Asked,
}

pub(crate) async fn run(args: StatusArgs) -> anyhow::Result<()> {
    let (name, admin) = (args.which.name()?, args.asked.admin()?);
    let is_screen = args.watch && std::io::stdout().is_terminal();
    loop {
        let status: Status = name.at(&admin).at(["status"]).get().await?;
        if args.asked.is_json() {
            output::json(&status)?;
        } else {
            let text = text(&name, &status);
            output::print(&if is_screen { output::over(&text) } else { text })?;
        }
        if !args.watch {
            return Ok(());
        }
        tokio::time::sleep(args.every).await;
    }
}

pub(crate) async fn list(args: ListArgs) -> anyhow::Result<()> {
    let meshes: Vec<Summary> = args.asked.admin()?.path(["admin", "v3", "meshes"]).get().await?;
    if args.asked.is_json() {
        return output::json(&meshes);
    }
    let mut table = Table::new(["MESH", "VERSION", "STATE", "READY", "CHANGED"]);
    for mesh in &meshes {
        table.row([
            format!("{}/{}", mesh.namespace, mesh.name),
            mesh.version.to_string(),
            mesh.state.to_string(),
            format!("{}/{}", mesh.ready, mesh.nodes),
            when(mesh.changed_ms),
        ]);
    }
    output::print(&if table.is_empty() { "no meshes\n".to_owned() } else { table.text() })
}

pub(crate) async fn delete(args: DeleteArgs) -> anyhow::Result<()> {
    let (name, admin) = (args.which.name()?, args.asked.admin()?);
    let first: Option<Status> = name.at(&admin).delete_for().await?;
    let plain = !args.asked.is_json();
    if !args.wait {
        return done(plain, "deleting", &name);
    }
    let last = match first {
        Some(status) => progress::follow(&admin, &name, status, plain).await?,
        None => None,
    };
    match last {
        None => done(plain, "deleted", &name),
        Some(status) if status.state.is_bad() => progress::ended(&name, Some(status), true, plain),
        Some(_) => bail!("mesh {name} was applied again meanwhile"),
    }
}

fn done(plain: bool, what: &str, name: &Name) -> anyhow::Result<()> {
    if plain { output::line(format!("{what} mesh {name}")) } else { Ok(()) }
}

fn text(name: &Name, status: &Status) -> String {
    let mut table = Table::new([
        "NODE",
        "KIND",
        "STATE",
        "INSTANCES",
        "IN/S",
        "DONE/S",
        "OUT/S",
        "BACKLOG",
        "OLDEST",
        "LAST DECISION",
    ]);
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    for node in &status.nodes {
        table.row([
            node.name.clone(),
            node.kind.clone(),
            node.state.clone(),
            format!("{}/{}", node.running, node.wanted),
            or_none(node.in_per_s.map(rate)),
            or_none(node.processed_per_s.map(rate)),
            or_none(node.out_per_s.map(rate)),
            or_none(node.backlog.map(|n| count(i64::try_from(n).unwrap_or(i64::MAX)))),
            or_none(node.oldest_ms.map(|ms| age(Duration::from_millis(ms)))),
            or_none(decision(node)),
        ]);
    }
    let head = format!("mesh {name}, version {}, {}, {}\n", status.version, status.state, when(status.changed_ms));
    let mut text = head + &table.text();
    if !status.error.is_empty() {
        text += &output::shown(&format!("error: {}", status.error));
        text.push('\n');
    }
    if status.state.is_moving() {
        for step in status.steps.iter().chain(&status.undone) {
            let why = if step.message.is_empty() { String::new() } else { format!(", {}", step.message) };
            text += &output::shown(&format!("{} {} {}: {}{why}", step.action, step.kind, step.name, step.progress));
            text.push('\n');
        }
    }
    for node in &status.nodes {
        if let Some(decision) = &node.decision {
            text += &output::shown(&format!(
                "{} {}: {} by {}: {}",
                node.kind, node.name, decision.code, decision.by, decision.text
            ));
            text.push('\n');
        }
        if let Some(recommendation) = &node.recommendation {
            let should = crate::functions::scaling::resources(recommendation);
            text += &output::shown(&format!("{} {}: an instance should request {should}", node.kind, node.name));
            text.push('\n');
        }
        if !node.error.is_empty() {
            text += &output::shown(&format!("{} {}: last error: {}", node.kind, node.name, gist(&node.error)));
            text.push('\n');
        }
    }
    text
}

/// The line of an error that says what it is: the last of Python's tracebacks, the first of others.
fn gist(error: &str) -> String {
    let lines: Vec<&str> = error.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let told = if error.starts_with("Traceback") { lines.last() } else { lines.first() };
    let more = if lines.len() > 1 { format!("; all {} lines: -o json", lines.len()) } else { String::new() };
    format!("{}{more}", told.copied().unwrap_or_default())
}

/// `1 -> 4 BacklogHigh, 3s ago`.
fn decision(node: &Node) -> Option<String> {
    let decision = node.decision.as_ref()?;
    let step = match decision.from == decision.to {
        true => decision.to.to_string(),
        false => format!("{} -> {}", decision.from, decision.to),
    };
    Some(format!("{step} {}, {}", decision.code, when(decision.at_ms)))
}

/// How long ago a moment of the wall clock was.
fn when(ms: u64) -> String {
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
    // Clocks differ; what is a little ahead is now.
    let ago = SystemTime::now().duration_since(at).unwrap_or_default();
    format!("{} ago", humantime::format_duration(Duration::from_secs(ago.as_secs())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_in_one_line() {
        let python = "Traceback (most recent call last):\n  File \"f.py\", line 6\nTypeError: no number\n";
        assert_eq!(gist(python), "TypeError: no number; all 3 lines: -o json");
        let java = "java.lang.IllegalStateException: full\n\tat F.process(F.java:7)";
        assert_eq!(gist(java), "java.lang.IllegalStateException: full; all 2 lines: -o json");
        assert_eq!((gist("refused").as_str(), gist("").as_str()), ("refused", ""));
    }
}
