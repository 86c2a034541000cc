package geminga.instance.schema;

import java.nio.ByteBuffer;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.LocalTime;
import java.util.Date;
import java.util.Map;
import java.util.function.BiConsumer;
import java.util.function.Function;
import org.apache.pulsar.common.schema.SchemaInfo;
import org.apache.pulsar.common.schema.SchemaType;

/**
 * The schemas of single values. Numbers are big-endian. Each is there once, as a constant of {@link org.apache.pulsar.client.api.Schema};
 * none is a constant here, since whichever of the two classes were initialized first would find the other's constants empty.
 *
 * <p>Source of the encodings: the classes of Pulsar's {@code org.apache.pulsar.client.impl.schema}, such as {@code InstantSchema}.
 */
public final class PlainSchema<T> extends Coding<T> {
    private final SchemaInfo info;
    private final Function<T, byte[]> encoder;
    private final Function<byte[], T> decoder;
    private final boolean isUtf8;

    private PlainSchema(SchemaType type, Function<T, byte[]> encoder, Function<byte[], T> decoder) {
        this(new Info(type.name(), new byte[0], type, 0, Map.of()), encoder, decoder, false);
    }

    private PlainSchema(SchemaInfo info, Function<T, byte[]> encoder, Function<byte[], T> decoder, boolean isUtf8) {
        this.info = info;
        this.encoder = encoder;
        this.decoder = decoder;
        this.isUtf8 = isUtf8;
    }

    public static PlainSchema<byte[]> bytes() {
        return new PlainSchema<>(SchemaType.BYTES, bytes -> bytes, bytes -> bytes);
    }

    public static PlainSchema<ByteBuffer> byteBuffer() {
        return new PlainSchema<>(SchemaType.BYTES, PlainSchema::remaining, ByteBuffer::wrap);
    }

    /** Text in any character set. */
    public static PlainSchema<String> string(Charset charset) {
        Info info = new Info("STRING", new byte[0], SchemaType.STRING, 0, Map.of("__charset", charset.name()));
        return new PlainSchema<>(info, value -> value.getBytes(charset), bytes -> new String(bytes, charset),
            charset.equals(StandardCharsets.UTF_8));
    }

    public static PlainSchema<Byte> int8() {
        return fixed(SchemaType.INT8, 1, ByteBuffer::put, ByteBuffer::get);
    }

    public static PlainSchema<Short> int16() {
        return fixed(SchemaType.INT16, 2, ByteBuffer::putShort, ByteBuffer::getShort);
    }

    public static PlainSchema<Integer> int32() {
        return fixed(SchemaType.INT32, 4, ByteBuffer::putInt, ByteBuffer::getInt);
    }

    public static PlainSchema<Long> int64() {
        return fixed(SchemaType.INT64, 8, ByteBuffer::putLong, ByteBuffer::getLong);
    }

    public static PlainSchema<Float> float32() {
        return fixed(SchemaType.FLOAT, 4, ByteBuffer::putFloat, ByteBuffer::getFloat);
    }

    public static PlainSchema<Double> float64() {
        return fixed(SchemaType.DOUBLE, 8, ByteBuffer::putDouble, ByteBuffer::getDouble);
    }

    public static PlainSchema<Boolean> bool() {
        return fixed(SchemaType.BOOLEAN, 1, (out, value) -> out.put((byte) (value ? 1 : 0)), in -> in.get() != 0);
    }

    public static PlainSchema<Date> date() {
        return fixed(SchemaType.DATE, 8, (out, value) -> out.putLong(value.getTime()), in -> new Date(in.getLong()));
    }

    public static PlainSchema<java.sql.Time> time() {
        return fixed(SchemaType.TIME, 8, (out, value) -> out.putLong(value.getTime()), in -> new java.sql.Time(in.getLong()));
    }

    public static PlainSchema<java.sql.Timestamp> timestamp() {
        return fixed(SchemaType.TIMESTAMP, 8, (out, value) -> out.putLong(value.getTime()), in -> new java.sql.Timestamp(in.getLong()));
    }

    public static PlainSchema<Instant> instant() {
        return fixed(SchemaType.INSTANT, 12, (out, value) -> out.putLong(value.getEpochSecond()).putInt(value.getNano()),
            in -> Instant.ofEpochSecond(in.getLong(), in.getInt()));
    }

    public static PlainSchema<LocalDate> localDate() {
        return fixed(SchemaType.LOCAL_DATE, 8, (out, value) -> out.putLong(value.toEpochDay()), in -> LocalDate.ofEpochDay(in.getLong()));
    }

    public static PlainSchema<LocalTime> localTime() {
        return fixed(SchemaType.LOCAL_TIME, 8, (out, value) -> out.putLong(value.toNanoOfDay()), in -> LocalTime.ofNanoOfDay(in.getLong()));
    }

    public static PlainSchema<LocalDateTime> localDateTime() {
        return fixed(SchemaType.LOCAL_DATE_TIME, 16,
            (out, value) -> out.putLong(value.toLocalDate().toEpochDay()).putLong(value.toLocalTime().toNanoOfDay()),
            in -> LocalDateTime.of(LocalDate.ofEpochDay(in.getLong()), LocalTime.ofNanoOfDay(in.getLong())));
    }

    /** Bytes that were encoded with another schema already. */
    public static PlainSchema<byte[]> encoded(SchemaInfo info) {
        return new PlainSchema<>(info == null ? bytes().info : info, bytes -> bytes, bytes -> bytes, false);
    }

    @Override
    public byte[] encode(T value) {
        return value == null ? null : encoder.apply(value);
    }

    @Override
    @SuppressWarnings("unchecked")
    public T decode(byte[] bytes, int offset, int length, byte[] version) {
        if (isUtf8) {
            return (T) new String(bytes, offset, length, StandardCharsets.UTF_8);
        }
        // Never the frame itself: user code may change what it is given.
        byte[] copy = new byte[length];
        System.arraycopy(bytes, offset, copy, 0, length);
        return decoder.apply(copy);
    }

    @Override
    public SchemaInfo getSchemaInfo() {
        return info;
    }

    private static <T> PlainSchema<T> fixed(SchemaType type, int size, BiConsumer<ByteBuffer, T> put, Function<ByteBuffer, T> get) {
        return new PlainSchema<>(type, value -> {
            ByteBuffer out = ByteBuffer.allocate(size);
            put.accept(out, value);
            return out.array();
        }, bytes -> {
            if (bytes.length != size) {
                throw wrong(type + " has " + size + " bytes, the message " + bytes.length);
            }
            return get.apply(ByteBuffer.wrap(bytes));
        });
    }

    private static byte[] remaining(ByteBuffer buffer) {
        byte[] bytes = new byte[buffer.remaining()];
        buffer.duplicate().get(bytes);
        return bytes;
    }
}
