"""How a function's inputs and outputs become bytes. Behaviour: `serde.py` of pulsar-client."""


class SerDe(object):
    """Derived from by a SerDe class of the user's."""

    def serialize(self, input):
        raise NotImplementedError("serialize")

    def deserialize(self, input_bytes):
        raise NotImplementedError("deserialize")


class PickleSerDe(SerDe):
    """Any object of Python."""

    def serialize(self, input):
        import pickle

        return pickle.dumps(input)

    def deserialize(self, input_bytes):
        import pickle

        return pickle.loads(input_bytes)


# No number begins with one of these, so a text that does is only a text. Numbers may begin with digits of any script, signs, a point, a
# parenthesis, white space, and the letters of nan, inf and j.
_TEXT_BEGINS = frozenset("ABCDEFGHKLMOPQRSTUVWXYZabcdefghklmopqrstuvwxyz{}[]<>\"'!#$%&*,/:;=?@\\^`|~")


class IdentitySerDe(SerDe):
    """The default: numbers and texts as texts. What reads as a number arrives as one, what is no text as bytes."""

    def serialize(self, input):
        kind = type(input)
        if kind is str:
            return input.encode("utf-8")
        if kind is bytes:
            return input
        if kind in (int, float, complex):
            return str(input).encode("utf-8")
        raise TypeError("IdentitySerDe cannot serialize object of type %s" % kind)

    def deserialize(self, input_bytes):
        try:
            text = input_bytes.decode("utf-8")
        except UnicodeDecodeError:
            return input_bytes
        if text[:1] in _TEXT_BEGINS:
            return text
        for kind in (int, float, complex):
            try:
                return kind(text)
            except ValueError:
                pass
        return text
