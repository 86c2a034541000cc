package geminga.instance;

import static geminga.instance.Link.IN;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.net.httpserver.HttpServer;
import geminga.instance.Link.Sent;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CopyOnWriteArrayList;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** How schemas of topics decide what values are. */
@Timeout(60)
class RegistryTest {
    /** As AvroTestObject, but older: without its second field, and the first one cannot be null. */
    private static final String OLDER = "{\"type\":\"record\",\"name\":\"AvroTestObject\",\"namespace\":"
        + "\"org.apache.pulsar.functions.api.examples.pojo\",\"fields\":[{\"name\":\"baseValue\",\"type\":\"int\"}]}";
    private static final byte[] VERSION_2 = {0, 0, 0, 0, 0, 0, 0, 2};

    private final List<String> asked = new CopyOnWriteArrayList<>();
    private HttpServer server;
    private volatile Map<String, String> answers = Map.of();

    @BeforeEach
    void start() throws Exception {
        server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.createContext("/", exchange -> {
            asked.add(exchange.getRequestURI().getPath());
            String answer = answers.get(exchange.getRequestURI().getPath());
            byte[] body = answer == null ? new byte[0] : answer.getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(answer == null ? 404 : 200, body.length == 0 ? -1 : body.length);
            try (OutputStream out = exchange.getResponseBody()) {
                out.write(body);
            }
        });
        server.start();
    }

    @AfterEach
    void stop() {
        server.stop(0);
    }

    private String adminUrl() {
        return "\"admin_url\":\"http://127.0.0.1:" + server.getAddress().getPort() + "/\"";
    }

    private static String schema(String type, String definition) {
        StringBuilder json = new StringBuilder("{\"version\":2,\"type\":\"" + type + "\",\"timestamp\":1,\"data\":");
        Json.quote(json, definition);
        return json.append(",\"properties\":{}}").toString();
    }

    @Test
    void without_a_schema_type_it_is_the_topics() throws Exception {
        answers = Map.of("/admin/v2/schemas/public/default/in/schema", schema("INT32", ""));
        try (Link link = Link.example("IntegerAdditionFunction", adminUrl())) {
            Sent sent = new Sent();
            sent.payload = new byte[] {0, 0, 0, 1};
            assertEquals("101", link.outcome(sent).output(), "the output's topic has none");
            assertTrue(asked.contains("/admin/v2/schemas/public/default/out/schema"), asked.toString());
        }
    }

    @Test
    void avro_is_read_with_the_schema_it_was_written_with() throws Exception {
        answers = Map.of("/admin/v2/schemas/public/default/in/schema/2", schema("AVRO", OLDER));
        String avro = "{\"schema_type\":\"AVRO\"}";
        try (Link link = Link.example("AvroSchemaTestFunction", adminUrl(), "\"inputs\":{\"" + IN + "\":" + avro + "}",
            "\"output\":{\"topic\":\"out\",\"schema_type\":\"AVRO\"}")) {
            Sent sent = new Sent();
            sent.topic = IN + "-partition-3";
            sent.payload = new byte[] {6};
            sent.schemaVersion = VERSION_2;
            for (int i = 0; i < 2; i++) {
                assertArrayEquals(new byte[] {2, 26, 0}, link.outcome(sent).well().outputs().get(0).payload());
            }
            assertEquals(List.of("/admin/v2/schemas/public/default/in/schema/2"), asked, "a version is asked for once");
        }
    }

    @Test
    void generic_records_are_what_the_topic_says() throws Exception {
        answers = Map.of("/admin/v2/schemas/public/default/in/schema", schema("JSON", OLDER),
            "/admin/v2/schemas/public/default/in/schema/2", schema("AVRO", OLDER.replace("baseValue", "value")));
        try (Link link = Link.example("AutoSchemaFunction", adminUrl())) {
            assertEquals("value-5", link.call("{\"value\":5}"));
            Sent sent = new Sent();
            sent.payload = new byte[] {6};
            sent.schemaVersion = VERSION_2;
            assertEquals("value-3", link.outcome(sent).output());
        }
    }

    @Test
    void a_broker_that_cannot_be_asked_is_an_error_and_no_guess() throws Exception {
        String admin = adminUrl();
        server.stop(0);
        String why = Link.failure(Link.EXAMPLES_JAR, Link.EXAMPLES + "IntegerAdditionFunction", admin);
        assertTrue(why.startsWith("the schema of " + IN + " could not be read: Connection refused"), why);
    }
}
