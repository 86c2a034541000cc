package geminga.instance.schema;

import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import com.fasterxml.jackson.databind.JavaType;
import geminga.instance.GenericTypes;
import java.io.IOException;
import java.lang.reflect.Type;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.function.Supplier;
import org.apache.pulsar.client.api.schema.SchemaDefinition;
import org.apache.pulsar.common.schema.SchemaInfo;
import org.apache.pulsar.common.schema.SchemaType;

/** Values as JSON, described as Avro. Source: Pulsar's {@code JSONSchema}. */
public final class JsonSchema<T> extends Coding<T> {
    static final ObjectMapper MAPPER = new ObjectMapper()
        .configure(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES, false)
        .setSerializationInclusion(JsonInclude.Include.NON_NULL);

    private final ObjectReader reader;
    private final ObjectWriter writer;
    private final Supplier<String> definition;
    private final Map<String, String> properties;
    private SchemaInfo info;

    private JsonSchema(Type type, Supplier<String> definition, Map<String, String> properties) {
        JavaType javaType = MAPPER.constructType(type);
        reader = MAPPER.readerFor(javaType);
        writer = MAPPER.writer();
        this.definition = definition;
        this.properties = properties;
    }

    /** Of a type that user code names as its input or output. */
    public static <T> JsonSchema<T> of(Type type, Map<String, String> properties) {
        return new JsonSchema<>(type, () -> AvroTypes.of(type, GenericTypes.raw(type), true, false).toString(), properties);
    }

    public static <T> JsonSchema<T> of(SchemaDefinition<T> definition) {
        Type type = definition.getPojo() == null ? com.fasterxml.jackson.databind.JsonNode.class : definition.getPojo();
        return new JsonSchema<>(type, () -> AvroTypes.of(definition).toString(), definition.getProperties());
    }

    @Override
    public byte[] encode(T value) {
        try {
            return writer.writeValueAsBytes(value);
        } catch (JsonProcessingException e) {
            throw new org.apache.pulsar.client.api.SchemaSerializationException(e);
        }
    }

    @Override
    public T decode(byte[] bytes, int offset, int length, byte[] version) {
        try {
            return reader.readValue(bytes, offset, length);
        } catch (IOException e) {
            throw new org.apache.pulsar.client.api.SchemaSerializationException(e);
        }
    }

    @Override
    public synchronized SchemaInfo getSchemaInfo() {
        if (info == null) {
            info = new Info("", definition.get().getBytes(StandardCharsets.UTF_8), SchemaType.JSON, 0, properties);
        }
        return info;
    }
}
