package geminga.instance;

import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.Map;
import java.util.Optional;
import org.apache.pulsar.client.api.Message;
import org.apache.pulsar.client.api.MessageId;
import org.apache.pulsar.client.api.Schema;
import org.apache.pulsar.common.api.EncryptionContext;

/** An {@link Input} by the client's interface, for {@code Record.getMessage}. */
final class InputMessage implements Message<Object> {
    private final Input input;

    InputMessage(Input input) {
        this.input = input;
    }

    @Override
    public Map<String, String> getProperties() {
        return input.getProperties();
    }

    @Override
    public boolean hasProperty(String name) {
        return input.getProperties().containsKey(name);
    }

    @Override
    public String getProperty(String name) {
        return input.getProperties().get(name);
    }

    @Override
    public byte[] getData() {
        return input.payload();
    }

    @Override
    public int size() {
        return input.payloadBytes();
    }

    @Override
    public Object getValue() {
        return input.getValue();
    }

    @Override
    public MessageId getMessageId() {
        return input.messageId();
    }

    @Override
    public long getPublishTime() {
        return input.publishTime();
    }

    @Override
    public long getEventTime() {
        return input.eventTime();
    }

    @Override
    public long getSequenceId() {
        return input.sequenceId();
    }

    @Override
    public String getProducerName() {
        return input.producer();
    }

    @Override
    public boolean hasKey() {
        return input.hasKey();
    }

    @Override
    public String getKey() {
        return input.key();
    }

    @Override
    public boolean hasBase64EncodedKey() {
        return input.isKeyBase64();
    }

    @Override
    public byte[] getKeyBytes() {
        String key = input.key();
        if (key == null) {
            return null;
        }
        return input.isKeyBase64() ? Base64.getDecoder().decode(key) : key.getBytes(StandardCharsets.UTF_8);
    }

    /** The instance is not told of ordering keys. */
    @Override
    public boolean hasOrderingKey() {
        return false;
    }

    @Override
    public byte[] getOrderingKey() {
        return null;
    }

    @Override
    public String getTopicName() {
        return input.topic();
    }

    @Override
    public Optional<EncryptionContext> getEncryptionCtx() {
        return Optional.empty();
    }

    @Override
    public int getRedeliveryCount() {
        return input.redeliveryCount();
    }

    @Override
    public byte[] getSchemaVersion() {
        return input.schemaVersion();
    }

    @Override
    public Optional<byte[]> getSchemaId() {
        return Optional.empty();
    }

    @Override
    public Optional<Schema<?>> getReaderSchema() {
        return Optional.ofNullable(input.getSchema());
    }

    @Override
    public boolean isReplicated() {
        return false;
    }

    @Override
    public String getReplicatedFrom() {
        return null;
    }

    @Override
    public void release() {
        // plain memory
    }

    @Override
    public boolean hasBrokerPublishTime() {
        return false;
    }

    @Override
    public Optional<Long> getBrokerPublishTime() {
        return Optional.empty();
    }

    @Override
    public boolean hasIndex() {
        return false;
    }

    @Override
    public Optional<Long> getIndex() {
        return Optional.empty();
    }
}
