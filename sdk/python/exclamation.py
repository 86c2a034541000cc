"""Adds an exclamation mark to every message, and counts them in the function's state."""

import traceback

import wit_world
from wit_world.imports import messages, state


class WitWorld(wit_world.WitWorld):
    def run(self) -> None:
        while (message := messages.next()) is not None:
            try:
                state.increment("seen", 1)
                messages.done(message.payload + b"!")
            except Exception:
                messages.fail(traceback.format_exc())
