//! Configuration of `geminga standalone`: a TOML file, then `GEMINGA_*` variables, then flags.
//!
//! Every crate owns its section; this composes them. A key that nothing knows is an error in the file, with its line.
//! In the environment it is a warning, because platforms set variables of their own: Kubernetes gives every pod
//! `GEMINGA_SERVICE_HOST` once there is a service named `geminga`.

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use std::{
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};
use toml::{Table, Value};

use crate::args::{LogFormat, Standalone};

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Settings {
    /// Directory for everything that is stored.
    pub(crate) data: PathBuf,
    /// Address to listen on.
    pub(crate) bind: IpAddr,
    /// Port of Pulsar's binary protocol; 0 picks a free one.
    pub(crate) broker_port: u16,
    /// Port of the REST API and of /metrics; 0 picks a free one.
    pub(crate) web_port: u16,
    /// Host that clients are told to connect to. By default the address it listens on, or this machine's name when
    /// that is all of its addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) advertised_address: Option<String>,
    /// Logs, which go to standard error.
    pub(crate) log: Log,
    /// Topics, subscriptions and their limits.
    pub(crate) broker: broker::Config,
    /// Connections and their limits.
    pub(crate) session: session::Config,
    /// The REST API.
    pub(crate) admin: admin::Config,
    /// What is stored, and where.
    pub(crate) ledger: ledger::Config,
    /// Functions, sources and sinks that run on this node.
    pub(crate) functions: crate::functions::Config,
}

/// Logs, which go to standard error.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Log {
    /// `text`, in colors on a terminal, or `json`, one object a line.
    pub(crate) format: LogFormat,
    /// What is logged: a level, or filters such as `info,session=debug`. RUST_LOG goes before it.
    pub(crate) level: String,
}

impl Default for Settings {
    fn default() -> Self {
        let data = PathBuf::from("data");
        Self {
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            broker_port: 6650,
            web_port: 8080,
            advertised_address: None,
            log: Log::default(),
            broker: broker::Config::default(),
            session: session::Config::default(),
            admin: admin::Config::default(),
            ledger: ledger::Config::default(),
            functions: crate::functions::Config::default(),
            data,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".to_owned() }
    }
}

impl Settings {
    /// Reads the file, the environment and the flags.
    ///
    /// # Errors
    /// The file cannot be read, or something in it or in the environment is no setting.
    pub(crate) fn load(flags: &Standalone) -> anyhow::Result<Self> {
        let file = match flags.config.as_deref() {
            Some(path) => {
                let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
                from_file(path, &text)?
            }
            None => Table::new(),
        };
        let environment = std::env::vars_os().filter_map(|(name, value)| {
            // What is not text is not ours.
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        let (mut settings, ignored) = with_environment(file, environment)?;
        for name in ignored {
            eprintln!("geminga: the environment variable {name} is no setting and is ignored");
        }
        settings.apply(flags);
        settings.place();
        Ok(settings)
    }

    fn apply(&mut self, flags: &Standalone) {
        if let Some(data) = &flags.data {
            self.data.clone_from(data);
        }
        if let Some(port) = flags.broker_port {
            self.broker_port = port;
        }
        if let Some(port) = flags.web_port {
            self.web_port = port;
        }
        if let Some(bind) = flags.bind {
            self.bind = bind;
        }
        if let Some(host) = &flags.advertised_address {
            self.advertised_address = Some(host.clone());
        }
        if let Some(format) = flags.log_format {
            self.log.format = format;
        }
        if let Some(level) = &flags.log_level {
            self.log.level.clone_from(level);
        }
    }

    /// Directories that the file does not move elsewhere are below `data`.
    fn place(&mut self) {
        let default = Self::default();
        if self.ledger.dir == default.ledger.dir {
            self.ledger.dir.clone_from(&self.data);
        }
        if self.ledger.journal.dir == default.ledger.journal.dir {
            self.ledger.journal.dir = self.data.join("journal");
        }
    }

    /// The directory of what concerns the whole cluster.
    pub(crate) fn metadata_dir(&self) -> PathBuf {
        self.data.join("metadata")
    }
}

/// Checks a file by itself, so that what is wrong is told with its line.
fn from_file(path: &Path, text: &str) -> anyhow::Result<Table> {
    let checked = toml::from_str::<Settings>(text).and_then(|_| toml::from_str::<Table>(text));
    match checked {
        Ok(table) => Ok(table),
        Err(error) => {
            let line = error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
            bail!("{}, line {line}: {}", path.display(), error.message().trim());
        }
    }
}

/// Lays `GEMINGA_*` variables over the file's settings. Also returns those that name no setting.
fn with_environment(
    mut table: Table,
    environment: impl Iterator<Item = (String, String)>,
) -> anyhow::Result<(Settings, Vec<String>)> {
    let known = Table::try_from(Settings::default()).context("write down the defaults")?;
    let mut ignored = Vec::new();
    let mut variables: Vec<_> = environment.collect();
    variables.sort();
    for (name, text) in variables {
        let Some(key) = name.strip_prefix("GEMINGA_") else { continue };
        if OF_CLIENTS.contains(&key) {
            continue;
        }
        let path: Vec<_> = key.split("__").map(|part| part.to_lowercase().replace('_', "-")).collect();
        if !is_known(&known, &path) {
            ignored.push(name);
            continue;
        }
        // A number, a boolean or a list as in TOML; what does not fit as that, as text.
        let typed = toml::from_str::<Table>(&format!("v = {text}")).ok().and_then(|mut t| t.remove("v"));
        let candidates = typed.into_iter().chain([Value::String(text.clone())]);
        let mut failure = None;
        for value in candidates {
            let mut attempt = table.clone();
            if !set(&mut attempt, &path, value) {
                continue;
            }
            match Settings::deserialize(attempt.clone()) {
                Ok(_) => {
                    table = attempt;
                    failure = None;
                    break;
                }
                Err(error) => failure = Some(failure.unwrap_or(error)),
            }
        }
        if let Some(error) = failure {
            bail!("environment variable {name}={text}: {}", error.message().trim());
        }
    }
    Ok((Settings::deserialize(table).context("settings")?, ignored))
}

/// Variables that the other subcommands read.
const OF_CLIENTS: [&str; 3] = ["SERVICE_URL", "ADMIN_URL", "TOKEN"];

/// Keys without a default are known too.
const OPTIONAL: [&str; 1] = ["advertised-address"];

fn is_known(known: &Table, path: &[String]) -> bool {
    match path {
        [key] => known.get(key).is_some_and(|value| !value.is_table()) || OPTIONAL.contains(&key.as_str()),
        [key, rest @ ..] => known.get(key).and_then(Value::as_table).is_some_and(|table| is_known(table, rest)),
        [] => false,
    }
}

fn set(table: &mut Table, path: &[String], value: Value) -> bool {
    match path {
        [key] => {
            table.insert(key.clone(), value);
            true
        }
        [key, rest @ ..] => {
            let section = table.entry(key.clone()).or_insert_with(|| Value::Table(Table::new()));
            section.as_table_mut().is_some_and(|table| set(table, rest, value))
        }
        [] => false,
    }
}

/// All settings with their defaults, each under the comment of its field in the source.
pub(crate) fn template() -> String {
    let mut out = String::from("# Settings of `geminga standalone`. Everything here is the default.\n\n");
    let table = Table::try_from(Settings::default()).unwrap_or_default();
    let own = include_str!("settings.rs");
    section(&mut out, "", &table, "Settings", &[own]);
    out
}

/// The sources in which the struct of a section is found.
fn sources(section: &str) -> (&'static str, &'static str) {
    match section {
        "log" => ("Log", include_str!("settings.rs")),
        "broker" => ("Config", include_str!("../../broker/src/config.rs")),
        "session" => ("Config", include_str!("../../session/src/config.rs")),
        "admin" => ("Config", include_str!("../../admin/src/config.rs")),
        "admin.deploying" => ("Deploying", include_str!("../../admin/src/functions/access.rs")),
        "ledger" => ("Config", include_str!("../../ledger/src/config.rs")),
        "functions" => ("Config", include_str!("functions.rs")),
        "functions.wasm" => ("Config", include_str!("../../runtime-wasm/src/lib.rs")),
        "ledger.journal" => ("Config", include_str!("../../journal/src/config.rs")),
        _ => ("", ""),
    }
}

fn section(out: &mut String, name: &str, table: &Table, of: &str, source: &[&str]) {
    use std::fmt::Write as _;
    let (tables, values): (Vec<_>, Vec<_>) = table.iter().partition(|(_, value)| value.is_table());
    let optional = if name.is_empty() { OPTIONAL.as_slice() } else { &[] };
    for (key, value) in values {
        let _ = write!(out, "{}{key} = {value}\n\n", comment(of, &key.replace('-', "_"), source));
    }
    for key in optional {
        let _ = write!(out, "{}# {key} =\n\n", comment(of, &key.replace('-', "_"), source));
    }
    for (key, value) in tables {
        let Some(table) = value.as_table() else { continue };
        let full = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
        let _ = write!(out, "{}[{full}]\n\n", comment(of, &key.replace('-', "_"), source));
        let (inner, text) = sources(&full);
        section(out, &full, table, inner, &[text]);
    }
}

/// The doc comment of a field, as TOML comments.
fn comment(of: &str, field: &str, sources: &[&str]) -> String {
    let (start, named) = (format!("struct {of} {{"), format!(" {field}:"));
    for source in sources {
        let Some((_, body)) = source.split_once(&start) else { continue };
        let mut comment = String::new();
        for line in body.lines().skip(1).map(str::trim) {
            if let Some(text) = line.strip_prefix("///") {
                comment.push('#');
                comment.push_str(text);
                comment.push('\n');
            } else if line.starts_with("pub") && line.contains(&named) {
                return comment;
            } else if line == "}" {
                break;
            } else if !line.starts_with("#[") {
                comment.clear();
            }
        }
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> anyhow::Result<(Settings, Vec<String>)> {
        let file = toml::from_str("broker-port = 1\nweb-port = 2\n[broker]\nshards = 3").unwrap();
        with_environment(file, pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
    }

    #[test]
    fn flags_go_before_the_environment_before_the_file() {
        let (mut settings, ignored) = environment(&[
            ("GEMINGA_WEB_PORT", "20"),
            ("GEMINGA_BROKER__MAX_MESSAGE_SIZE", "1048576"),
            ("GEMINGA_BROKER__CLUSTER_NAME", "7"),
            ("GEMINGA_SESSION__KEEPALIVE", "5s"),
            ("GEMINGA_LEDGER__JOURNAL__DIRECT", "false"),
            ("GEMINGA_ADVERTISED_ADDRESS", "example.org"),
            ("PATH", "/bin"),
        ])
        .unwrap();
        settings.apply(&Standalone { broker_port: Some(10), data: Some("/d".into()), ..Standalone::default() });
        settings.place();
        assert!(ignored.is_empty());
        assert_eq!((settings.broker_port, settings.web_port), (10, 20));
        assert_eq!((settings.broker.shards, settings.broker.max_message_size), (3, 1 << 20));
        assert_eq!(settings.broker.cluster_name, "7");
        assert_eq!(settings.session.keepalive.as_secs(), 5);
        assert!(!settings.ledger.journal.direct);
        assert_eq!(settings.advertised_address.as_deref(), Some("example.org"));
        assert_eq!(settings.ledger.dir, Path::new("/d"));
        assert_eq!(settings.ledger.journal.dir, Path::new("/d/journal"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = environment(&[("GEMINGA_WEB_PORT", "many")]).unwrap_err().to_string();
        assert!(error.contains("GEMINGA_WEB_PORT=many"), "{error}");
        let (_, ignored) = environment(&[("GEMINGA_SERVICE_HOST", "10.0.0.1"), ("GEMINGA_BROKER__X", "1")]).unwrap();
        assert_eq!(ignored, ["GEMINGA_BROKER__X", "GEMINGA_SERVICE_HOST"]);

        let wrong = "bind = \"127.0.0.1\"\n\n[broker]\nmax-mesage-size = 5\n";
        let error = from_file(Path::new("g.toml"), wrong).unwrap_err().to_string();
        assert!(error.starts_with("g.toml, line 4: ") && error.contains("max-mesage-size"), "{error}");
    }

    /// `UPDATE_EXPECT=1 cargo test -p geminga` writes the page again.
    #[test]
    fn the_reference_page_is_this_template() {
        let page = format!(
            "# Configuration\n\n\
             Settings of `geminga standalone` come from three places; the later wins:\n\n\
             1. The TOML file given with `--config`. A key that nothing knows is an error and is named with its line.\n\
             2. The environment: `GEMINGA_BROKER_PORT=6651`; for a key in a section, `GEMINGA_BROKER__MAX_MESSAGE_SIZE=1048576`\n   \
             (two underscores for each dot). A variable that names no setting is ignored with a warning, because\n   \
             platforms such as Kubernetes set `GEMINGA_...` variables of their own.\n\
             3. Flags: `geminga standalone --help` lists them.\n\n\
             Durations are written as `\"30s\"`, `\"5m\"` or `\"1h 30m\"`; sizes are bytes. Directories of `[ledger]` that are left\n\
             as they are lie within `data`.\n\n\
             This is every setting with its default, as `geminga config` prints it.\n\n\
             ```toml\n{}```\n",
            template()
        );
        expect_test::expect_file!["../../../docs/reference/configuration.md"].assert_eq(&page);
    }

    /// The template is the default configuration, and nothing in it lacks its comment.
    #[test]
    fn the_template_is_complete() {
        let template = template();
        let table: Table = toml::from_str(&template).unwrap();
        assert_eq!(table, Table::try_from(Settings::default()).unwrap());
        let lines: Vec<_> = template.lines().collect();
        for (before, line) in lines.iter().zip(&lines[1..]) {
            if line.contains(" = ") && !line.starts_with('#') || line.starts_with('[') {
                assert!(before.starts_with('#'), "{line} has no comment");
            }
        }
    }
}
