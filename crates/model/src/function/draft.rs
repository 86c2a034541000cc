//! A configuration on its way in: what could be read of it, and all that is wrong with it so far.

use super::{
    CONFIG_BYTES_MAX,
    component::Component,
    inputs::INPUT_FIELDS,
    problem::{Problem, Problems},
    read::Reader,
    validate::Host,
};
use std::collections::BTreeSet;

/// A configuration as it came, mistakes included. It is read to its end and checked to its end before anything is told:
/// whoever wrote it gets one answer.
#[derive(Clone, Debug)]
pub struct Draft<C> {
    config: Option<C>,
    problems: Problems,
    misread: BTreeSet<String>,
}

impl<C: Component> Draft<C> {
    /// Reads what a client sent, at most [`CONFIG_BYTES_MAX`] bytes of JSON.
    #[must_use]
    pub fn read(json: &str) -> Self {
        let nothing = |message: String| Self {
            config: None,
            problems: Problem { field: String::new(), message }.into(),
            misread: BTreeSet::new(),
        };
        if json.len() > CONFIG_BYTES_MAX {
            return nothing(format!("the configuration is longer than {CONFIG_BYTES_MAX} bytes"));
        }
        match serde_json::from_str(json) {
            Err(error) => nothing(format!("the configuration is no JSON: {error}")),
            Ok(value) => {
                let mut reader = Reader::strict();
                let config = C::read(&value, &mut reader);
                Self { config, problems: reader.problems, misread: reader.misread }
            }
        }
    }

    /// Puts it where the request's path says.
    #[must_use]
    pub fn at(mut self, tenant: &str, namespace: &str, name: &str) -> Self {
        if let Some(config) = &mut self.config {
            config.place(tenant, namespace, name);
        }
        self
    }

    /// What could be read so far.
    #[must_use]
    pub fn config(&self) -> Option<&C> {
        self.config.as_ref()
    }

    /// The configuration as it is: for an update, which need not make sense alone.
    ///
    /// # Errors
    /// All that could not be read.
    pub fn partial(self) -> Result<C, Problems> {
        match self.config {
            Some(config) => self.problems.or(config),
            None => Err(self.problems),
        }
    }

    /// The configuration with its defaults, checked, in its normal form.
    ///
    /// # Errors
    /// All that could not be read, and all that does not hold of the rest. That a field is missing is not told of one
    /// that is there and could not be read.
    pub fn finish(self, host: Host) -> Result<C, Problems> {
        match self.examined(host) {
            (Some(config), problems) => problems.or(config),
            (None, problems) => Err(problems),
        }
    }

    /// As [`Draft::finish`] for a caller that has more to look at, such as whether a class or a topic is there, and tells
    /// what it finds in the same answer. `None` where nothing could be read.
    #[must_use]
    pub fn examined(self, host: Host) -> (Option<C>, Problems) {
        let Self { config, mut problems, misread } = self;
        let Some(mut config) = config else { return (None, problems) };
        config.fill_defaults();
        for problem in config.validate(host).err().into_iter().flatten() {
            if !excused(&problem.field, &misread) {
                problems.add(problem.field, problem.message);
            }
        }
        (Some(config.normalized()), problems)
    }
}

/// Whether what is wrong with `field` follows from something that could not be read.
fn excused(field: &str, misread: &BTreeSet<String>) -> bool {
    let within =
        |part: &str, whole: &str| part.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    misread.iter().any(|unread| {
        let inputs = field == "inputs" && INPUT_FIELDS.iter().any(|input| within(unread, input));
        // A name follows from a class, a runtime from the code.
        let follows = match field {
            "name" => within(unread, "className") || within(unread, "fqfn"),
            "runtime" => matches!(unread.as_str(), "jar" | "py" | "go" | "wasm" | "exec" | "functionType"),
            _ => false,
        };
        inputs || follows || within(field, unread) || within(unread, field)
    })
}
