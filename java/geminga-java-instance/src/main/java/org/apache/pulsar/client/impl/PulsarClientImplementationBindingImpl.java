package org.apache.pulsar.client.impl;

import geminga.instance.StoredId;
import geminga.instance.schema.AnySchema;
import geminga.instance.schema.AvroSchema;
import geminga.instance.schema.Definition;
import geminga.instance.schema.Info;
import geminga.instance.schema.JsonSchema;
import geminga.instance.schema.PairSchema;
import geminga.instance.schema.PlainSchema;
import geminga.instance.schema.RecordDefinition;
import geminga.instance.schema.RecordSchema;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.Charset;
import java.sql.Time;
import java.sql.Timestamp;
import java.time.Instant;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.LocalTime;
import java.util.Date;
import java.util.Map;
import java.util.function.Supplier;
import org.apache.pulsar.client.api.Authentication;
import org.apache.pulsar.client.api.BatcherBuilder;
import org.apache.pulsar.client.api.ClientBuilder;
import org.apache.pulsar.client.api.MessageId;
import org.apache.pulsar.client.api.MessagePayloadFactory;
import org.apache.pulsar.client.api.PulsarClientSharedResourcesBuilder;
import org.apache.pulsar.client.api.Schema;
import org.apache.pulsar.client.api.TopicMessageId;
import org.apache.pulsar.client.api.schema.GenericRecord;
import org.apache.pulsar.client.api.schema.GenericSchema;
import org.apache.pulsar.client.api.schema.RecordSchemaBuilder;
import org.apache.pulsar.client.api.schema.SchemaDefinition;
import org.apache.pulsar.client.api.schema.SchemaDefinitionBuilder;
import org.apache.pulsar.client.internal.PulsarClientImplementationBinding;
import org.apache.pulsar.common.schema.KeyValue;
import org.apache.pulsar.common.schema.KeyValueEncodingType;
import org.apache.pulsar.common.schema.SchemaInfo;
import org.apache.pulsar.common.schema.SchemaInfoWithVersion;
import org.apache.pulsar.common.schema.SchemaType;

/**
 * What the client's API is backed by within a function: schemas, and no connection.
 *
 * <p>The API finds its implementation by this very name. Where a package brings Pulsar's client, {@code PulsarClient.builder()} gives
 * that one.
 */
public final class PulsarClientImplementationBindingImpl implements PulsarClientImplementationBinding {
    @Override
    public <T> SchemaDefinitionBuilder<T> newSchemaDefinitionBuilder() {
        return new Definition<>();
    }

    @Override
    public ClientBuilder newClientBuilder() {
        try {
            return (ClientBuilder) Class.forName("org.apache.pulsar.client.impl.ClientBuilderImpl", true,
                Thread.currentThread().getContextClassLoader()).getDeclaredConstructor().newInstance();
        } catch (ReflectiveOperationException | LinkageError e) {
            throw absent("a Pulsar client (a package that needs one brings org.apache.pulsar:pulsar-client-original)");
        }
    }

    @Override
    public MessageId newMessageId(long ledger, long entry, int partition) {
        return new StoredId(ledger, entry, partition, -1, 0);
    }

    @Override
    public MessageId newMessageIdFromByteArray(byte[] data) throws IOException {
        return StoredId.parse(data);
    }

    @Override
    public MessageId newMessageIdFromByteArrayWithTopic(byte[] data, String topic) throws IOException {
        return StoredId.parse(data);
    }

    @Override
    public Authentication newAuthenticationToken(String token) {
        throw absent("authentication of clients");
    }

    @Override
    public Authentication newAuthenticationToken(Supplier<String> token) {
        throw absent("authentication of clients");
    }

    @Override
    public Authentication newAuthenticationTLS(String certificate, String key) {
        throw absent("authentication of clients");
    }

    @Override
    public Authentication createAuthentication(String plugin, String parameters) {
        throw absent("authentication of clients");
    }

    @Override
    public Authentication createAuthentication(String plugin, Map<String, String> parameters) {
        throw absent("authentication of clients");
    }

    @Override
    public Schema<byte[]> newBytesSchema() {
        return PlainSchema.bytes();
    }

    @Override
    public Schema<String> newStringSchema() {
        return PlainSchema.string(java.nio.charset.StandardCharsets.UTF_8);
    }

    @Override
    public Schema<String> newStringSchema(Charset charset) {
        return PlainSchema.string(charset);
    }

    @Override
    public Schema<Byte> newByteSchema() {
        return PlainSchema.int8();
    }

    @Override
    public Schema<Short> newShortSchema() {
        return PlainSchema.int16();
    }

    @Override
    public Schema<Integer> newIntSchema() {
        return PlainSchema.int32();
    }

    @Override
    public Schema<Long> newLongSchema() {
        return PlainSchema.int64();
    }

    @Override
    public Schema<Boolean> newBooleanSchema() {
        return PlainSchema.bool();
    }

    @Override
    public Schema<ByteBuffer> newByteBufferSchema() {
        return PlainSchema.byteBuffer();
    }

    @Override
    public Schema<Float> newFloatSchema() {
        return PlainSchema.float32();
    }

    @Override
    public Schema<Double> newDoubleSchema() {
        return PlainSchema.float64();
    }

    @Override
    public Schema<Date> newDateSchema() {
        return PlainSchema.date();
    }

    @Override
    public Schema<Time> newTimeSchema() {
        return PlainSchema.time();
    }

    @Override
    public Schema<Timestamp> newTimestampSchema() {
        return PlainSchema.timestamp();
    }

    @Override
    public Schema<Instant> newInstantSchema() {
        return PlainSchema.instant();
    }

    @Override
    public Schema<LocalDate> newLocalDateSchema() {
        return PlainSchema.localDate();
    }

    @Override
    public Schema<LocalTime> newLocalTimeSchema() {
        return PlainSchema.localTime();
    }

    @Override
    public Schema<LocalDateTime> newLocalDateTimeSchema() {
        return PlainSchema.localDateTime();
    }

    @Override
    @SuppressWarnings("unchecked")
    public <T> Schema<T> newAvroSchema(SchemaDefinition definition) {
        return AvroSchema.of((SchemaDefinition<T>) definition);
    }

    @Override
    public <T extends com.google.protobuf.Message> Schema<T> newProtobufSchema(SchemaDefinition definition) {
        throw absent("schemas of Protocol Buffers");
    }

    @Override
    public <T extends com.google.protobuf.Message> Schema<T> newProtobufNativeSchema(SchemaDefinition definition) {
        throw absent("schemas of Protocol Buffers");
    }

    @Override
    @SuppressWarnings("unchecked")
    public <T> Schema<T> newJSONSchema(SchemaDefinition definition) {
        return JsonSchema.of((SchemaDefinition<T>) definition);
    }

    @Override
    public Schema<GenericRecord> newAutoConsumeSchema() {
        return new AnySchema(version -> null);
    }

    @Override
    public Schema<byte[]> newAutoProduceSchema() {
        return Schema.BYTES;
    }

    @Override
    public Schema<byte[]> newAutoProduceSchema(Schema<?> schema) {
        return PlainSchema.encoded(schema.getSchemaInfo());
    }

    @Override
    public Schema<byte[]> newAutoProduceValidatedAvroSchema(Object schema) {
        return PlainSchema.encoded(new Info("", schema.toString().getBytes(java.nio.charset.StandardCharsets.UTF_8), SchemaType.AVRO, 0, Map.of()));
    }

    @Override
    public Schema<KeyValue<byte[], byte[]>> newKeyValueBytesSchema() {
        return new PairSchema<>(Schema.BYTES, Schema.BYTES, KeyValueEncodingType.INLINE);
    }

    @Override
    public <K, V> Schema<KeyValue<K, V>> newKeyValueSchema(Schema<K> key, Schema<V> value, KeyValueEncodingType encoding) {
        return new PairSchema<>(key, value, encoding);
    }

    @Override
    public <K, V> Schema<KeyValue<K, V>> newKeyValueSchema(Class<K> key, Class<V> value, SchemaType type) {
        return switch (type) {
            case JSON -> new PairSchema<>(Schema.JSON(key), Schema.JSON(value), KeyValueEncodingType.INLINE);
            case AVRO -> new PairSchema<>(Schema.AVRO(key), Schema.AVRO(value), KeyValueEncodingType.INLINE);
            default -> throw new IllegalArgumentException("the sides of a pair are JSON or AVRO, not " + type);
        };
    }

    @Override
    public Schema<?> getSchema(SchemaInfo info) {
        return AnySchema.of(info);
    }

    @Override
    public GenericSchema<GenericRecord> getGenericSchema(SchemaInfo info) {
        return new RecordSchema(info);
    }

    @Override
    public RecordSchemaBuilder newRecordSchemaBuilder(String name) {
        return new RecordDefinition(name);
    }

    @Override
    public KeyValueEncodingType decodeKeyValueEncodingType(SchemaInfo info) {
        return KeyValueEncodingType.valueOf(info.getProperties().getOrDefault("kv.encoding.type", "INLINE"));
    }

    @Override
    public <K, V> SchemaInfo encodeKeyValueSchemaInfo(Schema<K> key, Schema<V> value, KeyValueEncodingType encoding) {
        return new PairSchema<>(key, value, encoding).getSchemaInfo();
    }

    @Override
    public <K, V> SchemaInfo encodeKeyValueSchemaInfo(String name, Schema<K> key, Schema<V> value, KeyValueEncodingType encoding) {
        SchemaInfo info = encodeKeyValueSchemaInfo(key, value, encoding);
        return new Info(name, info.getSchema(), info.getType(), 0, info.getProperties());
    }

    @Override
    public KeyValue<SchemaInfo, SchemaInfo> decodeKeyValueSchemaInfo(SchemaInfo info) {
        return AnySchema.sides(info);
    }

    @Override
    public String jsonifySchemaInfo(SchemaInfo info) {
        return info.getSchemaDefinition();
    }

    @Override
    public String jsonifySchemaInfoWithVersion(SchemaInfoWithVersion info) {
        return info.getSchemaInfo().getSchemaDefinition();
    }

    @Override
    public String jsonifyKeyValueSchemaInfo(KeyValue<SchemaInfo, SchemaInfo> info) {
        throw absent("schemas as text");
    }

    @Override
    public String convertKeyValueSchemaInfoDataToString(KeyValue<SchemaInfo, SchemaInfo> info) {
        throw absent("schemas as text");
    }

    @Override
    public byte[] convertKeyValueDataStringToSchemaInfoSchema(byte[] data) {
        throw absent("schemas as text");
    }

    @Override
    public BatcherBuilder newDefaultBatcherBuilder() {
        throw absent("producers");
    }

    @Override
    public BatcherBuilder newKeyBasedBatcherBuilder() {
        throw absent("producers");
    }

    @Override
    public MessagePayloadFactory newDefaultMessagePayloadFactory() {
        throw absent("consumers");
    }

    @Override
    public SchemaInfo newSchemaInfoImpl(String name, byte[] schema, SchemaType type, long timestamp, Map<String, String> properties) {
        return new Info(name, schema, type, timestamp, properties);
    }

    @Override
    public TopicMessageId newTopicMessageId(String topic, MessageId id) {
        throw absent("consumers");
    }

    @Override
    public PulsarClientSharedResourcesBuilder newSharedResourcesBuilder() {
        throw absent("clients");
    }

    private static UnsupportedOperationException absent(String what) {
        return new UnsupportedOperationException("Geminga's Java functions do not have " + what);
    }
}
