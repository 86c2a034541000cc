//! What every broker of the tests answers alike.

use std::net::SocketAddr;
use wire::proto::{self, BaseCommand, base_command::Type};

/// The answer to what a client asks before it opens something; the broker is at `address` and has every topic, none of them partitioned.
/// `None`: it asks something else.
pub(crate) fn answer(asked: &BaseCommand, address: SocketAddr, max_message_bytes: usize) -> Option<BaseCommand> {
    let answer = match asked.r#type() {
        Type::Connect => BaseCommand {
            r#type: Type::Connected as i32,
            connected: Some(proto::CommandConnected {
                server_version: "test".into(),
                protocol_version: Some(wire::PROTOCOL_VERSION),
                max_message_size: Some(max_message_bytes as i32),
                ..Default::default()
            }),
            ..Default::default()
        },
        Type::PartitionedMetadata => BaseCommand {
            r#type: Type::PartitionedMetadataResponse as i32,
            partition_metadata_response: Some(proto::CommandPartitionedTopicMetadataResponse {
                partitions: Some(0),
                request_id: asked.partition_metadata.as_ref()?.request_id,
                response: Some(proto::command_partitioned_topic_metadata_response::LookupType::Success as i32),
                ..Default::default()
            }),
            ..Default::default()
        },
        Type::Lookup => BaseCommand {
            r#type: Type::LookupResponse as i32,
            lookup_topic_response: Some(proto::CommandLookupTopicResponse {
                broker_service_url: Some(format!("pulsar://{address}")),
                response: Some(proto::command_lookup_topic_response::LookupType::Connect as i32),
                request_id: asked.lookup_topic.as_ref()?.request_id,
                authoritative: Some(true),
                ..Default::default()
            }),
            ..Default::default()
        },
        _ => return None,
    };
    Some(answer)
}
