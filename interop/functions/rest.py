"""A broker of one's own and its REST interface, for the programs in this directory."""

import json
import os
import signal
import subprocess
import time
import types
import urllib.error
import urllib.request
import uuid


class Server:
    """`geminga standalone` on a directory, on ports it keeps over restarts."""

    def __init__(self, binary, data, log, env=None):
        self.binary, self.data, self.env = binary, data, env
        self.log = open(log, "ab")
        self.ports = ("0", "0")
        self.start()

    @classmethod
    def at(cls, service, admin, pid):
        """One that somebody else started and stops."""
        server = cls.__new__(cls)
        server.service, server.admin = service, admin
        server.process = types.SimpleNamespace(pid=pid)
        return server

    def start(self, tries=40):
        """Starts it. While it is down a client's own connection may take its port for a moment."""
        command = [self.binary, "standalone", "--data", self.data, "--broker-port", self.ports[0], "--web-port", self.ports[1]]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, env=self.env, text=True)
        words = self.process.stdout.readline().split()
        if words[:2] != ["geminga", "ready:"]:
            self.process.wait()
            if tries == 0:
                raise RuntimeError(f"the broker did not start, see {self.log.name}")
            time.sleep(0.25)
            return self.start(tries - 1)
        self.service, self.admin = words[2], words[3]
        self.ports = (self.service.rsplit(":", 1)[1], self.admin.rsplit(":", 1)[1])

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.terminate()
        return self.process.wait(30)

    def request(self, method, path, body=None, content_type="application/json", timeout=60):
        headers = {} if body is None else {"Content-Type": content_type}
        request = urllib.request.Request(self.admin + path, data=body, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as reply:
                return reply.status, reply.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def get(self, path):
        status, body = self.request("GET", path)
        if status != 200:
            raise RuntimeError(f"GET {path}: {status} {body[:500]!r}")
        return json.loads(body)

    def keep_everything(self):
        """What is acknowledged stays, to be read again at the end."""
        retention = json.dumps({"retentionTimeInMinutes": -1, "retentionSizeInMB": -1}).encode()
        status, body = self.request("POST", "/admin/v2/namespaces/public/default/retention", retention)
        if status != 204:
            raise RuntimeError(f"retention: {status} {body.decode()}")

    def deploy(self, config, file=None, kind="functions", method="POST"):
        """Creates or updates a function as `pulsar-admin` does; returns status and body."""
        parts = [(f'name="{kind[:-1]}Config"', "application/json", json.dumps(config).encode())]
        if file is not None:
            with open(file, "rb") as code:
                name = os.path.basename(file)
                parts.append((f'name="data"; filename="{name}"', "application/octet-stream", code.read()))
        boundary = uuid.uuid4().hex
        body = b"".join(
            b"--%s\r\nContent-Disposition: form-data; %s\r\nContent-Type: %s\r\n\r\n%s\r\n"
            % (boundary.encode(), disposition.encode(), type.encode(), content)
            for disposition, type, content in parts
        )
        body += b"--%s--\r\n" % boundary.encode()
        path = "/admin/v3/{}/{tenant}/{namespace}/{name}".format(kind, **config)
        return self.request(method, path, body, f"multipart/form-data; boundary={boundary}", timeout=300)


def until(what, true, seconds=60, pause=0.05):
    """Waits until `true()` is; what it returned."""
    deadline = time.monotonic() + seconds
    last = None
    while True:
        try:
            found = true()
            if found:
                return found
        except (OSError, RuntimeError, KeyError, urllib.error.URLError) as error:
            last = error
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds} s ({last!r})")
        time.sleep(pause)
