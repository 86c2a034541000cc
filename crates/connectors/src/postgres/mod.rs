//! `postgres`: a sink that writes JSON objects as rows.
//!
//! Messages that are there together go in one transaction, in order, and are done when it is committed. When a row is refused, the
//! transaction is taken back and its rows are tried one by one: the others arrive, and the one is thrown. When the connection breaks in the
//! middle of a commit nobody knows how it ended, and the rows come again: exactly once needs a key and `UPSERT` (or `UPDATE`, `DELETE`),
//! which writes the same row twice without harm. `INSERT` is at least once, unless the table has a unique key that refuses the second.
//!
//! Source of the configuration: Pulsar's `JdbcSinkConfig`.

mod rows;
mod table;
mod url;

use functions::Message;
use futures::{FutureExt, future::try_join_all};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};
use tokio::task::AbortHandle;
use tokio_postgres::{Client, NoTls, Statement, error::SqlState};

use crate::{
    About, Ended, OpenSink, Sink,
    error::{Error, Result},
    given::Given,
    intake::{Delivery, Fate, Intake},
};
use rows::{Action, Row, Rows};
use table::Table;

/// Statements that are kept prepared: one for each set of columns and action.
const STATEMENTS_MAX: usize = 256;
/// Pauses between attempts to connect: the first, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

struct Config {
    postgres: tokio_postgres::Config,
    rows: Rows,
    batch_max: usize,
    timeout: Duration,
}

pub(crate) fn sink(about: &About<'_>) -> Result<OpenSink> {
    let mut configs = about.function.user_config.clone();
    // As Pulsar fills in what is sensitive.
    for name in ["userName", "password"] {
        if let Some(secret) = about.instance.and_then(|instance| instance.secrets.get(name)) {
            configs.insert(name.to_owned(), secret.0.clone().into());
        }
    }
    let mut given = Given::new("postgres", &configs);
    let jdbc_url = given.required("jdbcUrl");
    let mut postgres = match url::parse(&jdbc_url) {
        Ok(postgres) => postgres,
        Err(problem) => {
            if !jdbc_url.is_empty() {
                given.problem(problem);
            }
            tokio_postgres::Config::new()
        }
    };
    if let Some(user) = given.text("userName") {
        postgres.user(user);
    }
    if let Some(password) = given.text("password") {
        postgres.password(password);
    }
    let timeout = given.millis("operationTimeoutMs", 1).unwrap_or(Duration::from_secs(30));
    postgres.connect_timeout(timeout);
    let rows = Rows::read(&mut given);
    let batch_max = given.whole("batchSize", 1..=100_000).unwrap_or(200);
    // How long Pulsar's sink waits for a batch to fill. This one never waits: what comes during a transaction is the next.
    given.whole("timeoutMs", 0..=u64::MAX);
    given.finish()?;
    let config = Config { postgres, rows, batch_max: usize::try_from(batch_max).unwrap_or(usize::MAX), timeout };
    Ok(Box::new(|| {
        let opening = async move {
            // What is wrong with a name or a password is said at once.
            let session = config.connect().await.map_err(|trouble| Error::Open(trouble.text()))?;
            let sink: Sink = Box::new(|intake| config.run(session, intake).boxed());
            Ok(sink)
        };
        opening.boxed()
    }))
}

/// What went wrong: with these rows, or with the connection.
enum Trouble {
    Row(String),
    Connection(String),
}

impl Trouble {
    fn text(self) -> String {
        match self {
            Self::Row(text) | Self::Connection(text) => text,
        }
    }
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(refusal) = error.as_db_error() else {
            let source = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
            return Self::Connection(format!("PostgreSQL: {error}{source}"));
        };
        let detail = refusal.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
        let text = format!("PostgreSQL: {} {}{detail}", refusal.code().code(), refusal.message());
        // Of the classes of SQLSTATE these are no matter of the row: connection, resources, shutting down, lost transactions.
        let passes =
            ["08", "53", "57", "58", "40", "25", "XX"].iter().any(|class| refusal.code().code().starts_with(class))
                || *refusal.code() == SqlState::LOCK_NOT_AVAILABLE;
        if passes { Self::Connection(text) } else { Self::Row(text) }
    }
}

/// A connection and what is prepared on it.
struct Session {
    client: Client,
    connection: AbortHandle,
    table: Table,
    statements: HashMap<(Action, Vec<usize>), Statement>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Config {
    async fn run(self, session: Session, mut intake: Intake) -> Ended {
        let mut session = Some(session);
        while let Some(batch) = intake.next(self.batch_max).await {
            let began = Instant::now();
            let mut pause = PAUSE.0;
            let mut fates = Vec::with_capacity(batch.len());
            while let Err(trouble) = self.write(&mut session, &batch, &mut fates).await {
                session = None;
                let left = batch.len() - fates.len();
                intake.warn(format!("{left} rows are written again: {}", trouble.text())).await;
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = intake.abandoned() => return Ok(()),
                }
                pause = (pause * 2).min(PAUSE.1);
            }
            intake.done(batch.into_iter().zip(fates), began).await?;
        }
        Ok(())
    }

    async fn connect(&self) -> Result<Session, Trouble> {
        let connecting = async {
            let (client, connection) = self.postgres.connect(NoTls).await?;
            // Ends with the client, or with the connection; its error is that of the query that finds it.
            let connection = tokio::spawn(async move { drop(connection.await) }).abort_handle();
            let mut session = Session { client, connection, table: Table::default(), statements: HashMap::new() };
            session.table = Table::read(&session.client, &self.rows.table).await?;
            self.rows.fit(&session.table).map_err(Trouble::Row)?;
            Ok(session)
        };
        tokio::time::timeout(self.timeout, connecting)
            .await
            .unwrap_or_else(|_| Err(Trouble::Connection("PostgreSQL: no connection in time".to_owned())))
    }

    /// Adds the fates of messages, in order, to those that are known; who comes again with them after an error goes on behind them.
    async fn write(
        &self,
        session: &mut Option<Session>,
        batch: &[Delivery],
        fates: &mut Vec<Fate>,
    ) -> Result<(), Trouble> {
        let open = match session {
            Some(open) => open,
            None => session.insert(self.connect().await?),
        };
        let rows: Vec<Result<Row, String>> =
            batch.iter().map(|Delivery { message, .. }| self.rows.row(&open.table, message)).collect();
        if fates.is_empty() {
            let fit: Vec<&Row> = rows.iter().flatten().collect();
            match self.transaction(open, &fit).await {
                Ok(()) => {
                    fates.extend(rows.into_iter().map(|row| row.map(drop)));
                    return Ok(());
                }
                Err(Trouble::Row(_)) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        // One is refused: each by itself.
        for row in &rows[fates.len()..] {
            let fate = match row {
                Err(problem) => Err(problem.clone()),
                Ok(row) => match self.transaction(open, &[row]).await {
                    Ok(()) => Ok(()),
                    Err(Trouble::Row(refusal)) => Err(refusal),
                    Err(trouble) => return Err(trouble),
                },
            };
            fates.push(fate);
        }
        Ok(())
    }

    async fn transaction(&self, session: &mut Session, rows: &[&Row]) -> Result<(), Trouble> {
        tokio::time::timeout(self.timeout, session.transaction(rows))
            .await
            .unwrap_or_else(|_| Err(Trouble::Connection("PostgreSQL: no commit in time".to_owned())))
    }
}

impl Session {
    /// All of these rows, in order, or none.
    async fn transaction(&mut self, rows: &[&Row]) -> Result<(), Trouble> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut statements = Vec::with_capacity(rows.len());
        for row in rows {
            statements.push(self.statement(row).await?);
        }
        let transaction = self.client.transaction().await?;
        // Polled in order, they are sent in order, without a round trip for each.
        let written = rows.iter().zip(&statements).map(|(row, statement)| {
            let transaction = &transaction;
            async move { transaction.execute_raw(statement, row.values.iter()).await }
        });
        match try_join_all(written).await {
            Ok(_) => Ok(transaction.commit().await?),
            Err(error) => {
                transaction.rollback().await?;
                Err(error.into())
            }
        }
    }

    async fn statement(&mut self, row: &Row) -> Result<Statement, Trouble> {
        let shape = (row.action, row.columns.clone());
        if let Some(statement) = self.statements.get(&shape) {
            return Ok(statement.clone());
        }
        if self.statements.len() >= STATEMENTS_MAX {
            self.statements.clear();
        }
        let statement = self.client.prepare(&row.sql(&self.table)).await?;
        self.statements.insert(shape, statement.clone());
        Ok(statement)
    }
}

/// The action a message asks for besides the configured one. Source: `JdbcAbstractSink`.
const ACTION_PROPERTY: &str = "ACTION";

fn property<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    message.properties.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
}
