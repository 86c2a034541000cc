"""What a function is."""


class Function(object):
    """Derived from by the user's class. Called with every message of its inputs; what it returns goes to its output."""

    def process(self, input, context):
        raise NotImplementedError("process")
