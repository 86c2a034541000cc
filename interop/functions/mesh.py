"""Meshes from the command line: applied, watched, changed, cut short by kill -9, undone, deleted.

Usage: mesh.py --broker BINARY --dir DIR [--java FILE] [FILTER]

Prints `ok NAME`, or `FAIL NAME: why`.
"""

import argparse
import contextlib
import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import traceback
import zipfile

import pulsar

from rest import Server, until

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
# Manifests of Function Mesh's own tests, and the jar that their Java functions are in.
FUNCTION_MESH = os.path.join(ROOT, "crates", "mesh", "tests", "function-mesh")
EXAMPLES = os.path.join(ROOT, "java", "geminga-java-instance", "target", "examples", "pulsar-functions-api-examples.jar")
SCENARIOS = []
PREFIX = "public/default/"
LINE = re.compile(r"order-(\d+)(\S+) (\d+) (\d+) (\d+)\n")


def scenario(body):
    SCENARIOS.append(body)
    return body


def equal(got, want, what):
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")


class Meshes:
    """A server, its command line, and a directory for manifests."""

    def __init__(self, binary, server, directory, java):
        self.binary, self.server, self.directory, self.java = binary, server, directory, java
        shutil.copytree(os.path.join(HERE, "mesh"), directory)

    def run(self, *words, fails=False):
        """A command; what it printed, on both streams."""
        env = {**os.environ, "GEMINGA_ADMIN_URL": self.server.admin, "GEMINGA_SERVICE_URL": self.server.service}
        done = subprocess.run([self.binary, "mesh", *words], env=env, cwd="/", capture_output=True, text=True, timeout=240)
        if (done.returncode != 0) != fails:
            raise AssertionError(f"mesh {' '.join(words)} exits with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def begin(self, *words):
        env = {**os.environ, "GEMINGA_ADMIN_URL": self.server.admin}
        return subprocess.Popen(
            [self.binary, "mesh", *words], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def path(self, name):
        return os.path.join(self.directory, name)

    def manifest(self, name, *changes):
        """A manifest of the directory with texts replaced, as a new file beside it."""
        with open(self.path(name)) as file:
            text = file.read()
        for old, new in changes:
            if old not in text:
                raise AssertionError(f"{name} has no {old!r}")
            text = text.replace(old, new)
        return self.write("changed-" + name, text)

    def write(self, name, text):
        with open(self.path(name), "w") as file:
            file.write(text)
        return self.path(name)

    def function_mesh(self, name, *changes):
        """One of Function Mesh's own with texts replaced: where its containers have their code, and what is not here."""
        shutil.copy(os.path.join(FUNCTION_MESH, name), self.path(name))
        return self.manifest(name, *changes)

    @contextlib.contextmanager
    def serving(self):
        """A web server of the directory of manifests; its address."""
        handler = functools.partial(QuietFiles, directory=self.directory)
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_address[1]}"
            server.shutdown()

    def through(self, source, target, text):
        """What comes out of a topic for a message into another."""
        client = pulsar.Client(self.server.service, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, os.devnull))
        try:
            consumer = client.subscribe(target, "through", initial_position=pulsar.InitialPosition.Latest)
            client.create_producer(source).send(text.encode())
            message = consumer.receive(90_000)
            consumer.acknowledge(message)
            consumer.unsubscribe()
            return message.data().decode()
        finally:
            client.close()

    def status(self, name):
        return json.loads(self.run("status", name, "--format", "json"))

    def node(self, mesh, name):
        (node,) = [node for node in self.status(mesh)["nodes"] if node["name"] == PREFIX + name]
        return node

    def written(self):
        """What the sink wrote: order, mark, process of exclaim, process of greet, length of the secret."""
        try:
            with open(self.path("out.txt")) as file:
                return [match.groups() for match in map(LINE.match, file) if match]
        except FileNotFoundError:
            return []

    def writes(self, what, matches=lambda line: True, count=5):
        """Waits until so many of the lines that come from now on match; the last of them."""
        seen = len(self.written())
        return until(what, lambda: ([line for line in self.written()[seen:] if matches(line)])[count - 1 :])[-1]

    def shop(self, *changes):
        return self.manifest("shop.yaml", ("OUT", self.path("out.txt")), *changes)

    def names(self, kind="functions"):
        return self.server.get(f"/admin/v3/{kind}/public/default")


@scenario
def a_mesh_is_applied_and_messages_flow_through_it(meshes):
    shop = meshes.shop()
    plan = meshes.run("apply", shop, "--dry-run")
    equal([line[0] for line in plan.splitlines() if "/" in line], ["+"] * 4, f"plan {plan}")
    equal(meshes.names(), [], "nothing is done yet")
    told = meshes.run("apply", shop, "--wait")
    equal(re.findall(r"create \w+ public/default/(\w+): done", told), ["file", "greet", "exclaim", "orders"], f"steps {told}")
    assert "4 created" in told and "hunter2" not in told, told
    line = meshes.writes("lines in the file")
    equal((line[1], line[4]), ("!", "16"), "what is written")
    nodes = meshes.status("shop")["nodes"]
    equal([node["name"] for node in nodes], [PREFIX + name for name in ["orders", "exclaim", "greet", "file"]], "nodes")
    equal({node["state"] for node in nodes}, {"running"}, "states")
    until("rates", lambda: all((node["processedPerS"] or 0) > 1 for node in meshes.status("shop")["nodes"]))
    table = meshes.run("status", shop)
    assert "mesh default/shop, version 1, applied" in table and "public/default/greet" in table, table
    assert "default/shop" in meshes.run("list")
    graph = meshes.run("graph", "shop")
    assert "shop-loud" in graph, graph


@scenario
def the_same_again_does_nothing_and_a_change_touches_one_node(meshes):
    assert "nothing to do" in meshes.run("apply", meshes.shop(), "--wait")
    before = meshes.writes("lines")
    told = meshes.run("apply", meshes.shop(('mark: "!"', 'mark: "?"')), "--wait")
    assert "update function public/default/exclaim: done" in told and "1 updated" in told, told
    after = meshes.writes("changed lines", lambda line: line[1] == "?")
    assert after[2] != before[2], "exclaim is replaced"
    equal(after[3], before[3], "greet is not touched")


@scenario
def more_instances_join_those_that_run(meshes):
    before = meshes.writes("lines")
    more = meshes.shop(('mark: "!"', 'mark: "?"'), ("replicas: 1\n      cleanupSubscription", "replicas: 2\n      cleanupSubscription"))
    told = meshes.run("apply", more, "--wait")
    assert "scale function public/default/exclaim: done" in told, told
    equal(meshes.node("shop", "exclaim")["running"], 2, "instances")
    processes = lambda: {line[2] for line in meshes.written()[-50:]}
    until("both work", lambda: len(processes()) == 2 and before[2] in processes())
    meshes.run("apply", meshes.shop(), "--wait")


@scenario
def a_node_that_is_no_longer_written_goes_with_its_subscription(meshes):
    text = open(meshes.shop()).read()
    begin, end = text.index("    - name: exclaim"), text.index("    - name: greet")
    without = text[:begin] + text[end:].replace("shop-loud", "shop-orders")
    told = meshes.run("apply", meshes.write("without.yaml", without), "--name", "shop", "--wait")
    assert "delete function public/default/exclaim: done" in told and "1 updated" in told, told
    equal(meshes.names(), ["greet"], "functions")
    subscriptions = lambda: meshes.server.get("/admin/v2/persistent/public/default/shop-orders/subscriptions")
    equal(subscriptions(), ["public/default/greet"], "subscriptions")
    until("orders are written without a mark", lambda: re.search(r"^order-\d+ \d+ 16$", open(meshes.path("out.txt")).read(), re.M))
    meshes.run("apply", meshes.shop(), "--wait")
    meshes.writes("lines as before")


@scenario
def an_apply_that_kill_9_cuts_short_is_gone_on_with(meshes):
    version = meshes.status("shop")["version"]
    for round in range(4):
        mark = f"<{round}>"
        applying = meshes.begin("apply", meshes.shop(('mark: "!"', f'mark: "{mark}"'), ("keys: 5", f"keys: {round + 6}")), "--wait")
        # Earlier or later within the apply, or after it.
        time.sleep([0.05, 0.3, 0.8, 2][round])
        meshes.server.kill()
        time.sleep(0.3)
        meshes.server.start()
        told, _ = applying.communicate(timeout=180)
        if applying.returncode != 0 and meshes.status("shop")["version"] == version:
            # It was cut short before the server had taken it: nothing is done, and the command says so.
            told = meshes.run("apply", meshes.shop(('mark: "!"', f'mark: "{mark}"'), ("keys: 5", f"keys: {round + 6}")), "--wait")
        status = until("it rests", lambda: (s := meshes.status("shop"))["state"] not in ("applying",) and s, 120)
        equal(status["state"], "applied", f"round {round}: {told} {status.get('error')}")
        version = status["version"]
        meshes.writes(f"lines of round {round}", lambda line: line[1] == mark)
    equal(sorted(meshes.names()), ["exclaim", "greet"], "functions")
    meshes.run("apply", meshes.shop(), "--wait")


@scenario
def a_restart_brings_everything_back(meshes):
    before = meshes.status("shop")
    meshes.server.stop()
    meshes.server.start()
    meshes.writes("lines")
    after = meshes.status("shop")
    equal((after["version"], after["state"]), (before["version"], "applied"), "mesh")
    assert "nothing to do" in meshes.run("apply", meshes.shop(), "--wait")


@scenario
def what_cannot_run_is_told_and_undone_when_that_is_asked_for(meshes):
    bad = meshes.shop(("className: stages.Greet", "className: stages.Missing"), ('mark: "!"', 'mark: "#"'))
    told = meshes.run("apply", bad, "--wait", "--rollback", "--timeout", "10s", fails=True)
    assert "Missing" in told and "as it was before" in told, told
    equal(meshes.status("shop")["state"], "rolledBack", "state")
    meshes.writes("lines as before", lambda line: line[1] == "!")
    told = meshes.run("apply", bad, "--wait", "--timeout", "10s", fails=True)
    assert "what was done stays" in told, told
    told = meshes.run("apply", meshes.shop(), "--wait")
    meshes.writes("lines as before", lambda line: line[1] == "!")


@scenario
def mistakes_are_told_with_their_place_and_nothing_is_done(meshes):
    version = meshes.status("shop")["version"]
    bad = meshes.shop(("      replicas: 1\n      cleanupSubscription: true", "      replicas: many"))
    line = next(number for number, text in enumerate(open(bad), 1) if "replicas: many" in text)
    told = meshes.run("apply", bad, fails=True)
    assert f"{bad}:{line}:17: error: " in told, told
    missing = meshes.shop(("py: code/stages.py\n      replicas: 1\n      cleanup", "py: code/gone.py\n      replicas: 1\n      cleanup"))
    line = next(number for number, text in enumerate(open(missing), 1) if "gone.py" in text)
    told = meshes.run("apply", missing, fails=True)
    assert f"{missing}:{line}:13: error: " in told and "No such file" in told, told
    elsewhere = meshes.shop(("className: stages.Greet", "className: stages.Greet\n      tenant: nobody"))
    told = meshes.run("apply", elsewhere, fails=True)
    assert "there is no namespace nobody/default" in told, told
    equal(meshes.status("shop")["version"], version, "version")


@scenario
def functions_that_stand_alone_are_a_mesh_too_and_no_two_meshes_have_the_same(meshes):
    alone = meshes.manifest("standalone.yaml", ("OUT", meshes.path("alone.txt")))
    os.rename(alone, meshes.path("alone.yaml"))
    meshes.run("apply", meshes.path("alone.yaml"), "--wait")
    client = pulsar.Client(meshes.server.service, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, os.devnull))
    producer = client.create_producer("alone-in")
    producer.send(b"hello")
    client.close()
    until("it is written", lambda: open(meshes.path("alone.txt")).read().startswith("hello! "))
    told = meshes.run("apply", meshes.path("alone.yaml"), "--name", "other", fails=True)
    assert "function public/default/alone belongs to mesh default/alone" in told, told
    assert "default/alone" in meshes.run("list") and "default/shop" in meshes.run("list")
    told = meshes.run("delete", "alone", "--wait")
    assert told.index("delete function") < told.index("delete sink"), told
    equal((meshes.names("sinks"), sorted(meshes.names())), (["file"], ["exclaim", "greet"]), "what is left")


@scenario
def what_is_deleted_leaves_nothing(meshes):
    meshes.run("delete", meshes.shop(), "--wait")
    equal([meshes.names(kind) for kind in ["functions", "sources", "sinks"]], [[], [], []], "what is left")
    equal(meshes.server.get("/admin/v3/meshes"), [], "meshes")
    equal(meshes.server.get("/admin/v3/packages/function/public/default"), [], "code that was sent")
    told = meshes.run("status", "shop", fails=True)
    assert "there is no mesh default/shop" in told, told
    meshes.server.stop()
    meshes.server.start()
    equal(meshes.names(), [], "after a restart")


@scenario
def no_log_and_no_answer_has_a_secret(meshes):
    meshes.run("apply", meshes.shop(), "--wait")
    meshes.writes("lines", lambda line: line[4] == "16")
    for path in ["meshes/default/shop", "meshes/default/shop/status", f"functions/{PREFIX}greet"]:
        answer = json.dumps(meshes.server.get(f"/admin/v3/{path}"))
        assert "hunter2" not in answer, path
    with open(meshes.server.log.name) as log:
        assert "hunter2" not in log.read(), "the log"
    meshes.run("delete", "shop", "--wait")


@scenario
def an_instance_has_the_environment_of_its_manifest(meshes):
    with open(meshes.path("code/environment.py"), "w") as file:
        file.write("import os\n\ndef process(name):\n    return os.environ.get(name, 'none')\n")
    meshes.run("apply", meshes.write("environment.yaml", ENVIRONMENT), "--wait")
    ask = lambda name: meshes.through("environment-in", "environment-out", name)
    equal(ask("URL"), "db://me:hunter2@here", "a variable with others in it")
    equal([ask(name) for name in ["POD", "GEMINGA_ADMIN_URL"]], ["none", "none"], "what is not given")
    shown = json.dumps(meshes.server.get("/admin/v3/meshes/default/environment")) + meshes.run("status", "environment")
    assert "hunter2" not in shown, shown
    changed = meshes.manifest("environment.yaml", ("hunter2", "hunter3"))
    told = meshes.run("apply", changed, "--name", "environment", "--wait")
    assert "update function public/default/environment: done" in told and "hunter" not in told, told
    equal(ask("URL"), "db://me:hunter3@here", "the variable")
    meshes.run("delete", "environment", "--wait")


ENVIRONMENT = """
apiVersion: compute.functionmesh.io/v1alpha1
kind: Function
metadata: {name: environment}
spec:
  className: environment.process
  input: {topics: [environment-in]}
  output: {topic: environment-out}
  resources: {limits: {memory: 256Mi}}
  python: {py: code/environment.py}
  pod:
    env:
      - {name: USER, value: me}
      - {name: PASSWORD, valueFrom: {secretKeyRef: {name: environment, key: password}}}
      - {name: PLACE, valueFrom: {configMapKeyRef: {name: environment, key: place}}}
      - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
      - {name: URL, value: "db://$(USER):$(PASSWORD)@$(PLACE)"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: environment}
data: {place: here}
---
apiVersion: v1
kind: Secret
metadata: {name: environment}
stringData: {password: hunter2}
"""


@scenario
def function_meshs_python_function_that_is_downloaded_runs(meshes):
    with zipfile.ZipFile(meshes.path("exclamation.zip"), "w") as file:
        file.writestr("exclamation/src/exclamation.py", "def process(input):\n    return input + '!'\n")
    with meshes.serving() as address:
        manifest = meshes.function_mesh(
            "ci-py-download-from-http-function.yaml", ("http://nginx-server.default.svc.cluster.local", address)
        )
        meshes.run("apply", manifest, "--name", "download", "--wait")
    source, target = (f"{way}-download-from-http-python-topic" for way in ["input", "output"])
    equal(meshes.through(source, target, "hello"), "hello!", "what comes out")
    meshes.run("delete", "download", "--wait")


@scenario
def function_meshs_own_mesh_runs_in_java_and_python(meshes):
    with open(meshes.path("exclamation_function.py"), "w") as file:
        file.write(
            "from pulsar import Function\n\n\nclass ExclamationFunction(Function):\n"
            "    def process(self, input, context):\n        return input + '!'\n"
        )
    with open(os.path.join(FUNCTION_MESH, "ci-functionmesh.yaml")) as file:
        text = file.read()
    go = text[text.index("    - name: golang-function") : text.index("    - name: python-function")]
    manifest = meshes.function_mesh(
        "ci-functionmesh.yaml",
        (go, ""),
        ("functionmesh-golang-topic", "functionmesh-java-topic"),
        ("/pulsar/examples/api-examples.jar", EXAMPLES),
        ("/pulsar/examples/python-examples", meshes.directory),
    )
    meshes.run("apply", manifest, "--wait")
    equal(meshes.through("functionmesh-input-topic", "functionmesh-python-topic", "hello"), "hello!!", "what comes out")
    meshes.run("delete", "functionmesh-sample", "--wait")


@scenario
def function_meshs_vpa_gives_instances_in_java_what_they_need(meshes):
    manifest = meshes.function_mesh("ci-java-function-vpa.yaml", ("/pulsar/examples/api-examples.jar", EXAMPLES))
    meshes.run("apply", manifest, "--name", "vpa", "--wait")
    equal(meshes.through("input-vpa-java-topic", "output-vpa-java-topic", "hello"), "hello!", "what comes out")
    # It asks for 50m, and minAllowed is 200m: both instances are replaced. The limit stays four times what is requested.
    scaling = lambda: meshes.server.get(f"/admin/v3/functions/{PREFIX}function-sample-vpa/scaling")
    size = until("a size", lambda: scaling().get("size"), 120)
    request, limit = (millicores(size[what]["cpu"]) for what in ["requests", "limits"])
    assert 200 <= request <= 1000 and limit == 4 * request, size
    target = meshes.node("vpa", "function-sample-vpa")["recommendation"]["target"]
    assert 200 <= millicores(target["cpu"]) <= 1000, target
    assert "an instance should request cpu " in meshes.run("status", "vpa")
    until("both run again", lambda: scaling()["running"] == 2, 120)
    equal(meshes.through("input-vpa-java-topic", "output-vpa-java-topic", "again"), "again!", "what comes out then")
    meshes.run("delete", "vpa", "--wait")


def millicores(quantity):
    return int(quantity[:-1]) if quantity.endswith("m") else 1000 * int(quantity)


class QuietFiles(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@scenario
def the_example_of_the_documentation_runs(meshes):
    example = os.path.join(HERE, "..", "..", "examples", "mesh")
    shutil.copy(os.path.join(example, "shop.py"), meshes.path("shop.py"))
    with open(os.path.join(example, "shop.yaml")) as file:
        text = file.read().replace("/tmp/geminga-shop-", meshes.path("example-"))
    meshes.run("apply", meshes.write("example.yaml", text), "--wait")
    until("large orders are listed", lambda: os.path.getsize(meshes.path("example-checklist.txt")) > 0)
    price = until("the scaler decided", lambda: (node := meshes.node("shop", "price")).get("decision") and node)
    assert 1 <= price["wanted"] <= 4, price
    assert price["decision"]["code"] in meshes.run("status", "shop")
    meshes.run("delete", "shop", "--wait")


@scenario
def a_function_in_java_is_part_of_a_mesh(meshes):
    shutil.copy(meshes.java, meshes.path("code/functions.jar"))
    text = JAVA.replace("OUT", meshes.path("java.txt"))
    meshes.run("apply", meshes.write("java.yaml", text), "--wait")
    until("it is written", lambda: open(meshes.path("java.txt")).read().startswith("order-0!"))
    meshes.run("delete", "java", "--wait")


JAVA = """
apiVersion: compute.functionmesh.io/v1alpha1
kind: FunctionMesh
metadata: {name: java}
spec:
  sources:
    - name: java-orders
      sourceType: data-generator
      output: {topic: persistent://public/default/java-in}
      sourceConfig: {ratePerSecond: 20, template: "order-{n}"}
  functions:
    - name: java-seen
      className: geminga.Seen
      input: {topics: [persistent://public/default/java-in]}
      output: {topic: persistent://public/default/java-out}
      java: {jar: code/functions.jar}
  sinks:
    - name: java-file
      sinkType: file
      input: {topics: [persistent://public/default/java-out]}
      sinkConfig: {path: OUT}
"""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--broker", required=True)
    parser.add_argument("--dir", required=True)
    parser.add_argument("--java")
    parser.add_argument("--wasm")
    parser.add_argument("filter", nargs="?", default="")
    args = parser.parse_args()
    shutil.rmtree(args.dir, ignore_errors=True)
    os.makedirs(args.dir)
    directory = os.path.abspath(args.dir)
    server = Server(args.broker, os.path.join(directory, "data"), os.path.join(directory, "broker.log"))
    meshes = Meshes(os.path.abspath(args.broker), server, os.path.join(directory, "manifests"), args.java)
    failed = False
    for body in SCENARIOS:
        name = f"mesh: {body.__name__.replace('_', ' ')}"
        if args.filter not in name:
            continue
        if "in java" in name and not args.java:
            print(f"skip {name}: no --java", flush=True)
            continue
        if "in java" in name and "function meshs" in name and not os.path.exists(EXAMPLES):
            print(f"skip {name}: no {EXAMPLES}", flush=True)
            continue
        try:
            body(meshes)
            print(f"ok {name}", flush=True)
        except Exception as error:
            failed = True
            print(f"FAIL {name}: {error!r}", flush=True)
            traceback.print_exc(file=sys.stderr)
    server.stop()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
