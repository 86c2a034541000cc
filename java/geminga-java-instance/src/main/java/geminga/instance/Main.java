package geminga.instance;

import geminga.instance.log.EventLogger;
import geminga.instance.wire.Frame;
import geminga.instance.wire.FrameReader;
import geminga.instance.wire.Outbox;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.channels.ReadableByteChannel;
import java.nio.channels.WritableByteChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;

/**
 * One instance of a Java function, source or sink: a child process of Geminga that runs what it is handed and says what came of it.
 *
 * <p>Two threads matter: this one runs user code, {@code geminga-requests} reads. See docs/reference/process-protocol.md.
 */
public final class Main {
    private static final int FRAME_BYTES_MAX = 64 << 20;
    /** What there is left to finish where Geminga does not say it. */
    private static final long FINISH_MS = 5000;

    private Main() {}

    public static void main(String[] arguments) throws Exception {
        if (arguments.length > 0 && arguments[0].equals("--rehearse")) {
            Rehearsal.run();
            return;
        }
        int status;
        try (FileInputStream in = new FileInputStream("/dev/fd/" + descriptor("GEMINGA_FD_IN", "3"));
             FileOutputStream out = new FileOutputStream("/dev/fd/" + descriptor("GEMINGA_FD_OUT", "4"))) {
            status = run(in.getChannel(), out.getChannel());
        }
        System.exit(status); // threads that user code has left behind do not hold it up
    }

    /** Speaks the protocol until the requests end. The status to exit with. */
    static int run(ReadableByteChannel in, WritableByteChannel out) throws IOException, InterruptedException {
        FrameReader reader = new FrameReader(in, FRAME_BYTES_MAX);
        Outbox outbox = new Outbox(out, FRAME_BYTES_MAX);
        Frame first = reader.next();
        if (first == null) {
            return 0;
        }
        if (first.kind() != Frame.HELLO) {
            System.err.println("the first frame is of kind " + first.kind() + ", not HELLO");
            return 1;
        }
        EventLogger.connect(outbox);
        Requests requests = new Requests();
        Calls calls = new Calls(outbox, requests);
        Emissions emissions = new Emissions(outbox);
        Thread reading = new Thread(() -> read(reader, requests, calls, emissions), "geminga-requests");
        reading.setDaemon(true);
        reading.start();
        Instance instance;
        try {
            Hello hello = Hello.parse(new String(first.body(), StandardCharsets.UTF_8));
            ClassLoader loader = PackageLoader.open(hello.code, Path.of(hello.workDir));
            Thread.currentThread().setContextClassLoader(loader);
            instance = new Instance(hello, loader, outbox, requests, calls, emissions);
        } catch (UserCode.Unusable e) {
            outbox.failed(e.getMessage() + (e.getCause() == null ? "" : "\n" + trace(e.getCause())));
            return 1;
        } catch (IOException e) {
            outbox.failed(e.getMessage());
            return 1;
        } catch (RuntimeException | LinkageError e) { // classes that do not fit together are found out anywhere
            outbox.failed("the function cannot be loaded: " + trace(e));
            return 1;
        }
        instance.sayReady();
        instance.run();
        return 0;
    }

    private static void read(FrameReader reader, Requests requests, Calls calls, Emissions emissions) {
        try {
            for (;;) {
                Frame frame = reader.next();
                if (frame == null) {
                    calls.end();
                    requests.end();
                    emissions.end();
                    return;
                }
                switch (frame.kind()) {
                    case Frame.INVOKE -> requests.put(frame);
                    case Frame.ANSWER -> calls.answer(frame);
                    case Frame.EMITTED -> emissions.emitted(frame);
                    case Frame.FINISH -> requests.finish(frame.body().length < 4 ? FINISH_MS : Integer.toUnsignedLong(Frame.i32(frame.body(), 0)));
                    default -> { } // of a later version
                }
            }
        } catch (IOException | RuntimeException e) {
            System.err.println("read from Geminga: " + e);
            Runtime.getRuntime().halt(1);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private static String trace(Throwable thrown) {
        return new String(Instance.describe(thrown), StandardCharsets.UTF_8);
    }

    private static String descriptor(String variable, String otherwise) {
        String value = System.getenv(variable);
        return value == null || value.isEmpty() ? otherwise : value;
    }
}
