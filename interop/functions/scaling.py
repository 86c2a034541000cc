"""Functions that scale by themselves: up with load, down to nothing, woken by an event; and exact while their instances are killed.

Usage: scaling.py --broker BINARY --dir DIR [--wasm FILE] [--java FILE] [--kills N]

Prints `ok NAME` or `FAIL NAME: why`. How long sleeping functions take to answer is printed, not judged: the machine may be busy.
"""

import argparse
import collections
import json
import os
import random
import shutil
import signal
import sys
import threading
import time

import pulsar

from rest import Server, until

HERE = os.path.dirname(os.path.abspath(__file__))
RULES = {"minReplicas": 0, "maxReplicas": 4, "policy": {"rate": {"targetAge": "1s", "coolDown": "2s", "idle": "2s", "catchUp": "2s"}}}
SECONDS = 0.02
LOAD = 1500
WAKES = 5
DRAIN_SECONDS = 180


class Scaled:
    """One function with rules, and topics of its own."""

    def __init__(self, server, name, config, file):
        self.server, self.name = server, name
        self.input, self.output = (f"persistent://public/default/{name}-{end}" for end in ("in", "out"))
        config = {
            "tenant": "public",
            "namespace": "default",
            "name": name,
            "inputs": [self.input],
            "output": self.output,
            "subscriptionPosition": "Earliest",
            **config,
        }
        status, body = server.deploy(config, file)
        if status not in (200, 204):
            raise RuntimeError(f"create {name}: {status} {body.decode()}")
        self.path = f"/admin/v3/functions/public/default/{name}"
        status, body = server.request("PUT", f"{self.path}/scaling", json.dumps(RULES).encode())
        if status != 204:
            raise RuntimeError(f"rules of {name}: {status} {body.decode()}")

    def scaling(self):
        return self.server.get(f"{self.path}/scaling")

    def events(self):
        return self.server.get(f"{self.path}/scaling/events")

    def running(self):
        return self.server.get(f"{self.path}/status")["numRunning"]

    def sleeps(self):
        scaling = self.scaling()
        return scaling["phase"] == "asleep" and scaling["running"] == scaling["draining"] == 0

    def backlog(self):
        stats = self.server.get(f"/admin/v2/persistent/public/default/{self.name}-in/stats")
        return stats["subscriptions"][f"public/default/{self.name}"]["msgBacklog"]

    def seen(self):
        return self.server.get(f"{self.path}/state/seen")["numberValue"]


def children(server):
    """Processes of instances: those the broker has started."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat") as stat:
                if int(stat.read().rsplit(")", 1)[1].split()[1]) == server.process.pid:
                    found.append(int(entry))
        except OSError:
            continue
    return found


def quiet_client(server):
    return pulsar.Client(server.service, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, os.devnull))


def publish(client, topic, numbers, keys=7):
    # A batch of many keys would go to one consumer as a whole, and its keys with it.
    producer = client.create_producer(
        topic,
        batching_enabled=True,
        batching_max_messages=20,
        batching_type=pulsar.BatchingType.KeyBased,
        block_if_queue_full=True,
    )
    for number in numbers:
        producer.send_async(f"m{number}".encode(), lambda result, id: None, partition_key=str(number % keys))
    producer.flush()
    producer.close()


def read_all(client, topic):
    reader = client.create_reader(topic, pulsar.MessageId.earliest)
    found = []
    while reader.has_message_available():
        message = reader.read_next(10000)
        found.append((message.partition_key(), message.data().decode()))
    reader.close()
    return found


def comes_and_goes(server, language, config, file):
    """Load brings instances, the backlog drains, they go, none is left, and an event brings one back."""
    name = f"comes-{language}"
    one = Scaled(server, name, {"userConfig": {"seconds": SECONDS}, **config}, file)
    client = quiet_client(server)
    until("it sleeps at first", one.sleeps, 60)
    publish(client, one.input, range(LOAD))
    most = until("instances rise", lambda: one.running() >= 3 and one.running(), 60)
    until("the backlog drains", lambda: one.backlog() == 0, DRAIN_SECONDS)
    until("instances go", one.sleeps, 60)
    took = []
    consumer = client.subscribe(one.output, "watch", initial_position=pulsar.InitialPosition.Latest)
    producer = client.create_producer(one.input, batching_enabled=False)
    for wake in range(WAKES):
        until("it sleeps", one.sleeps, 60)
        began = time.monotonic()
        producer.send(f"m{LOAD + wake}".encode(), partition_key="0")
        consumer.acknowledge(consumer.receive(30000))
        took.append((time.monotonic() - began - SECONDS) * 1000)
    found = collections.Counter(text for _, text in read_all(client, one.output))
    wanted = collections.Counter(f"m{number}!" for number in range(LOAD + WAKES))
    if found != wanted:
        raise AssertionError(f"{sum((wanted - found).values())} outputs missing, {sum((found - wanted).values())} too many")
    if one.seen() != LOAD + WAKES:
        raise AssertionError(f"counted {one.seen()} of {LOAD + WAKES}")
    unexplained = [event for event in one.events() if not event["reason"]["text"]]
    if unexplained:
        raise AssertionError(f"decisions without a reason: {unexplained}")
    client.close()
    took.sort()
    return f"{most} instances at once, awake after {took[len(took) // 2]:.1f} ms (of {WAKES}, the longest {took[-1]:.1f} ms)"


def chaos(server, kills, wasm, java):
    """Instances, and once the broker, are killed while they become more and fewer: every message counts once, in its key's order."""
    python = os.path.join(HERE, "code", "toil.py")
    process = os.path.join(HERE, "code", "toil_process.py")
    toil = {"runtime": "PYTHON", "className": "toil.Toil", "py": python, "userConfig": {"seconds": 0.005}}
    all = {
        "stateful": Scaled(server, "chaos-stateful", toil, python),
        "keyed": Scaled(server, "chaos-keyed", {**toil, "retainKeyOrdering": True}, python),
        "process": Scaled(
            server, "chaos-process", {"runtime": "PROCESS", "exec": process, "userConfig": {"seconds": 0.005}}, process
        ),
        "windowed": Scaled(
            server,
            "chaos-windowed",
            {**toil, "className": "toil.Together", "windowConfig": {"windowLengthDurationMs": 300}},
            python,
        ),
    }
    client = quiet_client(server)
    published = 0
    killed = 0
    was_restarted = False
    while killed < kills:
        if killed >= kills // 2 and not was_restarted:
            # The broker too, with all that it runs: it goes on with as many as there were.
            server.kill()
            server.start()
            was_restarted = True
        wave = random.choice([50, 400, 1200])
        threads = [
            threading.Thread(target=publish, args=(client, one.input, range(published, published + wave))) for one in all.values()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        published += wave
        for _ in range(random.randint(1, 4)):
            time.sleep(random.uniform(0.1, 1.5))
            alive = children(server)
            if alive:
                os.kill(random.choice(alive), signal.SIGKILL)
                killed += 1
    wrong = []
    for what, one in all.items():
        try:
            until(f"{what}: the backlog drains", lambda: one.backlog() == 0, DRAIN_SECONDS, 0.2)
            until(f"{what}: it sleeps", one.sleeps, 90, 0.2)
        except TimeoutError as error:
            wrong.append(f"{error} {json.dumps(one.scaling())[:2000]}")
            continue
        output = read_all(client, one.output)
        if what == "windowed":
            found = collections.Counter(text for _, window in output for text in window.split("+"))
            wanted = collections.Counter(f"m{number}" for number in range(published))
        else:
            found = collections.Counter(text for _, text in output)
            wanted = collections.Counter(f"m{number}!" for number in range(published))
            if one.seen() != published:
                wrong.append(f"{what}: counted {one.seen()} of {published}")
        missing, extra = wanted - found, found - wanted
        if missing or extra:
            wrong.append(f"{what}: of {published} {sum(missing.values())} missing, {sum(extra.values())} too many")
        if what == "keyed":
            last = {}
            for _, text in output:
                number = int(text[1:-1])
                if number < last.get(number % 7, -1):
                    wrong.append(f"keyed: {number} after {last[number % 7]}")
                    break
                last[number % 7] = number
        changes = len([event for event in one.events() if event["from"] != event["to"]])
        print(f"   {what}: {published} messages, at least {changes} changes of its instances", flush=True)
    client.close()
    if wrong:
        raise AssertionError("; ".join(wrong))
    return f"{killed} instances killed"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--broker", required=True)
    parser.add_argument("--dir", required=True)
    parser.add_argument("--wasm")
    parser.add_argument("--java")
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("only", nargs="?", default="")
    args = parser.parse_args()
    shutil.rmtree(args.dir, ignore_errors=True)
    os.makedirs(args.dir)
    random.seed(args.seed)
    server = Server(args.broker, os.path.join(args.dir, "data"), os.path.join(args.dir, "broker.log"))
    server.keep_everything()
    python = os.path.join(HERE, "code", "toil.py")
    process = os.path.join(HERE, "code", "toil_process.py")
    tests = [
        ("comes_and_goes[python]", lambda: comes_and_goes(
            server, "python", {"runtime": "PYTHON", "className": "toil.Toil", "py": python}, python
        )),
        ("comes_and_goes[process]", lambda: comes_and_goes(server, "process", {"runtime": "PROCESS", "exec": process}, process)),
        ("chaos", lambda: chaos(server, args.kills, args.wasm, args.java)),
    ]
    wrong = False
    for name, test in tests:
        if args.only not in name:
            continue
        try:
            print(f"ok {name}: {test()}", flush=True)
        except Exception as error:
            print(f"FAIL {name}: {error}", flush=True)
            wrong = True
    left = until("no instance is left", lambda: not children(server) or False, 60) if not wrong else True
    if not left:
        print("FAIL processes of instances are left")
        wrong = True
    if server.stop() != 0:
        print("FAIL the broker did not stop cleanly")
        wrong = True
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
