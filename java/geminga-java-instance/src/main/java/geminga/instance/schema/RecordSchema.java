package geminga.instance.schema;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.io.DecoderFactory;
import org.apache.pulsar.client.api.SchemaSerializationException;
import org.apache.pulsar.client.api.schema.Field;
import org.apache.pulsar.client.api.schema.GenericRecord;
import org.apache.pulsar.client.api.schema.GenericRecordBuilder;
import org.apache.pulsar.client.api.schema.GenericSchema;
import org.apache.pulsar.common.schema.SchemaInfo;
import org.apache.pulsar.common.schema.SchemaType;

/**
 * Records by the names of their fields, as a definition says: what an {@code AVRO} or a {@code JSON} schema is to code that has no class
 * for it. Source: Pulsar's {@code GenericAvroSchema} and {@code GenericJsonSchema}.
 */
public final class RecordSchema extends Coding<GenericRecord> implements GenericSchema<GenericRecord> {
    private final SchemaInfo info;
    private final org.apache.avro.Schema definition;
    private final boolean isAvro;
    private final GenericDatumReader<org.apache.avro.generic.GenericRecord> reader;

    public RecordSchema(SchemaInfo info) {
        if (info.getType() != SchemaType.AVRO && info.getType() != SchemaType.JSON) {
            throw new IllegalArgumentException("generic records are AVRO or JSON, not " + info.getType());
        }
        this.info = info;
        isAvro = info.getType() == SchemaType.AVRO;
        definition = AvroTypes.parse(info.getSchemaDefinition());
        reader = new GenericDatumReader<>(definition);
    }

    /** A record may be of anybody's making, as long as it has the fields. */
    @Override
    public byte[] encode(GenericRecord record) {
        try {
            return isAvro ? avroBytes(avro(record, definition)) : JsonSchema.MAPPER.writeValueAsBytes(json(record));
        } catch (IOException e) {
            throw new SchemaSerializationException(e);
        }
    }

    @Override
    public GenericRecord decode(byte[] bytes, int offset, int length, byte[] version) {
        try {
            if (!isAvro) {
                return new JsonRecord(JsonSchema.MAPPER.readTree(bytes, offset, length), version);
            }
            return new AvroRecord(reader.read(null, DecoderFactory.get().binaryDecoder(bytes, offset, length, null)), version);
        } catch (IOException | IndexOutOfBoundsException e) {
            throw new SchemaSerializationException(e);
        }
    }

    @Override
    public List<Field> getFields() {
        return definition.getFields().stream().map(field -> new Field(field.name(), field.pos())).toList();
    }

    @Override
    public GenericRecordBuilder newRecordBuilder() {
        return new Builder();
    }

    @Override
    public SchemaInfo getSchemaInfo() {
        return info;
    }

    @Override
    public Optional<Object> getNativeSchema() {
        return Optional.of(definition);
    }

    /** A record of Avro's own, with the schema it carries. */
    static byte[] avroBytes(org.apache.avro.generic.GenericRecord record) throws IOException {
        return AvroTypes.bytes(new GenericDatumWriter<>(record.getSchema()), record);
    }

    /** What is behind a record; null when it is one of user code's own making. */
    static Object nativeObject(GenericRecord record) {
        try {
            return record.getNativeObject();
        } catch (UnsupportedOperationException e) {
            return null;
        }
    }

    private static org.apache.avro.generic.GenericRecord avro(GenericRecord record, org.apache.avro.Schema definition) {
        if (nativeObject(record) instanceof org.apache.avro.generic.GenericRecord own && own.getSchema().equals(definition)) {
            return own;
        }
        GenericData.Record avro = new GenericData.Record(definition);
        definition.getFields().forEach(field -> avro.put(field.pos(), avroValue(record.getField(field.name()), field.schema())));
        return avro;
    }

    private static Object avroValue(Object value, org.apache.avro.Schema schema) {
        if (!(value instanceof GenericRecord inner)) {
            return value;
        }
        if (schema.getType() == org.apache.avro.Schema.Type.UNION) {
            schema = schema.getTypes().stream().filter(one -> one.getType() == org.apache.avro.Schema.Type.RECORD).findFirst().orElse(schema);
        }
        return avro(inner, schema);
    }

    private static JsonNode json(GenericRecord record) {
        if (nativeObject(record) instanceof JsonNode node) {
            return node;
        }
        ObjectNode object = JsonSchema.MAPPER.createObjectNode();
        for (Field field : record.getFields()) {
            Object value = record.getField(field);
            object.set(field.getName(), value instanceof GenericRecord inner ? json(inner) : JsonSchema.MAPPER.valueToTree(value));
        }
        return object;
    }

    private final class Builder implements GenericRecordBuilder {
        private final Map<String, Object> values = new LinkedHashMap<>();

        @Override
        public GenericRecordBuilder set(String name, Object value) {
            values.put(name, value instanceof GenericRecord inner && nativeObject(inner) != null ? inner.getNativeObject() : value);
            return this;
        }

        @Override
        public GenericRecordBuilder set(Field field, Object value) {
            return set(field.getName(), value);
        }

        @Override
        public GenericRecordBuilder clear(String name) {
            values.remove(name);
            return this;
        }

        @Override
        public GenericRecordBuilder clear(Field field) {
            return clear(field.getName());
        }

        /** Fields that were not set have their default; Avro's builder refuses a record that lacks others. */
        @Override
        public GenericRecord build() {
            if (!isAvro) {
                return new JsonRecord(JsonSchema.MAPPER.valueToTree(values), null);
            }
            org.apache.avro.generic.GenericRecordBuilder builder = new org.apache.avro.generic.GenericRecordBuilder(definition);
            values.forEach(builder::set);
            return new AvroRecord(builder.build(), null);
        }
    }
}
