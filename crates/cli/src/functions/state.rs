//! `querystate`, `putstate` and `trigger`: a function's state from outside, and a message to it by hand.

use super::{kind::Kind, target::Target};
use crate::{form::Form, http::Admin, output, web::Printed};
use anyhow::{Context, bail};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use model::function::FunctionState;
use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
    time::Duration,
};

const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(crate) struct Query {
    #[command(flatten)]
    target: Target,
    /// The key
    #[arg(value_name = "KEY")]
    at: Option<String>,
    /// The key, as pulsar-admin has it
    #[arg(short, long, value_name = "KEY", conflicts_with = "at", help_heading = "As pulsar-admin")]
    key: Option<String>,
    /// Print it again whenever it changes
    #[arg(short, long)]
    watch: bool,
    #[command(flatten)]
    printed: Printed,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Put {
    #[command(flatten)]
    target: Target,
    /// The key
    #[arg(value_name = "KEY", requires = "value", conflicts_with = "state")]
    key: Option<String>,
    /// The value, as text
    #[arg(value_name = "VALUE")]
    value: Option<String>,
    /// The value is a number, as counters are
    #[arg(long, requires = "value")]
    number: bool,
    /// Key and value as pulsar-admin has them: `{"key": "k", "stringValue": "v"}`
    #[arg(short, long, value_name = "JSON", help_heading = "As pulsar-admin")]
    state: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Trigger {
    #[command(flatten)]
    target: Target,
    /// The message
    #[arg(value_name = "VALUE")]
    value: Option<String>,
    /// The message, as pulsar-admin has it
    #[arg(
        long,
        alias = "triggerValue",
        value_name = "VALUE",
        conflicts_with = "value",
        help_heading = "As pulsar-admin"
    )]
    trigger_value: Option<String>,
    /// The message is what is in a file
    #[arg(short = 'f', long, alias = "triggerFile", value_name = "FILE", conflicts_with_all = ["value", "trigger_value"])]
    trigger_file: Option<PathBuf>,
    /// Which of its inputs the message goes to [default: its only one]
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
}

/// Prints the value at a key.
///
/// # Errors
/// There is none, or the worker refuses it.
pub(super) async fn query(admin: &Admin, args: Query) -> anyhow::Result<()> {
    let name = args.target.resolve()?;
    let Some(key) = args.at.or(args.key) else { bail!("say which key") };
    let mut shown = None;
    loop {
        match name.at(admin, Kind::Function).at(["state", &key]).get::<FunctionState>().await {
            Ok(state) if shown.as_ref() == Some(&state) => {}
            Ok(state) => {
                if args.printed.is_json() {
                    output::json(&state)?
                } else {
                    output::line(text(&state))?
                }
                shown = Some(state);
            }
            Err(error) if args.watch && error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
        if !args.watch {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A value for people. Eight bytes may be both text and number; the text is what somebody wrote.
fn text(state: &FunctionState) -> String {
    match (&state.string_value, state.number_value, &state.byte_value) {
        (Some(text), ..) => output::shown(text),
        (None, Some(number), _) => number.to_string(),
        (None, None, Some(base64)) => match BASE64_STANDARD.decode(base64) {
            Ok(bytes) => format!("{} bytes: {base64}", bytes.len()),
            Err(_) => output::shown(base64),
        },
        (None, None, None) => String::new(),
    }
}

/// Sets the value at a key.
///
/// # Errors
/// The worker refuses it.
pub(super) async fn put(admin: &Admin, args: Put) -> anyhow::Result<()> {
    let name = args.target.resolve()?;
    let state = match (args.state, args.key, args.value) {
        (Some(json), None, _) => serde_json::from_str::<FunctionState>(&json).context("--state is no state")?,
        (None, Some(key), Some(value)) if args.number => {
            let number = value.parse().with_context(|| format!("'{value}' is no whole number"))?;
            FunctionState { key: Some(key), number_value: Some(number), ..FunctionState::default() }
        }
        (None, Some(key), Some(value)) => {
            FunctionState { key: Some(key), string_value: Some(value), ..FunctionState::default() }
        }
        _ => bail!("say what to put: NAME KEY VALUE"),
    };
    let Some(key) = state.key.as_deref().filter(|key| !key.is_empty()) else { bail!("say which key") };
    let form = Form::new().json("state", &serde_json::to_value(&state)?);
    name.at(admin, Kind::Function).at(["state", key]).form(form).post().await?;
    output::line(format!("put {} of {name}", output::shown(key)))
}

/// Sends a message to a function and prints its answer.
///
/// # Errors
/// The function does not answer, or the worker refuses it.
pub(super) async fn trigger(admin: &Admin, args: Trigger) -> anyhow::Result<()> {
    let name = args.target.resolve()?;
    let mut form = match (args.value.or(args.trigger_value), &args.trigger_file) {
        (Some(value), None) => Form::new().text("data", value),
        (None, Some(path)) => {
            let cannot = || format!("cannot read {}", path.display());
            Form::new().file("dataStream", path).await.with_context(cannot)?
        }
        _ => bail!("say the message: as NAME VALUE, or with --trigger-file"),
    };
    if let Some(topic) = args.topic {
        form = form.text("topic", topic);
    }
    let answer = name.at(admin, Kind::Function).at(["trigger"]).form(form).post_for_bytes().await?;
    // Between people and functions stands a terminal; a program gets what was answered, byte for byte, and a line end.
    if std::io::stdout().is_terminal() {
        if answer.is_empty() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&answer);
        return output::line(text.lines().map(output::shown).collect::<Vec<_>>().join("\n"));
    }
    let mut out = std::io::stdout().lock();
    match out.write_all(&answer).and_then(|()| out.write_all(if answer.is_empty() { b"" } else { b"\n" })) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(out.flush()?),
    }
}
