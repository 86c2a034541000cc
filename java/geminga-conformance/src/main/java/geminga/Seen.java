package geminga;

import org.apache.pulsar.functions.api.Context;
import org.apache.pulsar.functions.api.Function;

/** Adds an exclamation mark, and counts what it has seen: written for Apache Pulsar, nothing of Geminga in it. */
public final class Seen implements Function<String, String> {
    @Override
    public String process(String input, Context context) {
        context.incrCounter("seen", 1);
        return input + "!";
    }
}
