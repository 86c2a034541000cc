"""{{name}}: adds an exclamation mark to every message."""


class {{Class}}:
    """Made once for each instance."""

    def process(self, input, context):
        """Called with every message; what it returns goes to the output topic, `None` goes nowhere."""
        context.get_logger().info("received %r", input)
        # Part of the same commit as the output: it counts once, or not at all.
        context.incr_counter("messages", 1)
        return f"{input}{context.get_user_config_value('suffix') or '!'}"
