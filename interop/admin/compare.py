#!/usr/bin/env python3
"""Sends the same REST requests to Apache Pulsar and to Geminga and prints where the answers differ.

    compare.py PULSAR_ADMIN_URL GEMINGA_ADMIN_URL     differences; exit code 1 when there are any that are not known
    compare.py --record ADMIN_URL                     one broker's answers, to read

Statuses and reasons must be equal; bodies must have the same shape: the same keys with values of the same JSON type.
Everything happens in a tenant of its own, which is deleted at the end. With the Python client installed a topic has
messages, a producer and consumers; without it those cases are left out, which is said.
"""

import json
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

TENANT = "geminga-compare"
NS = TENANT + "/ns"
P = "/admin/v2/persistent/" + NS
N = "/admin/v2/namespaces/" + NS
JSON = {"Content-Type": "application/json"}


def same(method, path, body=None, **more):
    """A request. `known` says why the answers may differ; `keys` that a map's keys are data, not shape."""
    return dict(method=method, path=path, body=body, **more)


def policies():
    """Every namespace policy: get the default, set, get, remove, get; and a body of the wrong type."""
    table = [
        ("retention", "POST", {"retentionTimeInMinutes": 10, "retentionSizeInMB": 20}, True),
        ("messageTTL", "POST", 77, True),
        ("deduplication", "POST", True, True),
        ("persistence", "POST", {"bookkeeperEnsemble": 1, "bookkeeperWriteQuorum": 1, "bookkeeperAckQuorum": 1,
                                 "managedLedgerMaxMarkDeleteRate": 1.5}, True),
        ("maxUnackedMessagesPerConsumer", "POST", 11, True),
        ("maxUnackedMessagesPerSubscription", "POST", 12, True),
        ("autoTopicCreation", "POST", {"allowAutoTopicCreation": True, "topicType": "partitioned",
                                       "defaultNumPartitions": 3}, True),
        ("autoSubscriptionCreation", "POST", {"allowAutoSubscriptionCreation": True}, True),
        ("schemaCompatibilityStrategy", "PUT", "ALWAYS_COMPATIBLE", False),
        ("schemaValidationEnforced", "POST", True, False),
        ("isAllowAutoUpdateSchema", "POST", False, False),
        ("schemaAutoUpdateCompatibilityStrategy", "PUT", "Backward", False),
        ("compactionThreshold", "PUT", 1000, True),
        ("delayedDelivery", "POST", {"tickTime": 1000, "active": True, "maxDeliveryDelayInMillis": 0}, True),
        ("inactiveTopicPolicies", "POST", {"inactiveTopicDeleteMode": "delete_when_no_subscriptions",
                                           "maxInactiveDurationSeconds": 60, "deleteWhileInactive": True}, True),
        ("maxProducersPerTopic", "POST", 5, True),
        ("maxConsumersPerTopic", "POST", 5, True),
        ("maxConsumersPerSubscription", "POST", 5, True),
        ("maxSubscriptionsPerTopic", "POST", 5, True),
        ("maxTopicsPerNamespace", "POST", 500, True),
        ("dispatchRate", "POST", {"dispatchThrottlingRateInMsg": 10, "dispatchThrottlingRateInByte": 10,
                                  "ratePeriodInSecond": 1, "relativeToPublishRate": False}, True),
        ("subscriptionDispatchRate", "POST", {"dispatchThrottlingRateInMsg": 10, "dispatchThrottlingRateInByte": 10,
                                              "ratePeriodInSecond": 1, "relativeToPublishRate": False}, True),
        ("subscribeRate", "POST", {"subscribeThrottlingRatePerConsumer": 10, "ratePeriodInSecond": 1}, True),
        ("publishRate", "POST", {"publishThrottlingRateInMsg": 10, "publishThrottlingRateInByte": 10}, True),
        ("subscriptionTypesEnabled", "POST", ["Exclusive", "Shared", "Failover", "Key_Shared"], True),
        ("offloadThreshold", "PUT", 1000, False),
        ("offloadDeletionLagMs", "PUT", 1000, True),
        ("encryptionRequired", "POST", True, False),
        ("encryptionRequired", "POST", False, False),
        ("subscriptionExpirationTime", "POST", 5, True),
        ("subscriptionAuthMode", "POST", "None", False),
        ("deduplicationSnapshotInterval", "POST", 10, False),
        ("resourcegroup", "GET", None, False),
        ("entryFilters", "GET", None, False),
        ("properties", "PUT", {"a": "b"}, False),
        ("antiAffinity", "GET", None, False),
        ("replication", "GET", None, False),
    ]
    kept = {"retention", "messageTTL", "deduplication", "persistence", "maxUnackedMessagesPerConsumer",
            "maxUnackedMessagesPerSubscription", "autoTopicCreation", "autoSubscriptionCreation",
            "schemaCompatibilityStrategy", "schemaValidationEnforced", "isAllowAutoUpdateSchema",
            "schemaAutoUpdateCompatibilityStrategy", "encryptionRequired", "subscriptionAuthMode", "properties",
            "maxProducersPerTopic", "maxConsumersPerTopic", "maxConsumersPerSubscription", "maxSubscriptionsPerTopic",
            "maxTopicsPerNamespace", "compactionThreshold", "subscriptionTypesEnabled", "delayedDelivery", "publishRate"}
    for path, method, body, removable in table:
        known = {} if path in kept else {"known": "not kept yet, so setting it is refused"}
        yield same("GET", f"{N}/{path}")
        if method != "GET":
            yield same(method, f"{N}/{path}", body, **known)
            yield same("GET", f"{N}/{path}", **known)
        if removable:
            yield same("DELETE", f"{N}/{path}")
            yield same("GET", f"{N}/{path}")
        if removable and method == "POST" and isinstance(body, int) and not isinstance(body, bool):
            yield same("POST", f"{N}/{path}", -7, **known)
            yield same("DELETE", f"{N}/{path}")
    yield same("PUT", f"{N}/property/c/d")
    yield same("GET", f"{N}/property/c")
    yield same("GET", f"{N}/property/none")
    yield same("DELETE", f"{N}/property/c")
    yield same("DELETE", f"{N}/property/none")
    yield same("DELETE", f"{N}/properties")
    yield same("GET", f"{N}/properties")
    yield same("GET", f"{N}/backlogQuotaMap")
    yield same("POST", f"{N}/backlogQuota?backlogQuotaType=destination_storage",
               {"limitSize": 100000000, "policy": "producer_exception"})
    yield same("POST", f"{N}/backlogQuota?backlogQuotaType=message_age",
               {"limitTime": 1000, "policy": "consumer_backlog_eviction"})
    yield same("GET", f"{N}/backlogQuotaMap")
    yield same("GET", N)
    yield same("DELETE", f"{N}/backlogQuota?backlogQuotaType=message_age")
    yield same("DELETE", f"{N}/backlogQuota")
    for auto in [{"topicType": "partitioned"}, {"topicType": "partitioned", "defaultNumPartitions": 0}, {"topicType": "round"},
                 {"topicType": "non-partitioned", "defaultNumPartitions": 3}, {}]:
        yield same("POST", f"{N}/autoTopicCreation", {"allowAutoTopicCreation": True, **auto})
    yield same("POST", f"{N}/retention", "text")
    yield same("POST", f"{N}/messageTTL", -5)
    yield same("POST", f"{N}/replication", [])
    yield same("POST", f"{N}/replication", ["nowhere"])


def before():
    yield same("GET", "/admin/v2/clusters")
    yield same("GET", "/admin/v2/clusters/standalone")
    yield same("GET", "/admin/v2/clusters/nowhere")
    yield same("GET", "/admin/v2/clusters/standalone/failureDomains")
    yield same("GET", "/admin/v2/clusters/standalone/namespaceIsolationPolicies")
    yield same("GET", "/admin/v2/clusters/standalone/peers")
    yield same("GET", "/admin/v2/tenants")
    yield same("GET", f"/admin/v2/tenants/{TENANT}")
    yield same("PUT", f"/admin/v2/tenants/{TENANT}", {"adminRoles": ["a"], "allowedClusters": ["standalone"]})
    yield same("PUT", f"/admin/v2/tenants/{TENANT}", {"adminRoles": ["a"], "allowedClusters": ["standalone"]})
    yield same("GET", f"/admin/v2/tenants/{TENANT}")
    yield same("POST", f"/admin/v2/tenants/{TENANT}", {"adminRoles": [], "allowedClusters": ["standalone"]})
    yield same("POST", f"/admin/v2/tenants/{TENANT}", {"adminRoles": [], "allowedClusters": ["nowhere"]})
    yield same("POST", f"/admin/v2/tenants/{TENANT}-none", {"adminRoles": [], "allowedClusters": ["standalone"]})
    yield same("PUT", f"/admin/v2/tenants/{TENANT}-bad", {"adminRoles": [], "allowedClusters": ["nowhere"]})
    yield same("PUT", f"/admin/v2/tenants/{TENANT}-bad", {"adminRoles": [], "allowedClusters": []})
    yield same("PUT", "/admin/v2/tenants/bad%20name", {"adminRoles": [], "allowedClusters": ["standalone"]})
    yield same("PUT", f"/admin/v2/tenants/{TENANT}-bad", {"adminRoles": 5})
    yield same("DELETE", f"/admin/v2/tenants/{TENANT}-none")
    yield same("GET", f"/admin/v2/namespaces/{TENANT}")
    yield same("GET", f"/admin/v2/namespaces/{TENANT}-none")
    yield same("GET", N)
    yield same("PUT", N, {"bundles": {"numBundles": 4}})
    yield same("PUT", N)
    yield same("PUT", f"/admin/v2/namespaces/{TENANT}-none/ns")
    yield same("PUT", f"/admin/v2/namespaces/{TENANT}/bad%20name")
    yield same("GET", f"/admin/v2/namespaces/{TENANT}")
    yield same("GET", N)
    yield same("GET", f"{N}/topics")
    yield same("GET", f"/admin/v2/namespaces/{TENANT}/none/topics")
    yield same("GET", f"{N}/permissions")
    yield same("GET", f"{N}/permissions/subscription")
    yield same("GET", f"{N}/bundles")
    yield from policies()
    yield same("DELETE", f"/admin/v2/tenants/{TENANT}")


def topics():
    yield same("GET", P)
    yield same("GET", f"{P}/partitioned")
    yield same("GET", f"/admin/v2/persistent/{TENANT}/none")
    yield same("GET", f"/admin/v2/persistent/{TENANT}-none/none")
    yield same("PUT", f"{P}/plain")
    yield same("PUT", f"{P}/plain")
    yield same("PUT", f"{P}/props", {"a": "b"})
    yield same("GET", f"{P}/props/properties")
    yield same("PUT", f"{P}/props/properties", {"c": "d"})
    yield same("GET", f"{P}/props/properties")
    yield same("DELETE", f"{P}/props/properties?key=c")
    yield same("DELETE", f"{P}/props/properties?key=none")
    yield same("PUT", f"/admin/v2/persistent/{TENANT}/none/t")
    yield same("PUT", f"/admin/v2/persistent/{TENANT}-none/none/t")
    yield same("PUT", f"{P}/parts-partition-0")
    yield same("PUT", f"{P}/with%2Fslash")
    yield same("PUT", f"{P}/with%20space")
    yield same("GET", f"{P}/with%2Fslash/stats")
    yield same("DELETE", f"{P}/with%2Fslash")
    yield same("DELETE", f"{P}/with%20space")
    yield same("PUT", f"{P}/parts/partitions", 0)
    yield same("PUT", f"{P}/parts/partitions", -1)
    yield same("PUT", f"{P}/parts/partitions", "x")
    yield same("PUT", f"{P}/parts/partitions")
    yield same("PUT", f"{P}/parts/partitions", 3)
    yield same("PUT", f"{P}/parts/partitions", 3)
    yield same("PUT", f"{P}/plain/partitions", 3)
    yield same("PUT", f"{P}/parts")
    yield same("GET", f"{P}/parts/partitions")
    yield same("GET", f"{P}/plain/partitions")
    yield same("GET", f"{P}/none/partitions")
    yield same("GET", f"{P}/none/partitions?checkAllowAutoCreation=true")
    yield same("POST", f"{P}/parts/partitions", 5)
    yield same("POST", f"{P}/parts/partitions", 5)
    yield same("POST", f"{P}/parts/partitions", 2)
    yield same("POST", f"{P}/plain/partitions", 2)
    yield same("POST", f"{P}/none/partitions", 2)
    yield same("POST", f"{P}/parts/partitions", 0)
    yield same("PUT", f"{P}/meta/partitions", {"partitions": 2, "properties": {"x": "y"}},
               headers={"Content-Type": "application/vnd.partitioned-topic-metadata+json"})
    yield same("GET", f"{P}/meta/partitions")
    yield same("GET", f"{P}/meta/properties")
    yield same("GET", P)
    yield same("GET", f"{P}/partitioned")
    yield same("GET", f"{N}/topics")
    yield same("GET", f"{N}/topics?mode=PERSISTENT")
    yield same("GET", f"{N}/topics?mode=NON_PERSISTENT")
    yield same("GET", f"{N}/topics?mode=ODD")
    yield same("POST", f"{P}/parts/createMissedPartitions")
    yield same("POST", f"{P}/none/createMissedPartitions")
    for topic in ["plain", "parts", "none", "parts-partition-1", "parts-partition-9"]:
        for what in ["stats", "internalStats", "internal-info", "partitioned-stats", "partitioned-stats?perPartition=false",
                     "partitioned-internalStats", "lastMessageId", "subscriptions", "properties", "permissions",
                     "messageid/0", "ledger/1/entry/0", "examinemessage?initialPosition=earliest&messagePosition=1",
                     "backlog", "schema"]:
            known = {"internal-info": "500 where a topic is missing, and describes BookKeeper's ledgers",
                     "backlog": "answers for topics that do not exist, too"}
            yield same("GET", f"{P}/{topic}/{what}", keys=what == "properties",
                       **({"known": known[what]} if what in known else {}))
    sub = "subscription"
    yield same("PUT", f"{P}/plain/{sub}/s1")
    yield same("PUT", f"{P}/plain/{sub}/s1")
    yield same("PUT", f"{P}/plain/{sub}/s2", {"ledgerId": -1, "entryId": -1, "partitionIndex": -1})
    yield same("PUT", f"{P}/plain/{sub}/s3", {"ledgerId": 9223372036854775807, "entryId": 9223372036854775807,
                                              "partitionIndex": -1, "properties": {"a": "b"}})
    yield same("PUT", f"{P}/plain/{sub}/s4", "earliest")
    yield same("PUT", f"{P}/plain/{sub}/with%20space%2Fslash")
    yield same("PUT", f"{P}/parts/{sub}/s1")
    yield same("PUT", f"{P}/parts/{sub}/s1")
    yield same("PUT", f"{P}/none/{sub}/s1", cleanup=f"{P}/none?force=true")
    yield same("GET", f"{P}/plain/subscriptions")
    yield same("GET", f"{P}/parts/subscriptions")
    yield same("GET", f"{P}/plain/{sub}/s1/properties")
    yield same("PUT", f"{P}/plain/{sub}/s1/properties", {"k": "v"})
    yield same("GET", f"{P}/plain/{sub}/s1/properties")
    yield same("PUT", f"{P}/plain/{sub}/s1/properties", {"l": "w"})
    yield same("GET", f"{P}/plain/{sub}/s1/properties")
    yield same("PUT", f"{P}/parts/{sub}/s1/properties", {"k": "v"})
    yield same("GET", f"{P}/parts/{sub}/s1/properties")
    yield same("PUT", f"{P}/plain/{sub}/none/properties", {"k": "v"})
    yield same("PUT", f"{P}/none/{sub}/none/properties", {"k": "v"})
    yield same("GET", f"{P}/plain/{sub}/s3/properties")
    yield same("GET", f"{P}/plain/{sub}/none/properties")
    for topic in ["plain", "parts", "none"]:
        for name in ["s1", "none"]:
            s = f"{P}/{topic}/{sub}/{name}"
            yield same("POST", f"{s}/skip/1")
            yield same("POST", f"{s}/skip_all")
            yield same("POST", f"{s}/resetcursor/0")
            yield same("POST", f"{s}/resetcursor", {"ledgerId": -1, "entryId": -1, "partitionIndex": -1,
                                                   "isExcluded": False})
            yield same("POST", f"{s}/expireMessages/10")
            yield same("GET", f"{s}/position/1")
    yield same("POST", f"{P}/plain/{sub}/s1/skip/x")
    yield same("POST", f"{P}/plain/{sub}/s1/resetcursor", {"ledgerId": "x"})
    yield same("POST", f"{P}/plain/all_subscription/expireMessages/10", known="names the first of a hash map")
    yield same("POST", f"{P}/none/all_subscription/expireMessages/10")
    yield same("DELETE", f"{P}/plain/{sub}/s4")
    yield same("DELETE", f"{P}/plain/{sub}/other")
    yield same("DELETE", f"{P}/none/{sub}/none")
    yield same("DELETE", f"{P}/parts/{sub}/s1")
    yield same("DELETE", f"{P}/parts/{sub}/s1")
    yield same("PUT", f"{P}/plain/unload")
    yield same("PUT", f"{P}/parts/unload")
    yield same("PUT", f"{P}/none/unload")
    yield same("POST", f"{P}/parts/terminate")
    yield same("POST", f"{P}/meta/terminate/partitions")
    yield same("POST", f"{P}/plain/terminate")
    yield same("POST", f"{P}/none/terminate")
    yield same("GET", f"{P}/plain/compaction")
    yield same("PUT", f"{P}/none/compaction")
    yield same("POST", f"{P}/plain/trim")
    yield same("POST", f"{P}/parts/trim")
    yield same("PUT", f"{P}/plain/offload", {"ledgerId": 1, "entryId": 1, "partitionIndex": -1},
               known="there is nothing to offload to")
    yield same("GET", f"{P}/plain/offload", known="there is nothing to offload to")
    yield same("DELETE", f"{P}/plain/truncate")
    yield same("DELETE", f"{P}/none/truncate")
    yield from topic_policies()
    yield same("PUT", f"{N}/unload")
    yield same("PUT", f"{N}/0x00000000_0x40000000/unload")
    yield same("POST", f"{N}/clearBacklog")
    yield same("POST", f"{N}/clearBacklog/s1", known="a stack trace when a topic has no such subscription")
    yield same("POST", f"{N}/unsubscribe/s1")
    yield same("POST", f"/admin/v2/namespaces/{TENANT}/none/clearBacklog")
    yield same("PUT", f"/admin/v2/namespaces/{TENANT}/none/unload")
    yield same("DELETE", N)
    yield same("DELETE", f"{P}/plain")
    yield same("DELETE", f"{P}/parts")
    yield same("DELETE", f"{P}/parts/partitions")
    yield same("DELETE", f"{P}/plain/partitions")
    yield same("DELETE", f"{P}/none/partitions")
    yield same("DELETE", f"{P}/none")


def topic_policies():
    """Every policy of a topic: get, set, get, what applies, remove, get; then on others than plain topics."""
    table = [
        ("retention", {"retentionTimeInMinutes": 10, "retentionSizeInMB": 20}),
        ("persistence", {"bookkeeperEnsemble": 1, "bookkeeperWriteQuorum": 1, "bookkeeperAckQuorum": 1,
                         "managedLedgerMaxMarkDeleteRate": 1.5}),
        ("deduplicationEnabled", True),
        ("maxUnackedMessagesOnConsumer", 11),
        ("maxUnackedMessagesOnSubscription", 12),
        ("maxProducers", 5),
        ("compactionThreshold", 1000),
        ("subscriptionTypesEnabled", ["Exclusive", "Shared", "Failover", "Key_Shared"]),
        ("maxConsumers", 5),
        ("maxConsumersPerSubscription", 5),
        ("maxSubscriptionsPerTopic", 5),
        ("maxMessageSize", 1000),
        ("delayedDelivery", {"tickTime": 1000, "active": True, "maxDeliveryDelayInMillis": 5000}),
        ("publishRate", {"publishThrottlingRateInMsg": 10, "publishThrottlingRateInByte": 10}),
        ("autoSubscriptionCreation", {"allowAutoSubscriptionCreation": False}),
    ]
    for path, body in table:
        url = f"{P}/plain/{path}"
        yield same("GET", url)
        yield same("GET", f"{url}?applied=true")
        yield same("POST", url, body)
        yield dict(same("GET", url), settle=True)
        yield same("GET", f"{url}?applied=true")
        if isinstance(body, int) and not isinstance(body, bool):
            yield same("POST", url, -7)
        yield same("DELETE", url)
        yield dict(same("GET", url), settle=True)
    url = f"{P}/plain/messageTTL"
    yield same("GET", url)
    yield same("GET", f"{url}?applied=true")
    yield same("POST", f"{url}?messageTTL=77")
    yield dict(same("GET", url), settle=True)
    yield same("POST", f"{url}?messageTTL=-5")
    yield same("DELETE", url)
    yield dict(same("GET", url), settle=True)
    quota = f"{P}/plain/backlogQuota"
    yield same("GET", f"{quota}Map")
    yield same("GET", f"{quota}Map?applied=true", known="Pulsar's default quota has no bound and is shown; here there is none")
    yield same("POST", f"{quota}?backlogQuotaType=destination_storage", {"limitSize": 1000000, "policy": "producer_exception"})
    yield same("POST", f"{quota}?backlogQuotaType=message_age", {"limitTime": 10, "policy": "consumer_backlog_eviction"})
    yield dict(same("GET", f"{quota}Map"), settle=True)
    yield same("POST", f"{P}/plain/retention", {"retentionTimeInMinutes": 10, "retentionSizeInMB": 0})
    yield same("DELETE", f"{quota}?backlogQuotaType=message_age")
    yield same("DELETE", quota)
    yield dict(same("GET", f"{quota}Map"), settle=True)
    for policy in ["delayedDelivery", "compactionThreshold", "publishRate", "dispatchRate", "subscriptionDispatchRate",
                   "subscribeRate", "inactiveTopicPolicies", "maxMessageSize", "deduplicationSnapshotInterval",
                   "offloadPolicies", "subscriptionTypesEnabled", "schemaCompatibilityStrategy",
                   "schemaValidationEnforced", "entryFilters", "autoSubscriptionCreation", "replication"]:
        yield same("GET", f"{P}/plain/{policy}")
        if policy in ("delayedDelivery", "compactionThreshold", "dispatchRate", "subscribeRate"):
            yield same("GET", f"{P}/plain/{policy}?applied=true")
    yield same("GET", f"{P}/none/retention")
    yield same("POST", f"{P}/none/retention", {"retentionTimeInMinutes": 10, "retentionSizeInMB": 20})
    yield same("DELETE", f"{P}/none/retention")
    yield same("POST", f"{P}/parts/maxProducers", 7)
    yield dict(same("GET", f"{P}/parts/maxProducers"), settle=True)
    yield same("GET", f"{P}/parts-partition-1/maxProducers")


def schemas():
    """Uploaded, shown, compared and deleted; what does not fit; for a topic that is not there, and for partitions."""
    record = json.dumps({"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}]})
    wider = json.dumps({"type": "record", "name": "R", "fields": [
        {"name": "a", "type": "int"}, {"name": "b", "type": ["null", "int"], "default": None}]})
    other = json.dumps({"type": "record", "name": "R", "fields": [{"name": "a", "type": "string"}]})
    pair = {"type": "KEY_VALUE", "schema": f'{{"key":{record},"value":""}}', "properties": {
        "key.schema.name": "k", "key.schema.type": "AVRO", "key.schema.properties": "{}", "value.schema.name": "v",
        "value.schema.type": "STRING", "value.schema.properties": "{}", "kv.encoding.type": "INLINE"}}

    def payload(kind, schema):
        return {"type": kind, "schema": schema, "properties": {"k": "v"}}

    page = "Pulsar says it in the status line and answers a page; here it is a reason"
    trace = "Pulsar answers a stack trace"
    # What fits depends on this, and policies were set above.
    yield same("PUT", f"{N}/schemaCompatibilityStrategy", "FULL")
    yield same("POST", f"{N}/isAllowAutoUpdateSchema", True)
    s = f"/admin/v2/schemas/{NS}/schemas"
    for path in ["schema", "schemas", "schema/0", "metadata"]:
        yield same("GET", f"{s}/{path}")
    yield same("POST", f"{s}/version", payload("AVRO", record))
    yield same("POST", f"{s}/compatibility", payload("AVRO", record))
    yield same("POST", f"{s}/schema", payload("AVRO", record))
    yield same("POST", f"{s}/schema", payload("AVRO", record))
    yield same("POST", f"{s}/schema", payload("AVRO", wider))
    for path in ["schema", "schemas", "schema/0", "schema/1", "schema/2", "schema/-1", "metadata"]:
        yield same("GET", f"{s}/{path}")
    yield same("GET", f"{s}/schema/x", known=trace)
    yield same("POST", f"{s}/version", payload("AVRO", wider))
    yield same("POST", f"{s}/version", payload("AVRO", other))
    yield same("POST", f"{s}/compatibility", payload("AVRO", record))
    for wrong in [payload("AVRO", other), payload("STRING", ""), payload("AVRO", "nonsense"), payload("JSON", "{}"),
                  payload("AVRO", '["int"]'), payload("INT32", "abc"), payload("AUTO_CONSUME", "")]:
        yield same("POST", f"{s}/schema", wrong, known=page)
        yield same("POST", f"{s}/compatibility", wrong, known=trace)
    for wrong in [payload("NOPE", ""), {"schema": ""}, {"type": "STRING"}]:
        yield same("POST", f"{s}/schema", wrong, known=trace)
    yield same("DELETE", f"{s}/schema")
    for path in ["schema", "schemas", "schema/0", "metadata"]:
        yield same("GET", f"{s}/{path}")
    yield same("POST", f"{s}/schema", payload("AVRO", other))
    yield same("DELETE", f"{s}/schema?force=true")
    yield same("POST", f"{s}/schema", payload("STRING", ""))
    yield same("DELETE", f"{s}/schema?force=true")
    yield same("POST", f"{s}-kv/schema", pair)
    yield same("GET", f"{s}-kv/schema")
    yield same("POST", f"{s}-kv/version", pair)
    yield same("POST", f"{s}-kv/compatibility", pair)
    yield same("POST", f"{s}-kv/schema", payload("KEY_VALUE", "nope"), known=trace)
    yield same("DELETE", f"{s}-kv/schema?force=true")
    parts = f"/admin/v2/schemas/{NS}/parts"
    yield same("POST", f"{parts}-partition-1/schema", payload("JSON", record))
    yield same("GET", f"{parts}/schema")
    yield same("GET", f"{parts}-partition-0/schema")
    yield same("DELETE", f"{parts}/schema?force=true")
    yield same("POST", f"/admin/v2/schemas/{TENANT}/none/t/schema", payload("AVRO", record))
    t = f"{P}/plain"
    yield same("PUT", f"{t}/schemaCompatibilityStrategy", "FORWARD")
    yield dict(same("GET", f"{t}/schemaCompatibilityStrategy"), settle=True)
    yield same("GET", f"{t}/schemaCompatibilityStrategy?applied=true")
    yield same("DELETE", f"{t}/schemaCompatibilityStrategy")
    yield dict(same("GET", f"{t}/schemaCompatibilityStrategy"), settle=True)
    yield same("POST", f"{t}/schemaValidationEnforced", True)
    yield dict(same("GET", f"{t}/schemaValidationEnforced"), settle=True)
    yield same("DELETE", f"{t}/schemaValidationEnforced")
    yield same("PUT", f"{N}/schemaCompatibilityStrategy", "ALWAYS_COMPATIBLE")


def elsewhere():
    yield same("GET", f"/lookup/v2/destination/persistent/{TENANT}/standalone/ns/plain")
    yield same("GET", f"/lookup/v2/topic/persistent/{NS}/plain")
    yield same("GET", f"/lookup/v2/topic/persistent/{NS}/plain?authoritative=false")
    yield same("GET", f"/lookup/v2/topic/persistent/{NS}/plain?listenerName=x", known="Pulsar adds a stack trace")
    yield same("GET", f"/lookup/v2/topic/persistent/{NS}/plain/bundle")
    yield same("GET", f"/lookup/v2/topic/odd/{NS}/plain", known="400 is clearer than a stack trace")
    yield same("GET", f"/lookup/v2/topic/persistent/{TENANT}-none/ns/plain")
    yield same("GET", f"/admin/v2/non-persistent/{NS}")
    yield same("GET", f"/admin/v2/non-persistent/{NS}/partitioned")
    yield from schemas()
    yield same("GET", "/admin/v2/brokers")
    yield same("GET", "/admin/v2/brokers/standalone")
    yield same("GET", "/admin/v2/brokers/nowhere")
    yield same("GET", "/admin/v2/brokers/health")
    yield same("GET", "/admin/v2/brokers/health?topicVersion=V2")
    yield same("GET", "/admin/v2/brokers/ready")
    yield same("GET", "/admin/v2/brokers/version")
    yield same("GET", "/admin/v2/brokers/leaderBroker")
    yield same("GET", "/admin/v2/brokers/configuration", known="keys are Pulsar's own settings")
    yield same("GET", "/admin/v2/brokers/configuration/values", keys=True)
    yield same("GET", "/admin/v2/brokers/configuration/runtime", known="keys are Pulsar's own settings")
    yield same("GET", "/admin/v2/brokers/internal-configuration", known="names the stores of Pulsar")
    yield same("GET", "/admin/v2/brokers/backlog-quota-check")
    yield same("POST", "/admin/v2/brokers/configuration/none/x")
    yield same("GET", "/admin/v2/broker-stats/topics", known="keys are topics")
    yield same("GET", "/admin/v2/broker-stats/metrics", known="Pulsar's own measurements")
    yield same("GET", "/admin/v2/broker-stats/load-report", known="Pulsar's own measurements")
    yield same("GET", "/admin/v2/broker-stats/allocator-stats/default", known="Netty's allocator")
    yield same("GET", "/admin/v2/broker-stats/mbeans", known="the JVM's beans")
    yield same("GET", "/admin/v2/resource-quotas", known="load balancing is not there yet")
    yield same("GET", "/admin/v2/resourcegroups")
    yield same("GET", "/admin/v2/bookies/all", known="there are no bookies")
    for path in ["v2/worker/cluster", f"v3/functions/{NS}", f"v3/sources/{NS}", f"v3/sinks/{NS}", f"v3/packages/function/{NS}"]:
        yield same("GET", f"/admin/{path}", known="the Pulsar that is compared with has no functions worker")
    yield same("GET", "/admin/v3/transactions/coordinatorStats/0", known="transactions are not there yet")
    yield same("GET", "/admin/v2/odd")
    yield same("GET", "/odd")
    yield same("PATCH", "/admin/v2/clusters")
    yield same("GET", "/admin/v2/clusters/")
    yield same("GET", "/status.html", known="Pulsar serves it only where a file for it is configured")
    yield same("GET", "/metrics", known="compared by its names elsewhere")


def with_messages(base, answers):
    """A topic with messages, one producer, a consumer of each type."""
    import pulsar

    # The topic is made by REST: a policy above may forbid or partition what clients create.
    request(base, same("PUT", f"{P}/busy"))
    found = json.loads(request(base, same("GET", f"/lookup/v2/topic/persistent/{NS}/busy"))[2])
    client = pulsar.Client(found["brokerUrl"], logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error))
    topic = f"persistent://{NS}/busy"
    types = {"exclusive": pulsar.ConsumerType.Exclusive, "shared": pulsar.ConsumerType.Shared,
             "failover": pulsar.ConsumerType.Failover, "key-shared": pulsar.ConsumerType.KeyShared}
    consumers = {name: client.subscribe(topic, name, kind) for name, kind in types.items()}
    producer = client.create_producer(topic)
    for n in range(5):
        producer.send(b"payload %d" % n, partition_key="key", properties={"n": str(n)}, event_timestamp=1000)
    batched = client.create_producer(topic, batching_enabled=True, batching_max_publish_delay_ms=200,
                                     compression_type=pulsar.CompressionType.LZ4)
    for n in range(5):
        batched.send_async(b"batched %d" % n, lambda *_: None)
    batched.flush()
    received = [consumers["shared"].receive(5000) for _ in range(3)]
    consumers["shared"].acknowledge(received[1])
    consumers["exclusive"].acknowledge(consumers["exclusive"].receive(5000))
    time.sleep(1.5)
    t = f"{P}/busy"
    for case in [
        same("GET", f"{t}/stats"),
        same("GET", f"{t}/stats?getPreciseBacklog=true&subscriptionBacklogSize=true&getEarliestTimeInBacklog=true"),
        same("GET", f"{t}/internalStats"),
        same("GET", f"{t}/internal-info", known="describes BookKeeper's ledgers of cursors"),
        same("GET", f"{t}/lastMessageId"),
        same("POST", f"{t}/subscription/failover/analyzeBacklog"),
        same("POST", f"{t}/subscription/none/analyzeBacklog"),
        same("PUT", f"{t}/backlogSize", {"ledgerId": -1, "entryId": -1, "partitionIndex": -1}),
        same("GET", f"{t}/subscription/failover/position/1"),
        same("GET", f"{t}/subscription/failover/position/6"),
        same("GET", f"{t}/subscription/failover/position/7"),
        same("GET", f"{t}/subscription/failover/position/0", known="400 is clearer than a stack trace"),
        same("GET", f"{t}/examinemessage?initialPosition=earliest&messagePosition=1"),
        same("GET", f"{t}/examinemessage?initialPosition=latest&messagePosition=1"),
        same("GET", f"{t}/examinemessage?initialPosition=odd&messagePosition=1"),
        same("GET", f"{t}/messageid/1000"),
        same("GET", f"{t}/subscription/unknown/position/2", cleanup=f"{t}/subscription/unknown"),
        same("GET", f"{t}/messageid/99999999999999"),
        same("DELETE", f"{t}/subscription/shared"),
        same("DELETE", t),
        same("POST", f"{t}/subscription/failover/expireMessages/1"),
        same("POST", f"{t}/subscription/shared/skip_all"),
        same("GET", f"{t}/subscription/shared/position/1"),
        same("POST", f"{t}/subscription/shared/resetcursor/1000"),
        same("POST", f"{t}/terminate"),
        dict(same("GET", f"{t}/stats"), settle=True),  # a client whose subscription is at its end connects anew
        same("DELETE", f"{t}?force=true"),
        same("GET", f"{t}/stats"),
    ]:
        if case.get("settle"):
            time.sleep(0.5)
        answers.append((case, request(base, case)))
        if "cleanup" in case:
            request(base, same("DELETE", case["cleanup"]))
    client.close()


def after():
    yield same("DELETE", N)
    yield same("DELETE", f"/admin/v2/namespaces/{TENANT}/none")
    yield same("DELETE", f"{P}/parts/partitions?force=true")
    yield same("DELETE", f"{P}/meta/partitions?force=true")
    yield same("DELETE", f"{P}/plain?force=true")
    yield same("DELETE", f"{P}/props?force=true")


def request(base, case):
    """Status, headers, text."""
    body = case["body"]
    data = json.dumps(body).encode() if body is not None else (b"" if case["method"] in ("PUT", "POST") else None)
    headers = case.get("headers", JSON)
    asked = urllib.request.Request(base + case["path"], data=data, method=case["method"], headers=headers)
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return answer.status, dict(answer.headers), answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read().decode(errors="replace")
    except TimeoutError:
        return 0, {}, "no answer"


def run(base):
    base = base.rstrip("/")
    if request(base, same("GET", f"/admin/v2/tenants/{TENANT}"))[0] != 404:
        sys.exit(f"{base} has a tenant {TENANT} already: delete it first")
    answers = []
    for part in [before, topics, elsewhere]:
        for case in part():
            if case.get("settle"):
                time.sleep(0.5)  # Pulsar reads its own policies back from a topic
            answers.append((case, request(base, case)))
            if "cleanup" in case:
                request(base, same("DELETE", case["cleanup"]))
    try:
        with_messages(base, answers)
    except ImportError:
        print("the Python client is not installed: topics with messages are left out", file=sys.stderr)
    for case in after():
        answers.append((case, request(base, case)))
    # Namespaces that cannot be deleted by force (a setting of Pulsar's) are emptied topic by topic.
    for name in json.loads(request(base, same("GET", f"{P}/partitioned"))[2] or "[]"):
        request(base, same("DELETE", f"{P}/{urllib.parse.quote(name.split('/')[-1])}/partitions?force=true"))
    for name in json.loads(request(base, same("GET", P))[2] or "[]"):
        local = name.split("://", 1)[1].split("/", 2)[2]
        request(base, same("DELETE", f"{P}/{urllib.parse.quote(local, safe='')}?force=true"))
    answers.append((same("DELETE", N), request(base, same("DELETE", N))))
    for case in [same("DELETE", f"/admin/v2/tenants/{TENANT}"), same("GET", f"/admin/v2/tenants/{TENANT}")]:
        answers.append((case, request(base, case)))
    return answers


def parsed(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


def plain(reason):
    """A reason without what differs from run to run."""
    reason = re.sub(r"127\.0\.0\.1:\d+|localhost:\d+", "HOST", str(reason))
    reason = re.sub(r"\d+:-?\d+", "POSITION", reason)
    reason = re.sub(r"-partition-\d+", "-partition-N", reason)  # the first that answers
    return re.sub(r"^[-\d]{10,}$", "NUMBER", reason)


def kind(value):
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    return {dict: "object", list: "array", str: "string", type(None): "null"}[type(value)]


# What only Pulsar's own storage has: dates of metadata that we do not keep, ledgers of cursors that we do not have.
LEFT_OUT = {".creationDate", ".modificationDate", ".statGeneratedAt", ".deduplicationSnapshotIntervalSeconds", ".offload_policies"}
LEFT_OUT |= {".outstandingAcksInSameBatch", ".originalBatchSize"}


def shapes(theirs, ours, at, keys_are_data):
    """What differs in shape."""
    if kind(theirs) != kind(ours):
        yield f"{at}: {kind(theirs)} there, {kind(ours)} here ({str(theirs)[:60]!r} / {str(ours)[:60]!r})"
    elif isinstance(theirs, dict):
        if keys_are_data:
            return
        for key in sorted(set(theirs) | set(ours)):
            if f"{at}.{key}" in LEFT_OUT:
                continue
            if key not in ours:
                yield f"{at}.{key}: missing here ({json.dumps(theirs[key])[:80]})"
            elif key not in theirs:
                yield f"{at}.{key}: not there ({json.dumps(ours[key])[:80]})"
            else:
                yield from shapes(theirs[key], ours[key], f"{at}.{key}", False)
    elif isinstance(theirs, list):
        if bool(theirs) != bool(ours):
            yield f"{at}: {len(theirs)} elements there, {len(ours)} here"
        elif theirs:
            yield from shapes(theirs[0], ours[0], f"{at}[0]", False)


def differences(case, theirs, ours):
    (status, headers, text), (status2, headers2, text2) = theirs, ours
    if status != status2:
        yield f"status {status} there, {status2} here ({text[:110]!r} / {text2[:110]!r})"
        return
    body, body2 = parsed(text), parsed(text2)
    if status >= 400 and not isinstance(body, dict):
        return  # a page of the server or the parser's own words
    if isinstance(body, dict) and set(body) == {"reason"} and isinstance(body2, dict):
        if plain(body["reason"]) != plain(body2.get("reason")):
            yield f"reason {body['reason']!r} there, {body2.get('reason')!r} here"
        return
    yield from shapes(body, body2, "", case.get("keys", False))
    wanted = {h.lower() for h in headers if h.lower().startswith("x-pulsar")}
    given = {h.lower() for h in headers2 if h.lower().startswith("x-pulsar")}
    for header in sorted(wanted ^ given):
        yield f"header {header} {'missing here' if header in wanted else 'not there'}"


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--record":
        for case, (status, headers, text) in run(sys.argv[2]):
            extra = {k: v for k, v in headers.items() if k.lower().startswith("x-pulsar")}
            print(case["method"], case["path"], json.dumps(case["body"]) if case["body"] is not None else "")
            print("   ", status, text[:3000], extra or "")
        return 0
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    theirs, ours = run(sys.argv[1]), run(sys.argv[2])
    different = known = 0
    for (case, their_answer), (_, our_answer) in zip(theirs, ours):
        found = list(differences(case, their_answer, our_answer))
        if not found:
            continue
        if "known" in case:
            known += 1
            continue
        different += 1
        print(case["method"], case["path"], json.dumps(case["body"]) if case["body"] is not None else "")
        for one in found:
            print("   ", one)
    print(f"{len(theirs)} requests, {different} answered differently, {known} known differences")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
