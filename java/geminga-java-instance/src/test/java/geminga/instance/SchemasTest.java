package geminga.instance;

import static geminga.instance.Link.IN;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;

import com.sun.net.httpserver.HttpServer;
import geminga.instance.Link.Published;
import geminga.instance.Link.Sent;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import org.apache.pulsar.client.api.Schema;
import org.apache.pulsar.client.api.schema.Field;
import org.apache.pulsar.client.api.schema.GenericObject;
import org.apache.pulsar.client.api.schema.GenericRecord;
import org.apache.pulsar.client.api.schema.GenericSchema;
import org.apache.pulsar.client.api.schema.KeyValueSchema;
import org.apache.pulsar.client.api.schema.RecordSchemaBuilder;
import org.apache.pulsar.client.api.schema.SchemaBuilder;
import org.apache.pulsar.client.impl.schema.JSONSchema;
import org.apache.pulsar.common.schema.KeyValue;
import org.apache.pulsar.common.schema.KeyValueEncodingType;
import org.apache.pulsar.common.schema.SchemaInfo;
import org.apache.pulsar.common.schema.SchemaType;
import org.apache.pulsar.functions.api.Context;
import org.apache.pulsar.functions.api.Function;
import org.apache.pulsar.functions.api.Record;
import org.apache.pulsar.io.core.Source;
import org.apache.pulsar.io.core.SourceContext;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * Values of whatever schema a topic has, and schemas that user code makes. The functions do what those of Pulsar's integration tests do:
 * {@code GenericObjectFunction}, {@code RemoveAvroFieldFunction}, {@code TestGenericObjectSink} and {@code TestGenericRecordSource}.
 */
@Timeout(60)
class SchemasTest {
    private static final String PERSON = "{\"type\":\"record\",\"name\":\"Person\",\"fields\":[{\"name\":\"name\",\"type\":\"string\"},"
        + "{\"name\":\"age\",\"type\":\"int\"}]}";

    private HttpServer server;
    private volatile byte[] schema;

    @BeforeEach
    void start() throws Exception {
        server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.createContext("/", exchange -> {
            byte[] body = exchange.getRequestURI().getPath().endsWith("/in/schema") ? schema : null;
            exchange.sendResponseHeaders(body == null ? 404 : 200, body == null ? -1 : body.length);
            if (body != null) {
                exchange.getResponseBody().write(body);
            }
            exchange.close();
        });
        server.start();
    }

    @AfterEach
    void stop() {
        server.stop(0);
    }

    private Link started(Class<?> function) throws Exception {
        return Link.start(UserPackage.of(function), function.getName(),
            "\"admin_url\":\"http://127.0.0.1:" + server.getAddress().getPort() + "/\"");
    }

    private void topicHas(SchemaInfo info) {
        StringBuilder json = new StringBuilder("{\"version\":0,\"type\":\"" + info.getType() + "\",\"timestamp\":1,\"data\":");
        boolean isPair = info.getType() == SchemaType.KEY_VALUE;
        Json.quote(json, isPair ? "{\"key\":\"\",\"value\":" + PERSON + "}" : info.getSchemaDefinition());
        json.append(",\"properties\":{");
        info.getProperties().forEach((name, value) -> {
            json.append(json.charAt(json.length() - 1) == '{' ? "" : ",").append(quoted(name)).append(':').append(quoted(value));
        });
        schema = json.append("}}").toString().getBytes(StandardCharsets.UTF_8);
    }

    private static String quoted(String text) {
        StringBuilder json = new StringBuilder();
        Json.quote(json, text);
        return json.toString();
    }

    private static GenericSchema<GenericRecord> person(SchemaType type) {
        return Schema.generic(info(type));
    }

    private static SchemaInfo info(SchemaType type) {
        return SchemaInfo.builder().name("").type(type).schema(PERSON.getBytes(StandardCharsets.UTF_8)).properties(Map.of()).build();
    }

    /** Says what came, and sends it on with the schema it has. */
    static final class Onward implements Function<GenericObject, Void> {
        @Override
        @SuppressWarnings({"unchecked", "rawtypes"})
        public Void process(GenericObject input, Context context) throws Exception {
            Schema schema = context.getCurrentRecord().getSchema();
            boolean isStruct = schema.getSchemaInfo().getType().isStruct();
            context.newOutputMessage("other", schema).value(isStruct ? input : input.getNativeObject())
                .property("is", input.getSchemaType() + " " + input.getNativeObject())
                .property("native", String.valueOf(schema.getNativeSchema().isPresent())).send();
            return null;
        }
    }

    @Test
    void a_generic_object_goes_on_with_the_schema_it_has() throws Exception {
        for (SchemaType type : List.of(SchemaType.AVRO, SchemaType.JSON)) {
            topicHas(info(type));
            try (Link link = started(Onward.class)) {
                Sent sent = new Sent();
                sent.payload = person(type).encode(person(type).newRecordBuilder().set("name", "Ada").set("age", 36).build());
                Published on = link.outcome(sent).well().publishes().get(0);
                assertArrayEquals(sent.payload, on.payload());
                assertEquals(type + " {\"name\":\"Ada\",\"age\":36}", on.properties().get("is").replace(" \"", "\"").replace(": ", ":"));
                assertEquals("true " + type + " " + PERSON, on.properties().get("native") + " " + on.schema());
            }
        }
    }

    @Test
    void one_that_is_no_record_is_its_value_and_bytes_where_the_topic_says_nothing() throws Exception {
        topicHas(Schema.INT32.getSchemaInfo());
        try (Link link = started(Onward.class)) {
            Sent sent = new Sent();
            sent.payload = new byte[] {0, 0, 0, 7};
            Published on = link.outcome(sent).well().publishes().get(0);
            assertEquals("INT32 7, INT32 ", on.properties().get("is") + ", " + on.schema());
        }
        schema = null;
        try (Link link = started(Onward.class)) {
            Published on = link.outcome("text").well().publishes().get(0);
            assertEquals("text", on.text());
            assertEquals("BYTES", on.properties().get("is").substring(0, 5));
            assertNull(on.schema(), "topics keep none of bytes");
        }
    }

    @Test
    void a_pair_has_both_sides() throws Exception {
        for (KeyValueEncodingType encoding : KeyValueEncodingType.values()) {
            Schema<KeyValue<String, GenericRecord>> pairs = Schema.KeyValue(Schema.STRING, person(SchemaType.AVRO), encoding);
            topicHas(pairs.getSchemaInfo());
            GenericRecord ada = person(SchemaType.AVRO).newRecordBuilder().set("name", "Ada").set("age", 36).build();
            try (Link link = started(Older.class)) {
                Sent sent = new Sent();
                sent.payload = pairs.encode(new KeyValue<>("k", ada));
                sent.key = "k";
                Published on = link.outcome(sent).well().publishes().get(0);
                assertEquals("k is 37, " + encoding, on.text());
            }
        }
    }

    static final class Older implements Function<GenericObject, Void> {
        @Override
        public Void process(GenericObject input, Context context) throws Exception {
            KeyValueSchema<?, ?> schema = (KeyValueSchema<?, ?>) context.getCurrentRecord().getSchema();
            KeyValue<?, ?> pair = (KeyValue<?, ?>) input.getNativeObject();
            int age = (int) ((GenericRecord) pair.getValue()).getField("age");
            context.newOutputMessage("other", Schema.STRING)
                .value(pair.getKey() + " is " + (age + 1) + ", " + schema.getKeyValueEncodingType()).send();
            return null;
        }
    }

    /** Records of its own making, by a schema that is put together. */
    static final class Beans implements Source<GenericRecord> {
        private Schema<GenericRecord> schema;
        private int count;

        @Override
        public void open(Map<String, Object> config, SourceContext context) {
            RecordSchemaBuilder builder = SchemaBuilder.record("MyBean");
            builder.field("number").type(SchemaType.INT32);
            builder.field("text").type(SchemaType.STRING).optional();
            schema = Schema.generic(builder.build(SchemaType.AVRO));
        }

        @Override
        public Record<GenericRecord> read() throws InterruptedException {
            if (++count > 2) {
                Thread.sleep(60_000);
            }
            return new Made(new Bean(count), schema);
        }

        @Override
        public void close() {}

        record Made(GenericRecord value, Schema<GenericRecord> schema) implements Record<GenericRecord> {
            @Override
            public GenericRecord getValue() {
                return value;
            }

            @Override
            public Schema<GenericRecord> getSchema() {
                return schema;
            }
        }

        record Bean(int number) implements GenericRecord {
            @Override
            public byte[] getSchemaVersion() {
                return null;
            }

            @Override
            public List<Field> getFields() {
                return List.of(new Field("number", 0), new Field("text", 1));
            }

            @Override
            public Object getField(String name) {
                return name.equals("number") ? number : "t" + number;
            }
        }
    }

    @Test
    void a_source_makes_records_and_their_schema() throws Exception {
        try (Link link = Link.start(UserPackage.of(Beans.Bean.class, Beans.Made.class), Beans.class.getName(), "\"kind\":\"source\"")) {
            Published record = link.emission().record();
            assertEquals("AVRO {\"type\":\"record\",\"name\":\"MyBean\",\"fields\":[{\"name\":\"number\",\"type\":\"int\"},"
                + "{\"name\":\"text\",\"type\":[\"null\",\"string\"],\"default\":null}]}", record.schema());
            assertArrayEquals(new byte[] {2, 2, 4, 't', '1'}, record.payload());
            assertEquals(record.schema(), link.emission().record().schema());
            assertEquals(1, link.schemas.size(), "it is told once");
        }
    }

    /** Names a class of Pulsar's client, as many functions do. */
    static final class Implementation implements Function<String, Void> {
        static final class Word {
            public String text;
        }

        @Override
        public Void process(String input, Context context) throws Exception {
            Word word = new Word();
            word.text = input;
            context.newOutputMessage("words", JSONSchema.of(Word.class)).key("k").value(word).send();
            return null;
        }
    }

    @Test
    void a_schema_may_be_named_by_the_class_that_implements_it() throws Exception {
        try (Link link = Link.start(UserPackage.of(Implementation.Word.class), Implementation.class.getName())) {
            Published word = link.outcome("hello").well().publishes().get(0);
            assertEquals("{\"text\":\"hello\"}", word.text());
            assertEquals("JSON {\"type\":\"record\",\"name\":\"Word\",\"namespace\":\"geminga.instance.SchemasTest.Implementation\","
                + "\"fields\":[{\"name\":\"text\",\"type\":[\"null\",\"string\"],\"default\":null}]}", word.schema().trim());
            link.outcome("again").well();
            assertEquals(1, link.schemas.size(), "it is told once, although each message makes one anew");
        }
    }
}
