package geminga;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.apache.pulsar.client.api.Schema;
import org.apache.pulsar.functions.api.Context;
import org.apache.pulsar.functions.api.Function;
import org.apache.pulsar.functions.api.Record;

/** One function for every behaviour the conformance scenarios look at: user configuration {@code do} says which. */
public final class Conform implements Function<String, String> {
    @Override
    public String process(String input, Context context) throws Exception {
        switch ((String) context.getUserConfigValue("do").orElseThrow()) {
            case "exclaim":
                return input + "!";
            case "throw":
                context.incrCounter("thrown", 1);
                if (input.startsWith("bad")) {
                    throw new IllegalArgumentException("cannot take " + input);
                }
                return input + "!";
            case "count":
                context.incrCounter(input, 1);
                return input + "=" + context.getCounter(input);
            case "remember":
                ByteBuffer before = context.getState("last");
                context.putState("last", ByteBuffer.wrap(input.getBytes(StandardCharsets.UTF_8)));
                return before == null ? "nothing" : StandardCharsets.UTF_8.decode(before).toString();
            case "publish":
                context.newOutputMessage((String) context.getUserConfigValue("to").orElseThrow(), Schema.STRING)
                    .value(input + " elsewhere").property("by", "publish").send();
                return null;
            case "log":
                context.getLogger().info("seen {}", input);
                return null;
            case "about":
                return about(context);
            case "secret":
                return "open sesame".equals(context.getSecret("password")) ? "same" : "different";
            case "metric":
                context.recordMetric("length", input.length());
                return input;
            default:
                return null;
        }
    }

    private static String about(Context context) {
        Record<?> record = context.getCurrentRecord();
        String properties = new TreeMap<>(record.getProperties()).entrySet().stream()
            .map(property -> property.getKey() + "=" + property.getValue()).collect(Collectors.joining(","));
        // Numbers of the configuration are doubles, as with Pulsar.
        String number = context.getUserConfigValue("number").map(value -> String.valueOf(((Number) value).longValue())).orElse("none");
        return String.join("|", context.getTenant(), context.getNamespace(), context.getFunctionName(), record.getTopicName().orElse(""),
            record.getKey().orElse(""), properties, context.getOutputTopic(), number);
    }
}
