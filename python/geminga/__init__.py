"""What a source written for Geminga hands over where a value alone does not say enough."""


class Record:
    """A value on its way to a topic.

    `key` is a string, `properties` a dict of strings, `event_time_ms` milliseconds since 1970. `topic` takes the place of the output topic.
    `stored()` is called when it is durable, `refused(why)` when it could not be stored; both in a thread of their own.
    """

    __slots__ = ("value", "key", "properties", "event_time_ms", "topic", "stored", "refused")

    def __init__(self, value, key=None, properties=None, event_time_ms=0, topic=None, stored=None, refused=None):
        self.value = value
        self.key = key
        self.properties = properties
        self.event_time_ms = event_time_ms
        self.topic = topic
        self.stored = stored
        self.refused = refused
