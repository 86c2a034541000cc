package geminga.instance.schema;

import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.pulsar.client.api.Schema;
import org.apache.pulsar.client.api.schema.KeyValueSchema;
import org.apache.pulsar.common.schema.KeyValue;
import org.apache.pulsar.common.schema.KeyValueEncodingType;
import org.apache.pulsar.common.schema.SchemaInfo;
import org.apache.pulsar.common.schema.SchemaType;

/** A key and a value, both in the payload or the key as the message's own. Source: Pulsar's {@code KeyValueSchemaImpl}. */
public final class PairSchema<K, V> extends Coding<KeyValue<K, V>> implements KeyValueSchema<K, V> {
    private final Schema<K> key;
    private final Schema<V> value;
    private final KeyValueEncodingType encoding;

    public PairSchema(Schema<K> key, Schema<V> value, KeyValueEncodingType encoding) {
        this.key = key;
        this.value = value;
        this.encoding = encoding;
    }

    @Override
    public byte[] encode(KeyValue<K, V> pair) {
        if (encoding == KeyValueEncodingType.INLINE) {
            return KeyValue.encode(pair.getKey(), key, pair.getValue(), value);
        }
        return pair.getValue() == null ? null : value.encode(pair.getValue());
    }

    /** What becomes the message's key; null where the key is in the payload. */
    public byte[] encodeKey(KeyValue<K, V> pair) {
        return encoding == KeyValueEncodingType.SEPARATED && pair.getKey() != null ? key.encode(pair.getKey()) : null;
    }

    @Override
    public KeyValue<K, V> decode(byte[] bytes, int offset, int length, byte[] version) {
        if (encoding == KeyValueEncodingType.SEPARATED) {
            throw wrong("the key of this pair is the message's key, which is not at hand");
        }
        return KeyValue.decode(part(bytes, offset, length), (k, v) -> pair(k, v, version));
    }

    /** Decodes a pair whose key is the message's. */
    public KeyValue<K, V> decode(byte[] keyBytes, byte[] valueBytes, byte[] version) {
        return encoding == KeyValueEncodingType.SEPARATED ? pair(keyBytes, valueBytes, version) : decode(valueBytes, version);
    }

    private KeyValue<K, V> pair(byte[] k, byte[] v, byte[] version) {
        return new KeyValue<>(k == null ? null : key.decode(k, version), v == null ? null : value.decode(v, version));
    }

    @Override
    public Schema<K> getKeySchema() {
        return key;
    }

    @Override
    public Schema<V> getValueSchema() {
        return value;
    }

    @Override
    public KeyValueEncodingType getKeyValueEncodingType() {
        return encoding;
    }

    /** Both definitions, each with its length before it. */
    @Override
    public SchemaInfo getSchemaInfo() {
        SchemaInfo k = key.getSchemaInfo();
        SchemaInfo v = value.getSchemaInfo();
        Map<String, String> properties = new LinkedHashMap<>();
        properties.put("kv.encoding.type", encoding.name());
        properties.put("key.schema.name", k.getName());
        properties.put("key.schema.type", k.getType().name());
        properties.put("value.schema.name", v.getName());
        properties.put("value.schema.type", v.getType().name());
        return new Info("KeyValue", KeyValue.encode(k.getSchema(), Schema.BYTES, v.getSchema(), Schema.BYTES),
            SchemaType.KEY_VALUE, 0, properties);
    }
}
