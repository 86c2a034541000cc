package geminga.instance;

import geminga.instance.schema.PairSchema;
import java.util.Base64;
import org.apache.pulsar.client.api.Schema;
import org.apache.pulsar.common.schema.KeyValue;

/** A value as bytes; with the key that the value itself holds, in base64, where its schema separates the two. */
record Encoded(byte[] payload, String key) {
    @SuppressWarnings({"unchecked", "rawtypes"})
    static Encoded of(Schema<?> schema, Object value) {
        if (value == null) {
            return new Encoded(null, null);
        }
        String key = null;
        if (schema instanceof PairSchema pair) {
            byte[] bytes = pair.encodeKey((KeyValue) value);
            key = bytes == null ? null : Base64.getEncoder().encodeToString(bytes);
        }
        return new Encoded(((Schema<Object>) schema).encode(value), key);
    }
}
