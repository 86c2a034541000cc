"""Runs an asynchronous function: many invocations at once on one event loop, outcomes as they come."""

import asyncio
import os
from time import perf_counter_ns

from .channel import ANSWER, INVOKE, parse_answer
from .context import Context
from .message import ELEMENT, HEAD, MESSAGE, Message
from .outcome import PLAIN, done, is_many, trace


class Concurrent:
    """As `sequential.Sequential`, but for `async def`."""

    def __init__(self, code, settings, channel, codec):
        self.code = code
        self.settings = settings
        self.channel = channel
        self.codec = codec
        hello = settings.hello
        self.most = max(1, hello.get("max_pending_async") or 1)
        timeout_ms = hello.get("timeout_ms")
        self.timeout = timeout_ms / 1000 if timeout_ms else None
        self.window = []
        self.waiting = []  # invocations taken off a frame, last first
        self.running = set()
        self.flushing = False
        self.is_reading = False

    def run(self):
        asyncio.run(self._run())

    async def _run(self):
        self.loop = asyncio.get_running_loop()
        self.ended = self.loop.create_future()
        os.set_blocking(self.channel.fd_in, False)
        self.channel.expect = lambda: self.read(True)
        self.go_on()
        await self.ended
        while self.running:
            await asyncio.wait(self.running)
        self.channel.flush()

    def go_on(self):
        """Starts what may be started; reads when there is room."""
        channel = self.channel
        while len(self.running) < self.most:
            if not self.waiting:
                frame = channel.queued.popleft() if channel.queued else channel.take()
                if frame is None:
                    self.read(True)
                    return
                self.frame(*frame)
                continue
            task = self.loop.create_task(self.invoke(*self.waiting.pop()))
            self.running.add(task)
            task.add_done_callback(self.finished)
        # Full. Answers must still come in, since what runs may wait for them; invocations wait in the pipe unless they are before one.
        self.read(bool(channel.answers))

    def finished(self, task):
        self.running.discard(task)
        if not task.cancelled() and task.exception() is not None and not self.ended.done():
            self.ended.set_exception(task.exception())
        else:
            self.go_on()

    def read(self, on):
        if on and not self.is_reading and not self.channel.ended:
            self.loop.add_reader(self.channel.fd_in, self.readable)
        elif not on and self.is_reading:
            self.loop.remove_reader(self.channel.fd_in)
        self.is_reading = on and not self.channel.ended

    def readable(self):
        channel = self.channel
        channel.fill()
        if channel.ended:
            self.loop.remove_reader(channel.fd_in)
            self.is_reading = False
            if not self.ended.done():
                self.ended.set_result(None)
        if len(self.running) >= self.most:
            frame = channel.take()
            while frame is not None:
                if frame[0] == ANSWER:
                    channel.answered(*parse_answer(frame[1]))
                else:
                    channel.queued.append(frame)
                frame = channel.take()
        self.go_on()

    def frame(self, kind, body):
        if kind == ANSWER:
            self.channel.answered(*parse_answer(body))
        elif kind == INVOKE:
            at, found = 0, []
            while at < len(body):
                size, invocation, kind, _, _, _ = HEAD.unpack_from(body, at)
                message = Message(body, at, invocation)
                at += 4 + size
                if kind == MESSAGE:
                    found.append((invocation, message, None))
                    continue
                self.window.append(message)
                if kind != ELEMENT:
                    found.append((invocation, message, self.window))
                    self.window = []
            self.waiting = found[::-1]

    async def invoke(self, invocation, message, window):
        channel, codec, code = self.channel, self.codec, self.code
        context = Context(self.settings)
        context.message, context._invocation = message, invocation
        before = perf_counter_ns()
        try:
            if window is None:
                value = message._value = codec.value(message)
            else:
                context.messages = window
                for element in window:
                    element._value = codec.value(element)
                value = [element._value for element in window]
            returned = code.process(value, context) if code.takes_context else code.process(value)
            work = _all(returned) if hasattr(returned, "__anext__") else returned
            output = await (work if self.timeout is None else asyncio.wait_for(work, self.timeout))
            outputs = None
            if output is None or codec.encode is None:
                output = None
            elif isinstance(output, _Many) or type(output) not in PLAIN and is_many(output):
                outputs = [codec.encode(each) for each in output if each is not None]
            else:
                output = codec.encode(output)
            done(channel, context, invocation, perf_counter_ns() - before, outputs, output)
        except asyncio.TimeoutError as error:
            shown = "timed out: it took more than %s s\n" % self.timeout if self.timeout else ""
            channel.event(*context.take_exception(invocation, perf_counter_ns() - before, shown + trace(error)))
        except BaseException as error:
            channel.event(*context.take_exception(invocation, perf_counter_ns() - before, trace(error)))
        if not self.flushing:
            self.flushing = True
            self.loop.call_soon(self.flush)

    def flush(self):
        self.flushing = False
        try:
            self.channel.flush()
        except OSError as error:  # Geminga is gone
            if not self.ended.done():
                self.ended.set_exception(error)


class _Many(list):
    pass


async def _all(generator):
    return _Many([each async for each in generator])
