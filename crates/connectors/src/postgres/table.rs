//! The columns of the table, as the database has them.

use tokio_postgres::Client;

use super::Trouble;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    /// Quoted, ready for a statement.
    pub(crate) name: String,
    pub(crate) columns: Vec<Column>,
}

/// One column.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// As a cast names it.
    pub(crate) type_name: String,
    pub(crate) form: Form,
}

/// How a JSON value becomes the text the database reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A text is itself, and so is a number.
    Plain,
    /// Any value, as JSON.
    Json,
    /// A list.
    Array,
}

impl Table {
    pub(crate) async fn read(client: &Client, name: &str) -> Result<Self, Trouble> {
        let quoted_name = name.split('.').map(quoted).collect::<Vec<_>>().join(".");
        // A type without its length: a cast to varchar(3) would cut in silence, the assignment to the column does not. A modifier of -1
        // names `bpchar` and not `character`, which would be one character.
        let sql = "SELECT a.attname::text, format_type(a.atttypid, -1), t.typname::text, t.typcategory::text \
                   FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
                   WHERE a.attrelid = to_regclass($1::text) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";
        let rows = client.query(sql, &[&quoted_name]).await?;
        if rows.is_empty() {
            return Err(Trouble::Row(format!("PostgreSQL: there is no table {name}")));
        }
        let mut columns = Vec::with_capacity(rows.len());
        for row in rows {
            let form = match (row.try_get::<_, &str>(2)?, row.try_get::<_, &str>(3)?) {
                ("json" | "jsonb", _) => Form::Json,
                (_, "A") => Form::Array,
                _ => Form::Plain,
            };
            columns.push(Column { name: row.try_get(0)?, type_name: row.try_get(1)?, form });
        }
        Ok(Self { name: quoted_name, columns })
    }

    pub(crate) fn index_of(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}

/// A name as a statement has it, whatever is in it.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
