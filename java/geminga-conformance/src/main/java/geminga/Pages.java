package geminga;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;
import java.util.function.Consumer;
import org.apache.pulsar.functions.api.Record;
import org.apache.pulsar.io.core.BatchSource;
import org.apache.pulsar.io.core.BatchSourceTriggerer;
import org.apache.pulsar.io.core.SourceContext;

/**
 * A batch source of as many pages as it is told, each of ten lines; the key of a line is the instance that read it. Once all are discovered
 * it leaves a file, and discovers no more.
 */
public final class Pages implements BatchSource<String> {
    private int pages;
    private Path discovered;
    private String instance;
    private String page;
    private int line;

    /** Discovers once in each life of the first instance. */
    public static final class Once implements BatchSourceTriggerer {
        private String event;

        @Override
        public void init(Map<String, Object> config, SourceContext context) {
            event = (String) config.get("event");
        }

        @Override
        public void start(Consumer<String> trigger) {
            trigger.accept(event);
        }

        @Override
        public void stop() {}
    }

    @Override
    public void open(Map<String, Object> config, SourceContext context) {
        pages = (Integer) config.get("pages");
        discovered = Path.of((String) config.get("discovered"));
        instance = String.valueOf(context.getInstanceId());
    }

    @Override
    public void discover(Consumer<byte[]> tasks) throws IOException {
        if (Files.exists(discovered)) {
            return;
        }
        for (int n = 0; n < pages; n++) {
            tasks.accept(String.valueOf(n).getBytes(StandardCharsets.UTF_8));
        }
        Files.createFile(discovered);
    }

    @Override
    public void prepare(byte[] task) throws InterruptedException {
        Thread.sleep(10); // there is something to do for two
        page = new String(task, StandardCharsets.UTF_8);
        line = 0;
    }

    @Override
    public Record<String> readNext() {
        if (line == 10) {
            return null;
        }
        String value = page + "." + line++;
        return new Record<>() {
            @Override
            public String getValue() {
                return value;
            }

            @Override
            public Optional<String> getKey() {
                return Optional.of(instance);
            }
        };
    }

    @Override
    public void close() {}
}
