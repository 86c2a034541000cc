package geminga.instance;

import geminga.instance.wire.Frame;
import geminga.instance.wire.Out;
import geminga.instance.wire.OutRecord;
import geminga.instance.wire.Outbox;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Semaphore;
import java.util.function.Function;
import java.util.function.Supplier;
import org.apache.pulsar.functions.api.Record;
import org.slf4j.Logger;

/**
 * What a source has read and Geminga has not stored yet: a record is acknowledged to the source when it is durable, and not before.
 *
 * <p>Source of what a source is told: Pulsar's {@code PulsarSink} and {@code JavaInstanceRunnable}.
 */
final class Emissions {
    private static final int EMIT = 0x06;
    private static final int CHANGES = 0x09;
    /** What Geminga lets a source have on its way. */
    private static final int ON_THEIR_WAY_MAX = 1000;

    private final Outbox outbox;
    private final Semaphore slots = new Semaphore(ON_THEIR_WAY_MAX);
    private final ConcurrentHashMap<Long, CompletableFuture<Void>> onTheirWay = new ConcurrentHashMap<>();
    /** The source's code hears of receipts in this thread: the one that reads must not wait for it. */
    private final ExecutorService receipts = Executors.newSingleThreadExecutor(task -> {
        Thread worker = new Thread(task, "geminga-receipts");
        worker.setDaemon(true);
        return worker;
    });
    private final Object end = new Object();
    /** That reads from the source; null as long as nobody does. Guarded by {@code end}. */
    private Thread reading;
    private volatile boolean isEnded;
    private long last;

    Emissions(Outbox outbox) {
        this.outbox = outbox;
    }

    /** Reads from the source until there is nobody to read for. */
    void run(UserCode code, Function<Object, OutRecord> encode, Supplier<Effects> changes, Logger logger) {
        read(code, encode, changes, logger);
        hasBeenRead();
    }

    /** This thread reads from the source, and is told of the end by an interrupt. */
    void begin() {
        synchronized (end) {
            reading = Thread.currentThread();
        }
    }

    /** This thread is done with reading: closing is not to be disturbed by how the end was told. */
    void hasBeenRead() {
        synchronized (end) {
            reading = null;
        }
        Thread.interrupted();
    }

    /** Whether there is nobody to read for. */
    boolean isEnded() {
        return isEnded;
    }

    private void read(UserCode code, Function<Object, OutRecord> encode, Supplier<Effects> changes, Logger logger) {
        begin();
        while (!isEnded) {
            Record<?> record;
            OutRecord out;
            try {
                record = code.read();
                if (record == null) {
                    throw new IllegalStateException("read gave null; it must wait until there is a record");
                }
                out = encode.apply(record);
                if (out == null) {
                    throw new IllegalStateException("the record has no value");
                }
                emit(out, changes.get()).whenComplete((done, thrown) -> tell(record, thrown, logger));
            } catch (Exception | LinkageError e) {
                if (!isEnded) {
                    Instance.die("the source failed", e);
                }
                return;
            }
        }
    }

    /**
     * Sends a record on its way, with the source's changes of state before it; waits while too many are. Complete when it is durable.
     *
     * @param changes null for none
     */
    CompletableFuture<Void> emit(OutRecord record, Effects changes) throws InterruptedException {
        if (!slots.tryAcquire()) {
            outbox.flush();
            slots.acquire();
        }
        CompletableFuture<Void> stored = new CompletableFuture<>();
        Out out = new Out(128 + (record.payload() == null ? 0 : record.payload().length));
        synchronized (this) { // they leave in the order of their numbers
            long id = ++last;
            onTheirWay.put(id, stored);
            if (changes != null) {
                int start = out.length();
                out.u8(CHANGES);
                if (!changes.takeChanges(out)) {
                    out.truncate(start);
                }
            }
            out.u8(EMIT);
            out.u64(id);
            record.write(out);
            outbox.add(out);
        }
        outbox.flushSoon();
        return stored;
    }

    /** Takes an EMITTED frame. */
    void emitted(Frame frame) {
        byte[] body = frame.body();
        int count = body.length < 5 ? -1 : Frame.i32(body, 1);
        if (count < 0 || 5 + 8L * count > body.length) {
            throw new IllegalArgumentException("a receipt is cut");
        }
        int end = 5 + 8 * count;
        String why = new String(body, end, body.length - end, StandardCharsets.UTF_8);
        for (int at = 5; at < end; at += 8) {
            CompletableFuture<Void> stored = onTheirWay.remove(Frame.i64(body, at));
            if (stored != null) {
                slots.release();
                receipts.execute(() -> {
                    if (body[0] == 0) {
                        stored.complete(null);
                    } else {
                        stored.completeExceptionally(new IllegalStateException(why));
                    }
                });
            }
        }
    }

    /** No receipts follow, and nobody takes records. */
    void end() {
        isEnded = true;
        synchronized (end) {
            if (reading != null) {
                reading.interrupt();
            }
        }
    }

    /** Tells the source what became of its record. */
    static void tell(Record<?> record, Throwable thrown, Logger logger) {
        try {
            if (thrown == null) {
                record.ack();
            } else {
                logger.warn("a record was not stored: {}", thrown.getMessage());
                record.fail();
            }
        } catch (RuntimeException | LinkageError e) {
            logger.error("the source did not take the receipt of its record", e);
        }
    }
}
