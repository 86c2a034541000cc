package geminga.instance;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import geminga.instance.Link.Emitted;
import geminga.instance.Link.Sent;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import org.apache.pulsar.client.api.Schema;
import org.apache.pulsar.functions.api.Record;
import org.apache.pulsar.io.core.BatchSource;
import org.apache.pulsar.io.core.BatchSourceTriggerer;
import org.apache.pulsar.io.core.PushSource;
import org.apache.pulsar.io.core.Sink;
import org.apache.pulsar.io.core.SinkContext;
import org.apache.pulsar.io.core.Source;
import org.apache.pulsar.io.core.SourceContext;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Sources and sinks written for Pulsar's {@code pulsar-io-core}. */
@Timeout(60)
class ConnectorTest {
    private static final String SOURCE = "\"kind\":\"source\"";
    private static final String SINK = "\"kind\":\"sink\"";

    /** Gathers as many records as its configuration says, and settles them together; refuses what it is told to. */
    static final class Gathering implements Sink<String> {
        private final List<Record<String>> gathered = new ArrayList<>();
        private int size;

        @Override
        public void open(Map<String, Object> config, SinkContext context) {
            size = (Integer) config.get("size");
            context.getLogger().info("{} {} {}", context.getSinkName(), context.getSinkConfig().getConfigs(), context.getSecret("password"));
        }

        @Override
        public void write(Record<String> record) {
            if (record.getValue().equals("throw")) {
                throw new IllegalArgumentException("not this one");
            }
            gathered.add(record);
            if (gathered.size() == size) {
                gathered.forEach(each -> {
                    if (each.getValue().equals("fail")) {
                        each.fail();
                    } else {
                        each.ack();
                    }
                });
                gathered.clear();
            }
        }

        @Override
        public void close() {}
    }

    @Test
    void a_record_of_a_sink_ends_when_the_sink_says_so() throws Exception {
        try (Link link = Link.start(UserPackage.of(Gathering.class), Gathering.class.getName(), SINK, "\"user_config\":{\"size\":3}")) {
            assertTrue(link.logs.get(0).contains("f {size=3} hidden"), link.logs::toString);
            link.send(Sent.text("a"), Sent.text("throw"), Sent.text("fail"));
            Link.Outcome thrown = link.next();
            assertEquals(2, thrown.id(), "nothing is known of the first one yet");
            assertTrue(thrown.exception().contains("not this one"));
            link.send(Sent.text("b"));
            assertEquals(1, link.next().well().id());
            Link.Outcome failed = link.next();
            assertEquals(3, failed.id());
            assertTrue(failed.exception().contains("called fail"), failed.exception());
            assertEquals(4, link.next().well().id());
        }
    }

    @Test
    void what_a_sink_has_not_settled_is_not_acknowledged_at_the_end() throws Exception {
        Link link = Link.start(UserPackage.of(Gathering.class), Gathering.class.getName(), SINK, "\"user_config\":{\"size\":2}",
            "\"guarantee\":\"ATMOST_ONCE\"");
        assertEquals(1, link.outcome("a").well().id(), "at most once does not wait for the sink");
        assertEquals(0, link.end());
    }

    /** Settles some a moment later, and the rest when it is closed. */
    static final class Flushing implements Sink<String> {
        private final List<Record<String>> gathered = new ArrayList<>();
        private SinkContext context;

        @Override
        public void open(Map<String, Object> config, SinkContext context) {
            this.context = context;
        }

        @Override
        public synchronized void write(Record<String> record) {
            gathered.add(record);
            if (record.getValue().equals("much later")) {
                CompletableFuture.delayedExecutor(2500, TimeUnit.MILLISECONDS).execute(() -> settle(record));
            }
            if (record.getValue().equals("later")) {
                CompletableFuture.delayedExecutor(200, TimeUnit.MILLISECONDS).execute(() -> settle(record));
            }
        }

        private synchronized void settle(Record<String> record) {
            gathered.remove(record);
            record.ack();
        }

        @Override
        public synchronized void close() {
            context.getLogger().info("closed with {}", gathered.size());
            gathered.forEach(Record::ack);
        }
    }

    @Test
    void a_sink_is_closed_after_what_ends_by_itself_and_settles_the_rest() throws Exception {
        Link link = Link.start(UserPackage.of(Flushing.class), Flushing.class.getName(), SINK);
        link.send(Sent.text("a"), Sent.text("later"), Sent.text("b"));
        assertEquals(0, link.end());
        assertEquals(2, link.next().well().id());
        assertEquals(1, link.next().well().id());
        assertEquals(3, link.next().well().id());
        assertTrue(link.logs.get(link.logs.size() - 1).contains("closed with 2"), link.logs::toString);
    }

    @Test
    void a_sink_is_closed_when_nothing_more_comes_and_settles_the_rest() throws Exception {
        Link link = Link.start(UserPackage.of(Flushing.class), Flushing.class.getName(), SINK);
        link.send(Sent.text("a"), Sent.text("later"), Sent.text("b"));
        link.finish(2500);
        assertEquals(2, link.next().well().id());
        assertEquals(1, link.next().well().id());
        assertEquals(3, link.next().well().id());
        assertEquals(0, link.end());
        assertEquals(1, link.logs.stream().filter(line -> line.contains("closed with")).count(), link.logs::toString);
    }

    @Test
    void a_sink_whose_calls_are_slow_is_not_closed_before_they_end() throws Exception {
        Link link = Link.start(UserPackage.of(Flushing.class), Flushing.class.getName(), SINK);
        link.send(Sent.text("much later"));
        link.finish(30_000);
        assertEquals(1, link.next().well().id());
        assertEquals(0, link.end());
        assertTrue(link.logs.get(link.logs.size() - 1).contains("closed with 0"), link.logs::toString);
    }

    /** Counts to three, waits, and counts what it is told. */
    static final class Counting implements Source<Long> {
        private final LinkedBlockingQueue<Record<Long>> records = new LinkedBlockingQueue<>();
        private SourceContext context;

        @Override
        public void open(Map<String, Object> config, SourceContext context) throws Exception {
            this.context = context;
            context.newOutputMessage("persistent://public/default/opened", Schema.STRING).value("opened").sendAsync();
            for (long n = 1; n <= 3; n++) {
                records.add(record(n));
            }
        }

        private Record<Long> record(long n) {
            return new Count(this, n);
        }

        @Override
        public Record<Long> read() throws Exception {
            return records.take();
        }

        @Override
        public void close() {
            context.getLogger().info("closed");
        }
    }

    record Count(Counting source, long n) implements Record<Long> {
        @Override
        public Long getValue() {
            return n;
        }

        @Override
        public Optional<String> getKey() {
            return Optional.of("key-" + n);
        }

        @Override
        public Map<String, String> getProperties() {
            return Map.of("n", n + "");
        }

        @Override
        public void ack() {
            source.records.add(source.record(n + 10));
        }

        @Override
        public void fail() {
            source.records.add(source.record(n + 100));
        }
    }

    private static String shown(Emitted emitted) {
        return emitted.id() + " " + emitted.record().key() + " " + emitted.record().text() + " " + emitted.record().properties();
    }

    @Test
    void a_source_hears_of_a_record_when_it_is_durable() throws Exception {
        Link link = Link.start(UserPackage.of(Counting.class, Count.class), Counting.class.getName(), SOURCE, "\"inputs\":{}");
        assertEquals("persistent://public/default/opened", link.emission().record().topic());
        assertEquals("2 key-1 1 {n=1}", shown(link.emission()));
        assertEquals("3 key-2 2 {n=2}", shown(link.emission()));
        assertEquals("4 key-3 3 {n=3}", shown(link.emission()));
        link.receipt("", 1, 2);
        assertEquals("5 key-11 11 {n=11}", shown(link.emission()));
        link.receipt("the topic is gone", 3);
        assertEquals("6 key-102 102 {n=102}", shown(link.emission()));
        assertEquals(0, link.end());
        assertTrue(link.logs.stream().anyMatch(line -> line.contains("a record was not stored: the topic is gone")), link.logs::toString);
        assertTrue(link.logs.get(link.logs.size() - 1).contains("closed"), link.logs::toString);
    }

    /** Never has to wait for a receipt. */
    static final class Endless implements Source<byte[]> {
        @Override
        public void open(Map<String, Object> config, SourceContext context) {}

        @Override
        public Record<byte[]> read() {
            return () -> "x".getBytes(StandardCharsets.UTF_8);
        }

        @Override
        public void close() {}
    }

    @Test
    void a_source_has_a_thousand_on_their_way_at_most() throws Exception {
        Link link = Link.start(UserPackage.of(Endless.class), Endless.class.getName(), SOURCE, "\"inputs\":{}");
        for (long id = 1; id <= 1000; id++) {
            assertEquals(id, link.emission().id());
        }
        link.receipt("", 1);
        assertEquals(1001, link.emission().id());
        assertEquals(0, link.end());
    }

    /** As most of Pulsar's own sources are made. */
    static final class Pushing extends PushSource<String> {
        @Override
        public void open(Map<String, Object> config, SourceContext context) {
            consume(() -> "pushed");
        }

        @Override
        public void close() {}
    }

    @Test
    void a_package_may_name_its_class_itself() throws Exception {
        var nar = UserPackage.with("META-INF/services/pulsar-io.yaml",
            "name: pushing\nsourceClass: '" + Pushing.class.getName() + "' # it pushes\n", Pushing.class);
        Link link = Link.start(nar, "", SOURCE, "\"inputs\":{}");
        assertEquals("pushed", link.emission().record().text());
        assertEquals(0, link.end());
        assertTrue(Link.failure(nar, "", SINK).startsWith("className is missing: a Java sink"));
        var function = UserPackage.with("META-INF/services/pulsar-io.yaml", "functionClass: " + Plain.class.getName() + "\n", Plain.class);
        assertEquals(0, Link.start(function, "").end());
    }

    static final class Plain implements java.util.function.Function<String, String> {
        @Override
        public String apply(String input) {
            return input;
        }
    }

    private static final String TASKS = "persistent://public/default/f-intermediate";

    /** What it discovers are letters; each is a task of two records. */
    static final class Letters implements BatchSource<String> {
        private final ArrayDeque<Record<String>> records = new ArrayDeque<>();
        private SourceContext context;

        @Override
        public void open(Map<String, Object> config, SourceContext context) {
            this.context = context;
            context.getState("at"); // before it is answered, the instance is ready
            context.getLogger().info("opened with {}", config.get("size"));
        }

        @Override
        public void discover(Consumer<byte[]> tasks) {
            for (String letter : List.of("a", "b")) {
                tasks.accept(letter.getBytes(StandardCharsets.UTF_8));
                context.getLogger().info("discovered {}", letter);
            }
        }

        @Override
        public void prepare(byte[] task) {
            String letter = new String(task, StandardCharsets.UTF_8);
            records.add(new Letter(context, letter + 1));
            records.add(new Letter(context, letter + 2));
        }

        @Override
        public Record<String> readNext() {
            return records.poll();
        }

        @Override
        public void close() {
            context.getLogger().info("closed");
        }
    }

    record Letter(SourceContext context, String text) implements Record<String> {
        @Override
        public String getValue() {
            return text;
        }

        @Override
        public void ack() {
            context.getLogger().info("stored {}", text);
        }

        @Override
        public void fail() {
            context.getLogger().info("failed {}", text);
        }
    }

    /** Triggers twice at once, of which the second finds the first at work. */
    static final class AtOnce implements BatchSourceTriggerer {
        private SourceContext context;

        @Override
        public void init(Map<String, Object> config, SourceContext context) {
            this.context = context;
            context.getLogger().info("triggers with {}", config);
        }

        @Override
        public void start(Consumer<String> trigger) {
            trigger.accept("first");
            trigger.accept("second");
        }

        @Override
        public void stop() {
            context.getLogger().info("triggers no more");
        }
    }

    private static String[] batch(String triggerer, int instance) {
        StringBuilder config = new StringBuilder("\"user_config\":{\"size\":3,\"__BATCHSOURCECONFIGS__\":");
        Json.quote(config, "{\"discoveryTriggererClassName\":\"" + triggerer + "\",\"discoveryTriggererConfig\":{\"a\":\"b\"}}");
        return new String[] {SOURCE, "\"inputs\":{\"" + TASKS + "\":{}}", "\"instance_id\":" + instance, config.append('}').toString()};
    }

    private static Sent task(String text) {
        Sent task = Sent.text(text);
        task.topic = TASKS;
        return task;
    }

    @Test
    void the_first_instance_of_a_batch_source_discovers_and_a_task_is_there_when_it_is_durable() throws Exception {
        Link link = Link.start(UserPackage.of(Letters.class, Letter.class, AtOnce.class), Letters.class.getName(), batch(AtOnce.class.getName(), 0));
        Emitted a = link.emission();
        assertEquals(TASKS, a.record().topic());
        assertEquals("a", a.record().text());
        assertEquals("first", a.record().properties().get("discoveredEvent"));
        assertTrue(a.record().properties().containsKey("produceTime"));
        assertTrue(link.logs.stream().noneMatch(line -> line.contains("discovered a")), link.logs::toString);
        link.receipt("", a.id());
        Emitted b = link.emission();
        assertEquals("b", b.record().text());
        link.receipt("", b.id());
        link.send(task("x")); // what comes back, from whichever instance
        assertEquals("x1", link.emission().record().text());
        assertEquals(0, link.end());
        for (String line : List.of("opened with 3", "triggers with {a=b}", "a discovery is under way already", "discovered a", "triggers no more", "closed")) {
            assertTrue(link.logs.stream().anyMatch(log -> log.contains(line)), () -> line + " is not in " + link.logs);
        }
    }

    @Test
    void a_task_ends_when_all_its_records_are_durable_and_comes_again_when_one_is_not() throws Exception {
        Link link = Link.start(UserPackage.of(Letters.class, Letter.class, AtOnce.class), Letters.class.getName(), batch(AtOnce.class.getName(), 1));
        link.send(task("a"), task("b"));
        for (String text : List.of("a1", "a2", "b1", "b2")) {
            Emitted emitted = link.emission();
            assertEquals(text, emitted.record().text());
            assertEquals(null, emitted.record().topic(), "it goes to the source's own topic");
        }
        link.receipt("", 1, 3, 4);
        assertEquals(2, link.next().well().id(), "of the first one a record is on its way");
        link.receipt("no room", 2);
        Link.Outcome failed = link.next();
        assertEquals(1, failed.id());
        assertTrue(failed.exception().contains("no room"), failed.exception());
        assertEquals(0, link.end());
        for (String line : List.of("stored a1", "failed a2", "stored b2")) {
            assertTrue(link.logs.stream().anyMatch(log -> log.contains(line)), () -> line + " is not in " + link.logs);
        }
    }

    @Test
    void a_batch_source_ends_its_task_before_it_stops() throws Exception {
        Link link = Link.start(UserPackage.of(Letters.class, Letter.class, AtOnce.class), Letters.class.getName(), batch(AtOnce.class.getName(), 0));
        Emitted discovered = link.emission(); // it is not durable before the end, which interrupts the discovery
        assertEquals("a", discovered.record().text());
        link.send(task("x"));
        Emitted first = link.emission();
        Emitted second = link.emission();
        assertEquals("x1", first.record().text());
        link.finish(5000);
        Thread.sleep(100);
        link.receipt("", first.id(), second.id());
        assertEquals(1, link.next().well().id());
        assertEquals(0, link.end());
        assertTrue(link.logs.stream().anyMatch(line -> line.contains("closed")), link.logs::toString);
    }

    @Test
    void what_makes_no_batch_source_is_refused() throws Exception {
        var jar = UserPackage.of(Letters.class, Letter.class, Endless.class);
        String failed = Link.failure(jar, Endless.class.getName(), batch(AtOnce.class.getName(), 0));
        assertTrue(failed.contains("does not implement org.apache.pulsar.io.core.BatchSource, and the source has a batchSourceConfig"), failed);
        failed = Link.failure(jar, Letters.class.getName(), batch("org.apache.pulsar.io.batchdiscovery.CronTriggerer", 1));
        assertTrue(failed.contains("add org.apache.pulsar:pulsar-io-batch-discovery-triggerers to it"), failed);
        failed = Link.failure(jar, Letters.class.getName(), batch(Endless.class.getName(), 0));
        assertTrue(failed.contains("does not implement org.apache.pulsar.io.core.BatchSourceTriggerer"), failed);
    }

    abstract static class Batch implements BatchSource<String> {}

    /** As {@code TestStateSource} of Pulsar's integration tests: it keeps where it is in its state. */
    public static final class Positions implements Source<String> {
        private SourceContext context;
        private int count;

        @Override
        public void open(Map<String, Object> config, SourceContext context) {
            this.context = context;
            context.putState("initial", ByteBuffer.wrap("at".getBytes(StandardCharsets.UTF_8)));
        }

        @Override
        public Record<String> read() throws Exception {
            if (count == 2) {
                Thread.sleep(60_000);
            }
            String text = new String(context.getState("initial").array(), StandardCharsets.UTF_8) + count++;
            context.putState("now", ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8)));
            context.incrCounter("records", 1);
            return () -> text;
        }

        @Override
        public void close() {}
    }

    @Test
    void what_a_source_changes_goes_with_its_next_record() throws Exception {
        try (Link link = Link.start(UserPackage.of(Positions.class), Positions.class.getName(), SOURCE)) {
            link.state.put("initial", "on".getBytes(StandardCharsets.UTF_8)); // what was committed is asked for, what was not is known
            Emitted first = link.emission();
            assertEquals("at0", first.record().text());
            assertEquals(List.of("put initial at", "put now at0", "add records 1"), first.changes());
            assertEquals(List.of("put now on1", "add records 1"), link.emission().changes());
        }
    }

    @Test
    void what_is_no_connector_is_refused_by_name() throws Exception {
        assertTrue(Link.failure(UserPackage.of(Batch.class), Batch.class.getName(), SOURCE).contains("is a BatchSource, and needs a batchSourceConfig"));
        assertTrue(Link.failure(UserPackage.of(Gathering.class), Gathering.class.getName(), SOURCE).contains("does not implement org.apache.pulsar.io.core.Source"));
        String failed = Link.failure(UserPackage.of(Gathering.class), Gathering.class.getName(), SINK);
        assertTrue(failed.startsWith(Gathering.class.getName() + ".open failed: java.lang.NullPointerException"), failed);
    }
}
