"""Runs a plain function: one invocation after the other, a batch at a time."""

import struct
from time import perf_counter_ns

from .channel import ANSWER, INVOKE, parse_answer
from .context import Context
from .message import ELEMENT, HEAD, HEAD_BYTES, MESSAGE, Message
from .outcome import LARGE, PLAIN, done, is_many, trace

_OUTPUT = struct.Struct("<BQQI")
_NOTHING = struct.Struct("<BQQ")


class Sequential:
    """One invocation after the other."""

    def __init__(self, code, settings, channel, codec):
        self.code = code
        self.channel = channel
        self.context = Context(settings)
        self.codec = codec
        self.window = []

    def run(self):
        channel = self.channel
        channel.flush_while_busy()
        while True:
            frame = channel.frame()
            if frame is None:
                return
            kind, body = frame
            if kind == INVOKE:
                channel.busy.set()
                self.batch(body)
                channel.busy.clear()
                channel.flush()
            elif kind == ANSWER:
                channel.answered(*parse_answer(body))

    def batch(self, frame):
        """The path of every message, and the only one that has to be fast."""
        channel, context, codec = self.channel, self.context, self.codec
        process, takes_context = self.code.process, self.code.takes_context
        decode, encode = codec.decode, codec.encode
        head, now = HEAD.unpack_from, perf_counter_ns
        following, end = 0, len(frame)
        before = now()
        while following < end:
            at = following
            size, invocation, kind, _, _, length = head(frame, at)
            following = at + 4 + size
            message = Message(frame, at, invocation)
            if kind == ELEMENT:
                self.window.append(message)
                continue
            try:
                context.message = message
                context._invocation = invocation
                if kind == MESSAGE:
                    payload = frame[at + HEAD_BYTES : at + HEAD_BYTES + length]
                    value = message._value = decode(payload) if decode is not None else codec.value(message)
                else:
                    value = self.whole_window(message)
                output = process(value, context) if takes_context else process(value)
                if output is not None and encode is not None:
                    if type(output) in PLAIN or not is_many(output):
                        output = encode(output)
                        outputs = None
                    else:
                        outputs = [encode(each) for each in output if each is not None]
                else:
                    output = outputs = None
                after = now()
                if outputs is not None or context.has_effects():
                    done(channel, context, invocation, after - before, outputs, output)
                elif output is None:
                    channel.event(_NOTHING.pack(0x02, invocation, after - before))
                else:
                    length = len(output)
                    if length > LARGE:
                        channel.check(length)
                    channel.event(_OUTPUT.pack(0x01, invocation, after - before, length), output)
            except BaseException as error:
                after = now()
                channel.event(*context.take_exception(invocation, after - before, trace(error)))
            before = after

    def whole_window(self, last):
        """Values of the elements that have come, the last of them now."""
        self.window.append(last)
        self.context.messages, self.window = self.window, []
        for message in self.context.messages:
            message._value = self.codec.value(message)
        return [message._value for message in self.context.messages]
