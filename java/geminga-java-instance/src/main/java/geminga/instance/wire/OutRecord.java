package geminga.instance.wire;

import java.util.Map;

/** A message that user code makes, as the protocol writes it. Null, 0 or empty stand for what is absent; {@code schema} is the number of one. */
public record OutRecord(String topic, String key, boolean isKeyBase64, byte[] payload, Map<String, String> properties, long eventTime,
                        long deliverAt, Long sequenceId, Integer schema) {
    private static final byte[] EMPTY = {};
    private static final int HAS_TOPIC = 1;
    private static final int HAS_KEY = 2;
    private static final int KEY_IS_BASE64 = 4;
    private static final int HAS_SEQUENCE_ID = 8;
    private static final int HAS_SCHEMA = 16;

    /** Only a value, for the output topic. */
    public static OutRecord of(byte[] payload) {
        return new OutRecord(null, null, false, payload, Map.of(), 0, 0, null, null);
    }

    public void write(Out out) {
        out.u8((topic == null ? 0 : HAS_TOPIC) | (key == null ? 0 : HAS_KEY) | (key != null && isKeyBase64 ? KEY_IS_BASE64 : 0)
            | (sequenceId == null ? 0 : HAS_SEQUENCE_ID) | (schema == null ? 0 : HAS_SCHEMA));
        out.u64(eventTime);
        out.u64(deliverAt);
        out.u64(sequenceId == null ? 0 : sequenceId);
        out.str(topic == null ? "" : topic);
        out.str(key == null ? "" : key);
        byte[] bytes = payload == null ? EMPTY : payload;
        out.bytes(bytes, 0, bytes.length);
        out.u32(properties.size());
        properties.forEach((name, value) -> {
            out.str(name);
            out.str(value == null ? "" : value);
        });
        if (schema != null) {
            out.u32(schema);
        }
    }
}
