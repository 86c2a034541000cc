"""Adds an exclamation mark, and counts what it has seen: written for Apache Pulsar, nothing of Geminga in it."""

from pulsar import Function


class Seen(Function):
    def process(self, input, context):
        context.incr_counter("seen", 1)
        return input + "!"
