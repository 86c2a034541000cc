//! `geminga topics`.

use crate::{
    http::{Admin, Output, path},
    service::pair,
    show,
};
use anyhow::{Context, bail};
use clap::Subcommand;
use model::{NamespaceName, TopicName};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const EXAMPLES: &str = "\
Examples:
  geminga topics create orders --partitions 4
  geminga topics list
  geminga topics stats orders
  geminga topics peek orders -s billing -n 3";

/// What can be done with topics. A short name such as `orders` means persistent://public/default/orders.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum Command {
    /// List topics, each partition by itself
    List {
        /// The namespace
        #[arg(default_value = "public/default")]
        namespace: NamespaceName,
        /// Partitioned topics instead
        #[arg(long)]
        partitioned: bool,
        #[command(flatten)]
        admin: Admin,
    },
    /// Create a topic
    Create {
        /// Its name
        topic: TopicName,
        /// Divide it into this many partitions
        #[arg(long)]
        partitions: Option<u32>,
        /// Attach a property, `name=value`
        #[arg(short, long = "property", value_parser = pair)]
        properties: Vec<(String, String)>,
        #[command(flatten)]
        admin: Admin,
    },
    /// Raise the number of partitions
    UpdatePartitions {
        /// A partitioned topic
        topic: TopicName,
        /// How many from now on
        partitions: u32,
        #[command(flatten)]
        admin: Admin,
    },
    /// Show how many partitions a topic has
    Partitions {
        /// The topic
        topic: TopicName,
        #[command(flatten)]
        admin: Admin,
    },
    /// Delete a topic and everything in it
    Delete {
        /// The topic
        topic: TopicName,
        /// Even when somebody is connected or subscribed
        #[arg(short, long)]
        force: bool,
        #[command(flatten)]
        admin: Admin,
    },
    /// Show who is connected, what is stored, who lags behind
    Stats {
        /// The topic
        topic: TopicName,
        #[command(flatten)]
        admin: Admin,
    },
    /// Show ledgers and cursors
    InternalStats {
        /// The topic
        topic: TopicName,
        #[command(flatten)]
        admin: Admin,
    },
    /// Show the id of the last message
    LastMessageId {
        /// The topic
        topic: TopicName,
        #[command(flatten)]
        admin: Admin,
    },
    /// Look at messages that a subscription has not acknowledged, without taking them
    Peek {
        /// The topic
        topic: TopicName,
        /// The subscription
        #[arg(short, long)]
        subscription: String,
        /// How many entries
        #[arg(short = 'n', long, default_value_t = 1)]
        count: u64,
        #[command(flatten)]
        admin: Admin,
    },
    /// Close a topic; its clients reconnect
    Unload {
        /// The topic
        topic: TopicName,
        #[command(flatten)]
        admin: Admin,
    },
    /// Take no more messages from now on
    Terminate {
        /// The topic
        topic: TopicName,
        #[command(flatten)]
        admin: Admin,
    },
}

/// The path of a topic in the REST API.
pub(crate) fn topic_path(topic: &TopicName, rest: &[&str]) -> String {
    let namespace = topic.namespace();
    let mut parts = vec![topic.domain().as_str(), namespace.tenant(), namespace.local(), topic.local()];
    parts.extend(rest);
    path(&parts)
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::List { namespace, partitioned, admin } => {
            let mut parts = vec!["persistent", namespace.tenant(), namespace.local()];
            if partitioned {
                parts.push("partitioned");
            }
            show::list(&admin, &admin.get(&path(&parts)).await?);
        }
        Command::Create { topic, partitions, properties, admin } => {
            match partitions {
                Some(n) => admin.put(&topic_path(&topic, &["partitions"]), Some(json!(n))).await?,
                None => {
                    let properties: BTreeMap<_, _> = properties.into_iter().collect();
                    admin.put(&topic_path(&topic, &[]), Some(json!(properties))).await?
                }
            };
            show::done(&admin, &format!("created {topic}"));
        }
        Command::UpdatePartitions { topic, partitions, admin } => {
            admin.post(&topic_path(&topic, &["partitions"]), Some(json!(partitions))).await?;
            show::done(&admin, &format!("{topic} has {partitions} partitions"));
        }
        Command::Partitions { topic, admin } => {
            show::value(&admin, &admin.get(&topic_path(&topic, &["partitions"])).await?);
        }
        Command::Delete { topic, force, admin } => {
            let parts: &[&str] = if is_partitioned(&admin, &topic).await? { &["partitions"] } else { &[] };
            admin.delete(&format!("{}?force={force}", topic_path(&topic, parts))).await?;
            show::done(&admin, &format!("deleted {topic}"));
        }
        Command::Stats { topic, admin } => {
            let what = if is_partitioned(&admin, &topic).await? { "partitioned-stats" } else { "stats" };
            let stats = admin.get(&topic_path(&topic, &[what])).await?;
            if admin.output == Output::Json { show::json(&stats) } else { print_stats(&topic, &stats) }
        }
        Command::InternalStats { topic, admin } => {
            show::json(&admin.get(&topic_path(&topic, &["internalStats"])).await?);
        }
        Command::LastMessageId { topic, admin } => {
            let id = admin.get(&topic_path(&topic, &["lastMessageId"])).await?;
            if admin.output == Output::Json {
                show::json(&id);
            } else {
                println!("{}:{}", show::plain(&id["ledgerId"]), show::plain(&id["entryId"]));
            }
        }
        Command::Peek { topic, subscription, count, admin } => peek(&topic, &subscription, count, &admin).await?,
        Command::Unload { topic, admin } => {
            admin.put(&topic_path(&topic, &["unload"]), None).await?;
            show::done(&admin, &format!("unloaded {topic}"));
        }
        Command::Terminate { topic, admin } => {
            let last = admin.post(&topic_path(&topic, &["terminate"]), None).await?;
            show::value(&admin, &last);
        }
    }
    Ok(())
}

async fn is_partitioned(admin: &Admin, topic: &TopicName) -> anyhow::Result<bool> {
    if topic.partition().is_some() {
        return Ok(false);
    }
    let metadata = admin.get(&topic_path(topic, &["partitions"])).await?;
    Ok(metadata["partitions"].as_u64().unwrap_or(0) > 0)
}

async fn peek(topic: &TopicName, subscription: &str, count: u64, admin: &Admin) -> anyhow::Result<()> {
    for n in 1..=count {
        let path = topic_path(topic, &["subscription", subscription, "position", &n.to_string()]);
        let response = match admin.send(reqwest::Method::GET, &path, None).await {
            Ok(response) => response,
            Err(error) if n > 1 && error.to_string().contains("Message not found") => break,
            Err(error) => return Err(error),
        };
        let headers: BTreeMap<String, String> = response
            .headers()
            .iter()
            .filter_map(|(name, value)| {
                Some((name.as_str().strip_prefix("x-pulsar-")?.to_owned(), value.to_str().ok()?.to_owned()))
            })
            .collect();
        let payload = response.bytes().await.context("read the message")?;
        let text = String::from_utf8_lossy(&payload);
        if admin.output == Output::Json {
            println!("{}", json!({ "headers": headers, "payload": text }));
        } else {
            let said: Vec<_> = headers.iter().map(|(name, value)| format!("{name}={value}")).collect();
            println!("{}\n  {text}", said.join(" "));
        }
    }
    if count == 0 {
        bail!("-n counts from 1");
    }
    Ok(())
}

fn print_stats(topic: &TopicName, stats: &Value) {
    println!("{topic}");
    println!(
        "  in   {} msg/s, {}/s, {} messages since it was loaded",
        show::plain(&stats["msgRateIn"]),
        show::bytes(&stats["msgThroughputIn"]),
        show::plain(&stats["msgInCounter"])
    );
    println!("  out  {} msg/s, {}/s", show::plain(&stats["msgRateOut"]), show::bytes(&stats["msgThroughputOut"]));
    println!(
        "  stored {}, producers {}",
        show::bytes(&stats["storageSize"]),
        stats["publishers"].as_array().map_or(0, Vec::len)
    );
    let Some(subscriptions) = stats["subscriptions"].as_object().filter(|s| !s.is_empty()) else {
        println!("  no subscriptions");
        return;
    };
    let rows: Vec<_> = subscriptions
        .iter()
        .map(|(name, s)| {
            vec![
                name.clone(),
                show::plain(&s["type"]),
                s["consumers"].as_array().map_or(0, Vec::len).to_string(),
                show::plain(&s["msgBacklog"]),
                show::plain(&s["unackedMessages"]),
                show::plain(&s["msgRateOut"]),
            ]
        })
        .collect();
    show::table(&["SUBSCRIPTION", "TYPE", "CONSUMERS", "BACKLOG", "UNACKED", "MSG/S"], &rows);
}
