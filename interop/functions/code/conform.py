"""One function for every behaviour the conformance scenarios look at: user configuration `do` says which."""

from pulsar import Function


class Conform(Function):
    def process(self, input, context):
        return getattr(self, "do_" + context.get_user_config_value("do"))(input, context)

    def do_exclaim(self, input, context):
        return input + "!"

    def do_nothing(self, input, context):
        return None

    def do_throw(self, input, context):
        context.incr_counter("thrown", 1)
        if input.startswith("bad"):
            raise ValueError(f"cannot take {input}")
        return input + "!"

    def do_count(self, input, context):
        context.incr_counter(input, 1)
        return f"{input}={context.get_counter(input)}"

    def do_remember(self, input, context):
        before = context.get_state("last")
        context.put_state("last", input.encode())
        return before.decode() if before else "nothing"

    def do_publish(self, input, context):
        context.publish(context.get_user_config_value("to"), input + " elsewhere", properties={"by": "publish"})

    def do_log(self, input, context):
        context.get_logger().info("seen " + input)

    def do_about(self, input, context):
        about = [
            context.get_function_tenant(),
            context.get_function_namespace(),
            context.get_function_name(),
            context.get_current_message_topic_name(),
            context.get_partition_key(),
            ",".join(f"{k}={v}" for k, v in sorted((context.get_message_properties() or {}).items())),
            context.get_output_topic(),
            str(context.get_user_config_value("number")),
        ]
        return "|".join(about)

    def do_secret(self, input, context):
        return "same" if context.get_secret("password") == "open sesame" else "different"

    def do_metric(self, input, context):
        context.record_metric("length", len(input))
        return input


class Window(Function):
    def process(self, input, context):
        return "+".join(input)
