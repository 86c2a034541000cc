//! Meshes over REST.

use crate::server::{Answer, PATIENCE, Server};
use serde_json::{Value, json};

const APP: &str = "/admin/v3/meshes/default/app";
const LOCAL: &str = "Host: localhost\r\nContent-Type: application/json\r\n";

/// A mesh of one built-in sink, which needs no code.
fn manifest(topic: &str) -> String {
    format!(
        "apiVersion: compute.functionmesh.io/v1alpha1\nkind: Sink\nmetadata: {{name: echo}}\nspec:\n  sinkType: echo\n  input: {{topics: [{topic}]}}\n"
    )
}

fn request(text: &str) -> Value {
    json!({"files": [{"name": "app.yaml", "text": text}]})
}

impl Server {
    async fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        let body = body.to_string();
        let ask = self.request(method, path, LOCAL, body.as_bytes());
        tokio::time::timeout(PATIENCE, ask).await.expect("an answer in time")
    }
}

#[tokio::test]
async fn a_mesh_is_planned_applied_shown_listed_changed_and_deleted() {
    let server = Server::with_functions(admin::Config::default()).await;
    let plan = server.ask("POST", &format!("{APP}/plan"), &request(&manifest("in"))).await.json();
    assert_eq!((&plan["version"], &plan["steps"][0]["action"]), (&json!(0), &json!("create")));
    assert_eq!(server.get(APP).await.refusal(), (404, "there is no mesh default/app".to_owned()));

    let answer = server.ask("PUT", &format!("{APP}?wait=20"), &request(&manifest("in"))).await;
    let status = answer.json();
    assert_eq!((answer.status, &status["state"], &status["version"]), (200, &json!("applied"), &json!(1)), "{status}");
    let node = &server.get(&format!("{APP}/status")).await.json()["nodes"][0];
    assert_eq!((&node["name"], &node["state"]), (&json!("public/default/echo"), &json!("running")), "{node}");
    let listed = server.get("/admin/v3/meshes").await.json();
    assert_eq!((&listed[0]["name"], &listed[0]["ready"]), (&json!("app"), &json!(1)));
    let shown = server.get(APP).await.json();
    assert_eq!(shown["files"][0]["text"], json!(manifest("in")));
    assert_eq!(server.get("/admin/v3/sinks/public/default").await.json(), json!(["echo"]));

    let other = json!({"version": 7, "files": [{"name": "app.yaml", "text": manifest("other")}]});
    assert_eq!(
        server.ask("PUT", APP, &other).await.refusal(),
        (409, "mesh default/app is at version 1, not 7".to_owned())
    );
    let status = server.ask("PUT", &format!("{APP}?wait=20"), &request(&manifest("other"))).await.json();
    assert_eq!((&status["state"], &status["steps"][0]["action"]), (&json!("applied"), &json!("update")), "{status}");

    let gone = server.ask("DELETE", &format!("{APP}?wait=20"), &json!(null)).await;
    assert_eq!(gone.status, 204, "{}", String::from_utf8_lossy(&gone.body));
    assert_eq!(server.get("/admin/v3/meshes").await.json(), json!([]));
    assert_eq!(server.get("/admin/v3/sinks/public/default").await.json(), json!([]));
}

#[tokio::test]
async fn what_is_wrong_is_refused_with_its_reason() {
    let server = Server::with_functions(admin::Config::default()).await;
    let (status, reason) = server.ask("PUT", APP, &request("kind: Nothing\n")).await.refusal();
    assert!(status == 400 && reason.contains("no Function, Source or Sink"), "{status} {reason}");
    let bad = manifest("in").replace("topics", "topix");
    let (status, reason) = server.ask("PUT", APP, &request(&bad)).await.refusal();
    assert!(status == 400 && reason.contains("app.yaml:6:3: error: "), "{status} {reason}");
    let (status, reason) = server.ask("PUT", APP, &json!({"file": []})).await.refusal();
    assert!(status == 400 && reason.contains("file"), "{status} {reason}");
    let elsewhere = manifest("in").replace("spec:\n", "spec:\n  tenant: nobody\n");
    let (status, reason) = server.ask("PUT", APP, &request(&elsewhere)).await.refusal();
    assert!(status == 400 && reason.contains("there is no namespace nobody/default"), "{status} {reason}");
    let (status, _) = server.ask("PUT", "/admin/v3/meshes/default/-x", &request(&manifest("in"))).await.refusal();
    assert_eq!(status, 400);
    let long = "x".repeat(600 * 1024);
    let (status, _) = server.ask("PUT", APP, &request(&long)).await.refusal();
    assert_eq!(status, 413);
    assert_eq!(server.get("/admin/v3/meshes").await.json(), json!([]));
}

#[tokio::test]
async fn a_web_page_may_not_apply_a_mesh() {
    let server = Server::with_functions(admin::Config::default()).await;
    let headers = "Host: localhost\r\nOrigin: http://evil.example\r\nContent-Type: application/json\r\n";
    let body = request(&manifest("in")).to_string();
    for (method, path) in [("PUT", APP.to_owned()), ("DELETE", APP.to_owned()), ("POST", format!("{APP}/plan"))] {
        assert_eq!(server.request(method, &path, headers, body.as_bytes()).await.status, 403, "{method}");
    }
}

#[tokio::test]
async fn without_functions_there_are_no_meshes() {
    let server = Server::with(admin::Config::default()).await;
    assert!(server.get("/admin/v3/meshes").await.status >= 400);
}
