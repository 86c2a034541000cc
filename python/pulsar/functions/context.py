"""What a function is told and may ask for. Behaviour: `context.py` of pulsar-client, and `contextimpl.py` of Pulsar."""


class Context(object):
    """Given to `process`. What is asked for happens together with the output and the acknowledgement, or not at all."""

    def get_message_id(self):
        """The id of the message."""
        raise NotImplementedError("get_message_id")

    def get_message_key(self):
        """The key of the message, empty when it has none."""
        raise NotImplementedError("get_message_key")

    def get_message_eventtime(self):
        """The event time of the message in milliseconds, 0 when it has none."""
        raise NotImplementedError("get_message_eventtime")

    def get_message_properties(self):
        """The properties of the message, a dict."""
        raise NotImplementedError("get_message_properties")

    def get_current_message_topic_name(self):
        """The topic the message came from, with its partition."""
        raise NotImplementedError("get_current_message_topic_name")

    def get_function_tenant(self):
        """The tenant of the function."""
        raise NotImplementedError("get_function_tenant")

    def get_function_namespace(self):
        """The namespace of the function."""
        raise NotImplementedError("get_function_namespace")

    def get_function_name(self):
        """The name of the function."""
        raise NotImplementedError("get_function_name")

    def get_function_id(self):
        """The id of the function."""
        raise NotImplementedError("get_function_id")

    def get_instance_id(self):
        """The number of this instance, as a str."""
        raise NotImplementedError("get_instance_id")

    def get_function_version(self):
        """The version of the function, as a str."""
        raise NotImplementedError("get_function_version")

    def get_logger(self):
        """A logger of the standard library whose lines go to the log topic."""
        raise NotImplementedError("get_logger")

    def get_user_config_value(self, key):
        """A value of userConfig, None when it is not there."""
        raise NotImplementedError("get_user_config_value")

    def get_user_config_map(self):
        """All of userConfig, a dict."""
        raise NotImplementedError("get_user_config_map")

    def get_secret(self, secret_name):
        """The value of a secret, None when there is none of that name."""
        raise NotImplementedError("get_secret")

    def get_partition_key(self):
        """The key of the message, empty when it has none."""
        raise NotImplementedError("get_partition_key")

    def get_ordering_key(self):
        """The ordering key of the message, empty when it has none."""
        raise NotImplementedError("get_ordering_key")

    def record_metric(self, metric_name, metric_value):
        """Records a number."""
        raise NotImplementedError("record_metric")

    def publish(
        self,
        topic_name,
        message,
        serde_class_name="serde.IdentitySerDe",
        properties=None,
        compression_type=None,
        callback=None,
        message_conf=None,
    ):
        """Publishes to a topic; message_conf has the names of Producer.send."""
        raise NotImplementedError("publish")

    def get_input_topics(self):
        """The topics the function reads."""
        raise NotImplementedError("get_input_topics")

    def get_output_topic(self):
        """The topic it writes to, None when there is none."""
        raise NotImplementedError("get_output_topic")

    def get_output_serde_class_name(self):
        """The SerDe class of its output, empty for the default."""
        raise NotImplementedError("get_output_serde_class_name")

    def ack(self, msgid, topic):
        """Acknowledges a message, for functions with guarantee MANUAL."""
        raise NotImplementedError("ack")

    def incr_counter(self, key, amount):
        """Adds to a counter."""
        raise NotImplementedError("incr_counter")

    def get_counter(self, key):
        """The value of a counter, 0 when it is not there."""
        raise NotImplementedError("get_counter")

    def del_counter(self, key):
        """Removes a counter."""
        raise NotImplementedError("del_counter")

    def put_state(self, key, value):
        """Sets a value, bytes or str."""
        raise NotImplementedError("put_state")

    def get_state(self, key):
        """A value as bytes, None when it is not there."""
        raise NotImplementedError("get_state")
