//! Schemas as `pulsar-admin schemas` and the policies about them. Bodies and statuses are those of Pulsar 4.2.4, but for the
//! refusals that it answers as pages for people or as stack traces.

use serde_json::{Value, json};

use crate::server::Server;

const S: &str = "/admin/v2/schemas/public/default";
const N: &str = "/admin/v2/namespaces/public/default";
const P: &str = "/admin/v2/persistent/public/default";

const ONE: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}"#;
const OPTIONAL: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"b","type":["null","int"],"default":null}]}"#;
const OTHER: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"string"}]}"#;

fn payload(kind: &str, schema: &str) -> String {
    json!({ "type": kind, "schema": schema, "properties": { "k": "v" } }).to_string()
}

impl Server {
    /// Posts a payload to `schema`, `compatibility` or `version` of a topic.
    async fn post(&self, path: &str, kind: &str, schema: &str) -> (u16, Value) {
        let answer = self.send("POST", &format!("{S}/{path}"), &payload(kind, schema)).await;
        (answer.status, answer.json())
    }
}

/// Without the time, which is checked to be there.
fn timeless(mut shown: Value) -> Value {
    let version = shown.as_object_mut().unwrap();
    assert!(version.remove("timestamp").unwrap().as_u64().unwrap() > 1_700_000_000_000);
    shown
}

#[tokio::test]
async fn schemas_are_uploaded_shown_and_deleted() {
    let server = Server::start().await;
    let t = format!("{S}/t");
    assert_eq!(server.get(&format!("{t}/schema")).await.refusal(), (404, "Schema not found".to_owned()));
    assert_eq!(server.get(&format!("{t}/schemas")).await.json(), json!({ "getSchemaResponses": [] }));
    let metadata = server.get(&format!("{t}/metadata")).await;
    assert_eq!((metadata.status, metadata.text()), (200, String::new()));

    // No topic of the name is there yet.
    assert_eq!(server.post("t/schema", "AVRO", ONE).await, (200, json!({ "version": { "version": 0 } })));
    assert_eq!(server.post("t/schema", "AVRO", ONE).await, (200, json!({ "version": { "version": 0 } })));
    let first = json!({ "version": 0, "type": "AVRO", "data": ONE, "properties": { "k": "v" } });
    assert_eq!(timeless(server.get(&format!("{t}/schema")).await.json()), first);
    assert_eq!(server.post("t/schema", "AVRO", OPTIONAL).await, (200, json!({ "version": { "version": 1 } })));
    assert_eq!(timeless(server.get(&format!("{t}/schema/0")).await.json()), first);
    assert_eq!(server.get(&format!("{t}/schema")).await.json()["version"], 1);
    for missing in ["2", "-1", "x"] {
        assert_eq!(server.get(&format!("{t}/schema/{missing}")).await.status, 404, "{missing}");
    }
    let all = server.get(&format!("{t}/schemas")).await.json();
    let numbers = |all: &Value| {
        all["getSchemaResponses"].as_array().unwrap().iter().map(|v| v["version"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(numbers(&all), [json!(0), json!(1)]);
    let metadata = server.get(&format!("{t}/metadata")).await.json();
    assert_eq!((&metadata["info"]["version"], metadata["index"].as_array().unwrap().len()), (&json!(1), 2));

    assert_eq!(server.send("DELETE", &format!("{t}/schema"), "").await.json(), json!({ "version": 2 }));
    assert_eq!(server.get(&format!("{t}/schema")).await.status, 404);
    assert_eq!(server.get(&format!("{t}/schema/0")).await.status, 404);
    // What was there before does not count any more, but its numbers do.
    assert_eq!(server.post("t/schema", "AVRO", OTHER).await, (200, json!({ "version": { "version": 3 } })));
    assert_eq!(numbers(&server.get(&format!("{t}/schemas")).await.json()), [json!(3)]);
    assert_eq!(server.send("DELETE", &format!("{t}/schema?force=true"), "").await.json(), json!({ "version": -1 }));
    assert_eq!(server.post("t/schema", "STRING", "").await, (200, json!({ "version": { "version": 0 } })));
    assert_eq!(server.get(&format!("{t}/schema")).await.json()["type"], "STRING");
}

#[tokio::test]
async fn what_does_not_fit_is_a_conflict_and_what_is_none_unprocessable() {
    let server = Server::start().await;
    server.post("t/schema", "AVRO", ONE).await;
    for path in ["t/schema", "t/compatibility"] {
        let (status, body) = server.post(path, "AVRO", OTHER).await;
        let reason = body["reason"].as_str().unwrap();
        assert_eq!(status, 409);
        let begin = "Error during schema compatibility check with strategy FULL: org.apache.avro.SchemaValidationException: \
                     Unable to read schema: \n{\n  \"type\" : \"record\",\n  \"name\" : \"R\",\n";
        assert!(reason.starts_with(begin), "{reason}");
        let refused = json!({ "reason": "Incompatible schema: exists schema type AVRO, new schema type STRING" });
        assert_eq!(server.post(path, "STRING", "").await, (409, refused));
        let refused = json!({ "reason": "Avro schema typed [UNION] is not supported" });
        assert_eq!(server.post(path, "AVRO", r#"["int"]"#).await, (422, refused));
        let refused = json!({ "reason": "Invalid schema definition data for string schema : 'abc'" });
        assert_eq!(server.post(path, "STRING", "abc").await, (422, refused));
        let refused = json!({ "reason": "Schema AUTO_CONSUME is a client-side schema type" });
        assert_eq!(server.post(path, "AUTO_CONSUME", "").await, (422, refused));
        let refused = json!({ "reason": "No enum constant org.apache.pulsar.common.schema.SchemaType.NOPE" });
        assert_eq!(server.post(path, "NOPE", "").await, (400, refused));
        for body in ["x", "", "null", "[]", r#"{"schema":""}"#, r#"{"type":"STRING"}"#] {
            assert_eq!(server.send("POST", &format!("{S}/{path}"), body).await.status, 400, "{body}");
        }
    }
    let nowhere = server.send("POST", "/admin/v2/schemas/public/nope/t/schema", &payload("AVRO", ONE)).await;
    assert_eq!(nowhere.refusal(), (404, "Namespace does not exist".to_owned()));
}

#[tokio::test]
async fn a_client_may_ask_before() {
    let server = Server::start().await;
    let fits = (202, json!({ "schemaCompatibilityStrategy": "FULL", "compatibility": true }));
    assert_eq!(server.post("t/compatibility", "AVRO", ONE).await, fits);
    assert_eq!(server.post("t/version", "AVRO", ONE).await, (200, json!({ "version": -1 })));
    server.post("t/schema", "AVRO", ONE).await;
    server.post("t/schema", "AVRO", OPTIONAL).await;
    assert_eq!(server.post("t/compatibility", "AVRO", ONE).await, fits);
    assert_eq!(server.post("t/version", "AVRO", OPTIONAL).await, (200, json!({ "version": 1 })));
    assert_eq!(server.post("t/version", "AVRO", OTHER).await, (200, json!({ "version": -1 })));
    assert_eq!(server.get(&format!("{S}/t/schema")).await.json()["version"], 1, "asking adds nothing");
}

#[tokio::test]
async fn a_key_and_a_value_travel_as_one_object() {
    let server = Server::start().await;
    let schema = format!("{{\"key\":{ONE},\"value\":\"\"}}");
    let body = json!({ "type": "KEY_VALUE", "schema": schema, "properties": {
        "key.schema.name": "k", "key.schema.type": "AVRO", "key.schema.properties": "{}",
        "value.schema.name": "v", "value.schema.type": "STRING", "value.schema.properties": "{}",
        "kv.encoding.type": "INLINE",
    } });
    let post = async |path: &str, body: &Value| server.send("POST", &format!("{S}/t/{path}"), &body.to_string()).await;
    assert_eq!(post("schema", &body).await.json(), json!({ "version": { "version": 0 } }));
    let shown = timeless(server.get(&format!("{S}/t/schema")).await.json());
    assert_eq!(shown, json!({ "version": 0, "type": "KEY_VALUE", "data": schema, "properties": body["properties"] }));
    assert_eq!(post("version", &body).await.json(), json!({ "version": 0 }));
    assert_eq!(post("compatibility", &body).await.status, 202);
    let mut other = body.clone();
    other["properties"]["value.schema.type"] = json!("INT32");
    assert_eq!(post("schema", &other).await.status, 409);
    other["schema"] = json!("nope");
    assert_eq!(post("schema", &other).await.status, 422);
}

#[tokio::test]
async fn one_schema_is_that_of_all_partitions_and_goes_with_them() {
    let server = Server::start().await;
    server.done("PUT", &format!("{P}/t/partitions"), "2").await;
    server.post("t-partition-1/schema", "AVRO", ONE).await;
    for name in ["t", "t-partition-0", "t-partition-1"] {
        assert_eq!(server.get(&format!("{S}/{name}/schema")).await.json()["data"], ONE, "{name}");
    }
    server.done("DELETE", &format!("{P}/t/partitions"), "").await;
    assert_eq!(server.get(&format!("{S}/t/schema")).await.status, 404);
}

#[tokio::test]
async fn a_namespace_says_how_schemas_change() {
    let server = Server::start().await;
    let get = async |path: &str| server.get(&format!("{N}/{path}")).await;
    assert_eq!(get("schemaCompatibilityStrategy").await.json(), "UNDEFINED");
    server.done("PUT", &format!("{N}/schemaCompatibilityStrategy"), r#""BACKWARD""#).await;
    assert_eq!(get("schemaCompatibilityStrategy").await.json(), "BACKWARD");
    server.done("PUT", &format!("{N}/schemaCompatibilityStrategy"), r#""UNDEFINED""#).await;

    assert_eq!(get("isAllowAutoUpdateSchema").await.json(), true);
    server.done("POST", &format!("{N}/isAllowAutoUpdateSchema"), "false").await;
    assert_eq!(get("isAllowAutoUpdateSchema").await.json(), false);

    assert_eq!(get("schemaValidationEnforced").await.json(), false);
    server.done("POST", &format!("{N}/schemaValidationEnforced"), "true").await;
    assert_eq!(get("schemaValidationEnforced?applied=true").await.json(), true);

    assert_eq!(get("schemaAutoUpdateCompatibilityStrategy").await.status, 204);
    server.done("PUT", &format!("{N}/schemaAutoUpdateCompatibilityStrategy"), r#""AutoUpdateDisabled""#).await;
    assert_eq!(get("schemaAutoUpdateCompatibilityStrategy").await.json(), "AutoUpdateDisabled");
    let answer = server.post("t/compatibility", "AVRO", ONE).await;
    assert_eq!(answer.1["schemaCompatibilityStrategy"], "ALWAYS_INCOMPATIBLE");

    let all = server.get(N).await.json();
    assert_eq!(all["schema_compatibility_strategy"], "UNDEFINED");
    assert_eq!(all["schema_auto_update_compatibility_strategy"], "AutoUpdateDisabled");
    assert_eq!(
        (&all["is_allow_auto_update_schema"], &all["schema_validation_enforced"]),
        (&json!(false), &json!(true))
    );
    for path in ["schemaCompatibilityStrategy", "schemaAutoUpdateCompatibilityStrategy"] {
        assert_eq!(server.send("PUT", &format!("{N}/{path}"), r#""NOPE""#).await.status, 400);
    }
}

#[tokio::test]
async fn a_topic_says_it_before_its_namespace() {
    let server = Server::start().await;
    let path = format!("{P}/t/schemaCompatibilityStrategy");
    assert_eq!(server.get(&path).await.status, 404);
    server.done("PUT", &format!("{P}/t"), "").await;
    let strategy = async |query: &str| server.get(&format!("{path}{query}")).await;
    assert_eq!((strategy("").await.status, strategy("").await.text()), (200, String::new()));
    assert_eq!(strategy("?applied=true").await.json(), "FULL");
    server.done("PUT", &path, r#""FORWARD""#).await;
    assert_eq!(
        (strategy("").await.json(), strategy("?applied=true").await.json()),
        (json!("FORWARD"), json!("FORWARD"))
    );
    server.done("PUT", &path, r#""UNDEFINED""#).await;
    assert_eq!(strategy("").await.text(), "");
    server.done("PUT", &path, r#""FORWARD""#).await;
    server.done("DELETE", &path, "").await;
    assert_eq!(strategy("?applied=true").await.json(), "FULL");

    let path = format!("{P}/t/schemaValidationEnforced");
    assert_eq!(server.get(&path).await.json(), false);
    server.done("POST", &path, "true").await;
    assert_eq!(server.get(&format!("{path}?applied=true")).await.json(), true);
    assert_eq!(server.send("DELETE", &path, "").await.status, 405);
}
