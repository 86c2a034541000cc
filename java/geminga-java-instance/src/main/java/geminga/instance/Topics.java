package geminga.instance;

import geminga.instance.schema.AnySchema;
import geminga.instance.schema.Coding;
import geminga.instance.schema.PairSchema;
import geminga.instance.schema.Registry;
import geminga.instance.schema.Schemas;
import java.lang.reflect.Type;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.function.Function;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;
import org.apache.pulsar.client.api.Schema;
import org.apache.pulsar.common.schema.SchemaInfo;

/** How the values of each topic are coded. What is found out once is kept. */
final class Topics {
    /** A topic as a message names it, with its partition. */
    record Coded(String name, Schema<Object> schema) {
        Object decode(Input input) {
            if ((Schema<?>) schema instanceof AnySchema any) {
                Schema<?> own = any.at(input.schemaVersion());
                return own instanceof PairSchema<?, ?> pair
                    ? any.decode(pair, new InputMessage(input).getKeyBytes(), input.payload(), input.schemaVersion())
                    : any.decode(own, input.frame(), input.payloadAt(), input.payloadBytes(), input.schemaVersion());
            }
            if ((Schema<?>) schema instanceof PairSchema<?, ?> pair) {
                return pair.decode(new InputMessage(input).getKeyBytes(), input.payload(), input.schemaVersion());
            }
            if (schema instanceof Coding<Object> coding) {
                return coding.decode(input.frame(), input.payloadAt(), input.payloadBytes(), input.schemaVersion());
            }
            return schema.decode(input.payload(), input.schemaVersion());
        }
    }

    private final Hello hello;
    private final Type inputType;
    private final ClassLoader loader;
    private final Registry registry;
    private final Map<String, Coded> inputs = new HashMap<>();
    private final Map<String, Schema<?>> published = new HashMap<>();
    private byte[] lastName = {};
    private Coded last;

    Topics(Hello hello, Type inputType, ClassLoader loader) {
        this.hello = hello;
        this.inputType = inputType;
        this.loader = loader;
        registry = new Registry(hello.adminUrl);
        // A class that is not there is found out at the start, not by the first message.
        for (Hello.TopicConfig config : hello.inputs.values()) {
            if (!config.isPattern()) {
                inputs.put(config.topic(), new Coded(config.topic(), inputSchema(config, config.topic())));
            }
        }
    }

    /** The topic named by these bytes. For the thread that reads inputs. */
    Coded of(byte[] bytes, int offset, int length) {
        if (last != null && Arrays.equals(lastName, 0, lastName.length, bytes, offset, offset + length)) {
            return last;
        }
        String name = new String(bytes, offset, length, StandardCharsets.UTF_8);
        Coded found = inputs.get(name);
        if (found == null) {
            found = new Coded(name, inputSchema(config(withoutPartition(name)), withoutPartition(name)));
            inputs.put(name, found);
        }
        lastName = Arrays.copyOfRange(bytes, offset, offset + length);
        last = found;
        return found;
    }

    /** How user code's outputs are written. */
    Schema<?> output(Type outputType) {
        Hello.TopicConfig output = hello.output;
        return Schemas.choose(outputType, output.coding(), output.schemaProperties(), loader, false, registered(output.topic()));
    }

    /** How what {@code context.publish} is given is written. */
    Schema<?> published(String topic, Class<?> type, String coding) {
        synchronized (published) {
            return published.computeIfAbsent(topic + '\n' + coding + '\n' + type.getName(),
                key -> Schemas.choose(type, coding, Map.of(), loader, false, registered(topic)));
        }
    }

    /** Completes a topic's name. */
    static String complete(String topic) {
        if (topic.contains("://")) {
            return topic;
        }
        return topic.indexOf('/') < 0 ? "persistent://public/default/" + topic : "persistent://" + topic;
    }

    static String withoutPartition(String topic) {
        int suffix = topic.lastIndexOf("-partition-");
        if (suffix < 0 || suffix + 11 == topic.length()) {
            return topic;
        }
        for (int i = suffix + 11; i < topic.length(); i++) {
            if (!Character.isDigit(topic.charAt(i))) {
                return topic;
            }
        }
        return topic.substring(0, suffix);
    }

    private Hello.TopicConfig config(String topic) {
        Hello.TopicConfig exact = hello.inputs.get(topic);
        if (exact != null) {
            return exact;
        }
        Hello.TopicConfig pattern = null;
        for (Hello.TopicConfig config : hello.inputs.values()) {
            if (config.isPattern() && matches(config.topic(), topic)) {
                return config;
            }
            pattern = config.isPattern() && pattern == null ? config : pattern;
        }
        // The broker decides what a pattern matches; with one pattern there is no doubt whose topic this is.
        return pattern != null ? pattern : new Hello.TopicConfig(topic, false, "", "", "", Map.of());
    }

    private static boolean matches(String pattern, String topic) {
        try {
            return Pattern.matches(pattern, topic) || Pattern.matches(pattern, topic.substring(topic.indexOf("://") + 3));
        } catch (PatternSyntaxException e) {
            return false;
        }
    }

    @SuppressWarnings("unchecked")
    private Schema<Object> inputSchema(Hello.TopicConfig config, String topic) {
        return (Schema<Object>) Schemas.choose(inputType, config.coding(), config.schemaProperties(), loader, true, registered(topic));
    }

    private Function<byte[], SchemaInfo> registered(String topic) {
        return topic.isEmpty() ? version -> null : version -> registry.schema(withoutPartition(complete(topic)), version);
    }
}
