package geminga.instance.schema;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import org.apache.pulsar.client.api.Schema;
import org.apache.pulsar.client.api.SchemaSerializationException;
import org.apache.pulsar.client.api.schema.Field;
import org.apache.pulsar.client.api.schema.GenericRecord;
import org.apache.pulsar.common.schema.KeyValue;
import org.apache.pulsar.common.schema.KeyValueEncodingType;
import org.apache.pulsar.common.schema.SchemaInfo;
import org.apache.pulsar.common.schema.SchemaType;

/**
 * Whatever the topic's schema says ({@code AUTO_CONSUME}): records by field name, pairs, and other values as they are; bytes where the
 * topic has no schema. Source: Pulsar's {@code AutoConsumeSchema}.
 */
public final class AnySchema extends Coding<GenericRecord> {
    /** How long a topic without a schema is not asked for one again. */
    private static final long ABSENT_NANOS = TimeUnit.SECONDS.toNanos(1);
    private static final ByteBuffer NEWEST = ByteBuffer.allocate(0);

    private final Function<byte[], SchemaInfo> versions;
    private final ConcurrentHashMap<ByteBuffer, Schema<?>> schemas = new ConcurrentHashMap<>();
    private volatile Long absentSince;

    /** {@code versions} finds the schema of a version, and for null the newest; null from it: there is none. */
    public AnySchema(Function<byte[], SchemaInfo> versions) {
        this.versions = versions;
    }

    /** The topic's own schema of a version, which null is the newest of. */
    public Schema<?> at(byte[] version) {
        Schema<?> known = schemas.get(version == null ? NEWEST : ByteBuffer.wrap(version));
        if (known != null) {
            return known;
        }
        Long absent = absentSince;
        if (version == null && absent != null && System.nanoTime() - absent < ABSENT_NANOS) {
            return Schema.BYTES;
        }
        SchemaInfo info = versions.apply(version);
        if (info == null) {
            if (version != null) {
                throw wrong("the topic has no schema of the version that the message says");
            }
            absentSince = System.nanoTime();
            return Schema.BYTES;
        }
        Schema<?> found = of(info);
        schemas.put(version == null ? NEWEST : ByteBuffer.wrap(version.clone()), found);
        return found;
    }

    /** The schema that a description stands for, without classes of anybody's. */
    public static Schema<?> of(SchemaInfo info) {
        return switch (info.getType()) {
            case AVRO, JSON -> new RecordSchema(info);
            case KEY_VALUE -> {
                Map<String, String> properties = info.getProperties();
                KeyValue<SchemaInfo, SchemaInfo> sides = sides(info);
                yield new PairSchema<>(of(sides.getKey()), of(sides.getValue()),
                    KeyValueEncodingType.valueOf(properties.getOrDefault("kv.encoding.type", "INLINE")));
            }
            default -> {
                Schema<?> schema = Schemas.ofPrimitive(info.getType());
                if (schema == null) {
                    throw wrong("generic records of " + info.getType() + " are not supported");
                }
                yield schema;
            }
        };
    }

    /** The descriptions of both sides of a pair. Source: Pulsar's {@code KeyValueSchemaInfo}. */
    public static KeyValue<SchemaInfo, SchemaInfo> sides(SchemaInfo info) {
        return KeyValue.decode(info.getSchema(), (key, value) -> new KeyValue<>(side(info, "key", key), side(info, "value", value)));
    }

    private static SchemaInfo side(SchemaInfo info, String side, byte[] schema) {
        Map<String, String> properties = info.getProperties();
        return new Info(properties.getOrDefault(side + ".schema.name", ""), schema == null ? new byte[0] : schema,
            SchemaType.valueOf(properties.getOrDefault(side + ".schema.type", "BYTES")), 0, Map.of());
    }

    @Override
    public byte[] encode(GenericRecord record) {
        Object value = RecordSchema.nativeObject(record);
        try {
            if (value instanceof JsonNode node) {
                return JsonSchema.MAPPER.writeValueAsBytes(node);
            }
            if (value instanceof org.apache.avro.generic.GenericRecord avro) {
                return RecordSchema.avroBytes(avro);
            }
        } catch (IOException e) {
            throw new SchemaSerializationException(e);
        }
        if (record instanceof Single single) {
            return single.encoded();
        }
        throw wrong("a generic record needs a schema to be written with: give it one, by a Record or by newOutputMessage");
    }

    @Override
    public GenericRecord decode(byte[] bytes, int offset, int length, byte[] version) {
        return decode(at(version), bytes, offset, length, version);
    }

    /** Decodes what was written with a schema that {@link #at} has found. */
    public GenericRecord decode(Schema<?> schema, byte[] bytes, int offset, int length, byte[] version) {
        Object value = schema instanceof Coding<?> coding ? coding.decode(bytes, offset, length, version)
            : schema.decode(part(bytes, offset, length), version);
        return wrapped(value, schema, version);
    }

    /** Decodes a pair whose key may be the message's. */
    public GenericRecord decode(PairSchema<?, ?> pair, byte[] key, byte[] payload, byte[] version) {
        return wrapped(pair.decode(key, payload, version), pair, version);
    }

    private static GenericRecord wrapped(Object value, Schema<?> schema, byte[] version) {
        return value instanceof GenericRecord record ? record : new Single(value, schema, version);
    }

    @Override
    public SchemaInfo getSchemaInfo() {
        return new Info("AutoConsume", new byte[0], SchemaType.AUTO_CONSUME, 0, Map.of());
    }

    /** A value that is no record. */
    private record Single(Object value, Schema<?> schema, byte[] version) implements GenericRecord {
        @SuppressWarnings("unchecked")
        byte[] encoded() {
            return ((Schema<Object>) schema).encode(value);
        }

        @Override
        public byte[] getSchemaVersion() {
            return version;
        }

        @Override
        public List<Field> getFields() {
            return List.of();
        }

        @Override
        public Object getField(String name) {
            throw new UnsupportedOperationException("a value of type " + getSchemaType() + " has no fields");
        }

        @Override
        public SchemaType getSchemaType() {
            return schema.getSchemaInfo().getType();
        }

        @Override
        public Object getNativeObject() {
            return value;
        }

        @Override
        public String toString() {
            return String.valueOf(value);
        }
    }
}
