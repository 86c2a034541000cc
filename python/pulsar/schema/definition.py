"""Records of named, typed fields. Behaviour: `pulsar.schema.definition` of pulsar-client, the Avro definitions it gives included."""

from enum import Enum, EnumMeta

_OPTIONS = ("_default", "_required", "_required_default")


class Field(object):
    """One value of a record."""

    avro_type = None  # what Avro calls it
    python_types = ()  # what it may be given

    def __init__(self, default=None, required=False, required_default=False):
        self._required = required
        self._required_default = required_default
        self._default = None if default is None else self.validate_type("default", default)

    def type(self):
        return self.avro_type

    def python_type(self):
        return self.python_types if len(self.python_types) != 1 else self.python_types[0]

    def default(self):
        return self._default

    def required_default(self):
        return self._required_default

    def schema(self):
        return self.schema_info(set())

    def schema_info(self, defined_names):
        return self.avro_type

    def validate_type(self, name, value):
        """The value as it is kept. Raises TypeError where it is of another type."""
        if value is None and not self._required:
            return self.default()
        if not isinstance(value, self.python_types):
            raise TypeError("field '%s' is a %s, and was given %r" % (name, self.type(), type(value)))
        return value


class Null(Field):
    avro_type, python_types = "null", (type(None),)

    def validate_type(self, name, value):
        if value is not None:
            raise TypeError("field '%s' can only be None" % name)
        return value


class Boolean(Field):
    avro_type, python_types = "boolean", (bool,)

    def default(self):
        return bool(self._default)


class Integer(Field):
    avro_type, python_types = "int", (int,)


class Long(Field):
    avro_type, python_types = "long", (int,)


class Float(Field):
    avro_type, python_types = "float", (float, int)


class Double(Field):
    avro_type, python_types = "double", (float, int)


class Bytes(Field):
    avro_type, python_types = "bytes", (bytes, str)

    def validate_type(self, name, value):
        return value.encode("utf-8") if isinstance(value, str) else value


class String(Field):
    avro_type, python_types = "string", (str, bytes)

    def validate_type(self, name, value):
        value = super().validate_type(name, value)
        return value.decode("utf-8") if isinstance(value, bytes) else value


class CustomEnum(Field):
    avro_type = "enum"

    def __init__(self, enum_type, default=None, required=False, required_default=False):
        if not issubclass(enum_type, Enum):
            raise TypeError("%r is not an Enum" % (enum_type,))
        self.enum_type = enum_type
        self.python_types = (enum_type,)
        super().__init__(default, required, required_default)

    def validate_type(self, name, value):
        if value is None or isinstance(value, self.enum_type):
            return value
        members = self.enum_type.__members__
        if isinstance(value, str) and value in members:
            return members[value]
        found = [member for member in members.values() if member.value == value]
        if isinstance(value, int) and found:
            return found[0]
        raise TypeError("field '%s' is one of %s, and was given %r" % (name, ", ".join(members), value))

    def schema_info(self, defined_names):
        name = self.enum_type.__name__
        if name in defined_names:
            return name
        defined_names.add(name)
        return {"type": "enum", "name": name, "symbols": [member.name for member in self.enum_type]}


def _inner_schema(inner, defined_names):
    return inner.schema_info(defined_names)


def _check_inner(inner):
    if not isinstance(inner, (Field, Record)):
        raise TypeError("%r is neither a Record nor a Field" % (inner,))
    return inner


class Array(Field):
    avro_type, python_types = "array", (list,)

    def __init__(self, array_type, default=None, required=False, required_default=False):
        self.array_type = _check_inner(array_type)
        super().__init__(default, required, required_default)

    def validate_type(self, name, value):
        if value is None:
            return None
        super().validate_type(name, value)
        for item in value:
            if not isinstance(item, self.array_type.python_type()):
                raise TypeError("items of field '%s' are of type %s, and it was given %r" % (name, self.array_type.type(), item))
        return value

    def schema_info(self, defined_names):
        return {"type": "array", "items": _inner_schema(self.array_type, defined_names)}


class Map(Field):
    avro_type, python_types = "map", (dict,)

    def __init__(self, value_type, default=None, required=False, required_default=False):
        self.value_type = _check_inner(value_type)
        super().__init__(default, required, required_default)

    def validate_type(self, name, value):
        if value is None:
            return None
        super().validate_type(name, value)
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError("keys of field '%s' are strings, and it was given %r" % (name, key))
            if not isinstance(item, self.value_type.python_type()):
                raise TypeError("values of field '%s' are of type %s, and it was given %r" % (name, self.value_type.type(), item))
        return value

    def schema_info(self, defined_names):
        return {"type": "map", "values": _inner_schema(self.value_type, defined_names)}


class _RecordMeta(type):
    """Collects the fields of a class, those of its bases first."""

    def __new__(metacls, name, bases, members):
        cls = super().__new__(metacls, name, bases, members)
        fields = {}
        for base in reversed(cls.__mro__[1:]):
            fields.update(getattr(base, "__dict__", {}).get("_own_fields", {}))
        own = {}
        for field, value in members.items():
            if isinstance(value, EnumMeta):
                value = CustomEnum(value)
            elif isinstance(value, _RecordMeta):
                value = value()
            if isinstance(value, Field) or isinstance(type(value), _RecordMeta):
                own[field] = value
        cls._own_fields = own
        cls._fields = {**fields, **own}
        return cls


class Record(metaclass=_RecordMeta):
    """Derived from by the user's records, whose class attributes are the fields."""

    _avro_namespace = None
    _sorted_fields = False
    _required = False

    def __init__(self, default=None, required_default=False, required=False, *args, **kwargs):
        self._default = default
        self._required = required
        self._required_default = required_default
        for name, field in self._fields.items():
            if name in kwargs:
                setattr(self, name, _made(field, kwargs[name]))
            elif isinstance(field, Record):
                setattr(self, name, field)
            else:
                object.__setattr__(self, name, field.default())

    def __setattr__(self, name, value):
        if name not in _OPTIONS:
            if name not in self._fields:
                raise AttributeError("%s has no field %s" % (type(self).__name__, name))
            value = self._fields[name].validate_type(name, value)
        object.__setattr__(self, name, value)

    def __eq__(self, other):
        return all(getattr(self, name) == getattr(other, name, None) for name in self._fields)

    def __ne__(self, other):
        return not self == other

    __hash__ = None

    def __str__(self):
        return str(self.__dict__)

    @classmethod
    def schema(cls):
        return cls.schema_info(set())

    @classmethod
    def schema_info(cls, defined_names):
        full_name = cls.__name__ if cls._avro_namespace is None else cls._avro_namespace + "." + cls.__name__
        if full_name in defined_names:
            return full_name
        defined_names.add(full_name)
        schema = {"type": "record", "name": cls.__name__}
        if cls._avro_namespace is not None:
            schema["namespace"] = cls._avro_namespace
        schema["fields"] = []
        for name in sorted(cls._fields) if cls._sorted_fields else cls._fields:
            field = cls._fields[name]
            kind = field.schema_info(defined_names)
            described = {"name": name}
            if field.required_default():
                default = field.default()
                described["default"] = default.name if isinstance(default, Enum) else default
            described["type"] = kind if field._required else ["null", kind]
            schema["fields"].append(described)
        return schema

    # A record is a field of another one, too.

    def type(self):
        return type(self).__name__

    def python_type(self):
        return type(self)

    def default(self):
        return self._default

    def required_default(self):
        return self._required_default

    def validate_type(self, name, value):
        if value is None and not self._required:
            return self.default()
        if not isinstance(value, type(self)):
            raise TypeError("field '%s' is a %s, and was given %r" % (name, type(self).__name__, type(value)))
        return value


def _made(field, value):
    """Records out of the dictionaries that JSON and Avro give."""
    if isinstance(field, Record) and isinstance(value, dict):
        return type(field)(**value)
    if isinstance(field, Array) and isinstance(value, list):
        return [_made(field.array_type, item) for item in value]
    if isinstance(field, Map) and isinstance(value, dict):
        return {key: _made(field.value_type, item) for key, item in value.items()}
    return value


def values(record):
    """Names and values of a record's fields."""
    return {name: value for name, value in record.__dict__.items() if name not in _OPTIONS}
