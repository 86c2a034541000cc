//! `/admin/v2/namespaces`: namespaces and their policies.

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use model::{
    AutoTopicCreation, BacklogQuota, BacklogQuotaType, NamespacePolicies, PersistencePolicies, RetentionPolicies,
    SchemaCompatibility,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    App,
    reply::{self, Done, Failure, Reply, namespace},
    tenants::Force,
};

type Name = Path<(String, String)>;

/// GET, POST and DELETE of one optional policy.
macro_rules! policy {
    ($router:expr, $path:literal, $field:ident: $type:ty) => {
        $router.route(
            concat!("/{tenant}/{namespace}/", $path),
            get(|State(app): State<App>, Path((t, n)): Name| async move {
                Ok::<_, Failure>(reply::optional(app.broker.policies(&namespace(&t, &n)?)?.$field.clone()))
            })
            .post(|State(app): State<App>, Path((t, n)): Name, bytes: Bytes| async move {
                let value: $type = reply::required(&bytes)?;
                app.broker.update_policies(&namespace(&t, &n)?, |p| p.$field = Some(value.clone())).await?;
                Ok::<_, Failure>(Done)
            })
            .put(|State(app): State<App>, Path((t, n)): Name, bytes: Bytes| async move {
                let value: $type = reply::required(&bytes)?;
                app.broker.update_policies(&namespace(&t, &n)?, |p| p.$field = Some(value.clone())).await?;
                Ok::<_, Failure>(Done)
            })
            .delete(|State(app): State<App>, Path((t, n)): Name| async move {
                app.broker.update_policies(&namespace(&t, &n)?, |p| p.$field = None).await?;
                Ok::<_, Failure>(Done)
            }),
        )
    };
}

pub(crate) fn routes() -> Router<App> {
    let router = Router::new()
        .route("/{tenant}", get(list))
        .route("/{tenant}/{namespace}", get(policies).put(create).delete(delete))
        .route("/{tenant}/{namespace}/topics", get(topics))
        .route("/{tenant}/{namespace}/destinations", get(topics))
        .route("/{tenant}/{namespace}/permissions", get(permissions))
        .route("/{tenant}/{namespace}/bundles", get(bundles))
        .route("/{tenant}/{namespace}/replication", get(replication).post(set_replication))
        .route("/{tenant}/{namespace}/backlogQuotaMap", get(quotas))
        .route("/{tenant}/{namespace}/backlogQuota", post(set_quota).delete(remove_quota))
        .route("/{tenant}/{namespace}/schemaCompatibilityStrategy", get(compatibility).put(set_compatibility))
        .route("/{tenant}/{namespace}/unload", put(unload))
        .route("/{tenant}/{namespace}/{bundle}/unload", put(unload_bundle))
        .route("/{tenant}/{namespace}/clearBacklog", post(clear))
        .route("/{tenant}/{namespace}/clearBacklog/{subscription}", post(clear_one));
    let router = policy!(router, "retention", retention_policies: RetentionPolicies);
    let router = policy!(router, "messageTTL", message_ttl_in_seconds: u32);
    let router = policy!(router, "deduplication", deduplication_enabled: bool);
    let router = policy!(router, "persistence", persistence: PersistencePolicies);
    let router = policy!(router, "autoTopicCreation", auto_topic_creation: AutoTopicCreation);
    let router = policy!(router, "maxUnackedMessagesPerConsumer", max_unacked_messages_per_consumer: u32);
    policy!(router, "maxUnackedMessagesPerSubscription", max_unacked_messages_per_subscription: u32)
}

async fn list(State(app): State<App>, Path(tenant): Path<String>) -> Reply<Json<Vec<String>>> {
    Ok(Json(app.broker.namespaces(&tenant)?.iter().map(ToString::to_string).collect()))
}

async fn policies(State(app): State<App>, Path((t, n)): Name) -> Reply<Json<Value>> {
    let name = namespace(&t, &n)?;
    let policies = app.broker.policies(&name)?;
    let mut value = json!(*policies);
    value["bundles"] = boundaries(&policies);
    Ok(Json(value))
}

fn boundaries(policies: &NamespacePolicies) -> Value {
    let bundles = u64::from(policies.num_bundles.unwrap_or(1).max(1));
    let size = 0x1_0000_0000 / bundles;
    let mut boundaries: Vec<_> = (0..bundles).map(|n| format!("0x{:08x}", n * size)).collect();
    boundaries.push("0xffffffff".to_owned());
    json!({ "boundaries": boundaries, "numBundles": bundles })
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NewNamespace {
    #[serde(flatten)]
    policies: NamespacePolicies,
    bundles: Option<NewBundles>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewBundles {
    num_bundles: Option<u32>,
}

async fn create(State(app): State<App>, Path((t, n)): Name, bytes: Bytes) -> Reply {
    let new: NewNamespace = reply::body(&bytes)?.unwrap_or_default();
    let mut policies = new.policies;
    if let Some(bundles) = new.bundles.and_then(|b| b.num_bundles) {
        if bundles == 0 || bundles > 0x10_0000 {
            return Err(Failure::bad("Invalid number of bundles: it has to be between 1 and 1048576"));
        }
        policies.num_bundles = Some(bundles);
    }
    app.broker.create_namespace(&namespace(&t, &n)?, policies).await?;
    Ok(Done)
}

async fn delete(State(app): State<App>, Path((t, n)): Name, Query(query): Query<Force>) -> Reply {
    app.broker.delete_namespace(&namespace(&t, &n)?, query.force).await?;
    Ok(Done)
}

async fn topics(State(app): State<App>, Path((t, n)): Name) -> Reply<Json<Vec<String>>> {
    Ok(Json(app.broker.topics(&namespace(&t, &n)?).await?.iter().map(ToString::to_string).collect()))
}

async fn permissions(State(app): State<App>, Path((t, n)): Name) -> Reply<Json<Value>> {
    app.broker.policies(&namespace(&t, &n)?)?;
    Ok(Json(json!({})))
}

async fn bundles(State(app): State<App>, Path((t, n)): Name) -> Reply<Json<Value>> {
    Ok(Json(boundaries(&*app.broker.policies(&namespace(&t, &n)?)?)))
}

async fn replication(State(app): State<App>, Path((t, n)): Name) -> Reply<Json<Vec<String>>> {
    Ok(Json(app.broker.policies(&namespace(&t, &n)?)?.replication_clusters.clone()))
}

async fn set_replication(State(app): State<App>, Path((t, n)): Name, bytes: Bytes) -> Reply {
    let clusters: Vec<String> = reply::required(&bytes)?;
    let known = app.broker.clusters();
    match clusters.iter().find(|c| !known.contains(c)) {
        Some(unknown) => Err(Failure::new(StatusCode::FORBIDDEN, format!("Invalid cluster id: {unknown}"))),
        None => {
            app.broker.update_policies(&namespace(&t, &n)?, |p| p.replication_clusters.clone_from(&clusters)).await?;
            Ok(Done)
        }
    }
}

async fn quotas(State(app): State<App>, Path((t, n)): Name) -> Reply<Response> {
    Ok(Json(&app.broker.policies(&namespace(&t, &n)?)?.backlog_quota_map).into_response())
}

#[derive(Deserialize)]
struct QuotaQuery {
    #[serde(rename = "backlogQuotaType")]
    kind: Option<BacklogQuotaType>,
}

async fn set_quota(State(app): State<App>, Path((t, n)): Name, Query(query): Query<QuotaQuery>, bytes: Bytes) -> Reply {
    let quota: BacklogQuota = reply::required(&bytes)?;
    let kind = query.kind.unwrap_or(BacklogQuotaType::DestinationStorage);
    app.broker
        .update_policies(&namespace(&t, &n)?, |p| {
            p.backlog_quota_map.insert(kind, quota);
        })
        .await?;
    Ok(Done)
}

async fn remove_quota(State(app): State<App>, Path((t, n)): Name, Query(query): Query<QuotaQuery>) -> Reply {
    let kind = query.kind.unwrap_or(BacklogQuotaType::DestinationStorage);
    app.broker
        .update_policies(&namespace(&t, &n)?, |p| {
            p.backlog_quota_map.remove(&kind);
        })
        .await?;
    Ok(Done)
}

async fn compatibility(State(app): State<App>, Path((t, n)): Name) -> Reply<Json<SchemaCompatibility>> {
    Ok(Json(app.broker.policies(&namespace(&t, &n)?)?.schema_compatibility_strategy))
}

async fn set_compatibility(State(app): State<App>, Path((t, n)): Name, bytes: Bytes) -> Reply {
    let strategy: SchemaCompatibility = reply::required(&bytes)?;
    app.broker.update_policies(&namespace(&t, &n)?, |p| p.schema_compatibility_strategy = strategy).await?;
    Ok(Done)
}

async fn unload(State(app): State<App>, Path((t, n)): Name) -> Reply {
    app.broker.unload_namespace(&namespace(&t, &n)?).await?;
    Ok(Done)
}

/// Bundles are not separate on one machine: unloading one unloads the namespace.
async fn unload_bundle(State(app): State<App>, Path((t, n, _)): Path<(String, String, String)>) -> Reply {
    app.broker.unload_namespace(&namespace(&t, &n)?).await?;
    Ok(Done)
}

async fn clear(State(app): State<App>, Path((t, n)): Name) -> Reply {
    app.broker.clear_namespace_backlog(&namespace(&t, &n)?, None).await?;
    Ok(Done)
}

async fn clear_one(State(app): State<App>, Path((t, n, s)): Path<(String, String, String)>) -> Reply {
    app.broker.clear_namespace_backlog(&namespace(&t, &n)?, Some(&s)).await?;
    Ok(Done)
}
