//! Functions that each scale their own way, at the same ticks.

use crate::{Decision, Policy, PolicySpec, Sample, Spec, rate};
use std::{collections::HashMap, time::Duration};

/// The functions of a mesh, or of a whole worker, by name.
///
/// Those that scale by [`PolicySpec::Rate`] are decided together, as one chain, after the others, whose decisions they see. Functions
/// come and go between ticks; what was learnt of the others stays.
///
/// ```
/// use autoscale::{Controller, PolicySpec, Sample, Spec};
///
/// let mut controller = Controller::new();
/// controller.set("clean", &Spec::new(0, 8, PolicySpec::default()));
/// let sample = Sample { replicas: 1, max: 8, ..Sample::default() };
/// assert_eq!(controller.decide(&[("clean", sample)])[0].replicas, 1);
/// ```
#[derive(Default)]
pub struct Controller {
    functions: HashMap<String, Function>,
}

enum Function {
    Rate(rate::Spec, rate::Memory),
    Alone(PolicySpec, Box<dyn Policy>),
}

impl Controller {
    /// No function yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A function joins, or scales differently from now on. What was learnt of it stays while the policy is of the same kind.
    pub fn set(&mut self, name: &str, spec: &Spec) {
        let function = match (self.functions.remove(name), &spec.policy) {
            (Some(Function::Rate(_, memory)), PolicySpec::Rate(spec)) => Function::Rate(spec.clone(), memory),
            (_, PolicySpec::Rate(spec)) => Function::Rate(spec.clone(), rate::Memory::default()),
            (Some(Function::Alone(before, policy)), now) if before == *now => Function::Alone(before, policy),
            (_, now) => Function::Alone(now.clone(), spec.policy()),
        };
        self.functions.insert(name.to_owned(), function);
    }

    /// A function leaves.
    pub fn remove(&mut self, name: &str) {
        self.functions.remove(name);
    }

    /// One decision for each function of the look, in its order. [`Sample::upstream`] counts within the look. A function that nobody
    /// [`Controller::set`] keeps what it has.
    pub fn decide<N: AsRef<str>>(&mut self, look: &[(N, Sample)]) -> Vec<Decision> {
        let mut decisions: Vec<Option<Decision>> = Vec::with_capacity(look.len());
        // Taken out, so that all of a chain can be learnt of at once; a name that is there twice is decided once.
        let mut chain: Vec<Option<(rate::Spec, rate::Memory)>> = Vec::with_capacity(look.len());
        for (name, sample) in look {
            let (decision, link) = match self.functions.get_mut(name.as_ref()) {
                Some(Function::Rate(spec, memory)) => (None, Some((spec.clone(), std::mem::take(memory)))),
                Some(Function::Alone(_, policy)) => (policy.decide(std::slice::from_ref(sample)).pop(), None),
                None => (Some(Decision::keep(sample, "NoPolicy", "nothing says how this function scales")), None),
            };
            decisions.push(decision);
            chain.push(link);
        }
        let samples: Vec<&Sample> = look.iter().map(|(_, sample)| sample).collect();
        let mut nodes: Vec<_> =
            chain.iter_mut().map(|link| link.as_mut().map(|(spec, memory)| (&*spec, memory))).collect();
        rate::decide(&mut nodes, &samples, &mut decisions);
        for ((name, _), link) in look.iter().zip(chain) {
            if let (Some((_, learnt)), Some(Function::Rate(_, memory))) = (link, self.functions.get_mut(name.as_ref()))
            {
                *memory = learnt;
            }
        }
        let keep = |sample| Decision::keep(sample, "NoDecision", "the policy said nothing");
        decisions.into_iter().zip(samples).map(|(decision, sample)| decision.unwrap_or_else(|| keep(sample))).collect()
    }

    /// How often the most impatient of the functions wants to be asked; a second when there is none.
    pub fn period(&self) -> Duration {
        let of = |function: &Function| match function {
            Function::Rate(spec, _) => spec.period,
            Function::Alone(_, policy) => policy.period(),
        };
        self.functions.values().map(of).min().unwrap_or(Duration::from_secs(1))
    }
}
