"""How fast functions are on a running server: throughput of one instance, time from create to the first output, added latency, memory.

Usage: bench.py --service-url URL --admin-url URL --pid PID [--wasm FILE] [--java FILE] [--messages N] [--only LANGUAGE] [--skip FIGURE]

`cargo xtask bench functions` starts the servers, Pulsar's own too, and calls this once for each run. Messages have 1 KiB and are stored
in batches before the clock runs. What is measured is the rate between the first and the last tenth of the outputs, so neither start nor
end counts. Prints one JSON object: language to figure to number.
"""

import argparse
import json
import os
import random
import sys
import threading
import time

import pulsar
import pulsar.schema

from conformance import Box, codes
from rest import Server, until

TEXT = "x" * 1024
# Pulsar's Java instance announces a schema, and so must whoever uses its topics first.
STRING = pulsar.schema.StringSchema()
QUIET = pulsar.FileLogger(pulsar.LoggerLevel.Error, os.devnull)


def publish(client, topic, count):
    producer = client.create_producer(
        topic, schema=STRING, batching_enabled=True, batching_max_messages=500, batching_max_publish_delay_ms=5, block_if_queue_full=True
    )
    for _ in range(count):
        producer.send_async(TEXT, lambda *_: None)
    producer.flush()
    producer.close()


def outputs(box):
    stats = box.server.get(f"/admin/v2/persistent/public/default/{box.output}/stats")
    return stats["msgInCounter"]


def runs(box):
    instances = box.status()["instances"]
    return instances and instances[0]["status"]["running"]


def throughput(box, count):
    box.create("exclaim")
    until("it runs", lambda: runs(box))
    until("it is subscribed", lambda: box.backlog() == 0)
    box.post("/stop")
    until("it has stopped", lambda: box.status()["numRunning"] == 0)
    publish(box.client, box.input, count)
    box.client.create_producer(box.output, schema=STRING).close()
    cpu = cpu_seconds(box.server.process.pid)
    box.post("/start")
    seen = []
    while True:
        done = outputs(box)
        seen.append((time.monotonic(), done))
        if done >= count:
            break
        if seen[-1][0] - seen[0][0] > 120:
            raise TimeoutError(f"{done} of {count} after two minutes")
        time.sleep(0.05)
    cpu = cpu_seconds(box.server.process.pid) - cpu
    middle = [(at, n) for at, n in seen if count * 0.1 <= n <= count * 0.9]
    (first, a), (last, b) = middle[0], middle[-1]
    return {"messages_per_s": (b - a) / (last - first), "broker_cpu_us_per_message": cpu / count * 1e6}


def first_output(box):
    """From the request that creates it to the output of a message that waited; the package is known already."""
    producer = box.client.create_producer(box.input, schema=STRING)
    producer.send("a")
    producer.close()
    consumer = box.client.subscribe(box.output, "look", schema=STRING, initial_position=pulsar.InitialPosition.Earliest)
    began = time.monotonic()
    box.create("exclaim")
    created = time.monotonic() - began
    consumer.receive(30000)
    took = time.monotonic() - began
    consumer.close()
    return {"create_ms": created * 1e3, "first_output_ms": took * 1e3}


def round_trips(client, source, sink, seconds=16, rate=1000):
    """End-to-end milliseconds at a steady rate, from publish to receive."""
    producer = client.create_producer(source, schema=STRING, batching_enabled=False)
    consumer = client.subscribe(sink, "latency", schema=STRING, initial_position=pulsar.InitialPosition.Earliest)
    took, total = [], seconds * rate

    def take():
        for _ in range(total):
            message = consumer.receive(30000)
            took.append((time.monotonic_ns() - int(message.data()[:20])) / 1e6)

    thread = threading.Thread(target=take)
    thread.start()
    began = time.monotonic()
    for n in range(total):
        wait = began + n / rate - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        producer.send_async(f"{time.monotonic_ns():020}{TEXT[:1004]}", lambda *_: None)
    thread.join()
    producer.close()
    consumer.close()
    return took[rate:]


def added_latency(box):
    """Through the function a message is published twice: what it takes beyond two publishes, picked in pairs at random, is added."""
    direct = round_trips(box.client, box.input + "-direct", box.input + "-direct")
    others = random.Random(0).sample(direct, len(direct))
    box.create("exclaim")
    until("it runs", lambda: runs(box))
    figures = {}
    for name, took in (
        ("twice", [one + other for one, other in zip(direct, others)]),
        ("through", round_trips(box.client, box.input, box.output)),
    ):
        took.sort()
        figures[f"{name}_p50_ms"], figures[f"{name}_p99_ms"] = (took[int(len(took) * share)] for share in (0.5, 0.99))
    for quantile in ("p50", "p99"):
        figures[f"added_{quantile}_ms"] = figures[f"through_{quantile}_ms"] - figures[f"twice_{quantile}_ms"]
    return figures


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_bytes(pid):
    with open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith("VmRSS"):
                return int(line.split()[1]) * 1024
    return 0


def children(pid):
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children") as file:
            for child in map(int, file.read().split()):
                found += [child, *children(child)]
    return found


def memory(box):
    before = rss_bytes(box.server.process.pid)
    box.create("exclaim")
    until("it runs", lambda: runs(box))
    time.sleep(1)
    figures = {"broker_growth_mb": (rss_bytes(box.server.process.pid) - before) / 1e6}
    if of_children := sum(rss_bytes(pid) for pid in children(box.server.process.pid)):
        figures["instance_rss_mb"] = of_children / 1e6
    return figures


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--service-url", required=True)
    parser.add_argument("--admin-url", required=True)
    parser.add_argument("--pid", required=True, type=int)
    parser.add_argument("--wasm")
    parser.add_argument("--java")
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--skip", action="append", default=[])
    args = parser.parse_args()
    server = Server.at(args.service_url, args.admin_url, args.pid)
    until("functions are answered for", lambda: server.get("/admin/v3/functions/public/default") is not None, seconds=120)
    # What Pulsar's worker is given while it has no leader stays half done.
    until("somebody leads", lambda: server.get("/admin/v2/worker/cluster/leader/ready"), seconds=120)
    client = pulsar.Client(server.service, logger=QUIET)
    measures = {
        "memory": memory,
        "first": first_output,
        "latency": added_latency,
        "throughput": lambda box: throughput(box, args.messages),
    }
    report = {}
    for language, code in codes(args):
        if args.only and language not in args.only:
            continue
        figures = report[language] = {}
        for name, measure in measures.items():
            if name in args.skip:
                continue
            box = Box(server, client, language, code, f"{name}-{os.getpid()}")
            try:
                figures.update(measure(box))
            except Exception as error:  # the other figures count all the same
                print(f"{language}: {name}: {error!r}", file=sys.stderr, flush=True)
            server.request("DELETE", box.path())
    client.close()
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    sys.exit(main())
