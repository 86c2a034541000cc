//! Functions that scale, on a real broker: many that sleep, and what it takes to wake one.

use autoscale::{PolicySpec, Spec, rate};
use functions::{
    Kind,
    testing::Echo,
    worker::{Given, Name, Worker, scaling::Phase},
};
use std::{sync::Arc, time::Duration};

use crate::support::{Node, texts};

const PATIENCE: Duration = Duration::from_secs(120);

fn name(n: usize) -> Name {
    Name::new("public", "default", &format!("f{n}")).unwrap()
}

fn rules(min: u32) -> Spec {
    let second = Some(Duration::from_secs(1));
    let rate = rate::Spec { idle: second, cool_down: second, ..rate::Spec::default() };
    Spec::new(min, 4, PolicySpec::Rate(rate))
}

async fn create(worker: &Worker, n: usize, rules: Option<Spec>) {
    let config = serde_json::json!({
        "className": "code.F", "py": "code.py", "inputs": [format!("in-{n}")], "output": format!("out-{n}"),
    });
    let mut upload = worker.packages().receive("code.py").await.unwrap();
    upload.write(b"code").await.unwrap();
    let code = Given::Uploaded(upload.finish().await.unwrap());
    worker.create_scaling(Kind::Function, name(n), config.to_string(), code, rules).await.unwrap();
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waits = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waits).await.unwrap_or_else(|_| panic!("{what} in time"));
}

fn asleep(worker: &Worker) -> usize {
    let sleeps = |(.., view): &(Kind, Name, _)| {
        let view: &functions::worker::scaling::View = view;
        view.phase == Phase::Asleep && view.running == 0 && view.draining == 0
    };
    worker.scaling_of_all().iter().filter(|one| sleeps(one)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_sleep_and_an_event_wakes_each() {
    const MANY: usize = 50;
    let node = Node::start().await;
    let worker = node.worker(Arc::new(Echo)).await;
    for n in 0..MANY {
        create(&worker, n, Some(rules(0))).await;
    }
    for round in 0..2 {
        until("all sleep", || asleep(&worker) == MANY).await;
        for n in 0..MANY {
            let text = format!("{round}");
            node.publish(&format!("in-{n}"), [text.as_str()]).await;
        }
        for n in 0..MANY {
            assert_eq!(texts(&node.read(&format!("out-{n}"), 1).await), [format!("{round}")]);
        }
    }
    worker.close().await;
}
