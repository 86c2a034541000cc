//! What a WASM function costs, without a broker: messages through the link of one instance, the time from start to the first output, the
//! memory of a thousand idle instances.
//!
//! ```text
//! (cd sdk/rust && cargo build --release --target wasm32-wasip2)
//! cargo run --release -p runtime-wasm --example overhead -- sdk/rust/target/wasm32-wasip2/release/exclamation.wasm [MESSAGES]
//! ```

use bytes::Bytes;
use functions::{
    Code, FunctionSpec, Kind, Language, Message, MessageId, Runtime as _,
    runtime::{Event, Input, InstanceSpec, Invocation, Link, Request},
};
use runtime_wasm::{Config, WasmRuntime};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

const IDLE: u32 = 1000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let component = PathBuf::from(std::env::args().nth(1).ok_or("the path of a component is missing")?);
    let messages: u64 = std::env::args().nth(2).map_or(Ok(1_000_000), |messages| messages.parse())?;
    let dir = std::env::temp_dir().join(format!("geminga-overhead-{}", std::process::id()));
    let open = || WasmRuntime::new(Config::default(), &dir, Arc::new(seams::SystemClock::new()));

    let runtime = open()?;
    let spec = Arc::new(function(component));
    let at = Instant::now();
    runtime.prepare(&spec).await?;
    println!("compile                                  {:>9.1} ms", ms(at.elapsed()));
    drop(runtime);

    let runtime = open()?;
    let message = message(1024);
    let at = Instant::now();
    runtime.prepare(&spec).await?;
    let mut link = runtime.start(instance(&spec, 0)).await?;
    exchange(&mut link, &message, 0, 1, 1, 1).await;
    println!("create to first output, compiled before  {:>9.1} ms", ms(at.elapsed()));

    for (bytes, batch, in_flight) in [(1024, 64, 4), (1024, 1, 4), (1024, 1, 1), (16, 64, 4), (65536, 64, 4)] {
        let message = self::message(bytes);
        let count = if bytes > 10_000 || batch * in_flight == 1 { messages / 10 } else { messages };
        exchange(&mut link, &message, 0, count / 20, batch, in_flight).await;
        let (at, cpu) = (Instant::now(), cpu());
        exchange(&mut link, &message, 0, count, batch, in_flight).await;
        let (took, cpu) = (at.elapsed(), self::cpu() - cpu);
        println!(
            "{bytes:>6} B, batches of {batch:>2}, {in_flight} in flight: {:>9.0} msg/s, {:>6.2} us each, {:>6.2} us of CPU with the loop's",
            count as f64 / took.as_secs_f64(),
            us(took) / count as f64,
            us(cpu) / count as f64,
        );
    }

    let before = rss_kib()?;
    let mut idle = Vec::new();
    for id in 1..=IDLE {
        idle.push(runtime.start(instance(&spec, id)).await?);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let started = rss_kib()?;
    for link in &mut idle {
        exchange(link, &message, 0, 1, 1, 1).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (used, cpu) = (rss_kib()?, self::cpu());
    tokio::time::sleep(Duration::from_secs(2)).await;
    println!(
        "{IDLE} idle instances before their first message: {:>6} KiB, after it: {:>6} KiB",
        started - before,
        used - before
    );
    println!("CPU of {IDLE} idle instances: {:.2} ms per second", ms(self::cpu() - cpu) / 2.0);
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

/// Sends `count` messages in batches, with at most so many batches unanswered, and takes what comes back.
async fn exchange(link: &mut Link, message: &Arc<Message>, first: u64, count: u64, batch: u64, in_flight: u64) {
    let (mut sent, mut done) = (0, 0);
    while done < count {
        while sent < count && sent - done + batch <= batch * in_flight {
            let size = batch.min(count - sent);
            let invocation = |id| Invocation { id: first + id, input: Input::Message(Arc::clone(message)) };
            let invocations = (sent..sent + size).map(invocation).collect();
            link.requests.send(Request::Invoke(invocations)).await.expect("it listens");
            sent += size;
        }
        for event in link.events.recv().await.expect("it runs") {
            match event {
                Event::Done { outcome, .. } => {
                    assert!(outcome.result.is_ok_and(|records| records.len() == 1));
                    done += 1;
                }
                Event::Log(line) => println!("{line:?}"),
                other => panic!("{other:?}"),
            }
        }
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// CPU time of this process.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.try_into().unwrap_or_default())
}

fn rss_kib() -> std::io::Result<i64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    Ok(line.trim().trim_end_matches(" kB").parse().unwrap_or_default())
}

fn message(bytes: usize) -> Arc<Message> {
    Arc::new(Message {
        input: 0,
        topic: Arc::new("persistent://public/default/in".parse().expect("a topic")),
        id: MessageId { ledger: 3, entry: 4, partition: -1, batch_index: -1, batch_size: 0 },
        key: None,
        properties: Vec::new(),
        event_time_ms: 0,
        publish_time_ms: 6,
        producer: "producer".into(),
        sequence_id: 7,
        redelivery_count: 0,
        schema_version: Bytes::new(),
        payload: Bytes::from(vec![b'x'; bytes]),
    })
}

fn instance(function: &Arc<FunctionSpec>, instance_id: u32) -> InstanceSpec {
    let (function, work_dir) = (Arc::clone(function), PathBuf::from("."));
    InstanceSpec { function, instance_id, secrets: BTreeMap::new(), env: BTreeMap::new(), work_dir }
}

fn function(component: PathBuf) -> FunctionSpec {
    let function = FunctionSpec::new(Kind::Function, "public", "default", "overhead", Code::File(component));
    FunctionSpec { language: Language::Wasm, ..function }
}
