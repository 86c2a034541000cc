package geminga;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.pulsar.functions.api.Record;
import org.apache.pulsar.io.core.Sink;
import org.apache.pulsar.io.core.SinkContext;

/** A sink that appends values to a file, some at a time or after a while, and acknowledges them then. */
public final class Lines implements Sink<Long> {
    private static final int BATCH = 100;
    private final List<Record<Long>> batch = new ArrayList<>();
    private Path path;
    private Thread flusher;

    @Override
    public void open(Map<String, Object> config, SinkContext context) {
        path = Path.of((String) config.get("path"));
        flusher = new Thread(() -> {
            try {
                for (;;) {
                    Thread.sleep(50);
                    flush();
                }
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        });
        flusher.setDaemon(true);
        flusher.start();
    }

    @Override
    public void write(Record<Long> record) {
        synchronized (batch) {
            batch.add(record);
            if (batch.size() >= BATCH) {
                flush();
            }
        }
    }

    private void flush() {
        synchronized (batch) {
            StringBuilder lines = new StringBuilder();
            batch.forEach(record -> lines.append(record.getKey().orElse("")).append(' ').append(record.getValue()).append('\n'));
            try {
                Files.writeString(path, lines, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
            batch.forEach(Record::ack);
            batch.clear();
        }
    }

    @Override
    public void close() {
        flusher.interrupt();
    }
}
