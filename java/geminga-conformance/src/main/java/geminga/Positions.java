package geminga;

import java.util.Map;
import org.apache.pulsar.functions.api.Record;
import org.apache.pulsar.io.core.Source;
import org.apache.pulsar.io.core.SourceContext;

/** The numbers below {@code count}, of which it knows by its state how many it has given. */
public final class Positions implements Source<String> {
    private SourceContext context;
    private long count;
    private long next;

    @Override
    public void open(Map<String, Object> config, SourceContext context) {
        this.context = context;
        count = ((Number) config.get("count")).longValue();
        next = context.getCounter("next");
    }

    @Override
    public Record<String> read() throws InterruptedException {
        while (next == count) {
            Thread.sleep(1000);
        }
        context.incrCounter("next", 1);
        String number = String.valueOf(next++);
        return () -> number;
    }

    @Override
    public void close() {
        // nothing is held
    }
}
