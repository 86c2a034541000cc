package geminga;

import geminga.Interop.Failure;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import org.apache.pulsar.client.api.Consumer;
import org.apache.pulsar.client.api.ConsumerBuilder;
import org.apache.pulsar.client.api.Message;
import org.apache.pulsar.client.api.MessageId;
import org.apache.pulsar.client.api.MessageIdAdv;
import org.apache.pulsar.client.api.Producer;
import org.apache.pulsar.client.api.ProducerBuilder;
import org.apache.pulsar.client.api.PulsarClient;
import org.apache.pulsar.client.api.PulsarClientException;
import org.apache.pulsar.client.api.ReaderBuilder;
import org.apache.pulsar.client.api.Schema;
import org.apache.pulsar.client.api.SubscriptionInitialPosition;
import org.apache.pulsar.client.api.SubscriptionType;

/** One scenario's client, with topics of its own, and what scenarios say often. */
final class Box implements AutoCloseable {
    private static final HttpClient HTTP = HttpClient.newHttpClient();

    final String service;
    final String id;
    final String topic;
    final PulsarClient client;
    private final String admin;

    Box(String name, String service, String admin) throws PulsarClientException {
        this.service = service;
        this.admin = admin;
        id = "interop-java-" + name.replace('_', '-') + "-" + Long.toHexString(System.nanoTime() ^ System.currentTimeMillis() << 20);
        topic = "persistent://public/default/" + id;
        client = PulsarClient.builder().serviceUrl(service).operationTimeout(15, TimeUnit.SECONDS).build();
    }

    /** Does not wait for a broker that may not answer. */
    @Override
    public void close() throws PulsarClientException {
        client.shutdown();
    }

    /** A producer that sends each message by itself unless told otherwise. */
    ProducerBuilder<byte[]> producing() {
        return client.newProducer().topic(topic).enableBatching(false).blockIfQueueFull(true);
    }

    Producer<byte[]> producer() throws PulsarClientException {
        return producing().create();
    }

    /** Fills one batch and sends it when flushed. */
    ProducerBuilder<byte[]> batching() {
        return producing().enableBatching(true).batchingMaxMessages(100).batchingMaxPublishDelay(3, TimeUnit.SECONDS);
    }

    ConsumerBuilder<byte[]> consuming() {
        return consuming(Schema.BYTES);
    }

    /** Reads from the start; what it refuses comes again soon. */
    <T> ConsumerBuilder<T> consuming(Schema<T> schema) {
        return client.newConsumer(schema)
                .topic(topic)
                .subscriptionName("sub")
                .subscriptionInitialPosition(SubscriptionInitialPosition.Earliest)
                .negativeAckRedeliveryDelay(200, TimeUnit.MILLISECONDS);
    }

    Consumer<byte[]> consumer() throws PulsarClientException {
        return consuming().subscribe();
    }

    ConsumerBuilder<byte[]> consuming(SubscriptionType type) {
        return consuming().subscriptionType(type);
    }

    ReaderBuilder<byte[]> reading(MessageId start) {
        return client.newReader().topic(topic).startMessageId(start);
    }

    /** Calls the admin API; answers the body. */
    String rest(String method, String path, String body) throws IOException, InterruptedException {
        var publisher = body == null ? HttpRequest.BodyPublishers.noBody() : HttpRequest.BodyPublishers.ofString(body);
        var request = HttpRequest.newBuilder(URI.create(admin + path))
                .method(method, publisher)
                .header("Content-Type", "application/json")
                .timeout(Duration.ofSeconds(15))
                .build();
        var reply = HTTP.send(request, HttpResponse.BodyHandlers.ofString());
        check(reply.statusCode() < 300, method + " " + path + ": " + reply.statusCode() + " " + reply.body());
        return reply.body().strip();
    }

    static void check(boolean condition, String why) {
        if (!condition) {
            throw new Failure(why);
        }
    }

    static void equal(Object got, Object want, String what) {
        if (!got.equals(want)) {
            throw new Failure(what + ": got " + cut(got) + ", want " + cut(want));
        }
    }

    private static String cut(Object value) {
        String text = String.valueOf(value);
        return text.length() > 300 ? text.substring(0, 300) + "..." : text;
    }

    static void raises(Class<? extends Exception> kind, String what, Callable<?> action) {
        try {
            action.call();
        } catch (Exception error) {
            if (kind.isInstance(error)) {
                return;
            }
            throw new Failure(what + ": expected " + kind.getSimpleName() + ", got " + error);
        }
        throw new Failure(what + ": expected " + kind.getSimpleName());
    }

    static List<String> texts(int count, String prefix) {
        return IntStream.range(0, count).mapToObj(i -> prefix + i).toList();
    }

    static List<String> texts(int count) {
        return texts(count, "m");
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static List<MessageId> sendAll(Producer<byte[]> producer, List<String> values) throws PulsarClientException {
        var ids = new ArrayList<MessageId>();
        for (String value : values) {
            ids.add(producer.send(bytes(value)));
        }
        return ids;
    }

    /** One batch: everything queued, then one flush. */
    static void sendBatch(Producer<byte[]> producer, List<String> values) throws Exception {
        var sends = values.stream().map(value -> producer.sendAsync(bytes(value))).toArray(CompletableFuture[]::new);
        producer.flush();
        CompletableFuture.allOf(sends).get(15, TimeUnit.SECONDS);
    }

    /** Receives without acknowledging. */
    static <T> List<Message<T>> take(Consumer<T> consumer, int count) throws PulsarClientException {
        var messages = new ArrayList<Message<T>>();
        while (messages.size() < count) {
            Message<T> message = consumer.receive(20, TimeUnit.SECONDS);
            check(message != null, "received " + messages.size() + " of " + count + ": " + cut(data(messages)));
            messages.add(message);
        }
        return messages;
    }

    static <T> List<Message<T>> receive(Consumer<T> consumer, int count) throws PulsarClientException {
        var messages = take(consumer, count);
        for (var message : messages) {
            consumer.acknowledge(message);
        }
        return messages;
    }

    /** Takes and acknowledges everything that arrives until nothing has for {@code millis}. */
    static <T> List<Message<T>> drain(Consumer<T> consumer, int millis) throws PulsarClientException {
        var messages = new ArrayList<Message<T>>();
        for (var m = consumer.receive(millis, TimeUnit.MILLISECONDS); m != null; m = consumer.receive(millis, TimeUnit.MILLISECONDS)) {
            consumer.acknowledge(m);
            messages.add(m);
        }
        return messages;
    }

    static <T> List<Message<T>> drain(Consumer<T> consumer) throws PulsarClientException {
        return drain(consumer, 1500);
    }

    static <T> void silent(Consumer<T> consumer, int millis) throws PulsarClientException {
        var message = consumer.receive(millis, TimeUnit.MILLISECONDS);
        check(message == null, message == null ? "" : "unexpected message " + cut(text(message)));
    }

    static <T> String text(Message<T> message) {
        return new String(message.getData(), StandardCharsets.UTF_8);
    }

    static <T> List<String> data(List<Message<T>> messages) {
        return messages.stream().map(Box::text).toList();
    }

    static List<String> sorted(List<String> values) {
        return values.stream().sorted().toList();
    }

    /** Every second value, from the second on. */
    static List<String> odd(List<String> values) {
        return IntStream.range(0, values.size()).filter(i -> i % 2 == 1).mapToObj(values::get).toList();
    }

    /** Ledger and entry, whatever the batch index. */
    static String position(MessageId id) {
        var adv = (MessageIdAdv) id;
        return adv.getLedgerId() + ":" + adv.getEntryId();
    }
}
