package geminga.instance.schema;

import java.util.Arrays;
import org.apache.pulsar.client.api.Schema;
import org.apache.pulsar.client.api.SchemaSerializationException;

/** A schema of this program: it can decode a part of a larger array, which saves a copy for each message. */
public abstract class Coding<T> implements Schema<T> {
    /**
     * Decodes {@code length} bytes at {@code offset}.
     *
     * @param version of the schema the message was written with; null for none
     */
    public abstract T decode(byte[] bytes, int offset, int length, byte[] version);

    @Override
    public T decode(byte[] bytes) {
        return decode(bytes, 0, bytes.length, null);
    }

    @Override
    public T decode(byte[] bytes, byte[] version) {
        return decode(bytes, 0, bytes.length, version);
    }

    @Override
    public void validate(byte[] message) {
        decode(message);
    }

    /** Schemas do not change once they are made. */
    @Override
    public Schema<T> clone() {
        return this;
    }

    static SchemaSerializationException wrong(String what) {
        return new SchemaSerializationException(what);
    }

    static byte[] part(byte[] bytes, int offset, int length) {
        return offset == 0 && length == bytes.length ? bytes : Arrays.copyOfRange(bytes, offset, offset + length);
    }
}
