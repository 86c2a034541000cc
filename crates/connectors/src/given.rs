//! Reads `configs` and keeps going at a mistake, so that all of them are told at once.
//!
//! As Pulsar's mapper does, a number may be quoted, and `null` and the empty text are absent.

use model::function::nearest;
use serde_json::{Map, Value};
use std::{ops::RangeInclusive, time::Duration};

use crate::error::{Error, Result};

/// See the module. Every field of a connector is asked for once; what nobody asked for is unknown.
pub(crate) struct Given<'a> {
    connector: &'a str,
    values: &'a Map<String, Value>,
    known: Vec<&'static str>,
    problems: Vec<String>,
}

impl<'a> Given<'a> {
    pub(crate) fn new(connector: &'a str, values: &'a Map<String, Value>) -> Self {
        Self { connector, values, known: Vec::new(), problems: Vec::new() }
    }

    /// Something else that is wrong.
    pub(crate) fn problem(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    /// The value as it is; `None` when it is absent.
    pub(crate) fn value(&mut self, name: &'static str) -> Option<&'a Value> {
        self.known.push(name);
        self.values.get(name).filter(|value| !value.is_null() && value.as_str() != Some(""))
    }

    fn expected<T>(&mut self, name: &str, what: &str, found: &Value) -> Option<T> {
        let mut found = found.to_string();
        if let Some((cut, _)) = found.char_indices().nth(80) {
            found.truncate(cut);
            found.push_str("...");
        }
        self.problem(format!("`{name}` must be {what}, found {found}"));
        None
    }

    pub(crate) fn text(&mut self, name: &'static str) -> Option<String> {
        match self.value(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            other => self.expected(name, "a text", other),
        }
    }

    /// A text that must be there; empty when it is not.
    pub(crate) fn required(&mut self, name: &'static str) -> String {
        let before = self.problems.len();
        self.text(name).unwrap_or_else(|| {
            if self.problems.len() == before {
                self.problem(format!("`{name}` is missing"));
            }
            String::new()
        })
    }

    pub(crate) fn flag(&mut self, name: &'static str) -> Option<bool> {
        let value = self.value(name)?;
        match value.as_str().map_or_else(|| value.as_bool(), |text| text.parse().ok()) {
            None => self.expected(name, "true or false", value),
            flag => flag,
        }
    }

    pub(crate) fn whole(&mut self, name: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.value(name)?;
        // Pulsar has fields of type double that are counts of bytes.
        let exact = |number: f64| (number >= 0.0 && number.fract() == 0.0).then_some(number as u64);
        let number = match value {
            Value::Number(number) => number.as_u64().or_else(|| number.as_f64().and_then(exact)),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        match number.filter(|number| range.contains(number)) {
            None if *range.end() == u64::MAX => {
                self.expected(name, &format!("a whole number from {}", range.start()), value)
            }
            None => self.expected(name, &format!("a whole number from {} to {}", range.start(), range.end()), value),
            number => number,
        }
    }

    /// Milliseconds, up to a day.
    pub(crate) fn millis(&mut self, name: &'static str, least: u64) -> Option<Duration> {
        self.whole(name, least..=86_400_000).map(Duration::from_millis)
    }

    /// A number from 0 to `most`.
    pub(crate) fn number(&mut self, name: &'static str, most: f64) -> Option<f64> {
        let value = self.value(name)?;
        match number_of(value).filter(|number| (0.0..=most).contains(number)) {
            None => self.expected(name, &format!("a number from 0 to {most}"), value),
            number => number,
        }
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(&mut self, name: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(name)?;
        let chosen = choices.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice);
        if chosen.is_none() {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            let hint = nearest(&text, &words).map(|near| format!(", did you mean {near}?")).unwrap_or_default();
            self.problem(format!("`{name}` must be one of {}, found {text:?}{hint}", words.join(", ")));
        }
        chosen
    }

    /// Names, as a list or with commas between them.
    pub(crate) fn names(&mut self, name: &'static str) -> Vec<String> {
        match self.value(name) {
            None => Vec::new(),
            Some(Value::String(text)) => {
                text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
            }
            Some(Value::Array(list)) if list.iter().all(Value::is_string) => {
                list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            Some(other) => self.expected(name, "a list of texts", other).unwrap_or_default(),
        }
    }

    /// Texts by name.
    pub(crate) fn texts(&mut self, name: &'static str) -> Vec<(String, String)> {
        let Some(value) = self.value(name) else { return Vec::new() };
        let texts = value.as_object().and_then(|map| {
            map.iter().map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect::<Option<Vec<_>>>()
        });
        texts.unwrap_or_else(|| self.expected(name, "an object of texts", value).unwrap_or_default())
    }

    /// A pattern that a whole name has to match, as `Pattern.matches` in Java.
    pub(crate) fn pattern(&mut self, name: &'static str) -> Option<regex::Regex> {
        let text = self.text(name)?;
        match regex::Regex::new(&format!("^(?:{text})$")) {
            Ok(pattern) => Some(pattern),
            Err(_) => self.expected(name, "a regular expression", &Value::String(text)),
        }
    }

    /// # Errors
    /// All that was found wrong, unknown names with the ones that were probably meant.
    pub(crate) fn finish(mut self) -> Result<()> {
        for name in self.values.keys().filter(|name| !self.known.contains(&name.as_str())) {
            let hint = nearest(name, &self.known).map(|near| format!(", did you mean `{near}`?"));
            let shown: String = name.chars().take(80).collect();
            self.problems.push(format!("unknown field `{shown}`{}", hint.unwrap_or_default()));
            // More than anyone reads.
            if self.problems.len() > 50 {
                break;
            }
        }
        if self.problems.is_empty() {
            return Ok(());
        }
        Err(Error::Config { connector: self.connector.to_owned(), problems: self.problems })
    }
}

/// A finite number, which may be quoted.
pub(crate) fn number_of(value: &Value) -> Option<f64> {
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
    number.filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn all_mistakes_are_told_at_once() {
        let configs = json!({"hosts": "a", "port": "x", "mode": "UPSRT", "flag": 1, "fast": "true", "count": "7"});
        let mut given = Given::new("test", configs.as_object().unwrap());
        assert_eq!(given.text("host"), None);
        assert_eq!(given.whole("port", 1..=65535), None);
        assert_eq!(given.choice("mode", &[("INSERT", 1), ("UPSERT", 2)]), None);
        assert_eq!(given.flag("flag"), None);
        assert_eq!(given.required("url"), "");
        assert_eq!((given.flag("fast"), given.whole("count", 0..=9)), (Some(true), Some(7)));
        expect_test::expect![[r#"configs of test: `port` must be a whole number from 1 to 65535, found "x"; `mode` must be one of INSERT, UPSERT, found "UPSRT", did you mean UPSERT?; `flag` must be true or false, found 1; `url` is missing; unknown field `hosts`, did you mean `host`?"#]]
        .assert_eq(&given.finish().unwrap_err().to_string());
    }
}
