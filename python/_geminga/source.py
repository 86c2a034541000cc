"""Runs a source: what its generator yields is emitted, and it hears of what is durable."""

import os
import signal
import struct
import sys
from threading import BoundedSemaphore, Event, Lock, Thread, main_thread
from time import sleep

from geminga import Record

from . import loader
from .channel import EMITTED, FLUSH_S
from .context import Context, record
from .outcome import trace

# What Geminga lets a source have on its way.
ON_THEIR_WAY_MAX = 1000

_EMIT = struct.Struct("<BQ")
_EMITTED = struct.Struct("<BI")


class _Ended(BaseException):
    """Nobody takes records any more."""


class SourceContext(Context):
    """Tells about the instance. A source has no invocations, so there is nothing its effects could belong to."""

    def record_metric(self, metric_name, metric_value):
        """Dropped: a source has no outcomes that could carry it."""

    def publish(self, *_, **__):
        raise NotImplementedError("a source publishes what it yields: yield geminga.Record(value, topic=...)")

    def _no_state(self, *_):
        raise NotImplementedError("a source has no state here: keep positions where it reads")

    incr_counter = get_counter = del_counter = put_state = get_state = del_state = delete_state = _no_state


class Source:
    """One instance of a source. This thread runs user code, another one reads receipts."""

    def __init__(self, class_name, stem, settings, channel, codec):
        self.channel = channel
        self.encode = codec.encode
        self.slots = BoundedSemaphore(ON_THEIR_WAY_MAX)
        self.lock = Lock()
        self.dirty = Event()
        self.on_their_way = {}
        self.last = 0
        self.has_ended = False
        found = loader.find(class_name, stem, "read")
        target = found() if isinstance(found, type) else found
        read = getattr(target, "read", target)
        if not callable(read):
            raise TypeError("%s is neither a class with a method read, nor a function" % class_name)
        self.close = getattr(target, "close", None) if isinstance(found, type) else None
        self.records = read(SourceContext(settings))
        if not hasattr(self.records, "__iter__"):
            raise TypeError("%s must give its records one after the other: use yield" % (class_name or "read"))
        self.code = self  # what is closed at the end

    def run(self):
        signal.signal(signal.SIGINT, self._stop)
        for task in (self._receipts, self._flush):
            Thread(target=task, name=task.__name__, daemon=True).start()
        try:
            for each in self.records:
                self._emit(each if isinstance(each, Record) else Record(each))
            self.channel.flush()
            while not self.has_ended:
                signal.pause()  # an instance that ends is started again; this one has no more to do
        except _Ended:
            pass
        except BaseException as error:
            if self.has_ended:
                return
            # Where its position is kept is the source's own business: it is started anew, and goes on from there.
            self.channel.flush()
            sys.stderr.write(trace(error) + "\n")
            sys.stderr.flush()
            os._exit(1)
        finally:
            if hasattr(self.records, "close"):
                self.records.close()

    def _emit(self, each):
        if each.value is None or self.encode is None:
            return
        conf = {"properties": each.properties, "event_timestamp": each.event_time_ms}
        if each.key is not None:
            conf["partition_key"] = str(each.key)
        out = record(each.topic, bytes(self.encode(each.value)), conf)
        self.channel.check(len(out))
        if not self.slots.acquire(blocking=False):
            self.channel.flush()
            self.slots.acquire()
        with self.lock:
            self.last += 1
            self.on_their_way[self.last] = each
            self.channel.event(_EMIT.pack(0x06, self.last), out)
        self.dirty.set()

    def _flush(self):
        """What is emitted leaves within milliseconds, together with what follows."""
        while True:
            self.dirty.wait()
            sleep(FLUSH_S)
            self.dirty.clear()
            try:
                self.channel.flush()
            except OSError:
                return  # Geminga is gone, which ends this process soon

    def _receipts(self):
        while True:
            frame = self.channel.frame()
            if frame is None:
                self.has_ended = True
                signal.pthread_kill(main_thread().ident, signal.SIGINT)
                return
            kind, body = frame
            if kind == EMITTED:
                status, count = _EMITTED.unpack_from(body)
                ids = struct.unpack_from("<%dQ" % count, body, 5)
                why = body[5 + 8 * count :].decode("utf-8", "replace")
                for number in ids:
                    with self.lock:
                        each = self.on_their_way.pop(number, None)
                    if each is not None:
                        self.slots.release()
                        self._tell(each, status == 0, why)

    def _tell(self, each, is_stored, why):
        try:
            if is_stored:
                if each.stored is not None:
                    each.stored()
            else:
                sys.stderr.write("a record was not stored: %s\n" % why)
                if each.refused is not None:
                    each.refused(why)
        except Exception as error:
            sys.stderr.write("the source did not take the receipt of its record: %s\n" % trace(error))

    def _stop(self, *_):
        if self.has_ended:
            raise _Ended
