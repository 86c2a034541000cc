//! Meshes over a worker in memory: what an apply does, in which order, and what is left when it is cut short.

use admin_api::mesh::{Action, File, Progress, Request, State, Status, UPLOADED};
use async_trait::async_trait;
use model::function::PackageMetadata;
use parking_lot::Mutex;
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Meshes, Name, row};
use crate::{
    FunctionSpec, Kind, Record, Result, Runtime, Tables,
    runtime::{InstanceSpec, Link, Secret, StartError},
    spec::Limits,
    testing::{Echo, MemoryLog, MemoryTables},
    worker::{self, Given, Worker, tests},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// Meshes and what they stand on, which survives them.
struct Node {
    meshes: Meshes,
    log: MemoryLog,
    tables: Arc<MemoryTables>,
    dir: Arc<tempfile::TempDir>,
    started: Started,
}

/// Instances of [`Echo`] and what they were started with, oldest first.
#[derive(Clone, Default)]
struct Started(Arc<Mutex<Vec<InstanceSpec>>>);

#[async_trait]
impl Runtime for Started {
    async fn prepare(&self, function: &FunctionSpec) -> std::result::Result<(), StartError> {
        Echo.prepare(function).await
    }

    async fn start(&self, instance: InstanceSpec) -> std::result::Result<Link, StartError> {
        self.0.lock().push(instance.clone());
        Echo.start(instance).await
    }
}

/// `a -> first -> b -> second -> c`.
const CHAIN: &str = "
apiVersion: compute.functionmesh.io/v1alpha1
kind: FunctionMesh
metadata:
  name: app
spec:
  functions:
    - name: first
      className: code.F
      input: {topics: [a]}
      output: {topic: b}
      python: {py: code.py}
      replicas: 1
    - name: second
      className: code.F
      input: {topics: [b]}
      output: {topic: c}
      python: {py: code.py}
      replicas: 1
";

impl Node {
    async fn start() -> Self {
        let tables: Arc<MemoryTables> = Arc::default();
        let log = MemoryLog::new(tables.clone());
        Self::again(tables, log, Arc::new(tempfile::tempdir().unwrap())).await
    }

    async fn again(tables: Arc<MemoryTables>, log: MemoryLog, dir: Arc<tempfile::TempDir>) -> Self {
        let started = Started::default();
        let worker = tests::open(&dir, &tables, &log, Arc::new(started.clone())).await;
        let meshes = Meshes::open(worker, Arc::new(|_, namespace| namespace != "nowhere")).await.unwrap();
        Self { meshes, log, tables, dir, started }
    }

    /// The process dies and starts again.
    async fn killed(self) -> Self {
        self.meshes.close().await;
        Self::again(self.tables, self.log, self.dir).await
    }

    fn worker(&self) -> &Worker {
        self.meshes.worker()
    }

    /// Code as the command line sends it before it applies.
    async fn code(&self, content: &str) -> String {
        let packages = self.worker().packages();
        let mut upload = packages.receive("code.py").await.unwrap();
        upload.write(content.as_bytes()).await.unwrap();
        let stored = upload.finish().await.unwrap();
        let url = format!("function://public/default/code.py@{UPLOADED}{}", stored.id().digest());
        // It may be there already.
        let _ = packages.add(&url.parse().unwrap(), PackageMetadata::default(), &stored).await;
        url
    }

    async fn request(&self, text: &str) -> Request {
        let code = BTreeMap::from([("code.py".to_owned(), self.code("code").await)]);
        let files = vec![File { name: "app.yaml".to_owned(), text: text.to_owned() }];
        Request { files, code, ..Request::default() }
    }

    /// Applies, and waits until that is over.
    async fn apply(&self, text: &str) -> Result<Status> {
        self.apply_request(self.request(text).await).await
    }

    async fn apply_request(&self, request: Request) -> Result<Status> {
        self.meshes.apply(&app(), request).await?;
        Ok(self.rests().await)
    }

    async fn rests(&self) -> Status {
        self.meshes.wait(&app(), PATIENCE).await.unwrap().unwrap();
        self.meshes.status(&app()).await.unwrap()
    }

    /// How the last instance of a function was started: its environment and what it may use.
    fn last_of(&self, name: &str) -> (Vec<(String, String)>, Limits) {
        let started = self.started.0.lock();
        let last = started.iter().rfind(|instance| instance.function.name == name).expect("it was started");
        let env = last.env.iter().map(|(name, Secret(value))| (name.clone(), value.clone())).collect();
        (env, last.function.limits)
    }

    fn stamp(&self, name: &str) -> Option<worker::Stamp> {
        self.worker().stamp(Kind::Function, &named(name))
    }
}

fn app() -> Name {
    "app".parse().unwrap()
}

fn named(name: &str) -> worker::Name {
    worker::Name::new("public", "default", name).unwrap()
}

/// `create first, delete second`.
fn shown(status: &Status) -> String {
    let local = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    let steps = status.steps.iter().map(|step| format!("{} {}", step.action, local(&step.name)));
    steps.collect::<Vec<_>>().join(", ")
}

/// What differs for the first step.
fn fields(status: &Status) -> Vec<&str> {
    status.steps[0].changes.iter().map(|change| change.field.as_str()).collect()
}

fn refusal<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => panic!("it was not refused"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_mesh_runs_what_its_manifest_says_and_messages_go_through_it() {
    let node = Node::start().await;
    let status = node.apply(CHAIN).await.unwrap();
    assert_eq!((status.state, status.version), (State::Applied, 1), "{status:?}");
    // Who reads is there before who writes.
    assert_eq!(shown(&status), "create second, create first");
    assert!(status.steps.iter().all(|step| step.progress == Progress::Done), "{status:?}");
    let nodes: Vec<_> = status.nodes.iter().map(|node| (node.name.as_str(), node.state.as_str())).collect();
    assert_eq!(nodes, [("public/default/first", "running"), ("public/default/second", "running")]);
    node.log.publish("persistent://public/default/a", Record { payload: "hello".into(), ..Record::default() });
    let arrives = async {
        while node.log.messages("persistent://public/default/c").is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, arrives).await.unwrap();
    let summary = &node.meshes.list()[0];
    assert_eq!((summary.name.as_str(), summary.nodes, summary.ready), ("app", 2, 2));
    assert_eq!(node.meshes.owner(&named("first")), Some(app()));
}

#[tokio::test]
async fn the_same_again_changes_nothing_and_what_changes_is_all_that_is_touched() {
    let node = Node::start().await;
    node.apply(CHAIN).await.unwrap();
    let before = (node.stamp("first"), node.stamp("second"));
    let again = node.apply(CHAIN).await.unwrap();
    assert_eq!(again.version, 1);
    let changed = CHAIN.replace("name: second\n", "name: second\n      funcConfig: {a: 1}\n");
    let status = node.apply(&changed).await.unwrap();
    assert_eq!((status.version, shown(&status).as_str()), (2, "update second"));
    assert_eq!(fields(&status), ["userConfig.a"]);
    assert_eq!(node.stamp("first"), before.0);
    assert_ne!(node.stamp("second"), before.1);
}

#[tokio::test]
async fn an_instance_has_the_environment_and_the_limits_of_its_manifest() {
    let node = Node::start().await;
    let more = "className: code.F
      resources: {requests: {cpu: 100m, memory: 1Gi}, limits: {memory: 2Gi}}
      pod:
        env:
          - {name: USER, value: me}
          - {name: PASSWORD, valueFrom: {secretKeyRef: {name: keys, key: password}}}
          - {name: URL, value: 'db://$(USER):$(PASSWORD)'}";
    let secret = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: keys}\nstringData: {password: hunter2}\n";
    let manifest = CHAIN.replacen("className: code.F", more, 1) + secret;
    let env = |password: &str| {
        let all = [("PASSWORD", password), ("URL", &*format!("db://me:{password}")), ("USER", "me")];
        all.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    };
    node.apply(&manifest).await.unwrap();
    let limits = Limits { ram_bytes: Some(2 << 30), ..Limits::default() };
    assert_eq!(node.last_of("first"), (env("hunter2"), limits));
    assert!(node.last_of("second").0.is_empty());
    let status = node.apply(&manifest.replace("hunter2", "hunter3")).await.unwrap();
    assert_eq!((shown(&status).as_str(), fields(&status)), ("update first", vec!["env"]));
    assert_eq!(node.last_of("first").0, env("hunter3"));
    let smaller = manifest.replace("hunter2", "hunter3").replace("{memory: 2Gi}", "{cpu: 2, memory: 1Gi}");
    let status = node.apply(&smaller).await.unwrap();
    assert_eq!((shown(&status).as_str(), fields(&status)), ("update first", vec!["limits.cpu", "limits.ram"]));
    let limits = Limits { cpu: Some(2.0), ram_bytes: Some(1 << 30), disk_bytes: None };
    assert_eq!(node.last_of("first"), (env("hunter3"), limits));
    // What is kept apart is there after a start, and goes with its function.
    let node = node.killed().await;
    assert_eq!(node.apply(&smaller).await.unwrap().version, 3);
    while !node.started.0.lock().iter().any(|instance| instance.function.name == "first") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(node.last_of("first"), (env("hunter3"), limits));
    node.apply(CHAIN).await.unwrap();
    assert!(node.last_of("first").0.is_empty());
    let shown = format!("{:?}", node.meshes.manifest(&app()).unwrap());
    assert!(!shown.contains("hunter"), "{shown}");
}

#[tokio::test]
async fn an_environment_that_is_not_all_there_is_refused() {
    let node = Node::start().await;
    let more = "className: code.F\n      pod: {env: [{name: A, valueFrom: {secretKeyRef: {name: keys, key: a}}}]}";
    let text = refusal(node.apply(&CHAIN.replacen("className: code.F", more, 1)).await);
    assert!(text.contains("variable A: there is no key a of a Secret keys in these files"), "{text}");
    assert!(node.meshes.list().is_empty());
}

#[tokio::test]
async fn more_instances_are_no_reason_to_restart_those_that_run() {
    let node = Node::start().await;
    node.apply(CHAIN).await.unwrap();
    let before = node.stamp("first");
    let status = node.apply(&CHAIN.replacen("replicas: 1", "replicas: 3", 1)).await.unwrap();
    assert_eq!(shown(&status), "scale first", "{status:?}");
    assert_eq!(node.stamp("first"), before);
    assert_eq!(node.worker().standing(Kind::Function, &named("first")).unwrap().running, 3);
}

#[tokio::test]
async fn replicas_0_turns_a_node_off_and_on_again() {
    let node = Node::start().await;
    let off = CHAIN.replacen("replicas: 1", "replicas: 0", 1);
    let stands = |node: &Node| {
        let standing = node.worker().standing(Kind::Function, &named("first")).unwrap();
        (standing.wanted, standing.running)
    };
    let status = node.apply(&off).await.unwrap();
    assert_eq!((status.state, stands(&node)), (State::Applied, (0, 0)), "{status:?}");
    let state = |status: &Status| status.nodes.iter().find(|node| node.name.ends_with("first")).unwrap().state.clone();
    assert_eq!(state(&status), "stopped", "no event wakes it");
    assert_eq!((node.apply(&off).await.unwrap().version, stands(&node)), (1, (0, 0)));
    assert_eq!(shown(&node.apply(CHAIN).await.unwrap()), "scale first");
    assert_eq!(stands(&node), (1, 1));
    let status = node.apply(&off).await.unwrap();
    assert_eq!((shown(&status).as_str(), stands(&node)), ("scale first", (0, 0)));
    let node = node.killed().await;
    assert_eq!(stands(&node), (0, 0));
}

#[tokio::test]
async fn what_is_no_longer_in_the_manifest_goes() {
    let node = Node::start().await;
    node.apply(CHAIN).await.unwrap();
    let one = CHAIN.split("    - name: second").next().unwrap();
    let status = node.apply(one).await.unwrap();
    assert_eq!((shown(&status).as_str(), status.state), ("delete second", State::Applied));
    assert_eq!((node.stamp("second"), status.nodes.len()), (None, 1));
    // Its place is kept, since nothing is said of cleanupSubscription, which Function Mesh takes for no.
    assert_eq!(node.log.subscriptions("persistent://public/default/b").len(), 1);
}

#[tokio::test]
async fn all_that_is_wrong_is_said_with_its_place_and_nothing_is_done() {
    let node = Node::start().await;
    let bad = CHAIN.replace("replicas: 1\n    - name: second", "replicaz: 1\n    - name: second");
    let text = refusal(node.apply(&bad).await);
    assert!(text.starts_with("app.yaml:13:7: error: ") && text.contains("replicaz"), "{text}");
    let without_code = Request { code: BTreeMap::new(), ..node.request(CHAIN).await };
    let text = refusal(node.apply_request(without_code).await);
    assert!(text.contains("app.yaml:") && text.contains("code.py is a file of the client's"), "{text}");
    assert!(node.meshes.list().is_empty() && node.stamp("first").is_none());
}

#[tokio::test]
async fn a_mesh_and_what_it_was_come_back_after_a_restart() {
    let node = Node::start().await;
    node.apply(CHAIN).await.unwrap();
    let node = node.killed().await;
    let status = node.meshes.status(&app()).await.unwrap();
    assert_eq!((status.state, status.version, status.nodes.len()), (State::Applied, 1, 2));
    assert_eq!(node.apply(CHAIN).await.unwrap().version, 1);
}

#[tokio::test]
async fn an_apply_that_was_cut_short_is_gone_on_with() {
    let node = Node::start().await;
    node.meshes.apply(&app(), node.request(CHAIN).await).await.unwrap();
    // As early as can be: nothing, or one of the two, is done.
    let node = node.killed().await;
    let status = node.rests().await;
    assert_eq!((status.state, shown(&status).as_str()), (State::Applied, "create second, create first"), "{status:?}");
    assert!(node.stamp("first").is_some() && node.stamp("second").is_some());
    assert_eq!(node.apply(CHAIN).await.unwrap().version, 1);
    node.meshes.delete(&app()).await.unwrap();
    let node = node.killed().await;
    while node.meshes.wait(&app(), PATIENCE).await.is_ok_and(|status| status.is_some()) {}
    assert!(node.meshes.list().is_empty() && node.stamp("first").is_none() && node.stamp("second").is_none());
}

#[tokio::test]
async fn what_fails_half_way_says_so_and_goes_on_when_it_is_mended() {
    let node = Node::start().await;
    // Nothing here runs Java.
    let bad = CHAIN.replacen("python: {py: code.py}", "java: {jar: code.py}", 1);
    let status = node.apply(&bad).await.unwrap();
    assert_eq!(status.state, State::Failed);
    assert!(
        status.error.contains("create function public/default/first: this node cannot run JAVA"),
        "{}",
        status.error
    );
    let progress: Vec<_> = status.steps.iter().map(|step| step.progress).collect();
    assert_eq!(progress, [Progress::Starting, Progress::Failed]);
    assert_eq!(status.nodes[0].state, "not made");
    let status = node.apply(CHAIN).await.unwrap();
    assert_eq!((status.state, shown(&status).as_str()), (State::Applied, "create first"));
}

#[tokio::test]
async fn what_fails_half_way_is_undone_when_that_is_wanted() {
    let node = Node::start().await;
    let bad = CHAIN.replacen("python: {py: code.py}", "java: {jar: code.py}", 1);
    let rolls_back = |request: Request| Request { rollback: true, ..request };
    let status = node.apply_request(rolls_back(node.request(&bad).await)).await.unwrap();
    assert_eq!((status.state, status.nodes.len()), (State::RolledBack, 0), "{status:?}");
    assert!(node.stamp("second").is_none());

    node.apply(CHAIN).await.unwrap();
    let before = node.stamp("first");
    let bad = bad.replace("name: second\n", "name: second\n      funcConfig: {a: 1}\n");
    let status = node.apply_request(rolls_back(node.request(&bad).await)).await.unwrap();
    assert_eq!(status.state, State::RolledBack);
    assert_eq!(status.undone.iter().map(|step| step.action).collect::<Vec<_>>(), [Action::Update], "{status:?}");
    assert_eq!(node.stamp("first"), before);
    let config = node.worker().get(Kind::Function, &named("second")).unwrap().to_json();
    assert!(config["userConfig"].get("a").is_none(), "{config}");
    // It is again what was applied before.
    let again = node.apply(CHAIN).await.unwrap();
    assert_eq!(shown(&again), "", "{again:?}");
}

#[tokio::test]
async fn what_waits_on_an_input_that_is_given_up_is_there_when_all_is_undone() {
    let node = Node::start().await;
    let chain = CHAIN.replace("name: second\n", "name: second\n      cleanupSubscription: true\n");
    node.apply(&chain).await.unwrap();
    let subscribed = |topic: &str| !node.log.subscriptions(&format!("persistent://public/default/{topic}")).is_empty();
    let moved = chain.replace("topics: [b]", "topics: [d]");
    let never_up =
        moved.replacen("python: {py: code.py}", "genericRuntime: {functionFile: code.py, language: wasm}", 1);
    let request = node.request(&never_up).await;
    let request = Request { rollback: true, timeout_ms: Some(8000), ..request };
    node.meshes.apply(&app(), request).await.unwrap();
    let is_waiting = async {
        while !node.meshes.mesh(&app()).unwrap().task.lock().as_ref().is_some_and(|task| task.only_waits) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, is_waiting).await.unwrap();
    assert_eq!((subscribed("b"), subscribed("d")), (true, true));
    let status = node.rests().await;
    assert_eq!(status.state, State::RolledBack, "{status:?}");
    assert_eq!((subscribed("b"), subscribed("d")), (true, false));
    // Where nothing is to be undone any more, it is given up.
    let request = Request { rollback: true, ..node.request(&moved).await };
    assert_eq!(node.apply_request(request).await.unwrap().state, State::Applied);
    assert_eq!((subscribed("b"), subscribed("d")), (false, true));
}

#[tokio::test]
async fn an_input_that_is_given_up_is_left_wherever_the_process_died() {
    let chain = CHAIN.replace("name: second\n", "name: second\n      cleanupSubscription: true\n");
    let moved = chain.replace("topics: [b]", "topics: [d]");
    let mut ended = Vec::new();
    for writes in 0.. {
        let node = Node::start().await;
        node.meshes.apply(&app(), node.request(&chain).await).await.unwrap();
        node.meshes.wait(&app(), PATIENCE).await.unwrap();
        let request = Request { rollback: true, ..node.request(&moved).await };
        node.tables.take_only(Some(writes));
        let is_taken = node.meshes.apply(&app(), request).await.is_ok();
        let status = node.meshes.wait(&app(), PATIENCE).await.unwrap().unwrap();
        let is_whole = is_taken && status.state == State::Applied;
        node.tables.take_only(None);
        let node = node.killed().await;
        let status = node.meshes.wait(&app(), PATIENCE).await.unwrap().unwrap();
        assert_eq!(status.state, State::Applied, "after {writes} writes: {status:?}");
        // Either all of it was asked for, or nothing.
        let is_moved = status.version == 2;
        let is_read = |topic: &str| !node.log.subscriptions(&format!("persistent://public/default/{topic}")).is_empty();
        assert_eq!((is_read("b"), is_read("d")), (!is_moved, is_moved), "after {writes} writes: {status:?}");
        ended.push(is_moved);
        if is_whole {
            break;
        }
    }
    assert!(!ended[0] && ended.len() > 4, "{ended:?}");
}

#[tokio::test]
async fn nothing_is_undone_where_there_is_nothing_whole_to_go_back_to() {
    let node = Node::start().await;
    let bad = CHAIN.replacen("python: {py: code.py}", "java: {jar: code.py}", 1);
    assert_eq!(node.apply(&bad).await.unwrap().state, State::Failed);
    let made = node.stamp("second").or(node.stamp("first")).expect("one of the two was made");
    let rolls_back = Request { rollback: true, ..node.request(&bad.replace("code.F", "code.G")).await };
    assert!(refusal(node.apply_request(rolls_back).await).contains("was never whole"));
    assert_eq!(node.stamp("second").or(node.stamp("first")), Some(made), "what runs of it stays");
}

/// With a second function that never comes up.
fn slow() -> String {
    let wasm = "genericRuntime: {functionFile: code.py, language: wasm}";
    let at = CHAIN.rfind("python: {py: code.py}").unwrap();
    format!("{}{wasm}{}", &CHAIN[..at], &CHAIN[at + "python: {py: code.py}".len()..])
}

#[tokio::test]
async fn a_rollback_that_waits_for_instances_gives_way() {
    let node = Node::start().await;
    node.meshes.apply(&app(), node.request(&slow()).await).await.unwrap();
    let waits = |node: &Node| {
        let mesh = node.meshes.mesh(&app()).unwrap();
        async move {
            while !mesh.task.lock().as_ref().is_some_and(|task| task.only_waits) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    tokio::time::timeout(PATIENCE, waits(&node)).await.unwrap();
    // As if the same had been what there is to go back to, with all the time there is.
    let progress = node.meshes.mesh(&app()).unwrap().stored.lock().progress.clone();
    let undone = progress.steps.clone();
    let back = row::Progress { state: State::RollingBack, undone, timeout_ms: u64::MAX, ..progress };
    node.meshes.close().await;
    node.tables.write(vec![row::progress(&app(), Some(&back)).unwrap()]).await.unwrap();
    let node = node.killed().await;
    tokio::time::timeout(PATIENCE, waits(&node)).await.unwrap();
    assert_eq!(node.meshes.progress(&app()).unwrap().state, State::RollingBack);
    node.meshes.delete(&app()).await.unwrap();
    assert!(node.meshes.wait(&app(), PATIENCE).await.is_ok_and(|status| status.is_none()));
    assert!(node.stamp("first").is_none() && node.stamp("second").is_none());
}

#[tokio::test]
async fn what_is_cut_short_for_a_request_that_is_refused_goes_on() {
    let node = Node::start().await;
    node.meshes.apply(&app(), node.request(&slow()).await).await.unwrap();
    while !node.meshes.mesh(&app()).unwrap().task.lock().as_ref().is_some_and(|task| task.only_waits) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let rolls_back = Request { rollback: true, ..node.request(&slow().replace("code.F", "code.G")).await };
    assert!(refusal(node.meshes.apply(&app(), rolls_back).await).contains("was never whole"));
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mesh = node.meshes.mesh(&app()).unwrap();
    assert!(mesh.state().is_moving());
    assert!(mesh.task.lock().as_ref().is_some_and(|task| !task.abort.is_finished()), "somebody is at it");
}

#[tokio::test]
async fn nobody_may_wait_for_ever() {
    let node = Node::start().await;
    let request = Request { timeout_ms: Some(u64::MAX), ..node.request(CHAIN).await };
    assert!(refusal(node.meshes.apply(&app(), request).await).contains("which is a day"));
    assert!(node.meshes.list().is_empty());
}

#[test]
fn a_secret_that_cannot_be_told_from_what_is_around_it_is_refused() {
    let file = |text: &str| [admin_api::mesh::File { name: "app.yaml".to_owned(), text: text.to_owned() }];
    let secret = "kind: Secret\napiVersion: v1\nmetadata: {name: tls}\nstringData:\n";
    let pem = format!("{secret}  key: \"-----BEGIN KEY-----\nMIIE\n-----END KEY-----\"\n");
    let misspelt = format!("{}  key: hidden\n", secret.replace("Secret", "secret"));
    for text in [pem, misspelt] {
        match super::goal::without_secrets(&file(&text)) {
            Ok((kept, _)) => assert!(!kept[0].text.contains("MIIE") && !kept[0].text.contains("hidden"), "{kept:?}"),
            Err(error) => assert!(error.to_string().contains("a Secret cannot be told"), "{error}"),
        }
    }
}

#[tokio::test]
async fn a_function_belongs_to_one_mesh_and_to_none_unasked() {
    let node = Node::start().await;
    node.apply(CHAIN).await.unwrap();
    let other: Name = "other".parse().unwrap();
    let text = refusal(node.meshes.apply(&other, node.request(CHAIN).await).await);
    assert!(text.contains("function public/default/first belongs to mesh default/app"), "{text}");
    assert_eq!(node.meshes.list().len(), 1);

    let config = json!({"className": "code.F", "inputs": ["x"], "py": "code.py"}).to_string();
    let given = Given::Url(node.code("code").await);
    node.worker().create(Kind::Function, named("mine"), config, given).await.unwrap();
    let manifest = CHAIN.replace("name: first", "name: mine").replace("name: second", "name: else");
    let text = refusal(node.meshes.apply(&other, node.request(&manifest).await).await);
    assert!(text.contains("function public/default/mine that no mesh made"), "{text}");
    let adopts = Request { adopt: true, ..node.request(&manifest).await };
    node.meshes.apply(&other, adopts).await.unwrap();
    node.meshes.wait(&other, PATIENCE).await.unwrap();
    assert_eq!(node.meshes.owner(&named("mine")), Some(other));
}

#[tokio::test]
async fn what_somebody_changed_by_hand_is_made_right_again() {
    let node = Node::start().await;
    node.apply(CHAIN).await.unwrap();
    let options = model::function::UpdateOptions::default();
    let change = json!({"userConfig": {"by": "hand"}}).to_string();
    node.worker().update(Kind::Function, named("first"), change, Given::Nothing, options).await.unwrap();
    node.worker().delete(Kind::Function, named("second")).await.unwrap();
    let status = node.meshes.status(&app()).await.unwrap();
    let words: Vec<_> = status.nodes.iter().map(|node| node.state.as_str()).collect();
    assert_eq!(words, ["changed by hand", "missing"]);
    let status = node.apply(CHAIN).await.unwrap();
    assert_eq!((status.version, shown(&status).as_str()), (2, "create second, update first"));
    assert_eq!(status.nodes[0].state, "running");
}

#[tokio::test]
async fn a_version_can_be_asked_for() {
    let node = Node::start().await;
    let at = |version, request: Request| Request { version: Some(version), ..request };
    assert!(refusal(node.apply_request(at(1, node.request(CHAIN).await)).await).contains("at version 0, not 1"));
    node.apply_request(at(0, node.request(CHAIN).await)).await.unwrap();
    assert!(refusal(node.apply_request(at(0, node.request(CHAIN).await)).await).contains("at version 1, not 0"));
}

#[tokio::test]
async fn a_plan_changes_nothing() {
    let node = Node::start().await;
    let plan = node.meshes.plan(&app(), &node.request(CHAIN).await).await.unwrap();
    assert_eq!((plan.version, plan.steps.len(), plan.unchanged.len()), (0, 2, 0));
    assert!(node.meshes.list().is_empty() && node.stamp("first").is_none());
    node.apply(CHAIN).await.unwrap();
    let plan = node.meshes.plan(&app(), &node.request(CHAIN).await).await.unwrap();
    assert_eq!((plan.version, plan.steps.len(), plan.unchanged.len()), (1, 0, 2));
}

const SECRET: &str = "---
apiVersion: v1
kind: Secret
metadata: {name: db}
stringData:
  password: hunter2
---
";

#[tokio::test]
async fn values_of_secrets_reach_the_function_and_nobody_else() {
    let node = Node::start().await;
    let uses = CHAIN.replacen("replicas: 1", "replicas: 1\n      secretsMap: {KEY: {path: db, key: password}}", 1);
    let manifest = format!("{SECRET}{uses}");
    let status = node.apply(&manifest).await.unwrap();
    assert_eq!(status.state, State::Applied, "{status:?}");
    let secret =
        |node: &Node| format!("{:?}", node.worker().apart(&named("first")).secrets.get("KEY").map(|s| s.0.clone()));
    assert_eq!(secret(&node), "Some(\"hunter2\")");
    let kept = node.meshes.manifest(&app()).unwrap();
    let text = &kept.files[0].text;
    assert!(!serde_json::to_string(&kept).unwrap().contains("hunter2"), "{text}");
    // Lines are where they were.
    assert_eq!(
        text.lines().position(|line| line.contains("name: first")),
        manifest.lines().position(|l| l.contains("name: first"))
    );
    assert_eq!(node.apply(&manifest).await.unwrap().version, 1);

    let node = node.killed().await;
    assert_eq!(secret(&node), "Some(\"hunter2\")");
    let status = node.apply(&manifest.replace("hunter2", "swordfish")).await.unwrap();
    assert_eq!((shown(&status).as_str(), fields(&status)), ("update first", vec!["secrets"]));
    assert_eq!(secret(&node), "Some(\"swordfish\")");
    // A manifest that was taken from here, and sent again, keeps what was kept apart.
    let kept = node.meshes.manifest(&app()).unwrap();
    let status = node.apply(&kept.files[0].text).await.unwrap();
    assert_eq!((status.state, secret(&node).as_str()), (State::Applied, "Some(\"swordfish\")"), "{status:?}");

    node.meshes.delete(&app()).await.unwrap();
    node.meshes.wait(&app(), PATIENCE).await.ok();
    let left = node.tables.tables();
    assert!(!left.iter().any(|table| table.starts_with("mesh") || table.contains("secrets")), "{left:?}");
}

#[tokio::test]
async fn values_of_secrets_in_a_list_are_kept_apart_too() {
    let node = Node::start().await;
    let uses = CHAIN.replacen("replicas: 1", "replicas: 1\n      secretsMap: {KEY: {path: db, key: password}}", 1);
    let item = |text: &str| format!("- {}\n", text.trim_matches(['-', '\n']).replace('\n', "\n  "));
    let secret = "apiVersion: v1\ndata:\n  password: aHVudGVyMg==\nkind: Secret\nmetadata:\n  annotations:\n    last: |\n      {aHVudGVyMg==}\n\n  name: db\n";
    let list = format!("apiVersion: v1\nitems:\n{}{}kind: List\n", item(secret), item(&uses));
    let status = node.apply(&list).await.unwrap();
    assert_eq!(status.state, State::Applied, "{status:?}");
    let value = |node: &Node| node.worker().apart(&named("first")).secrets.get("KEY").map(|secret| secret.0.clone());
    assert_eq!(value(&node).as_deref(), Some("hunter2"));
    let text = node.meshes.manifest(&app()).unwrap().files[0].text.clone();
    assert!(!text.contains("aHVudGVyMg"), "{text}");
    let line = |text: &str| text.lines().position(|line| line.contains("name: first"));
    assert_eq!(line(&text), line(&list), "lines are where they were");
    let status = node.apply(&text).await.unwrap();
    assert_eq!((status.state, value(&node).as_deref()), (State::Applied, Some("hunter2")), "{status:?}");
    let in_one_line = r#"{"kind": "List", "items": [{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}}, {"kind": "Pod"}]}"#;
    assert!(refusal(node.apply(in_one_line).await).contains("begins in a line of its own"));
}

#[tokio::test]
async fn code_that_was_sent_for_a_mesh_goes_with_it() {
    let node = Node::start().await;
    node.apply(CHAIN).await.unwrap();
    let listed = || node.worker().packages().list("function", "public", "default").unwrap().len();
    assert_eq!(listed(), 1);
    let two =
        Request { code: BTreeMap::from([("code.py".to_owned(), node.code("two").await)]), ..node.request(CHAIN).await };
    let status = node.apply_request(two).await.unwrap();
    assert_eq!(shown(&status), "update second, update first");
    node.meshes.delete(&app()).await.unwrap();
    node.meshes.wait(&app(), PATIENCE).await.ok();
    assert_eq!(listed(), 0);
}
