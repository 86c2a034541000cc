//! Functions whose output is on another cluster, with both brokers killed under them.

use serde_json::json;
use std::{path::Path, time::Duration};

use crate::forward::{Broker, first, publish, soon, stored, texts};

const OUT: &str = "persistent://public/default/out";

/// Counts what it is called with, and puts an exclamation mark behind it.
fn code(dir: &Path) -> String {
    let path = dir.join("f.py");
    let code = "\
from pulsar import Function


class Exclaim(Function):
    def process(self, input, context):
        context.incr_counter('n', 1)
        return f'{input}!'
";
    std::fs::write(&path, code).unwrap();
    path.to_str().unwrap().to_owned()
}

fn create(here: &Broker, code: &str, cluster: &str) -> (bool, String) {
    let options = json!({"outputCluster": cluster}).to_string();
    let function =
        ["functions", "create", "--name", "f", "--classname", "f.Exclaim", "--inputs", "in", "--output", "out"];
    let how = ["--processing-guarantees", "EFFECTIVELY_ONCE", "--subs-position", "Earliest"];
    here.run(&[&function[..], &how, &["--py", code, "--custom-runtime-options", &options]].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_are_at_the_other_cluster_once_and_in_order_whoever_is_killed() {
    let (mut here, mut there) = (Broker::start().await, Broker::start().await);
    let dir = tempfile::tempdir().unwrap();
    let code = code(dir.path());
    let (created, said) = create(&here, &code, "there");
    assert!(
        !created && said.contains("outputCluster: there is no cluster \"there\" (there are: standalone)"),
        "{said}"
    );
    here.done(&["clusters", "create", "there", "--broker-url", &there.url()]);
    let (created, said) = create(&here, &code, "there");
    assert!(created, "{said}");

    let producer = here.producer("in").await;
    let mut waiting = Vec::new();
    for round in 0..4 {
        waiting.extend(publish(&producer, round * 300..(round + 1) * 300).await);
        tokio::time::sleep(Duration::from_millis(400)).await;
        if round % 2 == 0 {
            there.kill();
            there.start_again();
        }
        if round > 0 {
            here.kill();
            here.start_again();
        }
    }
    stored(waiting).await;
    let found = there.all(OUT, 1200).await;
    assert_eq!(texts(&found), (0..1200).map(|n| format!("{n}!")).collect::<Vec<_>>());
    assert!(found.iter().all(|message| message.properties.iter().any(|(name, _)| name == "__pfn_input_msg_id__")));
    let counted = here.done(&["functions", "querystate", "--name", "f", "--key", "n"]);
    assert!(counted.contains("1200"), "{counted}");

    // While the other cluster is away, the function works.
    there.kill();
    stored(publish(&producer, 1200..1300).await).await;
    here.until("functions", "f", "all is processed", |status| {
        first(status)["numSuccessfullyProcessed"].as_u64().is_some_and(|n| n >= 100)
            && status["outbox"]["forwarder"]["numSystemExceptions"] != 0
    })
    .await;
    let shown = here.done(&["functions", "status", "--name", "f"]);
    assert!(
        shown.contains(&format!("forwarded to {OUT} of cluster there")) && shown.contains("latest trouble"),
        "{shown}"
    );
    there.start_again();
    assert_eq!(there.all(OUT, 1300).await.len(), 1300);

    // What was committed leaves before the function does.
    stored(publish(&producer, 1300..1310).await).await;
    here.until("functions", "f", "all is processed", |status| {
        first(status)["numSuccessfullyProcessed"].as_u64().is_some_and(|n| n >= 110)
    })
    .await;
    here.done(&["functions", "delete", "--name", "f"]);
    let found = texts(&soon(there.all(OUT, 1310)).await);
    assert_eq!(found.last().map(String::as_str), Some("1309!"));
    assert_eq!(found.len(), 1310);
}
