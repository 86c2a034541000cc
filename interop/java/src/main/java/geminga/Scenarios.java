package geminga;

import static geminga.Box.bytes;
import static geminga.Box.check;
import static geminga.Box.data;
import static geminga.Box.drain;
import static geminga.Box.equal;
import static geminga.Box.odd;
import static geminga.Box.position;
import static geminga.Box.raises;
import static geminga.Box.receive;
import static geminga.Box.sendAll;
import static geminga.Box.sendBatch;
import static geminga.Box.silent;
import static geminga.Box.sorted;
import static geminga.Box.take;
import static geminga.Box.text;
import static geminga.Box.texts;

import geminga.Interop.Scenario;
import geminga.Interop.Skip;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.pulsar.client.api.CompressionType;
import org.apache.pulsar.client.api.Consumer;
import org.apache.pulsar.client.api.DeadLetterPolicy;
import org.apache.pulsar.client.api.MessageId;
import org.apache.pulsar.client.api.MessageIdAdv;
import org.apache.pulsar.client.api.Producer;
import org.apache.pulsar.client.api.ProducerAccessMode;
import org.apache.pulsar.client.api.PulsarClient;
import org.apache.pulsar.client.api.PulsarClientException;
import org.apache.pulsar.client.api.PulsarClientException.ConsumerBusyException;
import org.apache.pulsar.client.api.PulsarClientException.ProducerBusyException;
import org.apache.pulsar.client.api.PulsarClientException.ProducerFencedException;
import org.apache.pulsar.client.api.Reader;
import org.apache.pulsar.client.api.Schema;
import org.apache.pulsar.client.api.SubscriptionInitialPosition;
import org.apache.pulsar.client.api.SubscriptionType;
import org.apache.pulsar.client.api.TableView;

/** What the Java client can do, each against topics of its own. */
final class Scenarios {
    private Scenarios() {}

    static Map<String, Scenario> all() {
        var all = new LinkedHashMap<String, Scenario>();
        all.put("produce_consume", Scenarios::produceConsume);
        all.put("batched", Scenarios::batched);
        for (var kind : CompressionType.values()) {
            all.put("compression_" + kind.name().toLowerCase(), box -> compression(box, kind));
        }
        all.put("exclusive", Scenarios::exclusive);
        all.put("shared", Scenarios::shared);
        all.put("failover", Scenarios::failover);
        all.put("key_shared", Scenarios::keyShared);
        all.put("individual_ack", Scenarios::individualAck);
        all.put("cumulative_ack", Scenarios::cumulativeAck);
        all.put("batch_index_ack", Scenarios::batchIndexAck);
        all.put("ack_receipt", Scenarios::ackReceipt);
        all.put("nack", Scenarios::nack);
        all.put("redelivery_count", Scenarios::redeliveryCount);
        all.put("dead_letter", Scenarios::deadLetter);
        all.put("retry_letter", Scenarios::retryLetter);
        all.put("reader_earliest", Scenarios::readerEarliest);
        all.put("reader_latest", Scenarios::readerLatest);
        all.put("reader_message_id", Scenarios::readerMessageId);
        all.put("seek_id", Scenarios::seekId);
        all.put("seek_time", Scenarios::seekTime);
        all.put("last_message_id", Scenarios::lastMessageId);
        all.put("unsubscribe", Scenarios::unsubscribe);
        all.put("partitioned", Scenarios::partitioned);
        all.put("metadata", Scenarios::metadata);
        all.put("deduplication", Scenarios::deduplication);
        all.put("large_message", Scenarios::largeMessage);
        all.put("chunked", Scenarios::chunked);
        all.put("delayed", Scenarios::delayed);
        all.put("regex", Scenarios::regex);
        all.put("receive_timeout", Scenarios::receiveTimeout);
        all.put("producer_exclusive", Scenarios::producerExclusive);
        all.put("multi_topic", Scenarios::multiTopic);
        all.put("json_schema", Scenarios::jsonSchema);
        all.put("raw_bytes", Scenarios::rawBytes);
        all.put("table_view", Scenarios::tableView);
        all.put("transactions_refused", Scenarios::transactionsRefused);
        all.put("reconnect", Scenarios::reconnect);
        return all;
    }

    private static void produceConsume(Box box) throws Exception {
        var consumer = box.consumer();
        var ids = sendAll(box.producer(), texts(20));
        var got = receive(consumer, 20);
        equal(data(got), texts(20), "messages");
        equal(got.stream().map(m -> position(m.getMessageId())).toList(), ids.stream().map(Box::position).toList(), "message ids");
        silent(consumer, 700);
    }

    private static void batched(Box box) throws Exception {
        var consumer = box.consumer();
        sendBatch(box.batching().create(), texts(100));
        var got = receive(consumer, 100);
        equal(data(got), texts(100), "messages");
        long entries = got.stream().map(m -> position(m.getMessageId())).distinct().count();
        check(entries < 10, "100 messages in " + entries + " entries");
    }

    private static void compression(Box box, CompressionType kind) throws Exception {
        var consumer = box.consumer();
        var values = texts(20, "compressible ".repeat(50));
        // The client leaves small payloads alone unless told otherwise.
        sendAll(box.producing().compressionType(kind).compressionMinMsgBodySize(1).create(), values);
        sendBatch(box.batching().compressionType(kind).compressionMinMsgBodySize(1).create(), values);
        equal(data(receive(consumer, 40)), Stream.concat(values.stream(), values.stream()).toList(), "messages");
    }

    private static void exclusive(Box box) throws Exception {
        var first = box.consumer();
        raises(ConsumerBusyException.class, "second exclusive consumer", box::consumer);
        first.close();
        box.consumer().close();
    }

    private static void shared(Box box) throws Exception {
        var builder = box.consuming(SubscriptionType.Shared).receiverQueueSize(5);
        var consumers = List.of(builder.subscribe(), builder.clone().subscribe());
        sendAll(box.producer(), texts(60));
        var all = new ArrayList<String>();
        var counts = new int[2];
        for (int round = 0; round < 2; round++) {
            for (int i = 0; i < 2; i++) {
                var got = data(drain(consumers.get(i), 800));
                counts[i] += got.size();
                all.addAll(got);
            }
        }
        equal(sorted(all), sorted(texts(60)), "messages");
        check(counts[0] > 0 && counts[1] > 0, "one consumer did all the work: " + Arrays.toString(counts));
    }

    private static void failover(Box box) throws Exception {
        var consumers = new ArrayList<Consumer<byte[]>>();
        for (String name : List.of("a", "b")) {
            consumers.add(box.consuming(SubscriptionType.Failover).consumerName(name).subscribe());
        }
        var producer = box.producer();
        Thread.sleep(2000); // the broker may take a moment to settle who is active
        sendAll(producer, texts(10));
        var first = data(drain(consumers.get(0)));
        var second = data(drain(consumers.get(1)));
        check(first.isEmpty() != second.isEmpty(), "one consumer is active: " + first.size() + " and " + second.size());
        int active = first.isEmpty() ? 1 : 0;
        equal(active == 0 ? first : second, texts(10), "messages");
        consumers.get(active).close();
        sendAll(producer, texts(10, "n"));
        equal(data(receive(consumers.get(1 - active), 10)), texts(10, "n"), "after the takeover");
    }

    private static void keyShared(Box box) throws Exception {
        var consumers = List.of(
                box.consuming(SubscriptionType.Key_Shared).subscribe(), box.consuming(SubscriptionType.Key_Shared).subscribe());
        var producer = box.producer();
        var keys = texts(20, "key-");
        for (int n = 0; n < 10; n++) {
            for (String key : keys) {
                producer.newMessage().key(key).value(bytes("" + n)).sendAsync();
            }
        }
        producer.flush();
        var orders = new HashMap<String, List<String>>();
        for (var consumer : consumers) {
            var got = drain(consumer);
            check(!got.isEmpty(), "a consumer has no key");
            for (var message : got) {
                orders.computeIfAbsent(message.getKey() + " at " + consumers.indexOf(consumer), k -> new ArrayList<>()).add(text(message));
            }
        }
        equal(orders.size(), keys.size(), "keys by consumer");
        for (var order : orders.entrySet()) {
            equal(order.getValue(), texts(10, ""), "order of " + order.getKey());
        }
    }

    private static void individualAck(Box box) throws Exception {
        var consumer = box.consuming(SubscriptionType.Shared).subscribe();
        sendAll(box.producer(), texts(10));
        var got = take(consumer, 10);
        for (int i = 0; i < 10; i += 2) {
            consumer.acknowledge(got.get(i));
        }
        consumer.close();
        equal(sorted(data(drain(box.consuming(SubscriptionType.Shared).subscribe()))), odd(texts(10)), "redelivered");
    }

    private static void cumulativeAck(Box box) throws Exception {
        var consumer = box.consumer();
        sendAll(box.producer(), texts(10));
        consumer.acknowledgeCumulative(take(consumer, 10).get(5));
        consumer.close();
        equal(data(drain(box.consumer())), texts(10).subList(6, 10), "redelivered");
    }

    private static void batchIndexAck(Box box) throws Exception {
        var builder = box.consuming(SubscriptionType.Shared).enableBatchIndexAcknowledgment(true);
        var consumer = builder.subscribe();
        sendBatch(box.batching().create(), texts(10));
        var got = take(consumer, 10);
        equal(position(got.get(0).getMessageId()), position(got.get(9).getMessageId()), "entry of first and last");
        for (int i = 0; i < 10; i += 2) {
            consumer.acknowledge(got.get(i));
        }
        consumer.close();
        equal(data(drain(builder.clone().subscribe())), odd(texts(10)), "redelivered");
    }

    /** Acknowledges with a request id, so that each ack is answered. */
    private static void ackReceipt(Box box) throws Exception {
        var builder = box.consuming(SubscriptionType.Shared).isAckReceiptEnabled(true);
        var consumer = builder.subscribe();
        sendAll(box.producer(), texts(4));
        var got = take(consumer, 4);
        consumer.acknowledgeAsync(got.get(0)).get(10, TimeUnit.SECONDS);
        consumer.acknowledgeAsync(List.of(got.get(1).getMessageId(), got.get(3).getMessageId())).get(10, TimeUnit.SECONDS);
        consumer.close();
        equal(data(drain(builder.clone().subscribe())), List.of("m2"), "redelivered");
    }

    private static void nack(Box box) throws Exception {
        var consumer = box.consuming(SubscriptionType.Shared).subscribe();
        sendAll(box.producer(), texts(5));
        var got = take(consumer, 5);
        for (int i = 0; i < 5; i++) {
            if (i % 2 == 1) {
                consumer.negativeAcknowledge(got.get(i));
            } else {
                consumer.acknowledge(got.get(i));
            }
        }
        equal(sorted(data(receive(consumer, 2))), List.of("m1", "m3"), "redelivered");
        silent(consumer, 700);
    }

    private static void redeliveryCount(Box box) throws Exception {
        var consumer = box.consuming(SubscriptionType.Shared).subscribe();
        sendAll(box.producer(), List.of("again"));
        for (int count = 0; count < 3; count++) {
            var message = take(consumer, 1).get(0);
            equal(message.getRedeliveryCount(), count, "redelivery count");
            consumer.negativeAcknowledge(message);
        }
    }

    private static void deadLetter(Box box) throws Exception {
        var dead = box.client.newConsumer().topic(box.topic + "-dead").subscriptionName("sub").subscribe();
        var consumer = box.consuming(SubscriptionType.Shared)
                .deadLetterPolicy(DeadLetterPolicy.builder().maxRedeliverCount(2).deadLetterTopic(box.topic + "-dead").build())
                .subscribe();
        sendAll(box.producer(), List.of("good", "bad"));
        int bad = 0;
        for (int i = 0; i < 4; i++) {
            var message = take(consumer, 1).get(0);
            if (text(message).equals("good")) {
                consumer.acknowledge(message);
            } else {
                bad++;
                consumer.negativeAcknowledge(message);
            }
        }
        equal(bad, 3, "deliveries before the dead letter");
        // The client publishes the dead letter once somebody receives again.
        var waiting = consumer.receiveAsync();
        equal(data(receive(dead, 1)), List.of("bad"), "dead letter");
        check(!waiting.isDone(), "the dead letter came again");
    }

    /** Messages put off go through a retry topic of the client's, and come back with their count. */
    private static void retryLetter(Box box) throws Exception {
        var consumer = box.consuming(SubscriptionType.Shared)
                .enableRetry(true)
                .deadLetterPolicy(DeadLetterPolicy.builder()
                        .maxRedeliverCount(3)
                        .retryLetterTopic(box.topic + "-retry")
                        .deadLetterTopic(box.topic + "-dead")
                        .build())
                .subscribe();
        sendAll(box.producer(), List.of("again"));
        consumer.reconsumeLater(take(consumer, 1).get(0), 1, TimeUnit.SECONDS);
        var message = take(consumer, 1).get(0);
        equal(text(message), "again", "message");
        equal(message.getProperty("RECONSUMETIMES"), "1", "times put off");
        consumer.acknowledge(message);
        silent(consumer, 700);
    }

    private static List<String> read(Reader<byte[]> reader, int count) throws PulsarClientException {
        var values = new ArrayList<String>();
        while (values.size() < count) {
            var message = reader.readNext(15, TimeUnit.SECONDS);
            check(message != null, "read " + values.size() + " of " + count);
            values.add(text(message));
        }
        return values;
    }

    private static void readerEarliest(Box box) throws Exception {
        sendAll(box.producer(), texts(10));
        equal(read(box.reading(MessageId.earliest).create(), 10), texts(10), "messages");
    }

    private static void readerLatest(Box box) throws Exception {
        var producer = box.producer();
        sendAll(producer, texts(5));
        var reader = box.reading(MessageId.latest).create();
        sendAll(producer, texts(5, "n"));
        equal(read(reader, 5), texts(5, "n"), "messages");
    }

    private static void readerMessageId(Box box) throws Exception {
        var ids = sendAll(box.producer(), texts(10));
        equal(read(box.reading(ids.get(3)).create(), 1), List.of("m4"), "after the start id");
        equal(read(box.reading(ids.get(3)).startMessageIdInclusive().create(), 1), List.of("m3"), "the start id itself");
    }

    private static void seekId(Box box) throws Exception {
        var ids = sendAll(box.producer(), texts(10));
        var consumer = box.consuming().startMessageIdInclusive().subscribe();
        receive(consumer, 10);
        consumer.seek(ids.get(4));
        equal(data(receive(consumer, 6)), texts(10).subList(4, 10), "after seek");
        consumer.seek(MessageId.earliest);
        equal(data(receive(consumer, 10)), texts(10), "after seek to earliest");
    }

    private static void seekTime(Box box) throws Exception {
        var producer = box.producer();
        var consumer = box.consumer();
        sendAll(producer, texts(5));
        Thread.sleep(100);
        long middle = System.currentTimeMillis();
        Thread.sleep(100);
        sendAll(producer, texts(5, "n"));
        receive(consumer, 10);
        consumer.seek(middle);
        equal(data(receive(consumer, 5)), texts(5, "n"), "after seek");
    }

    private static void lastMessageId(Box box) throws Exception {
        var producer = box.producer();
        var consumer = box.consumer();
        var reader = box.reading(MessageId.earliest).create();
        check(!reader.hasMessageAvailable(), "an empty topic has a message");
        var ids = sendAll(producer, texts(3));
        equal(position(consumer.getLastMessageIds().get(0)), position(ids.get(2)), "last message id");
        for (String value : texts(3)) {
            check(reader.hasMessageAvailable(), value + " is available");
            equal(read(reader, 1), List.of(value), "message");
        }
        check(!reader.hasMessageAvailable(), "nothing is left");
    }

    private static void unsubscribe(Box box) throws Exception {
        var consumer = box.consumer();
        String path = "/admin/v2/persistent/public/default/" + box.id + "/subscriptions";
        equal(box.rest("GET", path, null), "[\"sub\"]", "subscriptions");
        consumer.unsubscribe();
        equal(box.rest("GET", path, null), "[]", "subscriptions after unsubscribe");
        var producer = box.producer();
        sendAll(producer, List.of("unseen"));
        consumer = box.consuming().subscriptionInitialPosition(SubscriptionInitialPosition.Latest).subscribe();
        sendAll(producer, List.of("fresh"));
        equal(data(receive(consumer, 1)), List.of("fresh"), "a new subscription of the same name");
    }

    private static void partitioned(Box box) throws Exception {
        box.rest("PUT", "/admin/v2/persistent/public/default/" + box.id + "/partitions", "3");
        equal(box.client.getPartitionsForTopic(box.topic, true).get(15, TimeUnit.SECONDS).size(), 3, "partitions");
        var consumer = box.consumer();
        sendAll(box.producer(), texts(30));
        var got = receive(consumer, 30);
        equal(sorted(data(got)), sorted(texts(30)), "messages");
        Set<Integer> used = got.stream().map(m -> ((MessageIdAdv) m.getMessageId()).getPartitionIndex()).collect(Collectors.toSet());
        equal(used, Set.of(0, 1, 2), "partitions used");
    }

    private static void metadata(Box box) throws Exception {
        var consumer = box.consumer();
        var producer = box.producing().producerName(box.id + "-p").create();
        long before = System.currentTimeMillis();
        var properties = Map.of("a", "1", "b", "two");
        producer.newMessage().value(bytes("x")).key("key").orderingKey(bytes("order")).properties(properties)
                .eventTime(1234567).sequenceId(42).send();
        var message = receive(consumer, 1).get(0);
        equal(message.getKey(), "key", "key");
        check(Arrays.equals(message.getOrderingKey(), bytes("order")), "ordering key");
        equal(message.getProperties(), properties, "properties");
        equal(message.getEventTime(), 1234567L, "event time");
        equal(message.getProducerName(), box.id + "-p", "producer name");
        equal(message.getSequenceId(), 42L, "sequence id");
        check(Math.abs(message.getPublishTime() - before) < 15000, "publish time");
        equal(producer.getLastSequenceId(), 42L, "last sequence id");
    }

    private static void deduplication(Box box) throws Exception {
        String namespace = "public/" + box.id;
        box.rest("PUT", "/admin/v2/namespaces/" + namespace, "{}");
        box.rest("POST", "/admin/v2/namespaces/" + namespace + "/deduplication", "true");
        var producing = box.producing().topic("persistent://" + namespace + "/orders").producerName("p");
        var consumer = box.client.newConsumer().topic("persistent://" + namespace + "/orders").subscriptionName("sub")
                .subscriptionInitialPosition(SubscriptionInitialPosition.Earliest).subscribe();
        var producer = producing.create();
        for (int i = 0; i < 20; i++) {
            long sequence = i < 10 ? i : i - 5;
            producer.newMessage().sequenceId(sequence).value(bytes("m" + sequence)).send();
        }
        equal(data(drain(consumer)), texts(15), "messages");
        producer.close();
        equal(producing.clone().create().getLastSequenceId(), 14L, "last sequence id of the returning producer");
    }

    private static byte[] random(int size) {
        var payload = new byte[size];
        new Random(size).nextBytes(payload);
        return payload;
    }

    private static void largeMessage(Box box) throws Exception {
        var consumer = box.consumer();
        var payload = random(4 << 20);
        box.producer().send(payload);
        check(Arrays.equals(receive(consumer, 1).get(0).getData(), payload), "payload differs");
    }

    private static void chunked(Box box) throws Exception {
        var consumer = box.consumer();
        var payload = random(12 << 20);
        var producer = box.producing().enableChunking(true).create();
        producer.send(payload);
        producer.send(bytes("small"));
        var got = receive(consumer, 2);
        check(Arrays.equals(got.get(0).getData(), payload), "payload differs");
        equal(text(got.get(1)), "small", "next message");
        consumer.close();
        silent(box.consumer(), 700); // all chunks were acknowledged
    }

    private static void delayed(Box box) throws Exception {
        var consumer = box.consuming(SubscriptionType.Shared).subscribe();
        var producer = box.producer();
        producer.newMessage().value(bytes("later")).deliverAfter(3, TimeUnit.SECONDS).send();
        producer.send(bytes("now"));
        equal(data(receive(consumer, 1)), List.of("now"), "first");
        silent(consumer, 1200);
        equal(data(receive(consumer, 1)), List.of("later"), "second");
    }

    private static void regex(Box box) throws Exception {
        sendAll(box.producing().topic(box.topic + "-one").create(), List.of("1"));
        sendAll(box.producing().topic(box.topic + "x").create(), List.of("not this"));
        var consumer = box.client.newConsumer().topicsPattern(box.topic + "-.*").subscriptionName("sub")
                .subscriptionInitialPosition(SubscriptionInitialPosition.Earliest)
                .patternAutoDiscoveryPeriod(1, TimeUnit.SECONDS)
                .subscribe();
        equal(data(receive(consumer, 1)), List.of("1"), "existing topic");
        sendAll(box.producing().topic(box.topic + "-two").create(), List.of("2"));
        equal(data(receive(consumer, 1)), List.of("2"), "topic made later");
        silent(consumer, 700);
    }

    private static void receiveTimeout(Box box) throws Exception {
        var consumer = box.consumer();
        long start = System.nanoTime();
        silent(consumer, 500);
        long millis = (System.nanoTime() - start) / 1_000_000;
        check(millis > 400 && millis < 3000, "timeout of 500 ms took " + millis);
    }

    private static void producerExclusive(Box box) throws Exception {
        var first = box.producing().accessMode(ProducerAccessMode.Exclusive).create();
        raises(ProducerFencedException.class, "second exclusive producer",
                () -> box.producing().accessMode(ProducerAccessMode.Exclusive).create());
        raises(ProducerBusyException.class, "shared producer beside an exclusive one", box::producer);
        CompletableFuture<Producer<byte[]>> turn = box.producing().accessMode(ProducerAccessMode.WaitForExclusive).createAsync();
        Thread.sleep(1000);
        check(!turn.isDone(), "the waiting producer did not wait");
        first.send(bytes("first"));
        first.close();
        var waiting = turn.get(15, TimeUnit.SECONDS);
        waiting.send(bytes("second"));
        var fencing = box.producing().accessMode(ProducerAccessMode.ExclusiveWithFencing).create();
        fencing.send(bytes("third"));
        raises(PulsarClientException.class, "the fenced producer", () -> waiting.send(bytes("lost")));
        equal(data(drain(box.consumer())), List.of("first", "second", "third"), "messages");
    }

    private static void multiTopic(Box box) throws Exception {
        var topics = texts(3, box.topic + "-");
        var consumer = box.client.newConsumer().topics(topics).subscriptionName("sub").subscribe();
        for (String topic : topics) {
            sendAll(box.producing().topic(topic).create(), List.of(topic));
        }
        equal(sorted(data(receive(consumer, 3))), topics, "messages");
    }

    /** The record of {@link #jsonSchema}. */
    public static final class Order {
        public String name;
        public int count;
    }

    private static void jsonSchema(Box box) throws Exception {
        var consumer = box.consuming(Schema.JSON(Order.class)).subscribe();
        var order = new Order();
        order.name = "pen";
        order.count = 3;
        box.client.newProducer(Schema.JSON(Order.class)).topic(box.topic).create().send(order);
        var got = receive(consumer, 1).get(0).getValue();
        equal(got.name + got.count, "pen3", "record");
    }

    private static void rawBytes(Box box) throws Exception {
        var every = new byte[256];
        for (int i = 0; i < 256; i++) {
            every[i] = (byte) i;
        }
        var consumer = box.consumer();
        var producer = box.producer();
        var values = List.of(new byte[0], every, new byte[1000]);
        for (var value : values) {
            producer.send(value);
        }
        var got = receive(consumer, 3);
        for (int i = 0; i < 3; i++) {
            check(Arrays.equals(got.get(i).getData(), values.get(i)), "payload " + i + " differs");
        }
    }

    /** A view keeps the newest value of each key, those from before it opened and those after. */
    private static void tableView(Box box) throws Exception {
        var producer = box.client.newProducer(Schema.STRING).topic(box.topic).enableBatching(false).create();
        for (String value : List.of("1", "2")) {
            producer.newMessage().key("a").value(value).send();
            producer.newMessage().key("b").value(value).send();
        }
        try (var view = box.client.newTableView(Schema.STRING).topic(box.topic).create()) {
            equal(contents(view), Map.of("a", "2", "b", "2"), "opened");
            producer.newMessage().key("a").value("3").send();
            producer.newMessage().key("b").value(null).send();
            view.refresh();
            equal(contents(view), Map.of("a", "3"), "refreshed");
        }
    }

    private static Map<String, String> contents(TableView<String> view) {
        return view.entrySet().stream().collect(Collectors.toMap(Map.Entry::getKey, Map.Entry::getValue));
    }

    /** A broker without transactions says so, and soon. */
    private static void transactionsRefused(Box box) throws Exception {
        long start = System.nanoTime();
        try (var client = PulsarClient.builder().serviceUrl(box.service).operationTimeout(20, TimeUnit.SECONDS)
                .enableTransaction(true).build()) {
            client.newTransaction().withTransactionTimeout(1, TimeUnit.MINUTES).build().get(30, TimeUnit.SECONDS).abort().get();
        } catch (PulsarClientException | ExecutionException refused) {
            System.err.println("transactions: " + refused);
            long seconds = (System.nanoTime() - start) / 1_000_000_000;
            check(seconds < 10, "refused only after " + seconds + " s: " + refused);
            return;
        }
        throw new Skip("the broker has transactions");
    }

    /** Publishes and consumes through a restart of the broker; every receipted message arrives, and in order. */
    private static void reconnect(Box box) throws Exception {
        var producer = box.producer();
        var consumer = box.consumer();
        List<Integer> receipted = Collections.synchronizedList(new ArrayList<>());
        List<String> errors = Collections.synchronizedList(new ArrayList<>());
        var restarted = new AtomicBoolean();
        var publisher = new Thread(() -> publish(producer, receipted, errors, restarted));
        publisher.setDaemon(true);
        publisher.start();
        var seen = new LinkedHashSet<Integer>();
        for (var message : receive(consumer, 50)) {
            seen.add(Integer.valueOf(text(message)));
        }
        System.out.println("ready-for-restart");
        System.out.flush();
        new BufferedReader(new InputStreamReader(System.in)).readLine();
        restarted.set(true);
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(75);
        while (System.nanoTime() < deadline && (publisher.isAlive() || !seen.containsAll(List.copyOf(receipted)))) {
            var message = consumer.receive(500, TimeUnit.MILLISECONDS);
            if (message != null) {
                seen.add(Integer.valueOf(text(message)));
                consumer.acknowledge(message);
            }
        }
        check(!publisher.isAlive(), "publishing did not go on after the restart; errors: " + errors);
        var lost = new TreeSet<>(receipted);
        lost.removeAll(seen);
        check(lost.isEmpty(), "lost receipted messages " + lost);
        equal(List.copyOf(seen), List.copyOf(new TreeSet<>(seen)), "order of first deliveries");
    }

    private static void publish(Producer<byte[]> producer, List<Integer> receipted, List<String> errors, AtomicBoolean restarted) {
        int after = 0;
        for (int number = 0; after < 50; number++) {
            try {
                producer.send(bytes("" + number));
                receipted.add(number);
                after += restarted.get() ? 1 : 0;
                Thread.sleep(5);
            } catch (PulsarClientException error) {
                errors.add(error.toString());
            } catch (InterruptedException stopped) {
                return;
            }
        }
    }
}
