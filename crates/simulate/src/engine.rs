//! One run: a trace, a seed and a policy, event by event.

use crate::{
    Outcome, Series, Setting, Trace, Workload,
    agenda::{Agenda, Event},
    function::Function,
    outcome::FunctionSeries,
    workload::Message,
};
use autoscale::{Policy, Sample};
use std::time::Duration;

/// Points of a plot.
const POINTS: u32 = 300;

/// How a policy is run.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// Instances of each function, at least; 0: an event wakes it.
    pub min: u32,
    /// Time between two looks.
    pub period: Duration,
    /// CPU is known from a metrics server that looks this often, half a period off the first look. `None`: it is measured until the
    /// look itself.
    pub scrape: Option<Duration>,
    /// The first event for a function without instances starts one at once; otherwise it waits for the next look.
    pub wakes: bool,
    /// Instances of each function when the trace begins.
    pub initial: u32,
}

/// Runs a policy on the messages of a trace. The same arguments give the same result.
pub fn run(
    trace: &Trace,
    setting: &Setting,
    workload: &Workload,
    rules: &Rules,
    policy: &mut dyn Policy,
) -> (Outcome, Series) {
    let mut run = Run::new(trace, setting, workload, rules);
    let mut messages = workload.messages.iter().peekable();
    loop {
        let next = messages.peek().map_or(Duration::MAX, |message| message.entered);
        match run.agenda.pop_until(next) {
            Some((now, Event::End)) => return run.end(now),
            Some((now, event)) => run.happens(now, event, policy),
            None => {
                let message = *messages.next().expect("the end is on the agenda, so a message was next");
                run.published += 1;
                run.enters(message.entered, 0, message);
            }
        }
    }
}

struct Run<'a> {
    trace: &'a Trace,
    setting: &'a Setting,
    rules: &'a Rules,
    agenda: Agenda,
    functions: Vec<Function<'a>>,
    /// For each function, whether it went up last.
    went_up: Vec<Option<bool>>,
    has_begun: bool,
    ages: Vec<f64>,
    outcome: Outcome,
    series: Series,
    published: u64,
}

impl<'a> Run<'a> {
    fn new(trace: &'a Trace, setting: &'a Setting, workload: &Workload, rules: &'a Rules) -> Self {
        let initial = rules.initial.clamp(rules.min, setting.max);
        let functions: Vec<_> = (0..)
            .zip(&trace.stages)
            .map(|(n, stage)| Function::new(stage, setting, n, workload.chance.of(n as u64), initial))
            .collect();
        let step = trace.duration() / POINTS;
        let mut agenda = Agenda::default();
        if let Some(scrape) = rules.scrape {
            agenda.at(scrape / 2, Event::Scrape);
        }
        agenda.at(trace.warm_up, Event::Begin);
        agenda.at(trace.duration(), Event::End);
        agenda.at(rules.period, Event::Tick);
        agenda.at(step, Event::Point);
        Self {
            trace,
            setting,
            rules,
            agenda,
            went_up: vec![None; functions.len()],
            series: Series {
                step_s: step.as_secs_f64(),
                functions: vec![FunctionSeries::default(); functions.len()],
                rate: Vec::new(),
            },
            functions,
            has_begun: false,
            ages: Vec::with_capacity(workload.messages.len()),
            outcome: Outcome::default(),
            published: 0,
        }
    }

    fn happens(&mut self, now: Duration, event: Event, policy: &mut dyn Policy) {
        match event {
            Event::Done { function, instance } => {
                let message = self.functions[function].done(now, instance, &mut self.agenda);
                self.passes_on(now, function, &message);
            }
            Event::Ready { function, instance } => self.functions[function].ready(now, instance, &mut self.agenda),
            Event::Scrape => {
                self.functions.iter_mut().for_each(|function| function.scrape(now));
                self.agenda.at(now + self.rules.scrape.unwrap_or(Duration::MAX), Event::Scrape);
            }
            Event::Tick => {
                self.decides(now, policy);
                self.agenda.at(now + self.rules.period, Event::Tick);
            }
            Event::Point => {
                self.point(now);
                self.agenda.at(now + self.trace.duration() / POINTS, Event::Point);
            }
            Event::Begin => {
                self.has_begun = true;
                self.functions.iter_mut().for_each(|function| function.begin(now));
            }
            Event::End => {}
        }
    }

    /// What a function made of a message goes to the next one; where nothing goes on, the message is done.
    fn passes_on(&mut self, now: Duration, function: usize, message: &Message) {
        let mut count = 0;
        let is_last = function + 1 == self.functions.len();
        if !is_last {
            for output in message.outputs(&self.trace.stages[function], now) {
                count += 1;
                self.enters(now, function + 1, output);
            }
        }
        self.functions[function].wrote(count);
        if count == 0 && message.published >= self.trace.warm_up {
            self.ages.push((now - message.published).as_secs_f64());
        }
    }

    fn enters(&mut self, now: Duration, function: usize, message: Message) {
        self.functions[function].enter(now, message, &mut self.agenda);
        if self.rules.wakes && self.functions[function].wanted() == 0 {
            self.scales(now, function, 1);
        }
    }

    fn decides(&mut self, now: Duration, policy: &mut dyn Policy) {
        let is_scraped = self.rules.scrape.is_some();
        let mut samples: Vec<Sample> =
            self.functions.iter_mut().map(|f| f.look(now, self.rules.min, is_scraped)).collect();
        for (n, sample) in samples.iter_mut().enumerate().skip(1) {
            sample.upstream = vec![(n - 1, self.functions[n - 1].selectivity())];
        }
        let decisions = policy.decide(&samples);
        for (function, decision) in decisions.iter().take(samples.len()).enumerate() {
            self.scales(now, function, decision.replicas.clamp(self.rules.min, self.setting.max));
        }
    }

    fn scales(&mut self, now: Duration, function: usize, wanted: u32) {
        let before = self.functions[function].wanted();
        if wanted == before {
            return;
        }
        self.functions[function].scale(now, wanted, &mut self.agenda);
        let goes_up = wanted > before;
        let has_turned = self.went_up[function].replace(goes_up).is_some_and(|went_up| went_up != goes_up);
        if self.has_begun {
            self.outcome.scale_events += 1.0;
            self.outcome.direction_changes += f64::from(u8::from(has_turned));
        }
    }

    fn point(&mut self, now: Duration) {
        self.series.rate.push(self.published as f64 / self.series.step_s);
        self.published = 0;
        for (series, function) in self.series.functions.iter_mut().zip(&self.functions) {
            series.backlog.push(function.backlog() as f64);
            series.oldest_s.push(function.oldest(now).as_secs_f64());
            series.wanted.push(f64::from(function.wanted()));
            series.ready.push(f64::from(function.ready_count()));
        }
    }

    fn end(mut self, now: Duration) -> (Outcome, Series) {
        for function in &mut self.functions {
            let spent = function.end(now);
            self.outcome.instance_s += spent.instance_s;
            self.outcome.busy_s += spent.busy_s;
            let left = function.left().filter(|message| message.published >= self.trace.warm_up);
            let before = self.ages.len();
            self.ages.extend(left.map(|message| (now - message.published).as_secs_f64()));
            self.outcome.left += (self.ages.len() - before) as f64;
        }
        self.outcome.set_ages(self.ages, self.setting.target.as_secs_f64());
        (self.outcome, self.series)
    }
}
