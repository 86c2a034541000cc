//! Functions that scale, over a broker in memory and on virtual time: a second of theirs takes no time.

use autoscale::{Spec, vpa::Requirements};
use model::function::{Resources, UpdateOptions};
use serde_json::json;
use std::{future::Future, sync::Arc, time::Duration};
use tokio::time::sleep;

use super::Phase;
use crate::{
    Kind, Language, Record, Tables,
    testing::{MemoryLog, MemoryTables, Toil, TokioClock},
    worker::{
        Declaration, EnvironmentSecrets, Given, Parts, Runtimes, Worker,
        row::Row,
        tests::{named, refusal, settings},
    },
};

const IN: &str = "persistent://public/default/in";
const OUT: &str = "persistent://public/default/out";
const PATIENCE: Duration = Duration::from_secs(300);

/// A worker whose functions toil, and what it stands on.
struct Farm {
    worker: Worker,
    log: MemoryLog,
    tables: Arc<MemoryTables>,
    dir: Arc<tempfile::TempDir>,
    toil: Toil,
}

impl Farm {
    async fn open(toil: Toil) -> Self {
        let tables: Arc<MemoryTables> = Arc::default();
        let log = MemoryLog::new(tables.clone());
        Self::again(toil, tables, log, Arc::new(tempfile::tempdir().unwrap())).await
    }

    async fn again(toil: Toil, tables: Arc<MemoryTables>, log: MemoryLog, dir: Arc<tempfile::TempDir>) -> Self {
        let parts = Parts {
            log: Arc::new(log.clone()),
            tables: tables.clone(),
            runtimes: Runtimes::default().with(Language::Python, Arc::new(toil.clone())),
            connectors: Vec::new(),
            secrets: Arc::new(EnvironmentSecrets),
            clock: Arc::new(TokioClock::default()),
        };
        let worker = Worker::open(settings(&dir), parts).await.unwrap();
        Self { worker, log, tables, dir, toil }
    }

    /// The process ends and starts again.
    async fn restart(self) -> Self {
        self.worker.close().await;
        Self::again(self.toil, self.tables, self.log, self.dir).await
    }

    /// A configuration with what all have and with `more`, and its code.
    async fn given(&self, more: serde_json::Value) -> (String, Given) {
        let mut config = json!({"className": "code.F", "inputs": ["in"], "output": "out", "py": "code.py"});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut upload = self.worker.packages().receive("code.py").await.unwrap();
        upload.write(b"code").await.unwrap();
        (config.to_string(), Given::Uploaded(upload.finish().await.unwrap()))
    }

    async fn create(&self, name: &str, more: serde_json::Value) {
        let (config, code) = self.given(more).await;
        self.worker.create(Kind::Function, named(name), config, code).await.unwrap();
    }

    /// A function that does ten messages a second, and scales by these rules.
    async fn scaling(rules: &Spec) -> Self {
        let farm = Self::open(Toil::new(Duration::from_millis(100))).await;
        farm.create("f", json!({})).await;
        farm.rule("f", rules).await;
        farm
    }

    async fn rule(&self, name: &str, rules: &Spec) {
        self.worker.set_scaling(Kind::Function, named(name), Some(rules.clone())).await.unwrap();
    }

    fn publish(&self, count: usize) {
        for _ in 0..count {
            self.log.publish(IN, Record { payload: "x".into(), ..Record::default() });
        }
    }

    fn view(&self, name: &str) -> super::View {
        self.worker.scaling(Kind::Function, &named(name)).unwrap()
    }

    fn codes(&self, name: &str) -> Vec<String> {
        let events = self.worker.scaling_events(Kind::Function, &named(name)).unwrap();
        events.into_iter().map(|event| event.reason.code).collect()
    }

    fn outputs(&self) -> usize {
        self.log.messages(OUT).len()
    }

    async fn row_version(&self, name: &str) -> u64 {
        let key = format!("function/{}", named(name));
        self.tables.get("functions", key.as_bytes()).await.unwrap().unwrap().version
    }
}

/// From `min` to 4 instances; what is not needed for two seconds goes.
fn rules(min: u32) -> Spec {
    serde_json::from_value(json!({
        "minReplicas": min,
        "maxReplicas": 4,
        "policy": {"rate": {"targetAge": "1s", "catchUp": "2s", "coolDown": "2s", "idle": "2s"}},
    }))
    .unwrap()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waits = async {
        while !holds() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waits).await.unwrap_or_else(|_| panic!("{what} in time"));
}

/// On one thread with time that runs when everything waits.
fn virtually(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(test);
}

#[test]
fn load_brings_instances_and_its_end_takes_them_away_down_to_none_and_an_event_brings_one_back() {
    virtually(async {
        let farm = Farm::scaling(&rules(0)).await;
        farm.publish(400);
        until("it becomes more", || farm.toil.running() == 4).await;
        until("all is done", || farm.outputs() == 400).await;
        until("it sleeps", || farm.view("f").phase == Phase::Asleep && farm.toil.running() == 0).await;
        assert_eq!((farm.view("f").wanted, farm.view("f").running), (0, 0));
        farm.publish(1);
        until("it wakes", || farm.outputs() == 401).await;
        assert_eq!(farm.view("f").phase, Phase::Active);
        let events = farm.worker.scaling_events(Kind::Function, &named("f")).unwrap();
        assert!(events.iter().all(|event| event.to <= 4 && !event.reason.text.is_empty()), "{events:?}");
        let up = events.iter().find(|event| event.to == 4).unwrap();
        let seen = up.sample.as_ref().unwrap().inputs.clone().unwrap();
        assert!(up.by == "rate" && seen.backlog > 100, "{up:?}");
        let woken = events.iter().rfind(|event| event.by == "wake").unwrap();
        assert_eq!((woken.from, woken.to, woken.reason.code.as_str()), (0, 1, "Woken"));
        until("it sleeps again", || farm.view("f").phase == Phase::Asleep).await;
    });
}

#[test]
fn what_decides_nothing_writes_nothing_and_while_all_sleep_nobody_looks() {
    virtually(async {
        let farm = Farm::scaling(&rules(1)).await;
        sleep(Duration::from_secs(5)).await;
        let (asked, version) = (farm.log.asked(), farm.row_version("f").await);
        sleep(Duration::from_secs(20)).await;
        assert!(farm.log.asked() >= asked + 15);
        assert_eq!(farm.row_version("f").await, version);
        let latest = farm.view("f").latest.unwrap();
        assert_eq!((latest.from, latest.to), (1, 1));
        farm.rule("f", &rules(0)).await;
        until("it sleeps", || farm.view("f").phase == Phase::Asleep).await;
        let asked = farm.log.asked();
        sleep(Duration::from_secs(3600)).await;
        assert_eq!(farm.log.asked(), asked);
    });
}

#[test]
fn rules_that_ask_for_more_than_there_is_have_it_at_once() {
    virtually(async {
        let farm = Farm::scaling(&rules(0)).await;
        farm.rule("f", &rules(3)).await;
        assert_eq!(farm.view("f").wanted, 3);
        until("they run", || farm.toil.running() == 3).await;
        farm.worker.set_scaling(Kind::Function, named("f"), None).await.unwrap();
        until("as configured", || farm.toil.running() == 1).await;
        assert_eq!(farm.view("f").phase, Phase::Off);
        assert_eq!(farm.codes("f"), ["RulesSet", "RulesSet", "RulesCleared"]);
    });
}

#[test]
fn rules_that_make_no_sense_are_refused_with_all_that_is_wrong() {
    virtually(async {
        let farm = Farm::scaling(&rules(1)).await;
        let bad = Spec { min_replicas: 5000, max_replicas: 2000, ..rules(1) };
        let refused = refusal(farm.worker.set_scaling(Kind::Function, named("f"), Some(bad)).await);
        assert!(refused.contains("minReplicas") && refused.contains("1000 instances"), "{refused}");
        let refused = refusal(farm.worker.set_scaling(Kind::Sink, named("f"), Some(rules(1))).await);
        assert_eq!(refused, "Sink f doesn't exist");
        let source = super::change::check(Kind::Source, &rules(0));
        assert!(refusal(source).contains("no event wakes a source"));
        assert_eq!(farm.view("f").scaling.spec, Some(rules(1)));
    });
}

#[test]
fn a_person_pins_and_the_rules_go_on_from_there() {
    virtually(async {
        let farm = Farm::scaling(&rules(0)).await;
        farm.worker.pin(Kind::Function, named("f"), Some(6)).await.unwrap();
        until("pinned", || farm.toil.running() == 6).await;
        sleep(Duration::from_secs(60)).await;
        assert_eq!((farm.toil.running(), farm.view("f").phase), (6, Phase::Pinned));
        let refused = refusal(farm.worker.scale(Kind::Function, named("f"), 2).await);
        assert_eq!(refused, "Function f is pinned at 6 instances");
        farm.worker.pin(Kind::Function, named("f"), None).await.unwrap();
        assert_eq!(farm.view("f").wanted, 4);
        until("it sleeps", || farm.view("f").phase == Phase::Asleep).await;
        // What sleeps can be pinned, too, and what is pinned at nothing is not woken.
        farm.worker.pin(Kind::Function, named("f"), Some(0)).await.unwrap();
        farm.publish(1);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(farm.outputs(), 0);
        farm.worker.pin(Kind::Function, named("f"), None).await.unwrap();
        until("it is woken", || farm.outputs() == 1).await;
    });
}

#[test]
fn a_person_pauses_and_everything_stays_until_it_is_resumed() {
    virtually(async {
        let farm = Farm::scaling(&rules(0)).await;
        farm.worker.pause_scaling(Kind::Function, named("f"), true).await.unwrap();
        farm.publish(300);
        until("it is done by one", || farm.outputs() == 300).await;
        assert_eq!((farm.toil.running(), farm.view("f").phase), (1, Phase::Paused));
        sleep(Duration::from_secs(60)).await;
        assert_eq!(farm.toil.running(), 1);
        farm.worker.pause_scaling(Kind::Function, named("f"), false).await.unwrap();
        until("it sleeps", || farm.view("f").phase == Phase::Asleep).await;
        farm.create("g", json!({})).await;
        let refused = refusal(farm.worker.pause_scaling(Kind::Function, named("g"), true).await);
        assert_eq!(refused, "Function g does not scale by itself");
    });
}

#[test]
fn what_a_person_stopped_is_neither_woken_nor_replaced() {
    virtually(async {
        let farm = Farm::scaling(&rules(0)).await;
        until("it sleeps", || farm.view("f").phase == Phase::Asleep).await;
        farm.worker.set_running(Kind::Function, named("f"), None, false).await.unwrap();
        farm.publish(1);
        sleep(Duration::from_secs(60)).await;
        assert_eq!((farm.outputs(), farm.view("f").phase), (0, Phase::Stopped));
        farm.worker.set_running(Kind::Function, named("f"), None, true).await.unwrap();
        until("it is woken", || farm.outputs() == 1).await;
    });
}

#[test]
fn a_start_goes_on_with_the_last_number_and_wakes_what_something_waits_for() {
    virtually(async {
        let farm = Farm::scaling(&rules(0)).await;
        farm.publish(100);
        until("it becomes more", || farm.toil.running() > 1).await;
        let wanted = farm.view("f").wanted;
        let farm = farm.restart().await;
        assert_eq!(farm.view("f").wanted, wanted);
        until("all is done", || farm.outputs() >= 100).await;
        until("it sleeps", || farm.view("f").phase == Phase::Asleep).await;
        let farm = farm.restart().await;
        sleep(Duration::from_secs(60)).await;
        assert_eq!((farm.view("f").phase, farm.toil.running()), (Phase::Asleep, 0));
        farm.worker.close().await;
        let before = farm.outputs();
        farm.publish(1);
        let farm = farm.restart().await;
        until("it is woken", || farm.outputs() == before + 1).await;
    });
}

#[test]
fn what_cannot_be_found_out_changes_nothing() {
    virtually(async {
        let farm = Farm::scaling(&rules(0)).await;
        farm.log.says_nothing(true);
        sleep(Duration::from_secs(60)).await;
        assert_eq!((farm.view("f").wanted, farm.toil.running()), (1, 1));
        farm.log.says_nothing(false);
        until("it sleeps", || farm.view("f").phase == Phase::Asleep).await;
    });
}

#[test]
fn a_topic_that_says_nothing_holds_up_only_those_that_read_it() {
    virtually(async {
        let farm = Farm::scaling(&rules(1)).await;
        farm.create("g", json!({"inputs": ["stuck"]})).await;
        farm.rule("g", &rules(1)).await;
        farm.log.sticks_at("persistent://public/default/stuck");
        farm.publish(1000);
        until("it becomes more", || farm.view("f").wanted == 4).await;
        until("all is done", || farm.outputs() == 1000).await;
        until("it becomes one again", || farm.view("f").wanted == 1).await;
        assert_eq!(farm.view("g").wanted, 1);
    });
}

#[test]
fn an_hpa_counts_in_what_user_code_records() {
    virtually(async {
        let farm = Farm::open(Toil::new(Duration::from_millis(100)).recording(30.0)).await;
        farm.create("f", json!({})).await;
        let pods = json!({"type": "Pods", "pods": {
            "metric": {"name": "load"}, "target": {"type": "AverageValue", "averageValue": "10"},
        }});
        let rules = json!({"minReplicas": 1, "maxReplicas": 3, "policy": {"hpa": {"metrics": [pods]}}});
        farm.rule("f", &serde_json::from_value(rules).unwrap()).await;
        farm.publish(1_000);
        until("it becomes three times as many", || farm.toil.running() == 3).await;
    });
}

/// Two instances that use half a core and 600 MiB each, and ask for much less; with these words of a VPA's policy.
async fn small(instances: u32, policy: serde_json::Value) -> Farm {
    limited(instances, json!({"updatePolicy": policy}), None).await
}

/// The same with all words of a VPA, and what an instance may have at most.
async fn limited(instances: u32, vpa: serde_json::Value, limits: Option<Resources>) -> Farm {
    let farm = Farm::open(Toil::new(Duration::from_millis(1)).using(0.5, 600 << 20)).await;
    let config = json!({"resources": {"cpu": 0.1, "ram": 128 << 20}, "parallelism": instances});
    let vpa = Some(serde_json::from_value(vpa).unwrap());
    let scaling = Spec { vpa, ..Spec::new(instances, instances, autoscale::PolicySpec::default()) };
    let declaration = Declaration { limits, ..farm.declaration(config, scaling).await };
    farm.worker.declare(declaration).await.unwrap();
    farm
}

impl Farm {
    /// What a mesh says of function `f`: a configuration with this, and rules.
    async fn declaration(&self, more: serde_json::Value, scaling: Spec) -> Declaration {
        let (config, given) = self.given(more).await;
        Declaration {
            kind: Kind::Function,
            name: named("f"),
            config,
            given,
            apart: Default::default(),
            limits: None,
            scaling: Some(scaling),
            replicas: None,
        }
    }

    /// Cores and bytes that each instance was started to be expected to use.
    fn requests(&self) -> Vec<(Option<f64>, Option<u64>)> {
        let function = self.worker.shared.functions.read()[&named("f")].clone();
        let running = function.keeper.as_ref().unwrap().running();
        running.into_iter().map(|(_, requests, _)| (requests.cpu, requests.ram_bytes)).collect()
    }

    /// Cores and bytes that instances may not exceed.
    fn limits(&self) -> (Option<f64>, Option<u64>) {
        let function = self.worker.shared.functions.read()[&named("f")].clone();
        let limits = function.keeper.as_ref().unwrap().spec().unwrap().limits;
        (limits.cpu, limits.ram_bytes)
    }

    fn row(&self) -> Row {
        self.worker.shared.functions.read()[&named("f")].row.lock().clone()
    }
}

const SMALL: (Option<f64>, Option<u64>) = (Some(0.1), Some(128 << 20));

/// 15 % more than is used, in steps of 5 % at most.
fn fits((cpu, bytes): (Option<f64>, Option<u64>)) -> bool {
    let is_near = |amount: f64, used: f64| (1.1..1.3).contains(&(amount / used));
    cpu.is_some_and(|cpu| is_near(cpu, 0.5)) && bytes.is_some_and(|bytes| is_near(bytes as f64, f64::from(600 << 20)))
}

#[test]
fn a_vpa_that_is_off_recommends_and_does_nothing() {
    virtually(async {
        let farm = small(2, json!({"updateMode": "Off"})).await;
        sleep(Duration::from_secs(600)).await;
        let target = farm.view("f").recommendation.unwrap().target;
        let (cpu, memory) = (target.cpu.unwrap().as_f64(), target.memory.unwrap().value().unsigned_abs());
        assert!(fits((Some(cpu), Some(memory))), "{cpu} {memory}");
        assert_eq!((farm.view("f").size, farm.requests()), (None, vec![SMALL; 2]));
        farm.rule("f", &rules(1)).await;
        until("nothing is recommended without a vpa", || farm.view("f").recommendation.is_none()).await;
    });
}

impl Farm {
    /// How often what was learnt of `f` was written; none where nothing is.
    async fn learnt(&self) -> Option<u64> {
        self.tables.get("function-vpa", named("f").to_string().as_bytes()).await.unwrap().map(|row| row.version)
    }

    /// Cores that are too many for sure: the less the shorter it is known what is used.
    fn too_many(&self) -> Option<f64> {
        Some(self.view("f").recommendation?.upper_bound.cpu?.as_f64())
    }
}

#[test]
fn what_a_vpa_has_learnt_survives_a_stop_and_most_of_it_a_kill() {
    virtually(async {
        let farm = small(2, json!({"updateMode": "Off"})).await;
        sleep(Duration::from_secs(60)).await;
        let young = farm.too_many().unwrap();
        sleep(Duration::from_secs(4 * 3600)).await;
        let old = farm.too_many().unwrap();
        assert!(old < young / 10.0, "{old} after hours, {young} after a minute");
        let written = farm.learnt().await.unwrap();
        assert!((20..=24).contains(&written), "{written} times: every ten minutes");
        // Nobody closes it.
        let Farm { worker, log, tables, dir, toil } = farm;
        drop(worker);
        let farm = Farm::again(toil, tables, log, dir).await;
        until("something is recommended again", || farm.too_many().is_some()).await;
        assert!(farm.too_many().unwrap() < old * 1.5, "{:?}", farm.too_many());
        let farm = farm.restart().await;
        assert_eq!(farm.learnt().await, Some(written + 1), "what was learnt since");
        let farm = farm.restart().await;
        assert_eq!(farm.learnt().await, Some(written + 1), "nothing was learnt since");
        farm.rule("f", &rules(1)).await;
        let farm = farm.restart().await;
        assert_eq!(farm.learnt().await, None, "it has no VPA");
    });
}

#[test]
fn a_function_of_the_same_name_has_learnt_nothing() {
    virtually(async {
        let farm = small(1, json!({"updateMode": "Off"})).await;
        sleep(Duration::from_secs(1300)).await;
        let old = farm.too_many().unwrap();
        farm.worker.delete(Kind::Function, named("f")).await.unwrap();
        let vpa = Some(serde_json::from_value(json!({"updatePolicy": {"updateMode": "Off"}})).unwrap());
        let scaling = Spec { vpa, ..Spec::new(1, 1, autoscale::PolicySpec::default()) };
        let again = farm.declaration(json!({}), scaling).await;
        farm.worker.declare(again).await.unwrap();
        until("something is recommended again", || farm.too_many().is_some()).await;
        assert!(farm.too_many().unwrap() > 5.0 * old, "{:?} after {old}", farm.too_many());
    });
}

#[test]
fn a_vpa_replaces_instances_that_are_too_small_once_and_their_size_survives_a_start() {
    virtually(async {
        let farm = small(2, json!({})).await;
        until("both are replaced", || farm.requests().len() == 2 && farm.requests().into_iter().all(fits)).await;
        sleep(Duration::from_secs(3600)).await;
        let resized = farm.codes("f").iter().filter(|code| *code == "Resized").count();
        assert!(resized <= 2, "{:?}", farm.codes("f"));
        assert_eq!(vec![farm.limits(); 2], farm.requests());
        let size = farm.view("f").size;
        let farm = farm.restart().await;
        until("they are there again", || farm.requests().len() == 2).await;
        assert!(farm.requests().into_iter().all(fits), "{:?}", farm.requests());
        assert_eq!(farm.view("f").size, size);
        farm.worker.set_scaling(Kind::Function, named("f"), None).await.unwrap();
        assert_eq!(farm.view("f").size, None);
    });
}

#[test]
fn where_only_requests_are_controlled_they_rise_to_the_limits_and_no_instance_is_replaced_again() {
    virtually(async {
        let all = json!({"containerName": "*", "controlledValues": "RequestsOnly"});
        let vpa = json!({"resourcePolicy": {"containerPolicies": [all]}});
        let limits = Resources { cpu: Some(0.2), ram: Some(200 << 20), disk: None };
        let farm = limited(2, vpa.clone(), Some(limits)).await;
        let most = (Some(0.2), Some(200 << 20));
        until("both have all they may", || farm.requests() == [most; 2]).await;
        let resized = || farm.codes("f").iter().filter(|code| *code == "Resized").count();
        let before = resized();
        sleep(Duration::from_secs(600)).await;
        assert_eq!((resized(), farm.requests(), farm.limits()), (before, vec![most; 2], most));
        // Nothing is to be had from the beginning.
        let farm = limited(2, vpa, None).await;
        sleep(Duration::from_secs(600)).await;
        assert_eq!((farm.codes("f").contains(&"Resized".to_owned()), farm.requests()), (false, vec![SMALL; 2]));
    });
}

#[test]
fn a_size_that_was_found_for_an_older_declaration_is_not_given() {
    virtually(async {
        let farm = small(2, json!({"updateMode": "Off"})).await;
        let seen = farm.row();
        let size = || Requirements { requests: seen.declared().limits, limits: seen.declared().limits };
        let event = || super::Event { from: 2, to: 2, ..farm.worker.event("vpa") };
        let more = json!({"resources": {"cpu": 0.3, "ram": 256 << 20}}).to_string();
        let name = named("f");
        farm.worker.update(Kind::Function, name, more, Given::Nothing, UpdateOptions::default()).await.unwrap();
        farm.worker.resize(seen.clone(), size(), vec![0], event()).await.unwrap();
        assert_eq!((farm.view("f").size, farm.codes("f").contains(&"Resized".to_owned())), (None, false));
        farm.worker.resize(farm.row(), size(), vec![], event()).await.unwrap();
        assert_eq!(farm.view("f").size, Some(size()));
    });
}

#[test]
fn an_instance_that_is_alone_is_not_replaced_but_gets_its_size_when_it_starts_anew() {
    virtually(async {
        for policy in [json!({}), json!({"updateMode": "Initial", "minReplicas": 1})] {
            let farm = small(1, policy).await;
            until("a size is found", || farm.view("f").size.is_some()).await;
            sleep(Duration::from_secs(600)).await;
            assert_eq!(farm.requests(), [SMALL]);
            farm.worker.restart(Kind::Function, named("f"), None).await.unwrap();
            until("it has it", || farm.requests().len() == 1 && farm.requests().into_iter().all(fits)).await;
        }
    });
}

#[test]
fn what_reads_something_else_while_it_sleeps_is_woken_by_that() {
    virtually(async {
        let farm = Farm::open(Toil::new(Duration::from_millis(1))).await;
        let declare = async |input: &str| {
            let declaration = farm.declaration(json!({"inputs": [input]}), rules(0)).await;
            farm.worker.declare(Declaration { replicas: Some(0), ..declaration }).await.unwrap();
        };
        declare("in").await;
        sleep(Duration::from_secs(60)).await;
        assert_eq!((farm.view("f").phase, farm.toil.running()), (Phase::Asleep, 0));
        declare("other").await;
        farm.publish(1);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(farm.outputs(), 0);
        farm.log.publish("persistent://public/default/other", Record { payload: "x".into(), ..Record::default() });
        until("it is woken", || farm.outputs() == 1).await;
    });
}

#[test]
fn a_window_that_time_will_close_keeps_an_instance() {
    virtually(async {
        let farm = Farm::open(Toil::new(Duration::from_millis(1))).await;
        farm.create("f", json!({"windowConfig": {"windowLengthDurationMs": 60_000}})).await;
        farm.rule("f", &rules(0)).await;
        farm.publish(3);
        until("it is shown", || farm.outputs() == 3).await;
        until("it sleeps", || farm.view("f").phase == Phase::Asleep).await;
    });
}

#[test]
fn a_chain_is_decided_in_one_look() {
    virtually(async {
        let farm = Farm::open(Toil::new(Duration::from_millis(100))).await;
        farm.create("first", json!({"output": "middle"})).await;
        farm.create("second", json!({"inputs": ["middle"]})).await;
        farm.rule("first", &rules(0)).await;
        farm.rule("second", &rules(0)).await;
        farm.publish(400);
        let times = |name: &str| {
            let events = farm.worker.scaling_events(Kind::Function, &named(name)).unwrap();
            events.iter().find(|event| event.to >= 3).map(|event| event.at_ms)
        };
        until("both become more", || times("first").is_some() && times("second").is_some()).await;
        // The second had hardly anything to do by then.
        assert!(times("second").unwrap() <= times("first").unwrap() + 1000);
        until("all is done", || farm.outputs() == 400).await;
        until("both sleep", || ["first", "second"].iter().all(|name| farm.view(name).phase == Phase::Asleep)).await;
    });
}

#[test]
fn an_instance_that_is_too_much_finishes_what_it_has() {
    virtually(async {
        let farm = Farm::open(Toil::new(Duration::from_secs(20))).await;
        let one_at_a_time = json!({"in": {"receiverQueueSize": 1}});
        farm.create("f", json!({"parallelism": 2, "inputs": [], "inputSpecs": one_at_a_time})).await;
        until("both run", || farm.toil.running() == 2).await;
        farm.publish(2);
        sleep(Duration::from_secs(1)).await;
        farm.worker.pin(Kind::Function, named("f"), Some(0)).await.unwrap();
        sleep(Duration::from_secs(5)).await;
        assert_eq!(farm.view("f").draining, 2);
        // Others start meanwhile, but for the numbers that are still in use.
        farm.worker.pin(Kind::Function, named("f"), Some(4)).await.unwrap();
        until("two more", || farm.toil.running() == 4).await;
        until("all of them", || farm.view("f").draining == 0 && farm.toil.running() == 4).await;
        assert_eq!(farm.outputs(), 2);
    });
}

#[test]
fn many_functions_sleep_and_wake() {
    const MANY: usize = 200;
    virtually(async {
        let farm = Farm::open(Toil::new(Duration::from_millis(1))).await;
        let names: Vec<String> = (0..MANY).map(|n| format!("f{n}")).collect();
        for name in &names {
            farm.create(name, json!({"inputs": [name]})).await;
            farm.rule(name, &rules(0)).await;
        }
        let asleep = || farm.worker.scaling_of_all().iter().all(|(.., view)| view.phase == Phase::Asleep);
        for round in 1..=2 {
            sleep(Duration::from_secs(60)).await;
            assert!(asleep() && farm.toil.running() == 0);
            let asked = farm.log.asked();
            sleep(Duration::from_secs(600)).await;
            assert_eq!(farm.log.asked(), asked);
            for name in &names {
                let topic = format!("persistent://public/default/{name}");
                farm.log.publish(&topic, Record { payload: "x".into(), ..Record::default() });
            }
            until("all were woken", || farm.outputs() == MANY * round).await;
        }
    });
}
