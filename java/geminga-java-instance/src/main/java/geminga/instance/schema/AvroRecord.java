package geminga.instance.schema;

import java.util.List;
import org.apache.avro.util.Utf8;
import org.apache.pulsar.client.api.schema.Field;
import org.apache.pulsar.client.api.schema.GenericRecord;
import org.apache.pulsar.common.schema.SchemaType;

/** A record of Avro's by the client's interface. Source: Pulsar's {@code GenericAvroRecord}. */
record AvroRecord(org.apache.avro.generic.GenericRecord record, byte[] version) implements GenericRecord {
    @Override
    public byte[] getSchemaVersion() {
        return version;
    }

    @Override
    public List<Field> getFields() {
        return record.getSchema().getFields().stream().map(field -> new Field(field.name(), field.pos())).toList();
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
