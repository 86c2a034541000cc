//! `geminga namespaces`: namespaces and what they say about their topics.

use crate::{
    output,
    produce::Output,
    tenants::{done, list},
    units::{parse_seconds, parse_size, seconds, size},
    web::Web,
};
use admin_api::BacklogQuotaData;
use clap::ValueEnum;
use model::{AutoTopicCreation, BacklogQuotaType, NamespaceName, RetentionPolicies, RetentionPolicy};
use serde_json::Value;
use std::collections::BTreeMap;

/// Create, list and delete namespaces, and set what holds for their topics
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:\n  \
    geminga namespaces create acme/orders\n  \
    geminga namespaces set-retention acme/orders --time 3d --size 10G\n  \
    geminga namespaces set-message-ttl acme/orders 12h\n  \
    geminga namespaces set-backlog-quota acme/orders --limit-size 5G --policy producer_exception\n  \
    geminga namespaces policies acme/orders -o json"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    web: Web,
}

/// `tenant/namespace`.
#[derive(Debug, clap::Args)]
struct Name {
    /// The namespace, `tenant/namespace`
    namespace: NamespaceName,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Namespaces of a tenant
    List {
        #[arg(default_value = "public")]
        tenant: String,
    },
    /// Topics of a namespace, each partition by itself
    Topics(Name),
    /// Create a namespace
    Create {
        #[command(flatten)]
        name: Name,
        /// Parts that move between brokers
        #[arg(short, long, value_name = "COUNT")]
        bundles: Option<u32>,
    },
    /// Delete a namespace
    Delete {
        #[command(flatten)]
        name: Name,
        /// Delete its topics, too
        #[arg(short, long)]
        force: bool,
    },
    /// Everything that is set for a namespace
    Policies(Name),
    /// Close all topics; their clients look them up again
    Unload(Name),
    /// Acknowledge everything, for all subscriptions of all topics or those of one name
    ClearBacklog {
        #[command(flatten)]
        name: Name,
        /// Only subscriptions of this name
        #[arg(short = 's', long = "sub", value_name = "SUBSCRIPTION")]
        subscription: Option<String>,
        /// Do not ask
        #[arg(short, long)]
        force: bool,
    },
    /// Keep acknowledged messages this long and this much; what passes either bound goes
    SetRetention {
        #[command(flatten)]
        name: Name,
        /// Time such as 10m, 3h, 7d; 0 keeps nothing, -1 is no bound
        #[arg(short, long, value_name = "TIME", value_parser = parse_seconds, allow_hyphen_values = true)]
        time: i64,
        /// Size such as 512M, 10G; 0 keeps nothing, -1 is no bound
        #[arg(short, long, value_name = "SIZE", value_parser = parse_size, allow_hyphen_values = true)]
        size: i64,
    },
    /// How long acknowledged messages are kept
    GetRetention(Name),
    /// Keep acknowledged messages as the broker's configuration says
    RemoveRetention(Name),
    /// Messages that are not acknowledged expire after this time
    SetMessageTtl {
        #[command(flatten)]
        name: Name,
        /// Time such as 90s, 12h; 0 is never
        #[arg(value_name = "TIME", value_parser = parse_seconds, required_unless_present = "ttl")]
        time: Option<i64>,
        /// The same
        #[arg(long = "ttl", alias = "messageTTL", id = "ttl", value_name = "TIME", value_parser = parse_seconds, conflicts_with = "time")]
        ttl: Option<i64>,
    },
    /// When messages that are not acknowledged expire
    GetMessageTtl(Name),
    /// Expire messages as the broker's configuration says
    RemoveMessageTtl(Name),
    /// Bound what subscriptions may leave unacknowledged
    SetBacklogQuota {
        #[command(flatten)]
        name: Name,
        #[command(flatten)]
        quota: Quota,
    },
    /// Bounds on what subscriptions may leave unacknowledged
    #[command(alias = "get-backlog-quotas")]
    GetBacklogQuota(Name),
    /// Remove a bound
    RemoveBacklogQuota {
        #[command(flatten)]
        name: Name,
        #[command(flatten)]
        kind: QuotaKind,
    },
    /// Drop messages that a producer publishes twice
    SetDeduplication {
        #[command(flatten)]
        name: Name,
        #[command(flatten)]
        switch: Switch,
    },
    /// Whether messages are deduplicated
    GetDeduplication(Name),
    /// Deduplicate as the broker's configuration says
    RemoveDeduplication(Name),
    /// Whether a client that names a missing topic creates it
    SetAutoTopicCreation {
        #[command(flatten)]
        name: Name,
        #[command(flatten)]
        switch: Switch,
        /// Make such topics partitioned
        #[arg(short = 'n', long, value_name = "COUNT")]
        partitions: Option<u32>,
    },
    /// Whether a client that names a missing topic creates it
    GetAutoTopicCreation(Name),
    /// Create topics as the broker's configuration says
    RemoveAutoTopicCreation(Name),
    /// Bound what one consumer may hold unacknowledged
    SetMaxUnackedMessagesPerConsumer {
        #[command(flatten)]
        name: Name,
        count: u32,
    },
    /// What one consumer may hold unacknowledged
    GetMaxUnackedMessagesPerConsumer(Name),
    /// Bound what one consumer may hold as the broker's configuration says
    RemoveMaxUnackedMessagesPerConsumer(Name),
    /// Bound what one subscription may hold unacknowledged
    SetMaxUnackedMessagesPerSubscription {
        #[command(flatten)]
        name: Name,
        count: u32,
    },
    /// What one subscription may hold unacknowledged
    GetMaxUnackedMessagesPerSubscription(Name),
    /// Bound what one subscription may hold as the broker's configuration says
    RemoveMaxUnackedMessagesPerSubscription(Name),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Policy {
    /// Publishes wait
    ProducerRequestHold,
    /// Producers are disconnected
    ProducerException,
    /// The slowest subscription loses its oldest messages
    ConsumerBacklogEviction,
}

impl From<Policy> for RetentionPolicy {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::ProducerRequestHold => Self::ProducerRequestHold,
            Policy::ProducerException => Self::ProducerException,
            Policy::ConsumerBacklogEviction => Self::ConsumerBacklogEviction,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Kind {
    DestinationStorage,
    MessageAge,
}

/// Which of a topic's quotas.
#[derive(Debug, clap::Args)]
pub(crate) struct QuotaKind {
    /// Which one
    #[arg(short = 't', long = "type", value_enum, default_value = "destination_storage")]
    kind: Kind,
}

impl QuotaKind {
    pub(crate) fn word(&self) -> &'static str {
        match self.kind {
            Kind::DestinationStorage => STORAGE,
            Kind::MessageAge => AGE,
        }
    }
}

/// A bound on backlog, by size, by age or both.
#[derive(Debug, clap::Args)]
pub(crate) struct Quota {
    /// Size such as 512M, 10G
    #[arg(short = 'l', long, alias = "limit", value_name = "SIZE", value_parser = parse_size, required_unless_present = "limit_time")]
    limit_size: Option<i64>,
    /// Age of the oldest message, such as 1h
    #[arg(long, value_name = "TIME", value_parser = parse_seconds)]
    limit_time: Option<i64>,
    /// What happens when it is passed
    #[arg(short, long, value_enum, default_value = "producer_request_hold")]
    policy: Policy,
}

impl Quota {
    /// As the broker wants them: each kind by itself.
    pub(crate) fn of_kinds(&self) -> impl Iterator<Item = (&'static str, BacklogQuotaData)> {
        let policy = Some(self.policy.into());
        let size = self.limit_size.map(|n| (STORAGE, BacklogQuotaData { limit_size: Some(n), ..Default::default() }));
        let time = self.limit_time.map(|n| (AGE, BacklogQuotaData { limit_time: Some(n), ..Default::default() }));
        size.into_iter().chain(time).map(move |(kind, quota)| (kind, BacklogQuotaData { policy, ..quota }))
    }
}

/// Retention of so many seconds and bytes, rounded up to what Pulsar counts in; -1 is no bound.
pub(crate) fn retention(time: i64, size: i64) -> RetentionPolicies {
    let minutes = if time < 0 { -1 } else { time.saturating_add(59) / 60 };
    let mebibytes = if size < 0 { -1 } else { size.saturating_add((1 << 20) - 1) >> 20 };
    RetentionPolicies { retention_time_in_minutes: minutes, retention_size_in_mb: mebibytes }
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Switch {
    /// Turn it on
    #[arg(short, long)]
    enable: bool,
    /// Turn it off
    #[arg(short, long)]
    disable: bool,
}

const STORAGE: &str = "destination_storage";
const AGE: &str = "message_age";

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let admin = args.web.admin()?;
    let format = args.web.output;
    let policy = |name: &Name, path: &'static str| admin.namespace(&name.namespace).at([path]);
    let changed = |name: &Name| done(format, "changed", name.namespace.as_str());
    match args.command {
        Command::List { tenant } => list(format, &admin.at(["namespaces", &tenant]).get::<Vec<String>>().await?),
        Command::Topics(name) => list(format, &policy(&name, "topics").get::<Vec<String>>().await?),
        Command::Create { name, bundles } => {
            let call = admin.namespace(&name.namespace);
            match bundles {
                Some(n) => call.json(&serde_json::json!({ "bundles": { "numBundles": n } })),
                None => call,
            }
            .put()
            .await?;
            done(format, "created", name.namespace.as_str())
        }
        Command::Delete { name, force } => {
            let call = admin.namespace(&name.namespace);
            if force { call.query("force", true) } else { call }.delete().await?;
            done(format, "deleted", name.namespace.as_str())
        }
        Command::Policies(name) => policies(format, admin.namespace(&name.namespace).get().await?),
        Command::Unload(name) => {
            policy(&name, "unload").put().await?;
            done(format, "unloaded", name.namespace.as_str())
        }
        Command::ClearBacklog { name, subscription, force } => {
            anyhow::ensure!(force, "this acknowledges messages that nobody has read; say --force if that is wanted");
            policy(&name, "clearBacklog").at(subscription).post().await?;
            done(format, "cleared the backlog of", name.namespace.as_str())
        }
        Command::SetRetention { name, time, size } => {
            policy(&name, "retention").json(&retention(time, size)).post().await?;
            changed(&name)
        }
        Command::GetRetention(name) => {
            show(format, policy(&name, "retention").get_optional().await?, |retention: &RetentionPolicies| {
                let minutes = retention.retention_time_in_minutes;
                let mebibytes = retention.retention_size_in_mb;
                let time = seconds(if minutes < 0 { -1 } else { minutes.saturating_mul(60) });
                format!(
                    "time {time}, size {}",
                    size(if mebibytes < 0 { -1 } else { mebibytes.saturating_mul(1 << 20) })
                )
            })
        }
        Command::RemoveRetention(name) => {
            policy(&name, "retention").delete().await?;
            changed(&name)
        }
        Command::SetMessageTtl { name, time, ttl } => {
            policy(&name, "messageTTL").json(&time.or(ttl).unwrap_or(0).max(0)).post().await?;
            changed(&name)
        }
        Command::GetMessageTtl(name) => {
            show(format, policy(&name, "messageTTL").get_optional().await?, |ttl: &i64| seconds(*ttl))
        }
        Command::RemoveMessageTtl(name) => {
            policy(&name, "messageTTL").delete().await?;
            changed(&name)
        }
        Command::SetBacklogQuota { name, quota } => {
            for (kind, quota) in quota.of_kinds() {
                policy(&name, "backlogQuota").query("backlogQuotaType", kind).json(&quota).post().await?;
            }
            changed(&name)
        }
        Command::GetBacklogQuota(name) => {
            let quotas: BTreeMap<BacklogQuotaType, BacklogQuotaData> = policy(&name, "backlogQuotaMap").get().await?;
            match format {
                Output::Json => output::json(&quotas),
                Output::Pretty if quotas.is_empty() => output::line(NOT_SET),
                Output::Pretty => output::print(&output::pairs(quotas.iter().map(|(kind, quota)| {
                    let policy = quota.policy.as_ref().map(word).unwrap_or_default();
                    match kind {
                        BacklogQuotaType::DestinationStorage => {
                            (STORAGE, format!("{}, {policy}", size(quota.limit_size.or(quota.limit).unwrap_or(-1))))
                        }
                        BacklogQuotaType::MessageAge => {
                            (AGE, format!("{}, {policy}", seconds(quota.limit_time.unwrap_or(-1))))
                        }
                    }
                }))),
            }
        }
        Command::RemoveBacklogQuota { name, kind } => {
            policy(&name, "backlogQuota").query("backlogQuotaType", kind.word()).delete().await?;
            changed(&name)
        }
        Command::SetDeduplication { name, switch } => {
            policy(&name, "deduplication").json(&switch.enable).post().await?;
            changed(&name)
        }
        Command::GetDeduplication(name) => {
            show(format, policy(&name, "deduplication").get_optional().await?, |on: &bool| on_off(*on))
        }
        Command::RemoveDeduplication(name) => {
            policy(&name, "deduplication").delete().await?;
            changed(&name)
        }
        Command::SetAutoTopicCreation { name, switch, partitions } => {
            let auto = AutoTopicCreation {
                allow_auto_topic_creation: switch.enable,
                topic_type: Some(if partitions.is_some() { "partitioned" } else { "non-partitioned" }.to_owned()),
                default_num_partitions: partitions,
            };
            policy(&name, "autoTopicCreation").json(&auto).post().await?;
            changed(&name)
        }
        Command::GetAutoTopicCreation(name) => show(
            format,
            policy(&name, "autoTopicCreation").get_optional().await?,
            |auto: &AutoTopicCreation| match auto.default_num_partitions {
                Some(n) if auto.allow_auto_topic_creation => format!("on, {n} partitions"),
                _ => on_off(auto.allow_auto_topic_creation),
            },
        ),
        Command::RemoveAutoTopicCreation(name) => {
            policy(&name, "autoTopicCreation").delete().await?;
            changed(&name)
        }
        Command::SetMaxUnackedMessagesPerConsumer { name, count } => {
            policy(&name, "maxUnackedMessagesPerConsumer").json(&count).post().await?;
            changed(&name)
        }
        Command::GetMaxUnackedMessagesPerConsumer(name) => {
            show(format, policy(&name, "maxUnackedMessagesPerConsumer").get_optional().await?, i64::to_string)
        }
        Command::RemoveMaxUnackedMessagesPerConsumer(name) => {
            policy(&name, "maxUnackedMessagesPerConsumer").delete().await?;
            changed(&name)
        }
        Command::SetMaxUnackedMessagesPerSubscription { name, count } => {
            policy(&name, "maxUnackedMessagesPerSubscription").json(&count).post().await?;
            changed(&name)
        }
        Command::GetMaxUnackedMessagesPerSubscription(name) => {
            show(format, policy(&name, "maxUnackedMessagesPerSubscription").get_optional().await?, i64::to_string)
        }
        Command::RemoveMaxUnackedMessagesPerSubscription(name) => {
            policy(&name, "maxUnackedMessagesPerSubscription").delete().await?;
            changed(&name)
        }
    }
}

const NOT_SET: &str = "not set; the broker's configuration holds";

/// A policy, or that there is none.
fn show<T: serde::Serialize>(format: Output, value: Option<T>, text: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
    match (format, value) {
        (Output::Json, value) => output::json(&value),
        (Output::Pretty, None) => output::line(NOT_SET),
        (Output::Pretty, Some(value)) => output::line(text(&value)),
    }
}

fn on_off(on: bool) -> String {
    if on { "on" } else { "off" }.to_owned()
}

/// A policy's name as it is written in JSON.
fn word(policy: &RetentionPolicy) -> String {
    serde_json::to_value(policy).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

/// What is set, one policy a line; what is empty is left out.
fn policies(format: Output, all: Value) -> anyhow::Result<()> {
    if format == Output::Json {
        return output::json(&all);
    }
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(values) => values.is_empty(),
        Value::Object(map) => map.values().all(|v| matches!(v, Value::Object(m) if m.is_empty())),
        _ => false,
    };
    let Value::Object(all) = all else { anyhow::bail!("the broker's answer is no object") };
    output::print(&output::pairs(all.into_iter().filter(|(_, value)| !empty(value)).map(|(name, value)| match value {
        Value::String(text) => (name, text),
        other => (name, other.to_string()),
    })))
}
