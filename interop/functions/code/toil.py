"""Work that waits, and counts what it has seen: written for Apache Pulsar, nothing of Geminga in it."""

import time

from pulsar import Function


class Toil(Function):
    def process(self, input, context):
        time.sleep(float(context.get_user_config_value("seconds") or 0))
        context.incr_counter("seen", 1)
        return input + "!"


class Together(Function):
    """Of a window, all that is in it."""

    def process(self, inputs, context):
        return "+".join(inputs)
