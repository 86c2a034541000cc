//! pulsar-admin's flags as a table: each names the field of the configuration that it sets, and how its text is read.
//!
//! A flag says what is in the configuration and nothing else, so that what is wrong with the whole is told at once, by
//! `model::function`, whether it came from flags or from a file.

use crate::units::parse_size;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Map, Value};
use std::marker::PhantomData;

/// How the text of a flag is read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    Text,
    /// Text that may begin with `-`.
    Dashed,
    /// Topics with commas between.
    Topics,
    /// `--flag`, or `--flag=false`.
    Switch,
    /// `--flag true`.
    Bool,
    Whole,
    Number,
    /// Bytes, `512M` too.
    Size,
    /// A JSON object.
    Object,
    /// One of these; upper and lower case, `-` and `_` are the same.
    OneOf(&'static [&'static str]),
}

impl Form {
    fn read(self, text: &str) -> Result<Value, String> {
        match self {
            Self::Text | Self::Dashed => Ok(text.into()),
            Self::Topics => Ok(text.split(',').map(str::trim).filter(|topic| !topic.is_empty()).collect()),
            Self::Switch | Self::Bool => {
                text.to_ascii_lowercase().parse::<bool>().map(Value::Bool).map_err(|_| "expected true or false".into())
            }
            Self::Whole => text.parse::<i64>().map(Value::from).map_err(|_| "expected a whole number".into()),
            Self::Number => text.parse::<f64>().map(Value::from).map_err(|_| "expected a number".into()),
            Self::Size => parse_size(text).map(Value::from),
            Self::Object => match serde_json::from_str(text) {
                Ok(value @ Value::Object(_)) => Ok(value),
                Ok(_) => Err("expected a JSON object, {...}".into()),
                Err(error) => Err(format!("expected a JSON object, {{...}}: {error}")),
            },
            Self::OneOf(names) => {
                let plain = |text: &str| text.replace('-', "_").to_ascii_lowercase();
                let name = names.iter().find(|name| plain(name) == plain(text));
                name.map(|name| (*name).into()).ok_or_else(|| format!("expected one of {}", names.join(", ")))
            }
        }
    }

    fn value_name(self) -> &'static str {
        match self {
            Self::Text | Self::Dashed => "TEXT",
            Self::Topics => "TOPIC,...",
            Self::Switch | Self::Bool => "BOOL",
            Self::Whole => "N",
            Self::Number => "NUMBER",
            Self::Size => "BYTES",
            Self::Object => "JSON",
            Self::OneOf(_) => "ONE",
        }
    }
}

/// One flag.
#[derive(Debug)]
pub(super) struct Flag {
    long: &'static str,
    short: Option<char>,
    also: &'static [&'static str],
    value_name: Option<&'static str>,
    /// Path of JSON names: `resources.cpu`.
    field: &'static str,
    form: Form,
    help: &'static str,
}

/// A flag that sets `field`.
pub(super) const fn flag(long: &'static str, field: &'static str, form: Form, help: &'static str) -> Flag {
    Flag { long, short: None, also: &[], value_name: None, field, form, help }
}

impl Flag {
    /// With one letter, too.
    pub(super) const fn short(self, letter: char) -> Self {
        Self { short: Some(letter), ..self }
    }

    /// Under other names, too, which the help leaves out.
    pub(super) const fn also(self, names: &'static [&'static str]) -> Self {
        Self { also: names, ..self }
    }

    /// What the help calls its value.
    pub(super) const fn of(self, value_name: &'static str) -> Self {
        Self { value_name: Some(value_name), ..self }
    }

    fn arg(&self, heading: &'static str) -> Arg {
        let form = self.form;
        let help = match form {
            Form::OneOf(names) => format!("{}: {}", self.help, names.join(", ")),
            _ => self.help.to_owned(),
        };
        let arg = Arg::new(self.long)
            .long(self.long)
            .aliases(self.also)
            .help(help)
            .help_heading(heading)
            .value_name(self.value_name.unwrap_or(form.value_name()))
            .action(ArgAction::Set)
            .value_parser(move |text: &str| form.read(text));
        let arg = match self.short {
            Some(letter) => arg.short(letter),
            None => arg,
        };
        match form {
            Form::Switch => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
            Form::Dashed => arg.allow_hyphen_values(true),
            Form::Whole | Form::Number | Form::Size => arg.allow_negative_numbers(true),
            _ => arg,
        }
    }
}

/// Flags under one heading of the help.
pub(super) struct Section {
    pub(super) heading: &'static str,
    pub(super) flags: &'static [Flag],
}

/// All flags of one kind.
pub(super) trait Flags: 'static {
    const SECTIONS: &'static [Section];

    fn all() -> impl Iterator<Item = (&'static str, &'static Flag)> {
        Self::SECTIONS.iter().flat_map(|section| section.flags.iter().map(|flag| (section.heading, flag)))
    }
}

/// What the flags of `F` on a command line say.
pub(crate) struct Settings<F> {
    given: Vec<(&'static str, Value)>,
    of: PhantomData<fn() -> F>,
}

impl<F> std::fmt::Debug for Settings<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.given.iter().map(|(field, value)| (field, value))).finish()
    }
}

impl<F> Settings<F> {
    /// Puts them over `config`.
    pub(super) fn apply(&self, config: &mut Map<String, Value>) {
        for (field, value) in &self.given {
            put(config, field, value.clone());
        }
    }
}

/// Sets a field by its path; what stands in the way of the path is a mistake that gives way.
fn put(config: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            config.insert(path.to_owned(), value);
        }
        Some((outer, inner)) => {
            let outer = config.entry(outer).or_insert_with(|| Value::Object(Map::new()));
            if !outer.is_object() {
                *outer = Value::Object(Map::new());
            }
            if let Value::Object(outer) = outer {
                put(outer, inner, value);
            }
        }
    }
}

impl<F: Flags> clap::FromArgMatches for Settings<F> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let value = |flag: &Flag| matches.get_one::<Value>(flag.long).cloned();
        let given = F::all().filter_map(|(_, flag)| Some((flag.field, value(flag)?))).collect();
        Ok(Self { given, of: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<F: Flags> clap::Args for Settings<F> {
    fn augment_args(command: Command) -> Command {
        command.args(F::all().map(|(heading, flag)| flag.arg(heading)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}
