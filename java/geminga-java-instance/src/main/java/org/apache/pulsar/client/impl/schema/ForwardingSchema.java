package org.apache.pulsar.client.impl.schema;

import java.util.Optional;
import org.apache.pulsar.client.api.Schema;
import org.apache.pulsar.common.schema.SchemaInfo;

/** A schema of this program under the name of one of Pulsar's client. */
abstract class ForwardingSchema<T> implements Schema<T> {
    private final Schema<T> schema;

    ForwardingSchema(Schema<T> schema) {
        this.schema = schema;
    }

    @Override
    public byte[] encode(T value) {
        return schema.encode(value);
    }

    @Override
    public T decode(byte[] bytes) {
        return schema.decode(bytes);
    }

    @Override
    public T decode(byte[] bytes, byte[] version) {
        return schema.decode(bytes, version);
    }

    @Override
    public void validate(byte[] message) {
        schema.validate(message);
    }

    @Override
    public SchemaInfo getSchemaInfo() {
        return schema.getSchemaInfo();
    }

    @Override
    public Optional<Object> getNativeSchema() {
        return schema.getNativeSchema();
    }

    /** Schemas do not change once they are made. */
    @Override
    public Schema<T> clone() {
        return this;
    }
}
