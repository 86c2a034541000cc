"""A function that uses a core for a share of each message's time and waits for the rest; the message says how long it takes."""

import time

from pulsar import Function

SLICE_S = 0.01


class Elastic(Function):
    def process(self, input, context):
        share = float(context.get_user_config_value("share"))
        end = time.monotonic() + float(input.split()[2])
        while (now := time.monotonic()) < end:
            part = min(SLICE_S, end - now)
            used = time.thread_time() + part * share
            while time.thread_time() < used and time.monotonic() < end:
                pass
            rest = now + part - time.monotonic()
            if rest > 0:
                time.sleep(rest)
        return input
