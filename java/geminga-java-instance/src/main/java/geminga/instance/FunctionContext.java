package geminga.instance;

import geminga.instance.wire.Out;
import geminga.instance.wire.OutRecord;
import java.nio.ByteBuffer;
import java.util.Base64;
import java.util.Collection;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.BiFunction;
import java.util.function.Predicate;
import org.apache.pulsar.client.admin.PulsarAdmin;
import org.apache.pulsar.client.api.ClientBuilder;
import org.apache.pulsar.client.api.ConsumerBuilder;
import org.apache.pulsar.client.api.MessageId;
import org.apache.pulsar.client.api.PulsarClient;
import org.apache.pulsar.client.api.Schema;
import org.apache.pulsar.client.api.SubscriptionType;
import org.apache.pulsar.client.api.TypedMessageBuilder;
import org.apache.pulsar.common.io.SinkConfig;
import org.apache.pulsar.common.io.SourceConfig;
import org.apache.pulsar.functions.api.Context;
import org.apache.pulsar.functions.api.Record;
import org.apache.pulsar.functions.api.StateStore;
import org.apache.pulsar.functions.api.StateStoreContext;
import org.apache.pulsar.functions.api.WindowContext;
import org.apache.pulsar.functions.api.state.ByteBufferStateStore;
import org.apache.pulsar.functions.api.state.CounterStateStore;
import org.apache.pulsar.functions.api.utils.FunctionRecord;
import org.apache.pulsar.io.core.SinkContext;
import org.apache.pulsar.io.core.SourceContext;
import org.slf4j.Logger;

/**
 * What user code is handed beside its input, be it a function, a source or a sink. There is one for each invocation, so that what an asynchronous function asks for later
 * still belongs to the message it was called with.
 *
 * <p>Nothing that is published or changed here happens before the invocation has ended well; then all of it happens in one commit.
 * Therefore {@code publish} and {@code send} come back at once. What is asked for outside of an invocation (in {@code initialize}, by a
 * thread of the user's own) joins the next one that ends well. A source's changes of state are one commit with the record it gives next.
 *
 * <p>Source: Pulsar's {@code ContextImpl}.
 */
final class FunctionContext implements Context, WindowContext, SinkContext, SourceContext {
    private final Instance instance;
    private final Hello hello;
    /** Null for the context that {@code initialize} is given. */
    private final Invocation invocation;

    FunctionContext(Instance instance, Invocation invocation) {
        this.instance = instance;
        hello = instance.hello();
        this.invocation = invocation;
    }

    @Override
    public Record<?> getCurrentRecord() {
        Invocation now = active();
        if (now == null) {
            throw new IllegalStateException("there is no current record outside of an invocation");
        }
        return now.inputs.get(now.inputs.size() - 1);
    }

    /** What a connector is opened with. */
    Map<String, Object> connectorConfig() {
        return hello.connectorConfig();
    }

    @Override
    public String getSinkName() {
        return hello.name;
    }

    @Override
    public SinkConfig getSinkConfig() {
        return SinkConfig.builder().tenant(hello.tenant).namespace(hello.namespace).name(hello.name).className(hello.className)
            .inputs(hello.inputs.keySet()).configs(hello.connectorConfig()).parallelism(hello.parallelism).build();
    }

    @Override
    public SubscriptionType getSubscriptionType() {
        return SubscriptionType.valueOf(hello.subscriptionType);
    }

    @Override
    public String getSourceName() {
        return hello.name;
    }

    @Override
    public SourceConfig getSourceConfig() {
        return SourceConfig.builder().tenant(hello.tenant).namespace(hello.namespace).name(hello.name).className(hello.className)
            .topicName(hello.output.topic()).configs(hello.connectorConfig()).parallelism(hello.parallelism).build();
    }

    @Override
    public Collection<String> getInputTopics() {
        return Collections.unmodifiableCollection(hello.inputs.keySet());
    }

    @Override
    public String getOutputTopic() {
        return hello.output.topic();
    }

    @Override
    public String getOutputSchemaType() {
        return hello.output.coding();
    }

    @Override
    public String getTenant() {
        return hello.tenant;
    }

    @Override
    public String getNamespace() {
        return hello.namespace;
    }

    @Override
    public String getFunctionName() {
        return hello.name;
    }

    @Override
    public String getFunctionId() {
        return hello.id;
    }

    @Override
    public String getFunctionVersion() {
        return hello.version;
    }

    @Override
    public int getInstanceId() {
        return hello.instanceId;
    }

    @Override
    public int getNumInstances() {
        return hello.parallelism;
    }

    @Override
    public Logger getLogger() {
        return instance.logger();
    }

    @Override
    public Map<String, Object> getUserConfigMap() {
        return hello.userConfig;
    }

    /** A string that begins with a dollar names a variable of the environment. */
    @Override
    public Optional<Object> getUserConfigValue(String key) {
        Object value = hello.userConfig.get(key);
        if (value instanceof String text && text.startsWith("$")) {
            return Optional.ofNullable(System.getenv(text.substring(1)));
        }
        return Optional.ofNullable(value);
    }

    @Override
    public Object getUserConfigValueOrDefault(String key, Object otherwise) {
        return getUserConfigValue(key).orElse(otherwise);
    }

    @Override
    public String getSecret(String name) {
        return hello.secrets.get(name);
    }

    @Override
    public PulsarAdmin getPulsarAdmin() {
        throw new UnsupportedOperationException("Geminga gives functions no administrative client");
    }

    @Override
    public PulsarClient getPulsarClient() {
        throw new UnsupportedOperationException("Geminga gives functions no client: what a function publishes is part of its commit");
    }

    @Override
    public ClientBuilder getPulsarClientBuilder() {
        throw new UnsupportedOperationException("Geminga gives functions no client: what a function publishes is part of its commit");
    }

    @Override
    public <X> ConsumerBuilder<X> newConsumerBuilder(Schema<X> schema) {
        throw new UnsupportedOperationException("Geminga gives functions no consumers: add the topic to the function's inputs");
    }

    @Override
    public void recordMetric(String name, double value) {
        if (hello.isSource()) {
            return; // it has no outcomes that could carry it
        }
        ask(effects -> effects.metric(name, value));
    }

    @Override
    public void fatal(Throwable thrown) {
        instance.die("user code called fatal", thrown);
    }

    // Publishing

    @Override
    public <X> CompletableFuture<Void> publish(String topic, X value) {
        return publish(topic, value, "");
    }

    @Override
    @SuppressWarnings("unchecked")
    public <X> CompletableFuture<Void> publish(String topic, X value, String schemaOrSerDe) {
        String coding = schemaOrSerDe == null ? "" : schemaOrSerDe;
        Schema<X> schema = (Schema<X>) instance.topics().published(Topics.complete(topic), value.getClass(), coding);
        return new OutputMessage<>(Topics.complete(topic), schema, !coding.isEmpty()).value(value).sendAsync().thenApply(id -> null);
    }

    @Override
    @SuppressWarnings("unchecked")
    public <X> TypedMessageBuilder<X> newOutputMessage(String topic, Schema<X> schema) {
        return new OutputMessage<>(Topics.complete(topic), schema == null ? (Schema<X>) Schema.BYTES : schema, true);
    }

    @Override
    public <X> FunctionRecord.FunctionRecordBuilder<X> newOutputRecordBuilder(Schema<X> schema) {
        return FunctionRecord.from(this, schema);
    }

    // State

    @Override
    public void putState(String key, ByteBuffer value) {
        byte[] bytes = new byte[value.remaining()];
        value.duplicate().get(bytes);
        ask(effects -> effects.put(key, bytes));
    }

    @Override
    public CompletableFuture<Void> putStateAsync(String key, ByteBuffer value) {
        putState(key, value);
        return CompletableFuture.completedFuture(null);
    }

    @Override
    public void deleteState(String key) {
        ask(effects -> effects.delete(key));
    }

    @Override
    public CompletableFuture<Void> deleteStateAsync(String key) {
        deleteState(key);
        return CompletableFuture.completedFuture(null);
    }

    @Override
    public void incrCounter(String key, long amount) {
        ask(effects -> effects.add(key, amount));
    }

    @Override
    public CompletableFuture<Void> incrCounterAsync(String key, long amount) {
        incrCounter(key, amount);
        return CompletableFuture.completedFuture(null);
    }

    @Override
    public ByteBuffer getState(String key) {
        CompletableFuture<ByteBuffer> value = state(key);
        instance.outbox().flush();
        return instance.await(value);
    }

    @Override
    public CompletableFuture<ByteBuffer> getStateAsync(String key) {
        CompletableFuture<ByteBuffer> value = state(key);
        instance.outbox().flushNow();
        return instance.handOver(value);
    }

    @Override
    public long getCounter(String key) {
        CompletableFuture<Long> value = counter(key);
        instance.outbox().flush();
        return instance.await(value);
    }

    @Override
    public CompletableFuture<Long> getCounterAsync(String key) {
        CompletableFuture<Long> value = counter(key);
        instance.outbox().flushNow();
        return instance.handOver(value);
    }

    @Override
    public <X extends StateStore> X getStateStore(String name) {
        return getStateStore(hello.tenant, hello.namespace, name);
    }

    @Override
    @SuppressWarnings("unchecked")
    public <X extends StateStore> X getStateStore(String tenant, String namespace, String name) {
        if (!tenant.equals(hello.tenant) || !namespace.equals(hello.namespace) || !name.equals(hello.name)) {
            throw new UnsupportedOperationException("a function has its own state only, which is " + hello.fqfn());
        }
        return (X) new OwnStore();
    }

    private CompletableFuture<ByteBuffer> state(String key) {
        return stored(Calls.STATE, key, (effects, stored) -> {
            byte[] value = effects.valueOver(key, (byte[]) stored);
            return value == null ? null : ByteBuffer.wrap(value);
        });
    }

    private CompletableFuture<Long> counter(String key) {
        return stored(Calls.COUNTER, key, (effects, stored) -> effects.counterOver(key, stored == null ? 0 : (Long) stored));
    }

    private <X> CompletableFuture<X> stored(int question, String key, BiFunction<Effects, Object, X> over) {
        Invocation now = active();
        Effects effects = now == null ? instance.adrift() : now.effects;
        if (effects.replaces(key)) {
            return CompletableFuture.completedFuture(over.apply(effects, null));
        }
        return instance.calls().ask(question, key, now).thenApply(stored -> over.apply(effects, stored));
    }

    /** The invocation that is asking; null outside of one. Contexts of calls that are over stand for the call that runs. */
    private Invocation active() {
        return invocation != null && !invocation.hasEnded() ? invocation : instance.current();
    }

    private void ask(Predicate<Effects> question) {
        Invocation now = active();
        if (now != null && question.test(now.effects)) {
            return;
        }
        while (!question.test(instance.adrift())) {
            Thread.onSpinWait(); // it was taken along by an invocation that ended just now: there is a new one
        }
    }

    /** A message on its way; see the class for when it is published. */
    private final class OutputMessage<T> implements TypedMessageBuilder<T> {
        private static final long serialVersionUID = 1;
        private final transient Schema<T> schema;
        private final String topic;
        private final boolean isNamed;
        private final Map<String, String> properties = new LinkedHashMap<>();
        private transient T value;
        private String key;
        private boolean isKeyBase64;
        private long eventTime;
        private long deliverAt;
        private Long sequenceId;

        /** {@code isNamed}: user code says what the schema is, so the topic has to take it. */
        private OutputMessage(String topic, Schema<T> schema, boolean isNamed) {
            this.topic = topic;
            this.schema = schema;
            this.isNamed = isNamed;
        }

        @Override
        public MessageId send() {
            return instance.await(sendAsync());
        }

        /** Complete when it was asked for; a source's when it is durable. */
        @Override
        public CompletableFuture<MessageId> sendAsync() {
            Encoded encoded = Encoded.of(schema, value);
            boolean hasOwnKey = encoded.key() == null;
            OutRecord record = new OutRecord(topic, hasOwnKey ? key : encoded.key(), hasOwnKey ? isKeyBase64 : true, encoded.payload(),
                properties, eventTime, deliverAt, sequenceId, isNamed ? instance.announced().number(schema) : null);
            MessageId id = new StoredId(-1, -1, -1, -1, 0); // where it will be stored is not known yet
            if (hello.isSource()) {
                try {
                    return instance.emissions().emit(record, instance.changesOfSource()).thenApply(done -> id);
                } catch (InterruptedException e) {
                    Thread.currentThread().interrupt();
                    return CompletableFuture.failedFuture(e);
                }
            }
            Out out = new Out(128 + (encoded.payload() == null ? 0 : encoded.payload().length));
            record.write(out);
            ask(effects -> effects.publish(out));
            return CompletableFuture.completedFuture(id);
        }

        @Override
        public TypedMessageBuilder<T> key(String key) {
            this.key = key;
            isKeyBase64 = false;
            return this;
        }

        @Override
        public TypedMessageBuilder<T> keyBytes(byte[] key) {
            this.key = Base64.getEncoder().encodeToString(key);
            isKeyBase64 = true;
            return this;
        }

        @Override
        public TypedMessageBuilder<T> orderingKey(byte[] orderingKey) {
            throw new UnsupportedOperationException("ordering keys are not supported");
        }

        @Override
        public TypedMessageBuilder<T> value(T value) {
            this.value = value;
            return this;
        }

        @Override
        public TypedMessageBuilder<T> property(String name, String value) {
            properties.put(name, value);
            return this;
        }

        @Override
        public TypedMessageBuilder<T> properties(Map<String, String> properties) {
            this.properties.putAll(properties);
            return this;
        }

        @Override
        public TypedMessageBuilder<T> eventTime(long timestamp) {
            eventTime = timestamp;
            return this;
        }

        @Override
        public TypedMessageBuilder<T> sequenceId(long sequenceId) {
            this.sequenceId = sequenceId;
            return this;
        }

        @Override
        public TypedMessageBuilder<T> replicationClusters(List<String> clusters) {
            throw new UnsupportedOperationException("there is no replication to other clusters");
        }

        @Override
        public TypedMessageBuilder<T> disableReplication() {
            return this; // there is none
        }

        @Override
        public TypedMessageBuilder<T> deliverAt(long timestamp) {
            deliverAt = timestamp;
            return this;
        }

        @Override
        public TypedMessageBuilder<T> deliverAfter(long delay, TimeUnit unit) {
            return deliverAt(System.currentTimeMillis() + unit.toMillis(delay));
        }

        /** Source: the names are those of {@link TypedMessageBuilder}. */
        @Override
        @SuppressWarnings("unchecked")
        public TypedMessageBuilder<T> loadConf(Map<String, Object> config) {
            config.forEach((name, setting) -> {
                switch (name) {
                    case CONF_KEY -> key((String) setting);
                    case CONF_PROPERTIES -> properties((Map<String, String>) setting);
                    case CONF_EVENT_TIME -> eventTime(((Number) setting).longValue());
                    case CONF_SEQUENCE_ID -> sequenceId(((Number) setting).longValue());
                    case CONF_DELIVERY_AT -> deliverAt(((Number) setting).longValue());
                    case CONF_DELIVERY_AFTER_SECONDS -> deliverAfter(((Number) setting).longValue(), TimeUnit.SECONDS);
                    case CONF_DISABLE_REPLICATION -> disableReplication();
                    default -> throw new UnsupportedOperationException("message configuration " + name + " is not supported");
                }
            });
            return this;
        }
    }

    /** The function's state by the interface of state stores. */
    private final class OwnStore implements ByteBufferStateStore, CounterStateStore {
        @Override
        public String tenant() {
            return hello.tenant;
        }

        @Override
        public String namespace() {
            return hello.namespace;
        }

        @Override
        public String name() {
            return hello.name;
        }

        @Override
        public String fqsn() {
            return hello.fqfn();
        }

        @Override
        public void init(StateStoreContext context) {
            // ready
        }

        @Override
        public void close() {
            // nothing is held
        }

        @Override
        public void put(String key, ByteBuffer value) {
            putState(key, value);
        }

        @Override
        public CompletableFuture<Void> putAsync(String key, ByteBuffer value) {
            return putStateAsync(key, value);
        }

        @Override
        public void delete(String key) {
            deleteState(key);
        }

        @Override
        public CompletableFuture<Void> deleteAsync(String key) {
            return deleteStateAsync(key);
        }

        @Override
        public ByteBuffer get(String key) {
            return getState(key);
        }

        @Override
        public CompletableFuture<ByteBuffer> getAsync(String key) {
            return getStateAsync(key);
        }

        @Override
        public void incrCounter(String key, long amount) {
            FunctionContext.this.incrCounter(key, amount);
        }

        @Override
        public CompletableFuture<Void> incrCounterAsync(String key, long amount) {
            return FunctionContext.this.incrCounterAsync(key, amount);
        }

        @Override
        public long getCounter(String key) {
            return FunctionContext.this.getCounter(key);
        }

        @Override
        public CompletableFuture<Long> getCounterAsync(String key) {
            return FunctionContext.this.getCounterAsync(key);
        }
    }
}
