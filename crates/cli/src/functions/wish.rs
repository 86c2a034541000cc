//! What is to be deployed, gathered from a file, from flags and from the code itself, and checked before anything is sent.

use super::{
    code,
    kind::Kind,
    scaling::Bounds,
    settings::Settings,
    target::{NAMESPACE, Name, TENANT},
};
use anyhow::{Context, bail, ensure};
use model::function::{CONFIG_BYTES_MAX, Component, Draft, Host, Problems};
use serde_json::{Map, Value};
use std::{
    io::Read,
    path::{Path, PathBuf},
};

/// The fields that say where code lies.
const CODE: [&str; 6] = ["jar", "py", "go", "wasm", "exec", "archive"];

/// Where the code comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Code {
    /// From this machine: it is uploaded.
    File(PathBuf),
    /// From where the worker finds it.
    Url(String),
    /// It is built in, or stays as it was.
    Stays,
}

/// A configuration and its code.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) name: Name,
    pub(super) config: Value,
    pub(super) code: Code,
    /// How it scales.
    pub(super) bounds: Bounds,
}

/// Where the parts of a wish come from.
pub(super) struct Sources<'a, F> {
    pub(super) kind: Kind,
    pub(super) config_file: Option<&'a Path>,
    pub(super) user_config_file: Option<&'a Path>,
    pub(super) settings: &'a Settings<F>,
    pub(super) bounds: &'a Bounds,
    /// The code, named without a flag.
    pub(super) file: Option<&'a str>,
}

impl<F> Sources<'_, F> {
    /// What is to be created.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub(super) fn create<C: Component>(&self) -> anyhow::Result<Wish> {
        self.gather::<C>(true)
    }

    /// What is to be changed.
    ///
    /// # Errors
    /// All that can be told to be wrong without what it changes.
    pub(super) fn update<C: Component>(&self) -> anyhow::Result<Wish> {
        self.gather::<C>(false)
    }

    fn gather<C: Component>(&self, creates: bool) -> anyhow::Result<Wish> {
        let mut config = match self.config_file {
            Some(path) => object(path)?,
            None => Map::new(),
        };
        self.settings.apply(&mut config);
        if let Some(path) = self.user_config_file {
            config.insert("userConfig".to_owned(), object(path)?.into());
        }
        self.take_fqfn(&mut config);
        let code = self.take_code(&mut config, creates)?;
        let mut also_wrong = Problems::default();
        if let Code::File(path) = &code {
            if let Err(error) = std::fs::File::open(path) {
                also_wrong.add("", format!("cannot read {}: {error}", path.display()));
            } else if self.kind == Kind::Function && !config.contains_key("className") && config.contains_key("py") {
                self.take_class(path, &mut config, creates, &mut also_wrong);
            }
        }
        if !creates {
            // A configuration of a part of the fields names what it changes as a whole one does.
            name_by_class(&mut config);
        }
        let draft = Draft::<C>::read(&Value::Object(config.clone()).to_string());
        let (read, problems) = match creates {
            true => draft.examined(Host::Geminga),
            false => match draft.partial() {
                Ok(read) => (Some(read), Problems::default()),
                Err(problems) => (None, problems),
            },
        };
        let mut all = Problems::default();
        let class_is_told = also_wrong.as_slice().iter().any(|problem| problem.field == "className");
        for problem in problems.into_iter().filter(|problem| !(class_is_told && problem.field == "className")) {
            all.add(problem.field, problem.message);
        }
        for problem in also_wrong {
            all.add(problem.field, problem.message);
        }
        if !all.is_empty() {
            return Err(all.into());
        }
        let Some(read) = read else { bail!("the configuration cannot be read") };
        let or = |given: &str, default: &str| if given.is_empty() { default.to_owned() } else { given.to_owned() };
        let name = Name {
            tenant: or(read.tenant(), TENANT),
            namespace: or(read.namespace(), NAMESPACE),
            name: read.name().to_owned(),
        };
        ensure!(!name.name.is_empty(), "say which {} with --name", self.kind.word());
        for (field, value) in [("tenant", &name.tenant), ("namespace", &name.namespace), ("name", &name.name)] {
            config.insert(field.to_owned(), value.as_str().into());
        }
        Ok(Wish { name, config: config.into(), code, bounds: self.bounds.clone() })
    }

    /// `fqfn` of a flag stands for three fields. Source: `CmdFunctions.processArguments`.
    fn take_fqfn(&self, config: &mut Map<String, Value>) {
        let fqfn = config.get("fqfn").and_then(Value::as_str).unwrap_or_default().to_owned();
        // Any other number of parts is for the check to tell.
        if let [tenant, namespace, name] = fqfn.split('/').collect::<Vec<_>>()[..] {
            config.remove("fqfn");
            for (field, value) in [("tenant", tenant), ("namespace", namespace), ("name", name)] {
                config.insert(field.to_owned(), value.into());
            }
        }
    }

    /// Where the code is, its field filled in.
    fn take_code(&self, config: &mut Map<String, Value>, creates: bool) -> anyhow::Result<Code> {
        let named_by = |file: &str| !creates && !file.contains("://") && !Path::new(file).is_file();
        if let Some(name) = self.file.filter(|file| named_by(file)) {
            // `update exclaim --parallelism 4` says what to change, not where code is.
            let name = Name::parse(name).with_context(|| format!("there is no file {name}, and it is no name"))?;
            for (field, value) in [("tenant", name.tenant), ("namespace", name.namespace), ("name", name.name)] {
                config.entry(field).or_insert_with(|| value.into());
            }
        } else if let Some(file) = self.file {
            let path = Path::new(file);
            let field = match self.kind {
                Kind::Source | Kind::Sink => "archive",
                Kind::Function => match code::field(path).with_context(|| format!("cannot read {file}"))? {
                    Some(field) => field,
                    None => bail!("nothing tells what {file} is: say it with --py, --jar, --go, --wasm or --exec"),
                },
            };
            let given: Vec<_> = CODE.into_iter().filter(|field| config.contains_key(*field)).collect();
            ensure!(given.is_empty(), "the code is named twice: {file}, and {}", given.join(", "));
            config.insert(field.to_owned(), file.into());
            // What has a class is named after it, unless the file was what one pointed at.
            if let (false, Some(name)) = (config.contains_key("name"), code::name(path)) {
                config.insert("name".to_owned(), name.into());
            }
        }
        let mut given = CODE.into_iter().filter_map(|field| Some((field, config.get(field)?.as_str()?)));
        let Some((field, text)) = given.next() else { return Ok(Code::Stays) };
        Ok(match text.split_once("://") {
            Some(("builtin", _)) => Code::Stays,
            Some(_) => Code::Url(text.to_owned()),
            // A command line of one word is a file where there is one: `--exec ./shout`, but `--exec jq`.
            None if field == "exec" && !Path::new(text).is_file() => Code::Stays,
            None => Code::File(text.into()),
        })
    }

    /// The class, when the file leaves no question.
    fn take_class(&self, path: &Path, config: &mut Map<String, Value>, creates: bool, wrong: &mut Problems) {
        let is_source = path.extension().is_some_and(|extension| extension == "py");
        let classes = if is_source { code::python_classes(path).unwrap_or_default() } else { Vec::new() };
        match &classes[..] {
            [class] => {
                config.insert("className".to_owned(), class.as_str().into());
            }
            // An update keeps the class that it has.
            _ if !creates => {}
            [] => wrong.add(
                "className",
                format!("say with --classname what is called in {}, such as module.Class", path.display()),
            ),
            several => wrong.add(
                "className",
                format!(
                    "{} has more than one to call: say with --classname which of {}",
                    path.display(),
                    several.join(", ")
                ),
            ),
        }
    }
}

/// Source: `FunctionCommon.inferMissingFunctionName`.
fn name_by_class(config: &mut Map<String, Value>) {
    let class = config.get("className").and_then(Value::as_str).unwrap_or_default();
    let name = class.rsplit('.').next().unwrap_or_default().to_owned();
    if !name.is_empty() && !config.contains_key("name") {
        config.insert("name".to_owned(), name.into());
    }
}

/// A file of YAML, of which JSON is a part, that holds an object; `-` is standard input.
pub(super) fn object(path: &Path) -> anyhow::Result<Map<String, Value>> {
    let mut text = Vec::new();
    // One byte more, to know that it is too many.
    let bound = CONFIG_BYTES_MAX as u64 + 1;
    let read = match path == Path::new("-") {
        true => std::io::stdin().lock().take(bound).read_to_end(&mut text),
        false => std::fs::File::open(path).and_then(|file| file.take(bound).read_to_end(&mut text)),
    };
    read.with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(text.len() <= CONFIG_BYTES_MAX, "{} is longer than {CONFIG_BYTES_MAX} bytes", path.display());
    let text = String::from_utf8(text).with_context(|| format!("{} is no text", path.display()))?;
    parse(&text).with_context(|| format!("{} cannot be read", path.display()))
}

fn parse(text: &str) -> anyhow::Result<Map<String, Value>> {
    let is_json = text.trim_start().starts_with('{');
    let value = match serde_json::from_str(text) {
        Ok(value) => value,
        // An opening brace may begin YAML too, but who writes it means JSON, and wants to know what is wrong with that.
        Err(error) if is_json => match serde_saphyr::from_str(text) {
            Ok(value) => value,
            Err(_) => return Err(error.into()),
        },
        Err(_) => serde_saphyr::from_str(text)?,
    };
    match value {
        Value::Object(fields) => Ok(fields),
        Value::Null => Ok(Map::new()),
        _ => bail!("expected fields with values, such as `className: acme.Shout`"),
    }
}
