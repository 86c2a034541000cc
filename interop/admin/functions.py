#!/usr/bin/env python3
"""Runs the real `pulsar-admin functions|sources|sinks|packages|functions-worker` against a broker and checks what it says.

    functions.py WEB_URL ADMIN...      ADMIN... is the command that runs pulsar-admin, for instance bin/pulsar-admin

The command gets the broker's URL in its environment as WEB; one that does not look there has it among its arguments.
Everything happens in public/default with names that begin with `interop-`; what is left of an earlier run is deleted first.
Needs a broker that runs Python functions. Exit code 1 when something differs.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request

FUNCTION = """
from pulsar import Function

class Exclamation(Function):
    def process(self, input, context):
        context.incr_counter("calls", 1)
        return input + (context.get_user_config_value("mark") or "!")
"""

AT = ["--tenant", "public", "--namespace", "default"]
failures = []


def main():
    web, *admin = sys.argv[1:]
    if not admin:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as directory:
        run = Admin(web, admin, pathlib.Path(directory))
        for part in (functions, state, instances, code, packages, connectors, worker):
            print(f"-- {part.__name__}", flush=True)
            part(run)
        run.may_fail("functions", "delete", *AT, "--name", "interop-f")
    print(f"{len(failures)} failures")
    sys.exit(1 if failures else 0)


class Admin:
    def __init__(self, web, command, directory):
        self.web, self.command, self.directory = web, command, directory
        self.code = directory / "exclamation.py"
        self.code.write_text(FUNCTION)

    def may_fail(self, *arguments):
        environment = dict(os.environ, WEB=self.web)
        done = subprocess.run([*self.command, *arguments], env=environment, capture_output=True, text=True, timeout=180)
        return done.returncode, done.stdout.strip(), done.stderr.strip()

    def __call__(self, *arguments):
        """What the command prints; that it fails is a failure."""
        status, out, err = self.may_fail(*arguments)
        check(status == 0, f"{' '.join(arguments[:2])}: exit {status}: {err[-300:]}")
        return out

    def json(self, *arguments):
        out = self(*arguments)
        try:
            return json.loads(out)
        except ValueError:
            check(False, f"{' '.join(arguments[:2])} printed no JSON: {out[:200]}")
            return {}

    def refused(self, reason, *arguments):
        status, out, err = self.may_fail(*arguments)
        check(status != 0 and reason in out + err, f"{' '.join(arguments[:2])} is refused with {reason!r}: {(out + err)[-300:]}")

    def running(self, count, name="interop-f"):
        """Waits until so many instances run."""
        # Not by the command, of which each run takes seconds.
        status, path = {}, f"{self.web.rstrip('/')}/admin/v3/functions/public/default/{name}/status"
        for _ in range(400):
            with urllib.request.urlopen(path, timeout=60) as answer:
                status = json.load(answer)
            if status.get("numRunning") == count:
                break
            time.sleep(0.1)
        check(status.get("numRunning") == count, f"{count} instances run: {json.dumps(status)[:400]}")
        return status


def check(holds, what):
    if not holds:
        failures.append(what)
        print(f"FAIL {what}", flush=True)
    return holds


def functions(run):
    f = [*AT, "--name", "interop-f"]
    run.may_fail("functions", "delete", *f)
    create = ["functions", "create", *f, "--py", str(run.code), "--classname", "exclamation.Exclamation",
              "--inputs", "persistent://public/default/interop-in", "--output", "persistent://public/default/interop-out"]
    run(*create)
    run.refused("already exists", *create)
    check("interop-f" in run("functions", "list", *AT), "functions list")
    config = run.json("functions", "get", *f)
    check(config.get("className") == "exclamation.Exclamation" and config.get("runtime") == "PYTHON", f"get: {config}")
    check("persistent://public/default/interop-in" in config.get("inputSpecs", {}), f"get has inputs: {config}")
    status = run.running(1)
    check(status["instances"][0]["status"]["error"] == "", f"no error: {status}")
    said = run("functions", "trigger", *f, "--trigger-value", "hello")
    check("hello!" in said, f"trigger: {said}")
    stats = run.json("functions", "stats", *f)
    check(stats.get("processedSuccessfullyTotal") == 1 and stats["instances"][0]["metrics"]["receivedTotal"] == 1, f"stats: {stats}")
    one = run.json("functions", "status", *f, "--instance-id", "0")
    check(one.get("numSuccessfullyProcessed") == 1, f"status of one instance: {one}")
    run.refused("doesn't have instance with id 9", "functions", "status", *f, "--instance-id", "9")
    run.refused("doesn't exist", "functions", "get", *AT, "--name", "interop-none")


def state(run):
    f = [*AT, "--name", "interop-f"]
    calls = run.json("functions", "querystate", *f, "--key", "calls")
    check(calls.get("numberValue") == 1, f"querystate of a counter: {calls}")
    run("functions", "putstate", *f, "--state", json.dumps({"key": "own", "stringValue": "text"}))
    own = run.json("functions", "querystate", *f, "--key", "own")
    check(own.get("stringValue") == "text", f"querystate: {own}")
    run.refused("doesn't exist", "functions", "querystate", *f, "--key", "none")


def instances(run):
    f = [*AT, "--name", "interop-f"]
    run.refused("Update contains no change", "functions", "update", *f)
    run("functions", "update", *f, "--parallelism", "2")
    run.running(2)
    run("functions", "update", *f, "--user-config", json.dumps({"mark": "?"}))
    run.running(2)
    said = ""
    for _ in range(10):
        said = run("functions", "trigger", *f, "--trigger-value", "hello")
        if "hello?" in said:
            break
        time.sleep(1)
    check("hello?" in said, f"the update has arrived: {said}")
    run("functions", "stop", *f, "--instance-id", "1")
    run.running(1)
    run("functions", "stop", *f)
    run.running(0)
    run.refused("Operation not permitted", "functions", "stop", *f)
    run("functions", "start", *f)
    run.running(2)
    run("functions", "restart", *f)
    run("functions", "restart", *f, "--instance-id", "0")
    run.running(2)


def code(run):
    f = [*AT, "--name", "interop-f"]
    target = run.directory / "downloaded.py"
    run("functions", "download", *f, "--destination-file", str(target))
    check(target.read_text() == FUNCTION, "the code that was downloaded is that which was deployed")
    run("functions", "upload", "--source-file", str(run.code), "--path", "interop/upload.py")
    target.unlink()
    run("functions", "download", "--path", "interop/upload.py", "--destination-file", str(target))
    check(target.read_text() == FUNCTION, "what was uploaded can be downloaded")


def packages(run):
    name = "function://public/default/interop-p@v1"
    run.may_fail("packages", "delete", name)
    run("packages", "upload", name, "--path", str(run.code), "--description", "d", "--contact", "me", "--properties", "a=b")
    check("interop-p" in run("packages", "list", "--type", "function", "public/default"), "packages list")
    check("v1" in run("packages", "list-versions", "function://public/default/interop-p"), "packages list-versions")
    metadata = run.json("packages", "get-metadata", name)
    check((metadata.get("description"), metadata.get("contact")) == ("d", "me"), f"get-metadata: {metadata}")
    run("packages", "update-metadata", name, "--description", "other")
    check(run.json("packages", "get-metadata", name).get("description") == "other", "update-metadata")
    target = run.directory / "package.py"
    run("packages", "download", name, "--path", str(target))
    check(target.read_text() == FUNCTION, "packages download")
    g = [*AT, "--name", "interop-g"]
    run.may_fail("functions", "delete", *g)
    run("functions", "create", *g, "--py", name, "--classname", "exclamation.Exclamation",
        "--inputs", "persistent://public/default/interop-in-g")
    run.running(1, "interop-g")
    run("functions", "delete", *g)
    run("packages", "delete", name)
    check("interop-p" not in run("packages", "list", "--type", "function", "public/default"), "a deleted package is gone")


def connectors(run):
    for kind in ("sources", "sinks"):
        run(kind, "list", *AT)
        run(kind, f"available-{kind}")
        run(kind, "reload")
        run.refused("doesn't exist", kind, "get", *AT, "--name", "interop-none")
        run.refused("doesn't exist", kind, "status", *AT, "--name", "interop-none")
        run.refused("doesn't exist", kind, "delete", *AT, "--name", "interop-none")
    # The command looks into the list of what is built in before it asks.
    run.refused("Invalid sink type", "sinks", "create", *AT, "--name", "interop-s", "--sink-type", "interop-none",
                "--inputs", "persistent://public/default/interop-in")


def worker(run):
    # A list is printed as its elements, of which there is one.
    cluster = run.json("functions-worker", "get-cluster")
    check(cluster.get("workerId"), f"get-cluster: {cluster}")
    check(run.json("functions-worker", "get-cluster-leader") == cluster, "get-cluster-leader")
    check("interop-f:0" in run("functions-worker", "get-function-assignments"), "get-function-assignments")
    run("functions-worker", "function-stats")
    run("functions-worker", "monitoring-metrics")


if __name__ == "__main__":
    main()
