//! A worker over a broker in memory: what it keeps, what it starts, what it refuses.

use async_trait::async_trait;
use bytes::Bytes;
use model::function::UpdateOptions;
use parking_lot::Mutex;
use seams::{SystemClock, Tasks};
use serde_json::json;
use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use super::{
    Apart, Config, Declaration, Done, EnvironmentSecrets, Given, Name, Parts, Runtimes, Settings, Worker, running,
    secret_values,
};
use crate::{
    Error, FunctionSpec, Kind, Language, Record, Result, Tables,
    event_log::{RowChange, TableChange},
    instance::{Line, Meter, Status},
    packages::{self, Packages, Stored},
    runtime::InstanceSpec,
    testing::{Echo, MemoryLog, MemoryTables, Refuses, Toil},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// A worker and what it stands on, which survives it.
struct Node {
    worker: Worker,
    log: MemoryLog,
    tables: Arc<MemoryTables>,
    dir: Arc<tempfile::TempDir>,
}

pub(super) fn settings(dir: &tempfile::TempDir) -> Settings {
    Settings {
        dir: dir.path().to_owned(),
        max_package_bytes: 1000,
        cluster: "standalone".to_owned(),
        worker_id: "w".to_owned(),
        hostname: "localhost".to_owned(),
        port: 8080,
        service_url: "pulsar://localhost:6650".to_owned(),
        admin_url: "http://localhost:8080".to_owned(),
    }
}

fn parts(tables: &Arc<MemoryTables>, log: &MemoryLog) -> Parts {
    Parts {
        log: Arc::new(log.clone()),
        tables: tables.clone(),
        runtimes: Runtimes::default()
            .with(Language::Python, Arc::new(Echo))
            .with(Language::Go, Arc::new(Refuses))
            // Nobody sees it start.
            .with(Language::Wasm, Arc::new(never_up())),
        connectors: Vec::new(),
        secrets: Arc::new(EnvironmentSecrets),
        clock: Arc::new(SystemClock::new()),
    }
}

fn never_up() -> Toil {
    let mut toil = Toil::default();
    toil.starts_in = Duration::from_secs(3600);
    toil
}

/// A worker for other tests, whose Python functions `python` runs.
pub(crate) async fn open(
    dir: &tempfile::TempDir,
    tables: &Arc<MemoryTables>,
    log: &MemoryLog,
    python: Arc<dyn crate::Runtime>,
) -> Worker {
    let parts = parts(tables, log);
    let runtimes = parts.runtimes.clone().with(Language::Python, python);
    Worker::open(settings(dir), Parts { runtimes, ..parts }).await.unwrap()
}

impl Node {
    async fn start() -> Self {
        let tables: Arc<MemoryTables> = Arc::default();
        let log = MemoryLog::new(tables.clone());
        Self::again(tables, log, Arc::new(tempfile::tempdir().unwrap())).await
    }

    async fn again(tables: Arc<MemoryTables>, log: MemoryLog, dir: Arc<tempfile::TempDir>) -> Self {
        let worker = Worker::open(settings(&dir), parts(&tables, &log)).await.unwrap();
        Self { worker, log, tables, dir }
    }

    /// The process ends and starts again.
    async fn restart(self) -> Self {
        self.worker.close().await;
        Self::again(self.tables, self.log, self.dir).await
    }

    /// As if a window of the function had something in it, of an instance that is no longer.
    async fn element_of(&self, name: &str) {
        let change = RowChange::Put(Bytes::from_static(b"an element"));
        let table = format!("window/public/default/{name}").into();
        let key = Bytes::copy_from_slice(&[&9u32.to_be_bytes()[..], &1u64.to_be_bytes()].concat());
        self.tables.write(vec![TableChange { table, key, change }]).await.unwrap();
    }

    /// As if the process had died while it deleted `f`.
    async fn is_going(&self) {
        let key = b"function/public/default/f";
        let row = self.tables.get("functions", key).await.unwrap().unwrap();
        let mut value: serde_json::Value = serde_json::from_slice(&row.value).unwrap();
        value["is_going"] = json!(true);
        let change = RowChange::Put(value.to_string().into());
        let change = TableChange { table: "functions".into(), key: Bytes::from_static(key), change };
        self.tables.write(vec![change]).await.unwrap();
    }

    async fn package(&self, bytes: &[u8]) -> Stored {
        let mut upload = self.worker.packages().receive("code.py").await.unwrap();
        upload.write(bytes).await.unwrap();
        upload.finish().await.unwrap()
    }

    async fn create(&self, name: &str, config: serde_json::Value) -> Result<()> {
        let code = Given::Uploaded(self.package(b"code").await);
        self.worker.create(Kind::Function, named(name), config.to_string(), code).await
    }

    async fn update(&self, name: &str, config: serde_json::Value, code: Given) -> Result<()> {
        let options = UpdateOptions::default();
        self.worker.update(Kind::Function, named(name), config.to_string(), code, options).await
    }

    fn status(&self, name: &str) -> model::function::FunctionStatus {
        self.worker.function_status(&named(name)).unwrap()
    }

    async fn runs(&self, name: &str, instances: u32) {
        self.runs_of(name, instances, instances).await;
    }

    async fn runs_of(&self, name: &str, running: u32, instances: u32) {
        until(name, || {
            let status = self.status(name);
            status.num_running == running && status.num_instances == instances
        })
        .await;
    }
}

pub(super) fn named(name: &str) -> Name {
    Name::new("public", "default", name).unwrap()
}

pub(super) fn config() -> serde_json::Value {
    json!({"className": "code.F", "inputs": ["in"], "output": "out", "py": "code.py"})
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waits = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waits).await.unwrap_or_else(|_| panic!("{what} in time"));
}

pub(super) fn refusal<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => panic!("it was not refused"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_function_that_is_created_runs_and_is_listed() {
    let node = Node::start().await;
    node.create("f", config()).await.unwrap();
    node.runs("f", 1).await;
    assert_eq!(node.worker.list(Kind::Function, "public", "default"), ["f"]);
    assert!(node.worker.list(Kind::Source, "public", "default").is_empty());
    assert!(node.worker.list(Kind::Function, "public", "other").is_empty());
    let guarantee = node.status("f").guarantee.unwrap();
    assert_eq!(guarantee.split(':').next(), Some("exactly once"));
    let shown = node.worker.get(Kind::Function, &named("f")).unwrap().to_json();
    assert_eq!((&shown["name"], &shown["runtime"]), (&json!("f"), &json!("PYTHON")));

    node.log.publish("persistent://public/default/in", Record { payload: "hello".into(), ..Record::default() });
    until("an output", || !node.log.messages("persistent://public/default/out").is_empty()).await;
    until("a count", || node.status("f").instances[0].status.num_successfully_processed == 1).await;
}

#[tokio::test]
async fn one_name_belongs_to_one_function() {
    let node = Node::start().await;
    node.create("f", config()).await.unwrap();
    assert_eq!(refusal(node.create("f", config()).await), "Function f already exists");
    let wrong_kind = node.worker.get(Kind::Sink, &named("f")).map(|config| config.kind());
    assert_eq!(refusal(wrong_kind), "Sink f doesn't exist");
    assert_eq!(refusal(node.worker.function_status(&named("g"))), "Function g doesn't exist");
}

#[tokio::test]
async fn what_cannot_run_is_refused_with_the_reason_and_leaves_nothing() {
    let node = Node::start().await;
    let go = json!({"className": "Missing", "inputs": ["in"], "go": "code"});
    assert!(refusal(node.create("f", go).await).contains("there is no class"));
    let java = json!({"className": "a.B", "inputs": ["in"], "jar": "code.jar"});
    assert_eq!(refusal(node.create("f", java).await), "this node cannot run JAVA (it can run: WASM, PYTHON, GO)");
    let bad = json!({"className": "a.B", "inputs": ["in"], "py": "code.py", "parallelism": -1});
    assert!(refusal(node.create("f", bad).await).contains("arallelism"));
    let nothing = node.worker.create(Kind::Function, named("f"), config().to_string(), Given::Nothing).await;
    assert_eq!(refusal(nothing), "Function Package is not provided");
    assert!(node.worker.list(Kind::Function, "public", "default").is_empty());
    assert!(node.tables.tables().is_empty());
}

#[tokio::test]
async fn a_start_brings_every_function_back_as_it_was() {
    let node = Node::start().await;
    for name in ["a", "b", "c"] {
        node.create(name, config()).await.unwrap();
    }
    node.worker.set_running(Kind::Function, named("b"), None, false).await.unwrap();
    node.worker.scale(Kind::Function, named("c"), 3).await.unwrap();
    let node = node.restart().await;
    node.runs("a", 1).await;
    node.runs("c", 3).await;
    assert_eq!(node.status("b").num_running, 0);
    assert_eq!(node.status("b").num_instances, 1);
}

#[tokio::test]
async fn what_cannot_be_started_again_says_why() {
    let node = Node::start().await;
    node.create("f", config()).await.unwrap();
    let (path, name) = node.worker.code(Kind::Function, &named("f")).await.unwrap();
    assert_eq!(name, "code.py");
    node.worker.close().await;
    std::fs::remove_file(path).unwrap();
    let node = Node::again(node.tables, node.log, node.dir).await;
    let status = node.status("f");
    assert_eq!(status.num_running, 0);
    assert!(status.instances[0].status.error.as_ref().unwrap().contains("is gone"), "{status:?}");
    // And it can be mended.
    node.update("f", json!({}), Given::Uploaded(node.package(b"code 2").await)).await.unwrap();
    node.runs("f", 1).await;
}

#[tokio::test]
async fn an_update_needs_a_change() {
    let node = Node::start().await;
    node.create("f", config()).await.unwrap();
    for same in [json!({}), config()] {
        assert_eq!(refusal(node.update("f", same, Given::Nothing).await), "Update contains no change");
    }
    node.update("f", json!({"parallelism": 2}), Given::Nothing).await.unwrap();
    node.runs("f", 2).await;
    assert_eq!(refusal(node.update("g", config(), Given::Nothing).await), "Function g doesn't exist");
}

#[tokio::test]
async fn the_code_of_the_last_two_versions_is_kept() {
    let node = Node::start().await;
    node.create("f", config()).await.unwrap();
    let (first, _) = node.worker.code(Kind::Function, &named("f")).await.unwrap();
    let second = node.package(b"second").await;
    node.update("f", json!({}), Given::Uploaded(second)).await.unwrap();
    assert!(first.exists());
    let third = node.package(b"third").await;
    node.update("f", json!({}), Given::Uploaded(third)).await.unwrap();
    assert!(!first.exists());
}

#[tokio::test]
async fn stopped_instances_stay_stopped_and_the_others_run() {
    let node = Node::start().await;
    node.create("f", json!({"className": "c.F", "inputs": ["in"], "py": "c.py", "parallelism": 2})).await.unwrap();
    node.runs("f", 2).await;
    let set = |instance, runs| node.worker.set_running(Kind::Function, named("f"), instance, runs);
    assert_eq!(refusal(set(None, true).await), "Operation not permitted");
    assert_eq!(refusal(set(Some(2), false).await), "Function f doesn't have instance with id 2");
    set(Some(1), false).await.unwrap();
    until("one runs", || node.status("f").num_running == 1).await;
    assert!(node.status("f").instances[0].status.running);
    set(None, false).await.unwrap();
    until("none runs", || node.status("f").num_running == 0).await;
    set(None, true).await.unwrap();
    node.runs("f", 2).await;
}

#[tokio::test]
async fn a_function_can_be_scaled_to_nothing_and_back() {
    let node = Node::start().await;
    node.create("f", config()).await.unwrap();
    for instances in [0, 3, 1] {
        node.worker.scale(Kind::Function, named("f"), instances).await.unwrap();
        node.runs("f", instances).await;
    }
    let shown = node.worker.get(Kind::Function, &named("f")).unwrap();
    assert_eq!(shown.parallelism(), 1);
    let too_many = node.worker.scale(Kind::Function, named("f"), u32::MAX).await;
    assert_eq!(refusal(too_many), "a function may have 1000 instances");
}

#[tokio::test]
async fn a_deleted_function_leaves_nothing() {
    let node = Node::start().await;
    let topic = "persistent://public/default/in";
    node.create("f", config()).await.unwrap();
    node.runs("f", 1).await;
    until("it is subscribed", || !node.log.subscriptions(topic).is_empty()).await;
    node.worker.put_state(&named("f"), "k", Bytes::from_static(b"v")).await.unwrap();
    node.element_of("f").await;
    let (path, _) = node.worker.code(Kind::Function, &named("f")).await.unwrap();
    node.worker.delete(Kind::Function, named("f")).await.unwrap();
    assert!(node.log.subscriptions(topic).is_empty());
    assert!(node.tables.tables().is_empty(), "{:?}", node.tables.tables());
    assert!(!path.exists());
    assert_eq!(std::fs::read_dir(node.dir.path().join("instances")).unwrap().count(), 0);
    assert_eq!(refusal(node.worker.delete(Kind::Function, named("f")).await), "Function f doesn't exist");
    // A function of the same name starts from nothing.
    node.create("f", config()).await.unwrap();
    assert_eq!(refusal(node.worker.state(&named("f"), "k").await), "key 'k' doesn't exist.");
}

#[tokio::test]
async fn a_function_that_is_given_windows_begins_with_none() {
    let node = Node::start().await;
    node.create("f", config()).await.unwrap();
    node.element_of("f").await;
    node.update("f", json!({ "windowConfig": { "windowLengthCount": 2 } }), Given::Nothing).await.unwrap();
    assert!(!node.tables.tables().contains(&"window/public/default/f".to_owned()), "what it had long ago");
    node.element_of("f").await;
    node.update("f", json!({ "windowConfig": { "windowLengthCount": 3 } }), Given::Nothing).await.unwrap();
    assert!(node.tables.tables().contains(&"window/public/default/f".to_owned()), "what it has now");
}

#[tokio::test]
async fn a_function_whose_code_is_gone_can_be_deleted() {
    let node = Node::start().await;
    node.create("f", config()).await.unwrap();
    node.worker.put_state(&named("f"), "k", Bytes::from_static(b"v")).await.unwrap();
    let (path, _) = node.worker.code(Kind::Function, &named("f")).await.unwrap();
    node.worker.close().await;
    std::fs::remove_file(path).unwrap();
    let node = Node::again(node.tables, node.log, node.dir).await;
    node.worker.delete(Kind::Function, named("f")).await.unwrap();
    assert!(node.tables.tables().is_empty(), "{:?}", node.tables.tables());
}

#[tokio::test]
async fn a_subscription_that_is_not_to_be_cleaned_up_stays() {
    let node = Node::start().await;
    let topic = "persistent://public/default/in";
    let mut config = config();
    config["cleanupSubscription"] = json!(false);
    node.create("f", config).await.unwrap();
    until("it is subscribed", || !node.log.subscriptions(topic).is_empty()).await;
    node.worker.delete(Kind::Function, named("f")).await.unwrap();
    assert_eq!(node.log.subscriptions(topic).len(), 1);
}

#[tokio::test]
async fn a_deletion_that_was_cut_short_is_finished_by_the_next_start() {
    let node = Node::start().await;
    node.create("f", config()).await.unwrap();
    node.is_going().await;
    let node = node.restart().await;
    assert!(node.worker.list(Kind::Function, "public", "default").is_empty());
    assert!(node.tables.tables().is_empty());
}

#[tokio::test]
async fn a_trigger_returns_what_the_function_makes_of_it() {
    let node = Node::start().await;
    node.create("f", config()).await.unwrap();
    node.runs("f", 1).await;
    until("it is subscribed", || !node.log.subscriptions("persistent://public/default/in").is_empty()).await;
    let trigger = |topic, data| node.worker.trigger(&NAME, topic, Bytes::from_static(data));
    static NAME: std::sync::LazyLock<Name> = std::sync::LazyLock::new(|| named("f"));
    assert_eq!(trigger(None, b"one").await.unwrap().unwrap(), "one");
    assert_eq!(trigger(Some("in"), b"two").await.unwrap().unwrap(), "two");
    let unknown = trigger(Some("other"), b"three").await;
    assert_eq!(refusal(unknown), "Function in trigger function has unidentified topic");
    for topic in ["in", "out"] {
        let left = node.log.subscriptions(&format!("persistent://public/default/{topic}"));
        assert!(left.iter().all(|name| name == "public/default/f"), "{left:?}");
    }
}

#[tokio::test]
async fn state_is_written_and_read_from_outside() {
    let node = Node::start().await;
    node.create("f", config()).await.unwrap();
    node.worker.put_state(&named("f"), "k", Bytes::from_static(b"v")).await.unwrap();
    assert_eq!(node.worker.state(&named("f"), "k").await.unwrap().value, "v");
    assert_eq!(refusal(node.worker.state(&named("g"), "k").await), "'g' is not found");
    assert!(node.worker.put_state(&named("f"), "", Bytes::new()).await.is_err());
}

/// Instances that do as they are told.
#[derive(Default)]
struct Puppets {
    started: Mutex<Vec<(u32, u64)>>,
    up: Mutex<BTreeMap<(u32, u64), bool>>,
    tasks: Mutex<BTreeMap<u32, Tasks>>,
    refuses: Mutex<Option<String>>,
    /// Functions of such names are being prepared for ever; how many are.
    stuck: Mutex<&'static str>,
    preparing: Arc<AtomicUsize>,
    /// Versions of functions that skipped what came before.
    skipped: Mutex<Vec<u64>>,
}

struct Puppet {
    all: Arc<Puppets>,
    id: (u32, u64),
}

/// What a worker holds of them.
struct Strings(Arc<Puppets>);

#[async_trait]
impl running::Starter for Strings {
    async fn prepare(&self, function: &FunctionSpec) -> Result<(), String> {
        struct Preparing(Arc<AtomicUsize>);
        impl Drop for Preparing {
            fn drop(&mut self) {
                self.0.fetch_sub(1, SeqCst);
            }
        }
        let stuck = *self.0.stuck.lock();
        if !stuck.is_empty() && function.name.starts_with(stuck) {
            self.0.preparing.fetch_add(1, SeqCst);
            let _preparing = Preparing(self.0.preparing.clone());
            return std::future::pending().await;
        }
        let refuses = self.0.refuses.lock().clone();
        match refuses {
            Some(why) if why == "panic" => panic!("on purpose"),
            Some(why) => Err(why),
            None => Ok(()),
        }
    }

    async fn skip(&self, function: &FunctionSpec) -> Result<(), String> {
        self.0.skipped.lock().push(function.version);
        Ok(())
    }

    fn start(&self, instance: InstanceSpec, tasks: &Tasks) -> Result<Box<dyn running::Running>, String> {
        let id = (instance.instance_id, instance.function.version);
        self.0.started.lock().push(id);
        self.0.tasks.lock().insert(id.0, tasks.clone());
        Ok(Box::new(Puppet { all: self.0.clone(), id }))
    }
}

#[async_trait]
impl running::Running for Puppet {
    fn status(&self) -> Status {
        let mut status = Status::default();
        status.running = self.all.up.lock().get(&self.id).copied().unwrap_or(true);
        status
    }

    fn lines(&self, _from: u64) -> Vec<Line> {
        Vec::new()
    }

    fn meter(&self) -> Meter {
        Meter::default()
    }

    fn share(&self, _parallelism: u32) {}

    async fn stop(self: Box<Self>, _patience: Duration) {}
}

async fn puppets() -> (Node, Arc<Puppets>) {
    let tables: Arc<MemoryTables> = Arc::default();
    let (log, dir) = (MemoryLog::new(tables.clone()), Arc::new(tempfile::tempdir().unwrap()));
    let all = Arc::new(Puppets::default());
    let parts = parts(&tables, &log);
    let config = packages::Config { dir: dir.path().join("packages"), max_bytes: 1000 };
    let packages = Packages::open(config, tables.clone(), parts.clock.clone()).await.unwrap();
    let strings = Arc::new(Strings(all.clone()));
    let worker = Worker::open_with(settings(&dir), parts, packages, strings).await.unwrap();
    (Node { worker, log, tables, dir }, all)
}

/// The process ends and starts again.
async fn restart_with(node: Node, all: &Arc<Puppets>) -> Node {
    node.worker.close().await;
    let parts = parts(&node.tables, &node.log);
    let packages = node.worker.packages().clone();
    let worker = Worker::open_with(settings(&node.dir), parts, packages, Arc::new(Strings(all.clone()))).await.unwrap();
    Node { worker, ..node }
}

fn three() -> serde_json::Value {
    json!({"className": "c.F", "inputs": ["in"], "py": "c.py", "parallelism": 3})
}

#[tokio::test]
async fn an_update_rolls_from_one_instance_to_the_next_and_halts_at_one_that_does_not_come_up() {
    let (node, all) = puppets().await;
    node.create("f", three()).await.unwrap();
    node.runs("f", 3).await;
    all.up.lock().insert((0, 1), false);
    node.update("f", json!({"userConfig": {"a": 1}}), Given::Nothing).await.unwrap();
    until("the first is replaced", || all.started.lock().len() == 4).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(all.started.lock()[3..], [(0, 1)]);
    assert_eq!(node.status("f").num_running, 2);
    all.up.lock().insert((0, 1), true);
    until("the others follow", || all.started.lock().len() == 6).await;
    assert_eq!(all.started.lock()[4..], [(1, 1), (2, 1)]);
}

#[tokio::test]
async fn a_bad_update_is_mended_by_the_next() {
    let (node, all) = puppets().await;
    node.create("f", three()).await.unwrap();
    node.runs("f", 3).await;
    all.up.lock().insert((0, 1), false);
    node.update("f", json!({"userConfig": {"a": 1}}), Given::Nothing).await.unwrap();
    until("the first is replaced", || all.started.lock().len() == 4).await;
    node.update("f", json!({"userConfig": {"a": 2}}), Given::Nothing).await.unwrap();
    until("all are replaced", || all.started.lock().len() == 7).await;
    assert_eq!(all.started.lock()[4..], [(0, 2), (1, 2), (2, 2)]);
}

#[tokio::test]
async fn a_restart_touches_the_instance_it_names() {
    let (node, all) = puppets().await;
    node.create("f", three()).await.unwrap();
    node.runs("f", 3).await;
    node.worker.restart(Kind::Function, named("f"), Some(1)).await.unwrap();
    until("it is replaced", || all.started.lock().len() == 4).await;
    assert_eq!(all.started.lock()[3], (1, 0));
    node.worker.restart(Kind::Function, named("f"), None).await.unwrap();
    until("all are replaced", || all.started.lock().len() == 7).await;
    assert_eq!(
        refusal(node.worker.restart(Kind::Function, named("f"), Some(3)).await),
        "Function f doesn't have instance with id 3"
    );
}

#[tokio::test]
async fn a_panic_stays_within_its_instance() {
    let (node, all) = puppets().await;
    node.create("f", three()).await.unwrap();
    node.create("g", config()).await.unwrap();
    node.runs("f", 3).await;
    node.runs("g", 1).await;
    let started = all.started.lock().len();
    let tasks = all.tasks.lock().get(&2).cloned().unwrap();
    tasks.spawn("fails", async { panic!("on purpose") });
    until("it is seen", || node.status("f").num_running == 2).await;
    let failed = node.status("f").instances[2].status.clone();
    assert!(failed.error.unwrap().contains("defect"));
    assert_eq!(node.status("g").num_running, 1);
    node.runs("f", 3).await;
    assert_eq!(all.started.lock()[started..], [(2, 0)]);
    assert_eq!(node.status("f").instances[2].status.num_restarts, 1);
}

#[tokio::test]
async fn a_start_that_fails_says_why_and_is_tried_again() {
    let (node, all) = puppets().await;
    *all.refuses.lock() = Some("panic".to_owned());
    assert!(refusal(node.create("f", config()).await).contains("preparing the code failed"));
    *all.refuses.lock() = None;
    node.create("f", config()).await.unwrap();
    node.runs("f", 1).await;
    *all.refuses.lock() = Some("the interpreter is gone".to_owned());
    // What runs goes on, since the new one cannot be had.
    let refused = node.update("f", json!({"userConfig": {"a": 1}}), Given::Nothing).await;
    assert_eq!(refusal(refused), "the interpreter is gone");
    node.runs("f", 1).await;
    // And at a start of the process it is tried until it works.
    let node = restart_with(node, &all).await;
    let says = || node.status("f").instances[0].status.error.clone().unwrap_or_default();
    until("it says why", || says() == "the interpreter is gone").await;
    *all.refuses.lock() = None;
    node.runs("f", 1).await;
    assert_eq!(says(), "");
}

#[tokio::test]
async fn code_that_takes_long_to_prepare_holds_up_no_other_and_is_given_up_with_its_function() {
    let (node, all) = puppets().await;
    let slow: Vec<String> = (0..6).map(|n| format!("a-slow-{n}")).collect();
    for name in slow.iter().map(String::as_str).chain(["quick"]) {
        node.create(name, config()).await.unwrap();
    }
    *all.stuck.lock() = "a-slow";
    let node = restart_with(node, &all).await;
    node.runs("quick", 1).await;
    until("the others wait for themselves alone", || all.preparing.load(SeqCst) == slow.len()).await;
    for name in &slow {
        node.worker.delete(Kind::Function, named(name)).await.unwrap();
    }
    until("they are given up", || all.preparing.load(SeqCst) == 0).await;
    assert_eq!(node.worker.list(Kind::Function, "public", "default"), ["quick"]);
}

#[tokio::test]
async fn skipping_is_for_what_came_while_nothing_was_meant_to_run() {
    let (node, all) = puppets().await;
    let mut config = three();
    config["skipToLatest"] = json!(true);
    node.create("f", config).await.unwrap();
    node.runs("f", 3).await;
    let skipped = |times: usize| all.skipped.lock().len() == times;
    assert!(skipped(0), "its subscription was made so that it begins there");
    let at = |runs| node.worker.set_running(Kind::Function, named("f"), None, runs);
    at(false).await.unwrap();
    node.runs_of("f", 0, 3).await;
    at(true).await.unwrap();
    node.runs("f", 3).await;
    assert!(skipped(1));
    // While others run, one that starts anew leaves them what there is.
    node.worker.restart(Kind::Function, named("f"), Some(1)).await.unwrap();
    until("it is replaced", || all.started.lock().len() == 7).await;
    assert!(skipped(1));
    // What scaled to none is woken by what came.
    node.worker.scale(Kind::Function, named("f"), 0).await.unwrap();
    node.runs("f", 0).await;
    node.worker.scale(Kind::Function, named("f"), 1).await.unwrap();
    node.runs("f", 1).await;
    assert!(skipped(1));
    let node = restart_with(node, &all).await;
    node.runs("f", 1).await;
    assert!(skipped(2));
    // The only one is replaced.
    node.update("f", json!({"userConfig": {"a": 1}}), Given::Nothing).await.unwrap();
    until("it is replaced", || all.skipped.lock()[..] == [0, 0, 1]).await;
}

#[tokio::test]
async fn who_deletes_does_not_wait_for_what_is_being_deployed() {
    let (node, all) = puppets().await;
    node.create("slow-old", config()).await.unwrap();
    *all.stuck.lock() = "slow";
    let node = Arc::new(node);
    let (creates, updates) = (node.clone(), node.clone());
    let creates = tokio::spawn(async move { creates.create("slow-new", config()).await });
    let updates =
        tokio::spawn(async move { updates.update("slow-old", json!({"parallelism": 2}), Given::Nothing).await });
    until("both are prepared", || all.preparing.load(SeqCst) == 2).await;
    let deleted = node.worker.delete(Kind::Function, named("slow-new")).await;
    assert_eq!(refusal(deleted), "Function slow-new doesn't exist");
    node.worker.delete(Kind::Function, named("slow-old")).await.unwrap();
    let given_up = |name: &str| format!("public/default/{name} was deleted while it was being prepared");
    assert_eq!(refusal(creates.await.unwrap()), given_up("slow-new"));
    assert_eq!(refusal(updates.await.unwrap()), given_up("slow-old"));
    until("they are given up", || all.preparing.load(SeqCst) == 0).await;
    assert!(node.worker.list(Kind::Function, "public", "default").is_empty());
}

#[tokio::test]
async fn who_deletes_does_not_wait_for_a_package_that_does_not_come() {
    let node = Arc::new(Node::start().await);
    node.create("f", config()).await.unwrap();
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/code.py", server.local_addr().unwrap());
    let updates = node.clone();
    let updates = tokio::spawn(async move { updates.update("f", json!({}), Given::Url(url)).await });
    // It takes the request, and never answers.
    let (_taken, _) = tokio::time::timeout(PATIENCE, server.accept()).await.unwrap().unwrap();
    let deleted = node.worker.delete(Kind::Function, named("f"));
    tokio::time::timeout(PATIENCE, deleted).await.expect("it does not wait").unwrap();
    let given_up = "public/default/f was deleted while it was being prepared";
    assert_eq!(refusal(updates.await.unwrap()), given_up);
    assert_eq!(std::fs::read_dir(node.dir.path().join("packages/incoming")).unwrap().count(), 0);
}

#[tokio::test]
async fn the_code_of_a_function_that_is_refused_goes() {
    let node = Node::start().await;
    node.create("f", config()).await.unwrap();
    let blobs = || std::fs::read_dir(node.dir.path().join("packages/blobs")).unwrap().count();
    let before = blobs();
    let code = Given::Uploaded(node.package(b"other code").await);
    let refused = node.worker.create(Kind::Function, named("f"), config().to_string(), code).await;
    assert_eq!(refusal(refused), "Function f already exists");
    assert_eq!(blobs(), before);
    let code = Given::Uploaded(node.package(b"other code").await);
    let refused = node.update("f", json!({"parallelism": 5000}), code).await;
    assert_eq!(refusal(refused), "a function may have 1000 instances");
    assert_eq!(blobs(), before);
}

#[tokio::test]
async fn changes_of_one_name_take_turns() {
    let node = Node::start().await;
    let created = futures::future::join_all((0..8).map(|_| node.create("f", config()))).await;
    assert_eq!(created.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(created.iter().all(|result| matches!(result, Ok(()) | Err(Error::Exists(_)))));
}

impl Node {
    async fn declare(
        &self,
        name: &str,
        config: serde_json::Value,
        code: &[u8],
        secrets: &[(&str, &str)],
    ) -> Result<Done> {
        let given = Given::Uploaded(self.package(code).await);
        let secrets = secret_values(secrets.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let declaration = Declaration {
            scaling: None,
            replicas: None,
            kind: Kind::Function,
            name: named(name),
            config: config.to_string(),
            given,
            apart: Apart { secrets, ..Apart::default() },
            limits: None,
        };
        self.worker.declare(declaration).await.map(|(done, _)| done)
    }
}

#[tokio::test]
async fn what_is_declared_is_made_changed_where_it_differs_and_else_left_alone() {
    let (node, all) = puppets().await;
    let version = || node.worker.stamp(Kind::Function, &named("f")).unwrap().version;
    let with_user = json!({"className": "c.F", "inputs": ["in"], "py": "c.py", "userConfig": {"a": 1}});
    assert_eq!(node.declare("f", with_user.clone(), b"code", &[]).await.unwrap(), Done::Created);
    node.runs("f", 1).await;
    assert_eq!(node.declare("f", with_user.clone(), b"code", &[]).await.unwrap(), Done::Unchanged);
    assert_eq!((version(), all.started.lock().len()), (0, 1));
    let mut two = with_user.clone();
    two["parallelism"] = json!(2);
    assert_eq!(node.declare("f", two, b"code", &[]).await.unwrap(), Done::Scaled);
    until("one more starts", || all.started.lock()[..] == [(0, 0), (1, 0)]).await;
    assert_eq!(node.declare("f", with_user.clone(), b"code 2", &[]).await.unwrap(), Done::Changed);
    // What is no longer said is no longer so, which an update could not say.
    let without = json!({"className": "c.F", "inputs": ["in"], "py": "c.py"});
    assert_eq!(node.declare("f", without, b"code 2", &[]).await.unwrap(), Done::Changed);
    let shown = node.worker.get(Kind::Function, &named("f")).unwrap().to_json();
    assert!(shown["userConfig"].as_object().is_none_or(|config| config.is_empty()), "{shown}");
    until("instances follow", || all.started.lock().last() == Some(&(0, 2))).await;
}

#[tokio::test]
async fn a_declaration_may_change_what_an_update_may_not() {
    let node = Node::start().await;
    let reads = |topics: &[&str], ordered: bool| json!({"className": "c.F", "inputs": topics, "py": "c.py", "parallelism": 2, "retainOrdering": ordered});
    node.declare("f", reads(&["a", "b"], false), b"code", &[]).await.unwrap();
    node.runs("f", 2).await;
    let subscriptions = |topic: &str| node.log.subscriptions(&format!("persistent://public/default/{topic}")).len();
    assert_eq!((subscriptions("a"), subscriptions("b"), subscriptions("c")), (1, 1, 0));
    assert!(node.update("f", reads(&["b", "c"], true), Given::Nothing).await.is_err());
    assert_eq!(node.declare("f", reads(&["b", "c"], true), b"code", &[]).await.unwrap(), Done::Changed);
    node.runs("f", 2).await;
    assert_eq!((subscriptions("a"), subscriptions("b"), subscriptions("c")), (0, 1, 1));
}

#[tokio::test]
async fn secrets_that_come_with_a_function_are_its_own_and_survive_a_start() {
    let node = Node::start().await;
    let wants =
        json!({"className": "c.F", "inputs": ["in"], "py": "c.py", "secrets": {"KEY": {"path": "db", "key": "k"}}});
    assert!(refusal(node.declare("f", wants.clone(), b"code", &[]).await).contains("KEY"));
    node.declare("f", wants.clone(), b"code", &[("KEY", "hunter2")]).await.unwrap();
    assert_eq!(node.declare("f", wants.clone(), b"code", &[("KEY", "hunter2")]).await.unwrap(), Done::Unchanged);
    assert!(refusal(node.declare("g", wants.clone(), b"code", &[]).await).contains("KEY"));
    let shown = node.worker.get(Kind::Function, &named("f")).unwrap().to_json().to_string();
    assert!(shown.contains("KEY") && !shown.contains("hunter2"), "{shown}");
    let node = node.restart().await;
    node.runs("f", 1).await;
    assert_eq!(node.declare("f", wants.clone(), b"code", &[("KEY", "other")]).await.unwrap(), Done::Changed);
    node.worker.delete(Kind::Function, named("f")).await.unwrap();
    assert!(!node.tables.tables().contains(&"function-secrets".to_owned()));
}

/// Not a test: this must be possible, whatever a request's future is awaited in.
#[allow(dead_code)]
fn requests_can_move_between_threads(worker: &Worker) -> impl Future<Output = Result<()>> + Send {
    worker.create(Kind::Function, named("f"), String::new(), Given::Nothing)
}

#[test]
fn a_row_is_read_as_it_was_written() {
    let config = Config::new(Kind::Function, &named("f"), &config().to_string()).unwrap();
    let row = super::Row::new(&named("f"), config, super::CodeRef::Builtin("b".to_owned()), "id".to_owned(), 1);
    let text = serde_json::to_string(&row).unwrap();
    assert_eq!(serde_json::from_str::<super::Row>(&text).unwrap(), row, "{text}");
}

const OUTBOX: &str = "persistent://public/default/f-outbox";

fn elsewhere(cluster: &str) -> serde_json::Value {
    let mut config = config();
    config["customRuntimeOptions"] = json!({"outputCluster": cluster}).to_string().into();
    config
}

/// A node with a stand-in for the connector that forwards: it takes what there is.
async fn node_that_forwards() -> Node {
    let node = Node::start().await;
    node.worker.close().await;
    let parts = parts(&node.tables, &node.log);
    let runtimes = parts.runtimes.clone().with(Language::Builtin, Arc::new(Echo));
    let worker = Worker::open(settings(&node.dir), Parts { runtimes, ..parts }).await.unwrap();
    node.log.has_cluster("eu", "pulsar://eu:6650");
    Node { worker, ..node }
}

#[tokio::test]
async fn outputs_for_another_cluster_wait_in_an_outbox_and_are_forwarded_while_the_function_is_there() {
    let node = node_that_forwards().await;
    node.create("f", elsewhere("eu")).await.unwrap();
    node.runs("f", 1).await;
    assert!(node.status("f").guarantee.unwrap().contains("outbox in one commit"));
    let publish =
        || node.log.publish("persistent://public/default/in", Record { payload: "x".into(), ..Record::default() });
    let forwarded = || node.status("f").outbox.unwrap().forwarder.num_written_to_sink;
    publish();
    until("it is forwarded", || forwarded() == 1).await;
    assert!(node.log.messages("persistent://public/default/out").is_empty());
    // What was committed goes on its way, also when the function is stopped.
    node.worker.set_running(Kind::Function, named("f"), None, false).await.unwrap();
    node.runs_of("f", 0, 1).await;
    node.log.publish(OUTBOX, Record::default());
    until("it is forwarded", || forwarded() == 2).await;
    // Where the cluster is now is looked up when the function starts.
    node.log.has_cluster("eu", "pulsar://elsewhere:6650");
    node.worker.set_running(Kind::Function, named("f"), None, true).await.unwrap();
    node.runs("f", 1).await;
    until("the forwarder starts anew", || node.status("f").outbox.unwrap().forwarder.running && forwarded() == 0).await;
    publish();
    until("it is forwarded", || forwarded() == 1).await;
    let status = node.status("f").outbox.unwrap();
    assert_eq!(
        (&status.cluster[..], &status.output[..], &status.topic[..]),
        ("eu", "persistent://public/default/out", OUTBOX)
    );
    assert_eq!(node.log.subscriptions(OUTBOX), ["forwarder".to_owned()].into());
    node.worker.delete(Kind::Function, named("f")).await.unwrap();
    assert!(node.log.subscriptions(OUTBOX).is_empty(), "nothing is left in it");
}

#[tokio::test]
async fn a_start_does_not_wait_for_the_outbox_of_a_deletion_that_was_cut_short() {
    let node = node_that_forwards().await;
    node.create("f", elsewhere("eu")).await.unwrap();
    node.runs("f", 1).await;
    node.worker.close().await;
    node.is_going().await;
    node.log.publish(OUTBOX, Record::default());
    let again = |builtin: Arc<dyn crate::Runtime>| {
        let parts = parts(&node.tables, &node.log);
        let runtimes = parts.runtimes.clone().with(Language::Builtin, builtin);
        Worker::open(settings(&node.dir), Parts { runtimes, ..parts })
    };
    let soon = Duration::from_secs(8);
    // Nothing forwards: as while the broker answers nobody yet.
    let worker = tokio::time::timeout(soon, again(Arc::new(never_up()))).await.expect("it starts").unwrap();
    assert_eq!(worker.list(Kind::Function, "public", "default"), ["f"], "its name is taken");
    tokio::time::timeout(soon, worker.close()).await.expect("it closes");
    assert!(
        node.tables.get("functions", b"function/public/default/f").await.unwrap().is_some(),
        "the next start goes on"
    );
    assert_eq!(node.log.subscriptions(OUTBOX).len(), 1);

    let worker = again(Arc::new(Echo)).await.unwrap();
    until("it is deleted", || worker.list(Kind::Function, "public", "default").is_empty()).await;
    assert!(node.log.subscriptions(OUTBOX).is_empty(), "nothing is left in it");
    assert!(node.tables.tables().is_empty(), "{:?}", node.tables.tables());
}

#[tokio::test]
async fn an_outbox_that_cannot_be_subscribed_to_for_a_while_stops_no_function() {
    let node = node_that_forwards().await;
    node.log.refuses(Some(OUTBOX));
    assert!(refusal(node.create("f", elsewhere("eu")).await).contains("not now"), "its output would be lost");
    assert!(node.worker.list(Kind::Function, "public", "default").is_empty());
    node.log.refuses(None);
    node.create("f", elsewhere("eu")).await.unwrap();
    node.runs("f", 1).await;
    node.worker.close().await;
    node.log.refuses(Some(OUTBOX));
    let parts = parts(&node.tables, &node.log);
    let runtimes = parts.runtimes.clone().with(Language::Builtin, Arc::new(Echo));
    let worker = Worker::open(settings(&node.dir), Parts { runtimes, ..parts }).await.unwrap();
    let node = Node { worker, ..node };
    node.runs("f", 1).await;
    node.log.publish(OUTBOX, Record::default());
    node.log.refuses(None);
    until("it is forwarded", || node.status("f").outbox.unwrap().forwarder.num_written_to_sink == 1).await;
}

#[tokio::test]
async fn an_output_on_a_cluster_that_is_not_there_is_refused_and_one_that_is_stays_where_it_is() {
    let node = node_that_forwards().await;
    let unknown = refusal(node.create("f", elsewhere("us")).await);
    assert_eq!(unknown, "customRuntimeOptions: outputCluster: there is no cluster \"us\"");
    let own = refusal(node.create("f", elsewhere("standalone")).await);
    assert!(own.contains("standalone is this cluster"), "{own}");
    assert!(node.worker.list(Kind::Function, "public", "default").is_empty());

    node.create("f", elsewhere("eu")).await.unwrap();
    node.log.has_cluster("us", "pulsar://us:6650");
    for change in [elsewhere("us"), json!({"customRuntimeOptions": "{}"})] {
        let refused = refusal(node.update("f", change, Given::Nothing).await);
        assert!(refused.contains("it cannot be altered"), "{refused}");
    }
    node.update("f", json!({"parallelism": 2}), Given::Nothing).await.unwrap();
    node.runs("f", 2).await;
}
