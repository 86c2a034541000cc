"""The official Python client (a wrapper of the C++ client) against any Pulsar broker.

Usage: main.py SERVICE_URL ADMIN_URL [FILTER]

Prints `ok NAME` or `FAIL NAME: why` for each scenario whose name contains FILTER. Scenario names mean the same in every language.
`reconnect` prints `ready-for-restart` and waits for a line on standard input, by which time the broker has been restarted.
"""

import datetime
import json
import os
import re
import sys
import threading
import time
import urllib.error
import urllib.request

import pulsar
from pulsar import CompressionType, ConsumerType, InitialPosition, MessageId, ProducerAccessMode, schema

SERVICE, ADMIN = sys.argv[1], sys.argv[2]
SCENARIO_SECONDS = 90
SCENARIOS = {}


class Failure(Exception):
    """A scenario saw something other than what it promised."""


def check(condition, why):
    if not condition:
        raise Failure(why)


def equal(got, want, what):
    check(got == want, f"{what}: got {got!r}, want {want!r}")


def raises(kind, what, action):
    try:
        action()
    except kind:
        return
    raise Failure(f"{what}: expected {kind.__name__}")


def scenario(body):
    SCENARIOS[body.__name__] = body
    return body


class Box:
    """One scenario's client, with topics of its own."""

    def __init__(self, name):
        self.id = f"interop-python-{name.replace('_', '-')}-{time.time_ns():x}"
        self.topic = f"persistent://public/default/{self.id}"
        self.client = pulsar.Client(SERVICE, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, os.devnull), operation_timeout_seconds=15)

    def producer(self, topic=None, **options):
        return self.client.create_producer(topic or self.topic, **options)

    def consumer(self, topic=None, kind=ConsumerType.Exclusive, subscription="sub", **options):
        options.setdefault("initial_position", InitialPosition.Earliest)
        return self.client.subscribe(topic or self.topic, subscription, consumer_type=kind, **options)

    def reader(self, start, **options):
        return self.client.create_reader(self.topic, start, **options)


def admin(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(ADMIN + path, data=data, method=method, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=15) as reply:
        text = reply.read()
        return json.loads(text) if text else None


def texts(count, prefix="m"):
    return [f"{prefix}{i}" for i in range(count)]


def send_all(producer, values):
    return [producer.send(v.encode()) for v in values]


def receive(consumer, count, ack=True, timeout=15000):
    messages = []
    for _ in range(count):
        try:
            message = consumer.receive(timeout_millis=timeout)
        except pulsar.Timeout:
            raise Failure(f"received {len(messages)} of {count}: {data(messages)}") from None
        if ack:
            consumer.acknowledge(message)
        messages.append(message)
    return messages


def data(messages):
    return [m.data().decode() for m in messages]


def silent(consumer, millis=700):
    try:
        message = consumer.receive(timeout_millis=millis)
    except pulsar.Timeout:
        return
    raise Failure(f"unexpected message {message.data()[:40]!r}")


def drain(consumer, millis=1500, ack=True):
    """Everything that arrives until nothing has for `millis`."""
    messages = []
    while True:
        try:
            messages.append(consumer.receive(timeout_millis=millis))
        except pulsar.Timeout:
            return messages
        if ack:
            consumer.acknowledge(messages[-1])


def send_batch(producer, values):
    """One batch: everything queued, then one flush."""
    results = []
    for value in values:
        producer.send_async(value.encode(), lambda result, _id: results.append(result))
    producer.flush()
    check(all(r == pulsar.Result.Ok for r in results), f"sends failed: {results}")


def batching(**options):
    return dict(batching_enabled=True, batching_max_messages=100, batching_max_publish_delay_ms=3000, block_if_queue_full=True, **options)


@scenario
def produce_consume(box):
    consumer, producer = box.consumer(), box.producer()
    ids = send_all(producer, texts(20))
    got = receive(consumer, 20)
    equal(data(got), texts(20), "messages")
    equal([str(m.message_id()) for m in got], [str(i) for i in ids], "message ids")
    silent(consumer)


@scenario
def batched(box):
    consumer, producer = box.consumer(), box.producer(**batching())
    send_batch(producer, texts(100))
    got = receive(consumer, 100)
    equal(data(got), texts(100), "messages")
    entries = {(m.message_id().ledger_id(), m.message_id().entry_id()) for m in got}
    check(len(entries) < 10, f"100 messages in {len(entries)} entries")


def compression(name, kind):
    def body(box):
        consumer = box.consumer()
        values = [f"{i}-" + "compressible " * 50 for i in range(20)]
        plain = box.producer(compression_type=kind)
        send_all(plain, values)
        send_batch(box.producer(compression_type=kind, **batching()), values)
        equal(data(receive(consumer, 40)), values * 2, "messages")

    SCENARIOS["compression_" + name] = body


for _name, _kind in [("none", "NONE"), ("lz4", "LZ4"), ("zlib", "ZLib"), ("zstd", "ZSTD"), ("snappy", "SNAPPY")]:
    compression(_name, getattr(CompressionType, _kind))


@scenario
def exclusive(box):
    first = box.consumer()
    raises(pulsar.ConsumerBusy, "second exclusive consumer", box.consumer)
    first.close()
    box.consumer().close()


@scenario
def shared(box):
    consumers = [box.consumer(kind=ConsumerType.Shared, receiver_queue_size=5) for _ in range(2)]
    send_all(box.producer(), texts(60))
    got = [drain(c, 800) for c in consumers for _ in range(2)]
    counts = [len(got[0]) + len(got[1]), len(got[2]) + len(got[3])]
    equal(sorted(data(sum(got, []))), sorted(texts(60)), "messages")
    check(all(counts), f"one consumer did all the work: {counts}")


@scenario
def failover(box):
    consumers = [box.consumer(kind=ConsumerType.Failover, consumer_name=n) for n in "ab"]
    producer = box.producer()
    time.sleep(2)  # the broker may take a moment to settle who is active
    send_all(producer, texts(10))
    got = [drain(c, 1500) for c in consumers]
    equal(sorted(len(g) for g in got), [0, 10], "one consumer is active")
    active = 0 if got[0] else 1
    equal(data(got[active]), texts(10), "messages")
    consumers[active].close()
    send_all(producer, texts(10, "n"))
    equal(data(receive(consumers[1 - active], 10)), texts(10, "n"), "after the takeover")


@scenario
def key_shared(box):
    consumers = [box.consumer(kind=ConsumerType.KeyShared) for _ in range(2)]
    producer = box.producer()
    keys = [f"key-{i}" for i in range(20)]
    for n in range(10):
        for key in keys:
            producer.send_async(f"{n}".encode(), lambda r, i: None, partition_key=key)
    producer.flush()
    got = [drain(c) for c in consumers]
    equal(sum(map(len, got)), 200, "messages")
    check(all(got), "both consumers have keys")
    for key in keys:
        owners = [[m.data().decode() for m in g if m.partition_key() == key] for g in got]
        equal(sorted(owners), [[], [str(n) for n in range(10)]], f"{key} goes to one consumer, in order")


@scenario
def individual_ack(box):
    consumer = box.consumer(kind=ConsumerType.Shared)
    send_all(box.producer(), texts(10))
    for i, message in enumerate(receive(consumer, 10, ack=False)):
        if i % 2 == 0:
            consumer.acknowledge(message)
    consumer.close()
    again = box.consumer(kind=ConsumerType.Shared)
    equal(sorted(data(drain(again))), texts(10)[1::2], "redelivered")


@scenario
def cumulative_ack(box):
    consumer = box.consumer()
    send_all(box.producer(), texts(10))
    consumer.acknowledge_cumulative(receive(consumer, 10, ack=False)[5])
    consumer.close()
    equal(data(drain(box.consumer())), texts(10)[6:], "redelivered")


@scenario
def batch_index_ack(box):
    options = dict(kind=ConsumerType.Shared, batch_index_ack_enabled=True)
    consumer = box.consumer(**options)
    send_batch(box.producer(**batching()), texts(10))
    got = receive(consumer, 10, ack=False)
    equal(len({m.message_id().entry_id() for m in got}), 1, "entries")
    for message in got[::2]:
        consumer.acknowledge(message)
    consumer.close()
    equal(data(drain(box.consumer(**options))), texts(10)[1::2], "redelivered")


@scenario
def nack(box):
    consumer = box.consumer(kind=ConsumerType.Shared, negative_ack_redelivery_delay_ms=300)
    send_all(box.producer(), texts(5))
    first = receive(consumer, 5, ack=False)
    for i, message in enumerate(first):
        consumer.negative_acknowledge(message) if i % 2 else consumer.acknowledge(message)
    equal(sorted(data(receive(consumer, 2))), ["m1", "m3"], "redelivered")
    silent(consumer)


@scenario
def redelivery_count(box):
    consumer = box.consumer(kind=ConsumerType.Shared, negative_ack_redelivery_delay_ms=200)
    box.producer().send(b"again")
    for count in range(3):
        message = receive(consumer, 1, ack=False)[0]
        equal(message.redelivery_count(), count, "redelivery count")
        consumer.negative_acknowledge(message)


@scenario
def dead_letter(box):
    dead = box.consumer(topic=box.topic + "-dead")
    policy = pulsar.ConsumerDeadLetterPolicy(max_redeliver_count=2, dead_letter_topic=box.topic + "-dead")
    consumer = box.consumer(kind=ConsumerType.Shared, negative_ack_redelivery_delay_ms=200, dead_letter_policy=policy)
    send_all(box.producer(), ["good", "bad"])
    seen = 0
    for _ in range(4):
        message = receive(consumer, 1, ack=False)[0]
        if message.data() == b"good":
            consumer.acknowledge(message)
        else:
            seen += 1
            consumer.negative_acknowledge(message)
    equal(seen, 3, "deliveries before the dead letter")
    equal(data(receive(dead, 1)), ["bad"], "dead letter")
    silent(consumer)


# What consumers of Pulsar's own instances may have in flight, the broker decides: it must be enough for whatever they do with it.


def of_function(box, instance, kind=ConsumerType.Shared, **options):
    """A consumer as an instance makes it. Source: `InstanceUtils.getProperties`, the same in Python's and Go's."""
    properties = {"application": "pulsar-function", "id": "public/default/f", "instance_id": str(instance)}
    return box.consumer(kind=kind, properties=properties, **options)


def fill(box, count):
    consumer = box.consumer(kind=ConsumerType.Shared)
    consumer.close()
    producer = box.producer(batching_enabled=False, block_if_queue_full=True)
    for value in texts(count):
        producer.send_async(value.encode(), lambda result, id: None)
    producer.flush()


def work(consumer, seconds, done, until):
    """Works on one message after the other; appends to `done` when each was."""
    while not until.is_set():
        try:
            message = consumer.receive(timeout_millis=200)
        except pulsar.Timeout:
            continue
        time.sleep(seconds)
        done.append((time.monotonic(), message.data()))
        consumer.acknowledge(message)


def shares(box, queue):
    """How many messages two did in two seconds, one second after the second one joined a backlog."""
    until, done, threads = threading.Event(), ([], []), []
    for instance in range(2):
        consumer = of_function(box, instance, receiver_queue_size=queue)
        threads.append(threading.Thread(target=work, args=(consumer, 0.005, done[instance], until), daemon=True))
        threads[-1].start()
        time.sleep(2 if instance == 0 else 1)
    before = [len(of) for of in done]
    time.sleep(2)
    got = [len(of) - then for of, then in zip(done, before)]
    until.set()
    for thread in threads:
        thread.join()
    everything = [data for of in done for _, data in of]
    equal(len(everything), len(set(everything)), "each message is done once")
    return got


def fair(got):
    fair = sum(got) / len(got)
    check(all(abs(one - fair) <= fair * 0.25 for one in got), f"messages done by each: {got}")


@scenario
def function_shares(box):
    fill(box, 4000)
    fair(shares(box, 1000))


@scenario
def function_shares_queue_of_one(box):
    fill(box, 4000)
    fair(shares(box, 1))


@scenario
def function_collects(box):
    fill(box, 1500)
    consumer = of_function(box, 0)
    got = []
    for _ in range(5):
        messages = receive(consumer, 300, ack=False)
        got += data(messages)
        for message in messages:
            consumer.acknowledge(message)
    equal(sorted(got), sorted(texts(1500)), "messages")


@scenario
def function_acks_late(box):
    fill(box, 100)
    consumer = of_function(box, 0)
    late, done = [], []
    deadline = time.monotonic() + 60
    while len(done) < 100:
        check(time.monotonic() < deadline, f"{len(done)} of 100 are done, {len(late)} in hand")
        try:
            late.append((time.monotonic() + 3, consumer.receive(timeout_millis=100)))
        except pulsar.Timeout:
            pass
        while late and late[0][0] <= time.monotonic():
            message = late.pop(0)[1]
            consumer.acknowledge(message)
            done.append(message.data().decode())
    equal(sorted(done), sorted(texts(100)), "messages")


@scenario
def function_nacks(box):
    fill(box, 200)
    consumer = of_function(box, 0, negative_ack_redelivery_delay_ms=200)
    seen, done = set(), set()
    while len(done) < 200:
        message = receive(consumer, 1, ack=False)[0]
        if message.data() in seen:
            consumer.acknowledge(message)
            done.add(message.data())
        else:
            seen.add(message.data())
            consumer.negative_acknowledge(message)


@scenario
def function_acks_cumulatively(box):
    consumer = of_function(box, 0, kind=ConsumerType.Failover)
    send_all(box.producer(), texts(500))
    for number in range(10):
        messages = receive(consumer, 50, ack=False)
        equal(data(messages), texts(500)[50 * number:50 * number + 50], "messages")
        consumer.acknowledge_cumulative(messages[-1])


@scenario
def reader_earliest(box):
    send_all(box.producer(), texts(10))
    reader = box.reader(MessageId.earliest)
    equal([reader.read_next(10000).data().decode() for _ in range(10)], texts(10), "messages")


@scenario
def reader_latest(box):
    producer = box.producer()
    send_all(producer, texts(5))
    reader = box.reader(MessageId.latest)
    send_all(producer, texts(5, "n"))
    equal([reader.read_next(10000).data().decode() for _ in range(5)], texts(5, "n"), "messages")


@scenario
def reader_message_id(box):
    ids = send_all(box.producer(), texts(10))
    equal(box.reader(ids[3]).read_next(10000).data(), b"m4", "after the start id")
    equal(box.reader(ids[3], start_message_id_inclusive=True).read_next(10000).data(), b"m3", "the start id itself")


@scenario
def seek_id(box):
    ids = send_all(box.producer(), texts(10))
    consumer = box.consumer(start_message_id_inclusive=True)
    receive(consumer, 10)
    consumer.seek(ids[4])
    equal(data(receive(consumer, 6)), texts(10)[4:], "after seek")
    consumer.seek(MessageId.earliest)
    equal(data(receive(consumer, 10)), texts(10), "after seek to earliest")


@scenario
def seek_time(box):
    producer, consumer = box.producer(), box.consumer()
    send_all(producer, texts(5))
    time.sleep(0.1)
    middle = int(time.time() * 1000)
    time.sleep(0.1)
    send_all(producer, texts(5, "n"))
    receive(consumer, 10)
    consumer.seek(middle)
    equal(data(receive(consumer, 5)), texts(5, "n"), "after seek")


@scenario
def last_message_id(box):
    producer, consumer = box.producer(), box.consumer()
    reader = box.reader(MessageId.earliest)
    check(not reader.has_message_available(), "an empty topic has a message")
    ids = send_all(producer, texts(3))
    last = consumer.get_last_message_id()
    equal((last.ledger_id(), last.entry_id()), (ids[-1].ledger_id(), ids[-1].entry_id()), "last message id")
    for value in texts(3):
        check(reader.has_message_available(), f"{value} is available")
        equal(reader.read_next(10000).data().decode(), value, "message")
    check(not reader.has_message_available(), "nothing is left")


@scenario
def unsubscribe(box):
    consumer = box.consumer()
    path = f"/admin/v2/persistent/public/default/{box.id}/subscriptions"
    equal(admin("GET", path), ["sub"], "subscriptions")
    consumer.unsubscribe()
    equal(admin("GET", path), [], "subscriptions after unsubscribe")
    producer = box.producer()
    producer.send(b"unseen")
    consumer = box.consumer(initial_position=InitialPosition.Latest)
    producer.send(b"fresh")
    equal(data(receive(consumer, 1)), ["fresh"], "a new subscription of the same name")


@scenario
def partitioned(box):
    admin("PUT", f"/admin/v2/persistent/public/default/{box.id}/partitions", 3)
    equal(len(box.client.get_topic_partitions(box.topic)), 3, "partitions")
    consumer = box.consumer()
    send_all(box.producer(), texts(30))
    got = receive(consumer, 30)
    equal(sorted(data(got)), sorted(texts(30)), "messages")
    equal({m.message_id().partition() for m in got}, {0, 1, 2}, "partitions used")


@scenario
def metadata(box):
    consumer, producer = box.consumer(), box.producer(producer_name=box.id + "-p")
    before = int(time.time() * 1000)
    producer.send(b"x", partition_key="key", ordering_key="order", properties={"a": "1", "b": "two"}, event_timestamp=1234567, sequence_id=42)
    message = receive(consumer, 1)[0]
    equal(message.partition_key(), "key", "key")
    equal(message.ordering_key(), "order", "ordering key")
    equal(message.properties(), {"a": "1", "b": "two"}, "properties")
    equal(message.event_timestamp(), 1234567, "event time")
    equal(message.producer_name(), box.id + "-p", "producer name")
    check(before - 1000 <= message.publish_timestamp() <= before + 15000, "publish time")
    equal(producer.last_sequence_id(), 42, "sequence id")


@scenario
def deduplication(box):
    namespace = "public/" + box.id
    admin("PUT", f"/admin/v2/namespaces/{namespace}", {})
    admin("POST", f"/admin/v2/namespaces/{namespace}/deduplication", True)
    topic = f"persistent://{namespace}/orders"
    consumer = box.consumer(topic=topic)
    producer = box.producer(topic, producer_name="p")
    for sequence in list(range(10)) + list(range(5, 15)):
        producer.send(f"m{sequence}".encode(), sequence_id=sequence)
    equal(data(drain(consumer)), texts(15), "messages")
    producer.close()
    equal(box.producer(topic, producer_name="p").last_sequence_id(), 14, "last sequence id of the returning producer")


@scenario
def large_message(box):
    consumer = box.consumer()
    payload = os.urandom(4 * 1024 * 1024)
    box.producer().send(payload)
    check(receive(consumer, 1)[0].data() == payload, "payload differs")


@scenario
def chunked(box):
    consumer = box.consumer()
    payload = os.urandom(12 * 1024 * 1024)
    producer = box.producer(chunking_enabled=True)
    producer.send(payload)
    producer.send(b"small")
    got = receive(consumer, 2, timeout=30000)
    check(got[0].data() == payload, "payload differs")
    equal(got[1].data(), b"small", "next message")


@scenario
def delayed(box):
    consumer, producer = box.consumer(kind=ConsumerType.Shared), box.producer()
    producer.send(b"later", deliver_after=datetime.timedelta(seconds=3))
    producer.send(b"now")
    equal(receive(consumer, 1)[0].data(), b"now", "first")
    silent(consumer, 1200)
    equal(receive(consumer, 1)[0].data(), b"later", "second")


@scenario
def regex(box):
    # Topics made later are left to the other clients: this one never asks again, whatever its discovery period.
    box.producer(box.topic + "-one").send(b"1")
    box.producer(box.topic + "-two").send(b"2")
    box.producer(box.topic + "x").send(b"not this")
    consumer = box.consumer(re.compile(box.topic + "-.*"))
    equal(sorted(data(receive(consumer, 2))), ["1", "2"], "messages")
    silent(consumer)


@scenario
def receive_timeout(box):
    consumer = box.consumer()
    start = time.monotonic()
    raises(pulsar.Timeout, "receive on an empty topic", lambda: consumer.receive(timeout_millis=500))
    check(0.4 < time.monotonic() - start < 3, "timeout of 500 ms")


@scenario
def producer_exclusive(box):
    first = box.producer(access_mode=ProducerAccessMode.Exclusive)
    raises(pulsar.ProducerFenced, "second exclusive producer", lambda: box.producer(access_mode=ProducerAccessMode.Exclusive))
    raises(pulsar.ProducerBusy, "shared producer beside an exclusive one", box.producer)
    waiting = []
    thread = threading.Thread(target=lambda: waiting.append(box.producer(access_mode=ProducerAccessMode.WaitForExclusive)), daemon=True)
    thread.start()
    time.sleep(1)
    check(not waiting, "the waiting producer did not wait")
    first.send(b"first")
    first.close()
    thread.join(15)
    check(waiting, "the waiting producer never got its turn")
    waiting[0].send(b"second")
    fencing = box.producer(access_mode=ProducerAccessMode.ExclusiveWithFencing)
    fencing.send(b"third")
    raises(pulsar.PulsarException, "the fenced producer", lambda: waiting[0].send(b"lost"))
    equal(data(drain(box.consumer())), ["first", "second", "third"], "messages")


@scenario
def multi_topic(box):
    topics = [f"{box.topic}-{i}" for i in range(3)]
    consumer = box.consumer(topic=topics)
    for topic in topics:
        box.producer(topic).send(topic.encode())
    equal(sorted(data(receive(consumer, 3))), topics, "messages")


@scenario
def json_schema(box):
    class Order(schema.Record):
        name = schema.String()
        count = schema.Integer()

    consumer = box.consumer(schema=schema.JsonSchema(Order))
    box.producer(schema=schema.JsonSchema(Order)).send(Order(name="pen", count=3))
    order = receive(consumer, 1)[0].value()
    equal((order.name, order.count), ("pen", 3), "record")


@scenario
def schema_evolution(box):
    """A schema may grow in a way that both sides can read; what does not fit is refused, whoever brings it."""
    def order(**fields):
        return schema.JsonSchema(type("Order", (schema.Record,), fields))

    name, count = schema.String(), schema.Integer(default=1, required=True, required_default=True)
    first, wider = order(name=name), order(name=name, count=count)
    consumer = box.consumer(schema=first)
    box.producer(schema=first).send(first._record_cls(name="pen"))
    box.producer(schema=wider).send(wider._record_cls(name="ink", count=3))
    messages = receive(consumer, 2)
    equal([m.schema_version().encode()[-1] for m in messages], [0, 1], "versions")
    equal([json.loads(m.data())["name"] for m in messages], ["pen", "ink"], "values")
    for other in [order(name=schema.Integer()), order(name=name, count=schema.String()), schema.StringSchema()]:
        raises(pulsar.IncompatibleSchema, "producing", lambda: box.producer(schema=other))
        raises(pulsar.IncompatibleSchema, "consuming", lambda: box.consumer(subscription="other", schema=other))


@scenario
def raw_bytes(box):
    consumer, producer = box.consumer(), box.producer()
    values = [b"", bytes(range(256)), b"\x00" * 1000]
    for value in values:
        producer.send(value)
    equal([m.data() for m in receive(consumer, 3)], values, "payloads")


@scenario
def reconnect(box):
    """Publishes and consumes through a restart of the broker; every receipted message arrives, and each sequence in order."""
    producer, consumer = box.producer(), box.consumer()
    receipted, errors, restarted = [], [], threading.Event()

    def publish():
        number, after = 0, 0
        while after < 50:
            try:
                producer.send(str(number).encode())
                receipted.append(number)
                after += restarted.is_set()
            except pulsar.PulsarException as error:
                errors.append(error)
                time.sleep(0.2)
            number += 1
            time.sleep(0.005)

    thread = threading.Thread(target=publish, daemon=True)
    thread.start()
    seen = [int(m.data()) for m in receive(consumer, 50)]
    print("ready-for-restart", flush=True)
    sys.stdin.readline()
    restarted.set()
    deadline = time.monotonic() + 75
    while time.monotonic() < deadline and (thread.is_alive() or not set(receipted) <= set(seen)):
        try:
            message = consumer.receive(timeout_millis=500)
        except pulsar.Timeout:
            continue
        seen.append(int(message.data()))
        consumer.acknowledge(message)
    check(not thread.is_alive(), f"publishing did not go on after the restart; errors: {errors[-3:]}")
    lost = sorted(set(receipted) - set(seen))
    check(not lost, f"lost receipted messages {lost[:10]}")
    first = list(dict.fromkeys(seen))
    equal(first, sorted(first), "order of first deliveries")


def run(name):
    outcome = []

    def body():
        box = None
        try:
            box = Box(name)
            SCENARIOS[name](box)
            outcome.append(None)
        except Failure as failure:
            outcome.append(str(failure))
        except Exception as error:  # a client's error is a failure of the scenario, with its type
            outcome.append(f"{type(error).__name__}: {error}")
        finally:
            if box:
                box.client.shutdown()

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    thread.join(SCENARIO_SECONDS)
    why = outcome[0] if outcome else f"no end after {SCENARIO_SECONDS} s"
    print(f"ok {name}" if why is None else f"FAIL {name}: {why}", flush=True)
    return why is None


def main():
    wanted = sys.argv[3] if len(sys.argv) > 3 else ""
    failed = sum(not run(name) for name in SCENARIOS if wanted in name)
    os._exit(min(failed, 100))  # threads of a hung scenario must not hold the process


main()
