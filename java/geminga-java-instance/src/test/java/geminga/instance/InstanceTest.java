package geminga.instance;

import static geminga.instance.Link.IN;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import geminga.instance.Link.Outcome;
import geminga.instance.Link.Published;
import geminga.instance.Link.Sent;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.pulsar.client.api.Schema;
import org.apache.pulsar.common.schema.KeyValue;
import org.apache.pulsar.functions.api.Context;
import org.apache.pulsar.functions.api.Function;
import org.apache.pulsar.functions.api.Record;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** What user code can count on, each with a function made for it. */
@Timeout(60)
class InstanceTest {
    static final class About implements Function<String, String> {
        @Override
        public String process(String what, Context context) {
            Record<?> record = context.getCurrentRecord();
            return switch (what) {
                case "names" -> String.join(" ", context.getTenant(), context.getNamespace(), context.getFunctionName(), context.getFunctionId(),
                    context.getFunctionVersion(), context.getInstanceId() + "", context.getNumInstances() + "", context.getOutputTopic(),
                    context.getInputTopics().toString());
                case "secret" -> context.getSecret("password") + " " + context.getSecret("other");
                case "config" -> context.getUserConfigMap().get("n") + " " + context.getUserConfigValue("n").get().getClass().getSimpleName()
                    + " " + context.getUserConfigValueOrDefault("absent", "default") + " " + context.getUserConfigValue("path").isPresent();
                case "message" -> String.join(" ", record.getKey().get(), record.getProperties().toString(), record.getEventTime().get() + "",
                    record.getTopicName().get(), record.getMessage().get().getMessageId().toString(), record.getRecordSequence().get() + "",
                    record.getMessage().get().getProducerName(), record.getMessage().get().getRedeliveryCount() + "",
                    new String(record.getMessage().get().getData(), StandardCharsets.UTF_8));
                case "admin" -> context.getPulsarAdmin().toString();
                case "consumer" -> {
                    try {
                        yield context.newConsumerBuilder(Schema.STRING).toString();
                    } catch (org.apache.pulsar.client.api.PulsarClientException e) {
                        yield "checked";
                    }
                }
                default -> null;
            };
        }
    }

    @Test
    void context_tells_about_the_function() throws Exception {
        try (Link link = Link.start(UserPackage.of(About.class), About.class.getName(), "\"user_config\":{\"n\":5,\"path\":\"$PATH\"}")) {
            assertEquals("public default f id-1 3 1 2 persistent://public/default/out [" + IN + "]", link.call("names"));
            assertEquals("hidden null", link.call("secret"));
            assertEquals("5.0 Double default true", link.call("config"));
            Sent sent = Sent.text("message");
            sent.key = "k";
            sent.eventTime = 77;
            sent.properties.put("a", "b");
            assertEquals("k {a=b} 77 " + IN + " 7:5:-1 " + ((7L << 28) + 5) + " p 2 message", link.outcome(sent).output());
            assertTrue(link.outcome("admin").exception().startsWith("java.lang.UnsupportedOperationException: Geminga gives functions no admin"));
            assertTrue(link.outcome("consumer").exception().contains("add the topic to the function's inputs"));
            assertNull(link.call("nothing"));
        }
    }

    static final class Counting implements Function<String, String> {
        @Override
        public String process(String what, Context context) throws Exception {
            switch (what) {
                case "counter":
                    context.incrCounter("c", 2);
                    context.incrCounterAsync("c", 1).get();
                    return context.getCounter("c") + " " + context.getState("c").getLong();
                case "own":
                    context.putState("k", ByteBuffer.wrap("new".getBytes(StandardCharsets.UTF_8)));
                    return StandardCharsets.UTF_8.decode(context.getState("k")).toString();
                case "deleted":
                    context.deleteState("k");
                    return context.getState("k") + "";
                case "stored":
                    return StandardCharsets.UTF_8.decode(context.getState("k")).toString() + context.getState("absent");
                case "throws":
                    context.incrCounter("c", 1);
                    context.newOutputMessage("t", Schema.STRING).value("x").send();
                    context.recordMetric("m", 2);
                    throw new IllegalStateException("after effects");
                default:
                    return null;
            }
        }
    }

    @Test
    void an_invocation_sees_its_own_changes_over_what_is_stored() throws Exception {
        try (Link link = Link.start(UserPackage.of(Counting.class), Counting.class.getName())) {
            link.state.put("c", ByteBuffer.allocate(8).putLong(10).array());
            link.state.put("k", "old".getBytes(StandardCharsets.UTF_8));
            Outcome counter = link.outcome("counter");
            assertEquals("13 13", counter.output());
            assertEquals(List.of("add c 2", "add c 1"), counter.changes());
            Outcome own = link.outcome("own");
            assertEquals("new", own.output());
            assertEquals(List.of("put k new"), own.changes());
            Outcome deleted = link.outcome("deleted");
            assertEquals("null", deleted.output());
            assertEquals(List.of("delete k"), deleted.changes());
            assertEquals("oldnull", link.call("stored"), "changes are stored by Geminga alone");
        }
    }

    @Test
    void after_an_exception_only_metrics_are_left() throws Exception {
        try (Link link = Link.start(UserPackage.of(Counting.class), Counting.class.getName())) {
            Outcome thrown = link.outcome("throws");
            assertTrue(thrown.exception().startsWith("java.lang.IllegalStateException: after effects\n\tat "));
            assertEquals(List.of("m 2.0"), thrown.metrics());
            assertNull(link.call("nothing"), "nothing is carried over");
        }
    }

    static final class Later implements Function<String, CompletableFuture<String>> {
        @Override
        public CompletableFuture<String> process(String what, Context context) {
            if (what.equals("never")) {
                return new CompletableFuture<>();
            }
            return context.getStateAsync("k").thenApplyAsync(value -> {
                context.incrCounter(what, 1);
                if (what.equals("throws")) {
                    throw new IllegalStateException("later");
                }
                return what + context.getCounter(what) + context.getCurrentRecord().getValue();
            }, CompletableFuture.delayedExecutor(what.equals("slow") ? 200 : 0, TimeUnit.MILLISECONDS));
        }
    }

    @Test
    void futures_keep_order_and_their_own_effects() throws Exception {
        try (Link link = Link.start(UserPackage.of(Later.class), Later.class.getName())) {
            link.send(Sent.text("slow"), Sent.text("a"), Sent.text("throws"), Sent.text("b"));
            Outcome slow = link.next();
            assertEquals("slow1slow", slow.output());
            assertEquals(List.of("add slow 1"), slow.changes());
            assertEquals("a1a", link.next().output());
            assertTrue(link.next().exception().startsWith("java.lang.IllegalStateException: later"));
            assertEquals(List.of("add b 1"), link.next().changes());
        }
    }

    @Test
    void whether_many_may_be_begun_is_told() throws Exception {
        try (Link later = Link.start(UserPackage.of(Later.class), Later.class.getName());
            Link now = Link.start(UserPackage.of(Counting.class), Counting.class.getName())) {
            assertTrue(later.ready.contains("\"concurrent\":true"), later.ready);
            assertTrue(now.ready.contains("\"concurrent\":false"), now.ready);
        }
    }

    @Test
    void more_futures_than_may_be_pending() throws Exception {
        try (Link link = Link.start(UserPackage.of(Later.class), Later.class.getName(), "\"max_pending_async\":2")) {
            for (int i = 0; i < 50; i++) {
                link.send(Sent.text("slow".substring(0, i % 4)));
            }
            for (int i = 0; i < 50; i++) {
                String text = "slow".substring(0, i % 4);
                assertEquals(text + 1 + text, link.next().output());
            }
        }
    }

    @Test
    void a_future_that_never_comes_is_an_exception_at_the_timeout() throws Exception {
        try (Link link = Link.start(UserPackage.of(Later.class), Later.class.getName(), "\"timeout_ms\":100")) {
            link.send(Sent.text("never"), Sent.text("a"));
            assertTrue(link.next().exception().contains("the result did not come within 100 ms"));
            assertEquals("a1a", link.next().output());
        }
    }

    @Test
    void end_waits_for_what_is_pending() throws Exception {
        Link link = Link.start(UserPackage.of(Later.class), Later.class.getName());
        link.state.put("k", new byte[0]);
        link.send(Sent.text("x"));
        assertEquals("x1x", link.next().output());
        assertEquals(0, link.end());
    }

    static final class Acknowledging implements Function<String, String> {
        private Record<?> kept;

        @Override
        public String process(String what, Context context) {
            switch (what) {
                case "keep" -> kept = context.getCurrentRecord();
                case "ack" -> {
                    kept.ack();
                    context.getCurrentRecord().ack();
                }
                default -> context.getCurrentRecord().fail();
            }
            return null;
        }
    }

    @Test
    void manual_acknowledgement() throws Exception {
        Path jar = UserPackage.of(Acknowledging.class);
        try (Link link = Link.start(jar, Acknowledging.class.getName(), "\"guarantee\":\"MANUAL\"")) {
            assertEquals(List.of(), link.outcome("keep").acks());
            assertEquals(List.of(2L, 1L), link.outcome("ack").acks().stream().sorted((a, b) -> Long.compare(b, a)).toList());
            assertTrue(link.outcome("fail").exception().contains("user code called fail on its record"));
        }
        try (Link link = Link.start(jar, Acknowledging.class.getName())) {
            link.outcome("keep");
            assertEquals(List.of(), link.outcome("ack").acks());
            assertNull(link.outcome("fail").exception());
        }
    }

    static class Broken implements Function<String, String> {
        Broken() {
            throw new IllegalStateException("no configuration");
        }

        @Override
        public String process(String input, Context context) {
            return null;
        }
    }

    static final class BrokenInitialize implements Function<String, String> {
        @Override
        public void initialize(Context context) {
            throw new IllegalStateException("no database");
        }

        @Override
        public String process(String input, Context context) {
            return null;
        }
    }

    @SuppressWarnings("rawtypes")
    static final class Open implements java.util.function.Function {
        @Override
        public Object apply(Object input) {
            return input;
        }
    }

    @Test
    void what_does_not_start_says_why() throws Exception {
        String name = Broken.class.getName();
        String why = Link.failure(UserPackage.of(Broken.class), name);
        assertTrue(why.startsWith("the constructor of " + name + " failed: java.lang.IllegalStateException: no configuration\njava.lang"), why);
        assertTrue(why.contains("\tat " + name + ".<init>"), why);
        name = BrokenInitialize.class.getName();
        why = Link.failure(UserPackage.of(BrokenInitialize.class), name);
        assertTrue(why.startsWith(name + ".initialize failed: java.lang.IllegalStateException: no database"), why);
        why = Link.failure(UserPackage.of(Open.class), Open.class.getName());
        assertTrue(why.contains("leaves the type of java.util.function.Function open"), why);
        why = Link.failure(Path.of("target/no-such.jar"), "X");
        assertTrue(why.contains("cannot be read as a jar"), why);
        why = Link.failure(Path.of("pom.xml"), "X");
        assertTrue(why.contains("cannot be read as a jar"), why);
        assertEquals("className is missing: a Java function needs the name of its class", Link.failure(Link.EXAMPLES_JAR, ""));
    }

    static class Base<A, B> implements Function<B, A> {
        @Override
        @SuppressWarnings("unchecked")
        public A process(B input, Context context) {
            return (A) (input.getClass().getSimpleName() + ":" + input);
        }
    }

    static final class Derived<X> extends Base<String, Map<String, List<Integer>>> {}

    @Test
    void types_are_found_through_superclasses() throws Exception {
        try (Link link = Link.start(UserPackage.of(Base.class, Derived.class), Derived.class.getName())) {
            assertEquals("LinkedHashMap:{a=[1, 2]}", link.call("{\"a\":[1,2]}"));
        }
    }

    static final class Isolated implements Function<String, String> {
        @Override
        public String process(String input, Context context) throws Exception {
            return switch (input) {
                case "own" -> String.valueOf(getClass().getClassLoader() == Thread.currentThread().getContextClassLoader()
                    && Json.class.getClassLoader() == getClass().getClassLoader());
                case "api" -> String.valueOf(Context.class.getClassLoader() == getClass().getClassLoader().getParent());
                default -> Class.forName(input).getName();
            };
        }
    }

    @Test
    void what_a_package_brings_is_its_own_and_the_api_is_shared() throws Exception {
        try (Link link = Link.start(UserPackage.of(Isolated.class, Json.class), Isolated.class.getName())) {
            assertEquals("true", link.call("own"));
            assertEquals("true", link.call("api"));
            assertTrue(link.outcome("no.Such").exception().startsWith("java.lang.ClassNotFoundException: no.Such"));
        }
    }

    static final class Pairs implements Function<KeyValue<String, Integer>, KeyValue<String, Integer>> {
        @Override
        public KeyValue<String, Integer> process(KeyValue<String, Integer> pair, Context context) {
            return new KeyValue<>(pair.getKey() + "!", pair.getValue() + 1);
        }
    }

    @Test
    void pairs_of_key_and_value() throws Exception {
        String separated = "\"schema_type\":\"KEY_VALUE\",\"schema_properties\":{\"kv.encoding.type\":\"SEPARATED\"}";
        try (Link link = Link.start(UserPackage.of(Pairs.class), Pairs.class.getName(), "\"inputs\":{\"" + IN + "\":{" + separated + "}}",
            "\"output\":{\"topic\":\"out\"," + separated + "}")) {
            Sent sent = Sent.text("41");
            sent.key = "k";
            Published output = link.outcome(sent).well().outputs().get(0);
            assertEquals("42", output.text());
            assertTrue(output.isKeyBase64());
            assertEquals("k!", new String(java.util.Base64.getDecoder().decode(output.key()), StandardCharsets.UTF_8));
        }
    }

    static final class Publishing implements Function<String, String> {
        private Context first;

        @Override
        public void initialize(Context context) throws Exception {
            first = context;
            context.newOutputMessage("t", Schema.STRING).value("from initialize").send();
        }

        @Override
        public String process(String input, Context context) throws Exception {
            if (input.equals("message")) {
                first.newOutputMessage("tenant/ns/t", Schema.INT32).value(7).keyBytes(new byte[] {1}).sequenceId(0).eventTime(1).deliverAt(2)
                    .property("a", "b").send();
                first.publish("t", Map.of("x", 1)).get();
                first.publish("t", 5L, "INT64").get();
            }
            return input;
        }
    }

    @Test
    void publishing_also_through_a_context_that_was_kept() throws Exception {
        try (Link link = Link.start(UserPackage.of(Publishing.class), Publishing.class.getName())) {
            assertEquals("from initialize", link.outcome("first").publishes().get(0).text());
            List<Published> publishes = link.outcome("message").publishes();
            Published first = publishes.get(0);
            assertEquals("persistent://tenant/ns/t AQ== true 1 2 0 {a=b}", first.topic() + " " + first.key() + " " + first.isKeyBase64() + " "
                + first.eventTime() + " " + first.deliverAt() + " " + first.sequenceId() + " " + first.properties());
            assertArrayEquals(new byte[] {0, 0, 0, 7}, first.payload());
            assertEquals("{\"x\":1}", publishes.get(1).text());
            assertArrayEquals(new byte[] {0, 0, 0, 0, 0, 0, 0, 5}, publishes.get(2).payload());
            assertEquals(List.of(), link.outcome("last").publishes());
        }
    }

    static final class Wild implements Function<String, Object> {
        @Override
        public Object process(String input, Context context) {
            switch (input) {
                case "overflow":
                    return process(input, context);
                case "huge":
                    return "x".repeat(70 << 20);
                case "error":
                    throw new Error("of the user's");
                case "bad text":
                    throw new RuntimeException() {
                        @Override
                        public String toString() {
                            throw new IllegalStateException();
                        }
                    };
                case "long text":
                    throw new RuntimeException("\u00fc".repeat(20_000));
                default:
                    return input;
            }
        }
    }

    @Test
    void the_instance_outlives_what_user_code_throws() throws Exception {
        try (Link link = Link.start(UserPackage.of(Wild.class, Class.forName(Wild.class.getName() + "$1")), Wild.class.getName())) {
            assertTrue(link.outcome("overflow").exception().startsWith("java.lang.StackOverflowError"));
            assertTrue(link.outcome("huge").exception().contains("67108859 at most"));
            assertTrue(link.outcome("error").exception().startsWith("java.lang.Error: of the user's"));
            assertTrue(link.outcome("bad text").exception().startsWith(Wild.class.getName() + "$1"));
            String text = link.outcome("long text").exception();
            assertTrue(text.getBytes(StandardCharsets.UTF_8).length <= 8192 && !text.contains("\ufffd"));
            assertEquals("\"well\"", link.call("well"));
        }
    }

    static final class WindowOfText implements java.util.function.Function<java.util.Collection<String>, String> {
        @Override
        public String apply(java.util.Collection<String> elements) {
            return elements.stream().collect(Collectors.joining("+"));
        }
    }

    @Test
    void a_window_over_many_frames_is_one_call() throws Exception {
        try (Link link = Link.start(UserPackage.of(WindowOfText.class), WindowOfText.class.getName(), "\"window\":{\"length_count\":9}")) {
            assertEquals("a+b", link.window(Sent.text("a"), Sent.text("b")).output());
            assertEquals("c", link.window(Sent.text("c")).output());
        }
    }

    @Test
    void a_nar_with_libraries() throws Exception {
        Path inner = UserPackage.of(About.class);
        Path nar = Files.createTempFile(Path.of("target/packages"), "package", ".nar").toAbsolutePath();
        try (java.util.zip.ZipOutputStream out = new java.util.zip.ZipOutputStream(Files.newOutputStream(nar))) {
            out.putNextEntry(new java.util.zip.ZipEntry("META-INF/bundled-dependencies/about.jar"));
            Files.copy(inner, out);
        }
        try (Link link = Link.start(nar, About.class.getName())) {
            assertEquals("hidden null", link.call("secret"));
        }
    }

    @Test
    void output_without_topic_is_dropped() throws Exception {
        try (Link link = Link.start(UserPackage.of(WindowOfText.class), WindowOfText.class.getName(), "\"window\":{}", "\"output\":{\"topic\":null}")) {
            assertNull(link.window(Sent.text("a")).output());
        }
    }

    @Test
    void garbage_ends_the_instance() throws Exception {
        Link link = Link.example("ExclamationFunction");
        link.frame(0x02, new byte[20]);
        assertFalse(isRunning(link), "a record that is cut is not passed over");
    }

    private static boolean isRunning(Link link) {
        try {
            link.end();
            return true;
        } catch (Exception e) {
            return !e.getCause().getMessage().contains("an invocation record is cut");
        }
    }
}
