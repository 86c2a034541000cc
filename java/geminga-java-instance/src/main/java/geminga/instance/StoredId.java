package geminga.instance;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import org.apache.pulsar.client.api.MessageId;

/**
 * Where a message is stored. Partition and batch index are -1 where there is none.
 *
 * <p>As bytes it is Pulsar's {@code MessageIdData} in the encoding of Protocol Buffers, as text Pulsar's notation.
 */
public record StoredId(long ledger, long entry, int partition, int batchIndex, int batchSize) implements MessageId {
    private static final long serialVersionUID = 1;

    /** Reads what {@link #toByteArray}, Pulsar's included, has written. */
    public static StoredId parse(byte[] bytes) throws IOException {
        long[] fields = {0, -1, -1, -1, -1, 0, 0};
        int at = 0;
        while (at < bytes.length) {
            int tag = bytes[at++] & 0xff;
            long value = 0;
            for (int shift = 0;; shift += 7) {
                if (at >= bytes.length || shift > 63) {
                    throw new IOException("bytes that are no message id");
                }
                byte b = bytes[at++];
                value |= (b & 0x7fL) << shift;
                if (b >= 0) {
                    break;
                }
            }
            int field = tag >>> 3;
            if ((tag & 7) == 0 && field < fields.length) {
                fields[field] = value;
            } else if ((tag & 7) == 2 && value >= 0 && value <= bytes.length - at) {
                at += (int) value;
            } else if ((tag & 7) != 0) {
                throw new IOException("bytes that are no message id");
            }
        }
        return new StoredId(fields[1], fields[2], (int) fields[3], (int) fields[4], (int) fields[6]);
    }

    @Override
    public byte[] toByteArray() {
        ByteArrayOutputStream out = new ByteArrayOutputStream(24);
        field(out, 1, ledger);
        field(out, 2, entry);
        if (partition >= 0) {
            field(out, 3, partition);
        }
        if (batchIndex >= 0) {
            field(out, 4, batchIndex);
            field(out, 6, batchSize);
        }
        return out.toByteArray();
    }

    @Override
    public int compareTo(MessageId other) {
        if (!(other instanceof StoredId id)) {
            throw new IllegalArgumentException("a message id of another client");
        }
        int order = Long.compare(ledger, id.ledger);
        order = order != 0 ? order : Long.compare(entry, id.entry);
        order = order != 0 ? order : Integer.compare(partition, id.partition);
        return order != 0 ? order : Integer.compare(batchIndex, id.batchIndex);
    }

    @Override
    public String toString() {
        String text = ledger + ":" + entry + ":" + partition;
        return batchIndex < 0 ? text : text + ":" + batchIndex;
    }

    private static void field(ByteArrayOutputStream out, int number, long value) {
        out.write(number << 3);
        long rest = value;
        while ((rest & ~0x7fL) != 0) {
            out.write((int) (rest & 0x7f | 0x80));
            rest >>>= 7;
        }
        out.write((int) rest);
    }
}
