package geminga.instance;

import static geminga.instance.Link.EXAMPLES;
import static geminga.instance.Link.IN;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import geminga.instance.Link.Outcome;
import geminga.instance.Link.Published;
import geminga.instance.Link.Sent;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** The functions that Pulsar ships as examples, from Maven Central, as they are. */
@Timeout(60)
class ExamplesTest {
    private static final String WINDOW = "\"window\":{\"length_count\":3}";

    @Test
    void exclamation() throws Exception {
        try (Link link = Link.example("ExclamationFunction")) {
            assertEquals("hello!", link.call("hello"));
            assertEquals("\u00fc!", link.call("\u00fc"));
        }
    }

    @Test
    void java_util_function() throws Exception {
        try (Link link = Link.example("JavaNativeExclamationFunction")) {
            assertEquals("hello!", link.call("hello"));
        }
    }

    @Test
    void java_util_function_with_futures_keeps_order() throws Exception {
        try (Link link = Link.example("JavaNativeAsyncExclamationFunction")) {
            link.send(Sent.text("a"), Sent.text("b"), Sent.text("c"));
            assertEquals(List.of("a-!!", "b-!!", "c-!!"), List.of(link.next().output(), link.next().output(), link.next().output()));
        }
    }

    @Test
    void numbers_are_text() throws Exception {
        try (Link link = Link.example("IntegerAdditionFunction")) {
            assertEquals("141", link.call("41"));
            assertTrue(link.outcome("no number").exception().contains("the message could not be decoded"));
        }
    }

    @Test
    void numbers_have_schemas() throws Exception {
        String config = "{\"schema_type\":\"INT32\"}";
        try (Link link = Link.example("IntegerAdditionFunction", "\"inputs\":{\"" + IN + "\":" + config + "}",
            "\"output\":{\"topic\":\"out\",\"schema_type\":\"int32\"}")) {
            Sent one = new Sent();
            one.payload = new byte[] {0, 0, 1, 0};
            assertArrayEquals(new byte[] {0, 0, 1, 100}, link.outcome(one).well().outputs().get(0).payload());
            assertTrue(link.outcome("abc").exception().contains("INT32 has 4 bytes, the message 3"));
        }
    }

    @Test
    void word_count_changes_counters() throws Exception {
        try (Link link = Link.example("WordCountFunction")) {
            Outcome outcome = link.outcome("a b a");
            assertEquals(List.of("add a 1", "add b 1", "add a 1"), outcome.changes());
            assertNull(outcome.output());
        }
    }

    @Test
    void publish_function_publishes_with_the_outcome() throws Exception {
        try (Link link = Link.example("PublishFunction", "\"user_config\":{\"publish-topic\":\"persistent://a/b/c\"}")) {
            Published published = link.outcome("hello").well().publishes().get(0);
            assertEquals("persistent://a/b/c hello!", published.topic() + " " + published.text());
        }
    }

    @Test
    void typed_message_builder_sets_what_it_says() throws Exception {
        try (Link link = Link.example("TypedMessageBuilderPublish")) {
            Sent sent = Sent.text("hello");
            sent.key = "k";
            sent.properties.put("p", "1");
            Published published = link.outcome(sent).well().publishes().get(0);
            assertEquals("persistent://public/default/publishtopic", published.topic());
            assertEquals("hello!", published.text());
            assertEquals("k", published.key());
            assertEquals("1", published.properties().get("p"));
            assertEquals(IN, published.properties().get("input_topic"));
            assertTrue(published.eventTime() > 0);
        }
    }

    @Test
    void initialize_and_close_are_called() throws Exception {
        Link link = Link.example("InitializableFunction");
        assertEquals("x!", link.outcome("x").well().publishes().get(0).text());
        assertEquals(0, link.end());
        assertTrue(link.logs.contains("2 function initialize start"), link.logs.toString());
        assertTrue(link.logs.contains("2 function close start"), link.logs.toString());
    }

    @Test
    void record_as_output() throws Exception {
        try (Link link = Link.example("RecordFunction", "\"user_config\":{\"publish-topic\":\"other\"}")) {
            Sent sent = Sent.text("hello");
            sent.properties.put("p", "1");
            Published output = link.outcome(sent).well().outputs().get(0);
            assertEquals("persistent://public/default/other", output.topic());
            assertEquals("hello!", output.text());
            assertEquals("1", output.properties().get("p"));
            assertEquals(IN, output.properties().get("input_topic"));
        }
    }

    @Test
    void user_config() throws Exception {
        try (Link link = Link.example("UserConfigFunction", "\"user_config\":{\"WhatToWrite\":\"configured\"}")) {
            assertEquals("configured", link.call("x"));
        }
        try (Link link = Link.example("ConfigBasedAppendFunction", "\"user_config\":{\"config-key\":\"+\"}")) {
            assertEquals("x+", link.call("x"));
        }
    }

    @Test
    void exceptions_are_the_outcome() throws Exception {
        try (Link link = Link.example("UserExceptionFunction")) {
            String exception = link.outcome("x").exception();
            assertTrue(exception.startsWith("java.lang.RuntimeException: This wont work\n\tat org.apache.pulsar"), exception);
        }
    }

    @Test
    void metrics() throws Exception {
        try (Link link = Link.example("UserMetricFunction")) {
            assertEquals(List.of("LetterCount 5.0"), link.outcome("hello").well().metrics());
        }
        try (Link link = Link.example("AsyncContextFunction")) {
            Outcome outcome = link.outcome("hello");
            assertEquals(1, outcome.metrics().size(), "what an asynchronous function asks for later belongs to its message");
        }
    }

    @Test
    void logging() throws Exception {
        Link link = Link.example("LoggingFunction");
        for (int i = 0; i < 20; i++) {
            link.call("hello");
        }
        assertEquals(0, link.end());
        assertTrue(link.logs.stream().anyMatch(line -> line.startsWith("2 ")), link.logs.toString());
    }

    @Test
    void ser_de_class() throws Exception {
        String config = "\"serde_class\":\"" + EXAMPLES + "serde.CustomObjectSerde\"";
        try (Link link = Link.example("CustomObjectFunction", "\"inputs\":{\"" + IN + "\":{" + config + "}}", "\"output\":{\"topic\":\"out\"," + config + "}")) {
            Sent sent = new Sent();
            sent.payload = new byte[] {0, 0, 0, 0, 0, 0, 0, 5};
            assertArrayEquals(new byte[] {0, 0, 0, 0, 0, 0, 0, 105}, link.outcome(sent).well().outputs().get(0).payload());
        }
    }

    @Test
    void ser_de_class_for_something_else() throws Exception {
        String why = Link.failure(Link.EXAMPLES_JAR, EXAMPLES + "ExclamationFunction",
            "\"inputs\":{\"" + IN + "\":{\"serde_class\":\"" + EXAMPLES + "serde.CustomObjectSerde\"}}");
        assertEquals(EXAMPLES + "serde.CustomObjectSerde is for " + EXAMPLES + "serde.CustomObject, the function takes java.lang.String", why);
    }

    @Test
    void records_as_avro_and_as_json() throws Exception {
        // AvroTestObject has an Integer and a String, in Avro unions with null. The function adds 10 to the first.
        String avro = "\"schema_type\":\"AVRO\"";
        try (Link link = Link.example("AvroSchemaTestFunction", "\"inputs\":{\"" + IN + "\":{" + avro + "}}", "\"output\":{\"topic\":\"out\"," + avro + "}")) {
            assertTrue(link.ready.contains("AvroTestObject"), "whoever registers the schema learns it: " + link.ready);
            Sent sent = new Sent();
            sent.payload = new byte[] {2, 6, 0};
            assertArrayEquals(new byte[] {2, 26, 0}, link.outcome(sent).well().outputs().get(0).payload());
        }
        try (Link link = Link.example("AvroSchemaTestFunction")) {
            assertEquals("{\"baseValue\":13}", link.call("{\"baseValue\":3,\"unknown\":1}"));
        }
    }

    @Test
    void windows() throws Exception {
        try (Link link = Link.example("AddWindowFunction", WINDOW)) {
            assertEquals("6", link.window(Sent.text("1"), Sent.text("2"), Sent.text("3")).output());
            assertEquals("4", link.window(Sent.text("4")).output());
        }
        try (Link link = Link.example("CommaWindowFunction", WINDOW)) {
            assertEquals("a,b", link.window(Sent.text("a"), Sent.text("b")).output());
        }
        try (Link link = Link.example("window.ContextWindowFunction", WINDOW)) {
            assertEquals("6", link.window(Sent.text("1"), Sent.text("2"), Sent.text("3")).output());
        }
        try (Link link = Link.example("window.UserConfigWindowFunction", WINDOW, "\"user_config\":{\"WhatToWrite\":\"configured\"}")) {
            assertEquals("configured", link.window(Sent.text("a")).output());
        }
        try (Link link = Link.example("window.WordCountWindowFunction", WINDOW)) {
            assertEquals(List.of("add a 1", "add b 1", "add a 1"), link.window(Sent.text("a.b"), Sent.text("a")).changes());
        }
        try (Link link = Link.example("window.PublishWindowFunction", WINDOW)) {
            assertEquals(1, link.window(Sent.text("a")).publishes().size());
        }
        try (Link link = Link.example("window.UserExceptionWindowFunction", WINDOW)) {
            assertTrue(link.window(Sent.text("a")).exception().contains("This wont work"));
        }
    }

    @Test
    void window_function_without_window() throws Exception {
        String why = Link.failure(Link.EXAMPLES_JAR, EXAMPLES + "window.ContextWindowFunction");
        assertTrue(why.endsWith("is a WindowFunction, but the function has no windowConfig"), why);
    }

    @Test
    void class_that_is_not_there() throws Exception {
        assertEquals("class no.Such is not in the package", Link.failure(Link.EXAMPLES_JAR, "no.Such"));
    }

    @Test
    void class_that_is_no_function() throws Exception {
        String why = Link.failure(Link.EXAMPLES_JAR, EXAMPLES + "serde.CustomObject");
        assertTrue(why.contains("implements neither"), why);
    }
}
