package geminga.instance;

import geminga.instance.wire.Out;
import geminga.instance.wire.Outbox;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.pulsar.client.api.Schema;
import org.apache.pulsar.common.schema.SchemaInfo;

/**
 * The schemas that user code publishes with: Geminga is told of each once, and a record names one by its number. A topic takes the schema,
 * or refuses the record, as with a producer of Pulsar's client.
 */
final class Announced {
    private static final int SCHEMA = 0x08;

    private final Outbox outbox;
    private final Map<List<Object>, Integer> numbers = new HashMap<>();
    private Schema<?> last;
    private Integer lastNumber;

    Announced(Outbox outbox) {
        this.outbox = outbox;
    }

    /** The number of a schema; null for one that topics do not keep, such as that of bytes. Records with it are written later. */
    synchronized Integer number(Schema<?> schema) {
        if (schema == last) { // most code keeps its schema, and what describes it may be long
            return lastNumber;
        }
        SchemaInfo info = schema.getSchemaInfo();
        lastNumber = info == null || info.getType().getValue() <= 0 ? null : numbers.computeIfAbsent(
            List.of(info.getType(), info.getSchemaDefinition(), info.getProperties()), key -> announce(info, numbers.size()));
        last = schema;
        return lastNumber;
    }

    private int announce(SchemaInfo info, int number) {
        byte[] definition = info.getSchema() == null ? new byte[0] : info.getSchema();
        Out out = new Out(64 + definition.length);
        out.u8(SCHEMA);
        out.u32(number);
        out.str(info.getType().name());
        out.bytes(definition, 0, definition.length);
        Map<String, String> properties = info.getProperties() == null ? Map.of() : info.getProperties();
        out.u32(properties.size());
        properties.forEach((name, value) -> {
            out.str(name);
            out.str(value == null ? "" : value);
        });
        outbox.add(out);
        return number;
    }
}
