"""What a function needs of the package `pulsar`, and nothing else: no client, no C++, loaded in a millisecond.

Where user code asks for what is not here (`pulsar.Client` ...) and the real package is installed beside it, that one takes this one's
place; see `__getattr__`.
"""

import sys

from pulsar.functions.context import Context
from pulsar.functions.function import Function
from pulsar.functions.serde import IdentitySerDe, PickleSerDe, SerDe

__version__ = "0"


class MessageId:
    """Where a message is stored."""

    __slots__ = ("_partition", "_ledger_id", "_entry_id", "_batch_index", "_invocation")

    def __init__(self, partition=-1, ledger_id=-1, entry_id=-1, batch_index=-1):
        self._partition = partition
        self._ledger_id = ledger_id
        self._entry_id = entry_id
        self._batch_index = batch_index
        self._invocation = None

    def ledger_id(self):
        return self._ledger_id

    def entry_id(self):
        return self._entry_id

    def batch_index(self):
        return self._batch_index

    def partition(self):
        return self._partition

    def serialize(self):
        """As `MessageIdData` of Pulsar's protocol; what is -1 is left out."""
        fields = ((1, self._ledger_id), (2, self._entry_id), (3, self._partition), (4, self._batch_index))
        present = [(number, value) for number, value in fields if value >= 0 or number <= 2]
        return b"".join(bytes((number << 3,)) + _varint(value & (2**64 - 1)) for number, value in present)

    @staticmethod
    def deserialize(message_id_bytes):
        values, at = {}, 0
        while at < len(message_id_bytes):
            field, at = _read_varint(message_id_bytes, at)
            if field & 7:
                raise ValueError("not a message id")
            value, at = _read_varint(message_id_bytes, at)
            values[field >> 3] = value - 2**64 if value >> 63 else value
        return MessageId(values.get(3, -1), values.get(1, -1), values.get(2, -1), values.get(4, -1))

    def _key(self):
        return self._ledger_id, self._entry_id, self._partition, self._batch_index

    def __eq__(self, other):
        return isinstance(other, MessageId) and self._key() == other._key()

    def __lt__(self, other):
        return self._key() < other._key()

    def __le__(self, other):
        return self._key() <= other._key()

    def __hash__(self):
        return hash(self._key())

    def __str__(self):
        return "(%d,%d,%d,%d)" % self._key()

    __repr__ = __str__


MessageId.earliest = MessageId(-1, -1, -1, -1)
MessageId.latest = MessageId(-1, 2**63 - 1, 2**63 - 1, -1)


def _varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("not a message id")


_ENUMS = {
    "Result": ("Ok", "UnknownError", "InvalidConfiguration", "Timeout"),
    "CompressionType": ("NONE", "LZ4", "ZLib", "ZSTD", "SNAPPY"),
    "ConsumerType": ("Exclusive", "Shared", "Failover", "KeyShared"),
    "InitialPosition": ("Latest", "Earliest"),
    "BatchingType": ("Default", "KeyBased"),
}


def __getattr__(name):
    """Enumerations when somebody looks, the schemas, and for what only the real package has, that."""
    if name in _ENUMS:
        from enum import Enum

        values = Enum(name, [(member, number) for number, member in enumerate(_ENUMS[name])], module=__name__)
        globals()[name] = values
        return values
    if name == "schema":
        import importlib

        return importlib.import_module("pulsar.schema")
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(_use_the_real_one(name), name)


def _use_the_real_one(name=None):
    """Puts the installed `pulsar-client` in this package's place and returns it. Classes of this one that somebody holds stay good: a
    function is not asked what it is derived from."""
    import importlib

    here = __path__[0]
    ours = {key: module for key, module in sys.modules.items() if key == "pulsar" or key.startswith("pulsar.")}
    for key in ours:
        del sys.modules[key]
    path = sys.path[:]
    sys.path[:] = [entry for entry in path if not here.startswith(entry + "/pulsar")]
    try:
        real = importlib.import_module("pulsar")
    except ImportError:
        sys.modules.update(ours)
        wanted = "pulsar" if name is None else "pulsar." + name
        raise AttributeError(
            "%s is not part of what Geminga offers to functions; install pulsar-client (requirements.txt) to use it" % wanted
        ) from None
    finally:
        sys.path[:] = path
    # The harness goes on with its own; everybody else gets the real one from here.
    for key, module in ours.items():
        if key.startswith("pulsar.functions"):
            sys.modules.setdefault(key, module)
    globals().update({key: value for key, value in vars(real).items() if not key.startswith("__") and key != "MessageId"})
    return real
