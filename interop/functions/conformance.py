"""What functions do, in every language: each scenario runs the same function written in each, deployed over REST.

Usage: conformance.py --broker BINARY --dir DIR [--wasm FILE] [--java FILE] [FILTER]

Prints `ok NAME`, or `FAIL NAME: why`.
"""

import argparse
import json
import os
import shutil
import sys
import time
import traceback

import pulsar

from rest import Server, until

HERE = os.path.dirname(os.path.abspath(__file__))
SCENARIOS = []


def scenario(body):
    SCENARIOS.append(body)
    return body


class Box:
    """One function of one language, with topics of its own."""

    def __init__(self, server, client, language, code, name):
        self.server, self.client, self.language, self.code = server, client, language, code
        self.name = f"{name}-{language}".replace("_", "-")
        self.input, self.output = f"{self.name}-in", f"{self.name}-out"

    def config(self, do, **more):
        user = {"do": do, **more.pop("userConfig", {})}
        config = {
            "tenant": "public",
            "namespace": "default",
            "name": self.name,
            "inputs": [self.input],
            "output": self.output,
            "subscriptionPosition": "Earliest",
            "userConfig": user,
            **more,
        }
        config.update(self.code["config"])
        if "windowConfig" in config:
            config.update(self.code.get("window", {}))
        return config

    def file(self, config):
        return self.code.get("window_file", self.code["file"]) if "windowConfig" in config else self.code["file"]

    def create(self, do="exclaim", expect=204, **more):
        config = self.config(do, **more)
        status, body = self.server.deploy(config, self.file(config))
        equal(status, expect, f"create: {body.decode()}")
        return body.decode()

    def update(self, do, **more):
        status, body = self.server.deploy(self.config(do, **more), self.code["file"], method="PUT")
        equal(status, 204, f"update: {body.decode()}")

    def path(self, rest=""):
        return f"/admin/v3/functions/public/default/{self.name}{rest}"

    def post(self, rest):
        status, body = self.server.request("POST", self.path(rest), b"")
        equal(status, 204, f"{rest}: {body.decode()}")

    def status(self):
        return self.server.get(self.path("/status"))

    def instance(self, number=0):
        return self.status()["instances"][number]["status"]

    def state(self, key):
        return self.server.get(self.path(f"/state/{key}"))

    def send(self, *texts, topic=None, **options):
        producer = self.client.create_producer(topic or self.input)
        for text in texts:
            producer.send(text.encode(), **options)
        producer.close()

    def messages(self, count, topic=None, quiet=0.0):
        consumer = self.client.subscribe(topic or self.output, "look", initial_position=pulsar.InitialPosition.Earliest)
        found = []
        try:
            while len(found) < count:
                found.append(consumer.receive(30000))
                consumer.acknowledge(found[-1])
            if quiet:
                try:
                    extra = consumer.receive(int(quiet * 1000))
                    raise AssertionError(f"one more than wanted: {extra.data()!r}")
                except pulsar.Timeout:
                    pass
        finally:
            consumer.close()
        return found

    def receives(self, *texts, topic=None, quiet=0.0):
        found = [m.data().decode() for m in self.messages(len(texts), topic, quiet)]
        equal(sorted(found), sorted(texts), "output")

    def backlog(self, name=None):
        stats = self.server.get(f"/admin/v2/persistent/public/default/{self.input}/stats")
        return stats["subscriptions"][f"public/default/{name or self.name}"]["msgBacklog"]

    def drained(self):
        until("the input is acknowledged", lambda: self.backlog() == 0, 30)


def equal(got, want, what):
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")


@scenario
def output_says_where_it_comes_from(box):
    box.create("exclaim")
    box.send("a", partition_key="k", properties={"p": "q"}, event_timestamp=1234)
    (message,) = box.messages(1)
    equal(message.data(), b"a!", "output")
    properties = message.properties()
    equal(properties["__pfn_input_topic__"], f"persistent://public/default/{box.input}", "input topic")
    equal(properties["p"], "q", "forwarded property")
    equal(message.partition_key(), "k", "key")
    box.drained()


@scenario
def nothing_is_published_for_nothing(box):
    box.create("nothing")
    box.send("a", "b")
    box.drained()
    # What is acknowledged is counted a moment later.
    until("both are counted", lambda: box.instance()["numSuccessfullyProcessed"] == 2, 10)


@scenario
def counters_and_state(box):
    box.create("count")
    box.send("a", "b", "a", "a")
    box.receives("a=1", "b=1", "a=2", "a=3")
    equal(box.state("a")["numberValue"], 3, "counter over REST")
    box.update("remember")
    box.send("x", "y")
    box.receives("nothing", "x")
    equal(box.state("last")["stringValue"], "y", "state over REST")
    equal(box.state("a")["numberValue"], 3, "state after an update")


@scenario
def an_exception_takes_its_effects_with_it(box):
    box.create("throw", maxMessageRetries=0, deadLetterTopic=f"{box.name}-dead")
    box.send("good", "bad one", "fine")
    box.receives("good!", "fine!")
    (dead,) = box.messages(1, topic=f"{box.name}-dead")
    equal(dead.data(), b"bad one", "dead letter")
    equal(dead.properties()["REAL_TOPIC"], f"persistent://public/default/{box.input}", "where it was")
    equal(box.state("thrown")["numberValue"], 2, "counted without the exception")
    until("the exception is counted", lambda: box.instance()["numUserExceptions"] >= 1, 10)
    status = box.instance()
    equal((status["numUserExceptions"], status["running"]), (1, True), "status")
    text = status["latestUserExceptions"][0]["exceptionString"]
    if "cannot take bad one" not in text:
        raise AssertionError(f"the exception is not told: {text}")
    box.drained()


@scenario
def dead_letters_have_a_topic_where_none_is_given(box):
    box.create("throw", maxMessageRetries=0)
    box.send("bad one", "good")
    (dead,) = box.messages(1, topic=f"{box.input}-public-default-{box.name}-DLQ")
    equal(dead.data(), b"bad one", "dead letter")
    box.drained()


@scenario
def publish_goes_where_it_is_told(box):
    topic = f"persistent://public/default/{box.name}-elsewhere"
    box.create("publish", userConfig={"to": topic})
    box.send("a")
    (message,) = box.messages(1, topic=topic)
    equal((message.data(), message.properties()["by"]), (b"a elsewhere", "publish"), "published")
    if box.language == "java":  # which says that it is a string
        equal(box.server.get(f"/admin/v2/schemas/public/default/{box.name}-elsewhere/schema")["type"], "STRING", "schema")


@scenario
def logs_go_to_the_log_topic(box):
    box.create("log", logTopic=f"{box.name}-log")
    box.send("a")
    lines = box.messages(1, topic=f"{box.name}-log")
    if b"seen a" not in lines[0].data():
        raise AssertionError(f"log line: {lines[0].data()!r}")
    equal(lines[0].properties()["loglevel"], "INFO", "level")


@scenario
def the_context_says_what_is_so(box):
    box.create("about", userConfig={"number": 42})
    box.send("a", partition_key="k", properties={"p": "q"})
    topic = "persistent://public/default/"
    box.receives(f"public|default|{box.name}|{topic}{box.input}|k|p=q|{topic}{box.output}|42")


@scenario
def secrets_are_given_and_not_shown(box):
    box.create("secret", secrets={"password": "PASSWORD"})
    box.send("a")
    box.receives("same")
    if "open sesame" in json.dumps(box.server.get(box.path())) + json.dumps(box.status()):
        raise AssertionError("a secret is shown")


@scenario
def metrics_of_the_user(box):
    box.create("metric")
    box.send("abc")
    box.receives("abc")
    _, text = box.server.request("GET", "/metrics")
    wanted = [line for line in text.decode().splitlines() if box.name in line and "length" in line]
    if not wanted:
        raise AssertionError("the metric is not there")


@scenario
def tumbling_windows_by_count(box):
    box.create("exclaim", windowConfig={"windowLengthCount": 3})
    box.send("a", "b", "c", "d", "e")
    box.receives("a+b+c", quiet=0.5)
    box.send("f")
    box.receives("d+e+f")


@scenario
def sliding_windows_by_count(box):
    box.create("exclaim", windowConfig={"windowLengthCount": 3, "slidingIntervalCount": 1})
    box.send("a", "b", "c", "d")
    box.receives("a", "a+b", "a+b+c", "b+c+d")


@scenario
def windows_by_time(box):
    box.create("exclaim", windowConfig={"windowLengthDurationMs": 500})
    box.send("a", "b")
    found = "".join(sorted("".join(m.data().decode() for m in box.messages(1)).replace("+", "")))
    if found != "ab":
        # They may fall into two windows.
        found += box.messages(1)[0].data().decode()
    equal("".join(sorted(found)), "ab", "elements")


@scenario
def a_window_survives_a_kill(box):
    box.create("exclaim", windowConfig={"windowLengthCount": 4})
    box.send("a", "b", "c")
    box.drained()
    box.server.kill()
    box.server.start()
    until("it runs again", lambda: box.instance()["running"], 60)
    box.send("d")
    box.receives("a+b+c+d", quiet=0.5)


@scenario
def at_most_once_is_acknowledged_before_the_call(box):
    box.create("throw", processingGuarantees="ATMOST_ONCE")
    box.send("a", "bad", "b")
    box.receives("a!", "b!")
    box.drained()
    until("the exception is counted", lambda: box.instance()["numUserExceptions"] == 1, 10)


@scenario
def effectively_once_is_in_order(box):
    box.create("exclaim", processingGuarantees="EFFECTIVELY_ONCE")
    texts = [f"m{n}" for n in range(200)]
    box.send(*texts)
    equal([m.data().decode() for m in box.messages(200)], [text + "!" for text in texts], "output")
    box.drained()
    stats = box.server.get(f"/admin/v2/persistent/public/default/{box.input}/stats")
    equal(stats["subscriptions"][f"public/default/{box.name}"]["type"], "Failover", "subscription")


@scenario
def several_inputs_patterns_and_partitions(box):
    server = box.server
    for topic in ("p", "q"):
        path = f"/admin/v2/persistent/public/default/{box.name}-{topic}/partitions"
        equal(server.request("PUT", path, b"3")[0], 204, "partitions")
    box.create("exclaim", inputs=[box.input], topicsPattern=f"persistent://public/default/{box.name}-[pqr]")
    box.send("a")
    box.send("b", "c", "d", topic=f"{box.name}-p")
    box.send("e", topic=f"{box.name}-q")
    box.receives("a!", "b!", "c!", "d!", "e!")
    # One that comes later is found, and read from its beginning.
    box.send("f", topic=f"{box.name}-r")
    box.receives("f!")


@scenario
def stop_start_restart_and_instances(box):
    box.create("exclaim", parallelism=2)
    until("both run", lambda: box.status()["numRunning"] == 2, 30)
    box.post("/stop")
    until("none runs", lambda: box.status()["numRunning"] == 0, 30)
    box.send("a")
    time.sleep(0.3)
    equal(box.backlog(), 1, "backlog while it is stopped")
    box.post("/start")
    box.receives("a!")
    box.post("/1/restart")
    box.post("/restart")
    until("both run", lambda: box.status()["numRunning"] == 2, 30)
    box.send("b")
    box.receives("b!")


@scenario
def code_that_is_not_there_says_so(box):
    config = box.config("exclaim")
    config.pop("exec", None)
    for key in ("py", "jar", "wasm"):
        config.pop(key, None)
    config["className"] = "nowhere.Nothing"
    status, body = box.server.deploy(config, __file__ if box.language != "python" else box.code["file"])
    if status == 204:
        until("the status says why", lambda: box.instance()["error"], 30)
    elif status != 400 or not json.loads(body)["reason"]:
        raise AssertionError(f"{status} {body!r}")


@scenario
def connectors_of_the_language(box):
    for language, connectors in (("java", java_connectors), ("python", python_connectors), ("wasm", wasm_connectors)):
        if box.language == language:
            connectors(box, os.path.join(os.path.dirname(os.path.abspath(box.server.data)), f"{box.name}-files"))


def java_connectors(box, path):
    count, server = 20_000, box.server
    sink = {"name": f"{box.name}-sink", "className": "geminga.Lines", "inputs": [box.input], "configs": {"path": path}}
    source = {"name": f"{box.name}-source", "className": "geminga.Numbers", "topicName": box.input, "configs": {"count": count}}
    for kind, config in (("sinks", sink), ("sources", source)):
        connector(server, kind, config, "f.jar", box.code["file"])

    def lines():
        with open(path) as file:
            return [line.split() for line in file if line.endswith("\n")]

    until("the first lines are there", lambda: len(lines()) > 100, 30)
    server.kill()
    server.start()
    # What the source had not heard of comes again, and so does what the sink had not acknowledged.
    until("all numbers are there", lambda: {int(n) for _, n in lines()} == set(range(count)), 60)
    equal({key for key, n in lines() if int(n) % 10 == 7}, {"key-7"}, "keys")
    until("all is acknowledged", lambda: box.backlog(sink["name"]) == 0, 30)
    for kind, config in (("sources", source), ("sinks", sink)):
        equal(server.request("DELETE", f"/admin/v3/{kind}/public/default/{config['name']}")[0], 204, f"delete {kind}")
    java_batch_source(box, path + "-discovered")


def java_batch_source(box, discovered):
    """What one instance discovers both read, and all of it is there though the broker dies in between."""
    pages, server, name = 400, box.server, f"{box.name}-batch"
    consumer = box.client.subscribe(name, "look", initial_position=pulsar.InitialPosition.Earliest)
    trigger = {"discoveryTriggererClassName": "geminga.Pages$Once", "discoveryTriggererConfig": {"event": "now"}}
    source = {
        "name": name, "className": "geminga.Pages", "topicName": name, "configs": {"pages": pages, "discovered": discovered},
        "parallelism": 2, "batchSourceConfig": trigger,
    }
    connector(server, "sources", source, "f.jar", box.code["file"])
    lines, readers = set(), set()

    def receive():
        message = consumer.receive(30000)
        lines.add(message.data().decode())
        readers.add(message.partition_key())
        consumer.acknowledge(message)

    while len(lines) < 1000:
        receive()
    server.kill()
    server.start()
    while len(lines) < 10 * pages:
        receive()
    equal(lines, {f"{page}.{line}" for page in range(pages) for line in range(10)}, "lines")
    equal(readers, {"0", "1"}, "instances that read")

    def tasks():
        return server.get(f"/admin/v2/persistent/public/default/{name}-intermediate/stats")["subscriptions"]

    equal(os.path.exists(discovered), True, "the discovery came to its end")
    until("all tasks are done", lambda: tasks()[f"BatchSourceExecutor-public/default/{name}"]["msgBacklog"] == 0, 60)
    equal(server.request("DELETE", f"/admin/v3/sources/public/default/{name}")[0], 204, "delete the batch source")
    equal(tasks(), {}, "subscriptions to tasks")
    consumer.close()


@scenario
def a_source_with_its_position_in_its_state_gives_each_record_once(box):
    if box.language != "java":
        return
    count, server = 3000, box.server
    box.client.subscribe(box.output, "look", initial_position=pulsar.InitialPosition.Earliest).close()
    source = {"name": f"{box.name}-source", "className": "geminga.Positions", "topicName": box.output, "configs": {"count": count}}
    connector(server, "sources", source, "f.jar", box.code["file"])
    state = f"/admin/v3/functions/public/default/{source['name']}/state/next"
    until("some are there", lambda: server.get(state)["numberValue"] > 100, 30)
    server.kill()
    server.start()
    equal([m.data().decode() for m in box.messages(count, quiet=1.0)], [str(n) for n in range(count)], "the topic")


def python_connectors(box, inbox):
    names = [f"{n:04}" for n in range(2000)]
    os.makedirs(inbox)
    for name in names:
        with open(os.path.join(inbox, name), "w") as file:
            file.write(f"text {name}")
    consumer = box.client.subscribe(box.input, "look", initial_position=pulsar.InitialPosition.Earliest)
    source = {"name": f"{box.name}-source", "className": "inbox.Inbox", "topicName": box.input, "configs": {"path": inbox}}
    connector(box.server, "sources", source, "inbox.py", os.path.join(HERE, "code", "inbox.py"))
    until("the first files are gone", lambda: len(os.listdir(inbox)) < len(names), 30)
    box.server.kill()
    box.server.start()
    until("all files are gone", lambda: not os.listdir(inbox), 60)
    found = {}
    while len(found) < len(names):
        message = consumer.receive(30000)
        found[message.partition_key()] = message.data().decode()
    equal(found, {name: f"text {name}" for name in names}, "messages")
    consumer.close()


def wasm_connectors(box, _):
    count, server, name = 20_000, box.server, f"{box.name}-source"
    consumer = box.client.subscribe(name, "look", initial_position=pulsar.InitialPosition.Earliest)
    source = {"name": name, "topicName": name, "configs": {"count": count}}
    connector(server, "sources", source, "f.wasm", os.path.join(os.path.dirname(box.code["file"]), "numbers.wasm"))
    found = {}

    def receive():
        message = consumer.receive(30000)
        found[message.data().decode()] = message.partition_key()
        consumer.acknowledge(message)

    while len(found) < 100:
        receive()
    server.kill()
    server.start()
    # It has no position: it begins again.
    while len(found) < count:
        receive()
    equal(found, {str(n): f"key-{n % 10}" for n in range(count)}, "messages")
    status = server.get(f"/admin/v3/sources/public/default/{name}/status")["instances"][0]["status"]
    equal((status["running"], status["numRestarts"]), (True, 0), "running, restarts")
    equal(server.request("DELETE", f"/admin/v3/sources/public/default/{name}")[0], 204, "delete the source")
    consumer.close()


def connector(server, kind, config, archive, file):
    config = {"tenant": "public", "namespace": "default", "archive": archive, **config}
    status, body = server.deploy(config, file, kind=kind)
    equal(status, 204, f"create {kind}: {body.decode()}")


def codes(args):
    def of(file, **config):
        return os.path.join(HERE, "code", file), config

    file, config = of("conform.py", runtime="PYTHON", className="conform.Conform", py="conform.py")
    yield "python", {"file": file, "config": config, "window": {"className": "conform.Window"}}
    file, config = of("conform_process.py", runtime="PROCESS", exec="conform_process.py")
    yield "process", {"file": file, "config": config}
    if args.wasm:
        windows = os.path.join(os.path.dirname(args.wasm), "window.wasm")
        yield "wasm", {"file": args.wasm, "config": {"runtime": "WASM", "wasm": "f.wasm"}, "window_file": windows}
    if args.java:
        config = {"runtime": "JAVA", "className": "geminga.Conform", "jar": "f.jar"}
        yield "java", {"file": args.java, "config": config, "window": {"className": "geminga.ConformWindow"}}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--broker", required=True)
    parser.add_argument("--dir", required=True)
    parser.add_argument("--wasm")
    parser.add_argument("--java")
    parser.add_argument("filter", nargs="?", default="")
    args = parser.parse_args()
    shutil.rmtree(args.dir, ignore_errors=True)
    os.makedirs(args.dir)
    env = {**os.environ, "FUNCTION_SECRET__public__PASSWORD": "open sesame"}
    server = Server(args.broker, os.path.join(args.dir, "data"), os.path.join(args.dir, "broker.log"), env)
    failed = False
    for language, code in codes(args):
        for body in SCENARIOS:
            name = f"{language}: {body.__name__.replace('_', ' ')}"
            if args.filter not in name:
                continue
            client = pulsar.Client(server.service, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, os.devnull))
            try:
                body(Box(server, client, language, code, body.__name__))
                print(f"ok {name}", flush=True)
            except Exception as error:
                failed = True
                print(f"FAIL {name}: {error!r}", flush=True)
                traceback.print_exc(file=sys.stderr)
            finally:
                client.close()
    server.stop()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
