//! How a function or source writes: batching, compression, encryption.

use super::record::{choice, record};
use serde_json::{Map, Value};

choice! {
    /// How a batch is compressed; the names are those of the Java client's `CompressionType`.
    pub enum Compression {
        /// Not at all.
        None = "NONE",
        /// LZ4; what a function uses where nothing is said.
        Lz4 = "LZ4",
        /// zlib.
        Zlib = "ZLIB",
        /// Zstandard.
        Zstd = "ZSTD",
        /// Snappy.
        Snappy = "SNAPPY",
    }
}

choice! {
    /// What a producer does that cannot encrypt.
    pub enum ProducerCryptoFailure {
        /// The send fails.
        Fail = "FAIL",
        /// The message is sent as it is.
        Send = "SEND",
    }
}

choice! {
    /// What a consumer does that cannot decrypt.
    pub enum ConsumerCryptoFailure {
        /// The receive fails.
        Fail = "FAIL",
        /// The message is dropped.
        Discard = "DISCARD",
        /// The message is handed over as it is.
        Consume = "CONSUME",
    }
}

record! {
    /// How messages are written. Source: Pulsar's `ProducerConfig`.
    pub struct ProducerConfig {
        /// Messages that may be unanswered.
        max_pending_messages: "maxPendingMessages" => Option<i32>,
        /// The same over all partitions.
        max_pending_messages_across_partitions: "maxPendingMessagesAcrossPartitions" => Option<i32>,
        /// A producer for each thread of the Java instance.
        use_thread_local_producers: "useThreadLocalProducers" => Option<bool>,
        /// How messages are encrypted.
        crypto_config: "cryptoConfig" => Option<CryptoConfig>,
        /// `DEFAULT` or `KEY_BASED`.
        batch_builder: "batchBuilder" => Option<String>,
        /// How batches are compressed; LZ4 where nothing is said.
        compression_type: "compressionType" => Option<Compression>,
        /// How messages are batched.
        batching_config: "batchingConfig" => Option<BatchingConfig>,
    }
}

record! {
    /// How messages are batched. Source: Pulsar's `BatchingConfig`.
    pub struct BatchingConfig {
        /// Whether at all.
        enabled: "enabled" => bool = true,
        /// Milliseconds the first message of a batch waits for others.
        batching_max_publish_delay_ms: "batchingMaxPublishDelayMs" => Option<i32> = Some(10),
        /// Batches until a round-robin producer goes on to the next partition.
        round_robin_router_batching_partition_switch_frequency:
            "roundRobinRouterBatchingPartitionSwitchFrequency" => Option<i32>,
        /// Messages a batch may have.
        batching_max_messages: "batchingMaxMessages" => Option<i32>,
        /// Bytes a batch may have.
        batching_max_bytes: "batchingMaxBytes" => Option<i32>,
        /// `DEFAULT` or `KEY_BASED`.
        batch_builder: "batchBuilder" => Option<String>,
    }
}

record! {
    /// How messages are encrypted or decrypted. Source: Pulsar's `CryptoConfig`.
    pub struct CryptoConfig {
        /// The class that finds keys.
        crypto_key_reader_class_name: "cryptoKeyReaderClassName" => Option<String>,
        /// Handed to it.
        crypto_key_reader_config: "cryptoKeyReaderConfig" => Option<Map<String, Value>>,
        /// Names of the keys to encrypt with.
        encryption_keys: "encryptionKeys" => Option<Vec<String>>,
        /// What a producer does that cannot encrypt.
        producer_crypto_failure_action: "producerCryptoFailureAction" => Option<ProducerCryptoFailure>,
        /// What a consumer does that cannot decrypt.
        consumer_crypto_failure_action: "consumerCryptoFailureAction" => Option<ConsumerCryptoFailure>,
    }
}
