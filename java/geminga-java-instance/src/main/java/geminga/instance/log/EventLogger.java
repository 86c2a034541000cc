package geminga.instance.log;

import geminga.instance.wire.Out;
import geminga.instance.wire.Outbox;
import java.io.PrintWriter;
import java.io.StringWriter;
import org.slf4j.Marker;
import org.slf4j.event.Level;
import org.slf4j.helpers.LegacyAbstractLogger;
import org.slf4j.helpers.MessageFormatter;

/** A logger whose lines are LOG events; before Geminga is connected they go to stderr. INFO and above, as in Pulsar. */
public final class EventLogger extends LegacyAbstractLogger {
    private static final long serialVersionUID = 1;
    private static final int LOG = 0x07;
    private static final int LINE_CHARS_MAX = 64 << 10;

    private static volatile Outbox outbox;

    EventLogger(String name) {
        this.name = name;
    }

    /** Where lines go from now on. */
    public static void connect(Outbox outbox) {
        EventLogger.outbox = outbox;
    }

    @Override
    public boolean isTraceEnabled() {
        return false;
    }

    @Override
    public boolean isDebugEnabled() {
        return false;
    }

    @Override
    public boolean isInfoEnabled() {
        return true;
    }

    @Override
    public boolean isWarnEnabled() {
        return true;
    }

    @Override
    public boolean isErrorEnabled() {
        return true;
    }

    @Override
    protected String getFullyQualifiedCallerName() {
        return null;
    }

    @Override
    protected void handleNormalizedLoggingCall(Level level, Marker marker, String pattern, Object[] arguments, Throwable thrown) {
        String text = String.valueOf(MessageFormatter.basicArrayFormat(pattern, arguments));
        if (thrown != null) {
            StringWriter trace = new StringWriter();
            thrown.printStackTrace(new PrintWriter(trace));
            text = text + '\n' + trace.toString().stripTrailing();
        }
        if (text.length() > LINE_CHARS_MAX) {
            text = text.substring(0, LINE_CHARS_MAX) + "...";
        }
        Outbox to = outbox;
        if (to == null) {
            System.err.println(level + " " + text);
            return;
        }
        Out line = new Out(text.length() + 16);
        line.u8(LOG);
        line.u8(switch (level) {
            case TRACE -> 0;
            case DEBUG -> 1;
            case INFO -> 2;
            case WARN -> 3;
            case ERROR -> 4;
        });
        line.str(text);
        to.add(line);
        to.flushSoon();
    }
}
