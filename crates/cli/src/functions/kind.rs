//! The three kinds of what a worker runs, as far as the command line tells them apart.

/// A function, a source or a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Function,
    Source,
    Sink,
}

impl Kind {
    /// Its segment of `/admin/v3/...`, which is its command too.
    #[must_use]
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Function => "functions",
            Self::Source => "sources",
            Self::Sink => "sinks",
        }
    }

    /// In a sentence.
    #[must_use]
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Source => "source",
            Self::Sink => "sink",
        }
    }

    /// The part of a form that carries its configuration.
    #[must_use]
    pub(crate) const fn part(self) -> &'static str {
        match self {
            Self::Function => "functionConfig",
            Self::Source => "sourceConfig",
            Self::Sink => "sinkConfig",
        }
    }
}
