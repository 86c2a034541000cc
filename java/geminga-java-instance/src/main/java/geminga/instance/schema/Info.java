package geminga.instance.schema;

import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.apache.pulsar.common.schema.SchemaInfo;
import org.apache.pulsar.common.schema.SchemaType;

/** What a schema registry keeps of a schema. */
public record Info(String name, byte[] schema, SchemaType type, long timestamp, Map<String, String> properties) implements SchemaInfo {
    @Override
    public String getName() {
        return name;
    }

    @Override
    public byte[] getSchema() {
        return schema;
    }

    @Override
    public SchemaType getType() {
        return type;
    }

    @Override
    public Map<String, String> getProperties() {
        return properties;
    }

    @Override
    public long getTimestamp() {
        return timestamp;
    }

    @Override
    public String getSchemaDefinition() {
        return schema == null ? "" : new String(schema, StandardCharsets.UTF_8);
    }
}
