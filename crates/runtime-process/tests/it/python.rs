//! Python functions.

use bytes::Bytes;
use functions::{
    Code, FunctionSpec, Language, Record,
    message::Key,
    runtime::{Input, LogLevel, Question, Secret, StateChange},
    spec::{Guarantee, InputConfig},
};
use runtime_process::{Python, PythonConfig};
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crate::kit::*;

pub(crate) struct Kit {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) python: Python,
}

impl Kit {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let python = Python::new(PythonConfig::new(dir.path().join("cache")), children());
        Self { dir, python }
    }

    /// A file of its own each time, since a package is never changed.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        static FILES: AtomicU64 = AtomicU64::new(0);
        let dir = self.dir.path().join(FILES.fetch_add(1, Relaxed).to_string());
        std::fs::create_dir(&dir).unwrap();
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn spec(&self, text: &str, class_name: &str) -> FunctionSpec {
        spec(Language::Python, Code::File(self.file("code.py", text)), class_name)
    }

    pub(crate) async fn start(&self, text: &str, class_name: &str) -> Running {
        self.run(self.spec(text, class_name)).await.unwrap()
    }

    pub(crate) async fn run(&self, spec: FunctionSpec) -> Result<Running, String> {
        Running::start(&self.python, instance(spec, &self.dir.path().join("work"))).await
    }
}

const EXCLAMATION: &str = "
from pulsar import Function

class ExclamationFunction(Function):
    def __init__(self):
        pass

    def process(self, input, context):
        return input + '!'
";

#[tokio::test]
async fn a_class_of_the_pulsar_api_runs_unmodified() {
    let kit = Kit::new();
    let mut function = kit.start(EXCLAMATION, "exclamation.ExclamationFunction").await;
    assert_eq!(function.call("hello").await.unwrap(), "hello!");
    let (exit, logs) = function.stop().await;
    assert!(exit.is_clean, "{exit:?}");
    assert_eq!(logs, []);
}

/// A figure, not a promise: `cargo test --release -p runtime-process throughput -- --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throughput_of_ten_thousand_messages_is_printed() {
    let kit = Kit::new();
    let spec = kit.spec(EXCLAMATION, "exclamation.ExclamationFunction");
    functions::Runtime::prepare(&kit.python, &spec).await.unwrap();
    let at = Instant::now();
    let mut function = kit.run(spec).await.unwrap();
    assert_eq!(function.call("x").await.unwrap(), "x!");
    println!("start to first output: {:?}", at.elapsed());
    let payload = Bytes::from(vec![b'x'; 1024]);
    for round in 0..3 {
        let at = Instant::now();
        let (mut sent, mut done) = (0, 0);
        while done < 10_000 {
            while sent < 10_000 && sent < done + 2_000 {
                function.invoke((0..500).map(|_| input(payload.clone()))).await;
                sent += 500;
            }
            assert_eq!(function.outputs().await.unwrap()[0].len(), 1025);
            done += 1;
        }
        println!("round {round}: {:.0} msg/s of 1 KiB", 10_000.0 / at.elapsed().as_secs_f64());
    }
    function.stop().await;
}

#[tokio::test]
async fn functions_are_found_by_all_the_names_pulsar_allows_and_a_few_more() {
    let kit = Kit::new();
    let text = "
import pulsar
class Plain:
    def process(self, input, context): return 'class ' + input
class Callable(pulsar.Function):
    def process(self, input, context): return 'pulsar ' + input
def process(input): return 'module ' + input
def one(input): return 'one ' + input
def two(input, context): return 'two ' + input + context.get_function_name()
upper = str.upper
";
    for (class_name, expected) in [
        ("f.Plain", "class x"),
        ("f.Callable", "pulsar x"),
        ("Plain", "class x"),
        ("f", "module x"),
        ("g", "module x"),
        ("", "module x"),
        ("f.one", "one x"),
        ("f.two", "two xf"),
        ("f.upper", "X"),
        ("some.package.Plain", "class x"),
    ] {
        // A store of packages keeps a file's extension, and not its name.
        let file =
            kit.file(if class_name.starts_with('f') || class_name.is_empty() { "f.py" } else { "0ab1.py" }, text);
        let mut function = kit.run(spec(Language::Python, Code::File(file), class_name)).await.unwrap();
        assert_eq!(function.call("x").await.unwrap(), expected, "{class_name}");
    }
}

#[tokio::test]
async fn the_default_serde_gives_numbers_texts_and_bytes_as_pulsar_does() {
    let kit = Kit::new();
    let mut function = kit.start("def process(i): return '%s %r' % (type(i).__name__, i)", "code").await;
    for (payload, expected) in [
        (&b"12"[..], "int 12"),
        (b" 1_000 ", "int 1000"),
        (b"-1.5", "float -1.5"),
        (b"nan", "float nan"),
        (b"1j", "complex 1j"),
        (b"(1+2j)", "complex (1+2j)"),
        (b"infinite", "str 'infinite'"),
        (b"hello", "str 'hello'"),
        (b"", "str ''"),
        ("٣".as_bytes(), "int 3"),
        (b"\xff\x00", "bytes b'\\xff\\x00'"),
    ] {
        function.invoke([input(payload)]).await;
        assert_eq!(function.outputs().await.unwrap(), [expected]);
    }
    let mut echo = kit.start("def process(i): return i if i != 'list' else [i]", "code").await;
    for payload in ["1", "1.5", "1j", "text"] {
        assert_eq!(echo.call(payload).await.unwrap().trim_matches(['(', ')']), payload);
    }
    assert!(echo.call("list").await.unwrap_err().contains("TypeError: IdentitySerDe cannot serialize"));
}

#[tokio::test]
async fn serdes_and_schemas_are_by_input_and_output() {
    let kit = Kit::new();
    let text = "
from pulsar import SerDe
from pulsar.schema import *
class Twice(SerDe):
    def serialize(self, x): return (x * 2).encode()
    def deserialize(self, b): return b.decode() + '~'
class Point(Record):
    x = Integer()
    y = String()
class Own:
    def __init__(self, record, properties): self.p = properties
    def encode(self, x): return (x + self.p['end']).encode()
    def decode(self, b): return b.decode()
def text(i): return type(i).__name__ + ' ' + str(i)
def moved(p):
    p.x += 1
    return p
def same(i): return i
def make(i): return Point(x=3, y='z')
";
    let case = async |name: &str, change: &dyn Fn(&mut FunctionSpec), payload: Vec<u8>| {
        let mut spec = kit.spec(text, &format!("code.{name}"));
        change(&mut spec);
        let is_described = matches!(&spec.output.schema_type[..], "JSON" | "AVRO");
        let mut function = kit.run(spec).await.unwrap();
        let definition = function.output_schema.take().map(|schema| schema.definition);
        let names_record = |text: bytes::Bytes| String::from_utf8_lossy(&text).contains(r#""name": "Point""#);
        assert_eq!(definition.is_some_and(names_record), is_described);
        function.invoke([input(payload)]).await;
        let (_, outcome) = function.outcome().await;
        outcome.result.map(|records| records[0].payload.to_vec()).map_err(|exception| exception.message)
    };
    let of_input = |spec: &mut FunctionSpec, change: &dyn Fn(&mut InputConfig)| {
        spec.inputs.values_mut().for_each(change);
    };

    let serde = |spec: &mut FunctionSpec| {
        of_input(spec, &|input| input.serde_class = "code.Twice".into());
        spec.output.serde_class = "code.Twice".into();
    };
    assert_eq!(case("same", &serde, b"a".into()).await.unwrap(), b"a~a~");

    let pickle = |spec: &mut FunctionSpec| spec.output.serde_class = "serde.PickleSerDe".into();
    assert!(case("same", &pickle, b"a".into()).await.unwrap().starts_with(b"\x80"));

    let string = |spec: &mut FunctionSpec| of_input(spec, &|input| input.schema_type = "STRING".into());
    assert_eq!(case("text", &string, b"12".into()).await.unwrap(), b"str 12");

    let int = |spec: &mut FunctionSpec| of_input(spec, &|input| input.schema_type = "INT32".into());
    assert_eq!(case("text", &int, vec![0, 0, 1, 0]).await.unwrap(), b"int 256");

    let json = |spec: &mut FunctionSpec| {
        of_input(spec, &|input| {
            input.schema_type = "JSON".into();
            input.type_class = "code.Point".into();
        });
        spec.output.schema_type = "JSON".into();
        spec.output.type_class = "code.Point".into();
    };
    let moved = case("moved", &json, br#"{"x": 1, "y": "a"}"#.into()).await.unwrap();
    assert_eq!(String::from_utf8(moved).unwrap(), r#"{"x": 2, "y": "a"}"#);
    assert!(case("moved", &json, b"[".into()).await.unwrap_err().contains("JSONDecodeError"));

    let avro_out = |spec: &mut FunctionSpec| {
        spec.output.schema_type = "AVRO".into();
        spec.output.type_class = "code.Point".into();
    };
    // A union's second branch, 3 as a zigzag varint; again, a text of one byte.
    let encoded = case("make", &avro_out, b"a".into()).await.unwrap();
    assert_eq!(encoded, [2, 6, 2, 2, b'z']);
    let avro = |spec: &mut FunctionSpec| {
        of_input(spec, &|input| {
            input.schema_type = "AVRO".into();
            input.type_class = "code.Point".into();
        });
        avro_out(spec);
    };
    assert_eq!(case("moved", &avro, encoded).await.unwrap(), [2, 8, 2, 2, b'z']);

    let own = |spec: &mut FunctionSpec| {
        spec.output.schema_type = "code.Own".into();
        spec.output.schema_properties.insert("end".into(), "?".into());
    };
    assert_eq!(case("same", &own, b"a".into()).await.unwrap(), b"a?");
}

#[tokio::test]
async fn each_input_has_its_own_codec_and_partitions_and_patterns_find_it() {
    let kit = Kit::new();
    let mut spec = kit.spec("def process(i): return type(i).__name__", "code");
    let bytes = InputConfig { schema_type: "BYTES".into(), ..InputConfig::default() };
    spec.inputs.insert("persistent://public/default/raw".into(), bytes);
    let strings = InputConfig { schema_type: "STRING".into(), is_pattern: true, ..InputConfig::default() };
    spec.inputs.insert("persistent://public/default/s-.*".into(), strings);
    let mut function = kit.run(spec).await.unwrap();
    for (topic, expected) in [("in", "int"), ("in-partition-3", "int"), ("raw-partition-1", "bytes"), ("s-1", "str")] {
        let mut message = message(1, "12");
        message.topic = Arc::new(format!("persistent://public/default/{topic}").parse().unwrap());
        function.invoke([Input::Message(Arc::new(message))]).await;
        assert_eq!(function.outputs().await.unwrap(), [expected], "{topic}");
    }
}

#[tokio::test]
async fn the_context_knows_the_message_and_the_function() {
    let kit = Kit::new();
    let text = "
def process(input, c):
    m = c.get_message_id()
    from pulsar import MessageId
    assert MessageId.deserialize(m.serialize()) == m
    return '\\n'.join(str(x) for x in [
        m, m.ledger_id(), m.entry_id(), m.partition(), m.batch_index(),
        c.get_message_key(), c.get_partition_key(), c.get_message_eventtime(), sorted(c.get_message_properties().items()),
        c.get_current_message_topic_name(), c.get_message_sequence_id(), c.get_message_partition_index(),
        c.get_function_tenant(), c.get_function_namespace(), c.get_function_name(), c.get_function_id(),
        repr(c.get_function_version()), repr(c.get_instance_id()),
        c.get_user_config_value('a'), c.get_user_config_value('none'), c.get_user_config_map(),
        c.get_secret('s'), c.get_secret('none'), c.get_input_topics(), c.get_output_topic(), repr(c.get_output_serde_class_name()),
        __import__('os').environ['MODE'], c.message.producer_name(), c.message.redelivery_count(), c.message.publish_timestamp(), c.message.data(),
    ])
";
    let mut spec = kit.spec(text, "code");
    spec.user_config.insert("a".into(), serde_json::json!([1, "x"]));
    let mut instance = instance(spec, &kit.dir.path().join("work"));
    instance.secrets.insert("s".into(), Secret("hidden".into()));
    instance.env.insert("MODE".into(), Secret("fast".into()));
    let mut function = Running::start(&kit.python, instance).await.unwrap();
    let mut message = message(9, "x");
    message.id.partition = 2;
    message.id.batch_index = 4;
    message.id.batch_size = 5;
    message.key = Some(Key { text: "kéy".into(), is_base64: false });
    message.event_time_ms = 1234;
    message.redelivery_count = 6;
    message.properties = vec![("p".into(), "1".into()), ("q".into(), "é".into())];
    function.invoke([Input::Message(Arc::new(message))]).await;
    let shown = function.outputs().await.unwrap().join("");
    expect_test::expect![[r#"
        (7,9,2,4)
        7
        9
        2
        4
        kéy
        kéy
        1234
        [('p', '1'), ('q', 'é')]
        persistent://public/default/in
        1879048201
        2
        public
        default
        f
        id-1
        '3'
        '0'
        [1, 'x']
        None
        {'a': [1, 'x']}
        hidden
        None
        ['persistent://public/default/in']
        persistent://public/default/out
        ''
        fast
        producer
        6
        1000
        b'x'"#]]
    .assert_eq(&shown);
}

#[tokio::test]
async fn what_a_function_asks_for_comes_with_its_outcome() {
    let kit = Kit::new();
    let text = "
from pulsar import PickleSerDe
called = []
def process(input, c):
    if input == 'again': return str(called)
    c.publish('other', 'text', properties={'a': 'b'}, callback=lambda result, msg: called.append(result.name) or c.incr_counter('told', 1))
    c.publish('other', 5, serde_class_name='serde.PickleSerDe')
    c.publish('third', b'raw', message_conf={'partition_key': 'k', 'sequence_id': 9, 'event_timestamp': 11, 'deliver_at': 12, 'properties': {'x': 1}})
    c.record_metric('m', 2)
    c.put_state('s', 'value')
    c.incr_counter('n', -3)
    c.del_counter('d')
    if input == 'throw': raise RuntimeError('after all that')
    return input
";
    let mut function = kit.start(text, "code").await;
    function.send(&["x"]).await;
    let (_, outcome) = function.outcome().await;
    assert_eq!(outcome.result.unwrap(), [Record { payload: "x".into(), ..Record::default() }]);
    let publishes = outcome.effects.publishes;
    assert_eq!(
        publishes[0],
        Record {
            topic: Some("other".into()),
            payload: "text".into(),
            properties: vec![("a".into(), "b".into())],
            ..Record::default()
        }
    );
    assert!(publishes[1].payload.starts_with(b"\x80"));
    assert_eq!(
        publishes[2],
        Record {
            topic: Some("third".into()),
            payload: "raw".into(),
            key: Some(Key { text: "k".into(), is_base64: false }),
            properties: vec![("x".into(), "1".into())],
            event_time_ms: 11,
            deliver_at_ms: 12,
            sequence_id: Some(9),
            schema: None,
        }
    );
    assert_eq!(
        outcome.effects.changes,
        [
            StateChange::Put { key: "s".into(), value: "value".into() },
            StateChange::Add { key: "n".into(), amount: -3 },
            StateChange::Delete { key: "d".into() },
            StateChange::Add { key: "told".into(), amount: 1 }, // of the callback: one commit with the rest
        ]
    );
    assert_eq!(outcome.effects.metrics, [("m".to_owned(), 2.0)]);

    function.send(&["throw"]).await;
    let (_, outcome) = function.outcome().await;
    let trace = outcome.result.unwrap_err().message;
    assert!(trace.starts_with("Traceback") && trace.trim_end().ends_with("RuntimeError: after all that"), "{trace}");
    assert!(trace.contains("code.py\", line 13, in process") && !trace.contains("_geminga"), "{trace}");
    assert!(outcome.effects.publishes.is_empty() && outcome.effects.changes.is_empty());
    assert_eq!(outcome.effects.metrics, [("m".to_owned(), 2.0)]);

    assert_eq!(
        function.call("again").await.unwrap(),
        "['Ok']",
        "a callback is called once, and not after an exception"
    );
}

#[tokio::test]
async fn a_function_sees_its_own_changes_of_state_before_they_happen() {
    let kit = Kit::new();
    let text = "
def process(input, c):
    seen = [c.get_state('a'), c.get_counter('n'), c.get_state('none'), c.get_counter('none')]
    c.put_state('a', 'new'); c.incr_counter('n', 2); c.incr_counter('none', 1)
    seen += [c.get_state('a'), c.get_counter('n'), c.get_counter('none')]
    c.del_counter('n'); seen += [c.get_counter('n'), c.get_state('n')]
    c.incr_counter('n', 4); seen += [c.get_counter('n'), c.get_state('n')]
    return repr(seen)
";
    let mut function = kit.start(text, "code").await;
    function.state.insert("a".into(), "old".into());
    function.state.insert("n".into(), 40i64.to_be_bytes().to_vec().into());
    let seen = function.call("x").await.unwrap();
    assert_eq!(seen, "[b'old', 40, None, 0, b'new', 42, 1, 0, None, 4, b'\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x04']");
    assert_eq!(function.calls[0], (Some(2), Question::State("a".into())));
    // Questions come after the outcomes before them, even within one batch.
    function.calls.clear();
    function.send(&["x", "y"]).await;
    function.outcome().await;
    assert_eq!(function.calls.iter().filter(|(invocation, _)| *invocation == Some(4)).count(), 0);
    function.outcome().await;
    assert!(function.calls.iter().any(|(invocation, _)| *invocation == Some(4)));
}

#[tokio::test]
async fn manual_acknowledgements_name_the_invocation_of_their_message() {
    let kit = Kit::new();
    let text = "
held = []
def process(input, c):
    held.append((c.get_message_id(), c.get_current_message_topic_name()))
    if len(held) == 2:
        for message_id, topic in held: c.ack(message_id, topic)
";
    let mut spec = kit.spec(text, "code");
    spec.guarantee = Guarantee::Manual;
    let mut function = kit.run(spec).await.unwrap();
    let ids = function.send(&["a", "b"]).await;
    assert!(function.outcome().await.1.effects.acks.is_empty());
    assert_eq!(function.outcome().await.1.effects.acks, ids);
}

#[tokio::test]
async fn loggers_and_prints_are_log_lines() {
    let kit = Kit::new();
    let text = "
import logging
logging.getLogger('mine').info('loading')
def process(input, c):
    c.get_logger().info('told %s', input)
    logging.getLogger('mine').error('bad')
    c.get_logger().debug('unseen')
    print('printed')
";
    let mut function = kit.start(text, "code").await;
    assert_eq!(function.call("x").await.unwrap(), "");
    assert_eq!(function.log_line("told x").await.level, LogLevel::Info);
    assert_eq!(function.log_line("bad").await.level, LogLevel::Error);
    assert_eq!(function.log_line("printed").await.level, LogLevel::Info);
    let (_, logs) = function.stop().await;
    assert!(!logs.iter().any(|line| line.message.contains("unseen")), "{logs:?}");
}

#[tokio::test]
async fn generators_give_several_outputs_and_none_gives_none() {
    let kit = Kit::new();
    let mut function = kit.start("def process(i):\n    for word in i.split(): yield word\n", "code").await;
    function.send(&["a b c", ""]).await;
    assert_eq!(function.outputs().await.unwrap(), ["a", "b", "c"]);
    assert!(function.outputs().await.unwrap().is_empty());
    let mut nothing = kit.start("def process(i): pass", "code").await;
    nothing.send(&["a"]).await;
    assert!(nothing.outputs().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_function_without_output_topic_may_return_anything() {
    let kit = Kit::new();
    let mut spec = kit.spec("def process(i): return object()", "code");
    spec.output.topic = None;
    let mut function = kit.run(spec).await.unwrap();
    function.send(&["a"]).await;
    assert!(function.outputs().await.unwrap().is_empty());
}

#[tokio::test]
async fn asynchronous_functions_run_at_once_and_end_as_they_do() {
    let kit = Kit::new();
    let text = "
import asyncio
running = most = 0
class F:
    async def process(self, input, context):
        global running, most
        running += 1; most = max(most, running)
        try:
            if input == 'throw': raise ValueError('thrown')
            if input == 'never': await asyncio.sleep(1000)
            await asyncio.sleep(0.3 if input == 'slow' else 0.01)
            n = await context.get_counter_async('n')
            await context.incr_counter_async('n', 1)
            return '%s %d %d' % (input, n, context.get_counter('n'))
        finally:
            running -= 1
async def many(input):
    for i in range(int(input)):
        await asyncio.sleep(0)
        yield i
def most_at_once(input): return str(most)
";
    let mut spec = kit.spec(text, "code.F");
    spec.timeout = Some(Duration::from_secs(2));
    let mut function = kit.run(spec).await.unwrap();
    let ids = function.send(&["slow", "fast", "throw", "never"]).await;
    let mut ends = Vec::new();
    for _ in 0..4 {
        ends.push(function.outcome().await);
    }
    let order: Vec<_> = ends.iter().map(|(id, _)| *id).collect();
    assert_eq!(order, [ids[2], ids[1], ids[0], ids[3]]);
    assert!(ends[0].1.result.as_ref().unwrap_err().message.contains("ValueError: thrown"));
    assert_eq!(ends[1].1.result.as_ref().unwrap()[0].payload, "fast 0 1");
    assert_eq!(ends[2].1.result.as_ref().unwrap()[0].payload, "slow 0 1");
    assert_eq!(ends[2].1.effects.changes.len(), 1);
    assert!(ends[3].1.result.as_ref().unwrap_err().message.starts_with("timed out"));
    // One that timed out by itself takes nobody with it.
    assert_eq!(function.call("fast").await.unwrap(), "fast 0 1");
    let is_told = function.runs_many;
    assert!(function.stop().await.0.is_clean);

    let mut many = kit.start(text, "code.many").await;
    assert_eq!(many.call("3").await.unwrap(), "0|1|2");
    assert_eq!((is_told, many.runs_many), (Some(true), Some(true)));
    assert_eq!(kit.start(text, "code.most_at_once").await.runs_many, Some(false));
}

#[tokio::test]
async fn no_more_asynchronous_invocations_run_than_may() {
    let kit = Kit::new();
    let text = "
import asyncio
running = most = 0
async def f(input, context):
    global running, most
    running += 1; most = max(most, running)
    await asyncio.sleep(0.005)
    await context.get_state_async('answers come even when all that may run does')
    running -= 1
    return most
";
    let mut spec = kit.spec(text, "code.f");
    spec.max_pending_async = 7;
    let mut function = kit.run(spec).await.unwrap();
    for _ in 0..3 {
        function.send(&["x"; 40]).await;
    }
    let mut most = String::new();
    for _ in 0..120 {
        most = function.outputs().await.unwrap().join("");
    }
    assert_eq!(most, "7");
}

#[tokio::test]
async fn a_window_is_a_list() {
    let kit = Kit::new();
    let text = "
class F:
    def process(self, inputs, context):
        assert [m.value() for m in context.messages] == inputs
        return '%d %s %s' % (len(inputs), inputs[:3], context.get_message_id())
";
    let mut function = kit.start(text, "code.F").await;
    // Far more than one frame holds.
    let window: Vec<_> = (0..2000).map(|n| Arc::new(message(n, format!("w{n}{}", "x".repeat(500))))).collect();
    function
        .invoke([Input::Window(vec![Arc::new(message(1, "a")), Arc::new(message(2, "b"))]), Input::Window(window)])
        .await;
    assert_eq!(function.outputs().await.unwrap(), ["2 ['a', 'b'] (7,2,-1,-1)"]);
    let large = function.outputs().await.unwrap().join("");
    assert!(large.starts_with("2000 ['w0x") && large.ends_with("(7,1999,-1,-1)"), "{large}");
}

#[tokio::test]
async fn what_is_done_is_told_while_the_next_takes_its_time() {
    let kit = Kit::new();
    let text = "
import time
def process(input):
    if input == 'slow': time.sleep(5)
    return input
";
    let mut function = kit.start(text, "code").await;
    function.send(&["a", "slow"]).await;
    let at = Instant::now();
    assert_eq!(function.outputs().await.unwrap(), ["a"]);
    assert!(at.elapsed() < Duration::from_secs(4), "{:?}", at.elapsed());
    assert_eq!(function.outputs().await.unwrap(), ["slow"]);
}

#[tokio::test]
async fn a_close_method_is_called_at_the_end() {
    let kit = Kit::new();
    let text = "
class F:
    def process(self, input, context): pass
    def close(self): print('closed')
";
    let function = kit.start(text, "code.F").await;
    let (exit, logs) = function.stop().await;
    assert!(exit.is_clean);
    assert!(logs.iter().any(|line| line.message == "closed"), "{logs:?}");
}

#[tokio::test]
async fn an_idle_instance_is_small() {
    let kit = Kit::new();
    let mut function = kit.start("import os\ndef process(i): return open('/proc/self/status').read()", "code").await;
    let status = function.call("x").await.unwrap();
    let kib: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    println!("resident: {kib} KiB");
    assert!(kib < 25 * 1024, "{kib} KiB");
}
