"""Frames over two pipes: requests come in, events go out.

Events are collected and written together; a system call for each message would cost more than all the rest.
"""

import os
import struct
from collections import deque
from threading import Event, RLock, Thread
from time import sleep

HELLO, INVOKE, ANSWER, EMITTED = 0x01, 0x02, 0x03, 0x04
READY, FAILED, EVENTS = 0x81, 0x82, 0x83

NO_INVOCATION = 2**64 - 1
READ_BYTES = 256 * 1024
FLUSH_BYTES = 256 * 1024
# A batch that takes longer shows what it has done so far.
FLUSH_S = 0.004

_U32 = struct.Struct("<I")
_FRAME = struct.Struct("<IB")
_CALL = struct.Struct("<BQQB")
_ANSWER = struct.Struct("<QB")
_I64 = struct.Struct("<q")


def text(value):
    """A `str` of the protocol."""
    data = value.encode("utf-8", "replace")
    return _U32.pack(len(data)) + data


def binary(value):
    """`bytes` of the protocol."""
    return _U32.pack(len(value)) + value


def pairs(items):
    """A list of names and values."""
    return _U32.pack(len(items)) + b"".join([text(name) + text(value) for name, value in items])


class CallFailed(Exception):
    """State could not be read."""


class Channel:
    """Both directions. Only one thread reads; any may write."""

    def __init__(self, fd_in, fd_out, frame_bytes_max=64 << 20):
        os.set_inheritable(fd_in, False)
        os.set_inheritable(fd_out, False)
        self.fd_in, self.fd_out = fd_in, fd_out
        self.frame_bytes_max = frame_bytes_max
        self.buffer = bytearray()
        self.ended = False
        self.busy = Event()  # something is processed; what it says is flushed soon
        self.queued = deque()  # frames that came while an answer was waited for
        self.parts = []  # events not written yet
        self.size = 0
        self.writing = RLock()
        self.reading = RLock()
        self.calls = 0
        self.answers = {}  # futures of calls that were made on an event loop
        self.expect = None  # called when there is one more

    # Reading

    def frame(self):
        """The next frame as (kind, body); None at the end. Waits."""
        with self.reading:
            if self.queued:
                return self.queued.popleft()
            return self._read_frame()

    def _read_frame(self):
        while True:
            frame = self.take()
            if frame is not None or self.ended:
                return frame
            self.fill()

    def take(self):
        """A frame that is there already, or None."""
        buffer = self.buffer
        if len(buffer) < 5:
            return None
        length, kind = _FRAME.unpack_from(buffer)
        if len(buffer) < 4 + length:
            return None
        with memoryview(buffer) as view:
            body = bytes(view[5 : 4 + length])
        del buffer[: 4 + length]
        return kind, body

    def fill(self):
        """Reads once. On a pipe that does not block, this is for when there is something."""
        try:
            data = os.read(self.fd_in, READ_BYTES)
        except BlockingIOError:
            import select

            poll = select.poll()
            poll.register(self.fd_in, select.POLLIN)
            poll.poll()
            return
        if data:
            self.buffer += data
        else:
            self.ended = True

    # Writing

    def event(self, *parts):
        """Adds an event; it is written with those that follow."""
        with self.writing:
            size = sum(map(len, parts))
            if self.size + size >= self.frame_bytes_max:
                self.flush()
            self.parts += parts
            self.size += size
            if self.size >= FLUSH_BYTES:
                self.flush()

    def flush(self):
        """Writes what was collected. Waits while Geminga does not take it."""
        with self.writing:
            if self.parts:
                body = b"".join(self.parts)
                self.parts.clear()
                self.size = 0
                self.send(EVENTS, body)

    def send(self, kind, body):
        """Writes one frame."""
        with self.writing:
            data = _FRAME.pack(len(body) + 1, kind) + body
            written = os.write(self.fd_out, data)
            if written < len(data):
                with memoryview(data) as view:
                    while written < len(data):
                        written += os.write(self.fd_out, view[written:])

    def flush_while_busy(self):
        """Starts the thread that writes what is done while the next invocation takes its time."""

        def run():
            while True:
                self.busy.wait()
                sleep(FLUSH_S)
                try:
                    self.flush()
                except OSError:
                    return  # Geminga is gone, which ends this process soon

        Thread(target=run, name="flush", daemon=True).start()

    def check(self, length):
        """Throws where an outcome of so many bytes does not fit into a frame."""
        most = self.frame_bytes_max - 4096
        if length > most:
            raise ValueError("output and effects have %d bytes, %d are allowed" % (length, most))

    # Calls

    def ask(self, question, key, invocation):
        """Asks for state (1) or a counter (2); returns the number of the call."""
        with self.writing:
            self.calls += 1
            call = self.calls
            self.event(_CALL.pack(0x05, call, invocation, question), text(key))
            self.flush()
        return call

    def call(self, question, key, invocation):
        """Asks and waits. What else comes meanwhile waits its turn."""
        with self.reading:
            call = self.ask(question, key, invocation)
            while True:
                frame = self._read_frame()
                if frame is None:
                    raise CallFailed("the instance is ending")
                kind, body = frame
                if kind == ANSWER:
                    answered, answer = parse_answer(body)
                    if answered == call:
                        return value_of(answer)
                    self.answered(answered, answer)
                else:
                    self.queued.append(frame)

    def answered(self, call, answer):
        """An answer to somebody else."""
        future = self.answers.pop(call, None)
        if future is not None and not future.done():
            future.set_result(answer)


def parse_answer(body):
    """The call, and its answer as (status, bytes)."""
    call, status = _ANSWER.unpack_from(body)
    return call, (status, body[9:])


def value_of(answer):
    """What was asked for; raises CallFailed."""
    status, body = answer
    if status == 0:
        return None
    if status == 1:
        return body
    if status == 2:
        return _I64.unpack(body)[0]
    raise CallFailed(body.decode("utf-8", "replace"))
