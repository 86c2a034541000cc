package geminga.instance;

import geminga.instance.wire.Frame;
import geminga.instance.wire.OutRecord;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import org.apache.pulsar.functions.api.Record;
import org.apache.pulsar.io.core.BatchSource;
import org.apache.pulsar.io.core.BatchSourceTriggerer;
import org.slf4j.Logger;

/**
 * Runs a batch source. What it discovers are tasks: messages of a topic of their own, which is the input of all its instances. A task is
 * prepared and read to its end; it ends well when all that was read is durable, and otherwise comes again.
 *
 * <p>Source: Pulsar's {@code BatchSourceExecutor}, which acknowledges a task as soon as it is read.
 */
final class Batches {
    private static final long DISCOVERY_END_MS = 1000;

    private final Instance instance;
    private final BatchSource<?> source;
    private final Emissions emissions;
    private final Function<Object, OutRecord> encode;
    private final String tasks;
    /** Null but in the first instance: one discovers for all. */
    private final BatchSourceTriggerer triggerer;
    private final ExecutorService discovery;
    private boolean isDiscovering;
    private volatile boolean isClosing;

    Batches(Instance instance, BatchSource<?> source, BatchSourceTriggerer triggerer, Function<Object, OutRecord> encode, ClassLoader loader)
        throws UserCode.Unusable {
        this.instance = instance;
        this.source = source;
        this.triggerer = triggerer;
        this.encode = encode;
        emissions = instance.emissions();
        tasks = instance.hello().inputs.keySet().stream().findFirst()
            .orElseThrow(() -> new UserCode.Unusable("a batch source needs the topic of its tasks as its input", null));
        discovery = Executors.newSingleThreadExecutor(task -> {
            Thread worker = new Thread(task, "batch-source-discovery");
            worker.setDaemon(true);
            worker.setContextClassLoader(loader);
            return worker;
        });
    }

    /** Reads tasks until there is nobody to read for. */
    void run(Requests requests) {
        emissions.begin();
        try {
            if (triggerer != null) {
                triggerer.start(this::discover);
            }
            while (!emissions.isEnded()) {
                Frame frame = requests.take();
                if (frame == null) {
                    break;
                }
                byte[] body = frame.body();
                for (int at = 0; at < body.length && !emissions.isEnded();) {
                    int end = Input.checkedEnd(body, at);
                    read(new Input(instance, body, at));
                    at = end;
                }
            }
            requests.awaitEnd(); // of the last tasks there are records on their way
        } catch (Exception | LinkageError e) {
            if (!emissions.isEnded()) {
                Instance.die("the source failed", e);
            }
        }
        emissions.hasBeenRead();
    }

    private void read(Input input) throws Exception {
        Task task = new Task(new Invocation(input.invocation(), List.of(input)));
        source.prepare(input.payload());
        for (Record<?> next = source.readNext(); next != null; next = source.readNext()) {
            Record<?> record = next;
            OutRecord out = encode.apply(record);
            if (out == null) {
                throw new IllegalStateException("the record has no value");
            }
            task.begin();
            emissions.emit(out, instance.changesOfSource()).whenComplete((stored, thrown) -> {
                Emissions.tell(record, thrown, instance.logger());
                task.end(thrown);
            });
        }
        task.end(null);
    }

    /** One of them; the others come when it is done, or are passed over. */
    private synchronized void discover(String event) {
        Logger logger = instance.logger();
        if (isDiscovering) {
            logger.info("a discovery is under way already");
            return;
        }
        isDiscovering = true;
        discovery.execute(() -> {
            try {
                source.discover(task -> offer(event, task));
            } catch (Exception | LinkageError e) {
                if (!emissions.isEnded() && !isClosing) {
                    Instance.die("the discovery failed", e);
                }
            } finally {
                hasDiscovered();
            }
        });
    }

    private synchronized void hasDiscovered() {
        isDiscovering = false;
    }

    /** A task is there when it is durable. */
    private void offer(String event, byte[] task) {
        Map<String, String> properties = Map.of("discoveredEvent", Objects.toString(event, ""),
            "produceTime", Long.toString(System.currentTimeMillis()));
        try {
            emissions.emit(new OutRecord(tasks, null, false, task, properties, 0, 0, null, null), null).get();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException("the source is to end", e);
        } catch (ExecutionException e) {
            throw new IllegalStateException("the task was not stored: " + e.getCause().getMessage(), e);
        }
    }

    /** No discovery runs any more. */
    void close() throws InterruptedException {
        if (triggerer != null) {
            try {
                triggerer.stop();
            } catch (RuntimeException | LinkageError e) {
                instance.logger().error("the triggerer does not stop", e);
            }
        }
        isClosing = true; // what it is interrupted in is no failure of its own
        discovery.shutdownNow();
        discovery.awaitTermination(DISCOVERY_END_MS, TimeUnit.MILLISECONDS);
    }

    /** Its records that are not settled, and the reading itself. */
    private final class Task {
        private final Invocation invocation;
        private long left = 1;
        private Throwable failure;

        Task(Invocation invocation) {
            this.invocation = invocation;
        }

        synchronized void begin() {
            left++;
        }

        synchronized void end(Throwable thrown) {
            failure = failure == null ? thrown : failure;
            left--;
            if (left == 0) {
                instance.finish(invocation, null, failure);
                instance.outbox().flushSoon();
            }
        }
    }
}
