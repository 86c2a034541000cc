package geminga.instance.schema;

import geminga.instance.GenericTypes;
import java.io.IOException;
import java.lang.reflect.Type;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Function;
import org.apache.avro.Schema;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DatumReader;
import org.apache.avro.io.DatumWriter;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.reflect.ReflectData;
import org.apache.avro.reflect.ReflectDatumReader;
import org.apache.avro.reflect.ReflectDatumWriter;
import org.apache.pulsar.client.api.schema.SchemaDefinition;
import org.apache.pulsar.common.schema.SchemaInfo;
import org.apache.pulsar.common.schema.SchemaType;

/**
 * Records in Avro's binary encoding. A message is read with the schema it was written with, where that can be found out, and as its
 * own otherwise. Source: Pulsar's {@code AvroSchema}.
 */
public final class AvroSchema<T> extends Coding<T> {
    private final Schema schema;
    private final ReflectData data;
    private final Map<String, String> properties;
    private final DatumWriter<T> writer;
    /** The schema of a version, null when it is unknown. */
    private final Function<byte[], SchemaInfo> versions;
    private final ConcurrentHashMap<ByteBuffer, DatumReader<T>> readers = new ConcurrentHashMap<>();
    private final DatumReader<T> ownReader;
    private final ThreadLocal<BinaryDecoder> decoders = new ThreadLocal<>();

    private AvroSchema(Schema schema, ReflectData data, Map<String, String> properties, Function<byte[], SchemaInfo> versions) {
        this.schema = schema;
        this.data = data;
        this.properties = properties;
        this.versions = versions;
        writer = new ReflectDatumWriter<>(schema, data);
        ownReader = new ReflectDatumReader<>(schema, schema, data);
    }

    /** Of a type that user code names as its input or output. */
    public static <T> AvroSchema<T> of(Type type, Map<String, String> properties, ClassLoader loader, Function<byte[], SchemaInfo> versions) {
        boolean withJavaTime = Boolean.parseBoolean(properties.get("__jsr310ConversionEnabled"));
        Schema schema = AvroTypes.of(type, GenericTypes.raw(type), true, withJavaTime);
        return new AvroSchema<>(schema, AvroTypes.data(loader, withJavaTime), properties, versions);
    }

    public static <T> AvroSchema<T> of(SchemaDefinition<T> definition) {
        ClassLoader loader = definition.getClassLoader();
        if (loader == null) {
            loader = definition.getPojo() == null ? Thread.currentThread().getContextClassLoader() : definition.getPojo().getClassLoader();
        }
        return new AvroSchema<>(AvroTypes.of(definition), AvroTypes.data(loader, definition.isJsr310ConversionEnabled()),
            definition.getProperties(), version -> null);
    }

    @Override
    public byte[] encode(T value) {
        try {
            return AvroTypes.bytes(writer, value);
        } catch (IOException e) {
            throw new org.apache.pulsar.client.api.SchemaSerializationException(e);
        }
    }

    @Override
    public T decode(byte[] bytes, int offset, int length, byte[] version) {
        try {
            BinaryDecoder decoder = DecoderFactory.get().binaryDecoder(bytes, offset, length, decoders.get());
            decoders.set(decoder);
            return reader(version).read(null, decoder);
        } catch (IOException | IndexOutOfBoundsException e) {
            throw new org.apache.pulsar.client.api.SchemaSerializationException(e);
        }
    }

    private DatumReader<T> reader(byte[] version) {
        if (version == null) {
            return ownReader;
        }
        DatumReader<T> known = readers.get(ByteBuffer.wrap(version));
        if (known != null) {
            return known;
        }
        SchemaInfo written = versions.apply(version);
        DatumReader<T> reader = written == null || written.getType() != SchemaType.AVRO ? ownReader
            : new ReflectDatumReader<>(AvroTypes.parse(written.getSchemaDefinition()), schema, data);
        readers.put(ByteBuffer.wrap(version.clone()), reader);
        return reader;
    }

    @Override
    public SchemaInfo getSchemaInfo() {
        return new Info("", schema.toString().getBytes(StandardCharsets.UTF_8), SchemaType.AVRO, 0, properties);
    }

    @Override
    public Optional<Object> getNativeSchema() {
        return Optional.of(schema);
    }
}
