package geminga.instance;

import geminga.instance.wire.Frame;
import geminga.instance.wire.Out;
import geminga.instance.wire.Outbox;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;

/** Questions about stored state, and their answers. */
final class Calls {
    static final int STATE = 1;
    static final int COUNTER = 2;
    private static final int CALL = 0x05;
    private static final long NO_INVOCATION = -1;

    private final Outbox outbox;
    private final Requests requests;
    private final AtomicLong next = new AtomicLong();
    private final ConcurrentHashMap<Long, CompletableFuture<Object>> waiting = new ConcurrentHashMap<>();
    private volatile boolean isEnded;
    private volatile Runnable beforeCalls = () -> { };

    Calls(Outbox outbox, Requests requests) {
        this.outbox = outbox;
        this.requests = requests;
    }

    /** What is done before each call. */
    void beforeCalls(Runnable action) {
        beforeCalls = action;
    }

    /** The answer will be a {@code byte[]}, a {@code Long}, or null. It comes in the thread that reads: do not block in it. */
    CompletableFuture<Object> ask(int question, String key, Invocation invocation) {
        beforeCalls.run();
        long call = next.incrementAndGet();
        CompletableFuture<Object> answer = new CompletableFuture<>();
        waiting.put(call, answer);
        requests.callBegins();
        Out record = new Out(64 + key.length());
        record.u8(CALL);
        record.u64(call);
        record.u64(invocation == null ? NO_INVOCATION : invocation.id);
        record.u8(question);
        record.str(key);
        outbox.add(record);
        if (isEnded) {
            end();
        }
        return answer;
    }

    /** Takes an ANSWER frame. */
    void answer(Frame frame) {
        byte[] body = frame.body();
        if (body.length < 9) {
            throw new IllegalArgumentException("an answer is cut");
        }
        CompletableFuture<Object> answer = waiting.remove(Frame.i64(body, 0));
        if (answer == null) {
            throw new IllegalArgumentException("an answer nobody asked for");
        }
        requests.callEnds();
        switch (body[8]) {
            case 0 -> answer.complete(null);
            case 1 -> answer.complete(Arrays.copyOfRange(body, 9, body.length));
            case 2 -> answer.complete(Frame.i64(body, 9));
            default -> answer.completeExceptionally(new IllegalStateException(
                "the state could not be read: " + new String(body, 9, body.length - 9, StandardCharsets.UTF_8)));
        }
    }

    /** No answers follow. */
    void end() {
        isEnded = true;
        for (Long call : waiting.keySet()) {
            CompletableFuture<Object> answer = waiting.remove(call);
            if (answer != null) {
                requests.callEnds();
                answer.completeExceptionally(new IllegalStateException("the instance ends"));
            }
        }
    }
}
