package geminga.instance;

import geminga.instance.wire.Frame;
import geminga.instance.wire.Out;
import geminga.instance.wire.OutRecord;
import geminga.instance.wire.Outbox;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.apache.pulsar.client.api.Schema;
import org.apache.pulsar.common.schema.SchemaInfo;
import org.apache.pulsar.common.schema.SchemaType;
import org.apache.pulsar.functions.api.Record;
import org.apache.pulsar.io.core.BatchSourceTriggerer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Runs the user's function: takes invocations out of frames, calls it in one thread, in order, and says what came of each.
 *
 * <p>What has come of invocations leaves when no more of them is at hand, and at the latest a few milliseconds after user code was
 * called again.
 */
final class Instance {
    private static final int OUTPUT = 0x01;
    private static final int NOTHING = 0x02;
    private static final int EXCEPTION = 0x03;
    private static final int DONE = 0x04;
    private static final int MESSAGE = 0;
    private static final int WINDOW_LAST = 2;
    private static final int EXCEPTION_BYTES_MAX = 8 << 10;
    /** How long pending calls are waited for at the end. Together they are less than the three seconds in which Geminga ends an instance. */
    private static final long PENDING_BEFORE_CLOSE_MS = 1500;
    private static final long PENDING_AFTER_CLOSE_MS = 500;
    /** How long a sink that settles nothing is waited for: calls under way cannot be told from what it has gathered and settles when it is closed. */
    private static final long QUIET_MS = 10_000;

    private final Hello hello;
    private final Outbox outbox;
    private final Requests requests;
    private final Calls calls;
    private final UserCode code;
    private final Topics topics;
    /** Null where what the function returns is dropped, or it returns nothing. */
    private final Schema<?> outputSchema;
    private final AsyncCalls async;
    private final Emissions emissions;
    /** Null but in a batch source. */
    private final Batches batches;
    private final Announced announced;
    private final Logger logger;
    private final Thread thread;
    private final ExecutorService handOver;
    private final ThreadLocal<Out> scratch = ThreadLocal.withInitial(() -> new Out(4 << 10));
    /** What was asked for outside of an invocation. Guarded by this when it is replaced. */
    private volatile Effects adrift = new Effects();
    private volatile boolean isAdrift;
    private volatile boolean hasSaidReady;
    private Invocation current;
    private List<Input> window = new ArrayList<>();

    /**
     * Loads the function; its code runs in the thread that calls this.
     *
     * @throws UserCode.Unusable in words for the one who deployed it
     */
    Instance(Hello hello, ClassLoader loader, Outbox outbox, Requests requests, Calls calls, Emissions emissions)
        throws UserCode.Unusable {
        this.hello = hello;
        this.outbox = outbox;
        this.requests = requests;
        this.calls = calls;
        this.emissions = emissions;
        announced = new Announced(outbox);
        thread = Thread.currentThread();
        logger = LoggerFactory.getLogger("function-" + hello.name);
        handOver = Executors.newCachedThreadPool(task -> {
            Thread worker = new Thread(task, "geminga-answers");
            worker.setDaemon(true);
            worker.setContextClassLoader(loader);
            return worker;
        });
        if (!hello.timestampExtractor.isEmpty()) {
            throw new UserCode.Unusable("timestampExtractorClassName is not supported: publish messages with an event time instead", null);
        }
        code = UserCode.load(hello, loader);
        try {
            topics = new Topics(hello, code.inputType(), loader);
            outputSchema = hello.output.topic().isEmpty() || code.returnsNothing() ? null : topics.output(code.outputType());
        } catch (IllegalArgumentException | IllegalStateException e) {
            throw new UserCode.Unusable(e.getMessage(), e.getCause());
        }
        async = new AsyncCalls(this);
        // What can be seen to be unusable is told before READY, which the code may say itself when it opens.
        BatchSourceTriggerer triggerer = hello.batch == null ? null : Connectors.triggerer(hello.batch, loader);
        boolean isTriggered = triggerer != null && hello.instanceId == 0;
        batches = hello.batch == null ? null : new Batches(this, code.batchSource(), isTriggered ? triggerer : null, this::output, loader);
        calls.beforeCalls(this::sayReady);
        try {
            code.initialize(new FunctionContext(this, null));
        } catch (Exception | Error e) {
            String method = hello.kind.equals("function") ? "initialize" : "open";
            cannotBegin(code.name() + "." + method + " failed", e);
        }
        if (isTriggered) {
            initialize(triggerer);
        }
    }

    /** What tells when to look for tasks. Source: Pulsar's {@code BatchSourceExecutor}: each instance has one, the first one's is used. */
    private void initialize(BatchSourceTriggerer triggerer) throws UserCode.Unusable {
        try {
            triggerer.init(hello.batch.triggererConfig(), new FunctionContext(this, null));
        } catch (Exception | LinkageError e) {
            cannotBegin(hello.batch.triggererClass() + ".init failed", e);
        }
    }

    private void cannotBegin(String what, Throwable why) throws UserCode.Unusable {
        if (hasSaidReady) {
            die(what, why);
        }
        throw new UserCode.Unusable(what + ": " + why, why);
    }

    /** Once. Code that opens may look at state, and is answered only after it. */
    synchronized void sayReady() {
        if (!hasSaidReady) {
            hasSaidReady = true;
            outbox.ready(ready());
        }
    }

    /** What goes into READY: how the function's records are described, for whoever registers it. */
    private String ready() {
        StringBuilder json = new StringBuilder("{\"runtime\":");
        Json.quote(json, "java " + Runtime.version());
        describe(json, ",\"output_schema\":", outputSchema);
        if (code.isConcurrent() != null) {
            json.append(",\"concurrent\":").append(code.isConcurrent());
        }
        return json.append('}').toString();
    }

    /** Runs until no more requests come. */
    void run() throws InterruptedException {
        if (batches != null) {
            batches.run(requests);
            batches.close();
        } else if (hello.isSource()) {
            emissions.run(code, this::output, this::changesOfSource, logger);
        } else {
            takeInvocations();
            // What ends by itself does so before what it needs is closed; what a sink has gathered, its close may settle, and nothing else.
            if (hello.isSink()) {
                async.awaitQuiet(QUIET_MS, PENDING_BEFORE_CLOSE_MS, requests);
            } else {
                requests.awaitEnd();
                async.awaitAll(PENDING_BEFORE_CLOSE_MS);
            }
        }
        try {
            code.close();
        } catch (Exception | LinkageError e) {
            logger.error("close failed", e);
        }
        async.awaitAll(PENDING_AFTER_CLOSE_MS);
        outbox.flush();
    }

    private void takeInvocations() throws InterruptedException {
        for (;;) {
            Frame frame = requests.poll();
            if (frame == null) {
                outbox.flush();
                frame = requests.take();
                if (frame == null) {
                    break;
                }
            }
            invoke(frame.body());
        }
    }

    private void invoke(byte[] frame) throws InterruptedException {
        int at = 0;
        while (at < frame.length) {
            int end = Input.checkedEnd(frame, at);
            long id = Input.invocation(frame, at);
            int kind = Input.kind(frame, at);
            Input input;
            try {
                input = new Input(this, frame, at);
            } catch (RuntimeException | LinkageError e) {
                input = null;
                finish(new Invocation(id, List.of()), null, new IllegalArgumentException("the message could not be decoded: " + e, e));
            }
            if (kind == MESSAGE) {
                if (input != null) {
                    call(new Invocation(id, List.of(input)));
                }
            } else {
                // An element that cannot be decoded ends its window; the rest of it is passed over.
                if (input == null) {
                    window = null;
                } else if (window != null) {
                    window.add(input);
                }
                if (kind == WINDOW_LAST) {
                    List<Input> elements = window;
                    window = new ArrayList<>();
                    if (elements != null) {
                        call(new Invocation(id, elements));
                    }
                }
            }
            at = end;
        }
    }

    private void call(Invocation invocation) throws InterruptedException {
        outbox.flushSoon();
        invocation.inputs.forEach(input -> input.belongTo(invocation));
        FunctionContext context = new FunctionContext(this, invocation);
        current = invocation;
        Object result;
        try {
            result = code.isWindowed() ? code.callWindow(invocation.inputs, context) : code.call(invocation.inputs.get(0), context);
            if (hello.isSink() && hello.guarantee.equals("ATMOST_ONCE")) {
                result = null; // it is acknowledged, whatever the sink will say
            }
        } catch (Throwable e) {
            if (e instanceof VirtualMachineError fatal && !(e instanceof StackOverflowError)) {
                throw fatal;
            }
            finish(invocation, null, e);
            return;
        } finally {
            current = null;
        }
        if (result instanceof CompletionStage<?> stage) {
            async.add(invocation, stage);
        } else {
            finish(invocation, result, null);
        }
    }

    /** Says how an invocation ended; the first word counts. From any thread. */
    void finish(Invocation invocation, Object result, Throwable thrown) {
        if (!invocation.end()) {
            return;
        }
        long took = System.nanoTime() - invocation.startedNanos;
        Throwable failure = thrown == null && invocation.isFailed ? new IllegalStateException("user code called fail on its record") : thrown;
        Out out = scratch.get();
        out.truncate(0);
        if (failure == null) {
            try {
                writeDone(out, invocation, result, took);
                if (out.length() <= outbox.recordBytesMax()) {
                    outbox.add(out);
                    return;
                }
                failure = new IllegalArgumentException("the output is " + out.length() + " bytes, of " + outbox.recordBytesMax() + " at most");
            } catch (RuntimeException | LinkageError | OutOfMemoryError e) {
                failure = new IllegalArgumentException("the output could not be encoded: " + e, e);
            }
            out.truncate(0);
        }
        out.u8(EXCEPTION);
        out.u64(invocation.id);
        out.u64(took);
        byte[] text = describe(failure);
        out.bytes(text, 0, text.length);
        invocation.effects.takeIsEmpty();
        invocation.effects.writeMetrics(out);
        outbox.add(out);
    }

    private void writeDone(Out out, Invocation invocation, Object result, long took) {
        OutRecord output = output(result);
        if (isAdrift) {
            invocation.effects.merge(takeAdrift());
        }
        if (invocation.effects.takeIsEmpty() && (output == null || isPlain(output))) {
            out.u8(output == null ? NOTHING : OUTPUT);
            out.u64(invocation.id);
            out.u64(took);
            if (output != null) {
                out.bytes(output.payload(), 0, output.payload().length);
            }
            return;
        }
        out.u8(DONE);
        out.u64(invocation.id);
        out.u64(took);
        out.u32(output == null ? 0 : 1);
        if (output != null) {
            output.write(out);
        }
        invocation.effects.write(out);
    }

    private static boolean isPlain(OutRecord record) {
        return record.topic() == null && record.key() == null && record.payload() != null && record.properties().isEmpty()
            && record.eventTime() == 0 && record.schema() == null;
    }

    /** What a returned value is published as; null for nothing. Source: Pulsar's {@code PulsarSink}. */
    private OutRecord output(Object result) {
        if (result == null) {
            return null;
        }
        if (!(result instanceof Record<?> record)) {
            if (outputSchema == null) {
                return null;
            }
            Encoded encoded = Encoded.of(outputSchema, result);
            return encoded.key() == null ? OutRecord.of(encoded.payload())
                : new OutRecord(null, encoded.key(), true, encoded.payload(), Map.of(), 0, 0, null, null);
        }
        Optional<String> destination = record.getDestinationTopic();
        if (hello.output.topic().isEmpty() && destination.isEmpty()) {
            return null;
        }
        Schema<?> schema = record.getSchema() == null ? outputSchema : record.getSchema();
        if (schema == null) {
            schema = topics.published(Topics.complete(destination.orElse("")), record.getValue().getClass(), "");
        }
        Encoded encoded = Encoded.of(schema, record.getValue());
        String key = encoded.key() == null ? record.getKey().orElse(null) : encoded.key();
        Map<String, String> properties = record.getProperties();
        return new OutRecord(destination.map(Topics::complete).orElse(null), key, encoded.key() != null, encoded.payload(),
            properties == null ? Map.of() : properties, record.getEventTime().orElse(0L), 0, null,
            record.getSchema() == null ? null : announced.number(schema));
    }

    /** A message is acknowledged by user code. */
    void acknowledge(Input input) {
        if (!hello.isManual()) {
            logger.warn("ack is ignored: the function's guarantee is {}, not MANUAL", hello.guarantee);
            return;
        }
        Invocation owner = input.owner();
        if (owner != null && owner.effects.ack(input.invocation())) {
            return;
        }
        while (!adrift().ack(input.invocation())) {
            Thread.onSpinWait();
        }
    }

    /** A message is given back by user code. */
    void fail(Input input) {
        Invocation owner = input.owner();
        if (!hello.isManual()) {
            logger.warn("fail is ignored: the function's guarantee is {}, not MANUAL", hello.guarantee);
        } else if (owner == null || owner.hasEnded()) {
            logger.warn("fail is ignored: the invocation has ended");
        } else {
            owner.isFailed = true;
        }
    }

    /** Ends the process with an error. */
    static void die(String why, Throwable thrown) {
        System.err.println(why);
        if (thrown != null) {
            thrown.printStackTrace();
        }
        System.err.flush();
        Runtime.getRuntime().halt(1);
    }

    Hello hello() {
        return hello;
    }

    Outbox outbox() {
        return outbox;
    }

    Calls calls() {
        return calls;
    }

    Emissions emissions() {
        return emissions;
    }

    Announced announced() {
        return announced;
    }

    Topics topics() {
        return topics;
    }

    Logger logger() {
        return logger;
    }

    boolean keepsOrder() {
        return !code.returnsNothing();
    }

    /** The invocation whose call runs in this thread; null for none. */
    Invocation current() {
        return Thread.currentThread() == thread ? current : null;
    }

    boolean isFunctionThread() {
        return Thread.currentThread() == thread;
    }

    /** What is asked for outside of an invocation: the next one that ends well takes it along. */
    Effects adrift() {
        isAdrift = true;
        return adrift;
    }

    /** What a source has changed since its last record; null for nothing. */
    Effects changesOfSource() {
        return isAdrift ? takeAdrift() : null;
    }

    private synchronized Effects takeAdrift() {
        Effects taken = adrift;
        isAdrift = false;
        adrift = new Effects();
        return taken;
    }

    /** The result of a future of ours, its failure as it was thrown. */
    <X> X await(CompletableFuture<X> future) {
        try {
            return future.join();
        } catch (CompletionException e) {
            throw e.getCause() instanceof RuntimeException cause ? cause : e;
        }
    }

    /** The same future, but its dependents do not run in the thread that reads. */
    <X> CompletableFuture<X> handOver(CompletableFuture<X> future) {
        return future.isDone() ? future : future.thenApplyAsync(value -> value, handOver);
    }

    /** Type, text and trace of what user code threw, at most 8 KiB of it. */
    static byte[] describe(Throwable thrown) {
        byte[] bytes;
        try {
            StringWriter text = new StringWriter();
            thrown.printStackTrace(new PrintWriter(text));
            bytes = text.toString().stripTrailing().getBytes(StandardCharsets.UTF_8);
        } catch (RuntimeException | StackOverflowError e) { // its own methods may throw
            bytes = thrown.getClass().getName().getBytes(StandardCharsets.UTF_8);
        }
        if (bytes.length <= EXCEPTION_BYTES_MAX) {
            return bytes;
        }
        int end = EXCEPTION_BYTES_MAX;
        while ((bytes[end] & 0xc0) == 0x80) {
            end--; // not within a character
        }
        return Arrays.copyOf(bytes, end);
    }

    private static void describe(StringBuilder json, String member, Schema<?> schema) {
        try {
            SchemaInfo info = schema == null ? null : schema.getSchemaInfo();
            if (info != null && (info.getType() == SchemaType.JSON || info.getType() == SchemaType.AVRO)) {
                StringBuilder description = new StringBuilder("{\"type\":");
                Json.quote(description, info.getType().name());
                description.append(",\"schema\":");
                Json.quote(description, info.getSchemaDefinition());
                json.append(member).append(description).append('}');
            }
        } catch (RuntimeException | StackOverflowError e) {
            // A type that Avro cannot describe, such as a map of anything, has no schema; it is coded all the same.
        }
    }
}
