"""The official Python client (which is the C++ client) against a broker.

Run as `main.py SERVICE_URL ADMIN_URL [FILTER]`; one line a scenario on standard output.
"""

import json
import sys
import threading
import time
import traceback
import urllib.request
import uuid

import pulsar
from pulsar import CompressionType, ConsumerType, InitialPosition, MessageId

SERVICE, ADMIN = sys.argv[1], sys.argv[2]
FILTER = sys.argv[3] if len(sys.argv) > 3 else ""
WAIT_MS = 10_000
SCENARIOS = []


def scenario(function):
    SCENARIOS.append(function)
    return function


def topic(name):
    return f"persistent://public/default/py-{name}-{uuid.uuid4().hex[:8]}"


def admin(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(ADMIN + path, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=20) as response:
        text = response.read()
        return json.loads(text) if text else None


def connect():
    return pulsar.Client(SERVICE, logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error), operation_timeout_seconds=20)


def receive_all(consumer, n, ack=True):
    got = []
    for _ in range(n):
        message = consumer.receive(WAIT_MS)
        got.append(message.data().decode())
        if ack:
            consumer.acknowledge(message)
    return got


def nothing_more(consumer, ms=300):
    try:
        message = consumer.receive(ms)
    except pulsar.Timeout:
        return
    raise AssertionError(f"unexpected message {message.data()!r}")


def expect(found, wanted):
    assert found == wanted, f"found {str(found)[:200]}, wanted {str(wanted)[:200]}"


def numbers(n, start=0):
    return [f"m{i}" for i in range(start, start + n)]


def fails_with(kind, action):
    try:
        action()
    except kind:
        return
    raise AssertionError(f"{kind.__name__} expected")


@scenario
def produce_consume(client):
    name = topic("plain")
    consumer = client.subscribe(name, "s", initial_position=InitialPosition.Earliest)
    producer = client.create_producer(name, batching_enabled=False)
    for text in numbers(100):
        producer.send(text.encode(), properties={"p": text}, partition_key=text, event_timestamp=1234567)
    first = consumer.receive(WAIT_MS)
    expect((first.data(), first.properties(), first.partition_key(), first.event_timestamp()),
           (b"m0", {"p": "m0"}, "m0", 1234567))
    consumer.acknowledge(first)
    expect(receive_all(consumer, 99), numbers(99, 1))
    nothing_more(consumer)


def batched_with(client, compression):
    name = topic("batched")
    consumer = client.subscribe(name, "s")
    producer = client.create_producer(name, compression_type=compression, batching_enabled=True,
                                      batching_max_publish_delay_ms=10)
    done = []
    for text in numbers(1000):
        producer.send_async((text * 20).encode(), lambda result, _id: done.append(result))
    producer.flush()
    expect(set(map(str, done)), {str(pulsar.Result.Ok)})
    expect(receive_all(consumer, 1000), [text * 20 for text in numbers(1000)])


@scenario
def batched(client):
    batched_with(client, CompressionType.NONE)


for _kind in ("LZ4", "ZLib", "ZSTD", "SNAPPY"):
    def _compressed(client, kind=_kind):
        batched_with(client, getattr(CompressionType, kind))
    _compressed.__name__ = f"compression_{_kind.lower()}"
    scenario(_compressed)


@scenario
def exclusive(client):
    name = topic("exclusive")
    first = client.subscribe(name, "s", ConsumerType.Exclusive)
    fails_with(pulsar.ConsumerBusy, lambda: client.subscribe(name, "s", ConsumerType.Exclusive))
    first.close()
    client.subscribe(name, "s", ConsumerType.Exclusive)


@scenario
def shared(client):
    name = topic("shared")
    consumers = [client.subscribe(name, "s", ConsumerType.Shared, receiver_queue_size=10) for _ in range(3)]
    producer = client.create_producer(name, batching_enabled=False)
    for text in numbers(90):
        producer.send_async(text.encode(), None)
    producer.flush()
    got, deadline = [[], [], []], time.time() + 10
    while sum(map(len, got)) < 90 and time.time() < deadline:
        for consumer, mine in zip(consumers, got):
            try:
                message = consumer.receive(50)
                mine.append(message.data().decode())
                consumer.acknowledge(message)
            except pulsar.Timeout:
                pass
    expect(sorted(sum(got, [])), sorted(numbers(90)))
    assert all(mine for mine in got), f"work was not divided: {list(map(len, got))}"


@scenario
def failover(client):
    name = topic("failover")
    consumers = [client.subscribe(name, "s", ConsumerType.Failover, consumer_name=f"c{i}") for i in range(2)]
    producer = client.create_producer(name, batching_enabled=False)
    for text in numbers(10):
        producer.send(text.encode())

    def active():
        for at, consumer in enumerate(consumers):
            try:
                return at, consumer.receive(1000)
            except pulsar.Timeout:
                pass
        raise AssertionError("nobody is active")

    at, message = active()
    expect(message.data(), b"m0")
    consumers[at].acknowledge(message)
    expect(receive_all(consumers[at], 4), numbers(4, 1))
    consumers[at].close()
    expect(receive_all(consumers[1 - at], 5), numbers(5, 5))


@scenario
def key_shared(client):
    name = topic("key-shared")
    consumers = [client.subscribe(name, "s", ConsumerType.KeyShared) for _ in range(3)]
    producer = client.create_producer(name, batching_enabled=False)
    keys = [f"k{i}" for i in range(30)]
    for n in range(10):
        for key in keys:
            producer.send_async(f"{key}:{n}".encode(), None, partition_key=key)
    producer.flush()
    owner, order, deadline = {}, {}, time.time() + 15
    while sum(map(len, order.values())) < 300 and time.time() < deadline:
        for at, consumer in enumerate(consumers):
            try:
                message = consumer.receive(20)
            except pulsar.Timeout:
                continue
            key, n = message.data().decode().split(":")
            expect(owner.setdefault(key, at), at)
            order.setdefault(key, []).append(int(n))
            consumer.acknowledge(message)
    expect(order, {key: list(range(10)) for key in keys})
    assert len(set(owner.values())) > 1, "one consumer got every key"


@scenario
def individual_ack_survives_reconnect(client):
    name = topic("individual")
    consumer = client.subscribe(name, "s", ConsumerType.Shared)
    producer = client.create_producer(name, batching_enabled=False)
    for text in numbers(10):
        producer.send(text.encode())
    messages = [consumer.receive(WAIT_MS) for _ in range(10)]
    for message in messages[::2]:
        consumer.acknowledge(message)
    consumer.close()
    consumer = client.subscribe(name, "s", ConsumerType.Shared)
    expect(sorted(receive_all(consumer, 5)), [f"m{i}" for i in (1, 3, 5, 7, 9)])
    nothing_more(consumer)


@scenario
def cumulative_ack(client):
    name = topic("cumulative")
    consumer = client.subscribe(name, "s")
    producer = client.create_producer(name, batching_enabled=False)
    for text in numbers(10):
        producer.send(text.encode())
    messages = [consumer.receive(WAIT_MS) for _ in range(10)]
    consumer.acknowledge_cumulative(messages[6])
    consumer.close()
    consumer = client.subscribe(name, "s")
    expect(receive_all(consumer, 3), numbers(3, 7))


@scenario
def batch_index_ack(client):
    name = topic("batch-index")
    subscribe = lambda: client.subscribe(name, "s", ConsumerType.Shared, batch_index_ack_enabled=True)
    consumer = subscribe()
    producer = client.create_producer(name, batching_enabled=True, batching_max_publish_delay_ms=1000)
    for text in numbers(10):
        producer.send_async(text.encode(), None)
    producer.flush()
    messages = [consumer.receive(WAIT_MS) for _ in range(10)]
    for at in (0, 3, 9):
        consumer.acknowledge(messages[at])
    consumer.close()
    consumer = subscribe()
    expect(sorted(receive_all(consumer, 7)), sorted(set(numbers(10)) - {"m0", "m3", "m9"}))
    nothing_more(consumer)


@scenario
def nack_and_redelivery_count(client):
    name = topic("nack")
    consumer = client.subscribe(name, "s", ConsumerType.Shared, negative_ack_redelivery_delay_ms=100)
    client.create_producer(name).send(b"again")
    for wanted in range(3):
        message = consumer.receive(WAIT_MS)
        expect((message.data(), message.redelivery_count()), (b"again", wanted))
        consumer.negative_acknowledge(message)
    message = consumer.receive(WAIT_MS)
    consumer.acknowledge(message)
    nothing_more(consumer)


@scenario
def dead_letter(client):
    name, dead = topic("work"), topic("dead")
    policy = pulsar.ConsumerDeadLetterPolicy(max_redeliver_count=2, dead_letter_topic=dead,
                                             initial_subscription_name="keep")
    consumer = client.subscribe(name, "s", ConsumerType.Shared, negative_ack_redelivery_delay_ms=100,
                                dead_letter_policy=policy)
    client.create_producer(name).send(b"poison")
    letters = client.subscribe(dead, "look", initial_position=InitialPosition.Earliest)
    deadline = time.time() + 15
    while time.time() < deadline:
        try:
            consumer.negative_acknowledge(consumer.receive(200))
        except pulsar.Timeout:
            pass
        try:
            expect(letters.receive(50).data(), b"poison")
            return
        except pulsar.Timeout:
            pass
    raise AssertionError("nothing came to the dead letter topic")


@scenario
def reader(client):
    name = topic("reader")
    producer = client.create_producer(name, batching_enabled=False)
    ids = [producer.send(text.encode()) for text in numbers(10)]
    def read(start, n, **options):
        r = client.create_reader(name, start, **options)
        got = [r.read_next(WAIT_MS).data().decode() for _ in range(n)]
        expect(r.has_message_available(), False)
        r.close()
        return got
    expect(read(MessageId.earliest, 10), numbers(10))
    expect(read(ids[4], 5), numbers(5, 5))
    expect(read(ids[4], 6, start_message_id_inclusive=True), numbers(6, 4))
    latest = client.create_reader(name, MessageId.latest)
    expect(latest.has_message_available(), False)
    producer.send(b"new")
    expect(latest.read_next(WAIT_MS).data(), b"new")


@scenario
def seek(client):
    name = topic("seek")
    consumer = client.subscribe(name, "s")
    producer = client.create_producer(name, batching_enabled=False)
    for text in numbers(5):
        producer.send(text.encode())
    time.sleep(0.05)
    middle = int(time.time() * 1000)
    time.sleep(0.05)
    for text in numbers(5, 5):
        producer.send(text.encode())
    messages = [consumer.receive(WAIT_MS) for _ in range(10)]
    for message in messages:
        consumer.acknowledge(message)
    consumer.seek(middle)
    expect(receive_all(consumer, 5), numbers(5, 5))
    consumer.seek(messages[2].message_id())
    expect(consumer.receive(WAIT_MS).data().decode(), "m3")
    consumer.seek(MessageId.earliest)
    expect(receive_all(consumer, 10), numbers(10))
    consumer.seek(MessageId.latest)
    nothing_more(consumer)


@scenario
def last_message_id(client):
    name = topic("last")
    consumer = client.subscribe(name, "s")
    producer = client.create_producer(name, batching_enabled=False)
    for text in numbers(3):
        last = producer.send(text.encode())
    found = consumer.get_last_message_id()
    expect((found.ledger_id(), found.entry_id()), (last.ledger_id(), last.entry_id()))


@scenario
def unsubscribe(client):
    name = topic("unsubscribe")
    consumer = client.subscribe(name, "s")
    producer = client.create_producer(name)
    producer.send(b"lost")
    consumer.unsubscribe()
    consumer = client.subscribe(name, "s")
    nothing_more(consumer)
    producer.send(b"seen")
    expect(receive_all(consumer, 1), ["seen"])


@scenario
def partitioned(client):
    name = topic("partitioned")
    admin("PUT", f"/admin/v2/persistent/public/default/{name.rsplit('/', 1)[1]}/partitions", 3)
    consumer = client.subscribe(name, "s")
    producer = client.create_producer(name, batching_enabled=False)
    for text in numbers(30):
        producer.send(text.encode(), partition_key=text)
    expect(sorted(receive_all(consumer, 30)), sorted(numbers(30)))
    expect(len(client.get_topic_partitions(name)), 3)


@scenario
def deduplication(client):
    namespace = f"dedup-{uuid.uuid4().hex[:8]}"
    admin("PUT", f"/admin/v2/namespaces/public/{namespace}")
    admin("POST", f"/admin/v2/namespaces/public/{namespace}/deduplication", True)
    name = f"persistent://public/{namespace}/t"
    consumer = client.subscribe(name, "s")
    producer = client.create_producer(name, producer_name="p", batching_enabled=False)
    for n in (1, 2, 2, 1, 3):
        producer.send(f"m{n}".encode(), sequence_id=n)
    expect(receive_all(consumer, 3), ["m1", "m2", "m3"])
    nothing_more(consumer)
    producer.close()
    producer = client.create_producer(name, producer_name="p", batching_enabled=False)
    expect(producer.last_sequence_id(), 3)


@scenario
def large_message(client):
    name = topic("large")
    consumer = client.subscribe(name, "s")
    payload = bytes(range(256)) * (4 * 4096)
    client.create_producer(name, batching_enabled=False).send(payload)
    expect(consumer.receive(WAIT_MS).data(), payload)


@scenario
def chunked_message(client):
    name = topic("chunked")
    consumer = client.subscribe(name, "s")
    payload = bytes(range(256)) * (12 * 4096)
    client.create_producer(name, batching_enabled=False, chunking_enabled=True).send(payload)
    expect(consumer.receive(WAIT_MS * 2).data(), payload)


@scenario
def delayed_delivery(client):
    from datetime import timedelta
    name = topic("delayed")
    consumer = client.subscribe(name, "s", ConsumerType.Shared)
    producer = client.create_producer(name, batching_enabled=False)
    started = time.time()
    producer.send(b"late", deliver_after=timedelta(milliseconds=1500))
    producer.send(b"now")
    expect(consumer.receive(WAIT_MS).data(), b"now")
    expect(consumer.receive(WAIT_MS).data(), b"late")
    assert time.time() - started > 0.9, "it came too early"


@scenario
def regex_subscription(client):
    import re
    tag = uuid.uuid4().hex[:8]
    producers = [client.create_producer(f"persistent://public/default/rx-{tag}-{n}") for n in range(3)]
    consumer = client.subscribe(re.compile(f"persistent://public/default/rx-{tag}-.*"), "s")
    for n, producer in enumerate(producers):
        producer.send(f"m{n}".encode())
    expect(sorted(receive_all(consumer, 3)), numbers(3))


@scenario
def receive_timeout(client):
    consumer = client.subscribe(topic("empty"), "s")
    started = time.time()
    nothing_more(consumer, 300)
    assert time.time() - started >= 0.29


@scenario
def exclusive_producer(client):
    name = topic("exclusive-producer")
    first = client.create_producer(name, access_mode=pulsar.ProducerAccessMode.Exclusive)
    fails_with(pulsar.PulsarException,
               lambda: client.create_producer(name, access_mode=pulsar.ProducerAccessMode.Exclusive))
    fails_with(pulsar.PulsarException, lambda: client.create_producer(name))
    first.close()
    client.create_producer(name)


@scenario
def multi_topic(client):
    names = [topic(f"multi{n}") for n in range(3)]
    consumer = client.subscribe(names, "s")
    for n, name in enumerate(names):
        client.create_producer(name).send(f"m{n}".encode())
    expect(sorted(receive_all(consumer, 3)), numbers(3))


@scenario
def json_schema(client):
    from pulsar.schema import Integer, JsonSchema, Record, String

    class Order(Record):
        name = String()
        count = Integer()

    name = topic("json")
    consumer = client.subscribe(name, "s", schema=JsonSchema(Order))
    producer = client.create_producer(name, schema=JsonSchema(Order))
    producer.send(Order(name="pen", count=3))
    value = consumer.receive(WAIT_MS).value()
    expect((value.name, value.count), ("pen", 3))


@scenario
def reconnect(client):
    name = topic("reconnect")
    consumer = client.subscribe(name, "s", ConsumerType.Shared)
    producer = client.create_producer(name, batching_enabled=True, block_if_queue_full=True, send_timeout_millis=60000)
    receipted, got, stop = [], [], threading.Event()

    def produce():
        n = 0
        while not stop.is_set():
            text = f"m{n}"
            producer.send_async(text.encode(),
                                lambda r, _i, t=text: receipted.append(t) if r == pulsar.Result.Ok else None)
            n += 1
            time.sleep(0.001)
        producer.flush()

    def consume():
        while True:
            try:
                message = consumer.receive(1000)
            except pulsar.Timeout:
                if stop.is_set():
                    return
                continue
            got.append(message.data().decode())
            consumer.acknowledge(message)

    threads = [threading.Thread(target=work) for work in (produce, consume)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    before = len(receipted)
    print("ready-for-restart", flush=True)
    sys.stdin.readline()
    deadline = time.time() + 40
    while len(receipted) < before + 500 and time.time() < deadline:
        time.sleep(0.05)
    stop.set()
    for thread in threads:
        thread.join()
    assert before and len(receipted) > before, "nothing was published after the restart"
    lost = set(receipted) - set(got)
    assert not lost, f"{len(lost)} receipted messages were not received, such as {sorted(lost)[:3]}"


def main():
    failed = 0
    for function in SCENARIOS:
        name = function.__name__
        if FILTER and FILTER not in name:
            continue
        client = connect()
        try:
            function(client)
            print(f"ok {name}", flush=True)
        except Exception as error:  # every failure is a line, and the next scenario runs
            failed += 1
            traceback.print_exc()
            print(f"FAIL {name}: {type(error).__name__}: {str(error)[:300]}", flush=True)
        finally:
            closer = threading.Thread(target=client.close, daemon=True)
            closer.start()
            closer.join(5)
    sys.exit(1 if failed else 0)


main()
