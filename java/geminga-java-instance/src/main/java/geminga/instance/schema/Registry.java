package geminga.instance.schema;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.net.URLEncoder;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.pulsar.client.api.Schema;
import org.apache.pulsar.common.schema.KeyValue;
import org.apache.pulsar.common.schema.SchemaInfo;
import org.apache.pulsar.common.schema.SchemaType;

/** Asks the broker for the schemas of topics. */
public final class Registry {
    private static final int TIMEOUT_MS = 3000;
    private static final int ANSWER_BYTES_MAX = 4 << 20;

    private final String adminUrl;

    /** {@code adminUrl} is empty where there is no broker to ask. */
    public Registry(String adminUrl) {
        this.adminUrl = adminUrl.endsWith("/") ? adminUrl.substring(0, adminUrl.length() - 1) : adminUrl;
    }

    /**
     * The schema of a topic; null when it has none.
     *
     * @param topic complete, without a partition
     * @param version as in a message, null for the newest
     * @throws IllegalStateException when the broker cannot be asked
     */
    public SchemaInfo schema(String topic, byte[] version) {
        if (adminUrl.isEmpty()) {
            return null;
        }
        StringBuilder url = new StringBuilder(adminUrl).append("/admin/v2/schemas");
        for (String part : topic.substring(topic.indexOf("://") + 3).split("/", 3)) {
            url.append('/').append(URLEncoder.encode(part, StandardCharsets.UTF_8).replace("+", "%20"));
        }
        url.append("/schema");
        if (version != null && version.length == 8) {
            url.append('/').append(ByteBuffer.wrap(version).getLong());
        }
        try {
            HttpURLConnection connection = (HttpURLConnection) URI.create(url.toString()).toURL().openConnection();
            connection.setConnectTimeout(TIMEOUT_MS);
            connection.setReadTimeout(TIMEOUT_MS);
            int status = connection.getResponseCode();
            if (status == HttpURLConnection.HTTP_NOT_FOUND) {
                return null;
            }
            if (status != HttpURLConnection.HTTP_OK) {
                throw new IOException("status " + status);
            }
            try (InputStream in = connection.getInputStream()) {
                JsonNode answer = JsonSchema.MAPPER.readTree(in.readNBytes(ANSWER_BYTES_MAX));
                Map<String, String> properties = new LinkedHashMap<>();
                answer.path("properties").fields().forEachRemaining(entry -> properties.put(entry.getKey(), entry.getValue().asText()));
                SchemaType type = SchemaType.valueOf(answer.path("type").asText("NONE"));
                String data = answer.path("data").asText("");
                return new Info(topic, type == SchemaType.KEY_VALUE ? pair(data) : data.getBytes(StandardCharsets.UTF_8), type,
                    answer.path("timestamp").asLong(), properties);
            }
        } catch (IOException | IllegalArgumentException e) {
            throw new IllegalStateException("the schema of " + topic + " could not be read: " + e.getMessage(), e);
        }
    }

    /** The definitions of both sides, which the answer has as JSON, in the form a {@link SchemaInfo} has. Source: Pulsar's {@code SchemaUtils}. */
    private static byte[] pair(String json) throws IOException {
        JsonNode sides = JsonSchema.MAPPER.readTree(json);
        return KeyValue.encode(side(sides.path("key")), Schema.BYTES, side(sides.path("value")), Schema.BYTES);
    }

    private static byte[] side(JsonNode side) {
        return (side.isContainerNode() ? side.toString() : side.asText("")).getBytes(StandardCharsets.UTF_8);
    }
}
