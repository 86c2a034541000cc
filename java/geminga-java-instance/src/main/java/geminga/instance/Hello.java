package geminga.instance;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What an instance is told of its function, once. Holds secrets: never shown. */
final class Hello {
    /** How a topic is read or written; empty strings where nothing was said. */
    record TopicConfig(String topic, boolean isPattern, String schemaType, String serdeClass, String typeClass,
                       Map<String, String> schemaProperties) {
        /** What decides how values are coded: a schema type or a class; a schema wins. */
        String coding() {
            return schemaType.isEmpty() ? serdeClass : schemaType;
        }
    }

    /** What triggers a batch source; a configuration that is not given is null. */
    record Batch(String triggererClass, Map<String, Object> triggererConfig) {}

    /** Where the configuration of a batch source is. Source: Pulsar's {@code BatchSourceConfig}. */
    private static final String BATCH_CONFIG = "__BATCHSOURCECONFIGS__";

    final String kind;
    final String tenant;
    final String namespace;
    final String name;
    final String id;
    final String version;
    final int instanceId;
    final int parallelism;
    final String code;
    final String className;
    final Map<String, TopicConfig> inputs = new LinkedHashMap<>();
    final TopicConfig output;
    /** Pulsar's name of it. */
    final String subscriptionType;
    final String guarantee;
    final boolean autoAck;
    /** 0: none. */
    final long timeoutMs;
    final int maxPendingAsync;
    final boolean isWindowed;
    final String timestampExtractor;
    /** Null for what is no batch source. */
    final Batch batch;
    final Map<String, Object> userConfig;
    final Map<String, String> secrets;
    final String adminUrl;
    final String workDir;
    final int frameBytesMax;

    private Hello(Map<String, Object> hello) {
        kind = string(hello, "kind", "function");
        tenant = string(hello, "tenant", "");
        namespace = string(hello, "namespace", "");
        name = string(hello, "name", "");
        id = string(hello, "id", "");
        version = Long.toString((long) number(hello, "version", 0));
        instanceId = (int) number(hello, "instance_id", 0);
        parallelism = (int) number(hello, "parallelism", 1);
        code = string(hello, "code", "");
        className = string(hello, "class_name", "").trim();
        object(hello, "inputs").forEach((topic, config) -> inputs.put(topic, topicConfig(topic, asObject(config))));
        Map<String, Object> out = object(hello, "output");
        output = topicConfig(string(out, "topic", ""), out);
        subscriptionType = string(hello, "subscription_type", "Shared");
        guarantee = string(hello, "guarantee", "ATLEAST_ONCE");
        autoAck = !Boolean.FALSE.equals(hello.get("auto_ack"));
        timeoutMs = (long) number(hello, "timeout_ms", 0);
        maxPendingAsync = Math.max(1, (int) number(hello, "max_pending_async", 1000));
        isWindowed = hello.get("window") != null;
        timestampExtractor = string(object(hello, "window"), "timestamp_extractor", "");
        userConfig = object(hello, "user_config");
        batch = isSource() && userConfig.get(BATCH_CONFIG) instanceof String text ? batch(asObject(Json.parse(text))) : null;
        secrets = strings(object(hello, "secrets"));
        adminUrl = string(hello, "admin_url", "");
        workDir = string(hello, "work_dir", ".");
        frameBytesMax = (int) number(hello, "frame_bytes_max", 64 << 20);
    }

    static Hello parse(String json) {
        Map<String, Object> hello = asObject(Json.parse(json));
        double protocol = number(hello, "protocol", 1);
        if (protocol != 1) {
            throw new IllegalArgumentException("this harness speaks version 1 of the process protocol, not " + (long) protocol);
        }
        return new Hello(hello);
    }

    boolean isSource() {
        return kind.equals("source");
    }

    boolean isSink() {
        return kind.equals("sink");
    }

    /**
     * What a connector is opened with: {@link #userConfig}, with whole numbers as such, where functions get doubles.
     *
     * <p>Source: Pulsar's {@code JavaInstanceRunnable.setupInput} and {@code setupOutput}, which read them with Jackson.
     */
    Map<String, Object> connectorConfig() {
        return asObject(wholeNumbers(userConfig));
    }

    private static Object wholeNumbers(Object value) {
        if (value instanceof Map<?, ?> map) {
            Map<String, Object> copy = new LinkedHashMap<>();
            map.forEach((name, member) -> copy.put((String) name, wholeNumbers(member)));
            return copy;
        }
        if (value instanceof List<?> list) {
            return new ArrayList<>(list.stream().map(Hello::wholeNumbers).toList());
        }
        if (value instanceof Double number && number == Math.rint(number) && Math.abs(number) <= 1L << 53) {
            long whole = number.longValue();
            return whole == (int) whole ? (Object) (int) whole : (Object) whole;
        }
        return value;
    }

    /** Whether messages are acknowledged by user code. */
    boolean isManual() {
        return guarantee.equals("MANUAL") || !autoAck;
    }

    String fqfn() {
        return tenant + "/" + namespace + "/" + name;
    }

    private static Batch batch(Map<String, Object> config) {
        return new Batch(string(config, "discoveryTriggererClassName", ""),
            config.get("discoveryTriggererConfig") instanceof Map ? object(config, "discoveryTriggererConfig") : null);
    }

    private static TopicConfig topicConfig(String topic, Map<String, Object> config) {
        return new TopicConfig(topic, Boolean.TRUE.equals(config.get("is_pattern")), string(config, "schema_type", ""),
            string(config, "serde_class", ""), string(config, "type_class", ""), strings(object(config, "schema_properties")));
    }

    private static String string(Map<String, Object> object, String name, String otherwise) {
        return object.get(name) instanceof String value ? value : otherwise;
    }

    private static double number(Map<String, Object> object, String name, double otherwise) {
        return object.get(name) instanceof Double value ? value : otherwise;
    }

    private static Map<String, Object> object(Map<String, Object> object, String name) {
        return asObject(object.get(name));
    }

    @SuppressWarnings("unchecked")
    private static Map<String, Object> asObject(Object value) {
        return value instanceof Map ? (Map<String, Object>) value : new LinkedHashMap<>();
    }

    private static Map<String, String> strings(Map<String, Object> object) {
        Map<String, String> strings = new LinkedHashMap<>();
        object.forEach((name, value) -> strings.put(name, String.valueOf(value)));
        return strings;
    }
}
