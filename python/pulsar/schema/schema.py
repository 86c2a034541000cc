"""How records and plain values become bytes. Behaviour: `pulsar.schema.schema` of pulsar-client."""

import enum

from .definition import Record, values


class Schema(object):
    """Derived from by a schema of the user's."""

    def __init__(self, record_cls, schema_type=None, schema_definition=None, schema_name=None):
        self._record_cls = record_cls
        self._schema_definition = schema_definition
        self._schema_name = schema_name

    def encode(self, obj):
        raise NotImplementedError("encode")

    def decode(self, data):
        raise NotImplementedError("decode")

    def schema_info(self):
        return self._schema_definition

    def _validate_object_type(self, obj):
        if not isinstance(obj, self._record_cls):
            raise TypeError("it is %r, and has to be %r" % (type(obj), self._record_cls))


class BytesSchema(Schema):
    def __init__(self):
        super().__init__(bytes, schema_name="BYTES")

    def encode(self, obj):
        self._validate_object_type(obj)
        return obj

    def decode(self, data):
        return data


class StringSchema(Schema):
    def __init__(self):
        super().__init__(str, schema_name="STRING")

    def encode(self, obj):
        self._validate_object_type(obj)
        return obj.encode("utf-8")

    def decode(self, data):
        return data.decode("utf-8")


class JsonSchema(Schema):
    def __init__(self, record_cls):
        super().__init__(record_cls, None, record_cls.schema(), "JSON")

    def encode(self, obj):
        import json

        self._validate_object_type(obj)
        return json.dumps(values(obj), default=_plain).encode("utf-8")

    def decode(self, data):
        import json

        return self._record_cls(**json.loads(data))


def _plain(value):
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, Record):
        return values(value)
    raise TypeError("%r cannot be written as JSON" % type(value))
