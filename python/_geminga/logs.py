"""The user's log: what goes to the root logger goes to Geminga, which gives it to the log topic."""

import logging

from .channel import text

_LEVELS = ((logging.ERROR, 4), (logging.WARNING, 3), (logging.INFO, 2), (logging.DEBUG, 1))
_installed = None


class _Handler(logging.Handler):
    def __init__(self, channel):
        super().__init__()
        self.channel = channel

    def emit(self, record):
        try:
            level = next((level for least, level in _LEVELS if record.levelno >= least), 0)
            self.channel.event(bytes((0x07, level)), text(self.format(record)))
            if not self.channel.busy.is_set():
                self.channel.flush()  # a thread of the user's, while nothing is processed
        except Exception:
            self.handleError(record)


def install(channel):
    """Puts the handler into the root logger, once; returns that logger."""
    global _installed
    root = logging.getLogger()
    if _installed is None:
        _installed = _Handler(channel)
        root.addHandler(_installed)
        if root.level == logging.WARNING:  # nobody has said otherwise
            root.setLevel(logging.INFO)
    return root
