"""One instance: says hello, loads the user's code, and calls it."""

import gc
import json
import os
import sys

from .channel import FAILED, HELLO, READY, Channel
from .outcome import trace


def main():
    """Returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    channel = Channel(int(os.environ.pop("GEMINGA_FD_IN", 3)), int(os.environ.pop("GEMINGA_FD_OUT", 4)))
    try:
        frame = channel.frame()
        if frame is None or frame[0] != HELLO:
            return 2
        hello = json.loads(frame[1])
        channel.frame_bytes_max = hello["frame_bytes_max"]
        try:
            runner, output_schema = start(hello, channel)
        except BaseException as error:
            channel.send(FAILED, trace(error).encode("utf-8", "replace"))
            return 1
        ready = {"runtime": "python " + sys.version.split()[0]}
        if output_schema is not None:
            ready["output_schema"] = output_schema
        concurrent = getattr(runner.code, "is_async", None)
        if concurrent is not None:
            ready["concurrent"] = concurrent
        channel.send(READY, json.dumps(ready).encode())
        runner.run()
        channel.flush()
        if runner.code.close is not None:
            runner.code.close()
            channel.flush()
        return 0
    except (BrokenPipeError, KeyboardInterrupt):
        return 3  # Geminga is gone


def start(hello, channel):
    """Loads everything; what it throws is shown to the user."""
    sys.path[:0] = json.loads(os.environ.pop("GEMINGA_PYTHON_FIRST", "[]"))
    sys.path += json.loads(os.environ.pop("GEMINGA_PYTHON_LAST", "[]"))
    stem = os.environ.pop("GEMINGA_PYTHON_MODULE", "")
    _as_if_site_was_there()
    if json.loads(hello.get("runtime_options") or "{}").get("pulsarClient"):
        import pulsar

        pulsar._use_the_real_one()
    from . import loader
    from .codecs import Codec
    from .context import Settings

    is_source = hello["kind"] == "source"
    code = None if is_source else loader.load(hello["class_name"], stem)
    settings = Settings(hello, channel)
    if "logging" in sys.modules:
        from . import logs

        settings.logger = logs.install(channel)
    codec = Codec(hello["inputs"], hello["output"])
    if is_source:
        from .source import Source

        return Source(hello["class_name"], stem, settings, channel, codec), codec.output_schema
    if code.is_async:
        from .concurrent import Concurrent as Runner
    else:
        from .sequential import Sequential as Runner
    runner = Runner(code, settings, channel, codec)
    gc.collect()
    gc.freeze()  # what is there now stays
    return runner, codec.output_schema


def _as_if_site_was_there():
    """`site` is not imported, for the sake of a quick start; these are what it would have added for everyone."""
    import builtins

    for name in ("exit", "quit"):
        if not hasattr(builtins, name):
            setattr(builtins, name, sys.exit)
