//! `geminga subscriptions`.

use crate::{http::Admin, show, topics::topic_path};
use anyhow::bail;
use clap::Subcommand;
use model::TopicName;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

const EXAMPLES: &str = "\
Examples:
  geminga subscriptions create orders billing --from earliest
  geminga subscriptions reset orders billing --to 2h        two hours back
  geminga subscriptions clear orders billing                acknowledge everything";

/// What can be done with subscriptions.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum Command {
    /// List subscriptions of a topic
    List {
        topic: TopicName,
        #[command(flatten)]
        admin: Admin,
    },
    /// Create a subscription
    Create {
        topic: TopicName,
        subscription: String,
        /// Where it starts: `latest`, `earliest` or LEDGER:ENTRY
        #[arg(long, default_value = "latest")]
        from: String,
        #[command(flatten)]
        admin: Admin,
    },
    /// Delete a subscription
    Delete {
        topic: TopicName,
        subscription: String,
        /// Even when consumers are connected
        #[arg(short, long)]
        force: bool,
        #[command(flatten)]
        admin: Admin,
    },
    /// Acknowledge the next entries without delivering them
    Skip {
        topic: TopicName,
        subscription: String,
        /// How many
        #[arg(short = 'n', long)]
        count: u64,
        #[command(flatten)]
        admin: Admin,
    },
    /// Acknowledge everything
    Clear {
        topic: TopicName,
        subscription: String,
        #[command(flatten)]
        admin: Admin,
    },
    /// Move a subscription; its consumers reconnect
    Reset {
        topic: TopicName,
        subscription: String,
        /// `earliest`, `latest`, LEDGER:ENTRY, or how far back in time, such as 90s or 2h
        #[arg(long)]
        to: String,
        #[command(flatten)]
        admin: Admin,
    },
    /// Acknowledge what was published longer ago than this
    Expire {
        topic: TopicName,
        subscription: String,
        /// Such as 90s or 2h
        #[arg(long, value_parser = humantime::parse_duration)]
        older_than: Duration,
        #[command(flatten)]
        admin: Admin,
    },
}

/// A message id, or a word for one, as the REST API wants it.
fn start(text: &str) -> Option<Value> {
    if text == "earliest" || text == "latest" {
        return Some(json!(text));
    }
    let (ledger, entry) = text.split_once(':')?;
    Some(
        json!({ "ledgerId": ledger.parse::<i64>().ok()?, "entryId": entry.parse::<i64>().ok()?, "partitionIndex": -1 }),
    )
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::List { topic, admin } => {
            show::list(&admin, &admin.get(&topic_path(&topic, &["subscriptions"])).await?);
        }
        Command::Create { topic, subscription, from, admin } => {
            let Some(start) = start(&from) else { bail!("--from takes latest, earliest or LEDGER:ENTRY, not {from}") };
            admin.put(&topic_path(&topic, &["subscription", &subscription]), Some(start)).await?;
            show::done(&admin, &format!("created {subscription} on {topic}"));
        }
        Command::Delete { topic, subscription, force, admin } => {
            let path = topic_path(&topic, &["subscription", &subscription]);
            admin.delete(&format!("{path}?force={force}")).await?;
            show::done(&admin, &format!("deleted {subscription} of {topic}"));
        }
        Command::Skip { topic, subscription, count, admin } => {
            admin.post(&topic_path(&topic, &["subscription", &subscription, "skip", &count.to_string()]), None).await?;
            show::done(&admin, &format!("{subscription} skipped up to {count} entries"));
        }
        Command::Clear { topic, subscription, admin } => {
            admin.post(&topic_path(&topic, &["subscription", &subscription, "skip_all"]), None).await?;
            show::done(&admin, &format!("{subscription} has no backlog"));
        }
        Command::Reset { topic, subscription, to, admin } => {
            let at = ["subscription", &subscription, "resetcursor"];
            match (start(&to), humantime::parse_duration(&to)) {
                (Some(start), _) => admin.post(&topic_path(&topic, &at), Some(start)).await?,
                (None, Ok(back)) => {
                    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                    let ms = now.saturating_sub(back).as_millis().to_string();
                    admin.post(&topic_path(&topic, &[at[0], at[1], at[2], &ms]), None).await?
                }
                (None, Err(_)) => {
                    bail!("--to takes earliest, latest, LEDGER:ENTRY or a time back such as 2h, not {to}")
                }
            };
            show::done(&admin, &format!("moved {subscription}"));
        }
        Command::Expire { topic, subscription, older_than, admin } => {
            let seconds = older_than.as_secs().to_string();
            admin.post(&topic_path(&topic, &["subscription", &subscription, "expireMessages", &seconds]), None).await?;
            show::done(&admin, &format!("expired what {subscription} left for longer"));
        }
    }
    Ok(())
}
