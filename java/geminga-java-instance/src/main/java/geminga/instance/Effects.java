package geminga.instance;

import geminga.instance.wire.Out;
import java.nio.ByteBuffer;
import java.util.HashMap;
import java.util.Map;

/**
 * What an invocation asks for besides its output: nothing of it happens before the invocation has ended well. Several threads may ask.
 *
 * <p>State is seen through {@link #valueOver} and {@link #counterOver}, which put the own changes on top of what is stored.
 */
final class Effects {
    private static final int PUT = 1;
    private static final int DELETE = 2;
    private static final int ADD = 3;

    /** What this invocation did to a row: replaced it by {@code value} (null: removed it), then added {@code amount} to it. */
    private record Row(boolean isReplaced, byte[] value, long amount) {}

    private Out publishes;
    private int publishCount;
    private Out changes;
    private int changeCount;
    private Out acks;
    private int ackCount;
    private Out metrics;
    private int metricCount;
    private Map<String, Row> rows;
    private boolean isTaken;

    /** False once the invocation has ended: it is too late then. */
    synchronized boolean publish(Out record) {
        if (isTaken) {
            return false;
        }
        publishes = publishes == null ? new Out(256) : publishes;
        publishes.raw(record);
        publishCount++;
        return true;
    }

    synchronized boolean put(String key, byte[] value) {
        if (!change(PUT, key)) {
            return false;
        }
        changes.bytes(value, 0, value.length);
        rows.put(key, new Row(true, value, 0));
        return true;
    }

    synchronized boolean delete(String key) {
        if (!change(DELETE, key)) {
            return false;
        }
        rows.put(key, new Row(true, null, 0));
        return true;
    }

    synchronized boolean add(String key, long amount) {
        if (!change(ADD, key)) {
            return false;
        }
        changes.u64(amount);
        Row row = rows.getOrDefault(key, new Row(false, null, 0));
        rows.put(key, new Row(row.isReplaced, row.value, row.amount + amount));
        return true;
    }

    synchronized boolean ack(long invocation) {
        if (isTaken) {
            return false;
        }
        acks = acks == null ? new Out(16) : acks;
        acks.u64(invocation);
        ackCount++;
        return true;
    }

    synchronized boolean metric(String name, double value) {
        if (isTaken) {
            return false;
        }
        metrics = metrics == null ? new Out(64) : metrics;
        metrics.str(name);
        metrics.f64(value);
        metricCount++;
        return true;
    }

    /** Whether the row is known without asking. */
    synchronized boolean replaces(String key) {
        return rows != null && rows.containsKey(key) && rows.get(key).isReplaced;
    }

    /** The row's value as this invocation sees it; null when there is none. */
    synchronized byte[] valueOver(String key, byte[] stored) {
        Row row = rows == null ? null : rows.get(key);
        if (row == null) {
            return stored;
        }
        byte[] base = row.isReplaced ? row.value : stored;
        return row.amount == 0 ? base : ByteBuffer.allocate(8).putLong(counter(base) + row.amount).array();
    }

    /** The counter as this invocation sees it. */
    synchronized long counterOver(String key, long stored) {
        Row row = rows == null ? null : rows.get(key);
        if (row == null) {
            return stored;
        }
        return (row.isReplaced ? counter(row.value) : stored) + row.amount;
    }

    /** A counter is a row of eight bytes, big-endian. */
    static long counter(byte[] value) {
        return value == null || value.length != 8 ? 0 : ByteBuffer.wrap(value).getLong();
    }

    /** Whether only the output is left to say. Nothing can be asked for afterwards. */
    synchronized boolean takeIsEmpty() {
        isTaken = true;
        return publishCount + changeCount + ackCount + metricCount == 0;
    }

    /** Adds what {@code other} asked for to this. */
    synchronized void merge(Effects other) {
        synchronized (other) {
            other.isTaken = true;
            publishes = joined(publishes, other.publishes);
            publishCount += other.publishCount;
            changes = joined(changes, other.changes);
            changeCount += other.changeCount;
            acks = joined(acks, other.acks);
            ackCount += other.ackCount;
            metrics = joined(metrics, other.metrics);
            metricCount += other.metricCount;
        }
    }

    /** The lists of a DONE record behind its outputs. */
    synchronized void write(Out out) {
        write(out, publishCount, publishes);
        write(out, changeCount, changes);
        write(out, ackCount, acks);
        writeMetrics(out);
    }

    /** Takes the changes of state, as a list. Nothing can be asked for afterwards. False: there are none. */
    synchronized boolean takeChanges(Out out) {
        isTaken = true;
        if (changeCount > 0) {
            write(out, changeCount, changes);
        }
        return changeCount > 0;
    }

    synchronized void writeMetrics(Out out) {
        write(out, metricCount, metrics);
    }

    private boolean change(int kind, String key) {
        if (isTaken) {
            return false;
        }
        if (changes == null) {
            changes = new Out(64);
            rows = new HashMap<>();
        }
        changes.u8(kind);
        changes.str(key);
        changeCount++;
        return true;
    }

    private static Out joined(Out first, Out second) {
        if (first == null || second == null) {
            return first == null ? second : first;
        }
        first.raw(second);
        return first;
    }

    private static void write(Out out, int count, Out list) {
        out.u32(count);
        if (list != null) {
            out.raw(list);
        }
    }
}
