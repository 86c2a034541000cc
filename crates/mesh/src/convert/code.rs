//! Where the code is, and what runs it.

use super::read::{text, texts};
use crate::{
    node::{CodeRef, Place},
    problem::{Problems, quoted},
    yaml::Value,
};

/// What of `java`, `python`, `golang` and `genericRuntime` a spec has.
pub(super) struct Code {
    pub(super) runtime: Runtime,
    /// Where it comes from.
    pub(super) at: CodeRef,
    /// Least level that is logged, as Function Mesh writes it.
    pub(super) log_level: Option<String>,
    /// `javaOpts`.
    pub(super) flags: Vec<String>,
}

/// What runs code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Runtime {
    Java,
    Python,
    Go,
    Wasm,
    Executable,
    Nodejs,
}

/// The name of each runtime's field, with those of the file and of where it comes from.
const RUNTIMES: [(&str, &str, &str); 4] = [
    ("java", "jar", "jarLocation"),
    ("python", "py", "pyLocation"),
    ("golang", "go", "goLocation"),
    ("genericRuntime", "functionFile", "functionFileLocation"),
];

/// The code of a spec, where there is some; more than one is told.
pub(super) fn code(spec: &Value, problems: &mut Problems) -> Option<Code> {
    let mut given =
        RUNTIMES.iter().filter_map(|names| Some((names, spec.entry(names.0).filter(|e| !e.value.is_null())?)));
    let ((field, file, location), entry) = given.next()?;
    for ((other, ..), entry) in given {
        problems.error(entry.at, format!("only one runtime can be given, found {field} and {other}"));
    }
    let runtime = &entry.value;
    let file = text(runtime, file);
    let mut at = CodeRef::of(&text(runtime, location).or_else(|| file.clone())?);
    if at.place == Place::Local
        && let (Some(value), Some(file)) = (runtime.get(location), file.as_ref())
        && value.text().is_some_and(|text| !text.is_empty())
    {
        let only = "Kubernetes fetches function://, source://, sink://, http:// and https:// only";
        let last = at.location.rsplit('/').next().unwrap_or_default();
        if at.location.contains("://") {
            // Told below.
        } else if last.contains('.') {
            problems.warning(value.at, format!("{location} is a path: {only}"));
        } else {
            // Before packages, code was put into the broker's own storage under a name with slashes.
            let text = format!("{location} is no URL: {only}. The file {} is taken", quoted(file));
            problems.warning(value.at, text);
            at = CodeRef::of(file);
        }
    }
    if let Some(value) = runtime.get(location).filter(|value| value.text().is_some_and(|text| !text.is_empty()))
        && let Some(why) = unfetched(&at)
    {
        problems.error(value.at, format!("{location}: {why}"));
    }
    at.file = file.filter(|file| at.place != Place::Builtin && *file != at.location);
    let log = runtime.get("log");
    Some(Code {
        runtime: match (*field, text(runtime, "language").as_deref()) {
            ("java", _) => Runtime::Java,
            ("python", _) | (_, Some("python")) => Runtime::Python,
            ("golang", _) => Runtime::Go,
            (_, Some("wasm")) => Runtime::Wasm,
            (_, Some("nodejs")) => Runtime::Nodejs,
            _ => Runtime::Executable,
        },
        at,
        log_level: log.and_then(|log| text(log, "level")),
        flags: texts(runtime, "javaOpts").unwrap_or_default(),
    })
}

/// Why nobody could fetch code from there.
fn unfetched(at: &CodeRef) -> Option<String> {
    let (scheme, path) = at.location.split_once("://")?;
    let text = match at.place {
        Place::Local => format!(
            "{}:// is nothing that code is fetched from: function://, source://, sink://, http://, https:// and file:// are",
            quoted(scheme)
        ),
        Place::Package => {
            let parts: Vec<&str> = path.split('@').next().unwrap_or_default().split('/').collect();
            if parts.len() == 3 && parts.iter().all(|part| !part.is_empty()) {
                return None;
            }
            format!(
                "{} is no package: they are {}://tenant/namespace/name@version",
                quoted(&at.location),
                quoted(scheme)
            )
        }
        Place::Url | Place::Builtin => return None,
    };
    Some(text)
}

impl Code {
    /// As the configuration writes it.
    pub(super) fn location(&self) -> String {
        match self.at.place {
            Place::Builtin => format!("builtin://{}", self.at.location),
            Place::Local | Place::Package | Place::Url => self.at.location.clone(),
        }
    }

    /// As a command line, for programs of any kind.
    pub(super) fn command(&self) -> String {
        word(&self.location())
    }

    /// `runtimeFlags` with the JVM's options.
    pub(super) fn runtime_flags(&self, given: Option<String>) -> Option<String> {
        let flags: Vec<String> = given.into_iter().chain(self.flags.iter().map(|flag| word(flag))).collect();
        Some(flags.join(" ")).filter(|flags| !flags.is_empty())
    }

    /// The nearest level a function's configuration has, or a connector's.
    pub(super) fn log_level(&self, is_function: bool) -> Option<String> {
        let level = self.log_level.as_deref()?;
        let level = match level {
            "trace" | "all" if is_function => "debug",
            "fatal" | "panic" | "off" if is_function => "error",
            "panic" => "fatal",
            level => level,
        };
        Some(level.to_ascii_uppercase())
    }
}

/// One word of a command line.
fn word(text: &str) -> String {
    let is_plain = |c: char| !c.is_whitespace() && !matches!(c, '\'' | '"' | '\\');
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
