//! `status` and `stats`: how instances do, and what they counted.

use super::{common::Instance, kind::Kind, target::Name};
use crate::{
    http::Admin,
    output::{self, Table, pairs, shown},
    units::count,
    web::Printed,
};
use model::function::{FunctionInstanceStatsData, FunctionStats};
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    time::{Duration, Instant as Clock, SystemTime, UNIX_EPOCH},
};

/// From one look to the next while waiting.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How instances do.
///
/// # Errors
/// Also when `wait` ends before all of them run.
pub(super) async fn show(
    admin: &Admin,
    kind: Kind,
    name: &Name,
    instance: Instance,
    wait: Option<Duration>,
    printed: Printed,
) -> anyhow::Result<()> {
    let deadline = Clock::now() + wait.unwrap_or_default();
    let (status, runs) = loop {
        let status: Value = instance.at(admin, kind, name, "status").get().await?;
        let runs = runs(&status);
        if runs || Clock::now() >= deadline {
            break (status, runs);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    if printed.is_json() {
        output::json(&status)?;
    } else {
        output::print(&text(kind, instance, &status))?;
    }
    if let (Some(wait), false) = (wait, runs) {
        anyhow::bail!("{name} does not run after {wait:?}");
    }
    Ok(())
}

/// What holds of its messages, in words; `None` where that is not told, as by Pulsar.
pub(super) async fn guarantee(admin: &Admin, kind: Kind, name: &Name) -> Option<String> {
    let status: Value = name.at(admin, kind).at(["status"]).get().await.ok()?;
    status["guarantee"].as_str().map(shown)
}

/// Whether all there should be run.
fn runs(status: &Value) -> bool {
    match status["running"].as_bool() {
        Some(running) => running,
        None => status["numInstances"] == status["numRunning"],
    }
}

/// Names of counts: of the whole way in, out, and of exceptions of user code. Source: Pulsar's `FunctionStatus`,
/// `SourceStatus`, `SinkStatus`.
const fn counts(kind: Kind) -> [&'static str; 3] {
    match kind {
        Kind::Function => ["numReceived", "numSuccessfullyProcessed", "numUserExceptions"],
        Kind::Source => ["numReceivedFromSource", "numWritten", "numSourceExceptions"],
        Kind::Sink => ["numReadFromPulsar", "numWrittenToSink", "numSinkExceptions"],
    }
}

/// How the output goes on to another cluster; nothing where it does not.
fn forwarded(outbox: &Value) -> String {
    let Some(cluster) = outbox["cluster"].as_str() else { return String::new() };
    let forwarder = &outbox["forwarder"];
    let state = if forwarder["running"] == true { "forwarded" } else { "not being forwarded" };
    let messages = count(forwarder["numWrittenToSink"].as_i64().unwrap_or_default());
    let output = shown(outbox["output"].as_str().unwrap_or_default());
    let mut text =
        format!("\noutput: {state} to {output} of cluster {}, {messages} messages since the start\n", shown(cluster));
    let said = latest(&forwarder["latestSystemExceptions"]).map(|(when, why)| (format!("latest trouble, {when}"), why));
    for (what, why) in error(forwarder).map(|why| ("error".to_owned(), why)).into_iter().chain(said) {
        let _ = writeln!(text, "output, {what}: {}", indented(why));
    }
    text
}

/// What is wrong now, if something is.
fn error(of: &Value) -> Option<&str> {
    of["error"].as_str().filter(|error| !error.is_empty())
}

/// The latest exception of a list, and how long ago it was: it is what one looks for; all are in the JSON.
fn latest(exceptions: &Value) -> Option<(String, &str)> {
    let latest = exceptions.as_array()?.iter().max_by_key(|one| one["timestampMs"].as_i64())?;
    let when = ago(latest["timestampMs"].as_i64().unwrap_or_default());
    Some((when, latest["exceptionString"].as_str().unwrap_or_default()))
}

pub(super) fn text(kind: Kind, instance: Instance, status: &Value) -> String {
    // One instance answers its data alone.
    let alone = json!([{ "instanceId": instance.instance_id, "status": status }]);
    let instances = if instance.instance_id.is_some() { &alone } else { &status["instances"] };
    let mut table = Table::new([
        "INSTANCE",
        "STATE",
        "RECEIVED",
        "PROCESSED",
        "USER ERRORS",
        "SYSTEM ERRORS",
        "RESTARTS",
        "LAST",
        "WORKER",
    ]);
    let mut wrong = String::new();
    for one in instances.as_array().into_iter().flatten() {
        let (id, data) = (one["instanceId"].to_string(), &one["status"]);
        let n = |name: &str| count(data[name].as_i64().unwrap_or_default());
        let [received, processed, user_errors] = counts(kind);
        let last = data["lastInvocationTime"].as_i64().or(data["lastReceivedTime"].as_i64());
        table.row([
            id.clone(),
            if data["running"] == true { "running" } else { "not running" }.to_owned(),
            n(received),
            n(processed),
            n(user_errors),
            n("numSystemExceptions"),
            n("numRestarts"),
            ago(last.unwrap_or_default()),
            data["workerId"].as_str().unwrap_or("-").to_owned(),
        ]);
        if let Some(error) = error(data) {
            let _ = writeln!(wrong, "\ninstance {id}: {}", indented(error));
        }
        for (list, what) in [
            ("latestUserExceptions", "user error"),
            ("latestSourceExceptions", "connector error"),
            ("latestSinkExceptions", "connector error"),
            ("latestSystemExceptions", "system error"),
        ] {
            if let Some((when, error)) = latest(&data[list]) {
                let _ = writeln!(wrong, "\ninstance {id}, latest {what}, {when}: {}", indented(error));
            }
        }
    }
    let guarantee = status["guarantee"].as_str().map(|words| format!("\n{}\n", shown(words))).unwrap_or_default();
    let guarantee = guarantee + &forwarded(&status["outbox"]);
    if instances.as_array().is_some_and(Vec::is_empty) {
        let path = kind.path();
        return format!(
            "no instance: it sleeps, or was scaled to none; `geminga {path} scaling get` says more\n{guarantee}"
        );
    }
    table.text() + &guarantee + &wrong
}

/// An error of many lines, such as a trace, that cannot steer the terminal.
fn indented(error: &str) -> String {
    error.trim_end().lines().map(shown).collect::<Vec<_>>().join("\n  ")
}

/// How long ago; `-` for never.
fn ago(ms: i64) -> String {
    let Ok(ms @ 1..) = u64::try_from(ms) else { return "-".to_owned() };
    let since = SystemTime::now().duration_since(UNIX_EPOCH + Duration::from_millis(ms)).unwrap_or_default();
    match since.as_secs() {
        0 => "now".to_owned(),
        s @ 1..120 => format!("{s}s ago"),
        s @ 120..7200 => format!("{}m ago", s / 60),
        s @ 7200..172_800 => format!("{}h ago", s / 3600),
        s => format!("{}d ago", s / 86_400),
    }
}

/// What a function counted.
///
/// # Errors
/// The worker refuses it, or is not there.
pub(super) async fn stats(admin: &Admin, name: &Name, instance: Instance, printed: Printed) -> anyhow::Result<()> {
    let answer: Value = instance.at(admin, Kind::Function, name, "stats").get().await?;
    if printed.is_json() {
        return output::json(&answer);
    }
    let whole = match instance.instance_id {
        Some(_) => serde_json::from_value::<FunctionInstanceStatsData>(answer)?,
        None => {
            let stats: FunctionStats = serde_json::from_value(answer)?;
            let user_metrics = stats.instances.iter().flat_map(|one| one.metrics.user_metrics.clone()).collect();
            FunctionInstanceStatsData {
                received_total: stats.received_total,
                processed_successfully_total: stats.processed_successfully_total,
                system_exceptions_total: stats.system_exceptions_total,
                user_exceptions_total: stats.user_exceptions_total,
                avg_process_latency: stats.avg_process_latency,
                one_min: stats.one_min,
                last_invocation: stats.last_invocation,
                user_metrics,
            }
        }
    };
    let n = |n: u64| count(i64::try_from(n).unwrap_or(i64::MAX));
    let ms = |latency: Option<f64>| latency.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.2} ms"));
    let minute = &whole.one_min;
    let mut table = Table::new(["COUNT", "TOTAL", "LAST MINUTE"]);
    for (what, total, lately) in [
        ("received", n(whole.received_total), n(minute.received_total)),
        ("processed", n(whole.processed_successfully_total), n(minute.processed_successfully_total)),
        ("user errors", n(whole.user_exceptions_total), n(minute.user_exceptions_total)),
        ("system errors", n(whole.system_exceptions_total), n(minute.system_exceptions_total)),
        ("average latency", ms(whole.avg_process_latency), ms(minute.avg_process_latency)),
    ] {
        table.row([what.to_owned(), total, lately]);
    }
    let mut text = table.text();
    let _ = writeln!(text, "\nlast invocation  {}", ago(whole.last_invocation.unwrap_or_default()));
    if !whole.user_metrics.is_empty() {
        text += "\n";
        text += &pairs(whole.user_metrics.iter().map(|(name, value)| (name, value.to_string())));
    }
    output::print(&text)
}
