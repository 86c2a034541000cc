package geminga.instance.schema;

import org.apache.pulsar.client.api.Schema;
import org.apache.pulsar.common.schema.SchemaInfo;
import org.apache.pulsar.functions.api.SerDe;

/** A SerDe class of the user's as a schema; to the broker it is bytes. Source: Pulsar's {@code SerDeSchema}. */
public final class SerDeSchema<T> extends Coding<T> {
    private final SerDe<T> serDe;

    public SerDeSchema(SerDe<T> serDe) {
        this.serDe = serDe;
    }

    @Override
    public byte[] encode(T value) {
        return serDe.serialize(value);
    }

    @Override
    public T decode(byte[] bytes, int offset, int length, byte[] version) {
        byte[] copy = new byte[length];
        System.arraycopy(bytes, offset, copy, 0, length);
        return serDe.deserialize(copy);
    }

    @Override
    public SchemaInfo getSchemaInfo() {
        return Schema.BYTES.getSchemaInfo();
    }
}
