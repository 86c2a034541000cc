package geminga.instance;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import org.junit.jupiter.api.Test;

class JsonTest {
    @Test
    void values() {
        assertEquals("{a=[1.0, -25.0, true, null, {}], b=x\"\n\u00fc\ud83d\ude00}",
            Json.parse(" {\"a\" : [1, -2.5e1, true, null, {}], \"b\":\"x\\\"\\n\\u00fc\\ud83d\\ude00\"} ").toString());
    }

    @Test
    void what_is_quoted_is_read_back() {
        StringBuilder out = new StringBuilder();
        Json.quote(out, "a\"\\\n\u0000\u00fc");
        assertEquals("a\"\\\n\u0000\u00fc", Json.parse(out.toString()));
    }

    @Test
    void mistakes() {
        for (String wrong : new String[] {"", "{", "{\"a\"}", "[1,]", "tru", "\"\\x\"", "\"\\" + "u12", "1 2", "{1:2}", "[".repeat(1000)}) {
            assertThrows(IllegalArgumentException.class, () -> Json.parse(wrong), wrong);
        }
    }
}
