package geminga.instance;

import geminga.instance.schema.AnySchema;
import geminga.instance.wire.Frame;
import java.nio.charset.StandardCharsets;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import org.apache.pulsar.client.api.Message;
import org.apache.pulsar.client.api.Schema;
import org.apache.pulsar.functions.api.Record;

/**
 * One message as user code sees it, read in place out of the frame it came in; what is not asked for is not decoded.
 *
 * <p>Layout: docs/reference/process-protocol.md, "Invocation record".
 */
final class Input implements Record<Object> {
    static final int FIXED_BYTES = 92;
    private static final int HAS_KEY = 1;
    private static final int KEY_IS_BASE64 = 2;

    private final Instance instance;
    private final byte[] frame;
    private final int at;
    private final int propertiesAt;
    private final String topic;
    private final Schema<Object> schema;
    private final Object value;
    private final int partition;
    private Map<String, String> properties;
    private Invocation owner;
    /** Completed by whoever says what became of it; null where the end of the call says so. */
    private CompletableFuture<Void> settled;

    /** Reads the record at {@code at}, whose lengths were checked by {@link #checkedEnd}, and decodes its value. */
    Input(Instance instance, byte[] frame, int at) {
        this.instance = instance;
        this.frame = frame;
        this.at = at;
        int payloadBytes = i32(16);
        int topicBytes = i32(20);
        propertiesAt = at + FIXED_BYTES + payloadBytes + topicBytes + i32(24) + i32(28) + i32(32);
        partition = i32(52);
        Topics.Coded topic = instance.topics().of(frame, at + FIXED_BYTES + payloadBytes, topicBytes);
        this.topic = topic.name();
        schema = topic.schema();
        value = topic.decode(this);
    }

    /**
     * Where the record at {@code at} ends.
     *
     * @throws IllegalArgumentException when it does not fit into its frame, or its parts do not fit into it
     */
    static int checkedEnd(byte[] frame, int at) {
        if (frame.length - at < FIXED_BYTES) {
            throw new IllegalArgumentException("an invocation record is cut");
        }
        long end = at + 4L + Integer.toUnsignedLong(Frame.i32(frame, at));
        long used = at + (long) FIXED_BYTES;
        for (int field = 16; field <= 32; field += 4) {
            used += Integer.toUnsignedLong(Frame.i32(frame, at + field));
        }
        if (end > frame.length || used > end) {
            throw new IllegalArgumentException("an invocation record does not fit into its frame");
        }
        return (int) end;
    }

    static long invocation(byte[] frame, int at) {
        return Frame.i64(frame, at + 4);
    }

    static int kind(byte[] frame, int at) {
        return frame[at + 12];
    }

    long invocation() {
        return invocation(frame, at);
    }

    /** Set before user code sees it. */
    void belongTo(Invocation owner) {
        this.owner = owner;
    }

    /** The call it is an argument of. */
    Invocation owner() {
        return owner;
    }

    /** Leaves it to user code to say what became of this, by {@link #ack} and {@link #fail}. */
    CompletableFuture<Void> settledByUser() {
        settled = new CompletableFuture<>();
        return settled;
    }

    byte[] frame() {
        return frame;
    }

    int payloadAt() {
        return at + FIXED_BYTES;
    }

    int payloadBytes() {
        return i32(16);
    }

    byte[] payload() {
        return copy(payloadAt(), payloadBytes());
    }

    boolean hasKey() {
        return (frame[at + 13] & HAS_KEY) != 0;
    }

    boolean isKeyBase64() {
        return (frame[at + 13] & KEY_IS_BASE64) != 0;
    }

    String key() {
        return hasKey() ? text(payloadAt() + payloadBytes() + i32(20), i32(24)) : null;
    }

    String producer() {
        return text(payloadAt() + payloadBytes() + i32(20) + i32(24), i32(28));
    }

    /** Null when it was written without a schema. */
    byte[] schemaVersion() {
        int bytes = i32(32);
        return bytes == 0 ? null : copy(propertiesAt - bytes, bytes);
    }

    long eventTime() {
        return i64(68);
    }

    long publishTime() {
        return i64(76);
    }

    long sequenceId() {
        return i64(84);
    }

    int redeliveryCount() {
        return i32(64);
    }

    String topic() {
        return topic;
    }

    StoredId messageId() {
        return new StoredId(i64(36), i64(44), partition, i32(56), i32(60));
    }

    @Override
    public Optional<String> getTopicName() {
        return Optional.of(topic);
    }

    @Override
    public Optional<String> getKey() {
        return Optional.ofNullable(key());
    }

    /** The topic's own schema of the message where the function takes whatever comes. Source: Pulsar's {@code PulsarSource}. */
    @Override
    @SuppressWarnings("unchecked")
    public Schema<Object> getSchema() {
        return (Schema<?>) schema instanceof AnySchema any ? (Schema<Object>) any.at(schemaVersion()) : schema;
    }

    @Override
    public Object getValue() {
        return value;
    }

    @Override
    public Optional<Long> getEventTime() {
        return eventTime() == 0 ? Optional.empty() : Optional.of(eventTime());
    }

    @Override
    public Optional<String> getPartitionId() {
        return Optional.of(topic + "-" + partition);
    }

    @Override
    public Optional<Integer> getPartitionIndex() {
        return Optional.of(Math.max(partition, 0));
    }

    /** Ledger and entry in one number. Source: Pulsar's {@code FunctionCommon.getSequenceId}. */
    @Override
    public Optional<Long> getRecordSequence() {
        return Optional.of(i64(36) << 28 | i64(44));
    }

    @Override
    public synchronized Map<String, String> getProperties() {
        if (properties == null) {
            int count = Frame.u16(frame, at + 14);
            Map<String, String> read = new LinkedHashMap<>();
            int next = propertiesAt;
            for (int i = 0; i < count; i++) {
                int nameBytes = i32At(next);
                String name = text(next + 4, nameBytes);
                next += 4 + nameBytes;
                int valueBytes = i32At(next);
                read.put(name, text(next + 4, valueBytes));
                next += 4 + valueBytes;
            }
            properties = Collections.unmodifiableMap(read);
        }
        return properties;
    }

    @Override
    public void ack() {
        if (settled != null) {
            settled.complete(null);
            return;
        }
        instance.acknowledge(this);
    }

    @Override
    public void fail() {
        if (settled != null) {
            settled.completeExceptionally(new IllegalStateException("the sink called fail on the record"));
            return;
        }
        instance.fail(this);
    }

    @Override
    public Optional<Message<Object>> getMessage() {
        return Optional.of(new InputMessage(this));
    }

    private int i32(int field) {
        return Frame.i32(frame, at + field);
    }

    private int i32At(int offset) {
        return Frame.i32(frame, offset);
    }

    private long i64(int field) {
        return Frame.i64(frame, at + field);
    }

    private String text(int offset, int length) {
        return new String(frame, offset, length, StandardCharsets.UTF_8);
    }

    private byte[] copy(int offset, int length) {
        byte[] bytes = new byte[length];
        System.arraycopy(frame, offset, bytes, 0, length);
        return bytes;
    }
}
