package geminga.instance.schema;

import geminga.instance.GenericTypes;
import java.lang.reflect.Constructor;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.nio.ByteBuffer;
import java.util.Locale;
import java.util.Map;
import java.util.function.Function;
import org.apache.pulsar.client.api.Schema;
import org.apache.pulsar.client.api.schema.GenericObject;
import org.apache.pulsar.common.schema.KeyValue;
import org.apache.pulsar.common.schema.KeyValueEncodingType;
import org.apache.pulsar.common.schema.SchemaInfo;
import org.apache.pulsar.common.schema.SchemaType;
import org.apache.pulsar.functions.api.SerDe;

/**
 * Decides how the values of a topic are coded: as the function's configuration says (a schema type, a schema class or a SerDe class), as
 * the topic's schema says, or by the type that user code takes or gives.
 *
 * <p>Source: Pulsar's {@code TopicSchema}; of which this differs in that the schemas of numbers and times are supported where they are
 * named, or are the topic's.
 */
public final class Schemas {
    /** A configuration may name it; it means the default. */
    private static final String DEFAULT_SERDE = "org.apache.pulsar.functions.api.utils.DefaultSerDe";

    private Schemas() {}

    /**
     * @param type what user code takes or gives
     * @param coding a schema type, or a class of {@code loader}; empty for none
     * @param registered finds the topic's schema of a version, and for null the newest one; null from it: there is none
     * @throws IllegalArgumentException in words for the one who deployed the function
     */
    public static Schema<?> choose(Type type, String coding, Map<String, String> properties, ClassLoader loader, boolean isInput,
                                   Function<byte[], SchemaInfo> registered) {
        Class<?> raw = GenericTypes.raw(type);
        if (GenericObject.class.isAssignableFrom(raw)) {
            return new AnySchema(registered);
        }
        if (coding.isEmpty() || coding.equals(DEFAULT_SERDE)) {
            return ofType(typeByDefault(raw, registered), type, properties, loader, registered);
        }
        SchemaType named = named(coding);
        if (named != null) {
            return ofType(named, type, properties, loader, registered);
        }
        return ofClass(coding, raw, loader, isInput);
    }

    /** The schema of a single value; null when the type is none of these. */
    static Schema<?> ofPrimitive(SchemaType type) {
        return switch (type) {
            case NONE, BYTES -> Schema.BYTES;
            case STRING -> Schema.STRING;
            case BOOLEAN -> Schema.BOOL;
            case INT8 -> Schema.INT8;
            case INT16 -> Schema.INT16;
            case INT32 -> Schema.INT32;
            case INT64 -> Schema.INT64;
            case FLOAT -> Schema.FLOAT;
            case DOUBLE -> Schema.DOUBLE;
            case DATE -> Schema.DATE;
            case TIME -> Schema.TIME;
            case TIMESTAMP -> Schema.TIMESTAMP;
            case INSTANT -> Schema.INSTANT;
            case LOCAL_DATE -> Schema.LOCAL_DATE;
            case LOCAL_TIME -> Schema.LOCAL_TIME;
            case LOCAL_DATE_TIME -> Schema.LOCAL_DATE_TIME;
            default -> null;
        };
    }

    private static Schema<?> ofType(SchemaType schemaType, Type type, Map<String, String> properties, ClassLoader loader,
                                    Function<byte[], SchemaInfo> registered) {
        return switch (schemaType) {
            case JSON -> JsonSchema.of(type, properties);
            case AVRO -> AvroSchema.of(type, properties, loader, registered);
            case AUTO, AUTO_CONSUME -> new AnySchema(registered);
            case AUTO_PUBLISH -> Schema.BYTES;
            case KEY_VALUE -> pair(type, properties, loader, registered);
            case NONE, BYTES -> ByteBuffer.class == type ? Schema.BYTEBUFFER : Schema.BYTES;
            default -> {
                Schema<?> primitive = ofPrimitive(schemaType);
                if (primitive == null) {
                    throw new IllegalArgumentException("schema type " + schemaType + " is not supported for Java functions");
                }
                yield primitive;
            }
        };
    }

    private static Schema<?> pair(Type type, Map<String, String> properties, ClassLoader loader, Function<byte[], SchemaInfo> registered) {
        KeyValueEncodingType encoding = "SEPARATED".equalsIgnoreCase(properties.getOrDefault("kv.encoding.type", ""))
            ? KeyValueEncodingType.SEPARATED : KeyValueEncodingType.INLINE;
        if (!(type instanceof ParameterizedType pair) || pair.getRawType() != KeyValue.class) {
            return new PairSchema<>(Schema.BYTES, Schema.BYTES, encoding);
        }
        Type[] sides = pair.getActualTypeArguments();
        return new PairSchema<>(side(sides[0], properties, loader, registered), side(sides[1], properties, loader, registered), encoding);
    }

    private static Schema<?> side(Type type, Map<String, String> properties, ClassLoader loader, Function<byte[], SchemaInfo> registered) {
        return ofType(typeByDefault(GenericTypes.raw(type), version -> null), type, properties, loader, registered);
    }

    private static SchemaType typeByDefault(Class<?> raw, Function<byte[], SchemaInfo> registered) {
        if (raw == byte[].class || raw == ByteBuffer.class) {
            return SchemaType.NONE;
        }
        if (raw == String.class) {
            return SchemaType.STRING;
        }
        SchemaInfo info = registered.apply(null);
        if (info != null && info.getType() != SchemaType.NONE && info.getType() != SchemaType.BYTES) {
            return info.getType();
        }
        return raw == KeyValue.class ? SchemaType.KEY_VALUE : SchemaType.JSON;
    }

    private static SchemaType named(String coding) {
        try {
            return SchemaType.valueOf(coding.toUpperCase(Locale.ROOT));
        } catch (IllegalArgumentException e) {
            return null;
        }
    }

    private static Schema<?> ofClass(String name, Class<?> raw, ClassLoader loader, boolean isInput) {
        Object instance;
        try {
            Constructor<?> constructor = loader.loadClass(name).getDeclaredConstructor();
            constructor.setAccessible(true);
            instance = constructor.newInstance();
        } catch (ClassNotFoundException e) {
            throw new IllegalArgumentException(name + " is neither a schema type nor a class of the package", e);
        } catch (InvocationTargetException e) {
            throw new IllegalArgumentException("the constructor of " + name + " failed: " + e.getCause(), e.getCause());
        } catch (ReflectiveOperationException | LinkageError e) {
            throw new IllegalArgumentException(name + " cannot be made: " + e, e);
        }
        if (instance instanceof Schema<?> schema) {
            checkFits(name, Schema.class, schema.getClass(), raw, isInput);
            return schema;
        }
        if (instance instanceof SerDe<?> serDe) {
            checkFits(name, SerDe.class, serDe.getClass(), raw, isInput);
            return new SerDeSchema<>(serDe);
        }
        throw new IllegalArgumentException(name + " is neither a SerDe nor a Schema");
    }

    private static void checkFits(String name, Class<?> kind, Class<?> coder, Class<?> raw, boolean isInput) {
        Type[] arguments = GenericTypes.arguments(coder, kind);
        Class<?> coded = arguments == null ? null : GenericTypes.raw(arguments[0]);
        if (coded == null) {
            return;
        }
        if (isInput ? !raw.isAssignableFrom(coded) : !coded.isAssignableFrom(raw)) {
            throw new IllegalArgumentException(name + " is for " + coded.getName() + ", the function " + (isInput ? "takes " : "gives ") + raw.getName());
        }
    }
}
