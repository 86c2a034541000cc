//! One function: its input, its instances, and what can be seen of them.

use crate::{
    Setting,
    agenda::{Agenda, Event},
    chance::Chance,
    queue::{Id, Queue},
    trace::Stage,
    workload::Message,
};
use autoscale::{Inputs, Sample};
use std::{collections::VecDeque, time::Duration};

/// Starts take longer and shorter: standard deviation over mean.
const STARTUP_VARIATION: f64 = 0.2;
/// Bytes of one instance: what policies that look at memory see.
const MEMORY_BYTES: u64 = 50 << 20;

/// One function, as it is at one time.
#[derive(Debug)]
pub(crate) struct Function<'a> {
    stage: &'a Stage,
    setting: &'a Setting,
    index: usize,
    chance: Chance,
    queue: Queue,
    /// Those that are wanted, in the order of their places, and those that drain.
    instances: Vec<Instance>,
    next_id: Id,
    /// Where the broker goes on when several instances could have a message.
    turn: usize,
    /// Messages that came, all in all and until the last look.
    entered: u64,
    seen: u64,
    written: u64,
    done: u64,
    looked: Duration,
    /// Instance-seconds and busy seconds of instances that are gone, since measuring began.
    spent: Spent,
    since: Duration,
}

/// What was paid for, and what was used of it, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Spent {
    pub(crate) instance_s: f64,
    pub(crate) busy_s: f64,
}

#[derive(Debug)]
struct Instance {
    id: Id,
    /// Its number within the function; the highest goes first.
    place: u64,
    asked: Duration,
    ready: Option<Duration>,
    is_draining: bool,
    job: Option<Job>,
    held: VecDeque<Message>,
    /// Up to `settled`.
    busy: Duration,
    settled: Duration,
    done: u64,
    looked: Mark,
    scraped: Option<Mark>,
    /// Cores between the last two scrapes.
    cores: Option<f64>,
    /// Busy at the time at which measuring began.
    busy_before: Duration,
}

#[derive(Debug)]
struct Job {
    message: Message,
    slot: usize,
}

/// How far an instance was at some time.
#[derive(Debug, Clone, Copy)]
struct Mark {
    at: Duration,
    busy: Duration,
    done: u64,
}

impl Instance {
    fn takes_work(&self) -> bool {
        self.ready.is_some() && !self.is_draining
    }

    fn settle(&mut self, now: Duration) {
        if self.job.is_some() {
            self.busy += now - self.settled;
        }
        self.settled = now;
    }

    fn mark(&self, now: Duration) -> Mark {
        Mark { at: now, busy: self.busy, done: self.done }
    }
}

impl<'a> Function<'a> {
    /// With so many instances that are ready, as if they had always been there.
    pub(crate) fn new(stage: &'a Stage, setting: &'a Setting, index: usize, chance: Chance, instances: u32) -> Self {
        let mut function = Self {
            stage,
            setting,
            index,
            chance,
            queue: Queue::new(stage),
            instances: Vec::new(),
            next_id: 0,
            turn: 0,
            entered: 0,
            seen: 0,
            written: 0,
            done: 0,
            looked: Duration::ZERO,
            spent: Spent::default(),
            since: Duration::ZERO,
        };
        for _ in 0..instances {
            function.add(Duration::ZERO, Some(Duration::ZERO));
        }
        function.share();
        function
    }

    /// Instances that are asked for.
    pub(crate) fn wanted(&self) -> u32 {
        self.instances.iter().filter(|instance| !instance.is_draining).count() as u32
    }

    pub(crate) fn ready_count(&self) -> u32 {
        self.instances.iter().filter(|instance| instance.takes_work()).count() as u32
    }

    /// Messages not done.
    pub(crate) fn backlog(&self) -> usize {
        self.queue.len() + self.instances.iter().map(|i| i.held.len() + usize::from(i.job.is_some())).sum::<usize>()
    }

    /// How old the oldest message is that is not done.
    pub(crate) fn oldest(&self, now: Duration) -> Duration {
        let in_hands = self.in_hands().map(|message| message.entered).min();
        let oldest = self.queue.oldest().into_iter().chain(in_hands).min();
        oldest.map_or(Duration::ZERO, |entered| now - entered)
    }

    /// Those not done.
    pub(crate) fn left(&self) -> impl Iterator<Item = &Message> {
        self.queue.waiting().chain(self.in_hands())
    }

    fn in_hands(&self) -> impl Iterator<Item = &Message> {
        self.instances.iter().flat_map(|i| i.held.iter().chain(i.job.as_ref().map(|job| &job.message)))
    }

    /// A message is written to the input.
    pub(crate) fn enter(&mut self, now: Duration, message: Message, agenda: &mut Agenda) {
        self.entered += 1;
        let taker = match &mut self.queue {
            Queue::Ordered(ordered) => ordered.push(message).and_then(|id| self.position(id)),
            Queue::Shared(waiting) => {
                waiting.push_back(message);
                self.has_room()
            }
        };
        if let Some(taker) = taker {
            self.serve(now, taker, agenda);
        }
    }

    /// An instance that would take a message: one with nothing to do, else one whose receiver queue is not full.
    fn has_room(&mut self) -> Option<usize> {
        let count = self.instances.len();
        let in_turn = |n: usize| (self.turn + n) % count;
        let idle = (0..count).map(in_turn).find(|&n| self.instances[n].takes_work() && self.instances[n].job.is_none());
        let found = idle.or_else(|| {
            let has_room = |i: &Instance| i.takes_work() && i.held.len() < self.setting.receiver_queue;
            (0..count).map(in_turn).find(|&n| has_room(&self.instances[n]))
        });
        self.turn = found.map_or(self.turn, |n| n + 1);
        found
    }

    /// An instance has started. Nothing happens when it is not wanted any more.
    pub(crate) fn ready(&mut self, now: Duration, id: Id, agenda: &mut Agenda) {
        let Some(n) = self.position(id) else { return };
        self.instances[n].ready = Some(now);
        self.instances[n].settled = now;
        self.instances[n].looked.at = now;
        self.share();
        self.serve_all(now, agenda);
    }

    /// An instance has done its message, which is returned.
    pub(crate) fn done(&mut self, now: Duration, id: Id, agenda: &mut Agenda) -> Message {
        let n = self.position(id).expect("an instance stays until it has done its message");
        let instance = &mut self.instances[n];
        instance.settle(now);
        let job = instance.job.take().expect("it was at work until now");
        instance.done += 1;
        self.done += 1;
        if instance.is_draining {
            self.remove(now, n);
        } else {
            self.serve(now, n, agenda);
        }
        if let Queue::Ordered(ordered) = &mut self.queue
            && let Some(next) = ordered.done(job.slot).and_then(|id| self.position(id))
        {
            self.serve(now, next, agenda);
        }
        job.message
    }

    /// Outputs were written for a message.
    pub(crate) fn wrote(&mut self, count: u64) {
        self.written += count;
    }

    /// So many instances are wanted from now on.
    pub(crate) fn scale(&mut self, now: Duration, wanted: u32, agenda: &mut Agenda) {
        let before = self.wanted();
        for _ in before..wanted {
            let id = self.add(now, None);
            let chance = self.chance.of(id);
            let startup = self.setting.startup.mul_f64(chance.log_normal(STARTUP_VARIATION));
            agenda.at(now + startup, Event::Ready { function: self.index, instance: id });
        }
        let mut back = VecDeque::new();
        for _ in wanted..before {
            let last = self.instances.iter().enumerate().filter(|(_, i)| !i.is_draining).max_by_key(|(_, i)| i.place);
            let Some((n, _)) = last else { break };
            let instance = &mut self.instances[n];
            instance.is_draining = true;
            back.extend(instance.held.drain(..));
            if instance.job.is_none() {
                self.remove(now, n);
            }
        }
        if let Queue::Shared(waiting) = &mut self.queue {
            // What comes back was given out before anything that still waits.
            back.make_contiguous().sort_by_key(|message| message.entered);
            back.into_iter().rev().for_each(|message| waiting.push_front(message));
        }
        if wanted < before {
            self.share();
            self.serve_all(now, agenda);
        }
    }

    /// The metrics server looks at every instance.
    pub(crate) fn scrape(&mut self, now: Duration) {
        let cpu_share = self.setting.cpu_share;
        for instance in self.instances.iter_mut().filter(|i| i.ready.is_some()) {
            instance.settle(now);
            let mark = instance.mark(now);
            let before = instance.scraped.replace(mark).filter(|before| before.at < now);
            instance.cores =
                before.map(|before| (mark.busy - before.busy).div_duration_f64(now - before.at) * cpu_share);
        }
    }

    /// What a policy sees. With `scraped`, CPU is of the last scrape instead of the time since the last look.
    pub(crate) fn look(&mut self, now: Duration, min: u32, scraped: bool) -> Sample {
        let passed = now - self.looked;
        let inputs = Inputs {
            arrival_per_s: per_s(self.entered - self.seen, passed),
            backlog: self.backlog() as u64,
            oldest: self.oldest(now),
            parallelism_max: self.stage.dispatch.parallelism_max(),
            hottest_key: match &mut self.queue {
                Queue::Shared(_) => 0.0,
                Queue::Ordered(ordered) => ordered.hottest(passed),
            },
        };
        self.looked = now;
        self.seen = self.entered;
        let mut instances = Vec::with_capacity(self.instances.len());
        for instance in &mut self.instances {
            instance.settle(now);
            let mark = instance.mark(now);
            let before = std::mem::replace(&mut instance.looked, mark);
            let passed = now - before.at;
            let used = mark.busy - before.busy;
            let busy = if passed.is_zero() { 0.0 } else { used.div_duration_f64(passed) };
            instances.push(autoscale::Instance {
                age: now - instance.asked,
                startup: instance.ready.map(|ready| ready - instance.asked),
                is_ready: instance.takes_work(),
                is_draining: instance.is_draining,
                cpu_cores: match instance.ready {
                    None => None,
                    Some(_) if scraped => instance.cores,
                    Some(_) => Some(busy * self.setting.cpu_share).filter(|_| !passed.is_zero()),
                },
                memory_bytes: instance.ready.map(|_| MEMORY_BYTES),
                processed_per_s: per_s(mark.done - before.done, passed),
                busy,
                concurrency: busy + instance.held.len() as f64,
                ..Default::default()
            });
        }
        Sample {
            at: now,
            replicas: self.wanted(),
            min,
            max: self.setting.max,
            instances,
            inputs: Some(inputs),
            cpu_request: 1.0,
            memory_request: 2 * MEMORY_BYTES,
            concurrency_max: 1,
            ..Default::default()
        }
    }

    /// Messages written per message done so far.
    pub(crate) fn selectivity(&self) -> f64 {
        if self.done == 0 { 1.0 } else { self.written as f64 / self.done as f64 }
    }

    /// Measuring begins.
    pub(crate) fn begin(&mut self, now: Duration) {
        self.since = now;
        self.spent = Spent::default();
        for instance in &mut self.instances {
            instance.settle(now);
            instance.busy_before = instance.busy;
        }
    }

    /// Measuring ends: what was spent since it began.
    pub(crate) fn end(&mut self, now: Duration) -> Spent {
        let mut spent = self.spent;
        for instance in &mut self.instances {
            instance.settle(now);
            spent.instance_s += (now - instance.asked.max(self.since)).as_secs_f64();
            spent.busy_s += (instance.busy - instance.busy_before).as_secs_f64();
        }
        spent
    }

    fn add(&mut self, now: Duration, ready: Option<Duration>) -> Id {
        let id = self.next_id;
        self.next_id += 1;
        self.instances.push(Instance {
            id,
            place: u64::from(self.wanted()),
            asked: now,
            ready,
            is_draining: false,
            job: None,
            held: VecDeque::new(),
            busy: Duration::ZERO,
            settled: now,
            done: 0,
            looked: Mark { at: now, busy: Duration::ZERO, done: 0 },
            scraped: None,
            cores: None,
            busy_before: Duration::ZERO,
        });
        id
    }

    fn remove(&mut self, now: Duration, n: usize) {
        let instance = self.instances.remove(n);
        self.spent.instance_s += (now - instance.asked.max(self.since)).as_secs_f64();
        self.spent.busy_s += (instance.busy - instance.busy_before).as_secs_f64();
    }

    fn position(&self, id: Id) -> Option<usize> {
        self.instances.iter().position(|instance| instance.id == id)
    }

    /// Gives keys and partitions to those who take work now.
    fn share(&mut self) {
        if let Queue::Ordered(ordered) = &mut self.queue {
            let mut takers: Vec<_> =
                self.instances.iter().filter(|i| i.takes_work()).map(|i| (i.place, i.id)).collect();
            takers.sort_unstable();
            ordered.share(&takers);
        }
    }

    fn serve_all(&mut self, now: Duration, agenda: &mut Agenda) {
        for n in 0..self.instances.len() {
            self.serve(now, n, agenda);
        }
    }

    /// Gives an instance a message to work on when it has none, and fills its receiver queue.
    fn serve(&mut self, now: Duration, n: usize, agenda: &mut Agenda) {
        let instance = &mut self.instances[n];
        if !instance.takes_work() {
            return;
        }
        if instance.job.is_none() {
            let next = match &mut self.queue {
                Queue::Ordered(ordered) => ordered.take(instance.id),
                Queue::Shared(waiting) => instance.held.pop_front().or_else(|| waiting.pop_front()).map(|m| (0, m)),
            };
            if let Some((slot, message)) = next {
                instance.settle(now);
                let service = Duration::from_secs_f64(message.service(self.stage));
                agenda.at(now + service, Event::Done { function: self.index, instance: instance.id });
                instance.job = Some(Job { message, slot });
            }
        }
        if let Queue::Shared(waiting) = &mut self.queue {
            while instance.held.len() < self.setting.receiver_queue {
                let Some(message) = waiting.pop_front() else { break };
                instance.held.push_back(message);
            }
        }
    }
}

fn per_s(count: u64, passed: Duration) -> f64 {
    if passed.is_zero() { 0.0 } else { count as f64 / passed.as_secs_f64() }
}
