"""What turns payloads into what a function sees, and what it returns into payloads: by schema where there is one, else by SerDe.

Source of the rules: `python_instance.py` of Pulsar, `get_schema` and `setup_output_serde`.
"""

import re
import struct

from pulsar.functions.serde import IdentitySerDe

from . import loader

_NUMBERS = {"INT8": ">b", "INT16": ">h", "INT32": ">i", "INT64": ">q", "FLOAT": ">f", "DOUBLE": ">d", "BOOLEAN": ">?"}


class Codec:
    """Of all inputs and the output of a function."""

    def __init__(self, inputs, output):
        # Takes what a function returned, returns bytes. None: what it returns is dropped.
        self.encode = _codec(output)[0] if output["topic"] else None
        # How a topic keeps the schema of what is returned. None: it has none, or one that is known without the code.
        self.output_schema = _described(output) if output["topic"] else None
        # Takes a payload. None: that depends on its topic.
        self.decode = None
        decoders = {}
        for topic, config in inputs.items():
            key = repr([config[name] for name in ("schema_type", "serde_class", "type_class", "schema_properties")])
            decoders.setdefault(key, (_codec(config)[1], []))[1].append((topic, config["is_pattern"]))
        if len(decoders) == 1:
            self.decode = next(iter(decoders.values()))[0]
        elif not decoders:
            self.decode = IdentitySerDe().deserialize
        self.by_topic = _ByTopic(decoders.values())

    def value(self, message):
        """What a function is called with."""
        decode = self.decode or self.by_topic(message.topic_name())
        return decode(message.data())


def _described(config):
    kind = (config["schema_type"] or "").upper()
    if kind not in ("JSON", "AVRO") or not config["type_class"]:
        return None
    import json

    return {"type": kind, "schema": json.dumps(loader.import_class(config["type_class"]).schema())}


class _ByTopic:
    def __init__(self, decoders):
        self.exact = {}
        self.patterns = []
        for decode, topics in decoders:
            for topic, is_pattern in topics:
                if is_pattern:
                    self.patterns.append((re.compile(topic), decode))
                self.exact[topic] = decode

    def __call__(self, topic):
        decode = self.exact.get(topic)
        if decode is None:
            base = re.sub(r"-partition-\d+$", "", topic)
            decode = self.exact.get(base)
            if decode is None:
                decode = next((decode for pattern, decode in self.patterns if _matches(pattern, base)), None)
            if decode is None:
                raise LookupError("no input is configured for topic " + topic)
            self.exact[topic] = decode
        return decode


def _matches(pattern, topic):
    return pattern.fullmatch(topic) or pattern.fullmatch(topic.replace("persistent://", "", 1))


def _codec(config):
    schema_type = config["schema_type"] or ""
    kind = schema_type.upper()
    if kind in ("", "NONE", "AUTO_CONSUME", "AUTO", "AUTO_PUBLISH"):
        serde = loader.import_class(config["serde_class"])() if config["serde_class"] else IdentitySerDe()
        return serde.serialize, serde.deserialize
    if kind == "BYTES":
        return _as_bytes, lambda data: data
    if kind == "STRING":
        return _as_text, lambda data: data.decode("utf-8")
    if kind in _NUMBERS:
        number = struct.Struct(_NUMBERS[kind])
        return number.pack, lambda data: number.unpack(data)[0]
    record = loader.import_class(config["type_class"]) if config["type_class"] else None
    if kind == "JSON":
        return _json(record)
    if kind == "AVRO":
        from pulsar.schema import AvroSchema

        if record is None:
            raise ValueError("schema AVRO needs the class of its records: inputTypeClassName or outputTypeClassName")
        schema = AvroSchema(record)
        return schema.encode, schema.decode
    schema = _custom(loader.import_class(schema_type), record, config["schema_properties"])
    return schema.encode, schema.decode


def _custom(schema_class, record, properties):
    """A schema of the user's, made with as much as its constructor takes."""
    import inspect

    takes = len(inspect.signature(schema_class).parameters)
    if takes == 0:
        return schema_class()
    if takes == 1:
        try:
            return schema_class(record)
        except TypeError:
            return schema_class(properties)
    return schema_class(record, properties)


def _json(record):
    if record is not None:
        from pulsar.schema import JsonSchema

        schema = JsonSchema(record)
        return schema.encode, schema.decode
    import json

    return lambda value: json.dumps(value).encode("utf-8"), json.loads


def _as_bytes(value):
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError("the output schema is BYTES, and the function returned %s" % type(value).__name__)
    return bytes(value)


def _as_text(value):
    if not isinstance(value, str):
        raise TypeError("the output schema is STRING, and the function returned %s" % type(value).__name__)
    return value.encode("utf-8")
