//! The command line. Source: `getSharedArgs` of Function Mesh, `JavaInstanceStarter` and `python_instance_main.py` of Pulsar.
//!
//! What the generic runtime names with `--function_file` and `--language`, Pulsar's instances for one language name with `--jar` or `--py`;
//! both are understood, so that one program stands for all.
//!
//! It is written by programs, for instances of several languages and versions: what is not known is told of and skipped, what is known and
//! cannot be honoured is refused.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use crate::error::{Error, Result};

/// What a file of code is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// Run with `node`; speaks the process protocol.
    Nodejs,
    /// Python code against `pulsar.Function`, or a plain function.
    Python,
    /// A program that speaks the process protocol.
    Executable,
    /// A WebAssembly component.
    Wasm,
    /// A jar with a class against Pulsar's `Function`.
    Java,
}

/// What an instance is started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Args {
    /// Where the code is.
    pub function_file: PathBuf,
    /// What it is.
    pub language: Script,
    /// Number of the instance, from 0.
    pub instance_id: u32,
    /// Made when the function was created.
    pub function_id: String,
    /// Rises with each update, where whoever starts it counts; other texts are 0.
    pub function_version: u64,
    /// `FunctionDetails` as protobuf's JSON.
    pub function_details: String,
    /// Where the broker is.
    pub pulsar_serviceurl: String,
    /// The broker's REST address; empty where none is given.
    pub web_serviceurl: String,
    /// Where `InstanceControl` is served; 0: any.
    pub port: u16,
    /// Where metrics are served; 0: any.
    pub metrics_port: u16,
    /// How often somebody will ask for its health; `None`: nobody has to.
    pub expected_healthcheck_interval: Option<Duration>,
    /// The cluster's name.
    pub cluster_name: String,
    /// Where state is kept; empty for nowhere.
    pub state_storage_serviceurl: String,
    /// Class and parameters of the authentication, each empty for none.
    pub client_auth: (String, String),
    /// Arguments that nothing was made of.
    pub ignored: Vec<String>,
}

/// Known, and without a meaning here.
const WITHOUT_MEANING: [&str; 12] = [
    // The loop decides how much it holds.
    "max_buffered_tuples",
    // Secrets are found in the environment, under their names.
    "secrets_provider",
    "secrets_provider_config",
    // They are about a connection that is not encrypted.
    "tls_allow_insecure",
    "hostname_verification_enabled",
    "tls_trust_cert_path",
    // The log goes to standard error.
    "logging_directory",
    "logging_file",
    "logging_config_file",
    // The details of the function have it.
    "pending_async_requests",
    // Always.
    "install_usercode_dependencies",
    "state_storage_impl_class",
];

impl Args {
    /// Reads `--name value` and `--name=value`, the program's own name not among them.
    ///
    /// # Errors
    /// [`Error::Args`] with all that is missing, wrong, or asks for what there is not.
    pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut given = Given::read(args);
        let not_empty = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let anything = |text: &str| Some(text.to_owned());
        let (function_file, language) = given.code();
        let instance_id = given.required("instance_id", |text| text.parse().ok());
        let function_id = given.required("function_id", anything);
        let function_version = given.required("function_version", anything);
        let function_details = given.required("function_details", |text| not_empty(unquoted(text)));
        let pulsar_serviceurl = given.required("pulsar_serviceurl", not_empty);
        let port = given.required("port", |text| text.parse().ok());
        let metrics_port = given.required("metrics_port", |text| text.parse().ok());
        let health = given.required("expected_healthcheck_interval", |text| text.parse::<i32>().ok());
        let cluster_name = given.required("cluster_name", anything);
        let web_serviceurl = given.values.remove("web_serviceurl").unwrap_or_default();
        let state_storage_serviceurl = given.values.remove("state_storage_serviceurl").unwrap_or_default();
        let mut text =
            |name: &str| given.values.remove(name).map(|text| unquoted(&text).to_owned()).unwrap_or_default();
        let client_auth = (text("client_auth_plugin"), text("client_auth_params"));
        given.refuse_what_there_is_not();
        for name in WITHOUT_MEANING {
            given.values.remove(name);
        }
        // Nothing is missing where nothing is wrong, so each of these is there.
        let complete = || {
            Some(Self {
                function_file: function_file?.into(),
                language: language?,
                instance_id: instance_id?,
                function_id: function_id?,
                function_version: function_version?.parse().unwrap_or(0),
                function_details: function_details?,
                pulsar_serviceurl: pulsar_serviceurl?,
                web_serviceurl,
                port: port?,
                metrics_port: metrics_port?,
                expected_healthcheck_interval: u64::try_from(health?).ok().filter(|s| *s > 0).map(Duration::from_secs),
                cluster_name: cluster_name?,
                state_storage_serviceurl,
                client_auth,
                ignored: std::mem::take(&mut given.stray)
                    .into_iter()
                    .chain(given.values.into_keys().map(|name| format!("--{name}")))
                    .collect(),
            })
        };
        if given.wrong.is_empty()
            && let Some(args) = complete()
        {
            return Ok(args);
        }
        Err(Error::Args(given.wrong))
    }
}

/// A command line, taken apart.
#[derive(Default)]
struct Given {
    values: BTreeMap<String, String>,
    /// What is no `--name`, nor the value of one.
    stray: Vec<String>,
    wrong: Vec<String>,
}

impl Given {
    fn read(args: impl IntoIterator<Item = String>) -> Self {
        let mut given = Self::default();
        let mut args = args.into_iter().peekable();
        while let Some(arg) = args.next() {
            let Some(name) = arg.strip_prefix("--").filter(|name| !name.is_empty()) else {
                given.stray.push(arg);
                continue;
            };
            let (name, value) = match name.split_once('=') {
                Some((name, value)) => (name.to_owned(), value.to_owned()),
                // A flag without a value is followed by the next one, or by nothing.
                None => (name.to_owned(), args.next_if(|next| !next.starts_with("--")).unwrap_or_default()),
            };
            given.values.insert(name, value);
        }
        given
    }

    fn required<T>(&mut self, name: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        match self.values.remove(name) {
            Some(text) => read(&text).or_else(|| {
                self.wrong.push(format!("--{name} cannot be {text:?}"));
                None
            }),
            None => {
                self.wrong.push(format!("--{name} is missing"));
                None
            }
        }
    }

    /// Where the code is, and what it is.
    fn code(&mut self) -> (Option<String>, Option<Script>) {
        let mut named = Vec::new();
        for (name, script) in [("jar", Script::Java), ("py", Script::Python)] {
            if let Some(file) = self.values.remove(name) {
                if file.is_empty() {
                    self.wrong.push(format!("--{name} cannot be {file:?}"));
                }
                named.push((name, file, script));
            }
        }
        if named.is_empty() {
            let file = self.required("function_file", |text| (!text.is_empty()).then(|| text.to_owned()));
            let language = self.required("language", |text| match text {
                "nodejs" => Some(Script::Nodejs),
                "python" => Some(Script::Python),
                "executable" => Some(Script::Executable),
                "wasm" => Some(Script::Wasm),
                "java" => Some(Script::Java),
                _ => None,
            });
            return (file, language);
        }
        let also = ["function_file", "language"].into_iter().filter(|name| self.values.remove(*name).is_some());
        let all: Vec<_> = named.iter().map(|(name, ..)| *name).chain(also).map(|name| format!("--{name}")).collect();
        if all.len() > 1 {
            self.wrong.push(format!("the code is named more than once: {}", all.join(", ")));
        }
        let (_, file, script) = named.swap_remove(0);
        (Some(file), Some(script))
    }

    fn refuse_what_there_is_not(&mut self) {
        let mut refuse = |name: &str, is_harmless: fn(&str) -> bool, why: &str| {
            if self.values.remove(name).is_some_and(|value| !is_harmless(&value)) {
                self.wrong.push(format!("--{name}: {why}"));
            }
        };
        refuse("use_tls", |value| value == "false" || value.is_empty(), "there is no TLS yet");
        refuse("transform_function_jar", str::is_empty, "put a function before the sink, with a topic between them");
        refuse("dependency_repository", str::is_empty, "use the environment variable PIP_INDEX_URL");
        refuse("extra_dependency_repository", str::is_empty, "use the environment variable PIP_EXTRA_INDEX_URL");
    }
}

/// Some wrap JSON for a shell that is not there.
fn unquoted(text: &str) -> &str {
    let text = text.strip_prefix('\'').unwrap_or(text);
    text.strip_suffix('\'').unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Function Mesh starts a generic function, its shell done.
    const LEAST: [&str; 24] = [
        "--function_file",
        "/pulsar/f.py",
        "--language",
        "python",
        "--instance_id",
        "3",
        "--function_id",
        "3-7b1c",
        "--function_version",
        "0",
        "--function_details",
        r#"{"name":"f"}"#,
        "--pulsar_serviceurl",
        "pulsar://broker:6650",
        "--max_buffered_tuples",
        "100",
        "--port",
        "9093",
        "--metrics_port",
        "9094",
        "--expected_healthcheck_interval",
        "0",
        "--cluster_name",
        "test",
    ];

    fn parse(args: &[&str]) -> Result<Args> {
        Args::parse(args.iter().map(|arg| (*arg).to_owned()))
    }

    fn with(more: &[&str]) -> Result<Args> {
        parse(&[&LEAST[..], more].concat())
    }

    fn wrong(args: &[&str]) -> Vec<String> {
        match parse(args) {
            Err(Error::Args(wrong)) => wrong,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_instance_is_told_all_it_needs() {
        let args = parse(&LEAST).unwrap();
        let expected = Args {
            function_file: "/pulsar/f.py".into(),
            language: Script::Python,
            instance_id: 3,
            function_id: "3-7b1c".into(),
            function_version: 0,
            function_details: r#"{"name":"f"}"#.into(),
            pulsar_serviceurl: "pulsar://broker:6650".into(),
            web_serviceurl: String::new(),
            port: 9093,
            metrics_port: 9094,
            expected_healthcheck_interval: None,
            cluster_name: "test".into(),
            state_storage_serviceurl: String::new(),
            client_auth: Default::default(),
            ignored: vec![],
        };
        assert_eq!(args, expected);
        let args =
            with(&["--expected_healthcheck_interval", "30", "--function_version=7", "--language", "wasm"]).unwrap();
        assert_eq!(args.expected_healthcheck_interval, Some(Duration::from_secs(30)));
        assert_eq!((args.function_version, args.language), (7, Script::Wasm));
        // Pulsar's worker gives a random text here.
        assert_eq!(with(&["--function_version", "0e6a3c55-2f1f"]).unwrap().function_version, 0);
    }

    #[test]
    fn quotes_meant_for_a_shell_are_no_part_of_the_details() {
        assert_eq!(
            with(&["--function_details", r#"'{"name":"it's"}'"#]).unwrap().function_details,
            r#"{"name":"it's"}"#
        );
    }

    #[test]
    fn what_is_not_known_is_skipped_and_told() {
        let args =
            with(&["--use_tls", "false", "--new_flag", "--new", "value", "stray", "--client_auth_plugin", ""]).unwrap();
        assert_eq!(args.ignored, ["stray", "--new", "--new_flag"]);
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        assert_eq!(wrong(&[]).len(), 11);
        let args = [&LEAST[2..], &["--language", "cobol", "--port", "70000", "--use_tls", "true"]].concat();
        assert_eq!(
            wrong(&args),
            [
                "--function_file is missing",
                r#"--language cannot be "cobol""#,
                r#"--port cannot be "70000""#,
                "--use_tls: there is no TLS yet",
            ]
        );
        let twice = [&LEAST[..], &["--py", "/f.py", "--jar", "/f.jar"]].concat();
        assert_eq!(wrong(&twice), ["the code is named more than once: --jar, --py, --function_file, --language"]);
    }

    #[test]
    fn pulsars_own_instances_name_their_code_by_its_language() {
        let named = |more: &[&str]| parse(&[&LEAST[4..], more].concat()).unwrap();
        let java = named(&["--jar", "/pulsar/f.jar", "--state_storage_serviceurl", "file:///state"]);
        assert_eq!((java.function_file, java.language), ("/pulsar/f.jar".into(), Script::Java));
        assert_eq!(java.state_storage_serviceurl, "file:///state");
        let python = ["--py", "/pulsar/f.py", "--logging_directory", "logs", "--install_usercode_dependencies", "true"];
        let python =
            named(&[&python[..], &["--client_auth_plugin", "x.Y", "--client_auth_params", "'token:t'"]].concat());
        assert_eq!((python.language, python.ignored.len()), (Script::Python, 0));
        assert_eq!(python.client_auth, ("x.Y".to_owned(), "token:t".to_owned()));
    }
}
