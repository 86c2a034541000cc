package geminga.instance.schema;

import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import org.apache.pulsar.client.api.schema.SchemaDefinition;
import org.apache.pulsar.client.api.schema.SchemaDefinitionBuilder;
import org.apache.pulsar.client.api.schema.SchemaReader;
import org.apache.pulsar.client.api.schema.SchemaWriter;

/** What user code says of a schema of records; its own builder. */
public final class Definition<T> implements SchemaDefinition<T>, SchemaDefinitionBuilder<T> {
    private boolean alwaysAllowNull = true;
    private boolean jsr310ConversionEnabled;
    private boolean supportSchemaVersioning;
    private final Map<String, String> properties = new HashMap<>();
    private Class<T> pojo;
    private ClassLoader classLoader;
    private String jsonDef;
    private SchemaReader<T> reader;
    private SchemaWriter<T> writer;

    @Override
    public Definition<T> withAlwaysAllowNull(boolean alwaysAllowNull) {
        this.alwaysAllowNull = alwaysAllowNull;
        return this;
    }

    @Override
    public Definition<T> withJSR310ConversionEnabled(boolean jsr310ConversionEnabled) {
        this.jsr310ConversionEnabled = jsr310ConversionEnabled;
        return this;
    }

    @Override
    public Definition<T> withProperties(Map<String, String> properties) {
        this.properties.clear();
        this.properties.putAll(properties);
        return this;
    }

    @Override
    public Definition<T> addProperty(String key, String value) {
        properties.put(key, value);
        return this;
    }

    @Override
    @SuppressWarnings("unchecked")
    public Definition<T> withPojo(Class pojo) {
        this.pojo = pojo;
        return this;
    }

    @Override
    public Definition<T> withClassLoader(ClassLoader classLoader) {
        this.classLoader = classLoader;
        return this;
    }

    @Override
    public Definition<T> withJsonDef(String jsonDef) {
        this.jsonDef = jsonDef;
        return this;
    }

    @Override
    public Definition<T> withSupportSchemaVersioning(boolean supportSchemaVersioning) {
        this.supportSchemaVersioning = supportSchemaVersioning;
        return this;
    }

    @Override
    public Definition<T> withSchemaReader(SchemaReader<T> reader) {
        this.reader = reader;
        return this;
    }

    @Override
    public Definition<T> withSchemaWriter(SchemaWriter<T> writer) {
        this.writer = writer;
        return this;
    }

    @Override
    public SchemaDefinition<T> build() {
        if (pojo == null && (jsonDef == null || jsonDef.isBlank())) {
            throw new IllegalArgumentException("a schema needs a class or a definition");
        }
        if (reader != null || writer != null) {
            throw new UnsupportedOperationException("Geminga does not take readers and writers of a schema definition");
        }
        return this;
    }

    @Override
    public boolean getAlwaysAllowNull() {
        return alwaysAllowNull;
    }

    @Override
    public boolean isJsr310ConversionEnabled() {
        return jsr310ConversionEnabled;
    }

    @Override
    public Map<String, String> getProperties() {
        return properties;
    }

    @Override
    public String getJsonDef() {
        return jsonDef;
    }

    @Override
    public Class<T> getPojo() {
        return pojo;
    }

    @Override
    public ClassLoader getClassLoader() {
        return classLoader;
    }

    @Override
    public boolean getSupportSchemaVersioning() {
        return supportSchemaVersioning;
    }

    @Override
    public Optional<SchemaReader<T>> getSchemaReaderOpt() {
        return Optional.empty();
    }

    @Override
    public Optional<SchemaWriter<T>> getSchemaWriterOpt() {
        return Optional.empty();
    }
}
