package geminga.instance.schema;

import com.fasterxml.jackson.databind.JsonNode;
import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.List;
import org.apache.pulsar.client.api.schema.Field;
import org.apache.pulsar.client.api.schema.GenericRecord;
import org.apache.pulsar.common.schema.SchemaType;

/** A JSON object by the client's interface. Source: Pulsar's {@code GenericJsonRecord}. */
record JsonRecord(JsonNode node, byte[] version) implements GenericRecord {
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
