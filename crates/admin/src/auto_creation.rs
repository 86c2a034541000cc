//! What a namespace may say about topics that come to be by themselves.
//!
//! Source: Pulsar's `AutoTopicCreationOverrideImpl.validateOverride`, `NamespacesBase.internalSetAutoTopicCreationAsync`.

use axum::body::Bytes;
use model::AutoTopicCreation;
use serde::Deserialize;

use crate::reply::{Failure, Reply, Setting, required};

/// As it is sent: the number may be one that there cannot be.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Asked {
    allow_auto_topic_creation: bool,
    topic_type: Option<String>,
    default_num_partitions: Option<i32>,
}

impl Setting for AutoTopicCreation {
    fn of(bytes: &Bytes, _refusal: &str) -> Reply<Self> {
        let asked: Asked = required(bytes)?;
        let partitions = asked.default_num_partitions;
        let wrong = match asked.topic_type.as_deref() {
            _ if !asked.allow_auto_topic_creation => None,
            Some("partitioned") if partitions.is_none() => {
                Some("[defaultNumPartitions] cannot be null when the type is partitioned.".to_owned())
            }
            Some("partitioned") if partitions <= Some(0) => {
                Some("[defaultNumPartitions] cannot be less than 1 for partition type.".to_owned())
            }
            Some("non-partitioned") if partitions.is_some() => {
                Some("[defaultNumPartitions] is not allowed to be set when the type is non-partition.".to_owned())
            }
            Some("partitioned" | "non-partitioned") => None,
            other => Some(format!("Unknown topic type [{}]", other.unwrap_or("null"))),
        };
        if let Some(wrong) = wrong {
            let reason = format!("Invalid configuration for autoTopicCreationOverride. the detail is {wrong}");
            return Err(Failure::precondition(reason));
        }
        // Where nothing is created the number says nothing.
        let default_num_partitions = partitions.and_then(|n| u32::try_from(n).ok());
        let Asked { allow_auto_topic_creation, topic_type, .. } = asked;
        Ok(Self { allow_auto_topic_creation, topic_type, default_num_partitions })
    }
}
