package geminga.instance;

import geminga.instance.wire.Frame;
import java.util.ArrayDeque;
import java.util.concurrent.TimeUnit;

/**
 * Frames of invocations on their way from the thread that reads to the one that runs user code.
 *
 * <p>The reader waits while much is queued, except while user code waits for an answer: that is behind what is queued.
 */
final class Requests {
    /** Much: what one frame may have, or an eighth of a small heap. */
    private static final long QUEUED_BYTES_MAX = Math.min(64 << 20, Runtime.getRuntime().maxMemory() / 8);

    private final ArrayDeque<Frame> frames = new ArrayDeque<>();
    private long bytes;
    private int calls;
    private boolean isFinished;
    private long finishBy;
    private boolean isEnded;

    synchronized void put(Frame frame) throws InterruptedException {
        while (bytes > QUEUED_BYTES_MAX && calls == 0) {
            wait();
        }
        frames.add(frame);
        bytes += frame.body().length;
        notifyAll();
    }

    /** No more invocations come; answers may, for so long. */
    synchronized void finish(long millis) {
        isFinished = true;
        finishBy = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(millis);
        notifyAll();
    }

    synchronized void end() {
        isEnded = true;
        notifyAll();
    }

    synchronized boolean hasEnded() {
        return isEnded;
    }

    /** How long what is said still counts, where that is known. */
    synchronized long nanosLeft() {
        return isFinished ? finishBy - System.nanoTime() : Long.MAX_VALUE;
    }

    synchronized void awaitEnd() throws InterruptedException {
        while (!isEnded) {
            wait();
        }
    }

    /** The next frame if there is one now. */
    synchronized Frame poll() {
        Frame frame = frames.poll();
        if (frame != null) {
            bytes -= frame.body().length;
            notifyAll();
        }
        return frame;
    }

    /** The next frame, or null when none follows. */
    synchronized Frame take() throws InterruptedException {
        while (frames.isEmpty() && !isEnded && !isFinished) {
            wait();
        }
        return poll();
    }

    synchronized void callBegins() {
        calls++;
        notifyAll();
    }

    synchronized void callEnds() {
        calls--;
    }
}
