package geminga.instance.schema;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.math.BigDecimal;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Function;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.util.Utf8;
import org.apache.pulsar.client.api.Schema;
import org.apache.pulsar.client.api.schema.Field;
import org.apache.pulsar.client.api.schema.GenericRecord;
import org.apache.pulsar.common.schema.SchemaInfo;
import org.apache.pulsar.common.schema.SchemaType;

/** Whatever the topic's schema says ({@code AUTO_CONSUME}): records by field name, other values as they are. */
public final class AnySchema extends Coding<GenericRecord> {
    private final Function<byte[], SchemaInfo> versions;
    private final ConcurrentHashMap<ByteBuffer, Function<byte[], GenericRecord>> decoders = new ConcurrentHashMap<>();

    /** {@code versions} finds the schema of a version, and for null the newest; null from it: there is none. */
    public AnySchema(Function<byte[], SchemaInfo> versions) {
        this.versions = versions;
    }

    @Override
    public byte[] encode(GenericRecord record) {
        Object value = record.getNativeObject();
        try {
            if (value instanceof JsonNode node) {
                return JsonSchema.MAPPER.writeValueAsBytes(node);
            }
            if (value instanceof org.apache.avro.generic.GenericRecord avro) {
                java.io.ByteArrayOutputStream out = new java.io.ByteArrayOutputStream();
                org.apache.avro.io.BinaryEncoder encoder = org.apache.avro.io.EncoderFactory.get().directBinaryEncoder(out, null);
                new org.apache.avro.generic.GenericDatumWriter<Object>(avro.getSchema()).write(avro, encoder);
                encoder.flush();
                return out.toByteArray();
            }
        } catch (IOException e) {
            throw new org.apache.pulsar.client.api.SchemaSerializationException(e);
        }
        throw wrong("a generic record that was not read from a topic cannot be written");
    }

    @Override
    public GenericRecord decode(byte[] bytes, int offset, int length, byte[] version) {
        ByteBuffer key = ByteBuffer.wrap(version == null ? new byte[0] : version.clone());
        Function<byte[], GenericRecord> decoder = decoders.get(key);
        if (decoder == null) {
            decoder = decoder(versions.apply(version), version);
            decoders.put(key, decoder);
        }
        return decoder.apply(part(bytes, offset, length));
    }

    @Override
    public SchemaInfo getSchemaInfo() {
        return new Info("AutoConsume", new byte[0], SchemaType.AUTO_CONSUME, 0, java.util.Map.of());
    }

    private static Function<byte[], GenericRecord> decoder(SchemaInfo info, byte[] version) {
        if (info == null) {
            throw wrong("the topic has no schema, so this program cannot tell what its messages are");
        }
        switch (info.getType()) {
            case AVRO: {
                org.apache.avro.Schema schema = AvroTypes.parse(info.getSchemaDefinition());
                GenericDatumReader<org.apache.avro.generic.GenericRecord> reader = new GenericDatumReader<>(schema);
                return bytes -> {
                    try {
                        return new AvroRecord(reader.read(null, DecoderFactory.get().binaryDecoder(bytes, null)), version);
                    } catch (IOException e) {
                        throw new org.apache.pulsar.client.api.SchemaSerializationException(e);
                    }
                };
            }
            case JSON:
                return bytes -> {
                    try {
                        return new JsonRecord(JsonSchema.MAPPER.readTree(bytes), version);
                    } catch (IOException e) {
                        throw new org.apache.pulsar.client.api.SchemaSerializationException(e);
                    }
                };
            default: {
                Schema<?> schema = Schemas.ofPrimitive(info.getType());
                if (schema == null) {
                    throw wrong("generic records of " + info.getType() + " are not supported");
                }
                return bytes -> new Single(schema.decode(bytes), info.getType(), version);
            }
        }
    }

    /** A value that is no record. */
    private record Single(Object value, SchemaType type, byte[] version) implements GenericRecord {
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
            throw new UnsupportedOperationException("a value of type " + type + " has no fields");
        }

        @Override
        public SchemaType getSchemaType() {
            return type;
        }

        @Override
        public Object getNativeObject() {
            return value;
        }
    }

    private record AvroRecord(org.apache.avro.generic.GenericRecord record, byte[] version) implements GenericRecord {
        @Override
        public byte[] getSchemaVersion() {
            return version;
        }

        @Override
        public List<Field> getFields() {
            List<Field> fields = new ArrayList<>();
            record.getSchema().getFields().forEach(field -> fields.add(new Field(field.name(), field.pos())));
            return fields;
        }

        @Override
        public Object getField(String name) {
            Object value = record.hasField(name) ? record.get(name) : null;
            if (value instanceof Utf8) {
                return value.toString();
            }
            return value instanceof org.apache.avro.generic.GenericRecord inner ? new AvroRecord(inner, version) : value;
        }

        @Override
        public SchemaType getSchemaType() {
            return SchemaType.AVRO;
        }

        @Override
        public Object getNativeObject() {
            return record;
        }
    }

    private record JsonRecord(JsonNode node, byte[] version) implements GenericRecord {
        @Override
        public byte[] getSchemaVersion() {
            return version;
        }

        @Override
        public List<Field> getFields() {
            List<Field> fields = new ArrayList<>();
            node.fieldNames().forEachRemaining(name -> fields.add(new Field(name, fields.size())));
            return fields;
        }

        @Override
        public Object getField(String name) {
            return value(node.get(name));
        }

        private Object value(JsonNode value) {
            if (value == null || value.isNull()) {
                return null;
            }
            if (value.isObject()) {
                return new JsonRecord(value, version);
            }
            if (value.isArray()) {
                List<Object> values = new ArrayList<>();
                value.forEach(element -> values.add(value(element)));
                return values;
            }
            if (value.isNumber()) {
                return value.isBigDecimal() ? new BigDecimal(value.asText()) : value.numberValue();
            }
            return value.isBoolean() ? (Object) value.booleanValue() : value.asText();
        }

        @Override
        public SchemaType getSchemaType() {
            return SchemaType.JSON;
        }

        @Override
        public Object getNativeObject() {
            return node;
        }
    }
}
