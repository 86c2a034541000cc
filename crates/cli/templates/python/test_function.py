import logging
import unittest

from {{snake}} import {{Class}}


class Context:
    """As much of a function's context as this function uses."""

    def __init__(self, **user_config):
        self.user_config = user_config
        self.counters = {}

    def get_logger(self):
        return logging.getLogger("test")

    def get_user_config_value(self, key):
        return self.user_config.get(key)

    def incr_counter(self, key, amount):
        self.counters[key] = self.counters.get(key, 0) + amount


class {{Class}}Test(unittest.TestCase):
    def test_adds_an_exclamation_mark(self):
        context = Context()
        self.assertEqual({{Class}}().process("hello", context), "hello!")
        self.assertEqual(context.counters, {"messages": 1})

    def test_the_suffix_is_configured(self):
        self.assertEqual({{Class}}().process("hello", Context(suffix="?")), "hello?")


if __name__ == "__main__":
    unittest.main()
