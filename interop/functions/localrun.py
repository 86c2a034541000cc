"""Functions that run outside of the broker, which is killed with -9 under them: nothing is lost, and where that was asked for, every effect
happens once.

Usage: localrun.py --broker BINARY --dir DIR [--kills N] [--wasm FILE] [--java FILE]

Each language runs twice: with at-least-once by `geminga localrun`, and with EFFECTIVELY_ONCE by `pulsar_rust_instance`, as Function Mesh
starts it. Both are ended with SIGTERM, and must end well.
"""

import argparse
import collections
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request

import pulsar

from exactly_once import publish, read_all
from rest import Server, until

HERE = os.path.dirname(os.path.abspath(__file__))
PAUSE_SECONDS = (0.5, 1.5)
DRAIN_SECONDS = 120


def codes(args):
    """Language, what `localrun` is told of the code, and what an instance is."""
    python = os.path.join(HERE, "code", "seen.py")
    process = os.path.join(HERE, "code", "seen_process.py")
    yield "python", ["--py", python, "--classname", "seen.Seen"], ["--py", python], "seen.Seen"
    yield "process", ["--exec", process], ["--function_file", process, "--language", "executable"], ""
    if args.wasm:
        yield "wasm", ["--wasm", args.wasm], ["--function_file", args.wasm, "--language", "wasm"], ""
    if args.java:
        yield "java", ["--jar", args.java, "--classname", "geminga.Seen"], ["--jar", args.java], "geminga.Seen"


class Runs:
    """A process that runs a function, and what it says."""

    def __init__(self, name, command, log):
        self.name, self.log = name, log
        self.process = subprocess.Popen(command, stdout=open(log, "wb"), stderr=subprocess.STDOUT)

    def end(self):
        """Whether it ends as it should."""
        self.process.terminate()
        try:
            code = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return "does not end"
        return None if code == 0 else f"ended with {code}, see {self.log}"


def local(args, server, language, code):
    name = f"local-{language}"
    command = [args.broker, "functions", "localrun", "--name", name, "--inputs", f"in-{name}", "--output", f"out-{name}"]
    command += ["--subs-position", "Earliest", "--broker-service-url", server.service, "--data", os.path.join(args.dir, "localrun")]
    return Runs(name, command + code, os.path.join(args.dir, f"{name}.log"))


def instance(args, server, language, code, class_name):
    name = f"instance-{language}"
    program = os.path.join(args.dir, "pulsar_rust_instance")
    if not os.path.exists(program):
        os.symlink(os.path.abspath(args.broker), program)
    details = {
        "tenant": "public",
        "namespace": "default",
        "name": name,
        "className": class_name,
        "processingGuarantees": "EFFECTIVELY_ONCE",
        "autoAck": True,
        "parallelism": 1,
        "source": {
            "subscriptionType": "FAILOVER",
            "subscriptionPosition": "EARLIEST",
            "inputSpecs": {f"persistent://public/default/in-{name}": {}},
        },
        "sink": {"topic": f"persistent://public/default/out-{name}"},
        "componentType": "FUNCTION",
    }
    shared = {
        "instance_id": 0,
        "function_id": f"0-{name}",
        "function_version": 0,
        "function_details": "'" + json.dumps(details) + "'",
        "pulsar_serviceurl": server.service,
        "max_buffered_tuples": 100,
        "port": 0,
        "metrics_port": 0,
        "expected_healthcheck_interval": 0,
        "cluster_name": "test",
        "state_storage_serviceurl": "file://" + os.path.join(os.path.abspath(args.dir), "state"),
        "use_tls": "false",
    }
    words = [word for argument, value in shared.items() for word in (f"--{argument}", str(value))]
    return Runs(name, [program, *code, *words], os.path.join(args.dir, f"{name}.log"))


def metrics(run):
    """The metrics of an instance, at the port that its log tells."""
    with open(run.log) as log:
        found = re.search(r"metrics\S*=\S*?0\.0\.0\.0:(\d+)", re.sub(r"\x1b\[[0-9;]*m", "", log.read()))
    with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/metrics", timeout=10) as page:
        return page.read().decode()


def has_consumers(server, run):
    stats = server.get(f"/admin/v2/persistent/public/default/in-{run.name}/stats")
    return any(subscription["consumers"] for subscription in stats["subscriptions"].values())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--broker", required=True)
    parser.add_argument("--dir", required=True)
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--wasm")
    parser.add_argument("--java")
    args = parser.parse_args()
    shutil.rmtree(args.dir, ignore_errors=True)
    os.makedirs(args.dir)
    random.seed(args.kills)
    environment = {**os.environ, "GEMINGA_BROKER__DEDUPLICATION_ENABLED": "true"}
    server = Server(args.broker, os.path.join(args.dir, "data"), os.path.join(args.dir, "broker.log"), environment)
    server.keep_everything()
    runs, threads, stop = [], [], threading.Event()
    try:
        for language, local_code, instance_code, class_name in codes(args):
            runs.append(local(args, server, language, local_code))
            runs.append(instance(args, server, language, instance_code, class_name))
        for run in runs:
            topic = f"persistent://public/default/in-{run.name}"
            threads.append(threading.Thread(target=publish, args=(server.service, topic, stop, []), daemon=True))
        for thread in threads:
            thread.start()
        # One that finds no broker at its start ends, and should.
        for run in runs:
            until(f"{run.name} is there", lambda: has_consumers(server, run), 60)
        for _ in range(args.kills):
            time.sleep(random.uniform(*PAUSE_SECONDS))
            server.kill()
            time.sleep(random.uniform(0, 0.5))
            server.start()
        time.sleep(PAUSE_SECONDS[0])
        stop.set()
        for thread in threads:
            thread.join(120)
        wrong = [verdict(args, server, run) for run in runs]
    finally:
        for run in runs:
            run.process.kill()
    if server.stop() != 0:
        print("FAIL the broker did not stop cleanly")
        wrong.append(True)
    sys.exit(1 if any(wrong) else 0)


def verdict(args, server, run):
    """Prints how it went; whether it went wrong."""
    once = run.name.startswith("instance-")

    def drained():
        stats = server.get(f"/admin/v2/persistent/public/default/in-{run.name}/stats")
        subscription = stats["subscriptions"].get(f"public/default/{run.name}")
        return subscription is not None and subscription["msgBacklog"] == 0

    try:
        until(f"{run.name}: the backlog is empty", drained, DRAIN_SECONDS, 0.2)
        if once and "pulsar_function_received_total{" not in metrics(run):
            raise TimeoutError("an instance has no metrics")
    except TimeoutError as error:
        print(f"FAIL {error}, see {run.log}")
        return True
    ended = run.end()
    wanted = collections.Counter(text + "!" for text in read_all(server.service, f"persistent://public/default/in-{run.name}"))
    found = collections.Counter(read_all(server.service, f"persistent://public/default/out-{run.name}"))
    missing, extra = wanted - found, found - wanted
    unknown = set(found) - set(wanted)
    bad = bool(ended or missing or unknown or not wanted or (once and extra))
    print(
        f"{'FAIL' if bad else 'ok'} {run.name}: {sum(wanted.values())} messages over {args.kills} kills, "
        f"{sum(missing.values())} outputs missing, {sum(extra.values())} too many{'; ' + ended if ended else ''}"
    )
    return bad


if __name__ == "__main__":
    main()
