package geminga.instance;

import geminga.instance.wire.Frame;
import geminga.instance.wire.FrameReader;
import geminga.instance.wire.Out;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.Pipe;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/** Geminga's side of an instance that runs in this process: says hello, hands over messages, takes what came of them. */
final class Link implements AutoCloseable {
    static final String IN = "persistent://public/default/in";
    static final String EXAMPLES = "org.apache.pulsar.functions.api.examples.";
    static final Path EXAMPLES_JAR = Path.of("target/examples/pulsar-functions-api-examples.jar").toAbsolutePath();

    record Published(String topic, String key, boolean isKeyBase64, byte[] payload, Map<String, String> properties, long eventTime,
                     long deliverAt, Long sequenceId, String schema) {
        String text() {
            return new String(payload, StandardCharsets.UTF_8);
        }
    }

    /** What came of an invocation; {@code changes} and {@code metrics} as text. */
    record Outcome(long id, List<Published> outputs, String exception, List<Published> publishes, List<String> changes, List<Long> acks,
                   List<String> metrics) {
        /** Itself, where nothing was thrown. */
        Outcome well() {
            if (exception != null) {
                throw new AssertionError(exception);
            }
            return this;
        }

        String output() {
            well();
            return outputs.isEmpty() ? null : outputs.get(0).text();
        }
    }

    /** A message on its way in. */
    static final class Sent {
        byte[] payload = {};
        String topic = IN;
        String key;
        String producer = "p";
        byte[] schemaVersion = {};
        long entry = 5;
        long eventTime;
        final Map<String, String> properties = new LinkedHashMap<>();

        static Sent text(String text) {
            Sent sent = new Sent();
            sent.payload = text.getBytes(StandardCharsets.UTF_8);
            return sent;
        }
    }

    /** What a source has read, with the changes of state before it. */
    record Emitted(long id, Published record, List<String> changes) {}

    final List<String> logs = new ArrayList<>();
    final Map<String, byte[]> state = new LinkedHashMap<>();
    /** What the instance told of, by number: type, definition and properties as text. */
    final Map<Integer, String> schemas = new LinkedHashMap<>();
    String ready;
    private final Pipe requests = Pipe.open();
    private final Pipe events = Pipe.open();
    private final FrameReader reader = new FrameReader(events.source(), 64 << 20);
    private final CompletableFuture<Integer> status = new CompletableFuture<>();
    private final ArrayDeque<Outcome> outcomes = new ArrayDeque<>();
    private final ArrayDeque<Emitted> emitted = new ArrayDeque<>();
    private final List<String> changes = new ArrayList<>();
    private long nextId;

    private Link() throws IOException {}

    /** Starts a class of Pulsar's examples; {@code more} are members of hello. */
    static Link example(String className, String... more) throws IOException {
        return start(EXAMPLES_JAR, EXAMPLES + className, more);
    }

    static Link start(Path jar, String className, String... more) throws IOException {
        Link link = new Link();
        String failed = link.hello(jar, className, more);
        if (failed != null) {
            throw new AssertionError(failed);
        }
        return link;
    }

    /** Starts what must not start; why it did not. */
    static String failure(Path jar, String className, String... more) throws IOException {
        try (Link link = new Link()) {
            String failed = link.hello(jar, className, more);
            if (failed == null) {
                throw new AssertionError("it started");
            }
            return failed;
        }
    }

    private String hello(Path jar, String className, String... more) throws IOException {
        Thread thread = new Thread(() -> {
            try {
                status.complete(Main.run(requests.source(), events.sink()));
            } catch (Throwable e) {
                status.completeExceptionally(e);
                try {
                    events.sink().close(); // as the end of the process would
                } catch (IOException ignored) {
                    // it is reported with e
                }
            }
        }, "instance");
        thread.setDaemon(true);
        thread.start();
        Path workDir = Files.createDirectories(Path.of("target/work"));
        StringBuilder hello = new StringBuilder("{\"protocol\":1,\"kind\":\"function\",\"tenant\":\"public\",\"namespace\":\"default\",")
            .append("\"name\":\"f\",\"id\":\"id-1\",\"version\":3,\"instance_id\":1,\"parallelism\":2,\"secrets\":{\"password\":\"hidden\"},")
            .append("\"admin_url\":\"\",\"code\":");
        Json.quote(hello, jar.toString());
        hello.append(",\"work_dir\":");
        Json.quote(hello, workDir.toString());
        hello.append(",\"class_name\":");
        Json.quote(hello, className);
        String all = String.join(",", more);
        if (!all.contains("\"inputs\"")) {
            hello.append(",\"inputs\":{\"").append(IN).append("\":{}}");
        }
        if (!all.contains("\"output\"")) {
            hello.append(",\"output\":{\"topic\":\"persistent://public/default/out\"}");
        }
        hello.append(all.isEmpty() ? "" : "," + all).append('}');
        frame(Frame.HELLO, hello.toString().getBytes(StandardCharsets.UTF_8));
        for (;;) {
            Frame frame = received();
            String text = new String(frame.body(), StandardCharsets.UTF_8);
            if (frame.kind() == 0x81) {
                ready = text;
                return null;
            }
            if (frame.kind() == 0x82) {
                return text;
            }
            events(frame.body());
        }
    }

    String call(String text) throws IOException {
        return outcome(text).output();
    }

    Outcome outcome(String text) throws IOException {
        return outcome(Sent.text(text));
    }

    Outcome outcome(Sent sent) throws IOException {
        send(sent);
        return next();
    }

    void send(Sent... messages) throws IOException {
        Out frame = new Out(256);
        for (Sent sent : messages) {
            record(frame, ++nextId, 0, sent);
        }
        frame(Frame.INVOKE, Arrays.copyOf(frame.array(), frame.length()));
    }

    Outcome window(Sent... elements) throws IOException {
        Out frame = new Out(256);
        nextId++;
        for (int i = 0; i < elements.length; i++) {
            record(frame, nextId, i + 1 == elements.length ? 2 : 1, elements[i]);
        }
        frame(Frame.INVOKE, Arrays.copyOf(frame.array(), frame.length()));
        return next();
    }

    Outcome next() throws IOException {
        while (outcomes.isEmpty()) {
            events(received().body());
        }
        return outcomes.poll();
    }

    Emitted emission() throws IOException {
        while (emitted.isEmpty()) {
            events(received().body());
        }
        return emitted.poll();
    }

    /** Tells a source what became of its records; stored where there is no reason why not. */
    void receipt(String why, long... ids) throws IOException {
        Out out = new Out(64);
        out.u8(why.isEmpty() ? 0 : 1);
        out.u32(ids.length);
        for (long id : ids) {
            out.u64(id);
        }
        byte[] text = why.getBytes(StandardCharsets.UTF_8);
        out.raw(text, 0, text.length);
        frame(Frame.EMITTED, Arrays.copyOf(out.array(), out.length()));
    }

    /** Says that no invocations follow, and for how long it listens. */
    void finish(int millis) throws IOException {
        Out out = new Out(4);
        out.u32(millis);
        frame(Frame.FINISH, Arrays.copyOf(out.array(), out.length()));
    }

    /** Ends the requests and waits for the instance. */
    int end() throws Exception {
        requests.sink().close();
        int exit = status.get(30, TimeUnit.SECONDS);
        events.sink().close();
        for (Frame frame = reader.next(); frame != null; frame = reader.next()) {
            events(frame.body());
        }
        return exit;
    }

    @Override
    public void close() throws IOException {
        requests.sink().close();
    }

    void frame(int kind, byte[] body) throws IOException {
        Out out = new Out(body.length + 5);
        out.u32(body.length + 1);
        out.u8(kind);
        out.raw(body, 0, body.length);
        ByteBuffer bytes = ByteBuffer.wrap(out.array(), 0, out.length());
        while (bytes.hasRemaining()) {
            requests.sink().write(bytes);
        }
    }

    private Frame received() throws IOException {
        Frame frame = reader.next();
        if (frame == null) {
            throw new AssertionError("the instance has ended", status.handle((ok, thrown) -> thrown).join());
        }
        return frame;
    }

    private static void record(Out out, long id, int kind, Sent sent) {
        byte[] topic = sent.topic.getBytes(StandardCharsets.UTF_8);
        byte[] key = sent.key == null ? new byte[0] : sent.key.getBytes(StandardCharsets.UTF_8);
        byte[] producer = sent.producer.getBytes(StandardCharsets.UTF_8);
        int start = out.length();
        out.u32(0);
        out.u64(id);
        out.u8(kind);
        out.u8(sent.key == null ? 0 : 1);
        out.u8(sent.properties.size());
        out.u8(0);
        for (int length : new int[] {sent.payload.length, topic.length, key.length, producer.length, sent.schemaVersion.length}) {
            out.u32(length);
        }
        out.u64(7);
        out.u64(sent.entry);
        out.u32(-1);
        out.u32(-1);
        out.u32(0);
        out.u32(2);
        out.u64(sent.eventTime);
        out.u64(1000);
        out.u64(9);
        for (byte[] part : new byte[][] {sent.payload, topic, key, producer, sent.schemaVersion}) {
            out.raw(part, 0, part.length);
        }
        sent.properties.forEach((name, value) -> {
            out.str(name);
            out.str(value);
        });
        out.u32At(start, out.length() - start - 4);
    }

    private void events(byte[] body) throws IOException {
        In in = new In(body);
        while (in.at < body.length) {
            int tag = in.u8();
            switch (tag) {
                case 0x01 -> {
                    long id = in.u64();
                    in.u64();
                    Published output = new Published(null, null, false, in.bytes(), Map.of(), 0, 0, null, null);
                    outcomes.add(new Outcome(id, List.of(output), null, List.of(), List.of(), List.of(), List.of()));
                }
                case 0x02 -> {
                    outcomes.add(new Outcome(in.u64(), List.of(), null, List.of(), List.of(), List.of(), List.of()));
                    in.u64();
                }
                case 0x03 -> {
                    long id = in.u64();
                    in.u64();
                    String text = in.str();
                    outcomes.add(new Outcome(id, List.of(), text, List.of(), List.of(), List.of(), in.metrics()));
                }
                case 0x04 -> {
                    long id = in.u64();
                    in.u64();
                    outcomes.add(new Outcome(id, in.records(), null, in.records(), in.changes(), in.ids(), in.metrics()));
                }
                case 0x05 -> answer(in);
                case 0x06 -> {
                    emitted.add(new Emitted(in.u64(), in.record(), List.copyOf(changes)));
                    changes.clear();
                }
                case 0x09 -> changes.addAll(in.changes());
                case 0x08 -> {
                    int number = in.u32();
                    String schema = in.str() + " " + in.str();
                    for (int left = in.u32(); left > 0; left--) {
                        schema += " " + in.str() + "=" + in.str();
                    }
                    if (schemas.put(number, schema) != null) {
                        throw new AssertionError("schema " + number + " was told twice");
                    }
                }
                case 0x07 -> logs.add(in.u8() + " " + in.str());
                default -> throw new AssertionError("an event of kind " + tag);
            }
        }
    }

    private void answer(In in) throws IOException {
        long call = in.u64();
        in.u64();
        int question = in.u8();
        byte[] value = state.get(in.str());
        Out out = new Out(32);
        out.u64(call);
        if (question == 2) {
            out.u8(2);
            out.u64(value == null ? 0 : ByteBuffer.wrap(value).getLong());
        } else if (value == null) {
            out.u8(0);
        } else {
            out.u8(1);
            out.raw(value, 0, value.length);
        }
        frame(Frame.ANSWER, Arrays.copyOf(out.array(), out.length()));
    }

    /** Reads event records. */
    private final class In {
        private final byte[] bytes;
        private int at;

        In(byte[] bytes) {
            this.bytes = bytes;
        }

        int u8() {
            return bytes[at++] & 0xff;
        }

        int u32() {
            at += 4;
            return Frame.i32(bytes, at - 4);
        }

        long u64() {
            at += 8;
            return Frame.i64(bytes, at - 8);
        }

        byte[] bytes() {
            int length = u32();
            at += length;
            return Arrays.copyOfRange(bytes, at - length, at);
        }

        String str() {
            return new String(bytes(), StandardCharsets.UTF_8);
        }

        List<Published> records() {
            List<Published> records = new ArrayList<>();
            for (int left = u32(); left > 0; left--) {
                records.add(record());
            }
            return records;
        }

        Published record() {
            int flags = u8();
            long eventTime = u64();
            long deliverAt = u64();
            long sequenceId = u64();
            String topic = str();
            String key = str();
            byte[] payload = bytes();
            Map<String, String> properties = new LinkedHashMap<>();
            for (int count = u32(); count > 0; count--) {
                properties.put(str(), str());
            }
            String schema = (flags & 16) == 0 ? null : schemas.get(u32());
            return new Published((flags & 1) == 0 ? null : topic, (flags & 2) == 0 ? null : key, (flags & 4) != 0, payload, properties,
                eventTime, deliverAt, (flags & 8) == 0 ? null : sequenceId, schema);
        }

        List<String> changes() {
            List<String> changes = new ArrayList<>();
            for (int left = u32(); left > 0; left--) {
                int kind = u8();
                String key = str();
                changes.add(switch (kind) {
                    case 1 -> "put " + key + " " + str();
                    case 2 -> "delete " + key;
                    default -> "add " + key + " " + u64();
                });
            }
            return changes;
        }

        List<Long> ids() {
            List<Long> ids = new ArrayList<>();
            for (int left = u32(); left > 0; left--) {
                ids.add(u64());
            }
            return ids;
        }

        List<String> metrics() {
            List<String> metrics = new ArrayList<>();
            for (int left = u32(); left > 0; left--) {
                metrics.add(str() + " " + Double.longBitsToDouble(u64()));
            }
            return metrics;
        }
    }
}
