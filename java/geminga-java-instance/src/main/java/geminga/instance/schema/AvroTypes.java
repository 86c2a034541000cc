package geminga.instance.schema;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.lang.reflect.Type;
import org.apache.avro.Conversions;
import org.apache.avro.Schema;
import org.apache.avro.data.TimeConversions;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DatumWriter;
import org.apache.avro.io.EncoderFactory;
import org.apache.avro.reflect.ReflectData;
import org.apache.pulsar.client.api.schema.SchemaDefinition;

/** Avro's view of user classes, which is also how JSON schemas are described. */
final class AvroTypes {
    private AvroTypes() {}

    static Schema parse(String definition) {
        return new Schema.Parser().setValidateDefaults(false).parse(definition);
    }

    /** The schema of a definition: what it says, what the class carries as {@code SCHEMA$}, or what its fields are. */
    static Schema of(SchemaDefinition<?> definition) {
        if (definition.getJsonDef() != null && !definition.getJsonDef().isBlank()) {
            return parse(definition.getJsonDef());
        }
        return of(definition.getPojo(), definition.getPojo(), definition.getAlwaysAllowNull(), definition.isJsr310ConversionEnabled());
    }

    static Schema of(Type type, Class<?> raw, boolean allowNull, boolean withJavaTime) {
        try {
            return (Schema) raw.getField("SCHEMA$").get(null);
        } catch (NoSuchFieldException | IllegalAccessException e) {
            ReflectData data = allowNull ? new ReflectData.AllowNull() : new ReflectData();
            return convert(data, withJavaTime).getSchema(type);
        }
    }

    /** A value as Avro has it in binary. */
    static <T> byte[] bytes(DatumWriter<T> writer, T value) throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        BinaryEncoder encoder = EncoderFactory.get().directBinaryEncoder(out, null);
        writer.write(value, encoder);
        encoder.flush();
        return out.toByteArray();
    }

    static ReflectData data(ClassLoader loader, boolean withJavaTime) {
        return convert(new ReflectData(loader), withJavaTime);
    }

    /** Source: Pulsar's {@code AvroSchema.addLogicalTypeConversions}. */
    private static ReflectData convert(ReflectData data, boolean withJavaTime) {
        data.addLogicalTypeConversion(new Conversions.DecimalConversion());
        data.addLogicalTypeConversion(new Conversions.UUIDConversion());
        if (withJavaTime) {
            data.addLogicalTypeConversion(new TimeConversions.DateConversion());
            data.addLogicalTypeConversion(new TimeConversions.TimeMillisConversion());
            data.addLogicalTypeConversion(new TimeConversions.TimeMicrosConversion());
            data.addLogicalTypeConversion(new TimeConversions.TimestampMillisConversion());
            data.addLogicalTypeConversion(new TimeConversions.TimestampMicrosConversion());
        }
        return data;
    }
}
