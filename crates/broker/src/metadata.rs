//! Tenants, namespaces and their policies: a copy in memory of what the metastore keeps.
//!
//! Reads are from the copy and never wait; writes go to the metastore by compare-and-set first.

use admin_api::{ClusterData, TenantInfo};
use bytes::Bytes;
use metastore::{Expect, Metastore, Version};
use model::{
    BacklogQuota, BacklogQuotaType, NamespaceName, NamespacePolicies, PublishRate, RetentionPolicy, SchemaAutoUpdate,
    SchemaCompatibility, SubscriptionType, TopicLevelPolicies, TopicName,
};
use parking_lot::RwLock;
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    config::Config,
    error::{Error, Result},
    topic::Admission,
};

const CLUSTERS: &str = "/clusters/";
const TENANTS: &str = "/tenants/";
const NAMESPACES: &str = "/namespaces/";
const TOPICS: &str = "/topics/";
const SCHEMAS: &str = "/schemas/";

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Metadata {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Metastore>,
    config: Arc<Config>,
    /// Others than this one.
    clusters: RwLock<BTreeMap<String, ClusterData>>,
    tenants: RwLock<BTreeMap<String, Row<TenantInfo>>>,
    namespaces: RwLock<BTreeMap<NamespaceName, Row<Arc<NamespacePolicies>>>>,
    /// Only topics that have policies of their own; a partitioned one by its name without suffix.
    topics: RwLock<BTreeMap<TopicName, Arc<TopicLevelPolicies>>>,
    /// One change at a time, so that each builds on the last.
    changing_topics: tokio::sync::Mutex<()>,
    /// Schemas that wait for their topics, as the properties that will be theirs.
    schemas: RwLock<BTreeMap<TopicName, Arc<BTreeMap<String, String>>>>,
    changing_schemas: tokio::sync::Mutex<()>,
}

struct Row<T> {
    value: T,
    version: Version,
}

/// What policies and configuration together say about one topic.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TopicPolicies {
    pub(crate) deduplication: bool,
    pub(crate) retention: ledger::Retention,
    pub(crate) ttl: Option<Duration>,
    pub(crate) size_quota: Option<BacklogQuota>,
    pub(crate) time_quota: Option<BacklogQuota>,
    pub(crate) max_unacked_per_consumer: u32,
    pub(crate) max_unacked_per_subscription: u32,
    pub(crate) auto_subscription_creation: bool,
    /// 0 is no bound, here and below.
    pub(crate) max_producers: usize,
    pub(crate) max_consumers: usize,
    pub(crate) max_consumers_per_subscription: usize,
    pub(crate) max_subscriptions: usize,
    /// Bytes after which the topic is compacted; 0 is never.
    pub(crate) compaction_threshold: u64,
    /// Types that consumers may subscribe with; none named is all.
    pub(crate) subscription_types: Vec<SubscriptionType>,
    /// Messages may ask to be delivered later.
    pub(crate) delayed_delivery: bool,
    pub(crate) publish_rate: Option<PublishRate>,
    /// What is asked of each entry.
    pub(crate) admission: Admission,
}

impl TopicPolicies {
    /// Whether a passed quota throws producers out instead of holding them.
    pub(crate) fn quota_is_exception(&self) -> bool {
        [&self.size_quota, &self.time_quota]
            .into_iter()
            .flatten()
            .any(|quota| quota.policy == RetentionPolicy::ProducerException)
    }
}

impl Metadata {
    /// Reads everything there is; a new store gets the tenants and namespaces that Pulsar's standalone has.
    pub(crate) async fn open(store: Arc<dyn Metastore>, config: Arc<Config>) -> Result<Self> {
        let metadata = Self {
            inner: Arc::new(Inner {
                store,
                config,
                clusters: RwLock::default(),
                tenants: RwLock::default(),
                namespaces: RwLock::default(),
                topics: RwLock::default(),
                changing_topics: tokio::sync::Mutex::default(),
                schemas: RwLock::default(),
                changing_schemas: tokio::sync::Mutex::default(),
            }),
        };
        for (key, value, _) in metadata.inner.store.list(CLUSTERS).await? {
            let value = parse(&key, &value)?;
            metadata.inner.clusters.write().insert(key[CLUSTERS.len()..].to_owned(), value);
        }
        for (key, value, version) in metadata.inner.store.list(TENANTS).await? {
            let value = parse(&key, &value)?;
            metadata.inner.tenants.write().insert(key[TENANTS.len()..].to_owned(), Row { value, version });
        }
        for (key, value, version) in metadata.inner.store.list(NAMESPACES).await? {
            let name: NamespaceName =
                key[NAMESPACES.len()..].parse().map_err(|e| Error::Storage(format!("metastore key {key}: {e}")))?;
            let value = Arc::new(parse(&key, &value)?);
            metadata.inner.namespaces.write().insert(name, Row { value, version });
        }
        for (key, value, _) in metadata.inner.store.list(TOPICS).await? {
            let Some(name) = topic_of(&key[TOPICS.len()..]) else { continue };
            let value = Arc::new(parse(&key, &value)?);
            metadata.inner.topics.write().insert(name, value);
        }
        for (key, value, _) in metadata.inner.store.list(SCHEMAS).await? {
            let Some(name) = topic_of(&key[SCHEMAS.len()..]) else { continue };
            let value = Arc::new(parse(&key, &value)?);
            metadata.inner.schemas.write().insert(name, value);
        }
        for (tenant, namespace) in [("public", "default"), ("pulsar", "system")] {
            if metadata.tenant(tenant).is_err() {
                let allowed = vec![metadata.cluster().to_owned()];
                let info = TenantInfo { allowed_clusters: allowed, ..TenantInfo::default() };
                metadata.create_tenant(tenant, info).await?;
            }
            let name = NamespaceName::new(tenant, namespace).map_err(|e| Error::BadRequest(e.to_string()))?;
            if metadata.policies(&name).is_err() {
                metadata.create_namespace(&name, NamespacePolicies::default()).await?;
            }
        }
        Ok(metadata)
    }

    pub(crate) fn cluster(&self) -> &str {
        &self.inner.config.cluster_name
    }

    /// Names of all, this one too, sorted.
    pub(crate) fn clusters(&self) -> Vec<String> {
        let others = self.inner.clusters.read();
        let mut all: Vec<String> = others.keys().cloned().collect();
        all.push(self.cluster().to_owned());
        all.sort();
        all.dedup();
        all
    }

    /// Another one.
    pub(crate) fn other_cluster(&self, name: &str) -> Option<ClusterData> {
        self.inner.clusters.read().get(name).cloned()
    }

    pub(crate) async fn create_cluster(&self, name: &str, data: ClusterData) -> Result<()> {
        if NamespaceName::new("public", name).is_err() {
            return Err(Error::Precondition("Cluster name is not valid".into()));
        }
        let exists = || Error::Conflict("Cluster already exists".into());
        if name == self.cluster() {
            return Err(exists());
        }
        self.put(&format!("{CLUSTERS}{name}"), &data, Expect::Absent).await.map_err(|e| match e {
            metastore::Error::Conflict { .. } => exists(),
            other => other.into(),
        })?;
        self.inner.clusters.write().insert(name.to_owned(), data);
        Ok(())
    }

    pub(crate) async fn update_cluster(&self, name: &str, data: ClusterData) -> Result<()> {
        self.must_have_cluster(name)?;
        self.put(&format!("{CLUSTERS}{name}"), &data, Expect::Any).await?;
        self.inner.clusters.write().insert(name.to_owned(), data);
        Ok(())
    }

    pub(crate) async fn delete_cluster(&self, name: &str) -> Result<()> {
        self.must_have_cluster(name)?;
        self.inner.store.delete(&format!("{CLUSTERS}{name}"), Expect::Any).await?;
        self.inner.clusters.write().remove(name);
        Ok(())
    }

    fn must_have_cluster(&self, name: &str) -> Result<()> {
        self.other_cluster(name).map(drop).ok_or_else(|| Error::ClusterNotFound(name.to_owned()))
    }

    pub(crate) fn tenants(&self) -> Vec<String> {
        self.inner.tenants.read().keys().cloned().collect()
    }

    pub(crate) fn tenant(&self, name: &str) -> Result<TenantInfo> {
        let tenants = self.inner.tenants.read();
        tenants.get(name).map(|row| row.value.clone()).ok_or_else(|| Error::TenantNotFound(name.to_owned()))
    }

    pub(crate) async fn create_tenant(&self, name: &str, info: TenantInfo) -> Result<()> {
        if NamespaceName::new(name, "default").is_err() {
            return Err(Error::Precondition("Tenant name is not valid".into()));
        }
        self.check_clusters(&info.allowed_clusters)?;
        let version = self.put(&format!("{TENANTS}{name}"), &info, Expect::Absent).await.map_err(|e| match e {
            metastore::Error::Conflict { .. } => Error::TenantExists(name.to_owned()),
            other => other.into(),
        })?;
        self.inner.tenants.write().insert(name.to_owned(), Row { value: info, version });
        Ok(())
    }

    pub(crate) async fn update_tenant(&self, name: &str, info: TenantInfo) -> Result<()> {
        self.tenant(name)?;
        self.check_clusters(&info.allowed_clusters)?;
        let version = self.put(&format!("{TENANTS}{name}"), &info, Expect::Any).await?;
        self.inner.tenants.write().insert(name.to_owned(), Row { value: info, version });
        Ok(())
    }

    fn check_clusters(&self, clusters: &[String]) -> Result<()> {
        if clusters.is_empty() || clusters.iter().any(String::is_empty) {
            return Err(Error::Precondition("Clusters can not be empty".into()));
        }
        let known = self.clusters();
        match clusters.iter().find(|c| !known.contains(c)) {
            Some(_) => Err(Error::Precondition("Clusters do not exist".into())),
            None => Ok(()),
        }
    }

    pub(crate) async fn delete_tenant(&self, name: &str) -> Result<()> {
        self.tenant(name)?;
        if self.inner.namespaces.read().keys().any(|ns| ns.tenant() == name) {
            return Err(Error::Conflict("The tenant still has active namespaces".into()));
        }
        self.inner.store.delete(&format!("{TENANTS}{name}"), Expect::Any).await?;
        self.inner.tenants.write().remove(name);
        Ok(())
    }

    pub(crate) fn namespaces(&self, tenant: &str) -> Result<Vec<NamespaceName>> {
        self.tenant(tenant)?;
        Ok(self.inner.namespaces.read().keys().filter(|ns| ns.tenant() == tenant).cloned().collect())
    }

    pub(crate) fn all_namespaces(&self) -> Vec<NamespaceName> {
        self.inner.namespaces.read().keys().cloned().collect()
    }

    pub(crate) fn policies(&self, name: &NamespaceName) -> Result<Arc<NamespacePolicies>> {
        let namespaces = self.inner.namespaces.read();
        namespaces.get(name).map(|row| row.value.clone()).ok_or_else(|| Error::NamespaceNotFound(name.clone()))
    }

    pub(crate) async fn create_namespace(&self, name: &NamespaceName, mut policies: NamespacePolicies) -> Result<()> {
        self.tenant(name.tenant())?;
        if policies.replication_clusters.is_empty() {
            policies.replication_clusters.push(self.cluster().to_owned());
        }
        policies.num_bundles.get_or_insert(4);
        let version = self.put(&key_of(name), &policies, Expect::Absent).await.map_err(|e| match e {
            metastore::Error::Conflict { .. } => Error::NamespaceExists(name.clone()),
            other => other.into(),
        })?;
        self.inner.namespaces.write().insert(name.clone(), Row { value: Arc::new(policies), version });
        Ok(())
    }

    /// Changes policies by compare-and-set; `change` may run more than once.
    pub(crate) async fn update_policies(
        &self,
        name: &NamespaceName,
        change: impl Fn(&mut NamespacePolicies),
    ) -> Result<()> {
        loop {
            let (mut policies, version) = {
                let namespaces = self.inner.namespaces.read();
                let row = namespaces.get(name).ok_or_else(|| Error::NamespaceNotFound(name.clone()))?;
                (NamespacePolicies::clone(&row.value), row.version)
            };
            change(&mut policies);
            match self.put(&key_of(name), &policies, Expect::Version(version)).await {
                Ok(version) => {
                    self.inner.namespaces.write().insert(name.clone(), Row { value: Arc::new(policies), version });
                    return Ok(());
                }
                Err(metastore::Error::Conflict { .. }) => {
                    let Some((value, version)) = self.inner.store.get(&key_of(name)).await? else {
                        self.inner.namespaces.write().remove(name);
                        return Err(Error::NamespaceNotFound(name.clone()));
                    };
                    let value = Arc::new(parse(name.as_str(), &value)?);
                    self.inner.namespaces.write().insert(name.clone(), Row { value, version });
                }
                Err(other) => return Err(other.into()),
            }
        }
    }

    pub(crate) async fn delete_namespace(&self, name: &NamespaceName) -> Result<()> {
        self.policies(name)?;
        // What waits for topics that never came goes too: a later namespace of this name is another.
        let waiting: Vec<_> = {
            let schemas = self.inner.schemas.read();
            schemas.keys().filter(|topic| topic.namespace() == name).cloned().collect()
        };
        for topic in waiting {
            self.set_waiting_schemas(&topic, BTreeMap::new()).await?;
        }
        self.inner.store.delete(&key_of(name), Expect::Any).await?;
        self.inner.namespaces.write().remove(name);
        Ok(())
    }

    /// What a topic says about itself, or the topic that it is a partition of.
    pub(crate) fn topic_level_policies(&self, topic: &TopicName) -> Arc<TopicLevelPolicies> {
        let topics = self.inner.topics.read();
        if topics.is_empty() {
            return Arc::default();
        }
        topics.get(&topic.partitioned()).cloned().unwrap_or_default()
    }

    /// Changes what a topic says about itself.
    pub(crate) async fn update_topic_policies(
        &self,
        topic: &TopicName,
        change: impl FnOnce(&mut TopicLevelPolicies),
    ) -> Result<()> {
        let _one = self.inner.changing_topics.lock().await;
        let topic = topic.partitioned();
        let before = self.topic_level_policies(&topic);
        let mut policies = TopicLevelPolicies::clone(&before);
        change(&mut policies);
        if policies == *before {
            return Ok(());
        }
        let key = format!("{TOPICS}{topic}");
        if policies == TopicLevelPolicies::default() {
            self.inner.store.delete(&key, Expect::Any).await?;
            self.inner.topics.write().remove(&topic);
        } else {
            self.put(&key, &policies, Expect::Any).await?;
            self.inner.topics.write().insert(topic, Arc::new(policies));
        }
        Ok(())
    }

    /// Schemas that wait for a topic, which has no suffix.
    pub(crate) fn waiting_schemas(&self, topic: &TopicName) -> Option<Arc<BTreeMap<String, String>>> {
        self.inner.schemas.read().get(topic).cloned()
    }

    /// Changes them; none left are forgotten.
    pub(crate) async fn update_waiting_schemas<R>(
        &self,
        topic: &TopicName,
        change: impl FnOnce(&mut BTreeMap<String, String>) -> Result<R>,
    ) -> Result<R> {
        let _one = self.inner.changing_schemas.lock().await;
        let mut schemas = self.waiting_schemas(topic).map(|waiting| (*waiting).clone()).unwrap_or_default();
        let value = change(&mut schemas)?;
        let key = format!("{SCHEMAS}{topic}");
        if schemas.is_empty() {
            self.inner.store.delete(&key, Expect::Any).await?;
            self.inner.schemas.write().remove(topic);
        } else {
            self.put(&key, &schemas, Expect::Any).await?;
            self.inner.schemas.write().insert(topic.clone(), Arc::new(schemas));
        }
        Ok(value)
    }

    /// Puts these in their place; none are forgotten.
    pub(crate) async fn set_waiting_schemas(&self, topic: &TopicName, schemas: BTreeMap<String, String>) -> Result<()> {
        let set = |waiting: &mut BTreeMap<String, String>| {
            *waiting = schemas;
            Ok(())
        };
        self.update_waiting_schemas(topic, set).await
    }

    /// How a new schema of a topic has to fit the old ones. Source: Pulsar's
    /// `AdminResource.getSchemaCompatibilityStrategyAsyncWithoutAuth`.
    pub(crate) fn schema_strategy(&self, topic: &TopicName) -> SchemaCompatibility {
        let policies = self.policies(topic.namespace()).unwrap_or_default();
        let own = self.topic_level_policies(topic).schema_compatibility_strategy;
        let of_updates = policies.schema_auto_update_compatibility_strategy.map(SchemaAutoUpdate::strategy);
        own.into_iter()
            .chain([policies.schema_compatibility_strategy])
            .chain(of_updates)
            .find(|strategy| *strategy != SchemaCompatibility::Undefined)
            .unwrap_or(self.inner.config.schema_compatibility_strategy)
    }

    /// Whether producers may register new schemas.
    pub(crate) fn may_update_schemas(&self, topic: &TopicName) -> bool {
        let policies = self.policies(topic.namespace()).unwrap_or_default();
        policies.is_allow_auto_update_schema.unwrap_or(self.inner.config.allow_auto_update_schema)
    }

    /// Whether producers need a schema where the topic has one.
    pub(crate) fn schema_validation_enforced(&self, topic: &TopicName) -> bool {
        let policies = self.policies(topic.namespace()).unwrap_or_default();
        let own = self.topic_level_policies(topic).schema_validation_enforced;
        self.inner.config.schema_validation_enforced || own.unwrap_or(policies.schema_validation_enforced)
    }

    /// What applies to a topic.
    pub(crate) fn topic_policies(&self, topic: &TopicName) -> Arc<TopicPolicies> {
        let config = &self.inner.config;
        let policies = self.policies(topic.namespace()).unwrap_or_default();
        let own = self.topic_level_policies(topic);
        let bound = |own: Option<u32>, namespace: Option<u32>, default: usize| {
            own.or(namespace).map_or(default, |n| n as usize)
        };
        let retention = match own.retention_policies.or(policies.retention_policies) {
            Some(retention) => ledger::Retention {
                time: u64::try_from(retention.retention_time_in_minutes)
                    .ok()
                    .map(|m| Duration::from_secs(m.saturating_mul(60))),
                bytes: u64::try_from(retention.retention_size_in_mb).ok().map(|mb| mb.saturating_mul(1 << 20)),
            },
            None => ledger::Retention {
                time: Some(config.default_retention_time),
                bytes: Some(config.default_retention_bytes),
            },
        };
        let ttl = match own.message_ttl_in_seconds.or(policies.message_ttl_in_seconds) {
            Some(seconds) => Duration::from_secs(u64::from(seconds)),
            None => config.default_message_ttl,
        };
        let default_quota = (config.default_backlog_quota_bytes > 0).then(|| BacklogQuota {
            limit_size: i64::try_from(config.default_backlog_quota_bytes).unwrap_or(i64::MAX),
            limit_time: -1,
            policy: RetentionPolicy::ProducerRequestHold,
        });
        let quota = |kind| own.backlog_quota_map.get(&kind).or(policies.backlog_quota_map.get(&kind)).copied();
        let types = [&own.subscription_types_enabled, &policies.subscription_types_enabled];
        let auto_subscription = own.auto_subscription_creation.or(policies.auto_subscription_creation);
        let delayed = own.delayed_delivery.or(policies.delayed_delivery);
        let max_delay = delayed.filter(|delayed| delayed.active && topic.is_persistent());
        Arc::new(TopicPolicies {
            deduplication: own
                .deduplication_enabled
                .or(policies.deduplication_enabled)
                .unwrap_or(config.deduplication_enabled),
            retention,
            ttl: (!ttl.is_zero()).then_some(ttl),
            size_quota: quota(BacklogQuotaType::DestinationStorage).or(default_quota).filter(|q| q.limit_size >= 0),
            time_quota: quota(BacklogQuotaType::MessageAge).filter(|q| q.limit_time > 0),
            max_unacked_per_consumer: own
                .max_unacked_messages_per_consumer
                .or(policies.max_unacked_messages_per_consumer)
                .unwrap_or(config.max_unacked_messages_per_consumer),
            max_unacked_per_subscription: own
                .max_unacked_messages_per_subscription
                .or(policies.max_unacked_messages_per_subscription)
                .unwrap_or(config.max_unacked_messages_per_subscription),
            auto_subscription_creation: auto_subscription
                .map_or(config.allow_auto_subscription_creation, |auto| auto.allow_auto_subscription_creation),
            max_producers: bound(own.max_producers, policies.max_producers_per_topic, config.max_producers_per_topic),
            max_consumers: bound(own.max_consumers, policies.max_consumers_per_topic, config.max_consumers_per_topic),
            max_consumers_per_subscription: bound(
                own.max_consumers_per_subscription,
                policies.max_consumers_per_subscription,
                config.max_consumers_per_subscription,
            ),
            max_subscriptions: bound(
                own.max_subscriptions,
                policies.max_subscriptions_per_topic,
                config.max_subscriptions_per_topic,
            ),
            compaction_threshold: own.compaction_threshold.or(policies.compaction_threshold).unwrap_or(0),
            subscription_types: types.into_iter().find(|types| !types.is_empty()).cloned().unwrap_or_default(),
            delayed_delivery: delayed.is_none_or(|delayed| delayed.active),
            publish_rate: own.publish_rate.or(policies.publish_rate),
            admission: Admission {
                max_message_size: own.max_message_size.map_or(0, |bytes| bytes as usize),
                max_delivery_delay_ms: max_delay.map_or(0, |delayed| delayed.max_delivery_delay_in_millis),
                encryption_required: policies.encryption_required,
            },
        })
    }

    async fn put(
        &self,
        key: &str,
        value: &impl Serialize,
        expect: Expect,
    ) -> std::result::Result<Version, metastore::Error> {
        // Serializing plain structs with string keys cannot fail.
        let json = serde_json::to_vec(value).unwrap_or_default();
        self.inner.store.put(key, Bytes::from(json), expect).await
    }
}

/// The topic a key names. One that is none, which an earlier version let in, costs what it has and not the start.
fn topic_of(key: &str) -> Option<TopicName> {
    key.parse().inspect_err(|error| tracing::error!(%error, "what is stored for a topic is passed over")).ok()
}

fn key_of(name: &NamespaceName) -> String {
    format!("{NAMESPACES}{name}")
}

fn parse<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T> {
    serde_json::from_slice(value).map_err(|e| Error::Storage(format!("metastore key {key}: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_longest_and_largest_retention_keeps_everything() {
        let store = Arc::new(metastore::MemoryStore::default());
        let metadata = Metadata::open(store, Arc::default()).await.unwrap();
        let topic: TopicName = "t".parse().unwrap();
        let most = model::RetentionPolicies { retention_time_in_minutes: i64::MAX, retention_size_in_mb: i64::MAX };
        metadata.update_policies(topic.namespace(), |own| own.retention_policies = Some(most)).await.unwrap();
        let most = ledger::Retention { time: Some(Duration::from_secs(u64::MAX)), bytes: Some(u64::MAX) };
        assert_eq!(metadata.topic_policies(&topic).retention, most);
    }
}
