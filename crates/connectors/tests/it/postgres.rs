//! `postgres`, against a PostgreSQL of our own on a port of loopback.

use functions::{Kind, Message, message::Key};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, chown},
        process::CommandExt,
    },
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, Weak},
    time::Duration,
};

use crate::kit::{self, message};

/// A database server that lasts as long as somebody holds it.
struct Cluster {
    dir: tempfile::TempDir,
    programs: PathBuf,
    port: u16,
    /// Who runs it: it refuses to be run by root.
    user: Option<(u32, u32)>,
}

impl Cluster {
    /// The one the tests share; `None`, and a loud word, where PostgreSQL is missing.
    fn shared() -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock();
        if let Some(cluster) = shared.upgrade() {
            return Some(cluster);
        }
        let cluster = Arc::new(Self::start()?);
        *shared = Arc::downgrade(&cluster);
        Some(cluster)
    }

    fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            assert!(std::env::var_os("CI").is_none(), "CI has PostgreSQL installed (.ci/run)");
            eprintln!("SKIPPED: PostgreSQL is not installed (Debian: apt-get install postgresql)");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let owner = fs::metadata(dir.path()).unwrap();
        let user = (owner.uid() == 0).then(|| (id("-u").unwrap_or(65_534), id("-g").unwrap_or(65_534)));
        fs::write(dir.path().join("password"), "se'cret\n").unwrap();
        if let Some((uid, gid)) = user {
            for path in [dir.path().to_owned(), dir.path().join("password")] {
                chown(path, Some(uid), Some(gid)).unwrap();
            }
        }
        let cluster = Self { dir, programs, port: kit::free_port(), user };
        let (data, password) = (cluster.path("data"), cluster.path("password"));
        cluster.run(
            "initdb",
            &[
                "-D",
                &data,
                "-U",
                "tester",
                "--pwfile",
                &password,
                "-A",
                "scram-sha-256",
                "-E",
                "UTF8",
                "--locale=C",
                "--no-sync",
            ],
        );
        cluster.up();
        Some(cluster)
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn up(&self) {
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off -c shared_buffers=16MB",
            self.port
        );
        self.run(
            "pg_ctl",
            &["-D", &self.path("data"), "-l", &self.path("log"), "-t", "120", "-w", "-o", &options, "start"],
        );
    }

    fn down(&self) {
        self.run("pg_ctl", &["-D", &self.path("data"), "-m", "immediate", "-w", "stop"]);
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = Command::new(self.programs.join(program));
        command.args(arguments).current_dir(self.dir.path()).stdin(Stdio::null()).stdout(Stdio::null());
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        // The server inherits what pg_ctl has open; a pipe would never end.
        let status = command.stderr(Stdio::null()).status().unwrap();
        let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        assert!(status.success(), "{program} {arguments:?}: {status}\n{log}");
    }

    fn configs(&self, table: &str, more: Value) -> Value {
        let mut configs = json!({
            "jdbcUrl": format!("jdbc:postgresql://127.0.0.1:{}/postgres", self.port),
            "userName": "tester", "password": "se'cret", "tableName": table,
        });
        configs.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        configs
    }

    async fn client(&self) -> tokio_postgres::Client {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.port).user("tester").password("se'cret").dbname("postgres");
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// A table of its own, and a way to see all of it as JSON.
    async fn table(&self, name: &str, columns: &str) -> Seen {
        let client = self.client().await;
        client.batch_execute(&format!("CREATE TABLE {name} ({columns})")).await.unwrap();
        Seen { client, name: name.to_owned() }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut stop = Command::new(self.programs.join("pg_ctl"));
        stop.args(["-D", &self.path("data"), "-m", "immediate", "stop"]).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some((uid, gid)) = self.user {
            stop.uid(uid).gid(gid);
        }
        let _ = stop.current_dir("/").status();
    }
}

fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = versions.map(|version| version.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    debian.chain(std::env::split_paths(&path)).find(|dir| dir.join("initdb").exists() && dir.join("pg_ctl").exists())
}

fn id(which: &str) -> Option<u32> {
    let output = Command::new("id").args([which, "postgres"]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

struct Seen {
    client: tokio_postgres::Client,
    name: String,
}

impl Seen {
    async fn rows(&self, order: &str) -> Vec<Value> {
        let sql = format!("SELECT to_jsonb(t)::text FROM {} t ORDER BY {order}", self.name);
        let rows = self.client.query(&sql, &[]).await.unwrap();
        rows.iter().map(|row| serde_json::from_str(row.get(0)).unwrap()).collect()
    }
}

fn rows(rows: impl IntoIterator<Item = Value>) -> Vec<(u64, Message)> {
    (0..).zip(rows).map(|(id, row)| (id, message(&row.to_string()))).collect()
}

fn all_well(count: u64) -> Vec<(u64, Result<(), String>)> {
    (0..count).map(|id| (id, Ok(()))).collect()
}

#[tokio::test]
async fn objects_are_rows_and_values_have_the_types_of_their_columns() {
    let Some(cluster) = Cluster::shared() else { return };
    let columns = "id bigint PRIMARY KEY, name varchar(5), price numeric, at timestamptz, ok boolean, data jsonb, \
                   tags text[], code char(3), raw bytea, id2 uuid, state text DEFAULT 'new'";
    let seen = cluster.table("typed", columns).await;
    let mut sink = kit::sink("postgres", cluster.configs("typed", json!({}))).await;
    let exact = "12345678901234567890.123456789";
    let row = format!(
        r#"{{"id": 1, "name": "Ada", "price": {exact}, "at": "2026-01-02T03:04:05Z", "ok": true, "data": {{"a": [1, "x"]}},
            "tags": ["a", "b \"c\"", null], "code": "abc", "raw": "\\x0102", "id2": "7f1c2f9e-5d0a-4b57-9d6f-2f1f3c1f0a11"}}"#
    );
    sink.invoke([(0, message(&row)), (1, message(r#"{"id": "2", "data": "text", "name": null}"#))]).await;
    assert_eq!(sink.fates(2).await, all_well(2));
    let price: String = seen.client.query_one("SELECT price::text FROM typed WHERE id = 1", &[]).await.unwrap().get(0);
    assert_eq!(price, exact, "no digit is lost");
    let stored = seen.rows("id").await;
    assert_eq!(stored[0]["data"], json!({"a": [1, "x"]}));
    assert_eq!(stored[0]["tags"], json!(["a", "b \"c\"", null]));
    assert_eq!(
        (&stored[0]["code"], &stored[0]["raw"], &stored[0]["ok"]),
        (&json!("abc"), &json!("\\x0102"), &json!(true))
    );
    assert_eq!((&stored[1]["id"], &stored[1]["data"], &stored[1]["name"]), (&json!(2), &json!("text"), &Value::Null));
    assert_eq!(stored[1]["state"], json!("new"), "a column that is not mentioned has its default");
    sink.stop().await;
}

#[tokio::test]
async fn a_row_that_is_refused_keeps_no_other_from_arriving() {
    let Some(cluster) = Cluster::shared() else { return };
    let seen = cluster.table("refusing", "id int PRIMARY KEY, name varchar(3)").await;
    let mut sink = kit::sink("postgres", cluster.configs("refusing", json!({}))).await;
    let given = [
        json!({"id": 1, "name": "a"}),
        json!({"id": 1, "name": "b"}),
        json!({"id": 2, "name": "long"}),
        json!({"id": "x"}),
        json!({"id": 3, "nam": "c"}),
        json!([1]),
        json!({"id": 4, "name": "d"}),
    ];
    sink.invoke(rows(given)).await;
    let fates = sink.fates(7).await;
    let thrown = |id: usize| fates[id].1.clone().unwrap_err();
    assert_eq!((&fates[0].1, &fates[6].1), (&Ok(()), &Ok(())));
    assert!(thrown(1).starts_with("PostgreSQL: 23505 duplicate key"), "{}", thrown(1));
    assert!(thrown(2).starts_with("PostgreSQL: 22001 value too long"), "{}: not cut in silence", thrown(2));
    assert!(thrown(3).starts_with("PostgreSQL: 22P02 invalid input syntax"), "{}", thrown(3));
    assert_eq!(thrown(4), "table refusing has no column \"nam\"");
    assert!(thrown(5).starts_with("the payload is no JSON object"), "{}", thrown(5));
    assert_eq!(seen.rows("id").await, [json!({"id": 1, "name": "a"}), json!({"id": 4, "name": "d"})]);
    sink.stop().await;
}

#[tokio::test]
async fn rows_beside_one_that_is_refused_are_written_once_however_long_all_of_them_take() {
    let Some(cluster) = Cluster::shared() else { return };
    let seen = cluster.table("slow", "n int NOT NULL").await;
    let slow =
        "CREATE FUNCTION nap() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.6); RETURN NEW; END';
                CREATE TRIGGER nap BEFORE INSERT ON slow FOR EACH ROW WHEN (NEW.n IS NOT NULL) EXECUTE FUNCTION nap()";
    seen.client.batch_execute(slow).await.unwrap();
    let mut sink = kit::sink("postgres", cluster.configs("slow", json!({"operationTimeoutMs": 2000}))).await;
    let values = [json!(null), json!(1), json!(2), json!(3), json!(4), json!(5)];
    sink.invoke(rows(values.map(|n| json!({"n": n})))).await;
    let fates = sink.fates(6).await;
    assert!(fates[0].1.as_ref().unwrap_err().starts_with("PostgreSQL: 23502 "), "{fates:?}");
    assert!(fates[1..].iter().all(|(_, fate)| fate.is_ok()), "{fates:?}");
    assert_eq!(seen.rows("n").await, (1..6).map(|n| json!({"n": n})).collect::<Vec<_>>());
    sink.stop().await;
}

#[tokio::test]
async fn rows_of_one_key_are_written_in_order_and_twice_is_as_once() {
    let Some(cluster) = Cluster::shared() else { return };
    let seen = cluster.table("keyed", "id text PRIMARY KEY, n int, other int DEFAULT 7").await;
    let mut sink = kit::sink("postgres", cluster.configs("keyed", json!({"insertMode": "UPSERT", "key": "id"}))).await;
    for _ in 0..2 {
        sink.invoke(rows((0..500).map(|n| json!({"id": format!("k{}", n % 2), "n": n})))).await;
        assert_eq!(sink.fates(500).await, all_well(500));
        let expected = [json!({"id": "k0", "n": 498, "other": 7}), json!({"id": "k1", "n": 499, "other": 7})];
        assert_eq!(seen.rows("id").await, expected);
    }
    sink.stop().await;
}

#[tokio::test]
async fn rows_are_updated_and_deleted_by_key() {
    let Some(cluster) = Cluster::shared() else { return };
    let seen = cluster.table("\"Odd \"\"name\"", "a int, \"B\" int, c int, PRIMARY KEY (a, \"B\")").await;
    let configs = json!({"insertMode": "UPDATE", "key": "a, B", "nonKey": "c", "nullValueAction": "DELETE"});
    let mut sink = kit::sink("postgres", cluster.configs("Odd \"name", configs)).await;
    let acting = |action: &str, row: Value| {
        let mut message = message(&row.to_string());
        message.properties = vec![("ACTION".to_owned(), action.to_owned())];
        message
    };
    let mut gone = message("");
    gone.key = Some(Key { text: r#"{"a": 3, "B": 3}"#.to_owned(), is_base64: false });
    let given = [
        acting("INSERT", json!({"a": 1, "B": 1, "c": 0, "more": "is not asked for"})),
        acting("UPSERT", json!({"a": 2, "B": 2, "c": 0})),
        acting("INSERT", json!({"a": 3, "B": 3, "c": 0})),
        message(r#"{"a": 1, "B": 1, "c": 5}"#),
        acting("DELETE", json!({"a": 2, "B": 2})),
        gone,
    ];
    sink.invoke((0..).zip(given)).await;
    assert_eq!(sink.fates(6).await, all_well(6));
    assert_eq!(seen.rows("a").await, [json!({"a": 1, "B": 1, "c": 5})]);
    sink.invoke([(0, acting("MERGE", json!({"a": 1}))), (1, message(r#"{"a": 1}"#))]).await;
    let fates = sink.fates(2).await;
    assert_eq!(fates[0].1, Err("the property ACTION is none of INSERT, UPSERT, UPDATE, DELETE: \"MERGE\"".to_owned()));
    assert_eq!(fates[1].1, Err("the payload has no \"B\", which is in `key`".to_owned()));
    sink.stop().await;
}

#[tokio::test]
async fn nothing_is_done_while_the_database_is_away_and_all_of_it_when_it_is_back() {
    let Some(cluster) = Cluster::start() else { return };
    let seen = cluster.table("away", "id int PRIMARY KEY").await;
    let mut sink = kit::sink("postgres", cluster.configs("away", json!({"insertMode": "UPSERT", "key": "id"}))).await;
    sink.invoke(rows([json!({"id": 0})])).await;
    assert_eq!(sink.fates(1).await, all_well(1));
    drop(seen);
    cluster.down();
    sink.invoke(rows((0..10).map(|id| json!({"id": id})))).await;
    let mut early = 0;
    let waited = tokio::time::timeout(Duration::from_secs(1), async {
        sink.done().await;
        early += 1;
    });
    assert!(waited.await.is_err() && early == 0, "nothing is done");
    cluster.up();
    assert_eq!(sink.fates(10).await, all_well(10));
    assert!(!sink.logs.is_empty(), "and its log says why it took so long");
    let count: i64 = cluster.client().await.query_one("SELECT count(*) FROM away", &[]).await.unwrap().get(0);
    assert_eq!(count, 10);
    sink.stop().await;
}

#[tokio::test]
async fn a_sink_that_cannot_begin_says_why() {
    let Some(cluster) = Cluster::shared() else { return };
    cluster.table("there", "id int").await;
    let why =
        async |configs: Value| kit::start(kit::spec(Kind::Sink, "postgres", configs)).await.err().unwrap().to_string();
    assert_eq!(why(cluster.configs("nowhere", json!({}))).await, "PostgreSQL: there is no table nowhere");
    assert_eq!(
        why(cluster.configs("there", json!({"key": "x", "nonKey": "y"}))).await,
        "table there has no column x, y"
    );
    let wrong = why(cluster.configs("there", json!({"password": "wrong"}))).await;
    assert!(wrong.contains("28P01") && !wrong.contains("wrong"), "{wrong}");
}

#[tokio::test]
async fn mistakes_are_told_when_it_is_deployed() {
    let configs =
        json!({"jdbcUrl": "jdbc:mysql://h/d", "insertMode": "UPSRT", "nullValueAction": "DELETE", "tabelName": "t"});
    expect_test::expect![[r#"configs of postgres: `jdbcUrl` must be jdbc:postgresql://HOST:PORT/DATABASE; `tableName` is missing; `insertMode` must be one of INSERT, UPSERT, UPDATE, DELETE, found "UPSRT", did you mean UPSERT?; `key` is missing: UPSERT, UPDATE and DELETE find rows by it; unknown field `tabelName`, did you mean `tableName`?"#]]
    .assert_eq(&kit::refusal(Kind::Sink, "postgres", configs).await);
}
