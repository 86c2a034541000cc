"""Stages of a mesh: written for Apache Pulsar, nothing of Geminga in it. What they write says which process wrote it."""

import os

from pulsar import Function


class Exclaim(Function):
    def process(self, input, context):
        return f"{input}{context.get_user_config_value('mark')} {os.getpid()}"


class Greet(Function):
    def process(self, input, context):
        # The secret is there; that it is, its length says.
        return f"{input} {os.getpid()} {len(context.get_secret('greeting'))}"
