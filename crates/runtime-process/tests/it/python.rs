//! Python functions.

use bytes::Bytes;
use functions::{Code, FunctionSpec, Language};
use runtime_process::{Python, PythonConfig};
use std::{path::PathBuf, time::Instant};

use crate::kit::*;

struct Kit {
    dir: tempfile::TempDir,
    python: Python,
}

impl Kit {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let python = Python::new(PythonConfig::new(dir.path().join("cache")), children());
        Self { dir, python }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn spec(&self, text: &str, class_name: &str) -> FunctionSpec {
        spec(Language::Python, Code::File(self.file("code.py", text)), class_name)
    }

    async fn start(&self, text: &str, class_name: &str) -> Running {
        self.run(self.spec(text, class_name)).await.unwrap()
    }

    async fn run(&self, spec: FunctionSpec) -> Result<Running, String> {
        Running::start(&self.python, instance(spec, &self.dir.path().join("work"))).await
    }
}

const EXCLAMATION: &str = "
from pulsar import Function

class ExclamationFunction(Function):
    def __init__(self):
        pass

    def process(self, input, context):
        return input + '!'
";

#[tokio::test]
async fn a_class_of_the_pulsar_api_runs_unmodified() {
    let kit = Kit::new();
    let mut function = kit.start(EXCLAMATION, "exclamation.ExclamationFunction").await;
    assert_eq!(function.call("hello").await.unwrap(), "hello!");
    let (exit, logs) = function.stop().await;
    assert!(exit.is_clean, "{exit:?}");
    assert_eq!(logs, []);
}

/// A figure, not a promise: `cargo test --release -p runtime-process throughput -- --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throughput_of_ten_thousand_messages_is_printed() {
    let kit = Kit::new();
    let spec = kit.spec(EXCLAMATION, "exclamation.ExclamationFunction");
    functions::Runtime::prepare(&kit.python, &spec).await.unwrap();
    let at = Instant::now();
    let mut function = kit.run(spec).await.unwrap();
    assert_eq!(function.call("x").await.unwrap(), "x!");
    println!("start to first output: {:?}", at.elapsed());
    let payload = Bytes::from(vec![b'x'; 1024]);
    for round in 0..3 {
        let at = Instant::now();
        let (mut sent, mut done) = (0, 0);
        while done < 10_000 {
            while sent < 10_000 && sent < done + 2_000 {
                function.invoke((0..500).map(|_| input(payload.clone()))).await;
                sent += 500;
            }
            assert_eq!(function.outputs().await.unwrap()[0].len(), 1025);
            done += 1;
        }
        println!("round {round}: {:.0} msg/s of 1 KiB", 10_000.0 / at.elapsed().as_secs_f64());
    }
    function.stop().await;
}
