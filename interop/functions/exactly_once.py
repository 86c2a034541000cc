"""Functions in every language while the broker is killed with -9 again and again: every message has one output and is counted once.

Usage: exactly_once.py --broker BINARY --dir DIR [--kills N] [--wasm FILE] [--java FILE]

The broker is the only thing that is killed; what runs code dies with it. What was published is read back from the input topic, since a
publish that failed may have happened.
"""

import argparse
import collections
import json
import os
import random
import shutil
import sys
import threading
import time

import pulsar

from rest import Server, until

HERE = os.path.dirname(os.path.abspath(__file__))
PAUSE_SECONDS = (0.3, 1.5)
DRAIN_SECONDS = 120


def config(language, **more):
    return {
        "tenant": "public",
        "namespace": "default",
        "name": f"seen-{language}",
        "inputs": [f"in-{language}"],
        "output": f"out-{language}",
        "subscriptionPosition": "Earliest",
        **more,
    }


def deployments(args):
    python = os.path.join(HERE, "code", "seen.py")
    process = os.path.join(HERE, "code", "seen_process.py")
    yield "python", config("python", runtime="PYTHON", className="seen.Seen", py=python, parallelism=2), python
    yield "process", config("process", runtime="PROCESS", exec=process), process
    if args.wasm:
        yield "wasm", config("wasm", runtime="WASM", wasm=args.wasm, parallelism=2), args.wasm
    if args.java:
        yield "java", config("java", runtime="JAVA", className="geminga.Seen", jar=args.java), args.java


def publish(service, topic, stop, sent):
    """Publishes until told to stop, in batches and one by one, through every restart."""
    client = pulsar.Client(service, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, os.devnull), operation_timeout_seconds=30)
    producer = until("producer", lambda: client.create_producer(topic, batching_enabled=True, block_if_queue_full=True), 60)
    number = 0
    while not stop.is_set():
        for _ in range(random.choice([1, 1, 20])):
            producer.send_async(f"{topic}-{number}".encode(), lambda result, id: None, partition_key=str(number % 7))
            number += 1
        time.sleep(0.005)
    until("all published", lambda: producer.flush() or True, 60)
    sent.append(number)
    client.close()


def read_all(service, topic):
    client = pulsar.Client(service, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, os.devnull))
    reader = client.create_reader(topic, pulsar.MessageId.earliest)
    found = []
    while reader.has_message_available():
        found.append(reader.read_next(10000).data().decode())
    client.close()
    return found


def counter(server, name):
    state = server.get(f"/admin/v3/functions/public/default/{name}/state/seen")
    return state["numberValue"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--broker", required=True)
    parser.add_argument("--dir", required=True)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--wasm")
    parser.add_argument("--java")
    args = parser.parse_args()
    shutil.rmtree(args.dir, ignore_errors=True)
    os.makedirs(args.dir)
    random.seed(args.kills)
    server = Server(args.broker, os.path.join(args.dir, "data"), os.path.join(args.dir, "broker.log"))
    server.keep_everything()
    names, stop, sent, threads = [], threading.Event(), [], []
    for language, deployed, file in deployments(args):
        status, body = server.deploy(deployed, file)
        if status not in (200, 204):
            sys.exit(f"create {language}: {status} {body.decode()}")
        names.append(language)
        topic = f"persistent://public/default/in-{language}"
        threads.append(threading.Thread(target=publish, args=(server.service, topic, stop, sent), daemon=True))
    for thread in threads:
        thread.start()
    for _ in range(args.kills):
        time.sleep(random.uniform(*PAUSE_SECONDS))
        server.kill()
        server.start()
    stop.set()
    for thread in threads:
        thread.join(120)
    wrong = False
    for language in names:
        topic = f"persistent://public/default/in-{language}"
        subscription = f"public/default/seen-{language}"

        def drained():
            stats = server.get(f"/admin/v2/persistent/public/default/in-{language}/stats")
            one = stats["subscriptions"].get(subscription)
            return one is not None and one["msgBacklog"] == 0

        try:
            until(f"{language}: the backlog is empty", drained, DRAIN_SECONDS, 0.2)
        except TimeoutError as error:
            status = server.get(f"/admin/v3/functions/public/default/seen-{language}/status")
            print(f"FAIL {error}\n{json.dumps(status, indent=1)}")
            wrong = True
            continue
        wanted = collections.Counter(text + "!" for text in read_all(server.service, topic))
        found = collections.Counter(read_all(server.service, f"persistent://public/default/out-{language}"))
        counted = counter(server, f"seen-{language}")
        missing, extra = wanted - found, found - wanted
        total = sum(wanted.values())
        verdict = "ok" if not missing and not extra and counted == total and total > 0 else "FAIL"
        wrong |= verdict == "FAIL"
        print(
            f"{verdict} {language}: {total} messages over {args.kills} kills, {sum(missing.values())} outputs missing, "
            f"{sum(extra.values())} too many, counted {counted}"
        )
    if server.stop() != 0:
        print("FAIL the broker did not stop cleanly")
        wrong = True
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
