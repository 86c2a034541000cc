"""A thousand functions on one server: deployed over REST, asleep, woken by events, restored after a kill, removed.

Usage: thousand.py --broker BINARY --dir DIR --wasm FILE [--functions N] [--seconds SECONDS]

Prints `ok NAME: figures` or `FAIL NAME: why`. Figures are printed, not judged: the machine may be busy. With `--seconds` above 0 the share
of a core that the whole server takes is measured in each state for so long.
"""

import argparse
import concurrent.futures
import json
import os
import random
import shutil
import sys
import time

import pulsar

from bench import cpu_seconds, rss_bytes
from rest import Server, until
from scaling import quiet_client

WAKES = 100
# As many requests at a time as an impatient script sends.
AT_ONCE = 8


class Thousand:
    def __init__(self, args):
        self.args = args
        self.server = Server(args.broker, os.path.join(args.dir, "data"), os.path.join(args.dir, "broker.log"))
        self.client = quiet_client(self.server)
        self.names = [f"many-{n}" for n in range(args.functions)]
        self.woken = random.sample(self.names, min(WAKES, len(self.names)))

    def each(self, do):
        """Does it for every function, some at a time; what each returned, in order."""
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(do, self.names))

    def path(self, name):
        return f"/admin/v3/functions/public/default/{name}"

    def expect(self, wanted, method, path, body=None):
        status, reply = self.server.request(method, path, body)
        if status != wanted:
            raise RuntimeError(f"{method} {path}: {status} {reply[:300]!r}")

    def listed(self):
        return len(self.server.get("/admin/v3/functions/public/default"))

    def rules(self, least):
        rules = {"minReplicas": least, "maxReplicas": 2, "policy": {"rate": {"idle": "2s"}}}
        self.each(lambda name: self.expect(204, "PUT", f"{self.path(name)}/scaling", json.dumps(rules).encode()))

    def phases(self, wanted):
        return all(phase == wanted for phase in self.each(lambda name: self.server.get(f"{self.path(name)}/scaling")["phase"]))

    def cost(self):
        """Memory, and processor time where it is to be measured."""
        memory = f"{rss_bytes(self.server.process.pid) / 1e6:.1f} MB"
        if not self.args.seconds:
            return memory
        began, before = time.monotonic(), cpu_seconds(self.server.process.pid)
        time.sleep(self.args.seconds)
        share = (cpu_seconds(self.server.process.pid) - before) / (time.monotonic() - began)
        return f"{memory}, {share * 100:.2f} % of a core"

    def nothing(self):
        return self.cost()

    def deployed(self):
        def create(name):
            config = {
                "tenant": "public",
                "namespace": "default",
                "name": name,
                "runtime": "WASM",
                "userConfig": {"do": "exclaim"},
                "inputs": [f"persistent://public/default/{name}-in"],
                "output": f"persistent://public/default/{name}-out",
            }
            began = time.monotonic()
            status, body = self.server.deploy(config, self.args.wasm)
            if status not in (200, 204):
                raise RuntimeError(f"create {name}: {status} {body.decode()}")
            return time.monotonic() - began

        began = time.monotonic()
        took = sorted(self.each(create))
        runs = lambda name: self.server.get(f"{self.path(name)}/status")["numRunning"] == 1
        until("all run", lambda: all(self.each(runs)), 120)
        if self.listed() != len(self.names):
            raise AssertionError(f"{self.listed()} of {len(self.names)} are listed")
        rate = len(took) / (time.monotonic() - began)
        return f"{rate:.0f} a second, a request {took[len(took) // 2] * 1e3:.1f} ms (the longest {took[-1] * 1e3:.1f} ms); {self.cost()}"

    def awake(self):
        self.rules(1)
        until("all are looked at", lambda: self.phases("active"), 60)
        return self.cost()

    def asleep(self):
        self.rules(0)
        until("all sleep", lambda: self.phases("asleep"), 120)
        return self.cost()

    def wake(self, text):
        """An event on each of some that sleep; milliseconds until its output."""
        took = []
        for name in self.woken:
            producer = self.client.create_producer(f"{name}-in", batching_enabled=False)
            consumer = self.client.subscribe(f"{name}-out", "watch", initial_position=pulsar.InitialPosition.Latest)
            began = time.monotonic()
            producer.send(text)
            message = consumer.receive(30000)
            took.append((time.monotonic() - began) * 1e3)
            if message.data() != text + b"!":
                raise AssertionError(f"{name}: {message.data()!r}")
            consumer.acknowledge(message)
            producer.close()
            consumer.close()
        took.sort()
        return f"output after {took[len(took) // 2]:.1f} ms (median of {len(took)}; the longest {took[-1]:.1f} ms)"

    def woken_by_events(self):
        return self.wake(b"one")

    def restored(self):
        until("all sleep again", lambda: self.phases("asleep"), 120)
        self.server.kill()
        began = time.monotonic()
        self.server.start()
        ready = time.monotonic() - began
        until("all are back", lambda: self.listed() == len(self.names) and self.phases("asleep"), 120)
        return f"ready {ready * 1e3:.0f} ms after a kill, {self.wake(b'two')}"

    def removed(self):
        self.each(lambda name: self.expect(204, "DELETE", self.path(name)))
        if self.listed():
            raise AssertionError(f"{self.listed()} are left")
        return self.cost()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--broker", required=True)
    parser.add_argument("--dir", required=True)
    parser.add_argument("--wasm", required=True)
    parser.add_argument("--functions", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=0)
    args = parser.parse_args()
    shutil.rmtree(args.dir, ignore_errors=True)
    os.makedirs(args.dir)
    many = Thousand(args)
    wrong = False
    # Each goes on from where the one before it ended.
    for test in (many.nothing, many.deployed, many.awake, many.asleep, many.woken_by_events, many.restored, many.removed):
        try:
            print(f"ok {test.__name__}: {test()}", flush=True)
        except Exception as error:
            print(f"FAIL {test.__name__}: {error}", flush=True)
            wrong = True
            break
    many.client.close()
    if many.server.stop() != 0:
        print("FAIL the broker did not stop cleanly")
        wrong = True
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
