/// Why there is no simulation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A trace is not one.
    #[error("trace, line {line}: {text}")]
    Trace {
        /// The line of the file, or the number of the point, from 1.
        line: usize,
        /// What is wrong.
        text: String,
    },
    /// No trace has this name.
    #[error("no trace is called `{name}`; there are {}", .known.join(", "))]
    NoTrace {
        /// As it was asked for.
        name: String,
        /// Those that there are.
        known: Vec<&'static str>,
    },
    /// No policy has this name.
    #[error("no policy is called `{name}`; there are {}", .known.join(", "))]
    NoPolicy {
        /// As it was asked for.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// A setting makes no sense.
    #[error("{0}")]
    Setting(String),
}
