//! How results look: lines for lists, aligned columns for tables, JSON where asked for.

use crate::http::{Admin, Output};
use serde_json::Value;

/// What an action did; silent for programs.
pub(crate) fn done(admin: &Admin, what: &str) {
    if admin.output == Output::Text {
        println!("{what}");
    }
}

/// A list, one a line.
pub(crate) fn list(admin: &Admin, value: &Value) {
    match (admin.output, value.as_array()) {
        (Output::Text, Some(items)) => {
            for item in items {
                println!("{}", plain(item));
            }
        }
        _ => json(value),
    }
}

/// Anything: fields one a line for people.
pub(crate) fn value(admin: &Admin, value: &Value) {
    match (admin.output, value) {
        (Output::Text, Value::Object(fields)) => {
            let width = fields.keys().map(String::len).max().unwrap_or(0);
            for (name, value) in fields {
                println!("{name:width$}  {}", plain(value));
            }
        }
        (Output::Text, Value::Null) => println!("not set"),
        (Output::Text, other) => println!("{}", plain(other)),
        (Output::Json, other) => json(other),
    }
}

/// JSON, indented.
pub(crate) fn json(value: &Value) {
    println!("{value:#}");
}

/// Columns, aligned; numbers to the right.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..head.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded: Vec<_> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| {
                if cell.starts_with(|c: char| c.is_ascii_digit()) {
                    format!("{cell:>width$}")
                } else {
                    format!("{cell:width$}")
                }
            })
            .collect();
        println!("{}", padded.join("  ").trim_end());
    };
    line(&head.iter().map(|&h| h.to_owned()).collect::<Vec<_>>());
    rows.iter().for_each(|row| line(row));
}

/// A value without quotes.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(n) if n.is_f64() => n.as_f64().map_or_else(String::new, |f| format!("{f:.2}")),
        other => other.to_string(),
    }
}

/// Bytes for people.
pub(crate) fn bytes(n: &Value) -> String {
    let n = n.as_f64().unwrap_or(0.0);
    match n {
        n if n >= 1e9 => format!("{:.1} GB", n / 1e9),
        n if n >= 1e6 => format!("{:.1} MB", n / 1e6),
        n if n >= 1e3 => format!("{:.1} kB", n / 1e3),
        n => format!("{n:.0} B"),
    }
}
