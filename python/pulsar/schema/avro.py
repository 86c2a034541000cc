"""Avro's binary encoding, as far as records of `definition` go. Source: Apache Avro specification 1.11, "Binary Encoding"."""

import enum
import struct

from .definition import Record, values
from .schema import Schema

_FLOAT = struct.Struct("<f")
_DOUBLE = struct.Struct("<d")
_DEPTH_MAX = 100


class AvroSchema(Schema):
    """Without a class of records, dictionaries. Written and read with one and the same definition."""

    def __init__(self, record_cls, schema_definition=None):
        if record_cls is None and schema_definition is None:
            raise ValueError("AvroSchema needs a class of records or a definition")
        definition = record_cls.schema() if record_cls is not None else schema_definition
        super().__init__(record_cls, None, definition, "AVRO")
        self._names = {}
        _collect(definition, self._names)

    def encode(self, obj):
        if self._record_cls is not None:
            self._validate_object_type(obj)
        elif not isinstance(obj, dict):
            raise ValueError("without a class of records, an AvroSchema encodes dictionaries")
        out = bytearray()
        self._write(self._schema_definition, obj, out)
        return bytes(out)

    def decode(self, data):
        value, at = self._read(self._schema_definition, data, 0, 0)
        if at != len(data):
            raise ValueError("%d bytes are left after the record" % (len(data) - at))
        return value if self._record_cls is None else self._record_cls(**value)

    def _write(self, schema, value, out):
        schema = self._names.get(schema, schema) if isinstance(schema, str) else schema
        kind = schema if isinstance(schema, str) else "union" if isinstance(schema, list) else schema["type"]
        if isinstance(kind, dict):
            self._write(kind, value, out)
        elif kind == "union":
            index = next((index for index, branch in enumerate(schema) if self._is(branch, value)), None)
            if index is None:
                raise TypeError("%r is none of %s" % (value, schema))
            _write_long(index, out)
            self._write(schema[index], value, out)
        elif kind == "record":
            fields = values(value) if isinstance(value, Record) else value
            for field in schema["fields"]:
                name = field["name"]
                if name not in fields and "default" not in field and not self._is(field["type"], None):
                    raise ValueError("field '%s' is missing" % name)
                self._write(field["type"], fields.get(name, field.get("default")), out)
        elif kind == "array":
            if value:
                _write_long(len(value), out)
                for item in value:
                    self._write(schema["items"], item, out)
            out.append(0)
        elif kind == "map":
            if value:
                _write_long(len(value), out)
                for key, item in value.items():
                    _write_bytes(key.encode("utf-8"), out)
                    self._write(schema["values"], item, out)
            out.append(0)
        elif kind == "enum":
            _write_long(schema["symbols"].index(value.name if isinstance(value, enum.Enum) else value), out)
        elif kind == "boolean":
            out.append(1 if value else 0)
        elif kind in ("int", "long"):
            bits = 31 if kind == "int" else 63
            if not -(2**bits) <= value < 2**bits:
                raise ValueError("%d is no %s" % (value, kind))
            _write_long(value, out)
        elif kind == "float":
            out += _FLOAT.pack(value)
        elif kind == "double":
            out += _DOUBLE.pack(value)
        elif kind == "string":
            _write_bytes(value.encode("utf-8") if isinstance(value, str) else value, out)
        elif kind == "bytes":
            _write_bytes(value, out)
        elif kind != "null":
            raise ValueError("Avro type %s is not supported" % kind)

    def _is(self, schema, value):
        """Whether a branch of a union takes a value."""
        schema = self._names.get(schema, schema) if isinstance(schema, str) else schema
        if isinstance(schema, list):
            return any(self._is(branch, value) for branch in schema)
        kind = schema if isinstance(schema, str) else schema["type"]
        if kind == "null":
            return value is None
        if kind == "boolean":
            return isinstance(value, bool)
        if kind in ("int", "long"):
            return isinstance(value, int) and not isinstance(value, bool)
        if kind in ("float", "double"):
            return isinstance(value, (int, float)) and not isinstance(value, bool)
        if kind == "string":
            return isinstance(value, str)
        if kind == "bytes":
            return isinstance(value, (bytes, bytearray))
        if kind == "array":
            return isinstance(value, list)
        if kind == "enum":
            return (value.name if isinstance(value, enum.Enum) else value) in schema["symbols"]
        if kind == "record":
            return type(value).__name__ == schema["name"] if isinstance(value, Record) else isinstance(value, dict)
        return isinstance(value, dict)

    def _read(self, schema, data, at, depth):
        if depth > _DEPTH_MAX:
            raise ValueError("a record nested too deeply")
        schema = self._names.get(schema, schema) if isinstance(schema, str) else schema
        if isinstance(schema, list):
            index, at = _read_long(data, at)
            if not 0 <= index < len(schema):
                raise ValueError("branch %d of a union of %d" % (index, len(schema)))
            return self._read(schema[index], data, at, depth + 1)
        kind = schema if isinstance(schema, str) else schema["type"]
        if isinstance(kind, dict):
            return self._read(kind, data, at, depth + 1)
        if kind == "record":
            record = {}
            for field in schema["fields"]:
                record[field["name"]], at = self._read(field["type"], data, at, depth + 1)
            return record, at
        if kind in ("array", "map"):
            return self._read_blocks(schema, kind, data, at, depth)
        if kind == "enum":
            index, at = _read_long(data, at)
            if not 0 <= index < len(schema["symbols"]):
                raise ValueError("symbol %d of an enum of %d" % (index, len(schema["symbols"])))
            return schema["symbols"][index], at
        if kind == "null":
            return None, at
        if kind == "boolean":
            return _slice(data, at, 1) != b"\0", at + 1
        if kind in ("int", "long"):
            return _read_long(data, at)
        if kind == "float":
            return _FLOAT.unpack(_slice(data, at, 4))[0], at + 4
        if kind == "double":
            return _DOUBLE.unpack(_slice(data, at, 8))[0], at + 8
        if kind in ("string", "bytes"):
            length, at = _read_long(data, at)
            value = _slice(data, at, length)
            return value.decode("utf-8") if kind == "string" else value, at + length
        raise ValueError("Avro type %s is not supported" % kind)

    def _read_blocks(self, schema, kind, data, at, depth):
        items = [] if kind == "array" else {}
        while True:
            count, at = _read_long(data, at)
            if count == 0:
                return items, at
            if count < 0:
                count = -count
                _, at = _read_long(data, at)
            for _ in range(count):
                before = at
                if kind == "array":
                    item, at = self._read(schema["items"], data, at, depth + 1)
                    items.append(item)
                else:
                    length, at = _read_long(data, at)
                    key = _slice(data, at, length).decode("utf-8")
                    items[key], at = self._read(schema["values"], data, at + length, depth + 1)
                if at == before and len(items) > 1 << 20:
                    raise ValueError("an array of nothing that does not end")


def _collect(schema, names):
    """Definitions by name, so that they can be named again."""
    if isinstance(schema, list):
        for branch in schema:
            _collect(branch, names)
    elif isinstance(schema, dict):
        kind = schema["type"]
        if kind in ("record", "enum", "fixed"):
            names[schema["name"]] = schema
            if schema.get("namespace"):
                names[schema["namespace"] + "." + schema["name"]] = schema
        for field in schema.get("fields", ()):
            _collect(field["type"], names)
        for inner in (schema.get("items"), schema.get("values"), kind if isinstance(kind, (dict, list)) else None):
            if inner is not None:
                _collect(inner, names)


def _write_long(value, out):
    value = (value << 1) ^ (value >> 63)
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)


def _write_bytes(value, out):
    _write_long(len(value), out)
    out += value


def _read_long(data, at):
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("the record ends too early")
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return (value >> 1) ^ -(value & 1), at


def _slice(data, at, length):
    if length < 0 or at + length > len(data):
        raise ValueError("the record ends too early")
    return data[at : at + length]
