package geminga.instance.wire;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.WritableByteChannel;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;

/**
 * What goes to Geminga, from any thread: records are gathered into frames, and a frame is written when it is full, when somebody
 * flushes, or by a thread of its own a moment after the instance turned to work that may take long.
 *
 * <p>Records leave in the order in which they were added.
 */
public final class Outbox {
    private static final int READY = 0x81;
    private static final int FAILED = 0x82;
    private static final int EVENTS = 0x83;
    private static final int HEADER_BYTES = 5;
    /** A frame is cut here; one record may be longer. */
    private static final int FRAME_BYTES = 256 << 10;
    private static final long LINGER_NANOS = 3_000_000;

    private final WritableByteChannel channel;
    private final int frameBytesMax;
    private final ByteBuffer direct = ByteBuffer.allocateDirect(FRAME_BYTES);
    /** Held while a frame is taken and written. Taken before the monitor, never within. */
    private final ReentrantLock writing = new ReentrantLock();
    private final Thread flusher;
    /** Guarded by this. */
    private Out pending = emptyFrame();
    /** Guarded by writing. */
    private Out spare = emptyFrame();
    private volatile boolean isArmed;
    private volatile boolean isUrgent;
    private volatile boolean isDirty;

    public Outbox(WritableByteChannel channel, int frameBytesMax) {
        this.channel = channel;
        this.frameBytesMax = frameBytesMax;
        flusher = new Thread(this::flushWhatLingers, "geminga-flusher");
        flusher.setDaemon(true);
        flusher.start();
    }

    /** The longest record there can be. */
    public int recordBytesMax() {
        return frameBytesMax - HEADER_BYTES;
    }

    public void ready(String json) {
        control(READY, json);
    }

    public void failed(String reason) {
        control(FAILED, reason);
    }

    /** Adds one event record. */
    public void add(Out record) {
        boolean isFull;
        synchronized (this) {
            isFull = pending.length() > HEADER_BYTES && pending.length() + record.length() > FRAME_BYTES;
            if (!isFull) {
                pending.raw(record);
                isDirty = true;
            }
        }
        if (isFull) {
            writing.lock();
            try {
                flush();
                synchronized (this) {
                    pending.raw(record);
                    isDirty = true;
                }
            } finally {
                writing.unlock();
            }
        }
    }

    /** Writes what was added, unless there is nothing. */
    public void flush() {
        if (!isDirty) {
            return;
        }
        writing.lock();
        try {
            Out frame;
            synchronized (this) {
                if (pending.length() == HEADER_BYTES) {
                    return;
                }
                frame = pending;
                pending = spare;
                isDirty = false;
            }
            frame.u32At(0, frame.length() - 4);
            write(frame);
            frame.truncate(HEADER_BYTES);
            spare = frame;
        } finally {
            writing.unlock();
        }
    }

    /** What was added leaves within a few milliseconds, also when nobody flushes. */
    public void flushSoon() {
        if (isDirty && !isArmed) {
            isArmed = true;
            LockSupport.unpark(flusher);
        }
    }

    /** What was added leaves at once, by another thread. */
    public void flushNow() {
        if (isDirty && !isUrgent) {
            isUrgent = true;
            isArmed = true;
            LockSupport.unpark(flusher);
        }
    }

    private void flushWhatLingers() {
        for (;;) {
            while (!isArmed) {
                LockSupport.park(this);
            }
            if (!isUrgent) {
                LockSupport.parkNanos(this, LINGER_NANOS);
            }
            isUrgent = false;
            isArmed = false;
            try {
                flush();
            } catch (UncheckedIOException e) {
                Runtime.getRuntime().halt(1); // nobody listens any more
            }
        }
    }

    private void control(int kind, String text) {
        Out frame = new Out(text.length() + 64);
        byte[] utf8 = text.getBytes(StandardCharsets.UTF_8);
        frame.u32(utf8.length + 1);
        frame.u8(kind);
        frame.raw(utf8, 0, utf8.length);
        writing.lock();
        try {
            flush();
            write(frame);
        } finally {
            writing.unlock();
        }
    }

    private void write(Out frame) {
        try {
            for (int written = 0; written < frame.length(); written += direct.limit()) {
                direct.clear();
                direct.put(frame.array(), written, Math.min(direct.capacity(), frame.length() - written)).flip();
                while (direct.hasRemaining()) {
                    channel.write(direct);
                }
            }
        } catch (IOException e) {
            throw new UncheckedIOException("write to Geminga", e);
        }
    }

    private static Out emptyFrame() {
        Out frame = new Out(FRAME_BYTES);
        frame.u32(0);
        frame.u8(EVENTS);
        return frame;
    }
}
