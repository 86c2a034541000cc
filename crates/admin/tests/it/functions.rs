//! Functions, sources, sinks and packages over REST, as `pulsar-admin` asks for them.

use crate::server::{Answer, PATIENCE, Server};
use serde_json::{Value, json};
use std::time::Duration;

const F: &str = "/admin/v3/functions/public/default";
const LOCAL: &str = "Host: localhost\r\n";

/// A multipart body: name, file name, content.
fn form(parts: &[(&str, Option<&str>, &[u8])]) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    for (name, file, content) in parts {
        let file = file.map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
        let head = format!("--XX\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--XX--\r\n");
    (format!("{LOCAL}Content-Type: multipart/form-data; boundary=XX\r\n"), body)
}

fn config() -> Value {
    json!({"className": "code.F", "inputs": ["in"], "output": "out", "py": "/home/me/code.py"})
}

impl Server {
    async fn functions() -> Self {
        Self::with_functions(admin::Config::default()).await
    }

    async fn submit(&self, method: &str, path: &str, parts: &[(&str, Option<&str>, &[u8])]) -> Answer {
        let (headers, body) = form(parts);
        self.request(method, path, &headers, &body).await
    }

    async fn deploy(&self, name: &str, config: Value) -> Answer {
        let config = config.to_string();
        let parts = [("functionConfig", None, config.as_bytes()), ("data", Some("code.py"), b"print()" as &[u8])];
        self.submit("POST", &format!("{F}/{name}"), &parts).await
    }

    /// A change without a body.
    async fn change(&self, method: &str, path: &str) -> Answer {
        self.request(method, path, LOCAL, b"").await
    }

    async fn running(&self, name: &str, instances: u64) {
        let all = async {
            while self.get(&format!("{F}/{name}/status")).await.json()["numRunning"] != json!(instances) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, all).await.expect("it runs in time");
    }
}

#[track_caller]
fn done(answer: &Answer) {
    assert_eq!(answer.status, 204, "{}", String::from_utf8_lossy(&answer.body));
}

fn refused(answer: &Answer, status: u16, reason: &str) {
    assert_eq!(answer.refusal(), (status, reason.to_owned()));
}

#[tokio::test]
async fn a_function_is_created_shown_listed_and_deleted() {
    let server = Server::functions().await;
    done(&server.deploy("f", config()).await);
    server.running("f", 1).await;
    assert_eq!(server.get(F).await.json(), json!(["f"]));
    let shown = server.get(&format!("{F}/f")).await.json();
    assert_eq!((&shown["className"], &shown["parallelism"]), (&json!("code.F"), &json!(1)));
    let status = server.get(&format!("{F}/f/0/status")).await.json();
    assert_eq!((&status["running"], &status["workerId"]), (&json!(true), &json!("w")));
    let stats = server.get(&format!("{F}/f/stats")).await.json();
    assert_eq!((&stats["receivedTotal"], &stats["1min"]["receivedTotal"]), (&json!(0), &json!(0)));
    assert_eq!(server.get(&format!("{F}/f/download")).await.body, b"print()");
    done(&server.change("DELETE", &format!("{F}/f")).await);
    assert_eq!(server.get(F).await.json(), json!([]));
    for path in ["f", "f/status", "f/stats", "f/0/status", "f/download"] {
        refused(&server.get(&format!("{F}/{path}")).await, 404, "Function f doesn't exist");
    }
}

#[tokio::test]
async fn refusals_are_pulsars() {
    let server = Server::functions().await;
    done(&server.deploy("f", config()).await);
    refused(&server.deploy("f", config()).await, 400, "Function f already exists");
    let config = config().to_string();
    let just_config = [("functionConfig", None, config.as_bytes())];
    for (method, path, parts, status, reason) in [
        ("POST", "public/default/g", &just_config[..], 400, "Function Package is not provided"),
        ("POST", "public/default/g", &[("data", Some("x"), &b"x"[..])][..], 400, "Function config is not provided"),
        ("POST", "nobody/default/g", &just_config[..], 400, "Tenant does not exist"),
        ("POST", "public/nowhere/g", &just_config[..], 400, "Namespace does not exist"),
        ("PUT", "public/default/f", &just_config[..], 400, "Update contains no change"),
        ("PUT", "public/default/g", &just_config[..], 400, "Function g doesn't exist"),
    ] {
        let answer = server.submit(method, &format!("/admin/v3/functions/{path}"), parts).await;
        refused(&answer, status, reason);
    }
    for (path, status, reason) in [
        ("f/7/start", 400, "Function f doesn't have instance with id 7"),
        ("f/x/stop", 400, "Function f doesn't have instance with id x"),
        ("f/start", 400, "Operation not permitted"),
        ("g/restart", 404, "Function g doesn't exist"),
    ] {
        refused(&server.change("POST", &format!("{F}/{path}")).await, status, reason);
    }
    refused(&server.change("DELETE", "/admin/v3/sinks/public/default/f").await, 404, "Sink f doesn't exist");
    let several = json!({"className": "c", "inputs": ["in"], "py": "c.py", "parallelism": 0, "typo": 1});
    let (status, reason) = server.deploy("h", several).await.refusal();
    assert_eq!(status, 400);
    assert!(reason.contains("typo") && reason.contains("arallelism"), "{reason}");
}

#[tokio::test]
async fn instances_start_and_stop() {
    let server = Server::functions().await;
    let mut two = config();
    two["parallelism"] = json!(2);
    done(&server.deploy("f", two).await);
    server.running("f", 2).await;
    done(&server.change("POST", &format!("{F}/f/1/stop")).await);
    server.running("f", 1).await;
    done(&server.change("POST", &format!("{F}/f/stop")).await);
    server.running("f", 0).await;
    done(&server.change("POST", &format!("{F}/f/start")).await);
    server.running("f", 2).await;
    done(&server.change("POST", &format!("{F}/f/restart")).await);
    done(&server.change("POST", &format!("{F}/f/0/restart")).await);
    let update = [("functionConfig", None, &br#"{"parallelism": 1}"#[..])];
    done(&server.submit("PUT", &format!("{F}/f"), &update).await);
    server.running("f", 1).await;
}

#[tokio::test]
async fn a_trigger_answers_with_the_output() {
    let server = Server::functions().await;
    done(&server.deploy("f", config()).await);
    server.running("f", 1).await;
    let path = format!("{F}/f/trigger");
    for parts in [&[("data", None, &b"hi"[..])][..], &[("dataStream", Some("a"), &b"hi"[..]), ("topic", None, b"in")]] {
        let answer = server.submit("POST", &path, parts).await;
        assert_eq!((answer.status, &answer.body[..]), (200, &b"hi"[..]));
    }
    refused(&server.submit("POST", &path, &[]).await, 400, "Trigger Data is not provided");
    let elsewhere = [("data", None, &b"hi"[..]), ("topic", None, b"elsewhere")];
    let answer = server.submit("POST", &path, &elsewhere).await;
    refused(&answer, 400, "Function in trigger function has unidentified topic");
    let lines = server.get(&format!("{F}/f/0/logs")).await.json();
    assert_eq!((&lines[0]["level"], lines.as_array().unwrap().len()), (&json!("INFO"), 2));
    let next = server.get(&format!("{F}/f/0/logs?from=1")).await.json();
    assert_eq!((&next[0]["number"], next.as_array().unwrap().len()), (&json!(1), 1));
    let metrics = server.get("/metrics").await.text();
    let labels = "{tenant=\"public\",namespace=\"public/default\",name=\"f\",instance_id=\"0\",cluster=\"standalone\",\
                  fqfn=\"public/default/f\"}";
    assert!(metrics.contains(&format!("pulsar_function_received_total{labels} 2\n")), "{metrics}");
    assert!(metrics.contains("pulsar_function_process_latency_ms{tenant"), "{metrics}");
}

#[tokio::test]
async fn state_is_put_and_queried() {
    let server = Server::functions().await;
    done(&server.deploy("f", config()).await);
    for (key, state, shown) in [
        ("a", json!({"key": "a", "stringValue": "hello"}), json!({"key": "a", "stringValue": "hello", "version": 0})),
        ("a%2Fb", json!({"key": "a/b", "numberValue": 7}), json!({"key": "a/b", "numberValue": 7, "version": 0})),
        ("c", json!({"key": "c", "byteValue": "/wA="}), json!({"key": "c", "byteValue": "/wA=", "version": 0})),
    ] {
        let path = format!("{F}/f/state/{key}");
        refused(&server.get(&path).await, 404, &format!("key '{}' doesn't exist.", shown["key"].as_str().unwrap()));
        let text = state.to_string();
        done(&server.submit("POST", &path, &[("state", None, text.as_bytes())]).await);
        assert_eq!(server.get(&path).await.json(), shown);
    }
    let other = [("state", None, &br#"{"key": "b", "stringValue": "x"}"#[..])];
    refused(&server.submit("POST", &format!("{F}/f/state/a"), &other).await, 400, "Path key doesn't match key in json");
    refused(&server.get(&format!("{F}/g/state/a")).await, 404, "'g' is not found");
}

#[tokio::test]
async fn uploads_can_be_downloaded() {
    let server = Server::functions().await;
    let parts = [("data", Some("a.jar"), &b"jar"[..]), ("path", None, b"public/default/f/a.jar")];
    done(&server.submit("POST", "/admin/v3/functions/upload", &parts).await);
    let got = server.get("/admin/v3/functions/download?path=public/default/f/a.jar").await;
    assert_eq!((got.status, &got.body[..]), (200, &b"jar"[..]));
    for path in ["nothing", "file:///etc/passwd", "http://127.0.0.1:1/x", "../../etc/passwd", "%00"] {
        let answer = server.get(&format!("/admin/v3/functions/download?path={path}")).await;
        assert!((400..500).contains(&answer.status), "{path}: {}", answer.status);
    }
}

#[tokio::test]
async fn packages_have_versions_and_metadata() {
    let server = Server::functions().await;
    let (all, one) = ("/admin/v3/packages/function/public/default", "/admin/v3/packages/function/public/default/p/v1");
    let parts = [("metadata", None, &br#"{"description": "d", "contact": "me"}"#[..]), ("file", Some("p.py"), b"code")];
    done(&server.submit("POST", one, &parts).await);
    refused(
        &server.submit("POST", one, &parts).await,
        409,
        "Package 'function://public/default/p@v1' metadata already exists",
    );
    done(&server.submit("POST", &format!("{all}/p/v2"), &parts).await);
    assert_eq!(server.get(all).await.json(), json!(["p"]));
    assert_eq!(server.get(&format!("{all}/p")).await.json(), json!(["v1", "v2"]));
    assert_eq!(server.get(one).await.body, b"code");
    let metadata = server.get(&format!("{one}/metadata")).await.json();
    assert_eq!((&metadata["description"], &metadata["contact"]), (&json!("d"), &json!("me")));
    assert!(metadata["createTime"].as_i64().unwrap() > 0);
    let new = br#"{"description": "other", "properties": {"a": "b"}}"#;
    done(&server.request("PUT", &format!("{one}/metadata"), LOCAL, new).await);
    let changed = server.get(&format!("{one}/metadata")).await.json();
    assert_eq!((&changed["description"], &changed["createTime"]), (&json!("other"), &metadata["createTime"]));

    // A function can be made of it, and keeps its code.
    let config = config().to_string();
    let url = b"function://public/default/p@v1";
    let parts = [("functionConfig", None, config.as_bytes()), ("url", None, url)];
    done(&server.submit("POST", &format!("{F}/f"), &parts).await);
    done(&server.change("DELETE", one).await);
    assert_eq!(server.get(&format!("{F}/f/download")).await.body, b"code");
    refused(&server.get(one).await, 404, "Package 'function://public/default/p@v1' does not exist");
    refused(&server.get("/admin/v3/packages/archive/public/default").await, 412, "Invalid package domain: 'archive'");
    assert_eq!(server.get("/admin/v3/packages/function/public/default/..%2Fx/v1").await.status, 412);
}

#[tokio::test]
async fn code_comes_from_files_and_servers_too() {
    let server = Server::functions().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("code.py");
    std::fs::write(&path, "from a file").unwrap();
    let config = config().to_string();
    let create = async |name: &str, url: &str| {
        let parts = [("functionConfig", None, config.as_bytes()), ("url", None, url.as_bytes())];
        server.submit("POST", &format!("{F}/{name}"), &parts).await
    };
    done(&create("a", &format!("file://{}", path.display())).await);
    assert_eq!(server.get(&format!("{F}/a/download")).await.body, b"from a file");
    done(&create("java", &format!("file:{}", path.display())).await);
    assert_eq!(server.get(&format!("{F}/java/download")).await.body, b"from a file");
    // From a server: this one.
    let served = format!("http://127.0.0.1:{}{F}/a/download", server.port);
    done(&create("b", &served).await);
    assert_eq!(server.get(&format!("{F}/b/download")).await.body, b"from a file");
    let missing = format!("http://127.0.0.1:{}{F}/none/download", server.port);
    for url in [
        missing.as_str(),
        "file:///none",
        "file:///dev/zero",
        "file://relative",
        "file:relative",
        "ftp://x/y",
        "function://a/b/c@1",
        "x",
    ] {
        let answer = create("c", url).await;
        assert!((400..500).contains(&answer.status), "{url}: {}", answer.status);
        assert!(!answer.refusal().1.is_empty());
    }
}

#[tokio::test]
async fn built_in_connectors_are_used_by_name() {
    let server = Server::functions().await;
    let path = "/admin/v3/sinks/public/default/s";
    let config = br#"{"inputs": ["in"], "archive": "builtin://echo"}"#;
    done(&server.submit("POST", path, &[("sinkConfig", None, config)]).await);
    let status = server.get(&format!("{path}/status")).await.json();
    assert_eq!(status["numInstances"], json!(1));
    assert!(status["instances"][0]["status"].get("numWrittenToSink").is_some());
    let unknown = br#"{"inputs": ["in"], "archive": "builtin://other"}"#;
    let answer = server.submit("POST", "/admin/v3/sinks/public/default/t", &[("sinkConfig", None, unknown)]).await;
    refused(&answer, 400, "Built-in sink is not available: other");
    assert_eq!(server.get("/admin/v3/sinks/builtinsinks").await.json(), json!([{"name": "echo", "sinkClass": "Echo"}]));
    assert_eq!(server.get("/admin/v3/sources/builtinsources").await.json(), json!([]));
    assert_eq!(server.get("/admin/v3/functions/connectors").await.json().as_array().unwrap().len(), 1);
    assert_eq!(server.get("/admin/v3/sinks/builtinsinks/echo/configdefinition").await.json(), json!([]));
    assert_eq!(server.get("/admin/v3/sinks/builtinsinks/x/configdefinition").await.status, 404);
    for path in ["sinks/reloadBuiltInSinks", "sources/reloadBuiltInSources", "functions/builtins/reload"] {
        done(&server.change("POST", &format!("/admin/v3/{path}")).await);
    }
}

#[tokio::test]
async fn the_worker_tells_of_itself() {
    let server = Server::functions().await;
    done(&server.deploy("f", config()).await);
    let own = json!({"workerId": "w", "workerHostname": "localhost", "port": server.port});
    assert_eq!(server.get("/admin/v2/worker/cluster").await.json(), json!([own]));
    assert_eq!(server.get("/admin/v2/worker/cluster/leader").await.json(), own);
    assert_eq!(server.get("/admin/v2/worker/cluster/leader/ready").await.text(), "true");
    assert_eq!(server.get("/admin/v2/worker/assignments").await.json(), json!({"w": ["public/default/f:0"]}));
    let metrics = server.get("/admin/v2/worker-stats/functionsmetrics").await.json();
    assert_eq!(metrics[0]["name"], json!("public/default/f:0"));
    assert_eq!(server.get("/admin/v2/worker-stats/metrics").await.json(), json!([]));
    let rebalance = server.change("PUT", "/admin/v2/worker/rebalance").await;
    refused(&rebalance, 400, "Too few workers (need at least 2)");
}

#[tokio::test]
async fn a_page_in_a_browser_cannot_deploy() {
    let server = Server::functions().await;
    let config = config().to_string();
    let (headers, body) = form(&[("functionConfig", None, config.as_bytes()), ("data", Some("a.py"), b"x")]);
    let path = format!("{F}/f");
    for (name, headers) in [
        ("another site", format!("{headers}Origin: http://evil.example\r\n")),
        ("a site on this machine", format!("{headers}Origin: http://localhost:3000\r\n")),
        ("a rebound name", headers.replace("localhost", "evil.example")),
        ("two hosts", format!("{headers}Host: evil.example\r\n")),
        ("what a browser says itself", format!("{headers}Sec-Fetch-Site: cross-site\r\n")),
    ] {
        let answer = server.request("POST", &path, &headers, &body).await;
        // Two hosts are no HTTP, which may be noticed first.
        assert!(answer.status == 403 || (answer.status == 400 && name == "two hosts"), "{name}: {}", answer.status);
    }
    for (method, path) in [
        ("DELETE", format!("{F}/f")),
        ("PUT", format!("{F}/f")),
        ("POST", format!("{F}/f/stop")),
        ("POST", format!("{F}/f/trigger")),
        ("POST", format!("{F}/f/state/k")),
        ("POST", "/admin/v3/functions/upload".to_owned()),
        ("POST", "/admin/v3/packages/function/a/b/c/d".to_owned()),
        ("DELETE", "/admin/v3/packages/function/a/b/c/d".to_owned()),
        ("PUT", "/admin/v3/packages/function/a/b/c/d/metadata".to_owned()),
        // Nor may it see what a function is made of, says and remembers.
        ("GET", format!("{F}/f/download")),
        ("GET", "/admin/v3/functions/download?path=x".to_owned()),
        ("GET", "/admin/v3/packages/function/a/b/c/d".to_owned()),
        ("GET", format!("{F}/f/0/logs")),
        ("GET", format!("{F}/f/state/k")),
    ] {
        let answer = server.request(method, &path, "Host: evil.example\r\n", b"").await;
        assert_eq!(answer.status, 403, "{method} {path}");
    }
    assert_eq!(server.request("GET", F, "Host: evil.example\r\n", b"").await.status, 200);
    let same = format!("{headers}Origin: http://localhost\r\nSec-Fetch-Site: same-origin\r\n");
    done(&server.request("POST", &path, &same, &body).await);
}

#[tokio::test]
async fn bodies_that_are_no_forms_or_too_large_are_refused() {
    let server = Server::functions().await;
    let path = format!("{F}/f");
    let config = config().to_string();
    let large = vec![b'x'; 1024 * 1024 + 1];
    let parts = [("functionConfig", None, config.as_bytes()), ("data", Some("a.py"), &large[..])];
    assert_eq!(server.submit("POST", &path, &parts).await.status, 413);
    let text = vec![b' '; 6 * 1024 * 1024];
    assert_eq!(server.submit("POST", &path, &[("functionConfig", None, &text)]).await.status, 413);
    let many: Vec<_> = (0..40).map(|_| ("a", None, &b"b"[..])).collect();
    assert_eq!(server.submit("POST", &path, &many).await.status, 400);
    let empty = [("functionConfig", None, config.as_bytes()), ("data", Some("a.py"), b"")];
    refused(&server.submit("POST", &path, &empty).await, 400, "the package is empty");
    let json = format!("{LOCAL}Content-Type: application/json\r\n");
    assert_eq!(server.request("POST", &path, &json, config.as_bytes()).await.status, 415);
    let (headers, body) = form(&parts[..1]);
    for cut in [0, 1, 10, 50, body.len() - 8] {
        let answer = server.request("POST", &path, &headers, &body[..cut]).await;
        assert_eq!(answer.status, 400, "cut at {cut}");
    }
    for config in ["", "{", "[]", "null", "\"x\"", "{\"tenant\": {}}"] {
        let parts = [("functionConfig", None, config.as_bytes()), ("data", Some("a.py"), b"x")];
        assert_eq!(server.submit("POST", &path, &parts).await.status, 400, "{config}");
    }
    assert_eq!(server.get(F).await.json(), json!([]));
}

#[tokio::test]
async fn without_a_worker_pulsars_answer_says_so() {
    let server = Server::start().await;
    let reason = "Pulsar Function Worker is not enabled, probably functionsWorkerEnabled is set to false";
    for path in [F, "/admin/v3/sinks/public/default/s/status", "/admin/v2/worker/cluster"] {
        refused(&server.get(path).await, 409, reason);
    }
    assert_eq!(server.get("/admin/v3/packages/function/public/default").await.status, 503);
}

#[tokio::test]
async fn rules_of_scaling_are_set_shown_overridden_and_cleared() {
    let server = Server::functions().await;
    done(&server.deploy("f", config()).await);
    let at = format!("{F}/f/scaling");
    let shown = server.get(&at).await.json();
    assert_eq!((&shown["phase"], &shown["spec"], &shown["wanted"]), (&json!("off"), &Value::Null, &json!(1)));

    let rules = json!({"minReplicas": 2, "maxReplicas": 3}).to_string();
    done(&server.request("PUT", &at, LOCAL, rules.as_bytes()).await);
    server.running("f", 2).await;
    let shown = server.get(&at).await.json();
    assert_eq!((&shown["phase"], &shown["spec"]["maxReplicas"]), (&json!("active"), &json!(3)));
    done(&server.change("POST", &format!("{at}/pin?instances=4")).await);
    server.running("f", 4).await;
    assert_eq!(server.get(&at).await.json()["pinned"], 4);
    done(&server.change("POST", &format!("{at}/unpin")).await);
    server.running("f", 3).await;
    done(&server.change("POST", &format!("{at}/pause")).await);
    assert_eq!(server.get(&at).await.json()["phase"], "paused");
    done(&server.change("POST", &format!("{at}/resume")).await);
    let all = server.get("/admin/v2/worker/scaling").await.json();
    assert_eq!((&all[0]["kind"], &all[0]["name"]), (&json!("function"), &json!("public/default/f")));
    let metrics = String::from_utf8(server.get("/metrics").await.body).unwrap();
    assert!(metrics.contains("geminga_function_instances{tenant=\"public\""), "{metrics}");
    assert!(metrics.contains("reason=\"Pinned\"} 1"), "{metrics}");
    done(&server.change("DELETE", &at).await);
    server.running("f", 1).await;
    let events = server.get(&format!("{at}/events")).await.json();
    let codes: Vec<_> = events.as_array().unwrap().iter().filter(|event| event["by"] == "person").collect();
    let codes: Vec<_> = codes.iter().map(|event| event["reason"]["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["RulesSet", "Pinned", "Unpinned", "Paused", "Resumed", "RulesCleared"]);

    let bad = server.request("PUT", &at, LOCAL, b"{\"minReplicas\": 3, \"maxReplicas\": 2}").await;
    refused(&bad, 400, "minReplicas: 3 is more than maxReplicas, 2");
    assert_eq!(server.request("PUT", &at, LOCAL, b"garbage").await.status, 400);
    assert_eq!(server.change("POST", &format!("{at}/pin")).await.status, 400);
    assert_eq!(server.get(&format!("{F}/g/scaling")).await.status, 404);
    let elsewhere = server.request("PUT", &at, "Host: evil.example\r\n", rules.as_bytes()).await;
    assert_eq!(elsewhere.status, 403);
}

#[tokio::test]
async fn a_function_can_come_and_change_with_its_rules() {
    let server = Server::functions().await;
    let config = config().to_string();
    let rules = |min: u32| json!({"minReplicas": min, "maxReplicas": 5}).to_string();
    let (bad, two, three) = (rules(9), rules(2), rules(3));
    let code = ("data", Some("code.py"), b"print()" as &[u8]);
    let create = |rules: &str| {
        let rules = rules.to_owned();
        let (server, config) = (&server, config.clone());
        async move {
            let parts = [("functionConfig", None, config.as_bytes()), ("scaling", None, rules.as_bytes()), code];
            server.submit("POST", &format!("{F}/f"), &parts).await
        }
    };
    refused(&create(&bad).await, 400, "minReplicas: 9 is more than maxReplicas, 5");
    assert_eq!(server.get(&format!("{F}/f")).await.status, 404);
    done(&create(&two).await);
    server.running("f", 2).await;
    let parts = [("functionConfig", None, b"{}" as &[u8]), ("scaling", None, three.as_bytes())];
    done(&server.submit("PUT", &format!("{F}/f"), &parts).await);
    server.running("f", 3).await;
}
