//! `geminga topics`.

use crate::{
    http::Admin,
    namespaces::{Quota, QuotaKind, retention},
    output::{self, Table, pairs},
    peek,
    produce::Output,
    service::pair,
    tenants::{done, list},
    units::{bytes, count, parse_seconds, parse_size, rate},
    web::Web,
};
use admin_api::{
    LookupData, MessageIdData, PartitionedTopicMetadata,
    stats::{InternalStats, PartitionedTopicStats, TopicStats},
};
use clap::ValueEnum;
use futures::{StreamExt, TryStreamExt, stream};
use model::{NamespaceName, TopicName};
use serde_json::Value;
use std::collections::BTreeMap;

/// Create, list, inspect and delete topics
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:\n  \
    geminga topics create orders --partitions 4\n  \
    geminga topics list --long\n  \
    geminga topics stats orders\n  \
    geminga topics peek-messages orders -s billing -n 3\n  \
    geminga topics delete orders --force\n\n\
    A topic is `orders`, `tenant/namespace/orders` or `persistent://tenant/namespace/orders`."
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    web: Web,
}

#[derive(Debug, clap::Args)]
struct Topic {
    /// The topic
    topic: TopicName,
}

#[derive(Debug, clap::Args)]
struct Partitions {
    /// Number of partitions
    #[arg(short, long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    partitions: u32,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Topics of a namespace, each partition by itself
    List {
        #[arg(default_value = "public/default")]
        namespace: NamespaceName,
        /// With rates, backlog and who is connected
        #[arg(short, long)]
        long: bool,
    },
    /// Partitioned topics of a namespace
    ListPartitionedTopics {
        #[arg(default_value = "public/default")]
        namespace: NamespaceName,
    },
    /// Create a topic
    Create {
        #[command(flatten)]
        topic: Topic,
        /// Make it partitioned
        #[arg(short, long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
        partitions: Option<u32>,
        /// Something to remember with it; may be repeated
        #[arg(short = 'm', long = "property", alias = "metadata", value_name = "NAME=VALUE", value_parser = pair)]
        property: Vec<(String, String)>,
    },
    /// Create a partitioned topic
    CreatePartitionedTopic {
        #[command(flatten)]
        topic: Topic,
        #[command(flatten)]
        partitions: Partitions,
    },
    /// Add partitions
    #[command(alias = "update-partitions")]
    UpdatePartitionedTopic {
        #[command(flatten)]
        topic: Topic,
        #[command(flatten)]
        partitions: Partitions,
    },
    /// Create partitions that are missing
    CreateMissedPartitions(Topic),
    /// How many partitions a topic has
    #[command(alias = "partitions")]
    GetPartitionedTopicMetadata(Topic),
    /// Delete topics; a partitioned one with all its partitions
    #[command(alias = "delete-partitioned-topic")]
    Delete {
        #[arg(required = true, value_name = "TOPIC")]
        topics: Vec<TopicName>,
        /// Disconnect who is using it
        #[arg(short, long)]
        force: bool,
    },
    /// Rates, backlog, producers, subscriptions
    Stats(Topic),
    /// The same for a partitioned topic, by partition where asked for
    PartitionedStats {
        #[command(flatten)]
        topic: Topic,
        /// Each partition by itself, too
        #[arg(long)]
        per_partition: bool,
    },
    /// Ledgers and cursors
    #[command(alias = "internal-stats")]
    StatsInternal(Topic),
    /// The id of the last message
    LastMessageId(Topic),
    /// The id of the first message published at a time or later
    GetMessageId {
        #[command(flatten)]
        topic: Topic,
        /// When: a date such as 2026-01-31T12:00:00Z, or a time ago such as 10m
        #[arg(value_name = "TIME", value_parser = crate::subscriptions::parse_time)]
        time: u64,
    },
    /// Print messages that a subscription has not acknowledged, and leave them there
    #[command(alias = "peek")]
    PeekMessages {
        #[command(flatten)]
        topic: Topic,
        /// The subscription
        #[arg(short, long, value_name = "NAME")]
        subscription: String,
        /// How many entries
        #[arg(short = 'n', long = "count", value_name = "COUNT", default_value_t = 1)]
        count: u64,
    },
    /// Print the entry at a position
    GetMessageById {
        #[command(flatten)]
        topic: Topic,
        #[arg(short, long)]
        ledger_id: u64,
        #[arg(short, long)]
        entry_id: u64,
    },
    /// Print an entry counted from the first or the last stored
    ExamineMessages {
        #[command(flatten)]
        topic: Topic,
        /// Counted from here
        #[arg(short = 'i', long, value_enum, default_value = "latest")]
        initial_position: From,
        /// Which one, from 1
        #[arg(short = 'm', long, value_name = "N", default_value_t = 1)]
        message_position: u64,
    },
    /// Names of a topic's subscriptions
    Subscriptions(Topic),
    /// Which broker serves a topic
    Lookup(Topic),
    /// What was attached to a topic
    GetProperties(Topic),
    /// Attach something to a topic
    UpdateProperties {
        #[command(flatten)]
        topic: Topic,
        #[arg(short, long = "property", value_name = "NAME=VALUE", value_parser = pair, required = true)]
        property: Vec<(String, String)>,
    },
    /// Remove what was attached to a topic
    RemoveProperties {
        #[command(flatten)]
        topic: Topic,
        #[arg(short, long)]
        key: String,
    },
    /// What is set for a topic, before what its namespace says
    #[command(alias = "get-policies")]
    Policies(Topic),
    /// Keep acknowledged messages this long and this much; what passes either bound goes
    SetRetention {
        #[command(flatten)]
        topic: Topic,
        /// Time such as 10m, 3h, 7d; 0 keeps nothing, -1 is no bound
        #[arg(short, long, value_name = "TIME", value_parser = parse_seconds, allow_hyphen_values = true)]
        time: i64,
        /// Size such as 512M, 10G; 0 keeps nothing, -1 is no bound
        #[arg(short, long, value_name = "SIZE", value_parser = parse_size, allow_hyphen_values = true)]
        size: i64,
    },
    /// Keep acknowledged messages as the namespace says
    RemoveRetention(Topic),
    /// Messages that are not acknowledged expire after this time
    SetMessageTtl {
        #[command(flatten)]
        topic: Topic,
        /// Time such as 90s, 12h; 0 is never
        #[arg(value_name = "TIME", value_parser = parse_seconds)]
        time: i64,
    },
    /// Expire messages as the namespace says
    RemoveMessageTtl(Topic),
    /// Bound what subscriptions may leave unacknowledged
    SetBacklogQuota {
        #[command(flatten)]
        topic: Topic,
        #[command(flatten)]
        quota: Quota,
    },
    /// Bound backlogs as the namespace says
    RemoveBacklogQuota {
        #[command(flatten)]
        topic: Topic,
        #[command(flatten)]
        kind: QuotaKind,
    },
    /// Close a topic; its clients look it up again
    Unload(Topic),
    /// Take no more messages; consumers that have read all are told that it is the end
    Terminate(Topic),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum From {
    Earliest,
    Latest,
}

/// Requests under way at once where one is needed for each topic.
const CONCURRENT: usize = 16;

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let admin = args.web.admin()?;
    let format = args.web.output;
    match args.command {
        Command::List { namespace, long } => {
            let path = ["persistent", namespace.tenant(), namespace.local()];
            let names: Vec<String> = admin.at(path).get().await?;
            if long { list_long(format, &admin, &names).await } else { list(format, &names) }
        }
        Command::ListPartitionedTopics { namespace } => {
            let path = ["persistent", namespace.tenant(), namespace.local(), "partitioned"];
            list(format, &admin.at(path).get::<Vec<String>>().await?)
        }
        Command::Create { topic: Topic { topic }, partitions, property } => {
            let properties: BTreeMap<_, _> = property.into_iter().collect();
            match partitions {
                None if properties.is_empty() => admin.topic(&topic).put().await?,
                None => admin.topic(&topic).json(&properties).put().await?,
                Some(n) => {
                    admin.topic(&topic).at(["partitions"]).json(&n).put().await?;
                    if !properties.is_empty() {
                        admin.topic(&topic).at(["properties"]).json(&properties).put().await?;
                    }
                }
            }
            done(format, "created", &topic.to_string())
        }
        Command::CreatePartitionedTopic { topic: Topic { topic }, partitions } => {
            admin.topic(&topic).at(["partitions"]).json(&partitions.partitions).put().await?;
            done(format, "created", &topic.to_string())
        }
        Command::UpdatePartitionedTopic { topic: Topic { topic }, partitions } => {
            admin.topic(&topic).at(["partitions"]).json(&partitions.partitions).post().await?;
            done(format, "changed", &topic.to_string())
        }
        Command::CreateMissedPartitions(Topic { topic }) => {
            admin.topic(&topic).at(["createMissedPartitions"]).post().await?;
            done(format, "completed", &topic.to_string())
        }
        Command::GetPartitionedTopicMetadata(Topic { topic }) => {
            let metadata: PartitionedTopicMetadata = admin.topic(&topic).at(["partitions"]).get().await?;
            match format {
                Output::Json => output::json(&metadata),
                Output::Pretty if metadata.partitions == 0 => output::line(format!("{topic} is not partitioned")),
                Output::Pretty => output::line(format!("{topic} has {} partitions", metadata.partitions)),
            }
        }
        Command::Delete { topics, force } => {
            for topic in topics {
                let call = match partitions(&admin, &topic).await? {
                    0 => admin.topic(&topic),
                    _ => admin.topic(&topic).at(["partitions"]),
                };
                if force { call.query("force", true) } else { call }.delete().await?;
                done(format, "deleted", &topic.to_string())?;
            }
            Ok(())
        }
        Command::Stats(Topic { topic }) => match partitions(&admin, &topic).await? {
            0 => {
                let stats: TopicStats = of(&admin, &topic, "stats").await?;
                match format {
                    Output::Json => output::json(&stats),
                    Output::Pretty => output::print(&stats_text(&topic.to_string(), &stats)),
                }
            }
            _ => partitioned_stats(format, &admin, &topic, false).await,
        },
        Command::PartitionedStats { topic: Topic { topic }, per_partition } => {
            partitioned_stats(format, &admin, &topic, per_partition).await
        }
        Command::StatsInternal(Topic { topic }) => {
            let mut all = BTreeMap::new();
            for one in each(&admin, &topic).await? {
                all.insert(one.to_string(), of::<InternalStats>(&admin, &one, "internalStats").await?);
            }
            match (format, all.get(&topic.to_string())) {
                (Output::Json, Some(only)) => output::json(only),
                (Output::Json, None) => output::json(&all),
                (Output::Pretty, _) => {
                    let texts: Vec<_> = all.iter().map(|(name, stats)| internal_text(name, stats)).collect();
                    output::print(&texts.join("\n"))
                }
            }
        }
        Command::LastMessageId(Topic { topic }) => {
            let mut ids = BTreeMap::new();
            for one in each(&admin, &topic).await? {
                ids.insert(one.to_string(), of::<MessageIdData>(&admin, &one, "lastMessageId").await?);
            }
            message_ids(format, &topic, &ids)
        }
        Command::GetMessageId { topic: Topic { topic }, time } => {
            let mut ids = BTreeMap::new();
            for one in each(&admin, &topic).await? {
                let id: MessageIdData = admin.topic(&one).at(["messageid", &time.to_string()]).get().await?;
                ids.insert(one.to_string(), id);
            }
            message_ids(format, &topic, &ids)
        }
        Command::PeekMessages { topic: Topic { topic }, subscription, count } => {
            peek_messages(format, &admin, &topic, &subscription, 1, count).await
        }
        Command::GetMessageById { topic: Topic { topic }, ledger_id, entry_id } => {
            let path = ["ledger", &ledger_id.to_string(), "entry", &entry_id.to_string()].map(str::to_owned);
            let entry = admin.topic(&topic).at(path).entry().await?;
            peek::print(format, entry.as_slice())
        }
        Command::ExamineMessages { topic: Topic { topic }, initial_position, message_position } => {
            let from = match initial_position {
                From::Earliest => "earliest",
                From::Latest => "latest",
            };
            let call = admin.topic(&topic).at(["examinemessage"]).query("initialPosition", from);
            let entry = call.query("messagePosition", message_position).entry().await?;
            peek::print(format, entry.as_slice())
        }
        Command::Subscriptions(Topic { topic }) => {
            list(format, &of::<Vec<String>>(&admin, &topic, "subscriptions").await?)
        }
        Command::Lookup(Topic { topic }) => {
            let namespace = topic.namespace();
            let path = [
                "lookup",
                "v2",
                "topic",
                topic.domain().as_str(),
                namespace.tenant(),
                namespace.local(),
                topic.local(),
            ];
            let found: LookupData = admin.path(path).get().await?;
            match format {
                Output::Json => output::json(&found),
                Output::Pretty => output::line(format!("{}  {}", found.broker_url, found.http_url)),
            }
        }
        Command::GetProperties(Topic { topic }) => {
            let found = admin.topic(&topic).at(["properties"]).get_optional::<BTreeMap<String, String>>().await?;
            let properties = found.unwrap_or_default();
            match format {
                Output::Json => output::json(&properties),
                Output::Pretty => output::print(&pairs(properties)),
            }
        }
        Command::UpdateProperties { topic: Topic { topic }, property } => {
            let properties: BTreeMap<_, _> = property.into_iter().collect();
            admin.topic(&topic).at(["properties"]).json(&properties).put().await?;
            done(format, "changed", &topic.to_string())
        }
        Command::RemoveProperties { topic: Topic { topic }, key } => {
            admin.topic(&topic).at(["properties"]).query("key", key).delete().await?;
            done(format, "changed", &topic.to_string())
        }
        Command::Policies(Topic { topic }) => policies(format, &admin, &topic).await,
        Command::SetRetention { topic: Topic { topic }, time, size } => {
            admin.topic(&topic).at(["retention"]).json(&retention(time, size)).post().await?;
            done(format, "changed", &topic.to_string())
        }
        Command::RemoveRetention(Topic { topic }) => {
            admin.topic(&topic).at(["retention"]).delete().await?;
            done(format, "changed", &topic.to_string())
        }
        Command::SetMessageTtl { topic: Topic { topic }, time } => {
            admin.topic(&topic).at(["messageTTL"]).query("messageTTL", time.max(0)).post().await?;
            done(format, "changed", &topic.to_string())
        }
        Command::RemoveMessageTtl(Topic { topic }) => {
            admin.topic(&topic).at(["messageTTL"]).delete().await?;
            done(format, "changed", &topic.to_string())
        }
        Command::SetBacklogQuota { topic: Topic { topic }, quota } => {
            for (kind, quota) in quota.of_kinds() {
                let call = admin.topic(&topic).at(["backlogQuota"]).query("backlogQuotaType", kind);
                call.json(&quota).post().await?;
            }
            done(format, "changed", &topic.to_string())
        }
        Command::RemoveBacklogQuota { topic: Topic { topic }, kind } => {
            admin.topic(&topic).at(["backlogQuota"]).query("backlogQuotaType", kind.word()).delete().await?;
            done(format, "changed", &topic.to_string())
        }
        Command::Unload(Topic { topic }) => {
            admin.topic(&topic).at(["unload"]).put().await?;
            done(format, "unloaded", &topic.to_string())
        }
        Command::Terminate(Topic { topic }) => {
            let mut ids = BTreeMap::new();
            if partitions(&admin, &topic).await? == 0 {
                ids.insert(topic.to_string(), admin.topic(&topic).at(["terminate"]).post_for().await?);
            } else {
                let call = admin.topic(&topic).at(["terminate", "partitions"]);
                let by_index: BTreeMap<u32, MessageIdData> = call.post_for().await?;
                ids.extend(by_index.into_iter().map(|(n, id)| (topic.with_partition(n).to_string(), id)));
            }
            message_ids(format, &topic, &ids)
        }
    }
}

async fn of<T: serde::de::DeserializeOwned>(admin: &Admin, topic: &TopicName, what: &str) -> anyhow::Result<T> {
    Ok(admin.topic(topic).at([what]).get().await?)
}

/// How many partitions a topic has; 0 when it is not partitioned.
pub(crate) async fn partitions(admin: &Admin, topic: &TopicName) -> anyhow::Result<u32> {
    if topic.partition().is_some() {
        return Ok(0);
    }
    Ok(of::<PartitionedTopicMetadata>(admin, topic, "partitions").await?.partitions)
}

/// The partitions of a topic, or the topic itself.
pub(crate) async fn each(admin: &Admin, topic: &TopicName) -> anyhow::Result<Vec<TopicName>> {
    Ok(match partitions(admin, topic).await? {
        0 => vec![topic.clone()],
        n => (0..n).map(|index| topic.with_partition(index)).collect(),
    })
}

/// Prints up to `count` entries of each partition, from the `first`th on (counted from 1).
pub(crate) async fn peek_messages(
    format: Output,
    admin: &Admin,
    topic: &TopicName,
    subscription: &str,
    first: u64,
    count: u64,
) -> anyhow::Result<()> {
    let mut entries = Vec::new();
    for one in each(admin, topic).await? {
        for n in first..first.saturating_add(count) {
            let path = ["subscription", subscription, "position", &n.to_string()].map(str::to_owned);
            match admin.topic(&one).at(path).entry().await? {
                Some(entry) => entries.push(entry),
                None => break,
            }
        }
    }
    peek::print(format, &entries)
}

async fn list_long(format: Output, admin: &Admin, names: &[String]) -> anyhow::Result<()> {
    let stats: BTreeMap<String, TopicStats> = stream::iter(names)
        .map(|name| async move {
            let topic: TopicName = name.parse()?;
            let stats = admin.topic(&topic).at(["stats"]).get::<TopicStats>().await;
            match stats {
                Ok(stats) => Ok(Some((name.clone(), stats))),
                // It was deleted meanwhile.
                Err(error) if error.is_not_found() => Ok(None),
                Err(error) => Err(anyhow::Error::new(error)),
            }
        })
        .buffered(CONCURRENT)
        .try_filter_map(|found| async move { Ok(found) })
        .try_collect()
        .await?;
    match format {
        Output::Json => output::json(&stats),
        Output::Pretty => output::print(&topics_table(&stats).text()),
    }
}

/// Policies that a topic may have, by the last part of their paths.
const POLICIES: [&str; 11] = [
    "retention",
    "messageTTL",
    "backlogQuotaMap",
    "deduplicationEnabled",
    "persistence",
    "maxProducers",
    "maxConsumers",
    "maxConsumersPerSubscription",
    "maxSubscriptionsPerTopic",
    "maxUnackedMessagesOnConsumer",
    "maxUnackedMessagesOnSubscription",
];

async fn policies(format: Output, admin: &Admin, topic: &TopicName) -> anyhow::Result<()> {
    let mut set = BTreeMap::new();
    for policy in POLICIES {
        let value: Option<Value> = admin.topic(topic).at([policy]).get_optional().await?;
        if let Some(value) = value.filter(|value| value.as_object().is_none_or(|map| !map.is_empty())) {
            set.insert(policy, value);
        }
    }
    match format {
        Output::Json => output::json(&set),
        Output::Pretty if set.is_empty() => output::line("nothing is set; the namespace's policies hold"),
        Output::Pretty => output::print(&pairs(set.into_iter().map(|(name, value)| (name, value.to_string())))),
    }
}

fn topics_table(topics: &BTreeMap<String, TopicStats>) -> Table {
    let mut table =
        Table::new(["TOPIC", "PRODUCERS", "SUBSCRIPTIONS", "CONSUMERS", "IN/S", "OUT/S", "BACKLOG", "STORED"]);
    for (name, stats) in topics {
        let consumers: usize = stats.subscriptions.values().map(|s| s.consumers.len()).sum();
        let backlog: i64 = stats.subscriptions.values().map(|s| s.msg_backlog).sum();
        table.row([
            name.clone(),
            stats.publishers.len().to_string(),
            stats.subscriptions.len().to_string(),
            consumers.to_string(),
            rate(stats.msg_rate_in),
            rate(stats.msg_rate_out),
            count(backlog),
            bytes(stats.storage_size),
        ]);
    }
    table
}

async fn partitioned_stats(
    format: Output,
    admin: &Admin,
    topic: &TopicName,
    per_partition: bool,
) -> anyhow::Result<()> {
    let call = admin.topic(topic).at(["partitioned-stats"]).query("perPartition", per_partition);
    let stats: PartitionedTopicStats = call.get().await?;
    if format == Output::Json {
        return output::json(&stats);
    }
    let name = format!("{topic} ({} partitions)", stats.metadata.partitions);
    let mut text = stats_text(&name, &stats.sum);
    if per_partition {
        text += &format!("\n{}", topics_table(&stats.partitions).text());
    }
    output::print(&text)
}

fn stats_text(name: &str, stats: &TopicStats) -> String {
    let flow = |per_s: f64, throughput: f64, messages: i64, size: i64| {
        let (throughput, size) = (bytes(throughput as i64), bytes(size));
        format!("{} messages/s, {throughput}/s; {} messages, {size} so far", rate(per_s), count(messages))
    };
    let mut text = format!("{}\n", output::shown(name));
    let mut lines = vec![
        ("  in", flow(stats.msg_rate_in, stats.msg_throughput_in, stats.msg_in_counter, stats.bytes_in_counter)),
        ("  out", flow(stats.msg_rate_out, stats.msg_throughput_out, stats.msg_out_counter, stats.bytes_out_counter)),
        ("  stored", bytes(stats.storage_size)),
        ("  backlog", bytes(stats.backlog_size)),
    ];
    if !stats.deduplication_status.is_empty() {
        lines.push(("  deduplication", stats.deduplication_status.to_lowercase()));
    }
    text += &pairs(lines);
    let mut producers = Table::new(["PRODUCER", "ADDRESS", "CLIENT", "IN/S", "ACCESS", "SINCE"]);
    for p in &stats.publishers {
        let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        producers.row([
            or_none(&p.producer_name),
            or_none(&p.address),
            or_none(&p.client_version),
            rate(p.msg_rate_in),
            or_none(&p.access_mode),
            or_none(&p.connected_since),
        ]);
    }
    if !producers.is_empty() {
        text += &format!("\n{}", producers.text());
    }
    let subscriptions = crate::subscriptions::table(&stats.subscriptions);
    if !subscriptions.is_empty() {
        text += &format!("\n{}", subscriptions.text());
    }
    let consumers = crate::subscriptions::consumers(&stats.subscriptions);
    if !consumers.is_empty() {
        text += &format!("\n{}", consumers.text());
    }
    text
}

fn internal_text(name: &str, stats: &InternalStats) -> String {
    let mut text = format!("{}\n", output::shown(name));
    text += &pairs([
        ("  state", stats.state.clone()),
        (
            "  entries",
            format!("{} stored, {} added so far", count(stats.number_of_entries), count(stats.entries_added_counter)),
        ),
        ("  size", bytes(stats.total_size)),
        ("  last confirmed entry", stats.last_confirmed_entry.clone()),
    ]);
    let mut ledgers = Table::new(["LEDGER", "ENTRIES", "SIZE"]);
    for ledger in &stats.ledgers {
        ledgers.row([ledger.ledger_id.to_string(), count(ledger.entries), bytes(ledger.size)]);
    }
    text += &format!("\n{}", ledgers.text());
    let mut cursors = Table::new(["CURSOR", "MARK DELETE", "READ", "BEYOND", "STATE"]);
    for (name, cursor) in &stats.cursors {
        cursors.row([
            name.clone(),
            cursor.mark_delete_position.clone(),
            cursor.read_position.clone(),
            cursor.individually_deleted_messages.clone(),
            cursor.state.clone(),
        ]);
    }
    if !cursors.is_empty() {
        text += &format!("\n{}", cursors.text());
    }
    text
}

fn message_ids(format: Output, topic: &TopicName, ids: &BTreeMap<String, MessageIdData>) -> anyhow::Result<()> {
    let text = |id: &MessageIdData| {
        let batch = if id.batch_index < 0 { String::new() } else { format!(":{}", id.batch_index) };
        format!("{}:{}:{}{batch}", id.ledger_id, id.entry_id, id.partition_index)
    };
    match (format, ids.get(&topic.to_string())) {
        (Output::Json, Some(only)) => output::json(only),
        (Output::Json, None) => output::json(ids),
        (Output::Pretty, Some(only)) => output::line(text(only)),
        (Output::Pretty, None) => output::print(&pairs(ids.iter().map(|(name, id)| (name, text(id))))),
    }
}
