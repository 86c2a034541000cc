"""Pieces that both ways of running share."""

# Of these, no value is a generator.
PLAIN = frozenset((str, bytes, int, float, bool, dict, list, tuple))
# Smaller outputs need not be measured.
LARGE = 1 << 20


def trace(error):
    """An exception as Python shows it, without the harness' own frames; the beginning and the end of a very long one."""
    import traceback

    frames = error.__traceback__
    while frames is not None and "_geminga" in frames.tb_frame.f_code.co_filename:
        frames = frames.tb_next
    try:
        shown = "".join(traceback.format_exception(type(error), error, frames))
    except Exception as broken:  # its __str__ throws
        shown = "%s, which cannot be shown: %s" % (type(error).__name__, type(broken).__name__)
    return shown if len(shown) <= 7000 else shown[:500] + "\n...\n" + shown[-6500:]


def is_many(output):
    """A generator gives outputs, one after the other."""
    return hasattr(output, "__next__") and hasattr(output, "send")


def done(channel, context, invocation, took, outputs, output):
    """Says that an invocation ended well: with these outputs, or where that is None, with this one if it is not None."""
    if outputs is None:
        outputs = () if output is None else (output,)
    callbacks = context.take_callbacks()
    if callbacks:
        from pulsar import MessageId, Result

        for callback in callbacks:  # it happens, or the invocation comes again; what they ask for, an ack, is part of it
            callback(Result.Ok, MessageId())
    channel.check(sum(map(len, outputs)) + context.weight())
    channel.event(*context.take_done(invocation, took, outputs))
