package geminga;

import java.util.Map;
import java.util.Optional;
import org.apache.pulsar.functions.api.Record;
import org.apache.pulsar.io.core.Source;
import org.apache.pulsar.io.core.SourceContext;

/** A source of as many numbers as it is told, and then of nothing. */
public final class Numbers implements Source<Long> {
    private long next;
    private int count;

    @Override
    public void open(Map<String, Object> config, SourceContext context) {
        count = (Integer) config.get("count");
    }

    @Override
    public Record<Long> read() throws InterruptedException {
        while (next == count) {
            Thread.sleep(1000);
        }
        long n = next++;
        return new Record<>() {
            @Override
            public Long getValue() {
                return n;
            }

            @Override
            public Optional<String> getKey() {
                return Optional.of("key-" + n % 10);
            }
        };
    }

    @Override
    public void close() {}
}
