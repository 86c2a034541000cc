package org.apache.pulsar.client.impl.schema;

import java.util.Map;
import org.apache.pulsar.client.api.Schema;
import org.apache.pulsar.client.api.schema.SchemaDefinition;

/**
 * For functions that name Pulsar's own class instead of {@code Schema.JSON}, and do not bring it: Pulsar has it where functions are
 * threads of the broker. A package that brings the client uses its own.
 */
public final class JSONSchema<T> extends ForwardingSchema<T> {
    private JSONSchema(Schema<T> schema) {
        super(schema);
    }

    public static <T> JSONSchema<T> of(Class<T> pojo) {
        return new JSONSchema<>(Schema.JSON(pojo));
    }

    public static <T> JSONSchema<T> of(SchemaDefinition<T> definition) {
        return new JSONSchema<>(Schema.JSON(definition));
    }

    public static <T> JSONSchema<T> of(Class<T> pojo, Map<String, String> properties) {
        return of(SchemaDefinition.<T>builder().withPojo(pojo).withProperties(properties).build());
    }
}
