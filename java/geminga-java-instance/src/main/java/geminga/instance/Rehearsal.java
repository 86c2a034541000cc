package geminga.instance;

import geminga.instance.schema.AvroSchema;
import geminga.instance.schema.JsonSchema;
import geminga.instance.wire.Frame;
import geminga.instance.wire.Out;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.nio.channels.Channels;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.Map;
import org.apache.pulsar.client.api.Schema;
import org.apache.pulsar.functions.api.Context;
import org.apache.pulsar.functions.api.Function;

/**
 * A short life of an instance, without Geminga: run once to find out which classes an instance needs, so that the Java machine can keep
 * them ready to be mapped ({@code -XX:ArchiveClassesAtExit}). A start is several times as fast with it.
 */
final class Rehearsal {
    /** Stands for a user's function. */
    static final class Echo implements Function<String, String> {
        @Override
        public String process(String input, Context context) {
            context.incrCounter("rehearsals", 1);
            context.recordMetric("rehearsals", 1);
            context.newOutputRecordBuilder(Schema.STRING).value(input).build();
            context.getLogger().info("{}", context.getCurrentRecord().getKey());
            return input + context.getUserConfigValueOrDefault("mark", "!");
        }
    }

    /** Stands for a user's record. */
    static final class Point {
        public int x;
        public String y;
    }

    private Rehearsal() {}

    static void run() throws Exception {
        Path jar = Paths.get(Rehearsal.class.getProtectionDomain().getCodeSource().getLocation().toURI());
        StringBuilder hello = new StringBuilder("{\"protocol\":1,\"kind\":\"function\",\"class_name\":\"geminga.instance.Rehearsal$Echo\",\"code\":");
        Json.quote(hello, jar.toString());
        hello.append(",\"inputs\":{\"persistent://public/default/in\":{\"schema_type\":\"\"}},\"output\":{\"topic\":\"out\"},")
            .append("\"user_config\":{\"mark\":\"!\",\"n\":1.5,\"b\":true,\"l\":[null]}}");
        Out requests = new Out(4096);
        frame(requests, Frame.HELLO, hello.toString().getBytes(java.nio.charset.StandardCharsets.UTF_8));
        frame(requests, Frame.INVOKE, invocation());
        ByteArrayOutputStream events = new ByteArrayOutputStream();
        int status = Main.run(Channels.newChannel(new ByteArrayInputStream(requests.array(), 0, requests.length())), Channels.newChannel(events));
        if (status != 0) {
            throw new IllegalStateException("the rehearsal failed: " + events.toString(java.nio.charset.StandardCharsets.UTF_8));
        }
        Point point = new Point();
        point.y = "y";
        JsonSchema<Point> json = JsonSchema.of(Point.class, Map.of());
        json.decode(json.encode(point));
        json.getSchemaInfo();
        AvroSchema<Point> avro = AvroSchema.of(Point.class, Map.of(), Rehearsal.class.getClassLoader(), version -> null);
        avro.decode(avro.encode(point));
    }

    private static void frame(Out out, int kind, byte[] body) {
        out.u32(body.length + 1);
        out.u8(kind);
        out.raw(body, 0, body.length);
    }

    private static byte[] invocation() {
        byte[] topic = "persistent://public/default/in".getBytes(java.nio.charset.StandardCharsets.UTF_8);
        Out out = new Out(256);
        out.u32(Input.FIXED_BYTES - 4 + 1 + topic.length);
        out.u64(1);
        out.u32(0);
        out.u32(1);
        out.u32(topic.length);
        while (out.length() < Input.FIXED_BYTES) {
            out.u8(0);
        }
        out.u8('a');
        out.raw(topic, 0, topic.length);
        return java.util.Arrays.copyOf(out.array(), out.length());
    }
}
