//! `geminga subscriptions`.

use crate::{
    http::Admin,
    output::{self, Table},
    produce::Output,
    service::pair,
    tenants::done,
    topics::{each, partitions, peek_messages},
    units::{bytes, count, parse_seconds, rate},
    web::Web,
};
use admin_api::stats::{PartitionedTopicStats, SubscriptionStats, TopicStats};
use model::TopicName;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

/// Create, list, move and delete subscriptions
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:\n  \
    geminga subscriptions list orders\n  \
    geminga subscriptions create orders billing --from earliest\n  \
    geminga subscriptions reset orders billing --to 2h\n  \
    geminga subscriptions peek orders billing -n 5\n  \
    geminga subscriptions clear orders billing\n\n\
    A topic is `orders`, `tenant/namespace/orders` or `persistent://tenant/namespace/orders`."
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    web: Web,
}

#[derive(Debug, clap::Args)]
struct Name {
    /// The topic
    topic: TopicName,
    /// The subscription
    subscription: String,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Subscriptions of a topic, with backlog and consumers
    List {
        /// The topic
        topic: TopicName,
        /// Each consumer, too
        #[arg(short, long)]
        consumers: bool,
    },
    /// Create a subscription
    Create {
        #[command(flatten)]
        name: Name,
        /// Where it begins: `earliest`, `latest` or an entry, `LEDGER:ENTRY`
        #[arg(long, alias = "messageId", value_name = "POSITION", default_value = "latest", value_parser = parse_position)]
        from: To,
        /// Something to remember with it; may be repeated
        #[arg(short = 'p', long = "property", value_name = "NAME=VALUE", value_parser = pair)]
        property: Vec<(String, String)>,
    },
    /// Delete a subscription
    #[command(alias = "unsubscribe")]
    Delete {
        #[command(flatten)]
        name: Name,
        /// Disconnect its consumers
        #[arg(short, long)]
        force: bool,
    },
    /// Acknowledge the next entries
    Skip {
        #[command(flatten)]
        name: Name,
        /// How many
        #[arg(short = 'n', long, value_name = "COUNT")]
        count: u64,
    },
    /// Acknowledge everything there is
    #[command(aliases = ["skip-all", "clear-backlog"])]
    Clear(Name),
    /// Move a subscription; its consumers are disconnected and come back
    #[command(alias = "reset-cursor")]
    Reset {
        #[command(flatten)]
        name: Name,
        /// `earliest`, `latest`, a time ago such as 10m or 3h, a date such as 2026-01-31T12:00:00Z, or an entry, `LEDGER:ENTRY`
        #[arg(long, alias = "time", value_name = "POSITION", value_parser = parse_to)]
        to: To,
    },
    /// Acknowledge messages older than a time
    #[command(alias = "expire-messages")]
    Expire {
        #[command(flatten)]
        name: Name,
        /// Time such as 10m, 3h, 7d
        #[arg(short = 't', long, alias = "expireTime", value_name = "TIME", value_parser = parse_seconds)]
        older_than: i64,
    },
    /// Print messages that are not acknowledged, and leave them there
    #[command(alias = "peek-messages")]
    Peek {
        #[command(flatten)]
        name: Name,
        /// How many entries
        #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 1)]
        count: u64,
        /// From which on, counted from 1
        #[arg(long, value_name = "N", default_value_t = 1)]
        first: u64,
    },
}

/// Where to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    Earliest,
    Latest,
    /// Milliseconds since 1970.
    Time(u64),
    Entry(u64, i64),
}

impl To {
    /// As a message id in JSON; a time has none.
    fn id(self) -> Option<Value> {
        let id = |ledger: i64, entry: i64| json!({ "ledgerId": ledger, "entryId": entry, "partitionIndex": -1 });
        match self {
            Self::Earliest => Some(id(-1, -1)),
            Self::Latest => Some(id(i64::MAX, i64::MAX)),
            Self::Entry(ledger, entry) => Some(id(i64::try_from(ledger).ok()?, entry)),
            Self::Time(_) => None,
        }
    }
}

fn parse_position(text: &str) -> Result<To, String> {
    match text {
        "earliest" => Ok(To::Earliest),
        "latest" => Ok(To::Latest),
        _ => text
            .split_once(':')
            .and_then(|(ledger, entry)| Some(To::Entry(ledger.parse().ok()?, entry.parse().ok()?)))
            .ok_or_else(|| format!("expected earliest, latest or LEDGER:ENTRY, not '{text}'")),
    }
}

fn parse_to(text: &str) -> Result<To, String> {
    parse_position(text).or_else(|_| parse_time(text).map(To::Time)).map_err(|_| {
        format!("expected earliest, latest, a time ago such as 10m, a date such as 2026-01-31T12:00:00Z, or LEDGER:ENTRY, not '{text}'")
    })
}

/// A date, or a time ago, in milliseconds since 1970.
pub(crate) fn parse_time(text: &str) -> Result<u64, String> {
    let time = match humantime::parse_rfc3339_weak(text) {
        Ok(date) => date,
        Err(_) => {
            let ago = humantime::parse_duration(text).map_err(|_| {
                format!("expected a date such as 2026-01-31T12:00:00Z, or a time ago such as 10m, not '{text}'")
            })?;
            SystemTime::now().checked_sub(ago).unwrap_or(UNIX_EPOCH)
        }
    };
    let since = time.duration_since(UNIX_EPOCH).map_err(|_| "the date is before 1970".to_owned())?;
    u64::try_from(since.as_millis()).map_err(|e| e.to_string())
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let admin = args.web.admin()?;
    let format = args.web.output;
    let at = |name: &Name| admin.topic(&name.topic).at(["subscription", &name.subscription]);
    match args.command {
        Command::List { topic, consumers: each_consumer } => {
            let all = subscriptions(&admin, &topic).await?;
            match format {
                Output::Json => output::json(&all),
                Output::Pretty if all.is_empty() => output::line(format!("{topic} has no subscription")),
                Output::Pretty => {
                    let mut text = table(&all).text();
                    let consumers = consumers(&all);
                    if each_consumer && !consumers.is_empty() {
                        text += &format!("\n{}", consumers.text());
                    }
                    output::print(&text)
                }
            }
        }
        Command::Create { name, from, property } => {
            let Some(mut body) = from.id() else { anyhow::bail!("a subscription begins at an entry, not at a time") };
            if !property.is_empty() {
                body["properties"] = json!(property.into_iter().collect::<BTreeMap<_, _>>());
            }
            at(&name).json(&body).put().await?;
            done(format, "created", &name.subscription)
        }
        Command::Delete { name, force } => {
            if force { at(&name).query("force", true) } else { at(&name) }.delete().await?;
            done(format, "deleted", &name.subscription)
        }
        Command::Skip { name, count } => {
            at(&name).at(["skip", &count.to_string()]).post().await?;
            done(format, "moved", &name.subscription)
        }
        Command::Clear(name) => {
            at(&name).at(["skip_all"]).post().await?;
            done(format, "cleared", &name.subscription)
        }
        Command::Reset { name, to } => {
            match (to, to.id()) {
                (To::Time(ms), _) => at(&name).at(["resetcursor", &ms.to_string()]).post().await?,
                (_, Some(id)) => {
                    // Only a time may be given for a partitioned topic as a whole.
                    let all = each(&admin, &name.topic).await?;
                    anyhow::ensure!(
                        all.len() == 1 || !matches!(to, To::Entry(..)),
                        "{} is partitioned: an entry is of one partition, so name that",
                        name.topic
                    );
                    for one in all {
                        let call = admin.topic(&one).at(["subscription", &name.subscription, "resetcursor"]);
                        call.json(&id).post().await?;
                    }
                }
                (_, None) => anyhow::bail!("that entry cannot be"),
            }
            done(format, "moved", &name.subscription)
        }
        Command::Expire { name, older_than } => {
            anyhow::ensure!(older_than >= 0, "a time is not negative");
            at(&name).at(["expireMessages", &older_than.to_string()]).post().await?;
            done(format, "expired messages of", &name.subscription)
        }
        Command::Peek { name, count, first } => {
            peek_messages(format, &admin, &name.topic, &name.subscription, first.max(1), count).await
        }
    }
}

/// Stats of all subscriptions; of a partitioned topic, summed up.
pub(crate) async fn subscriptions(
    admin: &Admin,
    topic: &TopicName,
) -> anyhow::Result<BTreeMap<String, SubscriptionStats>> {
    let call = admin.topic(topic);
    Ok(match partitions(admin, topic).await? {
        0 => call.at(["stats"]).get::<TopicStats>().await?.subscriptions,
        _ => {
            let call = call.at(["partitioned-stats"]).query("perPartition", false);
            call.get::<PartitionedTopicStats>().await?.sum.subscriptions
        }
    })
}

/// One row for each subscription.
pub(crate) fn table(all: &BTreeMap<String, SubscriptionStats>) -> Table {
    let mut table =
        Table::new(["SUBSCRIPTION", "TYPE", "BACKLOG", "SIZE", "UNACKED", "DELAYED", "OUT/S", "ACK/S", "CONSUMERS"]);
    for (name, s) in all {
        table.row([
            name.clone(),
            if s.r#type.is_empty() { "-".to_owned() } else { s.r#type.clone() },
            count(s.msg_backlog),
            bytes(s.backlog_size),
            count(s.unacked_messages),
            count(s.msg_delayed),
            rate(s.msg_rate_out),
            rate(s.message_ack_rate),
            s.consumers.len().to_string(),
        ]);
    }
    table
}

/// One row for each consumer.
pub(crate) fn consumers(all: &BTreeMap<String, SubscriptionStats>) -> Table {
    let mut table =
        Table::new(["CONSUMER", "SUBSCRIPTION", "ADDRESS", "CLIENT", "OUT/S", "UNACKED", "PERMITS", "SINCE"]);
    for (name, subscription) in all {
        for c in &subscription.consumers {
            let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
            let active = subscription.active_consumer_name.as_deref() == Some(c.consumer_name.as_str());
            table.row([
                format!("{}{}", c.consumer_name, if active { " (active)" } else { "" }),
                name.clone(),
                or_none(&c.address),
                or_none(&c.client_version),
                rate(c.msg_rate_out),
                count(c.unacked_messages.into()),
                count(c.available_permits.into()),
                or_none(&c.connected_since),
            ]);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_a_word_an_entry_a_date_or_a_time_ago() {
        assert_eq!(parse_to("earliest"), Ok(To::Earliest));
        assert_eq!(parse_to("12:-1"), Ok(To::Entry(12, -1)));
        assert_eq!(parse_to("1970-01-01T00:00:01Z"), Ok(To::Time(1000)));
        assert!(matches!(parse_to("10m"), Ok(To::Time(ms)) if ms > 1_700_000_000_000));
        for bad in ["", "soon", "1:x", "1:2:3", "-5"] {
            assert!(parse_to(bad).is_err(), "{bad:?}");
        }
    }
}
