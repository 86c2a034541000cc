"""The traces of `geminga mesh simulate` for real: whether simulation and reality rank the policies alike.

Usage: elasticity.py --broker BINARY --dir DIR [--traces step,flash] [--policies rate,hpa-50,hpa-tuned,keda] [--work cpu,wait] [--json FILE]

For each trace, kind of work and policy: a broker, one Python function of at most 8 instances that scales by the policy, and messages at
the trace's rate, the same ones for each policy. The function needs 200 ms a message, log-normal, as in the simulation: `cpu` uses what it
requests (0.2 cores: more would not fit on a small machine) all of that time, `wait` 15 % of it. Policies, their parameters and the trace
are those that the simulation is given too, with the start-up time that was measured; both look each second. Ages are from the publish
to the output at a consumer, instance-seconds from what `/scaling` says five times a second, both without the first tenth of the trace.
"""

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import threading
import time

import pulsar

from rest import Server, until

HERE = os.path.dirname(os.path.abspath(__file__))
SECONDS = 75
# Messages per second, in straight lines between points.
TRACES = {
    "step": [(0, 2), (20, 2), (20, 16), (50, 16), (50, 2), (SECONDS, 2)],
    "ramp": [(0, 2), (15, 2), (40, 18), (50, 18), (70, 2), (SECONDS, 2)],
    "flash": [(0, 1), (20, 1), (22, 18), (32, 18), (40, 1), (SECONDS, 1)],
}
SHARES = {"cpu": 1.0, "wait": 0.15}
REQUEST_CORES = 0.2
MAX = 8
SERVICE_S, VARIATION = 0.2, 0.5
PATH = "/admin/v3/functions/public/default/elastic"
QUIET = pulsar.FileLogger(pulsar.LoggerLevel.Error, os.devnull)
# Of two figures that differ by less, neither is said to be better: the machine's own noise.
NOISE = 0.15


def messages(trace, seed=1):
    """When each comes and how long it takes: a Poisson process of the trace's rate, log-normal work."""
    chance = random.Random(seed)
    sigma = math.sqrt(math.log(1 + VARIATION**2))
    at, due, found = 0.0, chance.expovariate(1.0), []
    for (t0, r0), (t1, r1) in zip(trace, trace[1:]):
        at = t0
        while at < t1:
            step = min(0.01, t1 - at)
            due -= (r0 + (r1 - r0) * (at + step / 2 - t0) / (t1 - t0)) * step
            at += step
            if due <= 0:
                found.append((at, SERVICE_S * chance.lognormvariate(-sigma**2 / 2, sigma)))
                due += chance.expovariate(1.0)
    return found


class Run:
    """One policy on one trace, for real."""

    def __init__(self, args, name, work, row):
        self.trace, self.work, self.row = TRACES[name], work, row
        directory = os.path.join(args.dir, f"{name}-{work}-{row['policy']}")
        os.makedirs(directory)
        self.server = Server(args.broker, os.path.join(directory, "data"), os.path.join(directory, "log"))
        self.client = pulsar.Client(self.server.service, logger=QUIET)
        self.warm_up = SECONDS / 10
        self.samples, self.done, self.stop = [], {}, threading.Event()

    def close(self):
        self.client.close()
        self.server.stop()

    def deploy(self):
        config = {
            "tenant": "public",
            "namespace": "default",
            "name": "elastic",
            "className": "elastic.Elastic",
            "py": "elastic.py",
            "runtime": "PYTHON",
            "inputs": ["load"],
            "output": "done",
            "userConfig": {"share": SHARES[self.work] * REQUEST_CORES},
            "resources": {"cpu": REQUEST_CORES},
        }
        status, body = self.server.deploy(config, os.path.join(HERE, "code", "elastic.py"))
        if status != 204:
            raise RuntimeError(f"deploy: {status} {body!r}")
        until("it runs", lambda: self.server.get(PATH + "/status")["numRunning"] == 1)
        spec = json.dumps(self.row["spec"]).encode()
        status, body = self.server.request("PUT", PATH + "/scaling", spec)
        if status != 204:
            raise RuntimeError(f"scaling: {status} {body!r}")

    def consume(self):
        consumer = self.client.subscribe("done", "look", initial_position=pulsar.InitialPosition.Earliest)
        while not self.stop.is_set():
            try:
                message = consumer.receive(500)
            except pulsar.Timeout:
                continue
            number = int(message.data().split()[0])
            self.done.setdefault(number, []).append(time.monotonic() - self.began)
            consumer.acknowledge(message)
        consumer.close()

    def watch(self):
        while not self.stop.is_set():
            scaling = self.server.get(PATH + "/scaling")
            at = time.monotonic() - self.began
            self.samples.append((at, scaling["wanted"] + scaling["draining"], scaling["running"]))
            self.stop.wait(0.2)

    def run(self):
        self.deploy()
        load = messages(self.trace)
        producer = self.client.create_producer("load", batching_enabled=False)
        self.began = time.monotonic() + 1
        threads = [threading.Thread(target=self.consume), threading.Thread(target=self.watch)]
        [thread.start() for thread in threads]
        behind = 0.0
        for number, (at, service) in enumerate(load):
            wait = self.began + at - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            behind = max(behind, -wait)
            producer.send_async(f"{number} {at:.6f} {service:.6f}".encode(), lambda *_: None)
        time.sleep(max(0, self.began + SECONDS - time.monotonic()))
        self.stop.set()
        [thread.join() for thread in threads]
        events = self.server.get(PATH + "/scaling/events")
        return self.figures(load, events, behind)

    def figures(self, load, events, behind):
        ages, left, twice, old = [], 0, 0, []
        for number, (at, _) in enumerate(load):
            if at < self.warm_up:
                continue
            seen = self.done.get(number)
            if seen is None or seen[0] > SECONDS:
                left += 1
                ages.append(SECONDS - at)
            else:
                ages.append(seen[0] - at)
                twice += len(seen) - 1
            if ages[-1] > 1:
                old.append((at + 1, at + ages[-1]))
        ages.sort()
        cost = sum(
            count * (min(until_s, SECONDS) - max(at, self.warm_up))
            for (at, count, _), (until_s, _, _) in zip(self.samples, self.samples[1:])
            if until_s > self.warm_up and at < SECONDS
        )
        startups = [
            instance["startup"]
            for event in events
            for instance in (event.get("sample") or {}).get("instances", [])
            if instance.get("startup")
        ]
        return {
            "p50_s": ages[len(ages) // 2],
            "p99_s": ages[max(0, math.ceil(0.99 * len(ages)) - 1)],
            "late": sum(age > 2 for age in ages),
            "over_1s": covered(old),
            "left": left,
            "twice": twice,
            "instance_s": cost,
            "most": max(running for _, _, running in self.samples),
            "events": len([event for event in events if event["by"] != "person"]),
            "startup_s": statistics.median(map(seconds, startups)) if startups else None,
            "published_late_s": behind,
        }


def covered(spans):
    """Seconds that lie in any of the spans: how long the oldest message was older than it should be."""
    total, end = 0.0, 0.0
    for start, stop in sorted(spans):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total


def seconds(duration):
    """As serde writes a `Duration`."""
    return duration["secs"] + duration["nanos"] / 1e9


def simulate(args, name, work, startup_s=0.036):
    """The same trace and policies in virtual time, by policy."""
    path = os.path.join(args.dir, f"{name}.csv")
    with open(path, "w") as file:
        file.write("second,rate\n" + "".join(f"{at},{rate}\n" for at, rate in TRACES[name]))
    command = [args.broker, "mesh", "simulate", "--trace", path, "--policy", args.policies, "--work", work, "--format", "json"]
    command += ["--max", str(MAX), "--seeds", "21", "--startup", f"{round(startup_s * 1000)}ms"]
    (comparison,) = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return {row["policy"]: row for row in comparison["rows"]}


def ranks_alike(real, simulated, figure):
    """Pairs of policies that both rank, and those of them that both rank the same way."""
    pairs, alike = 0, 0
    names = list(real)
    for n, a in enumerate(names):
        for b in names[n + 1 :]:
            orders = []
            for figures in (real, simulated):
                x, y = figures[a][figure], figures[b][figure]
                orders.append(0 if abs(x - y) <= NOISE * max(x, y) else (1 if x > y else -1))
            if 0 not in orders:
                pairs += 1
                alike += orders[0] == orders[1]
    return pairs, alike


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--broker", required=True)
    parser.add_argument("--dir", required=True)
    parser.add_argument("--traces", default="step,flash")
    parser.add_argument("--policies", default="rate,hpa-50,hpa-tuned,keda")
    parser.add_argument("--work", default="cpu,wait")
    parser.add_argument("--json")
    args = parser.parse_args()
    os.makedirs(args.dir, exist_ok=True)
    report, total = [], {"p99_s": [0, 0], "instance_s": [0, 0]}
    for name in args.traces.split(","):
        for work in args.work.split(","):
            real = {}
            for policy, row in simulate(args, name, work).items():
                run = Run(args, name, work, row)
                try:
                    real[policy] = run.run()
                finally:
                    run.close()
            startups = [figures["startup_s"] for figures in real.values() if figures["startup_s"]]
            startup_s = statistics.median(startups) if startups else 0.036
            rows = simulate(args, name, work, startup_s)
            simulated = {policy: row["outcome"] for policy, row in rows.items()}
            print(f"{name}, {work}; start-up {startup_s * 1000:.0f} ms")
            print(f"  {'':14}{'real p50':>9}{'p99 s':>8}{'>1 s':>6}{'late':>6}{'cost':>7}{'events':>8}{'sim p50':>9}{'p99 s':>8}{'late':>6}{'cost':>7}{'events':>8}")
            for policy in real:
                r, s = real[policy], simulated[policy]
                print(
                    f"  {policy:14}{r['p50_s']:9.2f}{r['p99_s']:8.2f}{r['over_1s']:6.1f}{r['late']:6}{r['instance_s']:7.0f}{r['events']:8}"
                    f"{s['p50_s']:9.2f}{s['p99_s']:8.2f}{s['late']:6.0f}{s['instance_s']:7.0f}{s['scale_events']:8.0f}"
                )
            for figure, sums in total.items():
                pairs, alike = ranks_alike(real, simulated, figure)
                sums[0] += pairs
                sums[1] += alike
            sys.stdout.flush()
            report.append({"trace": name, "work": work, "startup_s": startup_s, "real": real, "simulated": simulated})
    for figure, (pairs, alike) in total.items():
        print(f"{figure}: {alike} of {pairs} pairs of policies that differ by more than {NOISE:.0%} in both are ranked alike")
    lost = sum(figures["twice"] for entry in report for figures in entry["real"].values())
    print(f"messages done twice: {lost}")
    if args.json:
        with open(args.json, "w") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
