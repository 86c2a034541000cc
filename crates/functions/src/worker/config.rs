//! The configuration of a function, source or sink, whichever it is; checked, and in its normal form.

use model::function::{Component, Draft, FunctionConfig, Host, Problems, Resources, SinkConfig, SourceConfig};
use serde::{Deserialize, Serialize};

use super::{BUILTIN, Name};
use crate::{Error, Kind, Result};

/// Where functions run.
const HOST: Host = Host::Geminga;

/// One of the three.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "config", rename_all = "lowercase")]
pub enum Config {
    /// Of a function.
    Function(Box<FunctionConfig>),
    /// Of a source.
    Source(Box<SourceConfig>),
    /// Of a sink.
    Sink(Box<SinkConfig>),
}

/// The same expression for each of the three.
macro_rules! each {
    ($config:expr, $one:ident => $what:expr) => {
        match $config {
            Config::Function($one) => $what,
            Config::Source($one) => $what,
            Config::Sink($one) => $what,
        }
    };
}

impl Config {
    /// Of the JSON that a client sent to create it. The name is that of the request's path, whatever the JSON says.
    ///
    /// # Errors
    /// [`Error::Invalid`] with all that is wrong.
    pub fn new(kind: Kind, name: &Name, json: &str) -> Result<Self> {
        Ok(match kind {
            Kind::Function => Self::Function(complete(name, json)?),
            Kind::Source => Self::Source(complete(name, json)?),
            Kind::Sink => Self::Sink(complete(name, json)?),
        })
    }

    /// The same with what the JSON of an update says.
    ///
    /// # Errors
    /// [`Error::Invalid`] with all that is wrong, or must not change.
    pub(super) fn updated(&self, name: &Name, json: &str) -> Result<Self> {
        Ok(match self {
            Self::Function(old) => Self::Function(changed(&**old, name, json)?),
            Self::Source(old) => Self::Source(changed(&**old, name, json)?),
            Self::Sink(old) => Self::Sink(changed(&**old, name, json)?),
        })
    }

    /// Which it is.
    ///
    /// # Errors
    /// [`Error::Invalid`]: its name is none.
    pub fn name(&self) -> Result<Name> {
        each!(self, config => Name::new(config.tenant(), config.namespace(), config.name()))
    }

    /// Which of the three.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Function(_) => Kind::Function,
            Self::Source(_) => Kind::Source,
            Self::Sink(_) => Kind::Sink,
        }
    }

    /// Instances that are wanted.
    #[must_use]
    pub fn parallelism(&self) -> u32 {
        each!(self, config => config.parallelism())
    }

    /// Whether it is called with windows.
    pub(super) fn has_windows(&self) -> bool {
        matches!(self, Self::Function(config) if config.window_config.is_some())
    }

    /// What one instance is expected to use.
    pub(super) fn resources(&self) -> Option<&Resources> {
        each!(self, config => config.resources.as_ref())
    }

    /// The same with as many instances as another wants.
    pub(super) fn with_parallelism_of(&self, other: &Self) -> Self {
        let mut same = self.clone();
        let parallelism = match other {
            Self::Function(config) => config.parallelism,
            Self::Source(config) => config.parallelism,
            Self::Sink(config) => config.parallelism,
        };
        match &mut same {
            Self::Function(config) => config.parallelism = parallelism,
            Self::Source(config) => config.parallelism = parallelism,
            Self::Sink(config) => config.parallelism = parallelism,
        }
        same
    }

    /// As `functions get` shows it.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        // Maps with text keys and finite numbers always are JSON.
        each!(self, config => serde_json::to_value(config)).unwrap_or_default()
    }

    /// The code of this program that it names, if it does.
    #[must_use]
    pub fn builtin(&self) -> Option<&str> {
        let place = match self {
            Self::Function(config) => &config.jar,
            Self::Source(config) => &config.archive,
            Self::Sink(config) => &config.archive,
        };
        place.as_deref().and_then(|place| place.strip_prefix(BUILTIN))
    }

    /// The command line that it is, if it is one.
    #[must_use]
    pub fn command(&self) -> Option<Vec<String>> {
        let Self::Function(config) = self else { return None };
        config.command()
    }
}

fn complete<C: Component>(name: &Name, json: &str) -> Result<Box<C>> {
    let draft = Draft::<C>::read(json).at(&name.tenant, &name.namespace, &name.name);
    draft.finish(HOST).map(Box::new).map_err(invalid)
}

fn changed<C: Component>(old: &C, name: &Name, json: &str) -> Result<Box<C>> {
    let partial = Draft::<C>::read(json).at(&name.tenant, &name.namespace, &name.name).partial().map_err(invalid)?;
    let new = old.updated(&partial).map_err(invalid)?;
    new.validate(HOST).map_err(invalid)?;
    Ok(Box::new(new))
}

fn invalid(problems: Problems) -> Error {
    Error::Invalid(problems.to_string())
}
