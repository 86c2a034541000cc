//! What administrators ask for. Statuses and texts are those of Pulsar 4.2.4; `interop/admin/compare.py` asks both.

use crate::server::{Server, batch, entry};
use serde_json::json;
use wire::proto::KeyValue;

const P: &str = "/admin/v2/persistent/public/default";
const N: &str = "/admin/v2/namespaces/public/default";

#[tokio::test]
async fn a_topic_is_created_listed_and_deleted() {
    let server = Server::start().await;
    server.done("PUT", &format!("{P}/orders"), r#"{"of": "shop"}"#).await;
    assert_eq!(server.get(&format!("{P}/orders/internalStats")).await.json()["properties"], json!({"of": "shop"}));
    let again = server.send("PUT", &format!("{P}/orders"), "").await;
    assert_eq!(again.refusal(), (409, "This topic already exists".to_owned()));
    assert_eq!(server.get(P).await.json(), json!(["persistent://public/default/orders"]));
    server.done("PUT", &format!("{P}/orders/subscription/billing"), r#"{"ledgerId":-1,"entryId":-1}"#).await;
    assert_eq!(server.get(&format!("{P}/orders/subscriptions")).await.json(), json!(["billing"]));
    // Subscriptions that nobody uses do not keep a topic.
    server.done("DELETE", &format!("{P}/orders"), "").await;
    let gone = server.get(&format!("{P}/orders/stats")).await.refusal();
    assert_eq!(gone, (404, "Topic persistent://public/default/orders not found".to_owned()));
}

#[tokio::test]
async fn a_partitioned_topic_stands_for_its_partitions() {
    let server = Server::start().await;
    server.done("PUT", &format!("{P}/orders/partitions"), "3").await;
    assert_eq!(server.get(&format!("{P}/orders/partitions")).await.json()["partitions"], 3);
    assert_eq!(server.get(P).await.json().as_array().unwrap().len(), 3);
    server.done("PUT", &format!("{P}/orders/subscription/s"), "").await;
    assert_eq!(server.get(&format!("{P}/orders-partition-2/subscriptions")).await.json(), json!(["s"]));
    let none = server.send("PUT", &format!("{P}/orders-partition-3/subscription/s"), "").await.refusal();
    assert_eq!(none, (404, "Topic partitions were not yet created".to_owned()));
    let fewer = server.send("POST", &format!("{P}/orders/partitions"), "2").await.refusal();
    assert_eq!(fewer, (422, "Desired partitions 2 can't be less than the current partitions 3.".to_owned()));
    server.done("POST", &format!("{P}/orders/partitions"), "4").await;
    assert_eq!(server.get(&format!("{P}/orders-partition-3/subscriptions")).await.json(), json!(["s"]));
    let stats = server.get(&format!("{P}/orders/partitioned-stats")).await.json();
    assert_eq!(stats["partitions"].as_object().unwrap().len(), 4);
    assert_eq!(stats["metadata"]["partitions"], 4);
    assert_eq!(server.send("DELETE", &format!("{P}/orders"), "").await.status, 409);
    assert_eq!(server.send("DELETE", &format!("{P}/orders-partition-0/partitions"), "").await.status, 412);
    server.done("DELETE", &format!("{P}/orders/partitions"), "").await;
    assert_eq!(server.get(P).await.json(), json!([]));
}

#[tokio::test]
async fn numbers_and_booleans_may_be_strings() {
    let server = Server::start().await;
    for (n, (body, partitions)) in
        [("\"3\"", 3), ("\" 4 \"", 4), ("3.0", 3), ("3.7", 3), (r#"{"partitions":"2"}"#, 2)].into_iter().enumerate()
    {
        server.done("PUT", &format!("{P}/t{n}/partitions"), body).await;
        assert_eq!(server.get(&format!("{P}/t{n}/partitions")).await.json()["partitions"], partitions, "{body}");
    }
    for body in ["\"\"", "null", "\"0\"", "0"] {
        let refused = server.send("PUT", &format!("{P}/t/partitions"), body).await.refusal();
        assert_eq!(refused, (406, "Number of partitions should be more than 0".to_owned()), "{body}");
    }
    for body in ["\"x\"", "\"3.0\"", "true", "[3]"] {
        assert_eq!(server.send("PUT", &format!("{P}/t/partitions"), body).await.status, 400, "{body}");
    }
    server.done("POST", &format!("{P}/t0/partitions"), "\"5\"").await;
    assert_eq!(server.get(&format!("{P}/t0/partitions")).await.json()["partitions"], 5);
    for path in ["messageTTL", "maxConsumersPerTopic"] {
        server.done("POST", &format!("{N}/{path}"), "\"60\"").await;
        assert_eq!(server.get(&format!("{N}/{path}")).await.json(), 60, "{path}");
        assert_eq!(server.send("POST", &format!("{N}/{path}"), "\"-1\"").await.status, 412, "{path}");
        assert_eq!(server.send("POST", &format!("{N}/{path}"), "4000000000").await.status, 400, "{path}");
    }
    server.done("POST", &format!("{N}/deduplication"), "\"True\"").await;
    assert_eq!(server.get(&format!("{N}/deduplication")).await.json(), true);
    assert_eq!(server.send("POST", &format!("{N}/deduplication"), "\"yes\"").await.status, 400);
    server.done("POST", &format!("{P}/t0/maxConsumers"), "\"7\"").await;
    assert_eq!(server.get(&format!("{P}/t0/maxConsumers")).await.json(), 7);
    server.done("POST", &format!("{P}/t0/deduplicationEnabled"), "\"false\"").await;
    assert_eq!(server.get(&format!("{P}/t0/deduplicationEnabled")).await.json(), false);
}

#[tokio::test]
async fn names_travel_encoded() {
    let server = Server::start().await;
    let name = "a%25b%20%C3%BC%23%3F";
    server.done("PUT", &format!("{P}/{name}"), "").await;
    assert_eq!(server.get(P).await.json(), json!(["persistent://public/default/a%b ü#?"]));
    server.done("PUT", &format!("{P}/{name}/subscription/x%2Fy%20z"), "").await;
    assert_eq!(server.get(&format!("{P}/{name}/subscriptions/")).await.json(), json!(["x/y z"]));
    // Java's encoder writes a space as `+`, and a `+` as `%2B`.
    server.done("PUT", &format!("{P}/c%2Bd+e"), "").await;
    server.done("PUT", &format!("{P}/c%2Bd+e/subscription/f+g"), "").await;
    assert_eq!(server.get(&format!("{P}/c%2Bd%20e/subscriptions")).await.json(), json!(["f g"]));
    let slash = server.send("PUT", &format!("{P}/a%2Fb"), "").await.refusal();
    assert_eq!(slash, (412, "Topic name is not valid".to_owned()));
    let namespace = server.send("PUT", "/admin/v2/namespaces/public/a%20b", "").await.refusal();
    assert_eq!(namespace, (412, "Namespace name is not valid".to_owned()));
}

#[tokio::test]
async fn a_stored_message_is_shown_with_its_metadata_as_headers() {
    let server = Server::start().await;
    server.done("PUT", &format!("{P}/t"), "").await;
    server.done("PUT", &format!("{P}/t/subscription/s"), "").await;
    let two = batch(&["a", "b"]);
    let single = entry(b"hello", |metadata| {
        metadata.partition_key = Some("key\r\nX-Evil: 1".to_owned());
        metadata.properties.push(KeyValue { key: "n".to_owned(), value: "ü".to_owned() });
        metadata.event_time = Some(1000);
    });
    let batched = entry(&two, |metadata| metadata.num_messages_in_batch = Some(2));
    server.publish("persistent://public/default/t", &[single, batched]).await;

    let first = server.get(&format!("{P}/t/subscription/s/position/1")).await;
    assert_eq!((first.status, first.text().as_str()), (200, "hello"));
    assert_eq!(first.header("x-pulsar-property"), Some(r#"{"n":"\u00fc"}"#));
    assert_eq!(first.header("x-pulsar-publish-time"), Some("2023-11-14T22:13:20.123Z"));
    assert_eq!(first.header("x-pulsar-event-time"), Some("1970-01-01T00:00:01.000Z"));
    assert_eq!(first.header("x-pulsar-partition-key"), Some("keyX-Evil: 1"));
    assert_eq!((first.header("x-evil"), first.header("x-pulsar-num-batch-message")), (None, None));
    let second = server.get(&format!("{P}/t/subscription/s/position/2")).await;
    assert_eq!((second.header("x-pulsar-num-batch-message"), &second.body[..]), (Some("2"), &two[..]));
    let third = server.get(&format!("{P}/t/subscription/s/position/3")).await;
    assert_eq!(third.refusal(), (404, "Message not found".to_owned()));
    // Who has no subscription yet may look as well, and leaves none behind.
    assert_eq!(server.get(&format!("{P}/t/subscription/new/position/2")).await.body[..], two[..]);
    assert_eq!(server.get(&format!("{P}/t/subscription/new/position/3")).await.status, 404);
    assert_eq!(server.get(&format!("{P}/t/subscriptions")).await.json(), json!(["s"]));

    let last = server.get(&format!("{P}/t/lastMessageId")).await.json();
    assert_eq!((&last["entryId"], &last["batchIndex"]), (&json!(1), &json!(1)));
    let latest = server.get(&format!("{P}/t/examinemessage?initialPosition=earliest&messagePosition=1")).await;
    assert_eq!(latest.text(), "hello");
    server.done("POST", &format!("{P}/t/subscription/s/skip/1"), "").await;
    let stats = server.get(&format!("{P}/t/stats")).await.json();
    assert_eq!((&stats["msgInCounter"], &stats["subscriptions"]["s"]["msgBacklog"]), (&json!(3), &json!(1)));
    server.done("POST", &format!("{P}/t/subscription/s/resetcursor/0"), "").await;
    assert_eq!(server.get(&format!("{P}/t/subscription/s/position/1")).await.text(), "hello");
}

#[tokio::test]
async fn messages_expire_up_to_one_of_them() {
    let server = Server::start().await;
    server.done("PUT", &format!("{P}/t"), "").await;
    server.done("PUT", &format!("{P}/t/subscription/s"), "").await;
    let three = [entry(b"a", |_| ()), entry(b"b", |_| ()), entry(b"c", |_| ())];
    server.publish("persistent://public/default/t", &three).await;
    let ledger = server.get(&format!("{P}/t/lastMessageId")).await.json()["ledgerId"].clone();
    // Java's `isExcluded` is `excluded` in JSON.
    let id = |partition: i32, excluded: bool| {
        json!({"ledgerId": ledger, "entryId": 1, "partitionIndex": partition, "excluded": excluded}).to_string()
    };
    let path = format!("{P}/t/subscription/s/expireMessages");
    assert_eq!(server.send("POST", &path, &id(2, false)).await.status, 412);
    server.done("POST", &path, &id(-1, true)).await;
    assert_eq!(server.get(&format!("{P}/t/subscription/s/position/1")).await.text(), "b");
    server.done("POST", &path, &id(-1, false)).await;
    assert_eq!(server.get(&format!("{P}/t/subscription/s/position/1")).await.text(), "c");
    server.done("POST", &path, &id(-1, false)).await;
    // What was never stored expires nothing.
    let beyond = r#"{"ledgerId": 999, "entryId": 0, "partitionIndex": -1}"#;
    for beyond in [beyond, r#"{"ledgerId": 9223372036854775807, "entryId": 9223372036854775807}"#] {
        assert_eq!(server.send("POST", &path, beyond).await.status, 409);
    }
    assert_eq!(server.get(&format!("{P}/t/subscription/s/position/1")).await.text(), "c");
}

#[tokio::test]
async fn policies_are_kept_removed_and_checked() {
    let server = Server::start().await;
    let unset = server.get(&format!("{N}/retention")).await;
    assert_eq!((unset.status, unset.body.len()), (200, 0));
    server.done("POST", &format!("{N}/retention"), r#"{"retentionTimeInMinutes":10,"retentionSizeInMB":20}"#).await;
    assert_eq!(server.get(&format!("{N}/retention")).await.json()["retentionSizeInMB"], 20);
    // Both names of a size, as the Java client sends them.
    let quota =
        |mb: u64| format!(r#"{{"limit":{0},"limitSize":{0},"limitTime":0,"policy":"producer_exception"}}"#, mb << 20);
    server.done("POST", &format!("{N}/backlogQuota"), &quota(10)).await;
    let too_much = server.send("POST", &format!("{N}/backlogQuota"), &quota(20)).await;
    assert_eq!(too_much.status, 412);
    let all = server.get(N).await.json();
    assert_eq!(all["backlog_quota_map"]["destination_storage"]["limitSize"], 10 << 20);
    server.done("DELETE", &format!("{N}/backlogQuota"), "").await;
    server.done("DELETE", &format!("{N}/retention"), "").await;
    assert_eq!(server.get(&format!("{N}/retention")).await.body.len(), 0);
    for (copies, refused) in
        [([6, 2, 2], "Ensemble must be"), ([2, 3, 2], "Ensemble (2) >= W"), ([2, 2, 0], "AckQuorum must")]
    {
        let [ensemble, write, ack] = copies;
        let body = json!({"bookkeeperEnsemble": ensemble, "bookkeeperWriteQuorum": write, "bookkeeperAckQuorum": ack,
            "managedLedgerMaxMarkDeleteRate": 0.0});
        let (status, why) = server.send("POST", &format!("{N}/persistence"), &body.to_string()).await.refusal();
        assert!(status == 400 && why.contains(refused), "{status} {why}");
    }
    // What is not kept is not taken; what holds anyway is.
    let rate = server.send("POST", &format!("{N}/dispatchRate"), r#"{"dispatchThrottlingRateInMsg":1}"#).await;
    assert_eq!(rate.refusal(), (405, "dispatchRate of a namespace is not supported yet".to_owned()));
    server.done("POST", &format!("{N}/subscriptionAuthMode"), "\"None\"").await;
    server.done("POST", &format!("{N}/deduplicationSnapshotInterval"), "").await;
    assert_eq!(server.send("POST", &format!("{N}/messageTTL"), "-5").await.status, 412);
}

#[tokio::test]
async fn what_is_asked_of_entries_is_kept_and_shown_where_pulsar_shows_it() {
    let server = Server::start().await;
    let delays = r#"{"tickTime":100,"active":true,"maxDeliveryDelayInMillis":5000}"#;
    server.done("POST", &format!("{N}/delayedDelivery"), delays).await;
    server.done("POST", &format!("{N}/publishRate"), r#"{"publishThrottlingRateInMsg":7}"#).await;
    server.done("POST", &format!("{N}/encryptionRequired"), "true").await;
    assert_eq!(server.get(&format!("{N}/publishRate")).await.json()["publishThrottlingRateInByte"], -1);
    let all = server.get(N).await.json();
    assert_eq!(all["delayed_delivery_policies"]["maxDeliveryDelayInMillis"], 5000);
    assert_eq!(all["publishMaxMessageRate"]["standalone"]["publishThrottlingRateInMsg"], 7);
    assert_eq!(all["encryption_required"], true);

    server.done("PUT", &format!("{P}/orders"), "").await;
    let own = |policy: &str| format!("{P}/orders/{policy}");
    let applied = server.get(&own("delayedDelivery?applied=true")).await.json();
    assert_eq!(applied["maxDeliveryDelayInMillis"], 5000);
    assert_eq!(server.get(&own("maxMessageSize")).await.status, 204);
    server.done("POST", &own("maxMessageSize"), "1000").await;
    assert_eq!(server.get(&own("maxMessageSize")).await.json(), 1000);
    let larger = server.send("POST", &own("maxMessageSize"), &(5 * (1 << 20) + 1).to_string()).await;
    assert_eq!(larger.status, 412);
    server.done("DELETE", &own("maxMessageSize"), "").await;
    assert_eq!(server.get(&own("maxMessageSize")).await.status, 204);
    assert_eq!(server.send("POST", &own("dispatchRate"), "{}").await.status, 405);
    server.done("DELETE", &own("dispatchRate"), "").await;
    let unset = server.get(&own("autoSubscriptionCreation?applied=true")).await.json();
    assert_eq!(unset["allowAutoSubscriptionCreation"], true);
}

#[tokio::test]
async fn topics_that_come_to_be_have_partitions_only_where_they_are_partitioned() {
    let server = Server::start().await;
    let set = |body: &'static str| server.send("POST", "/admin/v2/namespaces/public/default/autoTopicCreation", body);
    for (body, wrong) in [
        (
            r#"{"allowAutoTopicCreation":true,"topicType":"partitioned"}"#,
            "cannot be null when the type is partitioned.",
        ),
        (
            r#"{"allowAutoTopicCreation":true,"topicType":"partitioned","defaultNumPartitions":-1}"#,
            "cannot be less than 1 for partition type.",
        ),
        (
            r#"{"allowAutoTopicCreation":true,"topicType":"non-partitioned","defaultNumPartitions":3}"#,
            "is not allowed to be set when the type is non-partition.",
        ),
    ] {
        let detail = "Invalid configuration for autoTopicCreationOverride. the detail is [defaultNumPartitions] ";
        assert_eq!(set(body).await.refusal(), (412, format!("{detail}{wrong}")));
    }
    assert_eq!(set(r#"{"allowAutoTopicCreation":true,"topicType":"round"}"#).await.status, 412);
    assert_eq!(set(r#"{"allowAutoTopicCreation":false,"defaultNumPartitions":-1}"#).await.status, 204);
    let three = r#"{"allowAutoTopicCreation":true,"topicType":"partitioned","defaultNumPartitions":3}"#;
    assert_eq!(set(three).await.status, 204);
    assert_eq!(server.get(&format!("{N}/autoTopicCreation")).await.json()["defaultNumPartitions"], 3);
}

#[tokio::test]
async fn a_topic_goes_before_its_namespace() {
    let server = Server::start().await;
    server.done("PUT", &format!("{P}/orders/partitions"), "2").await;
    let own = format!("{P}/orders/maxProducers");
    assert_eq!(server.get(&own).await.body.len(), 0);
    server.done("POST", &format!("{N}/maxProducersPerTopic"), "5").await;
    assert_eq!(server.get(&format!("{own}?applied=true")).await.json(), 5);
    server.done("POST", &own, "2").await;
    assert_eq!(server.get(&format!("{own}?applied=true")).await.json(), 2);
    let negative = server.send("POST", &own, "-1").await.refusal();
    assert_eq!(negative, (412, "maxProducers must be 0 or more".to_owned()));
    let partition = server.get(&format!("{P}/orders-partition-0/maxProducers")).await.refusal();
    assert_eq!(partition, (412, "Not allowed to set/get topic policy for a partition".to_owned()));
    server.done("POST", &format!("{P}/orders/messageTTL?messageTTL=9"), "").await;
    assert_eq!(server.get(&format!("{P}/orders/messageTTL")).await.json(), 9);
    let quotas = format!("{P}/orders/backlogQuotaMap");
    assert_eq!(server.get(&quotas).await.json(), json!({}));
    let applied = server.get(&format!("{quotas}?applied=true")).await.json();
    assert_eq!(
        (&applied["message_age"]["limitTime"], &applied["destination_storage"]["limitSize"]),
        (&json!(-1), &json!(-1))
    );
    server.done("POST", &format!("{P}/orders/backlogQuota"), r#"{"limitSize": 10485760}"#).await;
    let retention = r#"{"retentionTimeInMinutes": 10, "retentionSizeInMB": 10}"#;
    let (status, why) = server.send("POST", &format!("{P}/orders/retention"), retention).await.refusal();
    assert!(
        status == 412 && why.starts_with("Retention Quota must exceed configured backlog quota for topic."),
        "{why}"
    );
    // They go with the topic: another one of that name begins without.
    server.done("DELETE", &format!("{P}/orders/partitions"), "").await;
    server.done("PUT", &format!("{P}/orders"), "").await;
    assert_eq!(server.get(&own).await.body.len(), 0);
    assert_eq!(server.get(&format!("{P}/orders/messageTTL")).await.body.len(), 0);
}

#[tokio::test]
async fn a_namespace_bounds_its_topics() {
    let server = Server::start().await;
    server.done("POST", &format!("{N}/maxTopicsPerNamespace"), "2").await;
    server.done("PUT", &format!("{P}/a"), "").await;
    let full = server.send("PUT", &format!("{P}/b/partitions"), "2").await;
    assert_eq!(full.status, 412, "{}", full.text());
    server.done("PUT", &format!("{P}/b"), "").await;
    let full = server.send("PUT", &format!("{P}/c"), "").await.refusal();
    assert_eq!(full, (409, "Exceed maximum number of topics in namespace.".to_owned()));
    // What is the broker's own cannot be slipped in.
    server.done("DELETE", &format!("{N}/maxTopicsPerNamespace"), "").await;
    let slipped = server.send("PUT", &format!("{P}/c"), r#"{"geminga.terminated":"true"}"#).await;
    assert_eq!(slipped.status, 400);
}

#[tokio::test]
async fn properties_of_a_subscription_are_replaced() {
    let server = Server::start().await;
    server.done("PUT", &format!("{P}/t/partitions"), "2").await;
    let path = format!("{P}/t/subscription/s");
    server.done("PUT", &path, r#"{"ledgerId":-1,"entryId":-1,"properties":{"a":"b"}}"#).await;
    server.done("PUT", &format!("{path}/properties"), r#"{"c":"d"}"#).await;
    assert_eq!(server.get(&format!("{path}/properties")).await.json(), json!({"c": "d"}));
    let stats = server.get(&format!("{P}/t-partition-1/stats")).await.json();
    assert_eq!(stats["subscriptions"]["s"]["subscriptionProperties"], json!({"c": "d"}));
}

#[tokio::test]
async fn tenants_and_namespaces_come_and_go() {
    let server = Server::start().await;
    let unknown = server.send("PUT", "/admin/v2/tenants/acme", r#"{"allowedClusters":["nowhere"]}"#).await.refusal();
    assert_eq!(unknown, (412, "Clusters do not exist".to_owned()));
    // As the Go client writes what it has not.
    server.done("PUT", "/admin/v2/tenants/acme", r#"{"adminRoles":null,"allowedClusters":["standalone"]}"#).await;
    server.done("PUT", "/admin/v2/namespaces/acme/ns", r#"{"bundles":{"numBundles":2}}"#).await;
    let boundaries = server.get("/admin/v2/namespaces/acme/ns/bundles").await.json()["boundaries"].clone();
    assert_eq!(boundaries, json!(["0x00000000", "0x80000000", "0xffffffff"]));
    assert_eq!(server.send("DELETE", "/admin/v2/tenants/acme", "").await.status, 409);
    server.done("PUT", "/admin/v2/persistent/acme/ns/t", "null").await;
    let full = server.send("DELETE", "/admin/v2/namespaces/acme/ns", "").await.refusal();
    assert_eq!(full, (409, "Cannot delete non empty namespace".to_owned()));
    server.done("DELETE", "/admin/v2/namespaces/acme/ns?force=true", "").await;
    server.done("DELETE", "/admin/v2/tenants/acme", "").await;
    assert_eq!(server.get("/admin/v2/tenants/acme").await.status, 404);
}

#[tokio::test]
async fn metrics_are_one_block_each_and_bounded() {
    let config = admin::Config { max_topics_in_metrics: 1, ..admin::Config::default() };
    let server = Server::with(config).await;
    for name in ["a%22%5C", "b"] {
        server.done("PUT", &format!("{P}/{name}"), "").await;
        // Loads it.
        assert_eq!(server.get(&format!("{P}/{name}/stats")).await.status, 200);
    }
    let page = server.get("/metrics").await;
    assert_eq!(page.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = page.text();
    let mut seen = std::collections::BTreeSet::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            current = rest.split(' ').next().unwrap().to_owned();
            assert!(seen.insert(current.clone()), "{current} comes twice");
        } else if !line.starts_with('#') {
            assert!(line.starts_with(&current), "{line} is not in the block of {current}");
            let value = line.rsplit(' ').next().unwrap();
            assert!(value.parse::<f64>().is_ok() && value != "-0", "{line}");
        }
    }
    assert!(text.contains(r#"topic="persistent://public/default/a\"\\""#), "a label is escaped");
    assert_eq!(text.matches("\npulsar_rate_in{").count(), 1, "topics beyond the bound are not listed");
    assert!(text.contains(r#"pulsar_topics_count{cluster="standalone",namespace="public/default"} 2"#));
    assert!(text.contains(r#"pulsar_broker_topics_count{cluster="standalone"} 2"#), "sums are over all topics");
    assert!(text.contains("\nprocess_resident_memory_bytes{"));
    assert!(text.contains(r#"geminga_journal_write_seconds_bucket{cluster="standalone",le="+Inf"}"#));
}

#[tokio::test]
async fn health_lookup_and_what_is_not_there() {
    let server = Server::start().await;
    assert_eq!(server.get("/admin/v2/brokers/health").await.text(), "ok");
    assert_eq!(server.get("/status.html").await.text(), "OK");
    let found = server.get("/lookup/v2/topic/persistent/public/default/t?authoritative=true").await.json();
    assert_eq!(found["brokerUrl"], "pulsar://127.0.0.1:1");
    let lookup = "/lookup/v2/topic/persistent/public/default/t?listenerName=";
    assert_eq!(server.get(lookup).await.status, 200);
    let listener = server.get(&format!("{lookup}test")).await.refusal();
    assert_eq!(listener, (500, "the broker do not have test listener".to_owned()));
    let request = "GET /lookup/v2/topic/persistent/public/default/t HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\
                   X-Pulsar-ListenerName: test\r\n\r\n";
    assert!(server.raw(request.as_bytes()).await.starts_with(b"HTTP/1.1 500"));
    let functions = server.get("/admin/v3/functions/public/default").await;
    assert_eq!(functions.status, 409);
    server.done("PUT", &format!("{P}/t"), "").await;
    assert_eq!(server.send("POST", &format!("{P}/t/dispatchRate"), "{}").await.status, 405);
    assert_eq!(server.get(&format!("{P}/t/odd")).await.status, 404);
    assert_eq!(server.send("PATCH", "/admin/v2/clusters", "").await.status, 405);
    assert_eq!(server.get("/admin/v2/clusters/").await.json(), json!(["standalone"]));
}

#[tokio::test]
async fn other_clusters_are_registered_and_nothing_is_replicated_to_them() {
    let server = Server::start().await;
    let at = "/admin/v2/clusters/eu";
    assert_eq!(server.get(at).await.refusal(), (404, "Cluster does not exist".to_owned()));
    let unlike = json!({"brokerServiceUrl": "http://eu:8080"}).to_string();
    let refused = server.send("PUT", at, &unlike).await.refusal();
    assert_eq!(refused.0, 400);
    assert!(refused.1.starts_with("Illegal broker service url"), "{}", refused.1);
    let data = |url: &str| json!({"brokerServiceUrl": url, "serviceUrl": null}).to_string();
    server.done("PUT", at, &data("pulsar://eu:6650")).await;
    assert_eq!(
        server.send("PUT", at, &data("pulsar://eu:6650")).await.refusal(),
        (409, "Cluster already exists".to_owned())
    );
    assert_eq!(server.get("/admin/v2/clusters").await.json(), json!(["eu", "standalone"]));
    server.done("POST", at, &data("pulsar://eu:6651")).await;
    assert_eq!(server.get(at).await.json()["brokerServiceUrl"], "pulsar://eu:6651");
    // A tenant may be allowed to be there; no namespace is.
    server.done("PUT", "/admin/v2/tenants/acme", r#"{"allowedClusters": ["standalone", "eu"]}"#).await;
    let replicated = server.send("POST", "/admin/v2/namespaces/public/default/replication", r#"["standalone", "eu"]"#);
    assert_eq!(replicated.await.refusal().0, 405);
    for (method, body) in [("PUT", 409), ("POST", 405), ("DELETE", 405)] {
        let own = server.send(method, "/admin/v2/clusters/standalone", &data("pulsar://x:1")).await;
        assert_eq!(own.status, body, "{method}");
    }
    server.done("DELETE", at, "").await;
    assert_eq!(server.get("/admin/v2/clusters").await.json(), json!(["standalone"]));
}

#[tokio::test]
async fn topics_that_are_not_persistent_have_their_own_prefix() {
    let server = Server::start().await;
    let n = "/admin/v2/non-persistent/public/default";
    server.done("PUT", &format!("{n}/t"), "").await;
    server.done("PUT", &format!("{n}/p/partitions"), "2").await;
    server.done("PUT", &format!("{P}/kept"), "").await;
    let both = ["persistent://public/default/kept", "non-persistent://public/default/t"];
    assert_eq!(server.get(n).await.json(), json!([both[1]]));
    assert_eq!(server.get(&format!("{n}/partitioned")).await.json(), json!(["non-persistent://public/default/p"]));
    assert_eq!(server.get(&format!("{P}/partitioned")).await.json(), json!([]));
    for (mode, expected) in [("NON_PERSISTENT", &both[1..]), ("PERSISTENT", &both[..1]), ("ALL", &both[..])] {
        assert_eq!(server.get(&format!("{N}/topics?mode={mode}")).await.json(), json!(expected));
    }
    assert_eq!(server.get(&format!("{n}/t/stats")).await.json()["storageSize"], 0);
    assert_eq!(server.get(&format!("{P}/t/stats")).await.status, 404);
    assert_eq!(server.send("POST", &format!("{n}/t/terminate"), "").await.status, 405);
    assert_eq!(server.send("DELETE", &format!("{n}/t/truncate"), "").await.status, 412);
    server.done("DELETE", &format!("{n}/t"), "").await;
    assert_eq!(server.get(n).await.json(), json!([]));
}

/// What the Go client's own tests send.
#[tokio::test]
async fn bodies_are_read_as_jackson_reads_them() {
    let server = Server::start().await;
    server.done("PUT", &format!("{P}/t"), "null").await;
    server.done("POST", &format!("{N}/backlogQuota"), r#"{"limit": "10240", "policy": "producer_request_hold"}"#).await;
    let quotas = server.get(&format!("{N}/backlogQuotaMap")).await.json();
    assert_eq!(quotas["destination_storage"]["limit"], 10_240);
    let odd = server.send("POST", &format!("{N}/backlogQuota"), r#"{"limit": "ten"}"#).await;
    assert_eq!(odd.status, 400);
}

#[tokio::test]
async fn monitoring_metrics_are_health_and_sums_of_namespaces() {
    let server = Server::start().await;
    let empty = server.get("/admin/v2/broker-stats/metrics").await.json();
    assert_eq!((&empty[0]["metrics"]["brk_health"], empty.as_array().map(Vec::len)), (&json!(1), Some(1)));
    for topic in ["a", "b"] {
        server.done("PUT", &format!("{P}/{topic}"), "").await;
        server.done("PUT", &format!("{P}/{topic}/subscription/s"), "").await;
        server.publish(&format!("persistent://public/default/{topic}"), &[entry(b"m", |_| {})]).await;
    }
    let sums = server.get("/admin/v2/broker-stats/metrics").await.json()[1].take();
    assert_eq!(sums["dimensions"], json!({ "namespace": "public/default" }));
    assert_eq!(
        (&sums["metrics"]["brk_msg_backlog"], &sums["metrics"]["brk_no_of_subscriptions"]),
        (&json!(2.0), &json!(2.0))
    );
}

#[tokio::test]
async fn stats_leave_out_what_a_caller_does_not_want() {
    let server = Server::start().await;
    server.done("PUT", &format!("{P}/t/partitions"), "2").await;
    let (peer, _told) = server.broker.connect(broker::PeerInfo::default());
    let producer = broker::NewProducer {
        topic: "t-partition-0".parse().unwrap(),
        producer_id: 1,
        request_id: 1,
        name: None,
        epoch: 0,
        user_provided_name: false,
        access_mode: model::AccessMode::Shared,
        topic_epoch: None,
        metadata: Default::default(),
        schema: None,
        initial_subscription: None,
        encrypted: false,
    };
    let _producer = server.broker.create_producer(&peer, producer).await.unwrap();
    for (query, publishers) in [("", 1), ("?excludePublishers=true&excludeConsumers=true", 0)] {
        let one = server.get(&format!("{P}/t-partition-0/stats{query}")).await.json();
        assert_eq!(one["publishers"].as_array().unwrap().len(), publishers);
        let all = server.get(&format!("{P}/t/partitioned-stats{query}")).await.json();
        assert_eq!(all["publishers"].as_array().unwrap().len(), publishers);
        assert!(all["topicCreationTimeStamp"].as_i64() > Some(0), "{all}");
    }
}
