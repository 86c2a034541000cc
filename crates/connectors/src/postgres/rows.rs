//! What a message says of a row: pure values, and the statement that writes them.

use functions::Message;
use serde_json::{Value, value::RawValue};
use std::collections::BTreeMap;

use super::{
    ACTION_PROPERTY, property,
    table::{Form, Table, quoted},
};
use crate::given::Given;

/// What is done with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    Insert,
    Upsert,
    Update,
    Delete,
}

const ACTIONS: [(&str, Action); 4] =
    [("INSERT", Action::Insert), ("UPSERT", Action::Upsert), ("UPDATE", Action::Update), ("DELETE", Action::Delete)];

/// How messages become rows.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    pub(crate) table: String,
    key: Vec<String>,
    /// All others where none are named.
    non_key: Vec<String>,
    action: Action,
    /// A message without a payload deletes the row of its key.
    deletes_null: bool,
}

/// One row, ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) action: Action,
    /// Indexes of columns; those of the key come first.
    pub(crate) columns: Vec<usize>,
    keys: usize,
    /// As the database reads them; one for each column.
    pub(crate) values: Vec<Option<String>>,
}

impl Rows {
    pub(crate) fn read(given: &mut Given<'_>) -> Self {
        let rows = Self {
            table: given.required("tableName"),
            key: given.names("key"),
            non_key: given.names("nonKey"),
            action: given.choice("insertMode", &ACTIONS).unwrap_or(Action::Insert),
            deletes_null: given.choice("nullValueAction", &[("FAIL", false), ("DELETE", true)]).unwrap_or(false),
        };
        if rows.key.is_empty() && (rows.action != Action::Insert || rows.deletes_null) {
            given.problem("`key` is missing: UPSERT, UPDATE and DELETE find rows by it");
        }
        if let Some(both) = rows.key.iter().find(|name| rows.non_key.contains(name)) {
            given.problem(format!("column {both} is in `key` and in `nonKey`"));
        }
        rows
    }

    /// # Errors
    /// The table has not all columns that are named.
    pub(crate) fn fit(&self, table: &Table) -> Result<(), String> {
        let missing: Vec<&str> =
            self.key.iter().chain(&self.non_key).map(String::as_str).filter(|n| table.index_of(n).is_none()).collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(format!("table {} has no column {}", self.table, missing.join(", ")))
        }
    }

    /// # Errors
    /// The message is no row of this table.
    pub(crate) fn row(&self, table: &Table, message: &Message) -> Result<Row, String> {
        if message.payload.is_empty() {
            return self.row_of_key(table, message);
        }
        let action = match property(message, ACTION_PROPERTY) {
            None => self.action,
            Some(asked) => {
                let found = ACTIONS.iter().find(|(name, _)| *name == asked);
                found
                    .ok_or_else(|| format!("the property ACTION is none of INSERT, UPSERT, UPDATE, DELETE: {asked:?}"))?
                    .1
            }
        };
        // Numbers stay as they are written: a numeric column has more digits than a double.
        let fields: BTreeMap<String, &RawValue> = serde_json::from_slice(&message.payload)
            .map_err(|error| format!("the payload is no JSON object: {error}"))?;
        let (mut columns, mut values) = (Vec::new(), Vec::new());
        let mut add = |name: &str, value: Option<&RawValue>| {
            let index = table.index_of(name).ok_or_else(|| format!("table {} has no column {name:?}", self.table))?;
            let text = value.map_or(Ok(None), |value| text_of(value, table.columns[index].form));
            values.push(text.map_err(|problem| format!("column {name:?}: {problem}"))?);
            columns.push(index);
            Ok::<(), String>(())
        };
        for name in &self.key {
            let value = *fields.get(name).ok_or_else(|| format!("the payload has no {name:?}, which is in `key`"))?;
            add(name, Some(value))?;
        }
        if action != Action::Delete {
            if self.non_key.is_empty() {
                // Columns that are not mentioned keep their default, or their value.
                for (name, value) in fields.iter().filter(|(name, _)| !self.key.contains(name)) {
                    add(name, Some(value))?;
                }
            } else {
                for name in &self.non_key {
                    add(name, fields.get(name).copied())?;
                }
            }
        }
        finish(Row { action, columns, keys: self.key.len(), values })
    }

    /// For a message without a payload: its key says which row goes.
    fn row_of_key(&self, table: &Table, message: &Message) -> Result<Row, String> {
        if !self.deletes_null {
            return Err("the payload is empty, and `nullValueAction` is FAIL".to_owned());
        }
        let key =
            message.key.as_ref().filter(|key| !key.is_base64).ok_or("neither a payload nor a key that is text")?;
        let by_name: Option<BTreeMap<String, Value>> = serde_json::from_str(&key.text).ok();
        let (mut columns, mut values) = (Vec::new(), Vec::new());
        for name in &self.key {
            let value = match (&by_name, self.key.len()) {
                (Some(fields), _) => match fields.get(name) {
                    Some(Value::String(text)) => text.clone(),
                    Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
                    _ => return Err(format!("the message's key has no {name:?}, which is in `key`")),
                },
                (None, 1) => key.text.clone(),
                (None, _) => return Err("the message's key must be a JSON object of the columns in `key`".to_owned()),
            };
            columns.push(table.index_of(name).ok_or_else(|| format!("table {} has no column {name:?}", self.table))?);
            values.push(Some(value));
        }
        finish(Row { action: Action::Delete, columns, keys: self.key.len(), values })
    }
}

fn finish(row: Row) -> Result<Row, String> {
    if row.columns.is_empty() {
        return Err("no column would be written".to_owned());
    }
    if row.keys == 0 && row.action != Action::Insert {
        return Err("the property ACTION needs a `key`".to_owned());
    }
    if row.action == Action::Update && row.keys == row.columns.len() {
        return Err("nothing is to be updated: the payload has only the key".to_owned());
    }
    // The protocol counts parameters in 16 bits.
    if row.columns.len() > usize::from(u16::MAX) { Err("too many columns".to_owned()) } else { Ok(row) }
}

/// What a column of this form reads; `None` is NULL.
fn text_of(value: &RawValue, form: Form) -> Result<Option<String>, String> {
    let raw = value.get();
    if raw == "null" {
        return Ok(None);
    }
    let parsed = || serde_json::from_str::<Value>(raw).map_err(|error| error.to_string());
    match (form, raw.as_bytes().first()) {
        (Form::Json, _) => Ok(Some(raw.to_owned())),
        (Form::Array, Some(b'[')) => {
            let mut out = String::new();
            array(&parsed()?, 0, &mut out)?;
            Ok(Some(out))
        }
        (_, Some(b'"')) => Ok(parsed()?.as_str().map(str::to_owned)),
        (_, Some(b'[' | b'{')) => Err("a list or an object fits a column of type json, jsonb, or an array".to_owned()),
        _ => Ok(Some(raw.to_owned())),
    }
}

/// PostgreSQL's notation of arrays. Source: its documentation, "Array Input and Output Syntax".
fn array(value: &Value, depth: usize, out: &mut String) -> Result<(), String> {
    match value {
        Value::Array(_) if depth >= 6 => return Err("an array has at most six dimensions".to_owned()),
        Value::Array(items) => {
            out.push('{');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                array(item, depth + 1, out)?;
            }
            out.push('}');
        }
        Value::Null => out.push_str("NULL"),
        Value::Object(_) => quote_item(&value.to_string(), out),
        Value::String(text) => quote_item(text, out),
        other => out.push_str(&other.to_string()),
    }
    Ok(())
}

fn quote_item(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

impl Row {
    /// The statement, with a parameter for each column. Values are texts that the database reads as what the column holds.
    pub(crate) fn sql(&self, table: &Table) -> String {
        let columns: Vec<(String, String)> = self
            .columns
            .iter()
            .enumerate()
            .filter_map(|(at, &index)| {
                let column = table.columns.get(index)?;
                Some((quoted(&column.name), format!("${}::text::{}", at + 1, column.type_name)))
            })
            .collect();
        let names = |of: &[(String, String)]| of.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>().join(", ");
        let pairs = |of: &[(String, String)], between: &str| {
            of.iter().map(|(name, value)| format!("{name} = {value}")).collect::<Vec<_>>().join(between)
        };
        let (keys, others) = columns.split_at(self.keys.min(columns.len()));
        let values = columns.iter().map(|(_, value)| value.clone()).collect::<Vec<_>>().join(", ");
        let name = &table.name;
        let insert = format!("INSERT INTO {name} ({}) VALUES ({values})", names(&columns));
        match self.action {
            Action::Insert => insert,
            Action::Upsert if others.is_empty() => format!("{insert} ON CONFLICT ({}) DO NOTHING", names(keys)),
            Action::Upsert => {
                let set: Vec<String> = others.iter().map(|(name, _)| format!("{name} = EXCLUDED.{name}")).collect();
                format!("{insert} ON CONFLICT ({}) DO UPDATE SET {}", names(keys), set.join(", "))
            }
            Action::Update => format!("UPDATE {name} SET {} WHERE {}", pairs(others, ", "), pairs(keys, " AND ")),
            Action::Delete => format!("DELETE FROM {name} WHERE {}", pairs(keys, " AND ")),
        }
    }
}
