//! CONNECT and CONNECTED: which version both sides speak, and what the broker says of itself.

use crate::proto::{CommandConnected, FeatureFlags};

/// The newest protocol version we speak. Source: `ProtocolVersion` in `PulsarApi.proto`, Pulsar 4.2.
pub const PROTOCOL_VERSION: i32 = 21;

/// From this version on a peer that also set `supports_broker_entry_metadata` may be sent the 0x0e02 prefix.
pub const VERSION_BROKER_ENTRY_METADATA: i32 = 18;

/// From this version on a peer answers PING.
pub const VERSION_KEEPALIVE: i32 = 1;

/// From this version on a peer understands TOPIC_MIGRATED.
pub const VERSION_TOPIC_MIGRATED: i32 = 20;

/// The version to speak with a client that asked for `client_version`: never newer than either side, never negative.
///
/// Source: `Commands.newConnectedCommand`, which answers the smaller of both.
#[must_use]
pub const fn negotiate(client_version: i32) -> i32 {
    match client_version {
        ..0 => 0,
        0..PROTOCOL_VERSION => client_version,
        _ => PROTOCOL_VERSION,
    }
}

/// The answer to CONNECT.
///
/// Pulsar 4.2 fills it so, whatever the client's version: `server_version` is `Pulsar Server` and the broker's version
/// without a space between (`Pulsar Server4.2.4`), `protocol_version` is [`negotiate`]d, `max_message_size` is always
/// set, and four flags are set explicitly: topic watchers and their reconciliation when the broker evaluates patterns,
/// partitioned metadata without auto-creation and replication deduplication by position as true. The other flags are
/// what a client says of itself (`supports_auth_refresh`, `supports_broker_entry_metadata`, `supports_partial_producer`)
/// and stay unset. A failure before CONNECTED is an ERROR with request id -1, then the connection closes.
///
/// Source: `Commands.newConnectedCommand`, `ServerCnx.completeConnect`.
#[must_use]
pub fn connected(
    client_version: i32,
    server_version: &str,
    max_message_size: usize,
    offers: Offers,
) -> CommandConnected {
    CommandConnected {
        server_version: server_version.to_owned(),
        protocol_version: Some(negotiate(client_version)),
        max_message_size: Some(i32::try_from(max_message_size).unwrap_or(i32::MAX)),
        feature_flags: Some(FeatureFlags {
            supports_topic_watchers: Some(offers.topic_watchers),
            supports_topic_watcher_reconcile: Some(offers.topic_watchers),
            supports_get_partitioned_metadata_without_auto_creation: Some(offers.partitions_without_creation),
            supports_repl_dedup_by_lid_and_eid: Some(offers.deduplication_by_position),
            ..FeatureFlags::default()
        }),
    }
}

/// What a broker can do beyond the protocol version; a client uses a feature only when it is offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// WATCH_TOPIC_LIST and its updates (PIP-145).
    pub topic_watchers: bool,
    /// `metadata_auto_creation_enabled = false` in PARTITIONED_METADATA is honoured (PIP-344).
    pub partitions_without_creation: bool,
    /// A replicator's SENDs are deduplicated by the position they had at the source.
    pub deduplication_by_position: bool,
}

/// What a client said of itself in CONNECT; absent flags are false.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepts {
    /// AUTH_CHALLENGE may be sent while the connection lives.
    pub auth_refresh: bool,
    /// Entries may carry the 0x0e02 prefix; only meant from [`VERSION_BROKER_ENTRY_METADATA`] on.
    pub broker_entry_metadata: bool,
    /// A producer may be created lazily for single partitions, so PRODUCER may be answered with an error per partition.
    pub partial_producer: bool,
}

impl Accepts {
    /// What `flags` of a client that speaks `version` say.
    #[must_use]
    pub fn new(version: i32, flags: Option<&FeatureFlags>) -> Self {
        let Some(flags) = flags else { return Self::default() };
        Self {
            auth_refresh: flags.supports_auth_refresh(),
            broker_entry_metadata: version >= VERSION_BROKER_ENTRY_METADATA && flags.supports_broker_entry_metadata(),
            partial_producer: flags.supports_partial_producer(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_version_wins() {
        assert_eq!([i32::MIN, -1, 0, 7, 21, 22, i32::MAX].map(negotiate), [0, 0, 0, 7, 21, 21, 21]);
        assert_eq!(PROTOCOL_VERSION, crate::proto::ProtocolVersion::V21 as i32);
        assert!(crate::proto::ProtocolVersion::try_from(PROTOCOL_VERSION + 1).is_err(), "a newer version is known");
    }

    #[test]
    fn connected_says_what_is_offered() {
        let answer = connected(99, "Pulsar Server4.2.4", crate::MAX_MESSAGE_SIZE, Offers::default());
        assert_eq!((answer.protocol_version(), answer.max_message_size()), (21, 5 << 20));
        let offers = Offers { topic_watchers: true, ..Offers::default() };
        let flags = connected(3, "x", usize::MAX, offers).feature_flags.unwrap();
        assert!(flags.supports_topic_watchers() && flags.supports_topic_watcher_reconcile());
        assert!(!flags.supports_get_partitioned_metadata_without_auto_creation());
    }

    #[test]
    fn broker_entry_metadata_needs_flag_and_version() {
        let flags = FeatureFlags { supports_broker_entry_metadata: Some(true), ..FeatureFlags::default() };
        assert!(Accepts::new(18, Some(&flags)).broker_entry_metadata);
        assert!(!Accepts::new(17, Some(&flags)).broker_entry_metadata);
        assert!(!Accepts::new(21, None).broker_entry_metadata);
    }
}
