package geminga.instance;

import java.util.ArrayDeque;
import java.util.Iterator;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * Invocations whose result comes later. What came of them is said in the order of their messages, unless the function returns nothing.
 *
 * <p>Source: Pulsar's {@code JavaInstance}.
 */
final class AsyncCalls {
    private static final class Pending {
        final Invocation invocation;
        Object result;
        Throwable thrown;
        boolean isDone;

        Pending(Invocation invocation) {
            this.invocation = invocation;
        }
    }

    private final Instance instance;
    private final Semaphore slots;
    private final boolean keepsOrder;
    private final long timeoutNanos;
    private final ArrayDeque<Pending> pending = new ArrayDeque<>();
    private long ended;
    private Thread watch;

    AsyncCalls(Instance instance) {
        this.instance = instance;
        // A sink gathers as many as it likes; what Geminga hands over bounds them.
        slots = new Semaphore(instance.hello().isSink() ? Integer.MAX_VALUE : instance.hello().maxPendingAsync);
        keepsOrder = instance.keepsOrder();
        // A little early: Geminga, which knows nothing of futures, ends an instance in which nothing happens for as long.
        timeoutNanos = TimeUnit.MILLISECONDS.toNanos(instance.hello().timeoutMs) / 8 * 7;
    }

    /** Waits while too many are pending. For the function's thread. */
    void add(Invocation invocation, CompletionStage<?> stage) throws InterruptedException {
        if (!slots.tryAcquire()) {
            instance.outbox().flush();
            slots.acquire();
        }
        Pending call = new Pending(invocation);
        synchronized (this) {
            pending.add(call);
            if (timeoutNanos > 0 && watch == null) {
                watch = new Thread(this::watch, "geminga-timeouts");
                watch.setDaemon(true);
                watch.start();
            }
        }
        stage.whenComplete((result, thrown) -> complete(call, result, thrown));
    }

    /** Waits until none is pending, or for so long. */
    synchronized void awaitAll(long millis) throws InterruptedException {
        long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(millis);
        for (;;) {
            long left = deadline - System.nanoTime();
            if (pending.isEmpty() || left <= 0) {
                return;
            }
            instance.outbox().flush();
            wait(Math.max(1, Math.min(100, TimeUnit.NANOSECONDS.toMillis(left))));
        }
    }

    /**
     * Waits until none is pending, or none has ended for so long; no longer than that what is said in so long afterwards still counts, and
     * once requests have ended, for so long altogether.
     */
    synchronized void awaitQuiet(long quietMillis, long closeMillis, Requests requests) throws InterruptedException {
        long since = System.nanoTime();
        long seen = ended;
        while (!pending.isEmpty() && !requests.hasEnded()) {
            long now = System.nanoTime();
            if (ended != seen) {
                seen = ended;
                since = now;
            }
            if (now - since >= TimeUnit.MILLISECONDS.toNanos(quietMillis) || requests.nanosLeft() <= TimeUnit.MILLISECONDS.toNanos(closeMillis)) {
                return;
            }
            instance.outbox().flush();
            wait(50);
        }
        awaitAll(closeMillis);
    }

    private void complete(Pending call, Object result, Throwable thrown) {
        synchronized (this) {
            if (call.isDone) {
                return;
            }
            call.isDone = true;
            call.result = result;
            call.thrown = thrown instanceof CompletionException && thrown.getCause() != null ? thrown.getCause() : thrown;
            if (keepsOrder) {
                while (!pending.isEmpty() && pending.peek().isDone) {
                    finish(pending.poll());
                }
            } else {
                pending.remove(call);
                finish(call);
            }
            notifyAll();
        }
        if (!instance.isFunctionThread()) {
            instance.outbox().flushNow();
        }
    }

    private void finish(Pending call) {
        slots.release();
        ended++;
        instance.finish(call.invocation, call.result, call.thrown);
    }

    /** What takes longer than the timeout counts as thrown; what comes of it afterwards is dropped. */
    private void watch() {
        try {
            for (;;) {
                Thread.sleep(Math.max(2, Math.min(500, TimeUnit.NANOSECONDS.toMillis(timeoutNanos) / 32)));
                long now = System.nanoTime();
                ArrayDeque<Pending> late = new ArrayDeque<>();
                synchronized (this) {
                    for (Iterator<Pending> calls = pending.iterator(); calls.hasNext();) {
                        Pending call = calls.next();
                        if (!call.isDone && now - call.invocation.startedNanos > timeoutNanos) {
                            late.add(call);
                        }
                    }
                }
                for (Pending call : late) {
                    complete(call, null, new TimeoutException("the result did not come within " + instance.hello().timeoutMs + " ms"));
                }
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
