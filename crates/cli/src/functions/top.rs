//! `top`: all functions at a glance, again and again.

use super::kind::Kind;
use crate::{
    http::{Admin, Result},
    output::{self, Table},
    subscriptions::subscriptions,
    units::{count, rate},
    web::Printed,
};
use anyhow::bail;
use futures::{StreamExt, TryStreamExt, stream};
use model::function::{FunctionConfig, FunctionStats, FunctionStatus};
use serde::Serialize;
use std::{
    collections::HashMap,
    io::IsTerminal,
    time::{Duration, Instant},
};

/// Functions asked about at once.
const AT_ONCE: usize = 8;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only those of one namespace [default: all]
    #[arg(value_name = "TENANT/NAMESPACE")]
    place: Option<String>,
    /// Print once and end; so it does anyway where no terminal looks on
    #[arg(long)]
    once: bool,
    /// Time from one look to the next
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = humantime::parse_duration)]
    every: Duration,
    #[command(flatten)]
    printed: Printed,
}

/// One function as it is now. Rates are those since the look before, or of the last minute at the first.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: String,
    running: u32,
    wanted: u32,
    received_per_s: f64,
    processed_per_s: f64,
    exceptions: u64,
    /// Milliseconds of one call, on average.
    average_latency_ms: Option<f64>,
    /// Messages its subscription has still to get; none where its topics are not known by name.
    backlog: Option<i64>,
    #[serde(skip)]
    totals: Totals,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Totals {
    at: Instant,
    received: u64,
    processed: u64,
}

impl Row {
    fn new(name: String, status: &FunctionStatus, stats: &FunctionStats, backlog: Option<i64>, at: Instant) -> Self {
        let minute = &stats.one_min;
        Self {
            name,
            running: status.num_running,
            wanted: status.num_instances,
            received_per_s: minute.received_total as f64 / 60.0,
            processed_per_s: minute.processed_successfully_total as f64 / 60.0,
            exceptions: stats.user_exceptions_total.saturating_add(stats.system_exceptions_total),
            average_latency_ms: minute.avg_process_latency.or(stats.avg_process_latency),
            backlog,
            totals: Totals { at, received: stats.received_total, processed: stats.processed_successfully_total },
        }
    }

    /// With rates since `before`. An instance that was started again has counted less than before; the minute stays then.
    fn since(mut self, before: &HashMap<String, Totals>) -> Self {
        let Some(before) = before.get(&self.name) else { return self };
        let seconds = self.totals.at.saturating_duration_since(before.at).as_secs_f64();
        let received = self.totals.received.checked_sub(before.received);
        let processed = self.totals.processed.checked_sub(before.processed);
        if let (Some(received), Some(processed), true) = (received, processed, seconds > 0.0) {
            self.received_per_s = received as f64 / seconds;
            self.processed_per_s = processed as f64 / seconds;
        }
        self
    }
}

/// Prints until it is interrupted.
///
/// # Errors
/// The worker is not there. Later looks that fail are told and tried again.
pub(super) async fn run(admin: &Admin, args: Args) -> anyhow::Result<()> {
    let repeats = !args.once && std::io::stdout().is_terminal() && !args.printed.is_json();
    let mut before: HashMap<String, Totals> = HashMap::new();
    loop {
        match look(admin, args.place.as_deref()).await {
            Ok(rows) => {
                let rows: Vec<Row> = rows.into_iter().map(|row| row.since(&before)).collect();
                before = rows.iter().map(|row| (row.name.clone(), row.totals)).collect();
                match (args.printed.is_json(), repeats) {
                    (true, _) => output::json(&rows)?,
                    (false, false) => output::print(&text(&rows))?,
                    (false, true) => output::print(&output::over(&text(&rows)))?,
                }
            }
            Err(error) if repeats && !before.is_empty() => output::print(&format!("\r\x1b[K{error:#}"))?,
            Err(error) => return Err(error),
        }
        if !repeats {
            return Ok(());
        }
        tokio::time::sleep(args.every).await;
    }
}

async fn look(admin: &Admin, place: Option<&str>) -> anyhow::Result<Vec<Row>> {
    let mut all = Vec::new();
    for namespace in namespaces(admin, place).await? {
        let Some((tenant, local)) = namespace.split_once('/') else {
            bail!("expected TENANT/NAMESPACE, not '{namespace}'")
        };
        let names: Vec<String> = admin.path(["admin", "v3", Kind::Function.path(), tenant, local]).get().await?;
        all.extend(names.into_iter().map(|name| (tenant.to_owned(), local.to_owned(), name)));
    }
    let rows = stream::iter(all).map(|(tenant, namespace, name)| async move {
        match row(admin, &tenant, &namespace, &name).await {
            Ok(row) => Ok(Some(row)),
            // It was deleted meanwhile.
            Err(error) if error.downcast_ref::<crate::http::Error>().is_some_and(|error| error.is_not_found()) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    });
    let mut rows: Vec<Row> =
        rows.buffer_unordered(AT_ONCE).try_filter_map(|row| async { Ok(row) }).try_collect().await?;
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(rows)
}

async fn namespaces(admin: &Admin, place: Option<&str>) -> Result<Vec<String>> {
    if let Some(place) = place {
        return Ok(vec![place.to_owned()]);
    }
    let mut all = Vec::new();
    for tenant in admin.at(["tenants"]).get::<Vec<String>>().await? {
        all.extend(admin.at(["namespaces", &tenant]).get::<Vec<String>>().await?);
    }
    Ok(all)
}

async fn row(admin: &Admin, tenant: &str, namespace: &str, name: &str) -> anyhow::Result<Row> {
    let one = || admin.path(["admin", "v3", Kind::Function.path(), tenant, namespace, name]);
    let config: FunctionConfig = one().get().await?;
    let status: FunctionStatus = one().at(["status"]).get().await?;
    let (stats, at) = (one().at(["stats"]).get::<FunctionStats>().await?, Instant::now());
    Ok(Row::new(format!("{tenant}/{namespace}/{name}"), &status, &stats, backlog(admin, &config).await?, at))
}

/// What the subscription has still to get, of all inputs that are topics.
async fn backlog(admin: &Admin, config: &FunctionConfig) -> anyhow::Result<Option<i64>> {
    let subscription = config.subscription_name();
    let mut backlog = None;
    for (topic, spec) in config.resolved_inputs() {
        let (false, Ok(topic)) = (spec.regex_pattern, topic.parse()) else { continue };
        let of_topic = match subscriptions(admin, &topic).await {
            Ok(all) => all.get(&subscription).map_or(0, |stats| stats.msg_backlog),
            // A topic is there once somebody uses it.
            Err(error) if error.downcast_ref::<crate::http::Error>().is_some_and(|error| error.is_not_found()) => 0,
            Err(error) => return Err(error),
        };
        backlog = Some(backlog.unwrap_or(0) + of_topic);
    }
    Ok(backlog)
}

fn text(rows: &[Row]) -> String {
    let mut table =
        Table::new(["FUNCTION", "RUNNING", "RECEIVED/S", "PROCESSED/S", "EXCEPTIONS", "LATENCY", "BACKLOG"]);
    for row in rows {
        table.row([
            row.name.clone(),
            format!("{}/{}", row.running, row.wanted),
            rate(row.received_per_s),
            rate(row.processed_per_s),
            count(i64::try_from(row.exceptions).unwrap_or(i64::MAX)),
            row.average_latency_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.2} ms")),
            row.backlog.map_or_else(|| "-".to_owned(), count),
        ]);
    }
    if table.is_empty() { "no functions\n".to_owned() } else { table.text() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::function::MinuteStats;

    fn stats(received: u64) -> FunctionStats {
        let one_min = MinuteStats { received_total: 120, processed_successfully_total: 60, ..MinuteStats::default() };
        FunctionStats {
            received_total: received,
            processed_successfully_total: received,
            one_min,
            ..FunctionStats::default()
        }
    }

    #[test]
    fn rates_are_of_the_minute_first_and_then_since_the_look_before() {
        let start = Instant::now();
        let row = |received, after| {
            let at = start + Duration::from_secs(after);
            Row::new("a/b/c".to_owned(), &FunctionStatus::default(), &stats(received), None, at)
        };
        let totals = |row: &Row| HashMap::from([(row.name.clone(), row.totals)]);
        let first = row(1000, 0).since(&HashMap::new());
        assert_eq!((first.received_per_s, first.processed_per_s), (2.0, 1.0));
        let second = row(1500, 2).since(&totals(&first));
        assert_eq!((second.received_per_s, second.processed_per_s), (250.0, 250.0));
        let started_again = row(10, 4).since(&totals(&second));
        assert_eq!(started_again.received_per_s, 2.0);
    }
}
