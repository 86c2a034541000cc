"""A message as the protocol has it, taken apart only as far as somebody looks."""

import struct

# size, invocation, kind, flags, number of properties, length of the payload
HEAD = struct.Struct("<IQBBHI")
HEAD_BYTES = 92
# lengths of topic, key, producer, schema version; ledger, entry, partition, batch index, batch size; redeliveries; times; sequence id
_REST = struct.Struct("<IIIIQqiiIIQQQ")
_U32 = struct.Struct("<I")

MESSAGE, ELEMENT, LAST_ELEMENT = 0, 1, 2


class Message:
    """Has the methods of `pulsar.Message`."""

    __slots__ = ("_frame", "_at", "_rest", "_value", "invocation")

    def __init__(self, frame, at, invocation, value=None):
        self._frame = frame
        self._at = at
        self._rest = None
        self._value = value
        self.invocation = invocation

    def _fields(self):
        if self._rest is None:
            self._rest = _REST.unpack_from(self._frame, self._at + 20)
        return self._rest

    def _part(self, index):
        """Topic, key, producer and schema version follow the payload."""
        lengths = self._fields()[:4]
        start = self._at + HEAD_BYTES + self._payload_length() + sum(lengths[:index])
        return self._frame[start : start + lengths[index]]

    def _payload_length(self):
        return HEAD.unpack_from(self._frame, self._at)[5]

    def data(self):
        start = self._at + HEAD_BYTES
        return self._frame[start : start + self._payload_length()]

    def value(self):
        return self._value

    def topic_name(self):
        return self._part(0).decode()

    def partition_key(self):
        return self._part(1).decode()

    def has_partition_key(self):
        return bool(HEAD.unpack_from(self._frame, self._at)[3] & 1)

    def ordering_key(self):
        return ""

    def producer_name(self):
        return self._part(2).decode()

    def schema_version(self):
        return self._part(3)

    def message_id(self):
        from pulsar import MessageId

        fields = self._fields()
        message_id = MessageId(fields[6], fields[4], fields[5], fields[7])
        message_id._invocation = self.invocation
        return message_id

    def redelivery_count(self):
        return self._fields()[9]

    def event_timestamp(self):
        return self._fields()[10]

    def publish_timestamp(self):
        return self._fields()[11]

    def sequence_id(self):
        return self._fields()[12]

    def properties(self):
        frame = self._frame
        count = HEAD.unpack_from(frame, self._at)[4]
        at = self._at + HEAD_BYTES + self._payload_length() + sum(self._fields()[:4])
        properties = {}
        for _ in range(count):
            pair = []
            for _ in (0, 1):
                (length,) = _U32.unpack_from(frame, at)
                pair.append(frame[at + 4 : at + 4 + length].decode())
                at += 4 + length
            properties[pair[0]] = pair[1]
        return properties
