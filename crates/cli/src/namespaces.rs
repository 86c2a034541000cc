//! `geminga namespaces`.

use crate::{
    http::{Admin, path},
    show,
};
use clap::{Subcommand, ValueEnum};
use model::NamespaceName;
use serde_json::{Value, json};
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  geminga namespaces create public/orders
  geminga namespaces set-retention public/orders --time 7d --size 10G
  geminga namespaces policies public/orders";

/// What can be done with namespaces.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum Command {
    /// List namespaces of a tenant
    List {
        #[arg(default_value = "public")]
        tenant: String,
        #[command(flatten)]
        admin: Admin,
    },
    /// Create a namespace
    Create {
        namespace: NamespaceName,
        #[command(flatten)]
        admin: Admin,
    },
    /// Delete a namespace
    Delete {
        namespace: NamespaceName,
        /// With the topics in it
        #[arg(short, long)]
        force: bool,
        #[command(flatten)]
        admin: Admin,
    },
    /// Show all that is set
    Policies {
        namespace: NamespaceName,
        #[command(flatten)]
        admin: Admin,
    },
    /// Keep acknowledged messages
    SetRetention {
        namespace: NamespaceName,
        /// How long, such as 7d; -1 forever
        #[arg(long, allow_hyphen_values = true, value_parser = minutes)]
        time: i64,
        /// How much, such as 10G; -1 without bound
        #[arg(long, allow_hyphen_values = true, value_parser = size)]
        size: i64,
        #[command(flatten)]
        admin: Admin,
    },
    /// Expire messages that nobody acknowledged
    SetMessageTtl {
        namespace: NamespaceName,
        /// Seconds
        #[arg(long)]
        ttl: u32,
        #[command(flatten)]
        admin: Admin,
    },
    /// Bound what subscriptions may leave unacknowledged
    SetBacklogQuota {
        namespace: NamespaceName,
        /// Bytes, such as 1G
        #[arg(long, value_parser = size, required_unless_present = "limit_time")]
        limit: Option<i64>,
        /// Age of the oldest message, such as 1h
        #[arg(long, value_parser = humantime::parse_duration)]
        limit_time: Option<Duration>,
        /// What happens beyond it
        #[arg(long, value_enum, default_value = "producer_request_hold")]
        policy: QuotaPolicy,
        #[command(flatten)]
        admin: Admin,
    },
    /// Remove the backlog quotas
    RemoveBacklogQuota {
        namespace: NamespaceName,
        #[command(flatten)]
        admin: Admin,
    },
    /// Drop messages that a producer sends again
    SetDeduplication {
        namespace: NamespaceName,
        /// Turn it on
        #[arg(long, conflicts_with = "disable", required_unless_present = "disable")]
        enable: bool,
        /// Turn it off
        #[arg(long)]
        disable: bool,
        #[command(flatten)]
        admin: Admin,
    },
    /// Close every topic; clients reconnect
    Unload {
        namespace: NamespaceName,
        #[command(flatten)]
        admin: Admin,
    },
    /// Acknowledge everything for every subscription
    ClearBacklog {
        namespace: NamespaceName,
        #[command(flatten)]
        admin: Admin,
    },
}

/// What a passed backlog quota does.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum QuotaPolicy {
    /// Producers are held
    ProducerRequestHold,
    /// Producers are disconnected
    ProducerException,
    /// The slowest subscription loses its oldest messages
    ConsumerBacklogEviction,
}

fn minutes(text: &str) -> Result<i64, String> {
    if text == "-1" || text == "0" {
        return text.parse().map_err(|_| String::new());
    }
    let duration = humantime::parse_duration(text).map_err(|e| format!("{e}, expected such as 7d, 90min or -1"))?;
    Ok(i64::try_from(duration.as_secs().div_ceil(60)).unwrap_or(i64::MAX))
}

/// Bytes; `K`, `M`, `G`, `T` are powers of 1024, as in `pulsar-admin`.
fn size(text: &str) -> Result<i64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_uppercase().trim_end_matches('B') {
        "" => 0,
        "K" | "KI" => 10,
        "M" | "MI" => 20,
        "G" | "GI" => 30,
        "T" | "TI" => 40,
        _ => return Err("expected bytes, such as 500M or 10G".into()),
    };
    let n: i64 = digits.parse().map_err(|_| "expected bytes, such as 500M or 10G".to_owned())?;
    if n < 0 { Ok(-1) } else { n.checked_mul(1 << shift).ok_or_else(|| "too large".into()) }
}

fn of(namespace: &NamespaceName, rest: &[&str]) -> String {
    let mut parts = vec!["namespaces", namespace.tenant(), namespace.local()];
    parts.extend(rest);
    path(&parts)
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    let set = async |admin: &Admin, namespace: &NamespaceName, policy: &str, value: Value| {
        admin.post(&of(namespace, &[policy]), Some(value)).await?;
        show::done(admin, &format!("set {policy} of {namespace}"));
        anyhow::Ok(())
    };
    match command {
        Command::List { tenant, admin } => show::list(&admin, &admin.get(&path(&["namespaces", &tenant])).await?),
        Command::Create { namespace, admin } => {
            admin.put(&of(&namespace, &[]), None).await?;
            show::done(&admin, &format!("created {namespace}"));
        }
        Command::Delete { namespace, force, admin } => {
            admin.delete(&format!("{}?force={force}", of(&namespace, &[]))).await?;
            show::done(&admin, &format!("deleted {namespace}"));
        }
        Command::Policies { namespace, admin } => show::json(&admin.get(&of(&namespace, &[])).await?),
        Command::SetRetention { namespace, time, size, admin } => {
            let mb = if size < 0 { -1 } else { (size + (1 << 20) - 1) >> 20 };
            let value = json!({ "retentionTimeInMinutes": time, "retentionSizeInMB": mb });
            set(&admin, &namespace, "retention", value).await?;
        }
        Command::SetMessageTtl { namespace, ttl, admin } => set(&admin, &namespace, "messageTTL", json!(ttl)).await?,
        Command::SetBacklogQuota { namespace, limit, limit_time, policy, admin } => {
            let policy = policy.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default();
            if let Some(limit) = limit {
                let value = json!({ "limitSize": limit, "limitTime": -1, "policy": policy });
                set(&admin, &namespace, "backlogQuota", value).await?;
            }
            if let Some(time) = limit_time {
                let value = json!({ "limitSize": -1, "limitTime": time.as_secs(), "policy": policy });
                let path = format!("{}?backlogQuotaType=message_age", of(&namespace, &["backlogQuota"]));
                admin.post(&path, Some(value)).await?;
                show::done(&admin, &format!("set the age quota of {namespace}"));
            }
        }
        Command::RemoveBacklogQuota { namespace, admin } => {
            for kind in ["destination_storage", "message_age"] {
                admin.delete(&format!("{}?backlogQuotaType={kind}", of(&namespace, &["backlogQuota"]))).await?;
            }
            show::done(&admin, &format!("removed the backlog quotas of {namespace}"));
        }
        Command::SetDeduplication { namespace, enable, admin, .. } => {
            set(&admin, &namespace, "deduplication", json!(enable)).await?;
        }
        Command::Unload { namespace, admin } => {
            admin.put(&of(&namespace, &["unload"]), None).await?;
            show::done(&admin, &format!("unloaded {namespace}"));
        }
        Command::ClearBacklog { namespace, admin } => {
            admin.post(&of(&namespace, &["clearBacklog"]), None).await?;
            show::done(&admin, &format!("cleared the backlog of {namespace}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_read_as_people_write_them() {
        assert_eq!((size("10G"), size("-1"), size("512"), size("2MiB")), (Ok(10 << 30), Ok(-1), Ok(512), Ok(2 << 20)));
        assert_eq!((minutes("7d"), minutes("-1"), minutes("90s")), (Ok(7 * 1440), Ok(-1), Ok(2)));
        assert!(
            size("lots").is_err() && size("5 apples").is_err() && minutes("x").is_err() && size("9999999999T").is_err()
        );
    }
}
