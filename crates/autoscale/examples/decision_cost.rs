//! How long a decision takes for a mesh of 200 functions: `cargo run --release -p autoscale --example decision_cost`.

use autoscale::{Inputs, Instance, PolicySpec, Sample, Spec, hpa, keda, knative, rate};
use std::time::{Duration, Instant};

const FUNCTIONS: usize = 200;
const INSTANCES: u32 = 10;
const LOOKS: u64 = 400;

fn main() {
    let policies = [
        PolicySpec::Rate(rate::Spec::default()),
        PolicySpec::Hpa(hpa::Spec { sync_period: Duration::from_secs(1), ..hpa::Spec::default() }),
        PolicySpec::Keda(keda::Spec { sync_period: Duration::from_secs(1), ..keda::Spec::default() }),
        PolicySpec::Knative(knative::Spec { tick_interval: Duration::from_secs(1), ..knative::Spec::default() }),
    ];
    for spec in policies {
        let mut policy = Spec::new(1, 100, spec.clone()).policy();
        let mut times: Vec<Duration> = (1..=LOOKS)
            .map(|second| {
                let look: Vec<Sample> = (0..FUNCTIONS).map(|n| sample(n, second)).collect();
                let begin = Instant::now();
                let decisions = policy.decide(&look);
                let took = begin.elapsed();
                assert_eq!(decisions.len(), FUNCTIONS);
                took
            })
            .collect();
        times.sort_unstable();
        let at = |share: f64| times[(share * (times.len() - 1) as f64) as usize].as_secs_f64() * 1e6;
        println!(
            "{:8} {FUNCTIONS} functions, {INSTANCES} instances each: median {:.0} us, p99 {:.0} us, max {:.0} us",
            spec.name(),
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }
}

/// Chains of ten, with loads that move.
fn sample(n: usize, second: u64) -> Sample {
    let wave = ((second + n as u64 * 7) % 60) as f64 / 60.0;
    let busy = 0.4 + wave / 2.0;
    let instance = Instance {
        age: Duration::from_secs(second + 100),
        startup: Some(Duration::from_secs(1)),
        is_ready: true,
        cpu_cores: Some(busy),
        memory_bytes: Some(64 << 20),
        processed_per_s: 20.0 * busy,
        busy,
        concurrency: busy,
        ..Instance::default()
    };
    Sample {
        at: Duration::from_secs(second),
        replicas: INSTANCES,
        min: 1,
        max: 100,
        instances: vec![instance; INSTANCES as usize],
        inputs: Some(Inputs { arrival_per_s: 200.0 * busy, backlog: (wave * 2_000.0) as u64, ..Inputs::default() }),
        upstream: if n.is_multiple_of(10) { Vec::new() } else { vec![(n - 1, 1.0)] },
        cpu_request: 1.0,
        memory_request: 128 << 20,
        concurrency_max: 1,
        ..Sample::default()
    }
}
