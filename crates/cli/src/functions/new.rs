//! `new`: a project to begin with. Templates are in `templates/`, a directory for each language, with `{{name}}` for the
//! name, `{{snake}}` and `{{Class}}` for its forms as an identifier.

use crate::output;
use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};

/// In the source this program was built from, as long as that is there.
const SDK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/rust/geminga-function");

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    geminga functions new --lang python exclaim\n  \
    geminga functions new --lang rust exclaim --sdk ~/geminga/sdk/rust/geminga-function")]
pub(crate) struct Args {
    /// The name: letters, digits and `-`
    name: String,
    /// The language
    #[arg(short, long, value_enum)]
    lang: Lang,
    /// The directory to make [default: the name]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Where the crate geminga-function is: a path, or the URL of a Git repository; for Rust, since it is not published
    /// [default: where this program was built]
    #[arg(long, value_name = "PATH|URL")]
    sdk: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Lang {
    /// A class in one file
    Python,
    /// With Pulsar's Go SDK
    Go,
    /// With Pulsar's API and Maven
    Java,
    /// A WebAssembly component
    Rust,
    /// A program that reads and writes lines of JSON, here for Node
    Process,
}

impl Lang {
    /// Path of each file and what is in it.
    const fn files(self) -> &'static [(&'static str, &'static str)] {
        macro_rules! files {
            ($($path:literal from $template:literal,)*) => {
                &[$(($path, include_str!(concat!("../../templates/", $template)))),*]
            };
        }
        match self {
            Self::Python => files! {
                "{{snake}}.py" from "python/function.py",
                "test_{{snake}}.py" from "python/test_function.py",
                "function.yaml" from "python/function.yaml",
                "README.md" from "python/README.md",
                ".gitignore" from "python/gitignore",
            },
            Self::Go => files! {
                "go.mod" from "go/go.mod.in",
                "main.go" from "go/main.go.in",
                "main_test.go" from "go/main_test.go.in",
                "function.yaml" from "go/function.yaml",
                "README.md" from "go/README.md",
                ".gitignore" from "go/gitignore",
            },
            Self::Java => files! {
                "pom.xml" from "java/pom.xml",
                "src/main/java/functions/{{Class}}.java" from "java/src/Function.java.in",
                "src/test/java/functions/{{Class}}Test.java" from "java/src/FunctionTest.java.in",
                "function.yaml" from "java/function.yaml",
                "README.md" from "java/README.md",
                ".gitignore" from "java/gitignore",
            },
            Self::Rust => files! {
                "Cargo.toml" from "rust/Cargo.toml",
                "src/lib.rs" from "rust/src/lib.rs",
                "function.yaml" from "rust/function.yaml",
                "README.md" from "rust/README.md",
                ".gitignore" from "rust/gitignore",
            },
            Self::Process => files! {
                "{{name}}.js" from "process/function.js",
                "{{name}}.test.js" from "process/function.test.js",
                "function.yaml" from "process/function.yaml",
                "README.md" from "process/README.md",
            },
        }
    }
}

/// Writes the project.
///
/// # Errors
/// The name cannot be that of a program, something is there already, or a file cannot be written.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let is_fit = args.name.starts_with(|c: char| c.is_ascii_lowercase())
        && args.name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && args.name.len() <= 64;
    ensure!(is_fit, "a name begins with a letter and has lower-case letters, digits and '-', not '{}'", args.name);
    let dir = args.dir.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    let is_empty = std::fs::read_dir(&dir).map_or(true, |mut entries| entries.next().is_none());
    ensure!(is_empty, "{} is there already", dir.display());
    let sdk = match &args.sdk {
        Some(sdk) => dependency(sdk)?,
        None if args.lang == Lang::Rust => {
            ensure!(
                Path::new(SDK).exists(),
                "say with --sdk where sdk/rust/geminga-function of Geminga's source is, or its Git repository"
            );
            dependency(SDK)?
        }
        None => String::new(),
    };
    let fill = |template: &str| {
        let template = template.replace("{{name}}", &args.name).replace("{{snake}}", &args.name.replace('-', "_"));
        template.replace("{{Class}}", &class(&args.name)).replace("{{sdk}}", &sdk)
    };
    for (path, content) in args.lang.files() {
        let path = dir.join(fill(path));
        write(&path, &fill(content)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    output::line(format!("made {}; its README.md says how to build, test and deploy it", dir.display()))
}

/// `word-count` as `WordCount`.
fn class(name: &str) -> String {
    let parts = name.split('-').filter_map(|part| {
        let mut chars = part.chars();
        Some(chars.next()?.to_ascii_uppercase().to_string() + chars.as_str())
    });
    parts.collect()
}

/// A dependency of Cargo's: a repository, or a path that holds from anywhere.
fn dependency(sdk: &str) -> anyhow::Result<String> {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    if sdk.contains("://") {
        return Ok(format!("{{ git = {} }}", quoted(sdk)));
    }
    // The workspace of the SDK will do, too.
    let given = Path::new(sdk);
    let inner = given.join("geminga-function");
    let path = if inner.join("Cargo.toml").is_file() { inner } else { given.to_owned() };
    ensure!(path.join("Cargo.toml").is_file(), "{sdk} has no Cargo.toml: name sdk/rust/geminga-function of Geminga");
    let path = path.canonicalize().with_context(|| format!("cannot read {sdk}"))?;
    Ok(format!("{{ path = {} }}", quoted(&path.to_string_lossy())))
}

fn write(path: &Path, content: &str) -> std::io::Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    std::fs::write(path, content)?;
    #[cfg(unix)]
    if content.starts_with("#!") {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;
    use model::function::{Draft, FunctionConfig, Host};

    fn project(lang: Lang, dir: &Path) -> Args {
        Args { name: "word-count".to_owned(), lang, dir: Some(dir.to_owned()), sdk: None }
    }

    #[test]
    fn the_sdk_is_found_where_it_is_said_and_where_this_was_built() {
        let workspace = concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/rust");
        assert_eq!(dependency(workspace).unwrap(), dependency(SDK).unwrap());
        assert_eq!(dependency("https://example.org/g").unwrap(), r#"{ git = "https://example.org/g" }"#);
        assert!(dependency("/nowhere").unwrap_err().to_string().contains("has no Cargo.toml"));
    }

    #[test]
    fn every_language_has_a_project_whose_configuration_is_right() {
        for lang in Lang::value_variants() {
            let root = tempfile::tempdir().unwrap();
            let dir = root.path().join("new");
            run(&project(*lang, &dir)).unwrap();
            for (path, _) in lang.files() {
                let path = path.replace("{{name}}", "word-count").replace("{{snake}}", "word_count");
                let content = std::fs::read_to_string(dir.join(path.replace("{{Class}}", "WordCount"))).unwrap();
                assert!(!content.contains("{{"), "{lang:?} {path}: {content}");
            }
            let yaml = std::fs::read_to_string(dir.join("function.yaml")).unwrap();
            let config: serde_json::Value = serde_saphyr::from_str(&yaml).unwrap();
            let config = Draft::<FunctionConfig>::read(&config.to_string()).finish(Host::Geminga).unwrap();
            assert_eq!(config.name.as_deref(), Some("word-count"));
            // What is there is never written over.
            run(&project(*lang, &dir)).unwrap_err();
        }
    }

    #[test]
    fn a_name_is_fit_for_all_languages() {
        let root = tempfile::tempdir().unwrap();
        for bad in ["", "Word", "1st", "a/b", "..", "a b", "-a"] {
            let args = Args { name: bad.to_owned(), ..project(Lang::Python, &root.path().join("x")) };
            assert!(run(&args).is_err(), "{bad:?}");
        }
        assert_eq!(class("word-count-2"), "WordCount2");
    }

    /// Runs what the README says, where the interpreter is there.
    fn tested_by(lang: Lang, program: &str, line: &[&str]) {
        if std::process::Command::new(program).arg("--version").output().is_err() {
            eprintln!("{program} is not installed, the template is not run");
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("new");
        run(&project(lang, &dir)).unwrap();
        let done = std::process::Command::new(program).args(line).current_dir(&dir).output().unwrap();
        let text = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{text}");
    }

    #[test]
    fn the_python_project_passes_its_tests() {
        tested_by(Lang::Python, "python3", &["-m", "unittest", "-v"]);
    }

    #[test]
    fn the_process_project_passes_its_tests() {
        tested_by(Lang::Process, "node", &["--test"]);
    }
}
