//! The functions of a chain, decided from the first to the last.

use super::{
    Memory, Spec,
    memory::{TrueRate, finite},
    need::{Cause, Load, Need, need},
};
use crate::{Decision, Sample, decision::bounded};
use std::time::Duration;

/// Deviations that are no accident.
const ACCIDENT: f64 = 3.0;

/// Decides for all functions with a spec and a memory; `decisions` has those of the others, and gets these.
pub(crate) fn decide(
    nodes: &mut [Option<(&Spec, &mut Memory)>],
    samples: &[&Sample],
    decisions: &mut [Option<Decision>],
) {
    // Messages per second that each will send on, beyond what it does now.
    let mut more_per_s = vec![0.0; samples.len()];
    let order = order(samples);
    let lengths = lengths(samples, &order);
    for i in order {
        let sample = samples[i];
        let upstream_per_s: f64 = sample
            .upstream
            .iter()
            .map(|&(from, per_message)| more_per_s.get(from).unwrap_or(&0.0) * finite(per_message))
            .sum();
        let done_per_s: f64 = sample.instances.iter().map(|instance| finite(instance.processed_per_s)).sum();
        match &mut nodes[i] {
            Some((spec, memory)) => {
                let target = part(spec.target_age, lengths[i]);
                let (decision, will_do_per_s) = one(spec, memory, sample, target, upstream_per_s);
                // What one look counts is random; what is within its accident is no increase.
                let accident = ACCIDENT * (done_per_s.max(1.0) / memory.look_s.max(0.001)).sqrt();
                let more = will_do_per_s - done_per_s;
                more_per_s[i] = if more > accident { more } else { 0.0 };
                decisions[i] = Some(decision);
            }
            // Decided otherwise: it passes on what comes.
            None => more_per_s[i] = upstream_per_s,
        }
    }
}

/// The part of one of so many functions in the age of all. Messages that are late at one are seldom late at the next, too: what 99 of 100
/// take in all is less than the sum of what they take at each, and more than if ages were one normal sum.
fn part(target: Duration, functions: u32) -> Duration {
    target.div_f64(f64::from(functions).powf(0.75))
}

/// What is before comes first. In a circle some function has to be; what comes back to it counts as it was measured.
fn order(samples: &[&Sample]) -> Vec<usize> {
    let mut missing: Vec<usize> =
        samples.iter().map(|s| s.upstream.iter().filter(|(u, _)| *u < samples.len()).count()).collect();
    let mut downstream = vec![Vec::new(); samples.len()];
    for (i, sample) in samples.iter().enumerate() {
        for &(from, _) in sample.upstream.iter().filter(|(u, _)| *u < samples.len()) {
            downstream[from].push(i);
        }
    }
    let mut is_placed = vec![false; samples.len()];
    let mut order: Vec<usize> = Vec::with_capacity(samples.len());
    let mut next = 0;
    for start in 0..=samples.len() {
        // First all that wait for nobody; then, one after the other, what is left of circles.
        let starts =
            if start == 0 { (0..samples.len()).filter(|&i| missing[i] == 0).collect() } else { vec![start - 1] };
        for i in starts {
            if !std::mem::replace(&mut is_placed[i], true) {
                order.push(i);
            }
        }
        while let Some(&i) = order.get(next) {
            next += 1;
            for &to in &downstream[i] {
                missing[to] = missing[to].saturating_sub(1);
                if missing[to] == 0 && !std::mem::replace(&mut is_placed[to], true) {
                    order.push(to);
                }
            }
        }
    }
    order
}

/// For each function, how many there are on the longest way through it. What reads nothing, a source, is on no way.
fn lengths(samples: &[&Sample], order: &[usize]) -> Vec<u32> {
    let mut place = vec![0; samples.len()];
    order.iter().enumerate().for_each(|(n, &i)| place[i] = n);
    // In a circle only those count that are decided before.
    let place = &place;
    let before = |i: usize| {
        let upstream = samples[i].upstream.iter().map(|&(from, _)| from);
        upstream.filter(move |&from| from < samples.len() && place[from] < place[i])
    };
    let own = |i: usize| u32::from(samples[i].inputs.is_some());
    let (mut into, mut out_of) = (vec![0u32; samples.len()], vec![0u32; samples.len()]);
    for &i in order {
        into[i] = own(i) + before(i).map(|from| into[from]).max().unwrap_or(0);
    }
    for &i in order.iter().rev() {
        out_of[i] += own(i);
        for from in before(i) {
            out_of[from] = out_of[from].max(out_of[i]);
        }
    }
    (0..samples.len()).map(|i| (into[i] + out_of[i]).saturating_sub(own(i)).max(1)).collect()
}

/// The decision for one function, and the messages per second it will do with it.
fn one(spec: &Spec, memory: &mut Memory, sample: &Sample, target: Duration, upstream_per_s: f64) -> (Decision, f64) {
    let done_per_s: f64 = sample.instances.iter().map(|instance| finite(instance.processed_per_s)).sum();
    let Some(inputs) = &sample.inputs else {
        return (Decision::keep(sample, "NoSample", "nothing is known of its input"), done_per_s);
    };
    if !memory.see(sample, inputs.arrival_per_s, inputs.backlog) {
        return (Decision::keep(sample, "NoSample", "nothing new is known since the last decision"), done_per_s);
    }
    // Looks in between are taken in. Ticks that come a little early are meant.
    if let Some((at, reason)) = &memory.said
        && sample.at + spec.period / 10 < *at + spec.period
    {
        return (Decision::keep(sample, &reason.code, reason.text.as_str()), done_per_s);
    }
    let startup = memory.startup(&sample.instances);
    let cool_down = spec.cool_down(startup);
    let arrival = memory.arrival();
    let ahead_s = startup.as_secs_f64() + spec.period.as_secs_f64();
    let grown_per_s = arrival.ahead_per_s(ahead_s);
    let load = Load {
        arrival_per_s: grown_per_s + upstream_per_s,
        upstream_per_s,
        backlog: inputs.backlog as f64,
        true_rate: memory.true_rate(),
        target,
        startup,
        catch_up: spec.catch_up(startup),
    };
    let mut wanted = need(spec, memory, sample, inputs, &load);
    if wanted.cause == Cause::Probe && wanted.replicas > sample.replicas {
        memory.probed = Some(sample.at);
    }
    let idle = sample.at.saturating_sub(memory.active);
    let is_idle = idle >= spec.idle(startup) && upstream_per_s <= 0.0;
    if is_idle {
        wanted = Need { replicas: 0, cause: Cause::Nothing };
    } else if wanted.replicas == 0 && sample.replicas > 0 {
        wanted = Need { replicas: 1, cause: Cause::Little };
    }
    let asked = bounded(sample, wanted.replicas);
    memory.recommend(sample.at, asked);
    // Instances that somebody else added are not taken away at once.
    if sample.replicas > memory.decided {
        memory.raised = sample.at;
    }
    let replicas = if asked >= sample.replicas {
        asked
    } else if sample.at < memory.raised + cool_down {
        sample.replicas
    } else if is_idle {
        asked
    } else {
        memory.most_recommended(sample.at, cool_down).min(sample.replicas)
    };
    let replicas = bounded(sample, replicas);
    if replicas > sample.replicas {
        memory.raised = sample.at;
    }
    memory.decided = replicas;
    let will_do_per_s = match load.true_rate {
        TrueRate::Known(rate) => {
            let work = load.arrival_per_s + load.backlog / load.catch_up.as_secs_f64().max(0.001);
            work.min(f64::from(replicas) * rate)
        }
        _ => done_per_s,
    };
    let said = Said { sample, load: &load, wanted, asked, replicas, cool_down, idle };
    let decision = said.decision(inputs.oldest);
    memory.said = Some((sample.at, decision.reason.clone()));
    (decision, will_do_per_s)
}

/// The numbers of a decision, to be put into words.
struct Said<'a> {
    sample: &'a Sample,
    load: &'a Load,
    wanted: Need,
    asked: u32,
    replicas: u32,
    cool_down: Duration,
    idle: Duration,
}

impl Said<'_> {
    fn decision(&self, oldest: Duration) -> Decision {
        let now = self.sample.replicas;
        let Load { arrival_per_s, upstream_per_s, backlog, .. } = self.load;
        let rate = match self.load.true_rate {
            TrueRate::Known(rate) => format!("one instance does {rate:.1}/s"),
            TrueRate::Guessed(rate) => format!("one instance does perhaps {rate:.2}/s"),
            TrueRate::Unknown => "what one instance does is not known yet".to_owned(),
        };
        let facts =
            format!("{arrival_per_s:.1}/s arrive, {backlog:.0} wait (oldest {:.1}s), {rate}", oldest.as_secs_f64());
        let wanted = self.wanted.replicas;
        let (code, text) = if self.replicas < now && self.replicas == 0 {
            ("Idle", format!("nothing to do for {:.0}s", self.idle.as_secs_f64()))
        } else if self.asked < now && self.replicas > self.asked && self.replicas >= self.sample.min {
            let cool_down = self.cool_down.as_secs_f64();
            (
                "ScaleDownStabilized",
                format!("{facts}: {} would do now, and {} in the last {cool_down:.0}s", self.asked, self.replicas),
            )
        } else if wanted > self.sample.max {
            ("TooManyReplicas", format!("{facts}: {wanted} would be needed, {} are allowed", self.sample.max))
        } else if wanted < self.sample.min {
            ("TooFewReplicas", format!("{facts}: {wanted} would do, {} are the least", self.sample.min))
        } else {
            let target = self.load.target.as_secs_f64();
            match self.wanted.cause {
                Cause::Nothing => ("Idle", format!("nothing to do for {:.0}s", self.idle.as_secs_f64())),
                Cause::Little if now == 0 => ("Woken", format!("{facts}: the first instance")),
                Cause::Little => ("LoadLow", format!("{facts}: one instance is more than enough")),
                Cause::Arrival => ("ArrivalRate", format!("{facts}: {wanted} keep the age below {target:.1}s")),
                Cause::Upstream => (
                    "UpstreamRate",
                    format!("{facts}, {upstream_per_s:.1}/s of it when functions before have scaled: {wanted} keep up"),
                ),
                Cause::Backlog => {
                    let catch_up = self.load.catch_up.as_secs_f64();
                    ("BacklogHigh", format!("{facts}: {wanted} work it off in {catch_up:.0}s"))
                }
                Cause::Surprise => ("ShortOfRoom", format!("{facts}: {wanted} can take what may come at once")),
                Cause::Probe => ("Probing", format!("{facts}: {wanted} find out")),
                Cause::Partitions => {
                    ("LimitedByPartitions", format!("{facts}: no more than {wanted} can work at once"))
                }
                Cause::KeySkew => (
                    "LimitedByKeySkew",
                    format!("{facts}: the most frequent key keeps more than {wanted} from helping"),
                ),
            }
        };
        Decision::within(self.sample, self.replicas, code, text)
    }
}
