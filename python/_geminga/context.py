"""The context a function is called with: `pulsar.Context`, whole.

What a function asks for by it is collected, and happens together with its output and the acknowledgement of its input, or not at all.
Source of the API: `contextimpl.py` of Pulsar's Python instance.
"""

import struct

from pulsar.functions.context import Context as Interface

from . import loader
from .channel import NO_INVOCATION, binary, pairs, text, value_of

_DONE = struct.Struct("<BQQ")
_U32 = struct.Struct("<I")
_RECORD = struct.Struct("<BQQQ")
_F64 = struct.Struct("<d")
_I64 = struct.Struct("<q")

_TOPIC, _KEY, _SEQUENCE_ID = 1, 2, 8
_PUT, _DELETE, _ADD = 1, 2, 3
_STATE, _COUNTER = 1, 2
_GONE = object()

IDENTITY = "serde.IdentitySerDe"


class Settings:
    """What is the same for all contexts of an instance."""

    def __init__(self, hello, channel):
        self.hello = hello
        self.channel = channel
        self.user_config = hello.get("user_config") or {}
        self.secrets = hello.get("secrets") or {}
        self.serdes = {}
        self.logger = None
        self.acks_itself = not hello.get("auto_ack", True) or hello.get("guarantee") == "MANUAL"

    def serde(self, name):
        serde = self.serdes.get(name)
        if serde is None:
            serde = self.serdes[name] = loader.import_class(name)()
        return serde


class Context(Interface):
    """Of one invocation after the other, or of one of many at once."""

    def __init__(self, settings):
        self._settings = settings
        self._invocation = NO_INVOCATION
        self.message = None
        self.messages = ()  # of a window
        self._publishes = []
        self._callbacks = []
        self._changes = []
        self._acks = []
        self._metrics = []
        self._overlay = {}

    # What the harness asks of it

    def has_effects(self):
        return bool(self._publishes or self._changes or self._acks or self._metrics)

    def weight(self):
        """Bytes its effects take in a frame."""
        return sum(map(len, self._publishes)) + sum(map(len, self._changes)) + 24 * len(self._acks) + sum(map(len, self._metrics))

    def take_done(self, invocation, took, outputs):
        """The event of an invocation that ended well: effects and outputs, which are payloads."""
        parts = [_DONE.pack(0x04, invocation, took), _U32.pack(len(outputs))]
        for output in outputs:
            parts.append(_RECORD.pack(0, 0, 0, 0))
            parts.append(b"\0\0\0\0\0\0\0\0" + binary(output) + b"\0\0\0\0")
        for effects in (self._publishes, self._changes, self._acks, self._metrics):
            parts.append(_U32.pack(len(effects)))
            parts += effects
        callbacks = self._callbacks  # of callbacks, for the next one
        self.clear()
        self._callbacks = callbacks
        return parts

    def take_callbacks(self):
        callbacks, self._callbacks = self._callbacks, []
        return callbacks

    def take_exception(self, invocation, took, trace):
        """The event of an invocation that threw: of its effects, only metrics stay."""
        parts = [_DONE.pack(0x03, invocation, took), text(trace), _U32.pack(len(self._metrics))] + self._metrics
        self.clear()
        return parts

    def clear(self):
        # New lists, since the old ones may be on their way out.
        self._publishes, self._callbacks, self._changes, self._acks, self._metrics = [], [], [], [], []
        self._overlay = {}

    # The message

    def get_message_id(self):
        return self.message.message_id()

    def get_message_key(self):
        return self.message.partition_key()

    def get_message_eventtime(self):
        return self.message.event_timestamp()

    def get_message_properties(self):
        return self.message.properties()

    def get_current_message_topic_name(self):
        return self.message.topic_name()

    def get_partition_key(self):
        return self.message.partition_key()

    def get_ordering_key(self):
        return self.message.ordering_key()

    def get_message_sequence_id(self):
        message_id = self.get_message_id()
        return (message_id.ledger_id() << 28) | message_id.entry_id()

    def get_message_partition_index(self):
        return self.get_message_id().partition()

    # The function

    def get_function_tenant(self):
        return self._settings.hello["tenant"]

    def get_function_namespace(self):
        return self._settings.hello["namespace"]

    def get_function_name(self):
        return self._settings.hello["name"]

    def get_function_id(self):
        return self._settings.hello["id"]

    def get_function_version(self):
        return str(self._settings.hello["version"])

    def get_instance_id(self):
        return str(self._settings.hello["instance_id"])

    def get_input_topics(self):
        return list(self._settings.hello["inputs"])

    def get_output_topic(self):
        return self._settings.hello["output"]["topic"]

    def get_output_serde_class_name(self):
        return self._settings.hello["output"]["serde_class"]

    def get_user_config_value(self, key):
        return self._settings.user_config.get(key)

    def get_user_config_map(self):
        return self._settings.user_config

    def get_secret(self, secret_name):
        return self._settings.secrets.get(secret_name)

    def get_logger(self):
        if self._settings.logger is None:
            from . import logs

            self._settings.logger = logs.install(self._settings.channel)
        return self._settings.logger

    # Effects

    def record_metric(self, metric_name, metric_value):
        self._metrics.append(text(str(metric_name)) + _F64.pack(float(metric_value)))

    def publish(
        self,
        topic_name,
        message,
        serde_class_name=IDENTITY,
        properties=None,
        compression_type=None,
        callback=None,
        message_conf=None,
    ):
        payload = self._settings.serde(str(serde_class_name)).serialize(message)
        conf = dict(message_conf or {})
        if properties:
            conf["properties"] = properties
        self._publishes.append(record(str(topic_name), bytes(payload), conf))
        if callback is not None:
            self._callbacks.append(callback)

    def ack(self, msgid, topic):
        invocation = getattr(msgid, "_invocation", None)
        if invocation is None:
            raise ValueError("ack() takes a message id from get_message_id()")
        if self._settings.acks_itself:
            self._acks.append(struct.pack("<Q", invocation))

    # State

    def incr_counter(self, key, amount):
        self._changes.append(struct.pack("<B", _ADD) + text(key) + _I64.pack(amount))
        before = self._overlay.get(key, 0)
        self._overlay[key] = before + amount if isinstance(before, int) else _Counter(_number(before) + amount)

    def get_counter(self, key):
        known, amount = self._counter_overlay(key)
        return Count(amount if known else amount + (self._call(_COUNTER, key) or 0))

    def del_counter(self, key):
        self._delete(key)

    def put_state(self, key, value):
        if isinstance(value, str):
            value = value.encode("utf-8")
        value = bytes(value)
        self._changes.append(struct.pack("<B", _PUT) + text(key) + binary(value))
        self._overlay[key] = value

    def get_state(self, key):
        known, value = self._state_overlay(key)
        return value if known else self._added(key, self._call(_STATE, key))

    def del_state(self, key):
        self._delete(key)

    delete_state = del_state

    async def get_counter_async(self, key):
        known, amount = self._counter_overlay(key)
        return Count(amount if known else amount + (await self._call_async(_COUNTER, key) or 0))

    async def get_state_async(self, key):
        known, value = self._state_overlay(key)
        return value if known else self._added(key, await self._call_async(_STATE, key))

    async def incr_counter_async(self, key, amount):
        self.incr_counter(key, amount)

    async def put_state_async(self, key, value):
        self.put_state(key, value)

    async def del_counter_async(self, key):
        self._delete(key)

    async def delete_state_async(self, key):
        self._delete(key)

    def _delete(self, key):
        self._changes.append(struct.pack("<B", _DELETE) + text(key))
        self._overlay[key] = _GONE

    # Geminga knows the state after all invocations before; what this one changed lies on top: an int is an amount added to what is
    # there, a _Counter the whole value, bytes a value, _GONE nothing.

    def _counter_overlay(self, key):
        mine = self._overlay.get(key, 0)
        if isinstance(mine, int):
            return False, mine
        return True, _number(mine)

    def _state_overlay(self, key):
        mine = self._overlay.get(key, 0)
        if isinstance(mine, int):
            return False, None
        if mine is _GONE:
            return True, None
        return True, mine.value.to_bytes(8, "big", signed=True) if isinstance(mine, _Counter) else mine

    def _added(self, key, value):
        """A counter that was read as a value, with what was added to it. Counters are eight bytes, big-endian."""
        added = self._overlay.get(key)
        if not isinstance(added, int):
            return value
        return (_number(value) + added).to_bytes(8, "big", signed=True)

    def _call(self, question, key):
        return self._settings.channel.call(question, key, self._invocation)

    async def _call_async(self, question, key):
        import asyncio

        channel = self._settings.channel
        future = asyncio.get_running_loop().create_future()
        call = channel.ask(question, key, self._invocation)
        channel.answers[call] = future
        channel.expect()
        return value_of(await future)


class Count(int):
    """What a counter stands at. Function Mesh's examples ask for its `value`."""

    @property
    def value(self):
        return int(self)


class _Counter:
    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value


def _number(value):
    if value is None or value is _GONE:
        return 0
    if isinstance(value, _Counter):
        return value.value
    if len(value) != 8:
        raise ValueError("the state is not a counter")
    return int.from_bytes(value, "big", signed=True)


_IGNORED = ("replication_clusters", "disable_replication")  # there is one cluster


def record(topic, payload, conf):
    """A record of the protocol, for the output topic where `topic` is None; `conf` has the names of `Producer.send`."""
    properties = conf.pop("properties", None) or {}
    key = conf.pop("partition_key", None)
    sequence_id = conf.pop("sequence_id", None)
    event_time = conf.pop("event_timestamp", None) or 0
    deliver_at = conf.pop("deliver_at", None)
    deliver_after = conf.pop("deliver_after", None)
    for name in _IGNORED:
        conf.pop(name, None)
    if conf.get("ordering_key") in (None, key):  # then it says nothing more
        conf.pop("ordering_key", None)
    if conf:
        raise ValueError("message_conf: not supported: " + ", ".join(sorted(conf)))
    deliver_at_ms = 0
    if deliver_at is not None:
        deliver_at_ms = int(deliver_at.timestamp() * 1000) if hasattr(deliver_at, "timestamp") else int(deliver_at)
    if deliver_after is not None:
        from time import time

        deliver_at_ms = int((time() + deliver_after.total_seconds()) * 1000)
    flags = (_TOPIC if topic is not None else 0) | (_KEY if key is not None else 0) | (_SEQUENCE_ID if sequence_id is not None else 0)
    return b"".join(
        (
            _RECORD.pack(flags, int(event_time), deliver_at_ms, sequence_id or 0),
            text(topic or ""),
            text(key or ""),
            binary(payload),
            pairs([(str(name), str(value)) for name, value in properties.items()]),
        )
    )
