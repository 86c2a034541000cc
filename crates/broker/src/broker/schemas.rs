//! The schema registry: which versions a topic's schema has, and which come next. What is compatible, `schema` says.
//!
//! The versions lie in the row of their topic, among its properties: of a partitioned one in that of its first partition.
//! They come, go and are found with it. A schema may be there before its topic is; then it waits in the metastore, and moves
//! into the row when somebody asks for it. Of a topic that is not persistent each partition has its own, because the first
//! may not be there.
//!
//! Definitions are compared outside of the shards, because it takes as long as they are large. So what was decided holds only
//! if the versions are still the same when it is written, else it is decided anew.
//!
//! Source: Pulsar's `SchemaRegistryServiceImpl` and `AbstractTopic.addSchema`.

use bytes::Bytes;
use model::{SchemaCompatibility, TopicName};
use schema::{Definition, Kind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::Broker;
use crate::{
    error::{Error, Result},
    requests::Schema,
};

/// Property with a version of the schema: its number follows.
const VERSION: &str = "geminga.schema.";
/// Property with the version that stands for the last deletion.
const DELETED: &str = "geminga.schemas-deleted";
/// Bytes that all versions of a topic may have. Every new one writes them all.
const VERSIONS_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How often a decision is made anew because others were faster.
const ATTEMPTS: usize = 16;

/// Properties of a topic that are the registry's.
type Properties = BTreeMap<String, String>;

/// One version of the schema of a topic.
#[derive(Debug, Clone, PartialEq)]
pub struct SchemaVersion {
    /// Counted from 0; a deletion takes a number, too.
    pub version: u64,
    /// What it says.
    pub definition: Definition,
    /// When it was registered, in milliseconds since 1970.
    pub created_ms: u64,
}

/// All that is known of the schema of a topic.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SchemaHistory {
    /// The versions since the last deletion, the oldest first.
    pub versions: Vec<SchemaVersion>,
    /// The version that stands for the last deletion.
    pub deleted: Option<u64>,
}

/// Where the versions of a topic lie.
#[derive(Debug, Clone)]
enum Place {
    /// With this topic or partition.
    Row(TopicName),
    /// In the metastore, by the name of the topic without a partition.
    Waiting(TopicName),
}

impl Broker {
    /// Registers the schema of a producer and returns the bytes of its version; one that is there already keeps its version.
    ///
    /// # Errors
    /// [`Error::TopicNotFound`]; [`Error::InvalidSchema`] for a definition that is none; [`Error::IncompatibleSchema`] when it
    /// does not fit the versions that are there, or producers of the namespace may not register any.
    pub async fn put_schema(&self, topic: &TopicName, schema: Schema) -> Result<Bytes> {
        let Place::Row(_) = self.schema_place(topic).await? else {
            return Err(Error::TopicNotFound(topic.partitioned()));
        };
        let may_add = self.inner.metadata.may_update_schemas(topic);
        let version = self.add_schema(topic, definition(schema)?, may_add).await?;
        Ok(version_bytes(version))
    }

    /// Registers a schema for an administrator and returns its version. The topic may come later, and whether producers may
    /// register any does not count.
    ///
    /// # Errors
    /// [`Error::NamespaceNotFound`]; else as [`Broker::put_schema`].
    pub async fn upload_schema(&self, topic: &TopicName, definition: Definition) -> Result<u64> {
        self.inner.metadata.policies(topic.namespace())?;
        let version = self.add_schema(topic, definition, true).await?;
        // If the topic came just now, its schema belongs to it.
        self.schema_place(topic).await?;
        Ok(version)
    }

    /// How a new schema of a topic has to fit the old ones.
    #[must_use]
    pub fn schema_strategy(&self, topic: &TopicName) -> SchemaCompatibility {
        self.inner.metadata.schema_strategy(topic)
    }

    /// Refuses a producer without a schema where a topic has one and policy says that it needs one.
    ///
    /// # Errors
    /// [`Error::IncompatibleSchema`].
    ///
    /// Source: Pulsar's `ServerCnx.tryAddSchema`.
    pub async fn check_no_schema(&self, topic: &TopicName) -> Result<()> {
        if !self.inner.metadata.schema_validation_enforced(topic) || self.schemas(topic).await?.versions.is_empty() {
            return Ok(());
        }
        Err(Error::IncompatibleSchema(
            "Producers cannot connect or send message without a schema to topics with a schema when \
             SchemaValidationEnforced is enabled"
                .into(),
        ))
    }

    /// Makes the schema of a consumer that of a topic nobody uses yet; on any other it has to fit what is there.
    ///
    /// # Errors
    /// As [`Broker::put_schema`]; [`Error::IncompatibleSchema`] also when a topic in use has no schema.
    pub(crate) async fn fit_schema(&self, topic: &TopicName, schema: Schema) -> Result<()> {
        let definition = definition(schema.clone())?;
        let versions = definitions(self.schemas(topic).await?);
        let name = topic.clone();
        let unused = versions.is_empty()
            && self
                .shard(topic)
                .call(move |shard| {
                    let id = shard.topic(&name)?;
                    Ok::<_, Error>(shard.at(id)?.0.may_take_schema())
                })
                .await??;
        if unused {
            return self.put_schema(topic, schema).await.map(drop);
        }
        let (kind, strategy) = (definition.kind, self.inner.metadata.schema_strategy(topic));
        match compute(move || schema::check_consumer(&versions, &definition, strategy)).await? {
            Err(schema::Error::NoSchema) => Err(Error::IncompatibleSchema(format!(
                "Failed to add schema to an active topic with empty(BYTES) schema: new schema type {kind}"
            ))),
            other => Ok(other?),
        }
    }

    /// Whether a definition could be the next version; answers the strategy that this was decided by.
    ///
    /// # Errors
    /// [`Error::IncompatibleSchema`] when it could not, [`Error::InvalidSchema`] when it is no definition.
    pub async fn check_schema(&self, topic: &TopicName, definition: Definition) -> Result<SchemaCompatibility> {
        self.inner.metadata.policies(topic.namespace())?;
        let versions = definitions(self.schemas(topic).await?);
        let strategy = self.inner.metadata.schema_strategy(topic);
        compute(move || {
            schema::validate(&definition)?;
            schema::check(&versions, &definition, strategy)
        })
        .await??;
        Ok(strategy)
    }

    /// The version that has exactly this definition.
    ///
    /// # Errors
    /// Storage errors.
    pub async fn find_schema(&self, topic: &TopicName, definition: &Definition) -> Result<Option<u64>> {
        let history = self.schemas(topic).await?;
        let numbers: Vec<_> = history.versions.iter().map(|version| version.version).collect();
        Ok(schema::find_identical(&definitions(history), definition).map(|at| numbers[at]))
    }

    /// What is known of the schema of a topic, which need not exist.
    ///
    /// # Errors
    /// Storage errors.
    pub async fn schemas(&self, topic: &TopicName) -> Result<SchemaHistory> {
        let place = self.schema_place(topic).await?;
        Ok(history(&self.read_schemas(&place).await?))
    }

    /// A schema and the bytes of its version: the one asked for, or the latest.
    ///
    /// # Errors
    /// [`Error::BadRequest`] for version bytes that are none.
    pub async fn schema(&self, topic: &TopicName, version: Option<Bytes>) -> Result<Option<(Schema, Bytes)>> {
        let wanted = match version.filter(|v| !v.is_empty()) {
            None => None,
            Some(bytes) => Some(u64::from_be_bytes(
                bytes[..].try_into().map_err(|_| Error::BadRequest("a schema version has 8 bytes".into()))?,
            )),
        };
        let mut versions = self.schemas(topic).await?.versions;
        let found = match wanted {
            Some(n) => versions.into_iter().find(|version| version.version == n),
            None => versions.pop(),
        };
        let name = topic.partitioned().local().to_owned();
        Ok(found.map(|found| {
            let Definition { kind, data, properties } = found.definition;
            (Schema { kind: kind.wire(), name, data, properties }, version_bytes(found.version))
        }))
    }

    /// Forgets every schema of a topic. Returns the version that stands for this; later schemas have higher ones. With
    /// `force` also the numbers are forgotten, and `None` is returned.
    ///
    /// # Errors
    /// [`Error::NamespaceNotFound`]; storage errors.
    pub async fn delete_schemas(&self, topic: &TopicName, force: bool) -> Result<Option<u64>> {
        self.inner.metadata.policies(topic.namespace())?;
        let place = self.schema_place(topic).await?;
        self.write_schemas(&place, move |properties| {
            let next = history(properties).next();
            properties.retain(|key, _| !is_ours(key));
            if force {
                return Ok(None);
            }
            properties.insert(DELETED.into(), next.to_string());
            Ok(Some(next))
        })
        .await
    }

    /// Forgets what waits for a topic, when it was deleted.
    pub(super) async fn forget_schemas(&self, topic: &TopicName) -> Result<()> {
        match self.inner.metadata.waiting_schemas(topic) {
            Some(_) => self.inner.metadata.set_waiting_schemas(topic, Properties::new()).await,
            None => Ok(()),
        }
    }

    /// Takes the schemas of a partitioned topic out of its first partition, which is about to be deleted alone.
    pub(super) async fn keep_schemas(&self, partition: &TopicName) -> Result<()> {
        let whole = partition.partitioned();
        if partition.partition() != Some(0) || !partition.is_persistent() || self.partitions(&whole)?.is_none() {
            return Ok(());
        }
        let properties = match self.read_schemas(&Place::Row(partition.clone())).await {
            Ok(properties) if !properties.is_empty() => properties,
            Ok(_) | Err(Error::TopicNotFound(_)) => return Ok(()),
            Err(other) => return Err(other),
        };
        self.inner.metadata.set_waiting_schemas(&whole, properties).await
    }

    async fn add_schema(&self, topic: &TopicName, new: Definition, may_add: bool) -> Result<u64> {
        for _ in 0..ATTEMPTS {
            let place = self.schema_place(topic).await?;
            let seen = history(&self.read_schemas(&place).await?);
            let numbers: Vec<_> = seen.versions.iter().map(|version| version.version).collect();
            let next = seen.next();
            let versions = definitions(seen);
            // Mostly it is there byte by byte: producers come back.
            if let Some(at) = schema::find_identical(&versions, &new) {
                return Ok(numbers[at]);
            }
            let (strategy, candidate) = (self.inner.metadata.schema_strategy(topic), new.clone());
            let known = compute(move || {
                if may_add {
                    schema::validate(&candidate)?;
                }
                let known = schema::find_equal(&versions, &candidate);
                if known.is_none() && may_add {
                    schema::check(&versions, &candidate, strategy)?;
                }
                Ok::<_, schema::Error>(known)
            });
            if let Some(at) = known.await?? {
                return Ok(numbers[at]);
            }
            if !may_add {
                return Err(Error::IncompatibleSchema("Schema not found and schema auto updating is disabled.".into()));
            }
            let row = SchemaVersion { version: next, definition: new.clone(), created_ms: self.inner.clock.now_ms() };
            let added = self.write_schemas(&place, move |properties| {
                // Nobody was faster: versions only ever come behind the last.
                if history(properties).next() != row.version {
                    return Ok(false);
                }
                properties.insert(format!("{VERSION}{}", row.version), stored(&row));
                let bytes: usize = properties.iter().filter(|(key, _)| is_ours(key)).map(|(_, text)| text.len()).sum();
                if bytes > VERSIONS_BYTES_MAX {
                    return Err(Error::TooMany(format!(
                        "the schemas of a topic take {bytes} bytes, where {VERSIONS_BYTES_MAX} are the most: delete them"
                    )));
                }
                Ok(true)
            });
            if added.await? {
                return Ok(next);
            }
        }
        Err(Error::NotReady("the schema of the topic keeps changing".into()))
    }

    /// Where the schemas of a topic are; those that waited for it move in with it.
    async fn schema_place(&self, topic: &TopicName) -> Result<Place> {
        let whole = topic.partitioned();
        let first = whole.with_partition(0);
        let candidates = if topic.is_persistent() { [whole.clone(), first] } else { [topic.clone(), first] };
        for name in candidates {
            if !self.is_there(&name).await? {
                continue;
            }
            if let Some(waiting) = self.inner.metadata.waiting_schemas(&whole) {
                let merge = move |properties: &mut Properties| {
                    for (key, value) in waiting.iter() {
                        properties.entry(key.clone()).or_insert_with(|| value.clone());
                    }
                    Ok(())
                };
                self.update_properties(&name, merge).await?;
                self.forget_schemas(&whole).await?;
            }
            return Ok(Place::Row(name));
        }
        Ok(Place::Waiting(whole))
    }

    async fn read_schemas(&self, place: &Place) -> Result<Properties> {
        match place {
            Place::Row(name) => {
                let topic = name.clone();
                self.shard(name)
                    .call(move |shard| {
                        let id = shard.topic(&topic)?;
                        let properties = shard.at(id)?.0.ledger.properties().iter();
                        Ok(properties.filter(|(key, _)| is_ours(key)).map(|(k, v)| (k.clone(), v.clone())).collect())
                    })
                    .await?
            }
            Place::Waiting(name) => {
                Ok(self.inner.metadata.waiting_schemas(name).map(|waiting| (*waiting).clone()).unwrap_or_default())
            }
        }
    }

    async fn write_schemas<R: Send + 'static>(
        &self,
        place: &Place,
        change: impl FnOnce(&mut Properties) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        match place {
            Place::Row(name) => self.update_properties(name, change).await,
            Place::Waiting(name) => self.inner.metadata.update_waiting_schemas(name, change).await,
        }
    }
}

impl SchemaHistory {
    /// The number of the next version, or of a deletion.
    fn next(&self) -> u64 {
        self.versions.last().map(|version| version.version).max(self.deleted).map_or(0, |last| last + 1)
    }
}

/// Version bytes, as clients carry them.
fn version_bytes(n: u64) -> Bytes {
    Bytes::copy_from_slice(&n.to_be_bytes())
}

fn is_ours(key: &str) -> bool {
    key.starts_with(VERSION) || key == DELETED
}

/// Runs what may take a while where it holds up nobody.
async fn compute<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Result<R> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::NotReady(error.to_string()))
}

fn definition(schema: Schema) -> Result<Definition> {
    let kind = Kind::from_wire(schema.kind)
        .ok_or_else(|| Error::InvalidSchema(format!("Unknown schema type : {}", schema.kind)))?;
    Ok(Definition { kind, data: schema.data, properties: schema.properties })
}

fn definitions(history: SchemaHistory) -> Vec<Definition> {
    history.versions.into_iter().map(|version| version.definition).collect()
}

/// A version as it lies in a property. Definitions are text but for those of a key and a value.
#[derive(Serialize, Deserialize)]
struct Row {
    #[serde(rename = "type")]
    kind: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// In hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    properties: BTreeMap<String, String>,
    #[serde(default)]
    created_ms: u64,
}

fn stored(version: &SchemaVersion) -> String {
    let Definition { kind, data, properties } = &version.definition;
    let text = std::str::from_utf8(data).ok().map(ToOwned::to_owned);
    let hex = || data.iter().map(|byte| format!("{byte:02x}")).collect();
    let data = if text.is_some() { None } else { Some(hex()) };
    let row = Row { kind: kind.wire(), text, data, properties: properties.clone(), created_ms: version.created_ms };
    // Plain structs with string keys always are JSON.
    serde_json::to_string(&row).unwrap_or_default()
}

fn history(properties: &Properties) -> SchemaHistory {
    let parse = |key: &str, text: &str| -> Option<SchemaVersion> {
        let row: Row = serde_json::from_str(text).ok()?;
        let from_hex = |hex: String| {
            let byte = |at| u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok();
            (0..hex.len() / 2).map(byte).collect::<Option<Vec<u8>>>()
        };
        let data = match (row.text, row.data) {
            (Some(text), _) => text.into_bytes(),
            (None, hex) => from_hex(hex?)?,
        };
        let definition = Definition { kind: Kind::from_wire(row.kind)?, data: data.into(), properties: row.properties };
        Some(SchemaVersion { version: key.parse().ok()?, definition, created_ms: row.created_ms })
    };
    let rows = properties.iter().filter_map(|(key, text)| Some((key.strip_prefix(VERSION)?, text)));
    let mut versions: Vec<_> = rows.filter_map(|(key, text)| parse(key, text)).collect();
    versions.sort_by_key(|version| version.version);
    SchemaHistory { versions, deleted: properties.get(DELETED).and_then(|n| n.parse().ok()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_as_it_was_stored() {
        let of = |version, kind, data: &'static [u8]| SchemaVersion {
            version,
            definition: Definition { kind, data: data.into(), properties: [("k".to_owned(), "v".to_owned())].into() },
            created_ms: 7,
        };
        // Ten comes after nine, though its text does not.
        let versions = [of(9, Kind::Avro, br#""int""#), of(10, Kind::KeyValue, b"\0\0\0\x01\xff")];
        let properties = versions.iter().map(|row| (format!("{VERSION}{}", row.version), stored(row))).collect();
        let found = history(&properties);
        assert_eq!(found.versions, versions);
        assert_eq!((found.deleted, found.next()), (None, 11));
    }

    #[test]
    fn a_version_of_before_there_was_a_time_is_read() {
        let row = r#"{"type":2,"name":"t","data":"2269","properties":{}}"#;
        let found = history(&[(format!("{VERSION}0"), row.to_owned())].into());
        assert_eq!(found.versions[0].definition, Definition::new(Kind::Json, &b"\"i"[..]));
    }

    #[test]
    fn numbers_go_on_behind_a_deletion() {
        let history = history(&[(DELETED.to_owned(), "4".to_owned())].into());
        assert_eq!((history.versions.len(), history.next()), (0, 5));
        assert_eq!(SchemaHistory::default().next(), 0);
    }
}
