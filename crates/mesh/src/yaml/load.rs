//! Events of the parser to trees, within what all that is read together may have.

use super::{Data, Entry, Room, Value, scalar};
use crate::problem::{At, Problems, quoted};
use granit_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput, Tag, options};
use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

/// Lists and mappings within each other.
const DEPTH_MAX: usize = 64;

/// How far behind the place that the parser tells a mistake may be.
const LINES_LOOKED_AT: usize = 5;
/// What `{{` in a manifest means.
const TEMPLATE: &str = "`{{` begins a template, and what `helm template` makes of it is a manifest";

/// The documents of a text; empty ones are left out. A document with a mistake in its YAML is told and left out.
pub(crate) fn load(file: usize, text: &str, room: &mut Room, problems: &mut Problems) -> Vec<Value> {
    if room.is_full() {
        // That is said already.
        return Vec::new();
    }
    if let Err(full) = room.read(text.len()) {
        problems.error(At { file, line: 1, column: 1 }, full);
        return Vec::new();
    }
    let options = options! {
        emit_comments: false,
        emit_unresolved_aliases: true,
        block_nesting_limit: DEPTH_MAX,
        flow_nesting_limit: DEPTH_MAX,
    };
    let mut documents = Vec::new();
    for (lines_before, text) in pieces(text) {
        let mut loader = Loader {
            file,
            text,
            lines_before,
            parser: Parser::new_from_str_with_options(text, options.clone()),
            anchors: HashMap::new(),
            room,
            problems,
        };
        documents.append(&mut loader.documents());
        if room.is_full() {
            break;
        }
    }
    documents
}

/// The objects of a stream of JSON, as `jq` writes it, each with the lines before it; a text of YAML is one piece.
fn pieces(text: &str) -> Vec<(usize, &str)> {
    if !text.trim_start_matches('\u{feff}').trim_start().starts_with('{') {
        return vec![(0, text)];
    }
    let (mut pieces, mut start, mut lines, mut lines_before) = (Vec::new(), 0, 0, 0);
    let (mut depth, mut is_text, mut is_escaped, mut is_whole) = (0_usize, false, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'\n' => lines += 1,
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b'{' if !is_text => {
                if is_whole {
                    pieces.push((lines_before, &text[start..at]));
                    (start, lines_before, is_whole) = (at, lines, false);
                }
                depth += 1;
            }
            b'}' if !is_text => {
                depth = depth.saturating_sub(1);
                is_whole = depth == 0;
            }
            // What comes behind an object is something else than the next one.
            byte if is_whole && !byte.is_ascii_whitespace() => return vec![(0, text)],
            _ => {}
        }
    }
    pieces.push((lines_before, &text[start..]));
    pieces
}

/// The one value of a text within a manifest; nothing where it is no YAML.
pub(crate) fn one(text: &str) -> Option<Value> {
    let mut problems = Problems::default();
    let mut documents = load(0, text, &mut Room::of_one(), &mut problems);
    documents.pop().filter(|_| documents.is_empty() && problems.is_empty())
}

/// Why a document cannot be read further.
enum Stop {
    /// This document is broken; the next may not be.
    Document(At, String),
    /// There is too much of it.
    All(At, String),
}

struct Loader<'a> {
    file: usize,
    text: &'a str,
    /// Lines of the file before this text.
    lines_before: usize,
    parser: Parser<'a, StrInput<'a>>,
    /// What may be repeated, by the parser's number.
    anchors: HashMap<usize, Value>,
    room: &'a mut Room,
    problems: &'a mut Problems,
}

impl<'a> Loader<'a> {
    fn documents(&mut self) -> Vec<Value> {
        let mut documents = Vec::new();
        loop {
            match self.document() {
                Ok(Some(value)) if value.is_null() => {}
                Ok(Some(value)) => documents.push(value),
                Ok(None) => return documents,
                Err(Stop::All(at, text)) => {
                    self.problems.error(at, text);
                    return documents;
                }
                Err(Stop::Document(at, text)) => {
                    self.problems.error(at, text);
                    match self.parser.proceed_next_document() {
                        Ok(true) => {}
                        Ok(false) | Err(_) => return documents,
                    }
                }
            }
        }
    }

    /// The next document, nothing at the end.
    fn document(&mut self) -> Result<Option<Value>, Stop> {
        loop {
            match self.event()? {
                None | Some((Event::StreamEnd, _)) => return Ok(None),
                Some((Event::StreamStart | Event::DocumentEnd, _)) => {}
                Some((Event::DocumentStart(..), span)) => {
                    let at = self.at(&span.start);
                    self.room.document().map_err(|full| Stop::All(at, full))?;
                }
                Some((event, span)) => {
                    let value = self.value(event, span, 0)?;
                    self.anchors.clear();
                    return Ok(Some(value));
                }
            }
        }
    }

    fn event(&mut self) -> Result<Option<(Event<'a>, Span)>, Stop> {
        match self.parser.next() {
            None => Ok(None),
            Some(Ok(event)) => Ok(Some(event)),
            Some(Err(error)) => Err(self.broken(&error)),
        }
    }

    /// The event that must come within a list or mapping.
    fn within(&mut self, start: At) -> Result<(Event<'a>, Span), Stop> {
        let unfinished = || Stop::All(start, "this does not end".to_owned());
        self.event()?.ok_or_else(unfinished)
    }

    /// Says what is meant by the mistakes that people make most; the parser tells where it began what it could not end.
    fn broken(&self, error: &ScanError) -> Stop {
        let (at, why) = (self.at(error.marker()), error.info());
        if why.contains("recursion limit") {
            return Stop::Document(at, too_deep());
        }
        let lines = || self.text.lines().enumerate().skip(at.line - 1 - self.lines_before).take(LINES_LOOKED_AT);
        if lines().next().is_some_and(|(_, line)| line.contains("{{")) {
            return Stop::Document(at, format!("this is no YAML: {why}; {TEMPLATE}"));
        }
        let tab = |line: &str| line.chars().take_while(|c| c.is_whitespace()).position(|c| c == '\t');
        let indented = lines().find_map(|(number, line)| Some((number, tab(line)?)));
        if let Some((number, column)) = indented.filter(|_| why.contains("tab")) {
            let at = At { line: self.lines_before + number + 1, column: column + 1, ..at };
            return Stop::Document(at, "this is no YAML: a tab indents this line, and only spaces do that".to_owned());
        }
        Stop::Document(at, format!("this is no YAML: {why}"))
    }

    fn at(&self, marker: &Marker) -> At {
        At { file: self.file, line: self.lines_before + marker.line().max(1), column: marker.col() + 1 }
    }

    fn value(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Value, Stop> {
        let at = self.at(&span.start);
        if depth > DEPTH_MAX {
            return Err(Stop::All(at, too_deep()));
        }
        let (data, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.count(at, 1, text.len())?;
                (self.scalar(text, style, tag.as_deref(), at), anchor)
            }
            Event::SequenceStart(_, anchor, _) => {
                self.count(at, 1, 0)?;
                let mut items = Vec::new();
                loop {
                    match self.within(at)? {
                        (Event::SequenceEnd, _) => break,
                        (event, span) => items.push(self.value(event, span, depth + 1)?),
                    }
                }
                (Data::List(items), anchor)
            }
            Event::MappingStart(_, anchor, _) => {
                self.count(at, 1, 0)?;
                (Data::Map(self.entries(at, depth)?), anchor)
            }
            Event::Alias(anchor) => return self.alias(anchor, at, depth),
            Event::UnresolvedAlias(name) => {
                self.problems.error(at, format!("nothing before this is called &{}", quoted(&name)));
                (Data::Null, 0)
            }
            _ => return Err(Stop::All(at, "this is no value".to_owned())),
        };
        let value = Value { at, data };
        if anchor != 0 {
            // What may be repeated is kept beside what it is part of.
            let (values, bytes, _) = measured(&value);
            self.count(at, values, bytes)?;
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn scalar(&mut self, text: Cow<'_, str>, style: ScalarStyle, tag: Option<&Tag>, at: At) -> Data {
        let text = text.into_owned();
        match tag {
            None if style == ScalarStyle::Plain => scalar::plain(text),
            None => Data::Text(text),
            Some(tag) if tag.is_yaml_core_schema_tag("str") => Data::Text(text),
            Some(tag) if tag.core_suffix().is_some() => scalar::plain(text),
            Some(tag) => {
                self.problems.error(at, format!("the tag {} means nothing here", quoted(&tag.to_string())));
                Data::Text(text)
            }
        }
    }

    fn entries(&mut self, start: At, depth: usize) -> Result<Vec<Entry>, Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut names: HashMap<String, At> = HashMap::new();
        let mut merged: Vec<Value> = Vec::new();
        loop {
            let (event, span) = self.within(start)?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let is_merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, ..) if text == "<<");
            let name = self.value(event, span, depth + 1)?;
            let (event, span) = self.within(start)?;
            let value = self.value(event, span, depth + 1)?;
            if is_merge {
                merged.push(value);
                continue;
            }
            let text = match &name.data {
                Data::Null => Some("null"),
                _ => name.written(),
            };
            let Some(text) = text.map(str::to_owned) else {
                let advice = if name.entries().is_empty() { String::new() } else { format!("; {TEMPLATE}") };
                self.problems.error(name.at, format!("a name must be a text, found {}{advice}", name.described()));
                continue;
            };
            match names.insert(text.clone(), name.at) {
                Some(first) => {
                    let text = format!("`{}` is here a second time, first in line {}", quoted(&text), first.line);
                    self.problems.error(name.at, text);
                }
                None => entries.push(Entry { at: name.at, name: text, value }),
            }
        }
        for value in merged {
            self.merge(&mut entries, value);
        }
        Ok(entries)
    }

    /// `<<: *other`: names that are not given here are those of the other.
    fn merge(&mut self, entries: &mut Vec<Entry>, value: Value) {
        let at = value.at;
        let others = match value.data {
            Data::Map(others) => others,
            Data::List(items) if items.iter().all(|item| matches!(item.data, Data::Map(_))) => items
                .into_iter()
                .flat_map(|item| if let Data::Map(others) = item.data { others } else { Vec::new() })
                .collect(),
            _ => return self.problems.error(at, "`<<` takes a mapping or a list of mappings"),
        };
        let mut names: HashSet<String> = entries.iter().map(|entry| entry.name.clone()).collect();
        entries.extend(others.into_iter().filter(|other| names.insert(other.name.clone())));
    }

    fn alias(&mut self, anchor: usize, at: At, depth: usize) -> Result<Value, Stop> {
        let Some((values, bytes, deepest)) = self.anchors.get(&anchor).map(measured) else {
            self.problems.error(at, "this stands for something that it is itself part of");
            return Ok(Value { at, data: Data::Null });
        };
        if depth + deepest > DEPTH_MAX {
            return Err(Stop::All(at, format!("lists and mappings are more than {DEPTH_MAX} deep")));
        }
        self.count(at, values, bytes)?;
        Ok(self.anchors[&anchor].clone())
    }

    fn count(&mut self, at: At, values: usize, bytes: usize) -> Result<(), Stop> {
        self.room.count(values, bytes).map_err(|full| Stop::All(at, full))
    }
}

/// Its values, the bytes of their texts, and how deep it is.
fn measured(value: &Value) -> (usize, usize, usize) {
    let (mut values, mut bytes, mut deepest) = (0, 0, 0);
    measure(value, 0, &mut values, &mut bytes, &mut deepest);
    (values, bytes, deepest)
}

fn measure(value: &Value, depth: usize, values: &mut usize, bytes: &mut usize, deepest: &mut usize) {
    *values += 1;
    *bytes += value.written().map_or(0, str::len);
    *deepest = depth.max(*deepest);
    value.items().iter().for_each(|item| measure(item, depth + 1, values, bytes, deepest));
    for entry in value.entries() {
        *bytes += entry.name.len();
        measure(&entry.value, depth + 1, values, bytes, deepest);
    }
}

fn too_deep() -> String {
    format!("lists and mappings are more than {DEPTH_MAX} deep")
}
